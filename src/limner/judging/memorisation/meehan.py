"""The data-copying test of Meehan, Chaudhuri and Dasgupta (2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from limner.judging.distances.intervals import normal_below
from limner.judging.distances.neighbours import distances, nearest

MIN_HELD_OUT = 10
_PER_CELL = 20
_MOST_CELLS = 20


@dataclass(frozen=True)
class Meehan:
    """Attributes:
    statistic: C_T; well below 0 where generated images are nearer to training images than held-out ones are.
    p_value: of one as low by chance.
    cells: how many took part.
    """

    statistic: float
    p_value: float
    cells: int

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "statistic": float(f"{self.statistic:.6g}"),
            "p_value": float(f"{self.p_value:.6g}"),
            "cells": self.cells,
        }


def data_copying(
    generated: Float[np.ndarray, "g d"],
    train: Float[np.ndarray, "t d"],
    held_out: Float[np.ndarray, "h d"],
    *,
    seed: int = 0,
) -> Meehan | None:
    """C_T: are generated images nearer to the training images than held-out images are?

    The space is cut into cells by k-means of the training images. In each, the Mann-Whitney statistic of the distances to
    the cell's training images, as a normal score; then their mean, weighted by the share of held-out images in the cell
    (section 3.2 of the paper). The p value takes the scores of the cells for independent.

    It sees a copier that copies nearly always, and takes blurry images for copies, because these are near to
    everything; the verdict of :func:`limner.judging.memorisation.copying` does not rest on it.

    Returns:
        ``None`` with fewer than ten held-out, generated or training images, or no cell that has enough of them.
    """
    if min(len(generated), len(train), len(held_out)) < MIN_HELD_OUT:
        return None
    cells = max(1, min(_MOST_CELLS, len(held_out) // _PER_CELL, len(train) // _PER_CELL))
    centres = k_means(train, cells, seed)
    homes = [nearest(points, centres, 1)[1][:, 0] for points in (train, generated, held_out)]
    total, squares, weights, used = 0.0, 0.0, 0.0, 0
    for cell in range(cells):
        own, made, kept = (
            points[home == cell] for points, home in zip((train, generated, held_out), homes, strict=True)
        )
        if not len(own) or len(made) < 2 or len(kept) < 2:
            continue
        score = mann_whitney(nearest(made, own, 1)[0][:, 0], nearest(kept, own, 1)[0][:, 0])
        weight = len(kept) / len(held_out)
        total, squares, weights, used = total + weight * score, squares + weight**2, weights + weight, used + 1
    if not used:
        return None
    return Meehan(total / weights, normal_below(total / math.sqrt(squares)), used)


def mann_whitney(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]) -> float:
    """Mann and Whitney's U of ``first`` over ``second`` as a normal score, with the correction for ties; below 0 where the
    first are smaller. 0 where all are equal."""
    n, m = len(first), len(second)
    values, inverse, counts = np.unique(np.concatenate([first, second]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    u = float(ranks[:n].sum()) - n * (n + 1) / 2.0
    total = n + m
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / (total * (total - 1)) if total > 1 else 0.0
    variance = n * m / 12.0 * (total + 1 - ties)
    return (u - n * m / 2.0) / math.sqrt(variance) if variance > 0 and len(values) > 1 else 0.0


def k_means(points: Float[np.ndarray, "n d"], count: int, seed: int) -> Float[np.ndarray, "count d"]:
    """Lloyd's algorithm from k-means++ starts (Arthur and Vassilvitskii 2007)."""
    random = np.random.Generator(np.random.Philox(seed))
    points = points.astype(np.float64)
    centres = points[[int(random.integers(len(points)))]]
    while len(centres) < count:
        far = nearest(points, centres, 1)[0][:, 0] ** 2
        total = float(far.sum())
        if total <= 0.0:
            break
        centres = np.concatenate([centres, points[[int(random.choice(len(points), p=far / total))]]])
    home: Int[np.ndarray, " n"] = np.full(len(points), -1)
    for _ in range(30):
        moved = np.concatenate([squared.argmin(axis=1) for _, squared in distances(points, centres)])
        if np.array_equal(moved, home):
            break
        home = moved
        for cell in range(len(centres)):
            if (home == cell).any():
                centres[cell] = points[home == cell].mean(axis=0)
    return centres
