"""Limner: from a small collection of images to a generator that its owner keeps.

The public names are loaded when they are first used, so that ``import limner`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from limner.version import __version__ as __version__

if TYPE_CHECKING:
    from limner import networks as networks
    from limner.errors import InputError as InputError
    from limner.errors import LimnerError as LimnerError
    from limner.generator import TrainedGenerator as TrainedGenerator
    from limner.recipe import Recipe as Recipe
    from limner.sharing.loading import load as load
    from limner.training.resuming import resume as resume
    from limner.training.train import train as train

_PUBLIC = {
    "InputError": "limner.errors",
    "LimnerError": "limner.errors",
    "Recipe": "limner.recipe",
    "TrainedGenerator": "limner.generator",
    "load": "limner.sharing.loading",
    "networks": "",
    "resume": "limner.training.resuming",
    "train": "limner.training.train",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'limner' has no attribute {name!r}")
    module = _PUBLIC[name]
    return getattr(import_module(module), name) if module else import_module(f"limner.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
