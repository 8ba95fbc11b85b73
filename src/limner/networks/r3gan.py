"""The pair of R3GAN (Huang, Gokaslan, Kuleshov and Tompkin, NeurIPS 2024, "The GAN is dead; long live the GAN!", config E).

No normalisation anywhere: residual blocks whose 3x3 convolution is grouped (16 channels a group) and twice as wide as what it
is added to, initial weights after Zhang, Dauphin and Ma (ICLR 2019, "Fixup"), leaky ReLU, filtered resampling, and a
discriminator that mirrors the generator. It is made for the relativistic loss with R1 and R2 (recipe r3gan).

Ours: the sizes (any, by :mod:`limner.networks.resample`), the widths (from the picture down: width, doubling to at most
eight times), a tanh at the end, since images are in [-1, 1] here, and the filters [1, 3, 3, 1] both ways (bilinear upwards).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import gcd, sqrt

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from limner.networks.conditioning import Classified, ClassifiedLatent
from limner.networks.layers import doubling, recompute, run
from limner.networks.resample import Resized, Shrunk, halvings

_SLOPE = 0.2
_GAIN = sqrt(2 / (1 + _SLOPE**2))  # He et al. 2015, for that slope
_EXPANSION = 2
_GROUP = 16


class Block(nn.Module):
    """Add to the features what an inverted bottleneck makes of them: 1x1 wider, 3x3 in groups, 1x1 back.

    At the start the last convolution is 0, so that the block changes nothing, and the others are scaled down by the number of
    blocks to the power 1/4: three layers a branch, so -1/(2 * 3 - 2) in the paper of Fixup.

    Args:
        channels: that come and go.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels * _EXPANSION
        self.widen = nn.Conv2d(channels, inner, 1)
        self.mix = nn.Conv2d(inner, inner, 3, padding=1, groups=inner // gcd(inner, _GROUP))
        self.narrow = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """As many features."""
        inner = F.leaky_relu(self.widen(features), _SLOPE, inplace=True)
        added: Tensor = self.narrow(F.leaky_relu(self.mix(inner), _SLOPE, inplace=True))
        return features + added

    def draw_scaled(self, blocks: int) -> None:
        """Initial weights, in a network of so many blocks."""
        for layer in (self.widen, self.mix):
            _draw(layer, _GAIN * blocks**-0.25)
        nn.init.zeros_(self.narrow.weight)


class Generator(nn.Module):
    """Latent vectors to images.

    Args:
        latent: length of the latent vector.
        width_px, height_px: size of the images, 8 or more.
        channels: 1, 3 or 4.
        classes: how many there are, 0 for none; an embedding of the class is joined to the latent.
        width: channels at the full size; they double downwards, up to eight times.
        depth: blocks at each size.
    """

    def __init__(
        self, *, latent: int, width_px: int, height_px: int, channels: int, classes: int, width: int, depth: int
    ) -> None:
        super().__init__()
        self.recompute = False
        stages = halvings(height_px, width_px)
        widths = doubling(width, len(stages) + 1)
        self.latent = ClassifiedLatent(latent, classes)
        self.constant = nn.Parameter(torch.empty(widths[-1], *stages[-1].outside).normal_())
        self.modulation = nn.Linear(self.latent.length, widths[-1], bias=False)
        parts = [nn.ModuleList(_blocks(widths[-1], depth))]
        for stage, inside, outside in zip(stages[::-1], widths[:0:-1], widths[-2::-1], strict=True):
            before = [*_channels(inside, outside), Resized(stage.inside, "bilinear")]
            parts.append(nn.ModuleList([*before, *_blocks(outside, depth)]))
        self.parts = nn.ModuleList(parts)
        self.picture = nn.Conv2d(width, channels, 1, bias=False)
        self.initialise(0)

    def forward(self, z: Float[Tensor, "b z"], labels: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b c h w"]:
        """Images in [-1, 1]; with classes, of the label of each (int64)."""
        strengths: Tensor = self.modulation(self.latent(z, labels))
        features = strengths[:, :, None, None] * self.constant.to(strengths.dtype)
        for part in self.parts:
            assert isinstance(part, nn.ModuleList)
            features = _through(part, features, self.recompute)
        return torch.tanh(self.picture(features))

    def initialise(self, std: float) -> None:
        """Draw the initial weights. They have deviations of their own: ``std`` is not used."""
        nn.init.normal_(self.constant)
        _initialise(self)


class Discriminator(Classified):
    """Images to logits; the arguments are those of :class:`Generator`.

    A depthwise convolution over the base weighs its pixels; the logit is a linear map of what is left, one number a channel.

    Args:
        conditioning: ``none`` or ``projection``: see :class:`limner.networks.conditioning.Classified`.

    Attributes:
        constant_slopes: no layer has a second derivative, so a penalty on the gradient need not look for one.
    """

    constant_slopes = True

    def __init__(
        self, *, width_px: int, height_px: int, channels: int, classes: int, conditioning: str, width: int, depth: int
    ) -> None:
        stages = halvings(height_px, width_px)
        widths = doubling(width, len(stages) + 1)
        super().__init__(conditioning, classes, widths[-1])
        self.picture = nn.Conv2d(channels, width, 1, bias=False)
        parts = []
        for stage, inside, outside in zip(stages, widths, widths[1:], strict=False):
            parts.append(nn.ModuleList([*_blocks(inside, depth), Shrunk(stage.stride), *_channels(inside, outside)]))
        parts.append(nn.ModuleList(_blocks(widths[-1], depth)))
        self.parts = nn.ModuleList(parts)
        self.base = nn.Conv2d(widths[-1], widths[-1], stages[-1].outside, groups=widths[-1], bias=False)
        self.logit = nn.Linear(widths[-1], 1, bias=False)
        self.add_classes()
        self.initialise(0)

    def look(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, " b"], Float[Tensor, "b k"]]:
        """Logits, and the features that they are computed from."""
        features: Tensor = self.picture(images)
        for part in self.parts:
            assert isinstance(part, nn.ModuleList)
            features = _through(part, features, self.recompute)
        features = self.base(features).flatten(1)
        return self.logit(features).flatten(), features

    def initialise(self, std: float) -> None:
        """Draw the initial weights. They have deviations of their own: ``std`` is not used."""
        _initialise(self)


def _blocks(channels: int, depth: int) -> list[Block]:
    return [Block(channels) for _ in range(depth)]


def _channels(inside: int, outside: int) -> list[nn.Module]:
    """From so many channels to so many, between two sizes."""
    return [nn.Conv2d(inside, outside, 1, bias=False)] if inside != outside else []


def _through(part: nn.ModuleList, features: Tensor, again: bool) -> Tensor:
    """The blocks of one size; each one is computed again in the backward pass if ``again``."""
    for layer in part:
        features = recompute(partial(run, [layer]), [layer], features) if again else layer(features)
    return features


def _plain(network: nn.Module) -> Iterator[nn.Conv2d | nn.Linear]:
    """Convolutions and linear layers that belong to no block."""
    inner = {id(module) for block in network.modules() if isinstance(block, Block) for module in block.modules()}
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and id(module) not in inner:
            yield module


def _initialise(network: nn.Module) -> None:
    """Blocks by depth, the rest so that it keeps the variance."""
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    for block in blocks:
        block.draw_scaled(len(blocks))
    for module in _plain(network):
        _draw(module, 1.0)


def _draw(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    """Weights from N(0, gain / sqrt(inputs of one output)), biases 0."""
    nn.init.normal_(layer.weight, 0.0, gain / sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
