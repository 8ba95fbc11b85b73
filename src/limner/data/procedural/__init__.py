"""Collections of pictures that are drawn, not downloaded: something to train on from the first minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from limner.data.procedural import initials, maps

__all__ = ["COLLECTIONS", "Collection"]


@dataclass(frozen=True)
class Collection:
    """A collection without files.

    Args:
        summary: one line for users.
        mode: of its pictures, "L" or "RGB".
        default_count: how many pictures make a good collection.
        draw: picture ``index`` at ``size`` (width, height, 8 to 1024 pixels each) for a seed (0 to 2**64 - 1). The same three
            give the same bytes in every process and in any order. Raises ValueError for a size out of range.
        label: what picture ``index`` shows, for the same seed.
    """

    summary: str
    mode: str
    default_count: int
    draw: Callable[[int, tuple[int, int], int], Image.Image]
    label: Callable[[int, int], str | None]


COLLECTIONS: dict[str, Collection] = {
    "initials": Collection(
        summary="ornamented printed capitals A to Z, as at the head of a chapter in an old book (grey)",
        mode="L",
        default_count=5000,
        draw=initials.draw,
        label=initials.label,
    ),
    "maps": Collection(
        summary="top-down maps for role-playing games: dungeons, caves, taverns, open country, coasts (colour)",
        mode="RGB",
        default_count=600,
        draw=maps.draw,
        label=maps.label,
    ),
}
"""Every procedural collection by name."""
