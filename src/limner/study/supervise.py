"""Worker slots: each takes up a run that waits, starts a process for it, listens to it, and writes down what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from limner.errors import LimnerError
from limner.study.child import LEAVING_SECONDS, command, environment
from limner.study.store import HEARTBEAT, MOST_TRIES, Store, Trial

LOOK_SECONDS, IDLE_SECONDS = 0.25, 2.0
LOGS = "logs"


class Watcher(Protocol):
    """Who shows how far a study is."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def show(self, trials: list[Trial], running: list[Running]) -> None:
        """How things stand; called often."""


@dataclass(frozen=True)
class Task:
    """One run for a process.

    Attributes:
        run: the name of its directory.
        values: what the process is told.
    """

    run: str
    values: Mapping[str, Any]


@dataclass
class Running:
    """A trial that a process is at, and its latest news."""

    trial: Trial
    tasks: list[Task]
    results: list[dict[str, Any]] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    news: dict[str, Any] = field(default_factory=dict)
    heard: bool = True
    fault: str = ""
    since: float = field(default_factory=time.monotonic)

    @property
    def run(self) -> str:
        """The run that is being done."""
        return self.tasks[len(self.results)].run if len(self.results) < len(self.tasks) else ""


@dataclass(frozen=True)
class Plan:
    """How trials become runs, and results become values.

    Attributes:
        next: takes up a trial; ``None`` where none is to be had now.
        tasks: the runs of a trial, in their order.
        value: of a trial's results; ``None`` where there is none.
        on_way: the same of the figure that an evaluation on the way gave.
        startup: trials without pruning.
        prunes: whether hopeless ones are ended.
    """

    next: Callable[[], Trial | None]
    tasks: Callable[[Trial], list[Task]]
    value: Callable[[list[dict[str, Any]]], float | None]
    on_way: Callable[[float], float]
    startup: int = 0
    prunes: bool = False


class Supervisor:
    """So many processes at once, until nothing is left to do.

    Args:
        store: the study's state.
        plan: what is to be done.
        out: the study's directory.
        workers: processes.
        threads: of each.
        watcher: shows how far it is.
        finished: called when a run has ended.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        out: Path,
        workers: int,
        threads: int,
        watcher: Watcher,
        finished: Callable[[list[Trial]], None],
    ) -> None:
        self.store, self.plan, self.out = store, plan, out
        self.workers, self.threads, self.watcher, self.finished = workers, threads, watcher, finished
        self.running: list[Running] = []
        self._news: queue.SimpleQueue[tuple[Running, dict[str, Any] | None]] = queue.SimpleQueue()
        self._beaten = self._ask_at = self._viewed = 0.0

    def run(self) -> None:
        """Do everything that waits, and what other workers leave undone.

        Raises:
            KeyboardInterrupt: it was asked to end; every run is saved.
        """
        (self.out / LOGS).mkdir(exist_ok=True)
        with self.store.present(), _ended_by_signals():
            try:
                while self._begin() or self._others():
                    if not self.running:
                        time.sleep(IDLE_SECONDS)
                    self._listen()
            except BaseException:
                self._leave()
                raise
        self.watcher.show(self.store.trials(), [])

    def _begin(self) -> bool:
        """Fill free slots; whether anything is going on here."""
        now = time.monotonic()
        if now - self._beaten > HEARTBEAT:
            self._beaten = now
            self.store.beat(one.trial for one in self.running)
            for gone in self.store.take_back():
                self.watcher.say(f"{gone.key}: its worker is gone; it is taken up again")
        while len(self.running) < self.workers and now >= self._ask_at:
            trial = self.plan.next()
            if trial is None:
                self._ask_at = now + IDLE_SECONDS  # asking takes time that trainings could use
                break
            one = Running(trial, self.plan.tasks(trial))
            self.running.append(one)
            self._start(one)
        return bool(self.running)

    def _others(self) -> bool:
        """Whether workers elsewhere are at something, which may come back."""
        return any(trial.state in ("running", "waiting") for trial in self.store.trials())

    def _start(self, one: Running) -> None:
        """A process for the next run of a trial."""
        task = one.tasks[len(one.results)]
        with (self.out / LOGS / f"{task.run}.txt").open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                command(), env=environment(self.threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True, start_new_session=True,
            )  # fmt: skip
        one.process, one.news, one.fault = process, {}, ""
        self._answer(one, json.dumps(task.values))
        threading.Thread(target=self._hear, args=(one, process), daemon=True).start()

    def _hear(self, one: Running, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                self._news.put((one, json.loads(line)))
        process.wait()
        self._news.put((one, None))

    def _answer(self, one: Running, line: str) -> None:
        assert one.process is not None and one.process.stdin is not None
        with contextlib.suppress(OSError):  # a process that is gone is heard of
            one.process.stdin.write(f"{line}\n")
            one.process.stdin.flush()

    def _listen(self) -> None:
        """Take in what processes tell, for a moment."""
        until = time.monotonic() + LOOK_SECONDS
        while (left := until - time.monotonic()) > 0:
            try:
                one, news = self._news.get(timeout=left)
            except queue.Empty:
                break
            if news is None:
                self._ended(one)
                break
            self._take(one, news)
        self.watcher.show(self.store.trials() if self._stale_view() else [], self.running)

    def _stale_view(self) -> bool:
        """Whether the table of all trials is due: reading it takes a database's time."""
        now = time.monotonic()
        due = now - self._viewed > IDLE_SECONDS
        if due:
            self._viewed = now
        return due

    def _take(self, one: Running, news: dict[str, Any]) -> None:
        one.news |= news
        if "result" in news:
            one.results.append(news["result"])
        elif "fault" in news:
            one.fault = str(news["fault"])
        elif "evaluated" in news and self.plan.prunes and news.get("value") is not None:
            first = len(one.results) == 0  # of several seeds the first is measured against the others' first
            value = self.plan.on_way(float(news["value"]))
            hopeless = first and self.store.report(one.trial, int(news["evaluated"]), value, self.plan.startup)
            self._answer(one, "prune" if hopeless else "go on")

    def _ended(self, one: Running) -> None:
        """A process is at its end: what came of it, and what is next."""
        process = one.process
        assert process is not None
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        code = process.returncode
        pruned = bool(one.results) and one.results[-1]["ended"] == "pruned"
        if code == 0 and len(one.results) < len(one.tasks) and not pruned and one.news.get("result"):
            self._start(one)
            return
        self.running.remove(one)
        self._ask_at = 0.0
        if one.results and (code == 0):
            value = self.plan.value(one.results)
            self.store.finish(one.trial, {"runs": one.results}, value, "pruned" if pruned else "done")
        elif one.fault:
            self.store.fail(one.trial, one.fault)
            self.watcher.say(f"{one.trial.key}: failed: {one.fault}")
        else:
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            fault = f"its process ended by {name}; {self.out / LOGS / one.tasks[len(one.results)].run}.txt has more"
            last = one.trial.tries + 1 >= MOST_TRIES
            self.watcher.say(f"{one.trial.key}: {fault}{'' if last else '; it is gone on with'}")
            self.store.put_back(one.trial, fault)
        self.finished(self.store.trials())

    def _leave(self) -> None:
        """Have every run saved, and its process ended."""
        processes = [one.process for one in self.running if one.process is not None]
        if processes:
            self.watcher.say(f"saving {len(processes)} run{'s' if len(processes) > 1 else ''}")
        for process in processes:
            with contextlib.suppress(OSError):
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + LEAVING_SECONDS
        for process in processes:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                process.wait()
        for one in self.running:
            with contextlib.suppress(LimnerError):
                self.store.put_back(one.trial)
        self.running.clear()


@contextlib.contextmanager
def _ended_by_signals() -> Any:
    """SIGTERM ends a study as SIGINT does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
