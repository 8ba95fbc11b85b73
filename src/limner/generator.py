"""A trained generator: load it, sample from it, walk between its pictures. No training code is needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from limner import imaging, rundir
from limner.data.spill import room_for
from limner.device import autocast_for, choose_device, choose_precision, is_shortage, release_memory
from limner.drawing import BROKEN, SeededGenerator, at_once, check_seeds, class_grid, recipe_in, slerp, walk
from limner.errors import InputError
from limner.networks import build, place
from limner.networks.outline import check_weights, drawing_bytes, filled, outlines, physical_memory
from limner.recipe import Recipe
from limner.recipe.text import printable, shown

__all__ = [
    "TrainedGenerator",
    "at_once",
    "check_seeds",
    "class_grid",
    "in_portions",
    "load",
    "slerp",
    "walk",
]

FORMAT = "limner-generator-1"
PRECISIONS = ("float32", "bfloat16", "auto")
"""In which pictures can be drawn."""
HEADER_BYTES = 8 << 20
"""Of a generator's file: its recipe, and a line for each tensor."""
_TURNS = Lock()
_SHARING = {"users": 0, "threads": 0}
"""Who draws in lanes at the moment, and torch's threads before they did: what one thread sets, all that come later have."""


class TrainedGenerator(SeededGenerator):
    """A generator that is ready to draw. In float32, picture number ``seed`` is the same for ever, on every machine.

    Args:
        network: latents [B, Z] to images [B, C, H, W] in [-1, 1], in eval mode.
        recipe: the resolved recipe it was trained by.
        images: how many real images it had seen.
        name: what to call it.
        precision: what the network computes in: ``float32``, or ``bfloat16``, which may be faster. Pictures then differ from
            those in float32 by rounding, and may do so from machine to machine.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, images: int, name: str, precision: str = "float32") -> None:
        super().__init__(recipe, images, name)
        self.network = network.eval().requires_grad_(False)
        first = next(network.parameters())
        self._device, self._dtype = first.device, first.dtype
        self._turn = nullcontext() if self._device.type == "cpu" else Lock()
        self.precision, self._autocast = precision, autocast_for(precision, self._device)

    @contextmanager
    def lanes(self) -> Iterator[Executor]:
        """See :meth:`SeededGenerator.lanes`; on a processor each thread has its share of torch's threads."""
        if self._device.type != "cpu":
            with super().lanes() as threads:
                yield threads
            return
        with _TURNS:
            if not _SHARING["users"]:
                _SHARING["threads"] = torch.get_num_threads()
            _SHARING["users"] += 1
        whole = _SHARING["threads"]
        count = min(self.side_by_side, whole)
        try:
            with ThreadPoolExecutor(count, "limner-draw", torch.set_num_threads, (whole // count,)) as threads:
                yield threads
        finally:
            with _TURNS:
                _SHARING["users"] -= 1
                if not _SHARING["users"]:
                    torch.set_num_threads(whole)

    @torch.inference_mode()
    def draw(self, latents: Float[np.ndarray, "b z"], labels: Int[np.ndarray, " b"] | None = None) -> imaging.Batch:
        """Pictures from latents (see :meth:`SeededGenerator.draw`)."""
        labels = self.checked_labels(len(latents), labels)
        width, height = self.size
        empty = np.empty((0, height, width, self.recipe.image.channels or 0), dtype=np.uint8)

        def portion(part: slice) -> imaging.Batch:
            z: Tensor = torch.from_numpy(np.ascontiguousarray(latents[part]))
            known = () if labels is None else (torch.from_numpy(labels[part]).to(self._device),)
            with self._turn, self._autocast():  # a GPU draws for one thread at a time
                images = self.network(z.to(self._device, self._dtype), *known).float().cpu()
            return self.to_pixels(images.numpy())

        return in_portions(portion, len(latents), self.at_once) if len(latents) else empty


def in_portions(draw: Callable[[slice], imaging.Batch], count: int, most: int) -> imaging.Batch:
    """Pictures drawn some at once, as uint8 [B, H, W, C]; fewer at once from where memory runs out.

    Args:
        draw: those of a range.
        count: of all, 1 or more.
        most: at once.

    Raises:
        MemoryError, RuntimeError: there is no memory for a single one.
    """
    pixels: imaging.Batch | None = None
    start = 0
    while start < count:
        part = None
        try:
            part = draw(slice(start, min(count, start + most)))
        except (MemoryError, RuntimeError) as error:
            if most == 1 or not is_shortage(error):
                raise
        if part is None:  # out of the except clause, whose error holds on to the activations
            most = -(-most // 2)
            release_memory()
            continue
        if pixels is None:
            pixels = room_for((count, *part.shape[1:]))
        pixels[start : start + len(part)] = part
        start += len(part)
    assert pixels is not None
    return pixels


def load(path: str | Path, device: str = "cpu", at: str = "newest", precision: str = "float32") -> TrainedGenerator:
    """A generator from a run directory, a checkpoint, or a ``.safetensors`` file.

    Args:
        path: where it is.
        device: where it draws: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto`` for a GPU where there is one.
        at: which snapshot of a run directory: ``newest``, ``best``, or a number of images.
        precision: ``float32``, ``bfloat16``, or ``auto`` for the faster one (see :class:`TrainedGenerator`).

    Raises:
        InputError: there is none, the file is damaged or of another program, or there is no such device or precision.
    """
    where = choose_device(device)
    if precision not in PRECISIONS:
        raise InputError(f"precision {printable(precision)}: must be one of {', '.join(PRECISIONS)}")
    try:
        file = _generator_file(Path(path), at)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    _check_header(file)
    try:
        with safe_open(file, framework="pt") as opened:
            return _loaded(file, opened, where, choose_precision(precision, where))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{file}: is not a readable safetensors file ({printable(str(error), 200)})") from None


def _check_header(file: Path) -> None:
    """Find out whether a safetensors file's header may be read: its length is its first number.

    Raises:
        InputError: it is longer than any of Limner's, or than the file.
    """
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
        size = file.stat().st_size
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from None
    if not 0 < length <= min(HEADER_BYTES, size - 8):
        raise InputError(f"{file}: is not a readable safetensors file (a header of {length:,} bytes)")


def _loaded(file: Path, opened: Any, where: torch.device, precision: str) -> TrainedGenerator:
    """The generator in an opened file: all that it says is checked before its weights are read."""
    description = opened.metadata() or {}
    if description.get("format", "").startswith("limner-generator-") and description["format"] != FORMAT:
        raise InputError(f"{file}: is of a newer Limner (its format is {description['format']!r}); update Limner")
    if description.get("format") != FORMAT:
        found = shown(description.get("format"))
        raise InputError(f"{file}: is not a generator of Limner's (its format is {found})")
    recipe = recipe_in(description.get("recipe", ""), str(file))
    image = recipe.image
    if image.width is None or image.height is None or image.channels is None:
        raise InputError(f"{file}: its recipe does not say the size of its pictures")
    seen = description.get("images", "0")
    if not re.fullmatch(r"[0-9]{1,18}", seen):
        raise InputError(f"{file}: its metadata is damaged (images = {shown(seen)} is no count)")
    classes = len(recipe.network.classes or ()) if recipe.network.conditioning != "none" else 0
    try:
        with outlines():
            network, _ = build(recipe, width=image.width, height=image.height, channels=image.channels, classes=classes)
    except ValueError as error:
        raise InputError(f"{file}: its recipe makes no such pictures ({error})") from None
    names = list(opened.keys())
    slices = {name: opened.get_slice(name) for name in names}
    check_weights(network, {name: (part.get_shape(), part.get_dtype()) for name, part in slices.items()}, str(file))
    needed, room = drawing_bytes(network, recipe.network.latent, classes), physical_memory()
    if room is not None and where.type == "cpu" and needed > room:
        raise InputError(
            f"{file}: to draw a picture it would take {needed / 1e9:,.0f} GB, and this machine has {room / 1e9:,.0f} GB"
        )
    weights = {name: opened.get_tensor(name) for name in names}
    broken = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if broken:
        raise InputError(f"{file}: has weights that are no numbers ({printable(broken[0])}): {BROKEN}")
    network = filled(network, weights)
    place(network, where, torch.float32)
    made = TrainedGenerator(network, recipe, int(seen), printable(description.get("data", file.stem), 200), precision)
    made.licence = printable(description.get("licence", ""), 500)
    made.fit(needed)
    return made


def single(given: Path, at: str) -> None:
    """Find out whether a snapshot was asked for where there is only one.

    Raises:
        InputError: one was.
    """
    if at != "newest":
        raise InputError(
            f"{given}: holds one snapshot, so there is no choosing (--at {at}); take the run, or leave it out"
        )


def _generator_file(given: Path, at: str) -> Path:
    """The file that a path asks for. Raises InputError, and OSError where a directory may not be entered."""
    if given.is_file():
        single(given, at)
        return given
    if not given.is_dir():
        raise InputError(f"{given}: no such run directory or generator file")
    file = given / rundir.GENERATOR
    if file.is_file():
        single(given, at)
    elif (given / rundir.RECIPE).is_file():
        given = rundir.RunDir.open(given).snapshot(at, rundir.DRAWABLE)
        file = given / rundir.GENERATOR
    if file.is_file():
        return file
    parts = (rundir.STATE, rundir.TRAINING)
    if given.resolve().parent.name == rundir.CHECKPOINTS or any((given / name).is_file() for name in parts):
        raise InputError(f"{given}: this checkpoint has lost its {rundir.GENERATOR}")
    raise InputError(f"{given}: is neither a run directory (it has no {rundir.RECIPE}) nor a checkpoint")
