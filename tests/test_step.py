"""Limner's training against GANs written out by hand: the same outputs, the same gradients, the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from limner import networks, noise
from limner.data import prepare
from limner.device import autocast_for
from limner.noise import Stream, derived_seed
from limner.recipe import Recipe
from limner.training.assembly import assemble, make_optimizer, resolved
from limner.training.objectives import non_saturating
from limner.training.step import Step
from limner.training.turns import Batch

STEPS = 20
BATCH = 4


def dcgan_by_hand() -> tuple[nn.Module, nn.Module]:
    """The layers of InitialsGAN GAN-02, one by one."""
    generator = nn.Sequential(
        nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False),
        nn.BatchNorm2d(512),
        nn.ReLU(),
        nn.ConvTranspose2d(512, 256, 4, 2, 1, bias=False),
        nn.BatchNorm2d(256),
        nn.ReLU(),
        nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, 64, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, 2, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2),
        nn.Conv2d(128, 256, 4, 2, 1, bias=False),
        nn.BatchNorm2d(256),
        nn.LeakyReLU(0.2),
        nn.Conv2d(256, 512, 4, 2, 1, bias=False),
        nn.BatchNorm2d(512),
        nn.LeakyReLU(0.2),
        nn.Conv2d(512, 1, 4, 1, 0, bias=False),
        nn.Sigmoid(),
        nn.Flatten(0),
    )
    return generator, discriminator


def vanilla_by_hand() -> tuple[nn.Module, nn.Module]:
    """The layers of InitialsGAN GAN-01, one by one."""
    generator = nn.Sequential(
        nn.Linear(100, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 512),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 1024),
        nn.LeakyReLU(0.2),
        nn.Linear(1024, 784),
        nn.Tanh(),
        nn.Unflatten(1, (1, 28, 28)),
    )
    discriminator = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 1024),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.3),
        nn.Linear(1024, 512),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.3),
        nn.Linear(512, 256),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.3),
        nn.Linear(256, 1),
        nn.Sigmoid(),
        nn.Flatten(0),
    )
    return generator, discriminator


BY_HAND: dict[str, Callable[[], tuple[nn.Module, nn.Module]]] = {"dcgan": dcgan_by_hand, "vanilla": vanilla_by_hand}


def pairs(name: str) -> tuple[Recipe, tuple[nn.Module, nn.Module], tuple[nn.Module, nn.Module]]:
    """Limner's pair and the one by hand, with the same weights, in float64."""
    recipe = Recipe.load(name)
    width, height, channels = recipe.image.width, recipe.image.height, recipe.image.channels
    assert width and height and channels
    ours = networks.build(recipe, width=width, height=height, channels=channels)
    theirs = BY_HAND[name]()
    for mine, hand in zip(ours, theirs, strict=True):
        mine.double()
        hand.double()
        weights = [*mine.parameters()]
        assert len(weights) == len([*hand.parameters()])
        with torch.no_grad():
            for source, target in zip(weights, hand.parameters(), strict=True):
                target.copy_(source)
    return recipe, ours, theirs


def textbook_step(
    generator: nn.Module, discriminator: nn.Module, optimizers: tuple[torch.optim.Adam, torch.optim.Adam]
) -> Callable[[Tensor, Tensor], None]:
    """A GAN step on probabilities, as tutorials write it."""
    loss = nn.BCELoss()
    of_generator, of_discriminator = optimizers

    def step(real: Tensor, z: Tensor) -> None:
        ones, zeros = torch.ones(len(real), dtype=torch.float64), torch.zeros(len(real), dtype=torch.float64)
        fake = generator(z)
        of_discriminator.zero_grad()
        (loss(discriminator(real), ones) + loss(discriminator(fake.detach()), zeros)).backward()
        of_discriminator.step()
        of_generator.zero_grad()
        loss(discriminator(fake), ones).backward()
        of_generator.step()

    return step


@pytest.mark.parametrize("name", BY_HAND)
def test_outputs_and_gradients_are_those_of_the_layers_by_hand(name: str):
    recipe, (generator, discriminator), (hand_generator, hand_discriminator) = pairs(name)
    torch.manual_seed(0)
    z = torch.randn(BATCH, recipe.network.latent, dtype=torch.float64)
    hand_z = z[:, :, None, None] if name == "dcgan" else z
    fake, hand_fake = generator(z), hand_generator(hand_z)
    assert (fake - hand_fake).abs().max() < 1e-12
    torch.manual_seed(1)
    logits = discriminator(fake)
    torch.manual_seed(1)
    probabilities = hand_discriminator(hand_fake)
    assert (logits.sigmoid() - probabilities).abs().max() < 1e-12
    non_saturating().generator(logits).backward()
    nn.BCELoss()(probabilities, torch.ones_like(probabilities)).backward()
    for ours, theirs in ((generator, hand_generator), (discriminator, hand_discriminator)):
        for mine, hand in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert mine.grad is not None and hand.grad is not None
            assert hand.grad.abs().max() > 0
            assert (mine.grad - hand.grad).abs().max() <= 1e-9 * hand.grad.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", BY_HAND)
def test_twenty_steps_give_the_weights_of_the_textbook(name: str, tmp_path: Path):
    """Limner's whole training (feed, order, latents, step, optimizers) against a loop that is written out here."""
    size = {"dcgan": 64, "vanilla": 28}[name]
    pixels = np.random.default_rng(2).integers(0, 256, (11, size, size), dtype=np.uint8)
    np.save(tmp_path / "pictures.npy", pixels)
    settings = {"training.batch_size": BATCH, "training.precision": "float64", "training.device": "cpu"}
    recipe = Recipe.load(name, settings)
    collection = prepare(tmp_path / "pictures.npy", recipe.image, cache_dir=tmp_path / "cache")
    loop = assemble(resolved(recipe, collection, torch.device("cpu")), collection, torch.device("cpu"))
    hand_generator, hand_discriminator = (network.double() for network in BY_HAND[name]())
    before = copy.deepcopy(loop.step.generator.state_dict())
    for ours, theirs in ((loop.step.generator, hand_generator), (loop.step.discriminator, hand_discriminator)):
        with torch.no_grad():
            for mine, hand in zip(ours.parameters(), theirs.parameters(), strict=True):
                hand.copy_(mine)
    betas = (0.5, 0.999) if name == "dcgan" else (0.9, 0.999)
    by_hand = textbook_step(
        hand_generator,
        hand_discriminator,
        (
            torch.optim.Adam(hand_generator.parameters(), 0.0002, betas),
            torch.optim.Adam(hand_discriminator.parameters(), 0.0002, betas),
        ),
    )
    order = np.concatenate([noise.permutation(0, Stream.DATA_ORDER, epoch, 11) for epoch in range(8)])
    for number in range(STEPS):
        loop.advance()
        samples = np.arange(number * BATCH, (number + 1) * BATCH)
        real = torch.from_numpy(pixels[order[samples]]).double()[:, None] / 127.5 - 1
        z = torch.from_numpy(noise.normal(0, Stream.TRAIN_LATENT, samples, 100)).double()
        torch.manual_seed(derived_seed(0, Stream.TORCH, number))
        by_hand(real, z[:, :, None, None] if name == "dcgan" else z)
    for ours, theirs in ((loop.step.generator, hand_generator), (loop.step.discriminator, hand_discriminator)):
        for mine, hand in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert (mine - hand).abs().max() < 1e-9
    moved = max((before[key] - value).abs().max().item() for key, value in loop.step.generator.named_parameters())
    assert 0.001 < moved < 0.02, "twenty steps of Adam at 0.0002 move a weight by some 0.004 at most"
    for averaged, trained in zip(loop.average.current().parameters(), hand_generator.parameters(), strict=True):
        assert (averaged - trained).abs().max() < 1e-9


def test_the_generators_turn_leaves_the_discriminator_alone():
    recipe, (generator, discriminator), _ = pairs("vanilla")
    step = Step(
        generator,
        discriminator.eval(),
        make_optimizer(generator, recipe.generator),
        make_optimizer(discriminator, recipe.discriminator),
        non_saturating(),
        autocast_for("float64", torch.device("cpu")),
    )
    before = copy.deepcopy(discriminator.state_dict())
    z = torch.randn(BATCH, 100, dtype=torch.float64)
    batch = Batch(torch.zeros(BATCH, 1, 28, 28, dtype=torch.float64), z)
    step.update_generator([batch], [generator(z)])
    assert all(torch.equal(before[key], value) for key, value in discriminator.state_dict().items())
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    assert all(parameter.requires_grad for parameter in discriminator.parameters())
    assert all(parameter.grad is not None for parameter in generator.parameters())


def test_the_discriminators_turn_leaves_the_generator_alone():
    recipe, (generator, discriminator), _ = pairs("vanilla")
    step = Step(
        generator,
        discriminator,
        make_optimizer(generator, recipe.generator),
        make_optimizer(discriminator, recipe.discriminator),
        non_saturating(),
        autocast_for("float64", torch.device("cpu")),
    )
    real = torch.rand(BATCH, 1, 28, 28, dtype=torch.float64)
    discriminator.eval()  # no dropout: the same logits again
    with torch.no_grad():
        real_logits, fake_logits = discriminator(real), discriminator(-real)
    measures = step.update_discriminator([Batch(real, torch.zeros(BATCH, 100))], [-real], 0)
    assert all(parameter.grad is None for parameter in generator.parameters())
    expected = non_saturating().discriminator(real_logits, fake_logits).item()
    assert measures.discriminator_loss.item() == pytest.approx(expected, abs=1e-12)
    assert measures.real_logit.item() == pytest.approx(real_logits.mean().item(), abs=1e-12)


def test_bfloat16_stays_near_float32():
    """Autocast changes the arithmetic, not the training: losses differ by rounding only."""
    losses = {}
    for precision in ("float32", "bfloat16"):
        recipe = Recipe.load("quick", {"generator.width": 8, "discriminator.width": 8})
        generator, discriminator = networks.build(recipe, width=32, height=32, channels=1)
        step = Step(
            generator,
            discriminator,
            make_optimizer(generator, recipe.generator),
            make_optimizer(discriminator, recipe.discriminator),
            non_saturating(),
            autocast_for(precision, torch.device("cpu")),
        )
        data = torch.Generator().manual_seed(3)
        for _ in range(3):
            real = torch.rand(16, 1, 32, 32, generator=data) * 2 - 1
            measures = step([Batch(real, torch.randn(16, 100, generator=data))])
        assert measures.discriminator_loss.dtype == torch.float32
        assert all(parameter.dtype == torch.float32 for parameter in generator.parameters())
        losses[precision] = float(measures.discriminator_loss)
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.05)
