"""A training that goes on with other settings than it began with: what follows from them, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import limner
from limner import rundir
from limner.errors import InputError
from limner.recipe import Schedule
from limner.training.display import Quiet
from limner.training.loop import Loop, Signal
from limner.training.schedule import doubts, rate_scale
from test_broken_trainings import Poison, train
from test_training import SMALL, InterruptAt

FALLING = {**SMALL, "training.minutes": 0.02, "schedule.name": "cosine", "evaluation.share": 0}


class Listening(Quiet):
    """Remembers what is said, and the generator's rate in each update; interrupts after so many of them."""

    def __init__(self, stop: int = 10**9) -> None:
        self.lines: list[str] = []
        self.rates: list[float] = []
        self.stop = stop

    def say(self, line: str) -> None:
        self.lines.append(line)

    def after_step(self, loop: Loop) -> Signal:
        self.rates.append(loop.step.generator_optimizer.param_groups[0]["lr"])
        loop.interrupted = loop.interrupted or len(self.rates) == self.stop
        return super().after_step(loop)


def begun(data: Path, runs: Path, **more: Any) -> limner.training.outcome.Outcome:
    """A training by the clock, interrupted after three updates."""
    return limner.train(data, "quick", overrides={**FALLING, **more}, runs=runs, display=InterruptAt(3))


def test_a_schedule_that_was_measured_follows_the_new_end(pictures: Path, tmp_path: Path):
    """Rates that would have been 0 at the end of the minutes are so at the end of the images, and not before."""
    run = begun(pictures, tmp_path).run
    images = run.recipe().schedule.images
    assert images is not None
    (started,) = (line for line in run.records(rundir.EVENTS) if line["event"] == "started")
    assert started["measured"] == {"schedule.images": images}
    heard = Listening()
    outcome = limner.resume(run.path, overrides={"training.images": 160}, display=heard)
    assert outcome.images == 160 and run.recipe().schedule.images is None
    rate = run.recipe().generator.lr
    whole = [rate * rate_scale(run.recipe().schedule, 8 * step, 160) for step in range(4, 21)]
    assert heard.rates == pytest.approx(whole, abs=1e-12) and whole[-2] > 0
    assert not any("caution" in line for line in heard.lines)


def test_a_measured_schedule_is_stretched_with_the_minutes_whatever_else_is_set(pictures: Path, tmp_path: Path):
    run = begun(pictures, tmp_path).run
    images = run.recipe().schedule.images
    assert images is not None
    changes = {"training.minutes": 0.04, "schedule.final": 0.1}
    limner.resume(run.path, overrides=changes, display=Listening(2))
    assert (run.recipe().schedule.images, run.recipe().schedule.final) == (2 * images, 0.1)
    limner.resume(run.path, overrides={"training.minutes": 0.02}, display=Listening(2))
    assert run.recipe().schedule.images == images, "what was measured stays so through a resumption"


def test_a_schedule_that_was_given_stays(pictures: Path, tmp_path: Path):
    """And is told of where it is over long before the training."""
    run = begun(pictures, tmp_path, **{"schedule.images": 80}).run
    limner.resume(run.path, overrides={"training.minutes": 0.03}, display=Listening(2))
    assert run.recipe().schedule.images == 80
    heard = Listening()
    limner.resume(run.path, overrides={"training.images": 160}, display=heard)
    assert run.recipe().schedule.images == 80 and heard.rates[-1] == 0
    assert [line for line in heard.lines if line.startswith("caution: schedule.images = 80: of 160 images")]


def test_a_measured_schedule_is_as_long_as_it_will_be_when_it_is_checked(pictures: Path, tmp_path: Path):
    """A longer warm-up is refused by what it will be over, not by what it was."""
    run = begun(pictures, tmp_path).run
    images = run.recipe().schedule.images
    assert images is not None
    longer = {"training.minutes": 0.04, "schedule.warmup_images": images + 8}
    limner.resume(run.path, overrides=longer, display=Listening(2))
    assert (run.recipe().schedule.images, run.recipe().schedule.warmup_images) == (2 * images, images + 8)


def test_a_schedule_from_another_run_is_told_of(pictures: Path, tmp_path: Path):
    """Its recipe has the length that was measured there; in a longer training the rest would have rates of 0."""
    run = begun(pictures, tmp_path).run
    recipe, minutes = run.path / rundir.RECIPE, {"training.minutes": 0.3}
    heard = Listening(2)
    second = limner.train(pictures, str(recipe), overrides=minutes, runs=tmp_path / "second", display=heard).run
    assert [line for line in heard.lines if line.startswith("caution: schedule.images = ")]
    assert second.recipe().schedule.images == run.recipe().schedule.images
    heard = Listening(2)
    limner.resume(
        second.path,
        overrides={"training.minutes": 0.4, "augment.policy": [], "augment.probability": 0.5},
        display=heard,
    )
    cautions = [line for line in heard.lines if line.startswith("caution: ")]
    assert [line.split()[1] for line in cautions] == ["augment.probability", "schedule.images"]
    heard = Listening(2)
    limner.resume(second.path, display=heard)
    assert not [line for line in heard.lines if line.startswith("caution: ")], "told once"


def test_what_was_valid_once_still_opens(pictures: Path, tmp_path: Path):
    """Patience without evaluations does nothing, and is said to."""
    run = begun(pictures, tmp_path).run
    path = run.path / rundir.RECIPE
    heard = Listening(2)
    limner.resume(run.path, overrides={"evaluation.patience": 100}, display=heard)
    assert any(line.startswith("caution: evaluation.patience = 100: does nothing") for line in heard.lines)
    assert "patience = 100" in path.read_text() and limner.resume(run.path, display=Listening(2)).images > 0


def test_a_run_of_an_earlier_limner_is_taken_for_measured(pictures: Path, tmp_path: Path):
    run = begun(pictures, tmp_path).run
    images = run.recipe().schedule.images
    assert images is not None
    events = run.path / rundir.EVENTS
    events.write_text(events.read_text().replace('"measured"', '"other"'))
    limner.resume(run.path, overrides={"training.minutes": 0.06}, display=Listening(2))
    assert run.recipe().schedule.images == 3 * images


@pytest.mark.parametrize(
    ("settings", "total", "words"),
    [
        ({"warmup_images": 100}, 100, ["schedule.warmup_images = 100"]),
        ({"warmup_images": 99}, 100, []),
        ({"name": "linear", "images": 89}, 100, ["schedule.images = 89"]),
        ({"name": "linear", "images": 90}, 100, []),
        ({"name": "linear", "images": 50, "final": 0.1}, 100, []),
        ({"images": 50}, 100, []),
        ({"name": "cosine", "images": 50}, None, []),
        ({"name": "cosine"}, 100, []),
    ],
)
def test_doubts_about_a_schedule(settings: dict[str, Any], total: int | None, words: list[str]):
    found = doubts(Schedule(**settings), total)
    assert [line.partition(":")[0] for line in found] == words


def test_rates_that_are_set_after_rollbacks_are_those_that_are_used(pictures: Path, tmp_path: Path):
    """The advice of a training that stopped is to lower them: to what is said, not to an eighth of that."""
    run = train(pictures, tmp_path, Poison(33, attempts=99)).run
    heard = Listening(2)
    limner.resume(run.path, display=heard)
    assert heard.rates[0] == pytest.approx(run.recipe().generator.lr / 8)
    assert any("0.125 times the recipe's, after 3 rollbacks" in line for line in heard.lines)
    changes: list[dict[str, Any]] = [{"generator.lr": 3e-5, "discriminator.lr": 3e-5}, {}]
    for overrides in changes:
        heard = Listening(2)
        limner.resume(run.path, overrides=overrides, display=heard)
        assert set(heard.rates) == {3e-5}, "and so they stay when it is gone on with once more"
        assert not any("times the recipe's" in line for line in heard.lines)
        assert any("exactly as if" in line for line in heard.lines) == (not overrides)
        again = (
            "rates are the recipe's again, generator.lr 3e-05 and discriminator.lr 3e-05; rollbacks had made them 0.125"
        )
        assert any(again in line for line in heard.lines) == bool(overrides)


def test_moments_may_be_remembered_otherwise_and_layers_may_not_come_and_go(pictures: Path, tmp_path: Path):
    settings = {**SMALL, "training.images": 80, "evaluation.share": 0, "discriminator.dropout": 0.1}
    run = limner.train(pictures, "quick", overrides=settings, runs=tmp_path, display=Quiet()).run
    more = {"training.images": 96, "generator.beta1": 0.3, "discriminator.beta2": 0.9, "discriminator.dropout": 0.2}
    assert limner.resume(run.path, overrides=more, display=Quiet()).images == 96
    for player, rate in (("discriminator", 0.0), ("generator", 0.2)):
        with pytest.raises(
            InputError, match=rf"{player}\.dropout is .* and cannot be changed on the way \(to {rate}\)"
        ):
            limner.resume(run.path, overrides={"training.images": 120, f"{player}.dropout": rate}, display=Quiet())
