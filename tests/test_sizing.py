"""Widths by the time there is: the rule by hand, and the real thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import limner
from limner.data import prepare
from limner.recipe import Recipe
from limner.training import sizing
from limner.training.assembly import resolved
from limner.training.display import Quiet
from limner.training.sizing import is_sized, sized, width_for, widths


@pytest.mark.parametrize(
    "allowed, expected",
    [(0.5, 64), (0.1, 24), (0.0676 + 1e-6, 24), (0.0676 - 1e-6, 16), (0.02, 8), (0.0001, 8)],
)
def test_the_widest_that_is_quick_enough(allowed: float, expected: int):
    """An image takes 0.01 s and 0.0001 s for each channel squared: 24 take 0.0676 s, 32 take 0.1124 s, 64 take 0.4196 s."""
    assert width_for(0.01, 0.0001, allowed, 1000, 64) == expected


def test_no_wider_than_was_measured_or_than_few_pictures_bear():
    assert width_for(0.0, 0.0, 1.0, 1000, 64) == 64
    assert width_for(0.0, 0.0, 1.0, 199, 64) == 48 and width_for(0.0, 0.0, 1.0, 200, 64) == 64


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8))
    return tmp_path / "noise.npy"


def test_time_and_pace_decide(pictures: Path, monkeypatch: pytest.MonkeyPatch):
    """Paces as a formula says, 0.001 s and 0.00001 s for each channel squared; the rest is real."""
    monkeypatch.setattr(sizing, "pace", lambda loop, seconds: 1 / (0.001 + 0.00001 * loop.recipe.generator.width**2))
    chosen = {}
    for name, duration in {
        "ten minutes": {"training.minutes": 10},  # 80,000 images at 0.0075 s each: 24 channels take 0.00676 s
        "an hour": {
            "training.minutes": 60
        },  # at 0.045 s: 64 would take 0.04196 s, but that is too wide for 24 pictures
        "many images": {"training.images": 1_000_000},  # an hour: 0.0036 s
        "few images": {"training.images": 60_000},  # 0.06 s: 64 take 0.04196 s, and no more than 48 for so few pictures
    }.items():
        recipe = Recipe.load("fewshot", duration)
        collection = prepare(pictures, recipe.image)
        done = sized(resolved(recipe, collection, torch.device("cpu")), collection, torch.device("cpu"))
        assert is_sized(done) and not is_sized(recipe)
        assert done.generator.width == done.discriminator.width
        chosen[name] = done.generator.width
    assert chosen == {"ten minutes": 24, "an hour": 48, "many images": 16, "few images": 48}


def test_widths_that_are_given_stay(pictures: Path):
    recipe = Recipe.load("fewshot", {"generator.width": 5, "discriminator.width": 7})
    collection = prepare(pictures, recipe.image)
    assert sized(recipe, collection, torch.device("cpu")) is recipe
    assert widths(recipe) == "generator 5 channels wide, discriminator 7"


def test_a_training_says_its_widths_and_writes_them_down(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    said: list[str] = []

    class Listening(Quiet):
        def say(self, text: str) -> None:
            said.append(text)

    monkeypatch.setattr(sizing, "SECONDS", 0.05)
    overrides = {"training.images": 16, "network.latent": 8, "evaluation.share": 0}
    run = limner.train(pictures, overrides=overrides, runs=tmp_path / "runs", display=Listening()).run
    recipe = run.recipe()
    assert isinstance(recipe.generator.width, int) and recipe.network.family == "fewshot"
    assert any(f"generator {recipe.generator.width} channels wide" in line for line in said)
