"""Penalties without the zeros of second derivatives: the same gradients, bit for bit, and less arithmetic."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.networks.resample import Shrunk
from limner.training.regularizers import r1
from limner.training.slopes import ConstantSlopes
from networks_support import build, nudged


class Straight(nn.Module):
    """Convolutions, both kinds of ReLU, in place and not, and pooling: [b, 2, 9, 8] -> [b]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = (nn.Conv2d(n, 3, 3, padding=1).double() for n in (2, 3))
        self.shrunk, self.last = Shrunk((2, 2)), nn.Linear(48, 1).double()

    def forward(self, images: Tensor) -> Tensor:
        values = self.shrunk(F.leaky_relu(self.first(images), 0.2, inplace=True))
        values = F.relu(self.second(values), inplace=True)
        return self.last(values.flatten(1)).flatten()


def gradients(network: nn.Module, images: Tensor, entered: bool) -> tuple[Tensor, list[Tensor]]:
    """The R1 penalty and its gradients; those that there are none of as zeros."""

    def discriminator(at: Tensor) -> Tensor:
        with ConstantSlopes() if entered else nullcontext():
            return network(at)

    network.zero_grad()
    loss = r1(discriminator, images, images, images)
    loss.backward()
    return loss.detach(), [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_a_penalty_are_the_same(form: torch.memory_format):
    images = torch.randn(3, 2, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    images = images.contiguous(memory_format=form)
    network = Straight()
    expected, found = (gradients(network, images, entered) for entered in (False, True))
    assert torch.equal(expected[0], found[0]) and expected[0] > 0
    assert all(torch.equal(one, other) for one, other in zip(expected[1], found[1], strict=True))
    assert sum(bool(one.any()) for one in found[1]) == 3, (
        "the weights of all three layers; a penalty has none for biases"
    )


def test_first_derivatives_by_numerical_differentiation():
    network = Straight()
    images = torch.randn(
        2, 2, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True
    )
    with ConstantSlopes():
        assert torch.equal(network(images), network(images.detach()))
        assert torch.autograd.gradcheck(network, images)
        plain = torch.autograd.grad(network(images).sum(), images)[0]
    assert torch.equal(plain, torch.autograd.grad(network(images).sum(), images)[0])


def test_the_paper_network_has_no_curved_layer():
    """What ``r3gan``'s discriminator says of itself: its penalty comes out the same, through every parameter."""
    network = nudged(build("r3gan", 16, 16)[1]).double()
    assert network.constant_slopes
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    expected, found = (gradients(network, images, entered) for entered in (False, True))
    assert torch.equal(expected[0], found[0]) and expected[0] > 0
    for (name, value), one, other in zip(network.named_parameters(), expected[1], found[1], strict=True):
        assert torch.equal(one, other), name
        assert bool(other.any()) == (not name.endswith("bias")), f"{name} of {tuple(value.shape)}"
