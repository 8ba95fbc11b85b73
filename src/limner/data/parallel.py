"""Many pictures at once: threads, because Pillow and zlib let other threads run while they decode."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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


def ordered(function: Callable[[In], Out], items: Iterable[In], workers: int) -> Iterator[Out]:
    """``map(function, items)`` by several threads. At most a few portions are under way, so memory stays bounded.

    The first few are done in this thread and timed. Where one takes under a millisecond the others stay here as well:
    so much of it is Python then that threads would wait for one another (measured: 64x64 PNGs took twice as long with
    two threads).

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

    def portion(part: list[In]) -> list[Out]:
        return [function(item) for item in part]

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
