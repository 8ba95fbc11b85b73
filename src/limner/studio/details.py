"""Everything about a run that its page shows, and in what several runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limner import rundir
from limner.errors import InputError
from limner.judging.report.recipe import differences, flattened
from limner.judging.report.verdict import Verdict, verdict
from limner.judging.report.words import text, whole_number
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.studio.places import Missing
from limner.studio.runs import Runs, read_object, recipe_of, shipped

_MOST_WORDS = 200
_NOTHING: Mapping[str, Any] = {
    "verdict": None,
    "events": [],
    "started": "",
    "grids_at": [],
    "snapshots_at": [],
    "has_best": False,
    "grid_shape": None,
    "changes": None,
    "settings": {},
    "location": "",
    "skipped": 0,
    "environment": {},
    "minutes_count": False,
}
"""The details of a run that has not begun."""


def detail(runs: Runs, name: str) -> dict[str, Any]:
    """Everything about a run but its curves.

    Raises:
        Missing: there is none of that name, and none is being started.
    """
    summary, output = runs.summary(name), runs.launches.output(name)
    try:
        path = runs.places.run(name)
    except Missing:
        launch = runs.launches.find(name)
        command = [] if launch is None else ["limner", *launch.command[3:]]
        return {**summary, **_NOTHING, "output": output, "command": command}
    run, history = RunDir(path), runs.history(name)
    recipe, data, machine = recipe_of(path), read_object(run, rundir.DATA), read_object(run, rundir.ENVIRONMENT)
    evaluations = run.evaluations()
    newest = f"{rundir.EVALUATION}/{evaluations[-1][1].name}/{rundir.FIGURES}" if evaluations else ""
    record = read_object(run, newest) if evaluations else None
    with history.lock:
        events, metrics, first = list(history.events), list(history.evaluations), history.first_event
    given = first.get("command")
    broken = summary["reason"] if summary["state"] == "failed" else None
    return {
        **summary,
        "verdict": _told(verdict(record, metrics, events, reason=broken)) if record or metrics else None,
        "events": [_event(event) for event in reversed(events)],
        "started": text(first.get("time") or ""),
        "grids_at": runs.grids(name),
        "snapshots_at": [images for images, _ in run.checkpoints()],
        "has_best": (path / rundir.CHECKPOINTS / rundir.BEST / rundir.GENERATOR).is_file(),
        "grid_shape": _grid_shape(summary, recipe),
        "changes": _changes(recipe),
        "settings": flattened(recipe.values()) if recipe else {},
        "location": text(data.get("location") or ""),
        "skipped": whole_number(data.get("skipped_count")) or 0,
        "environment": {key: text(value) for key, value in list(machine.items())[:20] if value is not None},
        "output": output,
        "command": [text(word) for word in given[:_MOST_WORDS]] if isinstance(given, list) else [],
        "minutes_count": bool(recipe and recipe.training.minutes),
    }


def compared(runs: Runs, names: Sequence[str]) -> dict[str, Any]:
    """The fields in which the recipes of several runs differ.

    Raises:
        Missing: one of them is not there; InputError: its recipe cannot be read.
    """
    flat = []
    for name in names:
        recipe = recipe_of(runs.places.run(name))
        if recipe is None:
            raise InputError(f"run {name}: its recipe cannot be read")
        flat.append(flattened(recipe.values()))
    fields = dict.fromkeys(field for values in flat for field in values if not field.startswith("about."))
    rows = [
        {"field": field, "values": [_shown(values.get(field)) for values in flat]}
        for field in fields
        if any(values.get(field) != flat[0].get(field) for values in flat)
    ]
    return {"runs": list(names), "differences": rows, "same": len(fields) - len(rows)}


def _told(said: Verdict) -> dict[str, Any]:
    remarks = [{"topic": remark.topic, "text": remark.text} for remark in said.remarks]
    return {"headline": said.headline, "tone": said.tone, "remarks": remarks}


def _grid_shape(summary: Mapping[str, Any], recipe: Recipe | None) -> list[int] | None:
    if not (summary["width"] and summary["height"] and recipe):
        return None
    return [int(summary["width"]), int(summary["height"]), recipe.snapshots.grid]


def _changes(recipe: Recipe | None) -> dict[str, Any] | None:
    """What a run's recipe changes of the shipped one that it came from."""
    found = shipped().get(recipe.about.summary) if recipe is not None and recipe.about.summary else None
    if recipe is None or found is None:
        return None
    rows = [
        {"field": row.name, "shipped": row.shipped, "here": row.here, "why": row.why}
        for row in differences(recipe, found[1])
    ]
    return {"recipe": found[0], "summary": text(found[1].about.summary), "differences": rows}


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    words = [
        text(event[key]) for key in ("evidence", "reason", "advice") if isinstance(event.get(key), str) and event[key]
    ]
    return {
        "event": text(event.get("event") or "?"),
        "time": text(event.get("time") or ""),
        "images": int(event["images"]),
        "severity": text(event.get("severity") or ""),
        "text": "; ".join(words),
    }


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return text(", ".join(map(str, value))) or "none"
    return text(f"{value:g}" if isinstance(value, float) else value)
