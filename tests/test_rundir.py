"""The run directory: whole files or none, free names, old checkpoints gone."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from limner import durable, rundir
from limner.errors import InputError, LimnerError
from limner.recipe import Recipe
from limner.rundir import RunDir

FILES = {rundir.STATE: b'{"format": 2}', rundir.TRAINING: b"", rundir.GENERATOR: b""}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = RunDir.create(tmp_path / "runs", None, "maps")
    made.write(rundir.RECIPE, Recipe.load("quick").to_toml())
    return made


def test_default_names_are_free_and_given_ones_must_be(tmp_path: Path):
    names = [RunDir.create(tmp_path, None, "maps").path.name for _ in range(3)]
    assert names == ["maps", "maps-2", "maps-3"]
    with pytest.raises(InputError, match=r"--name maps-2: .* exists already"):
        RunDir.create(tmp_path, "maps-2", "other")
    assert RunDir.create(tmp_path, "mine", "other").path.name == "mine"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\0b", "x" * 201])
def test_names_that_are_no_directory_names(tmp_path: Path, name: str):
    with pytest.raises(InputError, match="plain name"):
        RunDir.create(tmp_path, name, "maps")
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="--runs"):
            RunDir.create(place, None, "maps")


def test_checking_leaves_nothing_behind(tmp_path: Path):
    RunDir.check(tmp_path / "new" / "runs", None)
    assert list(tmp_path.iterdir()) == []
    RunDir.create(tmp_path, "taken", "")
    with pytest.raises(InputError, match="exists already"):
        RunDir.check(tmp_path, "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_opening_what_is_none(tmp_path: Path):
    with pytest.raises(InputError, match="no such run directory"):
        RunDir.open(tmp_path / "missing")
    with pytest.raises(InputError, match="is not a run directory"):
        RunDir.open(tmp_path)


def test_a_failed_write_leaves_the_old_file(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    run.write("data.json", {"count": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LimnerError, match=r"data.json: cannot be written \(No space left on device\)") as caught:
        run.write("data.json", {"count": 2})
    assert caught.value.exit_code == 1
    monkeypatch.undo()
    assert run.read_json("data.json") == {"count": 1}
    assert not [path for path in run.path.iterdir() if "tmp" in path.name]


def test_a_failed_checkpoint_leaves_those_before(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    run.save_checkpoint(100, FILES, keep=2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(LimnerError):
        run.save_checkpoint(200, FILES, keep=2)
    monkeypatch.undo()
    assert [images for images, _ in run.checkpoints()] == [100]
    assert [path.name for path in (run.path / rundir.CHECKPOINTS).iterdir()] == ["000000100"]


def test_a_checkpoint_that_cannot_take_anothers_place_leaves_it(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    run.save_checkpoint(100, {**FILES, rundir.TRAINING: b"first"}, keep=2)
    rename, names = os.rename, []

    def fail_second(old: Path, new: Path) -> None:
        names.append(old.name)
        if len(names) == 2:
            raise OSError(errno.EIO, "Input/output error")
        rename(old, new)

    monkeypatch.setattr(durable.system, "rename", fail_second)
    with pytest.raises(LimnerError, match="Input/output error"):
        run.save_checkpoint(100, {**FILES, rundir.TRAINING: b"second"}, keep=2)
    monkeypatch.undo()
    assert len(names) == 3, "the old one's way out, the new one's way in, the old one's way back"
    assert (run.newest_checkpoint()[1] / rundir.TRAINING).read_bytes() == b"first"
    assert [path.name for path in (run.path / rundir.CHECKPOINTS).iterdir()] == ["000000100"]


def test_lines_that_cannot_be_read_are_passed_over_and_take_no_other_with_them(run: RunDir):
    run.append(rundir.EVENTS, {"event": "started", "images": 0})
    with (run.path / rundir.EVENTS).open("a") as file:
        file.write('{"images": "3"}\n{"images": null}\n[1]\n{"event": "collapse", "ima')
    run.append(rundir.EVENTS, {"event": "resumed", "images": 8})
    assert [record["event"] for record in run.records(rundir.EVENTS)] == ["started", "resumed"]


def test_a_checkpoint_without_its_weights_is_none(run: RunDir):
    run.save_checkpoint(100, FILES, keep=2)
    run.save_checkpoint(200, {rundir.STATE: FILES[rundir.STATE]}, keep=2)
    assert run.newest_checkpoint()[0] == 100


def test_checkpoints_are_bounded_and_replaced_by_themselves(run: RunDir):
    for images in (100, 200, 300, 300):
        run.save_checkpoint(images, {**FILES, "x": b"1"}, keep=2)
    assert [images for images, _ in run.checkpoints()] == [200, 300]
    assert run.newest_checkpoint()[0] == 300


def test_half_written_checkpoints_are_not_seen_and_are_swept(run: RunDir):
    torn = run.path / rundir.CHECKPOINTS / ".tmp-1-000000100"
    torn.mkdir()
    (torn / rundir.STATE).write_text("{}")
    (run.path / rundir.CHECKPOINTS / "000000050").mkdir()
    with pytest.raises(InputError, match="has no checkpoint"):
        run.newest_checkpoint()
    run.sweep()
    assert not torn.exists()


def test_logs_survive_a_torn_last_line_and_rewind(run: RunDir):
    for images in (10, 20, 30):
        run.append(rundir.LOG, {"images": images})
        run.save_samples(images, b"png")
    with (run.path / rundir.LOG).open("a") as file:
        file.write('{"images": 4')
    assert [record["images"] for record in run.records(rundir.LOG)] == [10, 20, 30]
    run.rewind(20)
    assert [record["images"] for record in run.records(rundir.LOG)] == [10, 20]
    assert [images for images, _ in run.samples()] == [10, 20]
    assert list(run.records("missing.jsonl")) == []


def test_damaged_json_is_an_error_in_words(run: RunDir):
    for content in ("{", "[1]"):
        (run.path / "data.json").write_text(content)
        with pytest.raises(InputError, match=r"data.json: is damaged"):
            run.read_json("data.json")
    with pytest.raises(InputError, match="cannot be read"):
        run.read_json("missing.json")


def refusing(monkeypatch: pytest.MonkeyPatch, name: str, number: int = errno.ENOSPC) -> None:
    """Let one of the system's calls fail from here on."""

    def fail(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(durable.system, name, fail)


def test_lines_that_find_no_room_are_kept_and_written_before_the_next_checkpoint(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
):
    said: list[str] = []
    run.append(rundir.LOG, {"images": 8})
    with monkeypatch.context() as full:
        refusing(full, "write")
        with pytest.raises(LimnerError, match="No space left"):
            run.append(rundir.LOG, {"images": 9})  # nobody is told: it is an error
        run.on_trouble = said.append
        run.append(rundir.LOG, {"images": 16})
        run.append(rundir.EVENTS, {"event": "collapse", "images": 16})
        run.save_samples(16, b"picture")
        assert (
            len(said) == 1 and "log.jsonl: cannot be written (No space left on device); the training goes on" in said[0]
        )
        assert [record["images"] for record in run.records(rundir.LOG)] == [8, 16], "they count as written"
        with pytest.raises(LimnerError, match="No space left"):
            run.sync()
    run.sync()
    run.relieved()
    assert len(said) == 2 and "is written to again" in said[1]
    again = RunDir(run.path)
    assert [record["images"] for record in again.records(rundir.LOG)] == [8, 16]
    assert [record["event"] for record in again.records(rundir.EVENTS)] == ["collapse"]
    assert [path.read_bytes() for _, path in again.samples()] == [b"picture"]


def test_a_log_that_could_not_be_synced_is_written_again_whole(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    """The system forgets after a failed sync what it could not write: syncing once more would be a lie."""
    run.append(rundir.LOG, {"images": 8})
    before = (run.path / rundir.LOG).stat().st_ino
    with monkeypatch.context() as broken:
        refusing(broken, "fsync", errno.EIO)
        with pytest.raises(LimnerError, match=r"log.jsonl: cannot be written \(Input/output error\)"):
            run.sync()
    run.sync()
    assert (run.path / rundir.LOG).stat().st_ino != before
    assert [record["images"] for record in run.records(rundir.LOG)] == [8]
    after = (run.path / rundir.LOG).stat().st_ino
    run.sync()
    assert (run.path / rundir.LOG).stat().st_ino == after


def test_what_was_found_after_a_checkpoint_is_forgotten_and_what_people_did_is_not(run: RunDir):
    for event in (
        {"event": "started", "images": 0},
        {"event": "collapse", "images": 30, "attempt": 0},
        {"event": "rollback", "images": 30, "attempt": 1},
        {"event": "interrupted", "images": 50},
        {"event": "mild", "images": 20, "attempt": 1},
        {"event": "collapse", "images": 40, "attempt": 1},
        {"event": "rollback", "images": 40, "attempt": 2},
    ):
        run.append(rundir.EVENTS, event)

    def told() -> list[tuple[str, int]]:
        return [(record["event"], record["images"]) for record in run.records(rundir.EVENTS)]

    run.rewind(20)
    assert len(told()) == 7, "going back is a part of the story"
    first = [("started", 0), ("collapse", 30), ("rollback", 30), ("interrupted", 50), ("mild", 20)]
    run.rewind(20, attempt=1)
    assert told() == first
    run.rewind(20, attempt=0)
    assert told() == [("started", 0), ("interrupted", 50)]


def test_what_a_living_process_writes_beside_a_training_is_not_swept(run: RunDir):
    (run.path / rundir.EVALUATION).mkdir()
    for directory, number in (
        (rundir.EVALUATION, os.getppid()),
        (rundir.EVALUATION, 999999999),
        (rundir.CHECKPOINTS, 7),
    ):
        (run.path / directory / f".tmp-{number}-000000040").mkdir()
    run.sweep()
    assert [path.name for path in run.path.rglob(".tmp-*")] == [f".tmp-{os.getppid()}-000000040"]


def test_a_state_that_cannot_be_read_is_not_the_healthy_one(run: RunDir):
    for images in (100, 200, 300):
        healthy = b'{"format": 2, "healthy": %s}' % (b"true" if images == 100 else b"false")
        run.save_checkpoint(images, {**FILES, rundir.STATE: healthy}, keep=3)
    (dict(run.checkpoints())[300] / rundir.STATE).write_bytes(b"{")
    run.save_checkpoint(400, {**FILES, rundir.STATE: b'{"format": 2, "healthy": false}'}, keep=1)
    assert [images for images, _ in run.checkpoints()] == [100, 400]


def test_where_there_is_no_room_older_checkpoints_go_first_but_never_the_newest(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
):
    for images in (100, 200, 300):
        healthy = b'{"format": 2, "healthy": %s}' % (b"true" if images == 200 else b"false")
        run.save_checkpoint(images, {**FILES, rundir.STATE: healthy}, keep=3)
    attempts: list[list[int]] = []

    def write() -> None:
        attempts.append([images for images, _ in run.checkpoints()])
        if len(attempts) == 1:
            raise LimnerError("no room") from OSError(errno.ENOSPC, "No space left on device")

    run.with_room(write)
    assert attempts == [[100, 200, 300], [200, 300]], "the newest healthy one stays as well"

    def broken() -> None:
        attempts.append([])
        raise LimnerError("broken") from OSError(errno.EIO, "Input/output error")

    with pytest.raises(LimnerError, match="broken"):
        run.with_room(broken)
    assert len(attempts) == 3 and len(run.checkpoints()) == 2, "removing something mends no disk"


def test_a_run_that_has_its_name_is_not_called_taken_when_the_place_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The rename succeeds, making it durable does not: exit code 1, and the run can be gone on with."""

    def broken(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with RunDir.draft(tmp_path / "runs", "mine", "") as draft:
        with monkeypatch.context() as patch:
            patch.setattr("limner.rundir.sync_directory", broken)
            patch.setattr(RunDir, "sync", lambda self: None)
            with pytest.raises(LimnerError, match="runs: cannot be written") as told:
                draft.publish()
        assert told.value.exit_code == 1 and draft.path == tmp_path / "runs" / "mine"
        draft.publish()  # it has its name
    assert (tmp_path / "runs" / "mine" / "samples").is_dir()
