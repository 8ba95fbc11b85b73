"""Random fields that the procedural collections share: value noise, blur and antialiased edges."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageFilter

from limner.noise import Stream, derived_seed

MAX_SIDE = 1024
MIN_SIDE = 8


def generator(index: int, seed: int) -> np.random.Generator:
    """The random numbers of one picture: a function of the collection's seed and the picture's index alone."""
    return np.random.Generator(np.random.PCG64(derived_seed(seed, Stream.PROCEDURAL, index)))


def check_size(size: tuple[int, int]) -> None:
    """Refuse a picture that the drawing rules are not made for.

    Raises:
        ValueError: width or height outside 8 to 1024 pixels.
    """
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise ValueError(f"cannot draw a picture of {size[0]}x{size[1]} pixels: each side has to be 8 to 1024")


def pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """A key, as often as its share says against the others."""
    weights = np.cumsum(list(shares.values()))
    return list(shares)[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]


def edge(distance: Float[np.ndarray, "h w"], width: float = 1.0) -> Float[np.ndarray, "h w"]:
    """Coverage 0 to 1 of the region where ``distance`` (pixels, negative inside) is below 0, over a soft ``width``."""
    return np.clip(0.5 - distance / width, 0.0, 1.0)


def resize(field: Float[np.ndarray, "h w"], shape: tuple[int, int], smooth: bool = True) -> Float[np.ndarray, "H W"]:
    """Scale a float32 field to ``shape`` (rows, columns), bicubic or to the nearest neighbour."""
    kind = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(field).resize(shape[::-1], kind))


def value_noise(
    rng: np.random.Generator, shape: tuple[int, int], period: float, octaves: int = 1, gain: float = 0.5
) -> Float[np.ndarray, "h w"]:
    """Smooth noise, about -1 to 1 with mean 0: random values on a lattice, interpolated.

    Args:
        rng: where the values come from.
        shape: rows and columns.
        period: pixels between lattice points of the coarsest octave; every further one has half of it.
        octaves: how many are added; those finer than two pixels are left out.
        gain: strength of each octave against the one before.
    """
    # Octaves are added on ever finer lattices, and only the finest is scaled to the pixels: that is most of the work.
    # Three lattice cells of margin are cut off again: bicubic interpolation flattens towards the border.
    rows, columns = (int(np.ceil(side / period)) + 3 for side in shape)
    start_y, start_x = rng.random(2) + 1
    values = rng.random((rows, columns), dtype=np.float32) * 2 - 1
    strength, weight, fineness = 1.0, 1.0, 1
    for _ in range(octaves - 1):
        if period / fineness < 4:
            break
        fineness *= 2
        strength *= gain
        weight += strength * strength
        values = resize(values, (rows * fineness, columns * fineness))
        values = values + np.float32(strength) * (rng.random(values.shape, dtype=np.float32) * 2 - 1)
    left, top = start_x * fineness, start_y * fineness
    box = (left, top, left + shape[1] * fineness / period, top + shape[0] * fineness / period)
    image = Image.fromarray(values).resize(shape[::-1], Image.Resampling.BICUBIC, box=box)
    return np.asarray(image) * np.float32(1.0 / np.sqrt(weight))


def blur(field: Float[np.ndarray, "h w"], radius: float) -> Float[np.ndarray, "h w"]:
    """Gaussian blur of a field of 0 to 1, in 8-bit steps; ``radius`` is the standard deviation in pixels."""
    image = Image.fromarray((np.clip(field, 0, 1) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / np.float32(255)
