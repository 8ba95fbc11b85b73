"""How fast Limner trains the ``dcgan`` recipe, against the loop that textbooks print.

    python benchmarks/training_speed.py [--batch 64] [--rounds 7] [--seconds 8] [--out results.json]

The textbook loop: float32, eager, contiguous, the whole set in memory (no loader cost), one generated batch used by both
updates, and discriminator gradients computed in the generator's update too, as PyTorch's own DCGAN example does. Limner: its
own loop as ``limner train`` runs it, batches, latents and averaging included, without callbacks. Both on the same pictures,
each in a process of its own (what one sets in the allocator must not help the other), in turns; medians, and the ratio
within each turn, because the machine may be shared. The machine's own limit is measured in the same turns, by matrix
products; the 64x64 pair needs 2.24 GFLOP an image when nothing is wasted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from limner.data import prepare
from limner.device import choose_device, choose_precision, environment
from limner.doctor import product_rate
from limner.recipe import Recipe
from limner.training.assembly import assemble, resolved

PRODUCT = 2048
GFLOP_PER_IMAGE = 2.24
"""Multiply-adds of G (102 M) and D (102 M): G forward, backward twice; D forward and backward on real and on fake, forward
and backward to the input in the generator's turn; times two operations."""


def textbook(pictures: torch.Tensor, batch: int, device: torch.device) -> Callable[[], int]:
    """One step of the textbook loop; returns images seen."""

    def initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)

    up = [nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False), nn.BatchNorm2d(512), nn.ReLU(True)]
    for inside, outside in ((512, 256), (256, 128), (128, 64)):
        up += [nn.ConvTranspose2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(True)]
    generator = nn.Sequential(*up, nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False), nn.Tanh())
    down: list[nn.Module] = [nn.Conv2d(1, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for inside, outside in ((64, 128), (128, 256), (256, 512)):
        down += [nn.Conv2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.LeakyReLU(0.2, True)]
    discriminator = nn.Sequential(*down, nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Sigmoid())
    for network in (generator, discriminator):
        network.apply(initialise).to(device)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=0.0002, betas=(0.5, 0.999))
    of_generator = torch.optim.Adam(generator.parameters(), lr=0.0002, betas=(0.5, 0.999))
    criterion = nn.BCELoss()
    place = 0

    def step() -> int:
        nonlocal place
        real = pictures[place : place + batch]
        place = (place + batch) % (len(pictures) - batch)
        label = torch.full((batch,), 1.0, device=device)
        discriminator.zero_grad()
        loss_real = criterion(discriminator(real).view(-1), label)
        loss_real.backward()
        fake = generator(torch.randn(batch, 100, 1, 1, device=device))
        label.fill_(0.0)
        loss_fake = criterion(discriminator(fake.detach()).view(-1), label)
        loss_fake.backward()
        of_discriminator.step()
        generator.zero_grad()
        label.fill_(1.0)
        loss = criterion(discriminator(fake).view(-1), label)
        loss.backward()
        of_generator.step()
        return batch

    return step


def limner_step(folder: Path, batch: int, device: torch.device, precision: str) -> Callable[[], int]:
    """One step of Limner's loop; returns images seen."""
    recipe = Recipe.load("dcgan", {"training.batch_size": batch, "training.precision": precision})
    collection = prepare(folder / "pictures.npy", recipe.image, cache_dir=folder / "cache")
    loop = assemble(resolved(recipe, collection, device), collection, device)

    def step() -> int:
        loop.advance()
        return batch

    return step


def work(name: str, folder: Path, batch: int, device: torch.device, precision: str, orders: Connection) -> None:
    """A contestant's process: for every number of seconds that it is sent it answers with images per second."""
    if name == "textbook":
        pixels = torch.from_numpy(np.load(folder / "pictures.npy")).to(device)
        step = textbook(pixels.float().div(127.5).sub(1).unsqueeze(1).contiguous(), batch, device)
    else:
        step = limner_step(folder, batch, device, precision)
    while (seconds := orders.recv()) is not None:
        _synchronise(device)
        started, images = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            images += step()
            _synchronise(device)
        orders.send(images / (time.perf_counter() - started))


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    precision = choose_precision(arguments.precision, device)
    random = np.random.default_rng(0)
    rounds: list[dict[str, float]] = []
    spawn = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "pictures.npy", random.integers(0, 256, (2048, 64, 64), dtype=np.uint8))
        contestants: dict[str, Connection] = {}
        for contestant in ("textbook", "limner"):
            contestants[contestant], theirs = spawn.Pipe()
            arguments_of_work = (contestant, folder, arguments.batch, device, precision, theirs)
            spawn.Process(target=work, args=arguments_of_work, daemon=True).start()
        for number in range(arguments.rounds + 1):
            row: dict[str, float] = {}
            for contestant, orders in contestants.items():
                orders.send(arguments.seconds if number else 2.0)
                row[contestant] = orders.recv()
            row["float32"] = product_rate(torch.float32, device, PRODUCT)
            row["bfloat16"] = product_rate(torch.bfloat16, device, PRODUCT)
            if number:  # the first round warms up
                rounds.append(row)
        for orders in contestants.values():
            orders.send(None)
    result = summary(rounds, precision)
    print(
        f"dcgan 64x64, batch {arguments.batch}, {environment(device, precision)['device_name']}, limner in {precision}"
    )
    for key, value in result.items():
        print(f"{key:34} {value['median']:10.2f}   ({value['low']:.2f} to {value['high']:.2f})")
    if arguments.out:
        values = {"environment": environment(device, precision), "batch": arguments.batch, **result, "rounds": rounds}
        arguments.out.write_text(json.dumps(values, indent=2) + "\n")


def summary(rounds: list[dict[str, float]], precision: str) -> dict[str, dict[str, Any]]:
    """Median and range of each figure over the rounds."""
    figures = {
        "textbook, images/s": [row["textbook"] for row in rounds],
        "limner, images/s": [row["limner"] for row in rounds],
        "ratio": [row["limner"] / row["textbook"] for row in rounds],
        "float32 product, GFLOP/s": [row["float32"] for row in rounds],
        "bfloat16 product, GFLOP/s": [row["bfloat16"] for row in rounds],
        f"limner's share of the {precision} product": [
            row["limner"] * GFLOP_PER_IMAGE / row.get(precision, float("nan")) for row in rounds
        ],
    }
    return {
        key: {"median": statistics.median(values), "low": min(values), "high": max(values)}
        for key, values in figures.items()
    }


if __name__ == "__main__":
    main()
