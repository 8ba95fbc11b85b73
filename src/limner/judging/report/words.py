"""Numbers and names as the report and the verdict say them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from limner.judging.figures import Figure

LONGEST = 600
"""Letters of one text from the run directory that are shown; whatever is longer is cut and says so."""
SHARES = ("precision", "recall", "coverage", "share", "real_share", "copied_share", "label_agreement")
"""Figures that are shares of images, which people read best in per cent."""

_GAP = "\N{NO-BREAK SPACE}"

Line = Mapping[str, Any]


def real_number(value: Any) -> float | None:
    """A finite number, or ``None`` for everything else that a damaged file may hold (true is no number)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def whole_number(value: Any) -> int | None:
    """A number of things, 0 or more; ``None`` for everything else."""
    number = real_number(value)
    return int(number) if number is not None and 0 <= number < 2**53 else None


def mapping(value: Any) -> Line:
    """A JSON object; an empty one in place of everything else."""
    return value if isinstance(value, Mapping) else {}


def text(value: Any) -> str:
    """Text on one line, without letters that cannot be printed, cut at :data:`LONGEST`."""
    flat = " ".join(str(value)[: 4 * LONGEST].split())
    flat = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in flat)
    return flat if len(flat) <= LONGEST else f"{flat[:LONGEST]} ... (cut)"


def figure_of(values: Any) -> Figure | None:
    """A figure from a run's files; ``None`` when it is missing, damaged, or not a number."""
    found = mapping(values)
    value = real_number(found.get("value"))
    if value is None:
        return None
    low, high = real_number(found.get("low")), real_number(found.get("high"))
    if low is None or high is None:
        low = high = None
    return Figure(value, low, high, whole_number(found.get("real")) or 0, whole_number(found.get("generated")) or 0)


def short(number: float) -> str:
    """Three significant digits: 0.0123, 1.20, 12,345."""
    if number == 0:
        return "0"
    size = abs(number)
    if size >= 999.5:
        return f"{number:,.0f}".replace("-", "\N{MINUS SIGN}") if size < 1e9 else f"{number:.2e}"
    if size < 1e-4:
        return f"{number:.1e}".replace("-", "\N{MINUS SIGN}")
    digits = max(0, 2 - math.floor(math.log10(size)))
    return f"{number:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    """A share in per cent: 0.4 %, 7 %, 93 %, and never 100 % for what is not all, nor 0 % for what is not none."""
    value = 100 * share
    if 0 < value < 0.1:
        return f"under 0.1{_GAP}%"
    if 99.9 < value < 100:
        return f"over 99.9{_GAP}%"
    shown = f"{value:.1f}".removesuffix(".0") if 0 < value < 9.95 or 99 < value < 100 else f"{value:.0f}"
    return f"{shown}{_GAP}%"


def figure_parts(name: str, figure: Figure) -> tuple[str, str]:
    """A figure's value and its 95 % interval (a dash where it has none), with as many decimals as the interval bears."""
    low, high = figure.low, figure.high
    if name in SHARES:
        if low is None or high is None:
            return percent(figure.value), "\N{EN DASH}"
        return percent(figure.value), f"{percent(low).removesuffix(f'{_GAP}%')} to {percent(high)}"
    if low is None or high is None:
        return short(figure.value), "\N{EN DASH}"
    digits = _decimals(figure.value, (high - low) / 2)
    if digits is None:
        return short(figure.value), f"{short(low)} to {short(high)}"
    value, low_words, high_words = (_fixed(number, digits) for number in (figure.value, low, high))
    return value, f"{low_words} to {high_words}"


def figure_words(name: str, figure: Figure) -> str:
    """A figure with its interval, such as ``0.0123 (0.0101 to 0.0144)`` or ``71 % (68 to 74 %)``."""
    value, interval = figure_parts(name, figure)
    return f"{value} (no interval)" if figure.low is None or figure.high is None else f"{value} ({interval})"


def _decimals(value: float, half: float) -> int | None:
    """Two digits of the half interval, but at most four of the value; ``None`` where another notation is due."""
    size = max(abs(value), half)
    if not 1e-4 <= size < 999.5:
        return None
    most = 3 - math.floor(math.log10(size))
    wanted = 1 - math.floor(math.log10(half)) if half > 0 else most
    return max(0, min(most, wanted))


def _fixed(number: float, digits: int) -> str:
    shown = f"{number:.{digits}f}"
    return (shown.removeprefix("-") if float(shown) == 0 else shown).replace("-", "\N{MINUS SIGN}")


def counted(number: int, one: str, many: str) -> str:
    """A number of things: 1 file, 2,000 files."""
    return f"{number:,} {one if number == 1 else many}"


def sentence(words: str) -> str:
    """Words as a sentence: a capital letter in front, a full stop at the end."""
    if not words:
        return ""
    return words[0].upper() + words[1:] + ("" if words[-1] in ".!?" else ".")


def computed_from(figure: Figure, what: str = "generated") -> str:
    """How many images a figure was computed from; ``what`` the images are that stand where generated ones do."""
    parts = [f"{figure.generated:,}{_GAP}{what}"] if figure.generated else []
    parts += [f"{figure.real:,}{_GAP}real"] if figure.real else []
    return ", ".join(parts) or "number not recorded"


def compact(number: float) -> str:
    """A count on an axis: 800, 12.8k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:g}"
