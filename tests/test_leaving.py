"""A training that is asked to end is saved within seconds, also in the middle of a long update or a long evaluation."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "reliability"))
from common import NAME, differences, ended, in_child, make_pictures, remains, resume_command, run_child, train_command

from limner import rundir
from limner.rundir import RunDir
from limner.training import judge, leaving
from limner.training.loop import Loop

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks are POSIX")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with pictures, and the training that nobody interrupts."""
    place = tmp_path_factory.mktemp("leaving")
    make_pictures(place / "pictures")
    code = run_child(train_command(place / "pictures", place / "whole", **SPARSE), place / "whole.txt")
    assert code == 0, (place / "whole.txt").read_text()
    return place


SPARSE = {"snapshots__checkpoint_minutes": 60, "training__images": 32, "evaluation__every_images": 16}
"""Eight updates, and no checkpoint but those of the evaluations after the fourth and the last."""


def slow(step: int, seconds: float, marker: Path) -> Callable[[], None]:
    """Prepares a child whose updates take long from one on; a marker says when that one has begun."""

    def prepare() -> None:
        leaving.GRACE_SECONDS, leaving.SLOW_SECONDS = 0.5, 0.1
        advance = Loop.advance

        def slowly(loop: Loop) -> None:
            advance(loop)  # half of it is done: what is in memory is no state between two updates
            if loop.progress.step - 1 >= step - 1:
                time.sleep(0.15)
            if loop.progress.step - 1 == step:
                marker.touch()
                time.sleep(seconds)

        Loop.advance = slowly  # type: ignore[method-assign]

    return prepare


def interrupted(home: Path, name: str, number: int, prepare: Callable[[], None]) -> tuple[int, float, str]:
    """Send a signal when a child's marker appears: its exit code, the seconds it took to end, what it said."""
    output, marker = home / f"{name}.txt", home / name
    child = in_child(train_command(home / "pictures", home / f"runs-{name}", **SPARSE), output, prepare)
    deadline = time.monotonic() + 60
    while not marker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    began = time.monotonic()
    os.kill(child, number)
    code = ended(child, 60)
    return code, time.monotonic() - began, output.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_in_a_long_update_the_state_before_it_is_saved(home: Path, number: int):
    name = f"update{number}"
    code, seconds, said = interrupted(home, name, number, slow(6, 60.0, home / name))
    assert code == 130 and "interrupted, everything is saved: 24 images" in said, said
    assert 0.4 < seconds < 30
    run = RunDir(home / f"runs-{name}" / NAME)
    assert run.newest_checkpoint()[0] == 24
    assert [line["images"] for line in run.records(rundir.EVENTS) if line["event"] == "interrupted"] == [24]
    assert run_child(resume_command(home / f"runs-{name}"), home / "on.txt") == 0, (home / "on.txt").read_text()
    assert differences(remains(RunDir(home / "whole" / NAME)), remains(run)) == []


def test_in_a_long_evaluation_the_state_is_saved_and_evaluated_when_it_goes_on(home: Path):
    def prepare() -> None:
        leaving.GRACE_SECONDS = 0.5
        examine = judge.Examine.examine

        def slowly(self: judge.Examine, loop: Loop) -> object:
            if loop.progress.images == 16:
                (home / "evaluation").touch()
                time.sleep(60)
            return examine(self, loop)

        judge.Examine.examine = slowly  # type: ignore[assignment, method-assign]

    code, seconds, said = interrupted(home, "evaluation", signal.SIGTERM, prepare)
    assert code == 130 and "interrupted, everything is saved: 16 images" in said, said
    assert 0.4 < seconds < 30
    run = RunDir(home / "runs-evaluation" / NAME)
    assert [line["images"] for line in run.records(rundir.METRICS)] == [0]
    assert run_child(resume_command(home / "runs-evaluation"), home / "on.txt") == 0, (home / "on.txt").read_text()
    assert differences(remains(RunDir(home / "whole" / NAME)), remains(run)) == []


def test_an_update_that_ends_soon_ends_the_training_in_the_usual_way(home: Path):
    code, seconds, said = interrupted(home, "soon", signal.SIGTERM, slow(6, 0.2, home / "soon"))
    assert code == 130 and "interrupted, everything is saved: 28 images" in said, said
    assert seconds < 30 and RunDir(home / "runs-soon" / NAME).newest_checkpoint()[0] == 28
