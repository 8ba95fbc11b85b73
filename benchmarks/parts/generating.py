"""Goal 5: ``limner generate`` against the bare network.

A 64x64 DCGAN generator draws. The bare network gets random latents in batches and its images are dropped. Limner's side is
what the command does after its imports: latents by seed, the network, PNG files and a sheet. Both are measured in float32, in
which Limner draws unless told otherwise, so that a seed's picture is the same everywhere; and in bfloat16. The best of one is
compared with the best of the other. Each turn has a folder of its own: on ext4, new files were up to ten
times as dear where thousands had just been deleted.
"""

from __future__ import annotations

import shutil
import time
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


def limner_step(file: Path, precision: str, count: int, work: Path, device_name: str) -> Callable[[], int]:
    """So many pictures as files."""
    from limner.films import draw_pictures
    from limner.sharing.loading import load

    drawing = load(file, device_name, precision=precision)

    def step() -> int:
        draw_pictures(drawing, count, 0, work / f"pictures-{time.time_ns()}")
        return count

    return step


def run(settings: Settings) -> list[Figure]:
    """Rates, and how long the first picture takes."""
    settings.work.mkdir(parents=True, exist_ok=True)
    file = generator_file(settings.work / "generator.safetensors", settings.tiny)
    device, count = str(settings.device), 2 * BATCH if settings.tiny else 2000
    kinds = ("float32", "bfloat16")
    sides = {"bare": (bare_step, {}), "limner": (limner_step, {"count": count, "work": settings.work})}
    rounds = contest(
        {
            f"{side}, {kind}": (step, {"file": file, "precision": kind, "device_name": device, **more})
            for side, (step, more) in sides.items()
            for kind in kinds
        },
        rounds=settings.rounds,
        seconds=settings.seconds / 2,
        device=settings.device,
        tiny=settings.tiny,
    )
    for folder in settings.work.glob("pictures-*"):
        shutil.rmtree(folder)
    best = {side: [max(each.turns[f"{side}, {kind}"].rate for kind in kinds) for each in rounds] for side in sides}
    first = [
        float(python(["-c", FIRST, file, settings.work / "first", device]).output.split()[-1])
        for _ in range(min(2, settings.rounds))
    ]
    return [
        figure(
            "pictures by the command, of the bare network's best",
            "",
            [a / b for a, b in zip(best["limner"], best["bare"], strict=True)],
            0.7,
        ),
        *(
            figure(f"the same in {kind}", "", [each.ratio(f"limner, {kind}", f"bare, {kind}") for each in rounds])
            for kind in kinds
        ),
        figure(
            "in float32 by processor time",
            "",
            [each.processor_ratio("limner, float32", "bare, float32") for each in rounds],
        ),
        *(
            figure(
                f"{'limner generate, 64x64 RGB' if side == 'limner' else side}, {kind}",
                "pictures/s",
                [each.turns[f"{side}, {kind}"].rate for each in rounds],
            )
            for side in ("limner", "bare")
            for kind in kinds
        ),
        figure("first picture, beyond the imports", "s", first, 1.0, most=True),
    ]
