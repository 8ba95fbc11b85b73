"""How fast a training would go, measured on a few updates."""

from __future__ import annotations

import time

import torch

from limner.training.loop import Loop

SECONDS = 0.7
LEAST_STEPS = 2


def pace(loop: Loop, seconds: float = SECONDS) -> float:
    """Images per second of a loop, from so many seconds of it or two updates; the loop is spent afterwards."""
    loop.advance()
    started, steps = time.perf_counter(), 0
    while steps < LEAST_STEPS or time.perf_counter() - started < seconds:
        loop.advance()
        if loop.feed.device.type == "cuda":
            torch.cuda.synchronize(loop.feed.device)
        steps += 1
    return steps * loop.portion / (time.perf_counter() - started)
