"""A disk that is full, broken or read-only, and a directory that goes away: told in one line, and nothing whole is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "reliability"))
import faults
from common import NAME, differences, make_pictures, remains, resume_command, run_child, train_command

from limner import rundir
from limner.rundir import RunDir
from limner.training.loop import Loop

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with pictures, and the training that nothing happens to."""
    place = tmp_path_factory.mktemp("faults")
    make_pictures(place / "pictures")
    assert run_child(train_command(place / "pictures", place / "whole"), place / "whole.txt") == 0
    return place


@pytest.fixture(scope="module")
def whole(home: Path) -> dict[str, Any]:
    return remains(RunDir(home / "whole" / NAME))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"only root may mount a small file system ({mounted.stderr.strip()})")
    yield place
    subprocess.run(["umount", place], check=True)


def at_steps(actions: dict[int, Callable[[], None]]) -> Callable[[], None]:
    """Prepares a child in which something happens after some updates."""

    def prepare() -> None:
        advance = Loop.advance

        def acting(loop: Loop) -> None:
            advance(loop)
            actions.get(loop.progress.step, lambda: None)()

        Loop.advance = acting  # type: ignore[method-assign]

    return prepare


def fill(place: Path) -> None:
    """Take all the room that there is."""
    with (place / "ballast").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                pass


def told(said: str, words: str) -> list[str]:
    return [line for line in said.splitlines() if words in line]


def test_a_disk_that_is_full_for_a_while_costs_nothing(home: Path, whole: dict[str, Any], small: Path):
    runs = small / "runs"
    actions = {5: lambda: fill(small), 9: lambda: (small / "ballast").unlink()}
    code = run_child(train_command(home / "pictures", runs), home / "said.txt", at_steps(actions))
    said = (home / "said.txt").read_text()
    assert code == 0, said
    assert len(told(said, "No space left on device")) == 1 and len(told(said, "is written to again")) == 1, said
    assert differences(whole, remains(RunDir(runs / NAME))) == []


def test_a_disk_that_stays_full_keeps_the_last_good_state(home: Path, whole: dict[str, Any], small: Path):
    runs = small / "runs"
    code = run_child(train_command(home / "pictures", runs), home / "said.txt", at_steps({7: lambda: fill(small)}))
    said = (home / "said.txt").read_text()
    assert code == 1 and "Traceback" not in said, said
    (last,) = told(said, "stopped:")
    assert "No space left on device" in last and "the last checkpoint is of" in last and "limner resume" in last
    run = RunDir(runs / NAME)
    assert run.newest_checkpoint()[0] >= 20, "room was made for newer ones by removing older ones"
    (small / "ballast").unlink()
    assert run_child(resume_command(runs), home / "said.txt") == 0, (home / "said.txt").read_text()
    assert differences(whole, remains(run)) == []


def test_a_file_system_that_turns_read_only(home: Path, whole: dict[str, Any], small: Path):
    def turn() -> None:
        # Over itself: what is open stays so, as when the kernel gives up a broken disk.
        subprocess.run(["mount", "--bind", small, small], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", small], check=True)

    runs = small / "runs"
    code = run_child(train_command(home / "pictures", runs), home / "said.txt", at_steps({6: turn}))
    said = (home / "said.txt").read_text()
    assert code == 1 and "Traceback" not in said and told(said, "Read-only file system"), said
    subprocess.run(["umount", small], check=True)
    assert RunDir(runs / NAME).newest_checkpoint()[0] == 20
    assert run_child(resume_command(runs), home / "said.txt") == 0, (home / "said.txt").read_text()
    assert differences(whole, remains(RunDir(runs / NAME))) == []


def test_a_directory_that_is_removed_ends_the_training_in_one_line(home: Path, tmp_path: Path):
    runs = tmp_path / "runs"
    actions = {5: lambda: shutil.rmtree(runs / NAME)}
    code = run_child(train_command(home / "pictures", runs), home / "said.txt", at_steps(actions))
    said = (home / "said.txt").read_text()
    assert code == 1 and "Traceback" not in said, said
    assert len(told(said, "was removed while it was trained")) == 1 and not told(said, "cannot be written")
    assert not (runs / NAME).exists(), "it is not made again"


def test_a_directory_that_is_moved_keeps_what_it_has(home: Path, whole: dict[str, Any], tmp_path: Path):
    runs = tmp_path / "runs"
    (tmp_path / "moved").mkdir()
    actions = {5: lambda: (runs / NAME).rename(tmp_path / "moved" / NAME)}
    assert run_child(train_command(home / "pictures", runs), home / "said.txt", at_steps(actions)) == 1
    assert run_child(resume_command(tmp_path / "moved"), home / "said.txt") == 0, (home / "said.txt").read_text()
    assert differences(whole, remains(RunDir(tmp_path / "moved" / NAME))) == []


def test_calls_that_fail(home: Path, whole: dict[str, Any], tmp_path: Path):
    """A few of what the long harness does with every call."""
    for call, error, span in ((90, "EIO", "once"), (200, "ENOSPC", "for a while"), (330, "EACCES", "from then on")):
        counts: Counter[str] = Counter()
        assert faults.tried(call, error, span, home / "pictures", tmp_path, whole, counts) == "", (call, error, span)


def test_leavings_of_the_dead_do_not_add_up(home: Path, tmp_path: Path):
    """Disk use is bounded: whatever killed processes left is gone when the training goes on."""
    runs = tmp_path / "runs"
    shutil.copytree(home / "whole", runs)
    run = RunDir(runs / NAME)
    for directory in ("", rundir.SAMPLES, rundir.CHECKPOINTS, rundir.EVALUATION):
        for number in (999999998, 999999999):
            left = run.path / directory / f".tmp-{number}-000000036"
            left.mkdir()
            (left / "weights").write_bytes(bytes(1000))
    assert run_child(resume_command(runs), home / "said.txt") == 0
    assert list(run.path.rglob(".tmp-*")) == []
