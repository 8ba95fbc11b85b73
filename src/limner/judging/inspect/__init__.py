"""What is in a collection, what is wrong with it, and what it is good for.

:func:`inspect` reads everything once. Nothing of the user's is changed: a cleaned list (:func:`write_outputs`) only names
what to use.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from limner.data.decode import PIXEL_LIMIT
from limner.data.listing import ListedSource, check_writable, write_list
from limner.data.sources import Skipped, Source, natural, open_source
from limner.errors import InputError, LimnerError
from limner.imaging import png_bytes
from limner.judging.inspect.advice import Advice, advise
from limner.judging.inspect.duplicates import STEPS, Duplicates, find_duplicates
from limner.judging.inspect.outliers import find_outliers
from limner.judging.inspect.quick import left_out, quick_findings
from limner.judging.inspect.read import MOST, Reading, read
from limner.judging.inspect.sheet import Section, draw_sheet
from limner.progress import counted
from limner.recipe.text import printable

__all__ = ["MOST", "Inspection", "check_outputs", "inspect", "left_out", "quick_findings", "write_outputs"]

SHAPES = {
    "1:3": 1 / 3, "1:2": 1 / 2, "9:16": 9 / 16, "2:3": 2 / 3, "3:4": 3 / 4, "4:5": 4 / 5, "square": 1.0,
    "5:4": 5 / 4, "4:3": 4 / 3, "3:2": 3 / 2, "16:9": 16 / 9, "2:1": 2.0, "3:1": 3.0,
}  # fmt: skip
"""Aspects that have names, width to height."""
_NAMED = 5
_NAMED_UNREADABLE = 20
_SAMPLES = 40
_UNEVEN = 10.0
_FEW_IN_CLASS = 20


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found.

    Attributes:
        source: the collection.
        reading: what is known of each picture.
        duplicates: numbers of pictures that are there more than once.
        uniform, outliers: numbers of pictures.
        advice: what to begin with.
        content_hash: what the collection held.
        seconds: how long it took.
    """

    source: Source
    reading: Reading
    duplicates: Duplicates
    uniform: list[int]
    outliers: list[int]
    advice: Advice
    content_hash: str
    seconds: float = field(compare=False)

    @cached_property
    def left_out(self) -> dict[int, str]:
        """What a cleaned list leaves out by itself, by number, and why: uniform ones and all copies but one."""
        names = self.reading.names
        found: dict[int, str] = {}
        for place in self.uniform:
            found[place] = "nearly uniform"
        for group in self.duplicates.exact:
            for place in group[1:]:
                found.setdefault(place, f"an exact copy of {names[group[0]]}")
        for group in self.duplicates.near:
            best = self.best(group)
            for place in group:
                if place != best:
                    found.setdefault(place, f"a near-copy of {names[best]}")
        return found

    def best(self, group: list[int]) -> int:
        """Which of a group of near-copies to keep: the one with the most pixels, of equals the first."""
        areas = self.reading.sizes[group].prod(axis=1)
        return group[int(np.argmax(areas))]

    @property
    def classes(self) -> dict[str, int]:
        """How many pictures each class has; empty where there are none."""
        labels = [label for label in self.reading.labels if label is not None]
        if len(set(labels)) < 2 or len(labels) < len(self.reading.labels):
            return {}
        counts = Counter(labels)
        order = self.source.classes if self.source.classes is not None else sorted(counts, key=natural)
        return {name: counts.get(name, 0) for name in order}

    def values(self) -> dict[str, Any]:
        """All of it, for JSON."""
        reading, names = self.reading, self.reading.names
        sizes = Counter(map(tuple, reading.sizes.tolist()))
        return {
            "location": self.source.location,
            "kind": self.source.kind,
            "content_hash": self.content_hash,
            "entries": reading.entries,
            "looked_at": reading.looked_at,
            "count": len(names),
            "different": len(names) - len(self.left_out),
            "ignored": self.source.ignored,
            "notes": list(self.source.notes),
            "unreadable": [{"name": item.name, "reason": item.reason} for item in reading.skipped],
            "sizes": [[width, height, count] for (width, height), count in sizes.most_common()],
            "aspects": dict(_shapes(reading.sizes).most_common()),
            "modes": dict(reading.modes.most_common()),
            "coloured": int(reading.colour.sum()),
            "transparent": int(reading.alpha.sum()),
            "exact_copies": [[names[place] for place in group] for group in self.duplicates.exact],
            "near_copies": [[names[place] for place in group] for group in self.duplicates.near],
            "turned_copies": [
                {"one": names[pair.one], "other": names[pair.other], "how": pair.how} for pair in self.duplicates.turned
            ],
            "nearly_uniform": [names[place] for place in self.uniform],
            "outliers": [names[place] for place in self.outliers],
            "classes": self.classes,
            "advice": self.advice.values(),
            "seconds": round(self.seconds, 3),
        }

    def describe(self) -> str:
        """In words, for a terminal."""
        reading, names, copies = self.reading, self.reading.names, self.duplicates
        lines = [f"{self.source.location}: {len(names):,} pictures can be read"]
        if reading.is_sample:
            lines.append(
                f"  of {reading.entries:,} pictures {reading.looked_at:,} were looked at, in evenly spread runs: what follows"
                " is about these, copies among them included (--all looks at every one)"
            )
        lines += [f"  {note}" for note in self.source.notes]
        if self.source.ignored:
            were = "file was" if self.source.ignored == 1 else "files were"
            lines.append(f"  {self.source.ignored:,} other {were} passed over: no pictures, by their names")
        lines.append(f"sizes: {_sizes(reading.sizes)}")
        lines.append(f"shapes: {_counts(_shapes(reading.sizes))}")
        lines.append(f"modes: {_counts(reading.modes)}; {_colours(reading)}")
        if self.classes:
            lines.append(f"classes: {_classes(self.classes)}")
        problems = [
            _many(
                "cannot be read",
                "cannot be read",
                [f"{item.name}: {item.reason}" for item in reading.skipped],
                apart=True,
                most=_NAMED_UNREADABLE,
            ),
            _many(
                "group of exact copies",
                "groups of exact copies",
                [_group(group, names) for group in copies.exact],
                apart=True,
            ),
            _many(
                "group of near-copies",
                "groups of near-copies",
                [_group(group, names) for group in copies.near],
                apart=True,
            ),
            _many(
                "pair that are copies once turned or mirrored (a list keeps them)",
                "pairs that are copies once turned or mirrored (a list keeps them)",
                [f"{names[pair.one]} = {names[pair.other]}, {pair.how}" for pair in copies.turned],
                apart=True,
            ),
            _many("nearly uniform", "nearly uniform", [names[place] for place in self.uniform]),
            _many(
                "unlike all others (a list keeps it)",
                "unlike all others (a list keeps them)",
                [names[place] for place in self.outliers],
            ),
        ]
        found = [line for problem in problems for line in problem]
        lines += [
            "",
            *(found or ["nothing is wrong with it: all can be read, no copies, no empty ones, no outliers"]),
            "",
        ]
        advice = self.advice
        lines += [advice.enough, advice.basis, "", "to begin with:", *(f"  {reason}" for reason in advice.reasons)]
        lines += [f"  {advice.command}"]
        return "\n".join(map(printable, lines))  # names of files may hold anything


def inspect(
    location: str | Path,
    *,
    size: tuple[int, int] | None = None,
    workers: int | None = None,
    pixel_limit: int | None = None,
    most: int | None = MOST,
) -> Inspection:
    """Look at a collection: at all of it, or where it is very large at an evenly spread part.

    Args:
        location: see :func:`limner.data.sources.open_source`.
        size: width and height that the advice is to keep to.
        workers: threads that decode; as many as there are processors by default.
        pixel_limit: a file that unpacks to more pixels is skipped.
        most: of more pictures about so many are looked at; ``None`` for all, however many.

    Raises:
        InputError: nothing there, nothing that can be read, or a size outside 8 to 1024.
    """
    began = time.perf_counter()
    source = open_source(location)
    content_hash, _ = source.content_hash()
    reading = read(source, workers, pixel_limit or PIXEL_LIMIT, most)
    if not reading.names:
        first = reading.skipped[0]
        raise InputError(
            f"data {source.location}: none of {len(reading.skipped):,} pictures can be read ({first.name}: {first.reason}); "
            "give a collection of images that open elsewhere"
        )
    with counted(STEPS, "searches for copies") as advance:
        duplicates = find_duplicates(reading.thumbs, reading.digests, reading.sizes, advance)
    uniform = np.flatnonzero(reading.uniform).tolist()
    copies = {place for group in (*duplicates.exact, *duplicates.near) for place in group[1:]}
    leave = reading.uniform.copy()
    leave[sorted(copies)] = True
    outliers = find_outliers(reading.thumbs, leave).tolist()
    advice = advise(
        _named(location, source),
        reading.sizes,
        colour=bool(reading.colour.any()),
        alpha_share=float(reading.alpha.mean()),
        different=len(reading.names) - len(copies | set(uniform)),
        size=size,
    )
    seconds = time.perf_counter() - began
    return Inspection(source, reading, duplicates, uniform, outliers, advice, content_hash, seconds)


def _named(location: str | Path, source: Source) -> str:
    text = str(location)
    return source.location if text.startswith("-") else text


def check_outputs(sheet: Path | None, prune: Path | None, prune_outliers: bool = False) -> None:
    """Whether both files may be written, before any work is done.

    Raises:
        InputError: one line says what to do.
    """
    if prune_outliers and prune is None:
        raise InputError("--prune-outliers: there is no list that they could be left out of; give --prune FILE.json")
    if prune is not None:
        check_writable(prune)
    if sheet is not None:
        if sheet.suffix.lower() != ".png":
            raise InputError(f"--sheet {sheet}: a sheet is a .png file")
        if not sheet.absolute().parent.is_dir():
            raise InputError(f"--sheet {sheet}: the folder {sheet.absolute().parent} does not exist; make it first")


def write_outputs(found: Inspection, sheet: Path | None, prune: Path | None, prune_outliers: bool = False) -> list[str]:
    """Write a contact sheet and a cleaned list, where they are asked for.

    Returns:
        a line for each, for whoever asked.

    Raises:
        InputError, LimnerError: see :func:`check_outputs`; the disk refuses.
    """
    lines = []
    if sheet is not None:
        try:
            sheet.write_bytes(png_bytes(draw_sheet(found.source, _sections(found))))
        except OSError as error:
            raise LimnerError(f"{sheet}: cannot be written ({error.strerror or error})") from None
        lines.append(f"{sheet}: a contact sheet")
    if prune is not None:
        lines.append(_prune(found, prune, prune_outliers))
    return ["", *lines] if lines else []


def _prune(found: Inspection, path: Path, outliers: bool) -> str:
    reading = found.reading
    if reading.is_sample:
        raise InputError(
            f"--prune {path}: only {reading.looked_at:,} of {reading.entries:,} pictures were looked at; give --all as well"
        )
    out = dict(found.left_out)
    if outliers:
        for place in found.outliers:
            out.setdefault(place, "unlike all others")
    left = [Skipped(reading.names[place], reason) for place, reason in sorted(out.items())]
    source, content = found.source, found.content_hash
    if isinstance(source, ListedSource):  # lists do not stand on lists
        source = source.collection
        content = source.content_hash()[0]
    write_list(
        path,
        source.location,
        content,
        [name for place, name in enumerate(reading.names) if place not in out],
        [{"name": item.name, "reason": item.reason} for item in (*reading.skipped, *left)],
    )
    kept, gone = len(reading.names) - len(out), len(reading.skipped) + len(out)
    return f"{path}: {kept:,} pictures kept, {gone:,} left out; next: limner train {path}"


def _sections(found: Inspection) -> list[Section]:
    """By places in the source, which counts those that cannot be read too."""
    names, place_of = found.reading.names, found.reading.places

    def places(group: list[int]) -> list[int]:
        return [int(place_of[member]) for member in group]

    spread = np.unique(np.linspace(0, len(names) - 1, min(_SAMPLES, len(names))).round().astype(int)).tolist()
    copies = found.duplicates
    return [
        Section(f"{len(names):,} pictures, {len(spread)} of them", [places(spread)], apart=False),
        Section(f"exact copies: {len(copies.exact):,} groups", [places(group) for group in copies.exact]),
        Section(f"near-copies: {len(copies.near):,} groups", [places(group) for group in copies.near]),
        Section(
            f"turned or mirrored copies: {len(copies.turned):,} pairs",
            [places([pair.one, pair.other]) for pair in copies.turned],
        ),
        Section(
            f"nearly uniform: {len(found.uniform):,}", [places(found.uniform[:_SAMPLES])] * bool(found.uniform), False
        ),
        Section(
            f"unlike all others: {len(found.outliers):,}",
            [places(found.outliers[:_SAMPLES])] * bool(found.outliers),
            False,
        ),
    ]


def _many(one: str, several: str, items: list[str], *, apart: bool = False, most: int = _NAMED) -> list[str]:
    """``3 nearly uniform: a, b, c``, or one item a line; of many the first few."""
    if not items:
        return []
    what = one if len(items) == 1 else several
    more = [f"and {len(items) - most:,} more (--json names all)"] if len(items) > most else []
    shown = [*items[:most], *more]
    if apart:
        return [f"{len(items):,} {what}:", *(f"  {item}" for item in shown)]
    return [f"{len(items):,} {what}: {', '.join(shown)}"]


def _group(group: list[int], names: Sequence[str]) -> str:
    more = f" and {len(group) - 4:,} more" if len(group) > 4 else ""
    return " = ".join(names[place] for place in group[:4]) + more


def _shapes(sizes: Int[np.ndarray, "n 2"]) -> Counter[str]:
    """How many pictures have which aspect: the nearest that has a name."""
    found: Counter[str] = Counter()
    for (width, height), count in Counter(map(tuple, sizes.tolist())).items():
        name = min(SHAPES, key=lambda key: abs(math.log(width / height / SHAPES[key])))
        found[name] += count
    return found


def _sizes(sizes: Int[np.ndarray, "n 2"]) -> str:
    counts = Counter(map(tuple, sizes.tolist()))
    if len(counts) == 1:
        return "all {}x{}".format(*next(iter(counts)))
    by_area = sorted(counts, key=lambda size: (size[0] * size[1], size))
    common = ", ".join(f"{width}x{height} ({count:,})" for (width, height), count in counts.most_common(_NAMED))
    smallest, largest = by_area[0], by_area[-1]
    span = f"from {smallest[0]}x{smallest[1]} to {largest[0]}x{largest[1]}"
    return f"{len(counts):,} different, {span}; most often {common}"


def _counts(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return f"all {next(iter(counts))}"
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _colours(reading: Reading) -> str:
    count, coloured, clear = len(reading.names), int(reading.colour.sum()), int(reading.alpha.sum())
    grey = "all in colour" if coloured == count else "all grey" if not coloured else f"{coloured:,} in colour"
    return f"{grey}, {clear:,} with transparency" if clear else grey


def _classes(classes: dict[str, int]) -> str:
    least, most = min(classes.values()), max(classes.values())
    said = f"{len(classes)}, {least:,} to {most:,} pictures each" if least != most else f"{len(classes)}, {most:,} each"
    if most > _UNEVEN * max(least, 1):
        smallest = min(classes, key=lambda name: classes[name])
        said += f"; uneven: {smallest!r} has {least:,}"
    few = [name for name, count in classes.items() if count < _FEW_IN_CLASS]
    if few and len(classes) > len(few):
        said += f"; under {_FEW_IN_CLASS}: {', '.join(few[:_NAMED])}{' and others' if len(few) > _NAMED else ''}"
    return said
