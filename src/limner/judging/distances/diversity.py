"""How different images are from one another."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from limner.judging.distances.intervals import Z95, variance_of_mean
from limner.judging.distances.neighbours import alike, distances
from limner.judging.figures import Figure

SIMILARITY = 0.1
"""Mean similarity of two different real images, by which the kernel's width is set: real images count as ten kinds."""
_WIDTH_FROM = 1000
_MEAN_FROM = 3000


def diversity(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]) -> Figure:
    """How many kinds of image are generated, as a share of the real ones': 1 is as diverse, 0 a constant.

    The number of kinds in a set is that of equally frequent, wholly different images with the same mean similarity between
    two images drawn from it, ``1 / E k(x, x')``: the similarity-sensitive diversity of order 2 (Leinster and Cobbold 2012),
    which is the Vendi score of that order (Pasarkar and Dieng 2023). Here k is Gaussian, its width such that two
    different real images have a mean similarity of 0.1, and the mean is over pairs of different images, so that the counts do
    not matter. What is returned is ``(kinds generated - 1) / (kinds real - 1)``.

    A mean pairwise distance would be simpler and is too blunt: a generator that has collapsed to five scattered images still
    has four fifths of it. Here it has about a third, and one that has collapsed to two images has a tenth.

    At most 3,000 images a side are used, at even steps. The interval is by the infinitesimal jackknife over both sides, on a
    logarithmic scale.

    Args:
        real, generated: features.

    Returns:
        0 or more, at most as if no two generated images were alike at all; nan with fewer than two images on a side or
        when all real images are the same.

    Raises:
        ValueError: not finite, or of different widths.
    """
    real, generated = alike(real, generated)
    n, m = len(real), len(generated)
    if min(n, m) < 2:
        return Figure(math.nan, real=n, generated=m)
    width = _width(real)
    if width <= 0.0:
        return Figure(math.nan, real=n, generated=m)
    some, others = _at_most(real, _MEAN_FROM), _at_most(generated, _MEAN_FROM)
    mine, theirs = _similarities(some, width), _similarities(others, width)
    # So many images cannot be seen to be of more kinds.
    similar_real, similar = float(mine.mean()), min(1.0, max(float(theirs.mean()), 1.0 / len(others)))
    kinds_real, kinds = 1.0 / similar_real - 1.0, 1.0 / similar - 1.0
    if kinds_real <= 0.0:
        return Figure(math.nan, real=n, generated=m)
    value = kinds / kinds_real
    if kinds < 1e-9:  # all the same: any sample of such a generator would say so
        return Figure(0.0, 0.0, 0.0, len(some), len(others))
    # d log(1/s - 1) = -ds / (s (1 - s)), and the influence of an image on a mean over pairs is twice its own mean.
    variance = sum(
        variance_of_mean(2.0 * rows) / (level * (1.0 - level)) ** 2
        for rows, level in ((mine, similar_real), (theirs, similar))
    )
    if min(len(some), len(others)) < 3:  # one pair has no spread to be known by
        return Figure(value, None, None, len(some), len(others))
    spread = math.exp(min(50.0, Z95 * math.sqrt(variance)))
    return Figure(value, value / spread, value * spread, len(some), len(others))


def of_a_faithful_one(count: int) -> float:
    """The diversity of a generator that draws so many real images, and nothing else, equally often: 1 of very many.

    Of few it is much less, because pairs of one image with itself come up among what is generated, and are left out among real
    images: 0.29 of five, 0.66 of twenty.
    """
    alike = 1.0 / count + (1.0 - 1.0 / count) * SIMILARITY
    return (1.0 / alike - 1.0) / (1.0 / SIMILARITY - 1.0)


def _similarities(values: Float[np.ndarray, "n d"], width: float) -> Float[np.ndarray, " n"]:
    """Mean similarity of each image to the others."""
    rows = np.empty(len(values))
    for chunk, squared in distances(values, values):
        np.exp(squared * (-1.0 / width), out=squared)
        own = squared[np.arange(len(squared)), np.arange(chunk.start, chunk.stop)]
        rows[chunk] = squared.sum(axis=1) - own
    return rows / (len(values) - 1)


def _at_most(values: Float[np.ndarray, "n d"], count: int) -> Float[np.ndarray, "k d"]:
    return np.asarray(values[np.linspace(0, len(values) - 1, min(len(values), count)).round().astype(int)])


def _width(real: Float[np.ndarray, "n d"]) -> float:
    """The squared distance at which similarity is 1/e; by bisection, on at most a thousand images."""
    some = _at_most(real, _WIDTH_FROM)
    pairs = np.concatenate([squared for _, squared in distances(some, some)])[~np.eye(len(some), dtype=bool)]
    middle = float(np.mean(pairs))
    if middle <= 1e-24 * float(np.mean(real**2)):
        return 0.0
    low, high = math.log(middle) - 12.0, math.log(middle) + 12.0
    for _ in range(30):
        at = (low + high) / 2.0
        low, high = (at, high) if float(np.exp(pairs * -math.exp(-at)).mean()) < SIMILARITY else (low, at)
    return math.exp((low + high) / 2.0)
