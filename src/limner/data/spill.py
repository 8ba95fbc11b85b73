"""Room for many pictures for a while: memory for as much as anybody has, a file for more."""

from __future__ import annotations

import math
import os
import tempfile

import numpy as np
from jaxtyping import UInt8

from limner.data.store import cache_root

_PORTION = 1 << 24
LIMIT = 1 << 28
"""Bytes up to which pictures are kept in memory."""


def room_for(shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """An array whose content is to be written.

    Over :data:`LIMIT` bytes it lies in a file of the cache that has no name and goes with the array: the system writes
    to the disk what there is no memory for. Where there is no room on the disk it is memory after all.

    Args:
        shape: of the array.
    """
    size = math.prod(shape)
    if size <= LIMIT:
        return np.empty(shape, dtype=np.uint8)
    try:
        root = cache_root()
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            # Reserved first: a disk that fills up later would end the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                for start in range(0, size, _PORTION):
                    file.write(bytes(min(_PORTION, size - start)))
                file.flush()
            return np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)
    except OSError:
        return np.empty(shape, dtype=np.uint8)


def held(count: int, size: int) -> int:
    """Bytes of memory that so many pictures of so many bytes take in what :func:`room_for` gives."""
    return count * size if count * size <= LIMIT else 0
