"""Furniture and other things made by hand, seen from above. Each is a small picture with coverage."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from limner.data.procedural.painting import Colour, Painting, Rgba, mix, tone
from limner.data.procedural.texture import value_noise

WOOD: Colour = (0.47, 0.31, 0.18)
STONE: Colour = (0.56, 0.55, 0.52)
IRON: Colour = (0.27, 0.27, 0.30)


def drawn(painting: Painting, wide: float, high: float, paint: Callable[[ImageDraw.ImageDraw, float], None]) -> Rgba:
    """An object drawn with shapes.

    Args:
        painting: the map that it is for.
        wide: of the sheet, in map squares.
        high: of the sheet, in map squares.
        paint: draws it, given a pen and the pixels per map square.
    """
    enlarge = 2
    scale = painting.cell * enlarge
    sheet = Image.new("RGBA", (max(2, round(wide * scale)), max(2, round(high * scale))), (0, 0, 0, 0))
    paint(ImageDraw.Draw(sheet), scale)
    size = (max(1, sheet.width // enlarge), max(1, sheet.height // enlarge))
    # Reduced with premultiplied colour, or the empty sheet's black would show as a fringe.
    premultiplied = np.asarray(sheet.convert("RGBa").resize(size, Image.Resampling.BOX), np.float32) / np.float32(255)
    alpha = premultiplied[..., 3:]
    rgb = premultiplied[..., :3] / np.maximum(alpha, 1e-3)
    grain = value_noise(painting.rng, rgb.shape[:2], max(2.0, 0.16 * painting.cell), octaves=2)
    return np.concatenate([rgb * (1 + 0.08 * grain[..., None]), alpha], axis=-1).astype(np.float32)


def ink(colour: Colour) -> tuple[int, int, int, int]:
    """A colour as the pen wants it."""
    red, green, blue = (round(255 * min(max(part, 0.0), 1.0)) for part in colour)
    return red, green, blue, 255


def box(
    pen: ImageDraw.ImageDraw, scale: float, area: tuple[float, float, float, float], colour: Colour, planks: int = 0
) -> None:
    """A box seen from above: lit on the left and upper edge, outlined, of ``planks`` boards if that is not 0.

    Args:
        pen: of the sheet.
        scale: pixels per map square.
        area: left, top, right, bottom in map squares.
        colour: of the top.
        planks: number of boards along the longer side.
    """
    left, top, right, bottom = (side * scale for side in area)
    line = max(1, round(0.035 * scale))
    pen.rectangle((left, top, right, bottom), fill=ink(colour), outline=ink(tone(colour, 0.3)), width=line)
    bevel = max(1, round(0.04 * scale))
    pen.line(
        (left + line, bottom - line, left + line, top + line, right - line, top + line), ink(tone(colour, 1.3)), bevel
    )
    pen.line(
        (left + line, bottom - line, right - line, bottom - line, right - line, top + line),
        ink(tone(colour, 0.7)),
        bevel,
    )
    upright = bottom - top > right - left
    for board in range(1, planks):
        share = board / planks
        if upright:
            x = left + share * (right - left)
            pen.line((x, top + line, x, bottom - line), ink(tone(colour, 0.55)), max(1, line // 2))
        else:
            y = top + share * (bottom - top)
            pen.line((left + line, y, right - line, y), ink(tone(colour, 0.55)), max(1, line // 2))


def disc(pen: ImageDraw.ImageDraw, scale: float, x: float, y: float, radius: float, colour: Colour) -> None:
    """A round thing, outlined and lit on its upper left."""
    for size, shift, shade in ((radius, 0.0, 0.3), (radius * 0.88, 0.0, 0.78), (radius * 0.8, -0.06 * radius, 1.05)):
        reach = (
            (x - size + shift) * scale,
            (y - size + shift) * scale,
            (x + size + shift) * scale,
            (y + size + shift) * scale,
        )
        pen.ellipse(reach, fill=ink(tone(colour, shade)))


def turned(sprite: Rgba, quarters: int) -> Rgba:
    """The object turned by quarter turns."""
    return np.ascontiguousarray(np.rot90(sprite, quarters))


def barrel(painting: Painting) -> Rgba:
    """A standing barrel."""

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        disc(pen, scale, 0.4, 0.4, 0.36, WOOD)
        pen.ellipse(
            (0.14 * scale, 0.14 * scale, 0.66 * scale, 0.66 * scale),
            outline=ink(IRON),
            width=max(1, round(0.04 * scale)),
        )
        pen.line(
            (0.4 * scale, 0.16 * scale, 0.4 * scale, 0.64 * scale), ink(tone(WOOD, 0.6)), max(1, round(0.03 * scale))
        )

    return drawn(painting, 0.8, 0.8, paint)


def crate(painting: Painting) -> Rgba:
    """A wooden crate with a cross of boards."""
    colour = tone(mix(WOOD, (0.66, 0.5, 0.3), painting.rng.random()), painting.rng.uniform(0.9, 1.15))

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        box(pen, scale, (0.04, 0.04, 0.8, 0.8), colour, planks=4)
        for ends in ((0.12, 0.12, 0.72, 0.72), (0.72, 0.12, 0.12, 0.72)):
            pen.line([end * scale for end in ends], ink(tone(colour, 0.62)), max(2, round(0.12 * scale)))
            pen.line([end * scale for end in ends], ink(tone(colour, 1.12)), max(1, round(0.07 * scale)))

    return drawn(painting, 0.86, 0.86, paint)


def chest(painting: Painting) -> Rgba:
    """A chest with iron bands and a lock."""
    colour = mix((0.5, 0.26, 0.12), (0.35, 0.2, 0.3), painting.rng.random())

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        box(pen, scale, (0.03, 0.03, 0.87, 0.57), colour, planks=3)
        for x in (0.2, 0.64):
            pen.rectangle((x * scale, 0.03 * scale, (x + 0.09) * scale, 0.57 * scale), fill=ink((0.72, 0.6, 0.25)))
        pen.rectangle((0.4 * scale, 0.42 * scale, 0.5 * scale, 0.57 * scale), fill=ink((0.85, 0.74, 0.35)))

    return drawn(painting, 0.9, 0.6, paint)


def table(painting: Painting, length: float) -> Rgba:
    """A table with benches on its long sides and things on it."""
    rng = painting.rng
    colour = tone(WOOD, rng.uniform(0.9, 1.25))
    things = [(rng.uniform(0.3, length - 0.3), rng.uniform(0.62, 1.0), rng.integers(3)) for _ in range(int(2 * length))]

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        for y in (0.02, 1.34):
            box(pen, scale, (0.2, y, length - 0.2, y + 0.26), tone(colour, 0.85))
        box(pen, scale, (0.04, 0.4, length - 0.04, 1.22), colour, planks=4)
        for x, y, kind in things:
            disc(pen, scale, x, y, 0.1, ((0.85, 0.82, 0.74), (0.62, 0.64, 0.66), (0.75, 0.35, 0.2))[kind])

    return drawn(painting, length, 1.62, paint)


def round_table(painting: Painting) -> Rgba:
    """A round table with four stools."""
    colour = tone(WOOD, painting.rng.uniform(0.95, 1.3))
    seat = mix((0.6, 0.2, 0.17), (0.25, 0.35, 0.5), painting.rng.random())

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        for x, y in ((1.0, 0.25), (1.0, 1.75), (0.25, 1.0), (1.75, 1.0)):
            disc(pen, scale, x, y, 0.23, seat)
        disc(pen, scale, 1.0, 1.0, 0.6, colour)
        for x, y in ((0.8, 0.85), (1.2, 1.1)):
            disc(pen, scale, x, y, 0.1, (0.85, 0.8, 0.68))

    return drawn(painting, 2.0, 2.0, paint)


def bed(painting: Painting) -> Rgba:
    """A bed with a pillow and a blanket."""
    rng = painting.rng
    cloth: Colour = ((0.6, 0.16, 0.16), (0.2, 0.34, 0.55), (0.25, 0.45, 0.28), (0.52, 0.4, 0.55))[rng.integers(4)]

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        box(pen, scale, (0.03, 0.03, 0.97, 1.87), tone(WOOD, 0.8))
        box(pen, scale, (0.1, 0.12, 0.9, 1.8), (0.88, 0.84, 0.75))
        box(pen, scale, (0.2, 0.18, 0.8, 0.5), (0.96, 0.94, 0.9))
        box(pen, scale, (0.1, 0.68, 0.9, 1.8), cloth)
        box(pen, scale, (0.1, 0.68, 0.9, 0.88), tone(cloth, 1.35))

    return drawn(painting, 1.0, 1.9, paint)


def shelf(painting: Painting, length: float) -> Rgba:
    """A bookshelf seen from above and a little from the front."""
    rng = painting.rng
    spines = [
        (place, rng.uniform(0.18, 0.3), rng.random(3) * 0.55 + 0.15) for place in np.arange(0.1, length - 0.18, 0.11)
    ]

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        box(pen, scale, (0.02, 0.02, length - 0.02, 0.48), tone(WOOD, 0.75))
        for place, deep, spine in spines:
            area = (place * scale, 0.08 * scale, (place + 0.09) * scale, (0.1 + deep) * scale)
            pen.rectangle(area, fill=ink((float(spine[0]) + 0.1, float(spine[1]), float(spine[2]))))

    return drawn(painting, length, 0.5, paint)


def sarcophagus(painting: Painting) -> Rgba:
    """A stone coffin with a figure on its lid."""

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        box(pen, scale, (0.03, 0.03, 0.97, 1.87), tone(STONE, 0.8))
        box(pen, scale, (0.14, 0.14, 0.86, 1.76), tone(STONE, 1.2))
        disc(pen, scale, 0.5, 0.46, 0.17, tone(STONE, 1.35))
        pen.polygon(
            [part * scale for part in (0.26, 0.7, 0.74, 0.7, 0.62, 1.6, 0.38, 1.6)],
            ink(tone(STONE, 1.02)),
            ink(tone(STONE, 0.5)),
        )

    return drawn(painting, 1.0, 1.9, paint)


def altar(painting: Painting) -> Rgba:
    """A stone block with a cloth and candles."""
    cloth: Colour = ((0.62, 0.14, 0.16), (0.35, 0.2, 0.5), (0.75, 0.62, 0.25))[painting.rng.integers(3)]

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        box(pen, scale, (0.03, 0.03, 1.97, 0.97), tone(STONE, 1.1))
        box(pen, scale, (0.65, 0.03, 1.35, 0.97), cloth)
        for x in (0.3, 1.0, 1.7):
            disc(pen, scale, x, 0.45, 0.13, (1.0, 0.85, 0.45))

    return drawn(painting, 2.0, 1.0, paint)


def statue(painting: Painting, radius: float) -> Rgba:
    """A pedestal or a pillar: round on a square base, or round alone."""
    base = painting.rng.random() < 0.6
    colour = tone(STONE, painting.rng.uniform(0.9, 1.2))

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        if base:
            box(pen, scale, (0.02, 0.02, 2 * radius - 0.02, 2 * radius - 0.02), tone(colour, 0.8))
        disc(pen, scale, radius, radius, 0.86 * radius, colour)
        disc(pen, scale, radius, radius, 0.5 * radius, tone(colour, 1.18))

    return drawn(painting, 2 * radius, 2 * radius, paint)


def fire(painting: Painting, radius: float, stones: bool) -> Rgba:
    """A brazier, or a camp fire in a ring of stones."""
    rng = painting.rng
    jitter = rng.uniform(-0.1, 0.1, 10).tolist()

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        if stones:
            for place, shift in enumerate(jitter):
                turn = 2 * np.pi * place / len(jitter) + shift
                x, y = radius * (1 + 0.78 * np.cos(turn)), radius * (1 + 0.78 * np.sin(turn))
                disc(pen, scale, x, y, radius * (0.22 + 0.2 * abs(shift)), tone(STONE, 0.9 + shift))
            for turn in (0.5, 1.6, 2.7):
                reach = np.array([np.cos(turn), np.sin(turn)]) * 0.5 * radius
                ends = [radius - reach[0], radius - reach[1], radius + reach[0], radius + reach[1]]
                pen.line(
                    [float(end) * scale for end in ends], ink(tone(WOOD, 0.6)), max(2, round(0.22 * radius * scale))
                )
        else:
            disc(pen, scale, radius, radius, 0.95 * radius, IRON)
        for part, colour in ((0.56, (0.93, 0.36, 0.08)), (0.42, (1.0, 0.62, 0.15)), (0.24, (1.0, 0.93, 0.6))):
            star = []
            for place in range(14):
                turn = 2 * np.pi * place / 14 + jitter[0] * 9
                far = part * radius * (1.0 if place % 2 else 0.62 + jitter[place % 10])
                star += [(radius + far * np.cos(turn)) * scale, (radius + far * np.sin(turn)) * scale]
            pen.polygon(star, fill=ink(colour))

    return drawn(painting, 2 * radius, 2 * radius, paint)


def rug(painting: Painting, wide: float, high: float) -> Rgba:
    """A carpet with borders and a lozenge."""
    rng = painting.rng
    cloth: Colour = ((0.55, 0.13, 0.14), (0.16, 0.24, 0.46), (0.2, 0.38, 0.28), (0.45, 0.25, 0.42))[rng.integers(4)]
    gold: Colour = (0.8, 0.65, 0.35)

    def paint(pen: ImageDraw.ImageDraw, scale: float) -> None:
        for inset, colour in (
            (0.0, tone(cloth, 0.5)),
            (0.04, cloth),
            (0.14, gold),
            (0.2, tone(cloth, 0.85)),
            (0.36, cloth),
        ):
            pen.rectangle([side * scale for side in (inset, inset, wide - inset, high - inset)], fill=ink(colour))
        middle = [wide / 2, 0.45, wide - 0.45, high / 2, wide / 2, high - 0.45, 0.45, high / 2]
        pen.polygon([part * scale for part in middle], fill=ink(gold))
        inner = [wide / 2, 0.6, wide - 0.62, high / 2, wide / 2, high - 0.6, 0.62, high / 2]
        pen.polygon([part * scale for part in inner], fill=ink(tone(cloth, 0.7)))

    return drawn(painting, wide, high, paint)
