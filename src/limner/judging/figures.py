"""A measured number with its uncertainty, and what each kind of number means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        value: the estimate.
        low, high: its 95 % interval; ``None`` where none can be given.
        real: how many real images it was computed from (0 where none are involved).
        generated: how many generated images.
    """

    value: float
    low: float | None = None
    high: float | None = None
    real: int = 0
    generated: int = 0

    def values(self) -> dict[str, Any]:
        """For JSON, with six significant digits, and nothing that is not a number."""
        return {
            "value": _short(self.value),
            "low": _short(self.low),
            "high": _short(self.high),
            "real": self.real,
            "generated": self.generated,
        }

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Figure:
        """What :meth:`values` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """

        def number(name: str) -> float | None:
            return None if values.get(name) is None else float(values[name])

        value = number("value")
        return cls(
            math.nan if value is None else value,
            number("low"),
            number("high"),
            int(values["real"]),
            int(values["generated"]),
        )

    def __str__(self) -> str:
        """Such as ``0.0123 (0.0101 to 0.0144)``."""
        text = f"{self.value:.3g}"
        return text if self.low is None or self.high is None else f"{text} ({self.low:.3g} to {self.high:.3g})"


def _short(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else float(f"{number:.6g}")


@dataclass(frozen=True)
class Kind:
    """What a figure is called, which direction is good, and what it says.

    Attributes:
        label: for tables and plots.
        better: ``lower``, ``higher``, or ``one`` for figures that should be 1.
        help: one sentence for people.
    """

    label: str
    better: Literal["lower", "higher", "one"]
    help: str


KINDS: Mapping[str, Kind] = {
    "kernel_distance": Kind(
        "kernel distance",
        "lower",
        "How far generated images are from real ones, unbiased at any number of images; 0 for the same distribution.",
    ),
    "frechet_distance": Kind(
        "Frechet distance",
        "lower",
        "How far two Gaussians fitted to the features are apart; only comparable at equal numbers of images.",
    ),
    "precision": Kind("precision", "higher", "Share of generated images that lie among the real ones: quality."),
    "recall": Kind("recall", "higher", "Share of real images that lie among the generated ones: variety."),
    "density": Kind(
        "density", "higher", "How densely real images surround generated ones; about 1 for the same distribution."
    ),
    "coverage": Kind(
        "coverage", "higher", "Share of real images with a generated one in their neighbourhood: variety."
    ),
    "sliced_wasserstein": Kind(
        "sliced Wasserstein", "lower", "How far pixels and local structure differ, without any network."
    ),
    "diversity": Kind(
        "diversity", "one", "How different generated images are from one another, as a share of the real ones'."
    ),
}
"""Every figure that Limner computes of images alone, in the order in which tables show them."""
AGREEMENT = "label_agreement"
AGREEMENT_KIND = Kind(
    "label agreement",
    "higher",
    "Share of generated images in which a classifier, trained on real images, sees the class that was asked for.",
)
"""What there is besides for generators that know classes."""

BY_COUNT = ("frechet_distance", "recall", "coverage", "sliced_wasserstein")
"""Figures whose expected value changes with the number of images."""
BY_RATIO = ("recall", "coverage")
"""Of these, the figures that only ask how many real images there are for each generated one."""
LIKE_COUNTS = 1.5
"""Numbers of images within this ratio are alike enough for those."""


def comparable(name: str, figure: Figure, real: Figure) -> bool:
    """Whether a figure may be held against that of real images: some depend on how many images there are on either side.

    Held-out images stand where generated ones do, and are often far fewer. Recall and coverage depend on how many there are of
    one side for each of the other, the Frechet and the Wasserstein distance on how many there are.
    """
    if name not in BY_COUNT:
        return True
    if min(figure.real, figure.generated, real.real, real.generated) < 1:
        return False
    if name in BY_RATIO:
        ratio = (figure.real / figure.generated) / (real.real / real.generated)
        return 1 / LIKE_COUNTS <= ratio <= LIKE_COUNTS
    pairs = ((figure.real, real.real), (figure.generated, real.generated))
    return all(max(pair) <= LIKE_COUNTS * min(pair) for pair in pairs)
