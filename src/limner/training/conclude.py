"""What is done when a training has ended: a thorough evaluation, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from limner import rundir
from limner.data import Collection
from limner.device import is_shortage
from limner.errors import InputError, LimnerError
from limner.generator import load
from limner.judging.evaluate import REAL, Judge, is_of, save_evaluation
from limner.judging.reference import asked_labels, reference
from limner.judging.report import write_report
from limner.judging.report.verdict import verdict
from limner.judging.subjects import TRAIN
from limner.rundir import RunDir
from limner.training.display import Display
from limner.training.judge import sample_count
from limner.training.loop import Loop

THOROUGH = 2
"""Times as many samples as in the evaluations on the way."""


def conclude(
    run: RunDir, loop: Loop, collection: Collection, judge: Judge | None, display: Display
) -> tuple[str, Path | None]:
    """Evaluate a training that is done, and write its report, whatever way it ended.

    The training itself is saved by now: if this fails, that is told, and nothing else is lost.

    Returns:
        the verdict in one sentence (empty without an evaluation), and where the report is (``None`` if it failed).
    """
    headline = ""
    try:
        if judge is not None and loop.ended == "done":
            try:
                headline = _evaluate(run, loop, collection, judge, display)
            except KeyboardInterrupt:
                display.say(
                    f"note: the training is done and saved; judging it was cut short (limner evaluate {run.path})"
                )
        return headline, write_report(run)
    except (LimnerError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_shortage(error):
            raise
        if run.is_there():
            saved = "the training is saved, but could not be judged to the end" if loop.ended == "done" else "no report"
            display.say(f"note: {saved} ({error})")
        return headline, None


def _evaluate(run: RunDir, loop: Loop, collection: Collection, judge: Judge, display: Display) -> str:
    images = loop.progress.images
    count = sample_count(THOROUGH * loop.recipe.evaluation.images, len(collection.train))
    record = _known(run, images)
    if not is_of(record, judge, count):
        display.say(f"judging {count:,} samples")
        real = reference(
            collection,
            judge.reference.extractor,
            seed=loop.recipe.training.seed,
            most=TRAIN,
            advance=display.preparing,
        )
        generator = load(run.newest_checkpoint()[1], str(loop.feed.device))
        labels = asked_labels(generator.classes, collection, count)
        pixels = generator.draw(generator.latents(np.arange(count)), labels)
        asked = None if labels is None else [generator.classes[label] for label in labels]
        record = save_evaluation(run, images, Judge(real, REAL), pixels, range(count), asked)
        if "unsaved" in record:
            display.say(f"note: {record['unsaved']}")
    return verdict(record, list(run.records(rundir.METRICS)), list(run.records(rundir.EVENTS))).headline


def _known(run: RunDir, images: int) -> dict[str, Any]:
    """What an earlier evaluation of the same state found; empty when there is none that can be read."""
    place = dict(run.evaluations()).get(images)
    try:
        return {} if place is None else RunDir(place).read_json(rundir.FIGURES)
    except InputError:
        return {}
