"""What a person sees of a study: a live table in a terminal, plain lines elsewhere, and when it will be done."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, TextIO

from limner.progress import duration, harmless
from limner.study.store import Trial
from limner.study.supervise import Running

PLAIN_SECONDS = 60.0
"""Between two lines about how far it is, where nothing can be drawn over."""
DRAWN_SECONDS = 0.5
SHARE_TRUSTED = 0.1
"""Of a run, before which it began more than it trained."""
ROWS = 24
"""Of the live table; what is done already is counted instead when there are more."""


def automatic(metric: str, workers: int) -> Lines:
    """A table in a terminal, lines elsewhere."""
    return Table(metric, workers) if sys.stderr.isatty() else Lines(metric, workers)


class Lines:
    """Plain lines: when a run begins or ends, and now and then how far all is.

    Args:
        metric: the figure that is compared by.
        workers: processes here.
        stream: where they go.
    """

    def __init__(self, metric: str, workers: int, stream: TextIO | None = None) -> None:
        self.metric, self.workers, self.stream = metric, workers, stream or sys.stderr
        self.trials: Sequence[Trial] = ()
        self._states: dict[str, str] = {}
        self._said = time.monotonic()

    def say(self, text: str) -> None:
        """A line that stays."""
        print(harmless(text), file=self.stream, flush=True)

    def preparing(self, done: int, total: int) -> None:
        """So many pictures of so many are decoded."""

    def show(self, trials: list[Trial], running: list[Running]) -> None:
        """How things stand."""
        if trials:
            self._tell_changes(trials)
            self.trials = trials
        if time.monotonic() - self._said > PLAIN_SECONDS:
            self._said = time.monotonic()
            self.say(self.summary(running))

    def close(self) -> None:
        """Leave the terminal as it was."""

    def summary(self, running: Sequence[Running]) -> str:
        """Counts, and the remaining time."""
        counts = [f"{sum(one.state == state for one in self.trials)} {state}" for state in ("done", "pruned", "failed")]
        counts = [words for words in counts if not words.startswith("0 ") or words.endswith("done")]
        left = remaining(self.trials, running, self.workers)
        about = "" if left is None else f", about {duration(left)} left"
        return f"{', '.join(counts)} of {len(self.trials)}; {len(running)} running here{about}"

    def _tell_changes(self, trials: Sequence[Trial]) -> None:
        first = not self._states
        for trial in trials:
            before = self._states.get(trial.key)
            self._states[trial.key] = trial.state
            if not first and before != trial.state and trial.state in ("done", "pruned", "running"):
                self.say(f"{trial.key}: {outcome(trial, self.metric)}")


class Table(Lines):
    """A table that is drawn again and again."""

    def __init__(self, metric: str, workers: int) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(metric, workers)
        self.console = Console(stderr=True)
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._running: Sequence[Running] = ()
        self._drawn, self._open = 0.0, False

    def say(self, text: str) -> None:
        self.console.print(harmless(text), highlight=False, markup=False, soft_wrap=True)

    def show(self, trials: list[Trial], running: list[Running]) -> None:
        self.trials, self._running = trials or self.trials, list(running)
        if time.monotonic() - self._drawn < DRAWN_SECONDS:
            return
        self._drawn = time.monotonic()
        if not self._open:
            self._live.start()
            self._open = True
        self._live.update(self.drawn(), refresh=True)

    def close(self) -> None:
        if self._open:
            self._live.stop()
            self._open = False

    def drawn(self) -> Any:
        """The table as it is now."""
        from rich.table import Table as Drawn
        from rich.text import Text

        table = Drawn(box=None, pad_edge=False, title=Text(harmless(self.summary(self._running))), title_justify="left")
        for name in ("run", "state", "images", "", "left", self.metric.replace("_", " ")):
            table.add_column(name, no_wrap=name == "run", overflow="ellipsis")
        by_key = {one.trial.key: one for one in self._running}
        order = {"running": 0, "waiting": 2}
        rows = sorted(self.trials, key=lambda trial: (order.get(trial.state, 1), trial.number))
        for trial in rows[:ROWS]:
            one = by_key.get(trial.key)
            cells = [trial.key, trial.state if trial.state != "running" or one else "elsewhere", "", "", "", ""]
            if one is not None:
                cells[2:] = _progress(one)
            elif trial.result:
                cells[5] = outcome(trial, self.metric)
            table.add_row(*(Text(harmless(cell)) for cell in cells))
        if len(rows) > ROWS:
            table.add_row(Text(f"and {len(rows) - ROWS} more"))
        return table


def outcome(trial: Trial, metric: str) -> str:
    """What came of a trial, in a few words."""
    if trial.state == "running":
        return "begins"
    runs = trial.result.get("runs") or []
    broken = [run for run in runs if run.get("ended") == "stopped"]
    if broken:
        return f"broke off after {broken[0].get('images', 0):,} images ({broken[0].get('reason', '')})"
    values = [
        value for run in runs if (value := ((run.get("figures") or {}).get(metric) or {}).get("value")) is not None
    ]
    said = f"{metric.replace('_', ' ')} {fmean(values):.4g}" if values else "no figure"
    return f"{'pruned, ' if trial.state == 'pruned' else ''}{said}"


def remaining(trials: Sequence[Trial], running: Sequence[Running], workers: int) -> float | None:
    """Seconds until all is done, from what runs took that are done and how far the others are; ``None`` when unknown."""
    took = [float(run.get("seconds_in_all") or 0) for one in trials for run in one.result.get("runs") or []]
    now = time.monotonic()
    shares = [(now - one.since, float(one.news.get("share") or 0)) for one in running]
    if not took:
        took = [spent / share for spent, share in shares if share > SHARE_TRUSTED]
    if not took:
        return None
    usual = fmean(took)
    left = [
        spent * (1 - share) / share if share > SHARE_TRUSTED else max(usual / 10, usual - spent)
        for spent, share in shares
    ]
    waiting = sum(trial.state == "waiting" for trial in trials)
    return (sum(left) + waiting * usual) / max(1, workers)


def _progress(one: Running) -> list[str]:
    news: Mapping[str, Any] = one.news
    share = float(news.get("share") or 0)
    filled = round(12 * share)
    left = duration((time.monotonic() - one.since) * (1 - share) / share) if share > 0.02 else ""
    value = news.get("value")
    images = f"{news['images']:,}" if "images" in news else "preparing" if "preparing" in news else ""
    return [images, "#" * filled + "." * (12 - filled), left, "" if value is None else f"{value:.4g}"]
