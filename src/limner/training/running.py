"""A loop run to its end with everything that belongs to a training around it: callbacks, signals, the conclusion."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from limner import rundir
from limner.data import Collection
from limner.device import environment
from limner.judging.evaluate import Judge
from limner.judging.features import open_extractor
from limner.judging.reference import reference
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.timing import timed
from limner.training.agreement import begin_together
from limner.training.callbacks import Checkpoint, Measure, Show
from limner.training.conclude import conclude
from limner.training.display import Display
from limner.training.distributed import Group
from limner.training.guard import Guard, event
from limner.training.judge import Examine, interval, sample_count
from limner.training.leaving import Leaving, interruptible
from limner.training.loop import Loop
from limner.training.outcome import Outcome
from limner.training.recovery import Recovery
from limner.training.shortage import Shelter, together
from limner.version import __version__


def generator_description(recipe: Recipe, collection: Collection) -> dict[str, str]:
    """What a generator file says of itself, so that it loads on its own."""
    return {
        "format": "limner-generator-1",
        "limner": __version__,
        "recipe": recipe.to_toml(),
        "data": collection.title,
    }


def make_judge(recipe: Recipe, collection: Collection, device: torch.device, display: Display) -> Judge | None:
    """What compares samples with real images on the way; ``None`` when the recipe gives judging no time.

    Raises:
        InputError: there is no such extractor.
    """
    settings = recipe.evaluation
    if settings.share == 0:
        return None
    extractor = open_extractor(settings.extractor, device if device.type == "cuda" else "cpu")
    real = reference(
        collection, extractor, seed=recipe.training.seed, most=2 * settings.images, advance=display.preparing
    )
    return Judge(real, settings.images)


def run_to_end(
    run: RunDir,
    loop: Loop,
    collection: Collection,
    judge: Judge | None,
    rate: float | None,
    display: Display,
    group: Group,
    unfinished: bool = False,
    memory: int | None = None,
) -> Outcome:
    """Train until the end, save, judge and report; a training at its first update is measured and saved before it.

    Args:
        run: its directory, held by this process.
        loop: at its beginning, or where a checkpoint was taken.
        collection, judge: the data, and what compares samples with it.
        rate: images a second, where that was measured.
        display: where news go.
        group: the processes that train; the others call :func:`follow`.
        unfinished: what is due at the moment where the loop stands has not been done yet.
        memory: bytes that the process may hold, on a CPU.

    Raises:
        LimnerError: something could not be written.
    """
    run.say = display.say
    if loop.recorded is not None:
        loop.recorded.say = display.say
    settings = loop.recipe.snapshots
    guard = Guard(run, loop.recipe.health, display.say)
    measure = Measure(run, settings.log_steps, guard)
    saved = loop.progress.images if run.checkpoints() else -1
    checkpoint = Checkpoint(run, settings.checkpoint_minutes, settings.keep, saved, guard, judge is None)
    measure.defers = loop.feed.device.type == "cuda"
    checkpoint.settle = measure.settle
    show = Show(run, settings, display.grid)
    count = sample_count(loop.recipe.evaluation.images, len(collection.train))
    examine = Examine(run, judge, count, checkpoint, guard) if judge is not None else None

    def last_words(text: str) -> None:
        display.close()
        display.say(text)

    leaving = Leaving(loop, checkpoint, last_words, alone=group.size == 1)
    callbacks = (measure, leaving.first, examine, show, checkpoint, display, leaving.last)
    loop.callbacks = [callback for callback in callbacks if callback is not None]
    loop.go_back = leaving.go_back(Recovery(run, measure, examine, checkpoint, display.say))
    loop.shelter = Shelter(run, checkpoint, display.say, memory) if group.size == 1 else together
    with _ended_by_signals():
        _begin(run, loop, collection, checkpoint, examine, rate, display)
    display.begin(loop, measure.latest)
    group.first(str(run.path))
    with leaving.watching():
        if unfinished:
            loop.ask_all()
        begin_together(loop, group, display.say)
        loop.run()
    progress = loop.progress
    if loop.ended != "done":
        run.append(rundir.EVENTS, event(str(loop.ended), progress.images, reason=loop.reason))
    with _ended_by_signals(), timed("conclusion"):
        headline, report = conclude(run, loop, collection, judge, display)
    named = environment(loop.feed.device, loop.recipe.training.precision)
    return Outcome(
        run=run,
        ended=str(loop.ended),
        reason=loop.reason,
        images=progress.images,
        epochs=loop.epochs,
        seconds=progress.seconds,
        device=f"{named['device_name']}, {named['threads']} threads{group.describe()}"
        if loop.feed.device.type == "cpu"
        else str(named["device_name"]),
        verdict=headline,
        report=report,
    )


def _begin(
    run: RunDir,
    loop: Loop,
    collection: Collection,
    checkpoint: Checkpoint,
    examine: Examine | None,
    rate: float | None,
    display: Display,
) -> None:
    """What comes before the first update: a new run appears, with its untrained state, and that is evaluated."""
    evaluation = loop.recipe.evaluation
    begins = loop.progress.step == 0
    checkpoint.describe(generator_description(loop.recipe, collection))
    if begins and not run.checkpoints():
        # The untrained state is worth coming back to; with it the run has all that going on needs, and appears.
        checkpoint.ask(healthy=True, best=False)
        checkpoint.save(loop)
        run.publish()
    run.on_trouble = display.say  # from here on there is a good state, and a training worth going on with
    unpaced = rate if examine is not None and evaluation.every_images is None else None
    if examine is not None and (begins or unpaced is not None):
        # Also a run of before there were evaluations: its next one is an ordinary one.
        if not any(line["images"] == loop.progress.images for line in examine.lines):
            examine.examine(loop)
            checkpoint.ask(healthy=False, best=False)  # this state has its checkpoint
        if unpaced is not None:
            judged = [line for line in examine.lines if line["images"] == loop.progress.images]
            seconds = (float(judged[-1].get("took", 0.0)) if judged else examine.took) + checkpoint.took
            every = interval(seconds, unpaced, evaluation.share, loop.portion, loop.images)
            loop.recipe = loop.recipe.changed({"evaluation.every_images": every})
            run.write(rundir.RECIPE, loop.recipe.to_toml())
            checkpoint.describe(generator_description(loop.recipe, collection))


def follow(loop: Loop, group: Group) -> Outcome:
    """Train along with the first process, which is in :func:`run_to_end`: this one writes, shows and judges nothing."""
    run = RunDir(Path(group.first("")))
    loop.shelter = together
    with interruptible(loop):
        begin_together(loop, group)
        loop.run()
    progress = loop.progress
    where = str(loop.feed.device)
    return Outcome(run, str(loop.ended), "", progress.images, loop.epochs, progress.seconds, where, follows=True)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends what is going on as SIGINT does, by KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
