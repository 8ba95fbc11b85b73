"""What each factor does: the mean difference between two of its values, all else alike; and whether one factor's effect depends
on another's value, where all four corners are there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from limner.judging.comparison.configurations import Configuration
from limner.judging.comparison.statistics import (
    Difference,
    Outcome,
    gain_of,
    over_blocks,
    short_digits,
    spread,
    standard_error,
    student,
)
from limner.judging.comparison.views import View
from limner.judging.distances.intervals import Z95
from limner.judging.figures import Figure

MOST_LEVELS = 8
"""A factor with more values was searched, not compared."""


@dataclass(frozen=True)
class Effect:
    """What one value of a factor does beside its first value.

    Attributes:
        factor, level, base: the factor, its value, and the first value.
        others: how many combinations of the other factors it was seen in.
        difference: the outcome.
    """

    factor: str
    level: str
    base: str
    others: int
    difference: Difference

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "difference": self.difference.values()}


@dataclass(frozen=True)
class Interaction:
    """Whether a factor's effect depends on another one's value.

    Attributes:
        factors: both names.
        levels: the values of each that were set beside the first ones.
        gain, half: by how much more the first factor's value gains at the second one's; half of the 95 % interval.
        words: that in a sentence.
    """

    factors: tuple[str, str]
    levels: tuple[str, str]
    gain: float
    half: float | None
    words: str

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "factors": list(self.factors), "levels": list(self.levels)}


def factor_levels(found: Sequence[Configuration]) -> dict[str, list[str]]:
    """Every factor with the values that configurations have of it, in their order."""
    levels: dict[str, list[str]] = {}
    for configuration in found:
        for factor, level in configuration.levels.items():
            known = levels.setdefault(factor, [])
            if level not in known:
                known.append(level)
    return {factor: known for factor, known in levels.items() if len(known) > 1}


def effects(found: Sequence[Configuration], view: View, name: str) -> list[Effect]:
    """The main effects by one figure, at one moment: each value of each factor against the factor's first."""
    by_levels = {_frozen(one.levels): one for one in found}
    made = []
    for factor, levels in factor_levels(found).items():
        if len(levels) > MOST_LEVELS:
            continue
        for level in levels[1:]:
            pairs = []
            for one in found:
                if one.levels.get(factor) == level:
                    other = by_levels.get(_frozen({**one.levels, factor: levels[0]}))
                    if other is not None:
                        pairs.append((one.name, other.name))
            if pairs:
                made.append(Effect(factor, level, levels[0], len(pairs), _over(view, name, pairs)))
    return made


def interactions(found: Sequence[Configuration], view: View, name: str) -> list[Interaction]:
    """Every pair of factors whose four corners are there, by one figure at one moment."""
    by_levels = {_frozen(one.levels): one.name for one in found}
    levels = {factor: known for factor, known in factor_levels(found).items() if len(known) <= MOST_LEVELS}
    made = []
    for first, second in combinations(levels, 2):
        for one in levels[first][1:]:
            for two in levels[second][1:]:
                squares = []
                for own in found:
                    if own.levels.get(first) != one or own.levels.get(second) != two:
                        continue
                    corners = [
                        by_levels.get(_frozen({**own.levels, first: a, second: b}))
                        for a, b in ((one, two), (levels[first][0], two), (one, levels[second][0]))
                    ]
                    corners.append(
                        by_levels.get(_frozen({**own.levels, first: levels[first][0], second: levels[second][0]}))
                    )
                    if all(corners):
                        squares.append([str(corner) for corner in corners])
                known = _interaction(view, name, squares)
                if known is not None and known[1] is not None:  # one seed says nothing about that
                    made.append(
                        Interaction((first, second), (one, two), *known, _words(first, one, second, two, *known))
                    )
    return made


def _over(view: View, name: str, pairs: Sequence[tuple[str, str]]) -> Difference:
    if len(pairs) == 1:
        return view.against(*pairs[0], name)
    gains, values, lost, won = [], [], 0, 0
    for mine, other in pairs:
        if view.against(mine, other, name).verdict == "cannot be compared":
            continue
        ours, theirs = view.figures(mine, name), view.figures(other, name)
        for seed in ours.keys() & theirs.keys():
            one, two = ours[seed], theirs[seed]
            lost += one is None and two is not None
            won += one is not None and two is None
            if one is not None and two is not None:
                gains.append(gain_of(name, one, two))
                values.append(one.value - two.value)
    if not gains and not lost and not won:
        return view.against(*pairs[0], name)
    found = over_blocks(name, gains, value=fmean(values) if values else 0.0, what="pairs")
    if lost or won:
        said = f"{found.words}; besides, {lost} more broke off with it, {won} without it"
        verdict: Outcome = found.verdict if not (lost and found.verdict == "better") else "too few seeds to tell"
        found = Difference(verdict, found.value, found.half, found.better, found.worse, found.seeds, said)
    return found


def _interaction(view: View, name: str, squares: Sequence[Sequence[str]]) -> tuple[float, float | None] | None:
    """The difference of differences, and half of its interval; ``None`` where there is nothing to form it of."""
    gains: list[float] = []
    cells: list[list[float]] = []
    errors = 0.0
    for corners in squares:
        known = [view.figures(corner, name) for corner in corners]
        seeds = [seed for seed in known[0] if all(own.get(seed) is not None for own in known)]
        rows = [[own[seed] for seed in seeds] for own in known]
        for column in zip(*rows, strict=True):
            a, b, c, d = (one for one in column if one is not None)
            gains.append(gain_of(name, a, b) - gain_of(name, c, d))
            errors += sum(standard_error(one) ** 2 for one in (a, b, c, d))
        cells += [[_plain(name, one) for one in row if one is not None] for row in rows]
    if not gains:
        return None
    count, gain = len(gains), fmean(gains)
    if count == 1:
        return gain, None
    if len(squares) == 1:
        seeds_variance = sum(spread(cell) for cell in cells) / count
        half = student(4 * (count - 1)) * math.sqrt(seeds_variance)
    else:
        half = student(count - 1) * math.sqrt(spread(gains) / count)
    return gain, max(half, Z95 * math.sqrt(errors) / count)


def _plain(name: str, figure: Figure) -> float:
    return gain_of(name, figure, Figure(0.0))


def _words(first: str, one: str, second: str, two: str, gain: float, half: float | None) -> str:
    half = half or 0.0
    amount = f"{gain:+.3g} \N{PLUS-MINUS SIGN} {short_digits(half)}".replace("-", "\N{MINUS SIGN}")
    if abs(gain) <= half:
        return f"no sign that what {first} = {one} does depends on {second} = {two} ({amount})"
    return f"{first} = {one} gains {'more' if gain > 0 else 'less'} with {second} = {two} ({amount})"


def _frozen(levels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(levels.items()))
