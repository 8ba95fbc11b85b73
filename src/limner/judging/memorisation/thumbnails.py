"""Small smoothed copies of images, and distances between them that forgive a shift."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int, UInt8

SIDE = 32
"""Cells along the longer side."""
REACH = 1
"""Cells by which one thumbnail may be moved against another."""
_COARSE = 8
_CONTRAST = 0.02
_TAPS = np.array([1, 4, 6, 4, 1], dtype=np.float32) / np.float32(16)


def thumbnails(images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n y x c"]:
    """Images as at most 32 x 32 cells, smoothed, and normalised in brightness and contrast, each by itself.

    The longer side becomes 32 cells (or stays, when shorter), the other is in proportion; a cell is the mean of the area it
    covers. ``[1 4 6 4 1] / 16`` then smooths both ways. Colours are multiplied by alpha, which stays as a channel. What a
    generator that copies gets wrong, noise, softness, brightness, contrast, compression, changes little of all this.

    Args:
        images: any size, 1, 3 or 4 channels.

    Returns:
        float32; mean 0 and deviation 1 in each image (less where it is nearly flat).
    """
    count, height, width, channels = images.shape
    scale = min(1.0, SIDE / max(height, width))
    rows, columns = _means(height, max(1, round(height * scale))), _means(width, max(1, round(width * scale)))
    small = np.empty((count, len(rows), len(columns), channels), dtype=np.float32)
    step = max(1, (1 << 21) // max(1, height * width * channels))
    for start in range(0, count, step):
        chunk = images[start : start + step].astype(np.float32) / np.float32(255.0)
        if channels == 4:
            chunk[..., :3] *= chunk[..., 3:]
        if (len(rows), len(columns)) != (height, width):
            chunk = np.einsum("xw,nhwc->nhxc", columns, chunk, optimize=True)
            chunk = np.einsum("yh,nhxc->nyxc", rows, chunk, optimize=True)
        cells = _smoothed(_smoothed(chunk, 1), 2)
        cells -= cells.mean(axis=(1, 2, 3), keepdims=True)
        small[start : start + step] = cells / (cells.std(axis=(1, 2, 3), keepdims=True) + np.float32(_CONTRAST))
    return small


def _means(size: int, cells: int) -> Float[np.ndarray, "cells size"]:
    """Which share of each cell each pixel has."""
    edges = np.arange(cells + 1) * (size / cells)
    places = np.arange(size)
    shares = np.minimum(places + 1, edges[1:, None]) - np.maximum(places, edges[:-1, None])
    return np.asarray((np.maximum(shares, 0.0) * (cells / size)).astype(np.float32))


def _smoothed(values: Float[np.ndarray, "n y x c"], axis: int) -> Float[np.ndarray, "n y x c"]:
    margins = [(0, 0)] * 4
    margins[axis] = (2, 2)
    padded, size = np.moveaxis(np.pad(values, margins, mode="edge"), axis, 0), values.shape[axis]
    result = padded[:size] * _TAPS[0]
    for i in range(1, 5):
        result += padded[i : i + size] * _TAPS[i]
    return np.moveaxis(result, 0, axis)


def coarse(small: Float[np.ndarray, "n y x c"]) -> Float[np.ndarray, "n k"]:
    """Thumbnails at about 8 x 8 cells, as vectors: cheap enough to look through all of them."""
    count, height, width, _ = small.shape
    scale = min(1.0, _COARSE / max(height, width))
    rows, columns = _means(height, max(1, round(height * scale))), _means(width, max(1, round(width * scale)))
    cells = np.einsum("yh,nhwc,xw->nyxc", rows, small, columns, optimize=True)
    return np.asarray(cells.reshape(count, math.prod(cells.shape[1:])))


def aligned(
    queries: Float[np.ndarray, "q y x c"],
    points: Float[np.ndarray, "p y x c"],
    candidates: Int[np.ndarray, "q k"],
) -> Float[np.ndarray, "q k"]:
    """Distances of thumbnails to some others, each at the best of nine shifts by up to one cell.

    Args:
        queries, points: what :func:`thumbnails` gives.
        candidates: for each query which points; -1 for none.

    Returns:
        root mean square differences over the cells that are compared at all shifts: 0 for the same image, about 1.4
        (the root of 2) for unrelated ones; infinite for none.
    """
    height, width = points.shape[1:3]
    down, across = (min(REACH, (size - 1) // 2) for size in (height, width))
    middle = np.ascontiguousarray(points[:, down : height - down, across : width - across])
    size = middle[0].size if len(middle) else 1
    middle = middle.reshape(len(points), size)
    lengths = np.einsum("pk,pk->p", middle, middle)
    found = np.empty(candidates.shape)
    shifts = [(y, x) for y in range(2 * down + 1) for x in range(2 * across + 1)]
    step = max(1, (1 << 22) // (size * max(1, candidates.shape[1])))
    for start in range(0, len(queries), step):
        some, wanted = queries[start : start + step], candidates[start : start + step]
        moved = np.stack(
            [
                some[:, y : y + height - 2 * down, x : x + width - 2 * across].reshape(len(some), size)
                for y, x in shifts
            ],
            axis=1,
        )
        products = np.matmul(moved, middle[wanted].transpose(0, 2, 1))
        squared = np.einsum("qsk,qsk->qs", moved, moved)[:, :, None] + lengths[wanted][:, None, :] - 2.0 * products
        found[start : start + step] = np.sqrt(np.maximum(squared.min(axis=1), 0.0) / size)
    found[candidates < 0] = np.inf
    return found
