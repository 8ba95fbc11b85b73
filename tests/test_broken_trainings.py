"""Trainings that are broken on purpose: the right event, a way back, and an end."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import limner
from limner import rundir
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.training import assembly
from limner.training.display import Quiet
from limner.training.judge import interval
from limner.training.loop import Continue, Loop, Signal
from limner.training.objectives import Objective, non_saturating
from limner.training.outcome import Outcome
from test_training import SMALL, everything

SETTINGS = {**SMALL, "training.images": 400, "evaluation.every_images": 80, "evaluation.images": 32}


def train(data: Path | str, runs: Path, display: Quiet | None = None, **overrides: object) -> Outcome:
    return limner.train(data, "quick", overrides={**SETTINGS, **overrides}, runs=runs, display=display or Quiet())


def kinds(run: RunDir) -> list[str]:
    return [record["event"] for record in run.records(rundir.EVENTS)]


class Poison(Quiet):
    """Makes the discriminator's weights NaN after some update, on the first attempts."""

    def __init__(self, step: int, attempts: int = 1, interrupt_at: int | None = None) -> None:
        self.step, self.attempts, self.interrupt_at = step, attempts, interrupt_at
        self.rates: list[float] = []

    def after_step(self, loop: Loop) -> Signal:
        progress = loop.progress
        self.rates.append(loop.step.generator_optimizer.param_groups[0]["lr"])
        if progress.step == self.step and progress.rollbacks < self.attempts:
            with torch.no_grad():
                next(loop.step.discriminator.parameters()).fill_(math.nan)
        if progress.rollbacks and progress.step == self.interrupt_at:
            loop.interrupted = True
        return Continue()


def test_numbers_that_are_none_send_the_training_back(pictures: Path, tmp_path: Path):
    poison = Poison(33)
    outcome = train(pictures, tmp_path, poison, **{"ema.half_life": 0})
    run = outcome.run
    assert (outcome.ended, outcome.images) == ("done", 400)
    events = [record for record in run.records(rundir.EVENTS) if record["event"] in ("non-finite", "rollback")]
    assert [record["event"] for record in events] == ["non-finite", "rollback"]
    assert (events[1]["images"], events[1]["to"], events[1]["rate_scale"]) == (272, 0, 0.5)
    assert [record["images"] for record in run.records(rundir.LOG)] == list(range(16, 401, 16))
    assert [record["images"] for record in run.records(rundir.METRICS)] == [0, 80, 160, 240, 320, 400]
    lr = Recipe.load("quick").generator.lr
    assert poison.rates[0] == lr and poison.rates[-1] == lr / 2
    state = json.loads((run.newest_checkpoint()[1] / rundir.STATE).read_text())
    assert (state["rollbacks"], state["rate_scale"]) == (1, 0.5)
    assert all(
        torch.isfinite(tensor).all() for tensor in load_file(run.newest_checkpoint()[1] / rundir.TRAINING).values()
    )


def test_an_interrupt_right_after_a_rollback_is_saved(pictures: Path, tmp_path: Path):
    """What was measured belongs to updates that are undone: nothing of it is logged."""

    class Both(Poison):
        def say(self, text: str) -> None:
            if text.startswith("rollback"):
                self.loop.interrupted = True

        def begin(self, loop: Loop, latest: object) -> None:
            self.loop = loop

    outcome = train(pictures, tmp_path, Both(33), **{"ema.half_life": 0})
    assert (outcome.ended, outcome.images) == ("interrupted", 0)
    assert list(outcome.run.records(rundir.LOG)) == []
    assert limner.resume(outcome.run.path, display=Quiet()).ended == "done"


def test_an_evaluation_beside_a_training_leaves_its_checkpoint_alone(pictures: Path, tmp_path: Path):
    run = train(pictures, tmp_path).run
    writing = run.path / "checkpoints" / ".tmp-77-000000480"
    writing.mkdir()
    run.save_evaluation(400, {"figures.json": b"{}"})
    assert writing.is_dir(), "only whoever trains knows that it is a leaving"
    run.sweep()
    assert not writing.exists()


def test_a_run_of_before_there_were_evaluations_is_judged_from_where_it_goes_on(pictures: Path, tmp_path: Path):
    run = train(pictures, tmp_path, **{"evaluation.share": 0}).run
    text = (run.path / rundir.RECIPE).read_text()
    (run.path / rundir.RECIPE).write_text(text[: text.index("# How the generator is judged")])
    state = run.newest_checkpoint()[1] / rundir.STATE
    old = {
        key: value
        for key, value in json.loads(state.read_text()).items()
        if key in ("format", "step", "images", "seconds")
    }
    state.write_text(json.dumps({**old, "format": 1}))
    resumed = limner.resume(run.path, overrides={"training.images": 480}, display=Quiet()).run
    assert resumed.recipe().evaluation.every_images is not None
    assert next(resumed.records(rundir.METRICS))["images"] == 400


def test_a_good_state_on_the_way_is_gone_back_to(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("limner.training.judge.is_good", lambda lines: True)
    outcome = train(pictures, tmp_path, Poison(33))
    (back,) = [record for record in outcome.run.records(rundir.EVENTS) if record["event"] == "rollback"]
    assert (back["images"], back["to"]) == (272, 240) and outcome.ended == "done"


def test_a_training_that_always_breaks_is_stopped(pictures: Path, tmp_path: Path):
    outcome = train(pictures, tmp_path, Poison(33, attempts=99))
    assert outcome.ended == "stopped" and "after 3 rollbacks" in outcome.reason
    assert kinds(outcome.run).count("rollback") == 3 and kinds(outcome.run)[-1] == "stopped"
    assert all(path.stat().st_size for _, path in outcome.run.samples())
    # What it leaves can be drawn with and gone on from.
    assert limner.load(outcome.run.path).images == outcome.run.newest_checkpoint()[0]


def test_after_a_rollback_resuming_is_still_bit_identical(pictures: Path, tmp_path: Path):
    whole = train(pictures, tmp_path / "whole", Poison(33))
    parted = train(pictures, tmp_path / "parted", Poison(33, interrupt_at=13))
    assert (whole.ended, parted.ended, parted.images) == ("done", "interrupted", 104)
    resumed = limner.resume(parted.run.path, display=Quiet())
    assert resumed.ended == "done" and everything(resumed.run) == everything(whole.run)


def test_a_kill_before_the_rollback_was_written_changes_nothing(pictures: Path, tmp_path: Path):
    """The training that goes on from before comes by the same place, goes back again, and tells it once."""

    class Killed(Poison):
        def after_step(self, loop: Loop) -> Signal:
            super().after_step(loop)
            if loop.progress.step == 20 and not loop.progress.rollbacks:
                loop.interrupted = True
            return Continue()

    whole = train(pictures, tmp_path / "whole", Poison(33))
    parted = train(pictures, tmp_path / "parted", Killed(33))
    resumed = limner.resume(parted.run.path, display=Poison(33))
    assert everything(resumed.run) == everything(whole.run)
    assert kinds(resumed.run) == ["started", "interrupted", "resumed", "non-finite", "rollback"]


def test_a_generator_that_always_draws_the_same(pictures: Path, tmp_path: Path):
    class Constant(Quiet):
        def after_step(self, loop: Loop) -> Signal:
            with torch.no_grad():
                for network in (loop.step.generator, loop.average.network):
                    for parameter in network.parameters():
                        parameter.mul_(1e-6)
            return Continue()

    more = {"training.images": 2560, "evaluation.every_images": 640, "snapshots.log_steps": 20}
    outcome = train(pictures, tmp_path, Constant(), **more)
    assert outcome.ended == "stopped" and "samples are nearly all alike" in outcome.reason
    assert kinds(outcome.run) == ["started", *["collapse", "rollback"] * 3, "collapse", "stopped"]
    first = next(record for record in outcome.run.records(rundir.EVENTS) if record["event"] == "collapse")
    assert first["images"] == 2560, "the first evaluation after 250 updates of 8"


def test_a_discriminator_that_sees_swapped_labels(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def swapped(real_label: float = 1.0) -> Objective:
        right = non_saturating(real_label)
        return Objective(lambda real, fake: right.discriminator(fake, real), right.generator, right.least)

    class Table(dict):  # type: ignore[type-arg]
        def __getitem__(self, name: str) -> object:
            return type("Entry", (), {"load": staticmethod(lambda: swapped), "fields": ("objective.real_label",)})

    monkeypatch.setattr(assembly, "OBJECTIVES", Table())
    outcome = train(pictures, tmp_path, **{"discriminator.lr": 0.002, "training.images": 1200})
    events = [record for record in outcome.run.records(rundir.EVENTS) if record["event"] == "discriminator-losing"]
    assert events and events[0]["images"] <= 800, "25 lines of two updates of 8, and a beginning"
    assert "labels swapped" in events[0]["advice"] and outcome.ended == "done"


def test_a_training_that_goes_well_has_no_findings(tmp_path: Path):
    settings = {"image.width": 16, "image.height": 16, "training.images": 8000, "generator.lr": 0.002}
    settings |= {"training.batch_size": 16, "evaluation.every_images": 1600, "snapshots.log_steps": 20}
    outcome = train("procedural:initials:300", tmp_path, **settings)
    assert outcome.ended == "done" and kinds(outcome.run) == ["started"]


def test_patience_ends_a_training_that_gains_nothing(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "limner.training.judge.is_exhausted", lambda lines, patience: "enough" if len(lines) > 3 else None
    )
    outcome = train(pictures, tmp_path, **{"evaluation.patience": 100})
    assert (outcome.ended, outcome.reason, outcome.images) == ("done", "enough", 240)
    assert "ended early: enough" in outcome.describe()
    assert outcome.run.newest_checkpoint()[0] == 240


def test_the_best_snapshot_is_kept(pictures: Path, tmp_path: Path):
    outcome = train(pictures, tmp_path)
    lines = [record for record in outcome.run.records(rundir.METRICS) if record["images"]]
    best = min(lines, key=lambda line: line["figures"]["kernel_distance"]["value"])
    assert limner.load(outcome.run.path, at="best").images == best["images"]
    assert limner.load(outcome.run.path / "checkpoints" / "best").images == best["images"]
    told, lowest = [line["best"] for line in lines], math.inf
    for line, says in zip(lines, told, strict=True):
        value = line["figures"]["kernel_distance"]["value"]
        assert says == (value < lowest)
        lowest = min(lowest, value)


@pytest.mark.parametrize("every", [None, 64])
def test_the_rhythm_is_fixed_when_the_training_starts(pictures: Path, tmp_path: Path, every: int | None):
    outcome = train(pictures, tmp_path, **{"evaluation.every_images": every})
    chosen = outcome.run.recipe().evaluation.every_images
    assert chosen == every if every else chosen is not None and chosen % 8 == 0


def test_evaluations_take_their_share():
    """4 s an evaluation at 100 images a second: a twentieth of the time is one in 76 s of training, less a margin."""
    images = interval(4.0, 100.0, 0.05, 32, None)
    assert images % 32 == 0 and images == pytest.approx(4.0 * 0.95 / (0.05 * 0.65) * 100, rel=0.01)
    assert interval(1e-3, 10.0, 0.05, 32, 640_000) == 6400, "no more than a hundred in all"


def test_no_share_means_no_judging(pictures: Path, tmp_path: Path):
    outcome = train(pictures, tmp_path, **{"evaluation.share": 0})
    assert not (outcome.run.path / rundir.METRICS).exists() and not outcome.run.evaluations()
    assert outcome.verdict == "" and outcome.report is not None
