"""How much nearer an image is to one training image than to the next ones, and whether generated images are nearer than chance
explains. The parts of :func:`limner.judging.memorisation.copying`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from limner.judging.distances.intervals import Z95, hypergeometric_at_most
from limner.judging.distances.neighbours import nearest
from limner.judging.figures import Figure
from limner.judging.memorisation.thumbnails import aligned, coarse

LEVEL = 0.01
"""How often a generator that does not copy may be taken for one that does."""
NEXT = 5
"""How many next neighbours a distance is compared with."""
QUANTILES = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Shares of images that are no copies which may lie below a threshold."""
CEILING = 0.8
"""A generated image with a larger ratio is no copy, whatever the others are."""
ALONE = 0.5
"""The same where no image was held out: a few training images alone say little of what ratios honest ones have."""
AMONG = 2000
"""Training images, and held-out ones, that are looked at for comparison, at most."""
VETO = 0.1
"""Held-out images object when they explain as many low ratios with at least this probability."""
SHOWN = 0.04
"""Few held-out images could never pass ``VETO``: they need not confirm a smaller share of copies than this."""
_FROM_PIXELS, _FROM_FEATURES = 16, 8


@dataclass(frozen=True, eq=False)
class Ratios:
    """Ratios in one space; smaller is nearer to one training image than to the others.

    Attributes:
        generated, held_out: of these images.
        train: of training images, to those that are no near-copies of them.
        where: the training image nearest to each generated one.
    """

    generated: Float[np.ndarray, " g"]
    train: Float[np.ndarray, " t"]
    held_out: Float[np.ndarray, " h"]
    where: Int[np.ndarray, " g"]


_Compared = tuple[Float[np.ndarray, " q"], Int[np.ndarray, " q"]]


@dataclass(frozen=True)
class Judgement:
    """What the ratios of one space say.

    Attributes:
        threshold: below it a generated image counts as copied; 0 where none do.
        p_value: by Fisher's exact test against the training images, over all thresholds.
        least: the smallest that it could be with these counts.
        statistic: excess below the threshold, in standard deviations.
        share: of copies among the generated images.
    """

    threshold: float
    p_value: float
    least: float
    statistic: float
    share: Figure


def nearness(
    vectors: tuple[Float[np.ndarray, "n d"], ...],
    pictures: tuple[Float[np.ndarray, "n y x c"], ...],
    groups: Int[np.ndarray, " t"],
) -> tuple[Ratios, Ratios]:
    """Ratios in the space of features and in that of thumbnails.

    Thumbnails are compared at nine shifts, with the nearest candidates only: sixteen by coarse thumbnails, eight by features.

    Args:
        vectors, pictures: features and thumbnails of generated, training and held-out images.
        groups: numbers from 0 on, equal for training images that are near-copies of one another.
    """
    count = len(groups)
    among, kept = (_evenly(size, AMONG) for size in (count, len(vectors[2])))
    largest = int(np.bincount(groups).max())
    rough = coarse(pictures[1])

    def compared(side: int, some: Int[np.ndarray, " q"]) -> tuple[_Compared, _Compared]:
        queries, small = (kind[side][some] for kind in (vectors, pictures))
        mine, theirs = (groups[some], groups) if side == 1 else (None, None)
        near, found = nearest(queries, vectors[1], _FROM_FEATURES + largest, query_groups=mine, point_groups=theirs)
        _, similar = nearest(coarse(small), rough, _FROM_PIXELS + largest, query_groups=mine, point_groups=theirs)
        candidates = _once(np.concatenate([similar, found], axis=1))
        distances = aligned(small, pictures[1], candidates)
        order = np.argsort(distances, axis=1, kind="stable")
        distances, candidates = (np.take_along_axis(values, order, axis=1) for values in (distances, candidates))
        features, pixels = _ratios(near, found, groups), _ratios(distances, candidates, groups)
        return (features, found[:, 0]), (pixels, candidates[:, 0])

    made, train, held_out = compared(0, np.arange(len(vectors[0]))), compared(1, among), compared(2, kept)
    first, second = (Ratios(made[space][0], train[space][0], held_out[space][0], made[space][1]) for space in (0, 1))
    return first, second


def _evenly(count: int, most: int) -> Int[np.ndarray, " k"]:
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def _once(candidates: Int[np.ndarray, "q k"]) -> Int[np.ndarray, "q k"]:
    """Without repetitions: -1 in their place."""
    ordered = np.sort(candidates, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = -1
    return ordered


def _ratios(
    distances: Float[np.ndarray, "q k"], where: Int[np.ndarray, "q k"], groups: Int[np.ndarray, " t"]
) -> Float[np.ndarray, " q"]:
    """The first distance over the mean of the next few, near-copies of the first left out; 1 where all are 0."""
    if not len(distances):
        return np.zeros(0)
    others = (groups[where] != groups[where[:, :1]]) & np.isfinite(distances)
    taken = others & (np.cumsum(others, axis=1) <= NEXT)
    further = np.where(taken, distances, 0.0).sum(axis=1) / np.maximum(1, taken.sum(axis=1))
    known = np.isfinite(distances[:, 0]) & (further > 0.0)
    return np.where(known, np.where(known, distances[:, 0], 1.0) / np.where(known, further, 1.0), 1.0)


def judge(ratios: Ratios) -> Judgement:
    """Whether more generated images have a low ratio than images that are no copies."""
    made, train, held_out = ratios.generated, ratios.train, ratios.held_out
    least = hypergeometric_at_most(0, len(train), len(made), len(made))
    both = np.sort(np.concatenate([train, held_out]))
    # Just below the image at the quantile, so that at quantile 0 none is below.
    ceiling = CEILING if len(held_out) else ALONE
    cuts = {min(ceiling, float(np.nextafter(both[int(quantile * len(both))], -1.0))) for quantile in QUANTILES}
    nothing = Figure(0.0, 0.0, min(1.0, 3.0 / len(made)), len(train), len(made))  # the rule of three
    found = [Judgement(0.0, 1.0, least, 0.0, nothing)]
    for cut in sorted(cuts):
        low, own, new = (int((values <= cut).sum()) for values in (made, train, held_out))
        expected = max(own / len(train), new / len(held_out) if len(held_out) else 0.0)
        if not low or low / len(made) < 2.0 * expected:
            continue
        if len(held_out):
            unexplained = hypergeometric_at_most(new, len(held_out), len(made), low + new)
            if unexplained > max(VETO, (1.0 - SHOWN) ** len(held_out)):
                continue
        p_value = min(1.0, len(cuts) * hypergeometric_at_most(own, len(train), len(made), low + own))
        total = len(made) + len(train)
        mean = (low + own) * len(made) / total
        variance = mean * len(train) / total * (total - low - own) / max(1, total - 1)
        found.append(
            Judgement(
                cut,
                p_value,
                len(cuts) * least,
                (low - mean) / math.sqrt(max(variance, 1e-12)),
                _share(low, made, expected, train),
            )
        )
    best = min(found, key=lambda one: one.p_value)
    # A looser threshold finds more of the copies; the strictest may be the most certain.
    certain = [one for one in found if one.p_value <= LEVEL / 2]
    widest = max(certain, key=lambda one: one.share.value, default=best)
    return Judgement(widest.threshold, best.p_value, best.least, best.statistic, widest.share)


def _share(low: int, made: Float[np.ndarray, " g"], expected: float, train: Float[np.ndarray, " t"]) -> Figure:
    """Share of copies: what is below the threshold beyond what is expected there, over the room that is left."""
    observed = low / len(made)
    room = 1.0 - expected
    value = (observed - expected) / room
    # Agresti and Coull's two of each keep the interval from vanishing at 0 and 1.
    parts = [(low + 2) / (len(made) + 4), (expected * len(train) + 2) / (len(train) + 4)]
    sizes = [len(made) + 4, len(train) + 4]
    spread = math.sqrt(sum(part * (1 - part) / size for part, size in zip(parts, sizes, strict=True)))
    return Figure(
        value, max(0.0, value - Z95 * spread / room), min(1.0, value + Z95 * spread / room), len(train), len(made)
    )
