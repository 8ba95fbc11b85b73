"""From a study to its runs: every combination of the factors' values, resolved to a recipe before anything is trained."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from limner.data import Collection, prepare
from limner.errors import InputError
from limner.recipe import Recipe, RecipeError
from limner.study.file import SELECTING, Level, Study, StudyError, located

MOST_RUNS = 100_000
NAME_LONGEST = 80


@dataclass(frozen=True)
class Configuration:
    """One combination.

    Attributes:
        name: unlike that of any other, fit for a directory.
        levels: label by factor.
        sets: fields of the recipe, ``recipe`` and ``data`` among them.
    """

    name: str
    levels: Mapping[str, str]
    sets: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        configuration: what it is of.
        seed: of its training.
        data: where its images are.
        recipe: its recipe, complete but for what is measured on the data.
        digest: of all that its figures follow from, the images' contents aside.
    """

    configuration: Configuration
    seed: int
    data: str
    recipe: Recipe
    digest: str

    @property
    def name(self) -> str:
        """Of its run directory."""
        return run_name(self.configuration.name, self.seed)


def run_name(configuration: str, seed: int) -> str:
    """What the directory of a run is called."""
    return f"{configuration}-seed{seed}"


def configurations(study: Study) -> list[Configuration]:
    """Every combination of the factors' values, the last factor changing first.

    Raises:
        StudyError: there are too many.
    """
    count = math.prod(map(len, study.factors.values()))
    if count * len(study.given.seeds) > MOST_RUNS:
        raise StudyError(study.path, [f"factors: {count * len(study.given.seeds):,} runs are over {MOST_RUNS:,}"])
    found: list[Configuration] = []
    taken: set[str] = set()
    for levels in product(*study.factors.values()):
        own = dict(zip(study.factors, levels, strict=True))
        made = configuration(study, own)
        name = made.name
        while name.lower() in taken:  # other letters than a directory's name can have may have told them apart
            name = f"{made.name}-{sum(one.startswith(made.name.lower()) for one in taken) + 1}"
        taken.add(name.lower())
        found.append(Configuration(name, made.levels, made.sets))
    return found


def configuration(study: Study, levels: Mapping[str, Level], name: str = "") -> Configuration:
    """A combination of levels; its name is the study's, or made of them."""
    labels = {factor: level.label for factor, level in levels.items()}
    named = next((own for own, wanted in study.names.items() if dict(wanted) == labels), name)
    sets: dict[str, Any] = {}
    for level in levels.values():
        sets |= level.sets
    return Configuration(_slug(named or _described(labels) or study.name), labels, sets)


def jobs(study: Study, found: list[Configuration]) -> list[Job]:
    """Every run of some configurations, all resolved; seeds are the outer loop, so that a first seed of all comes first.

    Raises:
        StudyError: everything that a recipe refuses, one line each, with the combination.
    """
    problems: list[str] = []
    made = []
    for seed in study.given.seeds:
        for one in found:
            try:
                made.append(job(study, one, seed))
            except RecipeError as error:
                problems += [f"{_where(one)}: {problem}" for problem in error.problems]
            except InputError as error:
                problems += [f"{_where(one)}: {line}" for line in str(error).splitlines()]
    if problems:
        raise StudyError(study.path, problems)
    return made


def job(study: Study, one: Configuration, seed: int) -> Job:
    """One run, resolved.

    Raises:
        InputError: the recipe refuses the combination.
    """
    data = located(str(one.sets.get("data", study.given.data)), study.path)
    base = str(one.sets.get("recipe", study.given.recipe))
    if base.endswith(".toml") and not Path(base).is_absolute():
        base = str(study.path.resolve().parent / base)
    own = {name: value for name, value in one.sets.items() if name not in SELECTING}
    budget = study.given.budget
    wanted: dict[str, Any] = {**study.base, **own, "training.seed": seed}
    if budget.minutes is not None:
        recipe = Recipe.load(base, {**wanted, "training.minutes": budget.minutes})
    else:
        # Updates become images by the batch of this very configuration, which is known when its recipe is read.
        recipe = Recipe.load(base, {**wanted, "training.images": budget.images or 1})
        portion = recipe.training.batch_size * recipe.training.critic_steps
        updates = budget.updates or math.ceil((budget.images or 1) / portion)
        every = math.ceil(updates / budget.evaluations) * portion
        rhythm = {"snapshots.every_images": every} if not _has_rhythm(study, one) else {}
        recipe = recipe.changed({"training.images": updates * portion, "evaluation.every_images": every, **rhythm})
    _check(recipe)
    return Job(one, seed, data, recipe, digest(recipe, data))


def check_data(study: Study, found: list[Job], progress: Any = None) -> None:
    """Read every collection that the runs need, and see whether networks can be made for its pictures.

    Raises:
        StudyError: what cannot be read, and what networks cannot be made for, one line each.
    """
    from limner.device import choose_device
    from limner.networks import build
    from limner.training.assembly import resolved

    problems: list[str] = []
    prepared: dict[Any, Collection | None] = {}
    for one in found:
        key = one.data, one.recipe.image.model_dump_json()
        try:
            if key not in prepared:
                prepared[key] = None
                prepared[key] = prepare(one.data, one.recipe.image, seed=one.seed, progress=progress)
            collection = prepared[key]
            if collection is None:
                continue
            recipe = resolved(one.recipe, collection, choose_device(one.recipe.training.device))
            _outline(build, recipe, collection)
        except (InputError, ValueError) as error:
            problems += [f"{_where(one.configuration)}: {line}" for line in str(error).splitlines()]
    if problems:
        raise StudyError(study.path, problems)


def corners(study: Study) -> Iterator[Configuration]:
    """Combinations that stand for a search: each end of each range and each choice once, beside the middle of the others."""
    search = study.given.search
    assert search is not None
    middle: dict[str, Level] = {factor: levels[0] for factor, levels in study.factors.items()}
    ends: dict[str, list[Level]] = {factor: list(levels) for factor, levels in study.factors.items()}
    for name, one in search.ranges.items():
        low, high = (round(one.low), round(one.high)) if one.whole else (one.low, one.high)
        ends[name] = [Level(f"{value:g}", {name: value}) for value in (low, high)]
        middle[name] = ends[name][0]
    for name, levels in ends.items():
        for level in levels:
            yield configuration(study, {**middle, name: level})


def digest(recipe: Recipe, data: str) -> str:
    """Of all that a run's figures follow from, but for what is said about the recipe and where its collection lies."""
    values = recipe.model_dump(mode="json", exclude={"about"})
    described = json.dumps([values, Path(data).name], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:12]


def _check(recipe: Recipe) -> None:
    """What a training would take and a study cannot.

    Raises:
        RecipeError: a width would be measured for each run anew, or nothing would be judged.
    """
    problems = [
        f'{player}.width = "auto": would be measured for each run anew, and could be another one; give a number'
        for player in ("generator", "discriminator")
        if getattr(recipe, player).width == "auto" and "width" in recipe.values().get(player, {})
    ]
    if recipe.evaluation.share == 0:
        problems.append("evaluation.share = 0: nothing would be judged, and there would be nothing to compare")
    if problems:
        raise RecipeError(problems)


def _has_rhythm(study: Study, one: Configuration) -> bool:
    return any(name.startswith("snapshots.every_") for name in (*study.base, *one.sets))


def _outline(build: Any, recipe: Recipe, collection: Collection) -> None:
    from limner.networks.outline import outlines

    with outlines():
        build(
            recipe,
            width=collection.width,
            height=collection.height,
            channels=collection.channels,
            classes=len(recipe.network.classes or ()),
        )


def _where(one: Configuration) -> str:
    levels = ", ".join(f"{factor} = {label}" for factor, label in one.levels.items())
    return f"configuration {levels or one.name}"


def _described(labels: Mapping[str, str]) -> str:
    return "_".join(f"{factor.split('.')[-1]}-{label}" for factor, label in labels.items())


def _slug(name: str) -> str:
    """A name for a directory on any system; one that is too long ends in a digest of itself."""
    plain = re.sub(r"[^\w.+=()-]+", "-", name, flags=re.ASCII).strip("-.") or "configuration"
    if len(plain) <= NAME_LONGEST:
        return plain
    return f"{plain[: NAME_LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
