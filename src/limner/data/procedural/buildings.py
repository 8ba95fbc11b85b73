"""Houses, tents, ruins, bridges and docks on maps of open country."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from PIL import ImageDraw

from limner.data.procedural.furniture import STONE, WOOD, box, disc, drawn, ink, turned
from limner.data.procedural.painting import Colour, Field, Painting, Rgba, mix, tone

ROOFS: tuple[Colour, ...] = (
    (0.58, 0.27, 0.19),
    (0.63, 0.51, 0.29),
    (0.36, 0.38, 0.44),
    (0.42, 0.29, 0.19),
    (0.30, 0.40, 0.38),
)
CLOTH: tuple[Colour, ...] = ((0.80, 0.74, 0.60), (0.62, 0.22, 0.18), (0.30, 0.38, 0.52), (0.45, 0.50, 0.32))


def house(painting: Painting, wide: float, deep: float) -> Rgba:
    """A gabled roof of shingles, its ridge along the longer side, with a chimney; turned by a random quarter."""
    rng = painting.rng
    colour = tone(ROOFS[int(rng.integers(len(ROOFS)))], rng.uniform(0.9, 1.1))
    jitter = rng.uniform(-1, 1, 400)
    quarters = int(rng.integers(4))
    # Which of the two slopes faces the light depends on how the house will be turned.
    lit_first = quarters in (0, 3)

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        line = max(1, round(0.035 * scale))
        rows, place = max(3, round(deep / 0.28)), 0
        for row in range(rows):
            top, bottom = deep * row / rows, deep * (row + 1) / rows
            slope = (1.22 if lit_first else 0.72) if row < rows / 2 else (0.72 if lit_first else 1.22)
            pen.rectangle((0, top * scale, wide * scale, bottom * scale), fill=ink(tone(colour, slope)))
            x = -0.14 * (row % 2)
            while x < wide:
                place = (place + 1) % len(jitter)
                step = 0.3 + 0.06 * jitter[place]
                area = (x * scale, top * scale, (x + step) * scale, bottom * scale)
                pen.rectangle(
                    area,
                    fill=ink(tone(colour, slope * (1 + 0.1 * jitter[-place]))),
                    outline=ink(tone(colour, slope * 0.68)),
                )
                x += step
        middle = deep / 2 * scale
        pen.line((0, middle, wide * scale, middle), ink(tone(colour, 0.5)), 2 * line)
        pen.line((0, middle - line, wide * scale, middle - line), ink(tone(colour, 1.45)), line)
        pen.rectangle((0, 0, wide * scale - 1, deep * scale - 1), outline=ink(tone(colour, 0.28)), width=2 * line)
        left = wide * (0.22 if jitter[0] > 0 else 0.68)
        box(pen, scale, (left, deep * 0.56, left + 0.36, deep * 0.56 + 0.36), STONE)
        box(pen, scale, (left + 0.1, deep * 0.56 + 0.1, left + 0.26, deep * 0.56 + 0.26), (0.1, 0.09, 0.09))

    return turned(drawn(painting, wide, deep, paint), quarters)


def tent(painting: Painting, size: float) -> Rgba:
    """A ridge tent or a round one, of striped or plain cloth."""
    rng = painting.rng
    cloth = CLOTH[int(rng.integers(len(CLOTH)))]
    second = CLOTH[0] if rng.random() < 0.5 else cloth
    middle = size / 2

    def pavilion(pen: ImageDraw.ImageDraw, scale: float) -> None:
        for part in range(12):
            first, last = part * np.pi / 6, (part + 1) * np.pi / 6
            light = 1 - 0.3 * np.cos((first + last) / 2 - 0.87)
            corners = [middle, middle]
            for turn in (first, last):
                corners += [middle + 0.48 * size * np.cos(turn), middle + 0.48 * size * np.sin(turn)]
            colour = tone(cloth if part % 2 else second, float(light))
            pen.polygon([float(side) * scale for side in corners], ink(colour), ink(tone(colour, 0.5)))
        disc(pen, scale, middle, middle, 0.08, (0.85, 0.7, 0.3))

    def ridge(pen: ImageDraw.ImageDraw, scale: float) -> None:
        stripes = 8
        for part in range(stripes):
            left, right = size * part / stripes, size * (part + 1) / stripes
            for top, bottom, light in ((0.12, middle, 1.12), (middle, size - 0.12, 0.72)):
                colour = tone(cloth if part % 2 else second, light)
                pen.rectangle((left * scale, top * scale, right * scale, bottom * scale), fill=ink(colour))
        line = max(1, round(0.035 * scale))
        pen.line((0, middle * scale, size * scale, middle * scale), ink(tone(cloth, 0.4)), line)
        pen.rectangle(
            (0, 0.12 * scale, size * scale - 1, (size - 0.12) * scale), outline=ink(tone(cloth, 0.35)), width=line
        )
        pen.polygon(
            [side * scale for side in (0, 0.42 * size, 0.3 * size, middle, 0, 0.58 * size)], ink((0.15, 0.12, 0.1))
        )

    if rng.random() < 0.4:
        return drawn(painting, size, size, pavilion)
    return turned(drawn(painting, size, size, ridge), int(rng.choice([0, 2])))


def ruin(painting: Painting, wide: float, deep: float) -> Rgba:
    """Broken walls of loose stones round an old floor."""
    rng = painting.rng
    stones: list[tuple[float, float, float, float]] = []
    for length, upright, fixed in (
        (wide, False, 0.2),
        (wide, False, deep - 0.2),
        (deep, True, 0.2),
        (deep, True, wide - 0.2),
    ):
        start, end = sorted(rng.uniform(0, 1, 2).tolist())
        for place in np.arange(0.15, length - 0.1, 0.27).tolist():
            # A gap in each wall: the part that fell.
            if end - start > 0.6 or not start < place / length < end:
                along, aside = place + rng.uniform(-0.03, 0.03), fixed + rng.uniform(-0.05, 0.05)
                x, y = (aside, along) if upright else (along, aside)
                stones.append((x, y, rng.uniform(0.12, 0.19), rng.uniform(0.75, 1.2)))
    for _ in range(10):
        stones.append(
            (rng.uniform(0.3, wide - 0.3), rng.uniform(0.3, deep - 0.3), rng.uniform(0.05, 0.12), rng.uniform(0.7, 1.1))
        )

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        for middle_x, middle_y, size, shade in stones:
            left, top = max(middle_x - size, 0.0), max(middle_y - size, 0.0)
            area = (left, top, min(middle_x + size, wide), min(middle_y + size, deep))
            box(pen, scale, area, tone(STONE, shade))

    return drawn(painting, wide, deep, paint)


def boat(painting: Painting) -> Rgba:
    """A rowing boat with its thwarts and oars, turned by a random quarter."""
    colour = tone(WOOD, painting.rng.uniform(0.9, 1.4))
    long, wide = 2.2, 1.0
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    # Pointed at the bow, blunt at the stern.
    hull_x, hull_y = np.cos(t), np.sin(t) * np.where(np.cos(t) > 0, np.sqrt(1 - 0.75 * np.cos(t) ** 2), 1.0)

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        for size, shade in ((1.0, 0.3), (0.95, 1.15), (0.82, 0.45), (0.8, 0.75)):
            x, y = (long / 2) * (1 + 0.96 * size * hull_x), wide / 2 + 0.36 * (size - 0.1 * (1 - size)) * hull_y
            pen.polygon((np.stack([x, y], axis=-1).ravel() * scale).tolist(), fill=ink(tone(colour, shade)))
        for left in (0.6, 1.05, 1.5):
            box(pen, scale, (left, 0.24, left + 0.16, 0.76), tone(colour, 1.05))
        for top, bottom in ((0.02, 0.34), (0.98, 0.66)):
            pen.line(
                [part * scale for part in (1.45, top, 1.0, bottom)], ink(tone(colour, 1.3)), max(1, round(0.05 * scale))
            )

    return turned(drawn(painting, long, wide, paint), int(painting.rng.integers(4)))


def _planks(painting: Painting, along: Field, across: Field, half: float, mask: Field) -> None:
    """Boards laid across a way: ``along`` and ``across`` are coordinates in map squares, ``half`` the half width."""
    board = np.floor(along / np.float32(0.24))
    table = painting.rng.uniform(0.82, 1.16, 64).astype(np.float32)
    wood = np.asarray(mix(WOOD, (0.62, 0.5, 0.36), painting.rng.uniform(0.2, 0.8)), np.float32)
    grain = 1 + 0.08 * painting.noise(0.14, octaves=2)
    rgb = wood * (table[np.mod(board, 64).astype(np.intp)] * grain)[..., None]
    within = np.abs(along / np.float32(0.24) - board - np.float32(0.5)) * np.float32(0.24)
    painting.blend(mask, rgb)
    painting.shade(1 - 0.55 * mask * np.clip((within - 0.095) * 45, 0, 1))
    rail = np.abs(np.abs(across) - half + 0.07)
    painting.blend(mask * painting.inside(rail - 0.07), tone(WOOD, 0.8))
    painting.shade(
        1
        - 0.6 * painting.inside(np.abs(np.abs(across) - half) - 0.025) * painting.inside(across * 0 - mask + 0.5, 0.01)
    )


def paint_bridge(
    painting: Painting, road: Float[np.ndarray, "n 2"], river: Float[np.ndarray, "n 2"], bank: Field
) -> None:
    """A bridge of boards where the road crosses the river, long enough to reach both banks."""
    gaps = np.hypot(road[:, None, 0] - river[None, :, 0], road[:, None, 1] - river[None, :, 1])
    place = int(np.clip(np.argmin(gaps.min(axis=1)), 1, len(road) - 2))
    x, y = painting.axes()
    step = road[place + 1] - road[place - 1]
    cosine, sine = (step / max(float(np.hypot(*step)), 1e-6)).tolist()
    centre_x, centre_y = ((road[place] + river[int(np.argmin(gaps[place]))]) / 2).tolist()
    along = (x - centre_x) * cosine + (y - centre_y) * sine
    across = (y - centre_y) * cosine - (x - centre_x) * sine
    half = 0.8
    # The river's own width at the crossing, told by the water under the bridge's middle line.
    under = (np.abs(across) < 0.3) & (bank < 0.1) & (np.abs(along) < 2.6)
    reach = float(np.abs(along[under]).max(initial=0.8)) + 0.45
    distance = np.maximum(np.abs(along) - reach, np.abs(across) - half)
    mask = painting.inside(distance)
    painting.cast(mask, 0.2, 0.5)
    _planks(painting, along, across, half, mask)


def paint_dock(painting: Painting, shore: Field, side: int) -> None:
    """A jetty that runs from the beach out to sea; ``side`` is where the land lies: 0 right, 1 left, 2 below, 3 above."""
    x, y = painting.axes()
    along, across = (x, y) if side < 2 else (y, x)
    length, breadth = (painting.width, painting.height) if side < 2 else (painting.height, painting.width)
    middle = painting.rng.uniform(0.3, 0.7) * breadth
    on_line = np.abs(across - middle) < 0.4
    dry = np.broadcast_to(along, shore.shape)[on_line & (shore < -0.4)]
    if not dry.size:
        return
    start = float(dry.min() if side % 2 == 0 else dry.max())
    out = min(4.5, 0.4 * length) * (-1 if side % 2 == 0 else 1)
    centre, half_length, half = start + out / 2, abs(out) / 2, 0.55
    distance = np.maximum(np.abs(along - centre) - half_length, np.abs(across - middle) - half)
    mask = painting.inside(distance)
    painting.cast(mask, 0.25, 0.55)
    flat = np.zeros(painting.shape, np.float32)
    _planks(painting, along + flat, across - middle + flat, half, mask)
