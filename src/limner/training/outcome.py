"""How a training ended, and how to say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limner.progress import duration
from limner.rundir import RunDir


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        run: its directory.
        ended: ``done``, ``interrupted`` (state saved) or ``stopped`` (it could not go on).
        reason: why it was stopped.
        images, epochs, seconds: all that it has seen, and its running time.
        device: what it ran on, in words.
        verdict: how good it is, in a sentence; empty where that was not measured.
        report: where everything about it can be read.
        follows: whether this is a process that only follows: another one has written, and tells.
    """

    run: RunDir
    ended: str
    reason: str
    images: int
    epochs: float
    seconds: float
    device: str
    verdict: str = ""
    report: Path | None = None
    follows: bool = False

    def values(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {**vars(self), "run": str(self.run.path), "report": None if self.report is None else str(self.report)}

    def describe(self) -> str:
        """What was seen, in what time and on what; where everything lies; what one might do next."""
        path = self.run.path
        head = {"done": "done", "interrupted": "interrupted, everything is saved"}.get(
            self.ended, f"stopped: {self.reason}"
        )
        per_epoch = f", {duration(self.seconds / self.epochs)} an epoch" if self.epochs >= 1 else ""
        lines = [
            f"{head}: {self.images:,} images, {self.epochs:,.1f} epochs in {duration(self.seconds)}{per_epoch}"
            f" on {self.device}"
        ]
        if self.ended == "done" and self.reason:
            lines.append(f"ended early: {self.reason}")
        if self.verdict:
            lines.append(self.verdict)
        if self.report:
            lines.append(f"everything about it: {self.report}")
        grids = self.run.samples()
        if grids:
            lines.append(f"{path}/ has {len(grids)} sample grids, the newest {grids[-1][1]}")
        if self.ended == "stopped":
            return "\n".join(lines)
        if self.ended == "interrupted":
            lines.append(f"next: limner resume {path}       (goes on exactly here)")
        else:
            lines.append(f"next: limner generate {path} --count 64")
        lines.append(f"      limner timelapse {path}    (the training as a GIF)")
        lines.append(f"      limner animate {path}      (a walk between pictures)")
        if self.ended == "done":
            lines.append(f"      limner resume {path} --epochs {max(2, round(2 * self.epochs)):d}   (train for longer)")
        return "\n".join(lines)
