"""A training gone on with from its newest checkpoint, as if it had never stopped; what is not as it was is told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limner import rundir
from limner.data import Collection
from limner.device import environment
from limner.errors import InputError
from limner.recipe import Recipe
from limner.recipe.rules import DURATIONS
from limner.recipe.text import shown as said
from limner.rundir import RunDir
from limner.training import display as displays
from limner.training.distributed import Group
from limner.training.guard import event
from limner.training.meeting import joined
from limner.training.outcome import Outcome
from limner.training.preparing import in_time, measured, paced, ready
from limner.training.recovery import load_checkpoint
from limner.training.running import follow, make_judge, run_to_end
from limner.training.schedule import doubts

ON_THE_WAY = frozenset({"lr", "beta1", "beta2", "alpha", "weight_decay", "clip_norm", "dropout"})
"""What may change about a player in the middle of a training: nothing that its weights or its moments are made for."""


def resume(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    memory: int | None = None,
    display: displays.Display | None = None,
) -> Outcome:
    """Go on with a training from its newest checkpoint, exactly as if it had never stopped.

    Started by ``torchrun``, all processes train together; only the first one needs the run directory.

    Args:
        path: the run directory.
        overrides: fields to change from here on, by ``section.field`` (a longer duration, say).
        memory: bytes of main memory that may be held, on a CPU; what the training began with by default. Where more is held,
            batches are computed in smaller parts.
        display: where news go.

    Raises:
        InputError: it is no run directory, has no checkpoint that is as it was written, or its data is gone.
        LimnerError: something failed on the way.
    """
    with joined() as group, displays.opened(display if group.leads else displays.Quiet()) as shown:
        return go_on(path, overrides or {}, group, shown, memory)


def go_on(
    path: str | Path, overrides: Mapping[str, Any], group: Group, shown: displays.Display, memory: int | None = None
) -> Outcome:
    """:func:`resume` for a group of processes that have met."""
    if not group.leads:
        collection, recipe, device = ready(group.first(""), group.recipe(None), group, shown)
        return follow(paced(recipe, collection, device, group, not overrides)[0], group)
    run = RunDir.open(path)
    with run.locked():
        run.say = shown.say
        run.sweep()
        before, events = run.recipe(), list(run.records(rundir.EVENTS))
        was_measured = "schedule.images" not in overrides and _was_measured(before, events)
        asked = recipe = before.changed({**(_stretched(before, overrides) if was_measured else {}), **overrides})
        _check(run, recipe, before)
        checkpoint = _checkpoint(run)
        data, was = run.read_json(rundir.DATA), run.read_json(rundir.ENVIRONMENT)
        if not isinstance(data.get("location"), str):
            raise InputError(f"{run.path / rundir.DATA}: is damaged (it has no location)")
        location = group.first(data["location"])
        collection, recipe, device = ready(location, group.recipe(recipe), group, shown)
        judge = make_judge(recipe, collection, device, shown)
        loop, rate = paced(recipe, collection, device, group, not overrides)
        recipe = loop.recipe
        state = {} if checkpoint is None else load_checkpoint(loop, checkpoint)
        images, attempt = loop.progress.images, loop.progress.rollbacks
        lowered, new_rates = loop.progress.rate_scale, _has_new_rates(events, overrides)
        if new_rates:
            loop.progress.rate_scale = 1.0
        if overrides and loop.images is not None and loop.images < loop.progress.images:
            raise InputError(
                f"{run.path}: has seen {loop.progress.images:,} images already, more than the {loop.images:,} asked for;"
                " durations count from the beginning of the training"
            )
        now = {**environment(device, recipe.training.precision), "processes": group.size}
        told = [was, *(line.get("environment") for line in run.records(rundir.EVENTS))]
        before_now = [one for one in told if isinstance(one, Mapping)]
        notes = _inexact(data, collection, before_now, now)
        for note in notes:
            shown.say(f"note: {note}")
        if not notes:
            exact = ", exactly as if it had never stopped" if device.type == "cpu" and not overrides else ""
            shown.say(f"goes on from {images:,} images{exact}")
        rates = f"generator.lr {recipe.generator.lr:g} and discriminator.lr {recipe.discriminator.lr:g}"
        if loop.progress.rate_scale != 1:
            scale = f"{loop.progress.rate_scale:g} times the recipe's, after {attempt} rollbacks"
            shown.say(f"note: learning rates are {scale}; setting one of {rates} begins anew with both")
        elif lowered != 1 and new_rates:
            shown.say(
                f"note: learning rates are the recipe's again, {rates}; rollbacks had made them {lowered:g} of theirs"
            )
        known, doubted = before.cautions(), doubts(recipe.schedule, loop.images or in_time(recipe, rate))
        for caution in (*(line for line in recipe.cautions() if line not in known), *doubted):
            shown.say(f"caution: {caution}")
        run.write(rundir.DATA, collection.summary)
        unfinished = state.get("unfinished") is True
        run.rewind(images, attempt, unfinished)
        run.mend_best()
        if state.get("ended") == "done" and state.get("reason") and not overrides:
            # It had all that it was to have; only what comes after the training may be missing.
            loop.ended, loop.reason = "done", str(state["reason"])
        details = {"content_hash": collection.content_hash, "environment": now, "changes": dict(overrides)}
        details["measured"] = measured(asked, recipe, was_measured)
        if recipe != before:
            run.write(rundir.RECIPE, recipe.to_toml())
        run.append(rundir.EVENTS, event("resumed", images, **details))
        had = was.get("memory_bound")
        bound = memory or (had if isinstance(had, int) and had > 0 else None)
        return run_to_end(run, loop, collection, judge, rate, shown, group, unfinished, bound)


def _check(run: RunDir, recipe: Recipe, before: Recipe) -> None:
    """Find out whether a training can go on with another recipe.

    Raises:
        InputError: its weights, its moments or the order of its data would be of no use.
    """
    problems = []
    for section, values in recipe.values().items():
        had = before.values().get(section, {})
        for name in sorted({*values, *had}) if isinstance(values, Mapping) else ():
            fixed = section in ("image", "network") or (section, name) == ("training", "seed")
            fixed |= section in ("generator", "discriminator") and name not in ON_THE_WAY
            # A layer that drops nothing is left out, so the others' names would change.
            fixed |= name == "dropout" and bool(values.get(name)) != bool(had.get(name))
            if fixed and values.get(name) != had.get(name):
                was, now = (said(one.get(name)) for one in (had, values))
                problems.append(f"{run.path}: {section}.{name} is {was} and cannot be changed on the way (to {now})")
    if problems:
        raise InputError("\n".join(problems))


def _was_measured(recipe: Recipe, events: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the length of a run's schedule follows from its minutes, or somebody has set it."""
    told = [line["measured"] for line in events if isinstance(line.get("measured"), Mapping)]
    if not told:  # begun by a Limner that did not write it down
        return recipe.training.minutes is not None
    return bool(recipe.schedule.images is not None and told[-1].get("schedule.images") == recipe.schedule.images)


def _stretched(before: Recipe, overrides: Mapping[str, Any]) -> dict[str, int | None]:
    """A measured schedule as much longer as the minutes are; none, to be measured again, where images or epochs now say."""
    images, had = before.schedule.images, before.training.minutes
    if images is None or overrides.keys().isdisjoint(DURATIONS):
        return {}
    minutes = overrides.get("training.minutes")
    if had is None or not isinstance(minutes, int | float) or not 0 < minutes < math.inf:
        return {"schedule.images": None}
    rises = overrides.get("schedule.warmup_images", before.schedule.warmup_images)
    least = rises + 1 if isinstance(rises, int) else 0
    return {"schedule.images": max(least, round(images * minutes / had))}


def _has_new_rates(events: Sequence[Mapping[str, Any]], overrides: Mapping[str, Any]) -> bool:
    """Whether learning rates were set after the last rollback, which had lowered those before."""
    new = False
    for line in (*events, {"event": "resumed", "changes": overrides, "measured": {}}):
        # Without "measured" it is of an earlier Limner, which lowered what was set as well.
        changes = line.get("changes") if "measured" in line else None
        if line.get("event") == "rollback":
            new = False
        elif isinstance(changes, Mapping) and not {"generator.lr", "discriminator.lr"}.isdisjoint(changes):
            new = True
    return new


def _checkpoint(run: RunDir) -> Path | None:
    """What to go on from; ``None`` for the beginning, where a training was killed before it had seen anything.

    Raises:
        InputError: there is none to go on from, and something would be lost by beginning again.
    """
    begun = any(True for _ in run.records(rundir.LOG)) or any(run.samples())
    warm = any(line.get("event") not in ("started", "resumed") for line in run.records(rundir.EVENTS))
    if not run.checkpoints() and not begun and not warm:
        return None
    return run.newest_checkpoint()[1]


def _inexact(
    data: Mapping[str, Any], collection: Collection, before: Sequence[Mapping[str, Any]], now: Mapping[str, Any]
) -> list[str]:
    """Why a resumed training will not be, bit for bit, what an unbroken one would have been."""
    notes = []
    if collection.content_hash != data.get("content_hash"):
        notes.append(
            f"{data['location']} has changed since this training began; it goes on with what is there now,"
            " not as it would have"
        )
    elif len(collection.names) != data.get("count", len(collection.names)):
        notes.append(
            f"{data['location']}: {data['count']:,} of its pictures could be read when this training began, and"
            f" {len(collection.names):,} can now; it goes on with these, not as it would have"
        )
    elif data.get("decoding", collection.summary["decoding"]) != collection.summary["decoding"]:
        notes.append(
            "pictures are decoded otherwise than by the Limner that began this training; it goes on with what they are now,"
            " not as it would have"
        )
    changed = []
    for key in ("torch", "processor", "device", "threads", "precision"):
        had = list(dict.fromkeys(str(one[key]) for one in before if key in one))
        if had and had != [str(now[key])]:
            changed.append(f"{key} was {', then '.join(had)} and is {now[key]}")
    if changed:
        notes.append(f"{'; '.join(changed)}: the training goes on, but not bit for bit as it would have")
    processes = list(dict.fromkeys(str(one.get("processes", 1)) for one in before if one))
    if processes != [str(now["processes"])]:
        notes.append(
            f"processes were {', then '.join(map(str, processes))} and are {now['processes']}: the same pictures come in the"
            " same order, but sums are rounded otherwise, so the training goes on, but not bit for bit as it would have"
        )
    version = str(next((one["limner"] for one in reversed(before) if "limner" in one), now["limner"]))
    if version != now["limner"]:
        notes.append(
            f"limner was {version} and is {now['limner']}: the training goes on, but bit for bit only if nothing that it uses"
            " has changed between these versions (CHANGELOG.md says so)"
        )
    return notes
