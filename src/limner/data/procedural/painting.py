"""A sheet on which maps are painted: colours, textures, shadows, light, and stamped objects."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from PIL import Image

from limner.data.procedural.texture import blur, edge, resize, value_noise

Field = Float[np.ndarray, "h w"]
Colour = tuple[float, float, float]
Rgb = Float[np.ndarray, "h w 3"]
Rgba = Float[np.ndarray, "h w 4"]

LIGHT = (-0.55, -0.65)
"""Where the light comes from: left and above, as on printed maps. Shadows fall the other way."""


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """A colour between two, ``share`` of the way to the second; beyond 0 to 1 it goes on past them."""
    return (
        first[0] + share * (second[0] - first[0]),
        first[1] + share * (second[1] - first[1]),
        first[2] + share * (second[2] - first[2]),
    )


def tone(colour: Colour, factor: float) -> Colour:
    """The colour made darker (below 1) or lighter."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def relief(height: Field, depth: float) -> Field:
    """How brightly a surface is lit, about 0.4 to 1.6 and 1 where it is level.

    Args:
        height: of the surface, in any unit.
        depth: pixels that one such unit is high.
    """
    slope_y, slope_x = np.gradient(height)
    lit = (slope_x * np.float32(-LIGHT[0]) + slope_y * np.float32(-LIGHT[1])) * np.float32(-depth)
    # Squashed, so that a steep edge does not become white or black.
    return np.asarray(1 - 0.6 * lit / (1 + np.abs(lit)), np.float32)


@dataclass
class Painting:
    """A map in the making, larger than the picture.

    Args:
        shape: rows and columns of the canvas.
        cell: canvas pixels per map square (five feet, say), the unit of every length below.
        rng: where the choices come from.
        origin: row and column of the canvas where this part of it begins, see :meth:`window`.
    """

    shape: tuple[int, int]
    cell: float
    rng: np.random.Generator
    origin: tuple[int, int] = (0, 0)
    rgb: Rgb = field(init=False)
    props: list[tuple[Rgba, float, float, float]] = field(init=False, default_factory=list)
    lights: list[tuple[float, float, float, Colour]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.rgb = np.zeros((*self.shape, 3) if self.origin == (0, 0) else (0, 0, 3), np.float32)

    @property
    def width(self) -> float:
        """Map squares from left to right."""
        return self.shape[1] / self.cell

    @property
    def height(self) -> float:
        """Map squares from top to bottom."""
        return self.shape[0] / self.cell

    def axes(self) -> tuple[Float[np.ndarray, "1 w"], Float[np.ndarray, "h 1"]]:
        """Coordinates of the pixels' middles in map squares: x along a row and y along a column."""
        scale = np.float32(1 / self.cell)
        x = (np.arange(self.shape[1], dtype=np.float32)[None, :] + np.float32(self.origin[1] + 0.5)) * scale
        y = (np.arange(self.shape[0], dtype=np.float32)[:, None] + np.float32(self.origin[0] + 0.5)) * scale
        return x, y

    def window(self, left: float, top: float, right: float, bottom: float) -> Painting | None:
        """The part of the map between these coordinates (map squares), to paint on in place; None if it is off the sheet."""
        first_row, last_row = (min(max(round(side * self.cell), 0), self.shape[0]) for side in (top, bottom))
        first_column, last_column = (min(max(round(side * self.cell), 0), self.shape[1]) for side in (left, right))
        if last_row - first_row < 2 or last_column - first_column < 2:
            return None
        part = Painting(
            (last_row - first_row, last_column - first_column), self.cell, self.rng, (first_row, first_column)
        )
        part.rgb = self.rgb[first_row:last_row, first_column:last_column]
        return part

    def noise(self, period: float, octaves: int = 1, gain: float = 0.5) -> Field:
        """Value noise, about -1 to 1, with a period in map squares."""
        return value_noise(self.rng, self.shape, max(2.0, period * self.cell), octaves, gain)

    def inside(self, distance: Field, softness: float = 0.0) -> Field:
        """Coverage of where ``distance`` (map squares) is negative, antialiased, or soft over some map squares."""
        return edge(distance * np.float32(self.cell), max(1.4, softness * self.cell))

    def blend(self, mask: Field, colour: Colour | Rgb) -> None:
        """Paint over with a colour or another painting as far as ``mask`` covers."""
        self.rgb += mask[..., None] * (np.asarray(colour, np.float32) - self.rgb)

    def shade(self, factor: Field) -> None:
        """Make darker or lighter."""
        self.rgb *= factor[..., None]

    def texture(self, colours: tuple[Colour, Colour, Colour], period: float, grain: float = 0.05) -> Rgb:
        """A painted ground: dark, middle and light patches with brushed edges, and fine grain.

        Args:
            colours: dark, middle and light.
            period: size of the patches in map squares.
            grain: strength of the fine grain.
        """
        patches = self.noise(period, octaves=4, gain=0.6)
        # Half of it in steps with soft edges: the eye takes those for strokes of a brush.
        steps = np.round(patches * 2.5) / 2.5
        patches = np.clip(0.62 * patches + 0.38 * steps, -1, 1)
        low, middle, high = (np.asarray(colour, np.float32) for colour in colours)
        up, down = np.maximum(patches, 0)[..., None], np.maximum(-patches, 0)[..., None]
        result = middle + up * (high - middle) + down * (low - middle)
        result *= (1 + np.float32(grain) * self.noise(0.09, octaves=2))[..., None]
        return np.asarray(result, np.float32)

    def curve(self, points: Float[np.ndarray, "n 2"]) -> Field:
        """Distance from each pixel to a line through ``points``, in map squares."""
        coarse = 4
        rows, columns = (-(-side // coarse) for side in self.shape)
        x = (np.arange(columns, dtype=np.float32) + 0.5)[None, :] * (self.shape[1] / columns / self.cell)
        y = (np.arange(rows, dtype=np.float32) + 0.5)[:, None] * (self.shape[0] / rows / self.cell)
        nearest = np.full((rows, columns), np.float32(1e6))
        for (ax, ay), (bx, by) in zip(points[:-1].tolist(), points[1:].tolist(), strict=True):
            length = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-6)
            along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1)
            np.minimum(nearest, (x - ax - along * (bx - ax)) ** 2 + (y - ay - along * (by - ay)) ** 2, out=nearest)
        return resize(np.sqrt(nearest).astype(np.float32), self.shape)

    def cast(self, mask: Field, reach: float, strength: float) -> None:
        """Darken what lies right and below of ``mask``, as its shadow.

        Args:
            mask: what casts it, 0 to 1; it is not darkened itself.
            reach: length of the shadow in map squares.
            strength: 0 to 1.
        """
        down, right = (max(1, round(-part * reach * self.cell)) for part in (LIGHT[1], LIGHT[0]))
        shadow = np.zeros_like(mask)
        shadow[down:, right:] = mask[:-down, :-right]
        shadow = np.maximum(shadow, mask)
        shadow = blur(shadow, 0.35 * reach * self.cell) * (1 - mask)
        self.shade(1 - np.float32(strength) * shadow)

    def place(self, sprite: Rgba, x: float, y: float, tall: float) -> None:
        """Put an object on the map, with its middle at (x, y) and a height that gives its shadow; see :meth:`stamp`."""
        self.props.append((sprite, x, y, tall))

    def _window(self, sprite: Rgba, x: float, y: float) -> tuple[slice, slice, slice, slice] | None:
        """Rows and columns of the canvas that a sprite covers, and its own that fall on the canvas."""
        top, left = round(y * self.cell - sprite.shape[0] / 2), round(x * self.cell - sprite.shape[1] / 2)
        bottom, right = min(top + sprite.shape[0], self.shape[0]), min(left + sprite.shape[1], self.shape[1])
        first_row, first_column = max(top, 0), max(left, 0)
        if first_row >= bottom or first_column >= right:
            return None
        own_rows, own_columns = slice(first_row - top, bottom - top), slice(first_column - left, right - left)
        return slice(first_row, bottom), slice(first_column, right), own_rows, own_columns

    def stamp(self) -> None:
        """Paint the objects placed so far: first the shadows of all of them, then they themselves, the low ones first."""
        shadow = np.zeros(self.shape, np.float32)
        for sprite, x, y, tall in self.props:
            window = self._window(sprite, x - LIGHT[0] * tall, y - LIGHT[1] * tall)
            if window:
                part = shadow[window[0], window[1]]
                np.maximum(part, sprite[window[2], window[3], 3], out=part)
        if self.props:
            self.shade(1 - np.float32(0.5) * blur(shadow, 0.07 * self.cell))
        for sprite, x, y, _ in sorted(self.props, key=lambda prop: prop[3]):
            window = self._window(sprite, x, y)
            if window:
                part, own = self.rgb[window[0], window[1]], sprite[window[2], window[3]]
                part += own[..., 3:] * (own[..., :3] - part)
        self.props.clear()

    def shine(self, ambient: Colour) -> None:
        """Light the map: everywhere with ``ambient`` (1 is white daylight), and around each lamp with its own colour."""
        coarse = 4
        rows, columns = (-(-side // coarse) for side in self.shape)
        light = np.empty((rows, columns, 3), np.float32)
        light[:] = ambient
        x = (np.arange(columns, dtype=np.float32) + 0.5)[None, :] * (self.width / columns)
        y = (np.arange(rows, dtype=np.float32) + 0.5)[:, None] * (self.height / rows)
        for lamp_x, lamp_y, radius, colour in self.lights:
            glow = np.exp(-((x - lamp_x) ** 2 + (y - lamp_y) ** 2) / np.float32(radius * radius))
            light += glow[..., None] * np.asarray(colour, np.float32)
        # Where lamps meet they must not bleach the colours.
        over = np.maximum(light - np.float32(1.05), 0)
        light -= over - over / (1 + np.float32(1.6) * over)
        for channel in range(3):
            self.rgb[..., channel] *= resize(np.ascontiguousarray(light[..., channel]), self.shape)

    def grid(self, strength: float, width: float) -> None:
        """Thin lines between the map squares, ``width`` in canvas pixels, darker than the ground if ``strength`` is above 0."""
        x, y = self.axes()
        half = np.float32(width / 2)
        lines = [edge(np.abs(axis - np.round(axis)) * np.float32(self.cell) - half) for axis in (x, y)]
        self.shade(1 - np.float32(strength) * np.maximum(*lines))

    def image(self, size: tuple[int, int]) -> Image.Image:
        """The picture, scaled down to ``size`` (width, height)."""
        full = Image.fromarray((np.clip(self.rgb, 0, 1) * 255 + 0.5).astype(np.uint8))
        return full if full.size == size else full.resize(size, Image.Resampling.BOX)
