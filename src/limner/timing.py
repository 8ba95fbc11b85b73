"""Where the time of a process goes, measured inside it, when that is asked for (``limner train --timings``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


class Timings:
    """Seconds by part. A part inside another one is taken from it, so that they add up to the whole.

    Args:
        wait: called where a part begins and ends, for devices that work behind the program's back.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        self.seconds: dict[str, float] = {}
        self._wait, self._began = wait, time.perf_counter()
        self._open: list[str] = []
        self._since = self._began

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside as ``name``."""
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        """Book the time since the last change on the innermost part."""
        self._wait()
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def values(self) -> dict[str, float]:
        """Seconds by part, what belongs to none included, the longest first."""
        whole = time.perf_counter() - self._began
        rest = whole - sum(self.seconds.values())
        return dict(sorted({**self.seconds, "everything else": rest}.items(), key=lambda item: -item[1]))

    def table(self) -> str:
        """A line for each part: seconds, and share of all."""
        values = self.values()
        whole = sum(values.values())
        lines = [f"{name:<18}{seconds:>9.2f} s {100 * seconds / whole:>6.1f} %" for name, seconds in values.items()]
        return "\n".join(lines)


_active: Timings | None = None


@contextmanager
def measured(wait: Callable[[], None] | None = lambda: None) -> Iterator[Timings | None]:
    """Measure what happens inside; with ``None`` nothing is. Parts are told of by the main thread alone."""
    global _active
    before, _active = _active, None if wait is None else Timings(wait)
    try:
        yield _active
    finally:
        _active = before


def timed(name: str) -> AbstractContextManager[None]:
    """A part by that name; nothing at all where nobody measures."""
    return nullcontext() if _active is None else _active.part(name)
