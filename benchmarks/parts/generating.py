"""Goal 5: ``limner generate`` against the bare network.

A 64x64 DCGAN generator draws. The bare network gets random latents in batches and its images are dropped; it is
measured in float32, in which Limner draws so that a seed's picture is the same everywhere, and under bfloat16 autocast.
Limner's side is what the command does after its imports: latents by seed, the network, PNG files and a sheet.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from limner import networks
from limner.device import autocast_for
from limner.drawing import BATCH
from limner.recipe import Recipe
from parts.commands import python
from parts.contest import contest
from parts.figures import Figure, figure
from parts.settings import Settings

FIRST = """
import sys, time
from limner.films import draw_pictures
from limner.sharing.loading import load
import limner.generator, pathlib
imported = time.perf_counter()
draw_pictures(load(sys.argv[1], sys.argv[3]), 1, 0, pathlib.Path(sys.argv[2]))
print(time.perf_counter() - imported)
"""


def generator_file(path: Path, tiny: bool = False) -> Path:
    """An untrained 64x64 generator as Limner saves them."""
    sized = {"image.width": 64, "image.height": 64, "image.channels": 3, "training.device": "cpu"}
    recipe = Recipe.load(
        "dcgan", {**sized, "training.precision": "float32", **({"generator.width": 2} if tiny else {})}
    )
    network, _ = networks.build(recipe, width=64, height=64, channels=3)
    about = {"format": "limner-generator-1", "recipe": recipe.to_toml(), "images": "0", "data": "untrained"}
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path, about)
    return path


def bare_step(file: Path, precision: str, device_name: str) -> Callable[[], int]:
    """A batch of images by the network alone."""
    from limner.generator import load

    device = torch.device(device_name)
    drawing = load(file, device_name)
    autocast = autocast_for(precision, device)

    def step() -> int:
        with torch.inference_mode(), autocast():
            drawing.network(torch.randn(BATCH, drawing.recipe.network.latent, device=device))
        return BATCH

    return step


def limner_step(file: Path, count: int, work: Path, device_name: str) -> Callable[[], int]:
    """So many pictures as files."""
    from limner.films import draw_pictures
    from limner.sharing.loading import load

    drawing = load(file, device_name)

    def step() -> int:
        folder = work / "pictures"
        shutil.rmtree(folder, ignore_errors=True)
        draw_pictures(drawing, count, 0, folder)
        return count

    return step


def run(settings: Settings) -> list[Figure]:
    """Rates, and how long the first picture takes."""
    settings.work.mkdir(parents=True, exist_ok=True)
    file = generator_file(settings.work / "generator.safetensors", settings.tiny)
    device, count = str(settings.device), 2 * BATCH if settings.tiny else 2000
    kinds = ("float32", "bfloat16")
    rounds = contest(
        {
            **{
                f"bare, {kind}": (bare_step, {"file": file, "precision": kind, "device_name": device}) for kind in kinds
            },
            "limner": (limner_step, {"file": file, "count": count, "work": settings.work, "device_name": device}),
        },
        rounds=settings.rounds,
        seconds=settings.seconds / 2,
        device=settings.device,
        tiny=settings.tiny,
    )
    shutil.rmtree(settings.work / "pictures", ignore_errors=True)
    best = [max(each.turns[f"bare, {kind}"].rate for kind in kinds) for each in rounds]
    ours = [each.turns["limner"].rate for each in rounds]
    first = [
        float(python(["-c", FIRST, file, settings.work / "first", device]).output.split()[-1])
        for _ in range(settings.rounds)
    ]
    return [
        figure(
            "pictures by the command, of the bare network's best",
            "",
            [a / b for a, b in zip(ours, best, strict=True)],
            0.7,
        ),
        figure("of the bare network's in float32", "", [each.ratio("limner", "bare, float32") for each in rounds]),
        figure("by processor time", "", [each.processor_ratio("limner", "bare, float32") for each in rounds]),
        figure("limner generate, 64x64 RGB", "pictures/s", ours),
        *(
            figure(f"bare, {kind}", "pictures/s", [each.turns[f"bare, {kind}"].rate for each in rounds])
            for kind in kinds
        ),
        figure("first picture, beyond the imports", "s", first, 1.0, most=True),
    ]
