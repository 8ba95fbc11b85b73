"""A trained generator: load it, sample from it, walk between its pictures. No training code is needed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from limner import imaging, noise, rundir
from limner.device import choose_device
from limner.errors import InputError
from limner.networks import build, place
from limner.networks.outline import check_weights, drawing_bytes, filled, physical_memory
from limner.recipe import Recipe
from limner.recipe.text import nearest, printable, shown

if TYPE_CHECKING:
    from PIL.Image import Image

FORMAT = "limner-generator-1"
BATCH = 64
SEEDS = 2**64
"""How many there are."""
NAMED = 20
"""Classes that an error names, at most."""
PIXELS = 2**20
"""In pictures that are drawn at once, at most."""
HEADER_BYTES = 8 << 20
"""Of a generator's file: its recipe, and a line for each tensor."""
DRAWING_BYTES = 1 << 29
"""That drawing may take, where it can be done in smaller portions."""
COLUMNS = 16
"""With more classes than this, a grid has no column for each."""


class TrainedGenerator:
    """A generator that is ready to draw. Picture number ``seed`` is the same for ever, on every machine.

    Args:
        network: latents [B, Z] to images [B, C, H, W] in [-1, 1], in eval mode.
        recipe: the resolved recipe it was trained by.
        images: how many real images it had seen.
        name: what to call it.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, images: int, name: str) -> None:
        self.network = network.eval().requires_grad_(False)
        self.recipe, self.images, self.name = recipe, images, name
        self.at_once = at_once(recipe)
        """Pictures that are drawn at once."""
        first = next(network.parameters())
        self._device, self._dtype = first.device, first.dtype

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures."""
        image = self.recipe.image
        assert image.width is not None and image.height is not None
        return image.width, image.height

    @property
    def latent(self) -> int:
        """Length of a latent vector."""
        return self.recipe.network.latent

    def latents(self, seeds: Int[np.ndarray, " b"] | Sequence[int]) -> Float[np.ndarray, "b z"]:
        """The latent vector of each seed (0 to 2**64 - 1)."""
        return noise.sample_latents(np.asarray(seeds, dtype=np.uint64), self.latent)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that it can be asked for; empty without."""
        network = self.recipe.network
        return () if network.conditioning == "none" else tuple(network.classes or ())

    def labels(self, seeds: Int[np.ndarray, " b"] | Sequence[int]) -> Int[np.ndarray, " b"]:
        """The class of each seed (0 to 2**64 - 1), where no other is asked for: the seed modulo the number of classes.

        So a seed is one picture for ever, and consecutive seeds go through the classes in turn. Without classes: zeros.
        """
        classes = np.uint64(max(1, len(self.classes)))
        return (np.asarray(seeds, dtype=np.uint64) % classes).astype(np.int64)

    def label(self, asked: str | int) -> int:
        """The number of a class.

        Args:
            asked: its name (in capitals or not, where that is clear), or its number from 0.

        Raises:
            InputError: there is no such class, or no classes at all.
        """
        if not self.classes:
            raise InputError(
                f"label {printable(shown(asked))}: {self.name} was not trained on classes; leave the label out"
            )
        if isinstance(asked, str):
            alike = [number for number, name in enumerate(self.classes) if name.casefold() == asked.casefold()]
            if asked in self.classes or len(alike) == 1:
                return self.classes.index(asked) if asked in self.classes else alike[0]
            hint = nearest(asked, self.classes) or nearest(asked.casefold(), map(str.casefold, self.classes))
            raise InputError(f"label {printable(shown(asked))}: none of the classes ({self._named()}){printable(hint)}")
        if not 0 <= asked < len(self.classes):
            raise InputError(
                f"label {asked}: must be from 0 to {len(self.classes) - 1}; the classes are {self._named()}"
            )
        return int(asked)

    def _named(self) -> str:
        more = f" and {len(self.classes) - NAMED:,} more" if len(self.classes) > NAMED else ""
        return ", ".join(map(printable, self.classes[:NAMED])) + more

    @torch.inference_mode()
    def draw(self, latents: Float[np.ndarray, "b z"], labels: Int[np.ndarray, " b"] | None = None) -> imaging.Batch:
        """Pictures from latents, as uint8 [B, H, W, C].

        Args:
            latents: one a picture.
            labels: the class number of each; needed with classes (:meth:`labels` gives those of seeds).

        Raises:
            InputError: labels for a generator without classes.
            ValueError: no labels for one with classes, or labels that are none of its classes.
        """
        if labels is not None and not self.classes:
            raise InputError(f"labels: {self.name} was not trained on classes; leave them out")
        if labels is None and self.classes:
            raise ValueError(f"labels are needed: one of the {len(self.classes)} classes for each picture")
        if labels is not None:
            labels = np.asarray(labels, dtype=np.int64)
            if labels.shape != (len(latents),) or not ((labels >= 0) & (labels < len(self.classes))).all():
                raise ValueError(f"labels must be {len(latents)} class numbers from 0 to {len(self.classes) - 1}")
        width, height = self.size
        pixels = np.empty((len(latents), height, width, self.recipe.image.channels or 0), dtype=np.uint8)
        batch = self.at_once
        for start in range(0, len(latents), batch):
            z: Tensor = torch.from_numpy(np.ascontiguousarray(latents[start : start + batch]))
            known = () if labels is None else (torch.from_numpy(labels[start : start + batch]).to(self._device),)
            images = self.network(z.to(self._device, self._dtype), *known)
            pixels[start : start + batch] = imaging.to_uint8(images.float().cpu().numpy())
        return pixels

    def draw_seeds(self, seeds: Int[np.ndarray, " b"] | Sequence[int], label: str | int | None = None) -> imaging.Batch:
        """Pictures of seeds, as uint8 [B, H, W, C]: each of its own class (see :meth:`labels`), or all of one.

        Raises:
            InputError: there is no such class.
        """
        if label is None:
            return self.draw(self.latents(seeds), self.labels(seeds) if self.classes else None)
        return self.draw(self.latents(seeds), np.full(len(seeds), self.label(label)))

    def sample(self, count: int, seed: int = 0, label: str | int | None = None) -> list[Image]:
        """``count`` new pictures: those of seeds ``seed``, ``seed + 1``, and so on (L, RGB or RGBA).

        Args:
            count: how many.
            seed: of the first.
            label: the class of all, by name or number; without it they go through the classes in turn.

        Raises:
            ValueError: ``count`` is under 1.
            InputError: a seed is not in 0 to 2**64 - 1, or there is no such class.
        """
        if count < 1:
            raise ValueError(f"count = {count}: must be at least 1")
        check_seeds(seed, count)
        pixels = self.draw_seeds(np.arange(count, dtype=np.uint64) + np.uint64(seed), label)
        return [imaging.to_image(picture) for picture in pixels]

    def interpolate(
        self, seeds: Sequence[int], steps: int = 30, loop: bool = True, label: str | int | None = None
    ) -> list[Image]:
        """Pictures on the way from seed to seed (see :func:`walk`), all of one class.

        Args:
            seeds: two or more.
            steps: pictures from one seed to the next.
            loop: go back to the first one at the end.
            label: the class; without it the first seed's.

        Raises:
            InputError: there is no such class.
        """
        path = walk(self.latents(seeds), steps, loop)
        chosen = None
        if self.classes or label is not None:
            number = int(self.labels(seeds[:1])[0]) if label is None else self.label(label)
            chosen = np.full(len(path), number)
        return [imaging.to_image(picture) for picture in self.draw(path, chosen)]


def class_grid(classes: int, count: int, width: int, height: int) -> tuple[int, int] | None:
    """Columns and rows of a grid in which picture ``i`` shows class ``i % classes``, so that a column is a class.

    There are about ``count`` pictures. With few classes several columns show the same one, so that the sheet comes out nearly
    square.

    Args:
        classes: how many there are.
        count: pictures wanted.
        width, height: of a picture in pixels.

    Returns:
        ``None`` with under 2 classes or over 16.
    """
    if not 2 <= classes <= COLUMNS:
        return None
    columns = classes * max(1, round(math.sqrt(count * height / width) / classes))
    return columns, max(1, round(count / columns))


def at_once(recipe: Recipe) -> int:
    """How many pictures are drawn at once: so few that it takes less memory than a training step of the recipe did."""
    image, training = recipe.image, recipe.training
    fitting = PIXELS // ((image.width or 1) * (image.height or 1))
    return max(1, min(BATCH, fitting, training.micro_batch or training.batch_size))


def check_seeds(seed: int, count: int) -> None:
    """Find out whether ``count`` seeds from ``seed`` on are all seeds.

    Raises:
        InputError: one is not in 0 to 2**64 - 1.
    """
    if not 0 <= seed < SEEDS:
        raise InputError(f"seed {seed}: must be from 0 to 2**64 - 1")
    if seed + count > SEEDS:
        raise InputError(f"seed {seed}: the last of {count:,} seeds from there on would be over 2**64 - 1")


def walk(keys: Float[np.ndarray, "k z"], steps: int, loop: bool = True) -> Float[np.ndarray, "n z"]:
    """Latents on great arcs from key to key; in a loop the last arc ends just before the first key.

    Straight lines would pass near the middle, where a normal vector hardly ever lies (White 2016, "Sampling generative
    networks"); the arcs keep the length typical.

    Args:
        keys: two or more latent vectors.
        steps: vectors for each arc, its first key included.
        loop: return to the first key; else the walk ends on the last.

    Raises:
        ValueError: fewer than two keys, or no steps.
    """
    if len(keys) < 2 or steps < 1:
        raise ValueError("a walk needs two seeds or more, and at least one step between them")
    ends = np.roll(keys, -1, axis=0) if loop else keys[1:]
    share = np.arange(steps) / steps
    arcs = [slerp(start, end, share) for start, end in zip(keys, ends, strict=False)]
    return np.concatenate(arcs if loop else [*arcs, keys[-1:]]).astype(np.float32)


def slerp(
    start: Float[np.ndarray, "*n z"], end: Float[np.ndarray, "*n z"], share: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n z"]:
    """Spherical linear interpolation (Shoemake 1985), with the length going linearly from one to the other.

    The three broadcast against one another: many shares between two vectors, or one share between many.
    """
    lengths = [np.linalg.norm(vectors, axis=-1, keepdims=True).astype(np.float64) for vectors in (start, end)]
    a, b = start / lengths[0], end / lengths[1]
    angle = np.arccos(np.clip((a * b).sum(axis=-1, keepdims=True), -1.0, 1.0))
    part = np.asarray(share)[..., None]
    # The same direction, or opposite ones: no arc is better than the line.
    straight = np.sin(angle) < 1e-6
    direction = (np.sin((1 - part) * angle) * a + np.sin(part * angle) * b) / np.where(straight, 1.0, np.sin(angle))
    arc = direction * (lengths[0] * (1 - part) + lengths[1] * part)
    points: np.ndarray = np.where(straight, start + part * (end - start), arc)
    return points


def load(path: str | Path, device: str = "cpu", at: str = "newest") -> TrainedGenerator:
    """A generator from a run directory, a checkpoint, or a ``.safetensors`` file.

    Args:
        path: where it is.
        device: where it draws: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto`` for a GPU where there is one.
        at: which snapshot of a run directory: ``newest``, ``best``, or a number of images.

    Raises:
        InputError: there is none, the file is damaged or of another program, or there is no such device.
    """
    where = choose_device(device)
    try:
        file = _generator_file(Path(path), at)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    _check_header(file)
    try:
        with safe_open(file, framework="pt") as opened:
            return _loaded(file, opened, where)
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


def _loaded(file: Path, opened: Any, where: torch.device) -> TrainedGenerator:
    """The generator in an opened file: all that it says is checked before its weights are read."""
    description = opened.metadata() or {}
    if description.get("format", "").startswith("limner-generator-") and description["format"] != FORMAT:
        raise InputError(f"{file}: is of a newer Limner (its format is {description['format']!r}); update Limner")
    if description.get("format") != FORMAT:
        found = shown(description.get("format"))
        raise InputError(f"{file}: is not a generator of Limner's (its format is {found})")
    recipe = Recipe.from_toml(description.get("recipe", ""), str(file))
    image = recipe.image
    if image.width is None or image.height is None or image.channels is None:
        raise InputError(f"{file}: its recipe does not say the size of its pictures")
    seen = description.get("images", "0")
    if not re.fullmatch(r"[0-9]{1,18}", seen):
        raise InputError(f"{file}: its metadata is damaged (images = {shown(seen)} is no count)")
    classes = len(recipe.network.classes or ()) if recipe.network.conditioning != "none" else 0
    try:
        with torch.device("meta"):
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
    network = filled(network, {name: opened.get_tensor(name) for name in names})
    place(network, where, torch.float32)
    made = TrainedGenerator(network, recipe, int(seen), printable(description.get("data", file.stem), 200))
    made.at_once = max(1, min(made.at_once, DRAWING_BYTES // max(1, needed)))
    return made


def _generator_file(given: Path, at: str) -> Path:
    """The file that a path asks for. Raises InputError, and OSError where a directory may not be entered."""
    if given.is_file():
        return given
    if not given.is_dir():
        raise InputError(f"{given}: no such run directory or generator file")
    file = given / rundir.GENERATOR
    if not file.is_file() and (given / rundir.RECIPE).is_file():
        given = rundir.RunDir.open(given).snapshot(at, rundir.DRAWABLE)
        file = given / rundir.GENERATOR
    if file.is_file():
        return file
    parts = (rundir.STATE, rundir.TRAINING)
    if given.resolve().parent.name == rundir.CHECKPOINTS or any((given / name).is_file() for name in parts):
        raise InputError(f"{given}: this checkpoint has lost its {rundir.GENERATOR}")
    raise InputError(f"{given}: is neither a run directory (it has no {rundir.RECIPE}) nor a checkpoint")
