"""A trained generator: loads on its own, draws the same for ever, walks without jumps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import limner
from limner.errors import InputError
from limner.generator import TrainedGenerator, slerp, walk
from limner.rundir import RunDir
from limner.training.display import Quiet


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    settings = {
        "image.width": 16,
        "image.height": 12,
        "generator.width": 4,
        "discriminator.width": 4,
        "network.latent": 8,
        "training.images": 64,
        "training.batch_size": 16,
    }
    runs = tmp_path_factory.mktemp("runs")
    return limner.train("procedural:maps:16", "quick", overrides=settings, runs=runs, display=Quiet()).run


def test_it_loads_from_every_place_and_needs_nothing_else(run: RunDir, tmp_path: Path):
    checkpoint = run.newest_checkpoint()[1]
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((checkpoint / "generator.safetensors").read_bytes())
    drawn = [limner.load(place).draw(np.ones((2, 8), np.float32)) for place in (run.path, checkpoint, alone)]
    assert drawn[0].shape == (2, 12, 16, 3) and drawn[0].dtype == np.uint8
    assert all(np.array_equal(drawn[0], other) for other in drawn[1:])
    generator = limner.load(alone)
    assert generator.size == (16, 12) and generator.images == 64 and generator.name == "maps"


def test_a_seed_is_one_picture_however_it_is_asked_for(run: RunDir):
    generator = limner.load(run.path)
    many = generator.sample(70, seed=5)
    assert many[0].size == (16, 12) and many[0].mode == "RGB"
    for number in (0, 66):  # in the first portion, and in the second
        alone = np.asarray(generator.sample(1, seed=5 + number)[0]).astype(int)
        assert np.abs(alone - np.asarray(many[number]).astype(int)).max() <= 1
    assert not np.array_equal(many[0], many[1])
    with pytest.raises(ValueError, match="at least 1"):
        generator.sample(0)


def test_the_grid_of_a_training_is_drawn_by_what_was_saved(run: RunDir):
    """Batch norm draws with its running statistics: the file alone gives the training's own pictures."""
    from limner.noise import Stream, normal

    images, path = run.samples()[-1]
    assert images == 64
    z = normal(run.recipe().training.seed, Stream.GRID, np.arange(64), 8)
    from PIL import Image

    from limner import imaging

    again = imaging.enlarged(imaging.grid(limner.load(run.path).draw(z)), 512)
    with Image.open(path) as saved:
        assert np.abs(np.asarray(saved).astype(int) - np.asarray(again).astype(int)).max() <= 3


def test_walks_are_seamless_and_even(run: RunDir):
    generator = limner.load(run.path)
    keys = generator.latents([1, 2, 3])
    path = walk(keys, 10)
    assert path.shape == (30, 8)
    np.testing.assert_allclose(path[[0, 10, 20]], keys, atol=1e-6)
    steps = np.linalg.norm(np.diff(np.concatenate([path, path[:1]]), axis=0), axis=1)
    assert steps.max() < 4 * steps.min()
    assert len(generator.interpolate([1, 2, 3], 4)) == 12
    assert len(generator.interpolate([1, 2, 3], 4, loop=False)) == 9
    np.testing.assert_allclose(walk(keys, 4, loop=False)[-1], keys[-1], atol=1e-6)
    with pytest.raises(ValueError, match="two seeds"):
        walk(keys[:1], 3)


def test_slerp_by_hand():
    start, end = np.array([1.0, 0.0]), np.array([0.0, 2.0])
    middle = slerp(start, end, np.array([0.0, 0.5, 1.0]))
    half = 1.5 / np.sqrt(2)
    np.testing.assert_allclose(middle, [[1, 0], [half, half], [0, 2]], atol=1e-12)
    np.testing.assert_allclose(slerp(start, 3 * start, np.array([0.5])), [[2, 0]], atol=1e-12)


def test_files_that_are_no_generators(run: RunDir, tmp_path: Path):
    with pytest.raises(InputError, match="no such run directory or generator file"):
        limner.load(tmp_path / "missing.safetensors")
    noise = tmp_path / "noise.safetensors"
    noise.write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="not a readable safetensors file"):
        limner.load(noise)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(3)}, foreign)
    with pytest.raises(InputError, match="not a generator of Limner's"):
        limner.load(foreign)
    wrong = tmp_path / "wrong.safetensors"
    metadata = {"format": "limner-generator-1", "recipe": run.recipe().to_toml()}
    save_file({"x": torch.zeros(3)}, wrong, metadata=metadata)
    with pytest.raises(InputError, match="weights do not fit"):
        limner.load(wrong)


def test_the_public_api():
    assert limner.TrainedGenerator is TrainedGenerator
    assert set(limner.__all__) <= set(dir(limner))
    for name in limner.__all__:
        assert getattr(limner, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = limner.nothing
