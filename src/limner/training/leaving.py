"""How a training is left when it is asked to: saved within seconds, however long an update or an evaluation takes.

A signal asks the loop to end after the update that it is in, and mostly that is soon. A watcher of its own sees the signal at
once, even while an update is deep in compiled code. If the loop has not ended after some seconds, the watcher saves in its
place and ends the process:

- in an update, the state before it, of which a copy was kept because the update before was slow as well;
- in an evaluation after an update, the state as it is, marked so that the resumed training evaluates it first.

In an update that is slow for the first time nothing can be saved before its end; that is waited for.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from limner import rundir
from limner.errors import LimnerError
from limner.training.callbacks import Checkpoint
from limner.training.guard import event
from limner.training.loop import Continue, Loop, Rollback, Signal
from limner.training.state import State

GRACE_SECONDS = 5.0
"""For the loop to end by itself."""
SLOW_SECONDS = 2.5
"""An update of so long has a copy of the state before it: two of them may not fit into the grace."""
INTERRUPTED = 130
"""The exit code, as for a loop that ended by itself."""
_LOOK_SECONDS = 0.2


class Leaving:
    """Watches over the end of a loop. Its two callbacks have to be asked right after the log's line is written, and last.

    Args:
        loop: is asked to end.
        checkpoint: saves.
        say: tells a person, and closes whatever draws on the terminal: the process is ended just after.
        alone: there are no other processes to agree with; else the loop is only asked to end.
    """

    def __init__(self, loop: Loop, checkpoint: Checkpoint, say: Callable[[str], None], alone: bool = True) -> None:
        self.loop, self.checkpoint, self.say, self.alone = loop, checkpoint, say, alone
        self.first, self.last = _Callback(self._updated), _Callback(self._settled)
        self._spare: State | None = None
        self._slow = self._asking = self._ended = False
        self._at, self._began = loop.progress.images, time.monotonic()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """As :func:`interruptible`, and with the watcher."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        sending, receiving = socket.socketpair()
        sending.setblocking(False)
        waking = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
        watcher = threading.Thread(target=self._watch, args=(receiving,), name="limner-leaving", daemon=True)
        self._at, self._began = self.loop.progress.images, time.monotonic()
        watcher.start()
        try:
            with interruptible(self.loop):
                yield
        finally:
            self._ended = True
            signal.set_wakeup_fd(waking)
            sending.close()
            watcher.join()
            receiving.close()

    def go_back(self, back: Callable[[Loop, Rollback], None]) -> Callable[[Loop, Rollback], None]:
        """A loop's way back, which the watcher does not cut off."""

        def guarded(loop: Loop, signal: Rollback) -> None:
            with self.checkpoint.lock:
                back(loop, signal)
                self._settled()

        return guarded

    def _updated(self) -> None:
        with self.checkpoint.lock:
            self._slow = time.monotonic() - self._began >= SLOW_SECONDS
            self._asking, self._spare = True, None

    def _settled(self) -> None:
        with self.checkpoint.lock:
            self._at = self.loop.progress.images
            if self._slow and self.alone and self.checkpoint.saved != self._at:
                self._spare = State.of(self.loop, copied=True)
            self._asking, self._began = False, time.monotonic()

    def _watch(self, receiving: socket.socket) -> None:
        """Wait for a signal, then for the loop to end, then save in its place."""
        while True:
            numbers = receiving.recv(64)
            if not numbers:
                return
            if {signal.SIGINT, signal.SIGTERM} & set(numbers):
                break
        deadline = time.monotonic() + GRACE_SECONDS
        while not self._ended:
            time.sleep(_LOOK_SECONDS)
            if self.alone and time.monotonic() >= deadline:
                with self.checkpoint.lock:
                    self._leave()

    def _leave(self) -> None:
        """Save what can be saved now, and end the process; else come back and ask again."""
        if self._ended or self.loop.ended in ("interrupted", "stopped"):
            return  # it is at its end, and saves by itself
        images = self.loop.progress.images
        try:
            if self._asking or self.loop.ended == "done":
                if self.checkpoint.saved == images:
                    return
                state = State.of(self.loop, unfinished=True)
                if not state.is_finite():
                    return
                self.checkpoint.write(state)
            elif self._spare is not None:
                images = self._at
                self.checkpoint.write(self._spare)
            elif self.checkpoint.saved == self._at:
                images = self._at
            else:
                return
            run = self.checkpoint.run
            run.append(
                rundir.EVENTS, event("interrupted", images, reason="in the middle of an update or an evaluation")
            )
            told, code = (
                f"interrupted, everything is saved: {images:,} images; next: limner resume {run.path}",
                INTERRUPTED,
            )
        except LimnerError as error:
            told, code = f"interrupted, and {error}; the last checkpoint is of {self.checkpoint.saved:,} images", 1
        self.say(told)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def interruptible(loop: Loop) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the loop after the update it is in; a second SIGINT ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if loop.interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        loop.interrupted = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Callback:
    """Tells that the loop came by here."""

    part = "signals"

    def __init__(self, told: Callable[[], None]) -> None:
        self.told = told

    def after_step(self, loop: Loop) -> Signal:
        self.told()
        return Continue()

    def at_end(self, loop: Loop) -> Signal:
        return Continue()
