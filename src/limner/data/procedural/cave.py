"""Maps of natural caves: chambers and passages in rock, with lakes, lava, crystals and mushrooms."""

from __future__ import annotations

import numpy as np

from limner.data.procedural.dungeon import paint_lava
from limner.data.procedural.furniture import barrel, chest, crate, fire
from limner.data.procedural.nature import crystal, mushroom, rock
from limner.data.procedural.overland import paint_water, scatter
from limner.data.procedural.painting import Colour, Field, Painting, mix, relief, tone

_ROCKS: tuple[tuple[Colour, Colour], ...] = (
    ((0.47, 0.42, 0.37), (0.33, 0.29, 0.26)),
    ((0.42, 0.43, 0.46), (0.28, 0.29, 0.32)),
    ((0.40, 0.45, 0.44), (0.24, 0.29, 0.29)),
    ((0.52, 0.41, 0.32), (0.38, 0.26, 0.20)),
    ((0.41, 0.36, 0.46), (0.27, 0.23, 0.33)),
    ((0.60, 0.66, 0.72), (0.40, 0.48, 0.57)),
)
"""Colours of the floor and of the rock."""


def _hollow(painting: Painting) -> tuple[Field, list[tuple[float, float, float]]]:
    """Distance from the walls in map squares, negative in the cave, and the chambers (x, y, radius)."""
    rng = painting.rng
    count = max(3, round(painting.width * painting.height / 17))
    spots = [
        (rng.uniform(0, painting.width), rng.uniform(0, painting.height), rng.uniform(1.1, 2.3)) for _ in range(count)
    ]
    spots[0] = (
        painting.width * rng.uniform(0.35, 0.65),
        painting.height * rng.uniform(0.35, 0.65),
        rng.uniform(1.7, 2.4),
    )
    x, y = painting.axes()
    distance = np.full(painting.shape, np.float32(9))
    for place, (spot_x, spot_y, radius) in enumerate(spots):
        np.minimum(distance, np.hypot(x - np.float32(spot_x), y - np.float32(spot_y)) - radius, out=distance)
        if place:
            near_x, near_y, _ = min(spots[:place], key=lambda other: np.hypot(other[0] - spot_x, other[1] - spot_y))
            passage = painting.curve(np.array([[spot_x, spot_y], [near_x, near_y]])) - rng.uniform(0.55, 0.9)
            np.minimum(distance, passage, out=distance)
    return distance + 0.5 * painting.noise(2.0, octaves=2) + 0.16 * painting.noise(0.5, octaves=2), spots


def cave(painting: Painting) -> None:
    """A cave with a floor of rock and earth, cliffs round it, and what grows and lies there."""
    rng = painting.rng
    floor, wall = _ROCKS[int(rng.integers(len(_ROCKS)))]
    distance, spots = _hollow(painting)
    painting.rgb = painting.texture((tone(floor, 0.74), floor, tone(floor, 1.2)), 1.8, grain=0.07)
    ground = painting.noise(1.2, octaves=4, gain=0.62)
    painting.shade(0.25 + 0.75 * relief(ground, 0.09 * painting.cell))
    moss = np.clip(painting.noise(2.6, octaves=4) - 0.2, 0, 0.7)
    painting.blend(moss, mix((0.30, 0.36, 0.16), floor, rng.uniform(0.2, 0.9)))
    pebbles = painting.noise(0.17)
    painting.shade(1 + 0.7 * np.clip(np.abs(pebbles) - 0.62, 0, 0.35) * np.sign(pebbles))
    free = (distance < -0.35).astype(np.float32)
    free *= _liquid(painting, distance, wall)
    _cliffs(painting, distance, wall)
    _things(painting, free, spots, floor)
    painting.stamp()
    painting.shine(((1.0, 1.0, 1.0), (0.80, 0.85, 0.95), (0.98, 0.92, 0.86))[int(rng.integers(3))])


def _liquid(painting: Painting, distance: Field, wall: Colour) -> Field:
    """An underground lake or a stream of lava; returns where it is dry, 0 or 1."""
    rng = painting.rng
    kind = rng.random()
    if kind > 0.68:
        return np.ones(painting.shape, np.float32)
    level = painting.noise(4.5, octaves=2)
    shore = level - np.quantile(level[::8, ::8], rng.uniform(0.2, 0.38)) + 0.1 * painting.noise(0.8, octaves=2)
    shore = np.maximum(shore * np.float32(2.2), distance * 0.6 - 0.3)
    painting.blend(0.6 * painting.inside(shore - 0.25, 0.3), tone(wall, 0.75))
    painting.cast(painting.inside(-shore), 0.1, 0.4)
    if kind < 0.52:
        blue = rng.random()
        deep, shallow = (
            mix((0.04, 0.22, 0.30), (0.06, 0.30, 0.24), blue),
            mix((0.22, 0.58, 0.66), (0.30, 0.62, 0.48), blue),
        )
        paint_water(painting, -shore, (deep, shallow), 0.2)
    else:
        paint_lava(painting, -shore)
        rows, columns = np.nonzero(shore[::16, ::16] < -0.3)
        for place in rng.permutation(len(rows))[:5]:
            x, y = (columns[place] * 16 / painting.cell, rows[place] * 16 / painting.cell)
            painting.lights.append((float(x), float(y), 2.4, (0.40, 0.15, 0.03)))
    return np.asarray(shore > 0.25, np.float32)


def _cliffs(painting: Painting, distance: Field, wall: Colour) -> None:
    """The rock round the cave: a lit rim of broken stone that falls off into the dark."""
    rng = painting.rng
    solid = painting.inside(-distance)
    painting.cast(solid, 0.34, 0.6)
    painting.shade(1 - 0.4 * (1 - solid) * np.exp(np.minimum(distance, 0) * np.float32(2.6)))
    # Facets: the steps of a coarse noise, which read as broken stone once lit.
    lumps = painting.noise(0.75, octaves=2) + np.abs(painting.noise(0.4))
    light = relief(0.8 * np.abs(lumps) + 0.9 * np.clip(distance * 2.2, 0, 1), 0.16 * painting.cell)
    rgb = np.asarray(tone(wall, 1.35), np.float32) * (light * (1 + 0.08 * painting.noise(0.12)))[..., None]
    fall = np.exp(-np.maximum(distance - 0.3, 0) * np.float32(rng.uniform(1.0, 2.2)))
    dark = np.asarray(tone(wall, 0.16), np.float32)
    rgb = dark + fall[..., None] * (rgb - dark)
    painting.blend(solid, np.asarray(rgb, np.float32))
    painting.shade(1 - 0.75 * painting.inside(np.abs(distance) - 0.035))


def _things(painting: Painting, free: Field, spots: list[tuple[float, float, float]], floor: Colour) -> None:
    """Boulders, crystals or mushrooms, and sometimes somebody's camp."""
    rng = painting.rng
    area = painting.width * painting.height
    stones = [
        rock(painting, radius, tone(floor, rng.uniform(0.9, 1.15)))
        for radius in (0.14, 0.22, 0.36, rng.uniform(0.45, 0.75))
    ]
    for x, y in scatter(painting, free, round(0.2 * area), 0.55):
        painting.place(stones[int(rng.choice(4, p=[0.35, 0.3, 0.22, 0.13]))], x, y, 0.1)
    grown = rng.random()
    if grown < 0.35:
        colour: Colour = ((0.45, 0.75, 0.95), (0.80, 0.45, 0.90), (0.45, 0.90, 0.65), (0.95, 0.70, 0.35))[
            int(rng.integers(4))
        ]
        sprites = [crystal(painting, radius, colour) for radius in (0.35, 0.55, 0.75)]
        for x, y in scatter(painting, free, max(3, round(0.07 * area)), 1.1):
            painting.place(sprites[int(rng.integers(3))], x, y, 0.14)
            painting.lights.append((x, y, 1.3, tone(colour, 0.35)))
    elif grown < 0.65:
        cap: Colour = ((0.72, 0.22, 0.18), (0.35, 0.45, 0.75), (0.72, 0.55, 0.30), (0.55, 0.30, 0.60))[
            int(rng.integers(4))
        ]
        sprites = [mushroom(painting, radius, cap) for radius in (0.14, 0.22, 0.36)]
        for x, y in scatter(painting, free, max(5, round(0.16 * area)), 0.5):
            painting.place(sprites[int(rng.integers(3))], x, y, 0.1)
    if rng.random() < 0.4:
        for x, y in scatter(painting, free, 1, 1.0):
            painting.place(fire(painting, 0.45, stones=True), x, y, 0.06)
            painting.lights.append((x, y, 2.6, (0.6, 0.33, 0.1)))
            for turn in rng.uniform(0, 2 * np.pi, 3):
                thing = (barrel, crate, chest)[int(rng.integers(3))](painting)
                painting.place(thing, x + 1.2 * np.cos(turn), y + 1.2 * np.sin(turn), 0.12)
