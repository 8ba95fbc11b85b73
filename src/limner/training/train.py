"""A training from its beginning: data, recipe, loop, and a run directory for what it leaves behind."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from limner import rundir
from limner.data import Collection
from limner.device import environment
from limner.errors import InputError
from limner.judging.inspect.quick import left_out, quick_findings
from limner.recipe import DEFAULT, Recipe
from limner.rundir import RunDir
from limner.training import display as displays
from limner.training.distributed import Group
from limner.training.guard import event
from limner.training.meeting import is_ours, job, joined
from limner.training.memory import fit
from limner.training.outcome import Outcome
from limner.training.preparing import in_time, measured, paced, ready
from limner.training.resuming import go_on
from limner.training.running import follow, make_judge, run_to_end
from limner.training.schedule import doubts
from limner.training.sizing import is_sized, sized, widths
from limner.training.warm_start import begin, like

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

    Started by ``torchrun``, all processes train the one generator together; only the first writes, shows and returns where.
    Started again by it, they go on with the run that they had begun.

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
    with joined() as group, displays.opened(display if group.leads else displays.Quiet()) as shown:
        begun = group.first(_begun(Path(runs)) if group.leads else "")
        if begun:
            return go_on(begun, {}, group, shown)
        recipe = Recipe.load(recipe, overrides)
        if group.leads:
            RunDir.check(Path(runs), name)
            if start_from is not None:
                recipe = like(recipe, start_from, start_at)  # now: mistakes are told before the data is prepared
        image = recipe.image
        collection, recipe, device = ready(data, group.recipe(recipe), group, shown)
        if not is_sized(recipe):
            shown.say("measuring how wide the networks may be in the time there is")
            recipe = sized(recipe, collection, device, group.together)
            shown.say(f"networks: {widths(recipe)}")
        if memory is not None:
            recipe = group.recipe(_fitted(data, recipe, memory, group, shown) if group.leads else recipe)
        _introduce(shown, recipe, collection, group, left_out(image, collection))
        judge = make_judge(recipe, collection, device, shown) if group.leads else None
        loop, rate = paced(asked := recipe, collection, device, group)
        if not group.leads:
            return follow(loop, group)
        recipe = loop.recipe
        for doubt in doubts(recipe.schedule, loop.images or in_time(recipe, rate)):
            shown.say(f"caution: {doubt}")
        taken = None if start_from is None else begin(loop, start_from, start_at)
        with RunDir.draft(Path(runs), name, default_name or collection.title) as run:
            run.write(rundir.RECIPE, recipe.to_toml())
            run.write(rundir.DATA, collection.summary)
            about = environment(device, recipe.training.precision)
            about |= {"processes": group.size, **({"memory_bound": memory} if memory else {})}
            run.write(rundir.ENVIRONMENT, {**about, **({"job": job()} if job() else {})})
            run.append(rundir.EVENTS, event("started", 0, command=sys.argv, measured=measured(asked, recipe)))
            if taken is not None:
                run.append(rundir.EVENTS, taken.event())
                shown.say(taken.describe())
            return run_to_end(run, loop, collection, judge, rate, shown, group, memory=memory)


def _begun(runs: Path) -> str:
    """The run that these processes had begun before they were started again; empty where there is none."""
    for path in sorted(runs.iterdir()) if job() and runs.is_dir() else []:
        with suppress(InputError, OSError):
            if is_ours(str(RunDir.open(path).read_json(rundir.ENVIRONMENT).get("job", ""))):
                return str(path)
    return ""


def _fitted(data: str | Path, recipe: Recipe, memory: int, group: Group, display: displays.Display) -> Recipe:
    """The recipe in portions with which no process takes more memory."""
    fitted = fit(data, group.of_one(recipe), memory, 0, display.say, torch.get_num_threads())
    said = fitted.said or f"{fitted.found.peak / 1e9:.2f} of {memory / 1e9:.3g} GB at its peak"
    display.say(f"memory: {said}{' in each process' if group.size > 1 else ''}")
    return group.of_all(recipe, fitted.recipe) if group.size > 1 else fitted.recipe


def _introduce(
    display: displays.Display, recipe: Recipe, collection: Collection, group: Group, unseen: Sequence[str]
) -> None:
    """What is trained on, in a line; what was passed over, by name; what is hardly meant."""
    summary, training = collection.summary, recipe.training
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[collection.channels]
    held_out = f", {len(collection.held_out):,} more held out" if len(collection.held_out) else ""
    display.say(
        f"{len(collection.train):,} pictures from {summary['location']} at {collection.width}x{collection.height} {kind}"
        f"{held_out}; batches of {training.batch_size} on {training.device} in {training.precision}{group.describe()}"
    )
    for caution in recipe.cautions():
        display.say(f"caution: {caution}")
    for warning in [*summary["warnings"], *unseen, *quick_findings(collection)]:
        display.say(f"note: {warning}")
    skipped = summary["skipped"]
    for item in skipped[:SKIPPED_NAMED]:
        display.say(f"skipped {item['name']}: {item['reason']}")
    if summary["skipped_count"] > SKIPPED_NAMED:
        display.say(f"skipped {summary['skipped_count'] - SKIPPED_NAMED:,} more; data.json names them")
