"""The search for copies: planted ones are found, honest images raise no alarm."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image, ImageFilter

from limner.data import prepare
from limner.judging.features import open_extractor
from limner.judging.memorisation import COPIES, NO_SIGN, SOME, TOO_FEW, Copying, copying, thumbnails
from limner.judging.memorisation.meehan import data_copying, mann_whitney
from limner.judging.memorisation.nearness import judge, nearness
from limner.judging.memorisation.thumbnails import aligned
from limner.recipe import Recipe

TRAIN, HELD_OUT = 400, 120


def soft(image: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(image[..., 0]).filter(ImageFilter.GaussianBlur(radius)))[..., None]


def noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(int(image.sum())).normal(0, 10, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def compressed(image: np.ndarray) -> np.ndarray:
    kept = io.BytesIO()
    Image.fromarray(image[..., 0]).save(kept, "JPEG", quality=30)
    return np.asarray(Image.open(kept))[..., None]


SPOILS = {
    "exact": lambda image: image,
    "noise": noisy,
    "blur": lambda image: soft(image, 0.75),
    "shift": lambda image: np.pad(image, ((1, 0), (0, 1), (0, 0)), mode="edge")[:-1, 1:],
    "brightness": lambda image: np.clip(image * 0.85 + 30, 0, 255).astype(np.uint8),
    "jpeg": compressed,
}


@dataclass
class Images:
    pixels: np.ndarray
    features: np.ndarray
    small: np.ndarray


@pytest.fixture(scope="module")
def extract():
    return open_extractor("limner")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, extract) -> Images:
    """Initials drawn by rule, 48 x 48 and grey."""
    image = Recipe.load("quick").changed({"image.width": 48, "image.height": 48, "image.channels": 1}).image
    pixels = np.asarray(prepare("procedural:initials:800", image, cache_dir=tmp_path_factory.mktemp("cache")).images)
    return of(pixels, extract)


def of(pixels: np.ndarray, extract) -> Images:
    return Images(pixels, extract(pixels), thumbnails(pixels))


@pytest.fixture(scope="module")
def spoilt(drawn: Images, extract) -> dict[str, Images]:
    """Copies of the first 150 images."""
    return {name: of(np.stack([spoil(p) for p in drawn.pixels[:150]]), extract) for name, spoil in SPOILS.items()}


def ask(drawn: Images, made: Images, train: np.ndarray, held_out: np.ndarray, **more) -> Copying:
    return copying(
        made.features,
        drawn.features[train],
        drawn.features[held_out],
        generated_pixels=made.small,
        train_pixels=drawn.small[train],
        held_out_pixels=drawn.small[held_out],
        **more,
    )


def mixed(drawn: Images, copies: Images, share: float, count: int = 200) -> Images:
    """Images that are in neither set, a share of them replaced by copies."""
    number = round(share * count)
    rest = np.arange(TRAIN + HELD_OUT, TRAIN + HELD_OUT + count)[: count - number]
    own = np.resize(np.arange(len(copies.pixels)), number)
    return Images(
        *(
            np.concatenate([getattr(copies, name)[own], getattr(drawn, name)[rest]])
            for name in ("pixels", "features", "small")
        )
    )


@pytest.mark.parametrize("name", SPOILS)
@pytest.mark.parametrize(("share", "verdict"), [(0.05, SOME), (0.5, COPIES), (1.0, COPIES)])
def test_planted_copies_are_found(drawn: Images, spoilt: dict[str, Images], name: str, share: float, verdict: str):
    found = ask(drawn, mixed(drawn, spoilt[name], share), np.arange(TRAIN), np.arange(TRAIN, TRAIN + HELD_OUT))
    assert found.verdict == verdict
    assert found.p_value <= 0.01 and found.statistic > 3
    assert found.copied_share.value == pytest.approx(share, abs=0.04 + 0.15 * share)
    assert found.copied_share.low <= share <= found.copied_share.high + 0.1
    assert (found.train, found.held_out, found.generated) == (TRAIN, HELD_OUT, 200)
    right = [pair for pair in found.pairs if pair.index < round(share * 200) and pair.nearest == pair.index % 150]
    assert len(found.pairs) == 12 and len(right) >= min(8, round(share * 200) - 1)
    assert sum(pair.copied for pair in found.pairs) >= 8


def test_without_copies_nothing_is_found(drawn: Images, spoilt: dict[str, Images]):
    found = ask(drawn, mixed(drawn, spoilt["exact"], 0.0), np.arange(TRAIN), np.arange(TRAIN, TRAIN + HELD_OUT))
    assert found.verdict == NO_SIGN and found.p_value > 0.01
    assert found.copied_share.low == 0.0 and not any(pair.copied for pair in found.pairs)
    ratios = [pair.ratio for pair in found.pairs]
    assert ratios == sorted(ratios) and len(ratios) == 12


def test_held_out_images_raise_no_alarm(drawn: Images, extract):
    """A hundred random splits; half of the held-out images stand for a generator, as they are or blurred."""
    blurred = of(np.stack([soft(image, 1.5) for image in drawn.pixels]), extract)
    alarms = 0
    for draw in range(100):
        order = np.random.default_rng(draw).permutation(800)
        train, held_out, made = order[:250], order[250:330], order[330:450]
        source = drawn if draw % 2 else blurred
        generated = Images(source.pixels[made], source.features[made], source.small[made])
        alarms += ask(drawn, generated, train, held_out).verdict != NO_SIGN
    assert alarms <= 5


def test_blurred_images_fool_the_older_test_only():
    """Averages of many images are near to everything: C_T calls that copying, the ratio does not."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(6, 12)) * 4
    train, held_out = (centres[random.integers(0, 6, n)] + random.normal(size=(n, 12)) for n in (400, 200))
    vague = centres[random.integers(0, 6, 300)] + 0.3 * random.normal(size=(300, 12))
    older = data_copying(vague, train, held_out)
    assert older is not None and older.statistic < -5 and older.p_value < 1e-6
    small = [side.reshape(len(side), 3, 4, 1).astype(np.float32) for side in (vague, train, held_out)]
    ratios = nearness((vague, train, held_out), tuple(small), np.arange(400))
    assert judge(ratios[0]).p_value > 0.01


def test_held_out_images_of_other_groups_do_not_mislead():
    """New images from the training images' groups, the held-out ones from others far away: honest, though nearer."""
    random = np.random.default_rng(1)
    places = random.normal(size=(40, 12)) * 6
    own = random.integers(0, 30, 700)
    inside = places[own] + random.normal(size=(700, 12))
    outside = places[random.integers(30, 40, 200)] + random.normal(size=(200, 12))
    train, made = inside[:400], inside[400:]
    older = data_copying(made, train, outside)
    assert older is not None and older.p_value < 1e-6
    small = [side.reshape(len(side), 3, 4, 1).astype(np.float32) for side in (made, train, outside)]
    found = copying(made, train, outside, generated_pixels=small[0], train_pixels=small[1], held_out_pixels=small[2])
    assert found.verdict == NO_SIGN


def test_twelve_images_learnt_by_heart(drawn: Images, spoilt: dict[str, Images]):
    train, nothing = np.arange(12), np.arange(0)
    for name in ("exact", "noise", "blur", "jpeg"):
        own = np.resize(np.arange(12), 64)
        made = Images(*(getattr(spoilt[name], part)[own] for part in ("pixels", "features", "small")))
        found = ask(drawn, made, train, nothing)
        assert found.verdict == COPIES and found.copied_share.value > 0.9 and found.meehan is None
    others = np.arange(400, 464)
    fresh = Images(drawn.pixels[others], drawn.features[others], drawn.small[others])
    assert ask(drawn, fresh, train, nothing).verdict == NO_SIGN


def test_one_image_over_and_over_is_a_copy(drawn: Images, spoilt: dict[str, Images]):
    same = np.full(100, 7)
    made = Images(*(getattr(spoilt["noise"], part)[same] for part in ("pixels", "features", "small")))
    found = ask(drawn, made, np.arange(TRAIN), np.arange(TRAIN, TRAIN + HELD_OUT))
    assert found.verdict == COPIES and {pair.nearest for pair in found.pairs} == {7}


def test_near_copies_in_the_training_set_hide_nothing_when_they_are_named(drawn: Images, spoilt: dict[str, Images]):
    """Every training image twice: a copy is as near to the second as to the first."""
    parts = ("pixels", "features", "small")
    doubled = Images(*(np.concatenate([getattr(drawn, part)[:150], getattr(spoilt["noise"], part)]) for part in parts))
    made = Images(*(np.resize(getattr(spoilt["jpeg"], part), (80, *getattr(drawn, part).shape[1:])) for part in parts))
    train = np.arange(300)
    named = ask(doubled, made, train, train[:0], train_groups=train % 150)
    assert named.verdict == COPIES and named.copied_share.value > 0.9
    unnamed = ask(doubled, made, train, train[:0])
    assert unnamed.copied_share.value < named.copied_share.value


def test_what_is_written_down_reads_as_json(drawn: Images, spoilt: dict[str, Images]):
    found = ask(drawn, mixed(drawn, spoilt["noise"], 0.5), np.arange(TRAIN), np.arange(TRAIN, TRAIN + HELD_OUT))
    values = json.loads(json.dumps(found.values(), allow_nan=False))
    assert values["verdict"] == "copies" and values["copied_share"]["generated"] == 200
    assert set(values["pairs"][0]) == {"index", "nearest", "distance", "pixel_distance", "ratio", "copied"}
    assert set(values["meehan"]) == {"statistic", "p_value", "cells"}
    again = ask(drawn, mixed(drawn, spoilt["noise"], 0.5), np.arange(TRAIN), np.arange(TRAIN, TRAIN + HELD_OUT))
    assert again == found


@pytest.mark.parametrize("counts", [(0, 20, 5), (5, 0, 0), (5, 1, 0), (5, 2, 0), (1, 3, 0), (1, 12, 1), (2, 4, 3)])
def test_too_few_images_are_no_verdict(drawn: Images, counts: tuple[int, int, int]):
    made = np.arange(100, 100 + counts[0])
    generated = Images(drawn.pixels[made], drawn.features[made], drawn.small[made])
    found = ask(drawn, generated, np.arange(counts[1]), np.arange(counts[1], counts[1] + counts[2]))
    assert found.verdict == TOO_FEW
    json.dumps(found.values(), allow_nan=False)


def test_wrong_input_is_refused(drawn: Images):
    train, held_out = np.arange(20), np.arange(20, 30)
    made = Images(drawn.pixels[:5], drawn.features[:5].copy(), drawn.small[:5])
    with pytest.raises(ValueError, match="20 numbers"):
        ask(drawn, made, train, held_out, train_groups=np.arange(3))
    with pytest.raises(ValueError, match="same images"):
        ask(drawn, Images(made.pixels, made.features, made.small[:4]), train, held_out)
    made.features[0, 0] = math.nan
    with pytest.raises(ValueError, match="1 of 5 rows"):
        ask(drawn, made, train, held_out)


# Thumbnails


def test_thumbnails_are_small_and_normalised():
    random = np.random.default_rng(2)
    for shape, expected in (((3, 8, 20, 1), (8, 20)), ((2, 100, 50, 3), (32, 16)), ((2, 64, 64, 4), (32, 32))):
        images = random.integers(0, 256, shape).astype(np.uint8)
        found = thumbnails(images)
        assert found.dtype == np.float32 and found.shape == (shape[0], *expected, shape[3])
        np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), 0.0, atol=1e-4)
        assert (found.std(axis=(1, 2, 3)) > 0.3).all() and (found.std(axis=(1, 2, 3)) <= 1.0).all()
    dim = (images[:, :, :, :3].astype(float) * 0.5 + 40).astype(np.uint8)
    assert np.abs(thumbnails(images[..., :3]) - thumbnails(dim)).mean() < 0.2
    assert np.abs(thumbnails(np.full((1, 16, 16, 3), 90, np.uint8))).max() < 1e-4
    hidden = images.copy()
    hidden[..., 3] = 0
    assert (thumbnails(hidden) == 0.0).all()  # nothing is seen of it


def test_aligned_distances_forgive_a_shift_of_one_cell():
    random = np.random.default_rng(3)
    scene = random.normal(size=(4, 20, 22, 1)).astype(np.float32)
    here, there = scene[:, 2:18, 3:19], scene[:, 1:17, 4:20]
    candidates = np.array([[0, 1, -1], [1, 2, 3], [2, 0, 1], [3, 0, 1]])
    found = aligned(here, there, candidates)
    np.testing.assert_allclose(found[:, 0], 0.0, atol=2e-3)
    assert (found[1:, 1:] > 1.0).all() and found[0, 2] == math.inf
    plain = np.sqrt(((here[1] - there[2])[1:-1, 1:-1] ** 2).mean())
    assert found[1, 1] <= plain + 1e-6
    assert aligned(here[:0], there, candidates[:0]).shape == (0, 3)


# Meehan, Chaudhuri and Dasgupta


def test_mann_whitney_is_scipys():
    from scipy import stats

    random = np.random.default_rng(4)
    first, second = random.integers(0, 9, 40).astype(float), random.integers(2, 12, 31).astype(float)
    expected = stats.mannwhitneyu(first, second, alternative="less", method="asymptotic", use_continuity=False).pvalue
    assert stats.norm.cdf(mann_whitney(first, second)) == pytest.approx(expected, rel=1e-9)
    assert mann_whitney(np.ones(5), np.ones(7)) == 0.0


def test_data_copying_statistic():
    random = np.random.default_rng(5)
    train, held_out, honest = (random.normal(size=(n, 5)) for n in (500, 200, 300))
    calm = data_copying(honest, train, held_out)
    assert calm is not None and abs(calm.statistic) < 1.5 and calm.p_value > 0.01 and calm.cells == 10
    copies = train[:300] + 0.01 * random.normal(size=(300, 5))
    caught = data_copying(copies, train, held_out)
    assert caught is not None and caught.statistic < -3 and caught.p_value < 1e-6
    assert data_copying(copies, train, held_out[:9]) is None
    assert data_copying(copies, train, held_out, seed=0) == caught
