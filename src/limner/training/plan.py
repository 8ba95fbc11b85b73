"""What a training would be: the data, the resolved recipe, and its time and memory, measured on a few updates."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limner.data import prepare
from limner.device import choose_device
from limner.progress import duration
from limner.recipe import DEFAULT, Recipe
from limner.training import display as displays
from limner.training.loop import Loop
from limner.training.train import assemble, resolved

SECONDS = 3.0
LEAST_STEPS = 3


@dataclass(frozen=True)
class Plan:
    """What would happen.

    Attributes:
        recipe: resolved.
        data: the collection's summary.
        parameters: of generator and discriminator.
        images: in all, or ``None`` when minutes decide.
        images_per_second: measured.
        memory: peak bytes of the process (CPU) or of the device while it was measured.
        checkpoint: bytes of one checkpoint.
        epoch_size: images that are trained on.
    """

    recipe: Recipe
    data: dict[str, Any]
    parameters: tuple[int, int]
    images: int | None
    images_per_second: float
    memory: int
    checkpoint: int
    epoch_size: int

    @property
    def seconds(self) -> float:
        """How long the training would take."""
        if self.images is None:
            return 60 * (self.recipe.training.minutes or 0)
        return self.images / self.images_per_second

    def values(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "data": self.data,
            "recipe": self.recipe.values(),
            "parameters": {"generator": self.parameters[0], "discriminator": self.parameters[1]},
            "images": self.images,
            "images_per_second": round(self.images_per_second, 2),
            "seconds": round(self.seconds, 1),
            "peak_memory_bytes": self.memory,
            "disk_bytes": self.checkpoint * (self.recipe.snapshots.keep + 1),
        }

    def describe(self) -> str:
        """Everything that matters, for people; then the resolved recipe."""
        data, image, training = self.data, self.recipe.image, self.recipe.training
        images = self.images or round(self.seconds * self.images_per_second)
        skipped = f", {data['skipped_count']} skipped" if data["skipped_count"] else ""
        lines = [
            f"data      {data['location']}: {data['count']:,} pictures{skipped}; {self.epoch_size:,} to train on,"
            f" {data['held_out']['count']:,} held out ({data['held_out']['how']})",
            f"images    {image.width}x{image.height}, {image.channels} channels, fit {image.fit}",
            f"networks  {self.recipe.network.family}: generator {self.parameters[0]:,} parameters,"
            f" discriminator {self.parameters[1]:,}",
            f"training  {images:,} images ({images / self.epoch_size:,.1f} epochs) in batches of {training.batch_size}"
            f" on {training.device} in {training.precision}",
            f"time      about {duration(self.seconds)} at {self.images_per_second:,.1f} images/s (measured now)",
            f"memory    {self.memory / 1e9:.2f} GB at its peak (measured now)",
            f"disk      at most {self.checkpoint * (self.recipe.snapshots.keep + 1) / 1e6:,.0f} MB of checkpoints",
        ]
        for item in data["skipped"][:10]:
            lines.append(f"skipped   {item['name']}: {item['reason']}")
        return "\n".join(lines) + "\n\n" + self.recipe.to_toml().rstrip()


def plan(
    data: str | Path,
    recipe: str | Path | Recipe = DEFAULT,
    *,
    overrides: Mapping[str, Any] | None = None,
    display: displays.Display | None = None,
) -> Plan:
    """Prepare everything as :func:`limner.training.train.train` does, and measure a few updates; writes no run.

    Raises:
        InputError: the call, the recipe or the data is wrong.
    """
    recipe = Recipe.load(recipe, overrides)
    device = choose_device(recipe.training.device)
    with displays.opened(display) as shown:
        collection = prepare(data, recipe.image, seed=recipe.training.seed, progress=shown.preparing)
    recipe = resolved(recipe, collection, device)
    loop = assemble(recipe, collection, device)
    rate, memory = _measured(loop)
    parameters = tuple(
        sum(parameter.numel() for parameter in network.parameters())
        for network in (loop.step.generator, loop.step.discriminator)
    )
    # Weights and two moments of each, the average, and the generator's own file, at 4 or 8 bytes a number.
    width = 8 if recipe.training.precision == "float64" else 4
    return Plan(
        recipe=recipe,
        data=collection.summary,
        parameters=(parameters[0], parameters[1]),
        images=loop.images,
        images_per_second=rate,
        memory=memory,
        checkpoint=width * (5 * parameters[0] + 3 * parameters[1]),
        epoch_size=loop.feed.epoch_size,
    )


def _measured(loop: Loop) -> tuple[float, int]:
    """Images per second and peak memory over a few updates."""
    cuda = loop.feed.device.type == "cuda"
    loop.advance()
    if cuda:
        torch.cuda.synchronize(loop.feed.device)
    started, steps = time.perf_counter(), 0
    while steps < LEAST_STEPS or time.perf_counter() - started < SECONDS:
        loop.advance()
        if cuda:
            torch.cuda.synchronize(loop.feed.device)
        steps += 1
    rate = steps * loop.recipe.training.batch_size / (time.perf_counter() - started)
    return rate, torch.cuda.max_memory_allocated(loop.feed.device) if cuda else _peak_resident()


def _peak_resident() -> int:
    """The most memory that this process has had so far, in bytes; 0 where that cannot be known."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
