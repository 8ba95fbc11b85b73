"""Is one configuration better than another? Differences over seeds with honest intervals, and a verdict in words.

Two things make a difference uncertain. Each figure is measured on a finite number of images, which its own interval says. And
another seed gives other networks, which only several seeds can show. Both count: the interval of a mean difference comes from
the spread of the seeds within each configuration, pooled over the two (Student's t with 2(n - 1) degrees of freedom), and is
never narrower than what the figures' own intervals leave. With two seeds t is 4.3: only what is large beside that spread is
called a difference. Seeds pair runs: only those that both configurations have are compared, and a seed counts for a side when
its own difference is beyond what measuring explains. What pairing itself could gain (the same split, the same order of images)
is given away: with two seeds it would leave one degree of freedom, where t is 12.7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from limner.judging.distances.intervals import Z95
from limner.judging.figures import AGREEMENT, AGREEMENT_KIND, KINDS, Figure, Kind, comparable
from limner.judging.report.words import SHARES, short

COPIED = "copied_share"
COMPARED: Mapping[str, Kind] = {
    **KINDS,
    COPIED: Kind("copied share", "lower", "Estimated share of generated images that copy a training image."),
    AGREEMENT: AGREEMENT_KIND,
}
"""Everything that is compared, in the order of tables."""
Outcome = Literal["better", "worse", "no difference found", "too few seeds to tell", "cannot be compared"]
_T975 = (
    12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814,
    2.20099, 2.17881, 2.16037, 2.14479, 2.13145, 2.11991, 2.10982, 2.10092, 2.09302, 2.08596,
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """How much one configuration differs from another.

    Attributes:
        verdict: of the first, beside the second.
        value: mean difference over the paired seeds, as measured (not turned by which direction is good); ``None`` without one.
        half: half of its 95 % interval; ``None`` where there is none (one seed).
        better, worse: seeds whose own difference is beyond what measuring explains, for and against the first.
        seeds: paired seeds.
        words: the verdict as a sentence says it.
    """

    verdict: Outcome
    value: float | None
    half: float | None
    better: int
    worse: int
    seeds: int
    words: str

    def values(self) -> dict[str, Any]:
        """For JSON."""
        found = dict(vars(self))
        for name in ("value", "half"):
            found[name] = None if found[name] is None else float(f"{found[name]:.6g}")
        return found


Readings = Mapping[Any, Figure | None]
"""A figure for each seed (or for each block of other things alike); ``None`` for a run that diverged before."""


def student(freedom: int) -> float:
    """The 97.5 % point of Student's t, to four digits (Fisher and Cornish 1960 beyond the table).

    Args:
        freedom: degrees of freedom, 1 or more.
    """
    if freedom < 1:
        raise ValueError("there are no degrees of freedom")
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z, n = Z95, freedom
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return float(z + sum(term / n**power for power, term in enumerate(terms, 1)))


def standard_error(figure: Figure) -> float:
    """What measuring leaves open about a figure, from its 95 % interval; 0 where it has none."""
    return 0.0 if figure.low is None or figure.high is None else (figure.high - figure.low) / (2 * Z95)


def spread(values: Sequence[float]) -> float:
    """Sample variance; 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    middle = fmean(values)
    return sum((value - middle) ** 2 for value in values) / (len(values) - 1)


def mean(readings: Sequence[Figure], name: str = "") -> Figure | None:
    """The mean over seeds, with the interval that seeds and measuring leave; only the value, where there is one seed.

    Images are those of one evaluation. Of a named figure the interval is cut to what it can be.
    """
    if not readings:
        return None
    count = len(readings)
    value = fmean(figure.value for figure in readings)
    if count == 1:
        return readings[0]
    measured = sum(standard_error(figure) ** 2 for figure in readings) / count**2
    seeds = spread([figure.value for figure in readings]) / count
    half = max(student(count - 1) * math.sqrt(seeds), Z95 * math.sqrt(measured))
    low, high = value - half, value + half
    if name in COMPARED and name != "kernel_distance":  # which is unbiased, and may be below 0
        low, high = max(0.0, low), min(1.0, high) if name in SHARES else high
    return Figure(value, low, high, readings[0].real, readings[0].generated)


def difference(name: str, mine: Readings, other: Readings, *, what: str = "seeds") -> Difference:
    """Whether one configuration is better than another by a figure.

    Args:
        name: of the figure, one of :data:`COMPARED`.
        mine, other: readings by seed. Pairs of which either is missing are left out; ``None`` stands for a run that diverged.
        what: the pairs are, in words.
    """
    shared = [seed for seed in mine if seed in other]
    lost = sum(mine[seed] is None and other[seed] is not None for seed in shared)
    won = sum(mine[seed] is not None and other[seed] is None for seed in shared)
    pairs = [(one, two) for seed in shared if (one := mine[seed]) is not None and (two := other[seed]) is not None]
    if lost or won:
        mine_off, other_off = (sum(readings[seed] is None for seed in shared) for readings in (mine, other))
        verdict, words = _diverged(mine_off, other_off, len(shared), what)
        return Difference(verdict, None, None, won, lost, len(shared), words)
    if not pairs:
        said = "both broke off" if shared else f"no {what} in common"
        return Difference("cannot be compared", None, None, 0, 0, 0, f"cannot be compared: {said}")
    if not all(comparable(name, one, two) for one, two in pairs):
        return Difference(
            "cannot be compared", None, None, 0, 0, len(pairs), "cannot be compared: other numbers of images"
        )
    sign = 1 if COMPARED[name].better == "higher" else -1
    first, second = ([_turned(name, figure) for figure in side] for side in zip(*pairs, strict=True))
    gains = [sign * (one - two) for one, two in zip(first, second, strict=True)]
    errors = [math.hypot(standard_error(one), standard_error(two)) for one, two in pairs]
    better = sum(gain > Z95 * error for gain, error in zip(gains, errors, strict=True))
    worse = sum(-gain > Z95 * error for gain, error in zip(gains, errors, strict=True))
    count, gain = len(pairs), fmean(gains)
    value = fmean(one.value - two.value for one, two in pairs)
    if count == 1:
        words = f"too few {what} to tell: {_amount(name, gain)} in the only one"
        return Difference("too few seeds to tell", value, None, better, worse, 1, words)
    seeds = (spread(first) + spread(second)) / count
    measured = sum(error**2 for error in errors) / count**2
    half = max(student(freedom(first, second)) * math.sqrt(seeds), Z95 * math.sqrt(measured))
    return Difference(*_judged(name, gain, half, value, better, worse, count, what))


def freedom(first: Sequence[float], second: Sequence[float]) -> int:
    """Degrees of freedom of a difference of two means of n values each, rounded down (Welch 1947): n - 1, where only one side
    varies, to 2 (n - 1), where both vary alike.

    Of two values each, spreads say so little that this would find nothing at all; there they are taken for equal.
    """
    count = len(first)
    mine, other = spread(first), spread(second)
    if count < 3 or not mine + other:
        return 2 * (count - 1)
    return math.floor((count - 1) * (mine + other) ** 2 / (mine**2 + other**2) + 1e-9)


def over_blocks(name: str, gains: Sequence[float], *, value: float, what: str) -> Difference:
    """The same for differences that were formed already, one for each block of other things alike (Student's t, n - 1).

    Args:
        name: of the figure.
        gains: differences, positive where the first is better.
        value: their mean as measured.
        what: the blocks are, in words.
    """
    count = len(gains)
    if count < 2:
        said = "none" if not gains else f"{_amount(name, gains[0])} in the only one"
        return Difference(
            "too few seeds to tell", value if gains else None, None, 0, 0, count, f"too few {what}: {said}"
        )
    half = student(count - 1) * math.sqrt(spread(gains) / count)
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return Difference(*_judged(name, fmean(gains), half, value, better, worse, count, what))


def gain_of(name: str, one: Figure, two: Figure) -> float:
    """By how much the first is better than the second; negative where it is worse."""
    sign = 1 if COMPARED[name].better == "higher" else -1
    return sign * (_turned(name, one) - _turned(name, two))


def _judged(
    name: str, gain: float, half: float, value: float, better: int, worse: int, count: int, what: str
) -> tuple[Outcome, float, float, int, int, int, str]:
    amount = f"{_amount(name, gain, half)}"
    agree = f"{max(better, worse)} of {count} {what}"
    verdict: Outcome
    if abs(gain) > half and not (better if gain < 0 else worse):
        verdict = "better" if gain > 0 else "worse"
        words = f"{verdict}, {amount}, {agree}"
    elif better and worse:
        verdict = "no difference found"
        words = f"no difference found: {better} of {count} {what} better, {worse} worse ({amount})"
    elif max(better, worse) == count:
        verdict = "too few seeds to tell"
        words = f"too few {what} to tell: {'better' if better else 'worse'} in {agree}, but they differ much ({amount})"
    else:
        verdict = "no difference found"
        words = f"no difference found ({amount})"
    return verdict, value, half, better, worse, count, words


def _diverged(mine: int, other: int, count: int, what: str) -> tuple[Outcome, str]:
    """What can be said of two of which one or both broke off in some of so many seeds."""
    told = mine != other and (abs(mine - other) == count > 1 or fisher(mine, other, count) < 0.05)
    verdict: Outcome = ("worse" if mine > other else "better") if told else "too few seeds to tell"
    if not mine or not other:
        said = f"{'broke off' if mine else 'the other broke off'} in {mine or other} of {count} {what}"
    else:
        said = f"broke off in {mine} of {count} {what}, the other in {other}"
    return verdict, f"{verdict}: {said}" if told else f"too few {what} to tell: {said}"


def fisher(first: int, second: int, count: int) -> float:
    """How likely it is that k of n and l of n differ so much by chance (Fisher's exact test, two-sided): the share of all
    ways to spread k + l over both that are no likelier than this one."""
    both = first + second
    ways = [math.comb(count, here) * math.comb(count, both - here) for here in range(both + 1)]
    return sum(way for way in ways if way <= ways[first]) / math.comb(2 * count, both)


def _turned(name: str, figure: Figure) -> float:
    """A figure as a number of which less (or more) is better: of what should be 1, its distance from 1."""
    return abs(figure.value - 1) if COMPARED[name].better == "one" else figure.value


def _amount(name: str, gain: float, half: float | None = None) -> str:
    """Such as ``+3.1 +- 0.8 kernel distance``: plus is better, whatever the direction of the figure."""
    kind = COMPARED[name]
    scale = 100 if name in SHARES else 1
    what = (
        f"points of {kind.label}"
        if name in SHARES
        else kind.label
        if kind.better != "one"
        else f"{kind.label} nearer 1"
    )
    shown = ("+" if gain > 0 else "") + _sized(scale * gain, half if half is None else scale * half)
    around = "" if half is None else f" \N{PLUS-MINUS SIGN} {short_digits(scale * half)}"
    return f"{shown}{around} {what}"


def _sized(number: float, half: float | None) -> str:
    """A number with as many decimals as its uncertainty bears."""
    if not half:
        return short(number)
    digits = _digits(half)
    return f"{number:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def short_digits(half: float) -> str:
    """Half of an interval, to two digits."""
    return f"{half:,.{_digits(half)}f}" if half else "0"


def _digits(half: float) -> int:
    return max(0, min(8, 1 - math.floor(math.log10(half)))) if half > 0 else 3
