"""One pass over a collection: every picture is read as a training would read it, and only what judgement needs is kept."""

from __future__ import annotations

import hashlib
import math
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import IO

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from limner.data import decode as decoding
from limner.data.columns import pack
from limner.data.copies import thumbnails
from limner.data.decode import DRAFTED, PIXEL_LIMIT, PLAIN, load, open_image, oriented_size, reasons
from limner.data.measure import GREY_TOLERANCE
from limner.data.parallel import default_workers, ordered
from limner.data.search import SIDE
from limner.data.sources import Skipped, Source, Unreadable
from limner.data.store import cache_root
from limner.progress import counted

_DRAFT_PIXELS = 4_000_000
"""JPEGs over this are decoded at half their size or less, down to about a million pixels: their picture is the same."""
MOST = 100_000
"""Of more pictures so many are looked at, unless all are asked for."""
_LOOK = 256
_LONG = 16384
_BLOCK = 1024
_RUN = 100
_IN_MEMORY = 1 << 27
"""Bytes of thumbnails that are kept in memory."""
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
        names, labels: one a picture that can be read.
        places: where each is among the source's entries.
        modes: how many have which.
        sizes: width and height of each, after orientation.
        digests: equal for equal visible pixels.
        thumbs: 32x32, colours times alpha; 1, 3 or 4 channels, as the collection needs them. Of many they are mapped.
        uniform, colour, alpha: whether each is nearly uniform, in colour, transparent somewhere.
        skipped: those that cannot be read, with the reason.
        looked_at, entries: how many pictures were looked at, and how many there are.
    """

    names: Sequence[str]
    labels: Sequence[str | None]
    places: Int[np.ndarray, " n"]
    modes: Counter[str]
    sizes: Int[np.ndarray, "n 2"]
    digests: UInt8[np.ndarray, "n 16"]
    thumbs: UInt8[np.ndarray, "n 32 32 c"]
    uniform: Bool[np.ndarray, " n"]
    colour: Bool[np.ndarray, " n"]
    alpha: Bool[np.ndarray, " n"]
    skipped: list[Skipped]
    looked_at: int
    entries: int

    @property
    def is_sample(self) -> bool:
        """Whether only a part of the collection was looked at."""
        return self.looked_at < self.entries


class Thumbnails:
    """Thumbnails as they come, in memory, or in a file that goes with the process where they are many."""

    def __init__(self) -> None:
        self._file: IO[bytes] = SpooledTemporaryFile(_IN_MEMORY, dir=_roomy())  # noqa: SIM115
        self._count, self._channels = 0, 1

    def append(self, thumb: UInt8[np.ndarray, "32 32 c"]) -> None:
        """One more."""
        if thumb.shape[-1] > self._channels:
            self._widen(thumb.shape[-1])
        self._file.write(_spread_to(thumb[None], self._channels).tobytes())
        self._count += 1

    def all(self) -> UInt8[np.ndarray, "n 32 32 c"]:
        """All of them."""
        self._file.flush()
        shape = self._count, SIDE, SIDE, self._channels
        self._file.seek(0)
        if not self._count or not getattr(self._file, "_rolled", True):
            return np.frombuffer(self._file.read(), np.uint8).reshape(shape)
        return np.memmap(self._file, np.uint8, "r", shape=shape)

    def _widen(self, channels: int) -> None:
        """What is there gets more channels: it happens twice at most."""
        before, self._file = self._file, SpooledTemporaryFile(_IN_MEMORY, dir=_roomy())  # noqa: SIM115
        before.seek(0)
        size = SIDE * SIDE * self._channels
        while content := before.read(_LOOK * size):
            thumbs = np.frombuffer(content, np.uint8).reshape(-1, SIDE, SIDE, self._channels)
            self._file.write(_spread_to(thumbs, channels).tobytes())
        before.close()
        self._channels = channels


def _spread_to(thumbs: UInt8[np.ndarray, "n 32 32 k"], channels: int) -> UInt8[np.ndarray, "n 32 32 channels"]:
    """Grey over all colours, and opaque where there is no alpha."""
    if thumbs.shape[-1] == channels:
        return thumbs
    wide = np.full((*thumbs.shape[:3], channels), 255, np.uint8)
    wide[..., :3] = thumbs[..., :3]
    return wide


def _roomy() -> str | None:
    """A folder on a disk with room: the system's own for temporary files may lie in memory."""
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        return str(root) if os.access(root, os.W_OK) else None
    except OSError:
        return None


def runs(entries: int, most: int | None) -> list[tuple[int, int]]:
    """Which pictures are looked at, as places from and to: all, or of more than ``most`` evenly spread runs of 100.

    Runs, because what belongs together often stands together, copies above all.
    """
    if most is None or entries <= most:
        return [(start, min(start + _BLOCK, entries)) for start in range(0, entries, _BLOCK)]
    count = max(1, most // _RUN)
    starts = np.linspace(0, entries - _RUN, count).round().astype(int)
    return [(int(start), int(start) + _RUN) for start in starts]


def read(
    source: Source, workers: int | None = None, pixel_limit: int = PIXEL_LIMIT, most: int | None = MOST
) -> Reading:
    """Read the pictures of a source; a bar shows how far it is.

    Args:
        source: the collection.
        workers: threads that decode; as many as there are processors by default.
        pixel_limit: a file that unpacks to more pixels is skipped.
        most: of more pictures an evenly spread part of about so many is read; ``None`` for all, however many.
    """
    chosen = runs(len(source.entries), most)
    looked_at = sum(stop - start for start, stop in chosen)
    thumbs, modes, skipped = Thumbnails(), Counter[str](), list(source.skipped)
    labels: list[str | None] = []
    places, sizes, flags, digests = array("q"), array("i"), bytearray(), bytearray()
    with counted(looked_at, "pictures") as advance, decoding.quiet(pixel_limit):
        for place, item in _all(source, chosen, workers or default_workers(), pixel_limit):
            if isinstance(item, Skipped):
                skipped.append(item)
            else:
                places.append(place)
                labels.append(source.entries[place].label)
                sizes.extend(item.size)
                modes[item.mode] += 1
                digests += item.digest
                flags += bytes((item.uniform, item.colour, item.alpha))
                thumbs.append(item.thumb)
            advance()
    seen = np.frombuffer(flags, np.uint8).reshape(-1, 3).astype(bool)
    return Reading(
        names=pack(source.entries[place].name for place in places),
        labels=labels,
        places=np.array(places, dtype=np.int64),
        modes=modes,
        sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
        digests=np.frombuffer(digests, np.uint8).reshape(-1, 16),
        thumbs=thumbs.all(),
        uniform=seen[:, 0].copy(),
        colour=seen[:, 1].copy(),
        alpha=seen[:, 2].copy(),
        skipped=sorted(skipped, key=lambda item: item.name),
        looked_at=looked_at,
        entries=len(source.entries),
    )


def _all(
    source: Source, chosen: list[tuple[int, int]], workers: int, pixel_limit: int
) -> Iterator[tuple[int, Seen | Skipped]]:
    def one(index: int) -> Seen | Skipped:
        try:
            with reasons():
                return look(source.read(index), pixel_limit)
        except Unreadable as error:
            return Skipped(source.entries[index].name, _in_words(source.entries[index].name, str(error)))

    if not source.in_blocks:
        places = chain.from_iterable(range(start, stop) for start, stop in chosen)
        yield from zip(
            chain.from_iterable(range(start, stop) for start, stop in chosen),
            ordered(one, places, workers, source.weight),
            strict=True,
        )
        return
    for start, stop in chosen:
        block = source.block(start, stop)
        if block is not None and block.shape[-1] == 1:
            yield from enumerate(_grey(np.ascontiguousarray(block)), start)
        elif block is not None:
            yield from enumerate(map(_seen, block), start)
        else:
            yield from enumerate(ordered(one, range(start, stop), workers, source.weight), start)


def _in_words(name: str, reason: str) -> str:
    if reason.startswith("not an image") and name.lower().endswith((".heic", ".heif", ".jxl", ".rgb", ".svg")):
        return f"{reason}; save it as PNG or JPEG"
    return reason


def look(data: bytes | UInt8[np.ndarray, "h w c"], pixel_limit: int = PIXEL_LIMIT) -> Seen:
    """One picture. Used under :func:`limner.data.decode.reasons` it raises Unreadable."""
    image = open_image(data, pixel_limit)
    with decoding.in_room(image):
        return _looked(image)


def _looked(image: Image.Image) -> Seen:
    mode = image.mode
    size = oriented_size(image) if image.format in DRAFTED else None
    pixels = image.width * image.height
    image = load(image, math.sqrt(1e6 / pixels) / 2 if pixels > _DRAFT_PIXELS else 1.0)
    factor = max(1, min(image.size) // _LOOK)
    # What is long and thin is not small after that.
    factors = [max(factor, side // _LONG) for side in image.size]
    small = np.asarray(image.reduce((factors[0], factors[1])) if max(factors) > 1 else image)
    small = small[..., None] if small.ndim == 2 else small

    def pieces() -> Iterator[UInt8[np.ndarray, "h w c"]]:
        for _, band in decoding.bands(image):
            yield band[..., None] if band.ndim == 2 else band

    return _seen_in(pieces, (image.height, image.width, small.shape[-1]), small, size or image.size, mode)


def _seen(
    pixels: UInt8[np.ndarray, "h w c"],
    small: UInt8[np.ndarray, "a b c"] | None = None,
    size: tuple[int, int] | None = None,
    mode: str = "",
) -> Seen:
    """What is kept of a picture; ``small`` is the same picture, reduced where it is large."""
    small = pixels if small is None else small
    return _seen_in(lambda: (pixels,), pixels.shape, small, size or (pixels.shape[1], pixels.shape[0]), mode)


def _seen_in(
    pieces: Callable[[], Iterable[UInt8[np.ndarray, "h w c"]]],
    shape: tuple[int, ...],
    small: UInt8[np.ndarray, "a b c"],
    size: tuple[int, int],
    mode: str,
) -> Seen:
    """The same of a picture in pieces, which are gone through several times."""
    channels = kept = shape[-1]
    alpha = channels in (2, 4) and any(bool((piece[..., -1] < 255).any()) for piece in pieces())
    if channels in (2, 4) and not alpha:
        kept, small = channels - 1, small[..., :-1]
    elif alpha:  # colours that nobody sees are none
        small = _visible(small)
    if kept >= 3 and not alpha and all(_equal_channels(piece, 0) for piece in pieces()):
        kept = 1
    colour = kept >= 3 and not _equal_channels(small, GREY_TOLERANCE)
    if kept < small.shape[-1]:
        small = small[..., :1]
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces():
        digest.update(np.ascontiguousarray(_visible(piece) if alpha else piece[..., :kept]).data)
    digest.update(repr((*shape[:-1], kept)).encode())
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
