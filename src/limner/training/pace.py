"""How fast a training would go, measured on a few updates."""

from __future__ import annotations

import time

import torch

from limner.recipe import Recipe
from limner.training.loop import Loop
from limner.training.recording import WARM

SECONDS = 0.7
LEAST_STEPS = 2


def unhurried(recipe: Recipe) -> Recipe:
    """The recipe without a schedule: where minutes decide, its length follows from the pace, which is only being measured."""
    return recipe.changed({"schedule.name": "constant", "schedule.images": None, "schedule.warmup_images": 0})


def pace(loop: Loop, seconds: float = SECONDS) -> float:
    """Images per second of a loop, from so many seconds of it or two updates; the loop is spent afterwards.

    With several processes all of them measure, and the first one's clock counts.
    """
    loop.recipe = unhurried(loop.recipe)
    cycle = warm_up(loop)
    started, steps = time.perf_counter(), 0
    # Whole cycles of lazy penalties, which may cost as much as the rest of an update.
    first = loop.step.together.first
    while first(steps < LEAST_STEPS or steps % cycle or time.perf_counter() - started < seconds):
        _advance(loop)
        steps += 1
    return first(steps * loop.portion / (time.perf_counter() - started))


def warm_up(loop: Loop) -> int:
    """Advance until updates take what they will take from then on: recorded where they can be, of every kind.

    Returns:
        updates in one cycle of lazy penalties.
    """
    cycle = -(-loop.step.penalties.every // loop.recipe.training.critic_steps) if loop.step.penalties.terms else 1
    for _ in range(1 if loop.recorded is None else (WARM + 1) * cycle):
        _advance(loop)
    return cycle


def _advance(loop: Loop) -> None:
    loop.advance()
    if loop.feed.device.type == "cuda":
        torch.cuda.synchronize(loop.feed.device)
