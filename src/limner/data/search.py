"""Which pictures look so alike that they may be copies, among any number of them, in bounded memory and bounded time.

What is compared is a *descriptor* of the thumbnail: 16x16 means, their mean taken off, length one. A pair is a candidate when
it is within the reach of both. Reach is a third of the distance at which a picture has 50 neighbours. Where all pictures are
alike (trousers, faces), two have to be much more alike than that; where no two are, a looser likeness tells. This is Lowe's
ratio test ("Distinctive image features from scale-invariant keypoints", 2004) against the fiftieth neighbour. Pairs whose
pixels hardly differ are candidates anywhere.

The search goes over a k-d tree (Bentley 1975, "Multidimensional binary search trees used for associative searching") of the
descriptors' leading principal axes: a projection never lengthens a distance, so what is too far apart there is so in all of it.
Descriptors themselves are made when they are asked for, and no matrix of all pairs is ever held.

Time is bounded where everything looks like everything: each leaf of the tree is compared with the leaves nearest to it, as many
as :data:`WORK` allows (all of them up to about 220,000 pictures), and of each picture's candidates the nearest few are given.
A copy is nearer than what is no copy, so that these are the ones that matter.

Descriptors are whole numbers of such a size that their products are exact in float32. So what is found does not depend on
threads or on the order of additions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped, UInt8

from limner.data.tree import LEAF, Tree

SIDE = 32
"""Pixels of a thumbnail's side."""
NEIGHBOURS = 50
REACH = 1 / 3
"""A near-copy is at most at this share of the distance to the fiftieth neighbour."""
SAVED_AGAIN = 0.03
"""A worst window that differs by no more than this (root mean square, 0 to 1) is what saving again does."""
FLAT = 0.01
"""Thumbnails with a standard deviation under this (of 0 to 1) show nothing that could be compared."""
WORK = 5e10
"""Distances in the projection, at most, about."""
ROUGHLY, CLOSELY = 64, 16
"""Of each picture's candidates so many, by the distance in the projection; and of these so many by the whole one."""

_LENGTH = 4000.0
"""Of a descriptor. Its square is below 2**24, up to which float32 holds every whole number."""
_FARTHEST = 0.45
_SAMPLE = 4096
_BLOCK = 256
_GROUP = 64
_REACHES = (0.05, 0.08, 0.11, 0.14, 0.18, 0.22, 0.27, 0.33)
_AXES = 24
_KEPT = 1 << 26
_MANY = 100_000

Turn = Callable[[np.ndarray], np.ndarray]
Numbers = Int[np.ndarray, " p"]


def equal_rows(digests: UInt8[np.ndarray, "n 16"]) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " n"]]:
    """The first of each kind of equal digests, and each one's kind, numbered by their first ones."""
    if not len(digests):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    halves = np.ascontiguousarray(digests).view(np.uint64)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    change = np.any(np.diff(halves[order], axis=0), axis=1)
    kind = np.empty(len(digests), np.int64)
    kind[order] = np.concatenate([[0], np.cumsum(change)])
    _, first, which = np.unique(kind, return_index=True, return_inverse=True)
    by_first = np.argsort(first, kind="stable")
    places = np.empty(len(first), np.int64)
    places[by_first] = np.arange(len(first))
    kinds: np.ndarray = places[which.reshape(-1)]
    return first[by_first], kinds


def descriptors(
    thumbs: UInt8[np.ndarray, "n 32 32 c"],
) -> tuple[Float32[np.ndarray, "n d"], Float32[np.ndarray, " n"]]:
    """What candidates are found by: whole numbers of length about 4000, and each thumbnail's contrast.

    Returns:
        descriptors, ``d = 256 c``, all zero for thumbnails that are flat; standard deviations, of 0 to 1.
    """
    count, channels = len(thumbs), thumbs.shape[-1]
    half = SIDE // 2
    result = np.zeros((count, half * half * channels), np.float32)
    contrast = np.zeros(count, np.float32)
    for start in range(0, count, _BLOCK):
        part = _summed_by_four(thumbs[start : start + _BLOCK].astype(np.uint16))
        means = part.reshape(len(part), -1) / np.float32(4 * 255)
        means -= means.mean(axis=1, keepdims=True)
        deviation = np.sqrt((means * means).mean(axis=1))
        clear = deviation > FLAT
        length = np.where(clear, deviation, 1.0) * np.float32(np.sqrt(means.shape[1]))
        result[start : start + _BLOCK] = np.rint(means * (_LENGTH * clear / length)[:, None])
        contrast[start : start + _BLOCK] = deviation
    return result, contrast


class Looks:
    """What some thumbnails look like: their descriptors, made from the thumbnails when they are asked for.

    Args:
        thumbs: any number, perhaps mapped from a file.
        places: which of them.
        turn: what is done to each before it is looked at.
    """

    def __init__(
        self, thumbs: UInt8[np.ndarray, "n 32 32 c"], places: Int[np.ndarray, " m"], turn: Turn | None = None
    ) -> None:
        self._thumbs, self._places, self._turn = thumbs, places, turn
        self._rows: Float32[np.ndarray, "m d"] | None = None
        size = SIDE * SIDE // 4 * thumbs.shape[-1]
        keep = 4 * len(places) * size <= _KEPT
        rows = np.empty((len(places) if keep else 0, size), np.float32)
        self.contrast = np.empty(len(places), np.float32)
        for start in range(0, len(places), _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, len(places)))
            found, self.contrast[numbers] = descriptors(self.images(numbers))
            if keep:
                rows[numbers] = found
        self._rows = rows if keep else None

    def __len__(self) -> int:
        return len(self._places)

    def images(self, numbers: Numbers) -> UInt8[np.ndarray, "p 32 32 c"]:
        """The thumbnails themselves."""
        images = np.asarray(self._thumbs[self._places[numbers]])
        return images if self._turn is None else np.ascontiguousarray(self._turn(images))

    def descriptors(self, numbers: Numbers) -> Float32[np.ndarray, "p d"]:
        """Their descriptors."""
        return self._rows[numbers] if self._rows is not None else descriptors(self.images(numbers))[0]

    def some(self, numbers: Numbers) -> Looks:
        """Some of them."""
        if len(numbers) == len(self):
            return self
        part = object.__new__(Looks)
        part._thumbs, part._places, part._turn = self._thumbs, self._places[numbers], self._turn
        part._rows = None if self._rows is None else self._rows[numbers]
        part.contrast = self.contrast[numbers]
        return part

    def blocks(self) -> Iterator[tuple[slice, Float32[np.ndarray, "p d"]]]:
        """All descriptors, in portions."""
        for start in range(0, len(self), _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, len(self)))
            yield slice(start, start + len(numbers)), self.descriptors(numbers)


def reach(looks: Looks) -> Float[np.ndarray, "2 n"]:
    """How far a near-copy of each picture may be: compared with its neighbours, and by its pixels alone."""
    count = len(looks)
    step = max(1, count // _SAMPLE)
    sample = looks.descriptors(np.arange(0, count, step))
    if many := count > _MANY:  # a quarter of the work; a distance that comes out too short finds no wrong pair
        sample = _pooled(sample)
    place = min(max(2, round(min(NEIGHBOURS, max(1, count // 4)) / step)), len(sample) - 1)
    relative = np.zeros(count)
    for part, rows in looks.blocks() if place > 0 else ():
        if many:
            rows = _pooled(rows)
        products = rows @ sample.T
        if many:
            products -= 0.5 * (np.square(rows).sum(axis=1)[:, None] + np.square(sample).sum(axis=1) - 2 * _LENGTH**2)
        nearest = nth_largest(products, place)
        distance = np.sqrt(np.maximum(2.0 - 2.0 * nearest.astype(np.float64) / _LENGTH**2, 0.0))
        relative[part] = np.minimum(REACH * distance, _FARTHEST)
    absolute = np.minimum(SAVED_AGAIN / np.maximum(looks.contrast, FLAT), _FARTHEST)
    return np.stack([relative, absolute])


def nth_largest(values: Float32[np.ndarray, "b n"], place: int) -> Float32[np.ndarray, " b"]:
    """Of each row the largest number but ``place``: what a partition at that place finds, in one pass where few are larger.

    Columns are taken in groups: those with the ``place + 1`` largest maxima hold the ``place + 1`` largest numbers.
    """
    groups = values.shape[1] // _GROUP
    if place + 1 >= groups // 2:
        return _by_partition(values, place)
    grouped = values[:, : groups * _GROUP].reshape(len(values), _GROUP, groups)
    best = np.argpartition(grouped.max(axis=1), groups - 1 - place, axis=1)[:, groups - 1 - place :]
    left = np.take_along_axis(grouped, best[:, None], axis=2).reshape(len(values), -1)
    return _by_partition(np.concatenate([left, values[:, groups * _GROUP :]], axis=1), place)


def _by_partition(values: Float32[np.ndarray, "b n"], place: int) -> Float32[np.ndarray, " b"]:
    wanted = values.shape[1] - 1 - place
    found: Float32[np.ndarray, " b"] = np.partition(values, wanted, axis=1)[:, wanted]
    return found


def candidates(
    queries: Looks,
    found: Looks,
    query_reach: Float[np.ndarray, " m"],
    found_reach: Float[np.ndarray, " n"],
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[Numbers, Numbers, Float[np.ndarray, " p"]]]:
    """Pairs that are within the reach of both, in portions: all of them, or where there are very many the nearest ones.

    Args:
        queries: one side of the pairs; where it is ``found`` itself, each pair is given once, the smaller number first.
        found: the other side.
        query_reach: how far apart a pair may be, in units of a descriptor's length, by its query.
        found_reach: the same by its other side.
        advance: told how many queries have been looked up, portion by portion.

    Yields:
        numbers of queries, numbers of found ones, distances.
    """
    own = queries is found
    axes = _axes(found)
    there = _projected(found, axes)
    here = there if own else _projected(queries, axes)
    most = max(ROUGHLY, int(WORK / (LEAF * max(len(queries), 1))))
    # Queries of like reach stand together, so that the few with a long one do not make the others look far.
    kinds = np.digitize(query_reach, _REACHES)
    reaching = np.digitize(found_reach, _REACHES)

    def among(kind: int) -> tuple[Tree, Float32[np.ndarray, "n k+1"]]:
        tree = Tree.of(there, np.flatnonzero(reaching >= kind))
        return tree, tree.packed(there)

    everything = None if own else among(0)
    for kind in np.unique(kinds).tolist():
        # Of one's own, only those that reach as far: each pair is found by the one with the shorter reach.
        tree, packed = everything or among(kind)
        for block in Tree.of(here, np.flatnonzero(kinds == kind)).leaves():
            slack = query_reach[block] * 1.001 + 1e-3

            def eligible(rows: Numbers, columns: Numbers, block: Numbers = block) -> np.ndarray:
                if not own:
                    return np.ones(len(rows), bool)
                one = block[rows]  # each pair is found by the one with the shorter reach, of equals by the first
                shorter: np.ndarray = (query_reach[one] < found_reach[columns]) | (
                    (query_reach[one] == found_reach[columns]) & (one < columns)
                )
                return shorter

            rows, columns = _near(here[block], slack, packed, tree, most, eligible)
            left, right, distance = _exact(queries, found, block[rows], columns)
            close = distance <= np.minimum(query_reach[left], found_reach[right])
            left, right, distance = left[close], right[close], distance[close]
            keep = _nearest(left, distance, right, CLOSELY)
            if len(keep):
                left, right = left[keep], right[keep]
                if own:
                    left, right = np.minimum(left, right), np.maximum(left, right)
                yield left, right, distance[keep]
            advance(len(block))
        del packed  # the next one may be as large


def _axes(looks: Looks) -> Float32[np.ndarray, "k a"]:
    """The leading principal axes of a sample of pooled descriptors, in units of a descriptor's length."""
    step = max(1, len(looks) // _SAMPLE)
    sample = _pooled(looks.descriptors(np.arange(0, len(looks), step))).astype(np.float64)
    sample -= sample.mean(axis=0)
    axes = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :_AXES]
    return axes.astype(np.float32) / np.float32(_LENGTH)


def _projected(looks: Looks, axes: Float32[np.ndarray, "k a"]) -> Float32[np.ndarray, "n a"]:
    points = np.empty((len(looks), axes.shape[1]), np.float32)
    for part, rows in looks.blocks():
        points[part] = _pooled(rows) @ axes
    return points


def _pooled(found: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
    """8x8 means of the 16x16 ones, times two: a projection, with a quarter of the numbers."""
    sums = _summed_by_four(found.reshape(len(found), SIDE // 2, SIDE // 2, -1))
    pooled: Float32[np.ndarray, "n k"] = sums.reshape(len(found), -1) / np.float32(2)
    return pooled


def _summed_by_four(values: Shaped[np.ndarray, "n h w c"]) -> Shaped[np.ndarray, "n h/2 w/2 c"]:
    """Each 2x2 pixels added up: of whole numbers exactly."""
    rows = values[:, ::2] + values[:, 1::2]
    sums: Shaped[np.ndarray, "n h/2 w/2 c"] = rows[:, :, ::2] + rows[:, :, 1::2]
    return sums


def _near(
    block: Float32[np.ndarray, "b k"],
    slack: Float[np.ndarray, " b"],
    packed: Float32[np.ndarray, "n k+1"],
    tree: Tree,
    most: int,
    eligible: Callable[[Numbers, Numbers], np.ndarray],
) -> tuple[Numbers, Numbers]:
    """Pairs that are within ``slack`` of one another in the projection: places in the block, numbers of the others."""
    rows, columns, apart = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    squares = np.square(block).sum(axis=1)
    limit = (slack**2 - squares).astype(np.float32)[:, None]
    seen = np.concatenate([block, np.ones_like(block[:, :1])], axis=1)
    for start, end in tree.around(block.min(axis=0), block.max(axis=0), float(slack.max()), most):
        near = seen @ packed[start:end].T  # squared distances, but for the query's own square
        hits = np.flatnonzero(near <= limit)  # faster than nonzero on two axes
        if not len(hits):
            continue
        row, column = np.divmod(hits, end - start)
        distance, column = near.reshape(-1)[hits] + squares[row], tree.order[start + column]
        keep = eligible(row, column)
        rows, columns = np.concatenate([rows, row[keep]]), np.concatenate([columns, column[keep]])
        apart = np.concatenate([apart, distance[keep]])
        if len(rows) > 2 * ROUGHLY * len(block):
            keep = _nearest(rows, apart, columns, ROUGHLY)
            rows, columns, apart = rows[keep], columns[keep], apart[keep]
    keep = _nearest(rows, apart, columns, ROUGHLY)
    rows, columns = rows[keep], columns[keep]
    return rows, columns


def _nearest(rows: Numbers, distance: np.ndarray, columns: Numbers, most: int) -> Numbers:
    """Which pairs to keep: the nearest ``most`` of each row, of equals those with the smaller numbers."""
    if not len(rows):
        return np.zeros(0, np.int64)
    order = np.lexsort((columns, distance, rows))
    begins = np.flatnonzero(np.concatenate([[True], np.diff(rows[order]) != 0]))
    rank = np.arange(len(order)) - np.repeat(begins, np.diff([*begins, len(order)]))
    return np.sort(order[rank < most])


def _exact(
    queries: Looks, found: Looks, left: Numbers, right: Numbers
) -> tuple[Numbers, Numbers, Float[np.ndarray, " p"]]:
    """The distances of pairs, in units of a descriptor's length."""
    distance = np.zeros(len(left))
    for start in range(0, len(left), 16 * _BLOCK):
        part = slice(start, start + 16 * _BLOCK)
        one, one_of = np.unique(left[part], return_inverse=True)
        other, other_of = np.unique(right[part], return_inverse=True)
        apart = queries.descriptors(one)[one_of.reshape(-1)] - found.descriptors(other)[other_of.reshape(-1)]
        distance[part] = np.sqrt(np.square(apart).sum(axis=1)).astype(np.float64) / _LENGTH
    return left, right, distance
