"""What is done about findings: they are written down, told, and obeyed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from limner import rundir
from limner.judging.health import Finding, is_news
from limner.recipe import Health
from limner.rundir import RunDir
from limner.training.loop import Continue, Loop, Rollback, Signal, Stop


class Guard:
    """Writes findings into the run's events, each once, and answers what the training has to do.

    Args:
        run: where events are.
        settings: how often the training may go back, and by how much rates fall then.
        say: tells a person.
    """

    def __init__(self, run: RunDir, settings: Health, say: Callable[[str], None]) -> None:
        self.run, self.settings, self.say = run, settings, say

    def told(self, loop: Loop, findings: Sequence[Finding]) -> Signal:
        """Write down what is new, and say what follows from it."""
        if not findings:
            return Continue()
        images = loop.progress.images
        events = list(self.run.records(rundir.EVENTS))
        for finding in findings:
            if is_news(finding, images, loop.progress.rollbacks, events):
                details = {
                    "severity": finding.severity,
                    "evidence": finding.evidence,
                    "advice": finding.advice,
                    "attempt": loop.progress.rollbacks,
                }
                self.run.append(rundir.EVENTS, event(finding.kind, images, **details))
                self.say(f"{finding.severity}: {finding.evidence}; {finding.advice}")
        worst = next((finding for finding in findings if finding.go_back), None)
        if worst is None:
            return Continue()
        if loop.progress.rollbacks >= self.settings.rollbacks:
            tried = f" (after {loop.progress.rollbacks} rollbacks)" if loop.progress.rollbacks else ""
            return Stop(f"{worst.evidence}{tried}; {worst.advice}")
        return Rollback(self.settings.rate_scale, worst.evidence)


def event(kind: str, images: int, **details: Any) -> dict[str, Any]:
    """A line for the run's events."""
    return {"event": kind, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "images": images, **details}
