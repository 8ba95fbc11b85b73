"""What the family offers, as a person asks for it: the real commands, and what they leave behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import limner
from conftest import Cli
from limner import rundir
from limner.data import prepare
from limner.device import choose_device
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.training.assembly import resolved
from limner.training.display import Quiet
from limner.training.preparing import asks_for_pace, scheduled

SMALL = [
    *("--recipe", "quick", "--batch-size", "8", "--images", "16", "--precision", "float32", "--device", "cpu"),
    *("--set", "generator.width=4", "--set", "discriminator.width=4", "--set", "network.latent=8"),
    *("--set", "snapshots.grid=4", "--set", "evaluation.share=0"),
]


def numbers(folder: Path, size: int = 16, count: int = 24) -> Path:
    """Noise, as an array of so many pictures."""
    path = folder / f"noise{size}.npy"
    np.save(path, np.random.default_rng(size).integers(0, 256, (count, size, size), dtype=np.uint8))
    return path


def events(run: Path, name: str) -> list[dict[str, object]]:
    return [line for line in RunDir.open(run).records(rundir.EVENTS) if line["event"] == name]


def test_a_training_from_another_one(cli: Cli, tmp_path: Path):
    """Begun with its weights, said and noted; the source is not needed any more; refused alike by a dry run."""
    data = numbers(tmp_path)
    assert cli("train", data, *SMALL, "--name", "old").returncode == 0
    told = cli("train", data, *SMALL, "--seed", "5", "--from", "runs/old", "--name", "new", "--set", "generator.lr=1e-9",
               "--set", "ema.half_life=0")  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert "from runs/old (16 images): " in told.stderr and "(100 % of its parameters)" in told.stderr
    (noted,) = events(tmp_path / "runs" / "new", "warm start")
    assert noted["source"] == "runs/old" and noted["source_images"] == 16 and noted["images"] == 0
    # With a rate of nearly nothing the generator still is the one that it began with.
    old, new = (load_file(RunDir.open(tmp_path / "runs" / name).newest_checkpoint()[1] / rundir.TRAINING)
                for name in ("old", "new"))  # fmt: skip
    weights = [name for name in old if name.startswith("average.") and old[name].dim() == 4]
    assert len(weights) == 3
    for name in weights:
        mine = new[name.replace("average.", "generator.")]
        assert np.allclose(mine, old[name], atol=1e-6) and not np.allclose(
            mine, old[name.replace("average", "generator")]
        )

    planned = cli("train", data, *SMALL, "--from", "runs/old", "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["start"].startswith("from runs/old (16 images): ")
    lost = cli("train", data, *SMALL, "--at", "best", "--name", "lost")
    assert lost.returncode == 2 and "limner: --at best: " in lost.stderr and "--from" in lost.stderr
    for more in ([], ["--dry-run"]):
        wrong = cli("train", data, *SMALL, "--from", "runs/old", *more, "--set", "generator.width=6",
                    "--set", "discriminator.width=6", "--set", "network.latent=9")  # fmt: skip
        (line,) = (line for line in wrong.stderr.splitlines() if line.startswith("limner: "))
        assert wrong.returncode == 2 and "not one layer" in line and "generator.width = 4" in line
    shutil.rmtree(tmp_path / "runs" / "old")
    resumed = cli("resume", "runs/new", "--images", "32")
    assert resumed.returncode == 0, resumed.stderr
    assert len(events(tmp_path / "runs" / "new", "warm start")) == 1
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["new"]


def test_a_width_that_is_open_is_the_sources(tmp_path: Path):
    """``auto`` is not measured then: layers of other widths have nothing in common."""
    data = numbers(tmp_path)
    common = {"training.batch_size": 4, "training.images": 8, "network.latent": 8, "snapshots.grid": 4}
    common |= {"evaluation.share": 0, "training.device": "cpu", "training.precision": "float32"}
    widths = {"generator.width": 5, "discriminator.width": 6}
    limner.train(data, "fewshot", overrides=common | widths, runs=tmp_path, name="old", display=Quiet())
    limner.train(
        data, "fewshot", overrides=common, runs=tmp_path, name="new", display=Quiet(), start_from=tmp_path / "old"
    )
    recipe = RunDir.open(tmp_path / "new").recipe()
    assert (recipe.generator.width, recipe.discriminator.width) == (5, 6)
    (noted,) = events(tmp_path / "new", "warm start")
    assert noted["generator"]["new"] == {} and noted["discriminator"]["new"] == {}


def test_classes_are_learned_and_asked_for(cli: Cli, tmp_path: Path):
    pictures = np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "trees.npz", images=pictures, labels=np.array(["oak", "elm"])[np.arange(24) % 2])
    told = cli("train", "trees.npz", *SMALL, "--classes", "--name", "run")
    assert told.returncode == 0, told.stderr
    recipe = RunDir.open(tmp_path / "runs" / "run").recipe()
    assert recipe.network.conditioning == "projection" and recipe.network.classes == ("elm", "oak")
    drawn = {}
    for label in ("elm", "oak"):
        assert cli("generate", "runs/run", "--label", label, "--count", "2", "--out", label).returncode == 0
        drawn[label] = (tmp_path / label / f"seed-000000-{label}.png").read_bytes()
    assert drawn["elm"] != drawn["oak"]
    wrong = cli("generate", "runs/run", "--label", "ok")
    assert wrong.returncode == 2 and "oak" in wrong.stderr and len(wrong.stderr.splitlines()) == 1
    # A head that is asked for stays the one that was asked for.
    planned = cli(
        "train", "trees.npz", *SMALL, "--classes", "--set", "network.conditioning=acgan", "--dry-run", "--json"
    )
    assert json.loads(planned.stdout)["recipe"]["network"]["conditioning"] == "acgan"
    wrong = cli("train", "trees.npz", "--recipe", "vanilla", "--classes")
    assert wrong.returncode == 2 and "recipe vanilla: network.conditioning: the mlp family cannot do" in wrong.stderr
    wrong = cli("train", numbers(tmp_path), *SMALL, "--classes")
    assert wrong.returncode == 2 and "has no classes" in wrong.stderr and len(wrong.stderr.splitlines()) == 1


def test_a_bound_of_memory_is_kept_or_refused(cli: Cli, tmp_path: Path):
    """What is chosen under a bound is in the run's recipe, and said; a bound that nothing fits is told with the least."""
    data = numbers(tmp_path, 64)
    # A batch that takes more than networks and program do: a bound well above what they need is well below the whole.
    wide = [*SMALL, "--batch-size", "128", "--set", "generator.width=32", "--set", "discriminator.width=32"]
    free = json.loads(cli("train", data, *wide, "--dry-run", "--json").stdout)
    assert free["micro_batch"] == 128 and free["fitted"] == ""
    bound = f"{0.8 * free['peak_memory_bytes'] / 1e6:.0f}MB"
    told = cli("train", data, *wide, "--memory", bound, "--name", "run")
    assert told.returncode == 0, told.stderr
    training = RunDir.open(tmp_path / "runs" / "run").recipe().training
    assert training.recompute or (training.micro_batch or 128) < 128
    line = next(line for line in told.stderr.splitlines() if line.startswith("memory: "))
    assert ("computed again" in line) == training.recompute
    assert (f"{training.micro_batch} images at a time" in line) == (training.micro_batch is not None)
    assert RunDir.open(tmp_path / "runs" / "run").read_json(rundir.ENVIRONMENT)["memory_bound"] == int(
        float(bound[:-2]) * 1e6
    )
    for size, words in (
        ("1MB", "--memory 0.001GB: this training cannot be made to fit"),
        ("much", "--memory much: write a size such as 500MB or 10GB"),
    ):
        wrong = cli("train", data, *wide, "--memory", size, "--name", "no")
        told_lines = [line for line in wrong.stderr.splitlines() if line.startswith("limner: ")]
        assert wrong.returncode == 2 and len(told_lines) == 1 and words in told_lines[0], wrong.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run"]


@pytest.mark.parametrize(("size", "batch", "gamma"), [(64, 8, 0.102), (64, 32, 0.0256), (128, 8, 0.41)])
def test_penalties_that_are_left_open_follow_size_and_batch(tmp_path: Path, size: int, batch: int, gamma: float):
    """StyleGAN2-ADA's rule, 0.0002 * pixels / batch: 0.0002 * 4096 / 8 = 0.1024, in three digits."""
    data = numbers(tmp_path, size, 4)
    recipe = Recipe.load("fewshot", {"image.max_side": size, "training.batch_size": batch})
    found = resolved(recipe, prepare(data, recipe.image), choose_device("cpu")).regularizers
    assert found.r1 == found.r2 == gamma


def test_rates_fall_over_the_images_that_minutes_allow():
    """Ten minutes at 20 images/s, of which judging has a tenth: 10,800 images."""
    falling = Recipe.load("fewshot", {"schedule.name": "cosine", "training.minutes": 10, "evaluation.share": 0.1})
    assert asks_for_pace(falling) and scheduled(falling, 20.0).schedule.images == 10_800
    fixed = falling.changed({"schedule.images": 500})
    assert scheduled(fixed, 20.0).schedule.images == 500
    by_images = Recipe.load("fewshot", {"schedule.name": "cosine", "training.images": 900})
    assert scheduled(by_images, 20.0).schedule.images is None
    late = falling.changed({"schedule.warmup_images": 20_000})
    assert scheduled(late, 20.0).schedule.images == 20_001
