"""Many pictures at once: threads, because Pillow and zlib let other threads run while they decode."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from statistics import median
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

_PORTION = 4
"""Items that a thread takes at a time, so that small ones do not spend their time in the queue."""
_TIMED = 6
_WORTH_A_THREAD = 0.0008
"""Seconds that an item has to take before threads gain anything."""


def default_workers() -> int:
    """The processors that this process may use, at most 16."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(16, available))


class Room:
    """Something of which there is only so much for all threads, such as memory.

    Args:
        size: how much there is.
    """

    def __init__(self, size: int) -> None:
        self._size, self._left = size, size
        self._change = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Wait until so much is left, and have it meanwhile. Whoever asks for more than there is gets all of it."""
        amount = max(0, min(amount, self._size))
        with self._change:
            self._change.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._change:
                self._left += amount
                self._change.notify_all()


FILES = Room(192 << 20)
"""Bytes of encoded pictures that threads hold at the same time."""


def ordered(
    function: Callable[[In], Out], items: Iterable[In], workers: int, weight: Callable[[In], int] | None = None
) -> Iterator[Out]:
    """``map(function, items)`` by several threads. At most a few portions are under way, so memory stays bounded.

    The first few are done in this thread and timed. Where one takes under a millisecond the others stay here as well:
    so much of it is Python then that threads would wait for one another (measured: 64x64 PNGs took twice as long with
    two threads).

    ``weight`` says how many bytes an item holds while it is worked on; together they hold no more than :data:`FILES` has.

    Closing the iterator (an error or Ctrl-C where it is used) drops what has not begun.
    """
    rest = iter(items)
    seconds: list[float] = []
    for item in islice(rest, _TIMED if workers > 1 else 0):
        began = time.perf_counter()
        done = function(item)
        seconds.append(time.perf_counter() - began)
        yield done
    # The first one pays for what Pillow imports on demand.
    if workers <= 1 or len(seconds) < _TIMED or median(seconds[1:]) < _WORTH_A_THREAD:
        yield from map(function, rest)
        return

    def weighed(item: In) -> Out:
        if weight is None:
            return function(item)
        with FILES.taken(weight(item)):
            return function(item)

    def portion(part: list[In]) -> list[Out]:
        return [weighed(item) for item in part]

    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="limner-decode")
    under_way: deque[Future[list[Out]]] = deque()
    try:
        while True:
            while len(under_way) < 2 * workers and (part := list(islice(rest, _PORTION))):
                under_way.append(pool.submit(portion, part))
            if not under_way:
                return
            yield from under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
