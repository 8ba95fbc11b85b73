"""The report's tables: figures beside those of real images, classes, closest pairs, events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from limner.judging.figures import AGREEMENT, AGREEMENT_KIND, KINDS, Figure, comparable
from limner.judging.report.charts import Mark
from limner.judging.report.pictures import Picture, embedded
from limner.judging.report.read import Contents, Line
from limner.judging.report.words import (
    computed_from,
    figure_of,
    figure_parts,
    figure_words,
    mapping,
    percent,
    real_number,
    sentence,
    short,
    text,
    whole_number,
)

PAIRS, CLASSES, EVENTS, MARKS = 12, 120, 200, 14
PAIR_BYTES = 12_000
SEVERITIES = ("note", "warning", "error")
IN_EVIDENCE = ("attempt", "to", "rate_scale")
"""Fields of events that their evidence and advice say in words."""
GOOD = {"lower": "lower is better", "higher": "higher is better", "one": "1 is as diverse as the real images"}
TITLES = {
    "started": "Training started",
    "resumed": "Training went on",
    "interrupted": "Interrupted, with the state saved",
    "stopped": "Stopped",
    "done": "Finished",
    "non-finite": "Numbers that are none",
    "exploding-gradients": "Gradients exploded",
    "exploding-logits": "Logits exploded",
    "discriminator-winning": "The discriminator won for long",
    "discriminator-losing": "The discriminator lost for long",
    "collapse": "Samples became alike",
    "no-gain": "No gain for long",
    "copying": "Copies of training images",
    "rollback": "Went back to an earlier state",
    "best": "Best snapshot so far",
}


@dataclass(frozen=True)
class Row:
    """A figure in the table: its texts, and where it and real against real lie on a small scale (0 to 100)."""

    key: str
    label: str
    help: str
    better: str
    value: str
    interval: str
    real: str
    unlike: bool
    counted: str
    counted_real: str
    mine: tuple[float, float, float] | None
    theirs: tuple[float, float, float] | None


def figure_rows(figures: Mapping[str, Any], yardstick: Mapping[str, Any]) -> list[Row]:
    """The known figures in their usual order, then any other."""
    rows = []
    for key in [*KINDS, *(str(name) for name in figures if name not in KINDS)][:40]:
        figure = figure_of(figures.get(key))
        if figure is None:
            continue
        real = figure_of(yardstick.get(key))
        kind = AGREEMENT_KIND if key == AGREEMENT else KINDS.get(key)
        value, interval = figure_parts(key, figure)
        fair = real is not None and comparable(key, figure, real)
        mine, theirs = _on_scale(figure, real if fair else None, "one" if kind is None else kind.better)
        rows.append(
            Row(
                key=text(key),
                label=kind.label if kind else text(key),
                help=kind.help if kind else "",
                better=GOOD[kind.better] if kind else "",
                value=value,
                interval=interval,
                real=figure_words(key, real) if real else "\N{EN DASH}",
                unlike=real is not None and not fair,
                counted=computed_from(figure),
                counted_real=computed_from(real, "held out") if real else "",
                mine=mine,
                theirs=theirs,
            )
        )
    return rows


def _on_scale(
    figure: Figure, real: Figure | None, better: str
) -> tuple[tuple[float, float, float] | None, tuple[float, float, float] | None]:
    """Value, low and high of both on a common scale from 0 to the larger end (to 1 for shares), in hundredths."""
    ends = [value for one in (figure, real) if one for value in (one.value, one.low, one.high) if value is not None]
    low, high = min([0.0, *ends]), max([*ends, *([1.0] if better != "lower" else [])])
    if high <= low:
        return None, None

    def placed(one: Figure) -> tuple[float, float, float]:
        places = (one.value, one.value if one.low is None else one.low, one.value if one.high is None else one.high)
        a, b, c = (round(100 * (place - low) / (high - low), 2) for place in places)
        return a, b, c

    return placed(figure), placed(real) if real else None


@dataclass(frozen=True)
class Pair:
    """A generated image and its nearest training image."""

    generated: Picture | None
    nearest: Picture | None
    name: str
    seed: str
    distance: str
    pixel_distance: str
    ratio: str
    copied: bool


def closest_pairs(run: Contents) -> list[Pair]:
    """The closest pairs of the newest evaluation, with their pictures."""
    found = mapping(run.evaluation).get("copying")
    listed = mapping(found).get("pairs")
    pairs = []
    for entry in (listed if isinstance(listed, list) else [])[:PAIRS]:
        pair = mapping(entry)
        distance, pixels = real_number(pair.get("distance")), real_number(pair.get("pixel_distance"))
        ratio = real_number(pair.get("ratio"))
        seed = whole_number(pair.get("seed"))
        pairs.append(
            Pair(
                _inside(run, pair.get("generated")),
                _inside(run, pair.get("nearest")),
                text(pair.get("name", "")) or "without a name",
                "" if seed is None else str(seed),
                "" if distance is None else short(distance),
                "" if pixels is None else short(pixels),
                "" if ratio is None else short(ratio),
                pair.get("copied") is True,
            )
        )
    return pairs


def _inside(run: Contents, name: Any) -> Picture | None:
    """A picture of the evaluation by name; names that lead out of its directory are no names."""
    if run.evaluation_path is None or not isinstance(name, str) or not name or "\0" in name:
        return None
    try:
        path = (run.evaluation_path / name).resolve()
        if not path.is_relative_to(run.evaluation_path.resolve()):
            return None
    except (OSError, ValueError, RuntimeError):
        return None
    return embedded(path, PAIR_BYTES, 256)


def class_rows(classes: Mapping[str, Any]) -> tuple[list[list[str]], int]:
    """Rows of the table of classes (name, share generated, share real, coverage, recall, counts), and how many are left out."""
    rows = []
    for name in sorted(classes, key=_natural)[:CLASSES]:
        values = mapping(classes[name])
        share = figure_of(values.get("share"))
        given = values.get("real_share")
        real = real_number(mapping(given).get("value") if isinstance(given, Mapping) else given)
        coverage, recall = figure_of(values.get("coverage")), figure_of(values.get("recall"))
        counted = next((computed_from(figure) for figure in (coverage, recall, share) if figure), "\N{EN DASH}")
        rows.append(
            [
                text(name),
                figure_words("share", share) if share else "\N{EN DASH}",
                "\N{EN DASH}" if real is None else percent(real),
                figure_words("coverage", coverage) if coverage else "\N{EN DASH}",
                figure_words("recall", recall) if recall else "\N{EN DASH}",
                counted,
            ]
        )
    return rows, max(0, len(classes) - len(rows))


def _natural(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if name.isascii() and name.isdigit() and len(name) < 10 else (1, 0, name)


@dataclass(frozen=True)
class Happening:
    """An event as the report tells it."""

    number: int
    title: str
    severity: str
    time: str
    images: int
    evidence: str
    advice: str
    details: tuple[tuple[str, str], ...]


def happenings(events: Sequence[Line]) -> tuple[list[Happening], int]:
    """The events, numbered; of ``best`` ones only the last. Also how many were left out."""
    last_best = max((place for place, event in enumerate(events) if event.get("event") == "best"), default=-1)
    kept = [event for place, event in enumerate(events) if event.get("event") != "best" or place == last_best]
    if len(kept) > EVENTS:
        # Warnings and errors are what a reader looks for; of the rest, the first and the newest.
        serious = [event for event in kept if severity(event) != "note"][: EVENTS - 20]
        kept = [event for place, event in enumerate(kept) if event in serious or place < 1 or place >= len(kept) - 19]
    found = []
    for number, event in enumerate(kept[:EVENTS], 1):
        kind = text(event.get("event", "event"))
        said = ("event", "time", "images", "severity", "evidence", "advice", "command", "step", *IN_EVIDENCE)
        details = tuple(
            (text(name).replace("_", " "), text(_plain(value)))
            for name, value in list(event.items())[:20]
            if name not in said and value not in ("", None, {}, [])
        )
        found.append(
            Happening(
                number,
                TITLES.get(kind, kind.replace("-", " ").capitalize()),
                severity(event),
                text(event.get("time", ""))[:19].replace("T", " "),
                int(event["images"]),
                sentence(text(event.get("evidence") or "")),
                sentence(text(event.get("advice") or "")),
                details,
            )
        )
    return found, len(events) - len(found)


def severity(event: Line) -> str:
    """``note``, ``warning`` or ``error``."""
    given = event.get("severity")
    if given in SEVERITIES:
        return str(given)
    return "error" if event.get("event") in ("non-finite", "stopped") else "note"


def marks(found: Sequence[Happening]) -> list[Mark]:
    """What of it is marked on the time axis: all but the start where there is room, otherwise the serious ones first."""
    shown = [one for one in found if one.title != TITLES["started"]]
    if len(shown) > MARKS:
        shown = sorted(shown, key=lambda one: -SEVERITIES.index(one.severity))[:MARKS]
    return [Mark(one.number, one.images, one.severity, one.title) for one in sorted(shown, key=lambda one: one.number)]


def _plain(value: Any, depth: int = 3) -> str:
    if depth and isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner, depth - 1)}" for name, inner in list(value.items())[:20])
    if depth and isinstance(value, list):
        return ", ".join(_plain(inner, depth - 1) for inner in value[:20])
    return "..." if isinstance(value, Mapping | list) else str(value)


def interval_strip(row: Row) -> Markup:
    """A small drawing of a figure and real against real on one scale."""
    if row.mine is None:
        return Markup()
    drawn = [
        '<svg class="strip" viewBox="-3 0 106 16" aria-hidden="true"><line class="rail" x1="0" x2="100" y1="8" y2="8"/>'
    ]
    if row.theirs:
        value, low, high = row.theirs
        width = max(high - low, 1.2)
        drawn.append(f'<rect class="real" x="{low}" y="2" width="{width:.2f}" height="12" rx="1"/>')
        drawn.append(f'<line class="real-value" x1="{value}" x2="{value}" y1="1" y2="15"/>')
    value, low, high = row.mine
    drawn.append(
        f'<line class="mine" x1="{low}" x2="{high}" y1="8" y2="8"/><circle class="mine" cx="{value}" cy="8" r="2.6"/>'
    )
    return Markup("".join(drawn) + "</svg>")
