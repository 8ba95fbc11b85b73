"""How long it takes to judge images: features, figures, the search for copies.

    python benchmarks/judging_speed.py [--count 2000] [--rounds 3] [--out results.json]

Real and generated images are drawn at random (what is in them does not change the work). Printed for each size: seconds for the
features of so many images, for every figure (equal counts), for the search for copies, and for all of it when the real
images' features are in the cache and when they are not; medians of the rounds. Beside it, in the same turns, the machine's
float32 matrix product, because machines are shared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from limner.data.copies import near_copy_groups
from limner.device import environment
from limner.doctor import product_rate
from limner.judging.distances import all_figures
from limner.judging.features import open_extractor
from limner.judging.memorisation import copying, thumbnails

SHAPES = ((28, 28, 1), (64, 64, 1), (64, 64, 3), (64, 64, 4), (96, 64, 3), (256, 256, 3))


def pictures(count: int, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Soft random images, uint8 [count, height, width, channels]."""
    random = np.random.default_rng(seed)
    height, width, channels = shape[1], shape[0], shape[2]
    coarse = random.integers(0, 256, (count, 6, 6, channels), dtype=np.uint8)
    drawn = np.empty((count, height, width, channels), dtype=np.uint8)
    for number in range(count):
        for channel in range(channels):
            layer = Image.fromarray(coarse[number, ..., channel]).resize((width, height), Image.Resampling.BICUBIC)
            drawn[number, ..., channel] = np.asarray(layer)
    return drawn


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long it takes, and what it gives."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    extractor = open_extractor("limner")
    extractor(pictures(8, (64, 64, 3), 0))
    found: dict[str, dict[str, float]] = {}
    products = []
    for shape in SHAPES:
        real, generated = pictures(arguments.count, shape, 1), pictures(arguments.count, shape, 2)
        rounds: list[dict[str, float]] = []
        for _ in range(arguments.rounds):
            products.append(product_rate(torch.float32, torch.device("cpu"), 1024))
            times: dict[str, float] = {}
            times["features"], made = seconds(lambda images=generated: extractor(images))
            others, known = seconds(lambda images=real: extractor(images))
            times["figures"], _ = seconds(lambda a=known, b=made, c=real, d=generated: all_figures(a, b, c, d))
            times["copies"], _ = seconds(
                lambda a=made, b=known, c=generated, d=real: copying(
                    a,
                    b,
                    b[:0],
                    generated_pixels=thumbnails(c),
                    train_pixels=thumbnails(d),
                    held_out_pixels=thumbnails(d[:0]),
                    train_groups=near_copy_groups(d),
                )
            )
            times["all, real features cached"] = sum(times.values())
            times["all"] = times["all, real features cached"] + others
            rounds.append(times)
        name = f"{shape[0]}x{shape[1]}x{shape[2]}"
        found[name] = {key: round(statistics.median(times[key] for times in rounds), 2) for key in rounds[0]}
        print(name, "  ".join(f"{key} {value:.2f} s" for key, value in found[name].items()), flush=True)
    rate = statistics.median(products)
    print(f"float32 product {rate:,.0f} GFLOP/s")
    if arguments.out:
        device = torch.device("cpu")
        values = {"count": arguments.count, "seconds": found, "product": rate, **environment(device, "float32")}
        arguments.out.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
