"""The Frechet distance between two sets of features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from limner.judging.distances.intervals import around, variance_of_mean
from limner.judging.distances.neighbours import finite
from limner.judging.figures import Figure


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and covariance of features: all that the Frechet distance needs to know of a set.

    Attributes:
        mean: ``[d]``, float64.
        covariance: ``[d, d]``, with ``count - 1`` below the line.
        count: of how many images.
    """

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]
    count: int

    @classmethod
    def of(cls, features: Float[np.ndarray, "n d"]) -> Statistics:
        """Of these features; one image has no spread, its covariance is 0.

        Raises:
            ValueError: not finite, or none.
        """
        values = finite("real", features)
        if not len(values):
            raise ValueError("no features to take statistics of")
        mean = values.mean(axis=0)
        centred = values - mean
        return cls(mean, centred.T @ centred / max(1, len(values) - 1), len(values))

    def arrays(self) -> dict[str, np.ndarray]:
        """For a cache: three arrays."""
        return {"mean": self.mean, "covariance": self.covariance, "count": np.array(self.count)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Statistics:
        """What :meth:`arrays` gave.

        Raises:
            KeyError, ValueError: it is something else.
        """
        mean = np.asarray(arrays["mean"], dtype=np.float64)
        covariance = np.asarray(arrays["covariance"], dtype=np.float64)
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise ValueError(f"mean {list(mean.shape)} and covariance {list(covariance.shape)} do not go together")
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise ValueError("statistics that are no numbers")
        return cls(mean, covariance, int(arrays["count"]))


@dataclass(frozen=True, eq=False)
class _Side:
    """A Gaussian as mean and the scaled axes of its covariance, ``covariance = axes diag(scales^2) axes^T``."""

    mean: Float[np.ndarray, " d"]
    axes: Float[np.ndarray, "d r"]
    scales: Float[np.ndarray, " r"]
    count: int
    features: Float[np.ndarray, "n d"] | None

    def influence(
        self, other: _Side, left: Float[np.ndarray, "r k"], singular: Float[np.ndarray, " k"]
    ) -> Float[np.ndarray, " n"]:
        """What each image adds to the distance: its derivative by the image's weight, but for a constant.

        With T the optimal transport map from this Gaussian to the other one, that is 2 (m - m').c + |c|^2 - c^T T c for
        the centred image c (Rippl, Munk and Sturm 2016). T is never formed: in whitened coordinates it is U S U^T of the
        singular values that the distance has needed anyway, which is well defined with fewer images than dimensions.
        """
        assert self.features is not None
        centred = self.features - self.mean
        white = (centred @ self.axes) / self.scales
        moved = (white @ left) ** 2 @ singular
        lengths = np.einsum("nd,nd->n", centred, centred)
        return np.asarray(2.0 * centred @ (self.mean - other.mean) + lengths - moved)


def frechet_distance(
    real: Float[np.ndarray, "n d"] | Statistics,
    generated: Float[np.ndarray, "m d"] | Statistics,
    *,
    real_statistics: Statistics | None = None,
) -> Figure:
    """The squared 2-Wasserstein distance of two Gaussians with the features' means and covariances: FID for Inception.

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`` (Dowson and Landau 1982; Heusel et al. 2017, equation 6). The last trace is
    the sum of the singular values of ``A1^T A2`` for any ``A`` with ``A A^T = S``, so no root of a matrix that is not
    symmetric is taken, and sets smaller than d work as they are.

    It is biased upwards, the more the fewer the images are: compare it at equal counts only. The interval is about what
    other images of the same two sources would give at the same counts, by the infinitesimal jackknife; a bootstrap would be
    off, for a resample with its repetitions has a larger bias still. A side given as :class:`Statistics` adds nothing to it.

    Args:
        real, generated: features, or their statistics.
        real_statistics: of ``real``, where they are known already.

    Returns:
        value, 0 or more, in squared units of the features; nan with fewer than two images on a side.

    Raises:
        ValueError: not finite, or of different widths.
    """
    counts = {"real": _count(real), "generated": _count(generated)}
    first, second = _side("real", real, real_statistics), _side("generated", generated, None)
    if len(first.mean) != len(second.mean):
        raise ValueError(f"real features have {len(first.mean)} columns, generated ones {len(second.mean)}")
    if min(counts.values()) < 2:
        return Figure(math.nan, **counts)
    cross = (first.scales[:, None] * (first.axes.T @ second.axes)) * second.scales
    left, singular, right = np.linalg.svd(cross, full_matrices=False)
    step = first.mean - second.mean
    value = float(step @ step + first.scales @ first.scales + second.scales @ second.scales - 2.0 * singular.sum())
    value = max(0.0, value)
    variance, known = 0.0, False
    for side, other, vectors in ((first, second, left), (second, first, right.T)):
        if side.features is not None:
            variance += variance_of_mean(side.influence(other, vectors, singular))
            known = True
    low, high = around(value, variance, floor=0.0) if known else (None, None)
    return Figure(value, low, high, **counts)


def _count(side: Float[np.ndarray, "n d"] | Statistics) -> int:
    return side.count if isinstance(side, Statistics) else len(side)


def _side(name: str, given: Float[np.ndarray, "n d"] | Statistics, known: Statistics | None) -> _Side:
    features = None if isinstance(given, Statistics) else finite(name, given)
    if isinstance(given, Statistics):
        known = given
    if features is not None and known is not None and known.mean.shape != features.shape[1:]:
        raise ValueError(f"{name} statistics have {len(known.mean)} columns, the features {features.shape[1]}")
    if features is not None and (len(features) <= features.shape[1] or len(features) < 2):
        return _few(features)
    if known is None:
        assert features is not None
        known = Statistics.of(features)
    squares, axes = np.linalg.eigh(known.covariance)
    return _kept(known.mean, axes, np.sqrt(np.maximum(squares, 0.0)), known.count, features)


def _few(features: Float[np.ndarray, "n d"]) -> _Side:
    """Fewer images than dimensions: the singular values of the images themselves are cheaper and more exact."""
    if not len(features):
        return _Side(np.zeros(features.shape[1]), np.zeros((features.shape[1], 0)), np.zeros(0), 0, features)
    mean = features.mean(axis=0)
    centred = (features - mean) / math.sqrt(max(1, len(features) - 1))
    _, scales, axes = np.linalg.svd(centred, full_matrices=False)
    return _kept(mean, axes.T, scales, len(features), features)


def _kept(
    mean: Float[np.ndarray, " d"],
    axes: Float[np.ndarray, "d r"],
    scales: Float[np.ndarray, " r"],
    count: int,
    features: Float[np.ndarray, "n d"] | None,
) -> _Side:
    """Without the axes that hold nothing but rounding: dividing by their scale would make noise of it."""
    kept = scales > 1e-8 * max(float(scales.max(initial=0.0)), 1e-150)
    return _Side(mean, axes[:, kept], scales[kept], count, features)
