"""95 % intervals, and the few distributions that they and the tests need; no scipy at run time."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

_STANDARD = NormalDist()
Z95 = _STANDARD.inv_cdf(0.975)
"""Half of a 95 % interval, in standard errors."""


def wilson(count: float, total: float) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): inside 0 to 1, sound near both ends.

    Args:
        count: how many of ``total`` have the property; 0 to ``total``.
        total: above 0; need not be whole, for an effective number.
    """
    share, square = count / total, Z95**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = Z95 / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    low = 0.0 if count <= 0 else max(0.0, middle - half)
    return low, 1.0 if count >= total * (1.0 - 1e-12) else min(1.0, middle + half)


def around(
    value: float, variance: float, *, floor: float = -math.inf, ceiling: float = math.inf
) -> tuple[float, float]:
    """The normal 95 % interval of an estimate with this variance, cut to what the figure can be."""
    half = Z95 * math.sqrt(max(variance, 0.0))
    return max(floor, value - half), min(ceiling, value + half)


def variance_of_mean(values: Float[np.ndarray, " n"]) -> float:
    """Variance of the mean of independent values; 0 for fewer than two.

    Fed with the influence of each image on a figure it is the figure's variance by the infinitesimal jackknife (Jaeckel
    1972; Efron 1982, chapter 6): what the delta method gives, without a resample.
    """
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0


def normal_below(z: float) -> float:
    """Probability that a standard normal number is below ``z``."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def hypergeometric_at_most(count: int, marked: int, others: int, drawn: int) -> float:
    """Probability that at most ``count`` of ``drawn`` balls are marked, drawn without return from an urn.

    Args:
        count: at least 0.
        marked, others: what the urn holds.
        drawn: at most ``marked + others``.
    """
    low, high = max(0, drawn - others), min(marked, drawn)
    if count >= high:
        return 1.0
    whole = _log_choose(marked + others, drawn)
    terms = [math.exp(_log_choose(marked, i) + _log_choose(others, drawn - i) - whole) for i in range(low, count + 1)]
    return min(1.0, math.fsum(terms))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
