"""The losses, against values worked out by hand, and the gradients that make them what they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from limner.tables import OBJECTIVES
from limner.training.objectives import (
    Objective,
    classification,
    hinge,
    least_squares,
    minimax,
    non_saturating,
    reconstruction,
    relativistic,
    wasserstein,
)

ALL = (non_saturating, minimax, least_squares, hinge, wasserstein, relativistic)


def logits(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def differences(loss: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> Tensor:
    """The gradient by central differences, one number at a time."""
    slopes = torch.zeros_like(at)
    for place in range(at.numel()):
        up, down = at.clone(), at.clone()
        up.view(-1)[place] += step
        down.view(-1)[place] -= step
        slopes.view(-1)[place] = (loss(up) - loss(down)).item() / (2 * step)
    return slopes


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


@pytest.mark.parametrize(
    "objective, discriminator, generator",
    [
        # 1/2 mean((2-1)^2, (-0.5-1)^2) + 1/2 mean(1.5^2, 3^2); 1/2 mean((1.5-1)^2, (-3-1)^2)
        (least_squares(), 0.5 * (1 + 2.25) / 2 + 0.5 * (2.25 + 9) / 2, 0.5 * (0.25 + 16) / 2),
        # The label moves D's aim for real images alone: (2-0.9)^2 and (-0.5-0.9)^2.
        (least_squares(0.9), 0.5 * (1.21 + 1.96) / 2 + 0.5 * (2.25 + 9) / 2, 0.5 * (0.25 + 16) / 2),
        # mean(max(0, 1-2), max(0, 1+0.5)) + mean(max(0, 1+1.5), max(0, 1-3)); minus the mean of 1.5 and -3
        (hinge(), 1.5 / 2 + 2.5 / 2, 0.75),
        (wasserstein(), -0.75 - 0.75, 0.75),
        # Pairs differ by 2 - 1.5 and by -0.5 + 3.
        (
            relativistic(),
            (math.log(1 + math.exp(-0.5)) + math.log(1 + math.exp(-2.5))) / 2,
            (math.log(1 + math.exp(0.5)) + math.log(1 + math.exp(2.5))) / 2,
        ),
    ],
    ids=["least_squares", "least_squares_smoothed", "hinge", "wasserstein", "relativistic"],
)
def test_golden_values_of_the_others(objective: Objective, discriminator: float, generator: float):
    real, fake = logits(2.0, -0.5), logits(1.5, -3.0)
    assert objective.discriminator(real, fake).item() == pytest.approx(discriminator, abs=1e-12)
    assert objective.generator(fake, real).item() == pytest.approx(generator, abs=1e-12)
    folded = objective.discriminator(real.view(1, 2, 1), fake.view(1, 2, 1))
    assert folded.item() == pytest.approx(discriminator, abs=1e-12), "logits of any shape"


@pytest.mark.parametrize("make", ALL)
def test_gradients_by_numerical_differentiation(make: Callable[[], Objective]):
    objective = make()
    # No logit is near -1 or 1, where the hinge has no derivative.
    real, fake = logits(1.7, -0.4, 0.2, -2.3), logits(-1.6, 0.3, 2.1, -0.7)
    cases = {
        "D, real": (lambda at: objective.discriminator(at, fake), real),
        "D, fake": (lambda at: objective.discriminator(real, at), fake),
        "G, fake": (lambda at: objective.generator(at, real), fake),
    }
    for name, (loss, at) in cases.items():
        leaf = at.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf), leaf)
        torch.testing.assert_close(gradient, differences(loss, at), atol=1e-8, rtol=0, msg=name)


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


def test_the_hinge_leaves_alone_what_is_far_enough():
    real, fake = logits(1.5, 0.5).requires_grad_(), logits(-1.5, -0.5).requires_grad_()
    hinge().discriminator(real, fake).backward()
    assert real.grad.tolist() == [0.0, -0.5] and fake.grad.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("make", [wasserstein, relativistic])
def test_some_see_differences_only(make: Callable[[], Objective]):
    objective, real, fake = make(), logits(2.0, -0.5), logits(1.5, -3.0)
    moved = objective.discriminator(real + 100, fake + 100)
    assert moved.item() == pytest.approx(objective.discriminator(real, fake).item(), abs=1e-12)
    assert objective.undecided is None
    assert objective.margin(real, fake).tolist() == [0.5, 2.5]


def test_a_relativistic_generator_needs_real_logits():
    assert [make.__name__ for make in ALL if make().relativistic] == ["relativistic"]
    with pytest.raises(ValueError, match="give both"):
        relativistic().generator(logits(0.0))


def test_the_least_loss_is_where_a_discriminator_has_won():
    """Labels met in full: logits far out, or at the logit of a smoothed label."""
    won = {
        non_saturating(): (50.0, -50.0),
        non_saturating(0.9): (math.log(9), -50.0),
        minimax(): (50.0, -50.0),
        relativistic(): (20.0, -20.0),
    }
    for objective, (real, fake) in won.items():
        assert objective.discriminator(logits(real), logits(fake)).item() == pytest.approx(objective.least, abs=1e-9)
    assert [make().least for make in (least_squares, hinge, wasserstein)] == [None] * 3


def test_margins_are_0_where_the_discriminator_cannot_tell():
    """At ``undecided``, turning real into fake changes nothing: D's best constant answer to equal images."""
    for objective in (non_saturating(), least_squares(), least_squares(0.9), hinge()):
        logit = torch.full((1,), objective.undecided, dtype=torch.float64, requires_grad=True)
        objective.discriminator(logit, logit).backward()
        assert logit.grad.item() == pytest.approx(0, abs=1e-12)
        assert objective.margin(logit.detach(), logits(9.0)).item() == 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_pulls_the_right_way(name: str):
    objective = OBJECTIVES[name].load()()
    generator = torch.Generator().manual_seed(0)
    # Within (-1, 1): the hinge has nothing to say beyond; least squares pulls back what is over its label.
    real, fake = (torch.rand(2, 16, generator=generator) * 0.8 + 0.1).unbind()
    real.requires_grad_(), fake.requires_grad_()
    objective.discriminator(real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all(), "D raises real logits and lowers fake ones"
    fake.grad = None
    objective.generator(fake, real.detach() if objective.relativistic else None).backward()
    assert (fake.grad < 0).all(), "G raises the logits of its images"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_extreme_logits_stay_finite(name: str):
    objective = OBJECTIVES[name].load()()
    for value in (-1e4, 1e4):
        many = torch.full((2,), value)
        assert torch.isfinite(objective.discriminator(many, -many))
        assert torch.isfinite(objective.generator(many, -many))


def test_classification_by_hand():
    """Two classes: softmax of (ln 3, 0) is (3/4, 1/4)."""
    class_logits = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]], dtype=torch.float64).requires_grad_()
    loss = classification(class_logits, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((-math.log(0.75) - math.log(0.25)) / 2, abs=1e-12)
    loss.backward()
    # softmax minus the one-hot label, over two samples
    torch.testing.assert_close(class_logits.grad, logits(-0.125, 0.125, 0.375, -0.375).view(2, 2), atol=1e-12, rtol=0)


def test_reconstruction_by_hand():
    """Each 2x2 square of the image is averaged: 0, 0.5, -0.5, 1."""
    image = logits(-1, 1, 0.5, 0.5, 1, -1, 0.5, 0.5, -1, -1, 1, 1, 0, 0, 1, 1).view(1, 1, 4, 4)
    remembered = logits(0.0, 0.0, 0.0, 0.0).view(1, 1, 2, 2).requires_grad_()
    loss = reconstruction(remembered, image)
    assert loss.item() == pytest.approx((0 + 0.5 + 0.5 + 1) / 4, abs=1e-12)
    loss.backward()
    assert remembered.grad.flatten().tolist() == [0.0, -0.25, 0.25, -0.25]


def test_reconstruction_of_odd_sizes():
    image = torch.rand(2, 3, 9, 13)
    assert reconstruction(torch.nn.functional.adaptive_avg_pool2d(image, (4, 5)), image).item() == pytest.approx(
        0, abs=1e-7
    )
    constant = reconstruction(torch.full((2, 3, 4, 5), 0.75), torch.full((2, 3, 9, 13), 0.25))
    assert constant.item() == pytest.approx(0.5, abs=1e-6)
