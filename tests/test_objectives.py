"""The losses, against values worked out by hand, and the gradients that make them what they are."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from limner.tables import OBJECTIVES
from limner.training.objectives import minimax, non_saturating


def test_golden_values_at_even_odds():
    """With logits 0 every probability is one half: D loses 2 ln 2, G loses ln 2 or gains it."""
    zero = torch.zeros(5)
    assert non_saturating().discriminator(zero, zero).item() == pytest.approx(2 * math.log(2), abs=1e-6)
    assert non_saturating().generator(zero).item() == pytest.approx(math.log(2), abs=1e-6)
    assert minimax().generator(zero).item() == pytest.approx(-math.log(2), abs=1e-6)


def test_golden_values_by_hand():
    """D(x) = 0.8 and D(G(z)) = 0.3, that is logits ln 4 and ln 3/7."""
    real, fake = torch.tensor([math.log(4.0)]), torch.tensor([math.log(3 / 7)])
    assert non_saturating().discriminator(real, fake).item() == pytest.approx(-math.log(0.8) - math.log(0.7), abs=1e-6)
    smoothed = -(0.9 * math.log(0.8) + 0.1 * math.log(0.2)) - math.log(0.7)
    assert non_saturating(0.9).discriminator(real, fake).item() == pytest.approx(smoothed, abs=1e-6)
    assert non_saturating().generator(fake).item() == pytest.approx(-math.log(0.3), abs=1e-6)
    assert minimax().generator(fake).item() == pytest.approx(math.log(0.7), abs=1e-6)


def test_the_same_as_cross_entropy_on_probabilities():
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 64, generator=generator, dtype=torch.float64)
    expected = binary_cross_entropy(real.sigmoid(), torch.ones_like(real)) + binary_cross_entropy(
        fake.sigmoid(), torch.zeros_like(fake)
    )
    assert non_saturating().discriminator(real, fake).item() == pytest.approx(expected.item(), abs=1e-12)


def test_smoothing_touches_real_images_only():
    real, fake = torch.tensor([2.0]), torch.tensor([-1.0])
    change = non_saturating(0.9).discriminator(real, fake) - non_saturating().discriminator(real, fake)
    # d/dt of -(t ln s + (1 - t) ln(1 - s)) is -logit; t goes down by 0.1.
    assert change.item() == pytest.approx(0.1 * 2.0, abs=1e-6)


def test_minimax_saturates_and_the_other_does_not():
    """When D is sure that an image is fake, minimax hardly moves G (Goodfellow et al. 2014, section 3)."""
    gradients = []
    for objective in (non_saturating(), minimax()):
        logit = torch.tensor([-8.0], requires_grad=True)
        objective.generator(logit).backward()
        assert logit.grad is not None
        gradients.append(logit.grad.item())
    sigmoid = 1 / (1 + math.exp(8))
    assert gradients == pytest.approx([-(1 - sigmoid), -sigmoid], abs=1e-7)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_pulls_the_right_way(name: str):
    objective = OBJECTIVES[name].load()()
    real, fake = torch.randn(2, 16).requires_grad_(), torch.randn(2, 16).requires_grad_()
    objective.discriminator(real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all(), "D raises real logits and lowers fake ones"
    fake.grad = None
    objective.generator(fake).backward()
    assert (fake.grad < 0).all(), "G raises the logits of its images"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_extreme_logits_stay_finite(name: str):
    objective = OBJECTIVES[name].load()()
    for value in (-1e4, 1e4):
        logits = torch.full((2,), value)
        assert torch.isfinite(objective.discriminator(logits, -logits))
        assert torch.isfinite(objective.generator(logits))
