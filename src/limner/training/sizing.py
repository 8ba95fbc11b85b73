"""How wide the networks should be: as wide as the time allows, measured on this device with these images.

A wide network learns more from each image, a narrow one sees more images in the same time. At a given time the best
width is the one that still sees enough images (docs/fewshot.md has the measurements); with more time, or a faster
device, that is a wider one. What makes a training slow, the size of the pictures and the device, is in the measured pace
and needs no rule of its own.
"""

from __future__ import annotations

import numpy as np
import torch

from limner.data import Collection
from limner.recipe import Recipe
from limner.training.assembly import assemble
from limner.training.pace import pace

ENOUGH = 150_000
"""Images that a training should see before it is worth a wider network."""
MINUTES = 60.0
"""The time that is reckoned with where a recipe counts images or epochs instead."""
WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128)
FEW, WIDEST_FOR_FEW = 200, 48
"""Of so few pictures a wide network only learns sooner to repeat them."""
PROBES = (16, 32)
PROBED_PIXELS = 2**19
"""At most so many at once while it is measured: large pictures would need more memory than the training may have."""
SECONDS = 1.5
PLAYERS = ("generator", "discriminator")


def is_sized(recipe: Recipe) -> bool:
    """Whether all widths are numbers."""
    return not any(getattr(recipe, player).width == "auto" for player in PLAYERS)


def sized(recipe: Recipe, collection: Collection, device: torch.device) -> Recipe:
    """The recipe with numbers for widths that are ``auto``; the others stay. ``recipe`` is resolved otherwise.

    Seconds an image are taken to be ``a + b * width ** 2``, which the work of convolutions is, from two short measurements.
    """
    if is_sized(recipe):
        return recipe
    batch = max(2, PROBED_PIXELS // (collection.width * collection.height))
    probed = recipe.changed(
        {"training.batch_size": min(batch, recipe.training.batch_size), "training.micro_batch": None}
    )
    seconds = [1 / pace(assemble(_with(probed, width), collection, device), SECONDS) for width in PROBES]
    slope = max(0.0, (seconds[1] - seconds[0]) / (PROBES[1] ** 2 - PROBES[0] ** 2))
    constant = max(0.0, seconds[0] - slope * PROBES[0] ** 2)
    budget = 60 * (recipe.training.minutes or MINUTES)
    return _with(recipe, width_for(constant, slope, budget, len(collection.train)))


def width_for(constant: float, slope: float, budget: float, pictures: int) -> int:
    """The widest of :data:`WIDTHS` with which a training sees enough images in its time.

    Args:
        constant, slope: seconds an image are ``constant + slope * width ** 2``.
        budget: seconds of training.
        pictures: in the collection.
    """
    widths = np.array([width for width in WIDTHS if pictures >= FEW or width <= WIDEST_FOR_FEW])
    images = budget / np.maximum(constant + slope * widths**2, 1e-9)
    fitting = widths[images >= ENOUGH]
    return int(fitting[-1] if len(fitting) else widths[0])


def _with(recipe: Recipe, width: int) -> Recipe:
    return recipe.changed({f"{player}.width": width for player in PLAYERS if getattr(recipe, player).width == "auto"})
