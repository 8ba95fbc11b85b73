"""What happens at intervals, in this order: measure, judge, show, checkpoint (judging has its own file, ``judge.py``).

The checkpoint comes last, so that all else that belongs to its moment is on the disk before it: whatever a kill cuts off is
done again by the training that goes on from the checkpoint before.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from limner import imaging, rundir
from limner.generator import at_once, class_grid
from limner.judging import health
from limner.noise import Stream
from limner.recipe import Snapshots
from limner.rundir import RunDir
from limner.training.guard import Guard
from limner.training.loop import Continue, Loop, Signal

STATE_FORMAT = 1
ROUNDING = 1e-9
"""0.1 epochs of 30 images are 3 images, whatever binary fractions make of it."""
GRID_START = 256
GRID_RATIO = 1.25
GRID_MOST = 20_000


class Measure:
    """One line in the log at every logging step, and what the newest lines say of the training's health.

    Args:
        run: where the log is.
        steps: updates between lines.
        guard: what is done about findings.
    """

    def __init__(self, run: RunDir, steps: int, guard: Guard) -> None:
        self.run, self.steps, self.guard = run, steps, guard
        self._since: tuple[int, float] | None = None
        self._lines: list[dict[str, Any]] = []
        self.latest: dict[str, Any] = {}

    def after_step(self, loop: Loop) -> Signal:
        if self._since is None:
            self._since = (loop.progress.images, loop.progress.seconds)
        return self._log(loop) if loop.progress.step % self.steps == 0 else Continue()

    def at_end(self, loop: Loop) -> Signal:
        if loop.measures is None or self.latest.get("step") == loop.progress.step:
            return Continue()
        if loop.ended == "interrupted" and is_finite(loop.measures.values().values()):
            return Continue()  # a line more than the rhythm's would set the resumed log apart from an unbroken one
        return self._log(loop)

    def _log(self, loop: Loop) -> Signal:
        progress = loop.progress
        assert loop.measures is not None and self._since is not None
        images, seconds = progress.images - self._since[0], progress.seconds - self._since[1]
        self._since = (progress.images, progress.seconds)
        self.latest.clear()
        self.latest |= {
            "step": progress.step,
            "images": progress.images,
            "epoch": round(loop.epochs, 4),
            "seconds": round(progress.seconds, 3),
            "images_per_second": round(images / seconds, 2) if seconds > 0 else None,
            **{key: _plain(value) for key, value in loop.measures.values().items()},
            "generator_gradient": _plain(gradient_norm(loop.step.generator)),
            "discriminator_gradient": _plain(gradient_norm(loop.step.discriminator)),
        }
        if not self._lines:  # the training goes on from a checkpoint, or begins
            self._lines = list(self.run.records(rundir.LOG))[-health.MEMORY :]
        self.run.append(rundir.LOG, self.latest)
        self._lines = [*self._lines[-health.MEMORY + 1 :], dict(self.latest)]
        return self.guard.told(loop, health.watch_log(self._lines, loop.step.objective.least))

    def forget(self) -> None:
        """The training has gone back: what was logged is read again."""
        self._lines, self._since = [], None
        self.latest.clear()


class Checkpoint:
    """Everything that going on needs, every few minutes and at the end; never weights that are no numbers.

    Args:
        run: where checkpoints lie.
        minutes: between two of them.
        keep: how many stay.
        saved: the images seen at the checkpoint that the training goes on from, which need not be written again.
        guard: what is done about weights that are no numbers.
        trusting: take every state whose weights are numbers for a healthy one, because nothing else judges them.
    """

    def __init__(
        self,
        run: RunDir,
        minutes: float,
        keep: int,
        saved: int,
        guard: Guard,
        trusting: bool,
    ) -> None:
        self.run, self.seconds, self.keep = run, 60 * minutes, keep
        self.description: dict[str, str] = {}
        self.guard, self.trusting = guard, trusting
        self._last = time.monotonic()
        self._saved, self._progressed = saved, False
        self._healthy = self._best = False

    def describe(self, description: Mapping[str, str]) -> None:
        """What a generator file says of itself from here on."""
        self.description = dict(description)

    def ask(self, healthy: bool, best: bool) -> None:
        """Write a checkpoint at the end of this moment, as one to come back to, or keep its generator as the best one."""
        self._healthy, self._best = healthy, best

    def after_step(self, loop: Loop) -> Signal:
        self._progressed = True  # so that the last checkpoint says how the training ended
        if self._healthy or self._best or time.monotonic() - self._last >= self.seconds:
            return self.save(loop)
        return Continue()

    def at_end(self, loop: Loop) -> Signal:
        asked = self._healthy or self._best or (loop.ended == "done" and self._progressed)
        if loop.ended == "stopped" or (self._saved == loop.progress.images and not asked):
            return Continue()
        return self.save(loop)

    def save(self, loop: Loop) -> Signal:
        """Write a checkpoint now."""
        generator, training = _whole(loop.average.current().state_dict()), training_tensors(loop)
        if not is_finite([*generator.values(), *training.values()]):
            self._healthy = self._best = False
            return self.guard.told(loop, [health.not_numbers("weights", loop.progress.images)])
        description = {**self.description, "images": str(loop.progress.images)}
        state = {
            "format": STATE_FORMAT,
            **asdict(loop.progress),
            "ended": loop.ended,
            "healthy": self._healthy or self.trusting,
        }
        files = {
            rundir.GENERATOR: save(generator, metadata=description),
            rundir.STATE: json.dumps(state, indent=2).encode(),
        }
        self.run.sync()
        if self._best:
            self.run.save_best(files)
        self.run.save_checkpoint(loop.progress.images, {rundir.TRAINING: save(training), **files}, self.keep)
        self._last, self._saved = time.monotonic(), loop.progress.images
        self._healthy = self._best = False
        return Continue()


class Show:
    """A grid of the same latents, again and again; with classes, of picture ``i`` in class ``i`` modulo their number.

    Args:
        run: where grids lie.
        settings: rhythm and number of samples.
        shown: called with each grid's path.
    """

    def __init__(self, run: RunDir, settings: Snapshots, shown: Callable[[str], None]) -> None:
        self.run, self.settings, self.shown = run, settings, shown

    def after_step(self, loop: Loop) -> Signal:
        now = loop.progress.images
        if is_due(self.settings, now - loop.portion, now, loop.feed.epoch_size):
            self.draw(loop)
        return Continue()

    def at_end(self, loop: Loop) -> Signal:
        drawn = self.run.samples()
        if loop.ended == "done" and not (drawn and drawn[-1][0] == loop.progress.images):
            self.draw(loop)
        return Continue()

    def draw(self, loop: Loop) -> None:
        """Draw a grid now."""
        image, classes = loop.recipe.image, len(loop.recipe.network.classes or ())
        assert image.width is not None and image.height is not None
        columns, count, labels = None, self.settings.grid, None
        if loop.recipe.network.conditioning != "none":
            if shape := class_grid(classes, count, image.width, image.height):
                columns, count = shape[0], shape[0] * shape[1]
            labels = torch.arange(count, device=loop.feed.device) % classes
        z = loop.latents(Stream.GRID, 0, count)
        pictures = sampled(loop.average.current(), z, loop.step.autocast, labels, at_once(loop.recipe))
        sheet = imaging.enlarged(imaging.grid(pictures, columns), 512)
        path = self.run.save_samples(loop.progress.images, imaging.png_bytes(sheet))
        self.shown(str(path))


def is_due(settings: Snapshots, before: int, now: int, epoch_size: int) -> bool:
    """Whether a grid falls between ``before`` (excluded) and ``now`` images (included).

    Without a rhythm of the user's: after the first update, after 256 images, then each time a quarter more has been seen,
    but no later than after 20,000 more.
    """
    every: float | None = settings.every_images
    if settings.every_epochs is not None:
        every = settings.every_epochs * epoch_size
    if every is not None:
        return math.floor(now / every + ROUNDING) > math.floor(before / every + ROUNDING)
    return before == 0 or _rung(now) > _rung(before)


def _rung(images: int) -> int:
    """How many grids are due up to so many images: geometric at first, then even."""
    if images < GRID_START:
        return 0
    # The last rung from which a quarter more is no further away than the longest gap.
    last = math.floor(math.log(GRID_MOST / (GRID_RATIO - 1) / GRID_START, GRID_RATIO))
    rung = math.floor(math.log(images / GRID_START, GRID_RATIO))
    if rung > last:
        rung = last + math.floor((images - GRID_START * GRID_RATIO**last) / GRID_MOST)
    return 1 + rung


@torch.no_grad()
def sampled(
    network: nn.Module,
    z: Float[Tensor, "b z"],
    autocast: Callable[[], Any],
    labels: Int[Tensor, " b"] | None = None,
    batch: int = 64,
) -> imaging.Batch:
    """Pictures from latents, of classes where there are some, in portions, as uint8 [B, H, W, C]."""
    pixels: imaging.Batch | None = None
    for start in range(0, len(z), batch):
        known = () if labels is None else (labels[start : start + batch],)
        with autocast():
            drawn = network(z[start : start + batch], *known)
        part = imaging.to_uint8(drawn.float().nan_to_num().cpu().numpy())
        if pixels is None:
            pixels = np.empty((len(z), *part.shape[1:]), dtype=np.uint8)
        pixels[start : start + batch] = part
    assert pixels is not None
    return pixels


def is_finite(values: Iterable[Tensor]) -> bool:
    """Whether all of them are numbers: nothing else is worth keeping."""
    return all(bool(torch.isfinite(value).all()) for value in values if value.is_floating_point())


def training_tensors(loop: Loop) -> dict[str, Tensor]:
    """Every tensor that a training consists of, by name."""
    step = loop.step
    tensors = {
        **_prefixed("generator", step.generator.state_dict()),
        **_prefixed("discriminator", step.discriminator.state_dict()),
        **_prefixed("average", loop.average.network.state_dict()),
        **_prefixed("augment", step.augment.state() if step.augment is not None else {}),
    }
    for name, optimizer in _optimizers(loop):
        for place, state in optimizer.state_dict()["state"].items():
            tensors.update(_prefixed(f"{name}.{place}", state))
    return _whole(tensors)


def restore(loop: Loop, tensors: Mapping[str, Tensor]) -> None:
    """Put a checkpoint's tensors back where :func:`training_tensors` found them.

    Raises:
        KeyError, RuntimeError: the checkpoint is of another recipe.
    """
    step = loop.step
    step.generator.load_state_dict(_below("generator", tensors))
    step.discriminator.load_state_dict(_below("discriminator", tensors))
    loop.average.network.load_state_dict(_below("average", tensors))
    if step.augment is not None:
        step.augment.restore(_below("augment", tensors))
    for name, optimizer in _optimizers(loop):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(name, tensors).items():
            place, field = key.split(".", 1)
            # Moments keep their parameter's memory format: fused updates walk both in step.
            like = parameters[int(place)]
            state.setdefault(int(place), {})[field] = (
                torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            )
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def gradient_norm(network: nn.Module) -> Tensor:
    """The length of all gradients together, as a scalar on the device."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def _optimizers(loop: Loop) -> list[tuple[str, Optimizer]]:
    return [
        ("generator_optimizer", loop.step.generator_optimizer),
        ("discriminator_optimizer", loop.step.discriminator_optimizer),
    ]


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor by itself, in plain order: safetensors wants neither shared nor strided storage."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _plain(value: float | Tensor) -> float | None:
    """A number for JSON, which knows no NaN."""
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None
