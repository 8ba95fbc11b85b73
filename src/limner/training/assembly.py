"""Assembly: a resolved recipe and a collection become networks, optimizers, losses and data, and so a loop."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import torch
import torch._dynamo  # what torch's optimizers import at their first use: here it belongs to the imports
from torch import nn
from torch.optim import Optimizer

from limner.data import Collection
from limner.device import autocast_for, choose_precision, keep_freed_memory, parameter_type
from limner.errors import InputError
from limner.networks import build, place
from limner.networks.together import ALONE, Together, join
from limner.recipe import Player, Recipe
from limner.tables import OBJECTIVES, OPTIMIZERS, REGULARIZERS
from limner.training.augment import Augmentation
from limner.training.ema import AveragedGenerator
from limner.training.feed import Feed
from limner.training.loop import Loop
from limner.training.objectives import Objective
from limner.training.recording import CudaRecorder, Recorded, can_be_recorded
from limner.training.step import Penalties, Step
from limner.training.turns import pieces

PENALTY_SCALE = 0.0002
"""Gamma of R1 for one pixel and a batch of one (Karras et al. 2020, "Training GANs with limited data", appendix C)."""


def resolved(recipe: Recipe, collection: Collection, device: torch.device) -> Recipe:
    """The recipe with everything that was measured or chosen written in: size, channels, classes, device, precision.

    Raises:
        InputError: the recipe wants classes that the collection does not have.
    """
    return recipe.changed(
        {
            "image.width": collection.width,
            "image.height": collection.height,
            "image.channels": collection.channels,
            "training.device": str(device),
            "training.precision": choose_precision(recipe.training.precision, device),
            **_classes(recipe, collection),
            **_gammas(recipe, collection.width * collection.height),
        }
    )


def _gammas(recipe: Recipe, pixels: int) -> dict[str, float]:
    """The penalties' weights that are left open: the gradient's square grows with the pixels."""
    gamma = float(f"{PENALTY_SCALE * pixels / recipe.training.batch_size:.3g}")
    return {f"regularizers.{name}": gamma for name in ("r1", "r2") if getattr(recipe.regularizers, name) == "auto"}


def _classes(recipe: Recipe, collection: Collection) -> dict[str, list[str]]:
    if recipe.network.conditioning == "none":
        return {}
    where, found = collection.summary["location"], tuple(collection.classes)
    if collection.labels is None or len(found) < 2:
        raise InputError(
            f"{where}: has no classes to train on; they are two or more first-level sub-folders, or a label for each picture."
            " Leave out --classes"
            " (network.conditioning) to train without"
        )
    if recipe.network.classes not in (None, found):
        raise InputError(
            f"{where}: its classes ({', '.join(found[:10])}) are not those of the recipe (network.classes)"
        )
    return {"network.classes": list(found)}


def networks_for(recipe: Recipe, collection: Collection) -> tuple[nn.Module, nn.Module]:
    """The pair that a resolved recipe makes for a collection's pictures."""
    return build(
        recipe,
        width=collection.width,
        height=collection.height,
        channels=collection.channels,
        classes=len(recipe.network.classes or ()),
    )


def assemble(recipe: Recipe, collection: Collection, device: torch.device, together: Together = ALONE) -> Loop:
    """Everything, ready to run.

    Args:
        recipe: resolved.
        collection: prepared images.
        device: of this process.
        together: the processes that train together; each assembles its own.

    Raises:
        InputError: there are more processes than images in a batch, or in a part of one.
    """
    together = _with_images(together, recipe)
    keep_freed_memory()
    dtype, training = parameter_type(recipe.training.precision), recipe.training
    generator, discriminator = (place(network, device, dtype).train() for network in networks_for(recipe, collection))
    for network in (generator, discriminator):
        network.recompute = training.recompute  # type: ignore[assignment]
        join(network, together)
    augment = Augmentation(recipe.augment, training.seed, device)
    step = Step(
        generator,
        discriminator,
        make_optimizer(generator, recipe.generator),
        make_optimizer(discriminator, recipe.discriminator),
        make_objective(recipe),
        autocast_for(training.precision, device),
        penalties=make_penalties(recipe),
        augment=augment if augment.active else None,
        class_weight=recipe.objective.classification,
        memory_weight=recipe.objective.reconstruction,
        generator_clip_norm=recipe.generator.clip_norm,
        discriminator_clip_norm=recipe.discriminator.clip_norm,
        micro_batch=training.micro_batch,
        together=together,
    )
    recordable = can_be_recorded(device, together, training.recompute)
    return Loop(
        recipe=recipe,
        step=step,
        recorded=Recorded(step, CudaRecorder()) if recordable else None,
        feed=Feed(collection, training.seed, device, dtype, recipe.image),
        average=AveragedGenerator(generator, recipe.ema),
        images=total_images(recipe, len(collection.train)),
    )


def _with_images(together: Together, recipe: Recipe) -> Together:
    """The processes, each of which has images of every part of a batch."""
    batch, micro, size = recipe.training.batch_size, recipe.training.micro_batch, together.size
    parts = {len(part) for part in pieces(0, batch, micro)}
    if min(parts) < size:
        cut = "" if micro is None else f" in parts of {micro} (training.micro_batch)"
        raise InputError(
            f"training.batch_size = {batch}{cut}: {size} processes need a part of {size} images or more, and one has"
            f" {min(parts)}; start fewer processes, or choose other numbers"
        )
    return replace(together, even=all(part % size == 0 for part in parts))


def make_objective(recipe: Recipe) -> Objective:
    """The losses that a recipe names."""
    entry = OBJECTIVES[recipe.objective.name]
    accepted = {name.split(".")[1]: getattr(recipe.objective, name.split(".")[1]) for name in entry.fields}
    objective: Objective = entry.load()(**accepted)
    return objective


def make_penalties(recipe: Recipe) -> Penalties:
    """The penalties that a recipe gives a weight."""
    settings = recipe.regularizers
    weights = {name: getattr(settings, name) for name in REGULARIZERS}
    terms = [(REGULARIZERS[name].load(), weight) for name, weight in weights.items() if weight > 0]
    return Penalties(terms, settings.every, settings.clip)


def make_optimizer(network: nn.Module, player: Player) -> Optimizer:
    """The optimizer that a recipe names, fused where the device can."""
    entry = OPTIMIZERS[player.optimizer]
    options = {name.split(".")[1]: getattr(player, name.split(".")[1]) for name in entry.fields}
    device = next(network.parameters()).device
    if device.type == "cuda":  # a recorded update reads rates and counts on the device, where they change
        options["capturable"] = True
    if "beta1" in options:
        options["betas"] = (options.pop("beta1"), options.pop("beta2"))
        options["fused"] = device.type in ("cpu", "cuda")
    rate = torch.tensor(player.lr, device=device) if device.type == "cuda" else player.lr
    optimizer: Optimizer = entry.load()(network.parameters(), lr=rate, **options)
    return optimizer


def total_images(recipe: Recipe, epoch_size: int) -> int | None:
    """Images that the recipe's duration comes to, in whole updates; ``None`` when it is counted in minutes."""
    training = recipe.training
    if training.minutes is not None:
        return None
    # Rounded first: 1.1 epochs of 100 images are 110, whatever binary fractions make of it.
    images = training.images if training.images is not None else round((training.epochs or 0) * epoch_size, 6)
    portion = training.batch_size * training.critic_steps
    return max(1, ceil(images / portion)) * portion
