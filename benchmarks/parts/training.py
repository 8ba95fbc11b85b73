"""Goal 1: how fast recipes train, against the same mathematics written plainly, in turns.

``dcgan`` is held against the loop of the textbooks (:func:`parts.plain.textbook`), the others against
:class:`parts.plain.PlainTraining`. Limner's side is its own loop as ``limner train`` runs it, with sampler, latents and
averaging, without callbacks. Shares are of the machine's matrix product measured in the same rounds, in the precision
that was chosen; what an image costs is counted (convolutions and products, two operations a multiply-add), for both
sides as they really do it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from limner.data.cache import Collection
from limner.device import choose_precision
from limner.recipe import Recipe
from limner.training.assembly import assemble, resolved
from limner.training.loop import Loop
from limner.training.pace import warm_up
from parts.contest import Round, contest, in_children
from parts.figures import Figure, figure
from parts.plain import plain_step, textbook
from parts.settings import Settings

LEAST_PICTURES = 64


@dataclass(frozen=True)
class Case:
    """A recipe as it is measured.

    Attributes:
        recipe: its name.
        size, channels: of the pictures; width and height.
        goal: times as fast as the plain version.
        overrides: what is set otherwise.
        book: the plain version is the textbook's.
        cycle: updates that belong together (lazy penalties).
    """

    recipe: str
    size: tuple[int, int]
    channels: int
    goal: float
    overrides: dict[str, Any] = field(default_factory=dict)
    book: bool = False
    cycle: int = 1

    def small(self) -> Case:
        """The same recipe, quick: to see that it works."""
        side = 16 if self.recipe != "mapmaker" else 32
        narrow = {"generator.width": 2, "discriminator.width": 2, "training.batch_size": 2}
        if self.recipe == "wgan-gp":
            narrow["training.critic_steps"] = 2
        return Case(
            self.recipe, (side, side), self.channels, self.goal, {**self.overrides, **narrow}, False, self.cycle
        )


def _widths(width: int) -> dict[str, int]:
    return {"generator.width": width, "discriminator.width": width}


CASES = {
    "dcgan 64x64": Case("dcgan", (64, 64), 1, 2.3, {"training.batch_size": 64}, book=True),
    "fewshot 128x128": Case("fewshot", (128, 128), 3, 1.8, _widths(16), cycle=4),
    "fewshot 256x256": Case("fewshot", (256, 256), 3, 1.8, _widths(8), cycle=4),
    "mapmaker 750x750": Case("mapmaker", (750, 750), 3, 1.8, {"training.batch_size": 4}),
    "wgan-gp 64x64": Case("wgan-gp", (64, 64), 3, 1.25, {"training.batch_size": 32}),
    "r3gan 64x64": Case("r3gan", (64, 64), 3, 1.25, {"training.batch_size": 8}),
}
"""Batches are smaller than the recipes' where one update would take many seconds on two cores."""


def collection(count: int, size: tuple[int, int], channels: int, seed: int = 0) -> Collection:
    """Random pictures as a collection: what is in them does not matter to the time."""
    (width, height), everything = size, np.arange(count)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    return Collection(
        images=pixels,
        names=[""] * count,
        labels=None,
        classes=(),
        width=width,
        height=height,
        channels=channels,
        fit="crop",
        train=everything,
        held_out=everything[:0],
        content_hash="",
        summary={"location": "random"},
        title="random",
    )


def prepared(
    case: Case, precision: str, device: torch.device, count: int = LEAST_PICTURES
) -> tuple[Recipe, Collection]:
    """A case's recipe, resolved, and pictures for it."""
    sized = {"image.width": case.size[0], "image.height": case.size[1], "image.channels": case.channels}
    recipe = Recipe.load(case.recipe, {**sized, "training.precision": precision, **case.overrides})
    pictures = collection(max(count, recipe.training.batch_size), case.size, case.channels)
    return resolved(recipe, pictures, device), pictures


def limner_loop(case: Case, precision: str, device_name: str, count: int = LEAST_PICTURES) -> Loop:
    """Limner's own loop, at its beginning."""
    device = torch.device(device_name)
    return assemble(*prepared(case, precision, device, count), device)


def limner_step(case: Case, precision: str, device_name: str) -> Callable[[], int]:
    """One update of Limner's; returns images seen."""
    loop = limner_loop(case, precision, device_name)
    if loop.recorded is not None:
        warm_up(loop)

    def step() -> int:
        loop.advance()
        return loop.portion

    return step


def reference_step(case: Case, device_name: str) -> Callable[[], int]:
    """One update of the plain version; returns images seen."""
    device = torch.device(device_name)
    recipe, pictures = prepared(case, "float32", device)
    pixels = torch.from_numpy(np.asarray(pictures.images)).to(device).permute(0, 3, 1, 2)
    floats = pixels.float().div(127.5).sub(1).contiguous()
    return textbook(floats, recipe.training.batch_size) if case.book else plain_step(recipe, floats)


class Arithmetic(TorchDispatchMode):
    """Counts the operations of convolutions and matrix products, two a multiply-add, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        formula = flop_registry.get(function._overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **(kwargs or {}), out_val=result)
        if function._overloadpacket is torch.ops.aten.convolution_backward and (groups := args[9]) > 1 and args[10][1]:
            # torch counts the weight gradient of a grouped convolution as if it were not grouped.
            whole = formula(*args[:10], [False, True, False], out_val=(None, result[1], None))
            self.operations -= whole - whole // groups
        return result


def counted(case: Case, device_name: str) -> dict[str, float]:
    """GFLOP that an image costs Limner and the plain version, over a whole cycle of batches of two."""
    small = replace(case, overrides={**case.overrides, "training.batch_size": 2})
    costs = {}
    for name, step in (
        ("limner", limner_step(small, "float32", device_name)),
        ("plain", reference_step(small, device_name)),
    ):
        with Arithmetic() as counter:
            images = sum(step() for _ in range(case.cycle))
        costs[name] = counter.operations / images / 1e9
    return costs


def measure(settings: Settings, name: str, case: Case, gflop: dict[str, float]) -> list[Figure]:
    """One case's figures; ``gflop`` as :func:`counted` has it."""
    device = str(settings.device)
    precision = choose_precision(settings.precision, settings.device)
    rounds = contest(
        {
            "plain": (reference_step, {"case": case, "device_name": device}),
            "limner": (limner_step, {"case": case, "precision": precision, "device_name": device}),
        },
        rounds=settings.rounds,
        seconds=settings.seconds,
        device=settings.device,
        cycle=case.cycle,
        tiny=settings.tiny,
    )
    return summary(name, case, rounds, precision, gflop)


def summary(name: str, case: Case, rounds: list[Round], precision: str, gflop: dict[str, float]) -> list[Figure]:
    """What the rounds of a case say."""
    against = "textbook" if case.book else "plain"
    product = [each.limits[precision if precision in each.limits else "float32"] for each in rounds]
    ours = [each.turns["limner"].rate for each in rounds]
    return [
        figure(
            f"{name}: times the {against} version", "", [each.ratio("limner", "plain") for each in rounds], case.goal
        ),
        figure(f"{name}: the same by processor time", "", [each.processor_ratio("limner", "plain") for each in rounds]),
        figure(f"{name}: {against}", "images/s", [each.turns["plain"].rate for each in rounds]),
        figure(f"{name}: limner in {precision}", "images/s", ours),
        figure(
            f"{name}: share of the {precision} product",
            "",
            [rate * gflop["limner"] / limit for rate, limit in zip(ours, product, strict=True)],
            0.7 if case.recipe == "dcgan" else None,
        ),
        figure(f"{name}: arithmetic of an image, limner", "GFLOP", gflop["limner"]),
        figure(f"{name}: arithmetic of an image, {against}", "GFLOP", gflop["plain"]),
        figure(f"{name}: peak memory, limner", "GB", [each.turns["limner"].peak / 1e9 for each in rounds]),
        figure(f"{name}: peak memory, {against}", "GB", [each.turns["plain"].peak / 1e9 for each in rounds]),
    ]


def run(settings: Settings, only: list[str] | None = None) -> list[Figure]:
    """All cases, one after the other."""
    cases = {name: case for name, case in CASES.items() if not only or name in only}
    cases = {name: case.small() for name, case in cases.items()} if settings.tiny else cases
    told = {name: (counted, {"case": case, "device_name": str(settings.device)}) for name, case in cases.items()}
    gflop = in_children(told)
    return [found for name, case in cases.items() for found in measure(settings, name, case, gflop[name])]
