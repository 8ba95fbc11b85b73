"""The process of a training: whether it runs or is held, and the three things that can be done to it.

It is found by the run's lock, and only taken for the training's when it has that very lock open: what a lock file says is no
reason to send a signal to a process.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from limner import rundir
from limner.errors import InputError
from limner.rundir.lock import Holder, holder

_PROC = Path("/proc")
CAN_PAUSE = hasattr(signal, "SIGSTOP")


def condition(process: int) -> str:
    """``running``, ``held`` (suspended), or ``gone``."""
    letter = _letter(process)
    if letter in ("", "Z", "X"):
        return "gone"
    return "held" if letter in ("T", "t") else "running"


def trainer(run: Path) -> Holder | None:
    """Who trains a run; ``None`` for nobody. A process that has ended but was not waited for is nobody."""
    found = holder(run)
    if found is not None and not found.elsewhere and condition(found.process) == "gone":
        return None
    return found


def pause(run: Path) -> None:
    """Suspend a run's training where it stands, with all processes that it has started.

    Raises:
        InputError: nobody trains it here, or several processes do.
    """
    process = _ours(run)
    if not CAN_PAUSE:
        raise InputError("pause: this system cannot suspend processes; stop the training, which saves it")
    if _processes(run) != 1:
        raise InputError(
            "pause: several processes train this run, and each would take the others' silence for a failure; stop it instead"
        )
    for one in (process, *_descendants(process)):
        _send(one, signal.SIGSTOP)


def go_on(run: Path) -> None:
    """Let a suspended training go on.

    Raises:
        InputError: nobody trains it here.
    """
    _wake(_ours(run))


def stop(run: Path) -> None:
    """End a training as Ctrl-C does: it saves, and can be resumed. A suspended one is woken for it.

    Raises:
        InputError: nobody trains it here.
    """
    process = _ours(run)
    _send(process, signal.SIGTERM)  # as often as it is asked for: a second SIGINT would end it without saving
    _wake(process)


def _wake(process: int) -> None:
    if CAN_PAUSE:
        for one in (*reversed(_descendants(process)), process):
            _send(one, signal.SIGCONT)


def _ours(run: Path) -> int:
    found = trainer(run)
    if found is None:
        raise InputError(f"run {run.name}: nobody trains it now")
    if found.elsewhere:
        raise InputError(f"run {run.name}: is trained on {found.elsewhere}, which this studio cannot reach")
    if found.process in (os.getpid(), os.getppid()) or not _holds(found.process, run / rundir.LOCK):
        raise InputError(f"run {run.name}: process {found.process} in its lock is not its training")
    return found.process


def _holds(process: int, file: Path) -> bool:
    """Whether a process has a file open."""
    try:
        wanted = os.lstat(file)
    except OSError:
        return False
    if not stat.S_ISREG(wanted.st_mode):  # a link could lead to a file that some other process has open
        return False
    if (_PROC / "self" / "fd").is_dir():
        try:
            opened = list((_PROC / str(process) / "fd").iterdir())
        except OSError:
            return False
        for link in opened:
            with suppress(OSError):
                if os.path.samestat(os.stat(link), wanted):
                    return True
        return False
    words = _ps(process, "args")  # systems without /proc: at least it has to be a Limner
    return "limner" in words


def carries(process: int, variable: str, value: str) -> bool:
    """Whether a process was started with a variable of this value in its environment.

    Only a process's own user may read it. Where the system does not tell (no /proc), it has to be a Limner at least.
    """
    if (_PROC / "self" / "environ").is_file():
        try:
            return os.fsencode(f"{variable}={value}") in (_PROC / str(process) / "environ").read_bytes().split(b"\0")
        except OSError:
            return False
    return "limner" in _ps(process, "args")


def _processes(run: Path) -> int:
    """How many processes train a run, as it says of itself."""
    with suppress(InputError, TypeError, ValueError):
        return int(rundir.RunDir(run).read_json(rundir.ENVIRONMENT).get("processes", 1))
    return 1


def _send(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        try:
            os.kill(process, number)
        except PermissionError:
            raise InputError(f"process {process}: belongs to another user") from None


def _descendants(process: int) -> list[int]:
    """All processes below one, parents first."""
    children: dict[int, list[int]] = defaultdict(list)
    for one, parent in _parents():
        children[parent].append(one)
    found, waiting = [], [process]
    while waiting:
        below = children.pop(waiting.pop(0), [])
        found += below
        waiting += below
    return found


def _parents() -> list[tuple[int, int]]:
    """Every process with its parent."""
    if (_PROC / "self" / "stat").is_file():
        found = []
        for path in _PROC.iterdir():
            if path.name.isdecimal():
                fields = _stat(int(path.name))
                if len(fields) > 1:
                    found.append((int(path.name), int(fields[1])))
        return found
    lines = _run_ps("-A", "-o", "pid=,ppid=").splitlines()
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines if len(line.split()) == 2]


def _letter(process: int) -> str:
    """The state of a process in a letter (proc(5)); empty where there is none."""
    if (_PROC / "self" / "stat").is_file():
        fields = _stat(process)
        return fields[0] if fields else ""
    if sys.platform == "win32":
        from limner.durable import is_alive

        return "R" if is_alive(process) else ""
    return _ps(process, "state")[:1]


def _stat(process: int) -> list[str]:
    """The fields of /proc/N/stat after the name, which may hold blanks and brackets."""
    try:
        return (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return []


def _ps(process: int, field: str) -> str:
    return _run_ps("-p", str(process), "-o", f"{field}=").strip()


def _run_ps(*arguments: str) -> str:
    try:
        return subprocess.run(["ps", *arguments], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
