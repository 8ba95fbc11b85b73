"""A process that runs hostile cases, one after the other, watched: what it writes, what it starts, what it takes, what it says.

A case is a call of the real command line, made inside the process (a fork of the harness, so that nothing is imported twice).
Python's audit events tell of every file that is opened for writing, renamed or removed, of every process and of every
connection; a tree of files that nothing may touch tells of what happens below Python.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import resource
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MEBIBYTE = 1 << 20
MOST_MEMORY = 1024
"""Mebibytes that a case may take beside what the process had."""
ROOM = 6 << 30
"""Bytes of addresses that the process may have in all: a case that would fill the machine ends there."""
LONGEST_LINE = 3000
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = {
    "os.remove": 1,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.truncate": 1,
    "os.chmod": 1,
    "os.chown": 1,
    "os.utime": 1,
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
}
_STARTING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile")
_TALKING = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")


@dataclass
class Case:
    """A call, and where it may write.

    Attributes:
        call: arguments of ``limner``; the first may also be ``prepare`` (see :func:`prepare`).
        may_write: folders, besides the cache.
        what: in words, for whoever looks at a failure.
        codes: exit codes that are right; 0, 1 and 2 where that does not matter.
    """

    call: list[str]
    may_write: list[Path] = field(default_factory=list)
    what: str = ""
    codes: tuple[int, ...] = (0, 1, 2)


Make = Callable[[random.Random, Path], Case]
NUMBER = [0]
"""The number of the present case, for groups that go through a table."""


class Watch:
    """Python's audit events while a case runs."""

    def __init__(self) -> None:
        self.on, self.found, self.allowed = False, list[str](), list[str]()
        self._busy = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on or self._busy:
            return
        self._busy = True
        try:
            self._judge(event, args)
        except Exception as error:
            self.found.append(f"the watch failed on {event}: {error!r}")
        finally:
            self._busy = False

    def _judge(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args[0], args[1], args[2] or 0
            if isinstance(path, str | bytes | os.PathLike) and (
                flags & _WRITING or (isinstance(mode, str) and set(mode) & set("wax+"))
            ):
                exclusive = flags & os.O_NOFOLLOW or flags & os.O_EXCL or (isinstance(mode, str) and "x" in mode)
                self._touched(event, path, -1, follows=not exclusive)
        elif event in _CHANGING:
            for place in range(_CHANGING[event]):
                if isinstance(args[place], str | bytes | os.PathLike):
                    inside = args[-1] if isinstance(args[-1], int) and event in ("os.remove", "os.rmdir") else -1
                    self._touched(event, args[place], inside)
        elif event in _STARTING:
            if str(args[0]) not in (sys.executable, "uname"):  # what Python's platform module asks
                self.found.append(f"started {args[0]}")
        elif event in _TALKING:
            self.found.append(f"{event} {args[1:]}")
        elif event == "pickle.find_class":
            self.found.append(f"unpickled {args}")

    def _touched(self, event: str, path: Any, folder: int, follows: bool = False) -> None:
        name = os.fsdecode(path)
        if folder >= 0 and not os.path.isabs(name):
            name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
        # The last part is what is changed; a link there is replaced, removed or refused, and followed by a plain open alone.
        real = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
        real = os.path.realpath(name) if follows else real
        if not any(real == root or real.startswith(f"{root}/") for root in self.allowed) and real != os.devnull:
            self.found.append(f"{event} outside: {real}")


def prepare(arguments: list[str]) -> int:
    """What a training does with its data, told as the command line tells it: ``prepare DATA WIDTH CHANNELS FIT``."""
    from limner.cli_errors import told
    from limner.data import prepare as prepared
    from limner.progress import guard
    from limner.recipe import Image

    guard()
    data, width, channels, fit = arguments
    try:
        image = Image(width=int(width), height=int(width), channels=int(channels) or None, fit=fit)  # type: ignore[arg-type]
        found = prepared(data, image)
        print(json.dumps(found.summary), f"{len(found.names)} pictures")
        return 0
    except Exception as error:
        words = told(error)
        if words is None:
            raise
        print("\n".join(f"limner: {line}" for line in words[0].splitlines()), file=sys.stderr)
        return words[1]


def limner(arguments: list[str]) -> int:
    """The command line in this process; its exit code."""
    from limner.cli import main

    before = sys.argv
    sys.argv = ["limner", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return 0


def memory(name: str) -> float:
    """``VmRSS``, ``VmHWM`` or ``VmSize`` in mebibytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))


def tree(folder: Path) -> list[tuple[str, int, int, bytes]]:
    """All that is in a folder, contents included."""
    found = []
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found.append((str(path), status.st_mode, status.st_mtime_ns, path.read_bytes() if path.is_file() else b""))
    return found


class Runner:
    """Runs cases one after the other.

    Args:
        root: an empty folder for everything.
        groups: what makes the cases of each group.
        seed: of the whole harness.
    """

    def __init__(self, root: Path, groups: dict[str, Make], seed: int) -> None:
        self.root, self.groups, self.seed = root.resolve(), groups, seed
        self.cache, self.sentinel = self.root / "cache", self.root / "sentinel"
        if not self.sentinel.exists():
            (self.sentinel / "000000001").mkdir(parents=True)
            for name in ("secret.txt", "lock", "log.jsonl", "000000001.png", "000000001/state.json"):
                (self.sentinel / name).write_text("nothing may touch this\n")
        os.environ.update(LIMNER_CACHE=str(self.cache), HOME=str(self.root), TMPDIR=str(self.root / "tmp"))
        (self.root / "tmp").mkdir(exist_ok=True)
        self.watch = Watch()
        sys.dont_write_bytecode = True
        with suppress(ValueError, OSError):
            room = int(memory("VmSize") * MEBIBYTE) + ROOM
            resource.setrlimit(resource.RLIMIT_AS, (room, room))

    def run(self, group: str, number: int) -> dict[str, Any]:
        """One case; what was found of it."""
        folder = self.root / "case"
        clean(folder)
        folder.mkdir()
        (folder / "cwd").mkdir()
        chance = random.Random(f"{self.seed}/{group}/{number}")
        NUMBER[0] = number
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case = self.groups[group](chance, folder)
        before = tree(self.sentinel)
        # What the case may hold of the cache must not hide what another one does.
        if number % 50 == 0:
            shutil.rmtree(self.cache, ignore_errors=True)
        self.watch.allowed = [os.path.realpath(path) for path in (self.cache, *case.may_write, self.root / "tmp")]
        self.watch.found = []
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        had, began = memory("VmRSS"), time.monotonic()
        code, said, fault = self._called(case, folder)
        took, extra = time.monotonic() - began, memory("VmHWM") - had
        problems = self.watch.found[:3] + judged(code, said, fault, case)
        if extra > MOST_MEMORY:
            problems.append(f"took {extra:,.0f} MiB")
        if tree(self.sentinel) != before:
            problems.append("files outside were changed")
        last = said.strip().splitlines()
        return {
            "group": group,
            "number": number,
            "code": code,
            "seconds": round(took, 3),
            "mebibytes": round(extra, 1),
            "what": f"{case.call[0]}: {case.what}",
            "said": last[-1][:300] if last else "",
            "problems": problems,
        }

    def _called(self, case: Case, folder: Path) -> tuple[int | None, str, str]:
        """Exit code, standard error and fault of a case's call."""
        here = os.getcwd()
        kept = [os.dup(number) for number in (1, 2)]
        streams = sys.stdout, sys.stderr
        with open(folder / "out.txt", "wb+", buffering=0) as out, open(folder / "err.txt", "wb+", buffering=0) as err:
            sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(os.dup(file.fileno()), "w")) for file in (out, err))
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            code, fault = None, ""
            try:
                os.chdir(folder / "cwd")
                self.watch.on = True
                code = prepare(case.call[1:]) if case.call[0] == "prepare" else limner(case.call)
            except BaseException:
                fault = traceback.format_exc()
            finally:
                self.watch.on = False
                for stream in (sys.stdout, sys.stderr):
                    with suppress(Exception):
                        stream.flush()
                sys.stdout, sys.stderr = streams
                for number, copy in zip((1, 2), kept, strict=True):
                    os.dup2(copy, number)
                    os.close(copy)
                os.chdir(here)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read(16 * MEBIBYTE).decode("utf-8", "replace"))
        if _CONTROL.search(texts[0]):
            fault = fault or f"commands to the terminal on standard output: {_CONTROL.search(texts[0])!r}"
        return code, texts[1], fault


def judged(code: int | None, said: str, fault: str, case: Case) -> list[str]:
    """What is wrong with how a call ended."""
    problems = []
    if fault:
        problems.append(fault[-1500:])
    if code not in case.codes:
        problems.append(f"exit code {code}")
    if "Traceback (most recent call last)" in said:
        problems.append(f"a traceback: {said[-800:]}")
    if _CONTROL.search(said):
        problems.append(f"commands to the terminal: {_CONTROL.search(said)!r}")
    lines = [line for line in said.splitlines() if line.startswith("limner: ")]
    if code == 2 and not lines and "Usage:" not in said:
        problems.append(f"exit code 2 without a line: {said[:300]}")
    if any(len(line) > LONGEST_LINE for line in lines) or len(lines) > 40:
        problems.append("not one clear line")
    return problems


def clean(folder: Path) -> None:
    """Remove a case's folder, whatever it holds and however deep it is."""
    with suppress(RecursionError):  # deeper than Python goes
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        os.system(f"chmod -R u+rwX '{folder}' 2>/dev/null; rm -rf '{folder}'")


def serve(runner: Runner, jobs: int, results: int) -> None:
    """Answer cases (a line ``[group, number]`` each) until there are no more."""
    with os.fdopen(jobs, "r") as asked, os.fdopen(results, "w") as answers:
        for line in asked:
            group, number = json.loads(line)
            try:
                found = runner.run(group, number)
            except BaseException:
                found = {
                    "group": group,
                    "number": number,
                    "code": None,
                    "seconds": 0.0,
                    "mebibytes": 0.0,
                    "what": "",
                    "said": "",
                    "problems": [f"the harness failed: {traceback.format_exc()[-1500:]}"],
                }
            answers.write(json.dumps(found) + "\n")
            answers.flush()
