"""What the tests of the studio share: a studio over folders of a test's own, and a training that only holds its run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from limner.studio.app import Studio
from limner.studio.settings import checked

HOME = "http://127.0.0.1:8377"
TRAINER = """
import signal, subprocess, sys, time
from pathlib import Path
from limner.rundir import RunDir
run = RunDir.open(sys.argv[1])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
asked = []
def ask(number, frame):
    if asked and number == signal.SIGINT:
        raise KeyboardInterrupt  # as a training: a second one ends it at once
    asked.append(1)
signal.signal(signal.SIGINT, ask)
signal.signal(signal.SIGTERM, ask)
with run.locked():
    print(child.pid, flush=True)
    while not asked:
        time.sleep(0.02)
    run.append("events.jsonl", {"event": "interrupted", "images": 64000, "reason": ""})
child.kill()
child.wait()
"""
"""A training as seen from outside: it holds its run's lock, has a child, and ends like one when it is interrupted."""


def studio(tmp_path: Path, **settings: Any) -> Studio:
    """A studio over ``runs`` and ``data`` in a test's folder."""
    for name in ("runs", "data"):
        (tmp_path / name).mkdir(exist_ok=True)
    return Studio(checked(tmp_path / "runs", [tmp_path / "data"], **settings))


def client(made: Studio, base: str = HOME) -> TestClient:
    """What asks it, as a page of its own would."""
    return TestClient(made, base_url=base)


@contextmanager
def training(run: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds a run, with its child's number; both are gone afterwards."""
    process = subprocess.Popen([sys.executable, "-c", TRAINER, str(run)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        yield process, child
    finally:
        for number in (process.pid, child):
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()
        process.stdout.close()


def until(true: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Wait until something holds; what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
    return found
