"""Pairs of networks. A family knows nothing of losses, optimizers or data."""

from __future__ import annotations

import torch
from torch import nn

from limner.errors import InputError
from limner.networks.layers import initialise
from limner.networks.outline import check_room, outlines
from limner.noise import Stream, derived_seed
from limner.recipe import Player, Recipe
from limner.tables import NETWORKS

__all__ = ["build", "place"]


def place(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Move a network, in channels_last: the order in which images are kept, and in which convolutions are fastest."""
    moved: nn.Module = network.to(device, dtype)
    return moved.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def build(recipe: Recipe, *, width: int, height: int, channels: int, classes: int = 0) -> tuple[nn.Module, nn.Module]:
    """The pair that a recipe describes, with its initial weights.

    The weights follow from ``recipe.training.seed`` alone; torch's global generator is left as it was.

    Args:
        recipe: a checked recipe.
        width, height: size of the images in pixels, 8 to 1024.
        channels: 1, 3 or 4.
        classes: how many classes the pair is conditioned on, by ``recipe.network.conditioning``; 0 for none.

    Returns:
        generator ([B, Z] and labels [B] -> [B, C, H, W] in [-1, 1]) and discriminator ([B, C, H, W] and labels -> [B]
        logits). Labels are int64 from 0 on, and not needed without classes.

    Raises:
        ValueError: the family cannot make such images.
        InputError: the family cannot be conditioned in that way, conditioning and classes do not go together, or the weights
            would not fit into the machine.
    """
    if not torch.empty(0).is_meta:
        with outlines():
            check_room(*build(recipe, width=width, height=height, channels=channels, classes=classes))
    family, conditioning = NETWORKS[recipe.network.family], recipe.network.conditioning
    _check_conditioning(recipe.network.family, conditioning, classes)
    module = family.load()
    shape = {"width_px": width, "height_px": height, "channels": channels, "classes": classes}

    def fields(section: str, player: Player) -> dict[str, object]:
        accepted = (name.split(".") for name in family.fields)
        return {field: getattr(player, field) for owner, field in accepted if owner == section}

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(recipe.training.seed, Stream.INIT, 0))
        generator: nn.Module = module.Generator(
            latent=recipe.network.latent, **shape, **fields("generator", recipe.generator)
        )
        initialise(generator, recipe.network.init_std)
        torch.manual_seed(derived_seed(recipe.training.seed, Stream.INIT, 1))
        discriminator: nn.Module = module.Discriminator(
            conditioning=conditioning, **shape, **fields("discriminator", recipe.discriminator)
        )
        initialise(discriminator, recipe.network.init_std)
    return generator, discriminator


def _check_conditioning(family: str, conditioning: str, classes: int) -> None:
    """Find out whether a family can be conditioned so.

    Raises:
        InputError: it cannot.
    """
    able = NETWORKS[family].conditions
    if conditioning != "none" and conditioning not in able:
        can = f"it can do {', '.join(able)}" if able else "it can do none; leave it at none or take another family"
        raise InputError(f"network.conditioning = {conditioning}: the {family} family cannot; {can}")
    if classes and conditioning == "none":
        can = f"set it to {' or '.join(able)}" if able else f"the {family} family cannot be conditioned"
        raise InputError(f"network.conditioning = none with {classes} classes: {can}")
    if conditioning != "none" and not classes:
        raise InputError(f"network.conditioning = {conditioning} without classes: name them in network.classes")
