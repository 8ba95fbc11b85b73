"""Penalties on D's gradient: closed forms, and second derivatives against numerical ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from limner.tables import REGULARIZERS
from limner.training.regularizers import clip_weights, gradient_penalty, r1, r2


def batch(count: int = 3, channels: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    real, fake = torch.randn(2, count, channels, 4, 5, generator=generator, dtype=torch.float64)
    return real, fake, torch.rand(count, generator=generator, dtype=torch.float64)


class Curved(nn.Module):
    """A small discriminator that is smooth and not linear: [b, c, 4, 5] -> [b]."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(channels, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(18, 1)).double()

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).squeeze(1)


def test_a_linear_discriminator_has_one_gradient_everywhere():
    """D(x) = <w, x> with |w|^2 = 20 * 2 * 0.25: the gradient is w, so R1 = R2 = |w|^2 / 2."""
    real, fake, mix = batch()

    def linear(images: Tensor) -> Tensor:
        return (0.5 * images).sum((1, 2, 3)) + 7.0

    squared = 0.25 * 40
    assert r1(linear, real, fake, mix).item() == pytest.approx(squared / 2, abs=1e-12)
    assert r2(linear, real, fake, mix).item() == pytest.approx(squared / 2, abs=1e-12)
    assert gradient_penalty(linear, real, fake, mix).item() == pytest.approx((squared**0.5 - 1) ** 2, abs=1e-12)


def test_a_quadratic_discriminator_shows_where_the_gradient_is_taken():
    """D(x) = a/2 |x|^2 has the gradient a x: so each penalty tells at which images it looked."""
    real, fake, mix = batch()

    def quadratic(images: Tensor) -> Tensor:
        return 1.5 * images.square().sum((1, 2, 3)) / 2

    def squares(images: Tensor) -> Tensor:
        return images.square().sum((1, 2, 3))

    assert r1(quadratic, real, fake, mix).item() == pytest.approx(2.25 * squares(real).mean().item() / 2, rel=1e-12)
    assert r2(quadratic, real, fake, mix).item() == pytest.approx(2.25 * squares(fake).mean().item() / 2, rel=1e-12)
    between = torch.stack([m * x + (1 - m) * y for m, x, y in zip(mix, real, fake, strict=True)])
    expected = (1.5 * squares(between).sqrt() - 1).square().mean().item()
    assert gradient_penalty(quadratic, real, fake, mix).item() == pytest.approx(expected, rel=1e-12)
    one = torch.ones_like(mix)
    at_real = (1.5 * squares(real).sqrt() - 1).square().mean().item()
    assert gradient_penalty(quadratic, real, fake, one).item() == pytest.approx(at_real, rel=1e-12)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_values_by_numerical_differentiation(name: str):
    """The penalty from a gradient that finite differences give, one pixel at a time."""
    real, fake, mix = batch()
    network = Curved()
    share = mix.view(-1, 1, 1, 1)
    at = {"r1": real, "r2": fake, "gradient_penalty": share * real + (1 - share) * fake}[name]
    step, slopes = 1e-5, torch.zeros_like(at)
    with torch.no_grad():
        for place in range(at[0].numel()):
            nudge = torch.zeros_like(at[0]).view(-1)
            nudge[place] = step
            nudge = nudge.view(at[0].shape)
            slopes.view(len(at), -1)[:, place] = (network(at + nudge) - network(at - nudge)) / (2 * step)
    squared = slopes.square().sum((1, 2, 3))
    expected = (squared.sqrt() - 1).square().mean() if name == "gradient_penalty" else squared.mean() / 2
    assert REGULARIZERS[name].load()(network, real, fake, mix).item() == pytest.approx(expected.item(), rel=1e-7)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_the_penalty_reaches_the_weights(name: str):
    """Double backward: the derivative with respect to each weight, against finite differences."""
    real, fake, mix = batch()
    network, penalty = Curved(), REGULARIZERS[name].load()
    penalty(network, real, fake, mix).backward()
    for label, weights in network.named_parameters():
        if label == "layers.3.bias":
            assert weights.grad is None or not weights.grad.any(), "a constant does not change a slope"
            continue
        assert weights.grad.any()
        for place in range(0, weights.numel(), 5):
            values = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    weights.view(-1)[place] += step
                values.append(penalty(network, real, fake, mix).item())
                with torch.no_grad():
                    weights.view(-1)[place] -= step
            slope = (values[0] - values[1]) / 2e-5
            assert weights.grad.view(-1)[place].item() == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_images_stay_as_they_are(name: str):
    """A graph behind the fakes is not followed, and the images do not get gradients."""
    real, fake, mix = batch()
    source = fake.clone().requires_grad_()
    REGULARIZERS[name].load()(Curved(), real, source * 1, mix).backward()
    assert source.grad is None and not real.requires_grad


def test_a_flat_discriminator_gives_no_nan():
    """Where the gradient's length is 0 its derivative is taken as 0, and the penalty is (0 - 1)^2."""
    real, fake, mix = batch()
    network = Curved()
    nn.init.zeros_(network.layers[3].weight)
    loss = gradient_penalty(network, real, fake, mix)
    loss.backward()
    assert loss.item() == 1
    assert all(weights.grad is None or torch.isfinite(weights.grad).all() for weights in network.parameters())


def test_penalties_work_in_channels_last_and_single_precision():
    real, fake, mix = batch()
    network = Curved().float()
    expected = gradient_penalty(network, real.float(), fake.float(), mix.float()).item()
    real, fake = (images.float().contiguous(memory_format=torch.channels_last) for images in (real, fake))
    assert gradient_penalty(network, real, fake, mix).item() == pytest.approx(expected, rel=1e-5)


def test_clipping():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network[0].weight.data = torch.tensor([[0.5, -0.5], [0.005, -0.01]])
    network[1].running_mean.fill_(3.0)
    clip_weights(network, 0.01)
    torch.testing.assert_close(network[0].weight.data, torch.tensor([[0.01, -0.01], [0.005, -0.01]]), atol=0, rtol=0)
    assert network[1].weight.tolist() == pytest.approx([0.01, 0.01]) and network[1].running_mean.tolist() == [3.0, 3.0]
    assert all(weights.requires_grad and weights.grad_fn is None for weights in network.parameters())
    with pytest.raises(ValueError, match="over 0"):
        clip_weights(network, 0.0)
