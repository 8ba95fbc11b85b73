"""The kernel distance between two sets of features."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from limner.judging.distances.intervals import around
from limner.judging.distances.neighbours import alike
from limner.judging.figures import Figure

_ROWS = 512
_MANY = 4000
"""From so many images on a side the kernel is computed in float32: its rounding, some 1e-7 of an entry, averages out."""


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of a kernel matrix: the means of its rows and columns, and the mean of its squares."""

    rows: Float[np.ndarray, " n"]
    columns: Float[np.ndarray, " m"]
    square: float

    @property
    def mean(self) -> float:
        return float(self.rows.mean())

    @property
    def rest(self) -> float:
        """Variance of what is left of an entry when the means of its row and its column are taken away."""
        overall = self.mean**2
        rest = self.square - float(self.rows @ self.rows) / len(self.rows)
        return max(0.0, rest - float(self.columns @ self.columns) / len(self.columns) + overall)


def kernel_distance(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"], *, degree: int = 3) -> Figure:
    """The squared maximum mean discrepancy with the kernel ``(x.y / d + 1)^3``, unbiased: KID for Inception features.

    Binkowski et al. 2018, section 4, with the estimator of Gretton et al. 2012, equation 3, over all pairs rather than
    over subsets: all images are used, nothing is drawn. Its expectation is 0 for equal distributions whatever the
    counts, so it is below 0 about half of the time then, and is left so.

    The interval is normal with the variance of a two-sample U-statistic, both its parts. The variance of the images'
    own contributions, over the count, holds the first part and twice the second (Efron and Stein 1981); the second
    is estimated by itself from the doubly centred kernel and taken off once. Only where an interval is wanted from
    fewer than four images a side is there none.

    Args:
        real, generated: features; scaled so that their mean squared entry is about 1, or the kernel is nearly linear.
        degree: of the polynomial.

    Returns:
        nan with fewer than two images on a side.

    Raises:
        ValueError: not finite, or of different widths.
    """
    real, generated = alike(real, generated)
    n, m = len(real), len(generated)
    if min(n, m) < 2:
        return Figure(math.nan, real=n, generated=m)
    if max(n, m) > _MANY:
        real, generated = real.astype(np.float32), generated.astype(np.float32)
    xx, yy, xy = _within(real, degree), _within(generated, degree), _between(real, generated, degree)
    value = xx.mean + yy.mean - 2.0 * xy.mean
    if min(n, m) < 4:
        return Figure(value, real=n, generated=m)
    both = (2.0 * (xx.rows - xy.rows)).var(ddof=1) / n + (2.0 * (yy.rows - xy.columns)).var(ddof=1) / m
    second = 2.0 * xx.rest / (n * (n - 1)) + 2.0 * yy.rest / (m * (m - 1)) + 4.0 * xy.rest / (n * m)
    low, high = around(value, max(float(both) - second, second))
    return Figure(value, low, high, n, m)


def _within(values: Float[np.ndarray, "n d"], degree: int) -> _Sums:
    """Of a set with itself, without the diagonal; each pair is computed once."""
    count, width = values.shape
    rows, square = np.zeros(count), 0.0
    for start in range(0, count, _ROWS):
        stop = min(start + _ROWS, count)
        kernel = _kernel(values[start:stop], values[start:], width, degree)
        own = kernel[:, : stop - start]
        np.fill_diagonal(own, 0.0)
        rows[start:stop] += kernel.sum(axis=1, dtype=np.float64)
        rows[stop:] += kernel[:, stop - start :].sum(axis=0, dtype=np.float64)
        square += 2.0 * _squares(kernel) - _squares(own)
    rows /= count - 1
    return _Sums(rows, rows, square / (count * (count - 1)))


def _between(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m d"], degree: int) -> _Sums:
    rows, columns, square = np.zeros(len(first)), np.zeros(len(second)), 0.0
    for start in range(0, len(first), _ROWS):
        kernel = _kernel(first[start : start + _ROWS], second, first.shape[1], degree)
        rows[start : start + _ROWS] = kernel.mean(axis=1, dtype=np.float64)
        columns += kernel.sum(axis=0, dtype=np.float64)
        square += _squares(kernel)
    return _Sums(rows, columns / len(first), square / (len(first) * len(second)))


def _squares(kernel: Float[np.ndarray, "n m"]) -> float:
    return float(np.einsum("ij,ij->i", kernel, kernel).sum(dtype=np.float64))


def _kernel(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m d"], width: int, degree: int
) -> Float[np.ndarray, "n m"]:
    base = first @ second.T
    base /= width
    base += 1.0
    result: np.ndarray = base.copy()
    for _ in range(degree - 1):
        result *= base
    return result
