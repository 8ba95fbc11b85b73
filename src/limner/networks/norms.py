"""Normalisation: by statistics of the features (batch, instance, layer), by class, or of the weights (spectral)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

_WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)
_ITERATIONS = 15  # of the power method at the start; one more at each forward pass


class ConditionalNorm(nn.Module):
    """Normalisation whose scale and offset depend on the class (Dumoulin, Shlens and Kudlur 2017; de Vries et al. 2017).

    Args:
        norm: a normalisation without scale and offset of its own.
        channels: how many it normalises.
        classes: how many there are.
    """

    def __init__(self, norm: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = norm
        self.gains = nn.Embedding(classes, channels)
        self.biases = nn.Embedding(classes, channels)
        nn.init.ones_(self.gains.weight)
        nn.init.zeros_(self.biases.weight)

    def forward(self, features: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        """Features of mean ``biases`` and deviation ``gains`` of each image's class."""
        gains, biases = (rows(labels)[:, :, None, None].to(features.dtype) for rows in (self.gains, self.biases))
        return torch.addcmul(biases, self.norm(features), gains)


def norm(name: str, channels: int, classes: int = 0) -> list[nn.Module]:
    """The normalisation of that name, as a list to splice in.

    Args:
        name: ``batch``, ``instance``, ``layer`` (over channels and pixels: one group), ``none`` or ``spectral`` (nothing
            here; see :func:`spectral`).
        channels: how many come in.
        classes: scale and offset by class where this is not 0.

    Raises:
        ValueError: there is none of that name.
    """
    affine = classes == 0
    layer: nn.Module
    match name:
        case "batch":
            layer = nn.BatchNorm2d(channels, affine=affine)
        case "instance":
            layer = nn.InstanceNorm2d(channels, affine=affine)
        case "layer":
            layer = nn.GroupNorm(1, channels, affine=affine)
        case "none" | "spectral":
            return []
        case _:
            raise ValueError(f"no normalisation {name!r}")
    return [layer if affine else ConditionalNorm(layer, channels, classes)]


def normalises(name: str) -> bool:
    """Whether that normalisation has layers of its own, which make biases before them useless."""
    return name not in ("none", "spectral")


class SpectralNorm(nn.Module):
    """Divide a weight by its largest singular value (Miyato, Kataoka, Koyama and Yoshida, ICLR 2018, algorithm 1).

    Torch has a parametrization of that name. This one computes in the weights' own precision under autocast, can repeat a
    forward pass exactly (:func:`limner.networks.layers.recompute`), and keeps one vector only, whose length does not
    matter: so an average of it over a training still serves.

    Args:
        weight: the initial one.
        transposed: the outputs are its second axis, as in a transposed convolution.
    """

    left: Tensor

    def __init__(self, weight: Tensor, transposed: bool) -> None:
        super().__init__()
        self.transposed = transposed
        self.again: Tensor | None = None
        matrix = self._matrix(weight.detach())
        left = torch.randn(len(matrix), dtype=matrix.dtype, device=matrix.device)
        for _ in range(_ITERATIONS):
            left, _right = self._improved(matrix, left)
        self.register_buffer("left", left)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight over its spectral norm; in training mode the estimate is kept."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = self._matrix(weight)
            with torch.no_grad():
                left, right = self._improved(matrix, self.left if self.again is None else self.again)
                if self.training and self.again is None:
                    self.left.copy_(left)
            return weight / torch.dot(left, torch.mv(matrix, right))

    def _matrix(self, weight: Tensor) -> Tensor:
        return (weight.transpose(0, 1) if self.transposed else weight).flatten(1)

    @staticmethod
    def _improved(matrix: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """Singular vectors after one more step of the power method."""
        right = F.normalize(torch.mv(matrix.T, left), dim=0)
        return F.normalize(torch.mv(matrix, right), dim=0), right


def spectral(network: nn.Module) -> None:
    """Normalise the weights of every convolution, linear layer and embedding by their spectral norms, in place."""
    for module in [*network.modules()]:
        if isinstance(module, _WEIGHTED) and not parametrize.is_parametrized(module, "weight"):
            weight = module.weight
            parametrized = SpectralNorm(weight, isinstance(module, nn.ConvTranspose2d))
            parametrize.register_parametrization(module, "weight", parametrized)


def release(network: nn.Module) -> bool:
    """Undo :func:`spectral`, back to the weights underneath; say whether there was anything to undo."""
    found = [module for module in network.modules() if parametrize.is_parametrized(module, "weight")]
    for module in found:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
    return bool(found)
