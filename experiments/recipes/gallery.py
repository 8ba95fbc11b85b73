"""What each shipped recipe makes of the set that it is meant for, in ten minutes of two cores.

    python experiments/recipes/gallery.py DATA_DIR --out docs [--stage pace run table] [--only sngan]

DATA_DIR holds battlemaps-750.zip, noto-emoji-128.zip, initials-64.zip and fashion-mnist. Each recipe is trained as it is
shipped, at its own size, for as many images as its pace makes in the time; see experiments/fewshot/runs.py for how that is
measured, and how all are judged. Sheets of the first seeds go to OUT/images/recipes/, rows to gallery.jsonl and paces to
paces.json beside this file (``--rows``); what has a row, here or in the comparison, is not done again. ``table`` writes
OUT/recipes.md (page.py).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "fewshot"))
import runs
from page import page
from PIL import Image
from rows import Rows, small_png
from runs import Job, Place

MINUTES = 10.0
"""Of two cores."""
MEANT_FOR: dict[str, Sequence[tuple[str, float]]] = {
    "fewshot": [("maps", MINUTES), ("emoji", MINUTES), ("initials", MINUTES)],
    "quick": [("maps", MINUTES), ("emoji", MINUTES)],
    "vanilla": [("initials", MINUTES)],
    "dcgan": [("initials", MINUTES)],
    "initials": [("initials", MINUTES)],
    "lsgan": [("initials", MINUTES)],
    "wgan": [("initials", MINUTES)],
    "wgan-gp": [("initials", MINUTES)],
    "sngan": [("initials", MINUTES)],
    "r3gan": [("initials", MINUTES)],
    "fashion": [("fashion", MINUTES)],
    "fashion-conditional": [("fashion", 2 * MINUTES)],
    "mapmaker": [("maps", MINUTES)],
}
"""Recipe -> sets, and minutes on each."""
SEED = 0
GRID = (8, 4)
SIDE = 128
BYTES = 150_000


def jobs(seconds: float | None) -> list[Job]:
    """All trainings."""
    return [
        Job(recipe, name, None, SEED, seconds or 60 * minutes, recipe)
        for recipe, wanted in MEANT_FOR.items()
        for name, minutes in wanted
    ]


def title(system: str, name: str) -> str:
    """What a sheet is called."""
    return system if len(MEANT_FOR.get(system, ())) == 1 else f"{system}-{name}"


def known(rows: Path, compared: Path, place: Place) -> list[dict[str, Any]]:
    """The rows of the gallery, and those of the comparison that are of the same trainings: recipe, set, size, seed and time."""
    own = {(row["system"], row["set"]): row for row in Rows(rows).newest("system", "set")}
    for job in jobs(None):
        same = replace(job, size=64)
        wanted = {
            "system": job.system, "set": job.set, "size": 64, "seed": SEED, "budget_seconds": job.seconds,
            "digest": runs.outcome(same, place),
        }  # fmt: skip
        for row in Rows(compared).rows:
            if wanted.items() <= row.items():
                own.setdefault((job.system, job.set), row)
    return [*own.values()]


def borrow(sheet: Path, to: Path) -> None:
    """The upper half of a sheet of the comparison, which has as many rows as columns."""
    with Image.open(sheet) as opened:
        side = opened.height * GRID[1] // GRID[0]
        half = opened.convert("RGBA" if opened.info.get("transparency") or opened.mode == "RGBA" else "RGB")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(small_png(half.crop((0, 0, opened.width, side)), BYTES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    runs.add_arguments(parser, Path("docs"))
    parser.add_argument("--rows", type=Path, default=Path(__file__).parent, help="where rows and paces are kept")
    parser.add_argument(
        "--compared", type=Path, default=Path(__file__).parents[1] / "fewshot" / "compare.jsonl",
        help="rows of compare.py, whose trainings of the same recipes, sets and times are not done again",
    )  # fmt: skip
    arguments = parser.parse_args()
    place = runs.place_of(arguments, arguments.rows)
    chosen = runs.chosen(jobs(arguments.seconds), arguments.only)
    path = arguments.rows / "gallery.jsonl"
    if "pace" in arguments.stage:
        runs.measure_paces(chosen, place, arguments.pace_seconds, arguments.rounds, arguments.again)
    folder = arguments.out / "images" / "recipes"
    if "run" in arguments.stage:
        done = {(row["system"], row["set"]) for row in known(Path(), arguments.compared, place)}
        runs.run_all(
            [job for job in chosen if (job.system, job.set) not in done], place, path, arguments.jobs, arguments.keep,
            sheet=lambda job: folder / f"{title(job.system, job.set)}.png", grid=GRID, side=SIDE, bytes=BYTES,
        )  # fmt: skip
    if "table" in arguments.stage:
        found, pictures = known(path, arguments.compared, place), {}
        for row in found:
            key, sheet = (row["system"], row["set"]), folder / f"{title(row['system'], row['set'])}.png"
            if not sheet.is_file():
                borrow(arguments.compared.parent / "sheets" / f"{'-'.join(key)}-64-seed{SEED}.png", sheet)
            pictures[key] = f"images/recipes/{sheet.name}"
        (arguments.out / "recipes.md").write_text(page(found, pictures, MINUTES, GRID[0] * GRID[1]), encoding="utf-8")


if __name__ == "__main__":
    main()
