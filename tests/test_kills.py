"""A training that is killed or loses its power ends as one that was not: a small share of what the long harnesses do."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "reliability"))
import kills
import powercut
from common import NAME, make_pictures, remains, resume_command, run_child, train_command
from disks import Call, Disk

from limner import rundir
from limner.rundir import RunDir

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills and forks are POSIX")


class Unbroken:
    """The training that nothing happens to."""

    def __init__(self, place: Path) -> None:
        self.place, self.disk = place, place / "disk"
        self.disk.mkdir()
        self.pictures = make_pictures(place / "pictures")
        self.calls = powercut.recorded(train_command(self.pictures, self.disk / "runs"), self.disk, place / "said.txt")
        self.run = RunDir(self.disk / "runs" / NAME)
        self.remains = remains(self.run)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    return Unbroken(tmp_path_factory.mktemp("kills"))


def numbers(unbroken: Unbroken, name: str, part: str) -> list[int]:
    """Which calls are of a kind and have a part in their path."""
    return [at for at, call in enumerate(unbroken.calls) if call.name == name and part in call.paths[-1]]


def test_the_small_training_writes_everything(unbroken: Unbroken):
    assert len(unbroken.calls) > 300
    assert {"newest state", "best state", "report", rundir.LOG, "sample 48", "sample 8"} <= unbroken.remains.keys()
    assert sum(name.startswith("evaluation 48 ") for name in unbroken.remains) > 5
    assert unbroken.remains["leavings"] == [] and len(unbroken.remains[rundir.METRICS]) == 5


def test_death_in_the_middle_of_a_checkpoint_and_of_the_training_that_goes_on(unbroken: Unbroken):
    """Before its name, before the best one's, in the middle of a removal."""
    calls = [
        numbers(unbroken, "rename", "checkpoints/000000036")[0],
        numbers(unbroken, "rename", "checkpoints/best")[-1],
        numbers(unbroken, "rmdir", "gone-")[-1],
    ]
    counts: Counter[str] = Counter()
    place = unbroken.place
    assert kills.before_calls(calls, unbroken.pictures, place, unbroken.remains, 0, counts) == []
    assert counts["survived"] == 3 and counts["deaths"] >= 3


def test_a_kill_of_the_real_command(unbroken: Unbroken, tmp_path: Path):
    counts: Counter[str] = Counter()
    assert kills.at_moments(1, unbroken.pictures, tmp_path, unbroken.remains, 4, counts, span=0.3) == []
    assert counts[kills.KILLED] == 1 and counts["survived"] == 1


def test_what_differs_is_noticed(unbroken: Unbroken, tmp_path: Path):
    runs = tmp_path / "runs"
    assert run_child(train_command(unbroken.pictures, runs, training__seed=6), tmp_path / "said.txt") == 0
    words = kills.compared(unbroken.remains, runs)
    assert "best" in words and "differs" in words


def test_a_best_one_that_a_kill_prevented_is_made_from_its_checkpoint(unbroken: Unbroken, tmp_path: Path):
    runs = tmp_path / "runs"
    last = [line["images"] for line in unbroken.run.records(rundir.METRICS) if line["best"]][-1]
    at = next(at for at in numbers(unbroken, "mkdir", "-best") if _images_before(unbroken, at) == last)
    code = run_child(train_command(unbroken.pictures, runs), tmp_path / "said.txt", kills.dying(at))
    assert code == -signal.SIGKILL
    run = RunDir(runs / NAME)
    assert run.newest_checkpoint()[0] == last
    best = run.path / rundir.CHECKPOINTS / rundir.BEST
    assert not best.exists() or run.read_json(f"{rundir.CHECKPOINTS}/{rundir.BEST}/{rundir.STATE}")["images"] < last
    run.mend_best()
    assert run.read_json(f"{rundir.CHECKPOINTS}/{rundir.BEST}/{rundir.STATE}")["images"] == last
    assert run_child(resume_command(runs), tmp_path / "said.txt") == 0
    assert kills.compared(unbroken.remains, runs) == ""


def _images_before(unbroken: Unbroken, at: int) -> int:
    promises = powercut.Promises()
    for call in unbroken.calls[:at]:
        promises.follow(call)
    return promises.images


def test_a_power_cut_costs_no_checkpoint_that_was_written(unbroken: Unbroken, tmp_path: Path):
    def going_on(kept: Path, least: int) -> str:
        runs, said = kept / "runs", tmp_path / "said.txt"
        begun = (runs / NAME).is_dir()
        code = run_child(resume_command(runs) if begun else train_command(unbroken.pictures, runs), said)
        return said.read_text() if code else kills.compared(unbroken.remains, runs)

    chance = random.Random(7)
    counts, failures = powercut.cuts(unbroken.calls, unbroken.run, tmp_path, chance, 1, going_on, 0.03, each=7)
    assert failures == [] and counts["cuts"] > 60 and counts["gone on with"] > 0


@pytest.mark.parametrize("kind", ["files", "directories", "logs"])
def test_a_missing_sync_is_noticed(unbroken: Unbroken, tmp_path: Path, kind: str):
    calls = powercut.without_syncs(unbroken.calls, kind)
    assert len(calls) < len(unbroken.calls)
    each = 4 if kind == "directories" else 20
    _, failures = powercut.cuts(calls, unbroken.run, tmp_path, random.Random(7), 1, each=each)
    assert failures


def test_the_disk_forgets_what_was_not_synced(tmp_path: Path):
    def left(*calls: Call) -> dict[str, Any]:
        disk = Disk()
        for call in calls:
            disk.apply(call)
        found: dict[str, Any] = {}
        for seed in range(40):
            place = tmp_path / f"{len(list(tmp_path.iterdir()))}"
            disk.cut(random.Random(seed), place)
            for name in ("old", "new"):
                content = (place / name).read_bytes() if (place / name).exists() else None
                found.setdefault(name, set()).add(content)
        return found

    written = [Call("open", ("old",), flags=os.O_CREAT), Call("write", ("old",), b"12")]
    assert left(*written)["old"] >= {None, b"", b"12"}
    synced = [*written, Call("fsync", ("old",)), Call("fsync", (".",))]
    assert left(*synced) == {"old": {b"12"}, "new": {None}}
    assert left(*synced, Call("write", ("old",), b"34"))["old"] >= {b"12", b"1234"}
    renamed = left(*synced, Call("rename", ("old", "new")))
    assert renamed == {"old": {b"12", None}, "new": {None, b"12"}}
    assert left(*synced, Call("rename", ("old", "new")), Call("fsync", (".",))) == {"old": {None}, "new": {b"12"}}
