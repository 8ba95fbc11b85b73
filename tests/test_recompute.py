"""Blocks computed again in the backward pass: less is kept, and nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from limner.networks.layers import recompute
from limner.tables import NETWORKS
from networks_support import build, everything_said, nudged

CONDITIONED = {"network.conditioning": "projection", "network.classes": ["a", "b"]}
CASES = [
    ("dcgan", {"generator.dropout": 0.3, "discriminator.dropout": 0.3}),
    ("dcgan", {"generator.norm": "spectral", "discriminator.norm": "spectral"}),
    ("dcgan", {**CONDITIONED, "generator.upsample": "pixel-shuffle", "generator.smooth": 3}),
    ("dcgan", {"generator.norm": "instance", "discriminator.norm": "layer"}),
    ("r3gan", {"generator.depth": 2}),
    *((family, {}) for family in NETWORKS if family != "mlp"),
]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def outcome(pair: tuple[nn.Module, nn.Module], again: bool, penalty: bool) -> list[Tensor]:
    """Gradients and buffers after what a training does: real and fake images through D before one backward pass."""
    generator, discriminator = copy.deepcopy(pair)
    generator.recompute = discriminator.recompute = again
    torch.manual_seed(7)
    z, real, labels = torch.randn(4, 16), torch.randn(4, 3, 20, 17, requires_grad=True), torch.tensor([0, 1, 1, 0])
    fake = generator(z, labels)
    loss = everything_said(discriminator, fake, labels) - discriminator(real, labels).sum()
    if penalty:
        (gradient,) = torch.autograd.grad(discriminator(real, labels).sum(), real, create_graph=True)
        loss = loss + gradient.square().sum()
    loss.backward()
    assert real.grad is not None
    found = [real.grad, fake.detach(), torch.get_rng_state()]
    for network in (generator, discriminator):
        found += [weight.grad if weight.grad is not None else torch.zeros(0) for weight in network.parameters()]
        found += [*network.buffers()]
    return found


@pytest.mark.parametrize("penalty", [False, True], ids=["", "penalty"])
@pytest.mark.parametrize(("family", "switches"), CASES, ids=str)
def test_gradients_and_statistics_are_the_same(family: str, switches: dict[str, object], penalty: bool):
    pair = build(family, 17, 20, **switches)
    for network in pair:
        nudged(network)
    plain, again = (outcome(pair, again, penalty) for again in (False, True))
    assert len(plain) == len(again)
    for kept, recomputed in zip(plain, again, strict=True):
        assert torch.equal(kept, recomputed)


@contextmanager
def kept_bytes() -> Iterator[list[int]]:
    """How much the forward pass keeps for the backward pass, each storage once."""
    seen: dict[int, int] = {}
    total = [0]

    def pack(value: Tensor) -> Tensor:
        seen[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        total[0] = sum(seen.values())
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        yield total


@pytest.mark.parametrize("family", ["dcgan", "mapmaker", "r3gan"])
def test_less_is_kept(family: str):
    found = {}
    for again in (False, True):
        generator, discriminator = build(family, 64, 64)
        generator.recompute = discriminator.recompute = again
        with kept_bytes() as total:
            discriminator(generator(torch.randn(16, 16)))
        found[again] = total[0]
    assert 0 < found[True] < 0.8 * found[False]


def test_under_bfloat16():
    pair = build("dcgan", 17, 20, **{"generator.norm": "spectral", "discriminator.norm": "spectral"})
    with torch.autocast("cpu", torch.bfloat16):
        plain, again = (outcome(pair, again, False) for again in (False, True))
    assert all(torch.equal(kept, recomputed) for kept, recomputed in zip(plain, again, strict=True))


def test_without_gradients_nothing_runs_twice():
    calls = []

    def function(values: Tensor) -> Tensor:
        calls.append(len(values))
        return layer(values).square()

    layer = nn.Linear(2, 2)
    with torch.no_grad():
        assert not recompute(function, [layer], torch.ones(3, 2)).requires_grad
    assert calls == [3]
    result = recompute(function, [layer], torch.ones(3, 2))
    result.sum().backward()
    assert calls == [3, 3, 3]
    assert layer.weight.grad is not None


def test_statistics_stay_the_modules_own_tensors():
    """An average of the network refers to them."""
    generator, _ = build("dcgan", 16, 16)
    before = {name: buffer for name, buffer in generator.named_buffers()}
    generator.recompute = True
    generator(torch.randn(4, 16)).sum().backward()
    assert all(buffer is before[name] for name, buffer in generator.named_buffers())
    assert before["layers.1.num_batches_tracked"].item() == 1
