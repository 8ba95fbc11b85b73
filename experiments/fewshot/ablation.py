"""What each part of ``fewshot`` is good for: the recipe with one thing changed at a time, in the same time.

    python experiments/fewshot/ablation.py DATA_DIR --out experiments/fewshot [--stage pace run table] [--only NAME,maps,0]

Five minutes of two cores at 64x64 on three sets, two seeds. Stages, resuming and judging are those of compare.py; paces are
measured for each configuration and kept in ablation/paces.json, rows go to ablation.jsonl, sheets to ablation/sheets/.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import runs
from rows import Rows, comparison
from runs import Job

BASE = "fewshot"
CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    BASE: {},
}
"""Name -> fields of the recipe that are set otherwise."""
SETS = ("maps", "emoji", "initials")
SIZE, MINUTES, SEEDS = 64, 5.0, (0, 1)


def jobs(seconds: float | None) -> list[Job]:
    """All trainings: the first seed of everything comes first."""
    return [
        Job(name, chosen, SIZE, seed, seconds or 60 * MINUTES, BASE, overrides)
        for seed in SEEDS
        for chosen in SETS
        for name, overrides in CONFIGURATIONS.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    runs.add_arguments(parser, Path(__file__).parent)
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
        print(comparison(Rows(path).newest("system", "set", "size", "seed", "budget_seconds"), BASE))


if __name__ == "__main__":
    main()
