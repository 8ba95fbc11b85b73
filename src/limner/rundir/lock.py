"""One process trains a run at a time."""

from __future__ import annotations

import errno
import os
import platform
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from limner.durable import is_alive
from limner.errors import InputError, LimnerError
from limner.rundir.names import LOCK

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run directory for one training alone.

    The system lets go of the lock when the process ends, however it ends, so that a stale one does not exist. On a file system
    without such locks the file itself is the lock: it says who holds it, and counts while that process is there.

    Raises:
        InputError: another process trains it.
        LimnerError: the lock cannot be written.
    """
    file = path / LOCK
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise LimnerError(f"{file}: cannot be written ({error.strerror or error})") from error
    held = False
    try:
        by_system = _taken_by_system(descriptor, path)
        if not by_system:
            _refuse_unless_stale(descriptor, path)
        try:
            _write(descriptor, _identity())
        except OSError as error:  # a full disk: the system's lock holds without a name
            if not by_system:
                raise LimnerError(f"{file}: cannot be written ({error.strerror or error})") from error
        if not by_system and _read(descriptor) != _identity():
            raise _refusal(path, "unknown")
        held = True
        if os.name == "nt":  # a directory with open files cannot be renamed there
            os.close(descriptor)
            descriptor = -1
        yield
    finally:
        if descriptor >= 0:
            if held:
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)  # nobody's any more
            os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds a run directory: asked by whoever would remove it."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        if not _taken_by_system(descriptor, path):
            _refuse_unless_stale(descriptor, path)
    except InputError:
        return True
    finally:
        os.close(descriptor)
    return False


@dataclass(frozen=True)
class Holder:
    """Who trains a run: the number of a process, and the machine's name where that is another machine, else an empty text."""

    process: int
    elsewhere: str = ""


def holder(path: Path) -> Holder | None:
    """Who holds a run directory, as far as its lock says; ``None`` for nobody.

    Reads alone: whoever only looks must not take the lock even for a moment, or a training that begins just then is refused.
    A training that could not write its name (a full disk) is not seen.
    """
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        lines = os.read(descriptor, 500).decode("utf-8", "replace").strip().split("\n")
    except OSError:
        return None
    finally:
        os.close(descriptor)
    process, host, started = (*lines, "", "", "")[:3]
    if not re.fullmatch(r"[0-9]{1,10}", process):
        return None
    if host and host != platform.node():
        return Holder(int(process), host)
    if not is_alive(int(process)) or (started and started != _started(int(process))):
        return None
    return Holder(int(process))


def _taken_by_system(descriptor: int, path: Path) -> bool:
    """Lock by flock; false where there is no such thing."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            raise _refusal(path, _read(descriptor).split("\n")[0] or "unknown") from None
        return False
    return True


def _refuse_unless_stale(descriptor: int, path: Path) -> None:
    """Read who holds the lock; whoever is no longer there does not."""
    process, host, started = (*_read(descriptor).split("\n"), "", "", "")[:3]
    if not process.isdecimal():
        return
    if host and host != platform.node():
        raise InputError(
            f"{path}: is being trained by process {process} on {host}; if that is no longer so, remove {path / LOCK}"
        )
    if is_alive(int(process)) and (not started or started == _started(int(process))):
        raise _refusal(path, process)


def _refusal(path: Path, owner: str) -> InputError:
    return InputError(f"{path}: is being trained by another process (number {owner})")


def _identity() -> str:
    return f"{os.getpid()}\n{platform.node()}\n{_started(os.getpid())}".strip()


def _started(process: int) -> str:
    """When a process began, in ticks of its system: its number alone may be another's by now. Empty where not told."""
    try:
        # The name before may hold blanks and brackets: fields are counted from its end (proc(5): starttime is the 22nd).
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _read(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, 500).decode("utf-8", "replace").strip()


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, f"{text}\n".encode())
