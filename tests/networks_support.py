"""What the tests of networks share: small recipes, pairs built from them, and weights that hide no gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limner import networks
from limner.recipe import Recipe, merged


def recipe(family: str, **overrides: object) -> Recipe:
    """A recipe of very small networks of that family."""
    small: dict[str, object] = {"generator.width": 4, "discriminator.width": 4}
    if family == "mlp":
        small = {"generator.hidden": [12, 24], "discriminator.hidden": [24, 12]}
    values = {"network.family": family, "network.latent": 16, "training.epochs": 1, **small, **overrides}
    return Recipe.from_values(merged({}, values))


def build(
    family: str, width: int = 33, height: int = 97, channels: int = 3, **overrides: object
) -> tuple[nn.Module, nn.Module]:
    """The pair of :func:`recipe`, conditioned on as many classes as ``network.classes`` names."""
    chosen = recipe(family, **overrides)
    classes = len(chosen.network.classes or ())
    return networks.build(chosen, width=width, height=height, channels=channels, classes=classes)


@torch.no_grad()
def nudged(network: nn.Module, std: float = 0.05) -> nn.Module:
    """The network with noise added to its weights: some layers start at 0 and hide the gradients of others."""
    for parameter in network.parameters():
        parameter.add_(std * torch.randn_like(parameter))
    return network


def without_gradient(*pair: nn.Module) -> list[str]:
    """Names of the parameters that got no gradient, or one of zeros."""
    found = [item for network in pair for item in network.named_parameters()]
    return [name for name, weight in found if weight.grad is None or not weight.grad.abs().sum() > 0]


def everything_said(discriminator: nn.Module, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """One number that depends on all that a discriminator answers, its opinion included where it has one."""
    opinion = getattr(discriminator, "opinion", None)
    answers = (discriminator(images),) if opinion is None else opinion(images, labels)
    return torch.stack([answer.square().sum() for answer in answers if answer is not None]).sum()
