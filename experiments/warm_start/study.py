"""Few images: does a training gain by starting from another one's weights?

    python experiments/warm_start/study.py DATA_DIR WORK_DIR [--few 100] [--images 20000] [--source-images 100000]
        [--seeds 0 1] [--pairs NAME ...] [--recipe dcgan] [--width 32] [--out experiments/warm_start]

DATA_DIR holds the collections named in PAIRS. For each pair a source is trained once; then, for each seed, a few images of the
target are trained on, from the source's weights and from nothing, for equally many images. At MARKS of the way samples are
compared with the target's *other* images, which no training has seen, and looked through for copies of the few.

Each measurement is one line of rows.jsonl, written and synced when it is made; what is there already is not trained again.
Drawn collections, sources and caches lie in WORK_DIR. table.md is made anew from all rows at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import limner
from limner import noise
from limner.data import Collection, prepare
from limner.device import choose_device
from limner.judging.evaluate import Judge
from limner.judging.features import open_extractor
from limner.judging.reference import reference
from limner.noise import sample_latents
from limner.recipe import Image, Recipe
from limner.rundir import RunDir
from limner.training.assembly import assemble, resolved
from limner.training.callbacks import sampled
from limner.training.loop import Loop
from limner.training.warm_start import begin

SIZE = 64
SAMPLES = 500
OTHERS = 1000
MARKS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
SPLIT = 7
"""Seed of which images are the few."""


@dataclass(frozen=True)
class Pair:
    """What a source is trained on, what the target is, and their channels."""

    source: str
    target: str
    channels: int


PAIRS = {
    "drawn initials to initials": Pair("procedural:initials", "initials-64.zip", 1),
    "emoji to initials": Pair("noto-emoji-128.zip", "initials-64.zip", 1),
    "drawn maps to battle maps": Pair("procedural:maps", "battlemaps-750.zip", 3),
    "emoji to battle maps": Pair("noto-emoji-128.zip", "battlemaps-750.zip", 3),
    "battle maps to emoji": Pair("battlemaps-750.zip", "noto-emoji-128.zip", 3),
}
"""Related sources, and others beside them: for whether it has to be related."""


class Rows:
    """Measurements, one line each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    self.rows.append(json.loads(line))
                except json.JSONDecodeError:
                    continue  # torn by a kill: measured again

    def has(self, **key: Any) -> bool:
        return any(key.items() <= row.items() for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        with self.path.open("ab+") as file:
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                file.write(b"\n")
            file.write(json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def recipe_of(name: str, channels: int, width: int, seed: int, images: int) -> Recipe:
    overrides = {
        "image.width": SIZE, "image.height": SIZE, "image.channels": channels, "image.held_out": 0.0,
        "generator.width": width, "discriminator.width": width,
        "training.seed": seed, "training.images": images, "evaluation.share": 0, "training.batch_size": 32,
    }  # fmt: skip
    return Recipe.load(name, overrides)


def located(data: Path, name: str) -> str:
    return name if ":" in name else str(data / name)


def trained_source(pair: Pair, arguments: argparse.Namespace) -> Path:
    """The run of a pair's source, trained when it is not there, gone on with when it was cut off."""
    name = f"{Path(pair.source).stem.replace(':', '-')}-{pair.channels}-{arguments.width}"
    path: Path = arguments.work / "sources" / name
    recipe = recipe_of(arguments.recipe, pair.channels, arguments.width, 100, arguments.source_images)
    if not path.exists():
        location = located(arguments.data, pair.source)
        limner.train(location, recipe, runs=path.parent, name=name)
    elif RunDir.open(path).newest_checkpoint()[0] < arguments.source_images:
        limner.resume(path, overrides={"training.images": arguments.source_images})
    return path


def split(pair: Pair, arguments: argparse.Namespace) -> tuple[Collection, Collection]:
    """A few images of a target, and others, each as a collection of its own."""
    image = Image(width=SIZE, height=SIZE, channels=pair.channels, held_out=0.0)
    everything = prepare(located(arguments.data, pair.target), image)
    order = noise.permutation(SPLIT, noise.Stream.EVALUATION, 0, len(everything.names))
    parts = (order[: arguments.few], order[arguments.few : arguments.few + OTHERS])
    made = []
    for name, places in zip(("few", "others"), parts, strict=True):
        file = arguments.work / f"{Path(pair.target).stem}-{pair.channels}-{name}-{len(places)}.npy"
        np.save(file, np.asarray(everything.images[np.sort(places)]))
        made.append(prepare(file, image))
    return made[0], made[1]


def measure(loop: Loop, others: Judge, few: Judge) -> dict[str, Any]:
    """Figures against the images that were not trained on; copies of those that were."""
    z = torch.from_numpy(sample_latents(np.arange(SAMPLES), loop.recipe.network.latent))
    pixels = sampled(loop.average.current(), z.to(loop.feed.device, loop.feed.dtype), loop.step.autocast)
    return {"figures": others.figures(pixels)["figures"], "copying": few.figures(pixels)["copying"]["verdict"]}


def run(name: str, arguments: argparse.Namespace, rows: Rows) -> None:
    pair, device = PAIRS[name], choose_device("auto")
    few, others = split(pair, arguments)
    extractor = open_extractor("limner", device if device.type == "cuda" else "cpu")
    judges = [Judge(reference(part, extractor, seed=0, most=OTHERS), OTHERS) for part in (others, few)]
    source = trained_source(pair, arguments)
    for seed in arguments.seeds:
        for start in ("source", "nothing"):
            key = {
                "pair": name, "seed": seed, "start": start, "recipe": arguments.recipe, "width": arguments.width,
                "few": len(few.train), "total": arguments.images,
            }  # fmt: skip
            if rows.has(**key, share=1.0):
                continue
            recipe = recipe_of(arguments.recipe, pair.channels, arguments.width, seed, arguments.images)
            loop = assemble(resolved(recipe, few, device), few, device)
            said = begin(loop, source).describe() if start == "source" else ""
            began, spent = time.perf_counter(), 0.0
            for mark in MARKS:
                while loop.progress.images < mark * arguments.images:
                    loop.advance()
                paused = time.perf_counter()
                found = measure(loop, judges[0], judges[1])
                row = {
                    **key,
                    "share": mark,
                    "images": loop.progress.images,
                    "seconds": round(paused - began - spent, 1),
                }
                if not rows.has(**key, share=mark):
                    rows.add({**row, **found, "taken": said})
                spent += time.perf_counter() - paused
                kernel = found["figures"].get("kernel_distance", {})
                print(
                    f"{name}, seed {seed}, from {start}: {loop.progress.images:,} images, {kernel.get('value')}",
                    flush=True,
                )


def table(rows: Sequence[dict[str, Any]]) -> str:
    """For each pair and mark, the kernel distance (its interval) and the coverage of every seed."""

    def said(row: dict[str, Any], figure: str) -> str:
        found = row["figures"].get(figure)
        if not found or found.get("value") is None:
            return "-"
        interval = f" ({found['low']:.3g} to {found['high']:.3g})" if found.get("low") is not None else ""
        return f"{found['value']:.3g}{interval}"

    lines = [
        "| pair | images | start | kernel distance, by seed | coverage, by seed | copies |",
        "|---|---|---|---|---|---|",
    ]
    places = dict.fromkeys((row["pair"], row["images"], row["start"]) for row in rows)
    for name, images, start in sorted(places, key=lambda place: (list(PAIRS).index(place[0]), place[1], place[2])):
        found = sorted(
            (row for row in rows if (row["pair"], row["images"], row["start"]) == (name, images, start)),
            key=lambda row: row["seed"],
        )
        cells = ["; ".join(said(row, figure) for row in found) for figure in ("kernel_distance", "coverage")]
        verdicts = "; ".join(row["copying"] for row in found)
        lines.append(f"| {name} | {images:,} | {start} | {cells[0]} | {cells[1]} | {verdicts} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--source-images", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS), metavar="NAME")
    parser.add_argument("--recipe", default="dcgan")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = Rows(arguments.out / "rows.jsonl")
    for name in arguments.pairs:
        run(name, arguments, rows)
    (arguments.out / "table.md").write_text(table(rows.rows), encoding="utf-8")


if __name__ == "__main__":
    main()
