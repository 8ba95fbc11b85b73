"""What draws pictures by seed, whatever computes them: seeds, classes, walks. No torch is needed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from limner import imaging, noise
from limner.errors import InputError
from limner.recipe import Recipe
from limner.recipe.text import nearest, printable, shown

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 64
SEEDS = 2**64
"""How many there are."""
NAMED = 20
"""Classes that an error names, at most."""
PIXELS = 2**20
"""In pictures that are drawn at once, at most."""
BROKEN = "the file is damaged, or its training broke; take another snapshot"
"""Why a generator would make no numbers, and what to do."""
DRAWING_BYTES = 1 << 29
"""That drawing may take, where it can be done in smaller portions."""
LANES = 2
"""Threads that draw side by side, at most: each of them holds the activations of what it draws."""
COLUMNS = 16
"""With more classes than this, a grid has no column for each."""


class SeededGenerator(ABC):
    """What draws pictures by seed. Picture number ``seed`` is the same for ever, on every machine.

    Args:
        recipe: the resolved recipe it was trained by.
        images: how many real images it had seen.
        name: what to call it.
    """

    def __init__(self, recipe: Recipe, images: int, name: str) -> None:
        self.recipe, self.images, self.name = recipe, images, name
        self.at_once = at_once(recipe)
        """Pictures that are drawn at once."""
        self.side_by_side = LANES
        """Threads that draw at the same time, at most."""
        self.licence = ""
        """What its owner says of who may use it; empty where nothing is said."""

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
        """The latent vector of each seed (0 to 2**64 - 1).

        Raises:
            InputError: one is no seed.
        """
        known = as_seeds(seeds)
        return noise.sample_latents(known, self.latent) if len(known) else np.empty((0, self.latent), np.float32)

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
        return (as_seeds(seeds) % classes).astype(np.int64)

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

    def fit(self, needed: int) -> None:
        """Draw so few at once, in so many lanes, that it stays within :data:`DRAWING_BYTES` where it can.

        Args:
            needed: bytes that drawing a picture takes.
        """
        self.side_by_side = LANES if LANES * needed <= DRAWING_BYTES else 1
        self.at_once = max(1, min(self.at_once, DRAWING_BYTES // max(1, self.side_by_side * needed)))

    @contextmanager
    def lanes(self) -> Iterator[Executor]:
        """Threads for drawing several pictures side by side, and doing with them what else is to be done: while one of
        them writes a picture, another draws.
        """
        with ThreadPoolExecutor(self.side_by_side, thread_name_prefix="limner-draw") as threads:
            yield threads

    @abstractmethod
    def draw(self, latents: Float[np.ndarray, "b z"], labels: Int[np.ndarray, " b"] | None = None) -> imaging.Batch:
        """Pictures from latents, as uint8 [B, H, W, C].

        Args:
            latents: one a picture.
            labels: the class number of each; needed with classes (:meth:`labels` gives those of seeds).

        Raises:
            InputError: labels for a generator without classes.
            ValueError: no labels for one with classes, or labels that are none of its classes.
        """

    def checked_labels(self, count: int, labels: Int[np.ndarray, " b"] | None) -> Int[np.ndarray, " b"] | None:
        """The labels of ``count`` pictures, found to be classes (see :meth:`draw`)."""
        if labels is not None and not self.classes:
            raise InputError(f"labels: {self.name} was not trained on classes; leave them out")
        if labels is None and self.classes:
            raise ValueError(f"labels are needed: one of the {len(self.classes)} classes for each picture")
        if labels is not None:
            labels = np.asarray(labels, dtype=np.int64)
            if labels.shape != (count,) or not ((labels >= 0) & (labels < len(self.classes))).all():
                raise ValueError(f"labels must be {count} class numbers from 0 to {len(self.classes) - 1}")
        return labels

    def to_pixels(self, images: Float[np.ndarray, "b c h w"]) -> imaging.Batch:
        """What the network made, as pixels [B, H, W, C].

        Raises:
            InputError: it is no numbers, of which pictures of nothing would come.
        """
        if not np.isfinite(images).all():
            raise InputError(f"generator of {self.name}: makes pictures of no numbers: {BROKEN}")
        return imaging.to_uint8(images)

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
            InputError: there are under two seeds or no steps, one is no seed, or there is no such class.
        """
        if len(seeds) < 2 or steps < 1:
            raise InputError("a walk needs two seeds or more, and at least one step between them")
        path = walk(self.latents(seeds), steps, loop)
        chosen = None
        if self.classes or label is not None:
            number = int(self.labels(seeds[:1])[0]) if label is None else self.label(label)
            chosen = np.full(len(path), number)
        return [imaging.to_image(picture) for picture in self.draw(path, chosen)]


def recipe_in(text: str, file: str) -> Recipe:
    """The recipe in a generator's file.

    Raises:
        InputError: it is none, or one of a newer Limner.
    """
    try:
        return Recipe.from_toml(text, file)
    except InputError as error:
        first = (str(error).splitlines() or [""])[0].removeprefix(f"recipe {file}: ").removeprefix(f"{file}: ")
        raise InputError(f"{file}: its recipe is damaged, or of a newer Limner ({first})") from None


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


def as_seeds(seeds: Int[np.ndarray, " b"] | Sequence[int]) -> Int[np.ndarray, " b"]:
    """Seeds as an array of uint64.

    Raises:
        InputError: one is not a whole number in 0 to 2**64 - 1.
    """
    if isinstance(seeds, np.ndarray) and seeds.dtype == np.uint64:
        return seeds
    for seed in seeds:
        check_seeds(seed, 1)
    return np.array([int(seed) for seed in seeds], dtype=np.uint64)


def check_seeds(seed: int, count: int) -> None:
    """Find out whether ``count`` seeds from ``seed`` on are all seeds.

    Raises:
        InputError: one is not a whole number in 0 to 2**64 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InputError(f"seed {printable(shown(seed))}: must be a whole number from 0 to 2**64 - 1")
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
