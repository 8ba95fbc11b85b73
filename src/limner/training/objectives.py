"""Adversarial losses: pure functions of the logits of real and of fake images. Logits of any shape will do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, cross_entropy, relu, softplus

Logits = Float[Tensor, " b"]
Loss = Float[Tensor, ""]


class GeneratorLoss(Protocol):
    """(fake logits, real logits) -> loss. Only a relativistic loss looks at the real ones."""

    def __call__(self, fake: Logits, real: Logits | None = None) -> Loss: ...


@dataclass(frozen=True)
class Objective:
    """What the two networks minimise.

    Attributes:
        discriminator: (real logits, fake logits) -> loss.
        generator: (fake logits, real logits or ``None``) -> loss.
        least: the least value that the discriminator's loss can have, in nats, for cross-entropies; ``None`` for other losses.
        relativistic: whether the generator's loss needs the real logits too.
        undecided: the logit at which D cannot tell; ``None`` where only differences of logits have a meaning.
    """

    discriminator: Callable[[Logits, Logits], Loss]
    generator: GeneratorLoss
    least: float | None = None
    relativistic: bool = False
    undecided: float | None = 0.0

    def margin(self, real: Logits, fake: Logits) -> Logits:
        """How far D is on the right side with each real image: over 0 it takes it for real. Its sign tells of overfitting."""
        return real - (fake if self.undecided is None else self.undecided)


def non_saturating(real_label: float = 1.0) -> Objective:
    """Goodfellow et al. 2014: D by binary cross-entropy; G maximises log D(G(z)) (end of section 3).

    Args:
        real_label: label of real images, over 0.5 to 1; under 1 it is one-sided smoothing (Salimans et al. 2016, 3.4).
    """
    return Objective(_cross_entropy(real_label), lambda fake, real=None: softplus(-fake).mean(), entropy(real_label))


def minimax(real_label: float = 1.0) -> Objective:
    """Goodfellow et al. 2014, equation 1 as it stands: G minimises log(1 - D(G(z))); see :func:`non_saturating`."""
    return Objective(_cross_entropy(real_label), lambda fake, real=None: -softplus(fake).mean(), entropy(real_label))


def least_squares(real_label: float = 1.0) -> Objective:
    """Mao et al. 2017, equation 9: squared distances of the logits from labels, 0 for fakes; G wants its own to be 1.

    Args:
        real_label: label of real images, over 0.5 to 1.
    """

    def discriminator(real: Logits, fake: Logits) -> Loss:
        return 0.5 * (real - real_label).square().mean() + 0.5 * fake.square().mean()

    return Objective(
        discriminator, lambda fake, real=None: 0.5 * (fake - 1.0).square().mean(), undecided=real_label / 2
    )


def hinge() -> Objective:
    """Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17: logits are pushed to 1 and -1, and no further."""

    def discriminator(real: Logits, fake: Logits) -> Loss:
        return relu(1.0 - real).mean() + relu(1.0 + fake).mean()

    return Objective(discriminator, lambda fake, real=None: -fake.mean())


def wasserstein() -> Objective:
    """Arjovsky et al. 2017, equations 2 and 3: the difference of the mean logits. Something must bound D's slope."""
    return Objective(lambda real, fake: fake.mean() - real.mean(), lambda fake, real=None: -fake.mean(), undecided=None)


def relativistic() -> Objective:
    """Huang et al. 2024 (R3GAN), equation 2: cross-entropy of "this real image is more real than this fake", in pairs.

    Both losses see nothing but the differences, so adding a number to all logits changes nothing. A discriminator that tells
    every pair apart has a loss of 0, as with the other cross-entropies.
    """

    def generator(fake: Logits, real: Logits | None = None) -> Loss:
        if real is None:
            raise ValueError("a relativistic loss compares fake logits with real ones; give both")
        return softplus(real - fake).mean()

    return Objective(
        lambda real, fake: softplus(fake - real).mean(), generator, least=0.0, relativistic=True, undecided=None
    )


def classification(class_logits: Float[Tensor, "b k"], labels: Int[Tensor, " b"]) -> Loss:
    """Odena et al. 2017 (ACGAN), equation 3: the cross-entropy of the right class, in nats, for D and for G alike.

    Args:
        class_logits: what D thinks of each of k classes.
        labels: the right ones, 0 to k - 1.
    """
    return cross_entropy(class_logits, labels)


def reconstruction(remembered: Float[Tensor, "b c hs ws"], images: Float[Tensor, "b c h w"]) -> Loss:
    """Liu et al. 2021 (FastGAN), section 3.2, with the mean absolute difference as the distance.

    Args:
        remembered: small versions of the images, made from D's features.
        images: the images that D saw, in [-1, 1]; they are made as small by averaging areas.
    """
    small = adaptive_avg_pool2d(images, (remembered.shape[-2], remembered.shape[-1]))
    return (remembered - small).abs().mean()


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
