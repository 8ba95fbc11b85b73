"""What each shipped recipe makes of the set that it is meant for, in ten minutes of two cores.

    python experiments/recipes/gallery.py DATA_DIR --out docs [--stage pace run table] [--only sngan]

DATA_DIR holds battlemaps-750.zip, noto-emoji-128.zip, initials-64.zip and fashion-mnist. Each recipe is trained as it is
shipped, at its own size, for as many images as its pace makes in the time; see experiments/fewshot/runs.py for how that is
measured, and how all are judged. Sheets of the first seeds go to OUT/images/recipes/, rows to gallery.jsonl and paces to
paces.json beside this file (``--rows``); what has a row is not done again. ``table`` prints markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "fewshot"))
import runs
from rows import Rows, said
from runs import Job

MINUTES = 10.0
"""Of two cores."""
MEANT_FOR: dict[str, Sequence[tuple[str, float]]] = {
    "fewshot": [("maps", MINUTES), ("emoji", MINUTES)],
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
    "fashion-conditional": [("fashion", MINUTES)],
    "mapmaker": [("maps", MINUTES)],
}
"""Recipe -> sets, and minutes on each."""
SEED = 0
COLUMNS = [
    ("kernel distance", "kernel_distance"), ("coverage", "coverage"), ("recall", "recall"), ("precision", "precision"),
    ("right class", "label_agreement"),
]  # fmt: skip


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


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each recipe and set."""
    names = [heading for heading, _ in COLUMNS]
    lines = [
        f"| recipe | set | size | images | images/s | {' | '.join(names)} | copies | samples |",
        f"|---|---|---|---:|---:|{'---|' * (len(names) + 2)}",
    ]
    order = list(MEANT_FOR)
    for row in sorted(rows, key=lambda row: (order.index(row["system"]), row["set"])):
        data = row["data"]
        size = f"{data['width']}x{data['height']} {({1: 'grey', 3: 'RGB', 4: 'RGBA'})[data['channels']]}"
        name = row["system"] + (f" (stand-in: {row['stand_in']})" if "stand_in" in row else "")
        name += "" if row["ended"] == "done" else f" ({row['ended']})"
        figures = [_with_yardstick(row, key) for _, key in COLUMNS]
        picture = f"![{row['system']}](images/recipes/{title(row['system'], row['set'])}.png)"
        start = [name, row["set"], size, f"{row['images']:,}", f"{row['pace']:.3g}"]
        lines.append("| " + " | ".join([*start, *figures, row["copying"]["verdict"], picture]) + " |")
    return "\n".join(lines) + "\n"


def _with_yardstick(row: dict[str, Any], key: str) -> str:
    real = row["yardstick"].get(key, {}).get("value")
    return said(row, key) + ("" if real is None or said(row, key) == "-" else f"; real {real:.3g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    runs.add_arguments(parser, Path("docs"))
    parser.add_argument("--rows", type=Path, default=Path(__file__).parent, help="where rows and paces are kept")
    arguments = parser.parse_args()
    place = runs.place_of(arguments, arguments.rows)
    chosen = runs.chosen(jobs(arguments.seconds), arguments.only)
    path = arguments.rows / "gallery.jsonl"
    if "pace" in arguments.stage:
        runs.measure_paces(chosen, place, arguments.pace_seconds, arguments.rounds, arguments.again)
    if "run" in arguments.stage:
        folder = arguments.out / "images" / "recipes"
        runs.run_all(
            chosen, place, path, arguments.jobs, arguments.keep,
            sheet=lambda job: folder / f"{title(job.system, job.set)}.png", grid=(8, 4), side=128, bytes=150_000,
        )  # fmt: skip
    if "table" in arguments.stage:
        print(table(Rows(path).newest("system", "set")))


if __name__ == "__main__":
    main()
