"""Files and directories that appear whole or not at all, and stay.

Everything that changes a run directory is done with the few functions here, and they change files by the calls of
``system`` alone. A test that counts these calls, refuses one, or writes down their order sees all that a crash could cut.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from limner.errors import LimnerError

TEMPORARY = ".tmp-"
"""How names begin of what is still being written, or is on its way out; the process's number follows."""

system: Any = os
"""What files are changed with: open, write, fsync, close, ftruncate, replace, rename, mkdir, unlink, rmdir."""

_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF)
"""What file systems answer that cannot sync a directory, and need not."""


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all, and is on the disk when this returns.

    Raises:
        LimnerError: it cannot be written; what was there before is still there.
    """
    temporary = temporary_name(path)
    try:
        write_synced(temporary, content)
        system.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            system.unlink(temporary)
        raise LimnerError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_together(final: Path, files: Mapping[str, bytes]) -> None:
    """Write a directory of files (names may have folders), so that all of it appears or nothing, in the place of one before.

    Raises:
        LimnerError: it cannot be written; what was there before is still there.
    """
    temporary, replaced = temporary_name(final), replaced_name(final)
    try:
        remove_tree(temporary)
        system.mkdir(temporary)
        folders = sorted({folder for file in files for folder in Path(file).parents} - {Path()})
        for folder in folders:
            system.mkdir(temporary / folder)
        for file, content in files.items():
            write_synced(temporary / file, content)
        for folder in (*reversed(folders), Path()):
            sync_directory(temporary / folder)
        if final.exists():
            remove_tree(replaced)
            system.rename(final, replaced)
        system.rename(temporary, final)
        sync_directory(final.parent)
    except OSError as error:
        put_back(replaced, final)
        with suppress(OSError):
            remove_tree(temporary)
        raise LimnerError(f"{final}: cannot be written ({error.strerror or error})") from error
    with suppress(OSError):
        remove_tree(replaced)


def discard(*paths: Path) -> None:
    """Remove directories, so that each is whole or not there under its name, and stays away after a power cut.

    What cannot be removed is left for a sweep.

    Raises:
        LimnerError: one cannot even be taken out of the way, or that cannot be made to last.
    """
    going = []
    try:
        for path in paths:
            gone = path.with_name(f"{TEMPORARY}{os.getpid()}-gone-{path.name}")
            with suppress(OSError):
                remove_tree(gone)
            system.rename(path, gone)
            going.append(gone)
        for parent in {path.parent for path in going}:
            sync_directory(parent)
    except OSError as error:
        raise LimnerError(f"{error.filename or paths[0]}: cannot be removed ({error.strerror or error})") from error
    finally:
        for gone in going:
            with suppress(OSError):
                remove_tree(gone)


def make_directory(path: Path) -> None:
    """Make a directory that stays; one that is there will do.

    Raises:
        OSError: it cannot be made.
    """
    try:
        system.mkdir(path)
    except FileExistsError:
        if not path.is_dir():
            raise
    sync_directory(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a file, or nothing. It is on the disk only when the file has been synced.

    Half a line that a killed process left is ended first, so that this one is not lost with it.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = system.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o666)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if size:
            os.lseek(descriptor, size - 1, os.SEEK_SET)
            if os.read(descriptor, 1) != b"\n":
                line = b"\n" + line
        try:
            _write_all(descriptor, line + b"\n")
        except OSError:
            with suppress(OSError):
                system.ftruncate(descriptor, size)
            raise
    finally:
        system.close(descriptor)


def sync_file(path: Path) -> None:
    """Make what was appended to a file durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | _BINARY)
    try:
        system.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable (a no-op where directories cannot be opened or synced). Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        system.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file under a name that nobody looks for yet, and make its content durable. Raises OSError."""
    descriptor = system.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_LINK | _BINARY, 0o666)
    try:
        _write_all(descriptor, content)
        system.fsync(descriptor)
    finally:
        system.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a directory and all in it; a link is removed, not followed. Nothing there is fine. Raises OSError."""
    if path.is_symlink() or path.is_file():
        system.unlink(path)
        return
    if not path.is_dir():
        return
    folders = [(path, list(path.iterdir()))]  # no recursion: folders may be nested deeper than Python goes
    while folders:
        folder, left = folders[-1]
        if not left:
            system.rmdir(folder)
            folders.pop()
        elif (inside := left.pop(0)).is_dir() and not inside.is_symlink():
            folders.append((inside, list(inside.iterdir())))
        else:
            system.unlink(inside)


def put_back(replaced: Path, final: Path) -> None:
    """Give back its name to what was about to be replaced, where that did not come about."""
    if replaced.exists() and not final.exists():
        with suppress(OSError):
            system.rename(replaced, final)


def temporary_name(path: Path) -> Path:
    """What something is called while it is written: a name of this process's own, beside the last one."""
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")


def replaced_name(path: Path) -> Path:
    """What something is called while another takes its place."""
    return path.with_name(f"{TEMPORARY}replaced-{path.name}")


def is_leaving(path: Path) -> bool:
    """Whether a temporary name was left behind: the process in it is no more. One on another host cannot be told."""
    number = path.name.removeprefix(TEMPORARY).split("-", 1)[0]
    if not path.name.startswith(TEMPORARY) or not number.isdecimal():
        return path.name.startswith(TEMPORARY)
    return int(number) != os.getpid() and not is_alive(int(number))


def is_alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    if sys.platform == "win32":  # asking by a signal would end it there
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x00100000, False, process)  # SYNCHRONIZE
        if handle:
            ended = ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == 0
            ctypes.windll.kernel32.CloseHandle(handle)
            return not ended
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def is_full(error: LimnerError) -> bool:
    """Whether something could not be written because there is no room."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[system.write(descriptor, left) :]
