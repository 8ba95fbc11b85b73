"""Convolutions that penalties differentiate twice: the gradients that torch's own give, of weights alone."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limner.training.regularizers import gradient_penalty, r1
from limner.training.twice import TwiceDifferentiated
from networks_support import build, nudged

KINDS: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": (3, 2), "stride": (1, 2), "padding": (0, 1), "dilation": (2, 1), "bias": False},
    {"kernel_size": 1, "groups": 2},
    {"kernel_size": 3, "padding": "same"},
]


def gradients(network: nn.Module, images: Tensor, entered: bool) -> tuple[Tensor, list[Tensor | None]]:
    """Two penalties, and their gradients."""

    def discriminator(at: Tensor) -> Tensor:
        with TwiceDifferentiated() if entered else nullcontext():
            return network(at)  # type: ignore[no-any-return]

    network.zero_grad()
    mix = torch.linspace(0.1, 0.9, len(images), dtype=images.dtype)
    other = images.flip(0)
    loss = r1(discriminator, images, other, mix) + gradient_penalty(discriminator, images, other, mix)
    loss.backward()
    return loss.detach(), [None if one.grad is None else one.grad.clone() for one in network.parameters()]


def close(one: Tensor | None, other: Tensor | None) -> bool:
    """Within rounding; there is none where there would be zeros, at most."""
    if one is None or other is None:
        return not any(found is not None and found.any() for found in (one, other))
    return bool((one - other).abs().max() <= 1e-9 * (1e-9 + one.abs().max()))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(f"{key}={value}" for key, value in kind.items()))
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_penalties_have_the_same_gradients(kind: dict[str, Any], form: torch.memory_format):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 6, **kind), nn.SiLU(), nn.Flatten())
    network = nn.Sequential(network, nn.LazyLinear(1), nn.Flatten(0)).double()
    images = torch.randn(3, 2, 9, 8, dtype=torch.float64).contiguous(memory_format=form)
    network(images)
    expected, found = (gradients(network, images, entered) for entered in (False, True))
    assert close(expected[0], found[0]) and expected[0] > 0
    for (name, _), one, other in zip(network.named_parameters(), expected[1], found[1], strict=True):
        assert close(one, other), name
    assert sum(one is not None and bool(one.any()) for one in found[1]) >= 4


@pytest.mark.parametrize("norm", ["layer", "instance", "spectral", "none"])
@pytest.mark.parametrize("family", ["dcgan", "fewshot", "r3gan", "mapmaker"])
def test_every_discriminator_has_the_same_penalties(family: str, norm: str):
    chosen = {} if family == "r3gan" else {"discriminator.norm": norm}
    network = nudged(build(family, 24, 16, **chosen)[1]).double()
    images = torch.randn(4, 3, 16, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    network.eval()  # the same estimates of spectral norms, and no dropout
    expected, found = (gradients(network, images, entered) for entered in (False, True))
    assert close(expected[0], found[0]) and expected[0] > 0
    for (name, _), one, other in zip(network.named_parameters(), expected[1], found[1], strict=True):
        assert close(one, other), name


def test_no_kernel_is_as_large_as_the_maps():
    """What it is for: no convolution of the second backward pass has the maps of another for its kernel."""
    kernels = []

    class Watching(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.ops.aten.convolution.default:
                kernels.append(max(args[1].shape[2:]))
            return function(*args, **(kwargs or {}))

    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.SiLU(), nn.Conv2d(3, 1, 3), nn.Flatten(), nn.Linear(84, 1)
    )
    for entered, largest in ((True, 3), (False, 16)):
        kernels.clear()
        with Watching():
            gradients(nn.Sequential(network, nn.Flatten(0)), torch.randn(2, 2, 16, 8), entered)
        assert max(kernels) == largest
