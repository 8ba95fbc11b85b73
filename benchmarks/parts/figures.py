"""What a part of the benchmarks found: figures with their spread and goals, as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured quantity.

    Attributes:
        what: in words.
        unit: of the values; empty for ratios.
        values: one for each round.
        goal: what the median should reach, if anything.
        most: whether the goal is the most that it may be, and not the least.
        note: what has to be known of it.
    """

    what: str
    unit: str
    values: tuple[float, ...]
    goal: float | None = None
    most: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; ``None`` without one."""
        if self.goal is None:
            return None
        return self.median <= self.goal if self.most else self.median >= self.goal

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "unit": self.unit,
            "median": rounded(self.median),
            "low": rounded(min(self.values)),
            "high": rounded(max(self.values)),
            "goal": self.goal,
            "bound": None if self.goal is None else "most" if self.most else "least",
            "met": self.met,
            "note": self.note,
            "values": [rounded(value) for value in self.values],
        }


def figure(
    what: str,
    unit: str,
    values: float | Sequence[float],
    goal: float | None = None,
    *,
    most: bool = False,
    note: str = "",
) -> Figure:
    """A :class:`Figure` of one value or of several.

    Raises:
        ValueError: there is no value.
    """
    every = (float(values),) if isinstance(values, int | float) else tuple(map(float, values))
    if not every:
        raise ValueError(f"{what}: no value")
    return Figure(what, unit, every, goal, most, note)


def rounded(value: float) -> float:
    """Four digits, which is more than a shared machine can repeat."""
    return float(f"{value:.4g}")


HEADINGS = ("what", "median", "range", "goal", "met")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A figure's JSON as the cells of a table; see :data:`HEADINGS`."""
    unit = f" {row['unit']}" if row["unit"] else ""
    spread = f"{shown(row['low'])} to {shown(row['high'])}" if len(row["values"]) > 1 else ""
    goal = "" if row["goal"] is None else f"at {row['bound']} {shown(row['goal'])}"
    met = {None: "", True: "yes", False: "no"}[row["met"]]
    return row["what"], f"{shown(row['median'])}{unit}", spread, goal, met


def shown(value: float) -> str:
    """A number for people: three digits or more, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Figures' JSON as lines of aligned text."""
    lines = [cells(row) for row in rows]
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
