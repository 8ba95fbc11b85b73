"""Settings and small collections, for the tests of the cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from limner.data import cache

REAL = os.environ.get("LIMNER_TEST_DATA", "")


@dataclass(frozen=True)
class Settings:
    """The recipe's ``image`` section."""

    width: int | None = None
    height: int | None = None
    channels: Any = None
    fit: Any = "crop"
    background: Any = "white"
    max_side: int = 64
    held_out: float = 0.0


SMALL = Settings(width=16, height=16, channels=3)


def save(path: Path, colour: object, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)  # type: ignore[arg-type]


def settled(folder: Path) -> Path:
    """Files that are old enough to be remembered by their time."""
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    return folder


@pytest.fixture
def levels(tmp_path: Path) -> Path:
    """Twelve grey levels as RGB PNGs."""
    for index in range(12):
        save(tmp_path / "set" / f"{index:02}.png", (index * 20,) * 3)
    return settled(tmp_path / "set")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(cache, "build", refuse)
    monkeypatch.setattr(cache, "take_sample", refuse)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
