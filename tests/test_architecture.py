"""The switches of the architectures: with all of them off the networks are the plain ones, and each of them works."""

from __future__ import annotations

import copy
from math import sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from limner import networks
from limner.errors import InputError
from limner.networks import mapmaker, r3gan
from limner.networks.layers import initialise
from limner.networks.norms import SpectralNorm
from limner.networks.resample import Blur, PixelShuffle, Shrunk, Smoothing, SubPixelConv, halvings
from limner.noise import Stream, derived_seed
from limner.recipe import Recipe
from networks_support import build, nudged, recipe, without_gradient


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def square_by_hand() -> tuple[nn.Sequential, nn.Sequential]:
    """DCGAN at 64x64 grey, the layers of the paper."""

    def up(inside: int, outside: int, *others: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(inside, outside, 4, *others, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]

    def down(inside: int, outside: int) -> list[nn.Module]:
        return [nn.Conv2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.LeakyReLU(0.2)]

    torch.manual_seed(derived_seed(0, Stream.INIT, 0))
    generator = drawn(
        nn.Sequential(
            *up(100, 512),
            *up(512, 256, 2, 1),
            *up(256, 128, 2, 1),
            *up(128, 64, 2, 1),
            nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )
    )
    torch.manual_seed(derived_seed(0, Stream.INIT, 1))
    first = [nn.Conv2d(1, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    rest = [*down(64, 128), *down(128, 256), *down(256, 512), nn.Conv2d(512, 1, 4, bias=False)]
    return generator, drawn(nn.Sequential(*first, *rest))


def odd_by_hand() -> tuple[nn.Sequential, nn.Sequential]:
    """33 wide and 97 high, RGB, width 4: heights 97-48-24-12-6, widths 33-16-8-4-4."""

    def layers(convolution: nn.Module, channels: int) -> list[nn.Module]:
        return [convolution, nn.BatchNorm2d(channels), nn.LeakyReLU(0.2)]

    torch.manual_seed(derived_seed(0, Stream.INIT, 0))
    generator = drawn(
        nn.Sequential(
            *layers(nn.ConvTranspose2d(16, 32, (6, 4), bias=False), 32),
            *layers(nn.ConvTranspose2d(32, 16, (4, 3), (2, 1), 1, bias=False), 16),
            *layers(nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), 8),
            *layers(nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False), 4),
            nn.ConvTranspose2d(4, 3, 4, 2, 1, output_padding=1, bias=False),
            nn.Tanh(),
        )
    )
    torch.manual_seed(derived_seed(0, Stream.INIT, 1))
    discriminator = drawn(
        nn.Sequential(
            nn.Conv2d(3, 4, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
            *layers(nn.Conv2d(4, 8, 4, 2, 1, bias=False), 8),
            *layers(nn.Conv2d(8, 16, 4, 2, 1, bias=False), 16),
            *layers(nn.Conv2d(16, 32, (4, 3), (2, 1), 1, bias=False), 32),
            nn.Conv2d(32, 1, (6, 4), bias=False),
        )
    )
    return generator, discriminator


def drawn(network: nn.Sequential) -> nn.Sequential:
    """With weights as the paper draws them, layer by layer."""
    for module in network:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0, 0.02)
    return network


@pytest.mark.parametrize(
    ("by_hand", "chosen", "size"),
    [(square_by_hand, Recipe.load("dcgan"), (64, 64, 1)), (odd_by_hand, recipe("dcgan"), (33, 97, 3))],
    ids=["64x64", "33x97"],
)
def test_with_every_switch_off_it_is_the_plain_dcgan(by_hand, chosen: Recipe, size: tuple[int, int, int]):
    """Names, initial weights and outputs, bit for bit."""
    width, height, channels = size
    ours = networks.build(chosen, width=width, height=height, channels=channels)
    z = torch.randn(2, chosen.network.latent)
    results = []
    for pair, columns in ((ours, z), (by_hand(), z[:, :, None, None])):
        images = pair[0](columns)
        results.append((images, pair[1](images).flatten()))
        pair[0].train(False)
        results[-1] += (pair[0](columns),)
    for mine, hand in zip(*results, strict=True):
        assert torch.equal(mine, hand)
    for mine, hand in zip(ours, by_hand(), strict=True):
        before = {f"layers.{name}": value for name, value in hand.state_dict().items()}
        assert list(mine.state_dict()) == list(before)
        assert all(torch.equal(weight, before[name]) for name, weight in mine.named_parameters())


SWITCHES = [
    *({"generator.norm": name} for name in ("instance", "layer", "none", "spectral")),
    *({"discriminator.norm": name} for name in ("instance", "layer", "none", "spectral")),
    *({"generator.upsample": name} for name in ("nearest", "bilinear", "pixel-shuffle")),
    *({"generator.upsample": name, "generator.stride": 4} for name in ("nearest", "bilinear", "pixel-shuffle")),
    *({"generator.smooth": kernel} for kernel in (3, 9)),
    *({"generator.kernel": kernel, "discriminator.kernel": kernel} for kernel in (2, 3, 5, 6, 9)),
    *(
        {f"{player}.{field}": value for player in ("generator", "discriminator") for field, value in pair}
        for kernel in (4, 5, 8, 9)
        for pair in [[("kernel", kernel), ("stride", 4)]]
    ),
    {"generator.norm": "spectral", "generator.upsample": "pixel-shuffle", "generator.smooth": 3},
    {"generator.activation": "silu", "discriminator.activation": "relu", "generator.dropout": 0.2},
    {"network.init_std": 0, "generator.norm": "spectral", "discriminator.norm": "spectral"},
]


@pytest.mark.parametrize("size", [(33, 97), (8, 11), (9, 250)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_every_switch(switches: dict[str, object], size: tuple[int, int]):
    """Right sizes, every pixel drawn and seen, every weight reached."""
    generator, discriminator = (nudged(network) for network in build("dcgan", *size, channels=1, **switches))
    images = generator(torch.randn(4, 16))
    assert images.shape == (4, 1, *size[::-1])
    assert -1 <= images.min() < images.max() <= 1
    assert (images.std(0) > 1e-6).all()
    seen = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(seen).square().sum(), seen)
    assert (gradient.abs().sum(0) > 0).all()
    discriminator(images).square().sum().backward()
    assert without_gradient(generator, discriminator) == []


@pytest.mark.parametrize(
    ("family", "switches"),
    [("r3gan", {"generator.depth": 2, "discriminator.depth": 3}), ("mapmaker", {"discriminator.norm": "layer"})],
)
def test_switches_of_other_families(family: str, switches: dict[str, object]):
    generator, discriminator = (nudged(network) for network in build(family, **switches))
    discriminator(generator(torch.randn(4, 16))).square().sum().backward()
    assert without_gradient(generator, discriminator) == []


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("kernel", range(2, 10))
def test_strides_divide_any_size(kernel: int, stride: int):
    """Down and up again give the sizes that the stages say, and no pixel is left out."""
    if kernel < stride:
        with pytest.raises(
            InputError, match=f"kernel = {kernel} with stride = {stride}: some pixels would belong to no"
        ):
            halvings(64, 64, kernel, [stride])
        return
    for height, width in [*zip(range(8, 72), range(71, 7, -1), strict=True), (1023, 8), (750, 1024), (15, 16)]:
        stages = halvings(height, width, kernel, [stride])
        assert stages[0].inside == (height, width) and all(4 <= side <= 7 for side in stages[-1].outside)
        for stage in stages:
            for axis in (0, 1):
                before, after = stage.inside[axis], stage.outside[axis]
                k, s, p, extra = (
                    way[axis] for way in (stage.kernel, stage.stride, stage.padding, stage.output_padding)
                )
                assert after == (before if before < 8 else before // (2 if before < 4 * stride else stride))
                assert (before + 2 * p - k) // s + 1 == after, "what torch says of Conv2d"
                assert (after - 1) * s - 2 * p + k + extra == before, "and of ConvTranspose2d"
                assert 0 <= extra < max(s, 2) and (after - 1) * s - p + k >= before, (
                    "the last kernel reaches the last pixel"
                )
                assert k == kernel or k == kernel - 1 or k <= s + before % s


def test_a_way_down_by_4_4_2():
    strides = [stage.stride for stage in halvings(750, 750, None, [4, 4, 2])]
    assert strides == [(4, 4), (4, 4), (2, 2), (2, 2), (2, 2)]
    assert [stage.kernel[0] for stage in halvings(768, 768, None, [4, 4, 2])] == [8, 8, 4, 4, 4]


def test_sub_pixel_convolutions_start_as_repeated_pixels():
    convolution = SubPixelConv(5, 3, 3, (2, 4), True)
    features = torch.randn(2, 5, 6, 7)
    for draw in (convolution.reset_parameters, lambda: convolution.draw(0.5)):
        draw()
        images = PixelShuffle((2, 4))(convolution(features))
        assert images.shape == (2, 3, 12, 28)
        assert torch.equal(images, F.interpolate(images[:, :, ::2, ::4], scale_factor=(2.0, 4.0)))
        assert images[:, :, ::2, ::4].std() > 0.1


def test_pixel_shuffle():
    values = torch.arange(8.0).view(1, 4, 1, 2)
    assert PixelShuffle((2, 2))(values)[0, 0].tolist() == [[0, 2, 1, 3], [4, 6, 5, 7]]
    assert PixelShuffle((1, 2))(values)[0].tolist() == [[[0, 2, 1, 3]], [[4, 6, 5, 7]]]
    assert PixelShuffle((4, 1))(values)[0, 0].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_blur():
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 2] = 16
    expected = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
    assert torch.equal(Blur()(point)[0, 0, 1:4, 1:4], expected)
    assert Blur()(point).sum() == 16
    images = torch.randn(2, 3, 6, 5)
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    blurred = F.conv2d(padded, (expected / 16).expand(3, 1, 3, 3), groups=3)
    assert torch.allclose(Blur()(images), blurred, atol=1e-6)
    assert torch.allclose(Blur((1, 3))(images), F.pad(blurred, (0, 3, 0, 1), mode="replicate"), atol=1e-6)


def test_the_smooth_way_down():
    point = torch.zeros(1, 1, 8, 8)
    point[0, 0, 3, 4] = 64
    assert Shrunk((2, 2))(point)[0, 0].nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert Shrunk((2, 2))(point)[0, 0, 1:3, 1:3].tolist() == [[3, 9], [1, 3]]
    assert torch.equal(Shrunk((2, 1))(torch.ones(1, 2, 9, 5)), torch.ones(1, 2, 4, 5))


def test_smoothing_starts_as_the_identity():
    smoothing = Smoothing(3, 5)
    images = torch.randn(2, 3, 9, 7)
    assert torch.equal(smoothing(images), images)
    smoothing.draw(0.02)
    noise = smoothing.weight - Smoothing(3, 5).weight
    assert 0.015 < noise.std() < 0.025


def test_interpolation_has_odd_kernels_and_no_transposes():
    generator, _ = build("dcgan", 64, 64, **{"generator.upsample": "bilinear", "generator.kernel": 6})
    kernels = [module.kernel_size for module in generator.modules() if isinstance(module, nn.Conv2d)]
    assert kernels == [(5, 5)] * 4
    assert sum(isinstance(module, nn.ConvTranspose2d) for module in generator.modules()) == 1, "latent to base"


def norms_of(network: nn.Module) -> list[float]:
    """Largest singular value of each weight that is in use."""
    found = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
            weight = module.weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else module.weight
            found.append(torch.linalg.matrix_norm(weight.flatten(1), 2).item())
    return found


SPECTRAL = {"generator.norm": "spectral", "discriminator.norm": "spectral"}


@pytest.mark.parametrize("std", [0.02, 0])
def test_spectral_norms_are_one(std: float):
    pair = build(
        "dcgan",
        **SPECTRAL,
        **{"network.init_std": std, "network.conditioning": "projection", "network.classes": ["a", "b"]},
    )
    labels = torch.tensor([0, 1])
    for _ in range(40):
        images = pair[0](torch.randn(2, 16), labels)
        pair[1](images, labels)
    for network, count in zip((pair[0].layers, pair[1]), (5, 6), strict=True):
        assert sum(isinstance(module, SpectralNorm) for module in network.modules()) == count
        assert norms_of(network.eval()) == pytest.approx([1.0] * count, rel=0.01)
    originals = [
        module.parametrizations.weight.original for module in pair[1].modules() if hasattr(module, "kernel_size")
    ]
    if std:
        assert torch.cat([original.detach().flatten() for original in originals]).std().item() == pytest.approx(
            std, rel=0.05
        )


def test_spectral_networks_copy_move_and_average():
    generator, _ = build("dcgan", **SPECTRAL)
    generator(torch.randn(2, 16))
    z = torch.randn(2, 16)
    generator.eval()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    images = generator(z)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items()), (
        "eval changes nothing"
    )
    twin = copy.deepcopy(generator)
    assert torch.equal(twin(z), images)
    other, _ = build("dcgan", **SPECTRAL, **{"training.seed": 1})
    other.load_state_dict(before)
    assert torch.equal(other.eval()(z), images)
    precise = networks.place(copy.deepcopy(generator), torch.device("cpu"), torch.float64)
    assert torch.allclose(precise(z.double()).float(), images, atol=1e-5)
    with torch.no_grad():
        for value in twin.buffers():  # an average of directions is shorter than they are
            value.mul_(0.3)
    assert torch.allclose(twin(z), images, atol=1e-6)


def test_spectral_gradient_is_that_of_the_weight_over_its_norm():
    layer = nn.Linear(5, 4, bias=False).double()
    parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight, False))
    for _ in range(300):
        layer(torch.zeros(1, 5, dtype=torch.float64))
    values = torch.randn(3, 5, dtype=torch.float64)
    layer(values).pow(3).sum().backward()
    weight = layer.parametrizations.weight.original
    free = weight.detach().clone().requires_grad_()
    (values @ (free / torch.linalg.matrix_norm(free, 2)).T).pow(3).sum().backward()
    assert torch.allclose(weight.grad, free.grad, rtol=1e-6, atol=1e-9)


def test_hidden_biases_only_where_nothing_undoes_them():
    for name, biased in (("batch", False), ("instance", False), ("layer", False), ("none", True), ("spectral", True)):
        generator, discriminator = build("dcgan", **{"generator.norm": name, "discriminator.norm": name})
        hidden: list[Tensor | None] = [generator.layers[0].bias, discriminator.layers[0].bias]
        assert [bias is not None for bias in hidden] == [biased, biased]
        assert all(bias is None or not bias.any() for bias in hidden)


def test_r3gan_starts_as_the_paper_says():
    """Blocks that add nothing; their other convolutions scaled by the number of blocks to the power -1/4."""
    generator, discriminator = build(
        "r3gan",
        64,
        64,
        **{"generator.width": 16, "discriminator.width": 16, "generator.depth": 2, "network.init_std": 0.02},
    )
    for network, count in ((generator, 10), (discriminator, 5)):
        blocks = [module for module in network.modules() if isinstance(module, r3gan.Block)]
        assert len(blocks) == count, "five sizes from 64 to 4"
        for block in blocks:
            channels = block.widen.in_channels
            features = torch.randn(1, channels, 4, 4)
            assert torch.equal(block(features), features)
            assert block.mix.groups == 2 * channels // 16 and not block.mix.bias.any()
        block = max(blocks, key=lambda block: block.widen.in_channels)
        gain = sqrt(2 / 1.04) * count**-0.25
        assert block.widen.weight.std().item() == pytest.approx(gain / sqrt(128), rel=0.05)
        assert block.mix.weight.std().item() == pytest.approx(gain / sqrt(16 * 9), rel=0.05)
    assert generator.constant.shape == (128, 4, 4)
    assert 0.9 < generator.constant.std() < 1.1
    assert not any(isinstance(module, nn.BatchNorm2d | nn.GroupNorm) for module in generator.modules())


@torch.no_grad()
def test_mapmaker_has_the_sizes_that_were_described():
    shape = {"width_px": 750, "height_px": 750, "channels": 3, "classes": 0}
    others = {"width": 16, "activation": "leaky_relu", "slope": 0.2, "norm": "batch"}
    generator = mapmaker.Generator(latent=4, smooth=0, **shape, **others)
    discriminator = mapmaker.Discriminator(conditioning="none", **shape, **others)
    values, sizes = torch.randn(1, 4), []
    for layer in generator.layers:
        values = layer(values)
        if isinstance(layer, nn.Unflatten | nn.ConvTranspose2d):
            sizes.append(tuple(values.shape[1:]))
    assert sizes == [(16, 64, 64), (32, 256, 256), (16, 1024, 1024), (3, 750, 750)]
    assert discriminator(values).shape == (1,)
    assert [module.stride[0] for module in discriminator.modules() if isinstance(module, nn.Conv2d)] == [
        4,
        4,
        2,
        2,
        2,
        1,
    ]


@pytest.mark.parametrize(("before", "after"), [(20, 10), (20, 9), (11, 9)])
def test_the_crop_of_mapmaker_is_a_padding(before: int, after: int):
    """At 750: kernel 3, stride 1, padding 138. Where the rest is odd the far side loses one more."""
    reduction = mapmaker.Reduction(4, 3, (after, after - 1))
    padding = [(before + 2 - side) // 2 for side in (after, after - 1)]
    whole = nn.ConvTranspose2d(4, 3, 3, padding=padding, bias=False)
    initialise(reduction, 0.5)
    whole.load_state_dict(reduction.state_dict())
    features = torch.randn(2, 4, before, before)
    assert torch.allclose(reduction(features), whole(features)[:, :, :after, : after - 1], atol=1e-6)
    assert (1024 + 2 - 750) // 2 == 138
