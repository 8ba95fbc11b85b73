"""What may come into a step: parts of a batch, turns of the critic, penalties, clipping, classes, augmentation."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from limner import networks
from limner.device import autocast_for
from limner.recipe import Augment, Recipe
from limner.training.assembly import make_objective, make_optimizer, make_penalties
from limner.training.augment import Augmentation
from limner.training.objectives import hinge, non_saturating
from limner.training.regularizers import r1
from limner.training.step import Penalties, Step
from limner.training.turns import Batch, Measures, joined, mean

CPU = torch.device("cpu")
SMALL = {
    "training.epochs": 1,
    "network.latent": 8,
    "generator.width": 4,
    "discriminator.width": 4,
    "generator.norm": "none",
    "discriminator.norm": "none",
}


def recipe(**overrides: Any) -> Recipe:
    return Recipe.load("dcgan", {**SMALL, **overrides})


def make_step(chosen: Recipe, *, classes: int = 0, channels: int = 1, **options: Any) -> Step:
    """A step in float64, on 16x16."""
    pair = networks.build(chosen, width=16, height=16, channels=channels, classes=classes)
    generator, discriminator = (network.double() for network in pair)
    return Step(
        generator,
        discriminator,
        make_optimizer(generator, chosen.generator),
        make_optimizer(discriminator, chosen.discriminator),
        make_objective(chosen),
        autocast_for("float64", CPU),
        penalties=make_penalties(chosen),
        **options,
    )


def batch(count: int, seed: int = 0, classes: int = 0, augment: Augmentation | None = None) -> Batch:
    drawn = torch.Generator().manual_seed(seed)
    real = torch.rand(count, 1, 16, 16, generator=drawn, dtype=torch.float64) * 2 - 1
    z = torch.randn(count, 8, generator=drawn, dtype=torch.float64)
    mix = torch.rand(count, generator=drawn, dtype=torch.float64)
    labels = torch.arange(count) % classes if classes else None
    drawn = augment and augment.draw(np.arange(count) + 100 * seed, 16, 16, real.dtype, 0)
    return Batch(real, z, labels, mix, drawn)


def weights(step: Step) -> Tensor:
    return torch.cat([value.flatten() for net in (step.generator, step.discriminator) for value in net.parameters()])


VARIANTS: dict[str, dict[str, Any]] = {
    "non-saturating": {},
    "relativistic with R1 and R2": {"objective.name": "relativistic", "regularizers.r1": 1.0, "regularizers.r2": 0.5},
    "wgan-gp": {"objective.name": "wasserstein", "regularizers.gradient_penalty": 10.0},
    "clipped gradients": {"generator.clip_norm": 0.1, "discriminator.clip_norm": 0.1},
    "residual with memory": {"network.family": "fewshot", "discriminator.deviation": False},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_parts_add_up_to_the_batch(variant: str):
    """Without batch statistics, a batch in parts (unequal ones too) trains as the whole one does."""
    found = []
    for size in (None, 3, 1):
        step = make_step(recipe(**VARIANTS[variant]), micro_batch=size, class_weight=1.0, memory_weight=1.0)
        before = weights(step).clone()
        for number in range(3):
            measures = step([batch(8, number)], number)
        assert (weights(step) - before).abs().max() > 1e-5
        found.append((weights(step), measures))
    for parts, measures in found[1:]:
        assert (parts - found[0][0]).abs().max() < 1e-9
        for name, value in found[0][1].values().items():
            assert measures.values()[name].item() == pytest.approx(value.item(), rel=1e-6), name


def test_colours_that_no_one_sees_do_not_count():
    """Real images that differ only where they are transparent are the same to a training; where they show, they are not."""
    settings = {"objective.name": "relativistic", "regularizers.r1": 1.0, "regularizers.r2": 1.0}
    found = []
    for seen, hidden in ((0.3, -1.0), (0.3, 0.7), (0.4, -1.0)):
        step, given = make_step(recipe(**settings), channels=4), batch(4)
        real = torch.full((4, 4, 16, 16), hidden, dtype=torch.float64)
        real[:, 3], real[:, :3, 4:9, 3:12], real[:, 3, 4:9, 3:12] = -1.0, seen, 1.0
        step([replace(given, real=real)])
        found.append(weights(step))
    assert torch.equal(found[0], found[1]) and (found[2] - found[0]).abs().max() > 1e-4


def test_augmentation_does_not_depend_on_the_parts():
    found = []
    settings = Augment(policy=("color", "translation", "cutout"), noise=0.1)
    for size in (None, 3):
        augment = Augmentation(settings, 5, CPU)
        step = make_step(recipe(), micro_batch=size, augment=augment)
        step([batch(8, augment=augment)])
        found.append(weights(step))
    assert (found[0] - found[1]).abs().max() < 1e-9
    plain = make_step(recipe())
    plain([batch(8)])
    assert (found[0] - weights(plain)).abs().max() > 1e-6, "the augmentation was there"


def test_the_critic_has_as_many_turns_as_batches():
    """Three turns of D, one of G: D's steps are those of three updates whose G stands still."""
    three, one = make_step(recipe()), make_step(recipe())
    generator = copy.deepcopy(one.generator.state_dict())
    three([batch(8, number) for number in range(3)])
    for number in range(3):
        one([batch(8, number)])
        one.generator.load_state_dict(generator)
    for mine, theirs in zip(three.discriminator.parameters(), one.discriminator.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    moved = [not torch.equal(generator[name], value) for name, value in three.generator.named_parameters()]
    assert all(moved)


def test_lazy_penalties_come_at_every_nth_turn_and_weigh_n_times():
    gradients = []
    for every, number in ((1, 3), (4, 4), (4, 3)):
        step = make_step(recipe(), micro_batch=None)
        step.penalties = Penalties([(r1, 2.0)], every)
        measures = step.update_discriminator([batch(8)], [batch(8, 1).real], number)
        gradients.append(torch.cat([value.grad.flatten() for value in step.discriminator.parameters()]))
        assert (measures.penalty is not None) == ((number + 1) % every == 0)
    plain = make_step(recipe())
    plain.update_discriminator([batch(8)], [batch(8, 1).real], 0)
    without = torch.cat([value.grad.flatten() for value in plain.discriminator.parameters()])
    assert torch.equal(gradients[1], without)
    assert torch.allclose(gradients[2] - without, 4 * (gradients[0] - without), rtol=1e-9)
    assert (gradients[0] - without).abs().max() > 1e-6


def test_the_penalty_is_the_papers():
    """D(x) = <w, x>: its gradient is w everywhere, so R1 is |w|^2 / 2, and with gamma 3 three times that."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(-1, 1, 256, dtype=torch.float64))

        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) @ self.weight

    step = make_step(recipe())
    step.discriminator = Linear()
    step.discriminator_optimizer = torch.optim.SGD(step.discriminator.parameters(), 0.0)
    step.penalties = Penalties([(r1, 3.0)])
    measures = step.update_discriminator([batch(4)], [batch(4, 1).real], 0)
    assert measures.penalty is not None
    expected = 3 * step.discriminator.weight.square().sum().item() / 2
    assert measures.penalty.item() == pytest.approx(expected, rel=1e-12)


def test_weights_are_clipped_after_each_turn():
    step = make_step(recipe(**{"objective.name": "wasserstein", "regularizers.clip": 0.01}))
    step([batch(8)])
    largest = max(value.abs().max().item() for value in step.discriminator.parameters())
    assert largest == pytest.approx(0.01, abs=1e-12)
    assert max(value.abs().max().item() for value in step.generator.parameters()) > 0.02


def test_gradients_are_shortened():
    plain = make_step(recipe())
    plain([batch(8)])
    reference = (plain.generator, plain.discriminator)
    for longest, player in ((1e-6, 0), (1e-5, 1)):
        norms = [0.0, 0.0]
        norms[player] = longest
        step = make_step(recipe(), generator_clip_norm=norms[0], discriminator_clip_norm=norms[1])
        step([batch(8)])
        network = (step.generator, step.discriminator)[player]
        length = torch.cat([value.grad.flatten() for value in network.parameters()]).norm().item()
        unbound = torch.nn.utils.get_total_norm([value.grad for value in reference[player].parameters()]).item()
        # clip_grad_norm_ divides by the length plus a millionth
        assert length == pytest.approx(longest * unbound / (unbound + 1e-6), rel=1e-6) and unbound > 2 * longest


def test_a_relativistic_generator_sees_real_logits():
    step = make_step(recipe(**{"objective.name": "relativistic"}))
    play = batch(8)
    fake = step.draw(play)
    with torch.no_grad():
        margin = step.discriminator(fake) - step.discriminator(play.real)
    loss = step.update_generator([play], [fake])
    assert loss.item() == pytest.approx(nn.functional.softplus(-margin).mean().item(), rel=1e-9)


@pytest.mark.parametrize("conditioning", ["projection", "acgan"])
def test_classes_reach_both_networks(conditioning: str):
    step = make_step(recipe(**{"network.conditioning": conditioning}), classes=3, class_weight=0.5)
    measures = step([batch(6, classes=3)])
    assert (measures.classification is not None) == (conditioning == "acgan")
    for network in (step.generator, step.discriminator):
        for name, value in network.named_parameters():
            assert value.grad is not None and value.grad.abs().sum() > 0, name


def test_the_class_loss_has_its_weight():
    """Of ACGAN's losses only the weight of the class loss differs; G's gradient is linear in it."""
    gradients = []
    for weight in (0.0, 1.0, 2.0):
        step = make_step(recipe(**{"network.conditioning": "acgan"}), classes=3, class_weight=weight)
        play = batch(6, classes=3)
        step.update_generator([play], [step.draw(play)])
        gradients.append(torch.cat([value.grad.flatten() for value in step.generator.parameters()]))
    assert torch.allclose(gradients[2] - gradients[1], gradients[1] - gradients[0], atol=1e-12)
    assert (gradients[1] - gradients[0]).abs().max() > 1e-8


def test_real_logits_reach_the_adaptive_augmentation():
    settings = Augment(policy=("color",), target=0.6, speed_images=80)
    augment = Augmentation(settings, 0, CPU)
    step = make_step(recipe(), augment=augment)
    step.discriminator.layers[-1].weight.data.zero_()  # logits of 0: neither sign, and so under the target
    measures = step.update_discriminator([batch(8, augment=augment)], [batch(8, 1).real], 0)
    assert measures.augment_probability is not None and augment.probability == 0.0
    highest = 0.0
    for _ in range(200):  # D learns that real is real; the probability follows
        highest = max(highest, augment.probability)
        step.update_discriminator([batch(8, augment=augment)], [-torch.ones(8, 1, 16, 16, dtype=torch.float64)], 0)
    assert highest > 0.05


def test_parts_of_a_batch_keep_what_belongs_together():
    augment = Augmentation(Augment(policy=("translation",), noise=0.1), 0, CPU)
    whole = batch(7, classes=2, augment=augment)
    parts = whole.parts(3)
    assert [len(part) for part in parts] == [3, 3, 1] and whole.parts(None) == [whole] and whole.parts(7) == [whole]
    assert torch.equal(torch.cat([part.real for part in parts]), whole.real)
    again = joined(parts).drawn
    for name in ("indices", "numbers", "places", "deviation"):
        assert torch.equal(getattr(again, name), getattr(whole.drawn, name))
    for name in ("z", "labels", "mix"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert batch(4).parts(2)[1].labels is None


def test_measures_of_parts_weigh_by_their_images():
    def measured(loss: float) -> Measures:
        values = {"discriminator_loss": loss, "real_logit": loss, "fake_logit": -loss}
        return Measures(**{name: torch.tensor(value) for name, value in values.items()})

    found = mean([(0.75, measured(1.0)), (0.25, measured(5.0))])
    assert found.discriminator_loss.item() == pytest.approx(2.0) and found.penalty is None
    assert found.fake_logit.item() == pytest.approx(-2.0)


def test_the_objective_is_the_recipes():
    assert (
        make_objective(recipe()).generator(torch.zeros(1)).item() == non_saturating().generator(torch.zeros(1)).item()
    )
    assert (
        make_objective(recipe(**{"objective.name": "hinge"})).discriminator(torch.zeros(1), torch.zeros(1)).item()
        == hinge().discriminator(torch.zeros(1), torch.zeros(1)).item()
    )
    smoothed = make_objective(recipe(**{"objective.real_label": 0.9}))
    assert smoothed.discriminator(torch.ones(1), torch.zeros(1)).item() == pytest.approx(
        non_saturating(0.9).discriminator(torch.ones(1), torch.zeros(1)).item()
    )
