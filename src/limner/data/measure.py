"""What a collection is like, from a sample of it: sizes, colour, transparency.

The size and the channels that a recipe leaves open follow from this.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import UInt8

from limner.data.decode import (
    ALPHA_MODES,
    PIXEL_LIMIT,
    Background,
    Fit,
    Target,
    bands,
    in_room,
    load,
    open_image,
    oriented_size,
    reasons,
)
from limner.data.parallel import ordered
from limner.data.sources import Source, Unread, Unreadable
from limner.errors import InputError

SIZES = 256
"""How many pictures are asked for their size. Only their headers are read."""
PIXELS = 64
"""How many of them are looked at for colour and transparency."""
ALPHA_SHARE = 0.05
"""From this share of transparent pictures on, transparency is kept."""
GREY_TOLERANCE = 2
"""How far the three channels of a grey picture may be apart: JPEG rounds."""
SQUARE = 1.15
"""Mixed pictures up to this far from square, on the median, are taken for square."""
SMALLEST, LARGEST = 8, 1024
_PREVIEW = 128
_OPAQUE = 250


class ImageSettings(Protocol):
    """The recipe's ``image`` section."""

    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...
    @property
    def channels(self) -> Literal[1, 3, 4] | None: ...
    @property
    def fit(self) -> Fit: ...
    @property
    def background(self) -> Background: ...
    @property
    def max_side(self) -> int: ...
    @property
    def held_out(self) -> float: ...


@dataclass(frozen=True)
class Sample:
    """What a sample shows.

    Attributes:
        sizes: width and height of each sampled picture, oriented.
        grey: whether all of them are grey.
        alpha: the share that is transparent somewhere, 0 to 1.
        whole: whether no picture was missing from it that may be read another time.
    """

    sizes: tuple[tuple[int, int], ...]
    grey: bool
    alpha: float
    whole: bool = True

    def values(self) -> dict[str, Any]:
        """As JSON has it; :meth:`from_values` gives the sample back."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Sample:
        """Back from :meth:`values`. Raises KeyError, TypeError or ValueError when it is something else."""
        sizes = tuple((int(width), int(height)) for width, height in values["sizes"])
        return cls(sizes, bool(values["grey"]), float(values["alpha"]))


@dataclass(frozen=True)
class _Header:
    """What the first bytes of a picture tell."""

    index: int
    size: tuple[int, int]
    alpha: bool
    colour: bool


def take_sample(source: Source, workers: int, pixel_limit: int = PIXEL_LIMIT) -> Sample:
    """Look at up to 256 pictures, spread evenly: at the headers of all, at the pixels of some.

    Raises:
        InputError: none of them can be read, or the file that holds them all cannot.
    """
    headers: list[_Header] = []
    problem, whole = "", True
    places = spread(len(source.entries), SIZES)
    for index in places:
        try:
            with reasons():
                headers.append(_header(source, index, pixel_limit))
        except Unreadable as error:
            whole = whole and not isinstance(error, Unread)
            problem = problem or f"{source.entries[index].name}: {error}"

    def look(header: _Header) -> tuple[bool, bool] | None:
        try:
            with reasons():
                return _look(source.read(header.index), pixel_limit)
        except Unreadable as error:
            nonlocal whole
            whole = whole and not isinstance(error, Unread)
            return None

    def weight(header: _Header) -> int:
        return source.weight(header.index)

    chosen = [headers[place] for place in spread(len(headers), PIXELS)] if headers else []
    transparent = [
        seen for seen in ordered(look, [header for header in chosen if header.alpha], workers, weight) if seen
    ]
    grey = all(seen[0] for seen in transparent)
    opaque = [header for header in chosen if header.colour and not header.alpha]
    grey = grey and all(seen[0] for seen in map(look, opaque) if seen)  # ends with the first coloured one
    if not headers:
        raise InputError(
            f"data {source.location}: none of {len(places)} pictures that were tried can be read ({problem}); "
            "give a folder or file of images that open elsewhere"
        )
    share = sum(alpha for _, alpha in transparent) / len(chosen)
    return Sample(tuple(header.size for header in headers), grey, share, whole)


def spread(count: int, most: int) -> list[int]:
    """Up to ``most`` of ``range(count)``, evenly."""
    places: list[int] = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()
    return places


def _header(source: Source, index: int, pixel_limit: int) -> _Header:
    data = source.open(index)
    try:
        image = open_image(data, pixel_limit)
        alpha = image.mode in ALPHA_MODES or "transparency" in image.info
        colour = image.mode not in ("1", "L", "LA", "La", "I", "F") and not image.mode.startswith("I;16")
        return _Header(index, oriented_size(image), alpha, colour)
    finally:
        if not isinstance(data, np.ndarray):
            data.close()


def _look(data: bytes | UInt8[np.ndarray, "h w c"], pixel_limit: int) -> tuple[bool, bool]:
    """Whether a picture is grey, and whether it is transparent somewhere."""
    image = open_image(data, pixel_limit)
    with in_room(image):
        found = [_looked(band) for _, band in bands(load(image, min(1.0, _PREVIEW / max(image.size))))]
    return all(grey for grey, _ in found), any(alpha for _, alpha in found)


def _looked(values: UInt8[np.ndarray, "*shape"]) -> tuple[bool, bool]:
    if values.ndim == 2:
        return True, False
    alpha = values.shape[-1] in (2, 4) and bool((values[..., -1] < _OPAQUE).any())
    if values.shape[-1] == 2:
        return True, alpha
    red, green, blue = (values[..., channel].astype(np.int16) for channel in range(3))
    apart = np.maximum(np.maximum(abs(red - green), abs(green - blue)), abs(red - blue))
    if values.shape[-1] == 4:
        apart = apart * (values[..., 3] > 0)  # invisible colours are none
    return bool(apart.max() <= GREY_TOLERANCE), alpha


def needs_sample(image: ImageSettings) -> bool:
    """Whether the recipe leaves something open that has to be measured."""
    return image.width is None or image.height is None or image.channels is None


def resolve(image: ImageSettings, sample: Sample | None, pixel_limit: int = PIXEL_LIMIT) -> Target:
    """What pictures are to become: what the recipe says, and what the sample says where the recipe does not.

    - channels: 1 when all sampled pictures are grey, 4 when at least 5% of them are transparent somewhere, else 3;
    - size, when all sampled pictures have one: that, reduced so that the longer side is at most ``max_side``;
    - size, when they differ: the median aspect (square when it is near), the longer side the median one, at most
      ``max_side``;
    - one side given: the other follows from the aspect.

    Raises:
        InputError: a side outside 8 to 1024, or an aspect that cannot be had.
    """
    channels = image.channels
    width, height = image.width, image.height
    if sample is not None:
        if channels is None:
            channels = 4 if sample.alpha >= ALPHA_SHARE else 1 if sample.grey else 3
        if width is None or height is None:
            width, height = _size(width, height, sample, image.max_side)
    if channels is None or width is None or height is None:
        raise ValueError("what the recipe leaves open has to be measured")
    for name, side in (("width", width), ("height", height)):
        if not SMALLEST <= side <= LARGEST:
            raise InputError(f"image.{name} = {side}: must be {SMALLEST} to {LARGEST} pixels; give --size")
    if channels not in (1, 3, 4):
        raise InputError(f"image.channels = {channels}: must be 1 (grey), 3 (RGB) or 4 (RGB with transparency)")
    return Target(width, height, channels, image.fit, image.background, pixel_limit)


def _size(width: int | None, height: int | None, sample: Sample, max_side: int) -> tuple[int, int]:
    if len(set(sample.sizes)) == 1:
        across, down = sample.sizes[0]
        aspect, longer = across / down, float(max(across, down))
    else:
        aspect = math.exp(statistics.median(math.log(across / down) for across, down in sample.sizes))
        if max(aspect, 1 / aspect) < SQUARE:
            aspect = 1.0
        longer = statistics.median(max(size) for size in sample.sizes)
    if width is not None:
        return width, _side(width / aspect)
    if height is not None:
        return _side(height * aspect), height
    longer = min(longer, max_side)
    return (_side(longer), _side(longer / aspect)) if aspect >= 1 else (_side(longer * aspect), _side(longer))


def _side(pixels: float) -> int:
    return min(max(round(pixels), SMALLEST), LARGEST)
