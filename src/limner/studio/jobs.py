"""Work in the background: each piece in a process of its own, so that the studio goes on answering, and can end it."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limner.errors import InputError

AT_ONCE = 2
MOST_WAITING = 16
MOST_KEPT = 40
LONGEST_LINE = 64 << 20


@dataclass
class Job:
    """One piece of work.

    Attributes:
        kind: see :mod:`limner.studio.worker`.
        values: what it is to do.
        key: work of the same key is done once; empty for none.
        then: called with its result when it is done, in a thread.
    """

    kind: str
    values: Mapping[str, Any]
    key: str = ""
    then: Callable[[dict[str, Any]], None] | None = None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: str = "waiting"
    progress: tuple[int, int, str] | None = None
    error: str = ""
    result: dict[str, Any] | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ("done", "failed", "cancelled")

    def describe(self) -> dict[str, Any]:
        """For a page."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "progress": self.progress,
            "error": self.error,
            "result": self.result,
        }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a worker and whatever it has started: it leads a group of its own."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


class Busy(InputError):
    """Too much is asked for at once."""


class Jobs:
    """The studio's jobs: two at a time, the others wait."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.RLock()
        self._folder = tempfile.TemporaryDirectory(prefix="limner-studio-")
        self._closed = False

    @property
    def folder(self) -> Path:
        """Where jobs may put files; gone when the studio ends."""
        return Path(self._folder.name)

    def begin(self, job: Job) -> Job:
        """Do a piece of work, or find the one that is doing it. What one that is done has left may be gone by now.

        Raises:
            Busy: too many are waiting.
        """
        with self._lock:
            for other in self._jobs.values():
                if job.key and other.key == job.key and not other.is_over:
                    return other
            waiting = sum(not other.is_over for other in self._jobs.values())
            if waiting >= MOST_WAITING or self._closed:
                raise Busy(f"{waiting} pieces of work are waiting already; wait for them, or cancel some")
            self._jobs[job.id] = job
            self._forget()
        self._start_next()
        return job

    def find(self, number: str) -> Job | None:
        """A job by its id."""
        with self._lock:
            return self._jobs.get(number)

    def cancel(self, number: str) -> bool:
        """End a job, whatever state it is in; whether there was one."""
        with self._lock:
            job = self._jobs.get(number)
            if job is None:
                return False
            if not job.is_over:
                job.state = "cancelled"
                if job.process is not None:
                    _end(job.process)
        self._start_next()
        return True

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._closed = True
            for job in self._jobs.values():
                if not job.is_over:
                    job.state = "cancelled"
                    if job.process is not None:
                        _end(job.process)
        with suppress(OSError):
            self._folder.cleanup()

    def _start_next(self) -> None:
        with self._lock:
            working = sum(job.state == "working" for job in self._jobs.values())
            for job in self._jobs.values():
                if job.state == "waiting" and working < AT_ONCE and not self._closed:
                    job.state = "working"
                    working += 1
                    threading.Thread(target=self._work, args=(job,), name=f"limner-{job.kind}", daemon=True).start()

    def _work(self, job: Job) -> None:
        error = ""
        try:
            process = subprocess.Popen(
                (sys.executable, "-m", "limner.studio.worker", job.kind),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            with self._lock:
                job.process = process
                if job.is_over:  # cancelled meanwhile
                    _end(process)
            with suppress(BrokenPipeError, OSError), process.stdin as given:  # type: ignore[union-attr]
                given.write(json.dumps(job.values).encode())
            result = None
            assert process.stdout is not None
            while line := process.stdout.readline(LONGEST_LINE):
                with suppress(ValueError):
                    said = json.loads(line)
                    if "progress" in said:
                        job.progress = (int(said["progress"][0]), int(said["progress"][1]), str(said["progress"][2]))
                    result, error = said.get("result", result), said.get("error", error)
            process.stdout.close()
            code = process.wait()
            if result is not None and not error and job.then is not None and not job.is_over:
                job.then(result)
            if result is None and not error:
                error = f"it ended without an answer (code {code}); it may have run out of memory"
        except Exception as failure:
            error = f"it could not be done ({failure})"
            result = None
        with self._lock:
            if not job.is_over:
                job.state, job.error, job.result = ("failed", error, None) if error else ("done", "", result)
            job.process = None
        self._start_next()

    def _forget(self) -> None:
        over = [number for number, job in self._jobs.items() if job.is_over]
        for number in over[: max(0, len(self._jobs) - MOST_KEPT)]:
            gone = self._jobs.pop(number)
            for path in self.folder.glob(f"{gone.id}*"):
                with suppress(OSError):
                    path.unlink()
