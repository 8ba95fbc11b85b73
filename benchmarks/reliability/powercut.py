"""Cuts the power: drops what was not synced from the recorded writing of a training, and goes on from what is left.

A cut comes before each system call, in several random variants. Of each it is asked whether what is left is a state to go on
from: the run is there, its newest whole checkpoint is the last one that had been written completely or a newer one, and every
line and picture of before that checkpoint is there. From some the training is gone on with, and ends as an unbroken one. The
harness proves that it would notice: where syncs of files, of directories or of logs are left out, it has to find losses.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import (
    NAME,
    arguments,
    conclude,
    differences,
    make_pictures,
    remains,
    resume_command,
    run_child,
    train_command,
    without_clocks,
)
from disks import Call, Disk, Recorder

from limner import rundir
from limner.errors import InputError
from limner.rundir import RunDir

VARIANTS, GOING_ON = 8, 100


def recorded(command: list[str], root: Path, output: Path) -> list[Call]:
    """The calls of a command that runs to its end, below a directory."""
    log = output.with_suffix(".calls")

    def told(call: Call) -> None:
        with log.open("a") as file:
            print(json.dumps([call.name, call.paths, base64.b64encode(call.content).decode(), call.flags]), file=file)

    code = run_child(command, output, Recorder(root, told).install)
    if code != 0:
        raise RuntimeError(f"the unbroken training failed:\n{output.read_text()}")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [Call(name, tuple(paths), base64.b64decode(content), flags) for name, paths, content, flags in lines]


class Promises:
    """What a training has written completely so far: the run itself, and its newest checkpoint."""

    def __init__(self) -> None:
        self.run, self.images = False, -1
        self._renamed: int | None = None
        self._named = False

    def follow(self, call: Call) -> None:
        """Take note of a call that has been made."""
        place = Path(call.paths[-1])
        if call.name == "rename" and place.name == NAME:
            self._named = True
        elif call.name == "rename" and place.parent.name == rundir.CHECKPOINTS and place.name.isdigit():
            self._renamed = int(place.name)
        elif call.name == "fsync" and place.name == rundir.CHECKPOINTS and self._renamed is not None:
            self.images, self._renamed = max(self.images, self._renamed), None
        elif call.name == "fsync" and self._named and place.name == "runs":
            self.run = True


def judged(run: RunDir, promises: Promises, lines: dict[str, list[dict[str, Any]]], pictures: dict[int, bytes]) -> str:
    """What is wrong with what a cut left, in words, or nothing."""
    if not (run.path / rundir.RECIPE).is_file():
        return "the run is gone" if promises.run or run.path.exists() else ""
    run.say = lambda text: None
    try:
        run.recipe(), run.read_json(rundir.DATA), run.read_json(rundir.ENVIRONMENT)
        run.sweep()
        images, _ = run.newest_checkpoint()
    except InputError as error:
        return str(error)
    if images < promises.images:
        return f"the checkpoint of {promises.images} images is lost, {images} is the newest"
    for name, expected in lines.items():
        # The untrained state is measured after its checkpoint, which only then has its interval, and again where that was lost.
        least = 1 if name == rundir.METRICS and images == 0 else 0
        found = [without_clocks(line) for line in run.records(name) if least <= line["images"] <= images]
        if found != [without_clocks(line) for line in expected if least <= line["images"] <= images]:
            return f"lines of {name} up to {images} images are lost"
    drawn = dict(run.samples())
    if any(
        number not in drawn or drawn[number].read_bytes() != png for number, png in pictures.items() if number <= images
    ):
        return f"grids up to {images} images are lost"
    return ""


def cuts(
    calls: Sequence[Call],
    whole: RunDir,
    place: Path,
    chance: random.Random,
    variants: int,
    going_on: Callable[[Path, int], str] | None = None,
    share: float = 0.0,
    each: int = 1,
) -> tuple[Counter[str], list[str]]:
    """Cut before every call (or every ``each``-th).

    Args:
        calls: of a training.
        whole: what it left.
        place: scratch.
        chance: decides what is left.
        variants: of each cut.
        going_on: goes on with what is left in a directory; of the cut before a call; says what is wrong.
        share: of the cuts after which the training is gone on with.
    """
    lines = {name: list(whole.records(name)) for name in (rundir.LOG, rundir.METRICS)}
    pictures = {number: path.read_bytes() for number, path in whole.samples()}
    disk, promises = Disk(), Promises()
    counts: Counter[str] = Counter()
    failures = []
    for number, call in enumerate(calls):
        for _ in range(variants if number % each == 0 else 0):
            left = place / "left"
            shutil.rmtree(left, ignore_errors=True)
            disk.cut(chance, left)
            goes_on = going_on is not None and chance.random() < share
            if goes_on:
                shutil.copytree(left, place / "kept")
            problem = judged(RunDir(left / "runs" / NAME), promises, lines, pictures)
            counts["cuts"] += 1
            if goes_on and not problem:
                assert going_on is not None
                problem = going_on(place / "kept", promises.images)
                counts["gone on with"] += 1
            shutil.rmtree(place / "kept", ignore_errors=True)
            if problem:
                failures.append(f"cut before call {number} ({call.name} {call.paths[-1]}): {problem}")
        disk.apply(call)
        promises.follow(call)
    return counts, failures


def without_syncs(calls: Sequence[Call], kind: str) -> list[Call]:
    """The same calls with syncs left out: of ``files``, ``directories`` or ``logs``."""
    files = {call.paths[0] for call in calls if call.name == "open"}

    def is_kind(path: str) -> bool:
        return path.endswith(".jsonl") if kind == "logs" else (path in files) == (kind == "files")

    return [call for call in calls if not (call.name == "fsync" and is_kind(call.paths[0]))]


def main() -> int:
    given = arguments(__doc__)
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        os.environ["LIMNER_CACHE"] = str(place / "cache")
        images = make_pictures(place / "pictures")
        disk = place / "disk"
        disk.mkdir()
        calls = recorded(train_command(images, disk / "runs"), disk, place / "whole.txt")
        whole = RunDir(disk / "runs" / NAME)
        expected = remains(whole)

        def going_on(kept: Path, least: int) -> str:
            runs, output = kept / "runs", place / "on.txt"
            begun = (runs / NAME).is_dir()
            code = run_child(resume_command(runs) if begun else train_command(images, runs), output)
            if code != 0:
                return f"going on ended with {code}: {output.read_text()[-300:]}"
            run = RunDir(runs / NAME)
            went_on = [line["images"] for line in run.records(rundir.EVENTS) if line["event"] == "resumed"]
            if begun and went_on[-1] < least:
                return f"went on from {went_on[-1]} images, not from {least}"
            return f"differs in {wrong[:6]}" if (wrong := differences(expected, remains(run))) else ""

        whole_calls = len(calls) * VARIANTS
        share = 5 / whole_calls * 40 if given.quick else GOING_ON / whole_calls
        counts, failures = cuts(
            calls, whole, place, chance, 1 if given.quick else VARIANTS, going_on, share, each=5 if given.quick else 1
        )
        counts["calls"] = len(calls)
        for kind in ("files", "directories", "logs"):
            _, found = cuts(without_syncs(calls, kind), whole, place, chance, 1, each=4 if given.quick else 1)
            counts[f"losses noticed without syncs of {kind}"] = len(found)
            if not found:
                failures.append(f"nothing was noticed without syncs of {kind}")
    return conclude("powercut", counts, failures, given.quick)


if __name__ == "__main__":
    sys.exit(main())
