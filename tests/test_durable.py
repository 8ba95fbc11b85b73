"""Files and directories that are whole or not there: the order of system calls, and what is left when one fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from limner import durable
from limner.durable import append_line, atomic_write, discard, is_leaving, remove_tree, write_together
from limner.errors import LimnerError

FILES = {"a": b"first", "b/c": b"second"}


class Calls:
    """Stands where the system's calls are: notes them, and lets one fail."""

    def __init__(self, failing: int = -1, number: int = errno.ENOSPC) -> None:
        self.noted: list[str] = []
        self.failing, self.number = failing, number

    def __getattr__(self, name: str) -> Any:
        call = getattr(os, name)

        def noted(*arguments: Any) -> Any:
            self.noted.append(name)
            if len(self.noted) - 1 == self.failing:
                raise OSError(self.number, os.strerror(self.number))
            return call(*arguments)

        return noted


def content(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_a_file_is_synced_before_it_has_its_name_and_the_name_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = Calls()
    monkeypatch.setattr(durable, "system", calls)
    atomic_write(tmp_path / "file", b"content")
    assert calls.noted == ["open", "write", "fsync", "close", "replace", "fsync"]


def test_a_directory_is_synced_inside_out_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = Calls()
    monkeypatch.setattr(durable, "system", calls)
    write_together(tmp_path / "new", FILES)
    written = ["open", "write", "fsync", "close"]
    assert calls.noted == ["mkdir", "mkdir", *written, *written, "fsync", "fsync", "rename", "fsync"]
    assert content(tmp_path) == {"new/a": b"first", "new/b/c": b"second"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("exists", [False, True])
def test_whatever_call_fails_a_directory_is_the_old_one_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool, number: int
):
    new = {f"final/{name}": value for name, value in FILES.items()}
    old = {"final/a": b"old"} if exists else {}
    outcomes = []
    for failing in range(100):
        place = tmp_path / str(failing)
        place.mkdir()
        if exists:
            write_together(place / "final", {"a": b"old"})
        calls = Calls(failing, number)
        monkeypatch.setattr(durable, "system", calls)
        try:
            write_together(place / "final", FILES)
            failed = False
        except LimnerError as error:
            assert str(error) == f"{place / 'final'}: cannot be written ({os.strerror(number)})"
            failed = True
        finally:
            monkeypatch.setattr(durable, "system", os)
        found = {name: value for name, value in content(place).items() if name.startswith("final")}
        assert found == new if not failed else found in (old, new)
        outcomes.append((failed, found == new))
        if len(calls.noted) <= failing:
            break
    assert len(outcomes) >= 15 and not outcomes[-1][0]
    assert outcomes.count((True, True)) == 1, "only the last sync fails when the new one is in place"


def test_a_line_that_finds_no_room_is_not_there_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = tmp_path / "log"
    append_line(log, b"one")

    class Full(Calls):
        def __getattr__(self, name: str) -> Any:
            if name != "write":
                return getattr(os, name)

            def half(descriptor: int, left: memoryview) -> int:
                if self.noted:
                    raise OSError(errno.ENOSPC, "No space left on device")
                self.noted.append("half")
                return os.write(descriptor, left[:2])

            return half

    monkeypatch.setattr(durable, "system", Full())
    with pytest.raises(OSError, match="No space left"):
        append_line(log, b"second")
    monkeypatch.undo()
    assert log.read_bytes() == b"one\n"
    append_line(log, b"third")
    assert log.read_bytes() == b"one\nthird\n"


def test_half_a_line_is_ended_by_the_next(tmp_path: Path):
    (tmp_path / "log").write_bytes(b"one\ntw")
    append_line(tmp_path / "log", b"three")
    assert (tmp_path / "log").read_bytes() == b"one\ntw\nthree\n"


def test_what_goes_is_out_of_its_place_before_it_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("one", "two"):
        write_together(tmp_path / name, FILES)
    calls = Calls()
    monkeypatch.setattr(durable, "system", calls)
    discard(tmp_path / "one", tmp_path / "two")
    assert calls.noted[:3] == ["rename", "rename", "fsync"] and list(tmp_path.iterdir()) == []


def test_nothing_outside_is_removed_through_a_link(tmp_path: Path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"mine")
    write_together(tmp_path / "going", FILES)
    (tmp_path / "going" / "link").symlink_to(tmp_path / "kept")
    discard(tmp_path / "going")
    assert content(tmp_path) == {"kept/file": b"mine"}


def test_leavings_are_of_the_dead(tmp_path: Path):
    assert is_leaving(tmp_path / ".tmp-999999999-file") and is_leaving(tmp_path / ".tmp-replaced-best")
    for name in (f".tmp-{os.getpid()}-file", f".tmp-{os.getppid()}-file", "file"):
        assert not is_leaving(tmp_path / name)


def test_a_directory_that_cannot_be_synced_is_no_failure_but_a_broken_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(durable, "system", Calls(5, errno.EINVAL))
    atomic_write(tmp_path / "file", b"content")
    monkeypatch.setattr(durable, "system", Calls(5, errno.EIO))
    with pytest.raises(LimnerError, match="Input/output error"):
        atomic_write(tmp_path / "file", b"content")


def test_folders_nested_deeper_than_python_goes_are_removed(tmp_path: Path):
    root = os.open(tmp_path, os.O_RDONLY)
    for name in ("top", *["d"] * 1500):
        os.mkdir(name, dir_fd=root)
        inner = os.open(name, os.O_RDONLY, dir_fd=root)
        os.close(root)
        root = inner
    os.close(root)
    remove_tree(tmp_path / "top")
    assert not any(tmp_path.iterdir())
