"""Real images on their way to the networks: which of them, which way round, with which labels, and as what numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from limner import noise
from limner.data import Collection, prepare
from limner.noise import Stream
from limner.recipe import Image
from limner.training.feed import Feed

CPU = torch.device("cpu")
PICTURES = 12
SEED = 4
MANY = 2400
UPRIGHT, MIRRORED, UPSIDE_DOWN, HALF = (0, False), (0, True), (2, True), (2, False)
EVERY = [(quarters, mirrored) for quarters in range(4) for mirrored in (False, True)]
"""A position: quarter turns against the clock, then mirrored left to right or not. Upside down: a half turn, mirrored."""


def collected(folder: Path, width: int = 10, height: int = 10, channels: int = 3, **image: object) -> Collection:
    """Pictures of noise, so that no two and no two positions are alike; picture ``i`` is of class ``i % 3``."""
    shape = (PICTURES, height, width, channels)
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    path = folder / "pictures.npz"
    np.savez(path, images=pixels, labels=np.arange(PICTURES) % 3)
    settings = Image.model_validate({"channels": channels, "held_out": 0.0, "width": width, "height": height, **image})
    return prepare(path, settings, cache_dir=folder / "cache")


def feed(collection: Collection, seed: int = SEED, **image: object) -> Feed:
    return Feed(collection, seed, CPU, torch.float32, Image.model_validate(image))


def stored(batch: Tensor) -> np.ndarray:
    """A batch as the bytes that it came from: [b, h, w, c]."""
    bytes_ = (batch.double() + 1) * 127.5
    assert (bytes_ - bytes_.round()).abs().max() < 1e-4 and bytes_.min() >= 0 and bytes_.max() <= 255
    return bytes_.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def positions(collection: Collection, batch: Tensor, start: int = 0) -> list[tuple[int, bool]]:
    """Which way round each picture of a batch is; each one must be there pixel by pixel."""
    originals = np.asarray(collection.images)[feed(collection).sampler.indices(start, len(batch))]
    shown, fitting = stored(batch), np.zeros((len(EVERY), len(batch)), dtype=bool)
    for row, (quarters, mirrored) in zip(fitting, EVERY, strict=True):
        turned = np.rot90(originals, quarters, axes=(1, 2))
        turned = turned[:, :, ::-1] if mirrored else turned
        if turned.shape == shown.shape:
            row[:] = (turned == shown).reshape(len(batch), -1).all(1)
    assert (fitting.sum(0) == 1).all()
    return [EVERY[place] for place in fitting.argmax(0)]


SQUARE = {
    ("none", False): [UPRIGHT],
    ("horizontal", False): [UPRIGHT, MIRRORED],
    ("vertical", False): [UPRIGHT, UPSIDE_DOWN],
    ("both", False): [UPRIGHT, MIRRORED, UPSIDE_DOWN, HALF],
    ("none", True): [(quarters, False) for quarters in range(4)],
    ("horizontal", True): EVERY,
    ("vertical", True): EVERY,
    ("both", True): EVERY,
}
OBLONG = {
    **{key: allowed for key, allowed in SQUARE.items() if not key[1]},
    ("none", True): [UPRIGHT, HALF],
    ("horizontal", True): [UPRIGHT, MIRRORED, UPSIDE_DOWN, HALF],
    ("vertical", True): [UPRIGHT, MIRRORED, UPSIDE_DOWN, HALF],
    ("both", True): [UPRIGHT, MIRRORED, UPSIDE_DOWN, HALF],
}


@pytest.mark.parametrize(("flip", "rotate"), SQUARE)
@pytest.mark.parametrize(("width", "height"), [(10, 10), (9, 12)])
def test_each_allowed_position_is_about_equally_frequent(
    tmp_path: Path, flip: str, rotate: bool, width: int, height: int
):
    collection = collected(tmp_path, width, height, channels=1)
    allowed = (SQUARE if width == height else OBLONG)[flip, rotate]
    found = positions(collection, feed(collection, flip=flip, rotate=rotate).batch(0, MANY))
    counts = {position: found.count(position) for position in EVERY}
    assert {position for position, count in counts.items() if count} == set(allowed)
    expected = MANY / len(allowed)
    # Four standard deviations of a count: none is missed or favoured.
    margin = 4 * (expected * (1 - 1 / len(allowed))) ** 0.5
    assert all(abs(counts[position] - expected) <= margin for position in allowed), counts


@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical", "both"])
@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize(("width", "height"), [(10, 10), (9, 12)])
def test_the_position_is_that_of_the_documented_numbers(
    tmp_path: Path, flip: str, rotate: bool, width: int, height: int
):
    """Three uniform numbers of each global sample index: across, down, quarter turns. Resumed runs rely on it."""
    collection = collected(tmp_path, width, height)
    start, count = 7, 64
    chosen = feed(collection).sampler.indices(start, count)
    chances = noise.uniform(SEED, Stream.TURN, np.arange(start, start + count), 3)
    expected = []
    for index, (across, down, turn) in zip(chosen, chances, strict=True):
        quarters = int(4 * turn) if rotate else 0
        picture = np.rot90(collection.images[index], quarters if width == height else quarters // 2 * 2)
        picture = np.fliplr(picture) if across < 0.5 and flip in ("horizontal", "both") else picture
        expected.append(np.flipud(picture) if down < 0.5 and flip in ("vertical", "both") else picture)
    shown = feed(collection, flip=flip, rotate=rotate).batch(start, count)
    assert np.array_equal(stored(shown), np.stack(expected))


def test_the_position_does_not_depend_on_the_batch(tmp_path: Path):
    """Crossing epochs too: a sample is the same however batches are cut, and whatever was read before."""
    collection = collected(tmp_path)
    whole = feed(collection, flip="both", rotate=True).batch(0, 40)
    other = feed(collection, flip="both", rotate=True)
    parts = {start: other.batch(start, size) for start, size in ((33, 7), (0, 1), (1, 16), (17, 16))}
    assert torch.equal(torch.cat([parts[start] for start in sorted(parts)]), whole)
    again = feed(collection, seed=SEED, flip="both", rotate=True).batch(13, 5)
    assert torch.equal(again, whole[13:18])


def test_a_picture_is_turned_afresh_in_each_epoch_and_by_each_seed(tmp_path: Path):
    collection = collected(tmp_path)
    turning = feed(collection, flip="horizontal", rotate=True)
    samples = 20 * PICTURES
    order, shown = turning.sampler.indices(0, samples), positions(collection, turning.batch(0, samples))
    seen = {index: {shown[place] for place in np.flatnonzero(order == index)} for index in range(PICTURES)}
    assert all(len(ways) >= 5 for ways in seen.values()), "in twenty epochs a picture is seen most ways round"
    first, second = (
        noise.uniform(seed, Stream.TURN, np.arange(samples), 3) for seed in (SEED, SEED + 1)
    )  # another seed also has another order: the numbers themselves are compared
    assert not np.array_equal(first, second)
    assert not torch.equal(
        turning.batch(0, samples), feed(collection, SEED + 1, flip="horizontal", rotate=True).batch(0, samples)
    )


def test_labels_stay_with_their_pictures(tmp_path: Path):
    collection = collected(tmp_path, channels=1)
    turning = feed(collection, flip="both", rotate=True)
    # A picture and its turned versions have the same pixels, and no other picture has them.
    known = np.sort(np.asarray(collection.images).reshape(PICTURES, -1), axis=1)
    for start, count in ((0, 30), (5, 3), (11, 14)):
        shown, labels = stored(turning.batch(start, count)), turning.labels(start, count)
        assert labels.dtype == torch.int64 and labels.shape == (count,)
        for picture, label in zip(shown, labels.tolist(), strict=True):
            (index,) = np.flatnonzero((known == np.sort(picture.ravel())).all(1))
            assert collection.classes[label] == str(index % 3)
    assert set(turning.labels(0, PICTURES).tolist()) == {0, 1, 2}


def test_labels_are_asked_of_a_collection_that_has_none(tmp_path: Path):
    np.save(tmp_path / "pictures.npy", np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8))
    collection = prepare(tmp_path / "pictures.npy", Image(), cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match="no classes"):
        feed(collection).labels(0, 2)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_nothing_switched_on_gives_the_pictures_as_they_are(tmp_path: Path, channels: int):
    collection = collected(tmp_path, 9, 12, channels)
    plain, off = Feed(collection, SEED, CPU, torch.float32), feed(collection, flip="none", rotate=False)
    shown = plain.batch(5, 30)
    assert torch.equal(shown, off.batch(5, 30))
    pixels, _ = plain.sampler.batch(5, 30)
    expected = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.equal(shown, expected) and shown.shape == (30, channels, 12, 9)
    assert shown.min() == -1 and shown.max() == 1


@pytest.mark.parametrize("flip", ["none", "both"])
@pytest.mark.parametrize("rotate", [False, True])
def test_batches_are_channels_last_whichever_way_round(tmp_path: Path, flip: str, rotate: bool):
    """Networks are too, and would be slower otherwise."""
    batch = feed(collected(tmp_path), flip=flip, rotate=rotate).batch(0, 24)
    assert batch.is_contiguous(memory_format=torch.channels_last) and not batch.is_contiguous()


def test_pieces_are_turned_after_they_are_cut(tmp_path: Path):
    """With ``fit = "crops"`` the place of a piece is the same, whether it is turned or not."""
    pixels = np.random.default_rng(3).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
    np.save(tmp_path / "maps.npy", pixels)
    image = {"fit": "crops", "width": 10, "height": 10, "held_out": 0.0}
    collection = prepare(tmp_path / "maps.npy", Image.model_validate(image), cache_dir=tmp_path / "cache")
    plain, turned = (stored(feed(collection, **image, **switches).batch(0, 40)) for switches in ({}, {"rotate": True}))
    quarters = (4 * noise.uniform(SEED, Stream.TURN, np.arange(40), 3)[:, 2]).astype(int)
    assert set(quarters) == {0, 1, 2, 3}
    expected = np.stack([np.rot90(piece, times) for piece, times in zip(plain, quarters, strict=True)])
    assert np.array_equal(turned, expected)
