"""What can be chosen by name, one line each: networks, objectives, penalties, optimizers. Imported when it is asked for.

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
        conditions: the conditionings that a network family can do.
    """

    target: str
    help: str
    fields: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    def load(self) -> Any:
        """Import and return what ``target`` names."""
        module, _, attribute = self.target.partition(":")
        loaded = import_module(module)
        return getattr(loaded, attribute) if attribute else loaded


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{section}.{name}" for section in ("generator", "discriminator") for name in names)


_CONVOLUTIONAL = _both("width", "activation", "slope", "dropout", "norm", "kernel", "stride")

NETWORKS: Mapping[str, Entry] = {
    "dcgan": Entry(
        "limner.networks.dcgan",
        "convolutions that halve and double the picture, with batch normalisation (any size and aspect)",
        (*_CONVOLUTIONAL, "generator.upsample", "generator.smooth"),
        ("projection", "acgan"),
    ),
    "fewshot": Entry(
        "limner.networks.fewshot",
        "light and hard to overfit: skip-layer excitation, a discriminator in two branches that remembers what it saw",
        (
            *_both("width", "depth", "activation", "slope", "norm"),
            "generator.upsample",
            "generator.fine",
            "generator.excitation",
            *(f"discriminator.{name}" for name in ("residual", "deviation", "reconstruction")),
            "objective.reconstruction",
        ),
        ("projection", "acgan"),
    ),
    "r3gan": Entry(
        "limner.networks.r3gan",
        "residual blocks with grouped convolutions and no normalisation (Huang et al. 2024)",
        _both("width", "depth"),
        ("projection",),
    ),
    "mapmaker": Entry(
        "limner.networks.mapmaker",
        "a linear layer, two large strides up and a crop, for large pictures",
        (*_both("width", "activation", "slope", "norm"), "generator.smooth"),
        ("projection", "acgan"),
    ),
    "mlp": Entry(
        "limner.networks.mlp",
        "fully connected layers over the pixels (small pictures only)",
        _both("hidden", "activation", "slope", "dropout"),
    ),
}

CONDITIONINGS: Mapping[str, Entry] = {
    "none": Entry("", "images without classes"),
    "projection": Entry(
        "",
        "D compares what it sees with what it knows of the class (Miyato and Koyama 2018); G's normalisation depends on it",
        ("network.classes",),
    ),
    "acgan": Entry(
        "",
        "D also says which class it sees, and G is to be recognised (Odena, Olah and Shlens 2017)",
        ("network.classes", "objective.classification"),
    ),
}

OBJECTIVES: Mapping[str, Entry] = {
    "non-saturating": Entry(
        "limner.training.objectives:non_saturating",
        "binary cross-entropy; the generator maximises log D(G(z)) (Goodfellow et al. 2014)",
        ("objective.real_label",),
    ),
    "minimax": Entry(
        "limner.training.objectives:minimax",
        "binary cross-entropy; the generator minimises log(1 - D(G(z))) (Goodfellow et al. 2014)",
        ("objective.real_label",),
    ),
    "least-squares": Entry(
        "limner.training.objectives:least_squares",
        "squared distance of the logits from their labels (Mao et al. 2017)",
        ("objective.real_label",),
    ),
    "hinge": Entry(
        "limner.training.objectives:hinge", "logits are pushed to -1 and 1 and no further (Lim and Ye 2017)"
    ),
    "wasserstein": Entry(
        "limner.training.objectives:wasserstein",
        "the difference of the mean logits; the critic has to be kept smooth (Arjovsky et al. 2017)",
    ),
    "relativistic": Entry(
        "limner.training.objectives:relativistic",
        "a real image has to look more real than the generated one it is paired with (Huang et al. 2024)",
    ),
}

REGULARIZERS: Mapping[str, Entry] = {
    "r1": Entry("limner.training.regularizers:r1", "squared gradient of D at real images (Mescheder et al. 2018)"),
    "r2": Entry("limner.training.regularizers:r2", "squared gradient of D at generated images (Mescheder et al. 2018)"),
    "gradient_penalty": Entry(
        "limner.training.regularizers:gradient_penalty",
        "length of D's gradient between real and generated images (Gulrajani et al. 2017)",
    ),
}
"""Penalties on the discriminator, under the name of the field with their weight."""

OPTIMIZERS: Mapping[str, Entry] = {
    "adam": Entry("torch.optim:Adam", "adaptive moments (Kingma and Ba 2015)", _both("beta1", "beta2")),
    "adamw": Entry(
        "torch.optim:AdamW",
        "the same with decay of the weights (Loshchilov and Hutter 2019)",
        _both("beta1", "beta2", "weight_decay"),
    ),
    "rmsprop": Entry("torch.optim:RMSprop", "scaled by the mean squared gradient (Hinton 2012)", _both("alpha")),
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
    "network.conditioning": CONDITIONINGS,
    "objective.name": OBJECTIVES,
    "generator.optimizer": OPTIMIZERS,
    "discriminator.optimizer": OPTIMIZERS,
}
"""The recipe's fields whose values are names in a table."""
