"""Every family at every kind of size: shapes, ranges, gradients, and what is random in them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from limner import networks
from limner.errors import InputError
from limner.networks.layers import initialise
from limner.networks.resample import halvings
from limner.recipe import Recipe
from limner.tables import NETWORKS
from networks_support import everything_said, nudged, recipe, without_gradient

SIZES = [(8, 8), (28, 28), (64, 64), (33, 97), (96, 64), (9, 250), (1024, 8), (75, 50)]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("family", NETWORKS)
def test_shapes_ranges_and_gradients(family: str, size: tuple[int, int], channels: int):
    width, height = size
    generator, discriminator = networks.build(recipe(family), width=width, height=height, channels=channels)
    images = nudged(generator)(torch.randn(3, 16))
    assert images.shape == (3, channels, height, width)
    assert -1 <= images.min() < images.max() <= 1
    logits = nudged(discriminator)(images)
    assert logits.shape == (3,)
    everything_said(discriminator, images).backward()
    assert without_gradient(generator, discriminator) == []


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("family", [family for family in NETWORKS if family != "mlp"])
def test_every_pixel_is_drawn_and_seen(family: str, size: tuple[int, int]):
    """No row or column is left to padding alone, whatever the remainder of the halvings."""
    width, height = size
    generator, discriminator = networks.build(recipe(family), width=width, height=height, channels=1)
    initialise(generator, 0.5)
    images = generator(torch.randn(8, 16))
    assert (images.std(0) > 1e-6).all()
    seen = torch.zeros(1, 1, height, width, requires_grad=True)
    discriminator.eval()
    discriminator(seen + 0.1 * torch.randn(4, 1, height, width)).sum().backward()
    assert seen.grad is not None and (seen.grad != 0).all()


@pytest.mark.parametrize("family", NETWORKS)
def test_double_backward(family: str):
    """A penalty on the gradient reaches every weight that the logit of a real image depends on through it."""
    _, discriminator = networks.build(recipe(family), width=33, height=17, channels=3)
    nudged(discriminator).double()
    images = torch.randn(3, 3, 17, 33, dtype=torch.float64, requires_grad=True)
    discriminator(images).sum().backward()
    weights = {name: weight for name, weight in discriminator.named_parameters() if weight.dim() > 1}
    weights = {name: weight for name, weight in weights.items() if weight.grad is not None}  # the logit depends on
    assert len(weights) >= 3
    discriminator.zero_grad()
    (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights.values())
    name, weight = max(weights.items(), key=lambda item: item[1].numel())
    place, step = (0,) * weight.dim(), 1e-5
    losses = []
    for sign in (-1, 1):
        with torch.no_grad():
            weight[place] += sign * step
        (gradient,) = torch.autograd.grad(discriminator(images).sum(), images)
        losses.append(gradient.square().sum().item())
        with torch.no_grad():
            weight[place] -= sign * step
    assert weight.grad is not None
    assert weight.grad[place].item() == pytest.approx((losses[1] - losses[0]) / (2 * step), rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("family", NETWORKS)
def test_lower_precision_and_channels_last(family: str):
    pair = networks.build(recipe(family), width=33, height=17, channels=3)
    generator, discriminator = (
        networks.place(nudged(network), torch.device("cpu"), torch.float32).eval() for network in pair
    )
    z = torch.randn(3, 16)
    with torch.no_grad():
        exact = generator(z)
        logits = discriminator(exact)
        with torch.autocast("cpu", torch.bfloat16):
            near = generator(z)
            rough = discriminator(exact)
    assert near.shape == exact.shape and rough.shape == logits.shape
    assert 0 < (near.float() - exact).abs().max() < 0.1
    assert (rough.float() - logits).abs().max() < 0.05 * max(1, logits.abs().max())


@pytest.mark.parametrize("height", [8, 9, 15, 16, 31, 64, 250, 1023])
@pytest.mark.parametrize("width", [8, 13, 64, 1024])
def test_halvings_end_in_a_base_of_four_to_seven(width: int, height: int):
    stages = halvings(height, width)
    assert stages[0].inside == (height, width)
    assert all(4 <= side <= 7 for side in stages[-1].outside)
    for stage, following in pairwise(stages):
        assert stage.outside == following.inside


def test_too_small_for_halving():
    with pytest.raises(ValueError, match="7x64 is too small"):
        halvings(64, 7)


def test_dcgan_at_64_has_the_papers_parameters():
    generator, discriminator = networks.build(Recipe.load("dcgan"), width=64, height=64, channels=1)
    assert sum(parameter.numel() for parameter in generator.parameters()) == 3_574_656
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 2_763_520


@pytest.mark.parametrize("family", NETWORKS)
def test_weights_follow_from_the_seed_alone(family: str):
    def weights(seed: int) -> torch.Tensor:
        pair = networks.build(recipe(family, **{"training.seed": seed}), width=16, height=16, channels=1)
        return torch.cat([parameter.flatten() for network in pair for parameter in network.parameters()])

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weights(5)
    assert torch.equal(torch.get_rng_state(), before), "building must leave torch's generator alone"
    torch.manual_seed(2)
    assert torch.equal(weights(5), first)
    assert not torch.equal(weights(6), first)


def test_initialisation():
    network = nn.Sequential(nn.Conv2d(64, 64, 4), nn.BatchNorm2d(64), nn.Linear(300, 300))
    initialise(network, 0.02)
    assert 0.0197 < network[0].weight.std() < 0.0203 and abs(network[0].weight.mean()) < 3e-4
    assert 0.012 < network[1].weight.std() < 0.028 and 0.99 < network[1].weight.mean() < 1.01
    assert 0.0197 < network[2].weight.std() < 0.0203 and network[2].bias.abs().max() == 0
    before = network[0].weight.clone()
    initialise(network, 0)
    assert torch.equal(network[0].weight, before)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "silu"])
def test_activations_reach_the_network(name: str):
    generator, _ = networks.build(recipe("dcgan", **{"generator.activation": name}), width=16, height=16, channels=1)
    kinds = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "silu": nn.SiLU}
    assert sum(isinstance(module, kinds[name]) for module in generator.modules()) == 2


def test_dropout_acts_in_training_only():
    _, discriminator = networks.build(recipe("mlp", **{"discriminator.dropout": 0.5}), width=16, height=16, channels=1)
    images = torch.randn(4, 1, 16, 16)
    discriminator.train()
    assert not torch.equal(discriminator(images), discriminator(images))
    discriminator.eval()
    assert torch.equal(discriminator(images), discriminator(images))


def test_classes_are_refused_by_families_without_them():
    conditioned = {"network.conditioning": "projection", "network.classes": ["a", "b"]}
    plain = recipe("mlp")
    network = plain.network.model_copy(update={"conditioning": "projection", "classes": ("a", "b")})
    with pytest.raises(InputError, match="the mlp family cannot; it can do none"):
        networks.build(plain.model_copy(update={"network": network}), width=16, height=16, channels=1, classes=2)
    with pytest.raises(InputError, match="conditioning = none with 10 classes: set it to projection or acgan"):
        networks.build(recipe("dcgan"), width=16, height=16, channels=1, classes=10)
    with pytest.raises(InputError, match=r"conditioning = projection without classes: name them in network\.classes"):
        networks.build(recipe("dcgan", **conditioned), width=16, height=16, channels=1)
