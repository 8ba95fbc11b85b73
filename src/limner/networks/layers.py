"""What the families share: activations, initial weights, and the arithmetic of halving a picture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


def activation(name: str, slope: float) -> nn.Module:
    """The activation of that name: ``relu``, ``leaky_relu`` (with ``slope`` below zero) or ``silu``.

    Raises:
        ValueError: there is none of that name.
    """
    match name:
        case "relu":
            return nn.ReLU(inplace=True)
        case "leaky_relu":
            return nn.LeakyReLU(slope, inplace=True)
        case "silu":
            return nn.SiLU(inplace=True)
    raise ValueError(f"no activation {name!r}")


def dropout(rate: float) -> list[nn.Module]:
    """Dropout as a list to splice in: nothing at all when ``rate`` is 0."""
    return [nn.Dropout(rate)] if rate > 0 else []


def initialise(network: nn.Module, std: float) -> None:
    """Draw weights from N(0, std), scales of normalisation from N(1, std); biases start at 0 (Radford et al. 2016).

    Args:
        network: changed in place.
        std: standard deviation; 0 leaves torch's own initialisation.
    """
    if std == 0:
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class Halving:
    """One stage between two sizes, the same for the convolution that goes down and for its transpose that goes up.

    An axis of 8 or more pixels is halved (kernel 4, stride 2, padding 1, as in DCGAN), rounding down; the transpose makes
    up for an odd size by ``output_padding``. An axis that is down to 4 to 7 keeps its size (kernel 3, stride 1, padding 1)
    while the other one goes on, so that any aspect ends in a base of 4 to 7 by 4 to 7.

    Attributes:
        inside: (height, width) before.
        outside: (height, width) after.
    """

    inside: tuple[int, int]
    outside: tuple[int, int]

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel size per axis."""
        return self._each(4, 3)

    @property
    def stride(self) -> tuple[int, int]:
        """Stride per axis."""
        return self._each(2, 1)

    @property
    def output_padding(self) -> tuple[int, int]:
        """What the transposed convolution adds to meet an odd size."""
        down, up = (
            self.inside[0] - self.outside[0] * self.stride[0],
            self.inside[1] - self.outside[1] * self.stride[1],
        )
        return down, up

    def _each(self, halved: int, kept: int) -> tuple[int, int]:
        first, second = (halved if a != b else kept for a, b in zip(self.inside, self.outside, strict=True))
        return first, second


def halvings(height: int, width: int) -> list[Halving]:
    """The stages from a picture down to its base of 4 to 7 pixels an axis.

    Args:
        height, width: 8 or more pixels.

    Raises:
        ValueError: an axis is under 8.
    """
    if min(height, width) < 8:
        raise ValueError(f"{width}x{height} is too small: each side needs at least 8 pixels")
    stages, size = [], (height, width)
    while max(size) >= 8:
        smaller = (size[0] // 2 if size[0] >= 8 else size[0], size[1] // 2 if size[1] >= 8 else size[1])
        stages.append(Halving(size, smaller))
        size = smaller
    return stages
