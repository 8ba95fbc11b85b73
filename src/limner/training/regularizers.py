"""Penalties on the discriminator's gradient with respect to its input, and clipping of its weights.

The images are those that D sees, after augmentation. Each penalty asks for D's gradient and is differentiated in its turn, so
the numbers should be float32 or float64. Under batch normalisation a logit depends on the whole batch, and the gradient is
that of the sum of all logits (Gulrajani et al. 2017, section 4, advise against batch normalisation in D for this reason).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Images = Float[Tensor, "b c h w"]
Logits = Float[Tensor, " b"]
Mix = Float[Tensor, " b"]
Loss = Float[Tensor, ""]
Discriminator = Callable[[Images], Logits]
Regularizer = Callable[[Discriminator, Images, Images, Mix], Loss]
"""(discriminator, real, fake, mix) -> loss, without its weight. The penalties share the signature; each takes what it needs."""


def r1(discriminator: Discriminator, real: Images, fake: Images, mix: Mix) -> Loss:
    """Half the mean squared length of D's gradient at real images (Mescheder et al. 2018, equation 9 without gamma)."""
    return _gradient(discriminator, real).square().flatten(1).sum(1).mean() / 2


def r2(discriminator: Discriminator, real: Images, fake: Images, mix: Mix) -> Loss:
    """The same at fakes (Mescheder et al. 2018, equation 10 without gamma)."""
    return r1(discriminator, fake, real, mix)


def gradient_penalty(discriminator: Discriminator, real: Images, fake: Images, mix: Mix) -> Loss:
    """The mean of (length of D's gradient - 1)^2 between real images and fakes (Gulrajani et al. 2017, equation 3).

    Args:
        discriminator: images -> logits.
        real: images.
        fake: as many.
        mix: uniform numbers between 0 and 1: the share of the real image in each point where the gradient is taken.
    """
    share = mix.view(-1, 1, 1, 1).to(real.dtype)
    between = share * real.detach() + (1 - share) * fake.detach()
    # vector_norm has the gradient 0 where the length is 0; a square root of a sum would give NaN.
    lengths: Tensor = torch.linalg.vector_norm(_gradient(discriminator, between).flatten(1), dim=1)
    return (lengths - 1).square().mean()


def clip_weights(discriminator: nn.Module, bound: float) -> None:
    """Cut every parameter to -bound..bound, in place (Arjovsky et al. 2017, algorithm 1, line 7). Buffers stay.

    Args:
        discriminator: the critic.
        bound: over 0.
    """
    if bound <= 0:
        raise ValueError(f"weights are clipped to a bound over 0, not to {bound}")
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.clamp_(-bound, bound)


def _gradient(discriminator: Discriminator, images: Images) -> Images:
    """The gradient of each image's logit with respect to the image, differentiable with respect to D's weights."""
    images = images.detach().requires_grad_()
    gradient: Tensor = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)[0]
    return gradient
