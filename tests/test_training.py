"""The loop: exact resumption, averages, rhythms, durations, and what a run leaves behind."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import limner
from limner import rundir
from limner.errors import InputError
from limner.progress import duration
from limner.recipe import Ema, Recipe, Snapshots
from limner.rundir import RunDir
from limner.training.assembly import total_images
from limner.training.callbacks import is_due
from limner.training.display import Quiet
from limner.training.ema import AveragedGenerator
from limner.training.loop import Continue, Loop, Signal, Stop
from limner.training.outcome import Outcome
from limner.training.plan import plan

SMALL = {
    "generator.width": 4,
    "discriminator.width": 4,
    "network.latent": 8,
    "training.batch_size": 8,
    "snapshots.grid": 4,
    "snapshots.log_steps": 2,
    "evaluation.images": 16,
    "evaluation.every_images": 64,
}


class InterruptAt(Quiet):
    """Asks for an end after some updates, as a signal does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, loop: Loop) -> Signal:
        if loop.progress.step == self.step:
            loop.interrupted = True
        return Continue()


class StopAt(InterruptAt):
    """Answers Stop after some updates."""

    def after_step(self, loop: Loop) -> Signal:
        return Stop("enough") if loop.progress.step == self.step else Continue()


class Listening(Quiet):
    """Remembers what was said, greetings aside."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def train(data: Path, runs: Path, recipe: str = "quick", display: Quiet | None = None, **overrides: object) -> Outcome:
    settings = {**SMALL, "training.images": 160, **{key.replace("__", "."): value for key, value in overrides.items()}}
    if recipe == "vanilla":
        settings = {key: value for key, value in settings.items() if not key.endswith("width") or "image" in key}
        settings |= {"generator.hidden": [16], "discriminator.hidden": [16]}
    return limner.train(data, recipe, overrides=settings, runs=runs, display=display or Quiet())


def everything(run: RunDir) -> dict[str, bytes]:
    """All that a training has made by its newest checkpoint, clocks left out."""
    found: dict[str, bytes] = {}
    for images, path in run.checkpoints()[-1:]:
        for name in (rundir.TRAINING, rundir.GENERATOR):
            for key, tensor in load_file(path / name).items():
                found[f"{images} {name} {key}"] = tensor.numpy().tobytes()
    for images, path in run.samples():
        found[f"sample {images}"] = path.read_bytes()
    clocks = ("seconds", "images_per_second", "took")
    for name in (rundir.LOG, rundir.METRICS):
        for number, record in enumerate(run.records(name)):
            found[f"{name} {number}"] = json.dumps({k: v for k, v in record.items() if k not in clocks}).encode()
    return found


@pytest.mark.parametrize("recipe", ["quick", "vanilla", "initials"])
@pytest.mark.parametrize("step", [1, 7, 13])
def test_interrupted_and_resumed_is_bit_identical(pictures: Path, tmp_path: Path, recipe: str, step: int):
    """EMA, dropout, batch norm and both optimizers included; the last batch of an epoch is crossed on the way."""
    sizes = {"image.width": 16, "image.height": 16}
    whole = train(pictures, tmp_path / "whole", recipe, **sizes)
    parted = train(pictures, tmp_path / "parted", recipe, display=InterruptAt(step), **sizes)
    assert (whole.ended, parted.ended, parted.images) == ("done", "interrupted", step * 8)
    resumed = limner.resume(parted.run.path, display=Quiet())
    assert resumed.ended == "done" and resumed.images == whole.images == 160
    expected, found = everything(whole.run), everything(resumed.run)
    assert expected.keys() == found.keys()
    assert all(expected[key] == found[key] for key in expected)
    assert len(expected) > 40 and f"{rundir.METRICS} 3" in expected


def test_another_seed_is_another_training(pictures: Path, tmp_path: Path):
    first, second = (train(pictures, tmp_path / str(seed), training__seed=seed) for seed in (1, 2))
    ours, theirs = (load_file(outcome.run.newest_checkpoint()[1] / rundir.GENERATOR) for outcome in (first, second))
    assert all(not torch.equal(ours[key], theirs[key]) for key in ours if key.endswith("weight"))


def test_a_recipe_file_of_a_run_repeats_it(pictures: Path, tmp_path: Path):
    first = train(pictures, tmp_path / "first")
    second = limner.train(pictures, first.run.path / "recipe.toml", runs=tmp_path / "second", display=Quiet())
    assert everything(first.run) == everything(second.run)


def test_resuming_a_finished_run_changes_nothing_and_a_longer_one_goes_on(pictures: Path, tmp_path: Path):
    outcome = train(pictures, tmp_path)
    before = everything(outcome.run)
    again = limner.resume(outcome.run.path, display=Quiet())
    assert (again.ended, again.images) == ("done", 160) and everything(again.run) == before
    longer = limner.resume(outcome.run.path, overrides={"training.images": 240}, display=Quiet())
    assert longer.images == 240 and longer.run.recipe().training.images == 240
    straight = train(pictures, tmp_path / "straight", training__images=240)
    ours, theirs = everything(longer.run), everything(straight.run)
    assert all(ours[key] == value for key, value in theirs.items() if key.startswith("240 "))


def test_a_shorter_end_than_was_reached_is_refused(pictures: Path, tmp_path: Path):
    outcome = train(pictures, tmp_path)
    before = (outcome.run.path / rundir.RECIPE).read_bytes()
    with pytest.raises(InputError, match="has seen 160 images already, more than the 80 asked for"):
        limner.resume(outcome.run.path, overrides={"training.images": 80}, display=Quiet())
    assert (outcome.run.path / rundir.RECIPE).read_bytes() == before


def test_what_makes_resuming_inexact_is_told(pictures: Path, tmp_path: Path):
    outcome = train(pictures, tmp_path, display=InterruptAt(4))
    path = outcome.run.path / rundir.ENVIRONMENT
    path.write_text(json.dumps({**json.loads(path.read_text()), "threads": 77}))
    listening = Listening()
    limner.resume(outcome.run.path, overrides={"training.precision": "float64"}, display=listening)
    (note,) = [line for line in listening.said if line.startswith("note:")]
    assert "threads was 77 and is" in note and "and is float64: the training goes on, but not bit for bit" in note
    assert outcome.run.recipe().training.precision == "float64"
    other = train(pictures, tmp_path / "c", display=InterruptAt(4)).run.path / rundir.DATA
    other.write_text(json.dumps({**json.loads(other.read_text()), "decoding": 0}))
    limner.resume(other.parent, display=(decoded := Listening()))
    (note,) = [line for line in decoded.said if line.startswith("note:")]
    assert note.startswith("note: pictures are decoded otherwise")
    quiet = Listening()
    limner.resume(train(pictures, tmp_path / "b", display=InterruptAt(4)).run.path, display=quiet)
    assert not any(line.startswith("note:") for line in quiet.said)


def test_a_run_is_trained_by_one_process_at_a_time(pictures: Path, tmp_path: Path):
    outcome = train(pictures, tmp_path, display=InterruptAt(4))

    class Meddling(Quiet):
        def after_step(self, loop: Loop) -> Signal:
            if loop.progress.step == 6:
                with pytest.raises(InputError, match=rf"is being trained by another process \(number {os.getpid()}\)"):
                    limner.resume(outcome.run.path, display=Quiet())
            return Continue()

    assert limner.resume(outcome.run.path, display=Meddling()).ended == "done"


def test_names_that_are_no_text_do_not_end_a_run(pictures: Path, tmp_path: Path):
    """File names are bytes to the system; what is written down about them must still be JSON."""
    folder = tmp_path / os.fsdecode(b"odd\xff")
    try:
        pictures.rename(folder)
    except OSError as error:  # a file system that takes text only has no such names to read
        assert error.errno in (errno.EILSEQ, errno.EINVAL)
        return
    (folder / os.fsdecode(b"\xfe.png")).write_bytes(b"rubbish")
    outcome = train(folder, tmp_path / "runs", display=InterruptAt(3))
    assert outcome.run.read_json("data.json")["skipped_count"] == 1
    assert limner.resume(outcome.run.path, display=Quiet()).ended == "done"


def test_what_a_run_leaves_behind(pictures: Path, tmp_path: Path):
    (pictures / "broken.png").write_bytes(b"no picture")
    outcome = train(pictures, tmp_path / "runs", snapshots__every_images=40, training__images=152)
    run = outcome.run
    assert run.path.name == "pictures" and outcome.ended == "done"
    recipe = run.recipe()
    assert (recipe.image.width, recipe.image.height, recipe.image.channels) == (16, 16, 1)
    assert recipe.training.device != "auto" and recipe.training.precision != "auto"
    data = run.read_json("data.json")
    assert (data["count"], data["skipped_count"], data["skipped"][0]["name"]) == (24, 1, "broken.png")
    assert {"torch", "limner", "device", "threads", "precision"} <= run.read_json("environment.json").keys()
    assert [images for images, _ in run.samples()] == [40, 80, 120, 152]
    with Image.open(run.samples()[-1][1]) as grid:
        assert grid.mode == "L" and 200 < grid.width <= 512
    lines = list(run.records("log.jsonl"))
    assert [line["step"] for line in lines] == [*range(2, 19, 2), 19]
    assert lines[-1]["images"] == 152 and lines[-1]["epoch"] == pytest.approx(152 / 24, abs=1e-3)
    assert all(line["discriminator_loss"] > 0 and line["generator_gradient"] > 0 for line in lines)
    assert [images for images, _ in run.checkpoints()] == [0, 128, 152], "the newest two, and the newest healthy one"
    assert run.best().name == "best" and run.read_json("evaluation/000000152/figures.json")["images"] == 152
    assert "<html" in (run.path / "report.html").read_text(encoding="utf-8")
    assert not [path for path in run.path.rglob("*") if ".tmp" in path.name or path.suffix in (".pt", ".pth", ".pkl")]


def test_a_callback_can_stop_a_training(pictures: Path, tmp_path: Path):
    outcome = train(pictures, tmp_path, display=StopAt(3))
    assert (outcome.ended, outcome.reason, outcome.images) == ("stopped", "enough", 24)
    assert "stopped: enough" in outcome.describe()


def test_numbers_that_are_none_stop_the_training_and_spare_the_checkpoint(pictures: Path, tmp_path: Path):
    class Poison(Quiet):
        def after_step(self, loop: Loop) -> Signal:
            if loop.progress.step == 3:
                with torch.no_grad():
                    next(loop.step.discriminator.parameters()).fill_(math.nan)
            return Continue()

    for number, steps in enumerate((2, 1000)):  # seen at the next line of the log, or at the end
        settings = {"snapshots.log_steps": steps, "health.rollbacks": 0, "evaluation.share": 0}
        outcome = train(pictures, tmp_path / str(number), display=Poison(), **settings)
        assert outcome.ended == "stopped" and "losses are not numbers any more after" in outcome.reason
        assert outcome.images == (32 if steps == 2 else 160)
        assert [images for images, _ in outcome.run.checkpoints()] == [0]
        events = [record["event"] for record in outcome.run.records("events.jsonl")]
        assert events == ["started", "non-finite", "stopped"]
        assert "everything is saved" not in outcome.describe()


@pytest.mark.parametrize("interrupted", [False, True])
def test_weights_that_are_no_numbers_are_never_saved(pictures: Path, tmp_path: Path, interrupted: bool):
    """Losses are of the weights before an update: those after it are looked at by themselves."""

    class Overflow(Quiet):
        def after_step(self, loop: Loop) -> Signal:
            if loop.progress.step == 20:
                with torch.no_grad():
                    next(loop.step.generator.parameters()).fill_(math.inf)
                loop.interrupted = interrupted
            return Continue()

    images = 240 if interrupted else 160
    settings = {"training.images": images, "ema.half_life": 0, "health.rollbacks": 0, "evaluation.share": 0}
    outcome = train(pictures, tmp_path, display=Overflow(), **settings)
    assert outcome.ended == "stopped" and "weights are not numbers any more after 160" in outcome.reason
    assert [images for images, _ in outcome.run.checkpoints()] == [0]


def test_checkpoints_come_by_the_clock_and_only_the_newest_stay(pictures: Path, tmp_path: Path):
    outcome = train(pictures, tmp_path, snapshots__checkpoint_minutes=1e-9, snapshots__keep=3)
    assert [images for images, _ in outcome.run.checkpoints()] == [0, 144, 152, 160], "0: the newest healthy one"


def test_minutes_end_a_training(pictures: Path, tmp_path: Path):
    settings = {**SMALL, "training.minutes": 0.02}
    outcome = limner.train(pictures, "quick", overrides=settings, runs=tmp_path, display=Quiet())
    assert outcome.ended == "done" and 1.2 <= outcome.seconds < 20


def test_a_checkpoint_of_a_newer_limner_is_refused_and_so_is_one_that_says_too_little(pictures: Path, tmp_path: Path):
    outcome = train(pictures, tmp_path)
    state = outcome.run.newest_checkpoint()[1] / rundir.STATE
    content = json.loads(state.read_text())
    short = {key: value for key, value in content.items() if key != "step"}
    for broken, message in (
        ({**content, "format": 99}, "has format 99, of a newer Limner; this one reads formats 1 to 2"),
        ({**short, "format": 1}, "cannot be resumed from"),  # format 1 has no checksums that would tell
    ):
        state.write_text(json.dumps(broken))
        with pytest.raises(InputError, match=message):
            limner.resume(outcome.run.path, display=Quiet())


def test_changed_data_is_told(pictures: Path, tmp_path: Path):
    outcome = train(pictures, tmp_path, display=InterruptAt(4))
    (pictures / "disc00.png").unlink()
    listening = Listening()
    limner.resume(outcome.run.path, display=listening)
    assert "has changed since this training began" in listening.said[0]
    hashes = [record["content_hash"] for record in outcome.run.records("events.jsonl") if record["event"] == "resumed"]
    assert hashes == [outcome.run.read_json("data.json")["content_hash"]]


@pytest.mark.parametrize(
    ("duration", "images"),
    [
        ({"training.epochs": 3}, 300),
        ({"training.epochs": 0.52}, 60),
        ({"training.images": 101}, 110),
        ({"training.epochs": 1.1}, 110),  # 110.00000000000001 in binary
        ({"training.epochs": 1e-6}, 10),
    ],
)
def test_durations_become_whole_batches(duration: dict[str, float], images: int):
    recipe = Recipe.load("quick", {**duration, "training.batch_size": 10})
    assert total_images(recipe, 100) == images
    assert total_images(recipe.changed({"training.minutes": 1}), 100) is None


def due(settings: Snapshots, until: int, batch: int = 32, epoch_size: int = 1000) -> list[int]:
    return [now for now in range(batch, until + 1, batch) if is_due(settings, now - batch, now, epoch_size)]


def test_grids_come_soon_at_first_and_then_less_often():
    found = due(Snapshots(), 300_000)
    assert found[0] == 32 and found[1] == 256
    gaps = np.diff(found[1:])
    assert gaps.max() <= 20_000 + 32 and gaps[-1] >= 20_000 - 32
    ratios = np.array(found[12:20]) / np.array(found[11:19])
    assert ratios.min() > 1.2 and ratios.max() < 1.3
    assert 35 < len(found) < 50


def test_grids_at_the_rhythm_that_was_asked_for():
    assert due(Snapshots(every_images=100), 400) == [128, 224, 320]
    assert due(Snapshots(every_epochs=0.2), 1000, epoch_size=1000) == [224, 416, 608, 800]
    assert due(Snapshots(every_epochs=10), 10_000, batch=50) == [10_000]
    assert due(Snapshots(every_epochs=0.1), 9, batch=1, epoch_size=30) == [3, 6, 9]


def test_the_average_halves_after_its_half_life():
    source = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(source.weight)
    average = AveragedGenerator(source, Ema(half_life=100, ramp=0))
    nn.init.ones_(source.weight)
    for step in range(10):
        average.update(10, 10 * (step + 1))
    assert average.current().weight.item() == pytest.approx(0.5, abs=1e-5)


def test_the_ramp_keeps_early_averages_fresh():
    average = AveragedGenerator(nn.Linear(1, 1), Ema(half_life=10_000, ramp=0.05))
    assert average.decay(64, 64) == pytest.approx(0.5 ** (64 / 3.2))
    assert average.decay(64, 10**6) == pytest.approx(0.5 ** (64 / 10_000))


def test_the_average_covers_statistics_and_is_a_copy_without_half_life():
    source = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    average = AveragedGenerator(source, Ema(half_life=1, ramp=0))
    source(torch.randn(4, 1, 8, 8) + 3)
    average.update(4, 4)
    mine, theirs = average.network[1], source[1]
    assert torch.allclose(mine.running_mean, theirs.running_mean * (1 - 0.5**4), atol=1e-6)
    assert mine.num_batches_tracked == theirs.num_batches_tracked == 1
    plain = AveragedGenerator(source, Ema(half_life=0))
    source(torch.randn(4, 1, 8, 8))
    assert torch.equal(plain.current()[1].running_mean, source[1].running_mean)
    assert not plain.network.training


def test_a_dry_run_measures_and_writes_nothing(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("limner.training.plan.SECONDS", 0.05)
    before = sorted(tmp_path.rglob("*"))
    made = plan(pictures, "quick", overrides=SMALL, display=Quiet())
    assert sorted(tmp_path.rglob("*")) == before
    assert made.images == 400_000 and made.images_per_second > 1
    assert made.seconds == pytest.approx(made.images / made.images_per_second)
    assert made.memory > 50e6
    text = made.describe()
    assert "24 pictures" in text and "16x16" in text and "[training]" in text
    assert Recipe.from_toml(text.rsplit("\n\n", 1)[0]) == made.recipe
    assert json.loads(json.dumps(made.values()))["parameters"]["generator"] == made.parameters[0]


def test_outcomes_in_words(tmp_path: Path):
    run = RunDir.create(tmp_path, None, "maps")
    outcome = Outcome(run, "done", "", 208_100, 25.0, 902.0, "a CPU")
    text = outcome.describe()
    assert text.startswith("done: 208,100 images, 25.0 epochs in 15 min 2 s, 36.1 s an epoch on a CPU")
    assert "limner generate" in text and "--epochs 50" in text
    assert "limner resume" in replace(outcome, ended="interrupted").describe()


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.44, "8.4 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273600, "3 days 4 h")]
)
def test_durations_in_words(seconds: float, text: str):
    assert duration(seconds) == text
