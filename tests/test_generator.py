"""A trained generator: loads on its own, draws the same for ever, walks without jumps."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import limner
from limner import films, imaging
from limner.data.make import write_collection
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


def test_slerp_goes_between_many_as_between_two():
    random = np.random.default_rng(0)
    starts, ends = random.normal(size=(2, 5, 8)).astype(np.float32)
    ends[3] = 2 * starts[3]  # no arc among arcs
    together = slerp(starts, ends, np.asarray(0.3))
    for start, end, point in zip(starts, ends, together, strict=True):
        np.testing.assert_allclose(slerp(start, end, np.array([0.3]))[0], point, atol=1e-6)


@pytest.mark.parametrize(
    ("seconds", "rate", "keys"), [(1, 20, 5), (1, 20, 7), (1, 50, 50), (0.1, 30, 3), (2.33, 24, 5)]
)
def test_a_walk_is_as_long_as_was_asked(run: RunDir, seconds: float, rate: int, keys: int):
    generator = limner.load(run.path)
    film = films.latent_walk(generator, seed=4, keys=keys, seconds=seconds, frames_per_second=rate, tiles=1, side=16)
    frames = list(film.frames)
    assert len(frames) == len(film.seconds) == round(seconds * rate)
    assert set(film.seconds) == {Fraction(1, rate)}
    for number, key in enumerate(generator.sample(keys, seed=4)):  # each arc begins on its key
        found = np.asarray(frames[number * len(frames) // keys]).astype(int)
        assert np.abs(found - np.asarray(key).astype(int)).max() <= 1


def test_tiles_walk_each_on_its_own(run: RunDir):
    generator = limner.load(run.path)
    film = films.latent_walk(generator, seed=1, keys=2, seconds=1, frames_per_second=6, tiles=3, side=16)
    path = walk(generator.latents([3, 4]), 3)  # the second of three tiles
    columns = imaging.grid_shape(3, 16, 12)[0]
    left, top = 1 + 1 % columns * 17, 1 + 1 // columns * 13
    for frame, expected in zip(film.frames, generator.draw(path), strict=True):
        tile = np.asarray(frame)[top : top + 12, left : left + 16].astype(int)
        assert np.abs(tile - expected.astype(int)).max() <= 1


def test_walks_that_cannot_be(run: RunDir):
    generator = limner.load(run.path)
    usual = {"seed": 0, "keys": 5, "seconds": 8.0, "frames_per_second": 20, "tiles": 1, "side": 16}
    with pytest.raises(InputError, match=r"--keys 1000: 1 s of 20 frames a second are 20 frames, fewer than the seeds"):
        films.latent_walk(generator, **{**usual, "keys": 1000, "seconds": 1.0})
    with pytest.raises(InputError, match="--seconds nan"):
        films.latent_walk(generator, **{**usual, "seconds": float("nan")})
    with pytest.raises(InputError, match="the last of 5 seeds from there on would be over"):
        films.latent_walk(generator, **{**usual, "seed": 2**64 - 4})
    assert len(films.latent_walk(generator, **{**usual, "seed": 2**64 - 5}).seconds) == 160
    # Half an hour of frames is no list: nothing is drawn before it is asked for.
    assert len(films.latent_walk(generator, **{**usual, "seconds": 600.0, "frames_per_second": 50}).seconds) == 30_000


def test_seeds_end_at_64_bits(run: RunDir, tmp_path: Path):
    generator = limner.load(run.path)
    assert len(generator.sample(2, seed=2**64 - 2)) == 2
    for seed, count in ((2**64 - 1, 2), (2**64, 1), (-1, 1), (10**30, 1)):
        with pytest.raises(InputError, match=f"seed {seed}: "):
            generator.sample(count, seed=seed)
        with pytest.raises(InputError, match=f"seed {seed}: "):
            films.draw_pictures(generator, count, seed, tmp_path / "drawn")
    assert not (tmp_path / "drawn").exists()
    films.draw_pictures(generator, 1, 2**64 - 1, tmp_path / "drawn")
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
        "seed-18446744073709551615.png",
        "sheet.png",
    ]
    for seed in (-1, 2**64):
        with pytest.raises(InputError, match=f"--seed {seed}: must be from 0"):
            write_collection("maps", tmp_path / "made", 2, (8, 8), seed)
    assert not (tmp_path / "made").exists()
    assert write_collection("maps", tmp_path / "made", 2, (8, 8), 2**64 - 1) == 2


def test_it_draws_where_it_is_told(run: RunDir):
    assert limner.load(run.path, "auto").sample(1)[0].size == (16, 12)
    with pytest.raises(InputError, match="device foo: must be auto, cpu"):
        limner.load(run.path, "foo")
    with pytest.raises(InputError, match=r"device cuda:99: this machine has \d+ CUDA devices"):
        limner.load(run.path, "cuda:99")


def test_it_draws_in_the_precision_that_is_asked_for(run: RunDir):
    seeds = np.arange(32)
    exact, rounded = (limner.load(run.path, precision=name).draw_seeds(seeds) for name in ("float32", "bfloat16"))
    apart = np.abs(exact.astype(int) - rounded.astype(int))
    assert 0 < apart.max() <= 12 and apart.mean() < 1.5  # 8 bits of every number: what is drawn stays what it was
    assert np.array_equal(exact, limner.load(run.path).draw_seeds(seeds))
    fastest = limner.load(run.path, precision="auto")
    assert isinstance(fastest, TrainedGenerator) and fastest.precision in ("float32", "bfloat16")
    with pytest.raises(InputError, match="precision float16: must be one of float32, bfloat16, auto"):
        limner.load(run.path, precision="float16")


def test_what_is_drawn_stays_when_checkpoints_go(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint = run.newest_checkpoint()[1]
    assert films.home(run.path) == films.home(checkpoint) == run.path
    monkeypatch.chdir(checkpoint)
    assert films.home(Path(".")) == run.path.resolve()
    copied = shutil.copytree(checkpoint, tmp_path / "copied")
    assert films.home(copied) is None and films.home(copied / "generator.safetensors") is None


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
    save_file({"x": torch.zeros(3)}, wrong, {**metadata, "recipe": "[image\nwidth = 3"})
    with pytest.raises(InputError, match=r"wrong.safetensors: its recipe is damaged, or of a newer Limner \(not TOML"):
        limner.load(wrong)
    for count in ("many", "-1", "", "9" * 5000):
        save_file({"x": torch.zeros(3)}, wrong, {**metadata, "images": count})
        with pytest.raises(InputError, match=r"its metadata is damaged \(images = "):
            limner.load(wrong)
    with pytest.raises(InputError, match=r"neither a run directory .* nor a checkpoint"):
        limner.load(tmp_path)


def test_weights_and_pictures_that_are_no_numbers_are_refused(run: RunDir, tmp_path: Path):
    """As after damage to an exponent, or of a training that broke."""
    generator = limner.load(run.path)
    weights = generator.network.state_dict()
    name = next(name for name, weight in weights.items() if weight.is_floating_point() and weight.ndim > 1)
    metadata = {"format": "limner-generator-1", "recipe": run.recipe().to_toml()}
    for value in (float("nan"), float("inf")):
        broken = {**weights, name: weights[name].contiguous().index_fill(0, torch.tensor([0]), value)}
        save_file(
            {key: weight.contiguous() for key, weight in broken.items()}, tmp_path / "broken.safetensors", metadata
        )
        with pytest.raises(
            InputError, match=r"broken.safetensors: has weights that are no numbers \(.*take another snapshot"
        ):
            limner.load(tmp_path / "broken.safetensors")
    huge = {
        name: (weight * 1e38).clamp(-3e38, 3e38).contiguous() if weight.is_floating_point() else weight
        for name, weight in weights.items()
    }
    save_file(huge, tmp_path / "huge.safetensors", metadata)
    with pytest.raises(InputError, match="makes pictures of no numbers: the file is damaged"):
        limner.load(tmp_path / "huge.safetensors").sample(1)


def test_what_is_no_seed_is_refused(run: RunDir):
    generator = limner.load(run.path)
    for seed in ("x", 1.5, None, True):
        with pytest.raises(InputError, match=r"seed .*: must be a whole number from 0"):
            generator.sample(1, seed=seed)
        with pytest.raises(InputError, match=r"seed .*: must be a whole number from 0"):
            generator.latents([0, seed])
    for seeds in ([-1], np.array([-1]), [2**64]):
        with pytest.raises(InputError, match="must be from 0 to"):
            generator.latents(seeds)
    for seeds in ([], [3]):
        with pytest.raises(InputError, match="a walk needs two seeds"):
            generator.interpolate(seeds)
    assert (generator.latents(np.array([5, 7])) == generator.latents([5, 7])).all()
    assert generator.latents([]).shape == (0, generator.latent)


def test_a_checkpoint_that_lost_its_generator(run: RunDir, tmp_path: Path):
    copied = shutil.copytree(run.path, tmp_path / "copied")
    checkpoint = RunDir.open(copied).newest_checkpoint()[1]
    (checkpoint / "generator.safetensors").unlink()
    assert limner.load(copied).images == 0, "the one before is used"
    for place in (checkpoint,):
        with pytest.raises(InputError, match=rf"{checkpoint}: this checkpoint has lost its generator.safetensors"):
            limner.load(place)


def test_a_place_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As the system tells it: whoever may do everything (root) enters every place."""

    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(InputError, match=r"x: cannot be read \(Permission denied\)"):
        limner.load(tmp_path / "x")


def test_the_public_api():
    assert limner.TrainedGenerator is TrainedGenerator
    assert set(limner.__all__) <= set(dir(limner))
    for name in limner.__all__:
        assert getattr(limner, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = limner.nothing


def test_lanes_draw_what_one_thread_draws(run: RunDir, tmp_path: Path):
    """Several portions side by side: each file shows its seed, the sheet goes through the seeds in order."""
    generator = limner.load(run.path)
    generator.at_once = 3
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        sheet = films.draw_pictures(generator, 50, 7, tmp_path / "drawn")
        assert torch.get_num_threads() == 2
        with generator.lanes() as threads:
            assert list(threads.map(lambda _: torch.get_num_threads(), range(8))) == [1] * 8
            with limner.load(run.path).lanes() as others:  # two programs in one process
                assert others.submit(torch.get_num_threads).result() == 1
        assert ThreadPoolExecutor(1).submit(torch.get_num_threads).result() == 2
        generator.fit(2**28 + 1)  # bytes of a picture: there is room for one at a time
        assert (generator.side_by_side, generator.at_once) == (1, 1)
        with generator.lanes() as threads:
            assert threads.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)
    wanted = generator.draw_seeds(range(7, 57))
    for seed, picture in enumerate(wanted, 7):
        drawn = np.asarray(Image.open(tmp_path / "drawn" / f"seed-{seed:06d}.png"))
        assert np.abs(drawn.astype(int) - picture).max() <= 1
    whole = np.asarray(imaging.enlarged(imaging.grid(wanted), 512))
    assert np.abs(np.asarray(Image.open(sheet)).astype(int) - whole).max() <= 1


def test_a_disk_that_takes_no_more_ends_the_drawing(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generator, drawn = limner.load(run.path), []
    generator.at_once = 2
    usual = generator.draw_seeds
    monkeypatch.setattr(generator, "draw_seeds", lambda seeds, label: drawn.append(seeds[0]) or usual(seeds, label))
    (tmp_path / "drawn" / "seed-000004.png").mkdir(parents=True)
    with pytest.raises(InputError, match=r"seed-000004\.png: cannot be written"):
        films.draw_pictures(generator, 100, 0, tmp_path / "drawn")
    assert 4 in drawn and len(drawn) <= films.WAITING + 3  # of 50 portions
    assert not [path for path in (tmp_path / "drawn").iterdir() if path.name.endswith(".part")]
