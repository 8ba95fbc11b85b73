"""Back to where a checkpoint was taken: to go on after a pause, or to try again after a training has broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from limner import rundir
from limner.errors import InputError
from limner.rundir import RunDir
from limner.training.callbacks import Checkpoint, Measure, restore
from limner.training.guard import event
from limner.training.judge import Examine
from limner.training.loop import Loop, Progress, Rollback


def load_checkpoint(loop: Loop, checkpoint: Path) -> dict[str, Any]:
    """Put a loop where a checkpoint was taken; returns what its state says besides.

    Raises:
        InputError: the checkpoint is damaged, or of another recipe.
    """
    try:
        state = RunDir(checkpoint).read_json(rundir.STATE)
        if state["format"] not in range(1, rundir.STATE_FORMAT + 1):
            raise InputError(
                f"{checkpoint}: has format {state['format']}; this Limner reads formats 1 to {rundir.STATE_FORMAT}"
            )
        restore(loop, load_file(checkpoint / rundir.TRAINING))
        loop.progress = Progress(
            int(state["step"]),
            int(state["images"]),
            float(state["seconds"]),
            int(state.get("rollbacks", 0)),
            float(state.get("rate_scale", 1.0)),
        )
    except (OSError, SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{checkpoint}: cannot be resumed from ({first})") from error
    return state


@dataclass(frozen=True)
class Recovery:
    """Takes a training that has broken back to its newest healthy checkpoint, with lower rates.

    Attributes:
        run: where checkpoints and events are.
        measure, examine, checkpoint: the callbacks that remember something of what is undone.
        say: tells a person.
    """

    run: RunDir
    measure: Measure
    examine: Examine | None
    checkpoint: Checkpoint
    say: Callable[[str], None]

    def __call__(self, loop: Loop, signal: Rollback) -> None:
        """Put ``loop`` back. The seconds go on, so that a training that is counted in minutes ends.

        Without a healthy checkpoint the loop is ended as stopped.
        """
        found = self.run.healthy_checkpoint()
        if found is None:
            loop.ended, loop.reason = "stopped", f"{signal.reason}, and there is no good state to go back to"
            return
        broken = loop.progress
        images, path = found
        load_checkpoint(loop, path)
        loop.progress.seconds = broken.seconds
        loop.progress.rollbacks = broken.rollbacks + 1
        loop.progress.rate_scale = broken.rate_scale * signal.rate_scale
        loop.measures = None  # of the updates that are undone
        self.run.go_back(images)
        rates = f"learning rates are {loop.progress.rate_scale:g} times the recipe's from here on"
        told = {"event": "rollback", "images": broken.images, "attempt": loop.progress.rollbacks}
        if not any(told.items() <= record.items() for record in self.run.records(rundir.EVENTS)):
            self.run.append(
                rundir.EVENTS,
                event(
                    "rollback",
                    broken.images,
                    attempt=loop.progress.rollbacks,
                    to=images,
                    rate_scale=loop.progress.rate_scale,
                    severity="warning",
                    evidence=f"went back from {broken.images:,} to {images:,} images because {signal.reason}",
                    advice=f"nothing need be done: {rates}",
                ),
            )
        self.say(f"rollback {loop.progress.rollbacks}: back to {images:,} images; {rates}")
        self.measure.forget()
        if self.examine is not None:
            self.examine.forget()
        # Written at once, so that a training that is killed now does not try the same again.
        self.checkpoint.ask(healthy=True, best=False)
        self.checkpoint.save(loop)
