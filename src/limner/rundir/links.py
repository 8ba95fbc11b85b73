"""A run directory holds what is in it: links would have a training write, or a report show, what lies elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from limner.errors import InputError
from limner.rundir.names import CHECKPOINTS, DATA, ENVIRONMENT, EVALUATION, LOCK, LOGS, RECIPE, REPORT, SAMPLES

_FILES = (RECIPE, DATA, ENVIRONMENT, *LOGS, REPORT, LOCK)
_FOLDERS = (SAMPLES, CHECKPOINTS, EVALUATION, "generated")
_READ = (SAMPLES, CHECKPOINTS, EVALUATION)


def open_inside(root: Path, name: str) -> BinaryIO:
    """A file in a directory, opened to be read. Nothing on the way from there can be a link, nor become one meanwhile.

    Args:
        root: the directory; it may itself be reached through links.
        name: the file, its folders parted by ``/``.

    Raises:
        OSError: there is none, or what is there is a link, a folder, a pipe or a device.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if os.open not in os.supports_dir_fd:
        path = root.joinpath(*parts)
        if path.resolve() != root.resolve().joinpath(*parts):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    else:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for place, part in enumerate(parts):
            kind = os.O_DIRECTORY if place < len(parts) - 1 else os.O_NONBLOCK  # a pipe would be waited for
            try:
                inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = inner
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)  # of a directory nothing below could be made that would close it
        raise OSError(errno.EINVAL, "is no file")
    return os.fdopen(descriptor, "rb")


def refuse_links(run: Path) -> None:
    """Find out whether everything that Limner reads and writes in a run directory is really there.

    Raises:
        InputError: something is a link, or a pipe or device; the line says what to do.
        OSError: it cannot be looked at.
    """
    for path, mode in _things(run):
        if stat.S_ISLNK(mode):
            raise InputError(
                f"{path}: is a link, and what Limner writes stays in the run directory; put there what it leads to"
                " (the run directory as a whole may be a link)"
            )
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(f"{path}: is a pipe or device, no file of a run; remove it")


def _things(run: Path) -> Iterator[tuple[Path, int]]:
    for name in (*_FILES, *_FOLDERS):
        try:
            yield run / name, os.lstat(run / name).st_mode
        except FileNotFoundError:
            continue
    waiting = [run / name for name in _READ]
    while waiting:
        folder = waiting.pop()
        try:
            children = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for child in children:
            if child.is_symlink():
                yield Path(child.path), stat.S_IFLNK
            elif child.is_dir(follow_symlinks=False):
                waiting.append(Path(child.path))
            elif not child.is_file(follow_symlinks=False):
                yield Path(child.path), stat.S_IFIFO
