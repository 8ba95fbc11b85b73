"""A run directory as one self-contained page: ``report.html`` opens by double-click and loads nothing.

Everything in a run directory is untrusted text: the templates escape all of it, and the page's own policy forbids whatever
is not this page's style and script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from limner import rundir
from limner.judging.report import data as report_data
from limner.judging.report import read as report_read
from limner.judging.report import recipe as report_recipe
from limner.judging.report import tables as report_tables
from limner.judging.report.curves import curves
from limner.judging.report.pictures import chosen, embedded, room_for
from limner.judging.report.read import Contents
from limner.judging.report.verdict import verdict
from limner.judging.report.words import figure_words, mapping, real_number, text
from limner.rundir import RunDir
from limner.version import __version__

MOST_FRAMES, FEWEST_FRAMES = 48, 24
FRAMES_BYTES = 2_800_000
SHEET_BYTES = 400_000
RECIPE_LONGEST = 20_000


def write_report(run: RunDir) -> Path:
    """Write the run's ``report.html``; returns its path. See :func:`build_report`.

    Raises:
        LimnerError: it cannot be written.
    """
    # Names of files need not be text: what cannot be written as such is shown escaped.
    return run.write(rundir.REPORT, build_report(run).encode("utf-8", "backslashreplace"))


def build_report(run: RunDir) -> str:
    """The report of a run as HTML, under 6 MB whatever the run holds.

    Reads the run directory alone. What is missing or damaged is told in the page instead of failing.
    """
    found = report_read.contents(run)
    style, script = asset("report.css"), asset("report.js")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            style=Markup(style),
            script=Markup(script),
            policy=policy(style, script),
            version=__version__,
            **page(found),
        )
    )


def page(run: Contents) -> dict[str, Any]:
    """Everything that the template shows."""
    evaluation: Mapping[str, Any] = run.evaluation or (run.metrics[-1] if run.metrics else {})
    classes = mapping(evaluation.get("classes"))
    class_rows, classes_left = report_tables.class_rows(classes)
    events, events_left = report_tables.happenings(run.events)
    frames = _frames(run)
    charts = curves(run, report_tables.marks(events))
    return {
        "run": run,
        "name": text(run.name),
        "verdict": verdict(run.evaluation, run.metrics, run.events, reason=run.broken),
        "facts": report_data.facts(run),
        "evaluated_at": run.evaluation_images
        if run.evaluation
        else int(run.metrics[-1]["images"])
        if run.metrics
        else None,
        "extractor": _extractor(evaluation),
        "figures": report_tables.figure_rows(mapping(evaluation.get("figures")), mapping(evaluation.get("yardstick"))),
        "strip": report_tables.interval_strip,
        "generated": _sheet(run, "generated.png"),
        "real": _sheet(run, "real.png"),
        "frames": frames,
        "frames_all": len(run.samples),
        "charts": charts,
        "metrics_table": report_data.metrics_table(run.metrics),
        "log_table": report_data.log_table(run.log),
        "copying": _copying(evaluation),
        "pairs": report_tables.closest_pairs(run),
        "classes": class_rows,
        "classes_left": classes_left,
        "events": events,
        "events_left": events_left,
        "data": report_data.data_facts(run.data),
        "data_classes": report_data.class_counts(run.data),
        "skipped": report_data.skipped(run.data),
        "warnings": report_data.data_warnings(run.data),
        "environment": report_data.environment(run.environment),
        "recipe": _recipe(run),
        "commands": report_recipe.commands(run),
    }


def _frames(run: Contents) -> list[dict[str, Any]]:
    """The sample grids of the time slider: as many as the page has room for, with the images seen before each."""
    place = next((place for place, (images, _) in enumerate(run.samples) if images == run.best), None)
    if not run.samples:
        return []
    room = room_for(run.samples[-1][1], FRAMES_BYTES, FEWEST_FRAMES, MOST_FRAMES)
    kept = chosen(len(run.samples), room, place)
    most = FRAMES_BYTES // len(kept)
    epochs = {int(line["images"]): line.get("epoch") for line in run.log}
    frames = []
    for number in kept:
        images, path = run.samples[number]
        picture = embedded(path, most)
        if picture is None:
            run.notes.append(f"{rundir.SAMPLES}/{path.name} is damaged and left out.")
            continue
        frames.append(
            {"images": images, "epoch": real_number(epochs.get(images)), "picture": picture, "best": images == run.best}
        )
    return frames


def _sheet(run: Contents, name: str) -> Any:
    return None if run.evaluation_path is None else embedded(run.evaluation_path / name, SHEET_BYTES)


def _extractor(evaluation: Mapping[str, Any]) -> str:
    given = evaluation.get("extractor")
    return text(mapping(given).get("name") or (given if isinstance(given, str) else ""))


def _copying(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The copying test's outcome in texts; empty when there was none."""
    found = mapping(evaluation.get("copying"))
    return report_data.copying_facts(found) if found else {}


def _recipe(run: Contents) -> dict[str, Any]:
    """The recipe, and what it has otherwise than the shipped one that it came from."""
    shown = run.recipe_text[:RECIPE_LONGEST] + ("\n... (cut)" if len(run.recipe_text) > RECIPE_LONGEST else "")
    if run.recipe is None:
        return {"shipped": None, "differences": [], "text": shown, "summary": ""}
    shipped = report_recipe.shipped_recipe(run.recipe)
    return {
        "shipped": shipped[0] if shipped else None,
        "differences": report_recipe.differences(run.recipe, shipped[1]) if shipped else [],
        "text": shown,
        "summary": text(run.recipe.about.summary),
    }


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure_words
    return environment


@cache
def asset(name: str) -> str:
    """A style sheet or script of this package's pages."""
    return (files(__name__) / "templates" / name).read_text("utf-8")


def policy(style: str, script: str) -> str:
    """The page's content security policy: this style, this script, pictures inside the page, and nothing else."""

    def digest(content: str) -> str:
        return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(style)}'; script-src 'sha256-{digest(script)}';"
        " base-uri 'none'; form-action 'none'"
    )
