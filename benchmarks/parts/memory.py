"""Goal 6: what a training holds, and whether it grows.

The leak test is a real training with a very small network and all that goes on around one: augmentation, penalties, 10,000
updates with a log line at every 20th, grids and checkpoints; what is compared is anonymous resident memory after 1,000 updates
and at the end. Peaks are of whole updates, one of them with its penalties, in a process of its own (imports included, pages
of mapped files too).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from parts import drawn
from parts.contest import in_child, peak
from parts.figures import Figure, figure
from parts.settings import Settings
from parts.training import CASES, Case, limner_loop

GROWN_MOST = 5.0
"""MB over 9,000 updates that count as none: what allocators move about."""


def held() -> float:
    """Anonymous resident memory of this process, MB."""
    with open("/proc/self/status", encoding="ascii") as file:
        facts = dict(line.split(":", 1) for line in file)
    return float(facts["RssAnon"].split()[0]) / 1000


def grown(data: Path, runs: Path, cache: Path, updates: int) -> list[float]:
    """MB held after each tenth of the updates of a small training."""
    import os

    os.environ["LIMNER_CACHE"] = str(cache)
    torch.set_num_threads(1)
    import limner
    from limner.training.display import Quiet
    from limner.training.loop import Continue, Loop, Signal

    found: list[float] = []

    class Watching(Quiet):
        def after_step(self, loop: Loop) -> Signal:
            if loop.progress.step % (updates // 10) == 0:
                found.append(held())
            return Continue()

    settings = {
        "image.width": 8, "image.height": 8, "generator.width": 2, "discriminator.width": 2, "training.batch_size": 2,
        "training.minutes": None, "training.images": 2 * updates, "evaluation.share": 0.0,
        "snapshots.every_images": updates / 2,
        "snapshots.checkpoint_minutes": 0.05, "snapshots.grid": 16, "training.precision": "float32", "training.device": "cpu",
        "objective.name": "relativistic", "discriminator.norm": "none", "regularizers.r1": 0.1, "regularizers.r2": 0.1,
        "regularizers.every": 16,
        "augment.policy": ["color"], "augment.target": 0.6,
    }  # fmt: skip
    limner.train(data, "quick", overrides=settings, runs=runs, display=Watching())
    return found


def peak_of(case: Case, precision: str, device_name: str, updates: int) -> float:
    """GB that a process holds at most in so many updates."""
    loop = limner_loop(case, precision, device_name, case.overrides["training.batch_size"])
    for _ in range(updates):
        loop.advance()
    return peak(torch.device(device_name)) / 1e9


def run(settings: Settings) -> list[Figure]:
    """Growth, and two peaks."""
    settings.work.mkdir(parents=True, exist_ok=True)
    updates = 100 if settings.tiny else 10_000
    data = drawn.zipped(settings.work / "small.zip", 64, (16, 16), "PNG")
    folders = {"runs": settings.work / "runs", "cache": settings.work / "cache"}
    batch = {"training.batch_size": 2 if settings.tiny else 8}
    size = (48, 40) if settings.tiny else (750, 750)
    maps = replace(CASES["mapmaker 750x750"], size=size, overrides=batch)
    widths = {"generator.width": 16, "discriminator.width": 16, "regularizers.every": 1}
    few = Case("fewshot", size, 3, 1.0, {**batch, **widths})
    told = {"precision": settings.precision, "device_name": str(settings.device)}
    with ThreadPoolExecutor(1) as beside:  # on one thread, and without a clock; the peaks one after the other
        growing = beside.submit(in_child, grown, data=data, updates=updates, **folders)
        peaks = [in_child(peak_of, case=case, updates=count, **told) for case, count in ((maps, 2), (few, 1))]
        trail = growing.result()
    return [
        figure(
            f"grown from update {updates // 10:,} to {updates:,}", "MB", trail[-1] - trail[0], GROWN_MOST, most=True
        ),
        figure("held in that training", "MB", trail),
        figure("mapmaker 750x750 at batch 8: peak", "GB", peaks[0], 17.2, most=True),
        figure(
            "fewshot 750x750 at batch 8, width 16: peak",
            "GB",
            peaks[1],
            10.7,
            most=True,
        ),
    ]
