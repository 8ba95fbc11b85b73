"""A study from its file to its table: everything is checked, then every run is done, then they are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from limner.durable import atomic_write, make_directory
from limner.errors import InputError
from limner.judging.comparison.statistics import COMPARED
from limner.study import shows
from limner.study.file import Judge, Level, Study, StudyError, label_of, located, read_study
from limner.study.grid import (
    Configuration,
    Job,
    check_data,
    configuration,
    configurations,
    corners,
    job,
    jobs,
)
from limner.study.results import PAGE, TABLE, Row, comparison, write_results
from limner.study.run import figures_of
from limner.study.store import STATE, Store, Trial
from limner.study.supervise import Plan, Supervisor, Task, cores

FILE = "study.toml"


@dataclass(frozen=True)
class Conducted:
    """How a study ended.

    Attributes:
        out: its directory.
        rows: every run.
        failed: runs that could not be done.
        page: the page that compares them; ``None`` where no run lies here.
    """

    out: Path
    rows: tuple[Row, ...]
    failed: int
    page: Path | None

    def describe(self) -> str:
        """What is there, and what one might do next."""
        done = sum(row.state in ("done", "pruned") for row in self.rows)
        lines = [(self.out / TABLE).read_text(encoding="utf-8").rstrip(), ""]
        lines.append(f"{done} of {len(self.rows)} runs in {self.out / 'runs'}; the table: {self.out / TABLE}")
        if self.page is not None:
            lines.append(f"all of it compared: {self.page}")
        if self.failed:
            lines.append(
                f"{self.failed} failed; limner study {self.out / FILE} --resume --out {self.out} tries them again"
            )
        return "\n".join(lines)

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "out": str(self.out),
            "page": None if self.page is None else str(self.page),
            "runs": [row.values() for row in self.rows],
        }


@dataclass(frozen=True)
class Checked:
    """A study whose every combination was resolved.

    Attributes:
        study: what was read.
        grid: its configurations; none for a search, which proposes them.
        jobs: its runs, for a grid.
    """

    study: Study
    grid: tuple[Configuration, ...]
    jobs: tuple[Job, ...]


def check(path: str | Path, progress: Any = None) -> Checked:
    """Read a study and find out everything that is wrong with it, before anything is trained.

    Args:
        path: of the study file.
        progress: told how many pictures of how many are decoded.

    Raises:
        StudyError: what is wrong, one line each.
        InputError: there is no such file, or it is no TOML.
    """
    study = read_study(path)
    if study.given.search is not None:
        ends = list(corners(study))
        check_data(study, [job(study, one, study.given.seeds[0]) for one in _accepted(study, ends)], progress)
        return Checked(study, (), ())
    grid = configurations(study)
    reference = study.given.reference
    if reference is not None and reference not in [one.name for one in grid]:
        known = ", ".join(one.name for one in grid[:10])
        raise StudyError(study.path, [f"reference = {reference!r}: must be one of {known}"])
    found = jobs(study, grid)
    first = {(one.data, one.configuration.name): one for one in reversed(found)}
    check_data(study, list(reversed(first.values())), progress)
    return Checked(study, tuple(grid), tuple(found))


def conduct(
    path: str | Path,
    *,
    workers: int = 1,
    resume: bool = False,
    out: str | Path | None = None,
    watcher: shows.Lines | None = None,
) -> Conducted:
    """Do a study: every run that is not done yet, in so many processes at once.

    Args:
        path: of the study file.
        workers: processes here; others may be at the same study elsewhere.
        resume: go on with a study that was begun, or join it.
        out: its directory; ``studies/NAME`` by default.
        watcher: shows how far it is; the terminal by default.

    Raises:
        StudyError: the study is wrong; nothing was trained.
        InputError: it was begun before and is not to be gone on with, or was begun otherwise; optuna is missing.
        KeyboardInterrupt: it was asked to end; every run is saved.
    """
    if workers < 1:
        raise InputError(f"--workers {workers}: must be at least 1")
    watcher = watcher or shows.automatic("", workers)
    try:
        checked = check(path, watcher.preparing)
        study = checked.study
        watcher.metric = study.given.metric
        place = Path(out) if out is not None else Path("studies") / study.name
        begun = (place / STATE).exists() or (place / FILE).exists()
        if begun and not resume:
            raise InputError(
                f"{place}: holds a study that was begun; --resume goes on with it, --out names another place"
            )
        if place.exists() and not place.is_dir():
            raise InputError(f"--out {place}: is a file, not a directory")
        try:
            make_directory(place.parent) if not place.parent.exists() else None
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {place}: cannot be written ({error.strerror or error})") from None
        return _Conductor(checked, place, workers, watcher).conduct()
    finally:
        watcher.close()


class _Conductor:
    """One worker's way through a study that is right."""

    def __init__(self, checked: Checked, out: Path, workers: int, watcher: shows.Lines) -> None:
        self.study, self.jobs, self.out = checked.study, {one.name: one for one in checked.jobs}, out
        self.given, self.workers, self.watcher = checked.study.given, workers, watcher
        self.kind = COMPARED[self.given.metric].better
        direction = "maximize" if self.kind == "higher" else "minimize"
        self.store = Store(self.given.storage, self.study.name, out, direction)

    def conduct(self) -> Conducted:
        """Everything, from what is there to the page."""
        self._agree()
        atomic_write(self.out / FILE, self.study.text.encode())
        self.store.add((name, one.digest) for name, one in self.jobs.items())
        self.store.forget({trial.key for trial in self._trials() if trial.state == "failed"})
        for trial in self.store.take_back():
            self.watcher.say(f"{trial.key}: was cut off; it is gone on with")
        threads = int(self.store.attribute("threads", self.given.threads or max(1, cores() // self.workers)))
        search = self.given.search
        plan = Plan(
            next=self.store.claim if search is None else self._next_of_search,
            tasks=self._tasks,
            value=self._value,
            on_way=lambda value: abs(value - 1) if self.kind == "one" else value,
            startup=0 if search is None else search.startup,
            prunes=search is not None and search.prune,
        )
        Supervisor(self.store, plan, self.out, self.workers, threads, self.watcher, self._finished).run()
        rows = self._rows(self._trials())
        write_results(self.study, self.out, rows)
        return Conducted(self.out, tuple(rows), sum(row.state == "failed" for row in rows), self._page(rows))

    def _agree(self) -> None:
        """Find out whether what was begun here is what the file says now.

        Raises:
            StudyError: a run would be another one.
        """
        problems = []
        for trial in self._trials() if self.jobs else []:
            one = self.jobs.get(trial.key)
            if one is not None and trial.digest and trial.digest != one.digest:
                problems.append(
                    f"{trial.key}: is not what it was when the study was begun in {self.out}; --out names another place"
                )
        if problems:
            raise StudyError(self.study.path, problems)

    def _trials(self) -> list[Trial]:
        found = self.store.trials()
        return [trial for trial in found if trial.key in self.jobs] if self.jobs else found

    def _next_of_search(self) -> Trial | None:
        search = self.given.search
        assert search is not None
        distributions = _distributions(self.study, self.store.optuna)
        return self.store.claim() or self.store.propose(distributions, search.seed, search.startup, search.trials)

    def _tasks(self, trial: Trial) -> list[Task]:
        own = [self.jobs[trial.key]] if self.jobs else self._jobs_of(trial)
        judge = self.given.judge
        common = None if judge is None else _located(judge, self.study)
        prune = self.given.search is not None and self.given.search.prune
        made = []
        for place, one in enumerate(own):
            values = {
                "out": str(self.out.resolve()),
                "run": one.name,
                "data": one.data,
                "recipe": one.recipe.values(),
                "digest": one.digest,
                "metric": self.given.metric,
                "prune": prune and place == 0,
                "judge": None if common is None else common.model_dump(),
            }
            made.append(Task(one.name, values))
        return made

    def _jobs_of(self, trial: Trial) -> list[Job]:
        one = self._proposed(trial)
        return [job(self.study, one, seed) for seed in self.given.seeds]

    def _proposed(self, trial: Trial) -> Configuration:
        levels = {
            name: next(level for level in own if level.label == trial.sets[name])
            for name, own in self.study.factors.items()
        }
        ranges = self.given.search.ranges if self.given.search else {}
        levels |= {name: Level(_shown(trial.sets[name]), {name: trial.sets[name]}) for name in ranges}
        return configuration(self.study, levels, trial.key)

    def _value(self, results: list[dict[str, Any]]) -> float | None:
        """The mean over seeds; none where a run diverged."""
        metric = self.given.metric
        values = []
        for one in results:
            figure = figures_of(one).get(metric)
            if figure is None or one["ended"] == "stopped":
                return None
            values.append(abs(figure.value - 1) if self.kind == "one" else figure.value)
        return fmean(values)

    def _finished(self, trials: list[Trial]) -> None:
        """After each run: what is known so far can be read already."""
        known = [trial for trial in trials if not self.jobs or trial.key in self.jobs]
        write_results(self.study, self.out, self._rows(known))
        self.watcher.show(trials, [])

    def _rows(self, trials: list[Trial]) -> list[Row]:
        by_key = {trial.key: trial for trial in trials}
        rows = []
        if self.jobs:
            order = {one.configuration.name: place for place, one in reversed(list(enumerate(self.jobs.values())))}
            for one in sorted(self.jobs.values(), key=lambda one: (order[one.configuration.name], one.seed)):
                known = by_key.get(one.name)
                runs = [] if known is None else known.result.get("runs") or []
                state, fault = ("waiting", "") if known is None else (known.state, known.fault)
                levels = one.configuration.levels
                rows.append(Row(one.configuration.name, levels, one.seed, state, runs[0] if runs else {}, fault))
            return rows
        for trial in trials:
            own = self._proposed(trial)
            for place, seed in enumerate(self.given.seeds):
                runs = trial.result.get("runs") or []
                result = runs[place] if place < len(runs) else {}
                if result or trial.state != "pruned":
                    rows.append(Row(own.name, own.levels, seed, trial.state, result, trial.fault))
        return rows

    def _page(self, rows: list[Row]) -> Path | None:
        from limner.judging.comparison.page import build_page

        found = comparison(self.study, self.out, rows)
        if found is None:
            return None
        page = self.out / PAGE
        intro = tuple(words for words in (self.given.question, self.given.source) if words)
        atomic_write(page, build_page(found, intro=intro).encode("utf-8", "backslashreplace"))
        return page


def _accepted(study: Study, ends: list[Configuration]) -> list[Configuration]:
    """The corners of a search, resolved.

    Raises:
        StudyError: everything that a recipe refuses.
    """
    jobs(study, ends)
    return ends


def _located(judge: Judge, study: Study) -> Judge:
    return judge.model_copy(update={"data": located(judge.data, study.path, "judge.data")})


def _distributions(study: Study, optuna: Any) -> Mapping[str, Any]:
    """What a search may propose, for optuna."""
    made: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution([level.label for level in levels])
        for name, levels in study.factors.items()
    }
    for name, one in (study.given.search.ranges if study.given.search else {}).items():
        if one.whole:
            made[name] = optuna.distributions.IntDistribution(round(one.low), round(one.high), log=one.log)
        else:
            made[name] = optuna.distributions.FloatDistribution(one.low, one.high, log=one.log)
    return made


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else label_of(value)
