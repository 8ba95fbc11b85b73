"""Curves over several seeds: the mean, and a band from the lowest seed to the highest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean

from limner.judging.comparison import Comparison
from limner.judging.comparison.configurations import Configuration
from limner.judging.comparison.read import Reading
from limner.judging.comparison.statistics import COMPARED
from limner.judging.report.charts import Chart, chart
from limner.judging.report.series import Point, Series, thinned

TOGETHER = 4
"""So many configurations share a chart; more have one each, with the reference beside them."""
DRAWN = ("kernel_distance", "precision", "recall", "diversity", "copied_share")
"""Figures that have a chart, besides the one that counts most."""
AXES: tuple[tuple[str, str, Callable[[Reading], int]], ...] = (
    ("images", "images seen", lambda reading: reading.images),
    ("updates", "updates", lambda reading: reading.step),
)
ENDS = {"lower": (0.0, 0.0), "higher": (0.0, 1.0), "one": (0.0, 1.0)}


def over_seeds(one: Configuration, name: str, place: Callable[[Reading], int], start: int = 0) -> Series:
    """A configuration's figure over what is counted: the mean over its seeds, the band from the lowest to the highest.

    Seeds that were evaluated at other moments are interpolated to those of the seed with the fewest. With one seed the band
    is the figure's own 95 % interval.

    Args:
        one: the configuration.
        name: of the figure.
        place: what the horizontal axis counts.
        start: where the curve begins.
    """
    ways = [
        [(place(reading), reading.figures[name]) for reading in member.way if name in reading.figures]
        for member in one.members.values()
    ]
    ways = [[pair for pair in way if pair[0] >= start] for way in ways]
    ways = [way for way in ways if way]
    if not ways:
        return Series(one.name, ())
    if len(ways) == 1:
        points = [Point(x, figure.value, figure.low, figure.high, "1 seed") for x, figure in ways[0]]
        return Series(one.name, tuple(points[number] for number in thinned(len(points))))
    fewest = min(ways, key=len)
    points = []
    for x, _ in fewest:
        values = [value for way in ways if (value := _at(x, [(at, figure.value) for at, figure in way])) is not None]
        if values:
            points.append(Point(x, fmean(values), min(values), max(values), f"{len(values)} seeds"))
    return Series(one.name, tuple(points[number] for number in thinned(len(points))))


def charts(found: Comparison) -> dict[str, list[Chart]]:
    """The charts by what their horizontal axis counts: ``images``, and ``updates`` where these tell something else."""
    wanted = [name for name in dict.fromkeys((found.metric, *DRAWN)) if name in found.metrics()]
    axes = AXES if {view.key for view in found.views} & {"updates"} else AXES[:1]
    made: dict[str, list[Chart]] = {}
    for key, axis, place in axes:
        if len(found.configurations) <= TOGETHER:
            drawn = [_together(found, name, key, axis, place) for name in wanted]
        else:
            drawn = _apart(found, key, axis, place)
        kept = [one for one in drawn if one is not None]
        if kept:
            made[key] = kept
    return made


def _together(found: Comparison, name: str, key: str, axis: str, place: Callable[[Reading], int]) -> Chart | None:
    series = [over_seeds(one, name, place) for one in found.configurations]
    kind = COMPARED[name]
    better = {"lower": "Lower is better.", "higher": "Higher is better."}.get(kind.better, "1 is best.")
    return chart(
        f"{key}-{name.replace('_', '-')}", kind.label.capitalize(), "", series,
        caption=f"{better} {_bands(found)}", fixed=ENDS[kind.better],
        may_be_log=kind.better == "lower" and name != "copied_share", axis=axis,
    )  # fmt: skip


def _apart(found: Comparison, key: str, axis: str, place: Callable[[Reading], int]) -> list[Chart | None]:
    """A chart for each configuration, all on one scale, without the untrained state, which would squeeze it."""
    name, first = found.metric, 1
    everyone = {one.name: over_seeds(one, name, place, first) for one in found.configurations}
    points = [point for series in everyone.values() for point in series.points]
    if not points:
        return []
    scale = (0.0, max(point.y for point in points))
    last = max(point.x for point in points)
    kind = COMPARED[name]
    made = []
    for number, one in enumerate(found.configurations):
        beside = [] if one.name == found.reference else [everyone[found.reference]]
        caption = "The reference." if not beside else ""
        made.append(
            chart(
                f"{key}-{number}",
                one.name,
                kind.label,
                [everyone[one.name], *beside],
                caption=caption,
                fixed=scale,
                last=last,
                axis=axis,
            )
        )
    return made


def _bands(found: Comparison) -> str:
    most = max(len(one.members) for one in found.configurations)
    if most < 2:
        return "Bands are 95\N{NO-BREAK SPACE}% intervals of each evaluation."
    return "Lines are means over the seeds; bands go from the lowest seed to the highest."


def _at(x: int, way: Sequence[tuple[int, float]]) -> float | None:
    """A curve's value at a place inside it, interpolated."""
    if not way[0][0] <= x <= way[-1][0]:
        return None
    for (left, low), (right, high) in pairwise(way):
        if left <= x <= right and right > left:
            return low + (high - low) * (x - left) / (right - left)
    return way[0][1]
