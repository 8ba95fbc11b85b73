"""What a generator and a training can show: pictures by seed, a walk through the latents, a training as it went on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from limner import imaging
from limner.errors import InputError
from limner.generator import BATCH, TrainedGenerator, walk
from limner.rundir import DATA, RunDir

MOST_FRAMES = 160
SHEET_MOST = 400


def latent_walk(
    generator: TrainedGenerator, *, seed: int, keys: int, seconds: float, frames_per_second: int, tiles: int, side: int
) -> list[Image.Image]:
    """Frames of a seamless loop: every tile walks from seed to seed and back to its first.

    Args:
        generator: what draws.
        seed: the first seed; tiles take consecutive ones.
        keys: seeds that each tile visits.
        seconds: length of the loop.
        frames_per_second: rate.
        tiles: pictures side by side in a frame.
        side: longer side of a frame in pixels, at least; small pictures are enlarged in whole multiples.
    """
    steps = max(1, round(seconds * frames_per_second / keys))
    seeds = seed + np.arange(tiles * keys).reshape(tiles, keys)
    walks = np.stack([walk(generator.latents(one), steps) for one in seeds])
    frames = []
    for latents in walks.swapaxes(0, 1):
        sheet = imaging.grid(generator.draw(latents), gap=None if tiles > 1 else 0)
        frames.append(imaging.enlarged(sheet, side))
    return frames


def timelapse(run: RunDir, side: int) -> list[Image.Image]:
    """One frame for each grid that a training left, with the images and epochs seen in a caption.

    At most 160 frames, evenly chosen, the first and last among them.

    Args:
        run: the training.
        side: longer side of a frame in pixels, at most.

    Raises:
        InputError: there is no grid yet.
    """
    grids = run.samples()
    if not grids:
        raise InputError(f"{run.path}: has no sample grids yet")
    if len(grids) > MOST_FRAMES:
        grids = [grids[place] for place in np.unique(np.linspace(0, len(grids) - 1, MOST_FRAMES).round().astype(int))]
    data = run.read_json(DATA)
    epoch_size = int(data["count"]) - int(data["held_out"]["count"])
    frames = []
    for images, path in grids:
        with Image.open(path) as opened:
            picture = imaging.flat(opened.copy())  # opened lazily: the file is closed below
        if max(picture.size) > side:
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        frames.append(imaging.captioned(picture, f"{images:,} images    epoch {images / epoch_size:.1f}"))
    return frames


def timelapse_milliseconds(frames: int) -> list[int]:
    """How long each frame of a timelapse is shown: some eight seconds in all, and a rest on the last one."""
    each = max(60, min(400, 8000 // max(1, frames)))
    return [*[each] * (frames - 1), 2500]


def check_name(path: Path) -> None:
    """Find out before the work begins whether a film of that name can be written.

    Raises:
        InputError: the name ends in neither ``.gif`` nor ``.mp4``, or there is no encoder for it.
    """
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise InputError(f"--out {path}: must end in .gif or .mp4")
    if path.suffix.lower() == ".mp4":
        imaging.encoder()


def save(path: Path, frames: Sequence[Image.Image], timing: int | Sequence[int]) -> None:
    """Write a film where its name asks for it.

    Args:
        path: ends in ``.gif`` or ``.mp4``.
        frames: all of one size.
        timing: frames per second, or milliseconds for each frame.

    Raises:
        InputError: see :func:`check_name`, or it cannot be written.
    """
    check_name(path)
    milliseconds = [max(20, round(1000 / timing))] * len(frames) if isinstance(timing, int) else list(timing)
    if path.suffix.lower() == ".gif":
        write(path, imaging.gif_bytes(frames, milliseconds))
    else:
        write(path, imaging.mp4_bytes(frames, milliseconds))


def draw_pictures(generator: TrainedGenerator, count: int, seed: int, directory: Path) -> Path:
    """Draw pictures of consecutive seeds: one PNG each, named by its seed, and a sheet of the first 400.

    Returns:
        the sheet's path.

    Raises:
        InputError: they cannot be written.
    """
    sheet: list[imaging.Batch] = []
    for start in range(0, count, BATCH):
        seeds = range(seed + start, seed + min(count, start + BATCH))
        pictures = generator.draw(generator.latents(seeds))
        if start < SHEET_MOST:
            sheet.append(pictures)
        for number, pixels in zip(seeds, pictures, strict=True):
            write(directory / f"seed-{number:06d}.png", imaging.png_bytes(imaging.to_image(pixels)))
    path = directory / "sheet.png"
    pictures = np.concatenate(sheet)[:SHEET_MOST]
    write(path, imaging.png_bytes(imaging.enlarged(imaging.grid(pictures), 512)))
    return path


def write(path: Path, content: bytes) -> None:
    """Write a file that the user asked for, making its directory.

    Raises:
        InputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written ({error.strerror or error})") from None
