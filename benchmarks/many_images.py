"""Collections that are larger than memory: cached, inspected and trained from, in bounded memory and without losing speed.

    python benchmarks/many_images.py [--quick] [--work DIR] [--only NAME ...] [--out results.json]

Each case makes a collection in DIR (a temporary folder by default; the full run needs 40 GB there), caches it, kills a second
build of the same cache half-way and lets it go on, looks at it with `limner inspect`, and trains from it. Everything is removed
at the end. What is measured:

- seconds and the peak of anonymous resident memory (RssAnon of /proc; pages of mapped files are not in it) beyond what Python
  and its libraries hold at the start, of caching, of starting with the cache there, of inspecting;
- whether the cache that was killed and went on equals, byte for byte, the one that was built at a stroke;
- images per second of trainings with narrow networks, in turns: from the mapped cache, and from the same pictures in memory (as
  many as --held allows); and from the mapped cache with nothing of it in the system's memory, to be read from the disk;
- the peak of a whole training with `--memory`, against that bound.

The last line says whether all of it holds: exit code 1 where it does not. Processor time is told beside the clock's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "reliability" / "results" / "many_images.json"
SLOWEST = 0.9
"""The least share of the speed in memory that counts as kept."""
EXTRA = 700_000_000
"""Bytes that caching and inspecting may hold beside what Python does, whatever the number of pictures."""


@dataclass(frozen=True)
class Case:
    """A collection, and the training on it.

    Attributes:
        kind: ``idx``, ``npy`` or ``zip``.
        count, side, channels: of the pictures.
        batch, width: of the training.
        memory: GB that the whole training may take.
    """

    kind: str
    count: int
    side: int
    channels: int
    batch: int
    width: int
    memory: float

    @property
    def nbytes(self) -> int:
        """Of the pixels."""
        return self.count * self.side**2 * self.channels

    def overrides(self) -> dict[str, Any]:
        """The training's recipe."""
        return {
            "image.width": self.side, "image.height": self.side, "image.channels": self.channels,
            "generator.width": self.width, "discriminator.width": self.width, "training.batch_size": self.batch,
            "training.device": "cpu", "training.precision": "float32", "evaluation.images": 64,
        }  # fmt: skip


FULL = {
    "a million, 64x64 grey, IDX": Case("idx", 1_000_000, 64, 1, 64, 4, 1.5),
    "5,000, 1024x1024 RGB, npy": Case("npy", 5_000, 1024, 3, 2, 4, 2.5),
    "100,000 PNG files, 64x64 RGB, zip": Case("zip", 100_000, 64, 3, 64, 4, 1.5),
}
QUICK = {
    "2,000, 64x64 grey, IDX": Case("idx", 2_000, 64, 1, 16, 4, 1.5),
    "300 PNG files, 64x64 RGB, zip": Case("zip", 300, 64, 3, 16, 4, 1.5),
}


def smooth(side: int, small: int) -> np.ndarray:
    """Weights of linear interpolation from ``small`` places to ``side``."""
    at = np.linspace(0, small - 1, side)
    place = np.minimum(at.astype(int), small - 2)
    share = (at - place).astype(np.float32)
    weights = np.zeros((side, small), np.float32)
    weights[np.arange(side), place] = 1 - share
    weights[np.arange(side), place + 1] = share
    return weights


def pictures(case: Case) -> Iterator[np.ndarray]:
    """Soft clouds of colour, none like another, in portions [n, side, side, channels]."""
    step = max(1, (1 << 24) // (case.side**2 * case.channels))
    weights = smooth(case.side, 6)
    for start in range(0, case.count, step):
        random = np.random.default_rng(start)
        small = random.random((min(step, case.count - start), case.channels, 6, 6), dtype=np.float32) * 255
        yield (weights @ small @ weights.T).transpose(0, 2, 3, 1).astype(np.uint8)


def make(case: Case, folder: Path) -> Path:
    """The collection as files."""
    from PIL import Image

    if case.kind == "idx":
        path = folder / "many-images-idx3-ubyte"
        with path.open("wb") as file:
            file.write(struct.pack(">HBBIII", 0, 8, 3, case.count, case.side, case.side))
            file.writelines(part.tobytes() for part in pictures(case))
        return path
    if case.kind == "npy":
        path = folder / "many.npy"
        with path.open("wb") as file:
            shape = (case.count, case.side, case.side, case.channels)
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            file.writelines(part.tobytes() for part in pictures(case))
        return path
    path = folder / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        number = 0
        for part in pictures(case):
            for picture in part:
                content = BytesIO()
                Image.fromarray(picture).save(content, "PNG", compress_level=1)
                archive.writestr(f"class{number % 10}/{number:07}.png", content.getvalue())
                number += 1
    return path


CHILD = """
import json, os, sys, threading, time
def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))
job = json.loads(sys.stdin.readline())
import numpy
from limner.data import prepare
from limner.data.store import cache_root
from limner.recipe import Recipe
if job["what"] in ("train", "speed"):
    import torch, limner.training.train
else:
    import limner.judging.inspect
base, peak = anonymous(), [0]
def look():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.005)
threading.Thread(target=look, daemon=True).start()
recipe = Recipe.load("dcgan", {**job["overrides"], **job.get("more", {})})
found = {}
def done(**more):
    found.update(more)
    found.update(peak=peak[0] - base, seconds=time.perf_counter() - began, processor=time.process_time() - had)
    print(json.dumps(found), flush=True)
began, had = time.perf_counter(), time.process_time()
if job["what"] == "cache":
    def told(done, total):
        if done >= job.get("stop", total + 1):
            print(json.dumps({"at": done}), flush=True)
            time.sleep(1000)
    notes = []
    collection = prepare(job["data"], recipe.image, progress=told)
    done(pixels=collection.summary["cache"]["path"], notes=collection.summary["warnings"],
         hit=collection.summary["cache"]["hit"], near_copies=collection.summary["near_copies"])
elif job["what"] == "inspect":
    from limner.judging.inspect import inspect
    looked = inspect(job["data"])
    done(looked_at=looked.reading.looked_at, said=looked.describe()[:400])
elif job["what"] == "train":
    from limner.training.display import Quiet
    from limner.training.memory import Watch
    lines = []
    class Told(Quiet):
        def say(self, text):
            lines.append(text)
    watch = Watch(None, cache_root())
    watch.start()
    outcome = limner.train(job["data"], recipe, runs=job["runs"], memory=job["memory"], display=Told())
    done(whole=watch.peak, ended=outcome.ended, images=outcome.images, anonymous=peak[0],
         said=[line for line in lines if "memory" in line])
else:
    import mmap
    from dataclasses import replace
    from limner.device import choose_device
    from limner.training.assembly import assemble, resolved
    collection = prepare(job["data"], recipe.image)
    recipe = resolved(recipe, collection, choose_device("cpu"))
    held = min(len(collection.train), max(1, job["held"] // collection.images[0].nbytes))
    chosen = collection.train[numpy.sort(numpy.random.default_rng(0).permutation(len(collection.train))[:held])]
    inside = replace(collection, images=numpy.asarray(collection.images[chosen]), train=numpy.arange(held), labels=None)
    loops = {"mapped": assemble(recipe, collection, choose_device("cpu")),
             "held": assemble(recipe, inside, choose_device("cpu"))}
    def drop():
        collection.images.base._mmap.madvise(mmap.MADV_DONTNEED) if hasattr(collection.images.base, "_mmap") else None
        collection.images._mmap.madvise(mmap.MADV_DONTNEED)
        handle = os.open(collection.summary["cache"]["path"], os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)
    for loop in loops.values():
        loop.advance()
    times = {name: [] for name in ("mapped", "held", "cold")}
    for turn in range(job["rounds"]):
        order = ("mapped", "held", "cold")
        for name in order[turn % 3:] + order[:turn % 3]:
            loop = loops["held" if name == "held" else "mapped"]
            if name == "cold":
                drop()
            elif name == "mapped":  # what a training has read once is in the system's memory where there is room
                places = loop.feed.sampler.indices(loop.progress.images, loop.portion * job["updates"])
                for place in places:
                    collection.images[place].max()
            start, processor = time.perf_counter(), time.process_time()
            for _ in range(job["updates"]):
                loop.advance()
            times[name].append((time.perf_counter() - start, time.process_time() - processor))
    portion = loops["held"].portion * job["updates"]
    done(held=held, rates={name: [[round(portion / wall, 2), round(portion / cpu, 2)] for wall, cpu in rounds]
                           for name, rounds in times.items()})
"""


def child(what: str, case: Case, data: Path, cache: Path, **job: Any) -> dict[str, Any]:
    """What a process of its own found."""
    process = started(what, case, data, cache, **job)
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    if process.wait():
        raise SystemExit(f"{what} of {data.name} failed (code {process.returncode})")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def started(what: str, case: Case, data: Path, cache: Path, **job: Any) -> subprocess.Popen[str]:
    """The process."""
    environment = {**os.environ, "LIMNER_CACHE": str(cache)}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"what": what, "data": str(data), "overrides": case.overrides(), **job}) + "\n")
    process.stdin.close()
    return process


def same(one: Path, other: Path) -> bool:
    """Whether two caches hold the same files with the same bytes."""
    names = sorted(path.name for path in (one / "collections").iterdir())
    if names != sorted(path.name for path in (other / "collections").iterdir()):
        return False
    return all(
        subprocess.run(["cmp", "-s", one / "collections" / name, other / "collections" / name], check=False).returncode
        == 0
        for name in names
    )


def measured(case: Case, work: Path, held: int, quick: bool, training: bool) -> dict[str, Any]:
    """One case; ``training`` says whether it is trained from as well."""
    began = time.perf_counter()
    data = make(case, work)
    row: dict[str, Any] = {"pictures": case.count, "gigabytes": round(case.nbytes / 1e9, 2)}
    row["made_seconds"] = round(time.perf_counter() - began, 1)
    whole, parted = work / "whole", work / "parted"
    row["cache"] = _short(child("cache", case, data, whole))
    row["start"] = _short(child("cache", case, data, whole))
    killed = started("cache", case, data, parted, stop=case.count // 2)
    assert killed.stdout is not None
    at = json.loads(killed.stdout.readline())["at"]
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    again = child("cache", case, data, parted)
    row["killed_at"], row["went_on"] = at, _short(again)
    row["same_bytes"] = same(whole, parted)
    shutil.rmtree(parted)
    row["inspect"] = _short(child("inspect", case, data, whole))
    if training:
        row |= trained(case, data, whole, work, held, quick)
    shutil.rmtree(whole)
    data.unlink()
    return row


def trained(case: Case, data: Path, cache: Path, work: Path, held: int, quick: bool) -> dict[str, Any]:
    """How fast trainings are, and what a whole one takes."""
    turns = {"rounds": 2, "updates": 2} if quick else {"rounds": 6, "updates": 4 if case.side > 256 else 20}
    speed = child("speed", case, data, cache, held=held, **turns)
    rates = {name: np.median(np.array(rounds), axis=0) for name, rounds in speed["rates"].items()}
    speeds = {
        "held_pictures": speed["held"],
        **{f"{name}_images_per_second": round(float(rate[0]), 1) for name, rate in rates.items()},
        **{f"{name}_images_per_processor_second": round(float(rate[1]), 1) for name, rate in rates.items()},
        "mapped_to_held": round(float(rates["mapped"][1] / rates["held"][1]), 3),
        "mapped_to_held_by_the_clock": round(_ratio(speed["rates"], "mapped"), 3),
        "cold_to_held_by_the_clock": round(_ratio(speed["rates"], "cold"), 3),
    }
    bound = int(case.memory * 1e9)
    updates = {"training.images": case.batch * (4 if quick else 20)}
    with tempfile.TemporaryDirectory(dir=work) as runs:
        found = child("train", case, data, cache, runs=runs, memory=bound, more=updates)
    took = {
        "memory_gb": case.memory, "peak_gb": round(found["whole"] / 1e9, 3),
        "anonymous_gb": round(found["anonymous"] / 1e9, 3), "ended": found["ended"],
        "said": found["said"], "seconds": round(found["seconds"], 1),
    }  # fmt: skip
    return {"speed": speeds, "training": took}


def _ratio(rates: dict[str, list[list[float]]], name: str) -> float:
    """The median over rounds of the rate by the clock, as a share of that in memory in the same round."""
    return float(np.median([one[0] / held[0] for one, held in zip(rates[name], rates["held"], strict=True)]))


def _short(found: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: value for name, value in found.items() if name not in ("pixels", "said", "peak", "seconds", "processor")
    }
    return {
        "seconds": round(found["seconds"], 1), "processor_seconds": round(found["processor"], 1),
        "peak_gb": round(found["peak"] / 1e9, 3), **kept,
    }  # fmt: skip


def failures(name: str, case: Case, row: dict[str, Any]) -> list[str]:
    """What does not hold of a case."""
    found = []
    for what in ("cache", "went_on", "inspect"):
        if row[what]["peak_gb"] * 1e9 > EXTRA:
            found.append(f"{name}: {what} took {row[what]['peak_gb']} GB")
    if not row["same_bytes"]:
        found.append(f"{name}: the cache that was killed differs")
    if not row["went_on"]["notes"] and row["killed_at"] * case.side**2 * case.channels > 1 << 27:
        found.append(f"{name}: the cache that was killed began anew")
    if "speed" not in row:
        return found
    if max(row["speed"]["mapped_to_held"], row["speed"]["mapped_to_held_by_the_clock"]) < SLOWEST:
        found.append(f"{name}: {row['speed']['mapped_to_held']} of the speed in memory")
    if row["training"]["peak_gb"] > row["training"]["memory_gb"] or row["training"]["ended"] != "done":
        found.append(f"{name}: the training took {row['training']['peak_gb']} GB of {row['training']['memory_gb']}")
    return found


def described(name: str, row: dict[str, Any]) -> str:
    """A case in a line."""
    said = (
        f"{name}: cached in {row['cache']['seconds']} s with {row['cache']['peak_gb']} GB, killed at {row['killed_at']:,} and"
        f" gone on with in {row['went_on']['seconds']} s, {'the same' if row['same_bytes'] else 'OTHER'} bytes; inspected in"
        f" {row['inspect']['seconds']} s with {row['inspect']['peak_gb']} GB"
    )
    if "speed" in row:
        said += (
            f"; {row['speed']['mapped_to_held']} of the speed in memory ({row['speed']['cold_to_held_by_the_clock']} when read"
            f" from the disk); trained in {row['training']['peak_gb']} of {row['training']['memory_gb']} GB"
        )
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small collections: does everything work?")
    parser.add_argument("--no-training", action="store_true", help="cache and inspect alone")
    parser.add_argument("--work", type=Path, help="where the gigabytes lie meanwhile")
    parser.add_argument("--only", nargs="*", help="cases whose names begin so")
    parser.add_argument(
        "--held", type=float, default=1.5, help="GB of pictures that are kept in memory to compare with"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows: dict[str, Any] = {}
    wrong: list[str] = []
    out = arguments.out or (None if arguments.quick else RESULTS)
    with tempfile.TemporaryDirectory(prefix="many-", dir=arguments.work) as folder:
        for name, case in (QUICK if arguments.quick else FULL).items():
            if arguments.only and not any(name.startswith(start) for start in arguments.only):
                continue
            training = not arguments.no_training
            row = rows[name] = measured(case, Path(folder), int(arguments.held * 1e9), arguments.quick, training)
            if not arguments.quick:  # of a small collection every measurement is noise
                wrong += failures(name, case, row)
            elif not row["same_bytes"] or (training and row["training"]["ended"] != "done"):
                wrong.append(name)
            print(described(name, row), flush=True)
            if out is not None:
                out.parent.mkdir(parents=True, exist_ok=True)
                before = json.loads(out.read_text()) if out.exists() and arguments.only else {}
                out.write_text(json.dumps({**before, **rows}, indent=1) + "\n")
    print(f"many images: {len(rows)} cases, {len(wrong)} failures" + "".join(f"\n  {line}" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
