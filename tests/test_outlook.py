"""What going on would bring: lines that are known, with and without noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from limner.judging.outlook import is_exhausted, no_gain, outlook


def history(values: dict[int, float]) -> list[dict[str, object]]:
    return [
        {"images": images, "figures": {"kernel_distance": {"value": value, "real": 500, "generated": 1000}}}
        for images, value in values.items()
    ]


def test_a_power_of_the_images_is_continued():
    falling = {images: 40.0 * images**-0.5 for images in (4000, 5000, 8000, 12000, 16000)}
    found = outlook(history({0: 9.0, 1000: 5.0, **falling}))
    gain = 40.0 * (16000**-0.5 - 32000**-0.5)
    assert found.gain is not None and found.gain.value == pytest.approx(gain, rel=1e-9)
    assert (found.gain.low, found.gain.high) == pytest.approx((gain, gain), rel=1e-6)
    assert (found.images, found.best, found.worth_it) == (16000, 16000, True)
    assert (found.gain.real, found.gain.generated) == (500, 1000)
    assert "another 16,000 images is expected to lower the kernel distance" in found.sentence
    assert found.gain.value < falling[16000], "a distance does not fall below 0"


def test_distances_about_0_are_continued_as_a_line():
    falling = {images: 0.3 - 0.1 * math.log2(images / 1000) for images in (4000, 6000, 8000, 12000, 16000)}
    found = outlook(history(falling))
    assert found.gain is not None and found.gain.value == pytest.approx(0.1, abs=1e-9)


def test_the_interval_of_the_slope_is_students():
    """Four points by hand, with residuals that leave two degrees of freedom: t is 4.303."""
    images, values = [4000, 5000, 6000, 8000], np.array([1.0, 0.8, 0.9, 0.6])
    x, y = np.log(images), np.log(values)
    slope, offset = np.polyfit(x, y, 1)
    error = math.sqrt(((y - slope * x - offset) ** 2).sum() / 2 / ((x - x.mean()) ** 2).sum())
    found = outlook(history(dict(zip(images, values.tolist(), strict=True))))
    level = math.exp(slope * x[-1] + offset)
    assert found.gain is not None and found.gain.low is not None and found.gain.high is not None
    for got, steepness in ((found.gain.value, 0.0), (found.gain.low, 4.303), (found.gain.high, -4.303)):
        assert got == pytest.approx(level * (1 - 2 ** (slope + steepness * error)), rel=1e-9)


def test_few_evaluations_promise_nothing():
    found = outlook(history({0: 9.0, 1000: 1.0, 2000: 0.9, 4000: 0.8}))
    assert found.gain is None and found.worth_it and "Too few evaluations" in found.sentence
    assert outlook([]).gain is None and outlook([]).best is None
    assert is_exhausted(history({1000: 1.0, 2000: 2.0}), 1) is None


def test_noise_about_a_level_is_no_gain_and_exhausts_patience():
    level = {4000: 0.50, 6000: 0.53, 8000: 0.49, 10000: 0.52, 12000: 0.51, 14000: 0.50}
    found = outlook(history(level))
    assert not found.worth_it and found.best == 8000 and "No gain can be told" in found.sentence
    assert is_exhausted(history(level), 6001) is None
    reason = is_exhausted(history(level), 6000)
    assert reason is not None and reason.startswith("no better kernel distance for 6,000 images")


def test_a_rising_figure_sends_to_the_best_snapshot():
    rising = {images: 0.2 + 0.1 * math.log2(images / 4000) for images in (4000, 6000, 8000, 12000, 16000)}
    found = outlook(history(rising))
    assert found.best == 4000 and not found.worth_it and "Take the best snapshot" in found.sentence
    assert is_exhausted(history(rising), 10_000) is not None


def test_half_a_training_without_gain_is_told():
    level = {2000: 0.60, 4000: 0.50, 6000: 0.53, 7000: 0.52, 7500: 0.55}
    assert no_gain(history(level)) is None, "the best is over half way"
    (found,) = [no_gain(history({**level, 8000: 0.54}))]
    assert found is not None and found.kind == "no-gain" and not found.go_back
    assert "since 4,000 of 8,000 images" in found.evidence
    assert no_gain(history({**level, 8000: 0.40})) is None
    falling = {images: 1.0 - 0.1 * math.log2(images / 1000) for images in (1000, 2000, 4000, 6000, 8000, 16000)}
    assert no_gain(history(falling)) is None and no_gain([]) is None


def test_an_unmistakable_but_tiny_gain_is_not_worth_it():
    creeping = {images: 0.5 - 1e-4 * math.log2(images / 4000) for images in (4000, 6000, 8000, 12000, 16000)}
    found = outlook(history(creeping))
    assert not found.worth_it and "hardly" in found.sentence
