"""Few images: does a training gain by starting from another one's weights?

    python experiments/warm_start/study.py DATA_DIR WORK_DIR [--few 100] [--images 16000] [--source-images 60000]
        [--seeds 0 1] [--pairs NAME ...] [--recipe fewshot] [--width 16] [--out experiments/warm_start]
        [--page docs/fewshot.md] [--pictures docs/images]

DATA_DIR holds the collections named in PAIRS. For each pair a source is trained once; then, for each seed, a few images of the
target are trained on, from the source's weights and from nothing, for equally many images. At MARKS of the way samples are
compared with the target's *other* images, which no training has seen, and looked through for copies of the few.

Each measurement is one line of rows.jsonl, written and synced when it is made; a training that is there already is not done
again, and a target is trained from nothing once, for all of its sources. Drawn collections, sources and caches lie in WORK_DIR.
Samples of the first seed at each mark of SHOWN go to sheets/. Tables are printed, and written into --page, from all rows at the
end; --pictures draws the sheets of each target in one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

import limner
from limner import imaging, noise
from limner.data import Collection, prepare
from limner.device import choose_device
from limner.judging.evaluate import Judge
from limner.judging.features import open_extractor
from limner.judging.memorisation import COPIES, SOME
from limner.judging.reference import reference
from limner.noise import sample_latents
from limner.recipe import Image, Recipe
from limner.rundir import RunDir
from limner.training.assembly import assemble, resolved
from limner.training.callbacks import sampled
from limner.training.loop import Loop
from limner.training.warm_start import begin

sys.path.insert(0, str(Path(__file__).parents[1] / "fewshot"))
from PIL import Image as Picture
from rows import Rows, inserted, small_png

SIZE = 64
SAMPLES = 500
OTHERS = 1000
MARKS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
SHOWN = (0.0, 0.05, 0.25, 1.0)
"""Of these marks a sheet is drawn."""
GRID = (5, 3)
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
NOTHING = "nothing"
"""A start without a source."""
MARK = "warm start"
"""What the lines of the page are called that tables stand between."""


def recipe_of(name: str, channels: int, width: int, seed: int, images: int) -> Recipe:
    overrides = {
        "image.width": SIZE, "image.height": SIZE, "image.channels": channels, "image.held_out": 0.0,
        "generator.width": width, "discriminator.width": width,
        "training.seed": seed, "training.images": images, "training.precision": "float32", "evaluation.share": 0,
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


def run(name: str, arguments: argparse.Namespace, path: Path) -> None:
    """Train a pair's target from its source and from nothing, with every seed."""
    pair, device = PAIRS[name], choose_device("auto")
    few, others = split(pair, arguments)
    extractor = open_extractor("limner", device if device.type == "cuda" else "cpu")
    judges = [Judge(reference(part, extractor, seed=0, most=OTHERS), OTHERS) for part in (others, few)]
    source = trained_source(pair, arguments)
    for seed in arguments.seeds:
        for start in (pair.source, NOTHING):
            key = {
                "target": pair.target, "start": start, "seed": seed, "recipe": arguments.recipe, "width": arguments.width,
                "few": len(few.train), "total": arguments.images, "source_images": arguments.source_images,
            }  # fmt: skip
            if start == NOTHING:
                del key["source_images"]
            rows = Rows(path)
            if rows.has(**key, share=1.0):
                continue
            recipe = recipe_of(arguments.recipe, pair.channels, arguments.width, seed, arguments.images)
            loop = assemble(resolved(recipe, few, device), few, device)
            taken = "" if start == NOTHING else begin(loop, source).describe().replace(str(source), source.name)
            for mark, seconds in followed(loop, arguments.images):
                found = measure(loop, judges, sheet_of(arguments.out, key, mark))
                made = {"share": mark, "images": loop.progress.images, "seconds": round(seconds, 1), "taken": taken}
                if not rows.has(**key, share=mark):
                    rows.add({**key, **made, **found})
                kernel = found["figures"].get("kernel_distance", {}).get("value")
                print(f"{pair.target}, seed {seed}, from {start}: {made['images']:,} images, {kernel}", flush=True)


def followed(loop: Loop, images: int) -> Iterator[tuple[float, float]]:
    """Train, and stop at each mark: the share of the images, and the seconds of training so far."""
    seconds = 0.0
    for mark in MARKS:
        began = time.perf_counter()
        while loop.progress.images < mark * images:
            loop.advance()
        seconds += time.perf_counter() - began
        yield mark, seconds


def measure(loop: Loop, judges: Sequence[Judge], sheet: Path | None) -> dict[str, Any]:
    """Figures against the images that were not trained on, and copies of those that were."""
    z = torch.from_numpy(sample_latents(np.arange(SAMPLES), loop.recipe.network.latent))
    pixels = sampled(loop.average.current(), z.to(loop.feed.device, loop.feed.dtype), loop.step.autocast)
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.write_bytes(small_png(imaging.grid(pixels[: GRID[0] * GRID[1]], GRID[0]), 100_000))
    others, few = judges
    return {"figures": others.figures(pixels)["figures"], "copying": few.figures(pixels)["copying"]["verdict"]}


def slug(name: str) -> str:
    """A collection's name as a part of file names."""
    return Path(name).stem.replace(":", "-")


def sheet_of(out: Path, key: Mapping[str, Any], mark: float) -> Path | None:
    """Where samples at this mark are drawn: of the first seed, and of the marks that are shown."""
    if key["seed"] or mark not in SHOWN:
        return None
    return out / "sheets" / f"{slug(key['target'])}-from-{slug(key['start'])}-{mark * 100:g}.png"


def starts_of(rows: Sequence[Mapping[str, Any]], target: str) -> list[str]:
    """What a target was started from, nothing last."""
    found = {row["start"] for row in rows if row["target"] == target}
    return sorted(found, key=lambda start: (start == NOTHING, start))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a table for each target, a column for each start: kernel distances of the seeds, and their mean coverage."""
    parts = []
    for target in dict.fromkeys(row["target"] for row in rows):
        own, starts = [row for row in rows if row["target"] == target], starts_of(rows, target)
        seeds = ", ".join(map(str, sorted({row["seed"] for row in own})))
        parts += [
            f"**{own[0]['few']} pictures of {slug(target)}**, seeds {seeds}\n",
            "| images | " + " | ".join(f"from {slug(start)}" for start in starts) + " |",
            "|---:|" + "---|" * len(starts),
        ]
        for images in sorted({row["images"] for row in own}):
            cells = [f"{images:,}"]
            for start in starts:
                found = [row for row in own if (row["images"], row["start"]) == (images, start)]
                found.sort(key=lambda row: row["seed"])
                distances = ", ".join(f"{row['figures']['kernel_distance']['value']:.2f}" for row in found)
                covered = fmean(row["figures"]["coverage"]["value"] for row in found) if found else nan
                cells.append(f"{distances} ({covered:.2f})" if found else "-")
            parts.append("| " + " | ".join(cells) + " |")
        copied = [row for row in own if row["copying"] in (SOME, COPIES)]
        parts.append(f"\nSigns of copying: {len(copied) or 'none'}.\n")
    return "\n".join(parts)


def draw(rows: Sequence[Mapping[str, Any]], out: Path, to: Path) -> None:
    """For each target one picture: a row a start, a column a mark."""
    for target in dict.fromkeys(row["target"] for row in rows):
        lines = []
        for start in starts_of(rows, target):
            shown = [row for row in rows if (row["target"], row["start"], row["seed"]) == (target, start, 0)]
            cells = []
            for row in sorted(shown, key=lambda row: row["share"]):
                sheet = sheet_of(out, row, row["share"])
                if sheet is not None:
                    text = f"from {slug(start)}, {row['images']:,} images: {row['figures']['kernel_distance']['value']:.2f}"
                    cells.append(imaging.captioned(Picture.open(sheet).convert("RGB"), text))
            lines.append(cells)
        width, height = max(cell.width for line in lines for cell in line), max(line[0].height for line in lines)
        whole = Picture.new("RGB", ((width + 8) * max(map(len, lines)) - 8, (height + 8) * len(lines) - 8), "white")
        for down, cells in enumerate(lines):
            for across, cell in enumerate(cells):
                whole.paste(cell, (across * (width + 8), down * (height + 8)))
        (to / f"warm-start-{slug(target)}.png").write_bytes(small_png(whole, 600_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--images", type=int, default=16_000)
    parser.add_argument("--source-images", type=int, default=60_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS), metavar="NAME")
    parser.add_argument("--recipe", default="fewshot")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--pictures", type=Path, help="where a picture of each target is drawn")
    parser.add_argument("--page", type=Path, help="tables are written between this page's marks")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "rows.jsonl"
    for name in arguments.pairs:
        run(name, arguments, path)
    rows = Rows(path)
    print(table(rows.rows))
    if arguments.page is not None:
        page = arguments.page.read_text(encoding="utf-8")
        arguments.page.write_text(inserted(page, MARK, table(rows.rows)), encoding="utf-8")
    if arguments.pictures is not None:
        draw(rows.rows, arguments.out, arguments.pictures)


if __name__ == "__main__":
    main()
