"""Goals 2 and 3: whole trainings by the command, with ``--timings``: an epoch of 60,000 small pictures, and where time
goes."""

from __future__ import annotations

from pathlib import Path

from parts import drawn
from parts.commands import limner
from parts.figures import Figure, figure
from parts.settings import Settings

OURS = ("updates", "data", "augmentation", "log", "grids", "display", "evaluations", "checkpoints")
"""What a training consists of; reading the data, measuring the pace and the conclusion come before and after it."""
EPOCH = 60_000
AROUND = ("data", "log", "grids", "display")


def fashion(settings: Settings) -> list[Figure]:
    """Goal 2: an epoch of 60,000 images of 28x28 with the recipe ``fashion``, of which a sixth is trained."""
    folder = drawn.collection(None if settings.tiny else settings.data, "fashion-mnist")
    data = folder or drawn.idx(settings.work / "idx", 300 if settings.tiny else 60_000).parent
    images = 256 if settings.tiny else EPOCH // 6
    narrow = ["--set", "generator.width=2", "--set", "discriminator.width=2"] if settings.tiny else []
    answer = _train(settings, data, ["--recipe", "fashion", "--images", images, *narrow])
    spent, times = answer["timings"], EPOCH / images
    work = spent["updates"] + spent["data"]
    return [
        figure(
            "60,000 images of Fashion-MNIST (from 10,000), all in all",
            "s",
            answer["seconds"] + (times - 1) * work,
            18.0,
            most=True,
        ),
        figure("of these: updates and data", "s", times * work),
        *shares("fashion", spent, augmented=False),
    ]


def few(settings: Settings) -> list[Figure]:
    """Goal 3: the shares of a ``fewshot`` training at 64x64, of the width that ten minutes of two cores would be given."""
    return _shares_of_fewshot(settings, 1.0)


def long(settings: Settings) -> list[Figure]:
    """Goal 3 once more, in those ten minutes: what is done once weighs less in them."""
    return _shares_of_fewshot(settings, 10.0)


def _shares_of_fewshot(settings: Settings, minutes: float) -> list[Figure]:
    data = drawn.collection(None if settings.tiny else settings.data, "noto-emoji-128.zip")
    count = 24 if settings.tiny else 2000
    data = data or drawn.zipped(settings.work / "small.zip", count, (64, 64), "PNG")
    width = 4 if settings.tiny else 16
    narrow = {"generator.width": width, "discriminator.width": width}
    length = ["--images", 64] if settings.tiny else ["--minutes", minutes]
    changes = [part for key, value in narrow.items() for part in ("--set", f"{key}={value}")]
    answer = _train(settings, data, ["--recipe", "fewshot", "--size", 16 if settings.tiny else 64, *length, *changes])
    return shares("fewshot", answer["timings"], augmented=True)


def shares(name: str, spent: dict[str, float], augmented: bool) -> list[Figure]:
    """Parts of a training as shares of all of it."""
    whole = sum(spent.get(part, 0.0) for part in OURS)
    around = sum(spent.get(part, 0.0) for part in AROUND)
    found = [
        figure(f"{name}: data, log, grids and display", "", around / whole, 0.03, most=True),
        figure(f"{name}: evaluations", "", spent.get("evaluations", 0.0) / whole, 0.05, most=True),
        figure(f"{name}: checkpoints", "", spent.get("checkpoints", 0.0) / whole),
    ]
    if augmented:
        found.append(figure(f"{name}: augmentation", "", spent.get("augmentation", 0.0) / whole, 0.08, most=True))
    return found


def _train(settings: Settings, data: Path, arguments: list[str | int | float]) -> dict[str, object]:
    runs = ["--runs", settings.work / "runs", "--device", settings.device, "--precision", settings.precision]
    line = ["train", data, *arguments, *runs, "--timings", "--json"]
    return limner([str(word) for word in line], settings.work / "cache").answer
