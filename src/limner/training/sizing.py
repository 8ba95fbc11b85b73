"""How wide the networks should be: as wide as the time allows, measured on this device with these images.

A wide network learns more from each image, a narrow one sees more images in the same time. At a given time the best
width is the one that still sees enough images; with more time, or a faster device, that is a wider one. What makes a
training slow, the size of the pictures and the device, is in the measured pace and needs no rule of its own.
"""

from __future__ import annotations

import torch

from limner.data import Collection
from limner.networks.together import ALONE, Together
from limner.recipe import Recipe
from limner.training.assembly import assemble, total_images
from limner.training.pace import pace

ENOUGH = 80_000
"""Images that a training should see before it is worth a wider network: with 12 channels, maps and emoji at 64x64 gained
little more after 60,000 (docs/fewshot.md)."""
MINUTES = 60.0
"""Where a recipe counts images or epochs instead, these should take no longer."""
WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128)
FEW, WIDEST_FOR_FEW = 200, 48
"""Of so few pictures a wide network only learns sooner to repeat them."""
PROBES = {"cpu": (16, 32), "cuda": (32, 96), "mps": (32, 96)}
"""Widths that are measured; a GPU is not busy yet with narrow ones."""
MOST_BEYOND = 2
"""A width is at most so many times the widest that was measured."""
PROBED_PIXELS = 2**19
"""At most so many at once while it is measured: large pictures would need more memory than the training may have."""
SECONDS, ROUNDS = 0.8, 2
"""Of one measurement, and how often each width is measured, in turns: the quicker one counts, for what else the machine does
only ever makes a training slower."""
PLAYERS = ("generator", "discriminator")


def is_sized(recipe: Recipe) -> bool:
    """Whether all widths are numbers."""
    return not any(getattr(recipe, player).width == "auto" for player in PLAYERS)


def sized(recipe: Recipe, collection: Collection, device: torch.device, together: Together = ALONE) -> Recipe:
    """The recipe with numbers for widths that are ``auto``; the others stay. ``recipe`` is resolved otherwise.

    With several processes all of them measure together, and come to the same widths.

    Seconds an image are taken to be ``a + b * width ** 2``, which the work of convolutions is, from two short measurements.
    """
    if is_sized(recipe):
        return recipe
    training, probes = recipe.training, PROBES[device.type]
    most = max(2, PROBED_PIXELS // (collection.width * collection.height)) * together.size
    batch = min(training.batch_size, most)
    micro = None if training.micro_batch is None else min(training.micro_batch, batch)
    probed = recipe.changed({"training.batch_size": batch, "training.micro_batch": micro})
    rounds = [
        [1 / pace(assemble(_with(probed, width), collection, device, together), SECONDS) for width in probes]
        for _ in range(ROUNDS)
    ]
    seconds = [min(found) for found in zip(*rounds, strict=True)]
    slope = max(0.0, (seconds[1] - seconds[0]) / (probes[1] ** 2 - probes[0] ** 2))
    constant = max(0.0, seconds[0] - slope * probes[0] ** 2)
    enough = total_images(recipe, len(collection.train)) or ENOUGH
    budget = 60 * (training.minutes or MINUTES)
    return _with(recipe, width_for(constant, slope, budget / enough, len(collection.train), MOST_BEYOND * probes[1]))


def width_for(constant: float, slope: float, allowed: float, pictures: int, most: int) -> int:
    """The widest of :data:`WIDTHS` that is quick enough; the narrowest when none is.

    Args:
        constant, slope: seconds an image are ``constant + slope * width ** 2``.
        allowed: seconds an image may take.
        pictures: in the collection.
        most: what was measured says nothing of wider ones.
    """
    most = min(most, WIDEST_FOR_FEW) if pictures < FEW else most
    fitting = [width for width in WIDTHS if width <= most and constant + slope * width**2 <= allowed]
    return max(fitting, default=WIDTHS[0])


def widths(recipe: Recipe) -> str:
    """Both widths, for people."""
    return f"generator {recipe.generator.width} channels wide, discriminator {recipe.discriminator.width}"


def _with(recipe: Recipe, width: int) -> Recipe:
    return recipe.changed({f"{player}.width": width for player in PLAYERS if getattr(recipe, player).width == "auto"})
