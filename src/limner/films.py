"""What a generator and a training can show: pictures by seed, a walk through the latents, a training as it went on."""

from __future__ import annotations

import os
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from threading import Event
from typing import BinaryIO

import numpy as np
from jaxtyping import Int
from PIL import Image

from limner import imaging, progress, rundir
from limner.drawing import BATCH, SeededGenerator, check_seeds, class_grid, slerp
from limner.durable import atomic_write
from limner.errors import InputError, LimnerError
from limner.rundir import RunDir

MOST_FRAMES = 160
SHEET_MOST = 400
WAITING = 8
"""Portions of pictures that are asked for at the same time, at most."""
GIF_MOST_BYTES = 2**30
"""Decoded, at three bytes a pixel: who shows a GIF keeps all of it, and so does who writes one."""
NAME_MOST = 40
"""Letters of a class's name that a file's name carries."""


@dataclass(frozen=True)
class Film:
    """Frames that are drawn while the film is written, so that its length costs no memory.

    Attributes:
        frames: all of one size; they can be gone through once.
        seconds: how long each is shown.
        skipped: one line for each frame that could not be had.
    """

    frames: Iterable[Image.Image]
    seconds: Sequence[Fraction]
    skipped: Sequence[str] = ()


def latent_walk(
    generator: SeededGenerator,
    *,
    seed: int,
    keys: int,
    seconds: float,
    frames_per_second: int,
    tiles: int,
    side: int,
    label: str | int | None = None,
) -> Film:
    """A seamless loop: every tile walks from seed to seed and back to its first, and shows each of them.

    Args:
        generator: what draws.
        seed: the first seed; tiles take consecutive ones.
        keys: seeds that each tile visits, two or more.
        seconds: length of the loop; whole frames come nearest to it.
        frames_per_second: rate.
        tiles: pictures side by side in a frame.
        side: longer side of a frame in pixels, at least; small pictures are enlarged in whole multiples.
        label: the class of all tiles. Without it each tile keeps one: the first tile that of its first seed, the next ones
            the classes that follow.

    Raises:
        InputError: there are fewer frames than seeds to visit, no such seeds, or no such class.
    """
    if not 0 < seconds < float("inf"):
        raise InputError(f"--seconds {seconds}: must be a length in seconds")
    count = round(seconds * frames_per_second)
    if count < keys:
        raise InputError(
            f"--keys {keys}: {seconds:g} s of {frames_per_second} frames a second are {count} frames, fewer than the"
            " seeds to visit; ask for fewer keys or a longer film"
        )
    check_seeds(seed, tiles * keys)
    labels = None
    if label is not None:
        labels = np.full(tiles, generator.label(label))
    elif generator.classes:
        labels = generator.labels(range(seed, seed + tiles))
    frames = _walk_frames(generator, seed, keys, count, tiles, side, labels)
    return Film(frames, [Fraction(1, frames_per_second)] * count)


def _walk_frames(
    generator: SeededGenerator,
    seed: int,
    keys: int,
    count: int,
    tiles: int,
    side: int,
    labels: Int[np.ndarray, " tiles"] | None,
) -> Iterator[Image.Image]:
    """``count`` frames, dealt out over the arcs so that each begins on a key."""
    for arc in range(keys):
        first, last = arc * count // keys, (arc + 1) * count // keys
        start, end = (
            generator.latents(range(seed + key, seed + tiles * keys, keys)) for key in (arc, (arc + 1) % keys)
        )
        for place in range(first, last):
            latents = slerp(start, end, np.asarray((place - first) / (last - first))).astype(np.float32)
            sheet = imaging.grid(generator.draw(latents, labels), gap=None if tiles > 1 else 0)
            yield imaging.enlarged(sheet, side)


def timelapse(run: RunDir, side: int) -> Film:
    """One frame for each grid that a training left, with the images and epochs seen in a caption.

    At most 160 frames, evenly chosen, the first and last among them. Damaged grids are passed over.

    Args:
        run: the training.
        side: longer side of a frame in pixels, at most.

    Raises:
        InputError: there is no grid yet, or none that can be read.
    """
    grids = run.samples()
    if not grids:
        raise InputError(f"{run.path}: has no sample grids yet")
    if len(grids) > MOST_FRAMES:
        grids = [grids[place] for place in np.unique(np.linspace(0, len(grids) - 1, MOST_FRAMES).round().astype(int))]
    sizes = {path: _grid_size(path) for _, path in grids}
    # The newest grid that can be read says what a grid is; one of another size has no place in the film.
    wanted = next((size for size in reversed(sizes.values()) if size), None)
    if wanted is None:
        raise InputError(f"{run.path}: none of its {len(grids)} sample grids can be read")
    skipped = [
        f"skipped {path}: {'has another size' if size else 'is damaged'}"
        for path, size in sizes.items()
        if size != wanted
    ]
    good = [(images, path) for images, path in grids if sizes[path] == wanted]
    return Film(_timelapse_frames(good, side, _epoch_size(run)), timelapse_seconds(len(good)), skipped)


def _timelapse_frames(grids: Sequence[tuple[int, Path]], side: int, epoch_size: int | None) -> Iterator[Image.Image]:
    for images, path in grids:
        try:
            with Image.open(path, formats=["PNG"]) as opened:
                picture = imaging.flat(opened.copy())  # opened lazily: the file is closed below
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None
        if max(picture.size) > side:
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        epoch = f"    epoch {images / epoch_size:.1f}" if epoch_size else ""
        yield imaging.captioned(picture, f"{images:,} images{epoch}")


def _grid_size(path: Path) -> tuple[int, int] | None:
    """A grid's width and height, or nothing when its checksums say that it is damaged."""
    try:
        with Image.open(path, formats=["PNG"]) as opened:
            opened.verify()
            return opened.size
    except (OSError, SyntaxError, ValueError):
        return None


def _epoch_size(run: RunDir) -> int | None:
    """How many pictures an epoch has, where the run still knows it."""
    try:
        data = run.read_json(rundir.DATA)
        return max(0, int(data["count"]) - int(data["held_out"]["count"])) or None
    except (InputError, KeyError, TypeError, ValueError):
        return None


def timelapse_seconds(frames: int) -> list[Fraction]:
    """How long each frame of a timelapse is shown: some eight seconds in all, and a rest on the last one.

    In fiftieths of a second: hundredths are what a GIF counts in, and an MP4 then needs no more than 50 frames a second.
    """
    each = Fraction(max(3, min(20, round(400 / max(1, frames)))), 50)
    return [*[each] * (frames - 1), Fraction(5, 2)]


def check_name(path: Path) -> None:
    """Find out before the work begins whether a film of that name can be written.

    Raises:
        InputError: the name ends in neither ``.gif`` nor ``.mp4``, or there is no encoder for it.
    """
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise InputError(f"--out {path}: must end in .gif or .mp4")
    if path.suffix.lower() == ".mp4":
        imaging.encoder()


def save(path: Path, film: Film) -> float:
    """Write a film where its name asks for it.

    Args:
        path: ends in ``.gif`` or ``.mp4``.
        film: at least one frame.

    Returns:
        the length of the film as it was written, in seconds.

    Raises:
        InputError: see :func:`check_name`, it is too large for a GIF, or it cannot be written.
    """
    check_name(path)
    rest = iter(film.frames)
    first = next(rest)
    rate: Fraction | int
    with progress.counted(len(film.seconds), "frames") as advance:

        def frames() -> Iterator[Image.Image]:
            for frame in chain([first], rest):
                yield frame
                advance()

        if path.suffix.lower() == ".gif":
            _check_gif(path, first.size, len(film.seconds))
            rate = imaging.GIF_RATE
            write(path, imaging.gif_bytes(frames(), film.seconds))
        else:
            rate = imaging.film_rate(film.seconds)
            with _appearing(path) as file:
                imaging.write_mp4(file, frames(), film.seconds)
    return float(Fraction(sum(imaging.ticks(film.seconds, rate))) / rate)


def _check_gif(path: Path, size: tuple[int, int], count: int) -> None:
    decoded = 3 * size[0] * size[1] * count
    if decoded > GIF_MOST_BYTES:
        raise InputError(
            f"--out {path}: {count:,} frames of {size[0]}x{size[1]} are {decoded / 1e9:.1f} GB in whoever shows the GIF;"
            " ask for an .mp4, a smaller --side or a shorter film"
        )


def draw_pictures(
    generator: SeededGenerator, count: int, seed: int, directory: Path, label: str | int | None = None
) -> Path:
    """Draw pictures of consecutive seeds: one PNG each, named by its seed, and a sheet of the first 400.

    With classes, each name carries the class too, and of pictures of all classes a column of the sheet shows one (where
    there are at most 16). A sheet of one class carries its name.

    Args:
        generator: what draws.
        count: how many.
        seed: of the first.
        directory: where they go; it is made.
        label: the class of all, by name or number; without it they go through the classes in turn.

    Returns:
        the sheet's path.

    Raises:
        InputError: there are no such seeds, no such class, or the pictures cannot be written.
    """
    check_seeds(seed, count)
    chosen = None if label is None else generator.label(label)
    endings = [f"-{name}" for name in file_names(generator.classes)] or [""]
    stopped = Event()

    def some(start: int) -> imaging.Batch | None:
        """Draw and write a few; those that the sheet may show are handed back."""
        if stopped.is_set():
            return None
        seeds = range(seed + start, seed + min(count, start + step))
        pictures = generator.draw_seeds(seeds, chosen)
        kinds = generator.labels(seeds) if chosen is None else np.full(len(seeds), chosen)
        names = (f"seed-{number:06d}{endings[kind]}.png" for number, kind in zip(seeds, kinds, strict=True))
        _write_some([directory / name for name in names], pictures)
        return pictures if start < SHEET_MOST else None

    step = min(BATCH, generator.at_once)
    starts, under_way = iter(range(0, count, step)), deque[Future[imaging.Batch | None]]()
    sheet, done = [], 0
    with progress.counted(count, "pictures") as advance, generator.lanes() as threads:
        try:
            while done < count:
                under_way.extend(threads.submit(some, start) for start in islice(starts, WAITING - len(under_way)))
                sheet.append(under_way.popleft().result())
                for _ in range(min(step, count - done)):
                    advance()
                    done += 1
        finally:  # what has not begun does not begin any more
            stopped.set()
    path = directory / ("sheet.png" if chosen is None else f"sheet{endings[chosen]}.png")
    pictures = np.concatenate([part for part in sheet if part is not None])[:SHEET_MOST]
    shape = class_grid(len(generator.classes), len(pictures), *generator.size) if chosen is None else None
    columns = shape[0] if shape is not None and shape[0] <= len(pictures) else None
    write(path, imaging.png_bytes(imaging.enlarged(imaging.grid(pictures, columns), 512), imaging.FAST))
    return path


def _write_some(paths: Sequence[Path], pictures: imaging.Batch) -> None:
    """Write pictures of one folder. They are not forced onto the disk, as thousands would each wait for that."""
    if not paths:
        return
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {paths[0]}: cannot be written ({error.strerror or error})") from None
    for path, pixels in zip(paths, pictures, strict=True):
        _put(path, imaging.png_bytes(imaging.to_image(pixels), imaging.FAST))


def _put(path: Path, content: bytes) -> None:
    """A file that has its name when all of it is written.

    It costs as much as encoding 64x64 pixels does, so nothing is asked of the system that need not be.

    Raises:
        InputError: it cannot be written.
    """
    temporary = f"{path.parent}{os.sep}.{path.name}.{os.getpid()}.part"
    try:
        try:
            file = open(temporary, "xb")  # noqa: SIM115
        except FileExistsError:  # whatever has that name was not put there by this process
            os.unlink(temporary)
            file = open(temporary, "xb")  # noqa: SIM115
        with file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if not isinstance(error, OSError):
            raise
        raise InputError(f"--out {path}: cannot be written ({error.strerror or error})") from None


def file_names(classes: Sequence[str]) -> list[str]:
    """What files are called after classes: letters, digits, ``-``, ``_`` and nothing that a file system could mind.

    When two come out alike, in capitals or not, each has its number behind it.
    """
    names = []
    for name in classes:
        kept = (letter if letter.isalnum() or letter == "_" else "-" for letter in unicodedata.normalize("NFC", name))
        names.append("-".join(filter(None, "".join(kept).split("-")))[:NAME_MOST].strip("-") or "class")
    # Some file systems take capitals, and accents that are written in two ways, for the same.
    if len({unicodedata.normalize("NFD", name).casefold() for name in names}) < len(names):
        return [f"{name}-{number}" for number, name in enumerate(names)]
    return names


def home(source: Path) -> Path | None:
    """The run directory that a generator's place belongs to: itself, or the one it is a checkpoint of.

    What is drawn goes there rather than beside a checkpoint, which its training removes when newer ones have come.
    """
    if (source / rundir.RECIPE).is_file():
        return source
    # A path such as "." says where it is only when it is resolved.
    place = source if source.parent.name == rundir.CHECKPOINTS else source.resolve()
    run = place.parent.parent
    return run if place.parent.name == rundir.CHECKPOINTS and (run / rundir.RECIPE).is_file() else None


def write(path: Path, content: bytes) -> None:
    """Write a file that the user asked for, whole or not at all, making its directory.

    Raises:
        InputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written ({error.strerror or error})") from None
    except LimnerError as error:
        raise InputError(f"--out {error}") from None


@contextmanager
def _appearing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which has its name when all of it is written; its directory is made.

    Unlike what :func:`write` leaves, it is not forced onto the disk: thousands of pictures would each wait for that.

    Raises:
        InputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # whatever has that name was not put there by this process
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written ({error.strerror or error})") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
