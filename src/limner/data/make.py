"""Write a procedural collection as picture files, in a folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from limner import imaging, progress
from limner.data.decode import Decoded, Target
from limner.data.drawn import DrawnSource
from limner.data.parallel import default_workers
from limner.data.sources import Skipped
from limner.errors import InputError


def write_collection(name: str, out: Path, count: int | None, size: tuple[int, int], seed: int) -> int:
    """Draw a collection into a new or empty folder: ``OUT/<class>/<name>-<number>.png``.

    Args:
        name: a procedural collection.
        out: the folder; made when it is missing.
        count: how many pictures, 2 to a million; the collection's own choice by default.
        size: width and height, 8 to 1024 each.
        seed: another seed is another collection, 0 to 2**64 - 1.

    Returns:
        how many were written.

    Raises:
        InputError: no such collection, a wrong size or seed, or the folder holds something already or cannot be written.
    """
    if not all(8 <= side <= 1024 for side in size):
        raise InputError(f"--size {size[0]}x{size[1]}: each side must be 8 to 1024 pixels")
    if not 0 <= seed < 2**64:
        raise InputError(f"--seed {seed}: must be from 0 to 2**64 - 1")
    source = DrawnSource(f"procedural:{name}" + (f":{count}" if count else ""), size, seed)
    target = Target(*size, channels=1 if source.mode == "L" else 3)
    pictures = source.stream(target, default_workers()) or (
        Decoded(source.read(index), size, source.mode) for index in range(len(source.entries))
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise InputError(f"{out}: is not empty; name a new folder")
        with progress.counted(len(source.entries), "pictures") as advance:
            for entry, picture in zip(source.entries, pictures, strict=True):
                assert not isinstance(picture, Skipped)
                png = imaging.png_bytes(imaging.to_image(np.asarray(picture.pixels)))
                folder = out / (entry.label or ".")
                folder.mkdir(exist_ok=True)
                (folder / f"{entry.name}.png").write_bytes(png)
                advance()
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    return len(source.entries)
