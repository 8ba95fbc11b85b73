"""What is finished of a collection that is still being decoded, so that a build that was killed is gone on with.

Decoded pixels and thumbnails are appended to two files. When a portion of them is on the disk, a line about it is appended
to the journal and synced in its turn: what the portion holds, where it ends in both files, and the checksums of its bytes
there. So a line is never there before its bytes, whatever the moment of a kill or of a power cut. Whoever goes on takes the
lines that are whole, as long as the checksums are right, and cuts off the rest.

CRC-32 is no defence against malice, and need not be: it notices what a disk or a crash has done, at three gigabytes a second.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from limner.durable import sync_directory

BYTES = 1 << 26
"""Pixels after which a portion is finished,"""
SECONDS = 15.0
"""or this time, whichever comes first."""
_READ = 1 << 22
_BROKEN = (ValueError, KeyError, TypeError, OverflowError, RecursionError)


class Busy(Exception):
    """Another process builds the same."""


class Journal:
    """Files that grow together, and what is known to be whole of them.

    Args:
        path: of the journal.
        files: what grows.
        identity: what the journal is of; one of something else counts for nothing.
        shared: whether others may look for these files too, so that they have to be locked.
        mend: called once they are, before anything is read.

    Raises:
        Busy: another process has it.
        OSError: the disk refuses.
    """

    def __init__(
        self,
        path: Path,
        files: tuple[Path, ...],
        identity: Any,
        shared: bool = True,
        mend: Callable[[], None] | None = None,
    ) -> None:
        self.path, self.paths, self._identity = path, files, identity
        self._file = path.open("a+b")
        self._open: list[IO[bytes]] = []
        self._syncing: Future[None] | None = None
        try:
            if shared:
                _lock(self._file, path)
            if mend is not None:
                mend()
            self.portions = self._found()
            for file, end in zip(files, self._ends(), strict=True):
                opened = file.open("r+b" if file.exists() else "w+b")
                self._open.append(opened)
                opened.truncate(end)
                opened.seek(end)
            self._begin()
        except BaseException:
            self.close()
            raise
        self._checks = [0] * len(files)
        self._written = self._ends()
        self._marked = time.monotonic()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="limner-journal")

    def append(self, *contents: Any) -> None:
        """Bytes (anything with a buffer) for each file. Raises OSError."""
        for number, (file, content) in enumerate(zip(self._open, contents, strict=True)):
            file.write(content)
            self._checks[number] = zlib.crc32(content, self._checks[number])
            self._written[number] += memoryview(content).nbytes

    def is_due(self, more: int = 0) -> bool:
        """Whether enough has been appended for a portion, with ``more`` bytes that are about to be."""
        begun = more + self._written[0] - (self.portions[-1]["ends"][0] if self.portions else 0)
        return begun >= BYTES or (begun > 0 and time.monotonic() - self._marked >= SECONDS)

    def finish(self, facts: dict[str, Any]) -> None:
        """What was appended since the last time is a portion, and this is what is to be known of it. Raises OSError.

        It is written to the disk beside whatever is done next; one that is on its way is waited for.
        """
        self.wait()
        portion = {"facts": facts, "ends": list(self._written), "checks": self._checks}
        self._checks, self._marked = [0] * len(self._open), time.monotonic()
        self.portions.append(portion)
        for file in self._open:
            file.flush()
        self._syncing = self._pool.submit(self._sync, _line(portion))

    def wait(self) -> None:
        """Until all portions are on the disk. Raises OSError."""
        if self._syncing is not None:
            self._syncing.result()
            self._syncing = None

    def close(self) -> None:
        """Let go of the files; what is not finished in them stays, but counts for nothing."""
        with suppress(OSError):
            self.wait()
        if hasattr(self, "_pool"):
            self._pool.shutdown()
        for file in (*self._open, self._file):
            with suppress(OSError):  # closing flushes, which fails again on a full disk
                file.close()

    def _sync(self, line: bytes) -> None:
        for file in self._open:
            os.fsync(file.fileno())
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _begin(self) -> None:
        """Cut the journal to its good lines, or begin it."""
        self._file.truncate(self._whole)
        if not self._whole:
            self._file.write(_line({"of": self._identity}))
        self._file.flush()
        os.fsync(self._file.fileno())
        sync_directory(self.path.parent)

    def _ends(self) -> list[int]:
        return list(self.portions[-1]["ends"]) if self.portions else [0] * len(self.paths)

    def _found(self) -> list[dict[str, Any]]:
        """The portions that are whole, from the first one on."""
        self._whole = 0
        portions: list[dict[str, Any]] = []
        lines = _lines(self._file)
        first = next(lines, None)
        if first is None or first[0] != {"of": self._identity}:
            return []
        self._whole = first[1]
        opened: list[IO[bytes]] = []
        ends = [0] * len(self.paths)
        try:
            opened += [path.open("rb") for path in self.paths]
            for portion, whole in lines:
                for file, start, end, check in zip(opened, ends, portion["ends"], portion["checks"], strict=True):
                    if end < start or _checksum(file, end - start) != check:
                        return portions
                portions.append({name: portion[name] for name in ("facts", "ends", "checks")})
                ends, self._whole = portion["ends"], whole
        except (OSError, *_BROKEN):
            pass
        finally:
            for file in opened:
                file.close()
        return portions


def _line(values: Any) -> bytes:
    """JSON with its checksum before it."""
    text = json.dumps(values, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


def _lines(file: IO[bytes]) -> Iterator[tuple[Any, int]]:
    """The values of each whole line, and where it ends."""
    file.seek(0)
    end = 0
    for line in file:
        end += len(line)
        with suppress(*_BROKEN):
            if line.endswith(b"\n") and int(line[:8], 16) == zlib.crc32(line[9:-1]):
                yield json.loads(line[9:-1]), end
                continue
        return


def _checksum(file: IO[bytes], count: int) -> int | None:
    """Of the next so many bytes; ``None`` where there are fewer."""
    value = 0
    while count > 0:
        content = file.read(min(count, _READ))
        if not content:
            return None
        value = zlib.crc32(content, value)
        count -= len(content)
    return value


def _lock(file: IO[bytes], path: Path) -> None:
    """Have it alone. Raises Busy when that cannot be had, or cannot be known."""
    try:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise Busy  # whoever had it has finished and removed it in this very moment
    except (ImportError, OSError) as error:
        raise Busy from error
