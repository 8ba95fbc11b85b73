"""Batch normalisation of few channels: what torch's own makes of them, in both passes and beyond."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from limner.networks import packed
from limner.networks.norms import BatchNorm

SHAPES = [(8, 8, 64, 64), (4, 12, 75, 49), (2, 6, 160, 96), (3, 24, 96, 64), (1, 4, 256, 256), (8, 40, 32, 48)]


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(packed, "WORTH", 1)
    yield


def given(shape: tuple[int, int, int, int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Features far from mean 0 and deviation 1, and a gradient."""
    generator = torch.Generator().manual_seed(0)
    channels = torch.arange(1.0, shape[1] + 1)[:, None, None]
    features = torch.randn(shape, generator=generator) * channels + 3 * channels
    both = (features.to(dtype), torch.randn(shape, generator=generator).to(dtype))
    return tuple(one.to(memory_format=torch.channels_last) for one in both)  # type: ignore[return-value]


def passes(layer: nn.BatchNorm2d, features: Tensor, gradient: Tensor) -> list[Tensor]:
    """What a layer makes of features, the gradients, and its statistics afterwards."""
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 2.0, len(layer.weight)))
        layer.bias.copy_(torch.linspace(-1.0, 1.0, len(layer.weight)))
    features = features.requires_grad_(True)
    made = layer(features)
    grads = torch.autograd.grad(made, (features, layer.weight, layer.bias), gradient)
    assert layer.running_mean is not None and layer.running_var is not None and layer.num_batches_tracked is not None
    return [made, *grads, layer.running_mean, layer.running_var, layer.num_batches_tracked]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_batch_normalisation(shape: tuple[int, int, int, int]) -> None:
    """The reference is torch's own in double precision, contiguous; every number at most 1e-5 of the largest away."""
    features, gradient = given(shape)
    assert packed.suits(features) and (shape[0] * shape[2] * shape[3] * shape[1]) % packed._row(features) == 0
    mine = passes(BatchNorm(shape[1]), features, gradient)
    double = [one.detach().double().contiguous() for one in (features, gradient)]
    for found, wanted in zip(mine, passes(nn.BatchNorm2d(shape[1]).double(), *double), strict=True):
        assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max() and wanted.abs().max() > 0
    assert mine[0].is_contiguous(memory_format=torch.channels_last)
    assert mine[1].is_contiguous(memory_format=torch.channels_last)


def test_its_gradient_has_a_gradient() -> None:
    """As penalties need it, against numerical differentiation in float32's reach, and against torch's own."""
    features, gradient = given((2, 6, 16, 8))
    found = []
    for layer in (BatchNorm(6), nn.BatchNorm2d(6)):
        inputs = features.detach().clone(memory_format=torch.preserve_format).requires_grad_(True)
        assert packed.suits(inputs)
        (slope,) = torch.autograd.grad(layer(inputs), inputs, gradient, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), (inputs, layer.weight)))
    for mine, theirs in zip(*found, strict=True):
        assert (mine - theirs).abs().max() <= 1e-4 * theirs.abs().max() and theirs.abs().max() > 0


@pytest.mark.parametrize("frozen", ["features", "weights"])
def test_what_is_frozen_is_not_asked(frozen: str) -> None:
    features, gradient = given((2, 6, 16, 8))
    layer = BatchNorm(6).requires_grad_(frozen != "weights")
    features.requires_grad_(frozen != "features")
    asked = [one for one in (features, *layer.parameters()) if one.requires_grad]
    found = torch.autograd.grad(layer(features), asked, gradient, create_graph=True)
    plain = torch.autograd.grad(layer(features.contiguous()), asked, gradient)
    assert len(found) == {"features": 2, "weights": 1}[frozen]
    for one, other in zip(found, plain, strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max() and other.abs().max() > 0


def test_torchs_own_is_left_what_it_does_well() -> None:
    features, _ = given((4, 16, 32, 32))
    assert not packed.suits(features)  # whole registers
    assert not packed.suits(given((4, 8, 32, 32))[0].contiguous())  # another order in memory
    assert not packed.suits(given((4, 8, 32, 32), torch.float64)[0])
    assert not packed.suits(given((1, 6, 3, 3))[0])  # nine pixels fill no registers
    mine, theirs = BatchNorm(8).eval(), nn.BatchNorm2d(8).eval()
    assert torch.equal(mine(given((4, 8, 32, 32))[0]), theirs(given((4, 8, 32, 32))[0]))
