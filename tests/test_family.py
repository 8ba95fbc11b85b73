"""Everything composes: every shipped recipe trains, and every pair of choices either trains or is refused with a reason."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import Cli, discs
from limner import recipe as recipes
from limner import rundir
from limner.data import Collection, prepare
from limner.recipe import Recipe, RecipeError
from limner.recipe.rules import merged
from limner.rundir import RunDir
from limner.tables import CONDITIONINGS, NETWORKS, OBJECTIVES, OPTIMIZERS, REGULARIZERS
from limner.training.assembly import assemble, resolved
from limner.training.callbacks import Measure
from limner.training.guard import Guard
from limner.training.loop import Loop

CPU = torch.device("cpu")
CLASSES = 3
PICTURES = 9
ODD = (33, 41)


def collection(folder: Path, recipe: Recipe, size: tuple[int, int] | None = None) -> Collection:
    """A few drawn pictures of the recipe's channels, in three classes, and at its own size unless told."""
    image = recipe.image
    width, height = size or (image.width or image.max_side, image.height or image.max_side)
    channels = image.channels or 3
    pixels = np.stack([np.asarray(picture) for picture in discs(PICTURES, width, height, channels)])
    path = folder / "pictures.npz"
    np.savez(path, images=pixels, labels=np.arange(PICTURES) % CLASSES)
    fixed = image.model_copy(update={"width": width, "height": height, "channels": channels, "held_out": 0.0})
    return prepare(path, fixed, cache_dir=folder / "cache")


def narrowed(name: str, updates: int) -> Recipe:
    """A shipped recipe of small batches and little width, that ends after some updates; all else as shipped."""
    recipe = Recipe.load(name)
    fields = NETWORKS[recipe.network.family].fields
    small: dict[str, Any] = {"network.latent": 12, "training.batch_size": 2, "training.precision": "float32"}
    for player in ("generator", "discriminator"):
        if f"{player}.width" in fields:
            small[f"{player}.width"] = 4 if recipe.image.max_side <= 128 else 2
        if f"{player}.hidden" in fields:
            small[f"{player}.hidden"] = [16, 12]
    images = updates * 2 * recipe.training.critic_steps
    # Rates as shipped move a weight by less than can be seen in so few updates when they warm up over many images.
    return recipe.changed({**small, "training.images": images, "schedule.warmup_images": 0, "training.device": "cpu"})


class Touched:
    """Notes which weights ever have a gradient, in any turn of either network."""

    def __init__(self, loop: Loop) -> None:
        pair = {"generator": loop.step.generator, "discriminator": loop.step.discriminator}
        self.weights = {f"{who} {name}": w for who, network in pair.items() for name, w in network.named_parameters()}
        self.before = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.reached: set[str] = set()
        for name, weight in self.weights.items():
            weight.register_post_accumulate_grad_hook(partial(self._note, name))

    def _note(self, name: str, weight: Tensor) -> None:
        if weight.grad is not None and weight.grad.abs().sum() > 0:
            self.reached.add(name)

    @property
    def missed(self) -> set[str]:
        return self.weights.keys() - self.reached

    @property
    def unmoved(self) -> set[str]:
        return {name for name, weight in self.weights.items() if torch.equal(weight, self.before[name])}

    @property
    def broken(self) -> set[str]:
        return {name for name, weight in self.weights.items() if not torch.isfinite(weight).all()}


@pytest.mark.parametrize("size", [None, ODD], ids=["own size", "odd size"])
@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_trains(tmp_path: Path, name: str, size: tuple[int, int] | None):
    updates = 3
    data = collection(tmp_path, narrowed(name, updates), size)
    recipe = resolved(narrowed(name, updates), data, CPU)
    assert (recipe.image.width, recipe.image.height) == (data.width, data.height)
    loop = assemble(recipe, data, CPU)
    run = RunDir.create(tmp_path / "runs", "run", "run")
    touched = Touched(loop)
    loop.callbacks = [Measure(run, 1, Guard(run, recipe.health, print))]
    loop.run()
    assert loop.progress.step == updates and loop.ended == "done", loop.reason
    assert not touched.missed
    assert not touched.unmoved and not touched.broken
    lines = list(run.records(rundir.LOG))
    assert [line["step"] for line in lines] == [1, 2, 3]
    wanted = {"discriminator_loss", "generator_loss", "real_logit", "fake_logit", "generator_gradient"}
    settings = recipe.regularizers
    if settings.every == 1 and settings.r1 + settings.r2 + settings.gradient_penalty > 0:
        wanted |= {"penalty"}
    if recipe.network.conditioning == "acgan":
        wanted |= {"classification"}
    for line in lines:
        assert wanted <= line.keys()
        numbers = [value for key, value in line.items() if key != "images_per_second"]
        assert all(value is not None and math.isfinite(value) for value in numbers), line
    with torch.no_grad():
        labels = torch.arange(2) if recipe.network.conditioning != "none" else None
        drawn = loop.average.current()(torch.randn(2, recipe.network.latent), *([] if labels is None else [labels]))
    assert drawn.shape == (2, data.channels, data.height, data.width)
    assert drawn.abs().max() <= 1 and drawn.std() > 0


@pytest.mark.parametrize(
    ("name", "settings", "logged"),
    [
        ("fashion-conditional", ["network.conditioning=acgan"], "classification"),
        ("wgan-gp", ["training.critic_steps=2", "evaluation.share=0"], "penalty"),
    ],
)
def test_the_command_trains_them(cli: Cli, tmp_path: Path, name: str, settings: list[str], logged: str):
    """From the shell to the report, as a user does it."""
    collection(tmp_path, Recipe.load("quick", {"image.channels": 1}), (20, 16))
    small = ["generator.width=4", "discriminator.width=4", "evaluation.images=16", "snapshots.log_steps=1"]
    sets = [part for setting in [*small, *settings, "training.images=32"] for part in ("--set", setting)]
    arguments = ["--recipe", name, "--size", "20x16", "--channels", "1", "--batch-size", "4", "--name", "run"]
    done = cli("train", "pictures.npz", *arguments, *sets, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    run = RunDir.open(tmp_path / "runs" / "run")
    lines = list(run.records(rundir.LOG))
    assert lines[-1]["images"] == 32 and all(math.isfinite(line[logged]) and line[logged] > 0 for line in lines)
    assert run.newest_checkpoint()[0] == 32 and run.samples()[-1][0] == 32 and (run.path / rundir.REPORT).is_file()
    state = json.loads((run.newest_checkpoint()[1] / rundir.STATE).read_text())
    judged = [line["images"] for line in run.records(rundir.METRICS)]
    assert state["ended"] == "done" and judged[-1:] == ([] if "evaluation.share=0" in settings else [32])


# What can be chosen, axis by axis. A choice is a name and what it sets; families that have no normalisation of their own choice
# are given none.
NO_SETTINGS: dict[str, Any] = {}
CONDITIONED = {"network.classes": [str(number) for number in range(CLASSES)]}
AXES: dict[str, dict[str, dict[str, Any]]] = {
    "family": {name: {"network.family": name} for name in NETWORKS},
    "objective": {name: {"objective.name": name} for name in OBJECTIVES},
    "regularisers": {
        "none": NO_SETTINGS,
        **{name: {f"regularizers.{name}": 1.0} for name in REGULARIZERS},
        "clip": {"regularizers.clip": 0.05},
        "lazy r1 and r2": {"regularizers.r1": 0.5, "regularizers.r2": 0.5, "regularizers.every": 2},
    },
    "norm": {
        "family's own": NO_SETTINGS,
        **{name: {"discriminator.norm": name} for name in ("batch", "instance", "layer", "none", "spectral")},
    },
    "conditioning": {name: {"network.conditioning": name} for name in CONDITIONINGS},
    "augment": {
        "none": NO_SETTINGS,
        "fixed": {"augment.policy": ["color", "translation", "cutout"], "augment.probability": 0.5},
        "adaptive": {"augment.policy": ["color", "cutout"], "augment.target": 0.6, "augment.speed_images": 20},
        "noise": {"augment.noise": 0.15, "augment.noise_images": 30},
    },
    "optimizer": {
        name: {"generator.optimizer": name, "discriminator.optimizer": name, "discriminator.clip_norm": 1.0}
        for name in OPTIMIZERS
    },
    "critic": {"1": {"training.critic_steps": 1}, "2": {"training.critic_steps": 2}},
    "micro-batch": {"whole": NO_SETTINGS, "3 of 5": {"training.micro_batch": 3}},
    "schedule": {
        "constant": {"schedule.name": "constant"},
        "linear": {"schedule.name": "linear", "schedule.warmup_images": 6},
        "cosine": {"schedule.name": "cosine", "schedule.final": 0.1},
    },
    "recompute": {"no": NO_SETTINGS, "yes": {"training.recompute": True}},
    "precision": {name: {"training.precision": name} for name in ("float32", "bfloat16", "float64")},
    "turns": {"upright": NO_SETTINGS, "turned": {"image.flip": "both", "image.rotate": True}},
}
Choice = tuple[str, str]
Pair = tuple[Choice, Choice]
WITHOUT_NORM = {"mlp", "r3gan"}
CONDITIONS = {"dcgan": {"projection", "acgan"}, "fewshot": {"projection", "acgan"}, "mapmaker": {"projection", "acgan"}}
CONDITIONS |= {"r3gan": {"projection"}, "mlp": set()}


def refusal(first: Choice, second: Choice) -> str | None:
    """The field that cannot be what it is in a pair of choices, written down independently of the recipe's rules."""
    found = dict([first, second])
    family, norm = found.get("family"), found.get("norm")
    if family in WITHOUT_NORM and norm not in (None, "family's own"):
        return "discriminator.norm"
    if found.get("conditioning") not in (None, "none") and family is not None:
        return None if found["conditioning"] in CONDITIONS[family] else "network.conditioning"
    if norm == "batch" and found.get("regularisers") in ("r1", "r2", "gradient_penalty", "lazy r1 and r2"):
        return f"regularizers.{found['regularisers'].removeprefix('lazy ').split()[0]}"
    if norm == "spectral" and found.get("regularisers") == "clip":
        return "regularizers.clip"
    return None


def senseless(first: Choice, second: Choice) -> bool:
    """Whether no family fits a pair without a choice of normalisation: it has that choice, or it does not know ACGAN."""
    found = dict([first, second])
    if found.get("norm") != "family's own":
        return False
    return found.get("family", "mlp") not in WITHOUT_NORM or found.get("conditioning") == "acgan"


def every_pair() -> list[Pair]:
    choices = {axis: [(axis, name) for name in values] for axis, values in AXES.items()}
    return [(a, b) for one, two in combinations(AXES, 2) for a in choices[one] for b in choices[two]]


@cache
def allowed(first: Choice, second: Choice) -> bool:
    return refusal(first, second) is None and not senseless(first, second)


@cache
def covering() -> list[dict[str, str]]:
    """Combinations in which every allowed pair of choices occurs: from each uncovered pair on, axis by axis, the choice that
    covers most. Deterministic, and far fewer than the product of all axes."""
    missing = {frozenset(pair): pair for pair in every_pair() if allowed(*pair)}
    rows: list[dict[str, str]] = []
    while missing:
        row = dict(next(iter(missing.values())))
        for axis, values in AXES.items():
            if axis not in row:
                possible = [
                    (axis, name) for name in values if all(allowed(*_ordered((axis, name), c)) for c in row.items())
                ]
                gains = [sum(frozenset([choice, other]) in missing for other in row.items()) for choice in possible]
                # Of equals another one each time, so that the later axes have something to choose from.
                best = [choice for choice, gain in zip(possible, gains, strict=True) if gain == max(gains)]
                row[axis] = best[len(rows) % len(best)][1]
        rows.append({axis: row[axis] for axis in AXES})
        for pair in combinations(rows[-1].items(), 2):
            missing.pop(frozenset(pair), None)
    return rows


def _ordered(first: Choice, second: Choice) -> Pair:
    order = list(AXES)
    return (first, second) if order.index(first[0]) < order.index(second[0]) else (second, first)


def chosen(row: Mapping[str, str]) -> Recipe:
    """The recipe of one choice on each axis named; the rest is a small dcgan's."""
    settings: dict[str, Any] = {"network.latent": 6, "training.batch_size": 5, "training.device": "cpu"}
    settings |= {"training.images": 20, "training.precision": "float32"}
    for axis, name in row.items():
        settings |= AXES[axis][name]
    family = settings.get("network.family", "dcgan")
    for player in ("generator", "discriminator"):
        settings |= {f"{player}.hidden": [8, 6]} if family == "mlp" else {f"{player}.width": 3}
        if "discriminator.norm" not in settings and row.get("norm") is None and family not in WITHOUT_NORM:
            settings |= {"discriminator.norm": "layer"}
    if settings.get("network.conditioning", "none") != "none":
        settings |= CONDITIONED
    return Recipe.from_values(merged({}, settings))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("tiny")
    return collection(folder, Recipe.load("quick", {"image.channels": 3}), (9, 12))


def test_the_combinations_cover_every_pair():
    pairs = every_pair()
    seen = {frozenset(pair) for row in covering() for pair in combinations(row.items(), 2)}
    for pair in pairs:
        assert (frozenset(pair) in seen) == allowed(*pair), pair
    assert len(pairs) > 700 and len(covering()) < 80
    # What is written down here of the families is what the tables say.
    assert {name for name, entry in NETWORKS.items() if "discriminator.norm" not in entry.fields} == WITHOUT_NORM
    assert {name: set(entry.conditions) for name, entry in NETWORKS.items()} == CONDITIONS


@pytest.mark.parametrize("row", covering(), ids=lambda row: "-".join(row.values()).replace(" ", "_"))
def test_combinations_train(tiny: Collection, row: dict[str, str]):
    loop = assemble(resolved(chosen(row), tiny, CPU), tiny, CPU)
    touched = Touched(loop)
    said: set[str] = set()
    for _ in range(2):
        loop.advance()
        assert loop.measures is not None
        assert all(torch.isfinite(value) for value in loop.measures.values().values()), loop.measures
        said |= loop.measures.values().keys()
    assert not touched.broken
    for player in ("generator", "discriminator"):
        moved = [name for name in touched.weights if name.startswith(player) and name not in touched.unmoved]
        assert moved, player
    assert ("penalty" in said) == (row["regularisers"] in ("r1", "r2", "gradient_penalty", "lazy r1 and r2"))
    assert ("classification" in said) == (row["conditioning"] == "acgan")
    assert ("reconstruction" in said) == (row["family"] == "fewshot")
    assert ("augment_probability" in said) == (row["augment"] == "adaptive")
    if row["regularisers"] == "clip":
        weights = [weight for name, weight in touched.weights.items() if name.startswith("discriminator")]
        assert max(weight.abs().max().item() for weight in weights) <= 0.05 + 1e-7


@pytest.mark.parametrize(
    "pair", [pair for pair in every_pair() if refusal(*pair)], ids=lambda pair: "-".join(name for _, name in pair)
)
def test_other_pairs_are_refused_with_a_reason(pair: Pair):
    """One line, which names the field, and the other choice that it does not go with."""
    with pytest.raises(RecipeError) as raised:
        chosen({**dict(pair), **({} if "norm" in dict(pair) else {"norm": "family's own"})})
    field = refusal(*pair)
    about = [problem for problem in raised.value.problems if problem.startswith(f"{field}: ")]
    assert len(about) == 1 == len(raised.value.problems) and "\n" not in about[0]
    other = "discriminator.norm" if field.startswith("regularizers") else dict(pair)["family"]
    assert other in about[0] and len(about[0]) < 250


def test_rates_that_would_fall_before_they_have_risen_are_refused():
    wrong = {"schedule.name": "cosine", "schedule.warmup_images": 100, "schedule.images": 100}
    with pytest.raises(RecipeError, match=r"schedule\.images: must be more than schedule\.warmup_images, which is 100"):
        Recipe.load("quick", wrong)
    assert Recipe.load("quick", {**wrong, "schedule.images": 101}).schedule.images == 101
    assert Recipe.load("quick", {**wrong, "schedule.name": "constant"}).schedule.warmup_images == 100
