"""The compact network behind the features ``limner``: a small stack of convolutions and what is averaged from it.

An image's features are the mean and the spread over the image of every channel at four depths, and the mean over each quarter
of the image at the last one. So both fine structure (noise, blur) and what is shown where are in them. They are brought
to one scale by a fixed linear map, which the weights hold together with everything else; ``experiments/extractor`` trained it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import InputError

WIDTHS = (16, 32, 64, 128)
"""Channels at the four depths; each depth after the first has half the resolution of the one before."""
FORMAT = "1"


class Unit(nn.Module):
    """A 3x3 convolution; with batch normalisation while it is trained, which is folded into it afterwards."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, normalised: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=not normalised)
        self.norm: nn.Module = nn.BatchNorm2d(outputs) if normalised else nn.Identity()

    def forward(self, values: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        """Convolve."""
        result: Tensor = self.norm(self.convolution(values))
        return result


class LimnerNetwork(nn.Module):
    """Images to pooled statistics to features.

    Args:
        widths: channels at each depth.
        dimensions: of the features.
        normalised: with batch normalisation, for training.
    """

    centre: Tensor
    projection: Tensor

    def __init__(self, widths: Sequence[int] = WIDTHS, dimensions: int = 128, *, normalised: bool = False) -> None:
        super().__init__()
        self.stem = Unit(3, widths[0], normalised=normalised)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(Unit(a, b, 2, normalised=normalised) for a, b in pairs)
        self.deepen = nn.ModuleList(Unit(b, b, normalised=normalised) for _, b in pairs)
        statistics = 2 * sum(widths) + 4 * widths[-1]
        self.register_buffer("centre", torch.zeros(statistics))
        self.register_buffer("projection", torch.zeros(dimensions, statistics))

    def pooled(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b p"]:
        """The statistics of each image, in [-1, 1], at least 16 pixels high and wide."""
        values = functional.relu(self.stem(images))
        found = [*_moments(values)]
        for down, deepen in zip(self.down, self.deepen, strict=True):
            values = functional.relu(down(values))
            values = functional.relu(values + deepen(values))
            found.extend(_moments(values))
        found.append(functional.adaptive_avg_pool2d(values, 2).flatten(1))
        return torch.cat(found, dim=1)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """The features of images in [-1, 1]."""
        return (self.pooled(images) - self.centre) @ self.projection.T


def _moments(values: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
    # Mean of squares less square of mean: one pass each, twice as fast here as a variance of an image's channels.
    mean = values.mean((2, 3))
    variance = (values * values).mean((2, 3)) - mean * mean
    # The small number keeps the root's slope finite where a channel is silent.
    return mean, (variance.clamp(min=0) + 1e-6).sqrt()


def load_network(path: Path) -> LimnerNetwork:
    """The network from its safetensors file, ready for use.

    Raises:
        InputError: the file is missing, damaged or of another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") != FORMAT:
            raise ValueError(f"format {metadata.get('format')}, this version reads {FORMAT}")
        network = LimnerNetwork(json.loads(metadata["widths"]), int(metadata["dimensions"]))
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"features 'limner': {path} cannot be used ({why}); install Limner again") from None
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)
