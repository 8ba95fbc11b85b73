"""The order of things: batch after batch, who is told what, and when to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import torch

from limner.device import to_device
from limner.noise import Ahead, Stream, derived_seed, normal, uniform
from limner.recipe import Recipe
from limner.timing import timed
from limner.training.ema import AveragedGenerator
from limner.training.feed import Feed
from limner.training.recording import Recorded
from limner.training.schedule import rate_scale
from limner.training.step import Step
from limner.training.turns import Batch, Measures, joined, pieces

PROCESS_BITS = 40
"""What torch's own generator is seeded by holds the update's number in so many bits, and above them the process's."""


@dataclass
class Progress:
    """Where a training stands. All of it is in every checkpoint.

    Attributes:
        step: updates done.
        images: real images seen.
        seconds: running time, without pauses between runs.
        rollbacks: how often the training went back to an earlier state.
        rate_scale: what the recipe's learning rates are multiplied by.
    """

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    rollbacks: int = 0
    rate_scale: float = 1.0


@dataclass(frozen=True)
class Continue:
    """Go on."""


@dataclass(frozen=True)
class Stop:
    """End the training here, for a reason that people can read; ``satisfied`` when it has what can be had."""

    reason: str
    satisfied: bool = False


@dataclass(frozen=True)
class Rollback:
    """Go back to the last good state and on from there with learning rates lowered by ``rate_scale``."""

    rate_scale: float
    reason: str


Signal = Continue | Stop | Rollback


class Callback(Protocol):
    """Something that happens at intervals."""

    def after_step(self, loop: Loop) -> Signal:
        """Called after every update, with the loop's progress already at its end."""

    def at_end(self, loop: Loop) -> Signal:
        """Called once when the loop ends, whatever the reason; Stop makes it an end for that reason."""


@dataclass
class Loop:
    """A training in progress. It knows no callback by name and obeys what they answer.

    Attributes:
        recipe: the resolved recipe.
        step: networks, optimizers, objective.
        feed: real images.
        average: the averaged generator.
        callbacks: asked in this order after each update.
        images: real images to see in all; ``None`` when time decides.
        go_back: puts a loop back to its last good state, for a rollback.
        recorded: plays the step's updates where they can be recorded.
        agree: with several processes, makes all know what one of them knows, after each update.
        shelter: does an update in the place of :meth:`advance`, and knows what to do when memory runs out in it.
    """

    recipe: Recipe
    step: Step
    feed: Feed
    average: AveragedGenerator
    images: int | None
    recorded: Recorded | None = None
    callbacks: Sequence[Callback] = ()
    go_back: Callable[[Loop, Rollback], None] | None = None
    agree: Callable[[Loop], None] | None = None
    shelter: Callable[[Loop], None] | None = None
    progress: Progress = field(default_factory=Progress)
    measures: Measures | None = None
    interrupted: bool = False
    _latents: dict[Stream, Ahead] = field(default_factory=dict, init=False, repr=False)
    ended: Literal["done", "interrupted", "stopped"] | None = None
    reason: str = ""

    def run(self) -> None:
        """Train until the recipe's duration is reached, a callback says stop, or ``interrupted`` is set from outside."""
        started = time.perf_counter() - self.progress.seconds
        while not self._is_over():
            with timed("updates"):
                self.update()
            self.progress.seconds = time.perf_counter() - started
            if self.ended is None:
                self.ask_all()
        self.progress.seconds = time.perf_counter() - started
        for callback in self.callbacks:
            with timed(getattr(callback, "part", type(callback).__name__)):
                self._obey(callback.at_end(self))

    def ask_all(self) -> None:
        """Ask each callback. After a rollback the rest are not asked: their moment has been undone."""
        for callback in self.callbacks:
            with timed(getattr(callback, "part", type(callback).__name__)):
                signal = callback.after_step(self)
            if isinstance(signal, Rollback) and self.go_back is not None:
                self.go_back(self, signal)
                return
            self._obey(signal)

    @property
    def epochs(self) -> float:
        """Passes over the images so far."""
        return self.progress.images / self.feed.epoch_size

    @property
    def share_done(self) -> float:
        """How much of the training is done, 0 to 1."""
        if self.images is not None:
            return min(1.0, self.progress.images / self.images)
        return min(1.0, self.progress.seconds / (60 * (self.recipe.training.minutes or 1)))

    def _obey(self, signal: Signal) -> None:
        if isinstance(signal, Stop) and self.ended != "stopped":
            self.ended, self.reason = "done" if signal.satisfied else "stopped", signal.reason
        elif isinstance(signal, Rollback) and self.ended != "stopped":
            # At the end there is nothing to go on with, and without a way back there is nowhere to go.
            self.ended, self.reason = "stopped", signal.reason

    def _is_over(self) -> bool:
        if self.ended is None and self.share_done >= 1.0:
            self.ended = "done"
        if self.agree is not None:
            self.agree(self)
        if self.ended is None and self.interrupted:
            self.ended = "interrupted"
        return self.ended is not None

    def update(self) -> None:
        """One update, sheltered from a shortage of memory where that is arranged."""
        if self.shelter is None:
            self.advance()
        else:
            self.shelter(self)

    def advance(self) -> None:
        """One update. Everything random in it follows from (seed, step) or (seed, global sample index)."""
        training, progress = self.recipe.training, self.progress
        # Dropout knows no sample's index: each process draws from numbers of its own.
        own = progress.step + (self.step.together.rank << PROCESS_BITS)
        torch.manual_seed(derived_seed(training.seed, Stream.TORCH, own))
        self.set_rates()
        first, size, turns = progress.images, training.batch_size, training.critic_steps
        with timed("data"):
            batches = [self.batch(first + turn * size, size) for turn in range(turns)]
        self.measures = (self.recorded or self.step)(batches, progress.step * turns)
        progress.step += 1
        progress.images += self.portion
        self.average.update(self.portion, progress.images)

    def forget_records(self) -> None:
        """Weights or moments are in other tensors than before, or memory is short: nothing recorded holds any more."""
        if self.recorded is not None:
            self.recorded.forget()

    @property
    def portion(self) -> int:
        """Real images in one update."""
        return self.recipe.training.batch_size * self.recipe.training.critic_steps

    def batch(self, first: int, count: int) -> Batch:
        """Real images of global sample indices ``first`` to ``first + count``, and what belongs to them.

        With several processes: this one's share of each part.
        """
        shares = [self.step.together.share(part) for part in pieces(first, count, self._part)]
        return replace(joined([self._batch(share.start, len(share)) for share in shares]), whole=count)

    @property
    def _part(self) -> int | None:
        """Images that are gathered at once: alone, a process cuts the whole batch when it has it."""
        return self.step.micro_batch if self.step.together.size > 1 else None

    def _batch(self, first: int, count: int) -> Batch:
        indices = np.arange(first, first + count)
        labels = mix = None
        if self.recipe.network.conditioning != "none":
            labels = self.feed.labels(first, count)
        if self.step.penalties.terms:
            mix = self._on_device(self._places(first, count))
        real = self.feed.batch(first, count)
        drawn = None
        if self.step.augment is not None:
            with timed("augmentation"):
                height, width = real.shape[2:]
                drawn = self.step.augment.draw(indices, height, width, real.dtype, self.progress.images)
        return Batch(real, self.latents(Stream.TRAIN_LATENT, first, count), labels, mix, drawn)

    def set_rates(self) -> None:
        """Give both optimizers the recipe's learning rates, as far along as the schedule is, lowered by rollbacks."""
        scale = self.progress.rate_scale * rate_scale(
            self.recipe.schedule, self.progress.images + self.portion, self.images
        )
        players = (
            (self.step.generator_optimizer, self.recipe.generator),
            (self.step.discriminator_optimizer, self.recipe.discriminator),
        )
        for optimizer, player in players:
            for group in optimizer.param_groups:
                if isinstance(group["lr"], torch.Tensor):  # a recorded update reads it where it is
                    group["lr"].fill_(player.lr * scale)
                else:
                    group["lr"] = player.lr * scale

    def latents(self, stream: Stream, first: int, count: int) -> torch.Tensor:
        """Latent vectors of global indices ``first`` to ``first + count``: [count, Z] on the networks' device."""
        if stream not in self._latents:
            self._latents[stream] = self._ahead(stream, normal, self.recipe.network.latent)
        return self._on_device(self._latents[stream](first, count))

    @cached_property
    def _places(self) -> Ahead:
        """Places between real and generated images."""
        return self._ahead(Stream.MIX, lambda *asked: uniform(*asked)[:, 0], 1)

    def _ahead(self, stream: Stream, draw: Callable[..., np.ndarray], count: int) -> Ahead:
        return Ahead(lambda indices: draw(self.recipe.training.seed, stream, indices, count))

    def _on_device(self, drawn: np.ndarray) -> torch.Tensor:
        return to_device(torch.from_numpy(drawn).to(self.feed.dtype), self.feed.device)
