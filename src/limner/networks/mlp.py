"""The fully connected pair, as in the first GAN (Goodfellow et al., NeurIPS 2014). For small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from limner.networks.layers import activation as make_activation
from limner.networks.layers import dropout as make_dropout


def _hidden(sizes: Sequence[int], activation: str, slope: float, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inside, outside in pairwise(sizes):
        layers += [nn.Linear(inside, outside), make_activation(activation, slope), *make_dropout(dropout)]
    return layers


def _without(classes: int) -> None:
    if classes:
        raise ValueError("fully connected networks have no classes")


class Generator(nn.Module):
    """Latent vectors to images.

    Args:
        latent: length of the latent vector.
        width_px, height_px, channels: shape of the images.
        classes: 0; the family cannot be conditioned.
        hidden: widths of the hidden layers, from the latent on.
        activation, slope, dropout: see :class:`limner.recipe.Player`.
    """

    def __init__(
        self,
        *,
        latent: int,
        width_px: int,
        height_px: int,
        channels: int,
        classes: int,
        hidden: Sequence[int],
        activation: str,
        slope: float,
        dropout: float,
    ) -> None:
        super().__init__()
        _without(classes)
        self.shape = (channels, height_px, width_px)
        self.layers = nn.Sequential(
            *_hidden([latent, *hidden], activation, slope, dropout),
            nn.Linear(hidden[-1], channels * height_px * width_px),
            nn.Tanh(),
        )

    def forward(self, z: Float[Tensor, "b z"], labels: None = None) -> Float[Tensor, "b c h w"]:
        """Images in [-1, 1]."""
        images: Tensor = self.layers(z)
        return images.view(-1, *self.shape)


class Discriminator(nn.Module):
    """Images to logits; the arguments are those of :class:`Generator`, ``hidden`` from the picture on."""

    def __init__(
        self,
        *,
        width_px: int,
        height_px: int,
        channels: int,
        classes: int,
        conditioning: str,
        hidden: Sequence[int],
        activation: str,
        slope: float,
        dropout: float,
    ) -> None:
        super().__init__()
        _without(classes)
        self.layers = nn.Sequential(
            *_hidden([channels * height_px * width_px, *hidden], activation, slope, dropout),
            nn.Linear(hidden[-1], 1),
        )

    def forward(self, images: Float[Tensor, "b c h w"], labels: None = None) -> Float[Tensor, " b"]:
        """One logit an image: how real it looks, before any sigmoid."""
        logits: Tensor = self.layers(images.flatten(1))
        return logits.flatten()
