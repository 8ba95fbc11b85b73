"""Goal 7: what an image costs against its size, and against the number of images that there are.

Against size: ``fewshot`` with 8 channels, batches of 4, from 32x32 to 512x512. Against number: a tiny pair at 16x16 on
100 to 1,000,000 pictures in memory, so that what is not the network would show; an epoch's order, which is drawn once
an epoch, is counted in.
"""

from __future__ import annotations

import time

import torch

from limner import noise
from limner.noise import Stream
from limner.recipe import Recipe
from limner.training.assembly import assemble, resolved
from limner.training.loop import Loop
from parts.contest import in_child
from parts.figures import Figure, figure
from parts.machine import synchronise
from parts.settings import Settings
from parts.training import Case, collection, limner_loop

SIDES = (32, 64, 128, 256, 512)
COUNTS = (100, 1_000, 10_000, 100_000, 1_000_000)
NEAR = 1.25
"""Times as much for an image of the largest collection as of the smallest that counts as constant."""


def _cost(loop: Loop, updates: int, rounds: int) -> float:
    """Milliseconds an image: the best of some rounds, whatever else the machine does."""
    loop.advance()
    best = float("inf")
    for _ in range(rounds):
        synchronise(loop.feed.device)
        began = time.perf_counter()
        for _ in range(updates):
            loop.advance()
        synchronise(loop.feed.device)
        best = min(best, time.perf_counter() - began)
    return 1000 * best / (updates * loop.portion)


def against_size(sides: tuple[int, ...], precision: str, device_name: str, rounds: int) -> list[float]:
    """Milliseconds an image at each size."""
    settings = {"generator.width": 8, "discriminator.width": 8, "training.batch_size": 4}
    costs = []
    for side in sides:
        loop = limner_loop(Case("fewshot", (side, side), 3, 1.0, settings), precision, device_name, 16)
        costs.append(_cost(loop, 4, rounds))
    return costs


def against_count(counts: tuple[int, ...], device_name: str, rounds: int) -> list[float]:
    """Milliseconds an image with each number of images."""
    device = torch.device(device_name)
    settings = {
        "image.width": 16, "image.height": 16, "image.channels": 1, "generator.width": 4, "discriminator.width": 4,
        "training.precision": "float32",
    }  # fmt: skip
    costs = []
    for count in counts:
        pictures = collection(count, (16, 16), 1)
        loop = assemble(resolved(Recipe.load("dcgan", settings), pictures, device), pictures, device)
        began = time.perf_counter()
        noise.permutation(0, Stream.DATA_ORDER, 0, count)
        order = 1000 * (time.perf_counter() - began) / count
        costs.append(_cost(loop, 10, rounds) + order)
    return costs


def run(settings: Settings) -> list[Figure]:
    """Both."""
    device, rounds = str(settings.device), 1 if settings.tiny else 3
    sides, counts = (SIDES[:2], COUNTS[:2]) if settings.tiny else (SIDES, COUNTS)
    by_size = in_child(against_size, sides=sides, precision=settings.precision, device_name=device, rounds=rounds)
    by_count = in_child(against_count, counts=counts, device_name=device, rounds=rounds)
    last = by_count[-1] / min(by_count[:-1])
    return [
        *(figure(f"an image at {side}x{side}", "ms", cost) for side, cost in zip(sides, by_size, strict=True)),
        *(figure(f"an image of {count:,}", "ms", cost) for count, cost in zip(counts, by_count, strict=True)),
        figure(f"an image of {counts[-1]:,} against one of a smaller collection", "", last, NEAR, most=True),
    ]
