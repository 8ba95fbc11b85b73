"""Order, batches, crops and the held-out split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limner import noise
from limner.data.cache import Ragged
from limner.data.grouping import groups
from limner.data.sampler import Sampler, crop, split
from limner.noise import Stream


@dataclass
class Pictures:
    """As much of a collection as a sampler needs."""

    images: np.ndarray | Ragged
    train: np.ndarray
    labels: np.ndarray | None = None
    width: int = 4
    height: int = 4
    channels: int = 1


def numbered(count: int, labels: bool = True) -> Pictures:
    """Picture ``i`` is all ``i``, its class ``i % 3``."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 1)).copy()
    return Pictures(images, np.arange(count), np.arange(count) % 3 if labels else None)


def drawn(sampler: Sampler, start: int, count: int) -> list[int]:
    images, labels = sampler.batch(start, count)
    assert images.shape == (count, 4, 4, 1) and images.dtype == np.uint8
    if labels is not None:
        assert labels.dtype == np.int64 and (labels == images[:, 0, 0, 0] % 3).all()
    return images[:, 0, 0, 0].tolist()


def test_an_epoch_is_a_permutation_and_the_next_is_another() -> None:
    sampler = Sampler(numbered(50), seed=3)  # type: ignore[arg-type]
    assert sampler.epoch_size == 50
    epochs = [drawn(sampler, epoch * 50, 50) for epoch in range(3)]
    for epoch, order in enumerate(epochs):
        assert sorted(order) == list(range(50))
        assert order == noise.permutation(3, Stream.DATA_ORDER, epoch, 50).tolist()
    assert epochs[0] != epochs[1] != epochs[2]
    assert drawn(Sampler(numbered(50), seed=4), 0, 50) != epochs[0]  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 40), start=st.integers(0, 500), count=st.integers(1, 130))
def test_batches_straddle_epochs_and_need_no_state(size: int, start: int, count: int) -> None:
    sampler = Sampler(numbered(size), seed=1)  # type: ignore[arg-type]
    orders = [noise.permutation(1, Stream.DATA_ORDER, epoch, size) for epoch in range((start + count) // size + 1)]
    expected = np.concatenate(orders)[start : start + count].tolist()
    assert drawn(sampler, start, count) == expected
    assert drawn(sampler, 0, 1) == [orders[0][0]]  # backwards
    assert drawn(sampler, start, count) == expected


def test_only_the_chosen_pictures_are_drawn() -> None:
    pictures = numbered(20, labels=False)
    pictures.train = np.array([1, 5, 7])
    images, labels = Sampler(pictures, seed=0).batch(0, 30)  # type: ignore[arg-type]
    assert labels is None
    assert sorted(images[:, 0, 0, 0].tolist()) == [1] * 10 + [5] * 10 + [7] * 10
    held = Sampler(pictures, seed=0, indices=np.array([2]))  # type: ignore[arg-type]
    assert (held.batch(0, 4)[0] == 2).all()
    with pytest.raises(ValueError, match="no pictures"):
        Sampler(pictures, seed=0, indices=np.array([], dtype=np.int64))  # type: ignore[arg-type]


def coordinates(sizes: list[tuple[int, int]]) -> Ragged:
    """Pictures whose channels are picture number, row and column."""
    pieces = []
    for number, (height, width) in enumerate(sizes):
        down, across = np.mgrid[0:height, 0:width]
        pieces.append(np.stack([np.full_like(down, number), down, across], -1).astype(np.uint8).reshape(-1))
    return Ragged(np.concatenate(pieces), np.array(sizes), 3)


def test_crops_are_keyed_by_the_sample_and_reach_every_place() -> None:
    sizes = [(9, 6), (4, 5), (20, 30)]
    pictures = Pictures(coordinates(sizes), np.arange(3), None, width=5, height=4, channels=3)
    sampler = Sampler(pictures, seed=7)  # type: ignore[arg-type]
    whole, _ = sampler.batch(0, 3000)
    assert whole.shape == (3000, 4, 5, 3)
    for start, count in ((0, 10), (995, 64), (2999, 1)):
        assert (sampler.batch(start, count)[0] == whole[start : start + count]).all()
    assert not (Sampler(pictures, seed=8).batch(0, 3000)[0] == whole).all()  # type: ignore[arg-type]
    for number, (height, width) in enumerate(sizes):
        mine = whole[whole[:, 0, 0, 0] == number]
        assert len(mine) == 1000
        places, counts = np.unique(mine[:, 0, 0, 1:], axis=0, return_counts=True)
        if number < 2:  # all places, about equally often
            assert len(places) == (height - 3) * (width - 4)
            assert counts.min() > 1000 / len(places) * 0.6 and counts.max() < 1000 / len(places) * 1.4
        assert mine[:, 0, 0, 1].max() == height - 4 and mine[:, 0, 0, 2].max() == width - 5
        assert (mine[:, :, :, 1] == mine[:, :1, :1, 1] + np.arange(4)[:, None]).all()
        assert (mine[:, :, :, 2] == mine[:, :1, :1, 2] + np.arange(5)).all()


def test_a_crop_at_the_ends() -> None:
    picture = np.arange(30, dtype=np.uint8).reshape(5, 6, 1)
    assert crop(picture, 4, 3, 0.0, 0.0)[0, 0, 0] == 0
    assert crop(picture, 4, 3, 1 - 2**-33, 1 - 2**-33)[-1, -1, 0] == 29
    assert crop(picture, 6, 5, 0.9, 0.9).shape == (5, 6, 1)


# Groups


def maps() -> list[str]:
    """As the crops of 30 maps are named."""
    themes = [f"orb_{kind}_{number}" for kind in ("beach", "swamp", "city", "cave") for number in range(1, 7)]
    others = [
        "zahi_The-Joy-of-Spaces",
        "zahi_Lost-Temple",
        "vtt_rooms_gold-room",
        "vtt_Ground_Floor_-_South",
        "x_1_top",
        "y",
    ]
    return [
        f"{theme}_y{down:04}x{across:04}.jpg"
        for theme in themes + others
        for down in (0, 625)
        for across in (0, 625, 1250)
    ]


def initials() -> list[str]:
    """As the initials of 40 books are named: after the book's number everybody writes what he likes."""
    ends = ["01dc", "drop_s", "a", "capW_scene", "i_343", "dropcap-m", "p037a", "ill_pg_189"]
    return [f"{13000 + 17 * book}_{13000 + 17 * book}-h_{end}.png" for book in range(40) for end in ends]


ANIMALS = ["fox", "owl", "cat", "dog", "hen", "pig", "ram", "cow", "elk", "ape"]

EXAMPLES = {
    "crops of maps": (maps(), lambda name: name.rpartition("_y")[0]),
    "initials by book": (initials(), lambda name: name.split("_")[0]),
    "animals": ([f"{name}_{n:02}.png" for name in ANIMALS for n in range(12)], lambda name: name[:3]),
    "animals without separator": ([f"{name}{n}.png" for name in ANIMALS for n in range(12)], lambda name: name[:3]),
    "copies": ([f"{name} ({n}).png" for name in ANIMALS for n in range(12)], lambda name: name[:3]),
    "pages and crops": (
        [f"book{b}_page{p}_crop{c}.png" for b in range(10) for p in range(4) for c in range(3)],
        lambda name: name.split("_")[0],
    ),
    "frames of films": (
        [f"film{f}_frame_{n:05}.jpg" for f in range(9) for n in range(15)],
        lambda name: name.split("_")[0],
    ),
    "sprites": (
        [f"sprite-{n:03}-{side}.png" for n in range(40) for side in ("front", "back", "left")],
        lambda name: name.split("-")[1],
    ),
    "photos by day": (
        [f"IMG_202401{day:02}_{hour:02}3015.jpg" for day in range(1, 25) for hour in range(8, 14)],
        lambda name: name.split("_")[1],
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_groups_that_names_show(example: str) -> None:
    names, group_of = EXAMPLES[example]
    found = groups([f"some/folder/{name}" for name in names])
    assert found is not None
    numbers, how = found
    truth = [group_of(name) for name in names]
    pairs = set(zip(numbers.tolist(), truth, strict=True))
    assert len(pairs) == len(set(numbers.tolist())) == len(set(truth)), how
    assert how.startswith(f"{len(set(truth))} groups")


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_{n:04}.jpg" for n in range(500)],
        [f"DSC{n:05}.JPG" for n in range(500)],
        [f"{n:06}.png" for n in range(500)],
        [f"COCO_val2014_{n:012}.jpg" for n in range(500)],
        [f"emoji_u{0x1F300 + n:x}.png" for n in range(500)],
        [f"emoji_u{0x1F300 + n // 2 * 2:x}{'_200d_2642' * (n % 2 and n < 60)}{n}.png" for n in range(300)],
        [f"{(n + 1) * 0x9E3779B97F4A7C15 % 2**48:012x}.png" for n in range(500)],
        [f"{'cat' if n % 2 else 'dog'}.{n}.jpg" for n in range(500)],
        [f"frame_{n}.png" for n in range(500)],
        [f"{word}.png" for word in ("red", "green", "blue", "black")] * 30,
        ["same.png"] * 200,
        ["a.png"],
    ],
    ids=lambda names: names[0],
)
def test_names_that_show_no_groups(names: list[str]) -> None:
    assert groups(names) is None


def test_classes_again_are_no_groups() -> None:
    names = [f"{label}/{label}_{n}.png" for label in ANIMALS for n in range(12)]
    labels = [name.split("/")[0] for name in names]
    assert groups(names) is not None
    assert groups(names, labels) is None
    finer = [f"{label}/{label}{n // 4}_{n}.png" for label in ANIMALS for n in range(12)]
    found = groups(finer, labels)
    assert found is not None and len(set(found[0].tolist())) == 30


# The split


@pytest.mark.parametrize("names", [maps(), initials(), EXAMPLES["pages and crops"][0]])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25, 0.5])
def test_groups_never_straddle_the_split(names: list[str], fraction: float) -> None:
    train, held_out, how = split(names, fraction, 0)
    assert sorted([*train, *held_out]) == list(range(len(names)))
    assert train.dtype == held_out.dtype == np.int64
    found = groups(names)
    assert found is not None and how == found[1]
    assert not set(found[0][train].tolist()) & set(found[0][held_out].tolist())
    assert abs(len(held_out) - fraction * len(names)) <= max(np.bincount(found[0])) / 2 + 1


def test_single_pictures_are_split_exactly() -> None:
    names = [f"IMG_{n:04}.jpg" for n in range(1000)]
    train, held_out, how = split(names, 0.1, 0)
    assert (len(train), len(held_out), how) == (900, 100, "single pictures")
    assert 400 < held_out.mean() < 600  # from everywhere


@pytest.mark.parametrize("names", [maps(), [f"IMG_{n:04}.jpg" for n in range(300)]])
def test_the_split_follows_from_names_and_seed(names: list[str]) -> None:
    held = split(names, 0.2, 5)[1]
    assert (split(names, 0.2, 5)[1] == held).all()
    assert {names[index] for index in split(names, 0.2, 6)[1]} != {names[index] for index in held}
    order = np.random.default_rng(0).permutation(len(names))
    shuffled = [names[index] for index in order]
    assert {shuffled[index] for index in split(shuffled, 0.2, 5)[1]} == {names[index] for index in held}


@pytest.mark.parametrize(
    ("count", "fraction", "held"),
    [(99, 0.1, 0), (100, 0.1, 10), (500, 0.0, 0), (100, 0.5, 50), (100, 0.001, 1), (1000, 1e-9, 1)],
)
def test_small_sets_and_no_share_keep_nothing(count: int, fraction: float, held: int) -> None:
    train, held_out, how = split([f"IMG_{n:04}.jpg" for n in range(count)], fraction, 0)
    assert (len(train), len(held_out)) == (count - held, held)
    assert how.startswith("off") == (held == 0)


def test_at_least_one_group_is_held_out() -> None:
    names = [f"{name}_{n:02}.png" for name in ANIMALS for n in range(12)]
    _, held_out, _ = split(names, 0.01, 0)
    assert len(held_out) == 12


def test_arrays_have_no_groups() -> None:
    assert split(maps(), 0.1, 0, grouped=False)[2] == "single pictures"
