"""Trainings that the studio starts: processes of their own, which outlive it.

What it knows of them lies beside the run directories, in ``.studio``: ``NAME.json`` says which process was started and how, and
``NAME.log`` holds what it says. Nothing of it is in a run directory, which holds what its training wrote and nothing else.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from limner.durable import atomic_write, make_directory
from limner.errors import InputError, LimnerError
from limner.rundir.links import open_inside
from limner.studio import processes
from limner.studio.places import Missing, Places

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

FOLDER = ".studio"
MARK = "LIMNER_STARTED_FOR"
"""The variable in the environment of what the studio starts that says for which run."""
_LOCK = "lock"
OUTPUT_BYTES = 16 << 10
_LARGEST = 1 << 16


@dataclass(frozen=True)
class Launch:
    """One process that the studio started.

    Attributes:
        kind: ``train`` or ``resume``.
        process: its number;  started: when it began, in ticks of the system, which tells it from a later one of that number.
        time: when, in words.
        data: the collection, for a training.
        command: all of it.
    """

    kind: str
    process: int
    started: str
    time: str
    data: str
    command: tuple[str, ...]

    @property
    def is_alive(self) -> bool:
        """Whether the process is still there."""
        if processes.condition(self.process) == "gone":
            return False
        return not self.started or _started(self.process) == self.started


class Launches:
    """The processes started for runs in one directory.

    Args:
        places: the roots.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self._children: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where what is known of them lies."""
        return self.places.runs / FOLDER

    def begin(self, name: str, kind: str, arguments: Sequence[str], data: str = "") -> Launch:
        """Start ``python -m limner`` with these arguments, for a run of this name.

        Raises:
            InputError: one is at work for it, or it cannot be started.
        """
        command = (sys.executable, "-m", "limner", *arguments)
        with self._lock, self._alone():
            before = self.find(name)
            if before is not None and before.is_alive:
                raise InputError(f"run {name}: process {before.process} is at work on it already")
            try:
                log = os.open(
                    self._log(name),
                    os.O_WRONLY
                    | os.O_CREAT
                    | (os.O_APPEND if kind == "resume" else os.O_TRUNC)
                    | getattr(os, "O_NOFOLLOW", 0)
                    | getattr(os, "O_NONBLOCK", 0),  # a pipe would wait for a reader
                    0o600,
                )
            except OSError as error:
                raise InputError(f"{self.folder}: cannot be written ({error.strerror or error})") from None
            try:
                os.write(log, f"$ limner {shlex.join(arguments)}\n".encode(errors="replace"))
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", MARK: self._mark(name)},
                )
            except OSError as error:  # such as more words than the system takes
                if before is None:
                    self._log(name).unlink(missing_ok=True)
                raise InputError(f"limner {kind}: cannot be started ({error.strerror or error})") from None
            finally:
                os.close(log)
            self._children.append(child)
            made = Launch(
                kind, child.pid, _started(child.pid), time.strftime("%Y-%m-%dT%H:%M:%S%z"), data, tuple(command)
            )
            try:
                atomic_write(self._note(name), json.dumps(asdict(made)).encode())
            except LimnerError as error:  # what nobody knows of must not train
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise InputError(str(error)) from None
            return made

    def reap(self) -> None:
        """Take note of children that have ended, so that the system can forget them."""
        with self._lock:
            self._children = [child for child in self._children if child.poll() is None]

    def find(self, name: str) -> Launch | None:
        """What was started last for a run of this name."""
        try:
            with open_inside(self.places.runs, f"{FOLDER}/{self._note(name).name}") as file:
                values = json.loads(file.read(_LARGEST))
            known = {field.name: values[field.name] for field in fields(Launch)}
            known["command"] = tuple(map(str, known["command"]))
            found = Launch(**known)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        sound = type(found.process) is int and found.process > 1 and found.kind in ("train", "resume")
        return found if sound and all(isinstance(one, str) for one in (found.started, found.time, found.data)) else None

    def names(self) -> list[str]:
        """For which names something was started."""
        with suppress(OSError):
            return sorted(path.name.removesuffix(".json") for path in self.folder.glob("*.json"))
        return []

    def output(self, name: str) -> str:
        """The last of what it said; empty where nothing was started."""
        try:
            opened = open_inside(self.places.runs, f"{FOLDER}/{self._log(name).name}")
        except OSError:
            return ""
        with opened as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - OUTPUT_BYTES))
            text = file.read(OUTPUT_BYTES).decode("utf-8", "replace")
        return text.partition("\n")[2] if size > OUTPUT_BYTES else text

    def stamp(self, name: str) -> tuple[Any, ...]:
        """What changes when something was started, or has said more."""
        found: list[Any] = []
        for path in (self._note(name), self._log(name)):
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size))
        return tuple(found)

    def complaint(self, name: str) -> str:
        """The last line in which a process said why it ended; empty where it did not."""
        lines = self.output(name).rpartition("$ limner ")[2].splitlines()
        said = [line.removeprefix("limner: ") for line in lines if line.startswith("limner: ")]
        return "; ".join(said[-3:]) if said else (lines[-1] if len(lines) > 1 else "")

    def end(self, name: str) -> None:
        """End a process that has not begun to train yet, with all that it has started.

        What is noted of it is no reason to send a signal: it has to have been started for this run.

        Raises:
            InputError: there is none.
        """
        found = self.find(name)
        if found is None or not found.is_alive or not found.started:
            raise InputError(f"run {name}: nothing is being started for it")
        if not processes.carries(found.process, MARK, self._mark(name)):
            raise InputError(f"run {name}: process {found.process} was not started for it; end it yourself")
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(found.process, signal.SIGTERM)  # it leads a group of its own

    def forget(self, name: str) -> None:
        """Remove what is known of a start that came to nothing.

        Raises:
            Missing: nothing was started; InputError: its process is there.
        """
        found = self.find(name)
        if found is None:
            raise Missing(f"run {name!r}: nothing was started for it")
        if found.is_alive:
            raise InputError(f"run {name}: process {found.process} is at work on it")
        for path in (self._note(name), self._log(name)):
            path.unlink(missing_ok=True)

    def free_name(self, wanted: str) -> str:
        """A name that neither a run nor a start has: this one, or with -2, -3, ... ."""
        number, name = 1, wanted
        while (self.places.named(name)).exists() or self.find(name) is not None:
            number += 1
            name = f"{wanted}-{number}"
        return name

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The folder, made where it is missing, held against other studios that start something in it.

        Raises:
            InputError: it cannot be written.
        """
        try:
            for path in reversed((self.folder, *self.folder.parents)):
                if not path.exists():
                    make_directory(path)
            if self.folder.is_symlink():
                raise InputError(f"{self.folder}: is a link; remove it")
            held = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written ({error.strerror or error})") from None
        try:
            if fcntl is not None:
                with suppress(OSError):  # file systems without locks
                    fcntl.flock(held, fcntl.LOCK_EX)
            yield
        finally:
            os.close(held)

    def _mark(self, name: str) -> str:
        """What processes started for a run carry in their environment, where nobody else can write."""
        return str((self.places.runs / name).resolve())

    def _note(self, name: str) -> Path:
        return self.folder / f"{self.places.named(name).name}.json"

    def _log(self, name: str) -> Path:
        return self.folder / f"{self.places.named(name).name}.log"


def _started(process: int) -> str:
    """When a process began, in ticks; empty where the system does not say."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
