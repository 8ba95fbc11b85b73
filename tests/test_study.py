"""Studies: files that are wrong, grids and searches, and runs that are killed, diverge or are taken up by others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Cli, discs
from export_support import small
from limner.data import prepare
from limner.durable import is_alive
from limner.errors import InputError
from limner.recipe import Image, Recipe
from limner.rundir import RunDir
from limner.study import run, shows, store
from limner.study.child import result_path
from limner.study.conduct import check, conduct
from limner.study.file import StudyError, read_study
from limner.study.grid import configurations, jobs
from limner.study.results import PAGE, RESULTS, TABLE, Row, by_configuration, write_results
from limner.study.run import do, is_judged
from limner.study.store import Store, Trial
from limner.study.supervise import Running
from limner.training.outcome import Outcome

TINY = """
question = "Which batch?"
data = "procedural:initials:130"
recipe = "quick"
seeds = [0]
threads = 1

[budget]
images = IMAGES
evaluations = 2

[set]
image = { width = 8, height = 8 }
network.latent = 4
generator.width = 2
discriminator.width = 2
training.precision = "float32"
evaluation.images = 16
snapshots.grid = 1
snapshots.checkpoint_minutes = 0.001

[factors]
training.batch_size = [8, 16]
"""


def tiny(images: int) -> str:
    """The study of two batches, with runs of so many images."""
    return TINY.replace("IMAGES", str(images))


def written(folder: Path, text: str, name: str = "batch") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(StudyError) as caught:
        check(written(folder, text))
    return caught.value.problems


class Quiet(shows.Lines):
    """Says nothing, and may do something at each look."""

    def __init__(self, look: Callable[[list[Running]], None] | None = None) -> None:
        super().__init__("kernel_distance", 1)
        self.look, self.said = look, []

    def say(self, text: str) -> None:
        self.said.append(text)

    def show(self, trials: list[Trial], running: list[Running]) -> None:
        if self.look is not None:
            self.look(running)


class Deaf:
    """A link to nobody."""

    def tell(self, news: Mapping[str, Any]) -> None:
        pass

    def ask(self, news: Mapping[str, Any]) -> str:
        return "go on"


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = """
data = "procedural:initials:130"
metric = "kernel_distanse"
seeds = [0, 0]
wrokers = 2

[budget]
images = 100
updates = 5

[factors]
training.batch_sise = [8, 16]
generator.lr = []
discriminator.norm = 3

[set]
training.epochs = 5
"""
    found = problems(tmp_path, text)
    for words in (
        "wrokers: unknown field",
        "factors.generator.lr: is empty",
        "factors.discriminator.norm = 3: must be a list of values",
        "set: training.epochs: is said by [budget]",
    ):
        assert any(words in problem for problem in found), (words, found)
    found = problems(
        tmp_path, text.replace("wrokers = 2", "").replace("generator.lr = []", "").replace("= 3", "= ['batch']")
    )
    for words in (
        "metric = 'kernel_distanse'",
        "did you mean kernel_distance",
        "seeds: has a seed twice",
        "give one of images",
    ):
        assert any(words in problem for problem in found), (words, found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("batch_size", "batch_sise"),
            "factors: training.batch_sise: unknown field; did you mean training.batch_size?",
        ),
        (("= [8, 16]", "= [8, 0]"), "configuration training.batch_size = 0: training.batch_size = 0: must be"),
        (("generator.width = 2", 'generator.width = "auto"'), 'generator.width = "auto": would be measured'),
        (("[factors]", "[factors]\nregularizers.r1 = [0.0, 1.0]"), "batch normalisation mixes images"),
        (("[set]", '[set]\nnetwork.family = "mlp"'), "generator.width: is not used by network.family = 'mlp'"),
        (("procedural:initials:130", "${NOT_SET}/initials.zip"), "the environment variable NOT_SET is not set"),
        (("procedural:initials:130", "nowhere"), "nowhere"),
        (("seeds = [0]", 'seeds = [0]\nreference = "batch_size-9"'), "reference = 'batch_size-9': must be one of"),
        (("[budget]", "[names]\nsmall = { training.batch_size = 9 }\n[budget]"), "must be one of 8, 16"),
        (
            ("evaluations = 2", "evaluations = 2\nminutes = 1"),
            "give one of images, updates, minutes (found images and minutes)",
        ),
    ],
)
def test_a_wrong_study_names_the_place(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    text = tiny(64).replace(*change)
    found = problems(tmp_path, text)
    assert any(words in problem for problem in found), found


def test_the_command_refuses_in_one_line_before_any_run(cli: Cli, tmp_path: Path) -> None:
    written(tmp_path, tiny(64).replace("[8, 16]", "[]"))
    done = cli("study", "batch.toml")
    assert done.returncode == 2 and done.stderr.splitlines() == [
        "limner: study batch.toml: factors.training.batch_size: is empty; give it at least one value"
    ]
    assert not (tmp_path / "studies").exists()


def test_a_grid_is_every_combination_with_names_of_its_own(tmp_path: Path) -> None:
    text = """
data = "procedural:initials:130"
recipe = "quick"
seeds = [3, 4]
[budget]
updates = 10
[set]
generator.width = 2
discriminator.width = 2
[factors.activation]
leaky = { generator.activation = "leaky_relu" }
"relu and dropout" = { generator.activation = "relu", discriminator.dropout = 0.3 }
[factors.training]
batch_size = [8, 32]
[names]
"the old way" = { activation = "relu and dropout", training.batch_size = 8 }
"""
    study = read_study(written(tmp_path, text))
    grid = configurations(study)
    assert [one.name for one in grid] == [
        "activation-leaky_batch_size-8",
        "activation-leaky_batch_size-32",
        "the-old-way",
        "activation-relu-and-dropout_batch_size-32",
    ]
    found = jobs(study, grid)
    assert [one.name for one in found[:2]] == [f"{name}-seed3" for name in (grid[0].name, grid[1].name)]
    by_name = {one.name: one.recipe for one in found}
    assert by_name["the-old-way-seed4"].discriminator.dropout == 0.3
    for batch in (8, 32):
        recipe = by_name[f"activation-leaky_batch_size-{batch}-seed3"]
        assert (recipe.training.images, recipe.training.seed) == (10 * batch, 3), "updates become images"
        assert recipe.evaluation.every_images == 2 * batch
    assert len({one.digest for one in found}) == 8


def test_a_budget_of_minutes_is_one(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, tiny(64).replace("images = 64", "minutes = 0.5")))
    recipe = jobs(study, configurations(study))[0].recipe
    assert recipe.training.minutes == 0.5 and recipe.training.images is None


def test_the_store_hands_out_every_trial_once_and_takes_back_what_was_left(tmp_path: Path) -> None:
    first = Store(None, "s", tmp_path, "minimize")
    second = Store(None, "s", tmp_path, "minimize")
    first.add([("a", "1"), ("b", "1")])
    second.add([("a", "1"), ("b", "1")])
    with first.present():
        taken = [first.claim(), second.claim(), first.claim()]
        assert [one.key if one else None for one in taken] == ["a", "b", None]
        assert second.take_back() == [], "its worker is there"
    (tmp_path / "workers" / first.worker).mkdir()  # as one that was killed leaves it
    assert [one.key for one in second.take_back()] == ["a"], "its worker has gone"
    again = second.claim()
    assert again is not None and again.key == "a"
    second.finish(again, {"runs": []}, None)
    assert {one.key: one.state for one in first.trials()} == {"a": "done", "b": "running"}
    assert first.study.best_value == float("inf"), "what diverged is the worst there is"
    for _ in range(store.MOST_TRIES - 1):
        held = next(one for one in second.trials() if one.key == "b")
        second.put_back(held if held.state == "running" else second.claim() or held, "it died")
    last = second.claim()
    assert last is not None and last.tries == store.MOST_TRIES - 1
    second.put_back(last, "it died again")
    assert second.claim() is None and {one.key: one.state for one in second.trials()}["b"] == "failed"
    second.forget(["b"])
    assert second.claim() is not None


def tasks(study: Path, out: Path) -> list[dict[str, Any]]:
    """What the processes of a study are told."""
    return [
        {
            "out": str(out), "run": one.name, "data": one.data, "recipe": one.recipe.values(), "digest": one.digest,
            "metric": "kernel_distance", "prune": False, "judge": None,
        }
        for one in check(study).jobs
    ]  # fmt: skip


def without_costs(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith(("seconds", "peak"))} for line in lines]


def test_a_study_killed_twice_and_resumed_with_two_workers_has_the_table_of_one_left_alone(tmp_path: Path) -> None:
    """Killed with -9, the whole of it, in the middle of its first run and again later; both runs are gone on with."""
    path = written(tmp_path, tiny(1600))
    alone, broken = tmp_path / "alone", tmp_path / "broken"
    study = check(path).study
    results = {task["run"]: do(task, Deaf()) for task in tasks(path, alone)}  # type: ignore[arg-type]
    rows = [
        Row(one.configuration.name, one.configuration.levels, one.seed, "done", results[one.name] or {})
        for one in check(path).jobs
    ]
    write_results(study, alone, rows)
    for kill in range(2):
        worker = os.fork()
        if worker == 0:
            try:
                conduct(path, out=broken, resume=kill > 0, watcher=Quiet())
            finally:
                os._exit(1)
        until = time.monotonic() + 240
        runs = broken / "runs"
        while time.monotonic() < until:
            begun = (
                any(runs.glob("*/checkpoints/*[1-9]*/state.json")) if kill == 0 else any((broken / "workers").iterdir())
            )
            if begun:
                break
            assert os.waitpid(worker, os.WNOHANG) == (0, 0), "it ended by itself"
            time.sleep(0.01)
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        # A run's process is in a session of its own: left alone, so short a run may end before it notices.
        for lock in runs.glob("*/lock"):
            holder = lock.read_text().partition("\n")[0]
            if holder.isdecimal() and is_alive(int(holder)):
                os.kill(int(holder), signal.SIGKILL)
    assert not (broken / "results").exists() or len(list((broken / "results").iterdir())) < 2
    with pytest.raises(InputError, match="--resume goes on with it"):
        conduct(path, out=broken, watcher=Quiet())
    done = conduct(path, out=broken, resume=True, workers=2, watcher=Quiet())
    assert done.failed == 0 and [row.state for row in done.rows] == ["done", "done"]
    assert (broken / TABLE).read_text("utf-8") == (alone / TABLE).read_text("utf-8")
    assert without_costs(broken / RESULTS) == without_costs(alone / RESULTS)
    assert (broken / PAGE).is_file() and not list((broken / "workers").iterdir())
    resumed = [line for line in (runs / "batch_size-8-seed0" / "events.jsonl").read_text("utf-8").splitlines()]
    assert any(json.loads(line)["event"] == "resumed" for line in resumed), "it was gone on with, not begun again"
    changed = written(tmp_path, tiny(800))
    with pytest.raises(StudyError, match="is not what it was when the study was begun"):
        conduct(changed, out=broken, resume=True, watcher=Quiet())


def test_a_search_prunes_and_a_run_that_diverges_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are played by this one: what a run gives is made up, so that hopeless and broken ones are known."""
    text = tiny(64).replace("[factors]\ntraining.batch_size = [8, 16]", "")
    text += (
        "[search]\ntrials = 8\nstartup = 3\n[search.ranges]\ngenerator.lr = { low = 1e-5, high = 1e-2, log = true }\n"
    )
    path = written(tmp_path, text.replace("[search.ranges]\ngenerator.lr", '[search.ranges]\n"generator.lr"'))
    from limner.study import supervise

    class Played(supervise.Supervisor):
        def run(self) -> None:
            seen = 0
            while (trial := self.plan.next()) is not None:
                (task,) = self.plan.tasks(trial)
                lr = task.values["recipe"]["generator"]["lr"]
                seen += 1
                if seen == 2:
                    values = {
                        "runs": [{**task.values, "ended": "stopped", "reason": "no numbers", "images": 8, "updates": 1}]
                    }
                    self.store.finish(trial, values, self.plan.value(values["runs"]))
                    continue
                hopeless = any(self.store.report(trial, step, 100 * lr, self.plan.startup) for step in (1, 2, 3))
                figures = {
                    "kernel_distance": {"value": 100 * lr, "low": 90 * lr, "high": 110 * lr, "real": 9, "generated": 9}
                }
                run = {
                    "run": task.run,
                    "ended": "pruned" if hopeless else "done",
                    "images": 64,
                    "updates": 8,
                    "figures": figures,
                }
                self.store.finish(trial, {"runs": [run]}, self.plan.value([run]), "pruned" if hopeless else "done")

    monkeypatch.setattr("limner.study.conduct.Supervisor", Played)
    done = conduct(path, out=tmp_path / "search", watcher=Quiet())
    states = [row.state for row in done.rows]
    assert len(states) == 8 and "pruned" in states and done.failed == 0
    assert done.rows[1].result["ended"] == "stopped" and done.rows[1].state == "done"
    kept = [float(row.levels["generator.lr"]) for row in done.rows if row.state == "done" and row.seed == 0]
    dropped = [float(row.levels["generator.lr"]) for row in done.rows if row.state == "pruned"]
    assert min(dropped) > sorted(kept)[0], "what was pruned was not the best"
    table = (tmp_path / "search" / TABLE).read_text("utf-8")
    assert "broke off: no numbers" in table and "pruned" in table
    assert by_configuration(done.rows, "kernel_distance")[done.rows[1].configuration] == {0: None}


def test_a_run_that_diverges_is_told_by_its_process_and_a_process_that_dies_is_begun_again(tmp_path: Path) -> None:
    """A rate of 1 makes all samples alike at once, and no rollback is allowed; the other run's process is killed."""
    text = tiny(320).replace("[8, 16]", "[8]")
    text += """[factors.rate]
sound = { generator.lr = 0.0002 }
broken.generator.lr = 1.0
broken.discriminator = { lr = 1.0, norm = "layer" }
broken.objective.name = "wasserstein"
broken.network.init_std = 1.0
broken.regularizers.gradient_penalty = 1e6
broken.health.rollbacks = 0
"""
    killed: list[int] = []

    def look(running: list[Running]) -> None:
        for one in running:
            if not killed and one.process is not None and "sound" in one.run:
                killed.append(one.process.pid)
                os.kill(one.process.pid, signal.SIGKILL)

    watcher = Quiet(look)
    done = conduct(written(tmp_path, text), out=tmp_path / "out", watcher=watcher)
    assert done.failed == 0 and killed and any("ended by SIGKILL" in words for words in watcher.said)
    by_name = {row.configuration: row.result for row in done.rows}
    assert by_name["batch_size-8_rate-sound"]["ended"] == "done"
    broken = by_name["batch_size-8_rate-broken"]
    assert broken["ended"] == "stopped" and broken["reason"], broken
    table = (tmp_path / "out" / TABLE).read_text("utf-8")
    assert "broke off: " in table and "samples are nearly all alike" in table and "too few seeds to tell" in table


def test_a_shipped_recipe_is_a_base(tmp_path: Path) -> None:
    text = tiny(64).replace("[factors]\ntraining.batch_size = [8, 16]", '[factors]\nrecipe = ["quick", "lsgan"]')
    found = jobs(study := read_study(written(tmp_path, text)), configurations(study))
    assert [one.name for one in found] == ["recipe-quick-seed0", "recipe-lsgan-seed0"]
    assert found[1].recipe.objective == Recipe.load("lsgan").objective


def test_a_run_that_was_not_judged_at_its_end_is_not_done(tmp_path: Path) -> None:
    """A signal between the last update and the end of the evaluation leaves a training that is done, and no figures."""
    (task, _) = tasks(written(tmp_path, tiny(64)), tmp_path / "out")
    assert do(task, Deaf()) is not None  # type: ignore[arg-type]
    run = RunDir.open(tmp_path / "out" / "runs" / task["run"])
    result_path(tmp_path / "out", task["run"]).unlink()
    ended = Outcome(run, "done", "", 64, 1.0, 1.0, "")
    assert is_judged(ended)
    shutil.rmtree(run.evaluations()[-1][1])
    assert not is_judged(ended)
    again = do(task, Deaf())  # type: ignore[arg-type]
    assert again is not None and again["figures"]["kernel_distance"]["value"] is not None


def test_a_common_yardstick_asks_for_classes_as_often_as_it_has_them(tmp_path: Path):
    generator = small("dcgan", 8, 8, 1, classes=2)
    for name in ("kind 0", "kind 1"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number, picture in enumerate(discs(6 if name == "kind 0" else 2, 8, 8, 1)):
            picture.save(tmp_path / "set" / name / f"{number}.png")
    drawn = run._drawn(generator, prepare(tmp_path / "set", Image(width=8, height=8, channels=1, held_out=0)), 16)
    plain = [generator.draw(generator.latents([seed]), [label])[0] for seed in range(16) for label in (0, 1)]
    asked = [
        next(label for label in (0, 1) if np.array_equal(drawn[seed], plain[2 * seed + label])) for seed in range(16)
    ]
    assert drawn.shape == (16, 8, 8, 1) and abs(asked.count(0) - 12) <= 1
