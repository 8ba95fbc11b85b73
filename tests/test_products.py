"""Weight gradients as matrix products: the same as torch's, and only where they are meant to be."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from limner.networks import build, products
from limner.recipe import Recipe


@pytest.fixture
def pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """On every processor as on one where it pays."""
    monkeypatch.setattr(products, "_pays", lambda: True)


SHAPES = [
    ((4, 4), (2, 2), (1, 1), (16, 16)),
    ((4, 4), (2, 2), (1, 1), (14, 10)),
    ((5, 3), (2, 1), (2, 0), (11, 9)),
    ((4, 4), (3, 3), (0, 1), (13, 12)),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_the_product_is_the_gradient(kernel, stride, padding, size, transposed: bool):
    """In float64, by torch's own differentiation; for a transposed convolution the roles are changed."""
    torch.manual_seed(0)
    images = torch.randn(3, 5, *size, dtype=torch.float64)
    weight = torch.randn(7, 5, *kernel, dtype=torch.float64, requires_grad=True)
    if transposed:
        small = torch.randn_like(F.conv2d(images, weight, stride=stride, padding=padding)).detach()
        made = F.conv_transpose2d(small, weight, stride=stride, padding=padding)
        large = torch.randn_like(made)
        (expected,) = torch.autograd.grad(made, weight, large)
    else:
        made, large = F.conv2d(images, weight, stride=stride, padding=padding), images
        small = torch.randn_like(made)
        (expected,) = torch.autograd.grad(made, weight, small)
    found = products.weight_gradient(small, large, kernel, stride, padding)
    assert found.shape == weight.shape
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-11)


def gradients(layer: nn.Module, images: torch.Tensor, sent: torch.Tensor) -> list[torch.Tensor]:
    layer.zero_grad()
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = layer(images)
    assert made.dtype == torch.bfloat16
    made.backward(sent.to(made.dtype))
    assert images.grad is not None
    return [made.detach().float(), images.grad, *(one.grad for one in layer.parameters() if one.grad is not None)]


@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d"])
@pytest.mark.parametrize("bias", [False, True])
def test_in_bfloat16_it_rounds_as_torch_does(pays: None, kind: str, bias: bool):
    torch.manual_seed(1)
    ours = getattr(products, kind)(128, 144, 4, 2, 1, bias=bias).to(memory_format=torch.channels_last)
    theirs = getattr(nn, kind)(128, 144, 4, 2, 1, bias=bias).to(memory_format=torch.channels_last)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(5, 128, 10, 6).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sent = torch.randn_like(theirs(images).float())
        assert products._suits(ours, images)
        assert "_Convolved" in type(ours(images).grad_fn).__name__
    found, expected = gradients(ours, images, sent), gradients(theirs, images, sent)
    assert len(found) == len(expected) == (4 if bias else 3)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype == torch.float32 and one.shape == other.shape
        assert float((one - other).abs().max() / other.abs().max()) < 0.012  # bfloat16 has 8 bits: 0.004 a rounding


def test_it_is_for_what_it_was_measured_to_be_faster_for(pays: None, monkeypatch: pytest.MonkeyPatch):
    images = torch.zeros(2, 128, 8, 8)
    layer = products.Conv2d(128, 128, 4, 2, 1)
    assert not products._suits(layer, images), "in float32"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert products._suits(layer, images)
        with torch.no_grad():
            assert not products._suits(layer, images), "nobody asks for a gradient"
        assert not products._suits(products.Conv2d(128, 128, 3, 1, 1), images), "without a stride"
        assert not products._suits(products.Conv2d(128, 64, 4, 2, 1), images), "narrow"
        assert not products._suits(products.Conv2d(128, 128, 4, 2, 1, groups=2), images)
        assert not products._suits(layer, images[:1].expand(9000, 128, 8, 8)), "more patches than a cache holds"
        assert not products._suits(layer.requires_grad_(False), images), "weights that do not learn"
        monkeypatch.setattr(products, "_pays", lambda: False)
        assert not products._suits(layer.requires_grad_(True), images)


def test_the_wide_layers_of_dcgan_take_it(pays: None):
    recipe = Recipe.load("dcgan", {"image.width": 64, "image.height": 64, "image.channels": 1})
    generator, discriminator = build(recipe, width=64, height=64, channels=1)
    taken: list[tuple[int, int]] = []
    for network in (generator, discriminator):
        for layer in network.modules():
            if isinstance(layer, products.Conv2d | products.ConvTranspose2d):
                layer.register_forward_hook(
                    lambda layer, _, made: (
                        taken.append((layer.in_channels, layer.out_channels))
                        if "_Convolved" in type(made.grad_fn).__name__
                        else None
                    )
                )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        discriminator(generator(torch.randn(4, 100)))
    assert taken == [(512, 256), (256, 128), (128, 256), (256, 512)]


def test_nobody_differentiates_it_twice_unawares(pays: None):
    layer = products.Conv2d(128, 128, 4, 2, 1)
    images = torch.randn(2, 128, 8, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = layer(images).float().square().sum()
    (slope,) = torch.autograd.grad(made, images, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()
