"""A training from its beginning to its end, or from a checkpoint on: data, loop, callbacks, and what is left behind."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from limner import rundir
from limner.data import Collection, prepare
from limner.device import choose_device, environment
from limner.errors import InputError
from limner.judging.evaluate import Judge
from limner.judging.features import open_extractor
from limner.judging.inspect.quick import quick_findings
from limner.judging.reference import reference
from limner.recipe import DEFAULT, Recipe
from limner.rundir import RunDir
from limner.training import display as displays
from limner.training.assembly import assemble, resolved
from limner.training.callbacks import Checkpoint, Measure, Show
from limner.training.conclude import conclude
from limner.training.guard import Guard, event
from limner.training.judge import Examine, interval, sample_count
from limner.training.loop import Loop
from limner.training.memory import fit
from limner.training.outcome import Outcome
from limner.training.pace import pace
from limner.training.recovery import Recovery, load_checkpoint
from limner.training.sizing import is_sized, sized, widths
from limner.training.warm_start import begin, like
from limner.version import __version__

SKIPPED_NAMED = 5


def train(
    data: str | Path,
    recipe: str | Path | Recipe = DEFAULT,
    *,
    overrides: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
    name: str | None = None,
    default_name: str | None = None,
    start_from: str | Path | None = None,
    start_at: str = "newest",
    memory: int | None = None,
    display: displays.Display | None = None,
) -> Outcome:
    """Train a generator on a collection of images.

    Args:
        data: what :func:`limner.data.open_source` reads: a folder, zip, IDX, npz, HDF5, ``hf:...``, ``procedural:...``.
        recipe: a shipped name, a TOML file, or a recipe.
        overrides: fields set otherwise, by ``section.field``.
        runs: where run directories lie.
        name: the run's name; must be free.
        default_name: without a name this one, or the data's, numbered when it is taken.
        start_from: a run, a checkpoint or a generator file of the same family whose weights are taken where they fit.
        start_at: which snapshot of a run: ``newest``, ``best``, or a number of images.
        memory: bytes that the training may take; micro-batch and recomputation are chosen so that it does not take more.
        display: where news go; the terminal by default.

    Raises:
        InputError: the call, the recipe or the data is wrong.
        LimnerError: something failed on the way.
    """
    recipe = Recipe.load(recipe, overrides)
    device = choose_device(recipe.training.device)
    RunDir.check(Path(runs), name)
    if start_from is not None:
        recipe = like(recipe, start_from, start_at)  # now, so that a mistake is told before the data is prepared
    with displays.opened(display) as shown:
        collection = prepare(data, recipe.image, seed=recipe.training.seed, progress=shown.preparing)
        recipe = resolved(recipe, collection, device)
        if not is_sized(recipe):
            shown.say("measuring how wide the networks may be in the time there is")
            recipe = sized(recipe, collection, device)
            shown.say(f"networks: {widths(recipe)}")
        if memory is not None:
            fitted = fit(data, recipe, memory, 0, shown.say, torch.get_num_threads())
            recipe = fitted.recipe
            shown.say(f"memory: {fitted.said or f'{fitted.found.peak / 1e9:.2f} of {memory / 1e9:.3g} GB at its peak'}")
        _introduce(shown, recipe, collection)
        judge = make_judge(recipe, collection, device, shown)
        # Measured on a loop of its own: the training is the same whether it was measured or not.
        rate = pace(assemble(recipe, collection, device)) if _asks_for_pace(recipe, judge) else None
        recipe = _scheduled(recipe, rate)
        loop = assemble(recipe, collection, device)
        taken = None if start_from is None else begin(loop, start_from, start_at)
        run = RunDir.create(Path(runs), name, default_name or collection.title)
        with run.locked():
            run.write(rundir.RECIPE, recipe.to_toml())
            run.write(rundir.DATA, collection.summary)
            run.write(rundir.ENVIRONMENT, environment(device, recipe.training.precision))
            run.append(rundir.EVENTS, event("started", 0, command=sys.argv))
            if taken is not None:
                run.append(rundir.EVENTS, taken.event())
                shown.say(taken.describe())
            return _run(run, loop, collection, judge, rate, shown)


def resume(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    display: displays.Display | None = None,
) -> Outcome:
    """Go on with a training from its newest checkpoint, exactly as if it had never stopped.

    Args:
        path: the run directory.
        overrides: fields to change from here on, by ``section.field`` (a longer duration, say).
        display: where news go.

    Raises:
        InputError: it is no run directory, has no checkpoint, or its data is gone.
        LimnerError: something failed on the way.
    """
    run = RunDir.open(path)
    with displays.opened(display) as shown, run.locked():
        run.sweep()
        before, overrides = run.recipe(), overrides or {}
        recipe = _stretched(before.changed(overrides), before)
        for player in ("generator", "discriminator"):
            for name in ("width", "optimizer"):
                was, now = (getattr(getattr(one, player), name) for one in (before, recipe))
                if was != now:
                    raise InputError(
                        f"{run.path}: {player}.{name} is {was} and cannot be changed on the way (to {now})"
                    )
        images, checkpoint = run.newest_checkpoint()
        data, was = run.read_json(rundir.DATA), run.read_json(rundir.ENVIRONMENT)
        if not isinstance(data.get("location"), str):
            raise InputError(f"{run.path / rundir.DATA}: is damaged (it has no location)")
        device = choose_device(recipe.training.device)
        collection = prepare(data["location"], recipe.image, seed=recipe.training.seed, progress=shown.preparing)
        recipe = resolved(recipe, collection, device)
        judge = make_judge(recipe, collection, device, shown)
        rate = pace(assemble(recipe, collection, device)) if _asks_for_pace(recipe, judge) else None
        recipe = _scheduled(recipe, rate)
        loop = assemble(recipe, collection, device)
        load_checkpoint(loop, checkpoint)
        if overrides and loop.images is not None and loop.images < loop.progress.images:
            raise InputError(
                f"{run.path}: has seen {loop.progress.images:,} images already, more than the {loop.images:,} asked for;"
                " durations count from the beginning of the training"
            )
        now = environment(device, recipe.training.precision)
        for note in _inexact(data, collection, was, now):
            shown.say(f"note: {note}")
        if recipe != before:
            run.write(rundir.RECIPE, recipe.to_toml())
        run.write(rundir.DATA, collection.summary)
        run.rewind(images)
        details = {"content_hash": collection.content_hash, "environment": now, "changes": dict(overrides)}
        run.append(rundir.EVENTS, event("resumed", images, **details))
        return _run(run, loop, collection, judge, rate, shown)


def _asks_for_pace(recipe: Recipe, judge: Judge | None) -> bool:
    """Whether images per second have to be known before the training begins."""
    falling = recipe.schedule.name != "constant" and recipe.schedule.images is None
    return (judge is not None and recipe.evaluation.every_images is None) or (
        falling and recipe.training.minutes is not None
    )


def _scheduled(recipe: Recipe, rate: float | None) -> Recipe:
    """The recipe with the images over which rates fall, where minutes decide how long a training is."""
    settings, minutes = recipe.schedule, recipe.training.minutes
    if settings.name == "constant" or settings.images is not None or minutes is None or rate is None:
        return recipe
    images = round(60 * minutes * (1 - recipe.evaluation.share) * rate)
    return recipe.changed({"schedule.images": max(settings.warmup_images + 1, images)})


def _stretched(recipe: Recipe, before: Recipe) -> Recipe:
    """The recipe with a schedule as much longer as its minutes are."""
    images, minutes, had = before.schedule.images, recipe.training.minutes, before.training.minutes
    if images is None or minutes is None or had is None or minutes == had or recipe.schedule != before.schedule:
        return recipe
    return recipe.changed({"schedule.images": max(recipe.schedule.warmup_images + 1, round(images * minutes / had))})


def _inexact(
    data: Mapping[str, Any], collection: Collection, was: Mapping[str, Any], now: Mapping[str, Any]
) -> list[str]:
    """Why a resumed training will not be, bit for bit, what an unbroken one would have been."""
    notes = []
    if collection.content_hash != data.get("content_hash"):
        notes.append(f"{data['location']} has changed since this training began; it goes on with what is there now")
    changed = [
        f"{key} was {was.get(key)} and is {now[key]}"
        for key in ("torch", "processor", "device", "threads", "precision")
        if was.get(key) != now[key]
    ]
    if changed:
        notes.append(f"{'; '.join(changed)}: the training goes on, but not bit for bit as it would have")
    return notes


def generator_description(recipe: Recipe, collection: Collection) -> dict[str, str]:
    """What a generator file says of itself, so that it loads on its own."""
    return {
        "format": "limner-generator-1",
        "limner": __version__,
        "recipe": recipe.to_toml(),
        "data": collection.title,
    }


def _introduce(display: displays.Display, recipe: Recipe, collection: Collection) -> None:
    """What is trained on, in a line; what was passed over, by name."""
    summary, training = collection.summary, recipe.training
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[collection.channels]
    held_out = f", {len(collection.held_out):,} more held out" if len(collection.held_out) else ""
    display.say(
        f"{len(collection.train):,} pictures from {summary['location']} at {collection.width}x{collection.height} {kind}"
        f"{held_out}; batches of {training.batch_size} on {training.device} in {training.precision}"
    )
    for warning in [*summary["warnings"], *quick_findings(collection)]:
        display.say(f"note: {warning}")
    skipped = summary["skipped"]
    for item in skipped[:SKIPPED_NAMED]:
        display.say(f"skipped {item['name']}: {item['reason']}")
    if summary["skipped_count"] > SKIPPED_NAMED:
        display.say(f"skipped {summary['skipped_count'] - SKIPPED_NAMED:,} more; data.json names them")


def make_judge(recipe: Recipe, collection: Collection, device: torch.device, display: displays.Display) -> Judge | None:
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


def _run(
    run: RunDir,
    loop: Loop,
    collection: Collection,
    judge: Judge | None,
    rate: float | None,
    display: displays.Display,
) -> Outcome:
    settings, evaluation = loop.recipe.snapshots, loop.recipe.evaluation
    guard = Guard(run, loop.recipe.health, display.say)
    measure = Measure(run, settings.log_steps, guard)
    saved = loop.progress.images if loop.progress.step else -1
    checkpoint = Checkpoint(run, settings.checkpoint_minutes, settings.keep, saved, guard, judge is None)
    show = Show(run, settings, display.grid)
    count = sample_count(evaluation.images, len(collection.train))
    examine = Examine(run, judge, count, checkpoint, guard) if judge is not None else None
    callbacks = (measure, examine, show, checkpoint, display)
    loop.callbacks = [callback for callback in callbacks if callback is not None]
    loop.go_back = Recovery(run, measure, examine, checkpoint, display.say)
    begins = loop.progress.step == 0
    unpaced = rate if judge is not None and evaluation.every_images is None else None
    if begins or unpaced is not None:  # also a run of before there were evaluations: its next one is an ordinary one
        began = time.perf_counter()
        if examine is not None and not any(line["images"] == loop.progress.images for line in examine.lines):
            examine.examine(loop)
        if begins:
            checkpoint.describe(generator_description(loop.recipe, collection))
            checkpoint.save(loop)
        if unpaced is not None:
            seconds = time.perf_counter() - began
            every = interval(seconds, unpaced, evaluation.share, loop.portion, loop.images)
            loop.recipe = loop.recipe.changed({"evaluation.every_images": every})
            run.write(rundir.RECIPE, loop.recipe.to_toml())
    checkpoint.describe(generator_description(loop.recipe, collection))
    display.begin(loop, measure.latest)
    with _interruptible(loop):
        loop.run()
    progress = loop.progress
    if loop.ended != "done":
        run.append(rundir.EVENTS, event(str(loop.ended), progress.images, reason=loop.reason))
    with _ended_by_signals():
        headline, report = conclude(run, loop, collection, judge, display)
    named = environment(loop.feed.device, loop.recipe.training.precision)
    return Outcome(
        run=run,
        ended=str(loop.ended),
        reason=loop.reason,
        images=progress.images,
        epochs=loop.epochs,
        seconds=progress.seconds,
        device=f"{named['device_name']}, {named['threads']} threads"
        if loop.feed.device.type == "cpu"
        else str(named["device_name"]),
        verdict=headline,
        report=report,
    )


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


@contextmanager
def _interruptible(loop: Loop) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the loop after the update it is in; a second SIGINT ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if loop.interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        loop.interrupted = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
