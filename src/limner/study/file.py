"""The study file: what is compared, on what, with which seeds and for how long; checked as a whole."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from limner.errors import InputError
from limner.judging.comparison.statistics import COMPARED
from limner.recipe import DEFAULT, Recipe
from limner.recipe import text as recipe_text
from limner.recipe.sections import Positive, Section, Side

LARGEST = 1 << 20
"""Bytes of a study file."""
REMOTE = ("procedural:", "hf:", "fashion-mnist")
SELECTING = ("recipe", "data")
"""What a level can set besides fields of the recipe."""
_TOLD = 25


class Budget(Section):
    """How long each run is: give one of images, updates, minutes."""

    images: Positive | None = None
    """Real images that each run sees, rounded up to whole updates."""
    updates: Positive | None = None
    """Updates of the generator that each run makes; with another batch these are other numbers of images."""
    minutes: Annotated[float, Field(gt=0, le=10**6)] | None = None
    """Minutes of training; what comes of them depends on the machine, and on what else it does."""
    evaluations: Annotated[int, Field(ge=1, le=100)] = 8
    """Evaluations on the way, at even steps; with ``minutes`` they come when ``evaluation.share`` allows."""


class Range(Section):
    """Values that a search may try."""

    low: float
    """The least."""
    high: float
    """The greatest."""
    log: bool = False
    """Even steps of the logarithm; for rates and weights."""
    whole: bool = False
    """Whole numbers only."""


class Search(Section):
    """A search in place of a grid: configurations are proposed by optuna's TPE (Bergstra et al. 2011)."""

    trials: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Configurations to try."""
    prune: bool = True
    """A run whose figure is worse than the median of those before it, at the same evaluation, is ended."""
    startup: Annotated[int, Field(ge=1, le=1000)] = 5
    """Configurations that are drawn at random, and not pruned, before that."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """What is proposed follows from it, and from what was found before."""
    ranges: dict[str, Range] = Field(default_factory=dict)
    """``section.field`` -> the values to search; factors are searched too, as choices."""


class Judge(Section):
    """The images that all runs are judged by at their ends, where their own would differ."""

    data: str
    """A collection, as for a training."""
    width: Side
    """Pixels to which samples and these images are brought."""
    height: Side
    """Likewise."""
    images: Annotated[int, Field(ge=8, le=100_000)] = 1000
    """Samples, and real images, at most."""


class StudyFile(Section):
    """A study, described completely."""

    format: Literal[1] = 1
    """Version of this layout."""
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """What it is called; the file's name by default."""
    question: str = ""
    """What it should answer, for people."""
    source: str = ""
    """What is known or was said about it before."""
    advice: str = ""
    """What follows, once it is answered."""
    data: str
    """A collection; a relative path counts from the study file, and ${NAME} is taken from the environment."""
    recipe: str = DEFAULT
    """The base recipe: a shipped name, or a path (from the study file)."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], Field(min_length=1, max_length=1000)] = (0, 1)
    """Each configuration is trained once with each."""
    metric: str = "kernel_distance"
    """The figure that configurations are compared by."""
    reference: str | None = None
    """The configuration that the others are held against; the first by default."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of each run. Without it: the machine's, divided by the workers of the first start; then they stay."""
    storage: str | None = None
    """Where optuna keeps the state: the URL of a database that several machines reach. Without it: a file in the study."""
    budget: Budget
    """How long each run is."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Fields of the recipe that all configurations have otherwise."""
    factors: dict[str, Any] = Field(default_factory=dict)
    """What is varied, and its values."""
    search: Search | None = None
    """A search over ranges, in place of the grid of all factors' values."""
    names: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Names of configurations: the values of factors that make each."""
    judge: Judge | None = None
    """A common yardstick."""


@dataclass(frozen=True)
class Level:
    """One value of a factor: what it is called, and the fields that it sets (``recipe`` and ``data`` among them)."""

    label: str
    sets: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """A study file that was read.

    Attributes:
        path: of the file; ``text`` is what it says.
        given: its values.
        name: of the study.
        base: fields that all configurations have otherwise, by ``section.field``.
        factors: factor -> its levels.
        names: configuration's name -> label by factor.
    """

    path: Path
    text: str
    given: StudyFile
    name: str
    base: Mapping[str, Any]
    factors: Mapping[str, tuple[Level, ...]]
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class StudyError(InputError):
    """All that is wrong with a study file: ``problems`` has one line each."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.problems = [recipe_text.printable(problem) for problem in dict.fromkeys(problems)]
        told = [f"study {path}: {problem}" for problem in self.problems[:_TOLD]]
        more = len(self.problems) - _TOLD
        super().__init__("\n".join([*told, f"study {path}: and {more:,} more"] if more > 0 else told))


def read_study(path: str | Path) -> Study:
    """Read a study file and check what can be checked without its recipe and its data.

    Raises:
        InputError: no such file, or no TOML.
        StudyError: everything that is wrong in it, one line each.
    """
    path = Path(path)
    text = _content(path)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"study {path}: not TOML ({recipe_text.printable(str(error), 300)})") from None
    problems: list[str] = []
    try:
        given: StudyFile | None = StudyFile.model_validate(values)
    except ValidationError as error:
        problems += [_explained(problem) for problem in error.errors()]
        given = _rest(values, {str(problem["loc"][0]) for problem in error.errors()})
    factors = _factors(values.get("factors", {}), problems)
    base = _flat(values.get("set", {}), "set", problems)
    for name in ("training.epochs", "training.images", "training.minutes", "training.seed"):
        if name in base:
            where = "seeds" if name.endswith("seed") else "[budget]"
            problems.append(f"set: {name}: is said by {where}; leave it out")
    if given is not None:
        ranges = list(given.search.ranges) if given.search else []
        problems += _across(given, factors) + _unknown(base, factors, ranges)
        judged = [("judge.data", given.judge.data)] if given.judge else []
        for where, data in [("data", given.data), *judged]:
            try:
                located(data, path, where)
            except InputError as error:
                problems.append(str(error))
    if problems or given is None:
        raise StudyError(path, problems)
    return Study(path, text, given, given.name or path.stem, base, factors, _names(given, factors, path))


def _rest(values: Mapping[str, Any], wrong: set[str]) -> StudyFile | None:
    """What can still be checked of a file in which some things are wrong: the others."""
    kept = {name: value for name, value in values.items() if name not in wrong}
    try:
        return StudyFile.model_validate({"data": "procedural:", "budget": {"images": 1}, **kept})
    except ValidationError:
        return None


def _unknown(base: Mapping[str, Any], factors: Mapping[str, tuple[Level, ...]], ranges: Sequence[str]) -> list[str]:
    """Fields that no recipe has, each with what may have been meant."""
    known = set(recipe_text.field_names(Recipe))
    places = [("set", name) for name in base] + [("search.ranges", name) for name in ranges]
    places += [
        ("factors" if factor == name else f"factors.{factor}", name)
        for factor, levels in factors.items()
        for level in levels
        for name in level.sets
    ]
    problems = []
    for where, name in dict.fromkeys(places):
        if name not in known and (name not in SELECTING or where in ("set", "search.ranges")):
            problem = {"type": "extra_forbidden", "loc": tuple(name.split(".", 1)), "input": None}
            problems.append(f"{where}: {recipe_text.explain(problem, Recipe)}")
    return problems


def located(data: str, study: Path, where: str = "data") -> str:
    """A collection's place, as a training takes it: environment filled in, relative paths from the study file.

    Raises:
        InputError: a variable of the environment is not set.
    """
    full = os.path.expandvars(data)
    missing = re.search(r"\$\{?(\w+)\}?", full)
    if missing:
        raise InputError(f"{where} = {data!r}: the environment variable {missing[1]} is not set")
    if full.startswith(REMOTE):
        return full
    place = Path(full).expanduser()
    return str(place if place.is_absolute() else study.resolve().parent / place)


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise InputError(f"study {path}: over {LARGEST:,} bytes are no study file")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"study {path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"study {path}: not TOML (not UTF-8: {error.reason})") from None


def _explained(problem: Any) -> str:
    if problem["type"] == "missing":
        return f"{'.'.join(map(str, problem['loc']))}: is missing"
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
        name = str(problem["loc"][0])
        return f"{name}: unknown field{recipe_text.nearest(name, StudyFile.model_fields)}"
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden" or recipe_text.section_of(StudyFile, str(problem["loc"][0])) is None:
        return f"{place}: {problem['msg'].removeprefix('Value error, ')} (found {recipe_text.shown(problem['input'])})"
    return recipe_text.explain(problem, StudyFile)


def _flat(values: Any, where: str, problems: list[str]) -> dict[str, Any]:
    """``section.field`` -> value, of keys with dots and of tables alike."""
    if not isinstance(values, Mapping):
        problems.append(f"{where} = {recipe_text.shown(values)}: must be a table of fields")
        return {}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": own for inner, own in value.items()}
        else:
            found[name] = value
    return found


def _factors(values: Any, problems: list[str]) -> dict[str, tuple[Level, ...]]:
    """Fields with lists of values, and factors by name whose levels set several fields."""
    if not isinstance(values, Mapping):
        problems.append(f"factors = {recipe_text.shown(values)}: must be a table")
        return {}
    found: dict[str, tuple[Level, ...]] = {}
    for name, value in values.items():
        if not isinstance(value, Mapping):
            found[name] = _listed(name, value, problems)
        elif recipe_text.section_of(Recipe, name) is not None and value:  # [factors.training] batch_size = [..]
            found |= {f"{name}.{inner}": _listed(f"{name}.{inner}", own, problems) for inner, own in value.items()}
        else:
            if not value:
                problems.append(f"factors.{name}: is empty; give it at least one value")
            found[name] = tuple(
                Level(str(label), _flat(sets, f"factors.{name}.{label}", problems)) for label, sets in value.items()
            )
    return found


def _listed(name: str, values: Any, problems: list[str]) -> tuple[Level, ...]:
    if isinstance(values, Mapping):
        section = name.split(".")[0]
        problems.append(f"factors.{section}: is a section of the recipe; a factor of several fields needs another name")
        return ()
    if not isinstance(values, list):
        problems.append(f"factors.{name} = {recipe_text.shown(values)}: must be a list of values")
        return ()
    if not values:
        problems.append(f"factors.{name}: is empty; give it at least one value")
    levels = tuple(Level(label_of(value), {name: value}) for value in values)
    if len({level.label for level in levels}) < len(levels):
        problems.append(f"factors.{name}: has a value twice")
    return levels


def label_of(value: Any) -> str:
    """A value as it is called."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "+".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _across(given: StudyFile, factors: Mapping[str, tuple[Level, ...]]) -> list[str]:
    problems = []
    budget = given.budget
    named = [name for name in ("images", "updates", "minutes") if getattr(budget, name) is not None]
    if len(named) != 1:
        found = " and ".join(named) or "none"
        problems.append(f"budget: give one of images, updates, minutes (found {found})")
    if given.metric not in COMPARED:
        hint = recipe_text.nearest(given.metric, COMPARED)
        problems.append(f"metric = {given.metric!r}: must be one of {', '.join(COMPARED)}{hint}")
    if len(set(given.seeds)) < len(given.seeds):
        problems.append("seeds: has a seed twice")
    for name, one in (given.search.ranges if given.search else {}).items():
        if one.high <= one.low or (one.log and one.low <= 0):
            over = ", and low over 0 for log" if one.log else ""
            problems.append(f"search.ranges.{name}: high must be over low{over} (found {one.low:g} to {one.high:g})")
        if name in factors:
            problems.append(f"search.ranges.{name}: is a factor too")
    if given.search is not None and not given.search.ranges and not factors:
        problems.append("search: there is nothing to search; give ranges or factors")
    return problems


def _names(given: StudyFile, factors: Mapping[str, tuple[Level, ...]], path: Path) -> dict[str, Mapping[str, str]]:
    """Name -> label by factor, checked: every factor is named once, by a value that it has."""
    problems: list[str] = []
    found: dict[str, Mapping[str, str]] = {}
    for name, values in given.names.items():
        flat = {key: label_of(value) for key, value in _flat(values, f"names.{name}", problems).items()}
        for key, label in flat.items():
            if key not in factors:
                problems.append(f"names.{name}: {key}: is no factor{recipe_text.nearest(key, factors)}")
            elif label not in (labels := [level.label for level in factors[key]]):
                problems.append(f"names.{name}: {key} = {label}: must be one of {', '.join(labels)}")
        missing = [factor for factor in factors if factor not in flat]
        if missing:
            problems.append(f"names.{name}: {', '.join(missing)} missing: a name is for one configuration")
        elif dict(flat) in [dict(other) for other in found.values()]:
            problems.append(f"names.{name}: that configuration has a name already")
        found[name] = flat
    if problems:
        raise StudyError(path, problems)
    return found
