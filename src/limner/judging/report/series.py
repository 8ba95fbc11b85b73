"""Curves of a run: from the lines of its log and its evaluations to points with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from limner.judging.figures import KINDS
from limner.judging.report.read import Line
from limner.judging.report.words import figure_of, mapping, real_number

MOST_POINTS = 300
LEAST_WINDOW = 5
WINDOWS = 25
"""A curve of the log is smoothed over a twenty-fifth of its lines."""


@dataclass(frozen=True)
class Point:
    """One place of a curve: images seen, the value, and its band (``None`` where there is none)."""

    x: int
    y: float
    low: float | None = None
    high: float | None = None
    counted: str = ""


@dataclass(frozen=True)
class Series:
    """A curve by name. ``breaks`` are the images seen at log lines without a number: the curve is cut there."""

    name: str
    points: tuple[Point, ...]
    breaks: tuple[int, ...] = ()


def logged(lines: Sequence[Line], field: str, name: str) -> tuple[Series, int]:
    """A field of the log as the median over neighbouring lines, with a band that holds the middle 80 % of them.

    Returns:
        The curve (at most :data:`MOST_POINTS` points), and how many lines each median is of.
    """
    found = [(int(line["images"]), real_number(line[field])) for line in lines if field in line]
    breaks = tuple(images for images, value in found if value is None)
    numbers = [(images, value) for images, value in found if value is not None]
    window = min(len(numbers), max(LEAST_WINDOW, len(numbers) // WINDOWS))
    points = []
    for place in thinned(len(numbers)):
        start = max(0, min(place - window // 2, len(numbers) - window))
        near = sorted(value for _, value in numbers[start : start + window])
        points.append(Point(numbers[place][0], median(near), quantile(near, 0.1), quantile(near, 0.9)))
    return Series(name, tuple(points), breaks), window


def evaluated(lines: Sequence[Line], figure: str) -> Series:
    """A figure over the evaluations, with its 95 % intervals."""
    points = []
    for line in lines:
        found = figure_of(mapping(line.get("figures")).get(figure))
        if found is not None:
            counted = f"{found.generated:,} generated, {found.real:,} real"
            points.append(Point(int(line["images"]), found.value, found.low, found.high, counted))
    kept = tuple(points[place] for place in thinned(len(points)))
    return Series(KINDS[figure].label if figure in KINDS else figure, kept)


def thinned(count: int, most: int = MOST_POINTS) -> list[int]:
    """At most so many places out of ``count``, at even steps, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of ordered values lies, interpolated (numpy's default)."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
