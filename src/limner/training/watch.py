"""Processes that train together watch one another: a training of which a part has gone must end, not wait for ever.

Each process counts up a number in a store that all can reach, every few seconds, and looks at the numbers of the others. A
number that stands still for half a minute belongs to a process that has gone, with its host or with the network: nothing else
tells of a cable that was pulled. A process that works long by itself (evaluates, writes, prepares pictures) goes on counting.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import Store

from limner.networks.together import ADVICE

BEAT_SECONDS = 2.0
SILENT_SECONDS = 30.0
ANSWER_SECONDS = 10.0
"""The store answers in less, or cannot be reached."""
GRACE_SECONDS = 3.0
"""A process that is told of another one's failure has so long to notice by itself."""
_SPOKEN, _CODE = "failures", "code"


def connect(address: str, port: int) -> TCPStore:
    """A connection of one's own to the store that the processes share.

    Raises:
        RuntimeError: it cannot be reached.
    """
    return TCPStore(address, port, is_master=False, timeout=timedelta(seconds=ANSWER_SECONDS))


def claim(store: Store, code: int) -> bool:
    """Fail on behalf of all processes: whether this one is the first, and so the one that says why."""
    first: bool = store.add(_SPOKEN, 1) == 1
    if first:
        store.set(_CODE, str(code))
    return first


def claimed(store: Store) -> int:
    """The exit code of the process that was the first."""
    return int(store.get(_CODE))


class Watch:
    """Two threads: one counts and looks, the other one sees to it that the first can.

    Args:
        store: shared by all processes, used by nobody else in this one.
        rank: this process.
        names: of all processes, for people.
    """

    def __init__(self, store: Store, rank: int, names: Sequence[str]) -> None:
        self.store, self.rank, self.names = store, rank, names
        self._keys = [f"beat-{number}" for number in range(len(names))]
        self._stopped = threading.Event()
        self._answered = time.monotonic()
        self._threads = [
            threading.Thread(target=work, daemon=True, name=f"limner-{work.__name__.strip('_')}")
            for work in (self._look, self._look_after)
        ]

    def start(self) -> None:
        """Begin; every process has to, once all have met."""
        self.store.set(self._keys[self.rank], "0")
        self.store.wait(self._keys, timedelta(seconds=SILENT_SECONDS))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """The training is over, and whoever leaves from now on may."""
        self._stopped.set()

    def _look(self) -> None:
        count = 0
        heard: dict[int, tuple[bytes, float]] = {}
        while not self._stopped.wait(BEAT_SECONDS):
            count += 1
            try:
                self.store.set(self._keys[self.rank], str(count))
                beats = self.store.multi_get(self._keys)
                failed = self.store.add(_SPOKEN, 0)
            except RuntimeError:
                continue  # no answer: the other thread counts the seconds
            now = self._answered = time.monotonic()
            if failed:
                if not self._stopped.wait(GRACE_SECONDS):
                    self._leave(None, claimed(self.store))
                return
            for number, beat in enumerate(beats):
                if number not in heard or heard[number][0] != beat:
                    heard[number] = (beat, now)
                elif now - heard[number][1] > SILENT_SECONDS:
                    silent = f"process {number} ({self.names[number]}) has not been heard of for {SILENT_SECONDS:.0f} s"
                    self._leave(f"{silent}: it, its host or the network has gone; {ADVICE}", 1)
                    return

    def _look_after(self) -> None:
        while not self._stopped.wait(1.0):
            if time.monotonic() - self._answered > SILENT_SECONDS:
                silent = f"the other processes of this training cannot be reached for {SILENT_SECONDS:.0f} s"
                self._leave(f"{silent}: they, their host or the network has gone; {ADVICE}", 1)
                return

    def _leave(self, why: str | None, code: int) -> None:
        """End this process, whatever it waits for. Where another process has said why, nothing is said."""
        if self._stopped.wait(GRACE_SECONDS if why else 0):  # the training ends just now, and the others were first
            return
        if why is not None and self._speaks(code):
            print(f"limner: {why}", file=sys.stderr, flush=True)
        os._exit(code)

    def _speaks(self, code: int) -> bool:
        """Whether nobody else has spoken. Asked of a store that may not answer, so by a thread that may be left behind."""
        answers: list[bool] = []

        def ask() -> None:
            try:
                answers.append(claim(self.store, code))
            except RuntimeError:
                answers.append(True)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(ANSWER_SECONDS / 2)
        return answers != [False]
