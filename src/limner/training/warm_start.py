"""A training that begins where another one was: weights of a generator and a discriminator of the same family, where they fit.

Few images teach the last step from pictures to these pictures better than all the steps from noise (Wang et al., ECCV 2018,
"Transferring GANs"; Mo, Cho and Shin 2020, "Freeze the discriminator"). What has the same place and the same shapes is
copied; what has not (the layer next to the picture with other channels, more or fewer halvings for another size) stays as
it was drawn. Optimizers start anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from limner import rundir
from limner.errors import InputError
from limner.generator import TrainedGenerator, load
from limner.networks import build
from limner.networks.outline import outlines
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.training.alignment import OF_CLASSES, Tensors, joined, layers_of, paired, side_by_side, split
from limner.training.ema import AveragedGenerator
from limner.training.guard import event
from limner.training.loop import Loop

EVENT = "warm start"
NAMED = 4
"""Tensors that stay new and are named to people; all of them are in the event."""
_DISCRIMINATOR = "discriminator."
_BOTH = ("width", "hidden", "depth", "norm", "kernel", "stride")
_SHAPING = {
    "network": ("latent", "conditioning"),
    "generator": (*_BOTH, "upsample", "fine", "smooth", "excitation"),
    "discriminator": (*_BOTH, "residual", "deviation", "reconstruction"),
}
"""Fields of a recipe that the shapes of its layers follow from, its size apart."""


@dataclass(frozen=True)
class Part:
    """What one network took.

    Attributes:
        taken: names of its tensors that were copied.
        new: names of those that stay as they were drawn, each with why.
        parameters: how many weights were copied, and how many it has.
        weights: whether anything but offsets, scales and statistics was copied.
    """

    taken: tuple[str, ...]
    new: Mapping[str, str]
    parameters: tuple[int, int]
    weights: bool

    def describe(self, name: str) -> str:
        """For people: 38 of 42 tensors of the generator (96 % of its parameters)."""
        count, share = len(self.taken), self.parameters[0] / self.parameters[1]
        said = f"{100 * share:.0f}" if share in (0.0, 1.0) else f"{min(max(100 * share, 0.1), 99.9):.3g}"
        return f"{count} of {count + len(self.new)} tensors of the {name} ({said} % of its parameters)"

    def values(self) -> dict[str, Any]:
        """For JSON."""
        taken, has = self.parameters
        return {"tensors": len(self.taken), "parameters": taken, "of_parameters": has, "new": dict(self.new)}


@dataclass(frozen=True)
class Taken:
    """What a training took from another one.

    Attributes:
        source: where it came from.
        images: how many real images that had been trained on.
        generator: what the generator took.
        discriminator: what the discriminator took; ``None`` where the source has none.
    """

    source: str
    images: int
    generator: Part
    discriminator: Part | None

    def describe(self) -> str:
        """One line for people."""
        parts = [self.generator.describe("generator")]
        new = [f"generator {name} ({why})" for name, why in self.generator.new.items()]
        if self.discriminator is None:
            parts.append("no discriminator there, it starts from nothing")
        else:
            parts.append(self.discriminator.describe("discriminator"))
            new += [f"discriminator {name} ({why})" for name, why in self.discriminator.new.items()]
        more = f" and {len(new) - NAMED} more" if len(new) > NAMED else ""
        named = f"; new: {', '.join(new[:NAMED])}{more}" if new else ""
        return f"from {self.source} ({self.images:,} images): {', '.join(parts)}{named}"

    def event(self) -> dict[str, Any]:
        """A line for the run's events."""
        discriminator = None if self.discriminator is None else self.discriminator.values()
        told = {"generator": self.generator.values(), "discriminator": discriminator}
        return event(EVENT, 0, source=self.source, source_images=self.images, **told)


def begin(loop: Loop, source: str | Path, at: str = "newest") -> Taken:
    """Give a loop that has not begun the weights of another training, its averaged generator included.

    Args:
        loop: as :func:`limner.training.assembly.assemble` makes it.
        source, at: see :func:`take`.

    Raises:
        InputError: see :func:`take`.
    """
    taken = take(loop.step.generator, loop.step.discriminator, source, loop.recipe, at)
    loop.average = AveragedGenerator(loop.step.generator, loop.recipe.ema)
    return taken


def check(source: str | Path, recipe: Recipe, at: str = "newest") -> TrainedGenerator:
    """The generator of a source, if it is of a recipe's family. Quick, so that mistakes are told before the data is prepared.

    Raises:
        InputError: there is no such source or it is damaged, or it is of another family.
    """
    trained = load(source, at=at)
    family, asked = trained.recipe.network.family, recipe.network.family
    if family != asked:
        raise InputError(
            f"--from {source}: is of the {family} family, and this training is of {asked}; only networks of one family"
            f" have layers in common (choose a recipe of {family})"
        )
    return trained


def like(recipe: Recipe, source: str | Path, at: str = "newest") -> Recipe:
    """The recipe with the source's widths where it leaves them open: layers of other widths have nothing in common.

    Raises:
        InputError: see :func:`check`.
    """
    trained = check(source, recipe, at)
    open_ones = [player for player in ("generator", "discriminator") if getattr(recipe, player).width == "auto"]
    return recipe.changed({f"{player}.width": getattr(trained.recipe, player).width for player in open_ones})


def take(
    generator: nn.Module, discriminator: nn.Module, source: str | Path, recipe: Recipe, at: str = "newest"
) -> Taken:
    """Copy weights into two networks, where they fit. The generator takes those of the source's averaged one.

    Args:
        generator, discriminator: changed in place.
        source: a run directory or a checkpoint, or a generator file, which has no discriminator.
        recipe: what the networks were built by, resolved.
        at: which snapshot of a run directory: ``newest``, ``best`` (has no discriminator), or a number of images.

    Raises:
        InputError: there is no such source or it is damaged, it is of another family, or nothing in it fits.
    """
    trained = check(source, recipe, at)
    same_size = trained.size == (recipe.image.width, recipe.image.height)
    found = _in_order(_discriminator(Path(source), at), trained.recipe)
    # Both are looked at before anything is changed.
    generator_pairs = paired(generator.state_dict(), trained.network.state_dict(), same_size, False)
    discriminator_pairs = {} if found is None else paired(discriminator.state_dict(), found, same_size, True)
    if recipe.network.classes != trained.recipe.network.classes:
        # Class number 3 of one collection is not class number 3 of another.
        generator_pairs, discriminator_pairs = map(_without_classes, (generator_pairs, discriminator_pairs))
    taken = Taken(
        str(source),
        trained.images,
        _part(generator, trained.network.state_dict(), generator_pairs, same_size),
        None if found is None else _part(discriminator, found, discriminator_pairs, same_size),
    )
    if not taken.generator.weights and not (taken.discriminator is not None and taken.discriminator.weights):
        raise InputError(
            f"--from {source}: not one layer has the shapes of this training's networks; set what makes them"
            f" ({_differences(trained.recipe, recipe)}), or train without --from"
        )
    _copy(generator, trained.network.state_dict(), generator_pairs)
    if found is not None:
        _copy(discriminator, found, discriminator_pairs)
    return taken


def _differences(theirs: Recipe, mine: Recipe) -> str:
    """The fields of the networks that the source has otherwise, with its values."""
    found = []
    for section, fields in _SHAPING.items():
        there, here = (getattr(recipe, section).model_dump() for recipe in (theirs, mine))
        found += [f"{section}.{field} = {json.dumps(there[field])}" for field in fields if there[field] != here[field]]
    return ", ".join(found) or "they are of another size"


def _in_order(tensors: dict[str, Tensor] | None, recipe: Recipe) -> dict[str, Tensor] | None:
    """A discriminator's tensors in the order of its layers; a file has them by name, and so ``10`` before ``2``."""
    if tensors is None:
        return None
    image, classes = recipe.image, len(recipe.network.classes or ())
    assert image.width is not None and image.height is not None and image.channels is not None
    with outlines():
        _, network = build(recipe, width=image.width, height=image.height, channels=image.channels, classes=classes)
    return {name: tensors[name] for name in network.state_dict() if name in tensors}


def _discriminator(source: Path, at: str) -> dict[str, Tensor] | None:
    """The discriminator's tensors of a run directory or checkpoint; ``None`` where there is none.

    Raises:
        InputError: the file is damaged.
    """
    if not source.is_dir():
        return None
    place = RunDir.open(source).snapshot(at) if (source / rundir.RECIPE).is_file() else source
    file = place / rundir.TRAINING
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            names = [name for name in opened.keys() if name.startswith(_DISCRIMINATOR)]  # noqa: SIM118
            return {name.removeprefix(_DISCRIMINATOR): opened.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"--from {file}: is not a readable safetensors file ({error})") from None


def _without_classes(pairs: Mapping[str, str]) -> dict[str, str]:
    return {mine: theirs for mine, theirs in pairs.items() if not OF_CLASSES & set(mine.split("."))}


def _part(network: nn.Module, theirs: Tensors, pairs: Mapping[str, str], same_size: bool) -> Part:
    """What is told of one network, before it is changed."""
    mine = network.state_dict()
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    used = set(pairs.values())
    left = {name: tensor for name, tensor in theirs.items() if name not in used}
    places = dict(side_by_side(layers_of(mine), layers_of(theirs))) if same_size else {}
    new = {name: _why(name, mine[name], left, places) for name in mine if name not in pairs}
    return Part(
        tuple(pairs),
        new,
        (sum(sizes.get(name, 0) for name in pairs), sum(sizes.values())),
        any(mine[name].dim() > 1 for name in pairs),
    )


def _why(name: str, tensor: Tensor, left: Tensors, places: Mapping[str, str]) -> str:
    """Why nothing was taken for a tensor; ``places`` has the layer of theirs at each layer's place, where that is known."""
    layer, suffix = split(name)
    if places:
        other = left.get(joined(places.get(layer, ""), suffix))
        if other is not None and other.shape != tensor.shape:
            return _differently(tensor, other)
        return "has no counterpart" if other is None else "its layer is another one"
    # Names are shifted: of what was left over, a weight that differs along one axis alone is its counterpart.
    for key, other in left.items():
        alike = tensor.dim() > 1 and split(key)[1] == suffix and other.dim() == tensor.dim()
        if alike and sum(a != b for a, b in zip(tensor.shape, other.shape, strict=True)) == 1:
            return _differently(tensor, other)
    return "has no counterpart"


def _differently(tensor: Tensor, other: Tensor) -> str:
    """In which of its sizes a tensor differs."""
    if tensor.dim() == other.dim():
        axes = [axis for axis in range(tensor.dim()) if tensor.shape[axis] != other.shape[axis]]
        if len(axes) == 1:
            return f"{tensor.shape[axes[0]]} instead of {other.shape[axes[0]]} in {list(tensor.shape)}"
    return f"{list(tensor.shape)} instead of {list(other.shape)}"


@torch.no_grad()
def _copy(network: nn.Module, theirs: Tensors, pairs: Mapping[str, str]) -> None:
    # The tensors themselves, not copies of them: in place, so that optimizers and memory formats keep theirs.
    mine = network.state_dict()
    for name, other in pairs.items():
        mine[name].copy_(theirs[other])
