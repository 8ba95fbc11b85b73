"""Logs that grow, read on from where the last reading ended, and kept as columns of numbers."""

from __future__ import annotations

import json
import os
import threading
from array import array
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from limner import rundir
from limner.judging.report.words import real_number, whole_number
from limner.rundir.links import open_inside

LARGEST = 64 << 20
"""Bytes of a log that are read; a log of that size has over a hundred thousand lines."""
_PORTION = 4 << 20
_MARK = 48
MOST_EVENTS = 400
MOST_EVALUATIONS = 5000
COLUMNS = (
    "epoch",
    "seconds",
    "images_per_second",
    "discriminator_loss",
    "generator_loss",
    "real_logit",
    "fake_logit",
    "generator_gradient",
    "discriminator_gradient",
    "augment_probability",
)
"""Fields of a log's lines that are kept where they are there."""


class Tail:
    """One log. :meth:`read_on` gives the new lines, or all of them again when the log was written anew (a training that goes
    on from a checkpoint forgets what came after it)."""

    def __init__(self, run: Path, name: str) -> None:
        self.run, self.name = run, name
        self._place = 0
        self._file: tuple[int, int] = (0, 0)
        self._mark = b""

    def read_on(self) -> tuple[bool, list[dict[str, Any]]]:
        """Whether all before is to be forgotten, and the lines since."""
        try:
            opened = open_inside(self.run, self.name)
        except OSError:
            anew = self._place > 0
            self._place, self._mark = 0, b""
            return anew, []
        with opened as file:
            status = os.fstat(file.fileno())
            anew = self._place > 0 and not self._goes_on(file, status)
            if anew:
                self._place, self._mark = 0, b""
            self._file = (status.st_dev, status.st_ino)
            lines: list[dict[str, Any]] = []
            file.seek(self._place)
            left = b""
            while self._place + len(left) < min(status.st_size, LARGEST):
                portion = file.read(_PORTION)
                if not portion:
                    break
                whole, ended, left = (left + portion).rpartition(b"\n")
                self._place += len(whole) + len(ended)
                if ended:
                    self._mark = (whole + ended)[-_MARK:]
                lines += [line for text in whole.split(b"\n") if text and (line := _line(text)) is not None]
            return anew, lines

    def _goes_on(self, file: Any, status: os.stat_result) -> bool:
        """Whether the log still begins with what was read of it."""
        if (status.st_dev, status.st_ino) != self._file or status.st_size < self._place:
            return False
        file.seek(self._place - len(self._mark))
        return bool(file.read(len(self._mark)) == self._mark)


def _line(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and whole_number(line.get("images")) is not None else None


class History:
    """All that a run's logs say, read on at each :meth:`update`; safe to use from several threads."""

    def __init__(self, run: Path) -> None:
        self.lock = threading.RLock()
        self._tails = {name: Tail(run, name) for name in (rundir.LOG, rundir.METRICS, rundir.EVENTS)}
        self.images = array("d")
        self.columns: dict[str, array[float]] = {}
        self.newest: dict[str, Any] = {}
        self.evaluations: list[dict[str, Any]] = []
        self.events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)
        self.first_event: dict[str, Any] = {}

    def update(self) -> None:
        """Read what is new."""
        with self.lock:
            for name, take in (
                (rundir.LOG, self._take_log),
                (rundir.METRICS, self._take_metrics),
                (rundir.EVENTS, self._take_events),
            ):
                anew, lines = self._tails[name].read_on()
                if anew or lines:
                    take(anew, lines)

    def _take_log(self, anew: bool, lines: list[dict[str, Any]]) -> None:
        if anew:
            self.images, self.columns, self.newest = array("d"), {}, {}
        for line in lines:
            before = len(self.images)
            self.images.append(float(line["images"]))
            for name in COLUMNS:
                value = real_number(line.get(name))
                column = self.columns.get(name)
                if column is None:
                    if name not in line:
                        continue
                    column = self.columns[name] = array("d", [float("nan")]) * before
                column.append(float("nan") if value is None else value)
        if lines:
            self.newest = lines[-1]

    def _take_metrics(self, anew: bool, lines: list[dict[str, Any]]) -> None:
        if anew:
            self.evaluations = []
        kept = [_trimmed(line) for line in lines]
        self.evaluations = [*self.evaluations, *kept][-MOST_EVALUATIONS:]

    def _take_events(self, anew: bool, lines: list[dict[str, Any]]) -> None:
        if anew:
            self.events.clear()
            self.first_event = {}
        if lines and not self.first_event:
            self.first_event = lines[0]
        self.events.extend(lines)


def _trimmed(line: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation without what no answer shows."""
    kept = ("images", "seconds", "figures", "copying", "best", "outlook", "yardstick", "extractor")
    return {name: line[name] for name in kept if name in line}


def last_lines(run: Path, name: str, most_bytes: int = 1 << 16) -> list[dict[str, Any]]:
    """The last lines of a log, as many as are in so many bytes."""
    with suppress(OSError), open_inside(run, name) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most_bytes))
        lines = file.read(most_bytes).split(b"\n")
        if size > most_bytes:
            lines = lines[1:]
        return [line for text in lines if text and (line := _line(text)) is not None]
    return []
