"""Copies, near-copies, turned ones: found where they are, and nowhere else."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from limner.data import copies, grouping
from limner.data.copies import Forest, compare, near_copy_groups, thumbnails
from limner.data.procedural import COLLECTIONS
from limner.judging.inspect.duplicates import find_duplicates


def scene(seed: int, size: tuple[int, int] = (96, 96), mode: str = "RGB") -> Image.Image:
    """A picture of soft and hard forms that no other seed gives."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    pixels = np.asarray(small.resize(size, Image.Resampling.BICUBIC)).copy()
    for _ in range(6):
        left, top = random.integers(0, size[0] - 20), random.integers(0, size[1] - 20)
        wide, high = random.integers(8, 40, 2)
        pixels[top : top + high, left : left + wide] = random.integers(0, 256, 3)
    if mode == "RGBA":
        down, across = np.mgrid[: size[1], : size[0]]
        inside = np.hypot(down - size[1] / 2, across - size[0] / 2) < random.uniform(30, 46)
        return Image.fromarray(np.dstack([pixels, inside * np.uint8(255)]))
    return Image.fromarray(pixels).convert(mode)


def stack(images: list[Image.Image]) -> np.ndarray:
    arrays = [np.asarray(image) for image in images]
    return np.stack([array[..., None] if array.ndim == 2 else array for array in arrays])


def saved(image: Image.Image, **how: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, **how)  # type: ignore[arg-type]
    return Image.open(io.BytesIO(file.getvalue())).convert(image.mode)


def noisy(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(1).normal(0, 6, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


WAYS = {
    "the same": lambda image: image.copy(),
    "JPEG 40": lambda image: saved(image, format="JPEG", quality=40),
    "WebP 40": lambda image: saved(image, format="WEBP", quality=40),
    "half the size": lambda image: image.resize((48, 48)).resize((96, 96), Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.08),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.85),
    "noise": noisy,
    "a pixel less on each side": lambda image: image.crop((1, 1, 95, 95)).resize((96, 96), Image.Resampling.BICUBIC),
}


def test_a_thumbnail_is_the_mean_of_areas() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    expected = images.reshape(3, 32, 2, 32, 3, 3).mean(axis=(2, 4))
    assert np.abs(thumbnails(images).astype(float) - expected).max() <= 1.7  # weights are 256ths: 85 or 86 for a third
    even = images[:, :, :64].reshape(3, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert (np.abs(thumbnails(images[:, :, :64]) - even) <= 0.5).all()


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (31, 33), (750, 500), (1024, 9)])
def test_a_uniform_picture_has_a_uniform_thumbnail(size: tuple[int, int]) -> None:
    for value in (0, 1, 128, 255):
        assert (thumbnails(np.full((2, *size, 3), value, np.uint8)) == value).all()


def test_thumbnails_are_premultiplied() -> None:
    images = np.zeros((2, 32, 32, 4), np.uint8)
    images[0, ..., :3], images[1, ..., :3] = 200, 10  # colours that nobody sees
    assert (thumbnails(images) == 0).all()
    images[..., 3] = 51
    assert thumbnails(images)[0, 0, 0].tolist() == [40, 40, 40, 51]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_near_copies_are_found_among_others(way: str, mode: str) -> None:
    originals = [scene(seed) for seed in range(40)]
    images = stack(
        [*(image.convert(mode) for image in originals), *(WAYS[way](i).convert(mode) for i in originals[:20])]
    )
    numbers = near_copy_groups(images)
    assert numbers[:40].tolist() == list(range(40))
    right = numbers[40:] == np.arange(20)
    assert right.sum() >= 19 and (numbers[40:][~right] >= 40).all()  # what is not found is not joined to another


def test_transparent_ones_too() -> None:
    originals = [scene(seed, mode="RGBA") for seed in range(30)]
    copies = [saved(image, format="WEBP", quality=60) for image in originals[:10]]
    assert near_copy_groups(stack([*originals, *copies])).tolist() == [*range(30), *range(10)]


def clock(hour: float) -> Image.Image:
    """Clocks differ in nothing but their hands."""
    down, across = np.mgrid[:96, :96] - 47.5
    pixels = np.full((96, 96), 120.0)
    pixels[np.hypot(down, across) < 45] = 250
    for turns, length, wide in ((hour / 12, 22, 3.0), (hour % 1, 36, 2.0)):
        angle = 2 * np.pi * turns
        along, aside = across * np.sin(angle) - down * np.cos(angle), across * np.cos(angle) + down * np.sin(angle)
        pixels[(along > 0) & (along < length) & (np.abs(aside) < wide)] = 30
    return Image.fromarray(pixels.astype(np.uint8))


def test_clocks_at_other_times_are_no_copies() -> None:
    images = stack([clock(hour / 2) for hour in range(24)])
    assert near_copy_groups(images).tolist() == list(range(24))


def test_letters_in_one_frame_and_swapped_palettes_are_no_copies() -> None:
    frame = np.asarray(scene(3, mode="L")).copy()
    framed = []
    for letter in range(16):  # a box with another pattern of strokes for each
        image = frame.copy()
        image[28:68, 28:68] = 255
        for bit in range(4):
            if letter >> bit & 1:
                image[32 + 9 * bit : 38 + 9 * bit, 32:64] = 0
        framed.append(Image.fromarray(image))
    assert near_copy_groups(stack(framed)).tolist() == list(range(16))
    sprite = np.asarray(scene(5))
    swapped = [Image.fromarray(sprite[..., order]) for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1])]
    assert near_copy_groups(stack(swapped)).tolist() == [0, 1, 2, 3]


def test_drawn_initials_have_no_copies() -> None:
    collection = COLLECTIONS["initials"]
    images = stack([collection.draw(index, (64, 64), 0) for index in range(250)])
    assert near_copy_groups(images).tolist() == list(range(250))


def test_many_of_one_picture_are_one_group() -> None:
    """A film's still frames, with noise, beside other pictures: no pair has to be looked at twice."""
    still = np.asarray(scene(1)).astype(float)
    random = np.random.default_rng(0)
    frames = [
        Image.fromarray(np.clip(still + random.normal(0, 3, still.shape), 0, 255).astype(np.uint8)) for _ in range(150)
    ]
    numbers = near_copy_groups(stack([*frames, *(scene(seed) for seed in range(2, 22))]))
    assert numbers.tolist() == [0] * 150 + list(range(1, 21))


def test_uniform_pictures_are_joined_only_where_they_are_equal() -> None:
    images = np.stack([np.full((32, 32, 3), value, np.uint8) for value in (0, 0, 90, 91, 255)])
    assert near_copy_groups(images).tolist() == [0, 0, 1, 2, 3]
    assert near_copy_groups(images[:0]).tolist() == [] and near_copy_groups(images[:1]).tolist() == [0]


def test_what_is_found_does_not_depend_on_the_order() -> None:
    images = stack([*(scene(seed) for seed in range(30)), *(noisy(scene(seed)) for seed in range(10))])
    order = np.random.default_rng(4).permutation(40)
    numbers, shuffled = near_copy_groups(images), near_copy_groups(images[order])
    assert len(set(zip(numbers[order].tolist(), shuffled.tolist(), strict=True))) == 30


def test_a_comparison_in_numbers() -> None:
    one = np.zeros((1, 32, 32, 1), np.uint8)
    one[:, ::4] = 255
    same = compare(one, one)
    assert (same.agreement[0], same.worst[0]) == (pytest.approx(1), pytest.approx(0, abs=1e-6)) and same.saved_again[0]
    other = one.copy()
    other[:, 12:20, 12:20] = 64  # one place: the stripes of a whole window are gone
    different = compare(one, other)
    assert (
        different.agreement[0] < 0.7
        and not different.same_subject[0]
        and different.usual[0] < 0.05 < different.worst[0]
    )


# Exact and turned ones

TURNS = {
    "turned by 180 degrees": Image.Transpose.ROTATE_180,
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "upside down and mirrored": Image.Transpose.FLIP_TOP_BOTTOM,
    "turned by 90 degrees": Image.Transpose.ROTATE_270,
    "turned by 90 degrees and mirrored": Image.Transpose.TRANSPOSE,
    "turned by 90 degrees, other way, and mirrored": Image.Transpose.TRANSVERSE,
}


def looked(images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    thumbs = np.concatenate([thumbnails(stack([image])) for image in images])
    digests = b"".join(hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)
    sizes = np.array([image.size for image in images])
    return thumbs, np.frombuffer(digests, np.uint8).reshape(-1, 16), sizes


@pytest.mark.parametrize("how", TURNS)
def test_turned_pictures(how: str) -> None:
    images = [scene(seed, (96, 64)) for seed in range(20)]
    images.append(saved(images[7].transpose(TURNS[how]), format="JPEG", quality=80))
    found = find_duplicates(*looked(images))
    assert (found.exact, found.near) == ([], [])
    assert [(pair.one, pair.other, pair.how) for pair in found.turned] == [(7, 20, how)]


def test_a_quarter_turn_either_way_is_found_once() -> None:
    images = [scene(seed) for seed in range(20)]
    images.append(images[3].transpose(Image.Transpose.ROTATE_90))
    turned = find_duplicates(*looked(images)).turned
    assert [(pair.one, pair.other, pair.how) for pair in turned] == [(3, 20, "turned by 90 degrees")]


def test_exact_copies_and_what_is_near_to_them() -> None:
    images = [scene(seed) for seed in range(20)]
    images += [
        images[4].copy(),
        images[4].copy(),
        saved(images[4], format="JPEG", quality=60),
        images[9].resize((96, 40)),
    ]
    found = find_duplicates(*looked(images))
    assert found.exact == [[4, 20, 21]]
    assert found.near == [[4, 22]]  # the squeezed one is another picture
    assert found.turned == []


# In the split


def test_groups_of_names_are_joined_by_copies() -> None:
    names = np.repeat(np.arange(20), 2)
    alone = np.arange(40)
    copies = alone.copy()
    copies[3] = 0  # the first picture of group 0 and the second of group 1
    found = grouping.with_copies((names, "20 groups: so"), copies)
    assert found is not None
    assert found[0].tolist() == [0, 0, *np.repeat(np.arange(19), 2).tolist()]
    assert found[1] == "20 groups: so; 2 near-copies with those that they are like"
    untouched = grouping.with_copies((names, "so"), alone)
    assert untouched is not None and untouched[0] is names and untouched[1] == "so"


def test_copies_across_all_names_leave_names_aside() -> None:
    names = np.repeat(np.arange(20), 2)
    copies = np.arange(40)
    copies[2:14:2] = 0  # ties seven groups of names together: 14 of 40 pictures
    found = grouping.with_copies((names, "20 groups: so"), copies)
    assert found is not None and found[0].tolist() == copies.tolist() and found[1].startswith("single pictures, 7 near")


def test_without_names_copies_are_the_groups() -> None:
    alone = np.arange(8)
    copies = np.array([0, 1, 2, 0, 3, 4, 5, 6])
    assert grouping.with_copies(None, alone) is None
    single = grouping.with_copies(None, copies)
    assert single is not None and single[0].tolist() == copies.tolist()
    assert single[1] == "single pictures, 2 near-copies with those that they are like"


def test_a_forest_numbers_sets_by_their_first() -> None:
    forest = Forest(6)
    forest.join(5, 1)
    forest.join(3, 5)
    forest.join(4, 2)
    assert forest.numbers().tolist() == [0, 1, 2, 1, 2, 1]


@pytest.mark.parametrize("shape", [(1, 750, 750, 3), (3, 128, 200, 4), (2, 129, 64, 1), (1, 1000, 33, 3)])
def test_tall_pictures_are_reduced_row_by_row_to_the_same_thumbnails(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain way, all weights with all pixels, is the reference."""
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    quick = copies.thumbnails(images)
    monkeypatch.setattr(copies, "_TALL", 1 << 30)
    assert (quick == copies.thumbnails(images)).all() and quick.std() > 1
