"""Which pictures of a collection are there more than once: exactly, nearly, turned or mirrored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from limner.data.copies import compare, groups_of, near_copy_groups
from limner.data.search import FLAT, Looks, candidates, equal_rows, reach

__all__ = ["Duplicates", "Turned", "find_duplicates", "near_copy_groups"]

SAME_SHAPE = 0.1
"""How far the logarithms of two aspects may be apart for pictures that show the same."""
_AGREEMENT = 0.9
_NEARER = 0.7
"""Turned copies are looked for in this share of the usual reach: there are six times as many pairs to be wrong about."""

_TURNS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {
    "turned by 180 degrees": (lambda images: images[:, ::-1, ::-1], False),
    "mirrored": (lambda images: images[:, :, ::-1], False),
    "upside down and mirrored": (lambda images: images[:, ::-1], False),
    "turned by 90 degrees": (lambda images: images.swapaxes(1, 2)[:, :, ::-1], True),
    "turned by 90 degrees and mirrored": (lambda images: images.swapaxes(1, 2), True),
    "turned by 90 degrees, other way, and mirrored": (lambda images: images.swapaxes(1, 2)[:, ::-1, ::-1], True),
}
"""How a picture may have been turned, and whether its width and height change places. A quarter turn the other way is the
fourth one seen from the other picture.
"""

STEPS = 1 + len(_TURNS)


@dataclass(frozen=True)
class Turned:
    """``other`` is ``one``, turned or mirrored as ``how`` says (numbers of pictures)."""

    one: int
    other: int
    how: str


@dataclass(frozen=True)
class Duplicates:
    """What is there more than once, by numbers of pictures.

    Attributes:
        exact: groups of pictures with the same visible pixels, each ascending.
        near: groups of pictures that are near-copies of one another; of exact copies only the first is in them.
        turned: pairs that are near-copies once one of them is turned or mirrored.
    """

    exact: list[list[int]]
    near: list[list[int]]
    turned: list[Turned]


def find_duplicates(
    thumbs: UInt8[np.ndarray, "n 32 32 c"],
    digests: UInt8[np.ndarray, "n 16"],
    sizes: Int[np.ndarray, "n 2"],
    advance: Callable[[], None] = lambda: None,
) -> Duplicates:
    """Find what is there more than once.

    Args:
        thumbs: as :func:`limner.data.copies.thumbnails` gives them.
        digests: equal for equal pixels.
        sizes: widths and heights of the pictures.
        advance: called when one of the ``STEPS`` parts of the work is done.
    """
    alone, kinds = equal_rows(digests)
    order = np.argsort(kinds, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1)
    exact = [part.tolist() for part in parts if len(part) > 1]
    aspects = np.log(sizes[:, 0] / sizes[:, 1]) if len(sizes) else np.zeros(0)
    numbers = groups_of(thumbs[alone])
    advance()
    contrast = Looks(thumbs, alone).contrast
    order = np.argsort(numbers, kind="stable")
    near: list[list[int]] = []
    kept: list[int] = []
    for part in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []:
        if contrast[part[0]] <= FLAT:  # nearly uniform ones are told as such
            continue
        for group in _by_shape(alone[part], aspects):
            kept.append(group[0])
            if len(group) > 1:
                near.append(group)
    return Duplicates(exact, sorted(near), _turned(thumbs, np.array(sorted(kept), dtype=np.int64), aspects, advance))


def _by_shape(places: Int[np.ndarray, " m"], aspects: Float[np.ndarray, " n"]) -> list[list[int]]:
    """A group as groups of one aspect each: a picture that was squeezed is another picture."""
    order = places[np.argsort(aspects[places], kind="stable")]
    cuts = np.flatnonzero(np.diff(aspects[order]) > SAME_SHAPE) + 1
    return [sorted(group.tolist()) for group in np.split(order, cuts)]


def _turned(
    thumbs: UInt8[np.ndarray, "n 32 32 c"],
    places: Int[np.ndarray, " m"],
    aspects: Float[np.ndarray, " n"],
    advance: Callable[[], None],
) -> list[Turned]:
    """Pairs of ``places`` that show the same once one is turned; each pair once."""
    if len(places) < 2:
        return []
    found = Looks(thumbs, places)
    relative, absolute = reach(found)
    either = _NEARER * np.maximum(relative, absolute)
    pairs: dict[tuple[int, int], str] = {}
    for how, (turn, swaps) in _TURNS.items():
        queries = Looks(thumbs, places, turn)
        for one, other, distance in candidates(queries, found, either, either):
            usual = distance <= np.minimum(relative[one], relative[other])
            tiny = distance <= np.minimum(absolute[one], absolute[other])
            shape = aspects[places[other]] - aspects[places[one]] * (-1 if swaps else 1)
            keep = (usual | tiny) & (np.abs(shape) <= SAME_SHAPE)
            keep &= one != other if how == "turned by 90 degrees" else one < other
            one, other, usual = one[keep], other[keep], usual[keep]
            result = compare(queries.images(one), found.images(other))
            sure = result.saved_again | (result.same_subject & usual & (result.agreement >= _AGREEMENT))
            for left, right in zip(places[one[sure]].tolist(), places[other[sure]].tolist(), strict=True):
                pairs.setdefault((min(left, right), max(left, right)), how)
        advance()
    return [Turned(one, other, how) for (one, other), how in sorted(pairs.items())]
