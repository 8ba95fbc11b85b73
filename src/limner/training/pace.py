"""How fast a training would go, measured on a few updates."""

from __future__ import annotations

import time

import torch

from limner.recipe import Recipe
from limner.training.loop import Loop

SECONDS = 0.7
LEAST_STEPS = 2


def unhurried(recipe: Recipe) -> Recipe:
    """The recipe without a schedule: where minutes decide, its length follows from the pace, which is only being measured."""
    return recipe.changed({"schedule.name": "constant", "schedule.images": None, "schedule.warmup_images": 0})


def pace(loop: Loop, seconds: float = SECONDS) -> float:
    """Images per second of a loop, from so many seconds of it or two updates; the loop is spent afterwards."""
    loop.recipe = unhurried(loop.recipe)
    loop.advance()
    started, steps = time.perf_counter(), 0
    while steps < LEAST_STEPS or time.perf_counter() - started < seconds:
        loop.advance()
        if loop.feed.device.type == "cuda":
            torch.cuda.synchronize(loop.feed.device)
        steps += 1
    return steps * loop.portion / (time.perf_counter() - started)
