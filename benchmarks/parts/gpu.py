"""Goal 8: what a GPU makes of it. Throughput over batch sizes, an epoch of Fashion-MNIST, and a hand-written FastGAN-
style loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from limner.device import choose_precision
from parts.contest import contest, in_child
from parts.figures import Figure, figure
from parts.machine import synchronise
from parts.settings import Settings
from parts.training import CASES, Case, counted, limner_loop, limner_step, reference_step

BATCHES = (64, 128, 256, 512, 1024, 2048)
FEW = Case(
    "fewshot",
    (256, 256),
    3,
    3.0,
    {"generator.width": 64, "discriminator.width": 64, "training.batch_size": 16},
    cycle=4,
)


def epoch(case: Case, precision: str, device_name: str, images: int) -> float:
    """Seconds for so many images, after some updates that warm up."""
    loop = limner_loop(case, precision, device_name, images)
    for _ in range(20):
        loop.advance()
    synchronise(loop.feed.device)
    began = time.perf_counter()
    for _ in range(-(-images // loop.portion)):
        loop.advance()
    synchronise(loop.feed.device)
    return time.perf_counter() - began


def fastgan_step(size: int, batch: int, width: int, device_name: str) -> Callable[[], int]:
    """One update of the hand-written baseline (``benchmarks/fastgan.py``), in float32."""
    import fastgan

    fastgan.BATCH = batch
    pixels = np.random.default_rng(0).integers(0, 256, (max(batch, 64), size, size, 3), dtype=np.uint8)
    trainer = fastgan.Trainer(pixels, 0, width, device_name, "float32")

    def step() -> int:
        trainer.step()
        return batch

    return step


def run(settings: Settings) -> list[Figure]:
    """Everything of goal 8; nothing on a machine that is measured on its CPU."""
    device = str(settings.device)
    if settings.device.type != "cuda" and not settings.tiny:
        return []
    precision = choose_precision(settings.precision, settings.device)
    batches = (4, 8) if settings.tiny else BATCHES
    book = replace(CASES["dcgan 64x64"], **({"size": (16, 16), "book": False} if settings.tiny else {}))
    narrow = {"generator.width": 2, "discriminator.width": 2} if settings.tiny else {}
    book = replace(book, overrides={**book.overrides, **narrow})
    cost = in_child(counted, case=book, device_name=device)["limner"]
    found, best = [], 0.0
    for batch in batches:
        case = replace(book, overrides={**book.overrides, "training.batch_size": batch})
        given = {"case": case, "device_name": device}
        rounds = contest(
            {"textbook": (reference_step, given), "limner": (limner_step, {**given, "precision": precision})},
            rounds=settings.rounds,
            seconds=settings.seconds / 2,
            device=settings.device,
            tiny=settings.tiny,
        )
        rates = [each.turns["limner"].rate for each in rounds]
        kind = precision if precision in rounds[0].limits else "float32"
        share = [rate * cost / each.limits[kind] for rate, each in zip(rates, rounds, strict=True)]
        best = max(best, sorted(share)[len(share) // 2])
        goal = 5.0 if batch == 64 else None
        found += [
            figure(
                f"dcgan, batch {batch}: times the textbook loop",
                "",
                [each.ratio("limner", "textbook") for each in rounds],
                goal,
            ),
            figure(f"dcgan, batch {batch}: limner in {precision}", "images/s", rates),
            figure(f"dcgan, batch {batch}: share of the {kind} product", "", share),
            figure(f"dcgan, batch {batch}: memory", "GB", [each.turns["limner"].peak / 1e9 for each in rounds]),
        ]
    found.append(figure("dcgan at its best batch: share of the product", "", best, 0.35))
    images = 64 if settings.tiny else 60_000
    small = Case("fashion", (28, 28), 1, 1.0, narrow)
    seconds = in_child(epoch, case=small, precision=precision, device_name=device, images=images)
    found.append(figure("an epoch of 60,000 with fashion", "s", seconds, 1.0, most=True))
    few = FEW.small() if settings.tiny else FEW
    batch, width, size = (2, 2, 64) if settings.tiny else (16, 64, 256)
    rounds = contest(
        {
            "baseline": (fastgan_step, {"size": size, "batch": batch, "width": width, "device_name": device}),
            "limner": (limner_step, {"case": few, "precision": precision, "device_name": device}),
        },
        rounds=settings.rounds,
        seconds=settings.seconds / 2,
        device=settings.device,
        cycle=few.cycle,
        tiny=settings.tiny,
    )
    times = [each.ratio("limner", "baseline") for each in rounds]
    return [*found, figure("fewshot 256x256, batch 16: times the FastGAN-style loop", "", times, 3.0)]
