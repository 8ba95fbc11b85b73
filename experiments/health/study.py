"""Are broken trainings caught, and healthy ones left alone? Ten of these, and five ways of breaking one.

    python experiments/health/study.py DATA_DIR --out experiments/health

DATA_DIR holds initials-64.zip, fashion-mnist, battlemaps-750.zip and noto-emoji-128.zip. Results go to results.json, one
record a training: its events and what was measured. About 25 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import limner
from limner import rundir
from limner.device import processor_name
from limner.training import assembly
from limner.training.display import Quiet
from limner.training.loop import Continue, Loop, Signal
from limner.training.objectives import Objective, non_saturating
from limner.training.outcome import Outcome

IMAGES = 20_000
COMMON = {"evaluation.images": 250, "evaluation.every_images": 1600}
HEALTH = ("started", "interrupted", "resumed")


class Nan(Quiet):
    """The first weights become NaN, once."""

    def after_step(self, loop: Loop) -> Signal:
        if loop.progress.step == 300 and not loop.progress.rollbacks:
            with torch.no_grad():
                next(loop.step.generator.parameters()).fill_(math.nan)
        return Continue()


class Constant(Quiet):
    """The generator draws the same whatever its latents are, from some update on."""

    def __init__(self, first: int) -> None:
        self.first = first

    def after_step(self, loop: Loop) -> Signal:
        if loop.progress.step == self.first and not loop.progress.rollbacks:
            for network in (loop.step.generator, loop.average.network):
                network.register_forward_pre_hook(lambda module, given: (torch.zeros_like(given[0]),))
        return Continue()


def swapped(real_label: float = 1.0) -> Objective:
    """A discriminator that is told that real images are generated, and the other way round."""
    right = non_saturating(real_label)
    return Objective(lambda real, fake: right.discriminator(fake, real), right.generator, right.least)


class Swapped(dict[str, Any]):
    """A table of objectives in which every one is :func:`swapped`."""

    def __getitem__(self, name: str) -> Any:
        return type("Entry", (), {"load": staticmethod(lambda: swapped), "fields": ("objective.real_label",)})


def cases(data: Path) -> dict[str, Callable[[Path], Outcome]]:
    """What is trained, by name: a function of the directory that runs go to."""
    initials, fashion = data / "initials-64.zip", data / "fashion-mnist"
    maps, emoji = data / "battlemaps-750.zip", data / "noto-emoji-128.zip"
    small = {"image.width": 32, "image.height": 32}

    def run(source: str | Path, recipe: str = "quick", display: Quiet | None = None, **more: Any) -> Any:
        settings = {**COMMON, "training.images": IMAGES, **more}

        def start(runs: Path) -> Any:
            return limner.train(source, recipe, overrides=settings, runs=runs, display=display or Quiet())

        return start

    def with_swapped_labels(runs: Path) -> Any:
        usual = assembly.OBJECTIVES
        assembly.OBJECTIVES = Swapped()
        try:
            return run(fashion)(runs)
        finally:
            assembly.OBJECTIVES = usual

    fast = {"generator.lr": 0.05, "discriminator.lr": 0.05}
    twelve = {**small, "training.images": 48_000, "training.batch_size": 12, "generator.lr": 0.002}
    found: dict[str, Any] = {
        "healthy initials 1": run(initials, **small),
        "healthy initials 2": run(initials, "initials", **small, **{"training.seed": 2}),
        "healthy fashion 1": run(fashion, "fashion"),
        "healthy fashion 2": run(fashion, "quick", **{"training.seed": 2}),
        "healthy fashion 3": run(fashion, "vanilla", **{"training.images": 64_000, "evaluation.every_images": 6400}),
        "healthy emoji 1": run(emoji, **small),
        "healthy emoji 2": run(emoji, **small, **{"training.seed": 2, "generator.lr": 0.001}),
        "healthy maps": run(maps, **{"image.width": 48, "image.height": 32}),
        "healthy drawn initials": run("procedural:initials:800", **small),
        "healthy drawn maps": run("procedural:maps:400", **small),
        "broken lr 0.05, fully connected": run(fashion, "vanilla", **{**fast, "training.images": 64_000}),
        "broken lr 0.05, initials recipe": run(initials, "initials", **small, **fast),
        "broken constant from the start": run(emoji, display=Constant(1), **small),
        "broken constant on the way": run("procedural:initials:800", display=Constant(500), **small),
        "broken swapped labels": with_swapped_labels,
        "broken nan": run(fashion, display=Nan()),
        "broken twelve images": run("procedural:initials:12", **twelve),
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("experiments/health"))
    parser.add_argument("--only", default="", help="only cases whose name holds this")
    arguments = parser.parse_args()
    path = arguments.out / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {"trainings": {}}
    results["machine"] = f"{processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    with tempfile.TemporaryDirectory() as folder:
        for name, start in cases(arguments.data).items():
            if arguments.only not in name:
                continue
            began = time.perf_counter()
            outcome = start(Path(folder))
            metrics = list(outcome.run.records(rundir.METRICS))
            events = [record for record in outcome.run.records(rundir.EVENTS) if record["event"] not in HEALTH]
            results["trainings"][name] = {
                "ended": outcome.ended,
                "images": outcome.images,
                "seconds": round(time.perf_counter() - began, 1),
                "events": [
                    {key: event[key] for key in ("event", "images", "to", "evidence") if key in event}
                    for event in events
                ],
                "figures": {key: value["value"] for key, value in metrics[-1]["figures"].items()},
                "copying": metrics[-1]["copying"]["verdict"],
            }
            told = ", ".join(f"{event['event']} at {event['images']:,}" for event in events) or "nothing"
            print(f"{name}: {outcome.ended} after {outcome.images:,} images; {told}", flush=True)
            path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
