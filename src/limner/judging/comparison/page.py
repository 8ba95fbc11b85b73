"""A comparison as one self-contained page, in the report's style and under its policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from limner.durable import atomic_write
from limner.errors import InputError
from limner.judging.comparison import Comparison
from limner.judging.comparison.configurations import value_of
from limner.judging.comparison.curves import TOGETHER, charts
from limner.judging.comparison.read import Member
from limner.judging.comparison.statistics import COMPARED, Difference
from limner.judging.comparison.views import View
from limner.judging.comparison.words import headline
from limner.judging.figures import Figure
from limner.judging.report import asset, policy
from limner.judging.report.pictures import Picture, embedded
from limner.judging.report.words import computed_from, figure_parts
from limner.progress import duration
from limner.version import __version__

SHEETS_BYTES, SHEET_BYTES, LEAST_BYTES = 4_000_000, 260_000, 24_000
FIELDS = 24
TONES = {"better": "good", "worse": "bad"}


@dataclass(frozen=True)
class Cell:
    """A configuration's figure at one moment, and what it is beside the reference."""

    value: str
    interval: str
    drawn: Markup
    seeds: str
    verdict: str
    words: str
    tone: str


def write_page(found: Comparison, path: Path) -> Path:
    """Write the page; returns its path.

    Raises:
        InputError: there is no place for it.
    """
    if not path.absolute().parent.is_dir():
        raise InputError(f"--out {path}: the folder {path.absolute().parent} does not exist; make it first")
    if path.is_dir():
        raise InputError(f"--out {path}: is a directory; name a file")
    atomic_write(path, build_page(found).encode("utf-8", "backslashreplace"))
    return path


def build_page(found: Comparison, intro: Sequence[str] = ()) -> str:
    """The comparison as HTML.

    Args:
        found: the comparison.
        intro: what it is about: sentences for the top.
    """
    style = asset("report.css") + _own("compare.css")
    script = asset("report.js")
    names = [one.name for one in found.configurations]
    metrics = found.metrics()
    return (
        _environment()
        .get_template("compare.html.j2")
        .render(
            style=Markup(style),
            script=Markup(script),
            policy=policy(style, script),
            version=__version__,
            title=found.title,
            intro=intro,
            headline=headline(found),
            found=found,
            runs=found.members,
            names=names,
            label=COMPARED[found.metric].label,
            better=_better(found.metric),
            tables=[_table(found, name) for name in metrics],
            effects=_effects(found),
            interactions=[one.words for one in found.interactions[found.views[0].key].get(found.metric, ())],
            charts=charts(found),
            together=len(names) <= TOGETHER,
            sheets=_sheets(found),
            several=any(len(one.members) > 1 for one in found.configurations),
            differences=_differences(found),
            rows=[_run(found, member) for member in found.members],
        )
    )


def _table(found: Comparison, name: str) -> dict[str, Any]:
    """A figure's table: a row for each configuration, a cell for each moment."""
    rows = []
    scales = {view.key: _scale(found, view, name) for view in found.views}
    for one in found.configurations:
        cells = [_cell(found, view, one.name, name, scales[view.key]) for view in found.views]
        rows.append({"name": one.name, "reference": one.name == found.reference, "cells": cells})
    kind = COMPARED[name]
    readings = [
        own for view in found.views for one in found.configurations if (own := found.mean(view, one.name, name))
    ]
    return {
        "key": name,
        "label": kind.label,
        "help": f"{kind.help} {_better(name)}",
        "rows": rows,
        "counted": computed_from(readings[0]) if readings else "",
    }


def _cell(found: Comparison, view: View, configuration: str, name: str, scale: tuple[float, float]) -> Cell:
    own = found.mean(view, configuration, name)
    figures = view.figures(configuration, name)
    against = found.verdicts[view.key][name].get(configuration)
    diverged = sum(figure is None for figure in figures.values())
    seeds = f"{len(figures)} seed{'' if len(figures) == 1 else 's'}" + (f", {diverged} broke off" if diverged else "")
    value, interval = ("\N{EN DASH}", "") if own is None else figure_parts(name, own)
    drawn = _strip(own, [figure for figure in figures.values() if figure], scale)
    if against is None:
        return Cell(value, interval, drawn, seeds, "", "the reference", "unknown")
    return Cell(value, interval, drawn, seeds, against.verdict, _rest(against), TONES.get(against.verdict, "unknown"))


def _rest(against: Difference) -> str:
    """The words that follow the verdict."""
    return against.words.removeprefix(against.verdict).lstrip(",: ") or against.words


def _scale(found: Comparison, view: View, name: str) -> tuple[float, float]:
    """From 0 to the largest value that any seed has, without intervals, which two seeds can make very wide."""
    values = [
        figure.value for one in found.configurations for figure in view.figures(one.name, name).values() if figure
    ]
    return min([0.0, *values]), max([0.0, *values]) or 1.0


def _strip(own: Figure | None, seeds: Sequence[Figure], scale: tuple[float, float]) -> Markup:
    """The mean with its interval, and each seed, on the scale that all rows share."""
    if own is None:
        return Markup()
    low, high = scale

    def place(value: float) -> float:
        return round(100 * min(1.04, max(-0.04, (value - low) / ((high - low) or 1))), 2)

    parts = [
        '<svg class="strip" viewBox="-5 0 110 16" aria-hidden="true"><line class="rail" x1="0" x2="100" y1="8" y2="8"/>'
    ]
    if own.low is not None and own.high is not None:
        parts.append(f'<line class="mine" x1="{place(own.low)}" x2="{place(own.high)}" y1="8" y2="8"/>')
    parts += [f'<circle class="seed" cx="{place(figure.value)}" cy="8" r="2"/>' for figure in seeds]
    parts.append(f'<line class="middle" x1="{place(own.value)}" x2="{place(own.value)}" y1="3" y2="13"/></svg>')
    return Markup("".join(parts))


def _effects(found: Comparison) -> list[dict[str, Any]]:
    """What each value of each factor does, at each moment; nothing where there are two configurations alone."""
    if len(found.configurations) < 3:
        return []
    first = found.effects[found.views[0].key].get(found.metric, ())
    rows = []
    for number, one in enumerate(first):
        cells = []
        for view in found.views:
            own = found.effects[view.key][found.metric][number].difference
            cells.append({"verdict": own.verdict, "words": _rest(own), "tone": TONES.get(own.verdict, "unknown")})
        pairs = f"in {one.others} combination{'' if one.others == 1 else 's'} of the other factors"
        rows.append({"factor": one.factor, "level": one.level, "base": one.base, "pairs": pairs, "cells": cells})
    return rows


def _sheets(found: Comparison) -> list[dict[str, Any]]:
    """Each configuration's sheets, the first seed apart from the others."""
    count = sum(len(one.members) for one in found.configurations)
    most = max(LEAST_BYTES, min(SHEET_BYTES, SHEETS_BYTES // max(1, count)))
    side = 900 if count <= 8 else 560 if count <= 24 else 420
    made = []
    for one in found.configurations:
        pictures: list[tuple[Member, Picture]] = []
        for member in one.members.values():
            picture = None if member.sheet is None else embedded(member.sheet, most, side)
            if picture is not None:
                pictures.append((member, picture))
        shown = [{"seed": member.seed, "picture": own, "images": member.images} for member, own in pictures]
        made.append({"name": one.name, "pictures": shown})
    return made


def _differences(found: Comparison) -> dict[str, Any]:
    fields = found.fields[:FIELDS]
    rows = [(one.name, [value_of(one.runs[0], field) for field in fields]) for one in found.configurations]
    return {"fields": fields, "left": len(found.fields) - len(fields), "rows": rows}


def _run(found: Comparison, member: Member) -> dict[str, str]:
    last = member.last
    configuration = next(one.name for one in found.configurations if member in one.runs)
    ended = f"broke off: {member.broken}" if member.broken else member.ended or "not at its end"
    return {
        "name": member.name,
        "configuration": configuration,
        "seed": str(member.seed),
        "data": member.data,
        "images": f"{member.images:,}",
        "updates": f"{member.step:,}",
        "seconds": "\N{EN DASH}" if member.seconds is None else duration(member.seconds),
        "ended": ended,
        "copying": (last.copying if last else "") or "\N{EN DASH}",
        "path": str(member.path),
    }


def _better(name: str) -> str:
    return {"lower": "Lower is better.", "higher": "Higher is better."}.get(COMPARED[name].better, "1 is best.")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("limner.judging.comparison"), jinja2.PackageLoader("limner.judging.report")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment


@cache
def _own(name: str) -> str:
    return (files("limner.judging.comparison") / "templates" / name).read_text("utf-8")
