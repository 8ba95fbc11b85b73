"""The sliced Wasserstein distance between the local structure of two sets of images; no network."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int, UInt8

from limner.judging.distances.intervals import around, variance_of_mean
from limner.judging.figures import Figure

PATCH = 7
"""Pixels on a side; Karras et al. 2018."""
_MARGIN = 2
_DESCRIPTORS = 4096
_DIRECTIONS = 48
_COARSEST = 8
_TAPS = np.array([1, 4, 6, 4, 1], dtype=np.float32) / np.float32(16)
_BYTES = 1 << 26
"""Pixels that are looked at in each set; of large images only some are."""


def sliced_wasserstein(
    real: UInt8[np.ndarray, "n h w c"], generated: UInt8[np.ndarray, "m h w c"], seed: int = 0
) -> Figure:
    """Mean Wasserstein distance, over scales and random directions, between patches of two sets of images.

    After Karras et al. 2018, section 5: patches of 7 x 7 pixels from the levels of a Laplacian pyramid, projected on random
    directions, where the distance between two samples is the mean difference of their sorted values (Rabin et al. 2011).
    Levels halve the size for as long as a side of 8 is left. Each but the last is the image less its own blur by
    ``[1 4 6 4 1] / 16`` (Burt and Adelson's kernel), computed around the chosen patches only; the last is the image itself.

    What differs: patches of both sets are divided by the **real** set's mean and deviation in each channel, not each set by its
    own, so that a wrong brightness or contrast counts; and the mean over levels is in units of these deviations. Colours
    are multiplied by alpha, which stays as a channel.

    The value is above 0 even for equal distributions (some 0.03 at 2,000 images of 64 x 64): compare at equal counts. The
    interval is by the infinitesimal jackknife over both sides' images; the influence of a value is its Kantorovich potential.

    Args:
        real, generated: of one size of at least 8 x 8 and 1, 3 or 4 channels; counts may differ.
        seed: which patches and directions.

    Returns:
        0 or more; nan where a side has no image, no interval with fewer than two.

    Raises:
        ValueError: other shapes, or shapes that differ.
    """
    n, m = len(real), len(generated)
    for name, images in (("real", real), ("generated", generated)):
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] not in (1, 3, 4):
            raise ValueError(f"{name} images must be uint8 [n, h, w, 1, 3 or 4], not {images.dtype} {images.shape}")
    if real.shape[1:] != generated.shape[1:]:
        raise ValueError(f"real images are {real.shape[1:]}, generated ones {generated.shape[1:]}")
    if min(real.shape[1:3]) < _COARSEST:
        raise ValueError(f"images must be at least {_COARSEST} x {_COARSEST}, not {real.shape[1]} x {real.shape[2]}")
    if not min(n, m):
        return Figure(math.nan, real=n, generated=m)
    random = np.random.Generator(np.random.Philox(seed))
    mine, theirs = _some(real, random), _some(generated, random)
    totals, influences = [], []
    levels = int(math.log2(min(real.shape[1:3]) / _COARSEST)) + 1
    pyramids = [_levels(images, levels, random) for images in (mine, theirs)]
    for level in range(levels):
        value, one, two = _level(pyramids[0][level], pyramids[1][level], len(mine), len(theirs), random)
        totals.append(value)
        influences.append((one, two))
    value = float(np.mean(totals))
    if min(len(mine), len(theirs)) < 2:
        return Figure(value, real=n, generated=m)
    variance = sum(variance_of_mean(np.mean([pair[side] for pair in influences], axis=0)) for side in (0, 1))
    return Figure(value, *around(value, variance, floor=0.0), n, m)


def _some(images: UInt8[np.ndarray, "n h w c"], random: np.random.Generator) -> UInt8[np.ndarray, "k h w c"]:
    """At most as many as there are patches, and not too many pixels in all."""
    most = max(16, min(_DESCRIPTORS, _BYTES // int(np.prod(images.shape[1:]))))
    if len(images) <= most:
        return images
    return np.asarray(images[np.sort(random.choice(len(images), most, replace=False))])


def _levels(
    images: UInt8[np.ndarray, "n h w c"], levels: int, random: np.random.Generator
) -> list[tuple[Float[np.ndarray, "p v"], Int[np.ndarray, " p"]]]:
    """For each level the patches and which image each is from."""
    current = _plain(images)
    found = []
    for level in range(levels):
        found.append(_patches(current, band=level < levels - 1, random=random))
        if level < levels - 1:
            height, width = current.shape[1] // 2 * 2, current.shape[2] // 2 * 2
            current = (
                current[:, 0:height:2, 0:width:2]
                + current[:, 1:height:2, 0:width:2]
                + current[:, 0:height:2, 1:width:2]
                + current[:, 1:height:2, 1:width:2]
            ) * np.float32(0.25)
    return found


def _plain(images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n h w c"]:
    values = images.astype(np.float32) * np.float32(1.0 / 255.0)
    if values.shape[3] == 4:
        values[..., :3] *= values[..., 3:]
    return values


def _patches(
    images: Float[np.ndarray, "n h w c"], band: bool, random: np.random.Generator
) -> tuple[Float[np.ndarray, "p v"], Int[np.ndarray, " p"]]:
    """As many from each image, at random places; ``band``: of the image less its blur."""
    count, height, width, channels = images.shape
    owners = np.repeat(np.arange(count), max(1, _DESCRIPTORS // count))
    down = (random.random(len(owners)) * (height - PATCH + 1)).astype(np.int64)
    across = (random.random(len(owners)) * (width - PATCH + 1)).astype(np.int64)
    margin = _MARGIN if band else 0
    reach = np.arange(-margin, PATCH + margin)
    rows = _mirrored(down[:, None] + reach, height)
    columns = _mirrored(across[:, None] + reach, width)
    windows = images[owners[:, None, None], rows[:, :, None], columns[:, None, :]]
    if band:
        middle = windows[:, margin:-margin, margin:-margin]
        windows = middle - _blurred(windows)
    return windows.reshape(len(owners), PATCH * PATCH * channels), owners


def _mirrored(places: Int[np.ndarray, "..."], size: int) -> Int[np.ndarray, "..."]:
    """Places outside 0 to ``size - 1`` reflected at the edge pixels."""
    places = np.abs(places)
    return np.asarray(np.where(places >= size, 2 * (size - 1) - places, places))


def _blurred(windows: Float[np.ndarray, "p a b c"]) -> Float[np.ndarray, "p a-4 b-4 c"]:
    size = windows.shape[1] - 4
    down = windows[:, :size] * _TAPS[0]
    for i in range(1, 5):
        down += windows[:, i : i + size] * _TAPS[i]
    both = down[:, :, :size] * _TAPS[0]
    for i in range(1, 5):
        both += down[:, :, i : i + size] * _TAPS[i]
    return np.asarray(both)


def _level(
    mine: tuple[Float[np.ndarray, "p v"], Int[np.ndarray, " p"]],
    theirs: tuple[Float[np.ndarray, "q v"], Int[np.ndarray, " q"]],
    count: int,
    other_count: int,
    random: np.random.Generator,
) -> tuple[float, Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
    """The distance at one level, and each image's influence on it."""
    channels = mine[0].shape[1] // PATCH**2
    first, second = (patches.reshape(-1, PATCH**2, channels) for patches, _ in (mine, theirs))
    mean, deviation = first.mean(axis=(0, 1)), first.std(axis=(0, 1))
    # A channel in which real images never differ is measured in steps of a pixel value.
    scale = np.maximum(deviation, 1.0 / 255.0)
    one = ((first - mean) / scale).reshape(len(first), -1)
    two = ((second - mean) / scale).reshape(len(second), -1)
    directions = random.standard_normal((one.shape[1], _DIRECTIONS)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    total = 0.0
    influence, other_influence = np.zeros(len(first)), np.zeros(len(second))
    for a, b in zip((one @ directions).T, (two @ directions).T, strict=True):
        distance, potential = transport(a.astype(np.float64), b.astype(np.float64))
        total += distance
        influence += potential[: len(a)]
        other_influence -= potential[len(a) :]
    per_image = np.bincount(mine[1], influence, count) / np.bincount(mine[1], minlength=count)
    per_other = np.bincount(theirs[1], other_influence, other_count) / np.bincount(theirs[1], minlength=other_count)
    return total / _DIRECTIONS, per_image / _DIRECTIONS, per_other / _DIRECTIONS


def transport(
    first: Float[np.ndarray, " p"], second: Float[np.ndarray, " q"]
) -> tuple[float, Float[np.ndarray, " p+q"]]:
    """The 1-Wasserstein distance of two samples of numbers, the area between their distribution functions.

    Returns:
        the distance, and the Kantorovich potential at the values of both, up to a constant: the distance is the mean of
        the potential over the first sample less that over the second.
    """
    values = np.concatenate([first, second])
    order = np.argsort(values, kind="stable")
    steps = np.where(order < len(first), 1.0 / len(first), -1.0 / len(second))
    gap = np.cumsum(steps)[:-1]
    lengths = np.diff(values[order])
    potential = np.empty(len(values))
    # Mass to the left of x in excess has to travel right: the potential falls there, and rises where it is lacking.
    potential[order] = np.concatenate([[0.0], np.cumsum(-np.sign(gap) * lengths)])
    return float(np.abs(gap) @ lengths), potential
