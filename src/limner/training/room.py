"""How much of the disk a training takes, at most: told before it begins."""

from __future__ import annotations

import math

from limner.recipe import Recipe, Snapshots
from limner.training.callbacks import rung

BESIDES = 1 << 18
"""Bytes of a checkpoint that are no weights: headers of its files, the recipe, buffers, counters of the optimizers."""
SHEET_SIDE = 1024
"""Pixels: small grids are enlarged to no more."""
LINE, EVALUATION, REPORT = 400, 6_000, 4_000_000
"""Bytes of a line of the log, of one about an evaluation, and of the report's text and drawings."""
SHEETS, SHOWN = 6, 64
"""Sheets of so many pictures in the thorough evaluation at the end, and again in the report."""


def checkpoint_bytes(recipe: Recipe, parameters: tuple[int, int]) -> tuple[int, int]:
    """Bytes of one checkpoint, at most, and of the generator's file in it.

    Args:
        recipe: resolved.
        parameters: of generator and discriminator.
    """
    width = 8 if recipe.training.precision == "float64" else 4
    generator, discriminator = parameters
    # The averaged generator's own file; weights and two moments of each network, and the average.
    return width * (5 * generator + 3 * discriminator) + BESIDES, width * generator + BESIDES


def most_checkpoint_bytes(recipe: Recipe, parameters: tuple[int, int]) -> int:
    """Bytes of all checkpoints at any moment, at most: those kept, the newest healthy one, one that is being written, and the
    best generator.
    """
    whole, generator = checkpoint_bytes(recipe, parameters)
    return (recipe.snapshots.keep + 2) * whole + generator


def most_other_bytes(recipe: Recipe, images: int, epoch_size: int) -> int:
    """Bytes of grids, logs and the report at the end, at most; a figure without compression.

    Args:
        recipe: resolved: its pictures have a size.
        images: of the whole training.
        epoch_size: images that are trained on.
    """
    image, settings = recipe.image, recipe.snapshots
    assert image.width is not None and image.height is not None and image.channels is not None
    columns = math.ceil(math.sqrt(settings.grid))
    across, down = columns * (image.width + 2) + 2, columns * (image.height + 2) + 2
    sheet = image.channels * max(across * down, SHEET_SIDE**2)
    shown = SHEETS * SHOWN * image.channels * image.width * image.height
    updates = images / (recipe.training.batch_size * recipe.training.critic_steps)
    evaluations = images / recipe.evaluation.every_images if recipe.evaluation.every_images else 100
    return round(
        grids(settings, images, epoch_size) * sheet
        + LINE * updates / settings.log_steps
        + EVALUATION * (evaluations + 2)
        + shown
        + REPORT
    )


def grids(settings: Snapshots, images: int, epoch_size: int) -> int:
    """How many grids are drawn in a training of so many images, at most."""
    every: float | None = settings.every_images
    if settings.every_epochs is not None:
        every = settings.every_epochs * epoch_size
    if every is None:
        return rung(images) + 2
    return math.floor(images / every) + 2
