"""What a turn is played with, and what it showed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "b c h w"]
Latents = Float[Tensor, "b z"]
Labels = Int[Tensor, " b"]
Scalar = Float[Tensor, ""]


@dataclass(frozen=True)
class Batch:
    """What one turn is played with.

    Attributes:
        real: images in [-1, 1].
        z: as many latent vectors.
        indices: the global sample index of each, which all that is random about it follows from.
        labels: classes of the real images, and so of the fakes; ``None`` without classes.
        mix: numbers between 0 and 1, for penalties between a real image and a fake; ``None`` when there are none.
    """

    real: Images
    z: Latents
    indices: Int[np.ndarray, " b"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    labels: Labels | None = None
    mix: Float[Tensor, " b"] | None = None

    def __len__(self) -> int:
        return len(self.real)

    def parts(self, size: int | None) -> list[Batch]:
        """The batch in parts of at most ``size``."""
        if size is None or size >= len(self):
            return [self]
        return [
            Batch(*(None if all_of is None else all_of[start : start + size] for all_of in vars(self).values()))  # type: ignore[arg-type]
            for start in range(0, len(self), size)
        ]


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What one update showed. Scalars stay on the device until somebody reads them; ``None`` is what was not measured."""

    discriminator_loss: Scalar
    generator_loss: Scalar | None = None
    real_logit: Scalar
    fake_logit: Scalar
    penalty: Scalar | None = None
    classification: Scalar | None = None
    reconstruction: Scalar | None = None
    augment_probability: Scalar | None = None

    def values(self) -> dict[str, Scalar]:
        """What was measured, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def mean(measured: Sequence[tuple[float, Measures]]) -> Measures:
    """What the parts of a batch showed together: each counts by its share of the images."""
    if len(measured) == 1:
        return measured[0][1]
    names = measured[0][1].values()
    return Measures(
        **{name: torch.stack([share * part.values()[name] for share, part in measured]).sum() for name in names}
    )
