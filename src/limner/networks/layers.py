"""What the families share: activations, initial weights, layers in blocks, and running blocks twice to save memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from limner.networks.norms import ConditionalNorm, SpectralNorm, norm, release, spectral


class Opinion(NamedTuple):
    """What a discriminator has to say about images.

    Attributes:
        logits: [b], how real each one looks, before any sigmoid.
        classes: [b, k] logits of the classes, where the discriminator tells them apart.
        reconstruction: [b, c, h', w'], a small version of each image as remembered from features, in [-1, 1].
    """

    logits: Float[Tensor, " b"]
    classes: Float[Tensor, "b k"] | None = None
    reconstruction: Float[Tensor, "b c h w"] | None = None


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


def after(channels: int, name: str, classes: int, activate: str, slope: float, rate: float) -> list[nn.Module]:
    """What follows a hidden convolution, to splice in: normalisation ``name``, activation ``activate``, dropout ``rate``."""
    return [*norm(name, channels, classes), activation(activate, slope), *dropout(rate)]


def doubling(width: int, count: int) -> list[int]:
    """Channels at ``count`` sizes from the picture down to the base: doubling, up to eight times the width."""
    return [width * min(2**k, 8) for k in range(count)]


def initialise(network: nn.Module, std: float) -> None:
    """Draw weights from N(0, std), scales of normalisation from N(1, std); biases start at 0 (Radford et al. 2016).

    A network that has a method ``initialise(std)`` draws its weights by itself, and a layer that has a method ``draw(std)``
    likewise. Embeddings without one, scales and offsets of classes among them, stay as they were made.

    Args:
        network: changed in place.
        std: standard deviation; 0 leaves torch's own initialisation.
    """
    own = getattr(network, "initialise", None)
    if own is not None:
        own(std)
        return
    if std == 0:
        return
    normalised = release(network)
    for module in network.modules():
        draw = getattr(module, "draw", None)
        if draw is not None:
            draw(std)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm) and module.affine:
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    if normalised:
        spectral(network)


class Stack(nn.Sequential):
    """Layers one after the other, in blocks that can be run twice to save memory.

    Args:
        blocks: the layers of each block. Their names in the state are those of one sequence.
    """

    def __init__(self, blocks: Sequence[Sequence[nn.Module]]) -> None:
        super().__init__(*(layer for block in blocks for layer in block))
        self.sizes = [len(block) for block in blocks]

    def forward(
        self,
        values: Tensor,
        labels: Int[Tensor, " b"] | None = None,
        *,
        again: bool = False,
        blocks: slice = slice(None),
    ) -> Tensor:
        """What comes out of the last block.

        Args:
            values: what goes into the first one.
            labels: the class of each image, for layers that depend on it.
            again: keep what goes into each block only, and compute the rest again in the backward pass.
            blocks: which blocks; all of them unless told.
        """
        layers = iter(self)
        for block in [[next(layers) for _ in range(size)] for size in self.sizes][blocks]:
            values = recompute(partial(run, block), block, values, labels) if again else run(block, values, labels)
        return values


def run(layers: Iterable[nn.Module], values: Tensor, labels: Int[Tensor, " b"] | None = None) -> Tensor:
    """Layers one after the other; those that depend on the class get the labels."""
    for layer in layers:
        values = layer(values, labels) if isinstance(layer, ConditionalNorm) else layer(values)
    return values


def recompute(function: Callable[..., Tensor], layers: Iterable[nn.Module], *inputs: Tensor | None) -> Tensor:
    """Call a function of layers so that only its inputs are kept for the backward pass, which calls it again.

    Chen, Xu, Zhang and Guestrin 2016, "Training deep nets with sublinear memory cost". The second time is the same as the
    first: dropout repeats, spectral norms are the same estimates, and neither these nor the running statistics of batch
    normalisation are updated again.

    Args:
        function: calls the layers.
        layers: those that it calls.
        inputs: what it is called with.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    state = _Repetition(module for layer in layers for module in layer.modules())
    result: Tensor = checkpoint(function, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), state))
    return result


class _Repetition:
    """A context in which layers do again what they were about to do when it was made, and update no statistics.

    It can be entered more than once: a penalty on gradients goes backward twice.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.batches: list[nn.Module] = []
        self.estimates: list[tuple[SpectralNorm, Tensor]] = []
        for module in modules:
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                self.batches.append(module)
            elif isinstance(module, SpectralNorm):
                self.estimates.append((module, module.left.clone()))
        self.statistics: list[dict[str, Tensor]] = []

    def __enter__(self) -> None:
        self.statistics = [dict(batch.named_buffers(recurse=False)) for batch in self.batches]
        for batch, buffers in zip(self.batches, self.statistics, strict=True):
            for name, buffer in buffers.items():
                setattr(batch, name, buffer.clone())  # to be updated in place of the real ones
        for estimate, left in self.estimates:
            estimate.again = left

    def __exit__(self, *_: object) -> None:
        for batch, buffers in zip(self.batches, self.statistics, strict=True):
            for name, buffer in buffers.items():
                setattr(batch, name, buffer)
        for estimate, _left in self.estimates:
            estimate.again = None
