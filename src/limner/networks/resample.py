"""From one size to another: the arithmetic of strides for any size, ways to make a picture larger, and a smooth way down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.errors import InputError
from limner.networks.products import ConvTranspose2d

Pair = tuple[int, int]


def odd(kernel: int) -> int:
    """An odd kernel as it is, an even one less one: what keeps a size."""
    return kernel - 1 + kernel % 2


@dataclass(frozen=True)
class Halving:
    """One stage between two sizes, the same for the convolution that goes down and for its transpose that goes up.

    An axis of 8 or more pixels is divided by the stride, rounding down; the transpose makes up for the remainder by
    ``output_padding``. With the kernel of 4, stride 2 and padding 1 of DCGAN that is one pixel where the size is odd. A kernel
    smaller than stride and remainder together is widened, so that no pixel is left to padding alone. An axis that is down to
    4 to 7 pixels keeps its size (an odd kernel, stride 1) while the other one goes on, so that any aspect ends in a base of 4
    to 7 by 4 to 7.

    Attributes:
        inside: (height, width) before.
        outside: (height, width) after.
        size: the kernel's size where nothing else has to hold.
        step: the stride where the axis is long enough.
    """

    inside: Pair
    outside: Pair
    size: int = 4
    step: int = 2

    @property
    def kernel(self) -> Pair:
        """Kernel size per axis."""
        (tall, wide), (down, across), (below, beside) = self._kept, self.stride, self._remainder
        return (
            odd(self.size) if tall else max(self.size, down + below),
            odd(self.size) if wide else max(self.size, across + beside),
        )

    @property
    def stride(self) -> Pair:
        """Stride per axis: what the size was divided by."""
        return _each(
            self.inside, self.outside, lambda before, after: 1 if before == after else _factor(before, self.step)
        )

    @property
    def padding(self) -> Pair:
        """Padding per axis, the least with which the convolution gives ``outside``."""
        return _each(self.kernel, self._overlap, lambda _, overlap: -(-overlap // 2))

    @property
    def output_padding(self) -> Pair:
        """What the transposed convolution adds to meet the remainder."""
        return _each(self.padding, self._overlap, lambda padding, overlap: 2 * padding - overlap)

    @property
    def _kept(self) -> tuple[bool, bool]:
        return self.inside[0] == self.outside[0], self.inside[1] == self.outside[1]

    @property
    def _remainder(self) -> Pair:
        (high, wide), (down, across) = self.inside, self.stride
        return high - self.outside[0] * down, wide - self.outside[1] * across

    @property
    def _overlap(self) -> Pair:
        """How far the kernels reach beyond the picture, both ends together."""
        used = _each(self.stride, self._remainder, int.__add__)
        return _each(self.kernel, used, int.__sub__)


def _each(first: Pair, second: Pair, function: Callable[[int, int], int]) -> Pair:
    """A function of two numbers, for height and for width."""
    return function(first[0], second[0]), function(first[1], second[1])


def _factor(side: int, stride: int) -> int:
    """What a side of 8 or more is divided by: the stride, or 2 where less than 4 pixels would be left."""
    return stride if side >= 4 * stride else 2


def halvings(height: int, width: int, kernel: int | None = 4, strides: Sequence[int] = (2,)) -> list[Halving]:
    """The stages from a picture down to its base of 4 to 7 pixels an axis.

    Args:
        height, width: 8 or more pixels.
        kernel: size of the kernels, at least the stride; None: twice the stride.
        strides: of the stages from the picture on, 2 or 4; the last one is that of all further ones. An axis too short for 4
            is halved.

    Raises:
        ValueError: an axis is under 8.
        InputError: the kernel is smaller than the stride.
    """
    if min(height, width) < 8:
        raise ValueError(f"{width}x{height} is too small: each side needs at least 8 pixels")
    if kernel is not None and kernel < max(strides):
        raise InputError(
            f"kernel = {kernel} with stride = {max(strides)}: some pixels would belong to no kernel. "
            f"Take a kernel of {max(strides)} or more, or a smaller stride"
        )
    stages: list[Halving] = []
    size = (height, width)
    while max(size) >= 8:
        stride = strides[min(len(stages), len(strides) - 1)]
        high, wide = (side // _factor(side, stride) if side >= 8 else side for side in size)
        stages.append(Halving(size, (high, wide), kernel or 2 * stride, stride))
        size = (high, wide)
    return stages


class Resized(nn.Module):
    """Interpolation to an exact size.

    Args:
        size: (height, width) in pixels.
        mode: ``nearest`` or ``bilinear``.
    """

    def __init__(self, size: Pair, mode: str) -> None:
        super().__init__()
        self.size, self.mode = size, mode

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
        """The same features, more pixels."""
        return F.interpolate(features, size=self.size, mode=self.mode)

    def extra_repr(self) -> str:
        return f"size={self.size}, mode={self.mode!r}"


class SubPixelConv(nn.Conv2d):
    """The convolution before a pixel shuffle: it starts as one that is followed by repeating each pixel.

    All channels that go to one output channel begin alike (ICNR: Aitken et al. 2017, "Checkerboard artifact free sub-pixel
    convolution"), so that there is no checkerboard at the start.

    Args:
        inside, outside: channels before and after the shuffle.
        kernel: odd.
        factors: how much taller and wider the shuffle makes it.
        bias: whether there is one.
    """

    def __init__(self, inside: int, outside: int, kernel: int, factors: Pair, bias: bool) -> None:
        self.copies = factors[0] * factors[1]
        super().__init__(inside, outside * self.copies, kernel, padding=kernel // 2, bias=bias)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self._align()

    def draw(self, std: float) -> None:
        """Initial weights from N(0, std)."""
        nn.init.normal_(self.weight, 0.0, std)
        self._align()

    @torch.no_grad()
    def _align(self) -> None:
        for values in (self.weight, self.bias):
            if values is not None:
                groups = values.view(-1, self.copies, *values.shape[1:])
                groups.copy_(groups[:, :1].clone().expand_as(groups))


class PixelShuffle(nn.Module):
    """Channels to pixels (Shi et al., CVPR 2016), by factors of their own for height and width.

    Args:
        factors: how much taller and wider.
    """

    def __init__(self, factors: Pair) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, features: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c H W"]:
        """[b, c * tall * wide, h, w] to [b, c, h * tall, w * wide]."""
        (batch, channels, height, width), (tall, wide) = features.shape, self.factors
        if tall == wide:
            return F.pixel_shuffle(features, tall)
        parts = features.reshape(batch, channels // (tall * wide), tall, wide, height, width)
        return parts.permute(0, 1, 4, 2, 5, 3).reshape(batch, parts.shape[1], height * tall, width * wide)

    def extra_repr(self) -> str:
        return f"factors={self.factors}"


class Blur(nn.Module):
    """[1, 2, 1] x [1, 2, 1] / 16 against checkerboards (Zhang, ICML 2019), with edges replicated.

    Args:
        beyond: rows below and columns to the right to add by replication: what a size is more than a multiple.
    """

    def __init__(self, beyond: Pair = (0, 0)) -> None:
        super().__init__()
        self.beyond = beyond

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
        """Two boxes of 2x2 one after the other; the first one averages what there is at the edges."""
        features = F.avg_pool2d(F.avg_pool2d(features, 2, 1, 1, count_include_pad=False), 2, 1)
        below, beside = self.beyond
        if below:
            features = torch.cat([features, features[:, :, -1:].expand(-1, -1, below, -1)], 2)
        if beside:
            features = torch.cat([features, features[:, :, :, -1:].expand(-1, -1, -1, beside)], 3)
        return features


class Shrunk(nn.Module):
    """Half the size, rounding down, by the filter [1, 3, 3, 1] / 8 along each halved axis: three boxes of 2.

    Args:
        factors: 1 or 2 for height and width.
    """

    def __init__(self, factors: Pair) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, features: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c h w"]:
        """The same features, fewer pixels."""
        padding = [factor - 1 for factor in self.factors]
        features = F.avg_pool2d(features, self.factors, 1, padding, count_include_pad=False)
        return F.avg_pool2d(F.avg_pool2d(features, self.factors, 1), self.factors)


def enlarge(way: str, stage: Halving, inside: int, outside: int, bias: bool) -> list[nn.Module]:
    """What takes features from ``stage.outside`` up to exactly ``stage.inside``, as a list to splice in.

    Args:
        way: ``transposed`` (a transposed convolution), ``nearest`` or ``bilinear`` (interpolation, then a convolution: Odena,
            Dumoulin and Olah 2016), ``pixel-shuffle`` (a convolution, then channels become pixels, then a blur). Convolutions
            other than the transposed ones have odd kernels: even sizes less one.
        stage: both sizes, kernel and stride.
        inside, outside: channels before and after.
        bias: whether the convolution has one.

    Raises:
        ValueError: there is no such way.
    """
    kernel = odd(stage.size)
    match way:
        case "transposed":
            return [
                ConvTranspose2d(
                    inside, outside, stage.kernel, stage.stride, stage.padding, stage.output_padding, bias=bias
                )
            ]
        case "nearest" | "bilinear":
            return [
                Resized(stage.inside, way),
                nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=bias),
            ]
        case "pixel-shuffle":
            (tall, wide), (high, broad) = stage.stride, stage.outside
            beyond = stage.inside[0] - high * tall, stage.inside[1] - broad * wide
            return [
                SubPixelConv(inside, outside, kernel, stage.stride, bias),
                PixelShuffle(stage.stride),
                Blur(beyond),
            ]
    raise ValueError(f"no upsampling {way!r}")


class Smoothing(nn.Conv2d):
    """A convolution that keeps channels and size and starts as the identity, so that it learns what to smooth.

    Drawn from N(0, 0.02) like the others it would start by making the picture fainter some ten times.

    Args:
        channels: of the picture.
        kernel: odd.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, channels, kernel, padding=kernel // 2, bias=False)

    def reset_parameters(self) -> None:
        nn.init.dirac_(self.weight)

    @torch.no_grad()
    def draw(self, std: float) -> None:
        """Initial weights: the identity plus N(0, std)."""
        nn.init.normal_(self.weight, 0.0, std)
        self.weight.add_(nn.init.dirac_(torch.empty_like(self.weight)))


def smoothing(channels: int, kernel: int) -> list[nn.Module]:
    """:class:`Smoothing` as a list to splice in: nothing at all for a kernel of 0."""
    return [Smoothing(channels, kernel)] if kernel else []
