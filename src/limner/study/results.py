"""What a study found: a line for each run, a table in markdown, and the page that compares the runs that lie here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limner.durable import atomic_write
from limner.errors import InputError
from limner.judging.comparison import Comparison, Given, compared_members
from limner.judging.comparison.read import Member, Reading, read_member
from limner.judging.comparison.statistics import COMPARED, Readings, difference, mean
from limner.judging.figures import Figure
from limner.judging.report.words import figure_words
from limner.study.file import Study
from limner.study.run import COMMON, COMMON_SHEET, figures_of

RESULTS, TABLE, PAGE = "results.jsonl", "table.md", "compare.html"
SHOWN = ("kernel_distance", "precision", "recall", "diversity", "copied_share")
"""Figures of the table, besides the one that is compared by."""


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        configuration, levels, seed: what it is.
        state: of its trial: ``done``, ``pruned``, ``failed``, ``waiting``, ``running``.
        result: what came of it; empty without any.
        fault: why it failed.
    """

    configuration: str
    levels: Mapping[str, str]
    seed: int
    state: str
    result: Mapping[str, Any]
    fault: str = ""

    def values(self) -> dict[str, Any]:
        """For a line of JSON."""
        own = {"configuration": self.configuration, "levels": dict(self.levels), "seed": self.seed, "state": self.state}
        return {**own, **({"fault": self.fault} if self.fault else {}), **self.result}


def write_results(study: Study, out: Path, rows: Sequence[Row]) -> None:
    """Write the lines and the table.

    Raises:
        LimnerError: they cannot be written.
    """
    lines = "".join(json.dumps(row.values()) + "\n" for row in rows)
    atomic_write(out / RESULTS, lines.encode())
    atomic_write(out / TABLE, table(study, rows).encode())


def table(study: Study, rows: Sequence[Row]) -> str:
    """The table in markdown: each run with its figures, then what each configuration is beside the reference.

    It holds nothing that a clock decides, so that the same study always has the same table.
    """
    metric = study.given.metric
    shown = [name for name in dict.fromkeys((metric, *SHOWN)) if any(name in figures_of(row.result) for row in rows)]
    labels = [COMPARED[name].label for name in shown]
    lines = [f"# {study.name}", ""]
    lines += [study.given.question, ""] if study.given.question else []
    lines += [
        f"| configuration | seed | images | updates | {' | '.join([*labels, 'remarks'])} |",
        f"|---|---:|---:|---:|{'---|' * (len(labels) + 1)}",
    ]
    for row in rows:
        figures, result = figures_of(row.result), row.result
        cells = [row.configuration, str(row.seed)]
        if not result:
            lines.append(
                f"| {' | '.join(_plain(cell) for cell in [*cells, *[''] * (2 + len(shown)), row.fault or row.state])} |"
            )
            continue
        cells += [f"{result['images']:,}", f"{result['updates']:,}"]
        ended = {"stopped": f"broke off: {result.get('reason')}", "pruned": "pruned"}.get(str(result["ended"]), "")
        cells += [figure_words(name, figures[name]) if name in figures else "" for name in shown]
        backs = int(result.get("rollbacks") or 0)
        went = f"went back {backs} time{'' if backs == 1 else 's'}, with lower rates" if backs else ""
        cells.append("; ".join(words for words in (ended, went, str(result.get("copying") or "")) if words))
        lines.append(f"| {' | '.join(_plain(cell) for cell in cells)} |")
    readings = by_configuration(rows, metric)
    reference = study.given.reference or next(iter(readings), None)
    if reference is not None and len(readings) > 1:
        lines += ["", f"| configuration | {COMPARED[metric].label}, mean over seeds | beside {_plain(reference)} |"]
        lines.append("|---|---|---|")
        for name, own in readings.items():
            found = mean([figure for figure in own.values() if figure is not None], metric)
            words = "" if name == reference else difference(metric, own, readings.get(reference, {})).words
            lines.append(f"| {_plain(name)} | {figure_words(metric, found) if found else ''} | {_plain(words)} |")
    return "\n".join(lines) + "\n"


def by_configuration(rows: Sequence[Row], metric: str) -> dict[str, Readings]:
    """Configuration -> seed -> figure at the end; ``None`` for a run that diverged."""
    found: dict[str, dict[int, Figure | None]] = {}
    for row in rows:
        own = found.setdefault(row.configuration, {})
        if row.result.get("ended") == "stopped":
            own[row.seed] = None
        elif (figure := figures_of(row.result).get(metric)) is not None:
            own[row.seed] = figure
    return dict(found)


def comparison(study: Study, out: Path, rows: Sequence[Row]) -> Comparison | None:
    """The runs that lie here, compared; ``None`` where there are none."""
    members, given = [], {}
    for row in rows:
        name = row.result.get("run")
        path = out / "runs" / str(name)
        if not row.result or not path.is_dir():
            continue
        try:
            members.append(_by_common(read_member(path), row.result))
        except InputError:
            continue
        given[str(name)] = Given(row.configuration, row.levels)
    if not members:
        return None
    reference = study.given.reference
    if reference not in {one.name for one in given.values()}:
        reference = None
    return compared_members(members, metric=study.given.metric, reference=reference, title=study.name, given=given)


def _by_common(member: Member, result: Mapping[str, Any]) -> Member:
    """A run as the study sees it: at its end by the common yardstick, where there is one."""
    common = result.get(COMMON)
    if not common:
        return member
    reading = Reading(
        member.images,
        member.step,
        figures_of(result),
        str(result.get("copying") or ""),
        ("", f"{common.get('data')} {common.get('size')}"),
    )
    sheet = member.path / COMMON_SHEET
    return replace(member, end=reading, way=(), sheet=sheet if sheet.is_file() else member.sheet)


def _plain(cell: str) -> str:
    """A cell that does not end itself."""
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
