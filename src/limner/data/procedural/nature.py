"""Trees, rocks and other natural things on maps, seen from above. Each is a small picture with coverage."""

from __future__ import annotations

import numpy as np

from limner.data.procedural.painting import Colour, Field, Painting, Rgba, mix, relief, tone
from limner.data.procedural.texture import edge, value_noise


def _lit(height: Field, alpha: Field, dark: Colour, light: Colour, depth: float, rim: float) -> Rgba:
    """A lit lump: coloured from dark to light with its brightness, outlined at the rim.

    Args:
        height: of the surface, 0 to 1.
        alpha: coverage.
        dark: colour of the low and shaded parts.
        light: colour of the high and lit parts.
        depth: pixels that height 1 is high.
        rim: how dark the outline is, 0 to 1.
    """
    share = np.clip((relief(height, depth) - 0.55) * 0.75 + 0.45 * height, 0, 1)[..., None]
    low, high = np.asarray(dark, np.float32), np.asarray(light, np.float32)
    rgb = low + share * (high - low)
    rgb *= 1 - np.float32(rim) * (1 - np.clip(height * 6, 0, 1))[..., None]
    return np.concatenate([rgb, alpha[..., None]], axis=-1).astype(np.float32)


def _disc_axes(side: int) -> tuple[Field, Field]:
    """Coordinates -1 to 1 over a square of ``side`` pixels: x, y."""
    ticks = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / side) - 1
    return ticks[None, :], ticks[:, None]


def tree(painting: Painting, radius: float, dark: Colour, light: Colour) -> Rgba:
    """A broad crown of leaf clumps, ``radius`` in map squares."""
    rng = painting.rng
    side = max(5, round(2.15 * radius * painting.cell))
    x, y = _disc_axes(side)
    count = 26
    turn, far = rng.uniform(0, 2 * np.pi, count), 0.76 * np.sqrt(rng.uniform(0, 1, count))
    size = rng.uniform(0.2, 0.34, count) * (1.15 - 0.3 * far)
    crown = np.full((side, side), np.float32(-1))
    for a, r, s in zip(turn.tolist(), far.tolist(), size.tolist(), strict=True):
        bump = 1 - ((x - r * np.cos(a)) ** 2 + (y - r * np.sin(a)) ** 2) * np.float32(1 / (s * s))
        # Clumps near the trunk lie higher, so they cover the outer ones.
        np.maximum(
            crown, np.where(bump > 0, (0.45 + 0.45 * (1 - r)) * np.sqrt(np.maximum(bump, 0)), bump * 0.3), out=crown
        )
    leaves = value_noise(rng, (side, side), max(2.0, 0.1 * painting.cell), octaves=2, gain=0.8)
    crown += 0.07 * leaves
    alpha = edge(-crown * np.float32(0.22 * side), 1.5)
    return _lit(np.maximum(crown, 0), alpha, dark, light, 0.26 * side, 0.6)


def conifer(painting: Painting, radius: float, dark: Colour, light: Colour) -> Rgba:
    """A fir: rings of branches that narrow towards the top."""
    rng = painting.rng
    side = max(5, round(2.1 * radius * painting.cell))
    x, y = _disc_axes(side)
    far, angle = np.hypot(x, y), np.arctan2(y, x)
    crown = np.full((side, side), np.float32(-1))
    for ring in range(4):
        reach = 0.95 - 0.23 * ring
        branches = 11 - 2 * ring
        tips = np.abs(np.mod(angle * np.float32(branches / (2 * np.pi)) + rng.random(), 1) - 0.5) * 2
        cone = 1 - far / (reach * (0.72 + 0.28 * tips))
        np.maximum(crown, np.where(cone > 0, 0.22 * ring + 0.45 * cone, cone), out=crown)
    crown += np.float32(0.04) * value_noise(rng, (side, side), max(2.0, 0.1 * painting.cell))
    return _lit(np.maximum(crown, 0), edge(-crown * np.float32(0.3 * side), 1.5), dark, light, 0.3 * side, 0.6)


def palm(painting: Painting, radius: float, dark: Colour, light: Colour) -> Rgba:
    """A palm: feathered fronds about the trunk."""
    rng = painting.rng
    side = max(5, round(2.1 * radius * painting.cell))
    x, y = _disc_axes(side)
    crown = np.full((side, side), np.float32(-1))
    turn = rng.uniform(0, 2 * np.pi)
    for frond in range(8):
        a = turn + frond * np.pi / 4 + rng.uniform(-0.15, 0.15)
        along = x * np.cos(a) + y * np.sin(a)
        bend = 0.22 * rng.uniform(-1, 1)
        across = np.abs(y * np.cos(a) - x * np.sin(a) - bend * along * along)
        width = 0.2 * np.sqrt(np.maximum(along * (0.97 - along), 0)) * 2
        comb = 0.85 + 0.15 * np.sin(along * 38)
        blade = np.where(along > 0, width * comb - across, -1.0) * 4
        np.maximum(crown, np.where(blade > 0, 0.3 + 0.5 * np.minimum(blade, 1), blade), out=crown)
    return _lit(np.maximum(crown, 0), edge(-crown * np.float32(0.12 * side), 1.3), dark, light, 0.2 * side, 0.5)


def rock(painting: Painting, radius: float, colour: Colour) -> Rgba:
    """A boulder with chipped faces."""
    rng = painting.rng
    side = max(4, round(2.2 * radius * painting.cell))
    x, y = _disc_axes(side)
    x = x * np.float32(rng.uniform(1.0, 1.35))
    height = np.full((side, side), np.float32(0.5))
    for turn in np.linspace(0, 2 * np.pi, 9)[:-1] + rng.uniform(-0.3, 0.3, 8):
        for steep, base in ((2.6, rng.uniform(0.7, 0.86)), (0.8, rng.uniform(0.75, 1.0))):
            wall = (base - x * np.cos(turn) - y * np.sin(turn)) * np.float32(steep)
            np.minimum(height, wall if steep > 1 else wall * 0.75, out=height)
    height += np.float32(0.03) * value_noise(rng, (side, side), max(2.0, 0.12 * painting.cell), octaves=2)
    alpha = edge(-height * np.float32(0.19 * side), 1.4)
    return _lit(np.maximum(height, 0) * 1.6, alpha, tone(colour, 0.42), tone(colour, 1.35), 0.32 * side, 0.55)


def crystal(painting: Painting, radius: float, colour: Colour) -> Rgba:
    """A cluster of pointed crystals that lean outwards."""
    rng = painting.rng
    side = max(5, round(2.1 * radius * painting.cell))
    x, y = _disc_axes(side)
    height = np.full((side, side), np.float32(-1))
    for shard in range(6):
        a = shard * 1.05 + rng.uniform(-0.3, 0.3)
        along = x * np.cos(a) + y * np.sin(a)
        across = np.abs(y * np.cos(a) - x * np.sin(a)) * np.float32(rng.uniform(4.5, 7))
        tip = rng.uniform(0.55, 0.95)
        blade = np.minimum(1 - across - np.maximum(along - tip + 0.3, 0) * 3, (along + 0.12) * 6)
        np.maximum(height, blade, out=height)
    alpha = edge(-height * np.float32(0.1 * side), 1.3)
    return _lit(np.clip(height, 0, 1), alpha, tone(colour, 0.5), mix(colour, (1.0, 1.0, 1.0), 0.6), 0.2 * side, 0.5)


def mushroom(painting: Painting, radius: float, colour: Colour) -> Rgba:
    """A round cap with pale spots."""
    rng = painting.rng
    side = max(4, round(2.2 * radius * painting.cell))
    x, y = _disc_axes(side)
    height = 1 - (x * x + y * y) * np.float32(1.25)
    dome = np.sqrt(np.maximum(height, 0))
    sprite = _lit(
        dome, edge(-height * np.float32(0.2 * side), 1.4), tone(colour, 0.55), tone(colour, 1.25), 0.3 * side, 0.6
    )
    for _ in range(5):
        turn, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.6)
        spot = edge((np.hypot(x - far * np.cos(turn), y - far * np.sin(turn)) - 0.12) * np.float32(0.5 * side))
        sprite[..., :3] += spot[..., None] * np.float32(0.6) * (1 - sprite[..., :3])
    return sprite
