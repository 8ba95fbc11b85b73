"""Top-down maps for role-playing games, painted from random numbers: dungeons, caves, taverns, open country and coasts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from limner.data.procedural.cave import cave
from limner.data.procedural.dungeon import dungeon, tavern
from limner.data.procedural.overland import coast, country
from limner.data.procedural.painting import Colour, Painting
from limner.data.procedural.texture import check_size, generator, pick

KINDS: dict[str, float] = {"dungeon": 0.3, "cave": 0.18, "tavern": 0.1, "overland": 0.3, "coast": 0.12}
"""What maps show, and how often."""

_PAINTERS: dict[str, Callable[[Painting], None]] = {
    "dungeon": dungeon,
    "cave": cave,
    "tavern": tavern,
    "overland": country,
    "coast": coast,
}

_HOURS: dict[str, tuple[float, Colour]] = {
    "day": (6.0, (1.0, 1.0, 1.0)),
    "morning": (1.2, (1.04, 0.98, 0.88)),
    "evening": (1.2, (1.04, 0.89, 0.77)),
    "night": (1.0, (0.50, 0.58, 0.80)),
}
"""Times of day under the open sky: how often, and the colour of the light."""


def label(index: int, seed: int) -> str:
    """What map ``index`` shows: a key of ``KINDS``."""
    return pick(generator(index, seed), KINDS)


def draw(index: int, size: tuple[int, int], seed: int) -> Image.Image:
    """Map ``index`` of the collection with this seed: a pure function of its arguments.

    A larger picture shows a little more land and much more detail: 5 to 20 map squares along its shorter side.

    Args:
        index: 0 or more.
        size: width and height, 8 to 1024 pixels each.
        seed: the collection's, 0 to 2**64 - 1.

    Returns:
        an RGB picture.

    Raises:
        ValueError: ``size`` is out of range.
    """
    check_size(size)
    rng = generator(index, seed)
    kind = pick(rng, KINDS)  # the first thing that the random numbers decide, as `label` expects
    short = min(size)
    enlarge = 2 if max(size) <= 512 else 1
    squares = float(np.clip(6.0 * (short / 32) ** 0.3 * rng.uniform(0.88, 1.15), 3.0, 20.0))
    painting = Painting((size[1] * enlarge, size[0] * enlarge), short * enlarge / squares, rng)
    _PAINTERS[kind](painting)
    painting.stamp()
    if kind in ("overland", "coast"):
        hour = pick(rng, {name: share for name, (share, _) in _HOURS.items()})
        painting.shine(_HOURS[hour][1])
    # Too small a square would drown in its own grid.
    if rng.random() < 0.75 and short / squares >= 7:
        painting.grid(float(rng.choice([0.1, 0.16, 0.24, -0.1])), float(enlarge * max(1.0, short / 400)))
    return painting.image(size)
