"""Does a generator copy its training images?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from limner.judging.distances.neighbours import finite
from limner.judging.figures import Figure
from limner.judging.memorisation.meehan import Meehan, data_copying
from limner.judging.memorisation.nearness import LEVEL, NEXT, Ratios, judge, nearness
from limner.judging.memorisation.thumbnails import aligned, thumbnails

__all__ = ["COPIES", "LEVEL", "NO_SIGN", "SOME", "TOO_FEW", "VERDICTS", "Copying", "Pair", "copying", "thumbnails"]

NO_SIGN = "no sign of copying"
SOME = "copies some images"
COPIES = "copies"
TOO_FEW = "too few images to tell"
VERDICTS = (NO_SIGN, SOME, COPIES, TOO_FEW)

MOSTLY = 0.25
"""From this estimated share of copies on the verdict is "copies"."""
PAIRS = 12


@dataclass(frozen=True)
class Pair:
    """A generated image and the training image nearest to it.

    Attributes:
        index: of the generated image.
        nearest: of the training image.
        distance: between their features.
        pixel_distance: between their thumbnails.
        ratio: of the distance to that of the next nearest training images, in the space where it is smaller.
        copied: whether it is below the threshold.
    """

    index: int
    nearest: int
    distance: float
    pixel_distance: float
    ratio: float
    copied: bool

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "index": self.index,
            "nearest": self.nearest,
            "distance": float(f"{self.distance:.6g}"),
            "pixel_distance": float(f"{self.pixel_distance:.6g}"),
            "ratio": float(f"{self.ratio:.6g}"),
            "copied": self.copied,
        }


@dataclass(frozen=True)
class Copying:
    """What was found.

    Attributes:
        verdict: one of :data:`VERDICTS`.
        statistic: by how many standard deviations the number of generated images below the threshold exceeds
            what images that are no copies would give; nan where it cannot be told.
        p_value: of so many or more by chance.
        copied_share: the estimated share of copies.
        train, held_out, generated: how many images of each.
        meehan: the test of Meehan et al., for comparison; ``None`` where too few are held out.
        pairs: the closest, at most twelve, closest first.
    """

    verdict: str
    statistic: float
    p_value: float
    copied_share: Figure
    train: int
    held_out: int
    generated: int
    meehan: Meehan | None
    pairs: tuple[Pair, ...]

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "verdict": self.verdict,
            "statistic": float(f"{self.statistic:.6g}") if math.isfinite(self.statistic) else None,
            "p_value": float(f"{self.p_value:.6g}") if math.isfinite(self.p_value) else None,
            "copied_share": self.copied_share.values(),
            "train": self.train,
            "held_out": self.held_out,
            "generated": self.generated,
            "meehan": None if self.meehan is None else self.meehan.values(),
            "pairs": [pair.values() for pair in self.pairs],
        }


def copying(
    generated: Float[np.ndarray, "g d"],
    train: Float[np.ndarray, "t d"],
    held_out: Float[np.ndarray, "h d"],
    *,
    generated_pixels: Float[np.ndarray, "g y x c"],
    train_pixels: Float[np.ndarray, "t y x c"],
    held_out_pixels: Float[np.ndarray, "h y x c"],
    train_groups: Int[np.ndarray, " t"] | None = None,
    seed: int = 0,
) -> Copying:
    """Whether generated images copy training images, with the evidence.

    What is looked at is the **ratio** of an image's distance to its nearest training image to the mean distance of its next
    five, in features and, shifts forgiven, in thumbnails. Style, softness and an easy subject bring an image near to many
    training images, and leave the ratio near 1; a copy is near to one. (Carlini et al. 2023, section 4.2, use such a ratio
    with a fixed threshold.) Absolute distances, as in Meehan et al. 2020, take blurred images for copies.

    What a ratio should be without copying is measured twice. Training images among themselves, each without its near-copies,
    may have relatives (of the same book, the same map) as honest samples may. Held-out images are new, but few and perhaps
    of other groups. At up to five thresholds, low quantiles of both, more generated images must be below than the training
    images' share explains (Fisher's exact test; Bonferroni over thresholds and spaces), held-out images must not explain
    them either, and at least half of those below must be in excess of both shares: a generator that is merely close is
    no copier.

    Args:
        generated, train, held_out: features; ``held_out`` may be ``[0, d]``.
        generated_pixels, train_pixels, held_out_pixels: the same images' :func:`thumbnails`.
        train_groups: equal numbers for training images that are near-copies of one another. Without, near-copies hide a
            few copies: they look like natural ones.
        seed: of the cells of Meehan's test; the verdict draws nothing.

    Raises:
        ValueError: features that are not finite, or shapes that do not fit together.
    """
    vectors = tuple(
        finite(name, points).astype(np.float32)
        for name, points in (("generated", generated), ("training", train), ("held-out", held_out))
    )
    pictures = tuple(
        np.asarray(points, dtype=np.float32) for points in (generated_pixels, train_pixels, held_out_pixels)
    )
    made, trained, kept = (len(points) for points in vectors)
    if [len(points) for points in pictures] != [made, trained, kept]:
        raise ValueError("features and thumbnails are not of the same images")
    if len({points.shape[1:] for points in pictures if len(points)}) > 1 or pictures[1].ndim != 4:
        raise ValueError("thumbnails must be [n, y, x, c], all of one size")
    groups = np.arange(trained) if train_groups is None else np.asarray(train_groups)
    if groups.shape != (trained,):
        raise ValueError(f"train_groups must be {trained} numbers")
    groups = np.unique(groups, return_inverse=True)[1] if trained else groups
    if not made or len(np.unique(groups)) <= NEXT:
        share = Figure(math.nan, real=trained, generated=made)
        return Copying(TOO_FEW, math.nan, math.nan, share, trained, kept, made, None, ())
    ratios = nearness(vectors, pictures, groups)
    spaces = [judge(space) for space in ratios]
    best = min(spaces, key=lambda space: (space.p_value, -space.share.value))
    p_value = min(1.0, len(spaces) * best.p_value)
    significant = [space for space in spaces if len(spaces) * space.p_value <= LEVEL]
    share = max((space.share for space in significant), key=lambda share: share.value, default=best.share)
    if len(spaces) * best.least > LEVEL:
        verdict = TOO_FEW
    elif not significant:
        verdict = NO_SIGN
    else:
        verdict = COPIES if share.value >= MOSTLY else SOME
    copied = np.zeros(made, dtype=bool)
    if verdict in (SOME, COPIES):
        for space, found in zip(spaces, ratios, strict=True):
            copied |= (space in significant) & (found.generated <= space.threshold)
    return Copying(
        verdict,
        best.statistic,
        p_value,
        share,
        trained,
        kept,
        made,
        data_copying(*vectors, seed=seed),
        _pairs(ratios, copied, vectors, pictures),
    )


def _pairs(
    ratios: Sequence[Ratios],
    copied: Bool[np.ndarray, " g"],
    vectors: tuple[Float[np.ndarray, "n d"], ...],
    pictures: tuple[Float[np.ndarray, "n y x c"], ...],
) -> tuple[Pair, ...]:
    """The closest, in whichever space they are closer."""
    both = np.stack([space.generated for space in ratios])
    lowest, space = both.min(axis=0), both.argmin(axis=0)
    chosen = np.argsort(lowest, kind="stable")[:PAIRS]
    partners = np.array([ratios[space[index]].where[index] for index in chosen])
    apart = aligned(pictures[0][chosen], pictures[1], partners[:, None])[:, 0]
    return tuple(
        Pair(
            int(index),
            int(partner),
            float(np.linalg.norm(vectors[0][index] - vectors[1][partner])),
            float(distance),
            float(lowest[index]),
            bool(copied[index]),
        )
        for index, partner, distance in zip(chosen, partners, apart, strict=True)
    )
