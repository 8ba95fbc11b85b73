"""Images drawn by rule, to train the features on: textures, leaves, emblems, strokes, fractals, lattices, characters.

Each family has groups; a group is a way of drawing (its parameters come from the group's own seed) and an image is one
draw of it. Nothing here is a photograph or anybody's picture, so the trained weights owe nothing to anyone's collection.
Limner's own two procedural collections join them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from limner.data.procedural import COLLECTIONS

Random = np.random.Generator
SIZE = 64
_LARGE = 2 * SIZE


def _palette(rng: Random, count: int) -> np.ndarray:
    """Colours [count, 3] in 0..255: grey in a third of the cases, else related hues."""
    if rng.random() < 0.35:
        return np.repeat(rng.uniform(0, 255, (count, 1)), 3, axis=1)
    base, spread = rng.uniform(30, 225, 3), rng.uniform(20, 110)
    return np.clip(base + rng.normal(0, spread, (count, 3)), 0, 255)


def _tuple(colour: np.ndarray) -> tuple[int, int, int]:
    return int(colour[0]), int(colour[1]), int(colour[2])


def _vary(colours: np.ndarray, rng: Random, amount: float = 12.0) -> np.ndarray:
    return np.clip(colours + rng.normal(0, amount, colours.shape), 0, 255)


def _small(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX), dtype=np.uint8)


def texture(group: Random, rng: Random) -> np.ndarray:
    """Gaussian noise of a spectrum, then a curve over its values, then a colour ramp."""
    slope, angle, anisotropy = group.uniform(0.3, 2.6), group.uniform(0, np.pi), group.uniform(1, 6)
    band, width, hard = group.uniform(0.02, 0.3), group.uniform(0.2, 1.0), group.choice([0.0, 0.0, 2.0, 6.0])
    banded, ramp = group.random() < 0.5, _palette(group, 3)
    fy, fx = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    angle += rng.normal(0, 0.1)
    u, v = fx * np.cos(angle) + fy * np.sin(angle), -fx * np.sin(angle) + fy * np.cos(angle)
    radius = np.sqrt(u**2 + (v * anisotropy) ** 2) + 1e-3
    gain = np.exp(-((np.log(radius / band) / width) ** 2)) if banded else radius**-slope
    gain[0, 0] = 0
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIZE, SIZE))) * gain).real
    field /= field.std() + 1e-9
    value = 1 / (1 + np.exp(-field * (1 + hard)))
    low, middle, high = _vary(ramp, rng)
    value = value[..., None]
    return np.where(value < 0.5, low + (middle - low) * 2 * value, middle + (high - middle) * (2 * value - 1))


def leaves(group: Random, rng: Random) -> np.ndarray:
    """Opaque shapes of power-law sizes, one over the other."""
    kind, power = group.choice(["disc", "box", "triangle", "ring"]), group.uniform(1.2, 3.0)
    colours, outline = _palette(group, 8), group.random() < 0.3
    smallest, count = group.uniform(3, 10), int(group.uniform(30, 150))
    image = Image.new("RGB", (_LARGE, _LARGE), _tuple(colours[0]))
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        size = min(smallest * rng.random() ** (-1 / power), 70)
        x, y = rng.uniform(-10, _LARGE + 10, 2)
        colour = _tuple(_vary(colours[rng.integers(8)], rng, 8))
        line = (0, 0, 0) if outline else None
        if kind == "box":
            flat = size * rng.uniform(0.3, 1)
            draw.rectangle((x - size, y - flat, x + size, y + flat), fill=colour, outline=line)
        elif kind == "triangle":
            turn = rng.uniform(0, 6.28) + np.arange(3) * 2.094
            draw.polygon([(x + size * np.cos(t), y + size * np.sin(t)) for t in turn], fill=colour, outline=line)
        elif kind == "ring":
            draw.ellipse((x - size, y - size, x + size, y + size), outline=colour, width=max(1, int(size / 3)))
        else:
            draw.ellipse((x - size, y - size, x + size, y + size), fill=colour, outline=line)
    return _small(image)


def emblem(group: Random, rng: Random) -> np.ndarray:
    """One smooth symmetric body with a few marks on it, before a plain or graded ground."""
    waves = group.normal(0, 1, 5) / np.arange(1, 6)
    lobes, colours = int(group.integers(1, 6)), _palette(group, 5)
    marks = [(group.uniform(0, 0.6), group.uniform(0, 6.28), group.uniform(0.05, 0.3), int(group.integers(2, 5)))
             for _ in range(int(group.integers(0, 5)))]  # fmt: skip
    mirrored, shaded, stretch = group.random() < 0.7, group.random() < 0.5, group.uniform(0.5, 1.3)
    plain = group.random() < 0.7
    size, turn = _LARGE * rng.uniform(0.25, 0.42), rng.normal(0, 0.15)
    x0, y0 = _LARGE / 2 + rng.normal(0, 5, 2)
    colours = _vary(colours, rng)
    ground = np.full(3, rng.choice([0, 255])) if plain else colours[1]
    image = Image.new("RGB", (_LARGE, _LARGE), _tuple(ground))
    draw = ImageDraw.Draw(image)
    t = np.linspace(0, 2 * np.pi, 60)
    waves = waves + rng.normal(0, 0.08, 5)
    r = 1 + 0.3 * sum(w * np.cos((k + 1) * lobes * t) for k, w in enumerate(waves))
    r = np.clip(r, 0.15, 1.6) / 1.2
    x, y = x0 + size * r * np.cos(t + turn) * stretch, y0 + size * r * np.sin(t + turn)
    draw.polygon(list(zip(x, y, strict=True)), fill=_tuple(colours[0]), outline=_tuple(colours[4]))
    for far, where, big, colour in marks:
        far = far + rng.normal(0, 0.03)
        for side in (1, -1) if mirrored else (1,):
            mx, my = x0 + side * size * far * np.cos(where) * stretch, y0 + size * far * np.sin(where)
            b = size * big
            draw.ellipse((mx - b, my - b, mx + b, my + b), fill=_tuple(colours[colour]))
    pixels = _small(image).astype(np.float64)
    if shaded:
        ramp = np.linspace(-1, 1, SIZE)
        light = 1 + 0.25 * (ramp[:, None] * rng.normal() + ramp[None] * rng.normal())
        mask = np.abs(pixels - ground).sum(2, keepdims=True) > 8
        pixels = np.where(mask, pixels * light[..., None], pixels)
    return pixels


def strokes(group: Random, rng: Random) -> np.ndarray:
    """Curved lines of a width and a curvature, as in writing, hatching and ornament."""
    count, width, bend = int(group.integers(2, 40)), int(group.integers(1, 9)), group.uniform(0.0, 0.35)
    length, colours, ordered = int(group.integers(6, 40)), _palette(group, 4), group.random() < 0.4
    heading = group.uniform(0, 6.28)
    colours = _vary(colours, rng)
    if group.random() < 0.5:
        colours[0] = rng.choice([0, 255])
        colours[1:] = 255 - colours[0]
    image = Image.new("RGB", (_LARGE, _LARGE), _tuple(colours[0]))
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        turn = np.cumsum(rng.normal(0, bend, length)) + (
            heading + rng.normal(0, 0.1) if ordered else rng.uniform(0, 6.28)
        )
        step = 4.0
        x = rng.uniform(0, _LARGE) + np.cumsum(step * np.cos(turn))
        y = rng.uniform(0, _LARGE) + np.cumsum(step * np.sin(turn))
        draw.line(list(zip(x, y, strict=True)), fill=_tuple(colours[rng.integers(1, 4)]), width=width, joint="curve")
    return _small(image)


def fractal(group: Random, rng: Random) -> np.ndarray:
    """The points of a random system of affine maps (Kataoka et al., "Pre-training without natural images", 2020)."""
    maps = int(group.integers(2, 6))
    matrices = group.uniform(-1, 1, (maps, 2, 2))
    # Contractions, else the points leave the image.
    matrices *= (group.uniform(0.4, 0.85, maps) / np.linalg.norm(matrices, 2, axis=(1, 2)))[:, None, None]
    shifts, colours = group.uniform(-1, 1, (maps, 2)), _palette(group, 2)
    matrices = matrices * (1 + rng.normal(0, 0.03, matrices.shape))
    points = rng.uniform(-1, 1, (400, 2))
    seen = []
    for turn in range(26):
        which = rng.integers(maps, size=len(points))
        points = np.einsum("nij,nj->ni", matrices[which], points) + shifts[which]
        if turn > 5:
            seen.append(points)
    cloud = np.concatenate(seen)
    low, high = np.quantile(cloud, 0.005, axis=0), np.quantile(cloud, 0.995, axis=0)
    cloud = (cloud - low) / (high - low + 1e-6) * rng.uniform(0.7, 1.0) + rng.normal(0, 0.03, 2)
    counts, _, _ = np.histogram2d(cloud[:, 1], cloud[:, 0], bins=SIZE, range=[[-0.05, 1.05]] * 2)
    value = np.clip(counts / rng.uniform(2, 5), 0, 1)[..., None]
    ground, ink = _vary(colours, rng)
    if group.random() < 0.5:
        ground = np.full(3, rng.choice([0, 255]))
    return ground + (ink - ground) * value


def lattice(group: Random, rng: Random) -> np.ndarray:
    """Stripes, checks, dots and circles of a period."""
    kind, period = group.choice(["stripes", "checks", "dots", "circles", "hexagons"]), group.uniform(4, 24)
    colours, soft, ragged = _palette(group, 2), group.uniform(1, 12), group.uniform(0, 0.25)
    y, x = np.mgrid[0:SIZE, 0:SIZE] + rng.uniform(0, period, (2, 1, 1))
    turn = group.uniform(0, np.pi) + rng.normal(0, 0.1)
    u, v = (x * np.cos(turn) + y * np.sin(turn)) / period, (y * np.cos(turn) - x * np.sin(turn)) / period
    u = u + ragged * np.sin(v * 2.1 + rng.uniform(0, 6))
    tau = 2 * np.pi
    waves: dict[str, Callable[[], np.ndarray]] = {
        "stripes": lambda: np.sin(tau * u),
        "checks": lambda: np.sin(tau * u) * np.sin(tau * v),
        "dots": lambda: np.cos(tau * u) + np.cos(tau * v) - 0.8,
        "circles": lambda: np.sin(tau * np.hypot(u - 32 / period, v - 32 / period)),
        "hexagons": lambda: np.cos(tau * u) + np.cos(tau * (u / 2 + v * 0.866)) + np.cos(tau * (u / 2 - v * 0.866)),
    }
    value = 1 / (1 + np.exp(-soft * waves[str(kind)]()))[..., None]
    first, second = _vary(colours, rng)
    return first + (second - first) * value


_CHARACTERS = "ABCDEFGHKLMNPRSTWXYZabdefghkmnqrty23456789&?@#%"


def character(group: Random, rng: Random) -> np.ndarray:
    """One character, anywhere, at any size, a little turned."""
    text = _CHARACTERS[int(group.integers(len(_CHARACTERS)))]
    colours = _palette(rng, 2)
    if rng.random() < 0.5:
        colours[0] = rng.choice([0, 255])
        colours[1] = 255 - colours[0]
    image = Image.new("RGB", (_LARGE, _LARGE), _tuple(colours[0]))
    font = ImageFont.load_default(float(rng.uniform(50, 120)))
    x, y = _LARGE / 2 + rng.normal(0, 8, 2)
    ImageDraw.Draw(image).text((x, y), text, _tuple(colours[1]), font=font, anchor="mm")
    image = image.rotate(rng.normal(0, 10), Image.Resampling.BILINEAR, fillcolor=_tuple(colours[0]))
    return _small(image)


FAMILIES: dict[str, tuple[Callable[[Random, Random], np.ndarray], int]] = {
    "texture": (texture, 60),
    "leaves": (leaves, 50),
    "emblem": (emblem, 120),
    "strokes": (strokes, 60),
    "fractal": (fractal, 80),
    "lattice": (lattice, 50),
    "character": (character, 60),
}
"""Name -> how to draw, number of groups."""


def pool(each: int, collections: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 64, 64, 3] and the group of each [n].

    Args:
        each: images of a group of every family above.
        collections: images of each of Limner's procedural collections.
        seed: of all of it.
    """
    images: list[np.ndarray] = []
    groups: list[int] = []
    first = 0
    for number, (paint, count) in enumerate(FAMILIES.values()):
        for group in range(count):
            for index in range(each):
                way = np.random.default_rng((seed, number, group))
                pixels = paint(way, np.random.default_rng((seed, number, group, index + 1)))
                images.append(np.clip(np.round(pixels), 0, 255).astype(np.uint8))
                groups.append(first + group)
        first += count
    for name, collection in COLLECTIONS.items():
        labels = [collection.label(index, seed) for index in range(collections)]
        numbers = {label: first + place for place, label in enumerate(sorted({str(label) for label in labels}))}
        for index in range(collections):
            images.append(np.asarray(collection.draw(index, (SIZE, SIZE), seed).convert("RGB")))
            groups.append(numbers[str(labels[index])])
        first += len(numbers)
        print(f"drawn: {name}, {len(images)} images so far", flush=True)
    return np.stack(images), np.array(groups)
