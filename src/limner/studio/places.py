"""What may be reached: runs by their names, files in them without following links, collections inside the data folders."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limner import rundir
from limner.errors import InputError
from limner.rundir.links import open_inside

LARGEST_FILE = 256 << 20
DRAWN = ("procedural:initials", "procedural:maps")
"""Collections that are no files. What would have to be downloaded is left to the command line."""
_NAME = re.compile(r"[^/\\\0\n.][^/\\\0\n]{0,199}")
_SCANNED = 2_000_000
_SUFFIXES = (".zip", ".npy", ".npz", ".h5", ".hdf5", ".hdf", "-ubyte", "-ubyte.gz", ".json")


class Missing(InputError):
    """What was asked for is not there."""


@dataclass(frozen=True)
class Found:
    """A file's content, with what changes when the file does."""

    content: bytes
    stamp: tuple[int, ...]


class Places:
    """The studio's roots. Everything that it reads or writes for a browser is found here.

    Args:
        runs: where run directories lie.
        data: folders of collections, resolved.
    """

    def __init__(self, runs: Path, data: tuple[Path, ...]) -> None:
        self.runs, self.data = runs, data

    def run(self, name: str) -> Path:
        """A run directory by its name.

        Raises:
            Missing: there is none of that name, or it is a link that leads out of the runs.
        """
        path = self.named(name)
        try:
            inside = path.resolve().is_relative_to(self.runs.resolve())
            if inside and (path / rundir.RECIPE).is_file():
                return path
        except (OSError, RuntimeError):  # a loop of links
            pass
        raise Missing(f"run {name!r}: there is none of that name")

    def named(self, name: str) -> Path:
        """Where a run of that name would lie. Raises Missing where it is no name."""
        if not _NAME.fullmatch(name) or not _is_text(name) or len(os.fsencode(name)) > 240:
            raise Missing("run: that is no name of one")
        return self.runs / name

    def names(self) -> list[str]:
        """The names of directories in which a run may be, in order."""
        try:
            with os.scandir(self.runs) as children:
                return sorted(
                    child.name
                    for child in children
                    if _NAME.fullmatch(child.name) and _is_text(child.name) and child.is_dir()
                )
        except OSError:
            return []

    def read(self, run: str, *parts: str) -> Found:
        """A file of a run; no link in it is followed.

        Raises:
            Missing: there is no such file, or it is too large to be served.
        """
        name = "/".join(parts)
        try:
            with open_inside(self.run(run), name) as file:
                status = os.fstat(file.fileno())
                if any("/" in part for part in parts) or status.st_size > LARGEST_FILE:
                    raise FileNotFoundError
                return Found(file.read(LARGEST_FILE), (status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            raise Missing(f"run {run!r}: has no {name}") from None

    def collection(self, location: str) -> str:
        """A collection that may be looked at and trained on, as a location for :func:`limner.data.sources.open_source`.

        Args:
            location: an absolute path, one relative to the first data folder, or a name of :data:`DRAWN`.

        Raises:
            InputError: it lies elsewhere, or something in it leads elsewhere.
        """
        if location.partition(":")[0] == "procedural":
            if re.fullmatch(rf"({'|'.join(DRAWN)})(:[0-9]{{1,7}})?", location):
                return location
            raise InputError(
                f"data {location}: must be one of {', '.join(DRAWN)}, with :2000 after it for 2000 pictures"
            )
        path = self.inside(location)
        if path.is_dir():
            self._check_links(path)
        elif path.suffix.lower() == ".json":
            raise InputError(f"data {path.name}: a list may lead anywhere; train on it with 'limner train {path.name}'")
        return str(path)

    def inside(self, location: str) -> Path:
        """A path in one of the data folders, resolved.

        Raises:
            InputError: it lies elsewhere, or there is nothing.
        """
        if not _is_text(location) or "\0" in location or len(location) > 4000:
            raise InputError("data: that is no path")
        try:
            path = (self.data[0] / location).resolve()
            there = path.exists()
        except (OSError, RuntimeError):
            raise InputError(f"data {location}: cannot be opened") from None
        if not any(path.is_relative_to(root) for root in self.data):
            roots = ", ".join(map(str, self.data))
            raise InputError(f"data {location}: lies outside of {roots}; start the studio with --data for that folder")
        if not there:
            raise InputError(f"data {location}: no such file or folder")
        return path

    def children(self, location: str) -> dict[str, Any]:
        """What is in a folder: sub-folders and files that may be collections, and how many pictures lie there directly.

        Args:
            location: the folder, or a file in it.

        Raises:
            InputError: it lies elsewhere, or cannot be read.
        """
        path = self.inside(location)
        if not path.is_dir():
            path = self.inside(str(path.parent))
        folders, files, pictures = [], [], 0
        try:
            with os.scandir(path) as children:
                for child in children:
                    if child.name.startswith(".") or not _is_text(child.name):
                        continue
                    if child.is_dir():
                        folders.append(child.name)
                    elif child.name.lower().endswith(_SUFFIXES) and not child.name.lower().endswith(".json"):
                        files.append(child.name)
                    elif child.name.lower().endswith(_PICTURES):
                        pictures += 1
        except OSError as error:
            raise InputError(f"data {location}: cannot be read ({error.strerror or error})") from None
        root = next(root for root in self.data if path.is_relative_to(root))
        return {
            "path": str(path),
            "parent": str(path.parent) if path != root else None,
            "folders": sorted(folders, key=str.casefold)[:1000],
            "files": sorted(files, key=str.casefold)[:1000],
            "pictures": pictures,
        }

    def _check_links(self, folder: Path) -> None:
        """Find out whether links in a folder stay in the data folders: a collection is read with them followed.

        Raises:
            InputError: one does not.
        """
        waiting, seen = [str(folder)], 0
        while waiting:
            try:
                with os.scandir(waiting.pop()) as children:
                    for child in children:
                        seen += 1
                        if seen > _SCANNED:
                            raise InputError(
                                f"data {folder}: has over {_SCANNED:,} files; use 'limner train' and 'limner inspect'"
                            )
                        if child.is_symlink():
                            target = Path(child.path).resolve()
                            if not any(target.is_relative_to(root) for root in self.data):
                                raise InputError(f"data {child.path}: is a link that leads out of the data folders")
                            if target.is_dir() and not target.is_relative_to(folder):
                                waiting.append(str(target))
                        elif child.is_dir(follow_symlinks=False):
                            waiting.append(child.path)
            except (OSError, RuntimeError):
                continue


_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".tga", ".jp2")


def _is_text(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
