"""Pictures that show the same: scans of one print, one file saved twice, one photo at two sizes.

How it is done, in three steps, none of which holds a matrix of all pairs:

1. *thumbnails*: each picture, colours multiplied by alpha, as 32x32 means.
2. *candidates* (:mod:`limner.data.search`): what looks so alike that it may be a copy.
3. *verification* (:func:`compare`): both thumbnails, shifted by at most one pixel and brought to one brightness and contrast,
   have to agree in each of their 8x8 windows. Another letter in the same frame, another time on the same clock is no copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from limner.data.search import FLAT, SAVED_AGAIN, SIDE, Looks, candidates, equal_rows, reach

AGREEMENT = 0.85
"""The least that :attr:`Comparison.agreement` may be."""
SHADE = 0.075
"""The most that a window's mean colour may differ, of 0 to 1."""
_TALL = 4 * SIDE
_PAIRS = 2048
_LOOKED = 512
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
        rows = _summed(down, part.reshape(len(part), height, width * channels))
        rows = rows.reshape(len(part), SIDE, width, channels).transpose(0, 1, 3, 2) @ across.T
        result[start : start + step] = ((rows.transpose(0, 1, 3, 2) + 32767.0) * 2.0**-16).astype(np.uint8)
    return result


def _summed(weights: Float32[np.ndarray, "32 h"], images: UInt8[np.ndarray, "n h k"]) -> Float32[np.ndarray, "n 32 k"]:
    """``weights @ images``. Of tall images row by row of the result: most weights are 0, and a few rows fit into a cache."""
    if images.shape[1] < _TALL:
        return weights @ images.astype(np.float32)
    sums = np.empty((len(images), SIDE, images.shape[2]), np.float32)
    used = weights != 0
    firsts, ends = used.argmax(axis=1), used.shape[1] - used[:, ::-1].argmax(axis=1)
    for row, (own, first, end) in enumerate(zip(weights, firsts, ends, strict=True)):
        np.matmul(own[first:end], images[:, first:end].astype(np.float32), out=sums[:, row])
    return sums


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


def groups_of(
    thumbs: UInt8[np.ndarray, "n 32 32 c"], progress: Callable[[int, int], None] | None = None
) -> Int[np.ndarray, " n"]:
    """The group of each thumbnail; those of near-copies share one. Groups are numbered by their first member.

    Args:
        thumbs: perhaps mapped from a file: no more than a part of them is looked at, at a time.
        progress: called with how many have been compared, and how many there are to compare.
    """
    if not len(thumbs):
        return np.zeros(0, np.int64)
    first, which = _equal(thumbs)
    forest = Forest(len(first))
    if len(first) >= 2:
        _join_near(Looks(thumbs, first), forest, progress)
    numbers: np.ndarray = forest.numbers()[which]
    return numbers


def _equal(thumbs: UInt8[np.ndarray, "n 32 32 c"]) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " n"]]:
    """The first of each kind of equal thumbnails, and each thumbnail's kind, numbered by their first ones."""
    digests = bytearray()
    for thumb in thumbs:
        digests += blake2b(np.ascontiguousarray(thumb).data, digest_size=16).digest()
    return equal_rows(np.frombuffer(digests, np.uint8).reshape(-1, 16))


def _join_near(looks: Looks, forest: Forest, progress: Callable[[int, int], None] | None) -> None:
    clear = np.flatnonzero(looks.contrast > FLAT)
    if len(clear) < 2:
        return
    looks = looks.some(clear)
    relative, absolute = reach(looks)
    either = np.maximum(relative, absolute)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, len(clear))

    for one, other, distance in candidates(looks, looks, either, either, advance):
        usual = distance <= np.minimum(relative[one], relative[other])
        tiny = distance <= np.minimum(absolute[one], absolute[other])
        for start in range(0, len(one), _LOOKED):
            part = slice(start, start + _LOOKED)
            ends = zip(clear[one[part]].tolist(), clear[other[part]].tolist(), strict=True)
            # Those that are together already need no second look: a film's frames would give millions of pairs.
            apart = np.array([forest.root(left) != forest.root(right) for left, right in ends], bool)
            keep = start + np.flatnonzero((usual | tiny)[part] & apart)
            result = compare(looks.images(one[keep]), looks.images(other[keep]))
            for place in keep[result.saved_again | (result.same_subject & usual[keep])]:
                forest.join(int(clear[one[place]]), int(clear[other[place]]))


def near_copy_groups(images: UInt8[np.ndarray, "n h w c"]) -> Int[np.ndarray, " n"]:
    """The group of each picture, from 0 on; near-copies, exact ones included, share one.

    Turned and mirrored pictures are not joined. Nearly uniform pictures are joined only where their thumbnails are equal.

    Args:
        images: all of one size, 1, 3 or 4 channels.
    """
    return groups_of(thumbnails(images))
