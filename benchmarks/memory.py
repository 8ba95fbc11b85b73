"""Memory and time as ``--dry-run`` predicts them, against short trainings.

    python benchmarks/memory.py DATA_DIR [--out results.json] [--only NAME ...] [--steps 4] [--rounds 1]

DATA_DIR holds the collections named in CASES. Each case is predicted first, and then trained for some updates in a process of
its own, with its evaluations, samples, checkpoints and its end, whose memory is followed as in a rehearsal. Time is that of its
updates alone, the first left out (with lazy penalties, the first period), by the clock and by the processor: on a shared
machine only the latter compares. With a budget, the case is predicted and trained with what was chosen for it. A machine that
is not alone on its processor changes its speed within minutes: rounds predict and train in turns, and the median counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any


@dataclass(frozen=True)
class Case:
    """One training: data, recipe, what is set otherwise, and a budget in GB."""

    data: str
    recipe: str
    settings: dict[str, Any] = field(default_factory=dict)
    memory: float | None = None


def _size(width: int, height: int | None = None, batch: int = 16) -> dict[str, Any]:
    return {"image.width": width, "image.height": height or width, "training.batch_size": batch, "image.channels": 3}


SAMPLES = 200
"""In an evaluation: fewer than usual, because drawing them takes longer than all else."""
_R1 = {"regularizers.r1": 1.0, "regularizers.every": 4, "discriminator.norm": "none"}
_R3GAN = {
    "network.family": "r3gan", "generator.width": 16, "discriminator.width": 16,
    "objective.name": "relativistic", "regularizers.r1": 1.0, "regularizers.r2": 1.0,
}  # fmt: skip
_NARROW = {"generator.width": 8, "discriminator.width": 8}
_MAPS, _EMOJI = "battlemaps-750.zip", "noto-emoji-128.zip"
CASES = {
    "quick 64 RGB": Case(_EMOJI, "quick", {"image.channels": 3}),
    "dcgan 64 RGB, batch 16": Case(_MAPS, "dcgan", _size(64)),
    "dcgan 96x64, width 16, R1 every 4th": Case(
        _MAPS, "dcgan", {**_size(96, 64), **_R1, "generator.width": 16, "discriminator.width": 16}
    ),
    "r3gan 64 RGB, width 16, R1 and R2": Case(_EMOJI, "dcgan", {**_size(64), **_R3GAN}),
    "dcgan 256, width 8, batch 32": Case(_MAPS, "dcgan", {**_size(256, batch=32), **_NARROW}),
    "dcgan 512, width 8, batch 32": Case(_MAPS, "dcgan", {**_size(512, batch=32), **_NARROW}),
    "the same in 1.9 GB": Case(_MAPS, "dcgan", {**_size(512, batch=32), **_NARROW}, 1.9),
    "mapmaker 750 in 24 GB": Case(_MAPS, "mapmaker", {}, 24),
    "fewshot 750 in 24 GB": Case(_MAPS, "fewshot", {"image.width": 750, "image.height": 750}, 24),
    "dcgan 64 RGB, batch 256 in 1.2 GB": Case(_EMOJI, "dcgan", _size(64, batch=256), 1.2),
}


TRAINED = """
import json, sys, time
import torch
from limner.training import memory
from limner.data.store import cache_root
import limner
from limner.training.display import Quiet
from limner.training.loop import Loop
job = json.loads(sys.stdin.read())
advance, times = Loop.advance, []
def timed(loop):
    began, had = time.perf_counter(), time.process_time()
    advance(loop)
    if loop.feed.device.type == "cuda":
        import torch
        torch.cuda.synchronize(loop.feed.device)
    times.append((time.perf_counter() - began, time.process_time() - had))
Loop.advance = timed
watch = memory.Watch(None, cache_root())
watch.start()
recipe = limner.recipe.Recipe.from_values(job["recipe"])
outcome = limner.train(job["data"], recipe, runs=job["runs"], display=Quiet())
portion = recipe.training.batch_size * recipe.training.critic_steps
steps = outcome.images // portion
every = recipe.regularizers.every
kept = times[every : steps // every * every] if every > 1 else times[1:steps]
cuda = recipe.training.device.startswith("cuda")
peak = torch.cuda.max_memory_reserved() + 500_000_000 if cuda else watch.peak
wall, processor = (1000 * sum(part) / len(kept) / portion for part in zip(*kept))
print(json.dumps({"peak": peak, "seconds": wall, "processor": processor, "ended": outcome.ended}))
"""


def measured(case: Case, folder: Path, steps: int) -> dict[str, Any]:
    """One case, predicted and trained."""
    from limner.training.plan import plan

    began = time.perf_counter()
    data = folder / case.data
    bound = None if case.memory is None else int(case.memory * 1e9)
    settings = {**case.settings, "evaluation.images": SAMPLES}
    planned = plan(data, case.recipe, overrides=settings, memory=bound)
    took = time.perf_counter() - began
    training = planned.recipe.training
    # Of lazy penalties two whole periods at least, of which the first is not timed.
    every = planned.recipe.regularizers.every
    steps = max(steps, 2 * every) if every > 1 else steps
    images = steps * training.batch_size * training.critic_steps
    changes = {"training.images": images, "evaluation.every_images": images}
    with TemporaryDirectory() as runs:
        job = {"data": str(data), "recipe": planned.recipe.changed(changes).values(), "runs": runs}
        command = [sys.executable, "-c", TRAINED]
        ended = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=True)
    real = json.loads(ended.stdout.splitlines()[-1])
    return {
        "chosen": f"{training.micro_batch or training.batch_size} of {training.batch_size}"
        + (", recomputed" if training.recompute else ""),
        "budget": case.memory,
        "predicted_gb": round(planned.memory / 1e9, 3),
        "measured_gb": round(real["peak"] / 1e9, 3),
        "predicted_seconds": round(planned.seconds_per_1000_images, 1),
        "measured_seconds": round(real["seconds"], 1),
        "predicted_processor_seconds": round(planned.seconds_per_1000_images * planned.processor, 1),
        "measured_processor_seconds": round(real["processor"], 1),
        "dry_run_seconds": round(took, 1),
    }


def median_of(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure, and what every round said."""
    row = dict(rounds[0])
    figures = [key for key in row if key not in ("chosen", "budget")]
    row.update({key: round(median(one[key] for one in rounds), 3) for key in figures})
    if len(rounds) > 1:
        row["rounds"] = {key: [one[key] for one in rounds] for key in figures}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = {}
    print(
        "| training | at a time | peak, predicted | measured | s per 1,000 images, predicted | measured"
        " | processor's s, predicted | measured | dry run |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name, case in CASES.items():
        if not arguments.only or name in arguments.only:
            rounds = [measured(case, arguments.data, arguments.steps) for _ in range(arguments.rounds)]
            row = rows[name] = median_of(rounds)
            seconds = [
                row[f"{what}{kind}_seconds"] for kind in ("", "_processor") for what in ("predicted", "measured")
            ]
            times = " | ".join(f"{value:,.1f}" for value in seconds)
            peaks = f"{row['predicted_gb']:.2f} GB | {row['measured_gb']:.2f} GB"
            print(f"| {name} | {row['chosen']} | {peaks} | {times} | {row['dry_run_seconds']:.0f} s |", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
