"""Picture files, opened without trust: which formats are read, how many pixels, and what is said when one cannot be."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, Any, cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from limner.data.parallel import Room
from limner.data.sources import Unread, Unreadable
from limner.errors import InputError
from limner.recipe.text import printable

PIXEL_LIMIT = 100_000_000
"""Pixels of one picture by default; what unpacks to more is skipped. ``image.pixel_limit`` of a recipe is another one."""

_FORMATS = """
    PNG JPEG GIF WEBP AVIF BMP DIB TIFF PPM JPEG2000 ICO CUR ICNS PCX DCX DDS QOI PSD SGI XBM XPM IM MSP BLP FTEX HEIF JXL
    TGA
"""
FORMATS = tuple(_FORMATS.split())
"""What is read, by Pillow's names; TGA is last, for it has no signature. Pillow reads more, but what else it reads holds no
pictures to learn from, or hands the file to another program (EPS to Ghostscript, WMF to Windows)."""

WEIGHTS = {"JPEG2000": 3, "WEBP": 2, "DDS": 8, "BLP": 8}
"""A picture takes up to 8 bytes a pixel while it is read. These take as many times that (measured: 21 and 16 bytes), or as many
times the seconds (DDS and BLP are unpacked by Python). So many fewer pixels are read of them."""

READS = 500_000
"""How often a parser may ask for a part of a file. Real pictures of the largest size come to some hundred thousand."""
DRAFTED = ("JPEG", "MPO")
"""Formats that Pillow decodes at a fraction of their size."""
_ROOM = Room(PIXEL_LIMIT)
_NESTED = ("ICO", "CUR", "ICNS", "DCX")
_NESTING = threading.Lock()


@contextmanager
def reasons() -> Iterator[None]:
    """Whatever goes wrong inside with one picture becomes :class:`Unreadable` (or :class:`Unread`) with a reason in words.

    An :class:`InputError` passes: it is about the whole collection, so the next picture would fare no better.
    """
    try:
        yield
    except (Unreadable, InputError):
        raise
    except UnidentifiedImageError:
        raise Unreadable("not an image in a format that Pillow reads") from None
    except Image.DecompressionBombError as error:
        found = re.search(r"\((\d+) pixels\) exceeds limit of (\d+)", str(error))
        counts = f"{int(found[1]):,} pixels are over the limit of {int(found[2]):,}" if found else "over the limit of"
        raise Unreadable(f"{counts} pixels (--pixel-limit raises it)") from None
    except MemoryError as error:
        raise Unread(type(error).__name__) from None
    except RecursionError as error:
        raise Unreadable(type(error).__name__) from None
    except Exception as error:  # a damaged file makes a decoder raise nearly anything
        known = error.strerror if isinstance(error, OSError) else None  # without the path, which is named anyway
        text = " ".join((known or str(error)[:1000]).split()) or type(error).__name__
        # A number has what the system says; what Pillow says of a damaged file has none.
        refused = isinstance(error, OSError) and error.errno is not None
        raise (Unread if refused else Unreadable)(printable(text[:200])) from None


def open_image(data: bytes | IO[bytes] | UInt8[np.ndarray, "h w c"], pixel_limit: int) -> Image.Image:
    """A picture of which only the header is read yet. Used under :func:`reasons` it raises like :func:`decode`."""
    if isinstance(data, np.ndarray):
        return Image.fromarray(data[..., 0] if data.shape[-1] == 1 else data)
    if isinstance(data, bytes) and not data:
        raise Unreadable("empty file")
    file = _Patient(io.BytesIO(data) if isinstance(data, bytes) else data)
    image = Image.open(cast(IO[bytes], file), formats=_formats())
    weight = _weight(image)
    if image.width * image.height * weight > pixel_limit:
        of = f" of {image.format}" if weight > 1 else ""
        raise Unreadable(
            f"{image.width}x{image.height} is over the limit of {pixel_limit // weight:,} pixels{of}"
            " (--pixel-limit raises it)"
        )
    return image


class _Patient:
    """A file that is read in so many pieces at most: a picture of a million empty parts takes a parser minutes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._reads = file, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        if self._reads > READS:
            raise Unreadable(f"consists of over {READS // 5:,} parts")
        return self._file.read(size)


@cache
def _formats() -> tuple[str, ...]:
    """Those of :data:`FORMATS` that this Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _weight(image: Image.Image) -> int:
    """See :data:`WEIGHTS`. A progressive JPEG keeps two bytes for each number until it is whole."""
    return 2 if image.format in DRAFTED and image.mode == "CMYK" else WEIGHTS.get(str(image.format), 1)


@contextmanager
def in_room(image: Image.Image) -> Iterator[None]:
    """While a picture's pixels are held: pictures that would together take too much memory wait for one another."""
    with _ROOM.taken(image.width * image.height * _weight(image)):
        yield


@contextmanager
def inside(kind: str | None) -> Iterator[None]:
    """While pixels are read: icons hold pictures of any size, which Pillow measures against its own limit, twice over."""
    if kind not in _NESTED or Image.MAX_IMAGE_PIXELS is None:
        yield
        return
    with _NESTING:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max(1, before // 2)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


@contextmanager
def quiet(pixel_limit: int = PIXEL_LIMIT) -> Iterator[None]:
    """Without Pillow's warnings about odd files: what matters of them ends up in the list of skipped pictures.

    Pillow's own limit follows this one meanwhile, so that it holds for pictures inside pictures (icons) as well.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = pixel_limit  # Pillow warns from there on, and refuses from twice that on
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
