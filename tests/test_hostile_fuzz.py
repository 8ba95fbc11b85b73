"""A share of the hostile cases of ``benchmarks/reliability/fuzz.py``: another share each time its groups or numbers change."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
HARNESS = HOME / "benchmarks" / "reliability" / "fuzz.py"
FIXTURE = Path(__file__).parent / "fixtures" / "format-1" / "run"


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by Linux's own means")
def test_hostile_cases_end_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    command = [sys.executable, str(HARNESS), "--quick", "--minutes", "3", "--base", str(FIXTURE)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
    found = re.fullmatch(r"fuzz: (\d+) cases in \d+ s, (\d+) failed", last)
    assert found is not None, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(found[2]) == 0 and done.returncode == 0, done.stdout[-5000:]
    assert int(found[1]) >= 250 and not list(tmp_path.glob("limner-fuzz-*"))


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by Linux's own means")
def test_the_harness_sees_what_it_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases that do what none may do, in a process of their own (an audit hook stays for good)."""
    script = tmp_path / "naughty.py"
    script.write_text(NAUGHTY)
    root = tmp_path / "root"
    root.mkdir()
    command = [sys.executable, str(script), str(HARNESS.parent), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    found = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    expected = {
        "fine": "[]",
        "traceback": "ZeroDivisionError",
        "write": "open outside",
        "remove": "os.remove outside",
        "rename": "os.rename outside",
        "start": "started",
        "connect": "socket",
        "unpickle": "unpickled",
        "memory": "MiB",
        "code": "exit code 3",
        "terminal": "commands to the terminal",
        "long": "not one clear line",
        "below": "files outside were changed",
    }
    assert found.keys() == expected.keys(), done.stderr
    for name, words in expected.items():
        assert words in found[name], (name, found[name])


NAUGHTY = r"""
import ctypes, os, pickle, socket, subprocess, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import limner.cli
from limner.errors import InputError
from fuzz_worker import Case, Runner

root = Path(sys.argv[2])
outside = root / "sentinel" / "secret.txt"
doing = {}

def main():
    doing["now"]()
    raise SystemExit(0)

limner.cli.main = main

def write(): open(outside, "a").close()
def remove(): os.remove(root / "sentinel" / "lock")
def rename(): os.rename(root / "sentinel" / "log.jsonl", root / "case" / "x")
def start(): subprocess.run(["true"])
def connect():
    try: socket.create_connection(("127.0.0.1", 1), 0.1)
    except OSError: pass
def unpickle(): pickle.loads(b"cbuiltins\nlen\n.")
def memory(): len(b"x" * (1100 << 20))
def code(): raise SystemExit(3)
def terminal(): print("limner: \x1b[2J", file=sys.stderr)
def long(): print("limner: " + "x" * 4000, file=sys.stderr)
def traceback(): 1 / 0
def below():
    libc = ctypes.CDLL(None)
    file = libc.open(str(root / "sentinel" / "000000001.png").encode(), os.O_WRONLY)
    libc.write(file, b"changed", 7)
    libc.close(file)

jobs = {job.__name__: job for job in (traceback, write, remove, rename, start, connect, unpickle, memory, code, terminal,
                                      long, below)}
jobs = {"fine": lambda: None, **jobs}
runner = Runner(root, {name: (lambda chance, folder: Case(["x"])) for name in jobs}, 0)
for name, job in jobs.items():
    doing["now"] = job
    print(f"{name}\t{runner.run(name, 1)['problems']!r}".replace("\n", " "), flush=True)
"""
