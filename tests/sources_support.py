"""Small files to read, for the tests of sources."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from limner.data.sources import open_source

REAL = os.environ.get("LIMNER_TEST_DATA", "")


def png(value: int = 0, size: tuple[int, int] = (16, 16), mode: str = "L") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, (value,) * len(mode) if len(mode) > 1 else value).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def run_directory(folder: Path) -> Path:
    """As much of a training's own directory as makes it one."""
    (folder / "checkpoints").mkdir(parents=True)
    return write(folder, {"recipe.toml": b"", "samples/000000100.png": png(), "checkpoints/000000100/x.png": png()})


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def idx_bytes(array: np.ndarray, code: int = 0x08) -> bytes:
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def names(location: Path | str) -> list[str]:
    return [entry.name for entry in open_source(location).entries]


# Arrays


def read_all(location: Path) -> list[np.ndarray]:
    source = open_source(location)
    return [np.asarray(source.read(index)) for index in range(len(source.entries))]


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 12, 10), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)
