"""Memory and time as ``--dry-run`` predicts them, against short trainings.

    python benchmarks/memory.py DATA_DIR [--out results.json] [--only NAME ...] [--steps 4]

DATA_DIR holds the collections named in CASES. Each case is predicted first, and then trained for some updates in a process of
its own, with its evaluations, samples, checkpoints and its end, whose memory is followed as in a rehearsal. Time is that
of its updates alone, the first two left out. With a budget, the case is predicted and trained with what was chosen for it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
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
    return {"image.width": width, "image.height": height or width, "training.batch_size": batch}


_R1 = {"regularizers.r1": 1.0, "regularizers.every": 4, "discriminator.norm": "none"}
_R3GAN = {
    "network.family": "r3gan", "generator.width": 16, "discriminator.width": 16,
    "objective.name": "relativistic", "regularizers.r1": 1.0, "regularizers.r2": 1.0,
}  # fmt: skip
CASES = {
    "dcgan 64 grey, batch 32": Case("initials-64.zip", "dcgan", {"training.batch_size": 32}),
    "quick 64 RGB": Case("noto-emoji-128.zip", "quick", {"image.channels": 3}),
    "dcgan 128 RGB, batch 16": Case("battlemaps-750.zip", "dcgan", _size(128)),
    "dcgan 96x64, R1 every 4th": Case("battlemaps-750.zip", "dcgan", {**_size(96, 64), **_R1}),
    "r3gan 64 RGBA, R1 and R2": Case("noto-emoji-128.zip", "dcgan", {**_size(64), **_R3GAN}),
    "dcgan 256, 16 in 1.5 GB": Case("battlemaps-750.zip", "dcgan", _size(256), 1.5),
    "dcgan 256, 16 in 1.1 GB": Case("battlemaps-750.zip", "dcgan", _size(256), 1.1),
    "dcgan 64, narrow, 512 in 1 GB": Case(
        "initials-64.zip", "dcgan", {"training.batch_size": 512, "generator.width": 16, "discriminator.width": 16}, 1.0
    ),
}  # fmt: skip

TRAINED = """
import json, sys, time
from limner.training import memory
from limner.data.store import cache_root
import limner
from limner.training.display import Quiet
from limner.training.loop import Loop
job = json.loads(sys.stdin.read())
advance, times = Loop.advance, []
def timed(loop):
    began = time.perf_counter()
    advance(loop)
    times.append(time.perf_counter() - began)
    if loop.feed.device.type == "cuda":
        import torch
        torch.cuda.synchronize(loop.feed.device)
Loop.advance = timed
watch = memory.Watch(None, cache_root())
watch.start()
recipe = limner.recipe.Recipe.from_values(job["recipe"])
outcome = limner.train(job["data"], recipe, runs=job["runs"], display=Quiet())
portion = recipe.training.batch_size * recipe.training.critic_steps
steps = outcome.images // portion
every = recipe.regularizers.every
kept = times[-steps:][every > 1 and every or 1:]
import torch
cuda = recipe.training.device.startswith("cuda")
peak = torch.cuda.max_memory_reserved() + 500_000_000 if cuda else watch.peak
print(json.dumps({"peak": peak, "seconds": 1000 * sum(kept) / len(kept) / portion, "ended": outcome.ended}))
"""


def measured(case: Case, folder: Path, steps: int) -> dict[str, Any]:
    """One case, predicted and trained."""
    from limner.training.plan import plan

    began = time.perf_counter()
    data = folder / case.data
    bound = None if case.memory is None else int(case.memory * 1e9)
    planned = plan(data, case.recipe, overrides=case.settings, memory=bound)
    took = time.perf_counter() - began
    training = planned.recipe.training
    # One whole period of lazy penalties, after the first.
    steps = max(steps, 1 + 2 * planned.recipe.regularizers.every)
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
        "dry_run_seconds": round(took, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = {}
    print("| training | at a time | peak, predicted | measured | s per 1,000 images, predicted | measured | dry run |")
    print("|---|---|---|---|---|---|---|")
    for name, case in CASES.items():
        if not arguments.only or name in arguments.only:
            row = rows[name] = measured(case, arguments.data, arguments.steps)
            print(
                f"| {name} | {row['chosen']} | {row['predicted_gb']:.2f} GB | {row['measured_gb']:.2f} GB"
                f" | {row['predicted_seconds']:,.1f} | {row['measured_seconds']:,.1f} | {row['dry_run_seconds']:.0f} s |",
                flush=True,
            )
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
