"""What the studio does to trainings: pause, go on, stop; and starts of its own, which outlive it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from limner.errors import InputError, LimnerError
from limner.rundir import RunDir, lock
from limner.studio import processes
from limner.studio.launches import Launches
from limner.studio.places import Missing, Places
from report_support import append, full_run
from studio_support import client, studio, training, until

NOTHING = ["recipes", "show", "nothing"]
"""A command that fails quickly: what is tested is how the studio starts and watches one."""
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return full_run(tmp_path / "runs" / "letters", frames=1).path


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the studio starts waits until this file is there: else a quick command may be over before it is looked at."""
    opened, waiting = tmp_path / "gate", tmp_path / "waiting.sh"
    there, python = shlex.quote(str(opened)), shlex.quote(sys.executable)
    waiting.write_text(f'#!/bin/sh\nwhile [ ! -e {there} ]; do sleep 0.05; done\nexec {python} "$@"\n')
    waiting.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(waiting))
    return opened


def test_pause_holds_a_training_and_its_children_until_it_goes_on(tmp_path: Path, run: Path) -> None:
    asking = client(studio(tmp_path))
    with training(run) as (process, child):
        assert asking.get("/api/runs/letters").json()["state"] == "training"
        assert asking.post("/api/runs/letters/pause").json() == {"done": "paused"}
        until(lambda: processes.condition(process.pid) == processes.condition(child) == "held")
        assert asking.get("/api/runs/letters").json()["state"] == "paused"
        assert asking.post("/api/runs/letters/continue").json() == {"done": "continued"}
        until(lambda: processes.condition(process.pid) == processes.condition(child) == "running")
        assert asking.get("/api/runs/letters").json()["state"] == "training"


@pytest.mark.parametrize("held", [False, True])
def test_stop_ends_it_as_control_c_does_also_when_it_is_held(tmp_path: Path, run: Path, held: bool) -> None:
    asking = client(studio(tmp_path))
    with training(run) as (process, _):
        if held:
            asking.post("/api/runs/letters/pause")
        assert asking.post("/api/runs/letters/stop").status_code == 200
        assert process.wait(20) == 0
    assert asking.get("/api/runs/letters").json()["state"] == "interrupted"
    refused = asking.post("/api/runs/letters/pause")
    assert refused.status_code == 400 and refused.json()["detail"] == "run letters: nobody trains it now"


@needs_proc
def test_a_process_that_does_not_hold_the_lock_is_left_alone(tmp_path: Path, run: Path) -> None:
    """A lock file may name any process."""
    asking = client(studio(tmp_path))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        started = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        (run / "lock").write_text(f"{other.pid}\n{os.uname().nodename}\n{started}\n")
        for action in ("pause", "stop", "continue"):
            answer = asking.post(f"/api/runs/letters/{action}")
            assert answer.status_code == 400 and "is not its training" in answer.json()["detail"]
        assert processes.condition(other.pid) == "running"
        other.kill()


def test_several_processes_are_not_paused_and_another_machine_is_out_of_reach(tmp_path: Path, run: Path) -> None:
    (run / "environment.json").write_text(json.dumps({"processes": 2}))
    with training(run) as (process, _), pytest.raises(InputError, match="several processes"):
        processes.pause(run)
    process.wait()
    (run / "lock").write_text("12\nanother-machine\n34\n")
    (found,) = client(studio(tmp_path)).get("/api/runs").json()["runs"]
    assert (found["state"], found["elsewhere"]) == ("training", "another-machine")
    with pytest.raises(InputError, match="another-machine"):
        processes.stop(run)


def test_who_looks_does_not_take_the_lock(run: Path) -> None:
    with training(run) as (process, _):
        assert lock.holder(run) == lock.Holder(process.pid)
    assert lock.holder(run) is None  # it was killed, and its line is still there
    assert (run / "lock").read_text().startswith(str(process.pid))
    with lock.locked(run):
        assert lock.holder(run) == lock.Holder(os.getpid())
    for text in ("", "x\n", "-1\n", "99999999999\n", f"{os.getpid()}\n{os.uname().nodename}\n1\n"):
        (run / "lock").write_text(text)
        assert lock.holder(run) is None


def test_a_start_is_seen_before_its_run_and_after_it_came_to_nothing(tmp_path: Path, gate: Path) -> None:
    made = studio(tmp_path)
    asking = client(made)
    launch = made.launches.begin("new", "train", NOTHING, "data")
    (found,) = asking.get("/api/runs").json()["runs"]
    assert (found["name"], found["state"]) == ("new", "waiting")
    assert asking.get("/api/runs/new").json()["command"] == ["limner", *NOTHING]
    with pytest.raises(InputError, match="at work on it already"):
        made.launches.begin("new", "train", ["train"])
    assert asking.delete("/api/runs/new/start").status_code == 400
    again = studio(tmp_path)  # another studio finds it as well
    assert again.launches.find("new") == launch
    gate.touch()
    until(lambda: client(again).get("/api/runs").json()["runs"][0]["state"] == "failed")
    (found,) = asking.get("/api/runs").json()["runs"]
    assert found["state"] == "failed" and "no such recipe" in found["reason"]
    assert "$ limner recipes show nothing" in asking.get("/api/runs/new").json()["output"]
    assert asking.delete("/api/runs/new/start").status_code == 200
    assert asking.get("/api/runs").json()["runs"] == [] and asking.get("/api/runs/new").status_code == 404


def test_a_start_can_be_called_off(tmp_path: Path) -> None:
    made = studio(tmp_path)
    asking = client(made)
    launch = made.launches.begin("new", "train", ["make-data", "maps", str(tmp_path / "x"), "--count=100000"])
    assert asking.post("/api/runs/new/stop").json() == {"done": "called off"}
    until(lambda: not launch.is_alive)
    assert asking.post("/api/runs/new/stop").status_code == 400
    made.launches.reap()


@needs_proc
def test_a_note_is_no_reason_to_end_a_process(tmp_path: Path) -> None:
    """Whoever may write into the folder could name any process there."""
    made = studio(tmp_path)
    asking = client(made)
    launch = made.launches.begin("new", "train", ["make-data", "maps", str(tmp_path / "x"), "--count=100000"])
    other = subprocess.Popen(launch.command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        note = tmp_path / "runs" / ".studio" / "new.json"
        started = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        sound = note.read_text()
        note.write_text(json.dumps({**json.loads(sound), "process": other.pid, "started": started}))
        asked = asking.post("/api/runs/new/stop")
        assert asked.status_code == 400 and f"process {other.pid} was not started for it" in asked.text
        shutil.copy(note, note.with_name("old.json"))
        note.write_text(sound)
        shutil.copy(note, note.with_name("another.json"))  # nor is one of another run
        assert asking.post("/api/runs/another/stop").status_code == 400 and launch.is_alive
        assert asking.post("/api/runs/new/stop").json() == {"done": "called off"}
        until(lambda: not launch.is_alive)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_of_two_studios_that_start_the_same_run_one_does(tmp_path: Path) -> None:
    both = [Launches(Places(tmp_path, (tmp_path,))) for _ in range(2)]
    together = threading.Barrier(2)
    long = ["make-data", "maps", str(tmp_path / "x"), "--count=100000"]

    def begin(launches: Launches) -> str:
        together.wait()
        try:
            return str(launches.begin("new", "train", long).kind)
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        said = sorted(pool.map(begin, both))
    found = both[0].find("new")
    assert found is not None and said == [f"run new: process {found.process} is at work on it already", "train"]
    both[0].end("new")
    until(lambda: not found.is_alive)


def test_a_start_that_the_system_refuses_leaves_nothing(tmp_path: Path) -> None:
    launches = Launches(Places(tmp_path, (tmp_path,)))
    with pytest.raises(InputError, match="limner train: cannot be started"):
        launches.begin("new", "train", ["x" * 10_000_000])
    assert launches.names() == [] and [path.name for path in (tmp_path / ".studio").iterdir()] == ["lock"]


def test_a_training_killed_while_it_is_watched_can_be_resumed(tmp_path: Path, run: Path) -> None:
    asking = client(studio(tmp_path))
    _, newest = RunDir(run).checkpoints()[-1]
    RunDir(newest).write("state.json", {**RunDir(newest).read_json("state.json"), "ended": None})
    with training(run) as (process, _):
        assert asking.get("/api/runs/letters").json()["state"] == "training"
        process.kill()
        process.wait()
        found = asking.get("/api/runs/letters").json()
    assert found["state"] == "interrupted" and "can be resumed" in found["reason"]
    assert asking.post("/api/runs/letters/stop").status_code == 400


def test_what_a_resumed_training_complains_of_is_told_until_it_goes_on(tmp_path: Path, run: Path, gate: Path) -> None:
    made = studio(tmp_path)
    asking = client(made)
    append(RunDir(run), "events.jsonl", [{"event": "interrupted", "images": 64_000, "reason": ""}])
    assert asking.post("/api/runs/letters/resume", json={"images": 5, "minutes": 3}).status_code == 400
    assert asking.get("/api/runs/letters").json()["reason"] == ""
    launch = made.launches.begin("letters", "resume", NOTHING)
    assert asking.get("/api/runs/letters").json()["state"] == "waiting"
    gate.touch()
    until(lambda: not launch.is_alive)
    found = asking.get("/api/runs/letters").json()
    assert found["state"] == "interrupted" and "no such recipe" in found["reason"]
    time.sleep(0.02)
    append(RunDir(run), "events.jsonl", [{"event": "interrupted", "images": 64_128, "reason": ""}])
    assert asking.get("/api/runs/letters").json()["reason"] == ""
    with training(run):
        assert asking.post("/api/runs/letters/resume", json={}).status_code == 400


def test_notes_of_starts_that_are_damaged_are_no_starts(tmp_path: Path) -> None:
    places = Places(tmp_path, (tmp_path,))
    launches = Launches(places)
    (tmp_path / ".studio").mkdir()
    sound = {"kind": "train", "process": 5, "started": "1", "time": "", "data": "", "command": []}
    for number, values in enumerate(
        ({}, {**sound, "process": "5"}, {**sound, "process": 1}, {**sound, "kind": "rm"}, [])
    ):
        (tmp_path / ".studio" / f"{number}.json").write_text(json.dumps(values))
        assert launches.find(str(number)) is None
    (tmp_path / ".studio" / "good.json").write_text(json.dumps(sound))
    found = launches.find("good")
    assert found is not None and not found.is_alive
    assert launches.free_name("good") == "good-2"
    with pytest.raises(Missing):
        launches.find("../good")


def test_a_zombie_trains_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: processes.condition(process.pid) == "gone")  # it was not waited for yet
    process.wait()


@needs_proc
def test_a_lock_that_is_a_link_is_nobodys(tmp_path: Path, run: Path) -> None:
    """Any process may have a file of its own open that names it."""
    script = "import os, sys, time; f = open(sys.argv[1], 'w'); f.write(str(os.getpid())); f.flush(); time.sleep(60)"
    own = tmp_path / "own.pid"
    with subprocess.Popen([sys.executable, "-c", script, str(own)]) as process:
        until(lambda: own.is_file() and own.read_text() == str(process.pid))
        (run / "lock").unlink(missing_ok=True)
        (run / "lock").symlink_to(own)
        asking = client(studio(tmp_path))
        assert asking.get("/api/runs/letters").json()["state"] != "training"
        for action in ("pause", "stop"):
            assert asking.post(f"/api/runs/letters/{action}").status_code == 400
        time.sleep(0.2)
        assert process.poll() is None
        process.kill()


def test_stopping_twice_saves_all_the_same(tmp_path: Path, run: Path) -> None:
    asking = client(studio(tmp_path))
    with training(run) as (process, _):
        first, _ = (asking.post("/api/runs/letters/stop").status_code for _ in range(2))
        assert first == 200
        assert process.wait(20) == 0


@needs_proc
def test_directories_in_the_place_of_files_take_no_descriptors(tmp_path: Path, run: Path) -> None:
    asking = client(studio(tmp_path))
    for name in ("log.jsonl", "metrics.jsonl", "samples/000000005.png"):
        path = run / name
        path.unlink(missing_ok=True)
        path.mkdir()

    def ask() -> int:
        for address in ("letters", "letters/curves", "letters/samples/5.png"):
            asking.get(f"/api/runs/{address}")
        return len(os.listdir("/proc/self/fd"))

    assert max(ask() for _ in range(10)) <= ask() + 2


def test_what_cannot_be_noted_does_not_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = Launches(Places(tmp_path, (tmp_path,)))
    children = []
    real = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *words, **more: children.append(real(*words, **more)) or children[-1]
    )

    def full(path: Path, content: bytes) -> None:
        raise LimnerError("there is no room")

    monkeypatch.setattr("limner.studio.launches.atomic_write", full)
    with pytest.raises(InputError, match="no room"):
        launches.begin("one", "train", NOTHING)
    assert children[0].poll() is not None
