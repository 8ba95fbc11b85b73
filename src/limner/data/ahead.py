"""Pictures that will be wanted next, asked of the system before they are: for collections that do not fit into memory.

A training knows which pictures its next batch has. The pages of a mapped file that hold them are asked for while the present
batch is worked on, and are there in time. Reading around every place, the system's habit, is switched off: the pictures come in
random order, so most of what it reads besides would be thrown away unused.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np
from jaxtyping import Int, Shaped

LEAST = 1 << 28
"""Bytes from which it is worth it: less stays in the system's memory by itself."""


class Ahead:
    """Tells the system what will be read of a mapped array.

    Args:
        pixels: the array; of one that is not mapped, or small, nothing is told.
        starts: where each picture begins in it, in bytes, and where the last one ends.
    """

    def __init__(self, pixels: Shaped[np.ndarray, "..."], starts: Int[np.ndarray, " n+1"]) -> None:
        self._file, self._offset = _mapping(pixels) if pixels.nbytes >= LEAST else (None, 0)
        self._starts, self._last, self._begun = starts, 0, False

    @property
    def active(self) -> bool:
        """Whether anything is told."""
        return self._file is not None

    def following(self, start: int, count: int) -> tuple[int, int]:
        """The samples that come next, if it goes on as it has gone since the last call."""
        step = start - self._last if start > self._last else count
        self._last = start
        return start + step, count

    def ask(self, places: Int[np.ndarray, " m"]) -> None:
        """These pictures will be read soon."""
        if self._file is None:
            return
        with suppress(OSError, ValueError):  # it is only advice
            if not self._begun:
                self._begun = True
                self._file.madvise(mmap.MADV_RANDOM)
            for start, end in zip(self._starts[places].tolist(), self._starts[places + 1].tolist(), strict=True):
                begin = (self._offset + start) // mmap.PAGESIZE * mmap.PAGESIZE
                self._file.madvise(mmap.MADV_WILLNEED, begin, self._offset + end - begin)


def _mapping(array: Shaped[np.ndarray, "..."]) -> tuple[mmap.mmap | None, int]:
    """The mapped file that an array looks into, and where in it the array begins; ``None`` where there is none."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):
        return None, 0
    start = np.frombuffer(base, np.uint8).__array_interface__["data"][0]
    return base, int(array.__array_interface__["data"][0]) - int(start)
