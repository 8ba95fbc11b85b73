"""Kills a training at any moment, goes on with it, and compares all that it leaves with a training that was never killed.

Two ways: SIGKILL at random moments of the real command, and of the command that goes on with it; and death before the k-th
of all system calls that change files, for every k of a whole training, some of the resumed trainings being killed as well.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import (
    NAME,
    Interposed,
    arguments,
    chosen,
    conclude,
    differences,
    make_pictures,
    remains,
    resume_command,
    run_child,
    train_command,
)

from limner.rundir import RunDir

KILLS = 50
VARYING = 3
"""By so many of its last calls one training may fall short of another: 580 and 581 have been counted, and why is not known."""
AGAIN = 5
"""Of so many deaths one is followed by a death of the resumed training."""
KILLED = "kills of the real command"
EARLY = 0.1
"""Share of the kills that may come before there is a run directory."""


def dying(call: int) -> Callable[[], None]:
    """Prepares a child to be killed before its ``call``-th call that changes files."""

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if number == call:
            os.kill(os.getpid(), signal.SIGKILL)

    return Interposed(before).install


def counted(command: list[str], output: Path) -> list[str]:
    """The calls that change files of a command that runs to its end, by name."""
    log = output.with_suffix(".calls")

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        with log.open("a") as file:
            file.write(f"{name}\n")

    code = run_child(command, output, Interposed(before).install)
    if code != 0:
        raise RuntimeError(f"the unbroken training failed:\n{output.read_text()}")
    return log.read_text().split()


def unbroken(pictures: Path, place: Path) -> list[str]:
    """Train in ``place / "whole"`` to the end; the calls of a second training, which finds in the cache what that one wrote."""
    for name in ("whole", "again"):
        calls = counted(train_command(pictures, place / name), place / f"{name}.txt")
    return calls


def finish(pictures: Path, runs: Path, output: Path) -> str:
    """Go on with a killed training until it is done; returns what went wrong, in words, or nothing."""
    begun = (runs / NAME).is_dir()
    command = resume_command(runs) if begun else train_command(pictures, runs)
    code = run_child(command, output)
    if code != 0:
        return f"{'resume' if begun else 'train again'} ended with {code}: {output.read_text()[-300:]}"
    return ""


def compared(expected: dict[str, Any], runs: Path) -> str:
    """What a finished training has otherwise than the unbroken one, in words."""
    different = differences(expected, remains(RunDir(runs / NAME)))
    left = [path.name for path in runs.iterdir() if path.name != NAME]
    return f"differs in {different[:6]}" if different else f"left {left}" if left else ""


def before_calls(
    calls: list[int], pictures: Path, place: Path, expected: dict[str, Any], seed: int, counts: Counter[str]
) -> list[str]:
    """Die before each of some calls; returns the failures."""
    failures = []
    random_numbers = random.Random(seed)
    for turn, call in enumerate(calls):
        runs, output = place / f"call{call}", place / f"call{call}.txt"
        code = run_child(train_command(pictures, runs), output, dying(call))
        problem = "" if code == -signal.SIGKILL else f"was not killed but ended with {code}"
        if code == 0 and call >= calls[-1] - VARYING:
            problem = ""  # it made fewer calls than the one in which they were counted
            counts["ended before their death"] += 1
        else:
            counts["deaths"] += 1
        if not problem and code and turn % AGAIN == 0 and (runs / NAME).is_dir():
            code = run_child(resume_command(runs), output, dying(random_numbers.randrange(60)))
            problem = "" if code in (0, -signal.SIGKILL) else f"resume, to be killed, ended with {code}"
            counts["deaths"] += code == -signal.SIGKILL
        problem = problem or (finish(pictures, runs, output) if code else "") or compared(expected, runs)
        if problem:
            failures.append(f"death before call {call}: {problem}")
        counts["survived"] += not problem
        shutil.rmtree(runs, ignore_errors=True)
    return failures


def at_moments(
    kills: int,
    pictures: Path,
    place: Path,
    expected: dict[str, Any],
    seed: int,
    counts: Counter[str],
    span: float = 0.0,
) -> list[str]:
    """SIGKILL of the real command, at random moments; ``span`` seconds after its run has appeared, or as long as it takes."""
    failures = []
    chance = random.Random(seed)
    number = -1
    while counts[KILLED] < kills and number < 3 * kills:
        number += 1
        runs, output = place / f"kill{number}", place / f"kill{number}.txt"
        early, share = chance.random() < EARLY, chance.random()
        with output.open("w") as file:
            command = [sys.executable, "-m", "limner", *train_command(pictures, runs)]
            if not span:
                span = _visible(command, runs)
                shutil.rmtree(runs)
            process = subprocess.Popen(command, stdout=file, stderr=file)
            began = time.monotonic()
            while not early and process.poll() is None and not (runs / NAME).is_dir():
                time.sleep(0.002)
            time.sleep(share * (span if not early else time.monotonic() - began + 4.0))
            process.kill()
            code = process.wait()
        if code != -signal.SIGKILL:  # it was done before: another one instead, and all of them sooner
            counts["ended before their kill"] += 1
            span *= 0.9
            shutil.rmtree(runs)
            continue
        counts[KILLED] += 1
        counts["kills before the run had appeared"] += not (runs / NAME).is_dir()
        problem = finish(pictures, runs, output) or compared(expected, runs)
        if problem:
            failures.append(f"kill {number}: {problem}")
        counts["survived"] += not problem
        shutil.rmtree(runs, ignore_errors=True)
    return failures


def _visible(command: list[str], runs: Path) -> float:
    """The seconds from when a run directory appears to the end of its training."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (runs / NAME).is_dir():
        time.sleep(0.002)
    began = time.monotonic()
    process.wait()
    return time.monotonic() - began


def main() -> int:
    given = arguments(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        os.environ["LIMNER_CACHE"] = str(place / "cache")
        pictures = make_pictures(place / "pictures")
        names = unbroken(pictures, place)
        expected = remains(RunDir(place / "whole" / NAME))
        counts: Counter[str] = Counter(calls=len(names))
        calls = chosen(len(names), given, 8)
        failures = before_calls(calls, pictures, place, expected, given.seed, counts)
        failures += at_moments(2 if given.quick else KILLS, pictures, place, expected, given.seed, counts)
    return conclude("kills", counts, failures, given.quick)


if __name__ == "__main__":
    sys.exit(main())
