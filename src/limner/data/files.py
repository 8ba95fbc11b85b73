"""Pictures as files: in a folder, or in a zip archive that is never unpacked."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from limner.data.sources import Entry, Part, Skipped, Source, Unreadable, file_stamp, safe_title
from limner.errors import InputError
from limner.rundir import CHECKPOINTS, RECIPE

_SUFFIXES = """
    png apng jpg jpeg jpe jfif mpo jp2 j2k jpx jpc j2c jpf gif webp avif avifs bmp dib tif tiff ppm pgm pbm pnm pfm tga
    icb vda vst ico cur icns pcx dcx dds qoi psd sgi rgb rgba bw xbm xpm im msp blp ftc ftu heic heif jxl
"""
PICTURE_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
"""Endings of picture files. The last three Pillow cannot read by itself: such files are named, not passed over."""

_SIGNATURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
_FILE_LIMIT = 1 << 30
"""Bytes of one encoded picture. What is larger is no picture that anyone trains on, or made to fill the memory."""
_RUNS_NAMED = 3


class FolderSource(Source):
    """A folder of image files, read with all its sub-folders. Hidden files are passed over, links are followed.

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
        for name, status in self._walk("", set()):
            if _is_picture(name, partial(_head, self._root / name)):
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

    def _walk(self, inside: str, above: set[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result]]:
        """Every visible file. ``above`` holds the folders on the way down, so that a loop of links ends."""
        folder = self._root / inside
        try:
            here = folder.stat()
            children = list(os.scandir(folder))
        except OSError as error:
            self.skipped.append(Skipped(inside or ".", f"folder cannot be read ({error.strerror})"))
            return
        identity = here.st_dev, here.st_ino
        if identity in above:
            return
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
                    yield from self._walk(f"{name}/", above | {identity})
            elif stat.S_ISREG(status.st_mode):
                yield name, status
            elif _is_picture(name, bytes):
                self.skipped.append(Skipped(name, "a pipe or device, no file"))

    def read(self, index: int) -> bytes:
        """The bytes of one file (see :meth:`Source.read`)."""
        entry = self.entries[index]
        _check_size(entry.stamp[0])
        return (self._root / entry.name).read_bytes()

    def open(self, index: int) -> IO[bytes]:
        """One file, not read yet (see :meth:`Source.open`)."""
        return (self._root / self.entries[index].name).open("rb")

    def parts(self) -> Iterable[Part]:
        """Each picture file."""
        return [Part(entry.name, self._root / entry.name, entry.stamp) for entry in self.entries]


class ZipSource(Source):
    """A zip archive of image files, read in place: nothing is ever written to disk from it.

    The archive counts as hostile: an entry whose name points outside it ends the reading, and the size that an entry
    declares bounds what is unpacked of it.
    """

    kind = "zip"

    def __init__(self, location: str | Path) -> None:
        self._path = Path(location).expanduser().resolve()
        self.location = str(self._path)
        self.title = safe_title(self._path.stem)
        try:
            self._archive = zipfile.ZipFile(self._path)
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise InputError(f"data {self.location}: not a zip archive that can be read ({error})") from None
        self._infos: list[zipfile.ZipInfo] = []
        for info in self._archive.infolist():
            name = info.filename.replace("\\", "/")
            _refuse_outside(self.location, info.filename, name)
            hidden = any(piece.startswith(".") or piece == "__MACOSX" for piece in name.split("/"))
            if hidden or not name or name.endswith("/"):
                continue
            if _is_picture(name, partial(self._head, info)):
                self._infos.append(info)
            else:
                self.ignored += 1
        self._infos.sort(key=lambda info: info.filename)
        names = [info.filename.replace("\\", "/") for info in self._infos]
        self.entries = [
            Entry(name, label, (info.file_size, info.CRC))
            for name, label, info in zip(names, _folder_labels(names), self._infos, strict=True)
        ]
        if not self.entries:
            raise InputError(_nothing(self.location, self.ignored, "the archive has no image files"))

    def _head(self, info: zipfile.ZipInfo) -> bytes:
        try:
            with self._archive.open(info) as file:
                return file.read(16)
        except (OSError, EOFError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile):
            return b""

    def read(self, index: int) -> bytes:
        """The bytes of one entry (see :meth:`Source.read`)."""
        with self.open(index) as file:
            return file.read()

    def open(self, index: int) -> IO[bytes]:
        """One entry, not read yet (see :meth:`Source.open`)."""
        info = self._infos[index]
        _check_size(info.file_size)
        if info.flag_bits & 1:
            raise Unreadable("encrypted")
        return self._archive.open(info)

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
        with path.open("rb") as file:
            return file.read(16)
    except OSError:
        return b""


def _check_size(size: int) -> None:
    if size == 0:
        raise Unreadable("empty file")
    if size > _FILE_LIMIT:
        raise Unreadable(f"{size:,} bytes; at most {_FILE_LIMIT:,} are read")


def _folder_labels(names: list[str]) -> list[str | None]:
    """The first folder in which the names differ, when all of them lie in one and there are at least two."""
    folders = [name.split("/")[:-1] for name in names]
    level = 0
    while all(len(folder) > level for folder in folders) and len({folder[level] for folder in folders}) == 1:
        level += 1
    if any(len(folder) <= level for folder in folders):
        return [None] * len(names)
    return [folder[level] for folder in folders]


def _refuse_outside(location: str, shown: str, name: str) -> None:
    drive = len(name) > 1 and name[1] == ":"
    if name.startswith("/") or drive or ".." in name.split("/"):
        raise InputError(
            f"data {location}: entry {shown!r} points outside the archive, so none of it is read; pack the images again"
        )


def _nothing(location: str, ignored: int, what: str, skipped: Sequence[Skipped] = ()) -> str:
    rest = f" ({ignored} other files)" if ignored else ""
    if skipped:
        rest += f"; {skipped[0].name}: {skipped[0].reason}"
    return f"data {location}: {what}{rest}; PNG, JPEG, WebP, GIF, TIFF and all that Pillow reads will do"
