"""The random numbers: known answers, so that every port can be held to the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from limner import noise
from limner.noise import Ahead, Stream

# Known-answer vectors of Philox-4x32-10 published with the reference implementation (Random123, kat_vectors).
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_answers(counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]):
    assert tuple(noise.philox(counter, key).tolist()) == expected


def test_words_follow_the_documented_layout():
    seed, index = 0x0123456789ABCDEF, 0x1122334455667788
    drawn = noise.words(seed, Stream.TRAIN_LATENT, index, 6)
    for block in range(2):
        counter = (block, index & 0xFFFFFFFF, index >> 32, int(Stream.TRAIN_LATENT))
        expected = noise.philox(counter, (seed & 0xFFFFFFFF, seed >> 32))
        assert drawn[4 * block : 4 * block + 4].tolist() == expected[: len(drawn) - 4 * block].tolist()


def test_normals_are_box_and_mullers_of_the_words():
    w = noise.words(7, Stream.SAMPLE, 0, 4).tolist()
    u = [(word + 0.5) / 2**32 for word in w]
    expected = [
        math.sqrt(-2 * math.log(u[0])) * math.cos(2 * math.pi * u[1]),
        math.sqrt(-2 * math.log(u[0])) * math.sin(2 * math.pi * u[1]),
        math.sqrt(-2 * math.log(u[2])) * math.cos(2 * math.pi * u[3]),
    ]
    drawn = noise.normal(7, Stream.SAMPLE, 0, 3)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn, np.float32(expected))


def test_the_latents_of_seed_seven_never_change():
    # Written down once; pictures that people shared by their seed rely on it.
    expected = noise.normal(7, Stream.SAMPLE, 0, 4)
    np.testing.assert_array_equal(noise.sample_latents(np.array([3, 7]), 4)[1], expected)
    np.testing.assert_allclose(expected, SEED_SEVEN, rtol=0, atol=1e-7)


SEED_SEVEN = [0.0002915676450356841, -0.30484697222709656, 1.78875732421875, 1.0678725242614746]


def test_numbers_do_not_depend_on_how_the_work_is_split():
    whole = noise.normal(5, Stream.TRAIN_LATENT, np.arange(100, 116), 10)
    parts = [noise.normal(5, Stream.TRAIN_LATENT, np.arange(start, start + 4), 10) for start in range(100, 116, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    np.testing.assert_array_equal(whole[3], noise.normal(5, Stream.TRAIN_LATENT, 103, 10))


def test_seeds_streams_and_indices_are_independent():
    base = noise.normal(1, Stream.SAMPLE, 0, 1000)
    others = (
        noise.normal(2, Stream.SAMPLE, 0, 1000),
        noise.normal(1, Stream.GRID, 0, 1000),
        noise.normal(1, Stream.SAMPLE, 1, 1000),
        noise.normal(1 << 32, Stream.SAMPLE, 0, 1000),
        noise.normal(1, Stream.SAMPLE, 1 << 32, 1000),
    )
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.12  # four standard errors


def test_numbers_drawn_ahead_are_the_numbers():
    """Going on, going back, over the end of a portion, more than a portion, far away; and what was given can be changed."""
    portions: list[int] = []

    def draw(indices: np.ndarray) -> np.ndarray:
        portions.append(len(indices))
        return noise.normal(3, Stream.MIX, indices, 5)

    ahead = Ahead(draw, portion=16)
    for first, count in [(0, 8), (8, 8), (16, 4), (20, 16), (3, 4), (3, 0), (100, 40), (2**40, 8), (2**40 + 8, 8)]:
        rows = ahead(first, count)
        np.testing.assert_array_equal(rows, noise.normal(3, Stream.MIX, np.arange(first, first + count), 5))
        rows[:] = 7
        np.testing.assert_array_equal(
            ahead(first, count), noise.normal(3, Stream.MIX, np.arange(first, first + count), 5)
        )
    assert portions == [0, 16, 16, 16, 16, 40, 16]


def test_distributions():
    u = noise.uniform(11, Stream.AUGMENT, np.arange(200), 500).ravel()
    assert u.min() > 0 and u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    z = noise.normal(11, Stream.SAMPLE, np.arange(200), 501).ravel()
    assert stats.kstest(z, "norm").pvalue > 1e-3


def test_permutation_holds_each_number_once_and_changes_with_the_epoch():
    first, second = (noise.permutation(3, Stream.DATA_ORDER, epoch, 1000) for epoch in (0, 1))
    assert sorted(first.tolist()) == list(range(1000)) == sorted(second.tolist())
    assert 0 <= np.sum(first == second) < 10  # one fixed point is expected
    assert abs(stats.spearmanr(first, np.arange(1000)).statistic) < 0.13


def test_derived_seeds_fit_in_63_bits():
    seeds = {noise.derived_seed(seed, Stream.TORCH, step) for seed in range(8) for step in range(50)}
    assert len(seeds) == 400
    assert 2**55 < max(seeds) < 2**63 and min(seeds) >= 0
