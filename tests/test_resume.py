"""A training that is interrupted and resumed is bit for bit the unbroken one.

Once with the real command, a real signal and a new process; and in this process with everything switched on that a recipe can
have, in a few combinations, so that nothing that a training remembers is missing from its checkpoints.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import limner
import limner.training.outcome
from conftest import Cli, discs
from limner import rundir
from limner.errors import LimnerError
from limner.recipe import Recipe
from limner.recipe.rules import merged
from limner.rundir import RunDir
from limner.training.callbacks import Measure
from limner.training.display import Quiet
from limner.training.loop import Continue, Loop, Signal

SETTINGS = [
    *("--recipe", "quick", "--images", "2400", "--batch-size", "8", "--seed", "5"),
    *("--set", "generator.width=4", "--set", "discriminator.width=4", "--set", "discriminator.dropout=0.2"),
    *("--set", "snapshots.log_steps=5", "--set", "evaluation.images=16", "--set", "evaluation.every_images=400"),
]


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_interrupted_by_a_signal_and_resumed(cli: Cli, pictures: Path, tmp_path: Path, precision: str):
    settings = [*SETTINGS, "--precision", precision]
    whole = cli("train", pictures, *settings, "--name", "whole")
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "limner", "train", str(pictures), *settings, "--name", "parted"]
    parted = tmp_path / "runs" / "parted"
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not ((parted / "log.jsonl").is_file() and (parted / "log.jsonl").stat().st_size > 2000):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    newest, _ = RunDir.open(parted).newest_checkpoint()
    assert 80 <= newest < 2400, "it has to be interrupted on the way"
    resumed = cli("resume", parted)
    assert resumed.returncode == 0 and "note:" not in resumed.stderr, resumed.stderr
    unbroken = tmp_path / "runs" / "whole"
    for place in ("checkpoints/000002400/generator.safetensors", "checkpoints/000002400/training.safetensors"):
        mine, other = load_file(parted / place), load_file(unbroken / place)
        assert mine.keys() == other.keys() and len(mine) > 10
        assert all(torch.equal(mine[name], other[name]) for name in mine), place
    ours, theirs = (sorted((run / "samples").iterdir()) for run in (parted, unbroken))
    assert len(ours) > 5 and [path.name for path in ours] == [path.name for path in theirs]
    assert all(mine.read_bytes() == other.read_bytes() for mine, other in zip(ours, theirs, strict=True))


UPDATES = 8
SMALL = {
    "network.latent": 6,
    "generator.width": 4,
    "discriminator.width": 4,
    "training.batch_size": 5,
    "training.device": "cpu",
    "training.precision": "float32",
    "image.held_out": 0.0,
    "snapshots.grid": 6,
    "snapshots.log_steps": 1,
    "snapshots.every_images": 10,
    "evaluation.share": 0.0,
    "ema.half_life": 40,
}
ADAPTIVE = {
    "augment.policy": ["color", "translation", "cutout"],
    "augment.target": 0.05,
    "augment.speed_images": 150,
    "augment.probability": 0.9,
    "discriminator.lr": 0.005,  # so that D overfits at once, and the probability rises
}
LAZY = {"regularizers.r1": 1.0, "regularizers.r2": 0.5, "regularizers.every": 4}
WITH_CLASSES = {"network.conditioning": "projection"}
COMBINED: dict[str, dict[str, Any]] = {
    "adaptive, lazy, projection, critic, parts, spectral, dropout, turned, noise, adamw, cosine": {
        **ADAPTIVE,
        **LAZY,
        **WITH_CLASSES,
        "objective.name": "hinge",
        "discriminator.norm": "spectral",
        "discriminator.dropout": 0.2,
        "generator.dropout": 0.1,
        "generator.optimizer": "adamw",
        "discriminator.optimizer": "adamw",
        "training.critic_steps": 2,
        "training.micro_batch": 3,
        "image.flip": "both",
        "image.rotate": True,
        "augment.noise": 0.1,
        "augment.noise_images": 70,
        "schedule.name": "cosine",
        "schedule.warmup_images": 25,
    },
    "few-shot family, acgan, relativistic, memory, parts, recomputed, rmsprop, linear, judged": {
        **ADAPTIVE,
        **LAZY,
        "network.family": "fewshot",
        "network.conditioning": "acgan",
        "objective.name": "relativistic",
        "generator.norm": "spectral",
        "discriminator.norm": "none",
        "generator.optimizer": "rmsprop",
        "discriminator.optimizer": "rmsprop",
        "discriminator.clip_norm": 1.0,
        "training.micro_batch": 4,
        "training.recompute": True,
        "schedule.name": "linear",
        "schedule.warmup_images": 12,
        "schedule.images": 35,
        "schedule.final": 0.2,
        "evaluation.share": 0.05,
        "evaluation.images": 16,
        "evaluation.every_images": 20,
    },
    "residual family, gradient penalty, projection, critic, recomputed, noise, no average": {
        **WITH_CLASSES,
        "network.family": "r3gan",
        "objective.name": "wasserstein",
        "regularizers.gradient_penalty": 10.0,
        "regularizers.every": 2,
        "training.critic_steps": 3,
        "training.recompute": True,
        "augment.noise": 0.15,
        "augment.noise_images": 90,
        "image.flip": "horizontal",
        "ema.half_life": 0,
    },
    "bfloat16, adaptive, lazy, projection, parts, recomputed, batch norm, dropout, cosine": {
        **ADAPTIVE,
        **LAZY,
        **WITH_CLASSES,
        "training.precision": "bfloat16",
        "discriminator.norm": "layer",
        "generator.dropout": 0.2,
        "training.micro_batch": 2,
        "training.recompute": True,
        "image.rotate": True,
        "schedule.name": "cosine",
        "schedule.warmup_images": 10,
    },
    "clipped weights, rmsprop, critic, batch norm, fixed augmentation, pieces of pictures": {
        "network.family": "mapmaker",
        "objective.name": "wasserstein",
        "regularizers.clip": 0.05,
        "generator.optimizer": "rmsprop",
        "discriminator.optimizer": "rmsprop",
        "training.critic_steps": 2,
        "augment.policy": ["translation"],
        "augment.probability": 0.6,
        "image.fit": "crops",
        "image.rotate": True,
    },
}


class InterruptAt(Quiet):
    """Asks for an end after some updates, as a signal does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, loop: Loop) -> Signal:
        if loop.progress.step == self.step:
            loop.interrupted = True
        return Continue()


def remains(run: RunDir) -> dict[str, Any]:
    """All that a training leaves behind but what clocks say, by name."""
    images, checkpoint = run.newest_checkpoint()
    found: dict[str, Any] = {"images": images}
    for name in (rundir.TRAINING, rundir.GENERATOR):
        for key, value in load_file(checkpoint / name).items():
            found[f"{name} {key}"] = (value.dtype, value.shape, value.reshape(-1).view(torch.uint8).numpy().tobytes())
    state = run.read_json(f"{rundir.CHECKPOINTS}/{checkpoint.name}/{rundir.STATE}")
    found["state"] = _without_clocks(state)
    for name in (rundir.LOG, rundir.METRICS):
        found[name] = [_without_clocks(line) for line in run.records(name)]
    found |= {f"sample {number}": path.read_bytes() for number, path in run.samples()}
    return found


def _without_clocks(record: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in record.items() if key not in rundir.CLOCKS})


@pytest.mark.parametrize("combined", COMBINED)
def test_everything_switched_on_resumes_exactly(tmp_path: Path, combined: str):
    """Interrupted twice, between lazy penalties and within an epoch, while probabilities, rates and noise are on their way."""
    pixels = np.stack([np.asarray(picture) for picture in discs(7, 12, 12, 3)])
    np.savez(tmp_path / "pictures.npz", images=pixels, labels=np.arange(7) % 3)
    size = {"image.width": 9, "image.height": 9} if COMBINED[combined].get("image.fit") == "crops" else {}
    portion = 5 * COMBINED[combined].get("training.critic_steps", 1)
    settings = {**SMALL, **size, **COMBINED[combined], "training.images": UPDATES * portion}
    recipe = Recipe.from_values(merged({}, settings))

    def train(name: str, display: Quiet) -> RunDir:
        return limner.train(tmp_path / "pictures.npz", recipe, runs=tmp_path, name=name, display=display).run

    whole, parted = train("whole", Quiet()), train("parted", InterruptAt(3))
    assert parted.newest_checkpoint()[0] == 3 * portion
    limner.resume(parted.path, display=InterruptAt(6))
    assert parted.newest_checkpoint()[0] == 6 * portion
    midway = load_file(parted.newest_checkpoint()[1] / rundir.TRAINING)
    outcome = limner.resume(parted.path, display=Quiet())
    assert (outcome.ended, outcome.images) == ("done", UPDATES * portion)
    expected, found = remains(whole), remains(parted)
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []
    lines = [json.loads(line) for line in found[rundir.LOG]]
    assert [line["step"] for line in lines] == [*range(1, UPDATES + 1)]
    # What should be on its way was.
    if "augment.target" in settings:
        assert 0 < midway["augment.probability"].item() < 0.9
        assert len({line["augment_probability"] for line in lines}) > 3
    if recipe.regularizers.r1 or recipe.regularizers.gradient_penalty:
        lazy = recipe.regularizers.every > recipe.training.critic_steps
        assert {"penalty" in line for line in lines} == ({True, False} if lazy else {True})
    assert len([name for name in expected if name.startswith("sample ")]) >= 4
    assert any("optimizer" in name for name in midway)


def small(tmp_path: Path, name: str, display: Quiet | None = None, **settings: Any) -> limner.training.outcome.Outcome:
    if not (tmp_path / "pictures.npz").exists():
        np.savez(tmp_path / "pictures.npz", images=np.stack([np.asarray(picture) for picture in discs(12, 8, 8, 1)]))
    values = {**SMALL, "training.images": 40, **{key.replace("__", "."): value for key, value in settings.items()}}
    recipe = Recipe.from_values(merged({}, values))
    return limner.train(tmp_path / "pictures.npz", recipe, runs=tmp_path, name=name, display=display or Quiet())


JUDGED = {"evaluation__share": 0.05, "evaluation__images": 8, "evaluation__every_images": 10}


def test_a_training_that_ended_early_is_not_gone_on_with_unless_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """So that a kill after its last checkpoint, before its report, changes nothing."""
    reason = "enough"
    monkeypatch.setattr(
        "limner.training.judge.is_exhausted", lambda lines, patience: reason if len(lines) > 2 else None
    )
    outcome = small(tmp_path, "early", evaluation__patience=100, **JUDGED)
    assert (outcome.ended, outcome.reason, outcome.images) == ("done", "enough", 20)
    before = remains(outcome.run)
    (outcome.run.path / rundir.REPORT).unlink()
    again = limner.resume(outcome.run.path, display=Quiet())
    assert (again.ended, again.reason, again.images) == ("done", "enough", 20)
    assert remains(again.run) == before and (outcome.run.path / rundir.REPORT).is_file()
    monkeypatch.undo()
    longer = limner.resume(outcome.run.path, overrides={"training.images": 40}, display=Quiet())
    assert (longer.ended, longer.images) == ("done", 40)


def test_the_last_line_of_the_log_is_there_whenever_the_last_checkpoint_is(tmp_path: Path):
    """Eight updates and a line after every third: the last one has a line of its own, before its checkpoint."""
    seen: list[list[int]] = []

    class Looking(Quiet):
        def after_step(self, loop: Loop) -> Signal:
            run = RunDir(tmp_path / "run")
            seen.append([line["step"] for line in run.records(rundir.LOG)])
            if loop.progress.step == 8:
                assert run.newest_checkpoint()[0] == 35, "the last one waits for what belongs to the end"
            return Continue()

    outcome = small(tmp_path, "run", Looking(), snapshots__log_steps=3, snapshots__checkpoint_minutes=1e-9, **JUDGED)
    assert outcome.images == 40 and seen[-1] == [3, 6, 8]
    assert outcome.run.read_json(f"{rundir.CHECKPOINTS}/000000040/{rundir.STATE}")["ended"] == "done"


@pytest.mark.parametrize("minutes", [3.0, 1e-9])
def test_a_log_that_does_not_wait_for_the_device_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float
):
    """A line is written an update late, as on a GPU, but before any checkpoint of its moment and before the end."""
    seen: list[list[int]] = []

    class Looking(InterruptAt):
        def after_step(self, loop: Loop) -> Signal:
            seen.append([line["step"] for line in RunDir(tmp_path / "late").records(rundir.LOG)])
            return super().after_step(loop)

    settings = {"snapshots__log_steps": 3, "snapshots__checkpoint_minutes": minutes, **JUDGED}
    whole = small(tmp_path, "whole", **settings)
    monkeypatch.setattr(Measure, "defers", property(lambda self: True, lambda self, value: None), raising=False)
    late = small(tmp_path, "late", Looking(4), **settings)
    limner.resume(late.run.path, display=Looking(99))
    assert remains(whole.run) == remains(late.run)
    # Asked last, after the checkpoint of each update where there is one.
    assert seen[2:4] == [[] if minutes > 1 else [3], [3]]
    assert seen[-1] == [3, 6, 8]


def test_an_interval_that_was_not_measured_yet_is_measured_when_it_goes_on(tmp_path: Path):
    """A kill after the first evaluation, before its interval was written, must not make it evaluate after every update."""
    outcome = small(tmp_path, "run", InterruptAt(1), **{**JUDGED, "evaluation__every_images": None})
    every = outcome.run.recipe().evaluation.every_images
    assert every is not None
    text = (outcome.run.path / rundir.RECIPE).read_text()
    (outcome.run.path / rundir.RECIPE).write_text(text.replace(f"every_images = {every}", ""))
    for path in (outcome.run.path / rundir.CHECKPOINTS).glob("*5"):
        shutil.rmtree(path)
    (line,) = outcome.run.records(rundir.METRICS)
    (outcome.run.path / rundir.METRICS).write_text(json.dumps({**line, "took": 3600.0}) + "\n")
    resumed = limner.resume(outcome.run.path, display=Quiet())
    assert resumed.ended == "done" and (resumed.run.recipe().evaluation.every_images or 0) > 1000


def test_a_best_generator_that_could_not_be_written_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sync, refused = RunDir.sync, []

    def refuse(run: RunDir) -> None:
        lines = list(run.records(rundir.METRICS))
        if lines and lines[-1]["images"] == 20 and len(refused) < 2:
            refused.append(lines[-1]["best"])
            raise LimnerError("the log: cannot be written")
        sync(run)

    monkeypatch.setattr(RunDir, "sync", refuse)
    monkeypatch.setattr("limner.training.judge._is_best", lambda line, before: line["images"] == 20)
    outcome = small(tmp_path, "run", snapshots__checkpoint_minutes=1e-9, **JUDGED)
    assert refused == [True, True] and outcome.ended == "done"
    assert outcome.run.read_json(f"{rundir.CHECKPOINTS}/{rundir.BEST}/{rundir.STATE}")["images"] == 20
    assert 20 not in dict(outcome.run.checkpoints()), "that moment's own checkpoint could not be written"


def test_what_may_change_on_the_way_and_what_may_not(cli: Cli, pictures: Path, tmp_path: Path):
    """Rates, portions and rhythms may; what weights, moments and the order of the data are made for may not."""
    begun = cli("train", pictures, *SETTINGS, "--images", "80", "--name", "one")
    assert begun.returncode == 0, begun.stderr
    run = tmp_path / "runs" / "one"
    before = (run / "recipe.toml").read_bytes()
    fixed = (
        "image.flip=both",
        "network.latent=7",
        "generator.norm=none",
        "generator.optimizer=adamw",
        "training.seed=6",
    )
    for setting in fixed:
        refused = cli("resume", run, "--images", "160", "--set", setting)
        assert refused.returncode == 2 and "cannot be changed on the way" in refused.stderr, refused.stderr
        assert setting.partition("=")[0] in refused.stderr and refused.stderr.count("\n") == 1
    assert cli("resume", run, "--set", "generator.rate=1").returncode == 2
    assert (run / "recipe.toml").read_bytes() == before
    allowed = ("generator.lr=0.0001", "training.micro_batch=4", "evaluation.every_images=80")
    went_on = cli("resume", run, "--images", "160", "--memory", "20GB", *(f"--set={setting}" for setting in allowed))
    assert went_on.returncode == 0, went_on.stderr
    recipe = RunDir.open(run).recipe()
    assert (recipe.generator.lr, recipe.training.micro_batch, recipe.training.images) == (0.0001, 4, 160)
