"""What a collection can be read from: one interface, and the table of those who fill it.

A :class:`Source` lists its pictures without reading them, reads one at a time, and says in a hash what it holds. The
kinds are in :data:`SOURCES`; a new kind is one class (or function that returns one) and one line there.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias, overload

import numpy as np
from jaxtyping import UInt8

from limner import tables
from limner.errors import InputError, LimnerError

if TYPE_CHECKING:
    from limner.data.decode import Decoded, Target

Digests: TypeAlias = Mapping[str, tuple[tuple[int, ...], str]]
"""What is known of the files behind a source: name -> (stamp, digest of the contents at that stamp)."""

_SETTLED_NS = 2_000_000_000
"""A file younger than this may change again within the same time stamp (FAT counts in two seconds): its digest is not
remembered.
"""


class Unreadable(LimnerError):
    """One picture cannot be used; the message is the reason. It never ends a run: the picture is named and skipped."""


class Unread(Unreadable):
    """One picture could not be read just now: the machine refused, not the picture. It may be there the next time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a source, not read yet.

    Attributes:
        name: its path inside the source, with forward slashes; a number for sources without names.
        label: its class, or ``None``.
        stamp: a cheap identity that changes with the contents: size in bytes, and time in nanoseconds or CRC.
    """

    name: str
    label: str | None
    stamp: tuple[int, ...]


@dataclass(frozen=True)
class Skipped:
    """A picture that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Missed(Skipped):
    """A picture that could not be read just now, and why."""


@dataclass(frozen=True)
class Part:
    """A file whose bytes belong to the source's contents. ``name`` goes into the hash, ``path`` does not."""

    name: str
    path: Path
    stamp: tuple[int, ...]


class LazyEntries(Sequence[Entry]):
    """Entries made when they are asked for: tens of thousands of objects would take longer than everything else.

    Args:
        count: how many.
        entry: makes one from its place, 0 to ``count - 1``.
    """

    def __init__(self, count: int, entry: Callable[[int], Entry]) -> None:
        self._count, self._entry = count, entry

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        return self._entry(range(self._count)[index])


class Source(ABC):
    """A collection of pictures that can be read.

    Attributes:
        location: where it is, as the run directory records it: an absolute path, or a name such as ``hf:owner/name``.
        kind: its key in :data:`SOURCES`.
        title: a good name for a run on it, safe as a file name.
        entries: the pictures, in the order of their names.
        ignored: how many files were passed over because they are no pictures.
        skipped: what could not even be listed (a folder without permission, for example).
        notes: what else was passed over, in lines for whoever started this.
        classes: names of the classes in their order, or ``None`` to take the labels' own, sorted.
        grouped: whether file names may show which pictures belong together.
        in_blocks: whether :meth:`block` may give something.
    """

    location: str
    kind: str
    title: str
    entries: Sequence[Entry]
    ignored: int = 0
    skipped: Sequence[Skipped] = ()
    notes: Sequence[str] = ()
    classes: tuple[str, ...] | None = None
    grouped: bool = True
    in_blocks: bool = False

    @abstractmethod
    def read(self, index: int) -> bytes | UInt8[np.ndarray, "h w c"]:
        """Picture ``index``: an image file's bytes, or its pixels (1 to 4 channels, of which 2 and 4 have alpha).

        Safe to call from several threads.

        Raises:
            Unreadable: this picture cannot be used.
        """

    def weight(self, index: int) -> int:
        """Bytes that :meth:`read` will hold, about."""
        stamp = self.entries[index].stamp
        return stamp[0] if stamp else 0

    def open(self, index: int) -> IO[bytes] | UInt8[np.ndarray, "h w c"]:
        """Picture ``index`` as :meth:`read` gives it, but a file is only read as far as its reader goes."""
        data = self.read(index)
        return data if isinstance(data, np.ndarray) else io.BytesIO(data)

    def block(self, start: int, stop: int) -> UInt8[np.ndarray, "n h w c"] | None:
        """Pictures ``start`` to ``stop`` where they lie in one array (the fast path of :meth:`read`).

        ``None`` where they do not, or where one of them cannot be read: :meth:`read` then tells which.
        """
        return None

    def parts(self) -> Iterable[Part]:
        """The files that :meth:`content_hash` reads."""
        return ()

    def content_hash(self, known: Digests | None = None) -> tuple[str, Digests]:
        """What the source holds, in 64 hexadecimal digits: equal for equal contents, wherever they lie.

        Args:
            known: digests from an earlier call; a file with the same stamp is not read again.

        Returns:
            the hash, and the digests that may be handed to the next call.
        """
        known = known or {}
        parts = list(self.parts())
        digests = {part.name: known[part.name][1] for part in parts if known.get(part.name, ((),))[0] == part.stamp}
        unknown = [part for part in parts if part.name not in digests]
        with ThreadPoolExecutor(max_workers=4) as pool:  # hashlib lets other threads run
            digests.update(zip((part.name for part in unknown), pool.map(_digest, unknown), strict=True))
        total = hashlib.sha256()
        for name in sorted(digests):
            total.update(f"\0{name}\0{digests[name]}".encode(errors="surrogateescape"))
        before = time.time_ns() - _SETTLED_NS
        return total.hexdigest(), {
            part.name: (part.stamp, digests[part.name])
            for part in parts
            if part.stamp[-1] < before and not digests[part.name].startswith("!")
        }

    def sized(self, width: int, height: int) -> Source:
        """The source with its pictures drawn at this size, for those that draw them; others as they are."""
        return self

    def stream(self, target: Target, workers: int, first: int = 0) -> Iterator[Decoded | Skipped] | None:
        """Pictures from ``first`` on, decoded in order, where a source knows a faster way than :meth:`read`, or ``None``."""
        return None


def _digest(part: Part) -> str:
    try:
        with part.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # counted as contents, so that the hash changes when the file becomes readable
        return f"!{type(error).__name__}"


def file_stamp(path: Path) -> tuple[int, ...]:
    """Size and time of a file: what changes when it is edited. Raises InputError when it is gone."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"data {path}: cannot be opened any more ({error.strerror})") from None
    return status.st_size, status.st_mtime_ns


def open_regular(path: Path) -> IO[bytes]:
    """A file for reading, which must be one: a pipe would wait for ever, a device never end.

    Raises:
        Unreadable: it is none.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unreadable("a pipe or device, no file")
    return os.fdopen(descriptor, "rb")


def safe_title(text: str) -> str:
    """A text as a file name that every system takes: letters, digits, ``.``, ``_`` and ``-``, at most 60."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-._")[:60] or "collection"


def natural(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts ``2`` before ``10`` and ``map-2`` before ``map-10``."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", text)
    return [(0, int(piece), "") if piece[0] in "0123456789" else (1, 0, piece) for piece in pieces]


SOURCES: Mapping[str, tables.Entry] = {
    "folder": tables.Entry("limner.data.files:FolderSource", "a folder of image files; its sub-folders are classes"),
    "zip": tables.Entry("limner.data.files:ZipSource", "a .zip of image files, read without unpacking"),
    "idx": tables.Entry("limner.data.idx:open_idx", "MNIST's IDX files, .gz or not: the image file, or their folder"),
    "npy": tables.Entry("limner.data.arrays:open_npy", "a NumPy .npy file, [n, h, w], [n, h, w, c] or [n, c, h, w]"),
    "npz": tables.Entry("limner.data.arrays:open_npz", "a NumPy .npz file with 'images' and perhaps 'labels'"),
    "hdf5": tables.Entry("limner.data.hdf5:open_hdf5", "HDF5 with 'images' and perhaps 'labels' (extra: limner[hdf5])"),
    "hub": tables.Entry("limner.data.hub:open_hub", "hf:owner/name[:split], a hub data set (extra: limner[hub])"),
    "fashion-mnist": tables.Entry("limner.data.idx:open_fashion_mnist", "the name fashion-mnist: found or downloaded"),
    "list": tables.Entry(
        "limner.data.listing:ListedSource", "a .json list of 'limner inspect --prune': a part of another"
    ),
    "procedural": tables.Entry(
        "limner.data.drawn:DrawnSource", "procedural:initials or procedural:maps, drawn here; :2000 after it for 2000"
    ),
}
"""Every kind of source: what opens it, given the location, and one line of help."""

_SUFFIXES = {
    ".zip": "zip",
    ".npy": "npy",
    ".npz": "npz",
    ".json": "list",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".hdf": "hdf5",
}
_IDX_FILE = re.compile(r"idx\d-ubyte(\.gz)?$", re.IGNORECASE)


def open_source(location: str | Path) -> Source:
    """Open what a user named as data.

    Args:
        location: a path, ``hf:owner/name[:split]``, ``fashion-mnist``, ``procedural:initials`` or ``procedural:maps``.

    Raises:
        InputError: there is nothing there, or nothing that can be read; one line says what to do.
    """
    try:
        source: Source = SOURCES[kind_of(location)].load()(location if isinstance(location, Path) else str(location))
    except Unreadable as error:
        raise InputError(f"data {location}: {error}") from None
    except OSError as error:  # it may vanish, or its disk fail, at any moment
        raise InputError(f"data {str(location)!r}: cannot be opened ({error.strerror or error})") from None
    if not len(source.entries):
        raise InputError(f"data {source.location}: holds no pictures; give a collection that has some")
    return source


def kind_of(location: str | Path) -> str:
    """Which of :data:`SOURCES` reads what a user named as data: known in no time, before anything is opened.

    Raises:
        InputError: there is nothing there, or nothing that can be read; one line says what to do.
    """
    text = str(location)
    if isinstance(location, str):
        if text == "fashion-mnist":
            return "fashion-mnist"
        if text.startswith("procedural:"):
            return "procedural"
        if text.startswith("hf:"):
            return "hub"
    try:
        path = Path(text).expanduser()
        if path.is_dir():
            return "idx" if any(_IDX_FILE.search(child.name) for child in path.iterdir()) else "folder"
        exists = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~nobody
        raise InputError(f"data {text!r}: cannot be opened ({error})") from None
    if not text or not exists:
        raise InputError(
            f"data {text!r}: no such file or folder; give a path, hf:owner/name, fashion-mnist, "
            "procedural:initials or procedural:maps"
        )
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    if _IDX_FILE.search(path.name):
        return "idx"
    raise InputError(
        f"data {text}: a {path.suffix or 'nameless'} file is no collection; give a folder of images, "
        "a .zip, .npy, .npz, .h5 or IDX file"
    )
