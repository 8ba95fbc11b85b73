"""What happens at intervals, in this order: measure, judge, show, checkpoint (judging has its own file, ``judge.py``).

The checkpoint comes last, so that all else that belongs to its moment is on the disk before it: whatever a kill cuts off is
done again by the training that goes on from the checkpoint before.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from limner import imaging, rundir
from limner.device import is_shortage, release_memory
from limner.errors import LimnerError
from limner.generator import at_once, class_grid, in_portions
from limner.judging import health
from limner.noise import Stream
from limner.recipe import Snapshots
from limner.rundir import RunDir
from limner.training.guard import Guard
from limner.training.loop import Continue, Loop, Signal, Stop
from limner.training.state import State, is_finite
from limner.training.state import restore as restore
from limner.training.state import training_tensors as training_tensors

RETRY_SECONDS = 60.0
"""After which a checkpoint that could not be written is tried again."""
PAUSES = (1.0, 2.0)
"""Seconds between the attempts to write the last one."""
ROUNDING = 1e-9
"""0.1 epochs of 30 images are 3 images, whatever binary fractions make of it."""
GRID_START = 256
GRID_RATIO = 1.25
GRID_MOST = 20_000


class Measure:
    """One line in the log at every logging step, and what the newest lines say of the training's health.

    A GPU is not waited for: its numbers are on their way while it computes the next update, after which the line is written, or
    before a checkpoint or the end.

    Args:
        run: where the log is.
        steps: updates between lines.
        guard: what is done about findings.
    """

    part = "log"

    def __init__(self, run: RunDir, steps: int, guard: Guard) -> None:
        self.run, self.steps, self.guard = run, steps, guard
        self._since: tuple[int, float] | None = None
        self._lines: list[dict[str, Any]] = []
        self._owed: tuple[dict[str, Any], Callable[[], dict[str, float | None]]] | None = None
        self.defers = False
        self.latest: dict[str, Any] = {}

    def after_step(self, loop: Loop) -> Signal:
        signal = self.settle(loop)
        if not isinstance(signal, Continue):
            return signal
        if self._since is None:
            self._since = (loop.progress.images, loop.progress.seconds)
        # The last update has its line before its checkpoint: a training that is killed in between could not write it any more.
        last = loop.share_done >= 1.0
        if (loop.progress.step % self.steps == 0 or last) and loop.measures is not None:
            self._note(loop)
            if last or not self.defers:
                return self.settle(loop)
        return Continue()

    def at_end(self, loop: Loop) -> Signal:
        signal = self.settle(loop)
        if not isinstance(signal, Continue):
            return signal
        if loop.measures is None or self.latest.get("step") == loop.progress.step:
            return Continue()
        if loop.ended == "interrupted" and is_finite(loop.measures.values().values()):
            return Continue()  # a line more than the rhythm's would set the resumed log apart from an unbroken one
        self._note(loop)
        return self.settle(loop)

    def settle(self, loop: Loop) -> Signal:
        """Write the line that is owed, if there is one, and say what follows from it."""
        if self._owed is None:
            return Continue()
        (line, arrived), self._owed = self._owed, None
        self.latest.clear()
        self.latest |= {**line, **arrived()}
        if not self._lines:  # the training goes on from a checkpoint, or begins
            self._lines = list(self.run.records(rundir.LOG))[-health.MEMORY :]
        self.run.append(rundir.LOG, self.latest)
        self._lines = [*self._lines[-health.MEMORY + 1 :], dict(self.latest)]
        objective = loop.step.objective
        return self.guard.told(loop, health.watch_log(self._lines, objective.least, objective.relativistic))

    def _note(self, loop: Loop) -> None:
        """Note what the line of this moment will say."""
        progress = loop.progress
        assert loop.measures is not None and self._since is not None
        images, seconds = progress.images - self._since[0], progress.seconds - self._since[1]
        self._since = (progress.images, progress.seconds)
        line = {
            "step": progress.step,
            "images": progress.images,
            "epoch": round(loop.epochs, 4),
            "seconds": round(progress.seconds, 3),
            "images_per_second": round(images / seconds, 2) if seconds > 0 else None,
        }
        values = {
            **loop.measures.values(),
            "generator_gradient": gradient_norm(loop.step.generator),
            "discriminator_gradient": gradient_norm(loop.step.discriminator),
        }
        self._owed = line, numbers(values)

    def forget(self) -> None:
        """The training has gone back: what was logged is read again."""
        self._lines, self._since, self._owed = [], None, None
        self.latest.clear()


class Checkpoint:
    """Everything that going on needs, every few minutes and at the end; never weights that are no numbers.

    What cannot be written does not end the training, which may have a night's work in memory: it is told, and tried again.
    Only at the end it makes the training one that was stopped.

    Args:
        run: where checkpoints lie.
        minutes: between two of them.
        keep: how many stay.
        saved: the images seen at the newest checkpoint, which need not be written again; -1 when there is none.
        guard: what is done about weights that are no numbers.
        trusting: take every state whose weights are numbers for a healthy one, because nothing else judges them.

    Before one is written, ``settle`` is asked to do what is owed to its moment. Its ``lock`` is held by whoever writes
    checkpoints, or must not meet a half written one.
    """

    part = "checkpoints"

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
        self.saved, self._progressed = saved, False
        self._healthy = self._best = False
        self._owed: dict[str, bytes] = {}
        self.took = 0.0
        self.lock = threading.RLock()
        self.settle: Callable[[Loop], Signal] = lambda loop: Continue()
        self._failure = ""

    def describe(self, description: Mapping[str, str]) -> None:
        """What a generator file says of itself from here on."""
        self.description = dict(description)

    def ask(self, healthy: bool, best: bool) -> None:
        """Write a checkpoint at the end of this moment, as one to come back to, or keep its generator as the best one."""
        self._healthy, self._best = healthy, best

    def after_step(self, loop: Loop) -> Signal:
        self._progressed = True  # so that the last checkpoint says how the training ended
        if not self.run.is_there():
            return Stop(f"{self.run.path} was removed while it was trained")
        if loop.ended is not None or loop.share_done >= 1.0:
            return Continue()  # the last one is written when all that belongs to the end is on the disk
        if self._healthy or self._best or time.monotonic() - self._last >= self.seconds:
            return self.save(loop)
        return Continue()

    def at_end(self, loop: Loop) -> Signal:
        asked = self._healthy or self._best or (loop.ended == "done" and self._progressed)
        if loop.ended == "stopped" or (self.saved == loop.progress.images and not asked):
            return Continue()
        healthy, best = self._healthy, self._best
        for seconds in (*PAUSES, 0.0):
            self._healthy, self._best = healthy, best
            signal = self.save(loop)
            if not self._failure:
                return signal
            time.sleep(seconds)
        since = f"the last checkpoint is of {self.saved:,} images" if self.saved >= 0 else "there is no checkpoint"
        return Stop(f"{self._failure}; {since}: see to the disk, then 'limner resume {self.run.path}'")

    def save(self, loop: Loop) -> Signal:
        """Write a checkpoint now; ``took`` says in how many seconds."""
        began = time.perf_counter()
        signal = self.settle(loop)
        if not isinstance(signal, Continue):
            return signal
        with self.lock:
            state = State.of(loop)
            best, healthy, self._healthy, self._best = self._best, self._healthy, False, False
            self._failure = ""
            if not state.is_finite():
                return self.guard.told(loop, [health.not_numbers("weights", loop.progress.images)])
            self._last = time.monotonic()
            try:
                self._written(state, healthy, best)
            except LimnerError as error:
                self._last += min(0.0, RETRY_SECONDS - self.seconds)
                self._failure = str(error)
                self.run.put_up_with(error)
                return Continue()
            self.run.relieved()
        self.took = time.perf_counter() - began
        return Continue()

    def _written(self, state: State, healthy: bool, best: bool) -> None:
        """:meth:`write`, which needs memory too. Raises LimnerError."""
        try:
            self.write(state, healthy, best)
            return
        except (MemoryError, RuntimeError) as error:
            if not is_shortage(error):
                raise
        release_memory()
        raise LimnerError(f"{self.run.path}: there is not enough memory to write a checkpoint")

    def write(self, state: State, healthy: bool = False, best: bool = False) -> None:
        """Write a state as a checkpoint, and its generator as the best one.

        Raises:
            LimnerError: it cannot be written. A best generator is kept in memory for the next time.
        """
        files = state.generator_files(self.description, healthy or self.trusting)
        earlier = {} if best else self._owed
        self._owed = files if best else self._owed
        self.run.with_room(self.run.sync)
        if earlier:  # of a moment before this one, so that it may come before this checkpoint
            self.run.with_room(lambda: self.run.save_best(earlier))
            self._owed = {}
        images, whole = state.progress.images, {**state.training_file(), **files}
        self.run.with_room(lambda: self.run.save_checkpoint(images, whole, self.keep))
        self.saved = images
        if self._owed:  # after the checkpoint: if a kill comes between, it is made from that
            self.run.with_room(lambda: self.run.save_best(self._owed))
            self._owed = {}


class Show:
    """A grid of the same latents, again and again; with classes, of picture ``i`` in class ``i`` modulo their number.

    Args:
        run: where grids lie.
        settings: rhythm and number of samples.
        shown: called with each grid's path.
    """

    part = "grids"

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
        """Draw a grid now; without the memory for it there is none."""
        try:
            self._draw(loop)
            return
        except (MemoryError, RuntimeError) as error:
            if not is_shortage(error):
                raise
        release_memory()
        self.run.say(f"note: no grid at {loop.progress.images:,} images (there is not enough memory to draw one)")

    def _draw(self, loop: Loop) -> None:
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
        self.shown(str(self.run.save_samples(loop.progress.images, imaging.png_bytes(sheet, imaging.FAST))))


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
    return before == 0 or rung(now) > rung(before)


def rung(images: int) -> int:
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

    def portion(part: slice) -> imaging.Batch:
        known = () if labels is None else (labels[part],)
        with autocast():
            drawn = network(z[part], *known)
        return imaging.to_uint8(drawn.float().nan_to_num().cpu().numpy())

    return in_portions(portion, len(z), batch)


def gradient_norm(network: nn.Module) -> Tensor:
    """The length of all gradients together, as a scalar on the device."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def numbers(values: Mapping[str, Float[Tensor, ""]]) -> Callable[[], dict[str, float | None]]:
    """Scalars on a device, on their way; called, it waits for them: numbers for JSON, which knows no NaN."""
    precise = [value.detach() if value.device.type == "mps" else value.detach().double() for value in values.values()]
    together = torch.stack(precise)
    names = list(values)
    if together.device.type != "cuda":
        return lambda: dict(zip(names, map(_plain, together.tolist()), strict=True))
    here = torch.empty(together.shape, dtype=together.dtype, pin_memory=True).copy_(together, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()

    def wait() -> dict[str, float | None]:
        arrived.synchronize()
        return dict(zip(names, map(_plain, here.tolist()), strict=True))

    return wait


def _plain(number: float) -> float | None:
    return float(f"{number:.6g}") if math.isfinite(number) else None
