"""Learning rates on the way, against values by hand."""

from __future__ import annotations

import math

import pytest

from limner.errors import InputError
from limner.recipe import Schedule
from limner.training.schedule import rate_scale


def test_nothing_set_changes_nothing():
    assert [rate_scale(Schedule(), images, None) for images in (1, 10**9)] == [1.0, 1.0]


def test_warm_up_in_batches_of_64():
    """The first update has 64/256 of the rate, the fourth all of it."""
    settings = Schedule(warmup_images=256)
    assert [rate_scale(settings, 64 * update, None) for update in range(1, 7)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("images, total", [(1000, 5000), (None, 1000)])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_decay_ends_where_it_is_told(name: str, images: int | None, total: int):
    """From 200 to 1000 images, to a fifth of the rate: at 400 a quarter of the way is done, at 600 half."""
    settings = Schedule(name=name, warmup_images=200, images=images, final=0.2)
    quarter = 0.75 if name == "linear" else (1 + math.sqrt(0.5)) / 2
    expected = {100: 0.5, 200: 1.0, 400: 0.2 + 0.8 * quarter, 600: 0.6, 1000: 0.2, 1100: 0.2}
    found = {images: rate_scale(settings, images, total) for images in expected}
    assert found == pytest.approx(expected, abs=1e-12)


def test_linear_decay_to_nothing():
    settings = Schedule(name="linear")
    assert [rate_scale(settings, images, 100) for images in (25, 50, 100)] == pytest.approx([0.75, 0.5, 0.0], abs=1e-12)


def test_a_warm_up_longer_than_the_decay():
    settings = Schedule(name="cosine", warmup_images=200, images=100, final=0.1)
    assert [rate_scale(settings, images, None) for images in (150, 200, 300)] == pytest.approx([0.75, 0.1, 0.1])


def test_a_decay_needs_an_end():
    with pytest.raises(InputError, match=r"schedule\.images"):
        rate_scale(Schedule(name="cosine"), 64, None)
    assert rate_scale(Schedule(name="cosine", images=128), 64, None) == pytest.approx(0.5)
