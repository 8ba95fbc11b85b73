"""A study's state in optuna's storage: which runs there are, who is at them, and what came of each.

Every run of a grid (every configuration of a search) is a trial. Workers take up those that wait; a trial whose worker is gone
is put back. On the same machine a worker is gone when the system has dropped its lock; elsewhere, when its heartbeats stopped.
"""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.durable import remove_tree
from limner.errors import InputError, LimnerError
from limner.rundir import lock

if TYPE_CHECKING:
    import optuna

KEY, WORKER, RESULT, DIGEST, FAULT, TRIES = "key", "worker", "result", "digest", "fault", "tries"
"""What is known of a trial besides optuna's own: its name, who is at it, what came of it, of what it is, why it failed, and how
often its process died."""
STATE = "study.db"
WORKERS = "workers"
HEARTBEAT, GRACE = 15, 120
"""Seconds between two signs of life, and how long a worker elsewhere may be silent."""
MOST_TRIES = 3
"""How often a run that killed its process is begun again."""


def library() -> Any:
    """Optuna, quiet.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise InputError("studies need optuna: pip install 'limner[study]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@dataclass(frozen=True)
class Trial:
    """A trial as it stands.

    Attributes:
        number: in the order in which they were added.
        key: its name: the run's, or the configuration's in a search.
        state: ``waiting``, ``running``, ``done`` (diverged ones too), ``pruned`` or ``failed``.
        result: what came of it.
        fault: why it failed.
        tries: how often its process was killed.
        worker: who is or was at it.
        digest: of what it computes.
        sets: what a search proposed.
    """

    number: int
    key: str
    state: str
    result: Mapping[str, Any]
    fault: str
    tries: int
    worker: str
    digest: str
    sets: Mapping[str, Any]


class Store:
    """One worker's access to the state.

    Args:
        url: of the database; a file in the study's directory by default.
        name: of the study in it.
        out: the study's directory.
        direction: ``minimize`` or ``maximize``.

    Raises:
        InputError: optuna is missing, or the database cannot be reached.
    """

    def __init__(self, url: str | None, name: str, out: Path, direction: str) -> None:
        self.optuna = library()
        self.out = out
        self.worker = f"{uuid.uuid4().hex[:12]}"
        local = url is None
        url = url or f"sqlite:///{(out / STATE).resolve()}"
        options = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # heartbeats are called experimental
                self.storage = self.optuna.storages.RDBStorage(
                    url, heartbeat_interval=HEARTBEAT, grace_period=GRACE, engine_kwargs=options
                )
            self.study: optuna.Study = self.optuna.create_study(
                storage=self.storage, study_name=name, load_if_exists=True, direction=direction
            )
        except Exception as error:  # whatever a database's driver raises
            where = str(out / STATE) if local else "storage"
            raise InputError(f"{where}: cannot be used ({_first_line(error)})") from None
        self._id = self.storage.get_study_id_from_name(name)

    def attribute(self, name: str, default: Any) -> Any:
        """A value that is the study's for good: what the first worker gave it."""
        known = self.study.user_attrs
        if name not in known:
            self.study.set_user_attr(name, default)
            return default
        return known[name]

    def trials(self) -> list[Trial]:
        """All, in their order; of those with the same key the last one."""
        found: dict[str, Trial] = {}
        for one in self.storage.get_all_trials(self._id, deepcopy=False):
            trial = _read(one)
            if trial.key:
                before = found.get(trial.key)
                if before is None or before.state not in ("done", "pruned"):
                    found[trial.key] = trial
        return sorted(found.values(), key=lambda trial: trial.number)

    def add(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Add trials by key and digest, unless they are there."""
        known = {trial.key for trial in self.trials()}
        for key, digest in wanted:
            if key not in known:
                self._put({KEY: key, DIGEST: digest})

    def put_back(self, trial: Trial, fault: str = "") -> None:
        """Let a trial that came to nothing wait again; one that was tried often enough stays failed."""
        state = self.optuna.trial.TrialState
        attributes = {KEY: trial.key, DIGEST: trial.digest, TRIES: trial.tries + bool(fault)}
        if trial.sets:
            attributes["sets"] = json.dumps(dict(trial.sets))
        number = self._identity(trial.number)
        if trial.state == "running":
            if fault:
                self.storage.set_trial_user_attr(number, FAULT, fault)
            if not self._set(number, state.FAIL):
                return  # another worker has seen to it
        if trial.tries + bool(fault) < MOST_TRIES:
            self._put(attributes, self._frozen(trial.number))

    def claim(self) -> Trial | None:
        """The first trial that waits, now this worker's; ``None`` where none does."""
        state = self.optuna.trial.TrialState
        for one in self.storage.get_all_trials(self._id, deepcopy=False, states=(state.WAITING,)):
            if self._set(one._trial_id, state.RUNNING):
                trial = _read(one)
                if self._is_double(trial):
                    self._set(one._trial_id, state.FAIL)
                    continue
                self.storage.record_heartbeat(one._trial_id)  # first: a worker killed here is found by its silence
                self.storage.set_trial_user_attr(one._trial_id, WORKER, self.worker)
                return replace(trial, state="running", worker=self.worker)
        return None

    def propose(self, distributions: Mapping[str, Any], seed: int, startup: int, most: int) -> Trial | None:
        """A new configuration of a search, this worker's already; ``None`` when there are enough of them."""
        known = self.trials()
        if len(known) >= most:
            return None
        # A sampler of its own each time: what is proposed follows from the seed and from what is known, not from who asks.
        sampler = self.optuna.samplers.TPESampler(seed=seed * 100_003 + len(known), n_startup_trials=startup)
        self.study.sampler = sampler
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of heartbeats, which are given elsewhere
            asked = self.study.ask(dict(distributions))
        number = asked._trial_id
        self.storage.record_heartbeat(number)
        for name, value in ((KEY, f"trial-{asked.number:04d}"), (WORKER, self.worker)):
            self.storage.set_trial_user_attr(number, name, value)
        self.storage.set_trial_user_attr(number, "sets", json.dumps(asked.params))
        return _read(self.storage.get_trial(number))

    def report(self, trial: Trial, step: int, value: float, startup: int) -> bool:
        """Tell how a run does on its way; whether it is hopeless (worse than the median there)."""
        self.study.pruner = self.optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=1)
        running = self.optuna.trial.Trial(self.study, self._identity(trial.number))
        known = self._frozen(trial.number).intermediate_values
        if step not in known:  # a run that is gone on with tells some again
            running.report(value, step)
        return bool(running.should_prune())

    def finish(self, trial: Trial, result: Mapping[str, Any], value: float | None, state: str = "done") -> None:
        """Write down what came of a trial. Without a value it failed to be measured, and counts as the worst there is."""
        kinds = self.optuna.trial.TrialState
        number = self._identity(trial.number)
        self.storage.set_trial_user_attr(number, RESULT, json.dumps(result))
        if state == "pruned":
            self._set(number, kinds.PRUNED, value)
            return
        worst = float("inf") if self.study.direction.name == "MINIMIZE" else float("-inf")
        self._set(number, kinds.COMPLETE, worst if value is None else value)

    def fail(self, trial: Trial, fault: str) -> None:
        """Write down that a trial could not be done, and why."""
        number = self._identity(trial.number)
        self.storage.set_trial_user_attr(number, FAULT, fault)
        self._set(number, self.optuna.trial.TrialState.FAIL)

    def beat(self, trials: Iterable[Trial]) -> None:
        """A sign of life for what this worker is at."""
        for trial in trials:
            self.storage.record_heartbeat(self._identity(trial.number))

    def take_back(self) -> list[Trial]:
        """Put back what workers that are gone were at; returns it."""
        silent = set(self.storage._get_stale_trial_ids(self._id))
        found = []
        for trial in self.trials():
            if trial.state != "running" or trial.worker == self.worker:
                continue
            place = self.out / WORKERS / trial.worker
            here = bool(trial.worker) and place.is_dir()
            if (here and not lock.is_held(place)) or (not here and self._identity(trial.number) in silent):
                self.put_back(trial)
                remove_tree(place) if here else None
                found.append(trial)
        return found

    def forget(self, keys: Iterable[str]) -> None:
        """Let failed trials wait again, however often they were tried."""
        for trial in self.trials():
            if trial.key in keys:
                self._put({KEY: trial.key, DIGEST: trial.digest, **_sets(trial)}, self._frozen(trial.number))

    @contextmanager
    def present(self) -> Iterator[None]:
        """Be seen to be here: a lock that the system drops when this process ends, however it ends."""
        place = self.out / WORKERS / self.worker
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LimnerError(f"{place}: cannot be written ({error.strerror or error})") from None
        try:
            with lock.locked(place):
                yield
        finally:
            remove_tree(place)

    def _is_double(self, trial: Trial) -> bool:
        """Whether another worker has added the same run, and is at it or done with it."""
        for one in self.storage.get_all_trials(self._id, deepcopy=False):
            other = _read(one)
            if other.key == trial.key and other.number != trial.number and other.state in ("done", "pruned", "running"):
                return True
        return False

    def _put(self, attributes: Mapping[str, Any], like: Any = None) -> None:
        create = self.optuna.trial.create_trial
        params = {} if like is None else like.params
        distributions = {} if like is None else like.distributions
        waiting = self.optuna.trial.TrialState.WAITING
        self.study.add_trial(
            create(state=waiting, params=params, distributions=distributions, user_attrs=dict(attributes))
        )

    def _identity(self, number: int) -> int:
        return int(self.storage.get_trial_id_from_study_id_trial_number(self._id, number))

    def _frozen(self, number: int) -> Any:
        return self.storage.get_trial(self._identity(number))

    def _set(self, number: int, state: Any, value: float | None = None) -> bool:
        """Change a trial's state; false where another worker did so first."""
        try:
            return bool(self.storage.set_trial_state_values(number, state, None if value is None else [value]))
        except RuntimeError:  # it is finished already
            return False


def _read(one: Any) -> Trial:
    known = one.user_attrs
    states = {"WAITING": "waiting", "RUNNING": "running", "COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}
    return Trial(
        one.number,
        str(known.get(KEY, "")),
        states[one.state.name],
        json.loads(known.get(RESULT, "{}")),
        str(known.get(FAULT, "")),
        int(known.get(TRIES, 0)),
        str(known.get(WORKER, "")),
        str(known.get(DIGEST, "")),
        json.loads(known.get("sets", "{}")),
    )


def _sets(trial: Trial) -> dict[str, str]:
    return {"sets": json.dumps(dict(trial.sets))} if trial.sets else {}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
