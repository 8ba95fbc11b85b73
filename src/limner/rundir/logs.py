"""The logs of a run: lines of JSON that are only ever added, until a training goes back behind some of them.

What a full disk refuses, lines and pictures, is kept in memory until it takes them; no checkpoint is written before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from limner.durable import append_line, atomic_write, sync_directory, sync_file
from limner.errors import LimnerError
from limner.rundir.links import open_inside
from limner.rundir.names import EVENTS, LOG, LOGS, METRICS

LONGEST = 1 << 22
"""Letters of a line that are read at once: the rest of a longer one is no record either."""


class Logs:
    """Lines of a run's logs. Those that a full disk refuses are kept, if asked, until it takes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owed: dict[str, list[bytes]] = {}
        self._owed_files: dict[str, bytes] = {}
        self._unsure: set[str] = set()
        self._troubled = False
        self.on_trouble: Callable[[str], None] | None = None
        """Told when lines begin to be kept; without it, a line that cannot be written is an error."""

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add one line to a log.

        Raises:
            LimnerError: it cannot be written, and is not to be kept.
        """
        lines = self._owed.setdefault(name, [])
        lines.append(json.dumps(record).encode())
        try:
            self._write_owed(name)
        except LimnerError as error:
            if self.on_trouble is None:
                lines.pop()
            self.put_up_with(error)

    def write_or_owe(self, name: str, content: bytes) -> bool:
        """Write a file, or keep it until it can be; returns whether it is there.

        Raises:
            LimnerError: it cannot be written, and is not to be kept.
        """
        try:
            atomic_write(self.path / name, content)
        except LimnerError as error:
            self.put_up_with(error)
            self._owed_files[name] = content
            return False
        return True

    def put_up_with(self, error: LimnerError) -> None:
        """Go on without something that could not be written; it is told once, until :meth:`relieved`.

        Raises:
            LimnerError: nobody is there to be told.
        """
        if self.on_trouble is None:
            raise error
        if not self._troubled and self.path.is_dir():  # a directory that was removed is another matter
            self._troubled = True
            self.on_trouble(f"warning: {error}; the training goes on, and tries again with each checkpoint")

    def relieved(self) -> None:
        """Everything can be written again."""
        if self._troubled and self.on_trouble is not None:
            self._troubled = False
            self.on_trouble(f"note: {self.path}: is written to again, nothing is missing")

    def sync(self) -> None:
        """Make all lines of all logs durable, and write what is owed: a checkpoint must not outlive what came before it.

        Raises:
            LimnerError: that cannot be done.
        """
        for name in LOGS:
            self._write_owed(name)
        for name in list(self._owed_files):
            atomic_write(self.path / name, self._owed_files[name])
            del self._owed_files[name]
        name = ""
        try:
            for name in LOGS:
                if not (self.path / name).is_file():
                    continue
                if name in self._unsure:  # the system forgets what it could not write: all of it is written again
                    atomic_write(self.path / name, (self.path / name).read_bytes())
                    self._unsure.remove(name)
                else:
                    sync_file(self.path / name)
            sync_directory(self.path)
        except OSError as error:
            self._unsure |= {name} & set(LOGS)
            raise LimnerError(f"{self.path / name}: cannot be written ({error.strerror or error})") from error

    def records(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of a log that can be read: what is torn, or does not say at how many images it was, is passed over."""
        with suppress(FileNotFoundError), open_inside(self.path, name) as file:
            yield from filter(None, map(_record, iter(partial(file.readline, LONGEST), b"")))
        yield from filter(None, map(_record, tuple(self._owed.get(name, ()))))

    def rewind_logs(self, images: int, attempt: int | None = None, unfinished: bool = False) -> None:
        """Forget what was logged after so many images (the training writes it again).

        Args:
            images: of the checkpoint that the training goes on from.
            attempt: its rollbacks, to forget also what was found after it; otherwise all events stay.
            unfinished: the metrics of that moment are forgotten as well.

        Raises:
            LimnerError: it cannot be written.
        """
        for name, last in ((LOG, images), (METRICS, images - unfinished)):
            self._rewrite(name, [record for record in self.records(name) if record["images"] <= last])
        if attempt is not None:
            self._rewrite(EVENTS, [line for line in self.records(EVENTS) if not _is_later(line, images, attempt)])

    def _rewrite(self, name: str, records: list[dict[str, Any]]) -> None:
        path = self.path / name
        content = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        if (path.read_bytes() if path.is_file() else b"") != content:
            atomic_write(path, content)
        self._owed.pop(name, None)
        self._unsure.discard(name)

    def _write_owed(self, name: str) -> None:
        lines = self._owed.get(name, [])
        try:
            while lines:
                append_line(self.path / name, lines[0])
                lines.pop(0)
        except OSError as error:
            raise LimnerError(f"{self.path / name}: cannot be written ({error.strerror or error})") from error


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and type(record.get("images")) is int else None


def _is_later(event: Mapping[str, Any], images: int, attempt: int) -> bool:
    """Whether an event is a finding or a rollback of after a checkpoint; what people and systems did is never undone.

    A rollback ends the attempt before the one that it is told with.
    """
    number = event.get("attempt")
    if type(number) is not int:
        return False
    return (number - (event.get("event") == "rollback"), event["images"]) > (attempt, images)
