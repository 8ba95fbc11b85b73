"""What each part of ``fewshot`` is good for: the recipe with one thing changed at a time, in the same time.

    python experiments/fewshot/ablation.py DATA_DIR --out experiments/fewshot [--stage pace run table] [--only NAME,maps,0]

Five minutes of one core at 64x64 on three sets, two seeds. Stages, resuming and judging are those of compare.py; paces are
measured for each configuration and kept in ablation/paces.json, rows go to ablation.jsonl, sheets to ablation/sheets/.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import runs
from PIL import Image
from rows import Rows, ablation, comparison, small_png
from runs import Job

from limner import imaging

BASE = "fewshot"
WIDTH: Mapping[str, Any] = {"generator.width": 16, "discriminator.width": 16}
"""In place of ``auto``, so that one thing changes at a time."""
CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    BASE: {},
    "not fine": {"generator.fine": False},
    "no augmentation": {"augment.policy": [], "augment.target": 0.0},
    "non-saturating": {"objective.name": "non-saturating"},
    "hinge and spectral": {
        "objective.name": "hinge",
        "discriminator.norm": "spectral",
        "regularizers.r1": 0.0,
        "regularizers.r2": 0.0,
        "regularizers.every": 1,
    },
    "gamma 1": {"regularizers.r1": 1.0, "regularizers.r2": 1.0},
    "width 12": {"generator.width": 12, "discriminator.width": 12},
    "width 24": {"generator.width": 24, "discriminator.width": 24},
    "batch 16": {"training.batch_size": 16},
    "rates fall": {"schedule.name": "cosine"},
    "rates halved": {"generator.lr": 0.001, "discriminator.lr": 0.0005},
    "no excitation": {"generator.excitation": False},
    "no memory": {"discriminator.reconstruction": False},
    "one branch": {"discriminator.residual": False},
    "no deviation": {"discriminator.deviation": False},
    "all augmentation": {"augment.policy": ["color", "translation", "cutout"], "augment.target": 0.0},
}
"""Name -> fields of the recipe that are set otherwise."""
SETS = ("maps", "emoji", "initials")
SIZE, MINUTES, SEEDS = 64, 5.0, (0, 1)


def jobs(seconds: float | None) -> list[Job]:
    """All trainings: the first seed of everything comes first."""
    return [
        Job(name, chosen, SIZE, seed, seconds or 60 * MINUTES, BASE, {**WIDTH, **overrides})
        for seed in SEEDS
        for chosen in SETS
        for name, overrides in CONFIGURATIONS.items()
    ]


PICTURED = (BASE, "not fine", "hinge and spectral", "width 24")
CORNER, SIDE = 4, 400
"""Samples of a sheet that the picture shows, across and down, and pixels of these together."""


def picture(sheets: Path, out: Path) -> None:
    """The first samples of some configurations on each set, first seed: a column each, under its name."""
    columns = []
    for system in PICTURED:
        column = Image.new("RGB", (SIDE, SIDE * len(SETS)), "white")
        for row, name in enumerate(SETS):
            job = Job(system, name, SIZE, SEEDS[0], 0.0)
            sheet = imaging.flat(Image.open(sheets / f"{job.name}.png").convert("RGBA"))
            part = sheet.crop((0, 0, sheet.width * CORNER // 8, sheet.height * CORNER // 8))
            column.paste(part.resize((SIDE - 6, SIDE - 6), Image.Resampling.LANCZOS), (3, SIDE * row + 3))
        columns.append(imaging.captioned(column, system))
    whole = Image.new("RGB", (SIDE * len(columns), columns[0].height), "white")
    for number, column in enumerate(columns):
        whole.paste(column, (SIDE * number, 0))
    out.write_bytes(small_png(whole, 400_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    runs.add_arguments(parser, Path(__file__).parent)
    parser.add_argument("--picture", type=Path, help="with the table, write a picture of some configurations there")
    parser.set_defaults(threads=1)
    arguments = parser.parse_args()
    place = runs.place_of(arguments, arguments.out / "ablation")
    chosen = runs.chosen(jobs(arguments.seconds), arguments.only)
    path = arguments.out / "ablation.jsonl"
    if "pace" in arguments.stage:
        runs.measure_paces(chosen, place, arguments.pace_seconds, arguments.rounds, arguments.again)
    if "run" in arguments.stage:
        runs.run_all(
            chosen, place, path, arguments.jobs, arguments.keep,
            sheet=lambda job: Path(place.out) / "sheets" / f"{job.name}.png", grid=(8, 8), side=128, bytes=200_000,
        )  # fmt: skip
    if "table" in arguments.stage:
        found = Rows(path).newest("system", "set", "size", "seed", "budget_seconds")
        print(comparison(found, BASE))
        print(ablation(found, BASE))
        if arguments.picture:
            picture(arguments.out / "ablation" / "sheets", arguments.picture)


if __name__ == "__main__":
    main()
