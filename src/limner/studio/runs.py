"""What a run is doing and what has come of it, read from its directory alone."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from limner import recipe as recipes
from limner import rundir
from limner.errors import InputError
from limner.judging.report.words import figure_of, mapping, real_number, text, whole_number
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.studio import processes
from limner.studio.launches import Launches
from limner.studio.places import Missing, Places
from limner.studio.tails import History, last_lines

_SETTLED_NS = 50_000_000
SHOWN_FIGURE = "kernel_distance"
MOST_HISTORIES = 24
_LOGS = (rundir.LOG, rundir.METRICS, rundir.EVENTS, rundir.RECIPE)
_WATCHED = ("", *_LOGS, rundir.SAMPLES, rundir.CHECKPOINTS, rundir.EVALUATION)


class Runs:
    """The runs in one directory, each looked at anew only when something about it has changed.

    Args:
        places: the roots.
        launches: what the studio has started.
    """

    def __init__(self, places: Places, launches: Launches) -> None:
        self.places, self.launches = places, launches
        self._summaries: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._grids: dict[str, tuple[tuple[int, ...], list[int]]] = {}
        self._histories: OrderedDict[str, History] = OrderedDict()
        self._lock = threading.Lock()

    def all(self) -> list[dict[str, Any]]:
        """A summary of each run and of each start that has no run yet; the ones at work first, then the newest."""
        self.launches.reap()
        found = []
        names = self.places.names()
        for name in names:
            with suppress(Missing):
                found.append(self.summary(name))
        known = {summary["name"] for summary in found}
        for name in self.launches.names():
            if name not in known:
                with suppress(Missing):
                    found.append(self.summary(name))
        busy = ("training", "paused", "waiting")
        return sorted(found, key=lambda one: (one["state"] not in busy, -one["changed"], one["name"]))

    def signature(self, name: str) -> tuple[Any, ...]:
        """What changes when anything about a run does.

        Raises:
            Missing: there is none, and none is being started.
        """
        path = self.places.named(name)
        launch = self.launches.find(name)
        alive = launch is not None and launch.is_alive
        try:
            self.places.run(name)
        except Missing:
            if launch is None:
                raise
            return ("starting", alive, self.launches.stamp(name))
        stamps = []
        for one in _WATCHED:
            with suppress(OSError):
                status = os.stat(path / one if one else path, follow_symlinks=not one)
                stamps.append((one, status.st_mtime_ns, status.st_size, _settled(status), status.st_ino))
        holder = processes.trainer(path)
        held = () if holder is None else (holder, holder.elsewhere or processes.condition(holder.process))
        return (held, alive, self.launches.stamp(name) if launch else (), *stamps)

    def summary(self, name: str) -> dict[str, Any]:
        """What a list shows of a run.

        Raises:
            Missing: see :meth:`signature`.
        """
        signature = self.signature(name)
        kept = self._summaries.get(name)
        if kept is None or kept[0] != signature:
            kept = self._summaries[name] = (signature, self._summary(name))
        return kept[1]

    def _summary(self, name: str) -> dict[str, Any]:
        try:
            path = self.places.run(name)
        except Missing:
            return self._starting(name)
        run = RunDir(path)
        recipe = recipe_of(path)
        data = read_object(run, rundir.DATA)
        newest = next(iter(last_lines(path, rundir.LOG)[-1:]), {})
        evaluations = last_lines(path, rundir.METRICS)
        events = last_lines(path, rundir.EVENTS)
        grids = self.grids(name)
        checkpoints = run.checkpoints()
        state, reason, elsewhere = self._state(name, path, run, checkpoints, events)
        images = max(
            [whole_number(newest.get("images")) or 0] + grids[-1:] + [number for number, _ in checkpoints[-1:]]
        )
        seconds = real_number(newest.get("seconds"))
        total, share = _progress(recipe, data, images, seconds)
        if state == "finished":
            share = 1.0
        left = seconds * (1 - share) / share if seconds and share and state in ("training", "paused") else None
        figure, at = _best_figure(evaluations)
        image = mapping(data.get("image"))
        changed = max(
            (status.st_mtime for one in _WATCHED if (status := status_of(path / one if one else path)) is not None),
            default=0.0,
        )
        return {
            "name": name,
            "state": state,
            "reason": reason,
            "elsewhere": elsewhere,
            "images": images,
            "total": total,
            "share": None if share is None else round(share, 5),
            "epoch": real_number(newest.get("epoch")),
            "seconds": seconds,
            "remaining": None if left is None else round(left, 1),
            "rate": real_number(newest.get("images_per_second")),
            "recipe": _origin(recipe),
            "family": recipe.network.family if recipe else "",
            "data": text(data.get("title") or ""),
            "count": whole_number(data.get("count")),
            "width": whole_number(image.get("width")),
            "height": whole_number(image.get("height")),
            "channels": whole_number(image.get("channels")),
            "classes": _classes(recipe),
            "figure": None if figure is None else figure,
            "best": at,
            "grid": grids[-1] if grids else None,
            "grids": len(grids),
            "snapshots": len(checkpoints),
            "report": (path / rundir.REPORT).is_file(),
            "changed": round(changed, 3),
        }

    def _starting(self, name: str) -> dict[str, Any]:
        """The summary of a start that has no run yet, or came to nothing."""
        launch = self.launches.find(name)
        if launch is None:
            raise Missing(f"run {name!r}: there is none of that name")
        alive = launch.is_alive
        stamp = self.launches.stamp(name)
        return {
            "name": name,
            "state": "waiting" if alive else "failed",
            "reason": "" if alive else text(self.launches.complaint(name)),
            "elsewhere": "",
            **dict.fromkeys(
                ("total", "share", "epoch", "seconds", "remaining", "rate", "count", "width", "height", "channels")
            ),
            "images": 0,
            "recipe": "",
            "family": "",
            "data": text(launch.data.rpartition("/")[2]),
            "classes": [],
            "figure": None,
            "best": None,
            "grid": None,
            "grids": 0,
            "snapshots": 0,
            "report": False,
            "changed": round(max((one[0] for one in stamp), default=0) / 1e9, 3),
        }

    def _state(
        self, name: str, path: Path, run: RunDir, checkpoints: list[tuple[int, Path]], events: list[dict[str, Any]]
    ) -> tuple[str, str, str]:
        """What a run is doing, why, and on which other machine."""
        holder = processes.trainer(path)
        if holder is not None:
            if holder.elsewhere:
                return "training", "", text(holder.elsewhere)
            return ("paused" if processes.condition(holder.process) == "held" else "training"), "", ""
        launch = self.launches.find(name)
        if launch is not None and launch.is_alive:
            return "waiting", "", ""
        complaint = ""
        if launch is not None and launch.kind == "resume":
            complaint = self._failed_resume(name, path)
        for event in reversed(events):
            kind = event.get("event")
            if kind == "resumed":
                break
            if kind == "stopped":
                return "failed", text(event.get("reason") or ""), ""
            if kind == "interrupted":
                return "interrupted", complaint, ""
        ended = ""
        if checkpoints:
            state = f"{rundir.CHECKPOINTS}/{checkpoints[-1][1].name}/{rundir.STATE}"
            ended = str(read_object(run, state).get("ended") or "")
        if ended == "done":
            return "finished", "", ""
        if ended == "stopped":
            return "failed", complaint, ""
        said = complaint or "its process ended without a word; it can be resumed from its newest checkpoint"
        return "interrupted", said, ""

    def _failed_resume(self, name: str, path: Path) -> str:
        """Why the last attempt to go on came to nothing, if nothing was written since."""
        said = self.launches.stamp(name)
        written = status_of(path / rundir.EVENTS)
        if len(said) == 2 and written is not None and said[1][0] > written.st_mtime_ns:
            lines = self.launches.output(name).rpartition("$ limner ")[2].splitlines()
            return "; ".join(line.removeprefix("limner: ") for line in lines if line.startswith("limner: "))
        return ""

    def grids(self, name: str) -> list[int]:
        """Images seen at each grid of a run, listed anew only when there is another one: there may be ten thousand.

        Raises:
            Missing: there is no such run.
        """
        path = self.places.run(name)
        status = status_of(path / rundir.SAMPLES)
        stamp = (0,) if status is None else (status.st_mtime_ns, status.st_ino, _settled(status))
        kept = self._grids.get(name)
        if kept is None or kept[0] != stamp:
            kept = self._grids[name] = (stamp, [images for images, _ in RunDir(path).samples()])
        return kept[1]

    def history(self, name: str) -> History:
        """The logs of a run, read on to their ends.

        Raises:
            Missing: there is no such run.
        """
        path = self.places.run(name)
        with self._lock:
            found = self._histories.pop(name, None) or History(path)
            self._histories[name] = found
            while len(self._histories) > MOST_HISTORIES:
                self._histories.popitem(last=False)
        found.update()
        return found


def _settled(status: os.stat_result) -> int:
    """0, or for what was changed just now a number of its own each time: clocks of file systems are too coarse to tell
    whether it has changed again."""
    now = time.time_ns()
    return 0 if abs(now - status.st_mtime_ns) > _SETTLED_NS else now


def status_of(path: Path) -> os.stat_result | None:
    with suppress(OSError):
        return path.stat()
    return None


def read_object(run: RunDir, name: str) -> Mapping[str, Any]:
    with suppress(InputError, RecursionError):
        return run.read_json(name)
    return {}


def recipe_of(path: Path) -> Recipe | None:
    """A run's recipe, parsed anew only when the file is another one."""
    with suppress(OSError, InputError):
        status = os.lstat(path / rundir.RECIPE)
        return _parsed(str(path), status.st_mtime_ns, status.st_ino)
    return None


_parsed_kept: OrderedDict[tuple[str, int, int], Recipe] = OrderedDict()
_parsed_lock = threading.Lock()


def _parsed(path: str, stamp: int, node: int) -> Recipe:
    key = (path, stamp, node)
    with _parsed_lock:
        if key in _parsed_kept:
            return _parsed_kept[key]
    recipe = RunDir(Path(path)).recipe()
    with _parsed_lock:
        _parsed_kept[key] = recipe
        while len(_parsed_kept) > 300:
            _parsed_kept.popitem(last=False)
    return recipe


@cache
def shipped() -> dict[str, tuple[str, Recipe]]:
    """The shipped recipes by their summaries."""
    return {(recipe := Recipe.load(name)).about.summary: (name, recipe) for name in recipes.names()}


def _origin(recipe: Recipe | None) -> str:
    """The name of the shipped recipe that a run came from; empty for one's own."""
    return shipped().get(recipe.about.summary, ("", recipe))[0] if recipe else ""


def _classes(recipe: Recipe | None) -> list[str]:
    if recipe is None or recipe.network.conditioning == "none":
        return []
    return [text(name) for name in recipe.network.classes or ()][:200]


def _progress(
    recipe: Recipe | None, data: Mapping[str, Any], images: int, seconds: float | None
) -> tuple[int | None, float | None]:
    """Images in all (``None`` where minutes decide), and the share of the training that is done."""
    if recipe is None:
        return None, None
    training = recipe.training
    if training.minutes is not None:
        return None, min(1.0, (seconds or 0.0) / (60 * training.minutes))
    count = whole_number(data.get("count"))
    held = whole_number(mapping(data.get("held_out")).get("count")) or 0
    wanted: float | None = training.images
    if wanted is None:
        if count is None:
            return None, None
        wanted = round((training.epochs or 0) * (count - held), 6)
    portion = training.batch_size * training.critic_steps
    total = max(1, math.ceil(wanted / portion)) * portion
    return total, min(1.0, images / total)


def _best_figure(evaluations: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, int | None]:
    """The lowest distance so far, and at how many images it was."""
    best, at = None, None
    for line in evaluations:
        figure = figure_of(mapping(line.get("figures")).get(SHOWN_FIGURE))
        if figure is not None and (best is None or figure.value < best.value):
            best, at = figure, int(line["images"])
    return (None, None) if best is None else ({"name": SHOWN_FIGURE, **best.values()}, at)
