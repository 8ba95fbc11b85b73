"""What a run's recipe changes of the shipped one that it came from, and how to repeat the run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from limner import recipe as recipes
from limner import rundir
from limner.errors import InputError
from limner.judging.report.read import Contents
from limner.judging.report.words import mapping, text
from limner.recipe import Recipe

MEASURED = (
    "image.width",
    "image.height",
    "image.channels",
    "training.device",
    "training.precision",
    "evaluation.every_images",
)
"""Fields that a training writes into its recipe by itself, when the recipe leaves them open or says ``auto``."""
COMMAND_LONGEST = 4000


@dataclass(frozen=True)
class Difference:
    """A field that the run has otherwise.

    Attributes:
        name: ``section.field``.
        shipped, here: both values as TOML would have them; a dash for none.
        why: ``changed``, ``added``, ``removed`` or ``measured``.
    """

    name: str
    shipped: str
    here: str
    why: str


def shipped_recipe(recipe: Recipe) -> tuple[str, Recipe] | None:
    """The shipped recipe that another one came from (they have the same summary), by name; ``None`` for one's own."""
    for name in recipes.names():
        try:
            shipped = Recipe.load(name)
        except InputError:
            continue
        if shipped.about.summary and shipped.about.summary == recipe.about.summary:
            return name, shipped
    return None


def differences(recipe: Recipe, shipped: Recipe) -> list[Difference]:
    """Every field in which they differ, what is said about them (``about``) aside; those that were measured come last."""
    here, there = flattened(recipe.values()), flattened(shipped.values())
    found = []
    for name in dict.fromkeys([*there, *here]):
        mine, its = here.get(name), there.get(name)
        if mine == its or name.startswith("about."):
            continue
        why = "added" if its is None else "removed" if mine is None else "changed"
        if name in MEASURED and its in (None, "auto"):
            why = "measured"
        found.append(Difference(name, _shown(its), _shown(mine), why))
    return sorted(found, key=lambda difference: difference.why == "measured")


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """``section.field`` -> value."""
    flat = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{field}": inner for field, inner in value.items()})
        else:
            flat[name] = value
    return flat


def commands(run: Contents) -> list[tuple[str, str]]:
    """What repeats the run: what it is, and the command line, quoted for a POSIX shell."""
    found = []
    started = next((event for event in run.events if event.get("event") == "started"), None)
    given = mapping(started).get("command")
    if isinstance(given, list) and given and all(isinstance(word, str) for word in given):
        found.append(("As it was given", _quoted([_program(given[0]), *given[1:]])))
    location = run.data.get("location")
    data = location if isinstance(location, str) and location else "DATA"
    recipe = str(run.path / rundir.RECIPE)
    found.append(("From the recipe that it left", _quoted(["limner", "train", data, "--recipe", recipe])))
    if run.state:
        found.append(("Go on with it", _quoted(["limner", "resume", str(run.path)])))
    return found


def _program(word: str) -> str:
    """The first word of a command: a path to Limner's own entry says no more than its name."""
    return "limner" if PurePath(word).name in ("limner", "limner.exe", "__main__.py") else word


def _quoted(words: Iterable[str]) -> str:
    line = shlex.join(words)
    return line if len(line) <= COMMAND_LONGEST else text(line)


def _shown(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{text(value)}"'
    return text(f"{value:g}" if isinstance(value, float) else value)
