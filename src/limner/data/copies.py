"""Pictures that show the same: scans of one print, one file saved twice, one photo at two sizes.

How it is done, in three steps, none of which holds a matrix of all pairs:

1. *thumbnails*: each picture, colours multiplied by alpha, as 32x32 means.
2. *candidates*: a descriptor of the thumbnail (16x16, mean taken off, length one) that has another one within reach. Reach
   is a third of the distance at which a picture has 50 neighbours. Where all pictures are alike (trousers, faces),
   two have to be much more alike than that; where no two are, a looser likeness tells. This is Lowe's ratio test ("Distinctive
   image features from scale-invariant keypoints", 2004) against the fiftieth neighbour. Pairs whose pixels hardly differ are
   candidates anywhere.
3. *verification* (:func:`compare`): both thumbnails, shifted by at most one pixel and brought to one brightness and contrast,
   have to agree in each of their 8x8 windows. Another letter in the same frame, another time on the same clock is no copy.

Descriptors are whole numbers of such a size that their products are exact in float32. So what is found does not depend on
threads or on the order of additions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

SIDE = 32
"""Pixels of a thumbnail's side."""
LIMIT = 200_000
"""Up to so many different pictures are compared with one another; of more, only equal thumbnails are found."""
NEIGHBOURS = 50
REACH = 1 / 3
"""A near-copy is at most at this share of the distance to the fiftieth neighbour."""
AGREEMENT = 0.85
"""The least that :attr:`Comparison.agreement` may be."""
SHADE = 0.075
"""The most that a window's mean colour may differ, of 0 to 1."""
SAVED_AGAIN = 0.03
"""A worst window that differs by no more than this (root mean square, 0 to 1) is what saving again does."""
FLAT = 0.01
"""Thumbnails with a standard deviation under this (of 0 to 1) show nothing that could be compared."""

_LENGTH = 4000.0
"""Of a descriptor. Its square is below 2**24, up to which float32 holds every whole number."""
_FARTHEST = 0.45
_SAMPLE = 4096
_BLOCK = 256
_STRIP = 2048
_REACHES = (0.05, 0.08, 0.11, 0.14, 0.18, 0.22, 0.27, 0.33)
_PAIRS = 2048
_LOOKED = 512
_AXES = 24
_SHIFTS = [(down, across) for down in (0, -1, 1) for across in (0, -1, 1)]
_CONTENT = 0.05**2
_NOISE = 0.1**2


@lru_cache(maxsize=256)
def _weights(length: int) -> Float32[np.ndarray, "32 length"]:
    """Area means from ``length`` pixels to 32: whole numbers that add up to 256 in each row."""
    edges = np.linspace(0, length, SIDE + 1)
    pixels = np.arange(length)
    exact = np.clip(np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels), 0, None)
    sums = np.rint(np.cumsum(exact, axis=1) / exact.sum(axis=1, keepdims=True) * 256)
    weights: Float32[np.ndarray, "32 length"] = np.diff(sums, axis=1, prepend=0).astype(np.float32)
    return weights


def thumbnails(images: UInt8[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n 32 32 c"]:
    """Pictures of any one size, reduced (or enlarged) to 32x32 by area; with 4 channels, colours times alpha."""
    count, height, width, channels = images.shape
    down, across = _weights(height), _weights(width)
    result = np.empty((count, SIDE, SIDE, channels), np.uint8)
    step = max(1, (1 << 22) // (height * width * channels))
    for start in range(0, count, step):
        part = np.asarray(images[start : start + step])
        if channels == 4:
            alpha = part[..., 3:].astype(np.uint16)
            part = np.concatenate([((part[..., :3] * alpha + 127) // 255).astype(np.uint8), part[..., 3:]], axis=-1)
        # Sums stay below 2**24: exact in float32, whatever the order of additions.
        rows = down @ part.reshape(len(part), height, width * channels).astype(np.float32)
        rows = rows.reshape(len(part), SIDE, width, channels).transpose(0, 1, 3, 2) @ across.T
        result[start : start + step] = ((rows.transpose(0, 1, 3, 2) + 32767.0) * 2.0**-16).astype(np.uint8)
    return result


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
        part = thumbs[start : start + _BLOCK].astype(np.float32)
        means = part.reshape(-1, half, 2, half, 2, channels).sum((2, 4)).reshape(len(part), -1) / np.float32(4 * 255)
        means -= means.mean(axis=1, keepdims=True)
        deviation = np.sqrt((means * means).mean(axis=1))
        clear = deviation > FLAT
        length = np.where(clear, deviation, 1.0) * np.float32(np.sqrt(means.shape[1]))
        result[start : start + _BLOCK] = np.rint(means * (_LENGTH * clear / length)[:, None])
        contrast[start : start + _BLOCK] = deviation
    return result, contrast


@dataclass(frozen=True)
class Comparison:
    """How pairs of thumbnails differ, once shifted and brought to one brightness and contrast.

    Attributes:
        agreement: of the 8x8 window that agrees least: 1 for equal, about 0 for unrelated.
        shade: the largest difference between a window's mean colours, 0 to 1.
        worst: the largest difference of a window, root mean square, 0 to 1.
        usual: the same for the median of the windows that show something.
    """

    agreement: Float[np.ndarray, " p"]
    shade: Float[np.ndarray, " p"]
    worst: Float[np.ndarray, " p"]
    usual: Float[np.ndarray, " p"]

    @property
    def saved_again(self) -> Bool[np.ndarray, " p"]:
        """Equal but for what saving, resizing or a little noise does."""
        return (self.agreement >= 0.9) & (self.shade <= SHADE) & (self.worst <= SAVED_AGAIN)

    @property
    def same_subject(self) -> Bool[np.ndarray, " p"]:
        """The same thing, scanned or printed again. What differs in one place and nowhere else is a variant, no copy."""
        even = (self.worst <= 0.02 + 3.0 * self.usual) | (self.agreement >= 0.97)
        return (self.agreement >= AGREEMENT) & (self.shade <= SHADE) & even


def compare(first: UInt8[np.ndarray, "p 32 32 c"], second: UInt8[np.ndarray, "p 32 32 c"]) -> Comparison:
    """Compare pairs of thumbnails (see the module's text)."""
    parts = [
        _compare(first[start : start + _PAIRS], second[start : start + _PAIRS])
        for start in range(0, len(first), _PAIRS)
    ] or [(np.zeros(0),) * 4]
    return Comparison(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _compare(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, ...]:
    left = first[:, 1:-1, 1:-1].astype(np.float32) / np.float32(255)
    moved = second.astype(np.float32) / np.float32(255)
    right = np.empty_like(left)
    least = np.full(len(left), np.inf, np.float32)
    for down, across in _SHIFTS:
        tried = moved[:, 1 + down : SIDE - 1 + down, 1 + across : SIDE - 1 + across]
        apart = np.square(left - tried).mean(axis=(1, 2, 3))
        better = apart < least
        right[better], least[better] = tried[better], apart[better]
    whole = (1, 2, 3)
    means = left.mean(whole, keepdims=True), right.mean(whole, keepdims=True)
    gain = left.std(whole, keepdims=True) / np.maximum(right.std(whole, keepdims=True), 1e-6)
    right = (right - means[1]) * np.clip(gain, 0.7, 1 / 0.7) + means[1] + np.clip(means[0] - means[1], -0.15, 0.15)
    shade = _windows(left - right)
    squares = _windows(np.square(left - right))
    variance = _windows(np.square(left)) - np.square(_windows(left))
    variance = (variance + _windows(np.square(right)) - np.square(_windows(right))).mean(axis=-1)
    agreement = 1 - (squares - np.square(shade)).mean(axis=-1) / (variance + _NOISE)
    size = np.sqrt(np.maximum(squares.mean(axis=-1), 0.0))  # sums of floats may end below zero
    shows = variance > 2 * _CONTENT
    usual = np.array([np.median(row[mask]) if mask.any() else 0.0 for row, mask in zip(size, shows, strict=True)])
    return agreement.min(axis=1), np.abs(shade).max(axis=(1, 2)), size.max(axis=1), usual


def _windows(values: Float[np.ndarray, "p h w c"]) -> Float[np.ndarray, "p k c"]:
    """Means of 8x8 windows, four pixels apart."""
    sums = np.pad(values.astype(np.float64).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0), (0, 0)))
    places = np.unique([*range(0, values.shape[1] - 7, 4), values.shape[1] - 8])
    bands = sums[:, places + 8] - sums[:, places]
    means: np.ndarray = (bands[:, :, places + 8] - bands[:, :, places]) / 64
    return means.reshape(len(values), -1, values.shape[-1])


class Forest:
    """Disjoint sets of ``count`` things (union by smallest number)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, place: int) -> int:
        """The smallest of the set that ``place`` is in, or on the way to it."""
        parent = self._parent
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    def join(self, one: int, other: int) -> None:
        """Make two sets one."""
        one, other = sorted((self.root(one), self.root(other)))
        self._parent[other] = one

    def numbers(self) -> Int[np.ndarray, " n"]:
        """Each thing's set, numbered from 0 in the order of their first things."""
        roots = np.array([self.root(place) for place in range(len(self._parent))], dtype=np.int64)
        return np.unique(roots, return_inverse=True)[1].astype(np.int64).reshape(-1)


def reach(found: Float32[np.ndarray, "n d"], contrast: Float32[np.ndarray, " n"]) -> Float[np.ndarray, "2 n"]:
    """How far a near-copy of each picture may be: compared with its neighbours, and by its pixels alone."""
    count = len(found)
    step = max(1, count // _SAMPLE)
    sample = found[::step]
    place = min(max(2, round(min(NEIGHBOURS, max(1, count // 4)) / step)), len(sample) - 1)
    relative = np.zeros(count)
    for start in range(0, count, _BLOCK):
        if place > 0:
            products = found[start : start + _BLOCK] @ sample.T
            nearest = np.partition(products, len(sample) - 1 - place, axis=1)[:, len(sample) - 1 - place]
            distance = np.sqrt(np.maximum(2.0 - 2.0 * nearest.astype(np.float64) / _LENGTH**2, 0.0))
            relative[start : start + _BLOCK] = np.minimum(REACH * distance, _FARTHEST)
    absolute = np.minimum(SAVED_AGAIN / np.maximum(contrast, FLAT), _FARTHEST)
    return np.stack([relative, absolute])


def candidates(
    queries: Float32[np.ndarray, "m d"],
    found: Float32[np.ndarray, "n d"],
    query_reach: Float[np.ndarray, " m"],
    found_reach: Float[np.ndarray, " n"],
    *,
    own: bool = False,
) -> Iterator[tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"], Float[np.ndarray, " p"]]]:
    """All pairs of descriptors that are within the reach of both, in portions.

    A projection on the leading principal axes never lengthens a distance. So what is too far apart there, or on the first axis
    alone, is so in all of it.

    Args:
        queries: one side of the pairs.
        found: the other side.
        query_reach: how far apart a pair may be, in units of a descriptor's length, by its query.
        found_reach: the same by its other side.
        own: whether ``queries`` is ``found``: each pair is then given once, the smaller number first.

    Yields:
        numbers of queries, numbers of found ones, distances.
    """
    queries8, found8 = _pooled(queries), _pooled(found)
    sample = found8[:: max(1, len(found) // _SAMPLE)].astype(np.float64)
    sample -= sample.mean(axis=0)
    axes = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :_AXES].astype(np.float32) / np.float32(_LENGTH)
    here, there = queries8 @ axes, found8 @ axes
    strips = _strips(there)
    # Queries of like reach stand together, so that the few with a long one do not make the others look far.
    kinds = np.digitize(query_reach, _REACHES)
    for kind in np.unique(kinds):
        mine = np.flatnonzero(kinds == kind)
        for strip in _strips(here[mine]):
            for start in range(0, len(strip), _BLOCK):
                block = mine[strip[start : start + _BLOCK]]
                rows, columns = _near(here[block], query_reach[block] * 1.001 + 1e-3, there, strips)
                one = block[rows]
                if own:  # each pair is found by the one with the shorter reach, of equals by the first
                    keep = (query_reach[one] < found_reach[columns]) | (
                        (query_reach[one] == found_reach[columns]) & (one < columns)
                    )
                else:
                    keep = np.ones(len(one), bool)
                yield from _exact(queries, found, one[keep], columns[keep], query_reach, found_reach, own)


def _pooled(found: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
    """8x8 means of the 16x16 ones, times two: a projection, with a quarter of the numbers."""
    sums = found.reshape(len(found), SIDE // 4, 2, SIDE // 4, 2, -1).sum((2, 4))
    pooled: Float32[np.ndarray, "n k"] = sums.reshape(len(found), -1) / np.float32(2)
    return pooled


def _strips(points: Float32[np.ndarray, "n k"]) -> list[Int[np.ndarray, " m"]]:
    """Numbers of points in strips of the first axis, sorted by the second one in each."""
    order = np.argsort(points[:, 0], kind="stable")
    pieces = [order[start : start + _STRIP] for start in range(0, len(order), _STRIP)]
    return [piece[np.argsort(points[piece, 1], kind="stable")] for piece in pieces]


def _near(
    block: Float32[np.ndarray, "b k"],
    slack: Float[np.ndarray, " b"],
    there: Float32[np.ndarray, "n k"],
    strips: list[Int[np.ndarray, " m"]],
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Pairs that are within ``slack`` of one another in the projection: places in the block, numbers of the others."""
    rows, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    low, high = (block[:, :2] - slack[:, None]).min(axis=0), (block[:, :2] + slack[:, None]).max(axis=0)
    limit = (slack**2 - np.square(block).sum(axis=1)).astype(np.float32)[:, None]
    for strip in strips:
        across = there[strip, 0]
        if across.max() < low[0] or across.min() > high[0]:
            continue
        begin, end = np.searchsorted(there[strip, 1], [low[1], high[1]])
        other = strip[begin:end]
        other = other[(there[other, 0] >= low[0]) & (there[other, 0] <= high[0])]
        points = there[other]
        near = block @ (-2 * points.T)
        near += np.square(points).sum(axis=1)
        # Faster than nonzero on two axes.
        row, column = np.divmod(np.flatnonzero(near <= limit), max(len(other), 1))
        rows.append(row)
        columns.append(other[column])
    return np.concatenate(rows), np.concatenate(columns)


def _exact(
    queries: Float32[np.ndarray, "m d"],
    found: Float32[np.ndarray, "n d"],
    one: Int[np.ndarray, " p"],
    other: Int[np.ndarray, " p"],
    query_reach: Float[np.ndarray, " m"],
    found_reach: Float[np.ndarray, " n"],
    own: bool,
) -> Iterator[tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"], Float[np.ndarray, " p"]]]:
    for part in range(0, len(one), 4 * _PAIRS):
        left, right = one[part : part + 4 * _PAIRS], other[part : part + 4 * _PAIRS]
        distance = np.sqrt(np.square(queries[left] - found[right]).sum(axis=1)).astype(np.float64) / _LENGTH
        close = distance <= np.minimum(query_reach[left], found_reach[right])
        if close.any():
            left, right, distance = left[close], right[close], distance[close]
            if own:
                left, right = np.minimum(left, right), np.maximum(left, right)
            yield left, right, distance


def groups_of(thumbs: UInt8[np.ndarray, "n 32 32 c"]) -> Int[np.ndarray, " n"]:
    """The group of each thumbnail; those of near-copies share one. Groups are numbered by their first member."""
    if not len(thumbs):
        return np.zeros(0, np.int64)
    flat = np.ascontiguousarray(thumbs).reshape(len(thumbs), -1)
    keys = flat.view([("", np.void, flat.shape[1])]).reshape(-1)
    seen: dict[bytes, int] = {}
    which = np.array([seen.setdefault(key.tobytes(), len(seen)) for key in keys], dtype=np.int64)
    first = np.unique(which, return_index=True)[1]
    forest = Forest(len(seen))
    if 2 <= len(seen) <= LIMIT:
        _join_near(thumbs[first], forest)
    return forest.numbers()[which]


def _join_near(thumbs: UInt8[np.ndarray, "n 32 32 c"], forest: Forest) -> None:
    found, contrast = descriptors(thumbs)
    clear = np.flatnonzero(contrast > FLAT)
    if len(clear) < 2:
        return
    found, contrast, thumbs = found[clear], contrast[clear], thumbs[clear]
    relative, absolute = reach(found, contrast)
    either = np.maximum(relative, absolute)
    for one, other, distance in candidates(found, found, either, either, own=True):
        usual = distance <= np.minimum(relative[one], relative[other])
        tiny = distance <= np.minimum(absolute[one], absolute[other])
        for start in range(0, len(one), _LOOKED):
            part = slice(start, start + _LOOKED)
            ends = zip(clear[one[part]].tolist(), clear[other[part]].tolist(), strict=True)
            # Those that are together already need no second look: a film's frames would give millions of pairs.
            apart = np.array([forest.root(left) != forest.root(right) for left, right in ends], bool)
            keep = start + np.flatnonzero((usual | tiny)[part] & apart)
            result = compare(thumbs[one[keep]], thumbs[other[keep]])
            for place in keep[result.saved_again | (result.same_subject & usual[keep])]:
                forest.join(int(clear[one[place]]), int(clear[other[place]]))


def near_copy_groups(images: UInt8[np.ndarray, "n h w c"]) -> Int[np.ndarray, " n"]:
    """The group of each picture, from 0 on; near-copies, exact ones included, share one.

    Turned and mirrored pictures are not joined. Nearly uniform pictures are joined only where their thumbnails are equal.

    Args:
        images: all of one size, 1, 3 or 4 channels.
    """
    return groups_of(thumbnails(images))
