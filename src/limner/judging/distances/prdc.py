"""Precision, recall, density and coverage: do the generated images lie where the real ones are, and everywhere there?

Each set's support is estimated by balls around its points that reach to the k-th nearest other point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from limner.judging.distances.intervals import around, variance_of_mean, wilson
from limner.judging.distances.neighbours import alike, distances, nearest
from limner.judging.figures import Figure

PRECISION_K = 3
"""Kynkaanniemi et al. 2019, section 3."""
DENSITY_K = 5
"""Naeem et al. 2020, section 4."""


@dataclass(frozen=True, eq=False)
class Cover:
    """Which points lie in the balls around centres.

    Attributes:
        inside: for each point, in how many balls it lies.
        holds: for each centre, how many points its ball holds.
        less: how many pairs of point and ball are lost without each centre, other balls growing.
    """

    inside: Int[np.ndarray, " p"]
    holds: Int[np.ndarray, " c"]
    less: Float[np.ndarray, " c"]


def cover(centres: Float[np.ndarray, "c d"], points: Float[np.ndarray, "p d"], k: int) -> Cover:
    """Balls around the centres, out to the k-th nearest other centre, and the points in them.

    A ball holds its edge (Kynkaanniemi et al. 2019, equation 2). Where a centre is taken away, balls that reach to it or
    beyond reach to the next one instead.
    """
    own = np.arange(len(centres))
    k = min(k, len(centres) - 1)
    near, where = nearest(centres, centres, min(k + 1, len(centres) - 1), query_groups=own, point_groups=own)
    size = float(np.mean(np.square(centres - centres.mean(axis=0)).sum(axis=1)))
    edge, grown = _edge(near[:, k - 1], size), _edge(near[:, -1], size)
    inside = np.zeros(len(points), dtype=np.int64)
    holds, ring = np.zeros(len(centres), dtype=np.int64), np.zeros(len(centres), dtype=np.int64)
    for rows, squared in distances(points, centres):
        held = squared <= edge
        inside[rows] = held.sum(axis=1)
        holds += held.sum(axis=0)
        ring += (squared <= grown).sum(axis=0)
    gained = np.bincount(where[:, :k].ravel(), np.repeat(ring - holds, k), len(centres))
    return Cover(inside, holds, holds - gained)


def _edge(radius: Float[np.ndarray, " n"], size: float) -> Float[np.ndarray, " n"]:
    """Squared, and wider by what rounding makes of equal distances among points of this mean square (of copies, 0 as well)."""
    return np.asarray(radius**2 * (1.0 + 1e-9) + 1e-12 * size)


@dataclass(frozen=True, eq=False)
class Membership:
    """Who lies among whom: :func:`cover` of generated images by real ones at k = 3 and 5, and of real by generated ones."""

    narrow: Cover
    wide: Cover
    back: Cover


def membership(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]) -> Membership | None:
    """All that the figures need; ``None`` with fewer than two images on a side.

    Raises:
        ValueError: not finite, or of different widths.
    """
    real, generated = alike(real, generated)
    if min(len(real), len(generated)) < 2:
        return None
    return Membership(
        cover(real, generated, PRECISION_K), cover(real, generated, DENSITY_K), cover(generated, real, PRECISION_K)
    )


def prdc(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]) -> dict[str, Figure]:
    """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Intervals are about other images of both sources. For density it is normal, by the infinitesimal jackknife over the points
    and the jackknife over the balls. The jackknife fails for the three shares, which change by jumps; there it is Wilson's for
    half of the images that are counted: the choice of the balls adds about as much variance as that of the points.
    (Simulated for Gaussian and heavy-tailed features of 100 to 500 images: such intervals hold the mean over repeats in 70
    to 99 of 100 cases, Wilson's own in 60 to 95.) Recall and coverage grow with the number of generated images.

    Returns:
        the four by name; nan with fewer than two images on a side.

    Raises:
        ValueError: not finite, or of different widths.
    """
    n, m = len(real), len(generated)
    found = membership(real, generated)
    if found is None:
        return dict.fromkeys(("precision", "recall", "density", "coverage"), Figure(math.nan, real=n, generated=m))
    scale = min(DENSITY_K, n - 1) * m
    dense = float(found.wide.inside.sum()) / scale
    changes = found.wide.less / scale
    balls = float(((changes - changes.mean()) ** 2).sum()) * (n - 1) / n
    variance = variance_of_mean(found.wide.inside * (m / scale)) + balls
    # None among m: the rule of three says how many there may be for all that.
    reach = around(dense, variance, floor=0.0) if dense > 0 else (0.0, min(1.0, 3.0 / m))
    return {
        "precision": _share(found.narrow.inside > 0, n, m),
        "recall": _share(found.back.inside > 0, n, m),
        "density": Figure(dense, *reach, n, m),
        "coverage": _share(found.wide.holds > 0, n, m),
    }


def _share(flags: Bool[np.ndarray, " n"], real: int, generated: int) -> Figure:
    share, trials = float(flags.mean()), len(flags) / 2.0
    return Figure(share, *wilson(share * trials, trials), real, generated)


def precision(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]) -> Figure:
    """Share of the generated images that lie among the real ones; see :func:`prdc`."""
    return prdc(real, generated)["precision"]


def recall(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]) -> Figure:
    """Share of the real images that lie among the generated ones; see :func:`prdc`."""
    return prdc(real, generated)["recall"]


def density(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]) -> Figure:
    """In how many real balls a generated image lies, over k; about 1 for equal distributions; see :func:`prdc`."""
    return prdc(real, generated)["density"]


def coverage(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]) -> Figure:
    """Share of the real images with a generated one in their ball; see :func:`prdc`."""
    return prdc(real, generated)["coverage"]


def class_figures(
    real: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    generated: Float[np.ndarray, "m d"],
) -> dict[int, dict[str, Figure]]:
    """How the generated images spread over the classes of the real ones, and what of each class they reach.

    A generated image belongs to the class that most of its five nearest real images have (the nearest of them decides a
    tie).

    Args:
        real: features of the real images.
        labels: their classes, 0 or more.
        generated: features of the generated images.

    Returns:
        for each class that a label names, by number: ``real_share`` (of the real images, no interval), ``share`` (of the
        generated ones), ``recall`` and ``coverage`` as in :func:`prdc`, over the real images of the class. ``real`` and
        ``generated`` of a figure count the images of that class. nan where there are none.

    Raises:
        ValueError: not finite, of different widths, or labels that do not fit.
    """
    real, generated = alike(real, generated)
    labels = np.asarray(labels)
    if labels.shape != (len(real),) or (len(labels) and labels.min() < 0):
        raise ValueError(f"labels must be {len(real)} class numbers")
    found = membership(real, generated)
    votes = _vote(real, labels, generated)
    figures: dict[int, dict[str, Figure]] = {}
    for number in np.unique(labels).tolist():
        members = labels == number
        n, m = int(members.sum()), int((votes == number).sum())
        share = (
            Figure(m / len(votes), *wilson(float(m), float(len(votes))), n, m)
            if len(votes)
            else Figure(math.nan, real=n)
        )
        nothing = Figure(math.nan, real=n, generated=m)
        figures[number] = {
            "real_share": Figure(n / len(labels) if len(labels) else math.nan, real=n, generated=m),
            "share": share,
            "recall": _share(found.back.inside[members] > 0, n, m) if found is not None else nothing,
            "coverage": _share(found.wide.holds[members] > 0, n, m) if found is not None else nothing,
        }
    return figures


def _vote(
    real: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], generated: Float[np.ndarray, "m d"]
) -> Int[np.ndarray, " m"]:
    if not len(real) or not len(generated):
        return np.full(len(generated), -1)
    voters = labels[nearest(generated, real, min(5, len(real)))[1]]
    ballots = np.zeros((len(generated), int(labels.max()) + 1))
    for place in range(voters.shape[1]):
        ballots[np.arange(len(generated)), voters[:, place]] += 1.0 + (0.5 if place == 0 else 0.0)
    return np.asarray(ballots.argmax(axis=1))
