"""The averaged generator: an exponential moving average of weights and running statistics."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from limner.recipe import Ema


class AveragedGenerator:
    """A plain copy of the generator, in eval mode, whose weights follow the trained ones slowly.

    Parameters and floating buffers (the statistics of batch normalisation) are averaged, other buffers copied. With a
    half-life of 0 the copy is simply equal.

    Args:
        generator: the network in training.
        settings: half-life in images, and ramp.
    """

    def __init__(self, generator: nn.Module, settings: Ema) -> None:
        self.settings = settings
        self.source = generator
        self.network = copy.deepcopy(generator).eval().requires_grad_(False)
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._copied: list[tuple[Tensor, Tensor]] = []
        for mine, theirs in zip(_tensors(self.network), _tensors(generator), strict=True):
            (self._pairs if mine.is_floating_point() else self._copied).append((mine, theirs))

    def decay(self, batch_size: int, images: int) -> float:
        """How much of the average stays, after ``images`` images of which ``batch_size`` are new."""
        half_life = float(self.settings.half_life)
        if self.settings.ramp:
            half_life = min(half_life, images * self.settings.ramp)
        return float(0.5 ** (batch_size / half_life)) if half_life else 0.0

    @torch.no_grad()
    def update(self, batch_size: int, images: int) -> None:
        """Take one step after the trained generator."""
        if self.settings.half_life == 0:
            return
        weight = 1.0 - self.decay(batch_size, images)
        mine, theirs = ([pair[side].detach() for pair in self._pairs] for side in (0, 1))
        torch._foreach_lerp_(mine, theirs, weight)
        for copied, trained in self._copied:
            copied.copy_(trained)

    @torch.no_grad()
    def current(self) -> nn.Module:
        """The network to sample from, in eval mode."""
        if self.settings.half_life == 0:
            for mine, theirs in (*self._pairs, *self._copied):
                mine.copy_(theirs)
        return self.network


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
