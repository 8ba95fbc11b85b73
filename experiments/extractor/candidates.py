"""What could serve as features: the trained network, the same untrained, pixels, and statistics of fixed filters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from train import set_projection

from limner.judging.features import LimnerExtractor, _in_batches, working_size
from limner.judging.features.network import LimnerNetwork

Features = Callable[[np.ndarray], np.ndarray]


def trained(weights: Path) -> Features:
    """The network that is shipped, or other weights of it."""
    return LimnerExtractor(weights=weights)


def untrained(pool: np.ndarray) -> Features:
    """The same network as it is initialised, centred and scaled in the same way."""
    torch.manual_seed(0)
    network = LimnerNetwork().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            torch.nn.init.zeros_(module.bias)
    set_projection(network, pool, 128, 0.4)
    return _Prepared(network)


class _Prepared:
    """A function of float RGB, behind the preparation that ``limner`` has."""

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        self._network = network

    def _features(self, images: Tensor) -> Tensor:
        size = working_size(*images.shape[2:])
        if size != tuple(images.shape[2:]):
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        return self._network(images.float() / 127.5 - 1)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return _in_batches(images, self._features, "candidate", None)


def _scaled(function: Callable[[Tensor], Tensor], pool: np.ndarray, power: float = 0.4) -> Features:
    """128 principal directions of a function of images, scaled as the network's features are."""
    seen = torch.from_numpy(_in_batches(pool, lambda x: function(x.float() / 127.5 - 1), "candidate", None)).double()
    centre, spread = seen.mean(0), seen.std(0)
    scale = 1 / spread.clamp(min=float(spread.median()) * 0.05)
    variance, directions = torch.linalg.eigh(((seen - centre) * scale).T @ ((seen - centre) * scale) / len(seen))
    variance, directions = variance.flip(0)[:128].clamp(min=1e-6), directions.flip(1)[:, :128]
    loud = variance**-power
    loud *= (len(variance) / float((variance * loud**2).sum())) ** 0.5
    turn = (scale[:, None] * directions * loud).float()
    return _Prepared(lambda images: (function(images) - centre.float()) @ turn)


def pixels(pool: np.ndarray) -> Features:
    """Thumbnails of 16 x 16 pixels in their principal directions."""
    return _scaled(lambda x: functional.interpolate(x, (16, 16), mode="bilinear", antialias=True).flatten(1), pool)


def filters(pool: np.ndarray) -> Features:
    """Mean and spread of oriented derivatives at four scales, and of colours: a bank of Gabor filters, nothing learned."""
    size, bank = 9, []
    y, x = torch.meshgrid(torch.arange(size) - 4.0, torch.arange(size) - 4.0, indexing="ij")
    for angle in torch.arange(6) * torch.pi / 6:
        u = x * torch.cos(angle) + y * torch.sin(angle)
        for wave in (torch.cos, torch.sin):
            kernel = wave(u * 1.6) * torch.exp(-(x**2 + y**2) / 6)
            bank.append((kernel - kernel.mean()) / (kernel - kernel.mean()).norm())
    weights = torch.stack(bank)[:, None]

    def statistics(images: Tensor) -> Tensor:
        found = [images.mean((2, 3)), images.std((2, 3))]
        grey = images.mean(1, keepdim=True)
        opponent = torch.stack([images[:, 0] - images[:, 1], images[:, 2] - grey[:, 0]], 1)
        found += [opponent.abs().mean((2, 3)), opponent.std((2, 3))]
        for _ in range(4):
            answer = functional.conv2d(functional.pad(grey, (4,) * 4, mode="replicate"), weights)
            energy = (answer[:, 0::2] ** 2 + answer[:, 1::2] ** 2 + 1e-6).sqrt()
            found += [energy.mean((2, 3)), energy.std((2, 3)), functional.adaptive_avg_pool2d(energy, 2).flatten(1)]
            grey = functional.avg_pool2d(grey, 2) if min(grey.shape[2:]) >= 8 else grey
        return torch.cat(found, 1)

    return _scaled(statistics, pool)


CANDIDATES: dict[str, Callable[[Path, np.ndarray], Features]] = {
    "limner": lambda weights, pool: trained(weights),
    "untrained": lambda weights, pool: untrained(pool),
    "filters": lambda weights, pool: filters(pool),
    "pixels": lambda weights, pool: pixels(pool),
}
"""Name -> how to make it, from the trained weights and the drawn images that the others are scaled by."""
