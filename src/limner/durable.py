"""Files that appear whole or not at all, and stay."""

from __future__ import annotations

import os
from pathlib import Path

from limner.errors import LimnerError

TEMPORARY = ".tmp-"
"""How names begin of what is still being written."""


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all, and is on the disk when this returns.

    Raises:
        LimnerError: it cannot be written; what was there before is still there.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise LimnerError(f"{path}: cannot be written ({error.strerror or error})") from error


def sync_directory(path: Path) -> None:
    """Make renames inside a directory durable (a no-op where directories cannot be opened)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
