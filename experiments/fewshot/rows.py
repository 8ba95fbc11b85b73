"""What the studies write: one JSON line a training, small sheets, and tables of both."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from math import exp, log, nan
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

from limner import imaging
from limner.judging.figures import Figure
from limner.judging.memorisation import COPIES, SOME

NAMES = {"maps": "Battle maps", "emoji": "Emoji", "initials": "Printed initials", "fashion": "Fashion-MNIST"}
"""Of the sets, for people."""
FIGURES = ("kernel_distance", "coverage", "recall")
"""That a comparison shows."""
COLOURS = (None, 256, 64)
"""Of a sheet, until it is small enough; then it is made smaller."""


class Rows:
    """Lines of JSON, each appended whole and synced, by several processes if need be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                self.rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # torn by a kill: done again

    def has(self, **key: Any) -> bool:
        """Whether there is a row with these values."""
        return any(key.items() <= row.items() for row in self.rows)

    def newest(self, *keys: str) -> list[dict[str, Any]]:
        """Of rows that agree in these values, the last one."""
        return list({tuple(row[key] for key in keys): row for row in self.rows}.values())

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = not self.path.is_file() or self.path.read_bytes()[-1:] in (b"", b"\n")
        with self.path.open("ab") as file:
            file.write((b"" if whole else b"\n") + json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def small_png(image: Image.Image, most: int) -> bytes:
    """A PNG of at most so many bytes, with fewer colours, and then fewer pixels, where it has to be."""
    size = image.size
    for share in (1.0, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2):
        scaled = image if share == 1 else image.resize((round(size[0] * share), round(size[1] * share)), 1)
        for colours in COLOURS:
            found = imaging.png_bytes(scaled if colours is None else scaled.quantize(colours, kmeans=3))
            if len(found) <= most:
                return found
    return found


def against(mine: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What the intervals of two rows' kernel distances say: ``overlap``, ``worse``, ``better`` (mine), or ``-``."""
    one, two = (row["figures"].get("kernel_distance", {}) for row in (mine, other))
    if any(found.get(key) is None for found in (one, two) for key in ("low", "high")):
        return "-"
    if one["low"] > two["high"]:
        return "worse, apart"
    return "better, apart" if one["high"] < two["low"] else "overlap"


def said(row: Mapping[str, Any], name: str) -> str:
    """A figure with its interval."""
    found = row["figures"].get(name)
    return "-" if not found or found.get("value") is None else str(Figure.from_values(found))


def comparison(rows: Sequence[Mapping[str, Any]], first: str) -> str:
    """Markdown: for each set, size and time a table of its systems, the nearest first; cells have a figure of each seed.

    The last line of each has what held-out real images score.
    """
    parts = []
    for key in dict.fromkeys((row["set"], row["size"], row["budget_seconds"]) for row in rows):
        own = [row for row in rows if (row["set"], row["size"], row["budget_seconds"]) == key]
        systems = {system: _by_seed(own, system) for system in {row["system"] for row in own}}
        real = {row["seed"]: row["yardstick"] for row in own}
        seeds = ", ".join(map(str, sorted(real)))
        parts += [
            f"**{NAMES.get(key[0], key[0])} at {key[1]}x{key[1]}, {key[2] / 60:g} minutes**, seed {seeds}\n",
            "| | images | kernel distance | coverage | recall | copies |",
            "|---|---:|---|---|---|---|",
        ]
        for system in sorted(
            systems, key=lambda system: fmean(_value(row, "kernel_distance") for row in systems[system])
        ):
            cells = [
                f"**`{system}`**" if system == first else system,
                _joined(f"{row['images']:,}" for row in systems[system]),
            ]
            cells += [_joined(said(row, figure) for row in systems[system]) for figure in FIGURES]
            cells.append(_joined(row["copying"]["verdict"] for row in systems[system]))
            parts.append("| " + " | ".join(cells) + " |")
        cells = [_joined(said({"figures": real[seed]}, figure) for seed in sorted(real)) for figure in FIGURES]
        parts.append("| " + " | ".join(["*held-out real images*", "", *cells, ""]) + " |\n")
    return "\n".join(parts)


def _by_seed(rows: Sequence[Mapping[str, Any]], system: str) -> list[Mapping[str, Any]]:
    return sorted((row for row in rows if row["system"] == system), key=lambda row: row["seed"])


def _joined(cells: Iterable[str]) -> str:
    """Those of all seeds; once, where they agree."""
    found = list(cells)
    return "; ".join(found if len(set(found)) > 1 else found[:1])


def ablation(rows: Sequence[Mapping[str, Any]], first: str) -> str:
    """A markdown table of what ``first`` is without one of its parts: a line each, over sets and seeds.

    ``times`` is the geometric mean of kernel distances in shares of those of ``first``, on the same set with the same seed;
    behind it, how often it was worse or better with intervals apart. Cells have the kernel distance of each seed, and the mean
    coverage.
    """
    sets = list(dict.fromkeys(row["set"] for row in rows))
    rivals = {(row["set"], row["seed"]): row for row in rows if row["system"] == first}
    found = []
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == system]
        pairs = [(row, rivals[row["set"], row["seed"]]) for row in own if (row["set"], row["seed"]) in rivals]
        shares = [_value(row, "kernel_distance") / _value(rival, "kernel_distance") for row, rival in pairs]
        times = exp(fmean(map(log, shares))) if shares and min(shares) > 0 else nan
        words = [against(row, rival) for row, rival in pairs]
        counts = f"{words.count('worse, apart')} worse, {words.count('better, apart')} better of {len(words)}"
        cells = []
        for name in sets:
            of = sorted((row for row in own if row["set"] == name), key=lambda row: row["seed"])
            distances = ", ".join(f"{_value(row, 'kernel_distance'):.2f}" for row in of)
            cells.append(f"{distances} ({fmean(_value(row, 'coverage') for row in of):.2f})" if of else "-")
        copied = [row for row in own if row["copying"]["verdict"] in (SOME, COPIES)]
        line = [system, "" if system == first else f"{times:.2f}", "" if system == first else counts, *cells]
        found.append((times, "| " + " | ".join([*line, str(len(copied)) if copied else "none"]) + " |"))
    heads = ["", f"times `{first}`", "intervals apart", *(f"{name} (coverage)" for name in sets), "copies"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *(line for _, line in sorted(found, key=lambda pair: pair[0]))]) + "\n"


def _value(row: Mapping[str, Any], name: str) -> float:
    return float(row["figures"][name]["value"])


def verdicts(rows: Sequence[Mapping[str, Any]], first: str) -> str:
    """Where ``first`` wins and where it does not: kernel distance with intervals apart, coverage not lower, no copies."""
    nearer, covers, pairs, failed = 0, 0, 0, []
    for row in rows:
        mine = [
            other for other in rows
            if other["system"] == first
            and all(other[key] == row[key] for key in ("set", "size", "seed", "budget_seconds"))
        ]  # fmt: skip
        name = f"{NAMES.get(row['set'], row['set'])} at {row['size']}x{row['size']}, seed {row['seed']}"
        if row["system"] == first and row["copying"]["verdict"] in (SOME, COPIES):
            failed.append(f"- {name}, {first}: {row['copying']['verdict']}")
        if row["system"] == first or not mine:
            continue
        pairs += 1
        apart = against(row, mine[0]) == "worse, apart"
        wider = _value(mine[0], "coverage") >= _value(row, "coverage")
        nearer, covers = nearer + apart, covers + wider
        for good, figure in ((apart, "kernel_distance"), (wider, "coverage")):
            if not good:
                words = figure.replace("_", " "), said(mine[0], figure), said(row, figure)
                failed.append(f"- {name}, against {row['system']}: {words[0]} {words[1]}, the other's {words[2]}")
    told = (
        f"Of {pairs} pairs, `{first}` is nearer in {nearer} with intervals that do not meet; its coverage is as high or"
    )
    told += f" higher in {covers}."
    return "\n".join([told, *(["", "It was not the better one here:", ""] if failed else []), *failed]) + "\n"


def inserted(page: str, name: str, text: str) -> str:
    """A page with the text between its lines ``<!-- name -->`` and ``<!-- end of name -->``.

    Raises:
        ValueError: it has none.
    """
    before, begin, rest = page.partition(f"<!-- {name} -->")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    if not begin or not end:
        raise ValueError(f"the page has no lines <!-- {name} --> and <!-- end of {name} -->")
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"
