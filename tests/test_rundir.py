"""The run directory: whole files or none, free names, old checkpoints gone."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from limner import rundir
from limner.errors import InputError, LimnerError
from limner.recipe import Recipe
from limner.rundir import RunDir


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
    run.save_checkpoint(100, {rundir.STATE: b"{}", rundir.TRAINING: b""}, keep=2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(LimnerError):
        run.save_checkpoint(200, {rundir.STATE: b"{}", rundir.TRAINING: b""}, keep=2)
    monkeypatch.undo()
    assert [images for images, _ in run.checkpoints()] == [100]
    assert [path.name for path in (run.path / rundir.CHECKPOINTS).iterdir()] == ["000000100"]


def test_a_checkpoint_that_cannot_take_anothers_place_leaves_it(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    run.save_checkpoint(100, {rundir.STATE: b"first", rundir.TRAINING: b""}, keep=2)
    rename, names = Path.rename, []

    def fail_second(self: Path, target: Path) -> Path:
        names.append(self.name)
        if len(names) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(LimnerError, match="No space left"):
        run.save_checkpoint(100, {rundir.STATE: b"second", rundir.TRAINING: b""}, keep=2)
    monkeypatch.undo()
    assert (run.newest_checkpoint()[1] / rundir.STATE).read_bytes() == b"first"
    assert [path.name for path in (run.path / rundir.CHECKPOINTS).iterdir()] == ["000000100"]


def test_lines_that_cannot_be_read_are_passed_over_and_take_no_other_with_them(run: RunDir):
    run.append(rundir.EVENTS, {"event": "started", "images": 0})
    with (run.path / rundir.EVENTS).open("a") as file:
        file.write('{"images": "3"}\n{"images": null}\n[1]\n{"event": "collapse", "ima')
    run.append(rundir.EVENTS, {"event": "resumed", "images": 8})
    assert [record["event"] for record in run.records(rundir.EVENTS)] == ["started", "resumed"]


def test_a_checkpoint_without_its_weights_is_none(run: RunDir):
    run.save_checkpoint(100, {rundir.STATE: b"{}", rundir.TRAINING: b""}, keep=2)
    run.save_checkpoint(200, {rundir.STATE: b"{}"}, keep=2)
    assert run.newest_checkpoint()[0] == 100


def test_checkpoints_are_bounded_and_replaced_by_themselves(run: RunDir):
    for images in (100, 200, 300, 300):
        run.save_checkpoint(images, {rundir.STATE: str(images).encode(), rundir.TRAINING: b"", "x": b"1"}, keep=2)
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
