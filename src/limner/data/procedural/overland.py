"""Maps of open country: meadow, forest, river, road, village, camp, ruins and coast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from limner.data.procedural.buildings import boat, house, paint_bridge, paint_dock, ruin, tent
from limner.data.procedural.furniture import barrel, crate, fire
from limner.data.procedural.nature import conifer, palm, rock, tree
from limner.data.procedural.painting import Colour, Field, Painting, Rgba, mix, tone
from limner.data.procedural.texture import blur

Points = Float[np.ndarray, "n 2"]


@dataclass(frozen=True)
class Season:
    """The colours of a landscape.

    Args:
        grass: dark, middle and light of the ground.
        soil: the colour of roads and banks.
        leaves: pairs of dark and light of the trees.
        water: deep and shallow.
    """

    grass: tuple[Colour, Colour, Colour]
    soil: Colour
    leaves: tuple[tuple[Colour, Colour], ...]
    water: tuple[Colour, Colour]


_RIVER = ((0.11, 0.30, 0.42), (0.36, 0.62, 0.66))
SEASONS = {
    "spring": Season(
        ((0.30, 0.43, 0.17), (0.44, 0.56, 0.24), (0.58, 0.67, 0.32)),
        (0.60, 0.49, 0.33),
        (
            ((0.12, 0.27, 0.10), (0.42, 0.60, 0.25)),
            ((0.16, 0.32, 0.10), (0.52, 0.66, 0.26)),
            ((0.55, 0.27, 0.36), (0.95, 0.72, 0.78)),
        ),
        _RIVER,
    ),
    "summer": Season(
        ((0.25, 0.36, 0.14), (0.37, 0.48, 0.20), (0.52, 0.58, 0.28)),
        (0.57, 0.45, 0.29),
        (
            ((0.07, 0.19, 0.08), (0.27, 0.44, 0.17)),
            ((0.09, 0.23, 0.10), (0.34, 0.50, 0.22)),
            ((0.12, 0.22, 0.06), (0.42, 0.50, 0.18)),
        ),
        _RIVER,
    ),
    "autumn": Season(
        ((0.34, 0.33, 0.14), (0.49, 0.44, 0.21), (0.64, 0.55, 0.29)),
        (0.50, 0.38, 0.25),
        (
            ((0.40, 0.14, 0.05), (0.84, 0.42, 0.14)),
            ((0.42, 0.24, 0.05), (0.90, 0.66, 0.22)),
            ((0.20, 0.22, 0.07), (0.50, 0.49, 0.20)),
        ),
        ((0.13, 0.27, 0.35), (0.38, 0.52, 0.52)),
    ),
    "winter": Season(
        ((0.70, 0.76, 0.82), (0.86, 0.89, 0.92), (0.95, 0.97, 0.98)),
        (0.55, 0.49, 0.43),
        (
            ((0.12, 0.22, 0.20), (0.78, 0.86, 0.88)),
            ((0.16, 0.26, 0.22), (0.88, 0.93, 0.95)),
            ((0.22, 0.28, 0.26), (0.70, 0.77, 0.76)),
        ),
        ((0.30, 0.46, 0.56), (0.66, 0.80, 0.86)),
    ),
    "dry": Season(
        ((0.57, 0.43, 0.26), (0.73, 0.58, 0.37), (0.85, 0.72, 0.49)),
        (0.66, 0.47, 0.30),
        (((0.22, 0.26, 0.10), (0.50, 0.54, 0.24)), ((0.26, 0.27, 0.12), (0.60, 0.58, 0.32))),
        ((0.10, 0.34, 0.40), (0.40, 0.68, 0.62)),
    ),
}


def winding(painting: Painting, across: bool, sway: float) -> Points:
    """A line from one side of the map to the other, from left to right if ``across``, that swings by ``sway`` map squares."""
    rng = painting.rng
    length, breadth = (painting.width, painting.height) if across else (painting.height, painting.width)
    t = np.linspace(-0.05, 1.05, 25)
    middle = breadth * (rng.uniform(0.28, 0.72) + rng.uniform(-0.35, 0.35) * (t - 0.5))
    phase, turns = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.75) * max(1.0, length / 9)
    swing = sway * (np.sin(2 * np.pi * turns * t + phase) + 0.4 * np.sin(4.6 * np.pi * turns * t + 2 * phase))
    points = np.stack([t * length, middle + swing], axis=-1)
    return points if across else points[:, ::-1]


def paint_water(painting: Painting, depth: Field, colours: tuple[Colour, Colour], foam: float) -> None:
    """Water with ripples, where ``depth`` (map squares inside its shore) is above 0, and a dark line at its edge.

    Args:
        painting: the map.
        depth: distance from the shore, positive in the water.
        colours: deep and shallow.
        foam: strength of the light lines along the shore, 0 to 1.
    """
    deep, shallow = (np.asarray(colour, np.float32) for colour in colours)
    # Shoals far from the shore: the bottom is not a slope.
    shoals = 0.4 * np.clip(painting.noise(2.6, octaves=3) - 0.1, 0, 1)
    fall = np.clip(np.exp(-np.maximum(depth, 0) * np.float32(1.1)) + shoals, 0, 1)[..., None]
    rgb = deep + fall * (shallow - deep)
    rgb *= (1 + 0.10 * painting.noise(1.3, octaves=3))[..., None]
    ripple = painting.noise(0.75, octaves=2)
    light = np.clip(1 - np.abs(ripple) * 9, 0, 1) * np.clip(painting.noise(2.0) * 1.5 + 0.4, 0, 1)
    rgb += (0.13 * light)[..., None]
    wave = np.clip(1 - np.abs(depth - 0.16 - 0.07 * ripple) * 16, 0, 1) + 0.5 * np.clip(
        1 - np.abs(depth - 0.42 - 0.14 * ripple) * 14, 0, 1
    )
    rgb += np.float32(foam) * wave[..., None] * (np.float32(0.94) - rgb)
    painting.blend(painting.inside(-depth), rgb)
    painting.shade(1 - 0.5 * np.clip(1 - np.abs(depth) * 22, 0, 1))


def tufts(painting: Painting, season: Season, free: Field) -> None:
    """Short strokes of grass in lighter and darker tones, where ``free`` is above a half."""
    grown = painting.noise(0.11, octaves=1)
    clumps = painting.noise(1.1, octaves=2) > 0.1
    blades = np.clip((np.abs(grown) - 0.5) * 3.0, 0, 1) * clumps * (free > 0.5)
    painting.blend(blades * (grown > 0) * np.float32(0.30), tone(season.grass[2], 1.08))
    painting.blend(blades * (grown < 0) * np.float32(0.34), tone(season.grass[0], 0.8))


def scatter(painting: Painting, free: Field, count: int, gap: float) -> list[tuple[float, float]]:
    """Up to ``count`` places at least ``gap`` map squares apart where ``free`` is above a half."""
    rng, found = painting.rng, list[tuple[float, float]]()
    for x, y in (rng.random((4 * count, 2)) * 1.1 - 0.05).tolist():
        column, row = (
            min(max(int(part * side), 0), side - 1) for part, side in ((x, painting.shape[1]), (y, painting.shape[0]))
        )
        x, y = x * painting.width, y * painting.height
        if free[row, column] > 0.5 and all((x - a) ** 2 + (y - b) ** 2 > gap * gap for a, b in found):
            found.append((x, y))
            if len(found) == count:
                break
    return found


def grow(painting: Painting, season: Season, free: Field, density: float, kind: str) -> None:
    """Trees, bushes and boulders on free ground, standing in groves.

    Args:
        painting: the map.
        season: its colours.
        free: where things may stand, above a half.
        density: trees per map square of free ground, about.
        kind: "broad", "fir" or "palm".
    """
    rng = painting.rng
    area = painting.width * painting.height
    groves = painting.noise(4.0, octaves=2)
    level = np.quantile(groves[::8, ::8], rng.uniform(0.3, 0.6))
    wooded = free * (groves > level)
    make = {"broad": tree, "fir": conifer, "palm": palm}[kind]
    trees = scatter(painting, wooded, max(2, round(density * area)), 0.95)
    kinds: list[tuple[Rgba, float]] = []
    for _ in range(min(5, len(trees))):
        dark, light = season.leaves[int(rng.integers(len(season.leaves)))]
        radius = rng.uniform(0.7, 1.45) * (0.85 if kind == "fir" else 1.0)
        kinds.append((make(painting, radius, dark, light), radius))
    for x, y in trees:
        sprite, radius = kinds[int(rng.integers(len(kinds)))]
        painting.place(sprite, x, y, 0.32 * radius + rng.uniform(0, 0.05))
    dark, light = season.leaves[0]
    bushes = [
        tree(painting, rng.uniform(0.25, 0.45), mix(dark, season.grass[0], 0.4), mix(light, season.grass[1], 0.4))
        for _ in range(2)
    ]
    for x, y in scatter(painting, free, round(0.12 * area), 0.6):
        painting.place(bushes[int(rng.integers(2))], x, y, 0.08)
    stone = mix((0.55, 0.54, 0.52), season.soil, rng.uniform(0.1, 0.5))
    stones = [rock(painting, radius, stone) for radius in (0.16, 0.3, rng.uniform(0.4, 0.7))]
    for x, y in scatter(painting, free, round(0.1 * area), 0.7):
        painting.place(stones[int(rng.integers(3))], x, y, 0.1)


def paint_road(painting: Painting, season: Season, distance: Field) -> None:
    """A trodden road with ruts and worn edges, where ``distance`` (map squares from its edge) is negative."""
    soil = season.soil
    ground = painting.texture((tone(soil, 0.8), soil, tone(soil, 1.18)), 0.8, grain=0.1)
    worn = distance + 0.16 * painting.noise(0.5, octaves=3)
    painting.blend(0.5 * painting.inside(worn - 0.22, 0.3), tone(soil, 0.82))
    painting.blend(painting.inside(worn, 0.12), ground)
    pebbles = painting.noise(0.16)
    painting.shade(1 + painting.inside(worn + 0.1) * np.clip(np.abs(pebbles) - 0.6, 0, 0.3) * np.sign(pebbles))


def country(painting: Painting) -> None:
    """A meadow or a wood with a road, a river and its bridge, houses, a camp or ruins."""
    rng = painting.rng
    name = str(rng.choice(list(SEASONS), p=[0.22, 0.34, 0.18, 0.13, 0.13]))
    season = SEASONS[name]
    painting.rgb = painting.texture(season.grass, 2.6)
    free = np.ones(painting.shape, np.float32)
    across = bool(rng.random() < 0.5)
    river = road = None
    bare = np.clip(painting.noise(2.4, octaves=4) - 0.35, 0, 1) * 2.2
    painting.blend(
        np.minimum(bare, 0.75), painting.texture((tone(season.soil, 0.85), season.soil, tone(season.soil, 1.1)), 0.7)
    )
    scene = str(rng.choice(["wild", "village", "camp", "ruins"], p=[0.4, 0.25, 0.2, 0.15]))
    if rng.random() < 0.72:
        line = winding(painting, across, rng.uniform(0.3, 0.8))
        road = line, painting.curve(line) - rng.uniform(0.45, 0.7)
    if rng.random() < 0.55:
        wide = rng.uniform(0.7, 1.3)
        line = winding(painting, not across, rng.uniform(0.5, 1.1))
        river = line, painting.curve(line) - wide + 0.22 * painting.noise(0.9, octaves=3)
    open_ground = np.ones_like(free)
    for way in (road, river):
        if way:
            open_ground *= way[1] > 0
    tufts(painting, season, open_ground)
    if road:
        paint_road(painting, season, road[1])
        free *= road[1] > 0.35
    if river:
        bank = river[1]
        mud = mix(season.soil, (0.3, 0.25, 0.18), 0.45)
        painting.blend(0.85 * painting.inside(bank - 0.28 + 0.12 * painting.noise(0.35, octaves=2), 0.18), mud)
        painting.cast(painting.inside(-bank), 0.16, 0.45)
        paint_water(painting, -bank, season.water, 0.25)
        free *= bank > 0.3
    if road and river:
        paint_bridge(painting, road[0], river[0], river[1])
    free *= settle(painting, season, scene, free)
    dense = rng.uniform(0.05, 0.16) if scene != "wild" else rng.uniform(0.12, 0.5)
    kind = "fir" if name == "winter" or rng.random() < 0.25 else "palm" if name == "dry" else "broad"
    grow(painting, season, free, dense, kind)


def settle(painting: Painting, season: Season, scene: str, free: Field) -> Field:
    """Houses, tents or ruins; returns where there is still room, 0 or 1."""
    rng = painting.rng
    room = np.ones(painting.shape, np.float32)
    if scene == "wild":
        return room
    x_axis, y_axis = painting.axes()
    ground = blur(free, 0.6 * painting.cell)
    gap = {"village": 4.2, "camp": 2.6, "ruins": 4.5}[scene]
    count = max(1, round(painting.width * painting.height / (gap * gap * 1.6)))
    for x, y in scatter(painting, (ground > 0.93).astype(np.float32), min(count, 9), gap):
        if scene == "village":
            sprite, tall = house(painting, rng.uniform(2.2, 3.4), rng.uniform(1.9, 2.5)), 0.35
        elif scene == "camp":
            sprite, tall = tent(painting, rng.uniform(1.5, 2.1)), 0.2
        else:
            sprite, tall = ruin(painting, rng.uniform(2.2, 3.6), rng.uniform(2.0, 3.0)), 0.12
        reach = 0.5 * max(sprite.shape[:2]) / painting.cell
        near = np.maximum(np.abs(x_axis - x), np.abs(y_axis - y))
        painting.blend(
            0.7 * painting.inside(near - reach - 0.15 + 0.25 * painting.noise(0.8, octaves=2), 0.5),
            tone(season.soil, 0.95),
        )
        painting.place(sprite, x, y, tall)
        room *= near > reach + (0.75 if scene != "ruins" else 0.1)
        for _ in range(int(rng.integers(0, 3))):
            turn = rng.uniform(0, 2 * np.pi)
            thing = (barrel if rng.random() < 0.5 else crate)(painting)
            painting.place(thing, x + (reach + 0.5) * np.cos(turn), y + (reach + 0.5) * np.sin(turn), 0.1)
    if scene == "camp":
        for x, y in scatter(painting, free * room, 1 + int(painting.width > 9), 4.0):
            painting.place(fire(painting, 0.5, stones=True), x, y, 0.08)
            painting.lights.append((x, y, 1.8, (0.4, 0.22, 0.06)))
            room *= np.hypot(x_axis - x, y_axis - y) > 0.9
    return room


def coast(painting: Painting) -> None:
    """A beach: sand, surf and sea, with palms, rocks and perhaps a dock."""
    rng = painting.rng
    warm = rng.random() < 0.7
    sand: Colour = (0.85, 0.74, 0.53) if warm else (0.66, 0.61, 0.53)
    water = ((0.05, 0.36, 0.47), (0.38, 0.75, 0.71)) if warm else ((0.12, 0.27, 0.38), (0.42, 0.60, 0.64))
    season = SEASONS["summer" if warm else "autumn"]
    x, y = painting.axes()
    side = int(rng.integers(4))
    along, length = (x, painting.width) if side < 2 else (y, painting.height)
    level = along if side % 2 else length - along
    shore = (
        level
        - length * rng.uniform(0.35, 0.6)
        + 1.1 * painting.noise(4.5)
        + 0.35 * painting.noise(1.4, octaves=3)
        + 0 * (x + y)
    )
    painting.rgb = painting.texture((tone(sand, 0.86), sand, tone(sand, 1.1)), 2.2, grain=0.06)
    drift = np.sin((level + 0.5 * painting.noise(1.6, octaves=2)) * np.float32(16))
    painting.shade(1 + np.float32(0.025) * drift)
    meadow = -shore + rng.uniform(0.16, 0.3) * length + 0.3 * painting.noise(0.8, octaves=3)
    growth = painting.inside(-meadow + 2 * rng.uniform(0.16, 0.24) * length, 0.2)
    painting.blend(growth, painting.texture(season.grass, 2.0))
    wet = painting.inside(-shore - 0.75 + 0.1 * painting.noise(0.6), 0.5)
    painting.blend(0.42 * wet, tone(sand, 0.62))
    paint_water(painting, shore, water, 0.85)
    free = (shore < -0.5).astype(np.float32)
    if rng.random() < 0.5:
        paint_dock(painting, shore, side)
    for px, py in scatter(painting, (shore > 1.0).astype(np.float32), int(rng.integers(0, 3)), 3.0):
        painting.place(boat(painting), px, py, 0.1)
    grow(painting, season, free, rng.uniform(0.06, 0.16), "palm" if warm else "fir")
    reef = rock(painting, 0.45, (0.42, 0.43, 0.44)), rock(painting, 0.25, (0.45, 0.44, 0.43))
    for px, py in scatter(
        painting,
        ((shore > -0.2) & (shore < 2.5)).astype(np.float32),
        round(0.05 * painting.width * painting.height),
        0.6,
    ):
        painting.place(reef[int(rng.integers(2))], px, py, 0.08)
