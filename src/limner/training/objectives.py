"""Adversarial losses: pure functions of the logits of real and of fake images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

Logits = Float[Tensor, " b"]
Loss = Float[Tensor, ""]


@dataclass(frozen=True)
class Objective:
    """What the two networks minimise.

    Attributes:
        discriminator: (real logits, fake logits) -> loss.
        generator: fake logits -> loss.
        least: the least value that the discriminator's loss can have, for cross-entropies; ``None`` for other losses.
    """

    discriminator: Callable[[Logits, Logits], Loss]
    generator: Callable[[Logits], Loss]
    least: float | None = None


def non_saturating(real_label: float = 1.0) -> Objective:
    """Goodfellow et al. 2014: D by binary cross-entropy; G maximises log D(G(z)) (end of section 3).

    Args:
        real_label: label of real images, over 0.5 to 1; under 1 it is one-sided smoothing (Salimans et al. 2016, 3.4).
    """
    return Objective(_cross_entropy(real_label), lambda fake: softplus(-fake).mean(), entropy(real_label))


def minimax(real_label: float = 1.0) -> Objective:
    """Goodfellow et al. 2014, equation 1 as it stands: G minimises log(1 - D(G(z))); see :func:`non_saturating`."""
    return Objective(_cross_entropy(real_label), lambda fake: -softplus(fake).mean(), entropy(real_label))


def entropy(label: float) -> float:
    """The cross-entropy that remains when every label is met, in nats: -t ln t - (1 - t) ln(1 - t); 0 for a label of 1.

    Args:
        label: t, over 0 to 1.
    """
    return -label * math.log(label) - ((1 - label) * math.log(1 - label) if label < 1 else 0.0)


def _cross_entropy(real_label: float) -> Callable[[Logits, Logits], Loss]:
    """-[t log D(x) + (1 - t) log(1 - D(x))] - log(1 - D(G(z))), with D = sigmoid(logit)."""

    def loss(real: Logits, fake: Logits) -> Loss:
        on_real = binary_cross_entropy_with_logits(real, real.new_full((), real_label).expand_as(real))
        return on_real + softplus(fake).mean()

    return loss
