"""What a page asks to train: checked as the command line checks it, with each problem at its field, and made a command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w

from limner import recipe as recipes
from limner import rundir
from limner.data.sources import safe_title
from limner.durable import atomic_write
from limner.errors import InputError
from limner.recipe import DEFAULT, Recipe, RecipeError
from limner.recipe.rules import unused_fields
from limner.studio.launches import FOLDER, Launches
from limner.studio.models import Problem, TrainingForm
from limner.studio.places import Missing, Places

OF_RUN = "run:"
"""What a recipe's name begins with where it is that of a run."""
EXTRACTORS = ("limner", "inception")
"""The others are files and code by name, which a page has no say in."""
_FIELD = r"([a-z_]+(?:\.[a-z0-9_]+)?)"


class FormError(InputError):
    """What is wrong with a form, field by field."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{problem.field}: {problem.message}" for problem in problems))


class Forms:
    """Forms of new trainings.

    Args:
        places: the roots.
        launches: what was started already.
    """

    def __init__(self, places: Places, launches: Launches) -> None:
        self.places, self.launches = places, launches

    def recipe(self, form: TrainingForm) -> Recipe:
        """The recipe that a form describes.

        Raises:
            FormError: with all problems of it.
        """
        try:
            recipe = Recipe.load(self._base(form.recipe), form.settings)
            if form.classes and recipe.network.conditioning == "none":
                recipe = recipe.changed({"network.conditioning": "projection"})
        except RecipeError as error:
            raise FormError([_problem(line) for line in error.problems]) from None
        except InputError as error:
            raise FormError([Problem(field="recipe", message=str(error))]) from None
        if recipe.evaluation.extractor not in EXTRACTORS:
            allowed = " or ".join(EXTRACTORS)
            raise FormError(
                [Problem(field="evaluation.extractor", message=f"must be {allowed} here; others by 'limner train'")]
            )
        return recipe

    def check(self, form: TrainingForm) -> tuple[list[Problem], Recipe | None]:
        """All that is wrong with a form, and the recipe where that is right."""
        problems: list[Problem] = []
        recipe = None
        try:
            recipe = self.recipe(form)
        except FormError as error:
            problems += error.problems
        try:
            self.places.collection(form.data)
        except InputError as error:
            problems.append(Problem(field="data", message=_without_head(str(error))))
        if form.name:
            try:
                path = self.places.named(form.name)
                if path.exists() or self.launches.find(form.name) is not None:
                    problems.append(Problem(field="name", message=f"there is a run {form.name!r} already"))
            except Missing:
                problems.append(
                    Problem(field="name", message="must be a plain name for a directory, and not begin with a dot")
                )
        return problems, recipe

    def start(self, form: TrainingForm) -> str:
        """Start the training that a form describes; returns the run's name.

        Raises:
            FormError: with all problems of it; InputError: it cannot be started.
        """
        problems, recipe = self.check(form)
        if problems or recipe is None:
            raise FormError(problems)
        data = self.places.collection(form.data)
        name = form.name or self.launches.free_name(_title(data))
        arguments = ["train", data, *self._recipe_arguments(form, recipe, name), f"--runs={self.places.runs}"]
        if form.classes:
            arguments.append("--classes")
        self.launches.begin(name, "train", [*arguments, f"--name={name}"], data)
        return name

    def _recipe_arguments(self, form: TrainingForm, recipe: Recipe, name: str) -> list[str]:
        """How the command line says the recipe. Fields that are taken out it cannot say: then the whole recipe is a file."""
        if any(value is None for value in form.settings.values()):
            folder = self.places.runs / FOLDER
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{name}.toml"
            atomic_write(file, recipe.to_toml().encode())
            return [f"--recipe={file}"]
        settings = [f"--set={field}={_as_toml(value)}" for field, value in form.settings.items()]
        return [f"--recipe={self._base(form.recipe)}", *settings]

    def _base(self, name: str) -> str | Path:
        """A shipped recipe, or that of a run. A path is none of a page's business.

        Raises:
            InputError: there is none of that name.
        """
        if name.startswith(OF_RUN):
            return self.places.run(name.removeprefix(OF_RUN)) / rundir.RECIPE
        if name not in recipes.names():
            raise InputError(f"recipe {name!r}: no such recipe; the shipped ones are {', '.join(recipes.names())}")
        return name


def described(recipe: Recipe) -> dict[str, Any]:
    """A recipe for a form: the values in use, and the fields that its choices have no use for."""
    values = recipe.values()
    return {
        "summary": recipe.about.summary,
        "source": recipe.about.source,
        "cost": recipe.about.cost,
        "values": {
            f"{section}.{field}": value
            for section, inner in values.items()
            if isinstance(inner, Mapping) and section != "about"
            for field, value in inner.items()
        },
        "unused": sorted(unused_fields(values, Recipe)),
    }


@cache
def shipped() -> dict[str, Any]:
    """All shipped recipes, the usual one, and the schema that says what each field takes."""
    schema = Recipe.model_json_schema()
    return {
        "usual": DEFAULT,
        "recipes": {name: described(Recipe.load(name)) for name in recipes.names()},
        "schema": schema,
        "choices": _choices(),
    }


def _choices() -> dict[str, dict[str, str]]:
    """The names that a field may have, each with a line of help, where a table holds them."""
    from limner import tables

    chosen = {field: {name: entry.help for name, entry in table.items()} for field, table in tables.SELECTORS.items()}
    chosen["evaluation.extractor"] = {name: tables.EXTRACTORS[name].help for name in EXTRACTORS}
    return chosen


def _title(data: str) -> str:
    name = data.partition(":")[2].partition(":")[0] if data.startswith("procedural:") else Path(data).name
    return safe_title(name.partition(".")[0]) if not Path(data).is_dir() else safe_title(name)


def _problem(line: str) -> Problem:
    """A recipe's problem in one line, such as ``training.lr = 5: must be ...``, taken apart."""
    found = re.match(rf"{_FIELD}(?: = .*)?: (must be .*)", line, re.DOTALL) or re.match(
        rf"{_FIELD}: (.*)", line, re.DOTALL
    )
    return Problem(field=found[1], message=found[2]) if found else Problem(field="recipe", message=line)


def _without_head(line: str) -> str:
    """``data PLACE: what`` without its head."""
    head, _, rest = line.partition(": ")
    return rest if head.startswith("data") and rest else line


def _as_toml(value: Any) -> str:
    return tomli_w.dumps({"value": value}, multiline_strings=False).partition("=")[2].replace("\n", " ").strip()
