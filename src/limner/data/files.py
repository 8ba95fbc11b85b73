"""Pictures as files: in a folder, or in a zip archive that is never unpacked."""

from __future__ import annotations

import os
import stat
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from limner.data.archive import Archive, BadArchive
from limner.data.sources import (
    Entry,
    LazyEntries,
    Part,
    Skipped,
    Source,
    Unreadable,
    file_stamp,
    open_regular,
    safe_title,
)
from limner.errors import InputError
from limner.recipe.text import shown as in_short
from limner.rundir import CHECKPOINTS, RECIPE

_SUFFIXES = """
    png apng jpg jpeg jpe jfif mpo jp2 j2k jpx jpc j2c jpf gif webp avif avifs bmp dib tif tiff ppm pgm pbm pnm pfm tga
    icb vda vst ico cur icns pcx dcx dds qoi psd sgi rgb rgba bw xbm xpm im msp blp ftc ftu heic heif jxl
"""
PICTURE_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
"""Endings of picture files. The last three Pillow cannot read by itself: such files are named, not passed over."""

_SIGNATURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
_FILE_LIMIT = 192 << 20
"""Bytes of one encoded picture. With the pixels that it becomes it is to take under a gibibyte."""
_RUNS_NAMED = 3
_SYSTEM = (Path("/proc"), Path("/sys"), Path("/dev"))


class FolderSource(Source):
    """A folder of image files, read with all its sub-folders. Hidden files are passed over, links are followed, but no folder
    is read twice: real ones go first, so that links can neither run in circles nor multiply. Links to a folder above the
    collection, or to the system's own, are passed over.

    Where every picture lies in a sub-folder, the first level gives the classes (folders that hold everything are
    stepped through first). A run's own directory below it is passed over whole: its sample grids are no pictures of
    the collection, and there are more of them at every checkpoint, so that the contents would never stay the same.
    Pictures that ``limner generate`` wrote are read like any other. Pipes and devices are never opened, for they may
    have no end.
    """

    kind = "folder"

    def __init__(self, location: str | Path) -> None:
        self._root = Path(location).expanduser().resolve()
        self.location = str(self._root)
        self.title = safe_title(self._root.name)
        self.skipped: list[Skipped] = []
        self._runs: list[str] = []
        if _is_run(self._root):
            raise InputError(
                f"data {self.location}: is a run of Limner's, no collection; name the folder inside it that you mean"
            )
        found: list[tuple[str, tuple[int, ...]]] = []
        for name, status in self._walk():
            # What is empty has no first bytes; files of the system's own that say so may wait for ever to give some.
            if _is_picture(name, partial(_head, self._root / name) if status.st_size else bytes):
                found.append((name, (status.st_size, status.st_mtime_ns)))
            else:
                self.ignored += 1
        found.sort()
        labels = _folder_labels([name for name, _ in found])
        self.entries = [Entry(name, label, stamp) for (name, stamp), label in zip(found, labels, strict=True)]
        self.skipped.sort(key=lambda item: item.name)
        if self._runs:
            named = ", ".join(sorted(self._runs)[:_RUNS_NAMED])
            more = len(self._runs) - _RUNS_NAMED
            what = "a run of Limner's" if len(self._runs) == 1 else "runs of Limner's"
            self.notes = [f"{named}{f' and {more} more' if more > 0 else ''}: {what}, passed over"]
        if not self.entries:
            what = "; ".join(["the folder has no image files", *self.notes])
            raise InputError(_nothing(self.location, self.ignored, what, self.skipped))

    def _walk(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every visible file. Folders that are links wait until all others were read."""
        seen: set[tuple[int, int]] = set()
        real, linked, behind = [""], deque[str](), set[str]()
        while real or linked:
            inside = real.pop() if real else linked.popleft()
            folder = self._root / inside
            if inside in behind and self._leads_astray(folder):
                continue
            try:
                here = folder.stat()
                if (here.st_dev, here.st_ino) in seen:
                    continue
                children = sorted(os.scandir(folder), key=lambda child: child.name)
            except OSError as error:
                self.skipped.append(Skipped(inside or ".", f"folder cannot be read ({error.strerror})"))
                continue
            seen.add((here.st_dev, here.st_ino))
            for child in children:
                if child.name.startswith(".") or child.name == "__MACOSX":
                    continue
                name = f"{inside}{child.name}"
                try:
                    status = child.stat()
                except OSError as error:
                    if _is_picture(name, bytes):
                        why = "a link to nowhere" if isinstance(error, FileNotFoundError) else error.strerror
                        self.skipped.append(Skipped(name, f"cannot be opened ({why})"))
                    continue
                if stat.S_ISDIR(status.st_mode):
                    if _is_run(self._root / name):
                        self._runs.append(name)
                    else:
                        (linked if child.is_symlink() else real).append(f"{name}/")
                        if child.is_symlink():
                            behind.add(f"{name}/")
                elif stat.S_ISREG(status.st_mode):
                    yield name, status
                elif _is_picture(name, bytes):
                    self.skipped.append(Skipped(name, "a pipe or device, no file"))

    def _leads_astray(self, folder: Path) -> bool:
        """Whether a link leads to a folder that holds the collection itself, or to what the system shows as files."""
        there = folder.resolve()
        return self._root.is_relative_to(there) or any(there.is_relative_to(place) for place in _SYSTEM)

    def read(self, index: int) -> bytes:
        """The bytes of one file (see :meth:`Source.read`)."""
        entry = self.entries[index]
        _check_size(entry.stamp[0])
        with self.open(index) as file:
            content = file.read(_FILE_LIMIT + 1)
        _check_size(len(content))  # it may have grown since
        return content

    def open(self, index: int) -> IO[bytes]:
        """One file, not read yet (see :meth:`Source.open`)."""
        return open_regular(self._root / self.entries[index].name)

    def parts(self) -> Iterable[Part]:
        """Each picture file. What is too large to be read is not hashed either: it may have no end that anyone waits for."""
        return [
            Part(entry.name, self._root / entry.name, entry.stamp)
            for entry in self.entries
            if entry.stamp[0] <= _FILE_LIMIT
        ]


class ZipSource(Source):
    """A zip archive of image files, read in place: nothing is ever written to disk from it.

    The archive counts as hostile: an entry whose name points outside it ends the reading, and so do entries that overlap; the
    size that an entry declares bounds what is unpacked of it.
    """

    kind = "zip"

    def __init__(self, location: str | Path) -> None:
        self._path = Path(location).expanduser().resolve()
        self.location = str(self._path)
        self.title = safe_title(self._path.stem)
        self.skipped: list[Skipped] = []
        try:
            self._archive = Archive(self._path)
        except (OSError, BadArchive) as error:
            raise InputError(f"data {self.location}: not a zip archive that can be read ({error})") from None
        found: list[tuple[str, int]] = []
        for place in range(len(self._archive)):
            shown = self._archive.name(place)
            name = shown.replace("\\", "/")
            _refuse_outside(self.location, shown, name)
            hidden = any(piece.startswith(".") or piece == "__MACOSX" for piece in name.split("/"))
            if hidden or not name or name.endswith("/"):
                continue
            if not _is_picture(name, partial(self._head, place)):
                self.ignored += 1
            elif self._archive.is_link(place):
                self.skipped.append(Skipped(name, "a link, no picture"))
            else:
                found.append((name, place))
        found.sort()
        labels = _folder_labels([name for name, _ in found])
        self._places = array("L", (place for _, place in found))
        names = [name for name, _ in found]
        self.entries = LazyEntries(
            len(names),
            lambda place: Entry(names[place], labels[place], self._archive.stamp(self._places[place])),
        )
        if not len(names):
            raise InputError(_nothing(self.location, self.ignored, "the archive has no image files", self.skipped))

    def _head(self, place: int) -> bytes:
        try:
            with self._archive.open(place) as file:
                return file.read(16) or b""
        except BadArchive:
            return b""

    def read(self, index: int) -> bytes:
        """The bytes of one entry (see :meth:`Source.read`)."""
        try:
            return self._archive.read(self._checked(index))
        except BadArchive as error:
            raise Unreadable(str(error)) from None

    def open(self, index: int) -> IO[bytes]:
        """One entry, not read yet (see :meth:`Source.open`)."""
        return cast(IO[bytes], self._archive.open(self._checked(index)))

    def _checked(self, index: int) -> int:
        place = self._places[index]
        _check_size(self._archive.sizes[place])
        if self._archive.is_encrypted(place):
            raise Unreadable("encrypted")
        return place

    def parts(self) -> Iterable[Part]:
        """The archive itself."""
        return [Part("", self._path, file_stamp(self._path))]


def _is_run(folder: Path) -> bool:
    """Whether it is a training's own directory."""
    return os.path.isfile(folder / RECIPE) and os.path.isdir(folder / CHECKPOINTS)


def _is_picture(name: str, head: Callable[[], bytes]) -> bool:
    """By the ending; a file without one by its first bytes, which ``head()`` gives."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in PICTURE_SUFFIXES if suffix else head().startswith(_SIGNATURES)


def _head(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(16)
    except (OSError, Unreadable):
        return b""


def _check_size(size: int) -> None:
    if size == 0:
        raise Unreadable("empty file")
    if size > _FILE_LIMIT:
        raise Unreadable(f"{size:,} bytes; at most {_FILE_LIMIT:,} are read")


def _folder_labels(names: list[str]) -> list[str | None]:
    """The first folder in which sorted names differ, when all of them lie in one and there are at least two."""
    if not names:
        return []
    start = os.path.commonprefix([names[0], names[-1]]).rfind("/") + 1  # noqa: RUF071 (what all of them begin with)
    ends = [name.find("/", start) for name in names]
    if -1 in ends:
        return [None] * len(names)
    return [sys.intern(name[start:end]) for name, end in zip(names, ends, strict=True)]


def _refuse_outside(location: str, shown: str, name: str) -> None:
    drive = len(name) > 1 and name[1] == ":"
    if name.startswith("/") or drive or ".." in name.split("/"):
        raise InputError(
            f"data {location}: entry {in_short(shown, 200)} points outside the archive, so none of it is read;"
            " pack the images again"
        )


def _nothing(location: str, ignored: int, what: str, skipped: Sequence[Skipped] = ()) -> str:
    rest = f" ({ignored} other files)" if ignored else ""
    if skipped:
        rest += f"; {skipped[0].name}: {skipped[0].reason}"
    return f"data {location}: {what}{rest}; PNG, JPEG, WebP, GIF, TIFF and all that Pillow reads will do"
