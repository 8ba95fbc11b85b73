"""Which layers of two networks of one family have the same place.

At the same size, those that come equally late, whatever normalisation or dropout lies between them; where one network has
more layers, those of the same name. At other sizes names count from one end of the network and are shifted, so the layers of
both are put side by side in order, as the two versions of a changed text are: the longest common sequence of equal shapes, by
numbers of weights. Where there is a choice, because blocks of several resolutions have equal shapes, layers are taken from
the base on: from the latent in the generator, backwards from the logit in the discriminator. There lies what is most alike in
pictures of another size: what they show, rather than their finest detail.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Signature = tuple[tuple[str, tuple[int, ...]], ...]
"""Of a layer: the names of its tensors there, and their shapes."""
OF_CLASSES = frozenset(["embedding", "gains", "biases", "projection", "classifier"])
"""Names of the layers in which a row belongs to a class (:mod:`limner.networks.conditioning`, ``norms``)."""


def paired(mine: Tensors, theirs: Tensors, same_size: bool, from_end: bool) -> dict[str, str]:
    """Which tensor of theirs each of mine takes, by name; from the end where layers are counted from there."""
    ours, others = layers_of(mine), layers_of(theirs)
    # Not by shape at one size: with other widths a layer may have its neighbour's, which does not make it that one.
    places = side_by_side(ours, others) if same_size else aligned(ours, others, from_end)
    pairs: dict[str, str] = {}
    for name, other in places:
        if _is_main(name, ours[name]):
            common = set(ours[name]) & set(others[other])
            fits = all(tensor in common for tensor in ours[name] if len(tensor[1]) > 1)  # no bias without its weights
        else:
            common = set(ours[name])
            fits = ours[name] == others[other]  # no scale without the statistics that it goes with
        if fits:
            pairs |= {joined(name, suffix): joined(other, suffix) for suffix, _ in sorted(common)}
    return pairs


def side_by_side(ours: Mapping[str, Signature], others: Mapping[str, Signature]) -> list[tuple[str, str]]:
    """The layers of two networks for pictures of one size that have the same place."""
    mine, theirs = _groups(ours), _groups(others)
    if len(mine) != len(theirs):
        return [(name, name) for name in ours if name in others]
    return [pair for one, other in zip(mine, theirs, strict=True) for pair in zip(one, other, strict=False)]


def _groups(layers: Mapping[str, Signature]) -> list[list[str]]:
    """Each layer that does the work with what follows it up to the next: normalisations, what belongs to classes."""
    groups: list[list[str]] = [[]]
    for name, layer in layers.items():
        if _is_main(name, layer):
            groups.append([])
        groups[-1].append(name)
    return groups


def _is_main(name: str, layer: Signature) -> bool:
    """Whether a layer has weights from channels to channels."""
    return any(len(shape) > 1 for _, shape in layer) and not OF_CLASSES & set(name.split("."))


def layers_of(tensors: Tensors) -> dict[str, Signature]:
    """The innermost modules by name, in order, each with the names and shapes of its tensors.

    A weight that is computed from others (spectral normalisation) belongs to its layer.
    """
    layers: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for name, tensor in tensors.items():
        layer, suffix = split(name)
        layers.setdefault(layer, []).append((suffix, tuple(tensor.shape)))
    return {layer: tuple(sorted(contents)) for layer, contents in layers.items()}


def split(name: str) -> tuple[str, str]:
    """A tensor's layer, and what it is called there."""
    if ".parametrizations." in name:
        layer, suffix = name.split(".parametrizations.", 1)
        return layer, f"parametrizations.{suffix}"
    layer, _, suffix = name.rpartition(".")
    return (layer, suffix) if layer else (name, "")


def joined(layer: str, suffix: str) -> str:
    return f"{layer}.{suffix}" if suffix else layer


def _size(layer: Signature) -> int:
    return 1 + sum(torch.Size(shape).numel() for _, shape in layer)


def aligned(ours: Mapping[str, Signature], others: Mapping[str, Signature], from_end: bool) -> list[tuple[str, str]]:
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
