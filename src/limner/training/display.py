"""What a person sees while a training goes on: one live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from limner.progress import duration, harmless
from limner.training.loop import Continue, Loop, Signal

PLAIN_SECONDS = 15.0
"""Between two lines, where nothing can be drawn over."""
WORTH_TELLING = 2.0
"""Seconds of work that a person notices."""


class Display(Protocol):
    """Where news go. Both kinds are also the last callback of a loop."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def preparing(self, done: int, total: int) -> None:
        """So many pictures of so many are decoded."""

    def grid(self, path: str) -> None:
        """A new grid lies there."""

    def begin(self, loop: Loop, latest: Mapping[str, Any]) -> None:
        """The training starts; ``latest`` always holds the newest line of the log."""

    def after_step(self, loop: Loop) -> Signal:
        """See :class:`limner.training.loop.Callback`."""

    def at_end(self, loop: Loop) -> Signal:
        """See :class:`limner.training.loop.Callback`."""

    def close(self) -> None:
        """Leave the terminal as it was; may be called more than once."""


class Quiet:
    """Says nothing."""

    part = "display"

    def say(self, text: str) -> None:
        pass

    def preparing(self, done: int, total: int) -> None:
        pass

    def grid(self, path: str) -> None:
        pass

    def begin(self, loop: Loop, latest: Mapping[str, Any]) -> None:
        pass

    def after_step(self, loop: Loop) -> Signal:
        return Continue()

    def at_end(self, loop: Loop) -> Signal:
        return Continue()

    def close(self) -> None:
        pass


class Plain(Quiet):
    """Plain lines, now and then, for logs and pipes.

    Args:
        stream: where they go.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._latest: Mapping[str, Any] = {}
        self._said = time.monotonic()
        self._began: float | None = None
        self._first = (0, 0)
        self._grid = ""

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def preparing(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._began is None or total != self._first[1]:  # another piece of work, or one that is gone on with
            self._began, self._first = now, (done, total)
        if (done == total and now - self._began > WORTH_TELLING) or now - self._said > PLAIN_SECONDS:
            self._said = now
            new = done - self._first[0]
            left = f", {duration((now - self._began) * (total - done) / new)} left" if new and done < total else ""
            self.say(f"looked at {done:,} of {total:,} pictures{left}")

    def grid(self, path: str) -> None:
        self._grid = path

    def begin(self, loop: Loop, latest: Mapping[str, Any]) -> None:
        self._latest, self._said = latest, time.monotonic()

    def after_step(self, loop: Loop) -> Signal:
        if self._latest and time.monotonic() - self._said > PLAIN_SECONDS:
            self._said = time.monotonic()
            share = loop.share_done
            left = f"  {duration(loop.progress.seconds * (1 - share) / share)} left" if share > 0 else ""
            self.say(f"{share:4.0%}  {status(loop, self._latest)}{left}  {self._grid}".rstrip())
        return Continue()


class Live(Quiet):
    """One line that is drawn again and again: progress, rate, losses, remaining time, the newest grid."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(24), TaskProgressColumn())
        self._progress = Progress(
            *columns, TimeRemainingColumn(), TextColumn("{task.fields[status]}"), console=self.console, transient=True
        )
        self._task: Any = None
        self._preparing: Any = None
        self._latest: Mapping[str, Any] = {}
        self._grid = ""
        self._drawn = 0.0

    def say(self, text: str) -> None:
        self.console.print(harmless(text), highlight=False, markup=False, soft_wrap=True)

    def preparing(self, done: int, total: int) -> None:
        if self._preparing is None:
            self._progress.start()
            self._preparing = self._progress.add_task("preparing", total=total, completed=done, status="")
        self._progress.update(self._preparing, completed=done, status=f"{done:,} of {total:,} pictures")
        if done == total:
            self._progress.remove_task(self._preparing)
            self._progress.stop()
            self._preparing = None

    def grid(self, path: str) -> None:
        self._grid = path

    def begin(self, loop: Loop, latest: Mapping[str, Any]) -> None:
        self._latest = latest
        self._task = self._progress.add_task("training", total=1.0, status="")
        self._progress.start()

    def after_step(self, loop: Loop) -> Signal:
        if time.monotonic() - self._drawn > 0.25:
            self._drawn = time.monotonic()
            text = f"{status(loop, self._latest)}  {self._grid}" if self._latest else "warming up"
            self._progress.update(self._task, completed=loop.share_done, status=text)
        return Continue()

    def at_end(self, loop: Loop) -> Signal:
        self.close()
        return Continue()

    def close(self) -> None:
        self._progress.stop()


def status(loop: Loop, latest: Mapping[str, Any]) -> str:
    """Images, epoch, rate and losses in a few words."""
    return (
        f"{loop.progress.images:,} images  epoch {loop.epochs:.1f}  {latest.get('images_per_second') or 0:,.0f}/s"
        f"  D {_loss(latest.get('discriminator_loss'))}  G {_loss(latest.get('generator_loss'))}"
    )


@contextmanager
def opened(display: Display | None) -> Iterator[Display]:
    """A display (the terminal's by default) that is closed again whatever happens."""
    display = display or automatic()
    try:
        yield display
    finally:
        display.close()


def automatic() -> Display:
    """Live in a terminal, plain elsewhere."""
    return Live() if sys.stderr.isatty() else Plain()


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
