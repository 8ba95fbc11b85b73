"""What precedes a training on every one of its processes: the same pictures, the same recipe, a loop of one's own."""

from __future__ import annotations

from pathlib import Path

import torch

from limner.data import Collection, prepare
from limner.recipe import Recipe
from limner.training.assembly import assemble, resolved
from limner.training.display import Display
from limner.training.distributed import Group
from limner.training.loop import Loop
from limner.training.pace import pace


def ready(
    location: str | Path, recipe: Recipe, group: Group, display: Display
) -> tuple[Collection, Recipe, torch.device]:
    """The collection, the recipe with what was measured on it, and this process's device.

    Args:
        location: where the data is, for every process.
        recipe: the same on all.
        group: the processes.
        display: where progress is shown.

    Raises:
        InputError: the recipe, the device or the data is wrong, or not all processes have the same.
    """
    device = group.device(recipe.training.device)
    collection = group.host_by_host(
        lambda: prepare(location, recipe.image, seed=recipe.training.seed, progress=display.preparing)
    )
    group.check_data(collection)
    return collection, group.recipe(resolved(recipe, collection, device)), device


def paced(
    recipe: Recipe, collection: Collection, device: torch.device, group: Group, settled: bool = False
) -> tuple[Loop, float | None]:
    """A loop at its beginning; and images per second, where something depends on them.

    They are measured on a loop of its own: the training is the same whether it was measured or not.

    Args:
        recipe, collection, device, group: what is trained, on what, where and by whom.
        settled: it goes on as it was, so what could be doubted has been told.
    """
    rate = pace(assemble(recipe, collection, device, group.together)) if asks_for_pace(recipe, settled) else None
    recipe = group.recipe(scheduled(recipe, rate))
    return assemble(recipe, collection, device, group.together), rate


def asks_for_pace(recipe: Recipe, settled: bool = False) -> bool:
    """Whether images per second have to be known before the training begins: what is measured follows from them, and whether
    rates change in a time that the training has."""
    schedule = recipe.schedule
    falling = schedule.name != "constant" and (schedule.images is None or not settled)
    rising = schedule.warmup_images > 0 and not settled
    return (recipe.evaluation.share > 0 and recipe.evaluation.every_images is None) or (
        (falling or rising) and recipe.training.minutes is not None
    )


def scheduled(recipe: Recipe, rate: float | None) -> Recipe:
    """The recipe with the images over which rates fall, where minutes decide how long a training is."""
    settings, images = recipe.schedule, in_time(recipe, rate)
    if settings.name == "constant" or settings.images is not None or images is None:
        return recipe
    return recipe.changed({"schedule.images": max(settings.warmup_images + 1, images)})


def measured(asked: Recipe, recipe: Recipe, was: bool = False) -> dict[str, int]:
    """What of a recipe was measured when its training began, and may be again when that is to be longer: for the run's events.

    Args:
        asked: the recipe before.
        recipe: as it is trained.
        was: what is set in ``asked`` had been measured.
    """
    images = recipe.schedule.images
    return {"schedule.images": images} if images is not None and (was or asked.schedule.images is None) else {}


def in_time(recipe: Recipe, rate: float | None) -> int | None:
    """About how many images a training sees that ends by the clock; ``None`` for another, or where no rate is known."""
    minutes = recipe.training.minutes
    return None if minutes is None or rate is None else round(60 * minutes * (1 - recipe.evaluation.share) * rate)
