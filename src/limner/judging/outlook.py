"""Shall I stop? What going on is likely to bring, from the evaluations so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limner.judging.figures import KINDS, Figure
from limner.judging.health import Finding, figure

WATCHED = "kernel_distance"
"""The figure that is followed: it needs no equal numbers of images, and has no bias that a trend could be mistaken for."""
LOOKS_BACK = 4.0
"""The trend is that of the evaluations since a quarter of the images seen."""
LEAST = 4
WORTH = 0.05
"""A gain of under a twentieth, over as many images again, is not worth much waiting."""

_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % quantiles of Student's t with 1 to 10 degrees of freedom."""


@dataclass(frozen=True)
class Outlook:
    """What going on is likely to bring.

    Attributes:
        sentence: in words.
        gain: by how much the kernel distance is expected to fall over ``images`` more; ``None`` when it cannot be told.
        images: how many more images that means: as many as were seen already.
        best: images seen at the best evaluation.
        worth_it: whether an appreciable gain is expected.
    """

    sentence: str
    gain: Figure | None
    images: int
    best: int | None
    worth_it: bool

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sentence": self.sentence,
            "gain": None if self.gain is None else self.gain.values(),
            "images": self.images,
            "best": self.best,
            "worth_it": self.worth_it,
        }


def outlook(evaluations: Sequence[Mapping[str, Any]]) -> Outlook:
    """What the trend of the kernel distance promises.

    Distances of generators fall about as a power of the images seen, so a line is fitted (least squares) to their logarithms,
    over the evaluations since a quarter of the images seen, and continued until twice as many. The interval is that of the
    line's slope. Where a distance is 0 or less, which an unbiased one may be, the line is fitted to the distances themselves.

    Args:
        evaluations: lines of the run's metrics, oldest first.
    """
    points = [
        (int(line["images"]), value)
        for line in evaluations
        if line.get("images", 0) > 0 and (value := figure(line, WATCHED)) is not None
    ]
    seen = points[-1][0] if points else 0
    best = min(points, key=lambda point: point[1])[0] if points else None
    recent = [point for point in points if point[0] * LOOKS_BACK >= seen]
    label = KINDS[WATCHED].label
    if len(recent) < LEAST or len({images for images, _ in recent}) < LEAST:
        return Outlook(
            f"Too few evaluations to tell what going on would bring ({len(recent)} since a quarter of the images seen;"
            f" {LEAST} are needed).",
            None,
            seen,
            best,
            True,
        )
    values = np.array([value for _, value in recent])
    falls_as_power = bool(values.min() > 0)
    x = np.log([images for images, _ in recent])
    y = np.log(values) if falls_as_power else values
    middle, x = float(x.mean()), x - x.mean()
    slope = float(x @ y / (x @ x))
    residual = y - y.mean() - slope * x
    freedom = len(recent) - 2
    error = math.sqrt(float(residual @ residual) / freedom / float(x @ x))
    reach = (_T_975[freedom - 1] if freedom <= len(_T_975) else 1.96 + 2.5 / freedom) * error
    fitted = float(y.mean()) + slope * (math.log(seen) - middle)
    level = math.exp(fitted) if falls_as_power else fitted

    def fall(steepness: float) -> float:
        return level * -math.expm1(math.log(2) * steepness) if falls_as_power else -math.log(2) * steepness

    gain, low, high = fall(slope), fall(slope + reach), fall(slope - reach)
    line = recent[-1]
    counted = next(item["figures"][WATCHED] for item in reversed(evaluations) if item.get("images") == line[0])
    found = Figure(gain, low, high, int(counted.get("real", 0)), int(counted.get("generated", 0)))
    if low > 0:
        worth = gain > WORTH * abs(level)
        sure = "is expected to" if worth else "is expected to hardly"
        sentence = (
            f"Going on for another {seen:,} images {sure} lower the {label} of {level:.3g} by {gain:.2g} ({low:.2g} to"
            f" {high:.2g})."
        )
    elif high < 0:
        worth = False
        sentence = (
            f"The {label} has been rising: another {seen:,} images are expected to raise it by {-gain:.2g} ({-high:.2g} to"
            f" {-low:.2g}). Take the best snapshot."
        )
    else:
        worth = False
        sentence = (
            f"No gain can be told from chance: another {seen:,} images would change the {label} of {level:.3g} by"
            f" {-gain:.2g} ({-high:.2g} to {-low:.2g})."
        )
    return Outlook(sentence, found, seen, best, worth)


def no_gain(evaluations: Sequence[Mapping[str, Any]]) -> Finding | None:
    """The finding that half of a training brought nothing better, and nothing better is to be expected.

    Args:
        evaluations: lines of the run's metrics, oldest first.
    """
    now = outlook(evaluations)
    if now.best is None or 2 * now.best > now.images or now.worth_it:
        return None
    return Finding(
        "no-gain",
        "note",
        f"no better {KINDS[WATCHED].label} since {now.best:,} of {now.images:,} images. {now.sentence}",
        "stop here and take the best snapshot; more images, or a recipe for few images, may go further",
    )


def is_exhausted(evaluations: Sequence[Mapping[str, Any]], patience: int) -> str | None:
    """Why a training should be ended, or ``None``: nothing better for ``patience`` images, and nothing better to expect.

    Args:
        evaluations: lines of the run's metrics, oldest first.
        patience: images without a better figure that are put up with.
    """
    now = outlook(evaluations)
    if now.best is None or now.images - now.best < patience or now.worth_it:
        return None
    return f"no better {KINDS[WATCHED].label} for {now.images - now.best:,} images. {now.sentence}"
