"""A hand-written FastGAN-style baseline, to hold Limner's recipes against (Liu, Zhu, Song and Elgammal, ICLR 2021).

    python benchmarks/fastgan.py [--size 64] [--channels 3] [--width 64] [--seconds 20] [--threads 2]

prints images per second, arithmetic and parameters. Written from the paper's description ("Towards faster and stabilized GAN
training for high-fidelity few-shot image synthesis", section 3), in plain PyTorch, with what Limner has of the rest: random
numbers, augmentation, the choice of precision, channels_last.

As there: z of 256; a learned 4x4 base; at each doubling nearest upsampling, one convolution, batch normalisation, GLU;
skip-layer excitation from 4x4 to 64x64, 8x8 to 128x128 and 16x16 to 256x256; a discriminator of residual halvings down to 8x8
that ends in 5x5 logits; two decoders (of the 8x8 map, and of a random quarter of the 16x16 map) whose pictures are held against
the real ones; the hinge loss; DiffAugment's colour and translation; Adam with 0.0002 and (0.5, 0.999), batches of 8, one batch
of generated images for both updates; weights averaged with 0.999.

Channels at ``width`` 64, the published ones by resolution:

============= ===== === ===== ===== ===== === ===
map of          4    8    16    32    64  128 256
============= ===== === ===== ===== ===== === ===
generator      1024 512  256   128   128   64  32
discriminator        512  256   128    64   32  16
============= ===== === ===== ===== ===== === ===

An RGB image seen in training, forward and backward in both updates, takes 39 GFLOP at 64x64, 64 at 128x128 and 91 at 256x256
(counted in the convolutions); with ``width`` 16, which is no published network, 2.5, 4.1 and 5.9. DCGAN's pair takes 2.2 at
64x64.

Otherwise than there, each time because it is needed or does this baseline good:

- Pictures are held against the decoders' by the mean absolute difference, not by LPIPS, which would bring a network trained on
  a million other pictures. They are compared at the size of the real ones, as these are under 128x128.
- The paper begins at 256x256. Its networks are cut off at 64x64 and 128x128, with the first convolution at that size.
- No noise is injected into the generator: the text does not speak of it.
- Spectral normalisation is in the discriminator alone: in the generator, batch normalisation undoes it.
- The average warms up, ``min(0.999, (1 + n) / (10 + n))`` after n updates. In ten minutes on two cores there are a few hundred
  updates; without it samples would be those of the initial weights.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from limner import imaging, noise
from limner.device import autocast_for, choose_precision, keep_freed_memory
from limner.networks import place
from limner.noise import Stream, derived_seed
from limner.recipe import Augment
from limner.training.augment import FAKE, REAL, Augmentation
from limner.training.transforms import RGBA, premultiplied

VERSION = 1
"""Goes up when results would change."""
LATENT, BATCH, RATE, BETAS, AVERAGE = 256, 8, 0.0002, (0.5, 0.999), 0.999
WIDTH = 64
GENERATOR = {4: 16.0, 8: 8.0, 16: 4.0, 32: 2.0, 64: 2.0, 128: 1.0, 256: 0.5}
DISCRIMINATOR = {8: 8.0, 16: 4.0, 32: 2.0, 64: 1.0, 128: 0.5, 256: 0.25}
SIZES = (64, 128, 256)
EXCITED = {64: 4, 128: 8, 256: 16}
"""Maps whose channels are switched, and the maps that switch them."""
DRAWN = 64

Pixels = UInt8[np.ndarray, "n h w c"]
Images = Float[Tensor, "b c h w"]


def _channels(table: dict[int, float], size: int, width: int) -> int:
    return max(1, round(table[size] * width))


def _doubling(inside: int, outside: int) -> nn.Sequential:
    """Twice the size: nearest upsampling, one convolution, batch normalisation, GLU."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(inside, 2 * outside, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * outside),
        nn.GLU(1),
    )


class Excitation(nn.Module):
    """Gates for the channels of a large map, from a small one (section 3.1)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            nn.Conv2d(inside, outside, 4, bias=False),
            nn.LeakyReLU(0.1),
            nn.Conv2d(outside, outside, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        gated: Tensor = large * self.layers(small)
        return gated


class Generator(nn.Module):
    """Latents [b, 256] to images [b, c, size, size] in [-1, 1]."""

    def __init__(self, size: int, channels: int, width: int = WIDTH) -> None:
        super().__init__()
        counts = {each: _channels(GENERATOR, each, width) for each in GENERATOR if each <= size}
        self.base = nn.Sequential(
            nn.ConvTranspose2d(LATENT, 2 * counts[4], 4, bias=False), nn.BatchNorm2d(2 * counts[4]), nn.GLU(1)
        )
        self.blocks = nn.ModuleDict(
            {str(each): _doubling(counts[each // 2], counts[each]) for each in counts if each > 4}
        )
        self.excitations = nn.ModuleDict(
            {str(large): Excitation(counts[small], counts[large]) for large, small in EXCITED.items() if large <= size}
        )
        self.last = nn.Sequential(nn.Conv2d(counts[size], channels, 3, padding=1, bias=False), nn.Tanh())

    def forward(self, z: Float[Tensor, "b z"]) -> Images:
        maps = {4: self.base(z[:, :, None, None])}
        for name, block in self.blocks.items():
            size = int(name)
            maps[size] = block(maps[size // 2])
            if name in self.excitations:
                maps[size] = self.excitations[name](maps[EXCITED[size]], maps[size])
        images: Tensor = self.last(maps[max(maps)])
        return images


def _convolution(inside: int, outside: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Module:
    made: nn.Module = spectral_norm(nn.Conv2d(inside, outside, kernel, stride, padding, bias=False))
    return made


class Halving(nn.Module):
    """Half the size: the mean of a branch of two convolutions and of a short one (section 3.2)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.long = nn.Sequential(
            _convolution(inside, outside, 4, 2, 1), nn.BatchNorm2d(outside), nn.LeakyReLU(0.2),
            _convolution(outside, outside, 3, 1, 1), nn.BatchNorm2d(outside), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.short = nn.Sequential(
            nn.AvgPool2d(2), _convolution(inside, outside, 1), nn.BatchNorm2d(outside), nn.LeakyReLU(0.2)
        )

    def forward(self, features: Tensor) -> Tensor:
        mean: Tensor = (self.long(features) + self.short(features)) / 2
        return mean


def _decoder(inside: int, outside: int, size: int, width: int) -> nn.Sequential:
    """An 8x8 map to a picture of ``size``, with half the generator's channels."""
    layers: list[nn.Module] = []
    at = 8
    while at < size:
        at *= 2
        layers.append(_doubling(inside, _channels(GENERATOR, at, width) // 2))
        inside = _channels(GENERATOR, at, width) // 2
    return nn.Sequential(*layers, nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.Tanh())


class Discriminator(nn.Module):
    """Images to 5x5 logits, and to the maps that the decoders see."""

    def __init__(self, size: int, channels: int, width: int = WIDTH) -> None:
        super().__init__()
        counts = {each: _channels(DISCRIMINATOR, each, width) for each in DISCRIMINATOR if each <= size}
        self.first = nn.Sequential(_convolution(channels, counts[size], 3, 1, 1), nn.LeakyReLU(0.2))
        self.blocks = nn.ModuleDict(
            {str(each): Halving(counts[2 * each], counts[each]) for each in sorted(counts, reverse=True) if each < size}
        )
        self.last = nn.Sequential(
            _convolution(counts[8], 2 * counts[8], 1), nn.BatchNorm2d(2 * counts[8]), nn.LeakyReLU(0.2),
            _convolution(2 * counts[8], 1, 4),
        )  # fmt: skip
        self.whole = _decoder(counts[8], channels, size, width)
        self.part = _decoder(counts[16], channels, size // 2, width)

    def forward(self, images: Images) -> tuple[Float[Tensor, "b 1 5 5"], dict[int, Tensor]]:
        maps = {images.shape[2]: self.first(images)}
        for name, block in self.blocks.items():
            maps[int(name)] = block(maps[2 * int(name)])
        return self.last(maps[8]), maps

    def reconstruction(self, images: Images, maps: dict[int, Tensor], corner: tuple[int, int]) -> Float[Tensor, ""]:
        """How far the decoders' pictures are from the images: of the whole, and of 8x8 places of the 16x16 map.

        Args:
            images: what the discriminator saw.
            maps: what it made of them.
            corner: first row and column of those places, 0 to 8.
        """
        (row, column), scale, half = corner, images.shape[2] // 16, images.shape[2] // 2
        piece = maps[16][:, :, row : row + 8, column : column + 8]
        seen = images[:, :, row * scale : row * scale + half, column * scale : column * scale + half]
        return functional.l1_loss(self.whole(maps[8]).float(), images) + functional.l1_loss(
            self.part(piece).float(), seen
        )


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            weight = module.parametrizations.weight.original if hasattr(module, "parametrizations") else module.weight
            nn.init.normal_(weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)


class Trainer:
    """A training in progress: everything random in it follows from the seed.

    Args:
        pixels: uint8 [n, h, w, c], square, of a size in :data:`SIZES`.
        seed: that all randomness follows from.
        width: channels; 64 are the published ones, 16 a quarter of them.
        device: where to compute.
        precision: ``auto``, ``float32`` or ``bfloat16``; auto decides as Limner does.

    Raises:
        ValueError: the images have another size.
    """

    def __init__(
        self, pixels: Pixels, seed: int = 0, width: int = WIDTH, device: str = "cpu", precision: str = "auto"
    ) -> None:
        if pixels.ndim != 4 or pixels.shape[1] != pixels.shape[2] or pixels.shape[1] not in SIZES:
            raise ValueError(f"images of {pixels.shape[1:]} are none of the sizes {SIZES}, square")
        keep_freed_memory()
        self.pixels, self.seed, self.device = pixels, seed, torch.device(device)
        self.autocast = autocast_for(choose_precision(precision, self.device), self.device)
        size, channels = pixels.shape[1], pixels.shape[3]
        torch.manual_seed(derived_seed(seed, Stream.INIT, 0))
        networks = Generator(size, channels, width), Discriminator(size, channels, width)
        for network in networks:
            _initialise(network)
            place(network, self.device, torch.float32).train()
        self.generator, self.discriminator = networks
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        fused = self.device.type in ("cpu", "cuda")
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), lr=RATE, betas=BETAS, fused=fused) for network in networks
        )
        self.augment = Augmentation(Augment(policy=("color", "translation")), seed, self.device)
        self.images = 0

    def step(self) -> None:
        """One update of each network on :data:`BATCH` images."""
        indices = np.arange(self.images, self.images + BATCH)
        z = noise.normal(self.seed, Stream.TRAIN_LATENT, indices, LATENT)
        with self.autocast():
            fake = self.generator(torch.from_numpy(z).to(self.device))
        fake = self._shown(self.augment(fake.float(), indices, FAKE, self.images))
        real = self._shown(self.augment(self._real(indices), indices, REAL, self.images))
        corner = noise.uniform(self.seed, Stream.CROP, indices[:1], 2)[0] * 9

        self.discriminator_optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            logits, maps = self.discriminator(real)
            remembered = self.discriminator.reconstruction(real, maps, (int(corner[0]), int(corner[1])))
        (functional.relu(1 - logits.float()).mean() + remembered).backward()
        with self.autocast():
            logits, _ = self.discriminator(fake.detach())
        functional.relu(1 + logits.float()).mean().backward()
        self.discriminator_optimizer.step()

        self.discriminator.requires_grad_(False)  # only what goes through it is needed now
        self.generator_optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            logits, _ = self.discriminator(fake)
        (-logits.float().mean()).backward()
        self.generator_optimizer.step()
        self.discriminator.requires_grad_(True)
        self.images += BATCH
        self._follow()

    @staticmethod
    def _shown(images: Images) -> Images:
        # As Limner's own discriminators: what is transparent counts as little as it shows.
        return premultiplied(images) if images.shape[1] == RGBA else images

    @torch.no_grad()
    def _follow(self) -> None:
        """The averaged generator takes one step after the trained one."""
        updates = self.images // BATCH
        keep = min(AVERAGE, (1 + updates) / (10 + updates))
        for mine, theirs in zip(
            (*self.average.parameters(), *self.average.buffers()),
            (*self.generator.parameters(), *self.generator.buffers()),
            strict=True,
        ):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - keep)

    def _real(self, indices: np.ndarray) -> Images:
        """Images by global index, in an order of its own for each epoch."""
        count = len(self.pixels)
        orders = {
            int(epoch): noise.permutation(self.seed, Stream.DATA_ORDER, int(epoch), count)
            for epoch in np.unique(indices // count)
        }
        places = [int(orders[int(index) // count][int(index) % count]) for index in indices]
        chosen = torch.from_numpy(np.ascontiguousarray(self.pixels[places])).to(self.device)
        return chosen.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)

    @torch.inference_mode()
    def draw(self, count: int) -> Pixels:
        """Pictures of seeds 0 to ``count`` by the averaged generator, uint8."""
        parts = []
        for start in range(0, count, DRAWN):
            z = noise.sample_latents(np.arange(start, min(start + DRAWN, count)), LATENT)
            images = self.average(torch.from_numpy(z).to(self.device))
            parts.append(imaging.to_uint8(images.float().cpu().numpy()))
        return np.concatenate(parts)


def train(
    pixels: Pixels,
    images_to_see: int,
    seed: int = 0,
    *,
    width: int = WIDTH,
    device: str = "cpu",
    precision: str = "auto",
) -> Callable[[int], Pixels]:
    """Train for so many real images, rounded up to whole batches.

    Args:
        pixels, seed, width, device, precision: see :class:`Trainer`.
        images_to_see: real images in all.

    Returns:
        what draws ``count`` samples, uint8 [count, h, w, c]; always the same ones.

    Raises:
        ValueError: the images have a size that it does not know.
    """
    trainer = Trainer(pixels, seed, width, device, precision)
    while trainer.images < images_to_see:
        trainer.step()
    return trainer.draw


def pace(trainer: Trainer, seconds: float) -> float:
    """Real images per second, over whole updates for at least so many seconds."""
    started, before = time.perf_counter(), trainer.images
    while trainer.images == before or time.perf_counter() - started < seconds:
        trainer.step()
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)
    return (trainer.images - before) / (time.perf_counter() - started)


def gflop(trainer: Trainer) -> float:
    """Arithmetic of one update for each real image: 10**9 multiplications and additions, of convolutions alone."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        trainer.step()
    return float(counter.get_total_flops()) / BATCH / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, choices=SIZES)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = (64, arguments.size, arguments.size, arguments.channels)
    trainer = Trainer(np.random.default_rng(0).integers(0, 256, shape, np.uint8), 0, arguments.width, arguments.device)
    counts = [sum(p.numel() for p in network.parameters()) for network in (trainer.generator, trainer.discriminator)]
    print(f"{gflop(trainer):.1f} GFLOP an image, {counts[0]:,} + {counts[1]:,} parameters")
    print(f"{pace(trainer, arguments.seconds):.2f} images/s on {arguments.threads} threads")


if __name__ == "__main__":
    main()
