"""Lets system calls fail while a training writes, and looks at what it says, how it ends, and what is left.

Every call that changes files may fail, in four ways (no room, a broken disk, a file system that has turned read-only, no
permission): once, for a while, or from then on. A training has to end with 0 or with 1 (2 before it has begun), with a line
about what is wrong and no traceback. Going on with what it left, on a disk that works again, has to end as the unbroken
training. Nothing half-written may be taken for whole.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import sys
import tempfile
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
from kills import unbroken

from limner.rundir import RunDir

ERRORS = ("ENOSPC", "EIO", "EROFS", "EACCES")
SPANS = {"once": 1, "for a while": 25, "from then on": 10**9}
FREEING = ("unlink", "rmdir", "ftruncate")
"""Calls that a full disk does not refuse."""


def failing(first: int, span: int, error: str) -> Callable[[], None]:
    """Prepares a child in which calls fail from the ``first`` on; a write that finds no room writes half before it fails."""
    number = getattr(errno, error)

    def before(call: int, name: str, given: tuple[Any, ...]) -> None:
        if not first <= call < first + span or (error == "ENOSPC" and name in FREEING):
            return
        if name == "open" and not given[1] & os.O_CREAT:
            return
        if name == "write" and error == "ENOSPC":
            os.write(given[0], bytes(given[1])[: len(given[1]) // 2])
        raise OSError(number, os.strerror(number), str(given[0]))

    return Interposed(before).install


def tried(
    call: int, error: str, span: str, pictures: Path, place: Path, expected: dict[str, Any], counts: Counter[str]
) -> str:
    """Let a training meet a failure, then go on with it; returns what is wrong, in words, or nothing."""
    runs, output = place / "faulty", place / "faulty.txt"
    shutil.rmtree(runs, ignore_errors=True)
    code = run_child(train_command(pictures, runs), output, failing(call, SPANS[span], error))
    text = output.read_text()
    counts[f"{span}: ended with {code}"] += 1
    if code not in (0, 1, 2) or "Traceback" in text:
        return f"ended with {code}: {text[-400:]}"
    told = [line for line in text.splitlines() if os.strerror(getattr(errno, error)) in line]
    began = (runs / NAME).is_dir()
    if code == 2 and began:
        return f"ended with 2 although it had begun: {text[-300:]}"
    if code and not told:
        return f"did not say what was wrong: {text[-300:]}"
    if began:
        code = run_child(resume_command(runs), output)
        if code != 0:
            return f"could not be gone on with ({code}): {output.read_text()[-300:]}"
    else:
        code = run_child(train_command(pictures, runs), output)
        if code != 0:
            return f"could not be begun again ({code}): {output.read_text()[-300:]}"
    different = differences(expected, remains(RunDir(runs / NAME)))
    return f"differs in {different[:6]}" if different else ""


def main() -> int:
    given = arguments(__doc__)
    chance = random.Random(given.seed)
    counts: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        os.environ["LIMNER_CACHE"] = str(place / "cache")
        pictures = make_pictures(place / "pictures")
        calls = unbroken(pictures, place)
        expected = remains(RunDir(place / "whole" / NAME))
        counts["calls"] = len(calls)
        for number in chosen(len(calls), given, 4):
            # Every call fails; in which way, and for how long, goes round.
            error, span = chance.choice(ERRORS), chance.choice([*SPANS])
            problem = tried(number, error, span, pictures, place, expected, counts)
            counts["faults"] += 1
            if problem:
                failures.append(f"{error} {span} at call {number} ({calls[number]}): {problem}")
    return conclude("faults", counts, failures, given.quick)


if __name__ == "__main__":
    sys.exit(main())
