"""Floors, walls and stairs of built places."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from limner.data.procedural.painting import Colour, Field, Painting, Rgb, relief, tone


def _tiles(
    painting: Painting, u: Field, v: Field, wide: float, high: float, stagger: float, spread: float
) -> tuple[Field, Field]:
    """Tones of tiles, and distance (map squares) from each pixel to its tile's edge.

    Args:
        painting: the map.
        u: coordinate along the rows.
        v: coordinate across them.
        wide: length of a tile along the row.
        high: height of a row.
        stagger: shift of every other row, in tiles.
        spread: how much the tones differ.
    """
    row = np.floor(v / np.float32(high))
    shifted = u / np.float32(wide) + np.mod(row, 2) * np.float32(stagger)
    column = np.floor(shifted)
    table = painting.rng.uniform(1 - spread, 1 + spread, 512).astype(np.float32)
    shades = table[np.mod(column * 37 + row * 101, 512).astype(np.intp)]
    aside = (np.float32(0.5) - np.abs(shifted - column - np.float32(0.5))) * np.float32(wide)
    beside = (np.float32(0.5) - np.abs(v / np.float32(high) - row - np.float32(0.5))) * np.float32(high)
    return shades, np.minimum(aside, beside)


def _jointed(painting: Painting, shades: Field, gap: Field, colour: Colour, joint: float) -> Rgb:
    """Stones of one colour in many tones, rounded at their edges, with dark joints of ``joint`` map squares between."""
    rounded = np.clip(gap / np.float32(0.07), 0, 1)
    light = relief(rounded + 0.12 * painting.noise(0.18, octaves=2), 0.045 * painting.cell)
    worn = 1 + 0.09 * painting.noise(0.6, octaves=3)
    factor = shades * worn * (0.35 + 0.65 * light)
    factor *= 1 - 0.55 * painting.inside(gap - np.float32(joint))
    return np.asarray(np.asarray(colour, np.float32) * factor[..., None], np.float32)


def _bent(painting: Painting, amount: float) -> tuple[Field, Field]:
    """The pixels' coordinates, bent a little so that straight lines look drawn by hand."""
    x, y = painting.axes()
    return x + np.float32(amount) * painting.noise(0.8), y + np.float32(amount) * painting.noise(0.8)


def _flags(painting: Painting, colour: Colour) -> Rgb:
    """Square flagstones, one or four to a map square."""
    u, v = _bent(painting, 0.025)
    size = 1.0 if painting.rng.random() < 0.55 else 0.5
    return _jointed(painting, *_tiles(painting, u, v, size, size, 0.0, 0.13), colour, 0.028)


def _bricks(painting: Painting, colour: Colour) -> Rgb:
    """Long stones in staggered rows."""
    u, v = _bent(painting, 0.03)
    if painting.rng.random() < 0.5:
        u, v = v, u
    return _jointed(painting, *_tiles(painting, u, v, 1.0, 0.5, 0.5, 0.15), colour, 0.028)


def _cobbles(painting: Painting, colour: Colour) -> Rgb:
    """Small rounded stones of uneven shape."""
    u, v = _bent(painting, 0.12)
    return _jointed(painting, *_tiles(painting, u, v, 0.36, 0.33, 0.5, 0.2), colour, 0.045)


def _chequer(painting: Painting, colour: Colour) -> Rgb:
    """Marble in two colours, square or on the slant."""
    u, v = _bent(painting, 0.01)
    size = 1.0
    if painting.rng.random() < 0.5:
        u, v, size = u + v, u - v, 1.0
    rgb = _jointed(painting, *_tiles(painting, u, v, size, size, 0.0, 0.06), (1.0, 1.0, 1.0), 0.022)
    second: Colour = ((0.20, 0.23, 0.36), (0.23, 0.38, 0.33), (0.42, 0.19, 0.18), (0.24, 0.23, 0.24))[
        int(painting.rng.integers(4))
    ]
    odd = np.mod(np.floor(u / np.float32(size)) + np.floor(v / np.float32(size)), 2)[..., None]
    light = np.asarray(tone(colour, 1.4), np.float32)
    vein = np.clip(1 - np.abs(painting.noise(1.2, octaves=3)) * 12, 0, 1)[..., None]
    return np.asarray(rgb * (light + odd * (np.asarray(second, np.float32) - light)) * (1 - 0.12 * vein), np.float32)


def _planks(painting: Painting, colour: Colour) -> Rgb:
    """Floor boards with grain."""
    u, v = _bent(painting, 0.015)
    if painting.rng.random() < 0.5:
        u, v = v, u
    shades, gap = _tiles(painting, u, v, 2.6, 0.3, 0.37, 0.13)
    wavy = 0.22 * painting.noise(0.7, octaves=2)
    grain = np.sin((v + 0.25 * wavy) * np.float32(75) + 6 * wavy)
    factor = shades * (1 + 0.05 * grain + 0.06 * painting.noise(0.3, octaves=2))
    factor *= 1 - 0.55 * painting.inside(gap - np.float32(0.02))
    return np.asarray(np.asarray(colour, np.float32) * factor[..., None], np.float32)


def _dirt(painting: Painting, colour: Colour) -> Rgb:
    """Beaten earth."""
    brown = (colour[0] * 0.95, colour[1] * 0.82, colour[2] * 0.66)
    return painting.texture((tone(brown, 0.8), brown, tone(brown, 1.12)), 0.9, grain=0.1)


FLOORS: dict[str, Callable[[Painting, Colour], Rgb]] = {
    "flags": _flags,
    "bricks": _bricks,
    "cobbles": _cobbles,
    "chequer": _chequer,
    "planks": _planks,
    "dirt": _dirt,
}


def paint_floor(painting: Painting, mask: Field, kind: str, colour: Colour) -> None:
    """Lay a floor of ``kind``, one of ``FLOORS``, where ``mask`` covers."""
    if kind == "planks" and colour[2] > 0.75 * colour[0]:
        colour = (0.52, 0.35, 0.21)  # stone's colour does not suit wood
    painting.blend(mask, FLOORS[kind](painting, colour))


def paint_walls(painting: Painting, distance: Field, colour: Colour, thick: float) -> None:
    """Walls of cut stone round the floor, and their shadow on it.

    Args:
        painting: the map.
        distance: from the floor's edge in map squares, negative on the floor.
        colour: of the wall's top.
        thick: map squares.
    """
    x, y = painting.axes()
    solid = painting.inside(-distance)
    painting.cast(solid, 0.26, 0.55)
    # Darker in the corners and along every wall, whatever the light.
    painting.shade(1 - 0.3 * (1 - solid) * np.exp(np.minimum(distance, 0) * np.float32(4.5)))
    wall = painting.inside(np.abs(distance - np.float32(thick / 2)) - np.float32(thick / 2))
    slope_y, slope_x = np.gradient(distance)
    upright = np.abs(slope_x) > np.abs(slope_y)
    along = np.where(upright, y, x)
    shades, gap = _tiles(
        painting, along + 0.05 * painting.noise(0.7), distance * 0 + np.float32(0.5), 0.5, 1.0, 0.0, 0.16
    )
    edge_gap = np.minimum(gap, np.float32(thick / 2) - np.abs(distance - np.float32(thick / 2)))
    rgb = _jointed(painting, shades, np.maximum(edge_gap, 0), colour, 0.018)
    painting.blend(wall, rgb)
    line = np.float32(0.03)
    painting.shade(1 - 0.8 * painting.inside(np.abs(distance) - line))
    painting.shade(1 - 0.7 * painting.inside(np.abs(distance - np.float32(thick)) - line))
    # Beyond the wall, the earth lies in its shadow.
    painting.shade(
        1
        - 0.35
        * painting.inside(thick - distance)
        * np.exp(-np.maximum(distance - np.float32(thick), 0) * np.float32(3))
    )


def paint_stairs(painting: Painting, left: float, top: float, upright: bool, colour: Colour) -> None:
    """A flight of steps, one map square wide and two long, that goes down into the dark."""
    part = painting.window(left - 0.5, top - 0.5, left + 2.5, top + 2.5)
    if part is None:
        return
    painting = part
    x, y = painting.axes()
    along, across = (
        (y - np.float32(top), x - np.float32(left)) if upright else (x - np.float32(left), y - np.float32(top))
    )
    area = np.maximum(np.maximum(-along, along - 2), np.maximum(0.06 - across, across - 0.94))
    mask = painting.inside(area)
    step = np.floor(along * 3.5)
    within = along * 3.5 - step
    light = np.clip(1.2 - 0.15 * step, 0.15, 1.3) * (1 - 0.35 * np.clip((within - 0.7) * 8, 0, 1))
    shade = light * (1 + 0.06 * painting.noise(0.3, octaves=2))
    painting.blend(mask, np.asarray(colour, np.float32) * np.asarray(shade, np.float32)[..., None])
    painting.shade(1 - 0.6 * painting.inside(np.abs(area) - 0.03))
