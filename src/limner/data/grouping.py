"""Which pictures belong together, read off their file names: pages of one book, crops of one map, frames of one film.

A held-out picture whose neighbour was trained on says little. Where names show groups, whole groups are held out.

The rule. A name (without folders and ending) is split at ``_``, ``-``, ``.`` and spaces; digits are written ``#``. Two
ways of grouping are tried, in this order, and the first that is acceptable is taken:

1. *what comes before a counter*: when at least 90% of the names end in the same pieces and these hold a digit
   (``beach_1_y0000x0625``, ``swamp_2_y0625x0000``: ``y#x#``), the group is the rest (``beach_1``). Longer common
   endings are tried before shorter ones, last of all digits at the very end (``fox12``).
2. *the first pieces*: the first one (``13909_13909-h_01dc``: ``13909``), else the first two, up to four.

A grouping is acceptable when it has at least 8 groups, none of them over a quarter of the pictures, at least half of
the pictures are in groups of two or more, and it is not just the classes again (holding out a class would be no
measurement). Otherwise every picture stands for itself. Coarse groupings come before fine ones: holding out too much of
a kind costs little, letting a group straddle the split costs the measurement its meaning.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Int

from limner.data.copies import Forest

MIN_GROUPS = 8
MAX_SHARE = 0.25
MIN_TOGETHER = 0.5
QUORUM = 0.9
_DEPTH = 4

_SEPARATORS = re.compile(r"[_\-.\s]+")
_DIGITS = re.compile(r"\d+")
_END_DIGITS = re.compile(r"\s*[(\[]?\d+[)\]]?$")


def groups(
    names: Sequence[str], labels: Sequence[str | None] | None = None
) -> tuple[Int[np.ndarray, " n"], str] | None:
    """The group of each picture, as numbers from 0 on, and in words how it was found; ``None`` when names show none.

    Args:
        names: file names, with or without folders.
        labels: classes, where there are some.
    """
    stems = [PurePosixPath(name).stem for name in names]
    for keys, how in _candidates(stems):
        if _acceptable(keys, labels):
            numbers: dict[str, int] = {}
            found = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
            return found, f"{len(numbers)} groups: {how}"
    return None


def with_copies(
    found: tuple[Int[np.ndarray, " n"], str] | None, copies: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], str] | None:
    """Groups in which near-copies stay together as well.

    Where copies tie so many groups of names together that one of them would hold over a quarter of the pictures, names are
    given up: copies on both sides would cost the measurement more.

    Args:
        found: what :func:`groups` gave.
        copies: each picture's group of near-copies (:func:`limner.data.copies.near_copy_groups`).

    Returns:
        the same as :func:`groups`: ``found`` itself where there are no copies.
    """
    sizes = np.bincount(copies) if len(copies) else np.zeros(0, np.int64)
    together = int(sizes[sizes > 1].sum())
    if not together:
        return found
    said = f"{together} near-copies with those that they are like"
    if found is None:
        return copies, f"single pictures, {said}"
    forest = Forest(len(copies))
    for numbers in (found[0], copies):
        _, first = np.unique(numbers, return_index=True)
        for place, start in enumerate(first[np.unique(numbers, return_inverse=True)[1].reshape(-1)]):
            forest.join(int(start), place)
    merged = forest.numbers()
    largest = int(np.bincount(merged).max())
    if largest > MAX_SHARE * len(merged) and largest > np.bincount(found[0]).max():
        return copies, f"single pictures, {said} (which go across the groups that names show)"
    return merged, f"{found[1]}; {said}"


def _candidates(stems: list[str]) -> Iterator[tuple[list[str], str]]:
    shapes = [_SEPARATORS.split(_DIGITS.sub("#", stem)) for stem in stems]
    endings: list[tuple[str, ...]] = []
    while len(endings) < 2 * _DEPTH:
        length = len(endings) + 1
        common, count = Counter(tuple(shape[-length:]) for shape in shapes).most_common(1)[0]
        if count < QUORUM * len(stems) or len(common) < length:
            break
        endings.append(common)
    for ending in reversed(endings):
        if any("#" in piece for piece in ending):
            yield _without_ending(stems, shapes, ending), f"the file name before '{'_'.join(ending)}'"
    stripped = [_END_DIGITS.sub("", stem) for stem in stems]
    if sum(short != stem for short, stem in zip(stripped, stems, strict=True)) >= QUORUM * len(stems):
        yield stripped, "the file name before the number at its end"
    for depth in range(1, _DEPTH + 1):
        words = "first piece" if depth == 1 else f"first {depth} pieces"
        yield [_first(stem, depth) for stem in stems], f"the {words} of the file name"


def _without_ending(stems: list[str], shapes: list[list[str]], ending: tuple[str, ...]) -> list[str]:
    """What comes before the ending; the whole name where the ending is another one, or all there is."""
    length = len(ending)
    keys = []
    for stem, shape in zip(stems, shapes, strict=True):
        cuts = [match.start() for match in _SEPARATORS.finditer(stem)]
        fits = tuple(shape[-length:]) == ending and len(cuts) >= length
        keys.append(stem[: cuts[-length]] if fits else stem)
    return keys


def _first(stem: str, depth: int) -> str:
    pieces: list[str] = _SEPARATORS.split(stem)
    return "_".join(pieces[:depth])


def _acceptable(keys: list[str], labels: Sequence[str | None] | None) -> bool:
    sizes = Counter(keys)
    total = len(keys)
    if len(sizes) < MIN_GROUPS or max(sizes.values()) > MAX_SHARE * total:
        return False
    if sum(size for size in sizes.values() if size > 1) < MIN_TOGETHER * total:
        return False
    if labels is not None and len(set(labels)) > 1:
        pairs = set(zip(keys, labels, strict=True))
        return not len(pairs) == len(sizes) == len(set(labels))
    return True
