"""Judging on the way: samples against real images, at intervals that are fixed in images when the training starts."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from limner import rundir
from limner.device import is_shortage, release_memory
from limner.generator import at_once
from limner.judging.evaluate import Judge
from limner.judging.health import figure, is_falling, is_good, watch_evaluations
from limner.judging.outlook import WATCHED, is_exhausted, no_gain
from limner.judging.reference import asked_labels
from limner.noise import sample_latents
from limner.rundir import RunDir
from limner.training.callbacks import Checkpoint, sampled
from limner.training.guard import Guard, event
from limner.training.loop import Continue, Loop, Rollback, Signal, Stop

MARGIN = 0.65
"""What is meant to cost a twentieth of the time is planned for less: later evaluations also look for copies, which an untrained
generator has none of, and write checkpoints."""
EVALUATIONS = 100
"""In a training of known length, at most about so many."""
LEAST_SAMPLES = 128
UNJUDGED = "unjudged"
"""The event of an evaluation that there was no memory for."""


class Examine:
    """Evaluates the averaged generator now and then: figures into the metrics, findings to the guard, the best one kept.

    Args:
        run: where metrics are.
        judge: compares with real images.
        count: generated images in an evaluation.
        checkpoint: is asked to keep each healthy state, and the best one.
        guard: what is done about findings.
    """

    part = "evaluations"

    def __init__(self, run: RunDir, judge: Judge, count: int, checkpoint: Checkpoint, guard: Guard) -> None:
        self.run, self.judge, self.count, self.checkpoint, self.guard = run, judge, count, checkpoint, guard
        self._lines: list[dict[str, Any]] | None = None
        self._tried = -1
        self.took = 0.0
        """Seconds, the newest evaluation."""

    def after_step(self, loop: Loop) -> Signal:
        every, now = loop.recipe.evaluation.every_images, loop.progress.images
        if every is None or now // every == (now - loop.portion) // every:
            return Continue()
        return self.examine(loop)

    def at_end(self, loop: Loop) -> Signal:
        tried = self._tried == loop.progress.images or (self.lines and self.lines[-1]["images"] == loop.progress.images)
        if loop.ended == "done" and not tried:
            self.examine(loop)  # at the end there is nothing to go back for: what was found is written down
        return Continue()

    def forget(self) -> None:
        """The training has gone back: what was measured is read again."""
        self._lines = None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The run's metrics so far."""
        if self._lines is None:
            self._lines = list(self.run.records(rundir.METRICS))
        return self._lines

    def examine(self, loop: Loop) -> Signal:
        """Evaluate now; what there is no memory for is left out, and told."""
        began = time.perf_counter()
        self._tried = loop.progress.images
        found = self._figures(loop)
        self.took = time.perf_counter() - began
        return Continue() if found is None else self._noted(loop, found)

    def _figures(self, loop: Loop) -> dict[str, Any] | None:
        """The figures of the generator as it is, or ``None`` without the memory for them."""
        try:
            return self._judged(loop)
        except (MemoryError, RuntimeError) as error:
            if not is_shortage(error):
                raise
        release_memory()
        images, evidence = loop.progress.images, "there was not enough memory to judge samples"
        advice = "fewer of them (evaluation.images) take less, and evaluation.share=0 does without"
        details = {"severity": "note", "evidence": evidence, "advice": advice, "attempt": loop.progress.rollbacks}
        self.run.append(rundir.EVENTS, event(UNJUDGED, images, **details))
        self.guard.say(f"note: at {images:,} images {evidence}; {advice}")
        return None

    def _judged(self, loop: Loop) -> dict[str, Any]:
        z = torch.from_numpy(sample_latents(np.arange(self.count), loop.recipe.network.latent))
        z, labels = z.to(loop.feed.device, loop.feed.dtype), self._labels(loop)
        pixels = sampled(loop.average.current(), z, loop.step.autocast, labels, at_once(loop.recipe))
        found = self.judge.figures(pixels)
        found["copying"].pop("pairs", None)
        return found

    def _noted(self, loop: Loop, found: dict[str, Any]) -> Signal:
        """Figures written down, and what follows from them."""
        progress = loop.progress
        line = {"step": progress.step, "images": progress.images, "seconds": round(progress.seconds, 3), **found}
        # What a rollback may undo is not the best one: it would be left without its line in the metrics.
        best = progress.images > 0 and not is_falling([*self.lines, line]) and _is_best(line, self.lines)
        line |= {"best": best, "took": round(self.took, 3)}
        self.lines.append(line)
        self.run.append(rundir.METRICS, line)
        findings = watch_evaluations(self.lines)
        stalled = no_gain(self.lines)
        if stalled is not None and not findings:  # what is ill gains nothing either, which need not be said
            findings = [stalled]
        signal = self.guard.told(loop, findings)
        if isinstance(signal, Rollback | Stop):
            return signal
        self.checkpoint.ask(healthy=is_good(self.lines), best=best)
        patience = loop.recipe.evaluation.patience
        reason = is_exhausted(self.lines, patience) if patience is not None else None
        return Continue() if reason is None else Stop(reason, satisfied=True)

    def _labels(self, loop: Loop) -> Int[Tensor, " b"] | None:
        """The classes that samples are asked to be of, as frequent as the training images' are."""
        network = loop.recipe.network
        classes = () if network.conditioning == "none" else network.classes or ()
        labels = asked_labels(classes, self.judge.reference.collection, self.count)
        return None if labels is None else torch.from_numpy(labels).to(loop.feed.device)


def sample_count(most: int, real: int) -> int:
    """How many samples an evaluation looks at: no more than there are real images to hold beside them, but not just a few."""
    return min(most, max(LEAST_SAMPLES, real))


def _is_best(line: dict[str, Any], before: list[dict[str, Any]]) -> bool:
    now = figure(line, WATCHED)
    values = [value for old in before if old["images"] > 0 and (value := figure(old, WATCHED)) is not None]
    return now is not None and now < min(values, default=math.inf)


def interval(seconds: float, rate: float, share: float, batch: int, total: int | None) -> int:
    """Images between two evaluations, in whole batches, so that they take at most a share of the time.

    Args:
        seconds: that an evaluation takes.
        rate: images per second of training.
        share: of the time, over 0.
        batch: images in an update.
        total: images of the training, where that is known.
    """
    images = seconds * (1 - share) / (share * MARGIN) * rate
    if total is not None:
        images = max(images, total / EVALUATIONS)
    return max(1, math.ceil(images / batch)) * batch
