"""A training that begins where another one was: weights of a generator and a discriminator of the same family, where they fit.

Few images teach the last step from pictures to these pictures better than all the steps from noise (Wang et al., ECCV 2018,
"Transferring GANs"; Mo, Cho and Shin 2020, "Freeze the discriminator"). What has the same place and the same shapes is
copied; what has not (the layer next to the picture with other channels, more or fewer halvings for another size) stays as
it was drawn. Optimizers start anew.

Which layers have the same place: at the same size, those of the same name. At other sizes names count from one end of
the network and are shifted, so the layers of both are put side by side in order, as the two versions of a changed text are:
the longest common sequence of equal shapes, by numbers of weights. Where there is a choice, because blocks of several
resolutions have equal shapes, layers are taken from the base on: from the latent in the generator, backwards from the logit
in the discriminator. There lies what is most alike in pictures of another size: what they show, rather than their finest
detail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from limner import rundir
from limner.errors import InputError
from limner.generator import TrainedGenerator, load
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.training.ema import AveragedGenerator
from limner.training.guard import event
from limner.training.loop import Loop

EVENT = "warm start"
NAMED = 4
"""Tensors that stay new and are named to people; all of them are in the event."""
_OF_CLASSES = frozenset(["embedding", "gains", "biases", "projection", "classifier"])
"""Names of the layers in which a row belongs to a class (:mod:`limner.networks.conditioning`, ``norms``)."""
_DISCRIMINATOR = "discriminator."

Tensors = Mapping[str, Tensor]
Signature = tuple[tuple[str, tuple[int, ...]], ...]


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
    found = _discriminator(Path(source), at)
    # Both are looked at before anything is changed.
    generator_pairs = _paired(generator.state_dict(), trained.network.state_dict(), same_size, False)
    discriminator_pairs = {} if found is None else _paired(discriminator.state_dict(), found, same_size, True)
    if recipe.network.classes != trained.recipe.network.classes:
        # Class number 3 of one collection is not class number 3 of another.
        generator_pairs, discriminator_pairs = map(_without_classes, (generator_pairs, discriminator_pairs))
    taken = Taken(
        str(source),
        trained.images,
        _part(generator, trained.network.state_dict(), generator_pairs),
        None if found is None else _part(discriminator, found, discriminator_pairs),
    )
    if not taken.generator.weights and not (taken.discriminator is not None and taken.discriminator.weights):
        raise InputError(
            f"--from {source}: not one layer has the shapes of this training's networks; choose the same widths"
            f" (it has generator.width = {trained.recipe.generator.width}), or train without --from"
        )
    _copy(generator, trained.network.state_dict(), generator_pairs)
    if found is not None:
        _copy(discriminator, found, discriminator_pairs)
    return taken


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


def _paired(mine: Tensors, theirs: Tensors, same_size: bool, from_end: bool) -> dict[str, str]:
    """Which tensor of theirs each of mine takes, by name; from the end where layers are counted from there."""
    ours, others = _layers(mine), _layers(theirs)
    aligned = [] if same_size else _aligned(ours, others, from_end)
    if same_size:  # with other widths a layer may have the shape of its neighbour, which does not make it that one
        aligned = [(name, name) for name, layer in ours.items() if others.get(name) == layer]
    return {_joined(name, suffix): _joined(other, suffix) for name, other in aligned for suffix, _ in ours[name]}


def _without_classes(pairs: Mapping[str, str]) -> dict[str, str]:
    return {mine: theirs for mine, theirs in pairs.items() if not _OF_CLASSES & set(mine.split("."))}


def _layers(tensors: Tensors) -> dict[str, Signature]:
    """The innermost modules by name, in order, each with the names and shapes of its tensors.

    A weight that is computed from others (spectral normalisation) belongs to its layer.
    """
    layers: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for name, tensor in tensors.items():
        if ".parametrizations." in name:
            layer, suffix = name.split(".parametrizations.", 1)
            suffix = f"parametrizations.{suffix}"
        elif "." in name:
            layer, suffix = name.rsplit(".", 1)
        else:
            layer, suffix = name, ""
        layers.setdefault(layer, []).append((suffix, tuple(tensor.shape)))
    return {layer: tuple(sorted(contents)) for layer, contents in layers.items()}


def _joined(layer: str, suffix: str) -> str:
    return f"{layer}.{suffix}" if suffix else layer


def _size(layer: Signature) -> int:
    return 1 + sum(torch.Size(shape).numel() for _, shape in layer)


def _weight(layers: Mapping[str, Signature], pairs: Sequence[tuple[str, str]]) -> int:
    return sum(_size(layers[name]) for name, _ in pairs)


def _aligned(ours: Mapping[str, Signature], others: Mapping[str, Signature], from_end: bool) -> list[tuple[str, str]]:
    """The heaviest common subsequence of equal layers; among equals the one that begins earliest (or ends latest)."""
    mine, theirs = list(ours), list(others)
    if from_end:
        mine.reverse()
        theirs.reverse()
    # best[i][j]: what can be had of mine[i:] and theirs[j:]
    best = [[0] * (len(theirs) + 1) for _ in range(len(mine) + 1)]
    for i in range(len(mine) - 1, -1, -1):
        for j in range(len(theirs) - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            if ours[mine[i]] == others[theirs[j]]:
                best[i][j] = max(best[i][j], _size(ours[mine[i]]) + best[i + 1][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(mine) and j < len(theirs):
        layer = ours[mine[i]]
        if layer == others[theirs[j]] and best[i][j] == _size(layer) + best[i + 1][j + 1]:
            pairs.append((mine[i], theirs[j]))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            i += 1
    return pairs[::-1] if from_end else pairs


def _part(network: nn.Module, theirs: Tensors, pairs: Mapping[str, str]) -> Part:
    """What is told of one network, before it is changed."""
    mine = network.state_dict()
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    used = set(pairs.values())
    left = {name: tensor for name, tensor in theirs.items() if name not in used}
    new = {name: _why(name, mine[name], left) for name in mine if name not in pairs}
    return Part(
        tuple(pairs),
        new,
        (sum(sizes.get(name, 0) for name in pairs), sum(sizes.values())),
        any(mine[name].dim() > 1 for name in pairs),
    )


def _why(name: str, tensor: Tensor, left: Tensors) -> str:
    """Why nothing was taken for a tensor."""
    # Names are shifted between sizes: what was left over, has as many axes and differs in one of them, is its counterpart.
    candidates = [left[name]] if name in left else [
        other for key, other in left.items() if key.rpartition(".")[2] == name.rpartition(".")[2]
    ]  # fmt: skip
    for other in candidates:
        if other.dim() == tensor.dim():
            axes = [axis for axis in range(tensor.dim()) if tensor.shape[axis] != other.shape[axis]]
            if len(axes) == 1:
                return f"{tensor.shape[axes[0]]} instead of {other.shape[axes[0]]} in {list(tensor.shape)}"
    if name in left:
        return f"{list(tensor.shape)} instead of {list(left[name].shape)}"
    return "has no counterpart"


@torch.no_grad()
def _copy(network: nn.Module, theirs: Tensors, pairs: Mapping[str, str]) -> None:
    # The tensors themselves, not copies of them: in place, so that optimizers and memory formats keep theirs.
    mine = network.state_dict()
    for name, other in pairs.items():
        mine[name].copy_(theirs[other])
