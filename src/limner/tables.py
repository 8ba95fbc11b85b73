"""What can be chosen by name: networks, objectives. One line each; nothing is imported until it is asked for.

A new architecture is one file, one line here and one recipe. The registry-wide tests then cover it by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One choice.

    Attributes:
        target: ``module:attribute``, or a module for a network family (it holds ``Generator`` and ``Discriminator``).
        help: one line for people.
        fields: the recipe's fields that this choice accepts, as ``section.field``; the others are refused when given.
    """

    target: str
    help: str
    fields: tuple[str, ...] = ()

    def load(self) -> Any:
        """Import and return what ``target`` names."""
        module, _, attribute = self.target.partition(":")
        loaded = import_module(module)
        return getattr(loaded, attribute) if attribute else loaded


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{section}.{name}" for section in ("generator", "discriminator") for name in names)


NETWORKS: Mapping[str, Entry] = {
    "dcgan": Entry(
        "limner.networks.dcgan",
        "convolutions that halve and double the picture, with batch normalisation (any size and aspect)",
        _both("width", "activation", "slope", "dropout"),
    ),
    "mlp": Entry(
        "limner.networks.mlp",
        "fully connected layers over the pixels (small pictures only)",
        _both("hidden", "activation", "slope", "dropout"),
    ),
}

OBJECTIVES: Mapping[str, Entry] = {
    "non-saturating": Entry(
        "limner.training.objectives:non_saturating",
        "binary cross-entropy; the generator maximises log D(G(z))",
        ("objective.real_label",),
    ),
    "minimax": Entry(
        "limner.training.objectives:minimax",
        "binary cross-entropy; the generator minimises log(1 - D(G(z)))",
        ("objective.real_label",),
    ),
}

OPTIMIZERS: Mapping[str, Entry] = {
    "adam": Entry("torch.optim:Adam", "adaptive moments", _both("beta1", "beta2")),
}

EXTRACTORS: Mapping[str, Entry] = {
    "limner": Entry(
        "limner.judging.features:open_limner",
        "the compact network that comes with Limner (nothing to fetch, quick on any machine)",
    ),
    "inception": Entry(
        "limner.judging.features:open_inception",
        "Inception-v3 as in published FIDs (fetched once, on request)",
    ),
}
"""What turns images into features, for the distances."""

SELECTORS: Mapping[str, Mapping[str, Entry]] = {
    "network.family": NETWORKS,
    "objective.name": OBJECTIVES,
    "generator.optimizer": OPTIMIZERS,
    "discriminator.optimizer": OPTIMIZERS,
}
"""The recipe's fields whose values are names in a table."""
