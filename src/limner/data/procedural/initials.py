"""Ornamented printed capitals, as at the head of a chapter in an old book, drawn from random numbers.

The letter is a distance field, and the ornament keeps clear of it; the sheet is drawn larger than the picture, in widths that
become at least one pixel, worn like a print and scaled down.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image

from limner.data.procedural.frames import SHAPES, STYLES, border, corner_pieces, outline
from limner.data.procedural.glyphs import FACES, Face, glyph
from limner.data.procedural.ornament import GROUNDS, Canvas, Field
from limner.data.procedural.texture import blur, check_size, edge, generator, pick, resize, value_noise
from limner.noise import Stream, permutation

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_ORDER = 1 << 63
"""First index of the random numbers that shuffle the letters; pictures use the indices below."""

_LAYOUTS = {
    "framed_dark": 0.42,
    "framed_light": 0.3,
    "framed_hollow": 0.14,
    "free": 0.14,
}
_GROUND_SHARES = {
    "framed_dark": {
        "vine": 6.0,
        "corners": 3.0,
        "plain": 2.5,
        "stipple": 1.5,
        "flowers": 1.5,
        "diaper": 1.0,
        "rays": 0.3,
    },
    "framed_light": {
        "vine": 4.0,
        "corners": 3.0,
        "plain": 2.0,
        "hatching": 1.0,
        "stipple": 1.0,
        "diaper": 1.0,
        "scales": 0.7,
        "flowers": 1.0,
    },
    "framed_hollow": {"hatching": 4.0, "vine": 2.0, "diaper": 1.0, "scales": 1.0, "rays": 0.8, "stipple": 1.0},
    "free": {"plain": 2.0, "corners": 4.0, "vine": 1.5},
}


@functools.lru_cache(maxsize=64)
def _shuffled(block: int, seed: int) -> str:
    """The 26 letters in the order of the ``block``-th run of 26 pictures."""
    return "".join(LETTERS[place] for place in permutation(seed, Stream.PROCEDURAL, _ORDER + block, len(LETTERS)))


def label(index: int, seed: int) -> str:
    """The letter of picture ``index``: every run of 26 pictures has each letter once."""
    return _shuffled(index // len(LETTERS), seed)[index % len(LETTERS)]


def _supersampling(size: tuple[int, int]) -> int:
    """Canvas pixels per pixel: more for small pictures, whose lines are only about a pixel wide."""
    short = min(size)
    return 4 if short <= 40 else 3 if short <= 96 else 2


def _place_letter(canvas: Canvas, face: Face, letter: str, box: tuple[float, float], pixel: float) -> Field:
    """The letter's distance field, fitted into a box (width, height) in the middle of the canvas.

    Args:
        canvas: the sheet.
        face: the printing face.
        letter: a capital.
        box: the most that the letter may cover, in canvas pixels.
        pixel: canvas pixels per pixel of the picture.
    """
    rng = canvas.rng
    # Few pixels are enough, even fewer than the letter has in a large picture: a distance field is smooth.
    tall = box[1] / pixel
    shape = glyph(face, letter, 96 if tall <= 56 else 160 if tall <= 110 else 240)
    slant = rng.uniform(*face.slant)
    height = box[1]
    natural = height * (shape.width / shape.height + abs(slant))
    stretch = float(
        np.clip(box[0] / natural, 0.0, rng.uniform(1.0, 1.3) if letter in "EFIJLPST" else rng.uniform(0.85, 1.12))
    )
    if stretch < 0.78:
        # Condensed further it would be another letter's shape; it becomes smaller instead.
        height, stretch = height * stretch / 0.78, 0.78
    rows, columns = canvas.shape
    centre = (columns / 2 + rng.normal(0, 0.008) * canvas.unit, rows / 2 + rng.normal(0, 0.008) * canvas.unit)
    distance = shape.place(canvas.shape, centre, height, stretch, slant)
    # A hairline of less than a pixel would go grey in a small picture and break in a worn one, but in a tiny picture
    # strokes that thick would run together.
    thicker = max(rng.uniform(*face.weight) * height, min(0.75 * pixel - 0.014 * height, 0.05 * height))
    return np.asarray(distance - np.float32(thicker), np.float32)


def _letter_ink(canvas: Canvas, distance: Field, solid: bool, dark: bool) -> Field:
    """Ink inside the letter's outline for a letter that is black (``dark``) or white: plain, inlined, ruled or dotted."""
    rng, line = canvas.rng, canvas.line
    fill = np.full(canvas.shape, float(dark), np.float32)
    roomy = solid and canvas.unit > 36 * line
    if not roomy or rng.random() < 0.62:
        return fill
    style = rng.integers(4)
    if style == 0:
        inlay = edge(np.abs(distance + 1.9 * line) - line * 0.5)
    elif style == 1:
        inlay = edge(distance + 2.2 * line)
    elif style == 2:
        down, right = canvas.axes()
        inlay = edge(np.abs(np.mod(down, 2.4 * line) - 1.2 * line) - 0.55 * line) * edge(distance + 1.3 * line)
    else:
        down, right = canvas.axes()
        pitch = 3.0 * line
        x, y = np.mod(right + down, pitch) - pitch / 2, np.mod(right - down, pitch) - pitch / 2
        inlay = edge(np.hypot(x, y) - 0.9 * line) * edge(distance + 1.4 * line)
    return np.asarray(np.abs(fill - inlay), np.float32)


@dataclass(frozen=True)
class _Frame:
    """The frame of a block; lengths are canvas pixels.

    Args:
        distance: from the block's edge, positive inside.
        lines: ink of the frame's lines.
        depth: how deep they reach into the block.
        share: how much of the field's sides a letter may cover and still stay inside.
        square: the block has corners that can hold an ornament.
    """

    distance: Field
    lines: Field
    depth: float
    share: float
    square: bool


def _framing(canvas: Canvas, wobble: Field, framed: bool) -> _Frame:
    """A frame in a random shape and style, or none: only a margin that ornament keeps."""
    rng, line = canvas.rng, canvas.line
    if not framed:
        margin = outline(canvas, "rectangle", 0.03 * canvas.unit, wobble)
        return _Frame(margin, np.zeros(canvas.shape, np.float32), 0.0, 1.0, False)
    style, shape = pick(rng, STYLES), pick(rng, SHAPES)
    distance = outline(canvas, shape, rng.uniform(0.0, 0.03) * canvas.unit + 0.3 * line, wobble)
    lines, depth = border(canvas, distance, style)
    if depth > 0.085 * canvas.unit:  # it would leave too little for the letter in a small picture
        lines, depth = border(canvas, distance, "single")
    if style != "none" and depth < 0.06 * canvas.unit and rng.random() < 0.5:
        depth += 1.2 * line
    return _Frame(distance, lines, depth, 0.76 if shape == "oval" else 1.0, shape == "rectangle")


def _design(canvas: Canvas, letter: str, pixel: float) -> Field:
    """The whole block before printing: ink coverage on the canvas."""
    rng, line = canvas.rng, canvas.line
    # A few pixels hold a letter or a frame, not both.
    layout = pick(rng, _LAYOUTS) if canvas.unit > 14 * line else "free"
    ground = pick(rng, _GROUND_SHARES[layout])
    face = FACES[int(pick(rng, {str(place): face.share for place, face in enumerate(FACES)}))]
    wobble = value_noise(rng, canvas.shape, 0.12 * canvas.unit) * np.float32(rng.uniform(0.05, 0.3) * line)
    dark = layout == "framed_dark"
    hollow = layout == "framed_hollow" or (layout == "free" and face.solid and rng.random() < 0.2)
    hollow = hollow and canvas.unit > 18 * line
    frame = _framing(canvas, wobble, framed=layout != "free")
    rows, columns = canvas.shape
    room = 2 * frame.depth + rng.uniform(0.1, 0.22) * canvas.unit
    inner = (
        _place_letter(canvas, face, letter, ((columns - room) * frame.share, (rows - room) * frame.share), pixel)
        + wobble
    )
    clear = line * rng.uniform(1.1, 1.9)
    ink = np.zeros(canvas.shape, np.float32)
    if ground != "plain":
        # Ornament may slip behind the letter, which makes the two one drawing, but not behind the frame.
        ink = GROUNDS[ground](
            canvas, wobble, np.minimum(2.0 * (inner - clear), frame.distance - frame.depth - 0.5 * line)
        )
    ink = 1 - ink if dark else ink
    halo = edge(inner - clear)
    ink = ink * (1 - halo) + float(dark) * halo
    if frame.square and rng.random() < 0.22 and canvas.unit > 30 * line:
        pieces, covered = corner_pieces(canvas, frame.distance, frame.depth)
        covered = covered * (1 - halo)
        ink = ink * (1 - covered) + (1 - pieces if dark else pieces) * covered
    if layout != "free":
        ink = np.maximum(ink * edge(frame.depth - frame.distance), frame.lines)
    if not dark and face.solid and rng.random() < 0.15:
        offset = max(1, round(line * 1.6))
        shadow = np.roll(edge(inner - line * 0.2), (offset, offset), (0, 1))
        ink = np.maximum(ink, shadow) * (1 - (0 if hollow else edge(inner - line * 0.8)))
    if hollow:
        contour = line * rng.uniform(1.2, 1.6)
        inside = edge(inner + contour * 0.5)
        body, filling = (
            edge(inner - contour * 0.5),
            1 - inside + _letter_ink(canvas, inner + contour, face.solid, False) * inside,
        )
    else:
        body, filling = edge(inner), _letter_ink(canvas, inner, face.solid, not dark)
    return np.asarray(ink * (1 - body) + filling * body, np.float32)


def _print(rng: np.random.Generator, ink: Field, pixel: int, size: tuple[int, int]) -> Image.Image:
    """Press a block on paper: ink spreads, wears off and is uneven; the sheet is a little askew.

    Args:
        rng: where the wear comes from.
        ink: the block's coverage, 0 to 1, ``pixel`` times larger than the picture.
        pixel: canvas pixels per pixel.
        size: of the picture, width and height.
    """
    width, height = size
    short = min(size)
    if rng.random() < 0.6:
        askew = Image.fromarray(ink).rotate(float(rng.normal(0, 0.7)), Image.Resampling.BILINEAR)
        ink = np.asarray(askew)
    wear = rng.beta(1.2, 3.5)
    spread = pixel * (0.22 + 0.25 * wear) * (1 + short / 400)
    ink = blur(ink, spread)
    shape = (max(2, round(height * min(pixel, 2) * 0.8)), max(2, round(width * min(pixel, 2) * 0.8)))
    grain = resize(rng.standard_normal(shape, dtype=np.float32), ink.shape, smooth=False)
    patches = value_noise(rng, ink.shape, 0.2 * short * pixel, octaves=2)
    bias = rng.normal(0.02, 0.035) + wear * (0.16 * grain + 0.10 * patches)
    ink = np.clip((ink - 0.5 + bias) * np.float32(3.0) + 0.5, 0, 1)
    picture = ink.reshape(height, pixel, width, pixel).mean(axis=(1, 3))
    coarse = patches[::pixel, ::pixel]
    paper = np.clip(rng.normal(249, 5), 225, 255)
    black = np.clip(rng.gamma(1.5, 9), 0, 55)
    fibre = rng.standard_normal((height, width), dtype=np.float32) * np.float32(rng.uniform(0.5, 2.5))
    paper_tone = paper + fibre + 1.5 * coarse
    ink_tone = black + wear * 14 * np.abs(coarse) + np.abs(fibre)
    grey = paper_tone * (1 - picture) + ink_tone * picture
    return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))


def draw(index: int, size: tuple[int, int], seed: int) -> Image.Image:
    """Picture ``index`` of the collection with this seed: a pure function of its arguments.

    Args:
        index: 0 or more.
        size: width and height, 8 to 1024 pixels each.
        seed: the collection's, 0 to 2**64 - 1.

    Returns:
        an 8-bit grey picture, dark ink on light paper.

    Raises:
        ValueError: ``size`` is out of range.
    """
    check_size(size)
    rng = generator(index, seed)
    pixel = _supersampling(size)
    short = min(size)
    shape = (size[1] * pixel, size[0] * pixel)
    line = pixel * max(1.0, 0.0135 * short)
    canvas = Canvas(shape, line, float(min(shape)), rng)
    return _print(rng, _design(canvas, label(index, seed), pixel), pixel, size)
