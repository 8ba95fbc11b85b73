"""One process trains a run at a time; a lock that nobody holds any more is no obstacle, with or without the system's help."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from limner.errors import InputError
from limner.recipe import Recipe
from limner.rundir import LOCK, RECIPE, RunDir, lock

HOLD = """
import sys, time
from pathlib import Path
from limner.rundir import RunDir
with RunDir(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = RunDir.create(tmp_path, "run", "")
    made.write(RECIPE, Recipe.load("quick").to_toml())
    return made


@pytest.fixture
def unlocking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no locks."""

    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_the_second_training_is_refused_with_the_owners_number_until_it_is_killed(run: RunDir):
    with subprocess.Popen([sys.executable, "-c", HOLD, run.path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        words = f"is being trained by another process (number {other.pid})"
        with pytest.raises(InputError) as caught, run.locked():
            pass
        assert words in str(caught.value) and caught.value.exit_code == 2 and "\n" not in str(caught.value)
        assert lock.is_held(run.path)
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert str(other.pid) in (run.path / LOCK).read_text(), "what it left says that it holds the run"
    assert not lock.is_held(run.path)
    with run.locked():
        assert (run.path / LOCK).read_text().split()[0] == str(os.getpid())
    assert (run.path / LOCK).read_text() == ""


def test_without_locks_of_the_system_the_file_says_who_holds_the_run(run: RunDir, unlocking: None):
    with run.locked():
        with pytest.raises(InputError, match=rf"another process \(number {os.getpid()}\)"), run.locked():
            pass
        assert lock.is_held(run.path)
    with run.locked():
        pass


def test_without_locks_of_the_system_a_stale_one_is_recognised(run: RunDir, unlocking: None):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    (run.path / LOCK).write_text(f"{gone.stdout.strip()}\n{platform.node()}\n1\n")
    assert not lock.is_held(run.path)
    with run.locked():
        pass
    # The number is another process's by now, which began at another time.
    (run.path / LOCK).write_text(f"{os.getpid()}\n{platform.node()}\n1\n")
    with run.locked():
        pass
    (run.path / LOCK).write_text("\0\0 no number")
    with run.locked():
        pass


def test_without_locks_of_the_system_another_hosts_owner_is_named(run: RunDir, unlocking: None):
    (run.path / LOCK).write_text(f"{os.getpid()}\nanother-host\n1\n")
    words = rf"process {os.getpid()} on another-host; if that is no longer so, remove"
    with pytest.raises(InputError, match=words), run.locked():
        pass


def test_drafts_of_the_living_stay_and_those_of_the_dead_go(tmp_path: Path):
    with RunDir.draft(tmp_path, "mine", "") as mine:
        dead = tmp_path / ".tmp-999999999-dead"
        (dead / "checkpoints").mkdir(parents=True)
        (dead / LOCK).write_text("999999999\n")
        with RunDir.draft(tmp_path, None, "other") as other:
            assert mine.path.is_dir() and not dead.exists()
            other.write(RECIPE, Recipe.load("quick").to_toml())
            other.publish()
            assert other.path == tmp_path / "other" and other.is_there()
            with pytest.raises(InputError, match="is being trained"), RunDir.open(tmp_path / "other").locked():
                pass
    assert [path.name for path in tmp_path.iterdir()] == ["other"], "what came to nothing is gone"


def test_a_draft_takes_a_name_that_is_free_when_it_is_published(tmp_path: Path):
    with RunDir.draft(tmp_path, None, "maps") as run:
        (tmp_path / "maps").mkdir()
        run.publish()
        assert run.path.name == "maps-2"
    with RunDir.draft(tmp_path, "mine", "") as run:
        (tmp_path / "mine").mkdir()
        with pytest.raises(InputError, match=r"--name mine: .* exists already"):
            run.publish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps", "maps-2", "mine"]


def test_a_directory_that_was_replaced_is_not_the_one_that_is_held(run: RunDir, tmp_path: Path):
    with run.locked():
        assert run.is_there()
        run.path.rename(tmp_path / "moved")
        assert not run.is_there()
        run.path.mkdir()
        assert not run.is_there(), "another directory under the same name"
