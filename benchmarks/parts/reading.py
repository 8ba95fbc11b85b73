"""Goal 4: reading and caching a collection, against nothing but decoding and resizing the same files on two processes.

The bare version knows its files and their shape beforehand, and writes pixels into one array on the disk. Limner's
finds out what is there, hashes it, measures a sample, decodes, draws the thumbnails that near copies are found by,
looks for those, syncs, and writes the cache. Both start with nothing, in processes that have done their imports. A
photograph of 20 megapixels is read by itself, at a fraction of its size (a JPEG's draft mode), against decoding all of
it.
"""

from __future__ import annotations

import gzip
import io
import multiprocessing
import shutil
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from limner.data import prepare
from limner.data.decode import Target, decode
from limner.recipe import Recipe
from parts import drawn
from parts.contest import contest
from parts.figures import Figure, figure
from parts.settings import Settings

PROCESSES = 2
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
MEGAPIXELS = (5472, 3648)

Shape = tuple[int, int, int]
"""Height, width and channels."""


class BareReading:
    """Reading everything, without more, on two processes that wait for it; called, it returns pictures read."""

    def __init__(self, path: Path, shape: Shape, work: Path) -> None:
        self.path, self.shape, self.work = path, shape, work
        self.pool = multiprocessing.get_context("spawn").Pool(PROCESSES) if path.suffix == ".zip" else None
        if self.pool is not None:
            self.pool.map(_ready, range(PROCESSES), 1)  # they have done their imports

    def __call__(self) -> int:
        output = self.work / "bare.bin"
        if self.pool is None:
            return _bare_idx(self.path, output)
        with zipfile.ZipFile(self.path) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith((".png", ".jpg", ".jpeg"))]
        shape = (len(names), *self.shape)
        np.memmap(output, np.uint8, "w+", shape=shape).flush()
        parts = [(start, names[start : start + 32]) for start in range(0, len(names), 32)]
        self.pool.map(partial(_bare_part, self.path, output, shape), parts, 1)
        return len(names)

    def close(self) -> None:
        """End the processes."""
        if self.pool is not None:
            self.pool.close()
            self.pool.join()


def _ready(_: int) -> None:
    time.sleep(0.2)


def _bare_idx(path: Path, output: Path) -> int:
    data = _opened(path).read()
    count = int.from_bytes(data[4:8], "big")
    output.write_bytes(memoryview(data)[16:])
    return count


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _bare_part(path: Path, output: Path, shape: tuple[int, ...], part: tuple[int, list[str]]) -> None:
    start, names = part
    pixels = np.memmap(output, np.uint8, "r+", shape=shape)
    height, width, channels = shape[1:]
    with zipfile.ZipFile(path) as archive:
        for place, name in enumerate(names, start):
            image = Image.open(io.BytesIO(archive.read(name))).convert(MODES[channels])
            if image.size != (width, height):
                image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
            pixels[place] = np.asarray(image).reshape(height, width, channels)


def limner_step(path: Path, shape: Shape, work: Path) -> Callable[[], int]:
    """Preparing everything with an empty cache; returns pictures read. What is imported on the way is there before."""
    height, width, channels = shape
    image = Recipe.load("quick", {"image.width": width, "image.height": height, "image.channels": channels}).image
    cache = work / "cache"
    prepare(drawn.zipped(work / f"first-{path.stem}.zip", 40, (32, 32), "PNG"), image, cache_dir=cache)

    def step() -> int:
        shutil.rmtree(cache, ignore_errors=True)
        return len(prepare(path, image, cache_dir=cache).names)

    return step


def sets(settings: Settings) -> dict[str, tuple[Path, Shape, str]]:
    """What is read: file, shape of the pictures, and a note where it was drawn."""
    tiny, made = settings.tiny, "drawn by rule"
    photos = drawn.collection(settings.data, "battlemaps-750.zip")
    small = drawn.collection(settings.data, "initials-64.zip")
    folder = drawn.collection(settings.data, "fashion-mnist")
    plain = next(iter(sorted(folder.glob("train-images*"))), None) if folder is not None else None
    if tiny:
        photos = small = plain = None
    work = settings.work
    work.mkdir(parents=True, exist_ok=True)
    side, count = (48, 6) if tiny else (750, 393)
    found = {
        "photographs": (
            photos or drawn.zipped(work / "photos.zip", count, (side, side), "JPEG"),
            (side, side, 3),
            "" if photos else made,
        ),
        "small pictures": (
            small or drawn.zipped(work / "small.zip", 12 if tiny else 8324, (64, 64), "PNG"),
            (64, 64, 3),
            "" if small else made,
        ),
        "IDX": (plain or drawn.idx(work / "idx", 40 if tiny else 60_000), (28, 28, 1), "" if plain else made),
    }
    return {
        f"{name}, {_count(path):,} at {shape[1]}x{shape[0]}": (path, shape, note)
        for name, (path, shape, note) in found.items()
    }


def _count(path: Path) -> int:
    if path.suffix != ".zip":
        return int.from_bytes(_opened(path).read(8)[4:], "big")
    with zipfile.ZipFile(path) as archive:
        return sum(name.lower().endswith((".png", ".jpg", ".jpeg")) for name in archive.namelist())


def run(settings: Settings) -> list[Figure]:
    """All kinds of sets, and a large photograph."""
    found: list[Figure] = []
    for name, (path, shape, note) in sets(settings).items():
        given = {"path": path, "shape": shape, "work": settings.work}
        rounds = contest(
            {"bare": (BareReading, given), "limner": (limner_step, given)},
            rounds=min(2, settings.rounds),  # each reads a whole collection twice
            seconds=0.0,
            device=settings.device,
            tiny=settings.tiny,
            warm_up=False,
            bounded=False,
        )
        times = [each.ratio("bare", "limner") for each in rounds]
        found.append(figure(f"{name}: times the bare reading", "", times, 1.3, most=True, note=note))
        for who in ("bare", "limner"):
            found.append(figure(f"{name}: {who}", "s", [each.turns[who].seconds for each in rounds], note=note))
            spent = [each.turns[who].processor for each in rounds]
            # The bare version's workers live on, and their processor time is not in it.
            found += [figure(f"{name}: {who}, processor", "s", spent, note=note)] if who == "limner" else []
        files = {file: file.stat().st_size for file in (settings.work / "cache").rglob("*") if file.is_file()}
        pixels = sum(size for file, size in files.items() if file.suffix == ".pixels")
        bare = _count(path) * int(np.prod(shape))
        found.append(
            figure(f"{name}: pixels in the cache, for each byte of them", "", pixels / bare, 1.0, most=True, note=note)
        )
        rest = (sum(files.values()) - pixels) / _count(path)
        found.append(figure(f"{name}: names, labels, groups and sums of a picture", "bytes", rest, note=note))
        shutil.rmtree(settings.work / "cache", ignore_errors=True)
    return [*found, *large(settings)]


def large(settings: Settings) -> list[Figure]:
    """One large photograph, brought to 64x64."""
    size = (320, 240) if settings.tiny else MEGAPIXELS
    data = drawn.encoded(drawn.picture(np.random.default_rng(0), *size, 3), "JPEG")
    target, ours, whole = Target(64, 64, 3), [], []
    for _ in range(settings.rounds):
        began = time.process_time()
        decode(data, target)
        ours.append(1000 * (time.process_time() - began))
        began = time.process_time()
        ImageOps.fit(Image.open(io.BytesIO(data)).convert("RGB"), (64, 64), Image.Resampling.LANCZOS)
        whole.append(1000 * (time.process_time() - began))
    megapixels = f"{size[0] * size[1] / 1e6:.0f} megapixels"
    return [
        figure(f"a JPEG of {megapixels} to 64x64: limner, processor", "ms", ours),
        figure(f"a JPEG of {megapixels} to 64x64: decoded as a whole, processor", "ms", whole),
    ]
