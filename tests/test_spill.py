"""Room for many pictures: memory for some, a file for more than anybody has memory for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from limner.data import spill
from limner.generator import in_portions


def test_few_are_in_memory_and_many_in_a_file_that_goes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(spill, "LIMIT", 1000)
    few = spill.room_for((10, 10, 10))
    assert type(few) is np.ndarray and few.shape == (10, 10, 10) and not (tmp_path / "cache").exists()
    many = spill.room_for((11, 10, 10))
    assert isinstance(many, np.memmap) and many.shape == (11, 10, 10) and many.dtype == np.uint8
    many[:] = np.arange(1100).reshape(11, 10, 10) % 251
    assert (np.asarray(many).reshape(-1) == np.arange(1100) % 251).all()
    assert not any((tmp_path / "cache").iterdir())  # nothing that a killed process could leave
    assert (spill.held(10, 100), spill.held(11, 100)) == (1000, 0)


def test_a_system_that_cannot_reserve_room_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    monkeypatch.setattr(spill, "LIMIT", 1000)
    monkeypatch.setattr(spill, "_PORTION", 300)
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    many = spill.room_for((11, 10, 10))
    assert isinstance(many, np.memmap) and not many.any()
    many[-1, -1, -1] = 7
    assert int(many.sum()) == 7


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room on a disk")
def test_a_full_disk_is_memory_after_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(spill, "LIMIT", 1000)

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert type(spill.room_for((2000,))) is np.ndarray
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "file"))
    assert type(spill.room_for((2000,))) is np.ndarray


def test_what_is_drawn_is_the_same_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    pictures = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    drawn = in_portions(lambda part: pictures[part], 9, 4)
    monkeypatch.setattr(spill, "LIMIT", 100)
    spilled = in_portions(lambda part: pictures[part], 9, 4)
    assert isinstance(spilled, np.memmap) and (spilled == drawn).all() and (drawn == pictures).all()
