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
from rows import Rows, ablation, comparison
from runs import Job

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    runs.add_arguments(parser, Path(__file__).parent)
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


if __name__ == "__main__":
    main()
