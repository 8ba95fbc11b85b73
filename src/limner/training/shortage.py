"""When memory runs out in the middle of a training: the update is undone, the batch is cut finer, and the training goes on.

The effective batch stays what it was; only its parts (``micro_batch``) are halved, as often as it takes. The update that failed
is done again from the state before it, so the training is from there on, bit for bit, one that has had the finer parts from
that update on. A checkpoint is written at that state, then the recipe, then the event: whoever resumes does the same again.

What an update changes, and how it is undone without a second copy of everything:

- weights and moments change only in an optimizer's step. They are copied just before it, when the activations of that turn
  are gone, and dropped when the update is over. So what the copies add to the peak is at most D's while G has its turn;
- buffers (statistics of batch normalisation, vectors of spectral normalisation) change in every forward pass, and are small:
  they are copied before the update;
- the controller of the augmentation has three numbers, which are copied too;
- gradients are dropped, rates and seeds follow from the progress, and the average follows the weights last of all, in place.

On a GPU, and on a CPU whose processes are limited, memory that cannot be had is an error. Elsewhere the system ends the
process without a word. So with ``--memory``, what the process holds is looked at after each update. The allocator keeps what
the update has freed (:func:`limner.device.keep_freed_memory`): it is the update's peak that is seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from limner import rundir
from limner.data.store import cache_root
from limner.device import is_shortage, release_memory
from limner.errors import LimnerError
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.training.callbacks import Checkpoint
from limner.training.guard import event
from limner.training.loop import Loop
from limner.training.memory import compares_images, even, file_pages, held

SHORTAGE = "shortage"
"""The event's name."""


class Undo:
    """The way back from an update that was not finished (see the module's text).

    Args:
        loop: whose updates may be undone.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._watching = False
        self._stepped: dict[Optimizer, list[tuple[nn.Parameter, Tensor, dict[str, Any]]]] = {}
        # By precision, so that a device copies all of them at a time.
        buffers = [buffer for network in (loop.step.generator, loop.step.discriminator) for buffer in network.buffers()]
        alike = [[one for one in buffers if one.dtype == dtype] for dtype in {buffer.dtype for buffer in buffers}]
        self._buffers = [(group, [torch.empty_like(one) for one in group]) for group in alike]
        for optimizer in (loop.step.generator_optimizer, loop.step.discriminator_optimizer):
            optimizer.register_step_pre_hook(self._keep)

    def begin(self) -> None:
        """Here an update begins."""
        loop, step = self._loop, self._loop.step
        self._stepped.clear()
        for own, copies in self._buffers:
            torch._foreach_copy_(copies, own)
        state = {} if step.augment is None else step.augment.state()
        self._augment = {name: value.clone() for name, value in state.items()}
        self._progress, self._measures = replace(loop.progress), loop.measures
        self._watching = True

    def end(self) -> None:
        """The update is over: there is no way back any more."""
        self._watching = False
        self._stepped.clear()

    @torch.no_grad()
    def back(self) -> None:
        """Put everything where it was when the update began."""
        loop, step = self._loop, self._loop.step
        self._watching = False
        for optimizer, kept in self._stepped.items():
            for parameter, weights, moments in kept:
                parameter.copy_(weights)
                now = optimizer.state[parameter]
                for name, value in moments.items():
                    if isinstance(value, Tensor):
                        now[name].copy_(value)
                    else:
                        now[name] = value
                for name in set(now) - set(moments):
                    del now[name]
                if not now:  # as an optimizer leaves it that has never stepped
                    del optimizer.state[parameter]
        for own, copies in self._buffers:
            torch._foreach_copy_(own, copies)
        for network in (step.generator, step.discriminator):
            for parameter in network.parameters():
                parameter.grad = None
        if step.augment is not None:
            step.augment.restore(self._augment)
        loop.progress, loop.measures = self._progress, self._measures
        self.end()

    def around(self, loop: Loop) -> None:
        """One update with its copies, for who measures what a training takes."""
        self.begin()
        loop.advance()
        self.end()

    @torch.no_grad()
    def _keep(self, optimizer: Optimizer, arguments: Any, options: Any) -> None:
        """Before an optimizer's first step in an update: what it is going to change."""
        # What is being recorded is not computed yet; and its memory stays, so that playing it cannot fail for want of it.
        recording = self._loop.feed.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if not self._watching or optimizer in self._stepped or recording:
            return
        kept = []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                moments = {
                    name: value.clone() if isinstance(value, Tensor) else value
                    for name, value in optimizer.state.get(parameter, {}).items()
                }
                kept.append((parameter, parameter.detach().clone(), moments))
        self._stepped[optimizer] = kept  # only now: of half a copy nothing is put back, and nothing was changed


class Shelter:
    """Does a loop's updates, and cuts the batch finer where memory runs out.

    Args:
        run: where recipe and events are.
        checkpoint: writes the state that the training goes on from.
        say: tells a person.
        bound: bytes of main memory that the process may hold (``--memory``), looked at on a CPU.
    """

    def __init__(
        self, run: RunDir, checkpoint: Checkpoint, say: Callable[[str], None], bound: int | None = None
    ) -> None:
        self._run, self._checkpoint, self._say, self._bound = run, checkpoint, say, bound
        self._undo: Undo | None = None
        self._program = 0
        self._told = False
        self._passed = ""

    def __call__(self, loop: Loop) -> None:
        """One update; where not even one image at a time fits, the loop is ended as stopped, at the state before."""
        undo = self._undo = self._undo or Undo(loop)
        if self._passed:  # only now: what belongs to the moment after that update is on the disk
            self._finer(loop, self._passed)
            self._passed = ""
            if loop.ended is not None:
                return
        clean = self._is_clean(loop)
        while True:
            undo.begin()
            try:
                loop.advance()
            except (MemoryError, RuntimeError) as error:
                if not is_shortage(error):
                    raise
                why = _first_line(error)
            else:
                undo.end()
                over = self._over(loop)
                if over and clean:
                    self._passed = f"{over / 1e9:.2f} GB were held, of {(self._bound or 0) / 1e9:.3g} allowed"
                return
            # Out of the except clause: as long as there is the error, its frames hold on to the activations.
            undo.back()
            loop.forget_records()
            release_memory()
            self._finer(loop, why)
            if loop.ended is not None:
                return

    def _is_clean(self, loop: Loop) -> bool:
        """Whether less is held than the bound before an update, so that it is the update's doing when more is held after it."""
        if not self._over(loop):
            return True
        release_memory()  # an evaluation's, which the allocator has kept
        over = self._over(loop)
        if over and not self._told:
            self._told = True
            self._say(
                f"note: {over / 1e9:.2f} GB are held besides the updates, more than the {(self._bound or 0) / 1e9:.3g} GB"
                " allowed; smaller parts would not change that"
            )
        return not over

    def _over(self, loop: Loop) -> int:
        """Bytes held where they are too many, else 0."""
        if self._bound is None or loop.feed.device.type != "cpu":
            return 0
        if not self._program or held() + self._program > self._bound:
            self._program = file_pages(cache_root())
        now = held() + self._program
        return now if now > self._bound else 0

    def _finer(self, loop: Loop, why: str) -> None:
        """Halve the parts from here on, and write down that it is so; end the loop where there is nothing to halve."""
        batch = loop.recipe.training.batch_size
        had = min(loop.step.micro_batch or batch, batch)
        images = loop.progress.images
        if self._checkpoint.saved != images:
            try:
                self._checkpoint.save(loop)
            except (MemoryError, RuntimeError) as error:
                if not is_shortage(error):
                    raise
                self._say("note: there is no memory to write a checkpoint in")
        if had == 1:
            loop.ended, loop.reason = (
                "stopped",
                f"memory ran out with one image at a time ({why}); {advice(loop.recipe)}",
            )
            return
        parts = even(batch, -(-had // 2))
        loop.recipe = loop.recipe.changed({"training.micro_batch": parts})
        loop.step.micro_batch = parts
        release_memory()
        evidence = (
            f"memory ran out ({why}): batches of {batch} are computed {parts} images at a time from here on, not {had}"
        )
        if compares_images(loop.recipe):
            evidence += "; batch normalisation, or the deviation in D, sees so many together"
        toml = loop.recipe.to_toml()
        self._run.write(rundir.RECIPE, toml)
        self._checkpoint.describe({**self._checkpoint.description, "recipe": toml})
        told = {
            "severity": "warning",
            "evidence": evidence,
            "advice": "nothing need be done: the batch as a whole stays",
        }
        self._run.append(rundir.EVENTS, event(SHORTAGE, images, **told, micro_batch=parts, before=had))
        self._say(f"warning: {evidence}")


def together(loop: Loop) -> None:
    """One update of a process among several. None can go back alone: where memory runs out, it says so and the job ends.

    Raises:
        LimnerError: there is no memory left.
    """
    try:
        loop.advance()
        return
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        why = _first_line(error)
    training = loop.recipe.training
    had = min(training.micro_batch or training.batch_size, training.batch_size)
    if had > loop.step.together.size:
        what = f"go on with --set training.micro_batch={-(-had // 2)} (limner resume)"
    else:
        what = advice(loop.recipe)
    raise LimnerError(f"memory ran out in one of {loop.step.together.size} processes ({why}); {what}")


def advice(recipe: Recipe) -> str:
    """What takes less memory than one image at a time does."""
    image = recipe.image
    width, height = (max(8, (side or 16) // 2) for side in (image.width, image.height))
    again = "" if recipe.training.recompute else ", and --set training.recompute=true saves activations"
    return (
        f"--size {width}x{height} takes about a quarter, narrower networks (generator.width, discriminator.width) take"
        f" less{again}"
    )


def _first_line(error: BaseException) -> str:
    """An error in a part of a line."""
    text = " ".join(str(error).split())
    asked = re.search(r"allocate ([\d.,]+ ?\w+)", text)
    return f"{asked[1]} more were asked for" if asked else text[:120] or type(error).__name__
