"""The recipe: the one description of a training, checked as a whole, in TOML. Every default of Limner stands here.

The text under a field is its help. A recipe knows nothing of torch, so it can be read, checked and shown at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from limner import tables
from limner.errors import InputError
from limner.recipe import text as recipe_text
from limner.recipe.rules import across, cautions, merged, unused_fields
from limner.recipe.sections import (
    About,
    Augment,
    Ema,
    Evaluation,
    Health,
    Image,
    Network,
    Objective,
    Player,
    Regularizers,
    Schedule,
    Section,
    Snapshots,
    Training,
)

__all__ = [
    "DEFAULT",
    "About",
    "Augment",
    "Ema",
    "Evaluation",
    "Health",
    "Image",
    "Network",
    "Objective",
    "Player",
    "Recipe",
    "RecipeError",
    "Regularizers",
    "Schedule",
    "Section",
    "Snapshots",
    "Training",
    "find",
    "merged",
    "names",
    "parse_setting",
]

LARGEST = 1 << 18
"""Bytes of a recipe; the shipped ones have some thousands."""
_PARTS = 500
_TOLD = 25
"""Problems that an error names."""
DEFAULT = "fewshot"
"""What is trained when no recipe is named."""


class Recipe(Section):
    """A training, described completely. See :meth:`load` and :meth:`from_values`."""

    format: Literal[1] = 1
    """Version of this layout."""
    about: About = About()
    image: Image = Image()
    network: Network = Network()
    generator: Player = Player()
    discriminator: Player = Player()
    objective: Objective = Objective()
    regularizers: Regularizers = Regularizers()
    augment: Augment = Augment()
    schedule: Schedule = Schedule()
    ema: Ema = Ema()
    training: Training = Training()
    snapshots: Snapshots = Snapshots()
    evaluation: Evaluation = Evaluation()
    health: Health = Health()

    @classmethod
    def from_values(cls, values: Mapping[str, Any], where: str = "given") -> Recipe:
        """Check nested values (as TOML gives them).

        Raises:
            RecipeError: names every wrong field at once, with what was found and what is allowed.
        """
        problems: list[str] = []
        recipe = None
        try:
            recipe = cls.model_validate(values)
        except ValidationError as error:
            problems += [recipe_text.explain(problem, cls) for problem in error.errors()]
        problems += across(values, cls)
        if problems or recipe is None:
            raise RecipeError(problems, where)
        return recipe

    @classmethod
    def load(cls, recipe: str | Path | Recipe, overrides: Mapping[str, Any] | None = None) -> Recipe:
        """A recipe by its shipped name or from a TOML file, with some fields set otherwise.

        Args:
            recipe: a shipped name, a path, or a recipe.
            overrides: values by ``section.field``; ``None`` takes a field out.

        Raises:
            InputError: no such recipe, or not TOML.
            RecipeError: wrong fields, all of them named.
        """
        if isinstance(recipe, Recipe):
            values, where = recipe.values(), "given"
        else:
            try:
                with find(recipe).open("rb") as file:
                    content = file.read(LARGEST + 1)
                values, where = _read(content, str(recipe)), str(recipe)
            except OSError as error:
                raise InputError(f"recipe {recipe}: cannot be read ({error.strerror or error})") from None
        overrides = overrides or {}
        values = merged(values, overrides)
        image = values.get("image")
        if (
            not isinstance(recipe, Recipe)
            and overrides.get("image.max_side") is not None
            and isinstance(image, dict)
            and {"width", "height"} <= image.keys()
        ):
            size = f"{image['width']}x{image['height']}"
            raise RecipeError(
                [f"image.max_side: decides nothing where the size is given, here {size}; give --size"], where
            )
        if any(name in overrides for name in tables.SELECTORS):
            # Another network or optimizer was asked for: what the recipe says of the one before goes with it.
            for name in unused_fields(values, cls).keys() - overrides.keys():
                section, field = name.split(".")
                if isinstance(values.get(section), dict):
                    values[section].pop(field, None)
        return cls.from_values(values, where)

    def changed(self, overrides: Mapping[str, Any]) -> Recipe:
        """The same recipe with some fields set otherwise (by ``section.field``), checked again."""
        return Recipe.load(self, overrides)

    def values(self) -> dict[str, Any]:
        """Nested plain values: all that this recipe's choices use, and nothing that is ``None``."""
        values = self.model_dump(mode="json", exclude_none=True)
        for name in unused_fields(values, type(self)):
            section, field = name.split(".")
            values[section].pop(field, None)
        return values

    def cautions(self) -> list[str]:
        """What it says that is allowed and hardly meant, one line each."""

        def value(name: str) -> Any:
            section, field = name.split(".")
            return getattr(getattr(self, section), field)

        def default(name: str) -> Any:
            section, field = name.split(".")
            return type(getattr(self, section)).model_fields[field].default

        return cautions(value, default)

    def to_toml(self) -> str:
        """Complete and commented TOML; :meth:`from_toml` gives the same recipe back."""
        return recipe_text.to_toml(self.values(), type(self))

    @classmethod
    def from_toml(cls, text: str | bytes, where: str = "given") -> Recipe:
        """Check a recipe's TOML text (see :meth:`from_values` for the errors)."""
        return cls.from_values(_read(text.encode() if isinstance(text, str) else text, where), where)


class RecipeError(InputError):
    """All that is wrong with a recipe: ``problems`` has one line each."""

    def __init__(self, problems: Iterable[str], where: str = "given") -> None:
        self.problems = [recipe_text.printable(problem) for problem in dict.fromkeys(problems)]
        told = [f"recipe {where}: {problem}" for problem in self.problems[:_TOLD]]
        more = len(self.problems) - _TOLD
        super().__init__("\n".join([*told, f"recipe {where}: and {more:,} more"] if more > 0 else told))


def names() -> list[str]:
    """The names of the shipped recipes."""
    return sorted(path.name.removesuffix(".toml") for path in _shipped().iterdir() if path.name.endswith(".toml"))


def find(recipe: str | Path) -> Any:
    """The TOML file of a shipped name or a path.

    Raises:
        InputError: there is none.
    """
    text = str(recipe)
    if text in names():
        return _shipped() / f"{text}.toml"
    path = Path(text)
    if path.is_file():
        return path
    if text.endswith(".toml") or "/" in text:
        raise InputError(f"recipe {text}: no such file; 'limner recipes' lists those that are shipped")
    hint = recipe_text.nearest(text, names())
    raise InputError(f"recipe {text!r}: no such recipe{hint}; 'limner recipes' lists them, a path must end in .toml")


def parse_setting(text: str) -> tuple[str, Any]:
    """``section.field=value`` as given to ``--set``: the value is TOML, or else a plain word.

    Raises:
        InputError: it has no ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"--set {text}: write section.field=value, such as generator.lr=1e-4")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):  # no TOML, or numbers and nests without end
        return name.strip(), value.strip()


def _shipped() -> Any:
    return files("limner") / "recipes"


def _read(text: bytes, where: str) -> dict[str, Any]:
    if len(text) > LARGEST:
        raise InputError(f"recipe {where}: over {LARGEST:,} bytes are no recipe")
    # A key of so many parts takes a parser the square of them.
    if any(line.partition(b"=")[0].count(b".") > _PARTS for line in text.splitlines()):
        raise InputError(f"recipe {where}: a name of over {_PARTS:,} parts is none of a recipe's")
    try:
        return tomllib.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"recipe {where}: not TOML ({recipe_text.printable(str(error), 300)})") from None
