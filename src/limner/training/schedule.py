"""How the learning rates change on the way."""

from __future__ import annotations

import math

from limner.errors import InputError
from limner.recipe import Schedule

_MOST = 0.9
"""A schedule that is over after less than this share of a training is told of. Lengths in minutes are estimates."""


def doubts(settings: Schedule, total: int | None) -> list[str]:
    """What of a schedule is hardly meant in a training of so many images (``None``: nobody knows), one line each."""
    if total is None:
        return []
    found = []
    if settings.warmup_images >= total:
        found.append(
            f"schedule.warmup_images = {settings.warmup_images:,}: the training ends after {total:,} images, before its rates"
            " are what the recipe says"
        )
    end = settings.images
    if settings.name != "constant" and end is not None and not settings.final and end < _MOST * total:
        found.append(
            f"schedule.images = {end:,}: of {total:,} images, those after that are trained on with rates of 0; make it as long"
            " as the training, or set schedule.final"
        )
    return found


def rate_scale(settings: Schedule, images: int, total: int | None) -> float:
    """What the recipe's learning rates are multiplied by in one update.

    They rise in proportion to ``images`` until ``warmup_images``. From there they fall to ``final``, in a straight line or
    along half a cosine (Loshchilov and Hutter 2017, equation 5). They are there at ``settings.images``, or else at ``total``.

    Args:
        settings: the recipe's section.
        images: images seen once this update is done. So the first update of a warm-up does something, and the last
            update of a training has the last rate.
        total: images in the whole training; ``None`` when it ends by the clock.

    Returns:
        0 to 1.

    Raises:
        InputError: the rates should fall, and nothing says until when.
    """
    if images < settings.warmup_images:
        return images / settings.warmup_images
    if settings.name == "constant":
        return 1.0
    end = settings.images if settings.images is not None else total
    if end is None:
        raise InputError(
            f"schedule.name = {settings.name!r}: a training that ends by minutes has no known number of images; "
            "set schedule.images, or training.images instead of minutes"
        )
    span = end - settings.warmup_images
    done = min(1.0, (images - settings.warmup_images) / span) if span > 0 else 1.0
    remains = 1.0 - done if settings.name == "linear" else (1.0 + math.cos(math.pi * done)) / 2
    return settings.final + (1.0 - settings.final) * remains
