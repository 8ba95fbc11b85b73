"""Pictures as arrays: .npy and .npz (IDX is in ``idx.py``, HDF5 in ``hdf5.py``).

Shapes: ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]`` with 1 to 4 channels (2 and 4 have alpha); where both could
be meant, channels are last. Numbers become 0 to 255 by one rule for the whole array:

- ``uint8`` as it is, ``bool`` as 0 and 255;
- other integers: as they are when all lie in 0 to 255, divided by 257 when all lie in 0 to 65535;
- floats: [0, 1] times 255; [-1, 1] with something below zero as ``(x + 1) * 127.5``; [0, 255] as they are, rounded;
- anything else is refused.

Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from jaxtyping import Shaped, UInt8

from limner.data.archive import Archive, BadArchive
from limner.data.sources import Entry, LazyEntries, Part, Source, Unreadable, file_stamp, open_regular, safe_title
from limner.errors import InputError
from limner.recipe.text import printable

IMAGE_KEYS = ("images", "image", "x_train", "x", "X", "data", "arr_0")
LABEL_BYTES = 4096
"""A label is no longer."""
LABEL_KEYS = ("labels", "label", "y_train", "y", "Y", "targets", "arr_1")
PICTURE_BYTES = 1 << 28
"""Of one picture of an array at most: a header may announce anything."""
UNPACKED_BYTES = 1 << 29
"""Of an array that has to be unpacked into memory."""
_AT_ONCE = 1 << 26
_NUMBERS = 1 << 22
_SLACK = 1e-3
"""How far floats may leave their range: resampling and float16 overshoot a little."""


def numbered(count: int, labels: Sequence[str] | None, bytes_each: int) -> LazyEntries:
    """The entries of an array, named by their number."""
    return LazyEntries(count, lambda place: Entry(str(place), None if labels is None else labels[place], (bytes_each,)))


@dataclass(frozen=True)
class Stack:
    """A file's array of pictures: what is known of it before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], Any]
    """Gives something that slices like an array, when the first pixels are needed."""


class ArraySource(Source):
    """Pictures in one array.

    Args:
        path: the file (for the location, the title and error messages).
        kind: the key in the table of sources.
        stack: the array.
        labels: one text a picture, or ``None``.
        parts: the files that are read for it, by a name that does not depend on where they lie.
        classes: names of the classes in their order.

    Raises:
        InputError: not a shape or type that holds pictures, or the labels do not fit.
    """

    grouped = False
    in_blocks = True

    def __init__(
        self,
        path: Path,
        kind: str,
        stack: Stack,
        labels: Sequence[str] | None,
        parts: dict[str, Path],
        classes: tuple[str, ...] | None = None,
    ) -> None:
        self.location, self.kind, self.classes = str(path), kind, classes
        self.title = safe_title(path.name.split(".")[0])
        self._stack, self._parts = stack, parts
        self._channels_first = _channels_first(stack.shape, self.location)
        if stack.dtype.kind not in "buif" or stack.dtype.itemsize > 8:
            kind = str(stack.dtype) if len(str(stack.dtype)) < 60 else "records"
            raise InputError(f"data {path}: an array of {kind} holds no pictures; save uint8 or float")
        count, each = stack.shape[0], math.prod(stack.shape[1:]) * stack.dtype.itemsize
        if each > PICTURE_BYTES or count > 2**40:
            raise InputError(
                f"data {path}: {count:,} pictures of {each:,} bytes each are announced; at most {PICTURE_BYTES:,} are read"
            )
        if labels is not None:
            check_labels((len(labels),), np.dtype(object), (count,), path)
        self.entries = numbered(count, labels, each)
        self._together = max(1, _AT_ONCE // each)

    @cached_property
    def _array(self) -> Any:
        array = self._stack.load()
        if array.shape != self._stack.shape:
            raise InputError(f"data {self.location}: holds {array.shape} where {self._stack.shape} is announced")
        return array

    def _values(self, start: int, stop: int) -> Shaped[np.ndarray, "*shape"]:
        """As the file has them. Raises Unreadable where it is damaged: HDF5 unpacks a chunk when it is asked for."""
        array = self._array
        try:
            return np.asarray(array[start:stop])
        except (OSError, RuntimeError) as error:
            raise Unreadable(f"its part of the file is damaged ({why(error)})") from None

    def _readable(self) -> Iterator[Shaped[np.ndarray, "*shape"]]:
        """The whole array in pieces, without the pictures that cannot be read."""
        for start in range(0, len(self.entries), self._together):
            stop = min(start + self._together, len(self.entries))
            try:
                yield self._values(start, stop)
            except Unreadable:
                for index in range(start, stop):
                    with suppress(Unreadable):
                        yield self._values(index, index + 1)

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """Factor and offset to 0..255, from the range of the whole array."""
        kind = self._stack.dtype.kind
        if self._stack.dtype == np.uint8:
            return 1.0, 0.0
        if kind == "b":
            return 255.0, 0.0
        low, high = np.inf, -np.inf
        for chunk in self._readable():
            for numbers in _runs(chunk):
                numbers = numbers[np.isfinite(numbers)] if kind == "f" else numbers
                if numbers.size:
                    low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
        if low > high:
            raise InputError(f"data {self.location}: not one picture of it can be read; get the file again")
        if kind == "f" and low >= -1 - _SLACK and high <= 1 + _SLACK:
            return (127.5, 127.5) if low < -_SLACK else (255.0, 0.0)
        if low >= 0 and high <= 255:
            return 1.0, 0.0
        if kind != "f" and low >= 0 and high <= 65535:
            return 1 / 257, 0.0
        raise InputError(
            f"data {self.location}: values from {low:g} to {high:g}; pictures have 0..255, 0..65535 (integers), "
            "0..1 or -1..1 (floats)"
        )

    def block(self, start: int, stop: int) -> UInt8[np.ndarray, "n h w c"] | None:
        """Pictures ``start`` to ``stop``; ``None`` when one of them is damaged or has numbers that are not finite, or when they
        would take too much memory together."""
        if stop - start > 4 * self._together:
            return None
        try:
            return self._pixels(start, stop)
        except Unreadable:
            return None

    def _pixels(self, start: int, stop: int) -> UInt8[np.ndarray, "n h w c"]:
        pixels = self._in_8_bits(self._values(start, stop))
        if pixels.ndim == 3:
            return pixels[..., None]
        return pixels.transpose(0, 2, 3, 1) if self._channels_first else pixels

    def _in_8_bits(self, values: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
        """A few numbers at a time: what they are worked out in takes eight times the room."""
        factor, offset = self._scale
        if values.dtype == np.uint8:
            return values
        pixels = np.empty(values.shape, np.uint8)
        for numbers, out in zip(_runs(values), _runs(pixels), strict=True):
            if values.dtype.kind == "f" and not np.isfinite(numbers).all():
                raise Unreadable("has numbers that are not finite")
            out[:] = np.clip(np.rint(numbers.astype(np.float64) * factor + offset), 0, 255)
        return pixels

    def read(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        """One picture's pixels (see :meth:`Source.read`)."""
        return np.ascontiguousarray(self._pixels(index, index + 1)[0])

    def parts(self) -> Iterable[Part]:
        """The file, and the labels' where it is another one."""
        return [Part(name, path, file_stamp(path)) for name, path in self._parts.items()]


def _runs(values: Shaped[np.ndarray, "*shape"]) -> Iterator[Shaped[np.ndarray, " n"]]:
    """All numbers of an array, in pieces, row by row where they do not lie one after the other."""
    if values.flags.c_contiguous:
        flat = values.reshape(-1)
        yield from (flat[start : start + _NUMBERS] for start in range(0, flat.size, _NUMBERS))
    elif values.size <= _NUMBERS or values.ndim == 1:
        yield values
    else:
        for part in values:
            yield from _runs(part)


def _channels_first(shape: tuple[int, ...], location: str) -> bool:
    last = len(shape) == 3 or (len(shape) == 4 and 1 <= shape[3] <= 4)
    first = len(shape) == 4 and 1 <= shape[1] <= 4 and not last
    sides = shape[2:] if first else shape[1:3]
    if not (last or first) or min(sides) <= 4 or min(shape) < 0:
        shown = list(shape) if len(shape) < 10 else f"{len(shape)} axes"
        raise InputError(
            f"data {location}: an array of shape {shown}; pictures have [n, h, w], [n, h, w, c] or [n, c, h, w] "
            "with 1 to 4 channels"
        )
    return first


def check_labels(shape: tuple[int, ...], dtype: np.dtype[Any], images: tuple[int, ...], path: Path) -> None:
    """Find out whether labels may fit their images, before they are unpacked: a few bytes may unpack to millions.

    Raises:
        InputError: they do not.
    """
    if shape[:1] != images[:1]:
        count = shape[0] if shape else 1
        raise InputError(f"data {path}: {count} labels for {images[0]} images; there must be one each")
    if dtype.itemsize > LABEL_BYTES or math.prod(shape[1:]) > 1:
        raise InputError(
            f"data {path}: labels of shape {list(shape)} of {dtype}; give one a picture, a number or a name"
        )


def label_texts(labels: Shaped[np.ndarray, "*shape"], location: str) -> list[str]:
    """Labels of any simple type as texts.

    Raises:
        InputError: not one number or text a picture.
    """
    flat = labels.reshape(len(labels)) if labels.ndim and labels.size == len(labels) else labels
    if flat.ndim != 1 or flat.dtype.kind not in "buifSUO":
        raise InputError(f"data {location}: labels of shape {list(labels.shape)} of {labels.dtype}; give one a picture")
    if flat.dtype.kind == "f" and np.all(flat == np.rint(flat)):
        flat = flat.astype(np.int64)
    return [item.decode(errors="replace") if isinstance(item, bytes) else str(item) for item in flat.tolist()]


def why(error: Exception) -> str:
    """What went wrong, in a part of a line: damaged headers are quoted by those who cannot read them."""
    known = error.strerror if isinstance(error, OSError) else None
    return printable(" ".join((known or str(error)[:1000]).split())[:200]) or type(error).__name__


def resolved(location: str | Path) -> Path:
    return Path(location).expanduser().resolve()


def open_npy(location: str | Path) -> ArraySource:
    """A .npy file, mapped into memory.

    Raises:
        InputError: damaged, of Python objects, or not of pictures.
    """
    path = resolved(location)
    try:
        with open_regular(path) as file:
            shape, by_column, dtype = _header(file)
            start, size = file.tell(), file.seek(0, io.SEEK_END)
        _check(shape, dtype, size - start, exactly=False)
        order: Literal["C", "F"] = "F" if by_column else "C"
        array = np.memmap(path, dtype, "r", start, shape, order) if math.prod(shape) else np.empty(shape, dtype)
    except Exception as error:  # a damaged header makes NumPy's parser raise nearly anything
        raise InputError(f"data {path}: not a .npy array that can be read ({why(error)})") from None
    return ArraySource(path, "npy", Stack(array.shape, array.dtype, lambda: array), None, {"": path})


def open_npz(location: str | Path) -> ArraySource:
    """A .npz file: ``images`` (or ``x_train``, ``data``, or the only array with three or four axes) and ``labels``.

    Only headers are read here, the pixels when they are needed.

    Raises:
        InputError: damaged, of Python objects, or not of pictures.
    """
    path = resolved(location)
    try:
        archive = Archive(path)
        places = {archive.name(place): place for place in range(len(archive))}
        members = {
            name.removesuffix(".npy"): _Member.of(archive, place, path)
            for name, place in places.items()
            if name.endswith(".npy")
        }
    except Exception as error:  # see above
        raise InputError(f"data {path}: not a .npz file that can be read ({why(error)})") from None
    key = choose({name: len(member.shape) for name, member in members.items()}, str(path))

    def load(name: str) -> Shaped[np.ndarray, "*shape"]:
        try:
            return members[name].load()
        except Exception as error:
            raise InputError(f"data {path}: {name!r} cannot be read ({why(error)})") from None

    name = next((name for name in LABEL_KEYS if name in members and name != key), None)
    labels = None
    if name is not None:
        check_labels(members[name].shape, members[name].dtype, members[key].shape, path)
        labels = label_texts(load(name), str(path))
    return ArraySource(
        path, "npz", Stack(members[key].shape, members[key].dtype, lambda: load(key)), labels, {"": path}
    )


@dataclass(frozen=True)
class _Member:
    """An array in a .npz file: what its header says, and where its numbers are."""

    archive: Archive
    place: int
    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_column: bool
    start: int

    @classmethod
    def of(cls, archive: Archive, place: int, path: Path) -> _Member:
        with archive.open(place) as file:
            shape, by_column, dtype = _header(cast(IO[bytes], file))
            return cls(archive, place, path, shape, dtype, by_column, file.tell())

    def load(self) -> Shaped[np.ndarray, "*shape"]:
        """The array: mapped where it lies in the file as it is, else unpacked. Nothing is unpickled."""
        if self.archive.is_encrypted(self.place):
            raise BadArchive("encrypted")
        size = int(self.archive.sizes[self.place])
        _check(self.shape, self.dtype, size - self.start, exactly=True)
        order: Literal["C", "F"] = "F" if self.by_column else "C"
        begin = self.archive.stored_at(self.place)
        if begin is not None and 0 not in self.shape:
            return np.memmap(self.path, self.dtype, "r", begin + self.start, self.shape, order)
        if size > UNPACKED_BYTES:
            raise BadArchive(f"{size:,} bytes would have to be unpacked into memory; save it as .npy, which is mapped")
        numbers = np.frombuffer(self.archive.read_into(self.place), self.dtype, offset=self.start)
        return numbers.reshape(self.shape, order=order)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type; the file then stands where the numbers begin."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, dtype = read(file)
    return shape, by_column, dtype


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], there: int, exactly: bool) -> None:
    """Whether so many bytes of numbers are what a header announces; objects are never read. Raises BadArchive."""
    if dtype.hasobject:
        raise BadArchive("it holds Python objects, which are never read")
    wanted = math.prod(list(shape)) * dtype.itemsize
    if min(shape, default=0) < 0 or wanted > there or (exactly and wanted < there):
        kind = str(dtype) if len(str(dtype)) < 60 else "records"
        raise BadArchive(f"its header announces {list(shape)[:9]} of {kind}, and {there:,} bytes are there")


def choose(axes: dict[str, int], location: str) -> str:
    """The array that holds the pictures: a customary name first, else the only one with three or four axes."""
    fitting = [name for name, count in axes.items() if count in (3, 4)]
    named = [name for name in IMAGE_KEYS if name in fitting]
    if not named and len(fitting) != 1:
        found = printable(", ".join(list(axes)[:20]), 300) or "nothing"
        raise InputError(f"data {location}: which array holds the pictures? Name it 'images' (found: {found})")
    return named[0] if named else fitting[0]
