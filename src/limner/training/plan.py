"""What a training would be: the data, the resolved recipe, and its time and memory, measured in a rehearsal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limner.data import Collection, prepare
from limner.device import choose_device
from limner.judging.inspect.quick import left_out, quick_findings
from limner.progress import duration
from limner.recipe import DEFAULT, Recipe
from limner.training import display as displays
from limner.training.assembly import networks_for, resolved, total_images
from limner.training.memory import fit
from limner.training.preparing import in_time
from limner.training.room import checkpoint_bytes, most_checkpoint_bytes, most_other_bytes
from limner.training.schedule import doubts
from limner.training.sizing import sized
from limner.training.warm_start import like, take

_KINDS = {1: "grey", 3: "RGB", 4: "RGBA"}
SECONDS = 3.0
"""Of updates that are timed."""


@dataclass(frozen=True)
class Plan:
    """What would happen.

    Attributes:
        recipe: resolved.
        data: the collection's summary.
        parameters: of generator and discriminator.
        images: in all, or ``None`` when minutes decide.
        images_per_second: measured, of updates.
        processor: seconds of processor time in each second that was measured: how busy the machine was.
        memory: bytes at the peak, of the process (CPU) or on the device, samples, evaluations and checkpoints included.
        checkpoint: bytes of one checkpoint, at most.
        checkpoints: bytes of all of them at any moment, at most.
        others: bytes of everything else in the run directory, at most.
        epoch_size: images that are trained on.
        after: bytes at the peak by what had been done so far.
        fitted: what was changed so that the training fits into memory; empty where nothing was.
        taken: what it would take from another training; empty where it starts from nothing.
        cautions: what the recipe says that is hardly meant.
        notes: what is worth knowing of the pictures.
    """

    recipe: Recipe
    data: dict[str, Any]
    parameters: tuple[int, int]
    images: int | None
    images_per_second: float
    processor: float
    memory: int
    checkpoint: int
    checkpoints: int
    others: int
    epoch_size: int
    after: Mapping[str, int]
    fitted: str = ""
    taken: str = ""
    cautions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the training would take."""
        if self.images is None:
            return 60 * (self.recipe.training.minutes or 0)
        return self.images / self.images_per_second

    @property
    def seconds_per_1000_images(self) -> float:
        """Of updates; judging takes ``evaluation.share`` of the time besides."""
        return 1000 / self.images_per_second

    def values(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "data": self.data,
            "recipe": self.recipe.values(),
            "parameters": {"generator": self.parameters[0], "discriminator": self.parameters[1]},
            "images": self.images,
            "images_per_second": round(self.images_per_second, 2),
            "processor_seconds_per_second": round(self.processor, 2),
            "seconds_per_1000_images": round(self.seconds_per_1000_images, 2),
            "seconds": round(self.seconds, 1),
            "peak_memory_bytes": self.memory,
            "peak_memory_bytes_after": dict(self.after),
            "micro_batch": self.recipe.training.micro_batch or self.recipe.training.batch_size,
            "recompute": self.recipe.training.recompute,
            "fitted": self.fitted,
            "start": self.taken,
            "cautions": list(self.cautions),
            "notes": list(self.notes),
            "disk_bytes": self.checkpoints + self.others,
        }

    def describe(self) -> str:
        """The resolved recipe, and then, where eyes rest on a terminal, everything that matters, for people."""
        data, image, training = self.data, self.recipe.image, self.recipe.training
        images = self.images or round(self.seconds * self.images_per_second)
        skipped = f", {data['skipped_count']} skipped" if data["skipped_count"] else ""
        lines = [
            f"data      {data['location']}: {data['count']:,} pictures{skipped}; {self.epoch_size:,} to train on,"
            f" {data['held_out']['count']:,} held out ({data['held_out']['how']})",
            f"images    {image.width}x{image.height} {_KINDS[image.channels or 3]}, fit {image.fit}",
            f"networks  {self.recipe.network.family}: generator {self.parameters[0]:,} parameters,"
            f" discriminator {self.parameters[1]:,}",
            f"training  {images:,} images ({images / self.epoch_size:,.1f} epochs) in batches of {training.batch_size}"
            f" on {training.device} in {training.precision}",
            f"time      about {duration(self.seconds)} at {self.images_per_second:,.1f} images/s,"
            f" {duration(self.seconds_per_1000_images)} for 1,000 images (measured now)",
            f"memory    {self.fitted or f'{self.memory / 1e9:.2f} GB at its peak'} (measured now)",
            f"disk      at most {self.checkpoints / 1e6:,.0f} MB of checkpoints ({self.checkpoint / 1e6:,.0f} MB each), and"
            f" {self.others / 1e6:,.0f} MB of grids, logs and the report",
        ]
        lines += [f"start     {self.taken}"] if self.taken else []
        lines += [f"caution   {caution}" for caution in self.cautions]
        lines += [f"note      {note}" for note in self.notes]
        for item in data["skipped"][:10]:
            lines.append(f"skipped   {item['name']}: {item['reason']}")
        return self.recipe.to_toml().rstrip() + "\n\n" + "\n".join(lines)


def plan(
    data: str | Path,
    recipe: str | Path | Recipe = DEFAULT,
    *,
    overrides: Mapping[str, Any] | None = None,
    start_from: str | Path | None = None,
    start_at: str = "newest",
    memory: int | None = None,
    display: displays.Display | None = None,
) -> Plan:
    """Prepare everything as :func:`limner.training.train.train` does, and rehearse it; writes no run.

    Args:
        data, recipe, overrides, start_from, start_at, display: as for a training.
        memory: bytes that the training may take; micro-batch and recomputation are chosen so that it does not take more.

    Raises:
        InputError: the call, the recipe or the data is wrong, nothing of the source fits, or the training does not fit into
            memory.
    """
    recipe = Recipe.load(recipe, overrides)
    device = choose_device(recipe.training.device)
    if start_from is not None:
        recipe = like(recipe, start_from, start_at)
    asked = recipe.image
    with displays.opened(display) as shown:
        collection = prepare(data, recipe.image, seed=recipe.training.seed, progress=shown.preparing)
        recipe = sized(resolved(recipe, collection, device), collection, device)
        taken = "" if start_from is None else _taken(recipe, collection, start_from, start_at)
        fitted = fit(data, recipe, memory, SECONDS, shown.say, torch.get_num_threads())
    found = fitted.found
    images = total_images(recipe, len(collection.train))
    cautions = [*recipe.cautions(), *doubts(recipe.schedule, images or in_time(recipe, 1 / found.seconds))]
    notes = [*collection.summary["warnings"], *left_out(asked, collection), *quick_findings(collection)]
    return Plan(
        recipe=fitted.recipe,
        data=collection.summary,
        parameters=found.parameters,
        images=images,
        images_per_second=1 / found.seconds,
        processor=found.processor,
        memory=found.peak,
        checkpoint=checkpoint_bytes(recipe, found.parameters)[0],
        checkpoints=most_checkpoint_bytes(recipe, found.parameters),
        others=most_other_bytes(
            fitted.recipe, images or round(60 * (recipe.training.minutes or 0) / found.seconds), found.epoch_size
        ),
        epoch_size=found.epoch_size,
        after=found.after,
        fitted=fitted.said,
        taken=taken,
        cautions=tuple(cautions),
        notes=tuple(notes),
    )


def _taken(recipe: Recipe, collection: Collection, source: str | Path, at: str) -> str:
    """What the networks of a resolved recipe would take from a source."""
    return take(*networks_for(recipe, collection), source, recipe, at).describe()
