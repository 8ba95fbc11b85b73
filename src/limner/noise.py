"""Seed to random numbers: the one source of randomness, the same on every machine and in every language.

Philox-4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011) is a block cipher
in counter mode: number ``i`` is computed from ``(key, counter)`` alone, with no state to carry along. So a training resumes
exactly, micro-batches and processes draw the same noise however the work is split, and a port to another language needs
32-bit multiplication and nothing else.

The layout, which every port has to keep:

========= =============================================================
key       ``(seed & 0xFFFFFFFF, seed >> 32)``
counter   ``(block, index & 0xFFFFFFFF, index >> 32, stream)``
========= =============================================================

``stream`` says what the numbers are for, ``index`` is the global index of the sample (or the epoch), and ``block`` counts the
groups of four 32-bit words that one sample needs. Words ``w`` become uniforms by ``(w + 0.5) / 2**32`` (never 0, never 1), and
each pair of uniforms two normals by Box and Muller (1958), in float64, rounded once to float32.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt32

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


class Stream(IntEnum):
    """What numbers are drawn for. A value never changes its meaning: resumed runs and exported pages rely on it."""

    SAMPLE = 0
    """Latents of pictures that a user asks for: key = the picture's own seed, index 0."""
    TRAIN_LATENT = 1
    """Latents of a training, by global sample index."""
    DATA_ORDER = 2
    """The permutation of an epoch."""
    CROP = 3
    """Random crops, by global sample index."""
    AUGMENT = 4
    """Augmentation, by global sample index."""
    SPLIT = 5
    """The held-out split."""
    INIT = 6
    """Seeds of the weights' initial values."""
    TORCH = 7
    """Seeds of torch's own generator (dropout), by step."""
    PROCEDURAL = 8
    """The procedural collections, by image."""
    GRID = 9
    """Latents of the fixed grid that shows how a training goes on, by place in the grid."""
    EVALUATION = 10
    """Which real images an evaluation looks at."""
    MIX = 11
    """Places between a real and a generated image, by global sample index."""
    TURN = 12
    """Which real images are flipped and turned, by global sample index."""


def philox(
    counter: Sequence[UInt32[np.ndarray, "..."] | np.integer[Any] | int],
    key: Sequence[UInt32[np.ndarray, "..."] | np.integer[Any] | int],
) -> UInt32[np.ndarray, "... 4"]:
    """Encrypt counters with Philox-4x32-10.

    Args:
        counter: four arrays (or integers) of 32-bit words that broadcast against one another.
        key: two arrays (or integers) of 32-bit words that broadcast against the counters.

    Returns:
        four 32-bit words for each counter, along a new last axis.
    """
    c0, c1, c2, c3 = (np.asarray(word, dtype=np.uint64) for word in counter)
    k0, k1 = (
        np.asarray(word, dtype=np.uint64) for word in key
    )  # not of the counters' shape: they change in each round
    for _ in range(10):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + np.uint64(_WEYL[0])) & _LOW, (k1 + np.uint64(_WEYL[1])) & _LOW
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


def words(
    seed: int | Int[np.ndarray, "..."], stream: Stream, index: int | Int[np.ndarray, "..."], count: int
) -> UInt32[np.ndarray, "... count"]:
    """``count`` 32-bit words for each pair of seed and index.

    Args:
        seed: 0 to 2**64 - 1; an array broadcasts against ``index``.
        stream: what the numbers are for.
        index: 0 to 2**64 - 1, the global sample index, epoch or step.
        count: how many words each.
    """
    seeds, indices = np.broadcast_arrays(np.asarray(seed, dtype=np.uint64), np.asarray(index, dtype=np.uint64))
    seeds, indices = seeds[..., None], indices[..., None]
    blocks = np.arange(-(-count // 4), dtype=np.uint64)
    drawn = philox(
        (blocks, indices & _LOW, indices >> _SHIFT, np.uint64(int(stream))),
        (seeds & _LOW, seeds >> _SHIFT),
    )
    return drawn.reshape(*drawn.shape[:-2], 4 * len(blocks))[..., :count]


def uniform(
    seed: int | Int[np.ndarray, "..."], stream: Stream, index: int | Int[np.ndarray, "..."], count: int
) -> Float[np.ndarray, "... count"]:
    """``count`` float64 numbers strictly between 0 and 1 for each pair of seed and index (see :func:`words`)."""
    return (words(seed, stream, index, count) + 0.5) / 2.0**32


def normal(
    seed: int | Int[np.ndarray, "..."], stream: Stream, index: int | Int[np.ndarray, "..."], count: int
) -> Float[np.ndarray, "... count"]:
    """``count`` standard normal float32 numbers for each pair of seed and index (see :func:`words`).

    Numbers ``2 k`` and ``2 k + 1`` are ``r cos(t)`` and ``r sin(t)`` with ``r = sqrt(-2 ln u_2k)`` and ``t = 2 pi u_2k+1``.
    """
    u = uniform(seed, stream, index, 2 * (-(-count // 2)))
    radius, angle = np.sqrt(-2.0 * np.log(u[..., 0::2])), 2.0 * np.pi * u[..., 1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return pairs.reshape(*u.shape)[..., :count].astype(np.float32)


class Ahead:
    """Numbers of consecutive indices, drawn for many at a time: drawn for 8, an image's take three to five times as long.

    Args:
        draw: numbers by index, one row for each.
        portion: for how many they are drawn at once, at least.
    """

    def __init__(
        self, draw: Callable[[Int[np.ndarray, " n"]], Shaped[np.ndarray, "n ..."]], portion: int = 256
    ) -> None:
        self._draw, self._portion = draw, portion
        self._first, self._rows = 0, draw(np.arange(0))

    def __call__(self, first: int, count: int) -> Shaped[np.ndarray, "count ..."]:
        """Those of indices ``first`` to ``first + count``: an array of its own."""
        begin = first - self._first
        if not 0 <= begin <= len(self._rows) - count:
            self._first, begin = first, 0
            self._rows = self._draw(np.arange(first, first + max(count, self._portion)))
        return self._rows[begin : begin + count].copy()


def permutation(seed: int, stream: Stream, index: int, count: int) -> Int[np.ndarray, " count"]:
    """A random order of ``range(count)``: the ranks of 64-bit words, ties (practically none) in their first order."""
    drawn = words(seed, stream, index, 2 * count).astype(np.uint64)
    return np.argsort(drawn[0::2] << _SHIFT | drawn[1::2], kind="stable").astype(np.int64)


def sample_latents(seeds: Int[np.ndarray, " b"], size: int) -> Float[np.ndarray, "b size"]:
    """The latents of pictures that a user asks for: each picture has its own seed, and a seed is one picture for ever."""
    return normal(np.asarray(seeds), Stream.SAMPLE, 0, size)


def derived_seed(seed: int, stream: Stream, index: int) -> int:
    """A 63-bit seed for a generator that is not ours (torch's own), from a run's seed, a stream and an index."""
    low, high = (int(word) for word in words(seed, stream, index, 2))
    return (high << 32 | low) >> 1


def seed_of(word: str) -> int:
    """The seed of a word: the first 8 bytes, most significant first, of the SHA-256 of its UTF-8 form (normalised to NFC).

    The page in the browser does the same, so that a name is one picture everywhere.
    """
    digest = hashlib.sha256(unicodedata.normalize("NFC", word).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big")
