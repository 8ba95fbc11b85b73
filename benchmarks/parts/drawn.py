"""Collections that are made for a measurement: photographs, small pictures in a zip, an IDX file. Nothing is
downloaded."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

PHOTO_QUALITY = 90


def picture(random: np.random.Generator, width: int, height: int, channels: int, grain: int = 12) -> Image.Image:
    """Something like a photograph: smooth areas of a sixteenth of a side, and some grain."""
    coarse = random.integers(0, 256, (max(2, height // 16), max(2, width // 16), channels), dtype=np.uint8)
    flat = coarse[..., 0] if channels == 1 else coarse
    smooth = np.asarray(Image.fromarray(flat).resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    noise = random.integers(-grain, grain + 1, smooth.shape, dtype=np.int16)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str) -> bytes:
    """The bytes of a JPEG or PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": PHOTO_QUALITY} if kind == "JPEG" else {"compress_level": 1}))
    return buffer.getvalue()


def zipped(path: Path, count: int, size: tuple[int, int], kind: str, channels: int = 3) -> Path:
    """A zip of so many pictures, stored."""
    random = np.random.default_rng(0)
    ending = {"JPEG": "jpg", "PNG": "png"}[kind]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(count):
            archive.writestr(f"{number:06d}.{ending}", encoded(picture(random, *size, channels), kind))
    return path


def idx(folder: Path, count: int, side: int = 28) -> Path:
    """A folder with an IDX file of grey pictures with soft blobs, as Fashion-MNIST's files are: what it learns does
    not matter."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    middle = random.uniform(0.25, 0.75, (2, count, 1, 1)).astype(np.float32) * side
    width = random.uniform(0.1, 0.3, (count, 1, 1)).astype(np.float32) * side
    path = folder / "train-images-idx3-ubyte"
    with path.open("wb") as file:
        file.write(struct.pack(">BBBBIII", 0, 0, 8, 3, count, side, side))
        for start in range(0, count, 4096):
            part = slice(start, min(count, start + 4096))
            distance = (rows - middle[0, part]) ** 2 + (columns - middle[1, part]) ** 2
            file.write((255 * np.exp(-distance / width[part] ** 2)).astype(np.uint8).tobytes())
    return path


def collection(data: Path | None, name: str) -> Path | None:
    """A real collection by its name, where there is one."""
    found = None if data is None else data / name
    return found if found is not None and found.exists() else None
