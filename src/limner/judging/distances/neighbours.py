"""Nearest neighbours by brute force in chunks: exact, and quick enough for some ten thousand images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

_CHUNK = 2_000_000
"""Distances held at a time: 16 MB of them, so that they stay near the processor."""
_SEARCH = 4_000_000
"""From so many pairs on neighbours are searched in float32; their distances are float64 all the same."""


def distances(
    queries: Float[np.ndarray, "q d"], points: Float[np.ndarray, "p d"], dtype: type[np.floating[Any]] = np.float64
) -> Iterator[tuple[slice, Float[np.ndarray, "chunk p"]]]:
    """Squared Euclidean distances of all queries to all points, some queries at a time.

    They come from ``|q|^2 + |p|^2 - 2 q.p`` after the points' mean is taken away, so equal vectors are about ``1e-15`` of their
    squared length apart in float64, ``1e-7`` in float32, rather than exactly 0; never below.

    Yields:
        which queries, and their distances.
    """
    centre = points.mean(axis=0, dtype=np.float64) if len(points) else np.zeros(points.shape[1])
    points = (points - centre).astype(dtype)
    lengths = np.einsum("pd,pd->p", points, points)
    step = max(1, _CHUNK // max(1, len(points)))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        chunk = (queries[rows] - centre).astype(dtype)
        squared = chunk @ points.T
        squared *= -2.0
        squared += np.einsum("qd,qd->q", chunk, chunk)[:, None]
        squared += lengths
        np.maximum(squared, 0.0, out=squared)
        yield rows, squared


def nearest(
    queries: Float[np.ndarray, "q d"],
    points: Float[np.ndarray, "p d"],
    count: int,
    *,
    query_groups: Int[np.ndarray, " q"] | None = None,
    point_groups: Int[np.ndarray, " p"] | None = None,
) -> tuple[Float[np.ndarray, "q count"], Int[np.ndarray, "q count"]]:
    """The nearest points of each query, nearest first, those of its own group left out.

    Args:
        queries, points: finite.
        count: how many; at least 1.
        query_groups, point_groups: numbers; a query never finds a point of its own group. For the neighbours of a set
            among itself give both the numbers 0 to n - 1.

    Returns:
        Euclidean distances, recomputed from the differences (so that equal vectors are 0 apart), and indices into
        ``points``. Where fewer than ``count`` are to be found, the distance is infinite and the index -1.
    """
    found = np.full((len(queries), count), np.inf)
    where = np.full((len(queries), count), -1, dtype=np.int64)
    have = min(count, len(points))
    if not have:
        return found, where
    grouped = query_groups is not None and point_groups is not None
    dtype = np.float64 if len(queries) * len(points) < _SEARCH else np.float32
    for rows, squared in distances(queries, points, dtype):
        if grouped:
            assert query_groups is not None and point_groups is not None
            squared[query_groups[rows, None] == point_groups] = np.inf
        if have < len(points):
            best = np.argpartition(squared, have - 1, axis=1)[:, :have]
        else:
            best = np.broadcast_to(np.arange(have), squared.shape).copy()
        kept = np.isfinite(np.take_along_axis(squared, best, axis=1))
        exact = np.empty(best.shape)
        for place in range(have):  # a gather of all neighbours at once would hold q * count * d numbers
            difference = queries[rows].astype(np.float64) - points[best[:, place]]
            exact[:, place] = np.sqrt(np.einsum("qd,qd->q", difference, difference))
        exact[~kept] = np.inf
        order = np.argsort(exact, axis=1, kind="stable")
        found[rows, :have] = np.take_along_axis(exact, order, axis=1)
        where[rows, :have] = np.where(
            np.take_along_axis(kept, order, axis=1), np.take_along_axis(best, order, axis=1), -1
        )
    return found, where


def finite(name: str, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """The features in float64.

    Raises:
        ValueError: they are no matrix, or not all are finite.
    """
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"{name} features must be [n, d] with d at least 1, not {list(values.shape)}")
    good: Bool[np.ndarray, " n"] = np.asarray(np.isfinite(values).all(axis=1))
    if not good.all():
        raise ValueError(
            f"{name} features: {int((~good).sum())} of {len(values)} rows hold something that is no number"
        )
    return values


def alike(
    real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """Both in float64.

    Raises:
        ValueError: not finite, no matrices, or of different widths.
    """
    real, generated = finite("real", real), finite("generated", generated)
    if real.shape[1] != generated.shape[1]:
        raise ValueError(f"real features have {real.shape[1]} columns, generated ones {generated.shape[1]}")
    return real, generated
