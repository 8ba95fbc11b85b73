"""The baseline of the benchmarks: has it the published shape, and does it learn?"""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]


def loaded(path: str) -> ModuleType:
    """A script as a module, without a place in the packages."""
    name = f"script_{Path(path).stem}"
    specification = importlib.util.spec_from_file_location(name, ROOT / path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


fastgan = loaded("benchmarks/fastgan.py")


def two_halves(count: int, size: int, channels: int) -> np.ndarray:
    """Dark on the left, bright on the right."""
    pixels = np.full((count, size, size, channels), 30, np.uint8)
    pixels[:, :, size // 2 :] = 220
    return pixels


@pytest.mark.parametrize(("size", "channels"), [(64, 4), (128, 1)])
def test_every_parameter_of_both_networks_gets_a_gradient(size: int, channels: int) -> None:
    trainer = fastgan.Trainer(two_halves(8, size, channels), width=4, precision="float32")
    before = [[p.detach().clone() for p in net.parameters()] for net in (trainer.generator, trainer.discriminator)]
    trainer.step()
    for old, network in zip(before, (trainer.generator, trainer.discriminator), strict=True):
        for (name, now), was in zip(network.named_parameters(), old, strict=True):
            assert not torch.equal(now, was), name
    samples = trainer.draw(3)
    assert samples.shape == (3, size, size, channels) and samples.dtype == np.uint8


def test_published_widths_have_the_published_channels_and_logits_are_5x5() -> None:
    with torch.device("meta"):
        generator, discriminator = fastgan.Generator(64, 3), fastgan.Discriminator(64, 3)
        maps = [block[1].out_channels // 2 for block in generator.blocks.values()]
        logits, seen = discriminator(torch.zeros(2, 3, 64, 64))
    assert generator.base[0].out_channels // 2 == 1024 and maps == [512, 256, 128, 128]
    assert logits.shape == (2, 1, 5, 5)
    assert {size: features.shape[1] for size, features in seen.items()} == {64: 64, 32: 128, 16: 256, 8: 512}


def test_it_learns_what_it_sees_and_repeats_itself() -> None:
    pixels = two_halves(16, 64, 1)
    trainer = fastgan.Trainer(pixels, seed=1, width=4, precision="float32")
    again = fastgan.train(pixels, 2 * fastgan.BATCH - 1, seed=1, width=4, precision="float32")  # rounded up to two

    def remembered() -> float:
        images, network = trainer._real(np.arange(16)), copy.deepcopy(trainer.discriminator)
        with torch.no_grad():
            return float(network.reconstruction(images, network(images)[1], (0, 4)))

    before = remembered()
    trainer.step()
    trainer.step()
    assert trainer.images == 2 * fastgan.BATCH
    assert np.array_equal(trainer.draw(4), again(4))
    for _ in range(28):
        trainer.step()
    assert 1.2 < before < 1.8  # twice 0.745: values of -0.76 and 0.73 against nothing
    assert 0.05 < remembered() < 0.8 * before


def test_the_reconstruction_compares_the_same_place() -> None:
    network = fastgan.Discriminator(64, 1, width=4)
    images = torch.randn(2, 1, 64, 64)
    seen: list[torch.Tensor] = []
    network.whole = torch.nn.Identity()
    network.whole.forward = lambda features: images  # type: ignore[method-assign]
    network.part = torch.nn.Identity()
    network.part.forward = lambda features: (seen.append(features), images[:, :, 12:44, 20:52])[1]  # type: ignore
    _, maps = network(images)
    assert float(network.reconstruction(images, maps, (3, 5))) == pytest.approx(0, abs=1e-7)
    assert torch.equal(seen[0], maps[16][:, :, 3:11, 5:13])
    assert float(network.reconstruction(images, maps, (4, 5)).detach()) > 0.5


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="none of the sizes"):
        fastgan.Trainer(np.zeros((4, 48, 48, 3), np.uint8))
