"""The convolutional pair of DCGAN (Radford, Metz and Chintala, ICLR 2016), for any size from 8 pixels a side.

At 64x64 with width 64 the layers are the paper's: 4x4 kernels, 100-512-256-128-64-C up and C-64-128-256-512-1 down, no
biases. Other sizes have more or fewer halvings (:func:`limner.networks.layers.halvings`), and the outermost layers cover
the base whatever its shape.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from limner.networks.layers import Halving, activation, dropout, halvings


def _channels(width: int, stages: list[Halving]) -> list[int]:
    """Channels at each size from the picture down to the base: doubling, up to eight times the width."""
    return [width * min(2**k, 8) for k in range(len(stages))]


class Generator(nn.Module):
    """Latent vectors to images.

    Args:
        latent: length of the latent vector.
        width_px, height_px: size of the images, 8 or more.
        channels: 1, 3 or 4.
        width: channels of the last hidden layer.
        activation, slope, dropout: see :class:`limner.recipe.Player`.
    """

    def __init__(
        self,
        *,
        latent: int,
        width_px: int,
        height_px: int,
        channels: int,
        width: int,
        activation: str,
        slope: float,
        dropout: float,
    ) -> None:
        super().__init__()
        stages = halvings(height_px, width_px)
        widths = _channels(width, stages)
        layers = [*_up(latent, widths[-1], stages[-1].outside, None), *_after(widths[-1], activation, slope, dropout)]
        for stage, inside, outside in zip(reversed(stages), reversed(widths), [*reversed(widths[:-1]), 0], strict=True):
            layers += _up(inside, outside or channels, None, stage)
            if outside:
                layers += _after(outside, activation, slope, dropout)
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Float[Tensor, "b z"]) -> Float[Tensor, "b c h w"]:
        """Images in [-1, 1]."""
        images: Tensor = self.layers(z[:, :, None, None])
        return images


class Discriminator(nn.Module):
    """Images to logits; the arguments are those of :class:`Generator`."""

    def __init__(
        self,
        *,
        width_px: int,
        height_px: int,
        channels: int,
        width: int,
        activation: str,
        slope: float,
        dropout: float,
    ) -> None:
        super().__init__()
        stages = halvings(height_px, width_px)
        widths = _channels(width, stages)
        layers: list[nn.Module] = []
        for number, (stage, inside, outside) in enumerate(zip(stages, [channels, *widths], widths, strict=False)):
            layers.append(nn.Conv2d(inside, outside, stage.kernel, stage.stride, padding=1, bias=False))
            layers += _after(outside, activation, slope, dropout, norm=number > 0)
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, stages[-1].outside, bias=False))

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """One logit an image: how real it looks, before any sigmoid."""
        logits: Tensor = self.layers(images)
        return logits.flatten()


def _up(inside: int, outside: int, base: tuple[int, int] | None, stage: Halving | None) -> list[nn.Module]:
    """The transposed convolution that spreads the latent over the base, or that doubles."""
    if stage is None:
        assert base is not None
        return [nn.ConvTranspose2d(inside, outside, base, bias=False)]
    layer = nn.ConvTranspose2d(
        inside, outside, stage.kernel, stage.stride, padding=1, output_padding=stage.output_padding, bias=False
    )
    return [layer]


def _after(channels: int, name: str, slope: float, rate: float, norm: bool = True) -> list[nn.Module]:
    """What follows a hidden convolution."""
    before: list[nn.Module] = [nn.BatchNorm2d(channels)] if norm else []
    return [*before, activation(name, slope), *dropout(rate)]
