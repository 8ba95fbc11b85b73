"""One pass over a collection: every picture is read as a training would read it, and only what judgement needs is kept."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt8

from limner.data import decode as decoding
from limner.data.copies import SIDE, thumbnails
from limner.data.decode import DRAFTED, PIXEL_LIMIT, PLAIN, load, open_image, oriented_size, reasons
from limner.data.measure import GREY_TOLERANCE
from limner.data.parallel import default_workers, ordered
from limner.data.sources import Skipped, Source, Unreadable
from limner.progress import counted

_DRAFT_PIXELS = 4_000_000
"""JPEGs over this are decoded at half their size or less, down to about a million pixels: their picture is the same."""
_LOOK = 256
_BLOCK = 1024
UNIFORM_LEVELS = 8
"""How far, of 255, a pixel of a nearly uniform picture may be from the median."""
UNIFORM_SHARE = 0.001
"""The share of pixels that may be farther away."""


@dataclass(frozen=True)
class Seen:
    """One picture: ``size`` is width and height after orientation; ``digest`` is that of its visible pixels."""

    size: tuple[int, int]
    mode: str
    digest: bytes
    thumb: UInt8[np.ndarray, "32 32 c"]
    uniform: bool
    colour: bool
    alpha: bool


@dataclass(frozen=True, eq=False)
class Reading:
    """A collection as it was read.

    Attributes:
        names, labels, modes: one a picture that can be read.
        sizes: width and height of each, after orientation.
        digests: equal for equal visible pixels.
        thumbs: 32x32, colours times alpha; 1, 3 or 4 channels, as the collection needs them.
        uniform, colour, alpha: whether each is nearly uniform, in colour, transparent somewhere.
        skipped: those that cannot be read, with the reason.
    """

    names: list[str]
    labels: list[str | None]
    modes: list[str]
    sizes: Int[np.ndarray, "n 2"]
    digests: list[bytes]
    thumbs: UInt8[np.ndarray, "n 32 32 c"]
    uniform: Bool[np.ndarray, " n"]
    colour: Bool[np.ndarray, " n"]
    alpha: Bool[np.ndarray, " n"]
    skipped: list[Skipped]


def read(source: Source, workers: int | None = None) -> Reading:
    """Read every picture of a source; a bar shows how far it is."""
    names: list[str] = []
    labels: list[str | None] = []
    seen: list[Seen] = []
    skipped = list(source.skipped)
    with counted(len(source.entries), "pictures") as advance, decoding.quiet():
        for place, item in enumerate(_all(source, workers or default_workers())):
            entry = source.entries[place]
            if isinstance(item, Skipped):
                skipped.append(item)
            else:
                names.append(entry.name)
                labels.append(entry.label)
                seen.append(item)
            advance()
    channels = max((item.thumb.shape[-1] for item in seen), default=1)
    thumbs = np.empty((len(seen), SIDE, SIDE, channels), np.uint8)
    for row, item in zip(thumbs, seen, strict=True):
        colours = min(channels, 3)
        row[..., :colours] = item.thumb[..., :colours]  # grey is spread over all of them
        if channels == 4:
            row[..., 3] = item.thumb[..., 3] if item.thumb.shape[-1] == 4 else 255
    return Reading(
        names=names,
        labels=labels,
        modes=[item.mode for item in seen],
        sizes=np.array([item.size for item in seen], dtype=np.int64).reshape(-1, 2),
        digests=[item.digest for item in seen],
        thumbs=thumbs,
        uniform=np.array([item.uniform for item in seen], dtype=bool),
        colour=np.array([item.colour for item in seen], dtype=bool),
        alpha=np.array([item.alpha for item in seen], dtype=bool),
        skipped=sorted(skipped, key=lambda item: item.name),
    )


def _all(source: Source, workers: int) -> Iterator[Seen | Skipped]:
    def one(index: int) -> Seen | Skipped:
        try:
            with reasons():
                return look(source.read(index))
        except Unreadable as error:
            return Skipped(source.entries[index].name, _in_words(source.entries[index].name, str(error)))

    total = len(source.entries)
    if not source.in_blocks:
        yield from ordered(one, range(total), workers)
        return
    for start in range(0, total, _BLOCK):
        stop = min(start + _BLOCK, total)
        block = source.block(start, stop)
        if block is not None and block.shape[-1] == 1:
            yield from _grey(np.ascontiguousarray(block))
        elif block is not None:
            yield from map(_seen, block)
        else:
            yield from ordered(one, range(start, stop), workers)


def _in_words(name: str, reason: str) -> str:
    if reason.startswith("not an image") and name.lower().endswith((".heic", ".heif", ".jxl", ".rgb", ".svg")):
        return f"{reason}; save it as PNG or JPEG"
    return reason


def look(data: bytes | UInt8[np.ndarray, "h w c"]) -> Seen:
    """One picture. Used under :func:`limner.data.decode.reasons` it raises Unreadable."""
    image = open_image(data, PIXEL_LIMIT)
    mode = image.mode
    size = oriented_size(image) if image.format in DRAFTED else None
    pixels = image.width * image.height
    image = load(image, math.sqrt(1e6 / pixels) / 2 if pixels > _DRAFT_PIXELS else 1.0)
    array = np.asarray(image)
    array = array[..., None] if array.ndim == 2 else array
    factor = min(image.size) // _LOOK
    small = np.asarray(image.reduce(factor)) if factor > 1 else array
    return _seen(array, small[..., None] if small.ndim == 2 else small, size or image.size, mode)


def _seen(
    pixels: UInt8[np.ndarray, "h w c"],
    small: UInt8[np.ndarray, "a b c"] | None = None,
    size: tuple[int, int] | None = None,
    mode: str = "",
) -> Seen:
    """What is kept of a picture; ``small`` is the same picture, reduced where it is large."""
    small = pixels if small is None else small
    channels = pixels.shape[-1]
    size = size or (pixels.shape[1], pixels.shape[0])
    alpha = channels in (2, 4) and bool((pixels[..., -1] < 255).any())
    if channels in (2, 4) and not alpha:
        pixels, small = pixels[..., :-1], small[..., :-1]
    elif alpha:  # colours that nobody sees are none
        pixels, small = _visible(pixels), _visible(small)
    if pixels.shape[-1] >= 3 and not alpha and _equal_channels(pixels, 0):
        pixels = pixels[..., :1]
    colour = pixels.shape[-1] >= 3 and not _equal_channels(small, GREY_TOLERANCE)
    if pixels.shape[-1] < small.shape[-1]:
        small = small[..., :1]
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    digest.update(repr(pixels.shape).encode())
    return Seen(
        size,
        mode or PLAIN[channels],
        digest.digest(),
        thumbnails(_spread(small)[None])[0],
        bool(_uniform(small[None])[0]),
        colour,
        alpha,
    )


def _visible(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    return np.where(pixels[..., -1:] == 0, np.uint8(0), pixels)


def _equal_channels(pixels: UInt8[np.ndarray, "h w c"], tolerance: int) -> bool:
    if pixels.shape[-1] < 3:
        return True
    colours = pixels[..., :3]
    return int(np.ptp(colours, axis=-1).max(initial=0)) <= tolerance


def _spread(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w k"]:
    """Grey with alpha as RGB with alpha; others as they are."""
    return pixels[..., [0, 0, 0, 1]] if pixels.shape[-1] == 2 else pixels


def _uniform(images: UInt8[np.ndarray, "n h w c"]) -> Bool[np.ndarray, " n"]:
    """Whether nearly all pixels of a picture are within eight levels of its median, in each channel."""
    flat = images.reshape(len(images), -1, images.shape[-1])
    middle = np.median(flat, axis=1, keepdims=True).astype(np.int16)
    far = (np.abs(flat.astype(np.int16) - middle) > UNIFORM_LEVELS).any(axis=-1)
    uniform: Bool[np.ndarray, " n"] = far.mean(axis=1) <= UNIFORM_SHARE
    return uniform


def uniform_images(images: UInt8[np.ndarray, "n h w c"]) -> Bool[np.ndarray, " n"]:
    """Whether each picture is nearly uniform: at most one pixel in a thousand is over eight levels from the median."""
    if not len(images):
        return np.zeros(0, bool)
    step = max(1, (1 << 24) // int(np.prod(images.shape[1:])))
    parts = [np.asarray(images[start : start + step]) for start in range(0, len(images), step)]
    return np.concatenate([_uniform(_visible(part) if part.shape[-1] == 4 else part) for part in parts])


def _grey(block: UInt8[np.ndarray, "n h w 1"]) -> Iterator[Seen]:
    """The fast path for arrays of grey pictures."""
    size = block.shape[2], block.shape[1]
    shape = repr(block.shape[1:]).encode()
    for picture, thumb, uniform in zip(block, thumbnails(block), uniform_images(block), strict=True):
        digest = hashlib.blake2b(picture.tobytes(), digest_size=16)
        digest.update(shape)
        yield Seen(size, "L", digest.digest(), thumb, bool(uniform), False, False)
