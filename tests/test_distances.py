"""The distances against independent implementations, hand-made point sets, and what their intervals promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from torchmetrics.image import fid as image_fid
from torchmetrics.image import kid as image_kid

from limner.judging import distances
from limner.judging.distances import (
    Statistics,
    all_figures,
    class_figures,
    coverage,
    density,
    diversity,
    frechet_distance,
    kernel,
    kernel_distance,
    precision,
    recall,
    sliced_wasserstein,
    statistics,
)
from limner.judging.distances.diversity import of_a_faithful_one
from limner.judging.distances.intervals import hypergeometric_at_most, normal_below, wilson
from limner.judging.distances.prdc import cover
from limner.judging.distances.wasserstein import transport
from limner.judging.figures import KINDS, Figure


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# Intervals


def test_wilson_is_the_score_interval():
    for count, total in ((0, 10), (3, 10), (10, 10), (40, 1000)):
        expected = stats.binomtest(count, total).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson(count, total), (expected.low, expected.high), atol=1e-9)


def test_hypergeometric_and_normal_tails():
    for count, marked, others, drawn in ((0, 12, 64, 64), (3, 20, 80, 30), (20, 20, 80, 30), (1, 500, 600, 40)):
        expected = stats.hypergeom(marked + others, marked, drawn).cdf(count)
        assert hypergeometric_at_most(count, marked, others, drawn) == pytest.approx(expected, rel=1e-8, abs=1e-300)
    assert normal_below(-1.959964) == pytest.approx(0.025, abs=1e-7)


# Frechet


def scipy_frechet(real: np.ndarray, generated: np.ndarray) -> float:
    one, two = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
    root = linalg.sqrtm(one @ two)
    step = real.mean(0) - generated.mean(0)
    return float(step @ step + np.trace(one) + np.trace(two) - 2 * np.trace(np.real(root)))


def test_frechet_is_scipys():
    mix = normal(0, 20, 20)
    real, generated = normal(1, 300, 20) @ mix, normal(2, 200, 20) @ mix * 0.8 + 0.3
    assert frechet_distance(real, generated).value == pytest.approx(scipy_frechet(real, generated), rel=1e-8)


def test_frechet_is_torchmetrics():
    real, generated = normal(3, 400, 12), normal(4, 250, 12) * 1.3 + 0.2
    sides = [(torch.tensor(side.mean(0)), torch.tensor(np.cov(side, rowvar=False))) for side in (real, generated)]
    # The formula that its FrechetInceptionDistance ends in; the class itself only takes images.
    expected = float(image_fid._compute_fid(*sides[0], *sides[1]))
    assert frechet_distance(real, generated).value == pytest.approx(expected, rel=1e-6)


def test_frechet_of_known_gaussians():
    real = Statistics(np.array([0.0, 0.0]), np.diag([4.0, 1.0]), 1000)
    generated = Statistics(np.array([3.0, 4.0]), np.diag([1.0, 9.0]), 500)
    # 25 for the means, (2 - 1)^2 + (1 - 3)^2 for the deviations.
    assert frechet_distance(real, generated) == Figure(pytest.approx(30.0, abs=1e-9), None, None, 1000, 500)


@pytest.mark.parametrize("count", [2, 5, 30])
def test_frechet_with_fewer_images_than_dimensions(count: int):
    real, generated = normal(5, count, 40), normal(6, 33, 40) + 0.5
    # scipy's root of a singular product is only good to some digits; the eigenvalues of the product are enough here.
    one, two = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
    values, vectors = np.linalg.eigh(one)
    half = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    root = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ two @ half), 0)).sum()
    step = real.mean(0) - generated.mean(0)
    expected = step @ step + np.trace(one) + np.trace(two) - 2 * root
    assert frechet_distance(real, generated).value == pytest.approx(expected, rel=1e-5)


def test_frechet_of_a_set_with_itself_is_zero():
    real = normal(7, 50, 64).astype(np.float32)
    assert frechet_distance(real, real).value == pytest.approx(0.0, abs=1e-8)


def test_statistics_can_be_kept():
    real, generated = normal(8, 100, 6), normal(9, 80, 6) * 2
    kept = Statistics.from_arrays(statistics(real).arrays())
    direct = frechet_distance(real, generated)
    assert frechet_distance(real, generated, real_statistics=kept) == direct
    by_kept = frechet_distance(kept, generated)
    assert by_kept.value == pytest.approx(direct.value, rel=1e-12) and by_kept.real == 100
    assert by_kept.high - by_kept.low < direct.high - direct.low  # only one side's uncertainty
    with pytest.raises(ValueError, match="do not go together"):
        Statistics.from_arrays({"mean": np.zeros(3), "covariance": np.eye(2), "count": np.array(4)})


# Kernel


def naive_kernel_distance(real: np.ndarray, generated: np.ndarray) -> float:
    def mean(first: np.ndarray, second: np.ndarray, same: bool) -> float:
        values = [
            (float(a @ b) / len(a) + 1) ** 3
            for i, a in enumerate(first)
            for j, b in enumerate(second)
            if not (same and i == j)
        ]
        return sum(values) / len(values)

    return mean(real, real, True) + mean(generated, generated, True) - 2 * mean(real, generated, False)


def test_kernel_distance_is_the_double_loop():
    real, generated = normal(10, 23, 5), normal(11, 17, 5) * 1.5 + 0.3
    assert kernel_distance(real, generated).value == pytest.approx(naive_kernel_distance(real, generated), rel=1e-10)


def test_kernel_distance_is_torchmetrics():
    real, generated = normal(12, 60, 8), normal(13, 60, 8) + 0.4  # its estimator takes equal counts only
    expected = float(image_kid.poly_mmd(torch.tensor(real), torch.tensor(generated)))
    assert kernel_distance(real, generated).value == pytest.approx(expected, rel=1e-9)


def test_kernel_blocks_and_float32_agree(monkeypatch: pytest.MonkeyPatch):
    real, generated = normal(14, 90, 16), normal(15, 70, 16) + 0.2
    whole = kernel_distance(real, generated)
    monkeypatch.setattr(kernel, "_ROWS", 13)
    assert kernel_distance(real, generated).value == pytest.approx(whole.value, rel=1e-10)
    assert kernel_distance(real, generated).high == pytest.approx(whole.high, rel=1e-10)
    monkeypatch.setattr(kernel, "_MANY", 10)
    assert kernel_distance(real, generated).value == pytest.approx(whole.value, rel=1e-4)
    assert kernel_distance(real, generated).high == pytest.approx(whole.high, rel=1e-4)


@pytest.mark.parametrize(("shift", "truth"), [(0.0, 0.0), (0.4, None)])
def test_kernel_interval_holds_the_truth(shift: float, truth: float | None):
    random = np.random.default_rng(16)
    repeats = [kernel_distance(random.normal(size=(60, 6)), random.normal(size=(90, 6)) + shift) for _ in range(300)]
    truth = float(np.mean([figure.value for figure in repeats])) if truth is None else truth
    held = np.mean([figure.low <= truth <= figure.high for figure in repeats])
    assert 0.90 <= held <= 0.99
    values = np.array([figure.value for figure in repeats])
    width = np.mean([figure.high - figure.low for figure in repeats]) / (2 * 1.96)
    assert 0.85 <= width / values.std() <= 1.3
    if shift == 0.0:  # unbiased, and so below 0 about half of the time
        assert abs(values.mean()) < 3 * values.std() / math.sqrt(300)
        assert 0.35 < (values < 0).mean() < 0.75


def test_frechet_interval_holds_what_other_samples_give():
    random = np.random.default_rng(17)
    repeats = [
        frechet_distance(random.normal(size=(80, 8)), random.normal(size=(80, 8)) * 1.3 + 0.2) for _ in range(200)
    ]
    mean = np.mean([figure.value for figure in repeats])
    assert 0.90 <= np.mean([figure.low <= mean <= figure.high for figure in repeats]) <= 1.0
    width = np.mean([figure.high - figure.low for figure in repeats]) / (2 * 1.96)
    assert 0.8 <= width / np.std([figure.value for figure in repeats]) <= 1.5


# Precision, recall, density, coverage, by hand on a line


def test_cover_by_hand():
    # Real points 0, 1, 2, 3 and 10; with k = 1 their balls reach 1, 1, 1, 1 and 7.
    real, generated = np.array([[0.0], [1.0], [2.0], [3.0], [10.0]]), np.array([[0.5], [4.5], [20.0]])
    found = cover(real, generated, 1)
    assert found.inside.tolist() == [2, 1, 0]
    assert found.holds.tolist() == [1, 1, 0, 0, 1]
    # Without 2 the ball of 3 reaches 2, to 1, and holds 4.5 as well. Without 3 that of 10 reaches 8 and holds no more.
    # Nobody's nearest is 10: without it what it held is gone.
    assert found.less.tolist()[2:] == [-1, 0, 1]


def test_prdc_by_hand():
    # k = 3 and 5 of nine points at 0, 1, .. 8: the balls reach to the third and to the fifth neighbour.
    real = np.arange(9.0)[:, None]
    # k = 3 reach: 3 2 2 2 2 2 2 2 3;  k = 5 reach: 5 4 3 3 3 3 3 4 5.
    generated = np.array([[-2.5], [4.0], [4.2], [12.5], [30.0], [40.0]])
    assert precision(real, generated).value == pytest.approx(3 / 6)  # -2.5 (ball of 0), 4.0 and 4.2
    # In wide balls: -2.5 in those of 0 and 1; 4.0 and 4.2 in all nine; 12.5 in that of 8.
    inside = [2, 9, 9, 1, 0, 0]
    assert density(real, generated).value == pytest.approx(sum(inside) / (5 * 6))
    assert coverage(real, generated).value == pytest.approx(1.0)
    # Third neighbours of the generated: 15.0, 8.5, 8.3, 17.5, 25.8, 35.8: every real point is within 8.3 of 4.2.
    assert recall(real, generated).value == pytest.approx(1.0)
    far = np.array([[100.0], [101.0], [102.0], [103.0]])
    assert [figure(real, far).value for figure in (precision, recall, density, coverage)] == [0, 0, 0, 0]
    assert recall(real, np.array([[0.0], [0.1], [0.2], [0.3]])).value == pytest.approx(1 / 9)
    assert coverage(real, np.array([[0.0], [0.1], [0.2], [0.3]])).value == pytest.approx(4 / 9)  # of 0, 1, 2 and 3


def test_prdc_of_equal_distributions():
    real, generated = normal(18, 600, 8), normal(19, 600, 8)
    assert density(real, generated).value == pytest.approx(1.0, abs=0.1)
    # Naeem et al. 2020, lemma 2: expected coverage is 1 - (n - 1) .. (n - k) / ((2n - 1) .. (2n - k)) for equal counts n.
    expected = 1 - math.prod((600 - i) / (1200 - i) for i in range(1, 6))
    found = coverage(real, generated)
    assert found.value == pytest.approx(expected, abs=0.03)
    assert found.low < expected < found.high


def test_share_intervals_hold_what_other_samples_give():
    random = np.random.default_rng(20)
    found = [distances.prdc(random.normal(size=(80, 6)), random.normal(size=(80, 6)) * 1.2 + 0.2) for _ in range(120)]
    for name in ("precision", "recall", "density", "coverage"):
        figures = [one[name] for one in found]
        mean = np.mean([figure.value for figure in figures])
        assert np.mean([figure.low <= mean <= figure.high for figure in figures]) >= 0.85, name
        width = np.mean([figure.high - figure.low for figure in figures]) / (2 * 1.96)
        assert 0.6 <= width / np.std([figure.value for figure in figures]) <= 2.0, name


@pytest.mark.parametrize("count", [3, 5, 20, 200])
def test_the_diversity_of_a_faithful_generator_of_few(count: int):
    """It draws each of them fifty times; pairs of one image with itself are then among what is generated."""
    real = normal(41, count, 12)
    found = distances.diversity(real, np.repeat(real, 50, axis=0))
    assert found.value == pytest.approx(of_a_faithful_one(count), rel=0.06)


def test_copies_of_the_real_images_lie_among_them():
    """Most balls have no radius then: what rounding makes of equal points must not decide."""
    real = np.repeat(normal(31, 6, 9) + 50, 10, axis=0)
    found = distances.prdc(real, real[np.random.default_rng(0).permutation(60)])
    assert [found[name].value for name in ("precision", "recall", "coverage")] == [1.0, 1.0, 1.0]


def test_classes_are_told_apart():
    real = np.concatenate([normal(21, 60, 4), normal(22, 40, 4) + 20])
    labels = np.repeat([0, 2], [60, 40])
    generated = np.concatenate([normal(23, 45, 4), normal(24, 5, 4) + 20])
    found = class_figures(real, labels, generated)
    assert list(found) == [0, 2]
    assert found[0]["share"].value == pytest.approx(0.9) and found[2]["share"].value == pytest.approx(0.1)
    assert found[2]["real_share"].value == pytest.approx(0.4) and found[2]["share"].generated == 5
    assert found[0]["coverage"].value > 0.8 > found[2]["coverage"].value
    none = class_figures(real, labels, generated[:45])[2]
    assert none["share"].value == 0.0 and none["coverage"].value == 0.0 and none["recall"].value == 0.0
    with pytest.raises(ValueError, match="100 class numbers"):
        class_figures(real, labels[:3], generated)


# Diversity


def test_diversity_of_the_same_distribution_is_one():
    found = diversity(normal(25, 500, 16), normal(26, 400, 16))
    assert found.value == pytest.approx(1.0, abs=0.1) and found.low < 1.0 < found.high


def test_diversity_counts_modes():
    real = normal(27, 400, 16)
    for modes, most in ((1, 0.0), (2, 0.15), (5, 0.45)):
        collapsed = np.resize(real[:modes], (300, 16))
        found = diversity(real, collapsed)
        # About what the formula gives for equally frequent, hardly similar modes.
        similarity = 1 / modes + (1 - 1 / modes) * 0.1
        assert found.value <= most + 0.01
        assert found.value == pytest.approx((1 / similarity - 1) / 9, abs=0.12)
        jittered = collapsed + 0.01 * normal(28, 300, 16)
        assert diversity(real, jittered).value <= most + 0.02
    # A mean distance between pairs would still be four fifths.
    five = np.resize(real[:5], (300, 16))
    distance = np.linalg.norm(five[:, None] - five, axis=2).mean() / np.linalg.norm(real[:, None] - real, axis=2).mean()
    assert distance > 0.7
    assert diversity(real, real * 0.3).value < 0.3 < 1.5 < diversity(real, real * 1.5).value
    assert diversity(real, np.resize(real[:1], (5, 16))) == Figure(0.0, 0.0, 0.0, 400, 5)


def test_diversity_interval_holds_what_other_samples_give():
    random = np.random.default_rng(29)
    found = [diversity(random.normal(size=(60, 8)), random.normal(size=(80, 8)) * 0.8) for _ in range(150)]
    mean = np.mean([figure.value for figure in found])
    assert 0.88 <= np.mean([figure.low <= mean <= figure.high for figure in found]) <= 1.0


# Sliced Wasserstein


def test_transport_by_hand():
    distance, potential = transport(np.array([0.0, 1.0]), np.array([5.0, 6.0, 7.0, 8.0]))
    assert distance == pytest.approx(6.0)  # means 0.5 and 6.5, all of it to the right
    assert potential[:2].mean() - potential[2:].mean() == pytest.approx(6.0)
    first, second = normal(30, 70), normal(31, 41) * 2
    distance, potential = transport(first, second)
    assert distance == pytest.approx(stats.wasserstein_distance(first, second), rel=1e-12)
    assert potential[:70].mean() - potential[70:].mean() == pytest.approx(distance, rel=1e-12)


def pictures(seed: int, count: int, size: tuple[int, int] = (16, 16), channels: int = 3) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 200, (count, size[0] // 4 + 1, size[1] // 4 + 1, channels))
    return np.repeat(np.repeat(coarse, 4, 1), 4, 2)[:, : size[0], : size[1]].astype(np.uint8)


def test_a_shift_of_flat_images_is_known():
    # Real images are flat, with deviation 20; 30 levels more is 1.5 deviations in every pixel, 0 in every band. A projection
    # of a constant patch is the sum of the direction, normal with variance 1: the mean of its size is sqrt(2 / pi).
    levels = np.random.default_rng(32).choice([80, 120], 300).astype(np.uint8)
    real = np.broadcast_to(levels[:, None, None, None], (300, 8, 8, 1)).copy()
    found = sliced_wasserstein(real, real + np.uint8(30), seed=1)
    assert found.value == pytest.approx(1.5 * math.sqrt(2 / math.pi), rel=0.35)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(("size", "channels"), [((16, 16), 1), ((8, 20), 3), ((33, 17), 4)])
def test_sliced_wasserstein_rises_with_a_disturbance(size: tuple[int, int], channels: int):
    real, other = pictures(33, 120, size, channels), pictures(34, 80, size, channels)
    values = [sliced_wasserstein(real, other).value]
    for deviation in (10, 30, 60):
        noise = np.random.default_rng(35).normal(0, deviation, other.shape)
        values.append(sliced_wasserstein(real, np.clip(other + noise, 0, 255).astype(np.uint8)).value)
    assert values == sorted(values) and values[0] < 0.2 < values[-1]
    assert sliced_wasserstein(real, np.clip(other + 40.0, 0, 255).astype(np.uint8)).value > 2 * values[0]


def test_colours_under_full_transparency_do_not_count():
    real = pictures(36, 40, (16, 16), 4)
    real[..., 3] = np.where(np.arange(16) < 8, 255, 0)
    other = real.copy()
    other[:, :, 8:, :3] = 255 - other[:, :, 8:, :3]
    assert sliced_wasserstein(real, other, 3) == sliced_wasserstein(real, real, 3)


def test_sliced_wasserstein_is_a_function_of_its_seed():
    real, other = pictures(37, 50), pictures(38, 50)
    assert sliced_wasserstein(real, other, 1) == sliced_wasserstein(real, other, 1)
    assert sliced_wasserstein(real, other, 1) != sliced_wasserstein(real, other, 2)
    with pytest.raises(ValueError, match="at least 8 x 8"):
        sliced_wasserstein(real[:, :7], other[:, :7])
    with pytest.raises(ValueError, match="generated ones"):
        sliced_wasserstein(real, other[:, :12])


# All of them


def test_all_figures_are_the_kinds_in_their_order():
    real, generated = normal(39, 60, 10).astype(np.float32), normal(40, 50, 10).astype(np.float32)
    found = all_figures(real, generated, pictures(41, 60), pictures(42, 50), seed=5, real_statistics=statistics(real))
    assert list(found) == list(KINDS)
    for name, figure in found.items():
        assert (figure.real, figure.generated) == (60, 50), name
        assert figure.low <= figure.value <= figure.high, name
        assert figure.low < figure.high, name
    assert found == all_figures(real, generated, pictures(41, 60), pictures(42, 50), seed=5)


@pytest.mark.parametrize("counts", [(0, 0), (0, 5), (1, 5), (5, 1), (2, 2), (3, 4)])
def test_any_number_of_images_works(counts: tuple[int, int]):
    real, generated = normal(43, counts[0], 10), normal(44, counts[1], 10)
    found = all_figures(real, generated, pictures(45, counts[0]), pictures(46, counts[1]))
    assert list(found) == list(KINDS)
    for name, figure in found.items():
        assert math.isfinite(figure.value) or (min(counts) < 2 and figure.low is None), name
        assert (figure.real, figure.generated) == counts
    if min(counts) >= 2:
        assert all(math.isfinite(figure.value) for figure in found.values())


def test_features_that_are_no_numbers_are_refused():
    bad = normal(47, 20, 5)
    bad[3, 2] = math.nan
    for figure in (kernel_distance, frechet_distance, precision, diversity):
        with pytest.raises(ValueError, match="1 of 20 rows"):
            figure(normal(48, 20, 5), bad)
