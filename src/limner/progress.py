"""How far a piece of work is, for whoever sits at a terminal (logs and pipes are left alone), and durations in words."""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

PATIENCE = 2.0
"""Seconds that a piece of work may take before anything is shown."""
_BETWEEN = 0.1


_HARMFUL = re.compile(
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_DRAWING = re.compile(r"\r|\x1b\[[0-9;?]*[A-Za-z]")


def harmless(text: str) -> str:
    """A text that does nothing to a terminal but stand there: what commands it, or turns the order of letters, is escaped.

    Names of files and classes are whatever somebody called them.
    """
    return _HARMFUL.sub(lambda found: repr(found[0])[1:-1], text)


class Guarded:
    """A stream through which only harmless text goes.

    Args:
        stream: where it goes.
        drawing: whether cursor and colours may be commanded, as a progress bar does.
    """

    def __init__(self, stream: TextIO, drawing: bool = False) -> None:
        self._stream, self._drawing = stream, drawing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, escaped (see :func:`harmless`)."""
        if not self._drawing:
            return self._stream.write(harmless(text))
        parts = zip(_DRAWING.split(text), [*_DRAWING.findall(text), ""], strict=True)
        return self._stream.write("".join(harmless(part) + command for part, command in parts))


def guard() -> None:
    """From here on, whatever the process prints is harmless, and what an encoding lacks is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, Guarded) or stream is None:
            continue
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Guarded(stream, drawing=name == "stderr" and stream.isatty()))


_listener: ContextVar[Callable[[int, int, str], None] | None] = ContextVar("listener", default=None)


@contextmanager
def heard(listener: Callable[[int, int, str], None]) -> Iterator[None]:
    """Whatever is :func:`counted` inside tells this function pieces done, pieces in all and what they are; no bar is drawn."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def counted(total: int, what: str) -> Iterator[Callable[[], None]]:
    """A context that gives a function to call after each of ``total`` pieces.

    Where standard error is a terminal and the work has taken two seconds, a bar appears there, with the rate and the
    remaining time. It is drawn from the calls alone: no thread runs beside the work. It is gone when the context ends,
    so that what is printed afterwards stands alone.

    Args:
        total: pieces in all.
        what: the pieces, such as ``frames``.
    """
    listener = _listener.get()
    if listener is not None:
        counts = itertools.count(1)
        yield lambda: listener(next(counts), total, what)
        return
    if not sys.stderr.isatty():
        yield lambda: None
        return
    started = drawn = time.monotonic()
    done = 0
    bar: Any = None

    def advance() -> None:
        nonlocal bar, done, drawn
        done += 1
        now = time.monotonic()
        if now - started < PATIENCE or now - drawn < _BETWEEN:
            return
        drawn = now
        bar = bar or _bar(total)
        rate = done / max(now - started, 1e-9)
        status = (
            f"{done:,} of {total:,} {what}  {rate:,.{1 if rate < 10 else 0}f}/s  {_clock((total - done) / rate)} left"
        )
        bar.update(0, completed=done, status=status, refresh=True)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


@contextmanager
def working() -> Iterator[Callable[[int, int], None]]:
    """A context that gives a function to call with pieces done and pieces in all, for work of several parts.

    Each part (it begins when fewer pieces are done than before, or another number are to be done) has a bar of its own, as
    :func:`counted` has.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    started = drawn = time.monotonic()
    before = (0, 0)
    bar: Any = None

    def advance(done: int, total: int) -> None:
        nonlocal bar, before, drawn, started
        now = time.monotonic()
        if done < before[0] or total != before[1]:
            started = now
            if bar is not None:
                bar.stop()
                bar = None
        before = (done, total)
        if (bar is None and now - started < PATIENCE) or now - drawn < _BETWEEN:
            return
        drawn = now
        bar = bar or _bar(total)
        rate = done / max(now - started, 1e-9)
        status = f"{done:,} of {total:,}  {_clock((total - done) / max(rate, 1e-9))} left"
        bar.update(0, completed=done, total=total, status=status, refresh=True)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _bar(total: int) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (BarColumn(24), TaskProgressColumn(), TextColumn("{task.fields[status]}"))
    bar = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
    bar.add_task("", total=total, status="")
    bar.start()
    return bar


def _clock(seconds: float) -> str:
    """``0:07``, ``12:30`` or ``2:05:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 8.4 s, 3 min 20 s, 2 h 5 min, 3 days 4 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days {whole % 86400 // 3600} h"
