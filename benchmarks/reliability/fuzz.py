"""Hostile and broken input: thousands of cases, each in a watched process, with limits of time and memory.

    python benchmarks/reliability/fuzz.py --data DIR            # 10,000 cases and more, some minutes
    python benchmarks/reliability/fuzz.py --quick               # a small share
    python benchmarks/reliability/fuzz.py --only images --case 17 --seed 0   # one case again

Every case ends with exit code 0, 1 or 2 and, where it is refused, one clear line; never with a traceback, a hang, more than
1 GiB of extra memory, a process or a connection that nobody asked for, or a change outside the run directory and the cache.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import fuzz_archives
import fuzz_arrays
import fuzz_folders
import fuzz_images
import fuzz_runs
import fuzz_texts
import fuzz_weights
from fuzz_worker import Make, Runner, clean, judged, serve

import limner.cli
import limner.data
import limner.generator
import limner.judging.inspect
import limner.judging.report
import limner.training.resuming  # noqa: F401

RESULTS = Path(__file__).parent / "results" / "fuzz.json"
SECONDS = 20.0
"""That a case may take, on a processor that does other things as well."""
SLOW = {"archives-special": 400.0, "folders-special": 60.0, "images-special": 60.0, "hdf5": 40.0, "resume": 60.0}
LIFE = 400
"""Cases that one process runs."""

GROUPS: dict[str, Make] = {
    **fuzz_images.GROUPS,
    **fuzz_archives.GROUPS,
    **fuzz_folders.GROUPS,
    **fuzz_arrays.GROUPS,
    **fuzz_texts.GROUPS,
    **fuzz_weights.GROUPS,
    **fuzz_runs.GROUPS,
}
FULL = {
    "images": 5200,
    "images-special": len(fuzz_images.SPECIAL),
    "archives": 1300,
    "archives-special": len(fuzz_archives.SPECIAL),
    "folders": 300,
    "folders-special": len(fuzz_folders.SPECIAL),
    "arrays": 1300,
    "hdf5": 150,
    "recipes": 700,
    "lists": 500,
    "weights": 600,
    "reports": 300,
    "resume": 100,
    "commands": 40,
}
QUICK = {
    "images": 90,
    "archives": 40,
    "folders": 6,
    "arrays": 50,
    "hdf5": 2,
    "recipes": 30,
    "lists": 25,
    "weights": 25,
    "reports": 10,
}


class Pool:
    """One process at a time that runs cases, replaced when it hangs, dies or is old."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root, self._seed = root, seed
        self._process, self._done = 0, 0

    def run(self, group: str, number: int) -> dict[str, Any]:
        """One case, whatever it does."""
        if not self._process or self._done >= LIFE:
            self.close()
            self._start()
        self._done += 1
        limit = SLOW.get(group, SECONDS)
        self._jobs.write(json.dumps([group, number]) + "\n")
        self._jobs.flush()
        began = time.monotonic()
        ready, _, _ = select.select([self._results], [], [], limit)
        line = self._results.readline() if ready else ""
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        why = "its process died" if ready else f"hung: no answer within {limit:g} s"
        self.close()
        return {
            "group": group,
            "number": number,
            "code": None,
            "seconds": time.monotonic() - began,
            "mebibytes": 0.0,
            "what": "",
            "said": "",
            "problems": [why],
        }

    def _start(self) -> None:
        job_out, job_in = os.pipe()
        result_out, result_in = os.pipe()
        self._process = os.fork()
        if not self._process:
            os.setsid()
            os.close(job_in)
            os.close(result_out)
            status = 1
            try:
                serve(Runner(self._root, GROUPS, self._seed), job_out, result_in)
                status = 0
            finally:
                os._exit(status)
        os.close(job_out)
        os.close(result_in)
        self._jobs, self._results = os.fdopen(job_in, "w"), os.fdopen(result_out, "r")
        self._done = 0

    def close(self) -> None:
        """End the process and all that it started."""
        if self._process:
            for file in (self._jobs, self._results):
                with contextlib.suppress(OSError):
                    file.close()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
            self._process = 0


def command(root: Path, seed: int, number: int) -> dict[str, Any]:
    """A case of any group by the real command, in a process of its own."""
    import random

    chance = random.Random(f"{seed}/commands/{number}")
    group = chance.choice(["images", "archives", "arrays", "recipes", "lists", "weights", "reports", "folders"])
    folder = root / "case"
    clean(folder)
    (folder / "cwd").mkdir(parents=True)
    case = GROUPS[group](chance, folder)
    call = case.call
    if call[0] == "prepare":
        call = ["inspect", call[1]]
    began = time.monotonic()
    environment = {**os.environ, "LIMNER_CACHE": str(root / "cache")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "limner", *call],
            cwd=folder / "cwd",
            env=environment,
            capture_output=True,
            timeout=90,
            stdin=subprocess.DEVNULL,
        )
        code, said = done.returncode, done.stderr.decode("utf-8", "replace")
        problems = judged(code, said, "", case)
    except subprocess.TimeoutExpired:
        code, said, problems = None, "", ["hung: no answer within 90 s"]
    return {
        "group": "commands",
        "number": number,
        "code": code,
        "seconds": time.monotonic() - began,
        "mebibytes": 0.0,
        "what": f"{group}: {case.what}",
        "said": said[-300:],
        "problems": problems,
    }


def run(
    counts: dict[str, int],
    seed: int,
    root: Path,
    minutes: float,
    data: str = "",
    first: int = 0,
    base: Path | None = None,
) -> list[dict[str, Any]]:
    """So many cases of each group, in turn, so that a run that is out of time has some of all; what was found of each."""
    fuzz_images.MATERIAL.fill(data)
    fuzz_texts.draw(max(40, min(1000, counts.get("recipes", 0))))
    if {"weights", "reports", "resume", "commands"} & counts.keys():
        fuzz_weights.prepare(root, base)
    order = sorted(
        ((number + 0.5) / count, group, first + number) for group, count in counts.items() for number in range(count)
    )
    found = []
    pool = Pool(root, seed)
    end = time.monotonic() + 60 * minutes
    try:
        for _, group, number in order:
            if time.monotonic() > end:
                print(f"out of time after {len(found):,} cases")
                break
            one = command(root, seed, number) if group == "commands" else pool.run(group, number)
            found.append(one)
            for problem in one["problems"]:
                print(f"FAILED --only {group} --case {number} --seed {seed}: {one['what']}: {problem}", flush=True)
    finally:
        pool.close()
    return found


def summary(found: list[dict[str, Any]], seed: int, seconds: float) -> dict[str, Any]:
    """Counts by group: cases, failures, exit codes, and the worst of what was measured."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in found:
        groups[one["group"]].append(one)
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "cases": len(found),
        "failed": sum(bool(one["problems"]) for one in found),
        "groups": {
            name: {
                "cases": len(ones),
                "failed": sum(bool(one["problems"]) for one in ones),
                "codes": dict(sorted(Counter(str(one["code"]) for one in ones).items())),
                "slowest_seconds": round(max(one["seconds"] for one in ones), 2),
                "most_mebibytes": max(one["mebibytes"] for one in ones),
            }
            for name, ones in groups.items()
        },
        "failures": [one for one in found if one["problems"]][:50],
    }


def roomy() -> str | None:
    """A folder in memory, where syncing costs nothing, if there is one with room."""
    memory = "/dev/shm"
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 << 30:
        return memory
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default=os.environ.get("LIMNER_TEST_DATA", ""), help="a folder of .zip files of real pictures"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30.0, help="at most")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=[*GROUPS, "commands"])
    parser.add_argument("--case", type=int)
    parser.add_argument("--count", type=int)
    parser.add_argument("--base", type=Path, help="a finished run to attack; trained at first without it")
    parser.add_argument("--keep", action="store_true", help="leave the folder of the last case")
    given = parser.parse_args()
    counts = QUICK if given.quick else FULL
    if given.only:
        counts = {given.only: 1 if given.case is not None else given.count or counts.get(given.only, 1)}
    root = Path(tempfile.mkdtemp(prefix="limner-fuzz-", dir=None if given.quick else roomy()))
    began = time.monotonic()
    try:
        found = run(counts, given.seed, root, given.minutes, given.data, given.case or 0, given.base)
    finally:
        if given.keep:
            print(root)
        else:
            clean(root / "case")
            shutil.rmtree(root, ignore_errors=True)
    values = summary(found, given.seed, time.monotonic() - began)
    if given.only:
        for one in found[:20]:
            print(json.dumps(one))
    elif not given.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(values, indent=2) + "\n")
    for name, group in values["groups"].items():
        print(
            f"{name:18} {group['cases']:6,} cases, {group['failed']} failed, codes {group['codes']},"
            f" at most {group['slowest_seconds']:.1f} s and {group['most_mebibytes']:,.0f} MiB"
        )
    print(f"fuzz: {values['cases']:,} cases in {values['seconds']:,.0f} s, {values['failed']} failed")
    return 1 if values["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
