"""One update of the discriminator, one of the generator: what a GAN is.

Two networks play a game. The discriminator D looks at images and says how real each one looks; the generator G turns noise
z into images that D should take for real. An update has three parts:

1.  G draws a batch of fakes from noise.
2.  D sees real images and those fakes, and improves at telling them apart.
3.  The improved D looks at the same fakes, and G improves at fooling it.

Only here do networks, loss and optimizers meet. The generator's turn uses the fakes that the discriminator has just seen, so
G runs forward once; and it needs D's gradient with respect to its *input* only, so D's weights are frozen for that pass,
which saves a third of its cost and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from limner.training.objectives import Objective

Images = Float[Tensor, "b c h w"]
Latents = Float[Tensor, "b z"]
Scalar = Float[Tensor, ""]


@dataclass(frozen=True)
class Measures:
    """What one update showed. Scalars stay on the device until somebody reads them."""

    discriminator_loss: Scalar
    generator_loss: Scalar
    real_logit: Scalar
    fake_logit: Scalar


@dataclass
class Step:
    """The two networks with their optimizers, and what they play for.

    Attributes:
        generator, discriminator: networks in training mode.
        generator_optimizer, discriminator_optimizer: over their parameters.
        objective: the losses.
        autocast: a new context for the forward passes (lower precision, or nothing).
    """

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: Optimizer
    discriminator_optimizer: Optimizer
    objective: Objective
    autocast: Callable[[], AbstractContextManager[object]]

    def __call__(self, real: Images, z: Latents) -> Measures:
        """Update both networks once.

        Args:
            real: images in [-1, 1].
            z: as many latent vectors.
        """
        with self.autocast():
            fake = self.generator(z)
        discriminator_loss, real_logits, fake_logits = self.update_discriminator(real, fake.detach())
        generator_loss = self.update_generator(fake)
        return Measures(discriminator_loss, generator_loss, real_logits.mean(), fake_logits.mean())

    def update_discriminator(self, real: Images, fake: Images) -> tuple[Scalar, Tensor, Tensor]:
        """D's turn: its loss, and its logits of the real and of the fake images.

        Real and fake go through D separately, so that batch normalisation never mixes them.
        """
        with self.autocast():
            real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
        real_logits, fake_logits = _precise(real_logits), _precise(fake_logits)
        loss = self.objective.discriminator(real_logits, fake_logits)
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.discriminator_optimizer.step()
        return loss.detach(), real_logits.detach(), fake_logits.detach()

    def update_generator(self, fake: Images) -> Scalar:
        """G's turn: its loss. ``fake`` still remembers how G made it."""
        self.discriminator.requires_grad_(False)
        with self.autocast():
            logits = self.discriminator(fake)
        loss = self.objective.generator(_precise(logits))
        self.generator_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.discriminator.requires_grad_(True)
        self.generator_optimizer.step()
        return loss.detach()


def _precise(logits: Tensor) -> Tensor:
    """Losses are computed in float32 at least."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
