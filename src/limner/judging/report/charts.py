"""Charts as inline SVG. Colours are classes, so that the page's style sheet gives them for light, dark and paper."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from limner.judging.report.series import Point, Series
from limner.judging.report.words import compact, short

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 22, 42
LOG_FROM = 20.0
"""A chart that may be logarithmic is, when its values are positive and differ by this factor."""
LOWEST = 300.0
"""A level this much below the lowest point of a curve would squeeze it, and is left off a logarithmic axis."""
DOTS = 45
"""Curves of up to so many points show them as dots."""
FLAG_GAP = 16.0
IMAGES = "images seen"
NAME_WIDTH, LINE = 90.0, 13.0


@dataclass(frozen=True)
class Mark:
    """An event on the time axis: its number in the list of events, images seen, severity, and what it is."""

    number: int
    images: int
    severity: str
    label: str


@dataclass(frozen=True)
class Reference:
    """A level to compare with: its value and band, and what it is."""

    value: float
    low: float | None
    high: float | None
    label: str


@dataclass(frozen=True)
class Chart:
    """A drawn chart.

    Attributes:
        key: part of the element's id.
        title, unit: its heading, and what the vertical axis counts.
        svg: the drawing.
        names: the curves, in order of their colours.
        caption: what the bands are.
        reference: what the dotted line is, if there is one.
        points: for the read-outs, as JSON.
        summary: the same in a sentence, for whoever does not see it.
        counted: what the horizontal axis counts.
    """

    key: str
    title: str
    unit: str
    svg: Markup
    names: tuple[str, ...]
    caption: str
    reference: str
    points: str
    summary: str
    counted: str = "images"


def chart(
    key: str,
    title: str,
    unit: str,
    series: Sequence[Series],
    *,
    caption: str,
    marks: Sequence[Mark] = (),
    reference: Reference | None = None,
    fixed: tuple[float, float] | None = None,
    may_be_log: bool = False,
    last: int = 0,
    axis: str = IMAGES,
) -> Chart | None:
    """Draw curves over the images seen; ``None`` when there is nothing to draw.

    Args:
        key: part of the element's id.
        title: heading.
        unit: what the vertical axis counts.
        series: the curves, four at most.
        caption: what the bands are, and from how many images or lines the points come.
        marks: events for the time axis.
        reference: a level to compare with.
        fixed: ends that the vertical axis has at least.
        may_be_log: whether the vertical axis may be logarithmic.
        last: where the time axis ends at least, in images.
        axis: what the time axis counts, if not images.
    """
    series = [one for one in series if one.points]
    if not series:
        return None
    every = [point for one in series for point in one.points]
    end = max([last, 1, *(point.x for point in every)])
    values = [value for point in every for value in (point.y, point.low, point.high) if value is not None]
    least = min(point.y for point in every)
    log = may_be_log and least > 0 and max(values) > LOG_FROM * least
    drawn = reference is not None and (not log or reference.value > least / LOWEST)
    if reference is not None and drawn:
        values += [value for value in (reference.value, reference.low, reference.high) if value is not None]
    if log:
        # An interval that reaches zero or below has no place on such an axis: it is drawn to the edge.
        floor = min([least, *([reference.value] if reference is not None and drawn else [])]) / 2
        low, high = max(min(values), floor), max(values)
        ticks = log_ticks(low, high)
    else:
        low, high = min([*values, *(fixed or ())]), max([*values, *(fixed or ())])
        ticks = linear_ticks(low, high)
        low, high = ticks[0], ticks[-1]
    across = _scale(0, end, LEFT, WIDTH - RIGHT)
    up = _scale(low, high, HEIGHT - BOTTOM, TOP, log)
    counted = axis.removesuffix(" seen")
    summary = _summary(title, series, counted)
    svg = Element("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": summary})
    _axes(svg, ticks, up, [tick for tick in linear_ticks(0, end) if tick <= end], across, log, axis)
    _unit(svg, f"{unit}, log scale" if log and unit else unit or ("log scale" if log else ""))
    if reference is not None and drawn:
        _reference(svg, reference, up)
    for place, one in enumerate(series):
        _curve(svg, place, one, across, up)
    if len(series) > 1:
        _names(svg, series, across, up)
    _marks(svg, marks, across, end)
    SubElement(svg, "line", {"class": "cursor", "y1": str(TOP), "y2": str(HEIGHT - BOTTOM), "x1": "0", "x2": "0"})
    return Chart(
        key,
        title,
        unit,
        Markup(tostring(svg, encoding="unicode")),
        tuple(one.name for one in series),
        caption,
        (reference.label + ("" if drawn else " (below this axis)")) if reference else "",
        _read_out(series, across),
        summary,
        counted,
    )


def linear_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from at or below ``low`` to at or above ``high``, with about ``most`` steps."""
    if not high > low:
        low, high = low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
    raw = (high - low) / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * times for times in (1, 2, 2.5, 5, 10) if size * times >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between the ends, with 2 and 5 times them where there are few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for times in ((1,), (1, 3), (1, 2, 5)):
        ticks = [time * 10.0**decade for decade in decades for time in times]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            return inside[:: max(1, round(len(inside) / 6))]
    return inside or [low, high]


def _scale(low: float, high: float, start: float, end: float, log: bool = False) -> Callable[[float], float]:
    """A number's place on the drawing; what lies outside is put at the edge."""
    if log:
        low, high = math.log(low), math.log(high)

    def place(value: float) -> float:
        if log:
            value = math.log(value) if value > 0 else low
        share = (value - low) / (high - low) if high > low else 0.5
        return round(start + min(1.0, max(0.0, share)) * (end - start), 1)

    return place


def _text(parent: Element, words: str, **attributes: str) -> None:
    SubElement(parent, "text", {name.replace("_", "-"): value for name, value in attributes.items()}).text = words


def _axes(
    svg: Element,
    ticks: Sequence[float],
    up: Callable[[float], float],
    ticks_x: Sequence[float],
    across: Callable[[float], float],
    log: bool,
    axis: str,
) -> None:
    group = SubElement(svg, "g", {"class": "axes", "aria-hidden": "true"})
    for tick in ticks:
        y = up(tick)
        kind = "zero" if tick == 0 and not log else "grid"
        SubElement(
            group, "line", {"class": kind, "x1": str(LEFT), "x2": str(WIDTH - RIGHT), "y1": str(y), "y2": str(y)}
        )
        _text(group, _tick(tick, ticks), x=str(LEFT - 7), y=f"{y + 4:.1f}", text_anchor="end")
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for tick in ticks_x:
        x = across(tick)
        SubElement(
            group, "line", {"class": "tick", "x1": str(x), "x2": str(x), "y1": str(bottom), "y2": str(bottom + 4)}
        )
        anchor = "end" if x > right - 12 else "middle"
        _text(group, compact(tick), x=str(x), y=str(bottom + 17), text_anchor=anchor)
    SubElement(
        group, "line", {"class": "base", "x1": str(LEFT), "x2": str(right), "y1": str(bottom), "y2": str(bottom)}
    )
    _text(group, axis, x=str((LEFT + right) // 2), y=str(HEIGHT - 6), text_anchor="middle")


def _tick(tick: float, ticks: Sequence[float]) -> str:
    """A tick's label: as many decimals as its neighbours need."""
    size = max(abs(value) for value in ticks)
    if size >= 10_000:
        return ("\N{MINUS SIGN}" if tick < 0 else "") + compact(abs(tick))
    if size < 1e-3:
        return f"{tick:.0e}".replace("-", "\N{MINUS SIGN}") if tick else "0"
    return f"{tick:.6g}".replace("-", "\N{MINUS SIGN}")


def _unit(svg: Element, words: str) -> None:
    _text(svg, words, **{"class": "unit"}, x="2", y="12")


def _reference(svg: Element, reference: Reference, up: Callable[[float], float]) -> None:
    left, right = str(LEFT), WIDTH - RIGHT
    if reference.low is not None and reference.high is not None:
        top, bottom = up(reference.high), up(reference.low)
        box = {"x": left, "width": str(right - LEFT), "y": str(top), "height": f"{max(0.5, bottom - top):.1f}"}
        SubElement(svg, "rect", {"class": "reference-band", **box})
    y = str(up(reference.value))
    SubElement(svg, "line", {"class": "reference", "x1": left, "x2": str(right), "y1": y, "y2": y})


def _curve(
    svg: Element, place: int, one: Series, across: Callable[[float], float], up: Callable[[float], float]
) -> None:
    group = SubElement(svg, "g", {"class": f"curve c{place}{'' if len(one.points) <= DOTS else ' dense'}"})
    for part in pieces(one):
        with_band = [point for point in part if point.low is not None and point.high is not None]
        if len(with_band) > 1:
            above = [f"{across(point.x)},{up(point.high or 0.0)}" for point in with_band]
            below = [f"{across(point.x)},{up(point.low or 0.0)}" for point in reversed(with_band)]
            SubElement(group, "polygon", {"class": "band", "points": " ".join(above + below)})
        elif with_band:
            x, only = str(across(part[0].x)), with_band[0]
            ends = {"y1": str(up(only.low or 0.0)), "y2": str(up(only.high or 0.0))}
            SubElement(group, "line", {"class": "whisker", "x1": x, "x2": x, **ends})
        line = " ".join(f"{across(point.x)},{up(point.y)}" for point in part)
        SubElement(group, "polyline", {"class": "line", "points": line})
        if len(one.points) <= DOTS:
            for point in part:
                SubElement(group, "circle", {"cx": str(across(point.x)), "cy": str(up(point.y)), "r": "2.4"})


def _names(
    svg: Element, series: Sequence[Series], across: Callable[[float], float], up: Callable[[float], float]
) -> None:
    """Each curve's name at its end, above the upper curve and below the lower ones, so that colour is not all that tells."""
    end = max(point.x for one in series for point in one.points)
    x = across(end) - 3
    order = sorted(range(len(series)), key=lambda place: up(series[place].points[-1].y))
    heights: list[float] = []
    for place in order:
        own = series[place].points
        near = [up(point.y) for point in own if across(point.x) > x - NAME_WIDTH] or [up(own[-1].y)]
        above, below = min(near) - 7, max(near) + 15
        has_room = above > max(TOP + 10, heights[-1] + LINE if heights else 0)
        heights.append(above if has_room and (not heights or below > HEIGHT - BOTTOM - 3) else below)
    # Names that would lie on one another or on the axis move up, the lowest first.
    limit = HEIGHT - BOTTOM - 4.0
    for which in reversed(range(len(order))):
        heights[which] = min(heights[which], limit)
        limit = heights[which] - LINE
    for place, height in zip(order, heights, strict=True):
        ends = min(
            x, max(across(series[place].points[-1].x) - 3, LEFT + NAME_WIDTH)
        )  # a curve may end before the others
        _text(
            svg,
            series[place].name,
            **{"class": f"name c{place}"},
            x=f"{ends:.1f}",
            y=f"{height:.1f}",
            text_anchor="end",
        )


def pieces(one: Series) -> list[list[Point]]:
    """A curve's points, cut where a line of the log had no number."""
    parts: list[list[Point]] = [[]]
    breaks = sorted(one.breaks)
    for point in one.points:
        if breaks and point.x > breaks[0]:
            while breaks and point.x > breaks[0]:
                breaks.pop(0)
            parts.append([])
        parts[-1].append(point)
    return [part for part in parts if part]


def _marks(svg: Element, marks: Sequence[Mark], across: Callable[[float], float], end: int) -> None:
    """A flag for each event; those that would lie on one another share one."""
    flags: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda mark: (mark.images, mark.number)):
        if mark.images > end:
            continue
        if flags and across(mark.images) - across(flags[-1][0].images) < FLAG_GAP:
            flags[-1].append(mark)
        else:
            flags.append([mark])
    for flag in flags:
        x = across(flag[0].images)
        worst = max(flag, key=lambda mark: ("note", "warning", "error").index(mark.severity))
        group = SubElement(svg, "g", {"class": f"mark {worst.severity}"})
        SubElement(group, "title").text = "; ".join(
            f"{mark.number}. {mark.label}, after {mark.images:,} images" for mark in flag
        )
        SubElement(group, "line", {"x1": str(x), "x2": str(x), "y1": str(TOP), "y2": str(HEIGHT - BOTTOM)})
        SubElement(group, "path", {"d": f"M{x - 4:.1f} {TOP - 7}h8l-4 7z"})
        words = ", ".join(str(mark.number) for mark in flag[:3]) + (" ..." if len(flag) > 3 else "")
        left = x > WIDTH - RIGHT - 8 - 6 * len(words)
        _text(group, words, x=f"{x - 6 if left else x + 6:.1f}", y=str(TOP - 1), text_anchor="end" if left else "start")


def _read_out(series: Sequence[Series], across: Callable[[float], float]) -> str:
    """``[place, images, [[value, interval, counted], ...]]`` for each place that has a point, as JSON."""
    places: dict[int, list[list[str] | None]] = {}
    for number, one in enumerate(series):
        for point in one.points:
            row = places.setdefault(point.x, [None] * len(series))
            has_band = point.low is not None and point.high is not None
            interval = f"{short(point.low or 0.0)} to {short(point.high or 0.0)}" if has_band else ""
            row[number] = [short(point.y), interval, point.counted]
    return json.dumps([[across(x), f"{x:,}", row] for x, row in sorted(places.items())], separators=(",", ":"))


def _summary(title: str, series: Sequence[Series], counted: str) -> str:
    parts = []
    for one in series:
        first, last = one.points[0], one.points[-1]
        if first is last:
            parts.append(f"{one.name}: {short(last.y)} after {last.x:,} {counted}")
        else:
            parts.append(
                f"{one.name}: from {short(first.y)} after {first.x:,} to {short(last.y)} after {last.x:,} {counted}"
            )
    return f"{title}. {'; '.join(parts)}."
