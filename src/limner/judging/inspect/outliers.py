"""Pictures that are unlike all others of their collection: few and convincing ones, or none."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

LEAST = 40
"""Of fewer pictures nobody can say what is usual."""
NEIGHBOUR = 3
"""Up to two pictures of a kind of their own are still outliers."""
FAR = 2.0
"""How far an outlier is from its third neighbour, as a multiple of what 99 of 100 pictures stay below."""
SHARE = 0.01
"""If more than this share stands out, the collection is of several kinds, and nothing is an outlier."""
_SAMPLE = 4096
_BLOCK = 1024


def find_outliers(thumbs: UInt8[np.ndarray, "n 32 32 c"], leave: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Numbers of pictures that stand out, the farthest first.

    What is compared: colours and light in four by four places, contrast, fine and coarse detail, colourfulness, coverage,
    each in units of its spread over the collection. The distance to the third-nearest picture tells whether one stands alone.

    Args:
        thumbs: as :func:`limner.data.copies.thumbnails` gives them.
        leave: pictures that are told otherwise (nearly uniform ones, copies), and neither judged nor compared with.
    """
    places = np.flatnonzero(~leave)
    if len(places) < LEAST:
        return np.zeros(0, np.int64)
    points = _features(thumbs, places)
    points -= np.median(points, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(points), axis=0), points.std(axis=0))
    points = (points / np.maximum(spread, 1e-3)).astype(np.float32)
    sample = points[:: max(1, len(points) // _SAMPLE)]
    squares = np.square(sample).sum(axis=1)
    distance = np.empty(len(points))
    for start in range(0, len(points), _BLOCK):
        part = points[start : start + _BLOCK]
        apart = np.square(part).sum(axis=1)[:, None] + squares - 2 * part @ sample.T
        distance[start : start + _BLOCK] = np.sqrt(np.maximum(np.partition(apart, NEIGHBOUR, axis=1)[:, NEIGHBOUR], 0))
    most = max(2, int(SHARE * len(points)))
    usual = np.sort(distance)[-1 - most]
    outside = np.flatnonzero(distance > FAR * usual)
    if len(outside) > most:
        return np.zeros(0, np.int64)
    found: Int[np.ndarray, " m"] = places[outside[np.argsort(-distance[outside], kind="stable")]]
    return found


def _features(thumbs: UInt8[np.ndarray, "n 32 32 c"], numbers: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m d"]:
    parts = []
    for start in range(0, len(numbers), _BLOCK):
        images = thumbs[numbers[start : start + _BLOCK]].astype(np.float32) / 255
        count, channels = len(images), images.shape[-1]
        colours = images[..., :3]
        grey = colours.mean(axis=-1)
        places = images.reshape(count, 4, 8, 4, 8, channels).mean(axis=(2, 4)).reshape(count, -1)
        fine = np.abs(np.diff(grey, axis=1)).mean((1, 2)) + np.abs(np.diff(grey, axis=2)).mean((1, 2))
        small = grey.reshape(count, 8, 4, 8, 4).mean(axis=(2, 4))
        coarse = np.abs(np.diff(small, axis=1)).mean((1, 2)) + np.abs(np.diff(small, axis=2)).mean((1, 2))
        chroma = np.ptp(colours, axis=-1)
        rest = [grey.std((1, 2)), fine, coarse, chroma.mean((1, 2)), chroma.std((1, 2))]
        weight = np.sqrt(places.shape[1] / len(rest)) / 2  # so that the many places do not drown the few others
        parts.append(np.concatenate([places, weight * np.stack(rest, axis=1)], axis=1))
    return np.concatenate(parts)
