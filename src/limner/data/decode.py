"""One picture in any format becomes pixels of one shape: oriented, in the wanted mode, fitted, uint8.

The order of things: open, draft (JPEG decodes at a fraction of its size for next to nothing), orient by EXIF, bring colours of
another profile to sRGB (:mod:`limner.data.profiles`), bring to one of four plain modes (grey, grey and alpha, RGB, RGBA),
resample once with antialiasing (premultiplied where there is alpha), change the number of channels, pad.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from limner.data.opening import DRAFTED as DRAFTED
from limner.data.opening import PIXEL_LIMIT as PIXEL_LIMIT
from limner.data.opening import in_room as in_room
from limner.data.opening import inside
from limner.data.opening import open_image as open_image
from limner.data.opening import quiet as quiet
from limner.data.opening import reasons as reasons
from limner.data.profiles import in_srgb
from limner.data.sources import Unreadable

Fit: TypeAlias = Literal["crop", "pad", "stretch", "crops"]
Background: TypeAlias = Literal["white", "black"]

VERSION = 3
"""Goes up when the same file would become other pixels, so that caches of older versions are not used."""

CROPS_REACH = 16
"""With ``fit = "crops"`` a piece shows at least this fraction of the shorter side (see :func:`fitted`)."""

_ORIENTATION = 0x0112
_SWAPPED = (5, 6, 7, 8)
ALPHA_MODES = ("LA", "La", "RGBA", "RGBa", "PA")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BAND = 1 << 22
"""Pixels that are brought from one form into another at a time."""
PLAIN = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Number of channels -> Pillow's mode."""


@dataclass(frozen=True)
class Target:
    """What pictures are to become.

    Attributes:
        width: pixels, 8 to 1024.
        height: pixels, 8 to 1024.
        channels: 1 grey, 3 RGB, 4 RGB and straight alpha.
        fit: how another shape gets this one (see :func:`fitted`).
        background: what padding is filled with, and what shows through where transparency is dropped.
        pixel_limit: larger pictures are :class:`Unreadable`.
    """

    width: int
    height: int
    channels: Literal[1, 3, 4]
    fit: Fit = "crop"
    background: Background = "white"
    pixel_limit: int = PIXEL_LIMIT


@dataclass(frozen=True)
class Decoded:
    """A picture's pixels, and what it was: ``size`` is width and height after orientation, ``mode`` is Pillow's."""

    pixels: UInt8[np.ndarray, "h w c"]
    size: tuple[int, int]
    mode: str


def decode(data: bytes | UInt8[np.ndarray, "h w c"], target: Target) -> Decoded:
    """Pixels of one picture.

    Args:
        data: an image file's bytes, or pixels with 1 to 4 channels (2 and 4 have alpha).
        target: the shape to give. With ``fit = "crops"`` the result keeps its own, at least ``target``'s.

    Raises:
        Unreadable: not a picture, damaged, or larger than the limit; the message says which.
    """
    with reasons():
        image = open_image(data, target.pixel_limit)
        with in_room(image):
            return _decoded(image, target)


def _decoded(image: Image.Image, target: Target) -> Decoded:
    """The rest of :func:`decode`."""
    mode = image.mode
    if image.format in DRAFTED:  # the only ones whose size has to be known before they are read
        size = oriented_size(image)
        box, out = fitted(size, target)
        scale = max(out[0] / (box[2] - box[0]), out[1] / (box[3] - box[1]))
        image = load(image, scale, grey=target.channels == 1)
        shrunk = image.width / size[0], image.height / size[1]
        box = box[0] * shrunk[0], box[1] * shrunk[1], box[2] * shrunk[0], box[3] * shrunk[1]
    else:
        image = load(image)
        size = image.size
        box, out = fitted(size, target)
    if out[0] * out[1] > target.pixel_limit:
        raise Unreadable(f"would become {out[0]}x{out[1]} to cover {target.width}x{target.height}")
    if out != image.size or box != (0, 0, *image.size):
        # Integer reduction down to three times the size first: hardly to be told from doing without, and much
        # faster.
        image = image.resize(out, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    pixels = _pixels(image, target)
    if target.fit == "pad":
        pixels = _pad(pixels, target)
    return Decoded(pixels, size, mode)


def _pixels(image: Image.Image, target: Target) -> UInt8[np.ndarray, "h w channels"]:
    """An image's pixels with the wanted channels; band by band, so that a large one is never held three times over."""
    if image.width * image.height <= _BAND:
        whole = np.asarray(image)
        return convert_channels(whole[..., None] if whole.ndim == 2 else whole, target.channels, target.background)
    pixels = np.empty((image.height, image.width, target.channels), np.uint8)
    for top, band in bands(image):
        band = band[..., None] if band.ndim == 2 else band
        pixels[top : top + len(band)] = convert_channels(band, target.channels, target.background)
    return pixels


def bands(image: Image.Image) -> Iterator[tuple[int, UInt8[np.ndarray, "h w *c"]]]:
    """An image in bands of rows: where each begins, and its pixels. All of a large one would take twice its room."""
    rows = max(1, _BAND // image.width)
    if rows >= image.height:
        yield 0, np.asarray(image)
        return
    for top in range(0, image.height, rows):
        yield top, np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))


def oriented_size(image: Image.Image) -> tuple[int, int]:
    """Width and height after orientation, from the header alone.

    Pillow turns TIFF by itself. A PNG that keeps its EXIF behind its pixels would have to be read whole; it is not.
    """
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return image.size
    return (image.height, image.width) if _orientation(image) in _SWAPPED else image.size


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none, or none that makes sense."""
    if image.format is None:
        return 1
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error):
        return 1  # a broken EXIF block does not make the picture unusable
    return int(found) if found in range(1, 9) else 1


def load(image: Image.Image, scale: float = 1.0, *, grey: bool = False) -> Image.Image:
    """Read the pixels of an opened picture: oriented, mode ``L``, ``LA``, ``RGB`` or ``RGBA``. It is used up by that.

    Args:
        image: as :func:`open_image` gives it.
        scale: the factor by which it will be resized, that of the side that shrinks less. A JPEG is decoded at a half, a
            quarter or an eighth where at least twice the wanted size is left.
        grey: whether colour is going to be dropped (a JPEG then decodes its luma alone).
    """
    if image.format in DRAFTED:
        image.draft("L" if grey else None, (math.ceil(2 * scale * image.width), math.ceil(2 * scale * image.height)))
    kind = image.format
    with inside(kind):
        image.load()
    turn = _TURNS.get(_orientation(image))  # asked again: Pillow turns TIFF by itself, PNG may have its EXIF at the end
    changes: tuple[Callable[[Image.Image], Image.Image], ...] = (
        lambda given: given if turn is None else given.transpose(turn),
        in_srgb,
        lambda given: _plain(given, kind),
    )
    for change in changes:
        changed = change(image)
        if changed is not image:
            image.close()  # a large one is not to be held three times over
        image = changed
    return image


def _plain(image: Image.Image, kind: str | None) -> Image.Image:
    """Any of Pillow's modes as ``L``, ``LA``, ``RGB`` or ``RGBA``, with 8 bits.

    16-bit grey is divided by 257 (65535 becomes 255). Mode ``I`` is taken for 16 bits, or for 8 where nothing is over
    255; mode ``F`` for [0, 1], or for [0, 255] where something is over 1.
    """
    mode = image.mode
    if mode in ("L", "LA", "RGB", "RGBA") and "transparency" not in image.info:
        return image
    if mode.startswith("I;16") or mode in ("I", "F"):
        return _to_8_bits(image, kind)
    if "transparency" in image.info or mode in ALPHA_MODES:
        return image.convert("LA" if mode in ("L", "1", "La") else "RGBA")
    return image.convert("L" if mode == "1" else "RGB")


def _to_8_bits(image: Image.Image, kind: str | None) -> Image.Image:
    """Numbers of 16 or 32 bits as grey of 8 (see :func:`_plain`), band by band."""
    most = max((np.nan_to_num(band).max(initial=0) for _, band in bands(image)), default=0)
    eight = np.empty((image.height, image.width), np.uint8)
    for top, band in bands(image):
        if image.mode == "F":
            values = np.nan_to_num(band) * (255.0 if most <= 1.0 else 1.0)
        elif image.mode == "I" and kind not in ("PNG", "PPM") and most <= 255:
            values = band
        else:
            values = (np.clip(band, 0, 65535).astype(np.uint32) + 128) // 257
        eight[top : top + len(band)] = np.clip(np.rint(values), 0, 255)
    return Image.fromarray(eight)


def fitted(size: tuple[int, int], target: Target) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    """Which part of a picture is resampled, and to what size.

    - ``crop``: the largest middle part of the target's aspect, to the target;
    - ``stretch``: the whole picture, to the target;
    - ``pad``: the whole picture, to the largest size of its own aspect that the target holds;
    - ``crops``: the whole picture, at its own resolution. One that does not cover the target is enlarged until it does.
      One whose shorter side is over 16 times the target's longer side is reduced to that: pieces of it then still show
      a sixteenth of the picture from side to side, and finer ones would show texture alone.

    Args:
        size: width and height, oriented.
        target: what is wanted.

    Returns:
        the part's left, top, right and bottom in pixels, and the width and height to give it.
    """
    width, height = size
    across, down = target.width / width, target.height / height
    whole = (0.0, 0.0, float(width), float(height))
    if target.fit == "stretch":
        return whole, (target.width, target.height)
    if target.fit == "crop":
        scale = max(across, down)
        left = max(0.0, (width - target.width / scale) / 2)
        top = max(0.0, (height - target.height / scale) / 2)
        return (left, top, width - left, height - top), (target.width, target.height)
    if target.fit == "pad":
        scale = min(across, down)
        return whole, (
            min(max(round(width * scale), 1), target.width),
            min(max(round(height * scale), 1), target.height),
        )
    cap = CROPS_REACH * max(target.width, target.height)
    scale = max(across, down, min(1.0, cap / min(width, height)))
    if max(across, down) <= 1.0 and min(width, height) <= cap:
        scale = 1.0
    return whole, (max(round(width * scale), target.width), max(round(height * scale), target.height))


def convert_channels(
    pixels: UInt8[np.ndarray, "*n h w c"], channels: int, background: Background = "white"
) -> UInt8[np.ndarray, "*n h w channels"]:
    """Another number of channels, for one picture or many.

    Grey is ITU-R 601 luma (Pillow's own integers). Dropping alpha lays the picture over ``background``. Alpha that is
    kept is straight, and what is fully transparent becomes black, so that no invisible colours are learnt.

    Args:
        pixels: 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels, last.
        channels: 1, 3 or 4.
        background: what alpha shows.
    """
    alpha = pixels[..., -1:] if pixels.shape[-1] in (2, 4) else None
    colour = pixels if alpha is None else pixels[..., :-1]
    if channels == 4:
        colour = colour if colour.shape[-1] == 3 else np.repeat(colour, 3, axis=-1)
        if alpha is None:
            return np.concatenate([colour, np.full_like(colour[..., :1], 255)], axis=-1)
        return np.concatenate([np.where(alpha == 0, np.uint8(0), colour), alpha], axis=-1)
    if alpha is not None:
        behind = 255 if background == "white" else 0
        opaque = alpha.astype(np.uint32)
        colour = ((colour * opaque + behind * (255 - opaque) + 127) // 255).astype(np.uint8)
    if channels == 1 and colour.shape[-1] == 3:
        red, green, blue = (colour[..., channel : channel + 1].astype(np.uint32) for channel in range(3))
        return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)
    if channels == 3 and colour.shape[-1] == 1:
        return np.repeat(colour, 3, axis=-1)
    return np.ascontiguousarray(colour)


def _pad(pixels: UInt8[np.ndarray, "h w c"], target: Target) -> UInt8[np.ndarray, "height width c"]:
    """In the middle of the target's shape. The rest is the background; with alpha it is transparent."""
    height, width, channels = pixels.shape
    if (width, height) == (target.width, target.height):
        return pixels
    fill = 0 if channels == 4 or target.background == "black" else 255
    padded = np.full((target.height, target.width, channels), fill, dtype=np.uint8)
    top, left = (target.height - height) // 2, (target.width - width) // 2
    padded[top : top + height, left : left + width] = pixels
    return padded
