"""Normalisation: by statistics of the features (batch, instance, layer), by class, or of the weights (spectral)."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from limner.networks import packed
from limner.networks.together import ALONE, Together

_WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)
_ITERATIONS = 15  # of the power method at the start; one more at each forward pass


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation (Ioffe and Szegedy 2015) whose batch is that of all processes that train together.

    Torch's own can do that on NVIDIA's devices only, and its gradient has no gradient. By itself, and when it does not train, a
    process takes torch's, or for few channels on a processor :mod:`limner.networks.packed`.

    Attributes:
        together: which processes have the rest of the batch.
    """

    together: Together = ALONE

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Features of mean 0 and deviation 1, or of the learned ones."""
        if self.together.size == 1 or not self.training:
            if self.training and self.affine and packed.suits(features):
                normalised, mean, variance = packed.batch_norm(features, self.weight, self.bias, self.eps)
                self._remember(mean, variance, features.numel() // features.shape[1])
                return normalised
            return super().forward(features)
        half = features.dtype in (torch.bfloat16, torch.float16)
        precise = features.float() if half else features
        count, mean, variance = self._statistics(precise)
        self._remember(mean, variance, count)
        scale = torch.rsqrt(variance + self.eps)
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        scale, shift = (each.to(precise.dtype)[:, None, None] for each in (scale, shift))
        return torch.addcmul(shift, precise, scale).to(features.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor | int) -> None:
        """Let the running statistics follow those of a batch, of which each channel has ``count`` numbers."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)

    def _statistics(self, features: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """How many numbers a channel has over all processes, and their mean and variance (Chan, Golub and LeVeque 1979)."""
        with torch.autocast(features.device.type, enabled=False):
            variances, means = torch.var_mean(features, (0, 2, 3), correction=0)
            count = means.new_full((1,), features.numel() // features.shape[1])
            row = torch.cat([count, means, variances])[None]
            rows = replace(self.together, even=True).gather(row).everything
            counts, means, variances = rows[:, :1], *rows[:, 1:].chunk(2, dim=1)
            count = counts.detach().sum()
            shares = counts.detach() / count
            mean = (shares * means).sum(0)
            return count, mean, (shares * (variances + (means - mean).square())).sum(0)


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
            layer = BatchNorm(channels, affine=affine)
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
        left = matrix.new_empty(len(matrix)).normal_()
        for _ in range(0 if weight.is_meta else _ITERATIONS):
            left, _right = self._improved(matrix, left)
        self.register_buffer("left", left)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight over its spectral norm; in training mode the estimate is kept."""
        if weight.is_meta:  # it has a shape and no numbers; another tensor, as all that is computed
            return weight.view(weight.shape)
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
    """Normalise the weights of every convolution, linear layer and embedding by their spectral norms, in place.

    Modules with ``is_input`` stay as they are: what joins a class to the latent vector is input, as that one is, and would be a
    tenth as long with a norm of 1.
    """
    left_out = {part for module in network.modules() if getattr(module, "is_input", False) for part in module.modules()}
    for module in [*network.modules()]:
        if module in left_out:
            continue
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
