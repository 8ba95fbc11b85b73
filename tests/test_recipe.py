"""Recipes: whole, checked, and without loss in TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limner import recipe as recipes
from limner.errors import InputError
from limner.recipe import Recipe, RecipeError, merged, parse_setting
from limner.recipe import text as recipe_text

SHIPPED = recipes.names()


def problems(values: dict[str, object]) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_values({"training": {"epochs": 1}, **values})
    return caught.value.problems


def test_the_sources_systems_are_shipped():
    assert {"vanilla", "dcgan", "initials", "fashion", "quick"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_toml_keeps_everything(name: str):
    recipe = Recipe.load(name)
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert recipe.about.summary and recipe.about.source and recipe.about.cost


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_complete(name: str):
    """Every field that the recipe uses stands in its file: nothing is implicit."""
    written = tomllib.loads(recipes.find(name).read_text())
    for section, fields in Recipe.load(name).values().items():
        if isinstance(fields, dict):
            assert set(fields) == set(written[section]), section


def test_the_exact_recipes_say_what_the_sources_say():
    dcgan, initials, vanilla = (Recipe.load(name) for name in ("dcgan", "initials", "vanilla"))
    assert (dcgan.training.batch_size, initials.training.batch_size, vanilla.training.batch_size) == (128, 32, 100)
    assert dcgan.training.epochs == initials.training.epochs == 25
    assert initials.changed({"training.batch_size": 128}).values()["generator"] == dcgan.values()["generator"]
    for player in (dcgan.generator, dcgan.discriminator):
        assert (player.lr, player.beta1, player.beta2, player.width) == (0.0002, 0.5, 0.999, 64)
    assert (dcgan.generator.activation, dcgan.discriminator.activation) == ("relu", "leaky_relu")
    assert vanilla.generator.hidden == (256, 512, 1024) and vanilla.discriminator.hidden == (1024, 512, 256)
    assert (vanilla.generator.dropout, vanilla.discriminator.dropout) == (0.0, 0.3)
    assert (vanilla.generator.beta1, vanilla.training.epochs) == (0.9, 200)
    for exact in (dcgan, initials, vanilla):
        assert exact.ema.half_life == 0
        assert (dcgan.image.held_out, initials.image.held_out, vanilla.image.held_out) == (0, 0.1, 0)


def test_the_wasserstein_and_other_recipes_say_what_their_sources_say():
    """B3's setting (RMSprop 0.0002, clipped at 0.01, batch 32); Gulrajani et al. 2017, algorithm 1; Mao et al. 2017; Miyato et
    al. 2018; the maps' two rates and soft labels."""
    wgan, wgan_gp, lsgan, sngan, r3gan, mapmaker = (
        Recipe.load(name) for name in ("wgan", "wgan-gp", "lsgan", "sngan", "r3gan", "mapmaker")
    )
    assert (wgan.objective.name, wgan.regularizers.clip, wgan.training.batch_size) == ("wasserstein", 0.01, 32)
    assert {player.optimizer for player in (wgan.generator, wgan.discriminator)} == {"rmsprop"}
    assert wgan.generator.lr == wgan.discriminator.lr == 0.0002 and wgan.training.critic_steps == 5
    assert (wgan_gp.objective.name, wgan_gp.regularizers.gradient_penalty) == ("wasserstein", 10.0)
    assert wgan_gp.training.critic_steps == 5 and wgan_gp.regularizers.clip == 0
    for player in (wgan_gp.generator, wgan_gp.discriminator):
        assert (player.optimizer, player.lr, player.beta1, player.beta2) == ("adam", 0.0001, 0.0, 0.9)
    assert wgan_gp.discriminator.norm not in ("batch", "spectral")
    assert lsgan.objective.name == "least-squares"
    assert (sngan.objective.name, sngan.discriminator.norm) == ("hinge", "spectral")
    assert r3gan.objective.name == "relativistic" and r3gan.network.family == "r3gan"
    assert r3gan.regularizers.r1 == r3gan.regularizers.r2 != 0
    assert (mapmaker.discriminator.lr, mapmaker.generator.lr) == (0.0004, 0.001)
    assert mapmaker.objective.real_label == 0.9 and mapmaker.generator.norm == "batch"
    assert (mapmaker.image.width, mapmaker.image.height) == (750, 750)


def test_what_is_hardly_meant_is_said():
    wgan = Recipe.load("wgan")
    assert wgan.cautions() == [] and not any(Recipe.load(name).cautions() for name in SHIPPED)
    (said,) = wgan.changed({"regularizers.clip": 0}).cautions()
    assert "nothing bounds the discriminator's slope" in said and "\n" not in said
    assert not wgan.changed({"regularizers.clip": 0, "discriminator.norm": "spectral"}).cautions()
    assert not wgan.changed({"regularizers.clip": 0, "discriminator.norm": "none", "regularizers.r1": 1.0}).cautions()
    idle: list[tuple[str, dict[str, Any]]] = [
        ("schedule.final", {"schedule.final": 0.1}),
        ("schedule.images", {"schedule.images": 500}),
        ("augment.probability", {"augment.policy": [], "augment.target": 0, "augment.probability": 0.5}),
        ("objective.reconstruction", {"discriminator.reconstruction": False, "objective.reconstruction": 2}),
        ("evaluation.every_images", {"evaluation.share": 0, "evaluation.every_images": 100}),
        ("evaluation.patience", {"evaluation.share": 0, "evaluation.patience": 100}),
    ]
    for name, values in idle:
        (said,) = Recipe.load("fewshot", values).cautions()
        assert said.startswith(f"{name} = ") and "does nothing, because" in said
    assert not Recipe.load("fewshot", {"schedule.name": "linear", "schedule.final": 0.1}).cautions()
    (said,) = Recipe.load("fewshot", {"augment.probability": 0}).cautions()
    assert "adapts nothing" in said


def test_every_field_is_documented():
    for name in recipe_text.field_names(Recipe):
        section, _, field = name.partition(".")
        model = recipe_text.section_of(Recipe, section)
        described = model.model_fields[field].description if model else Recipe.model_fields[section].description
        assert described and len(described) > 15, name


def test_all_errors_are_reported_at_once():
    found = problems(
        {
            "image": {"width": 3, "fit": "krop"},
            "generator": {"lr": "fast", "learning_rate": 1},
            "network": {"family": "dcgn"},
            "trainings": {},
            "batch_size": 3,
        }
    )
    assert "image.width = 3: must be a whole number from 8 to 1024" in found
    assert "image.fit = 'krop': must be one of crop, pad, stretch, crops" in found
    assert "generator.lr = 'fast': must be a number from over 0 to 1" in found
    assert any(text.startswith("generator.learning_rate: unknown field; [generator] has width") for text in found)
    assert "network.family = 'dcgn': must be one of dcgan, fewshot, r3gan, mapmaker, mlp; did you mean dcgan?" in found
    assert "trainings: unknown field; did you mean training?" in found
    assert "batch_size: unknown field; did you mean training.batch_size?" in found
    assert len(found) == 7


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("training.batch_size", 0, "a whole number from 1 to 65536"),
        ("training.batch_size", 1.5, "a whole number from 1 to 65536"),
        ("training.seed", -1, "a whole number from 0 to under 9223372036854775808"),
        ("training.device", "gpu", "auto, cpu, mps, cuda or cuda:N"),
        ("image.channels", 2, "one of 1, 3, 4"),
        ("objective.real_label", 0.5, "a number from over 0.5 to 1"),
        ("ema.half_life", -1, "a whole number from 0 to 1000000000"),
        ("format", 2, "1"),
        ("generator.lr", float("nan"), "a number from over 0 to 1"),
    ],
)
def test_bounds_are_named(name: str, value: object, allowed: str):
    with pytest.raises(RecipeError, match="must be") as caught:
        Recipe.load("quick", {name: value})
    assert caught.value.problems == [f"{name} = {value!r}: must be {allowed}"]


def test_fields_of_another_choice_are_refused():
    assert problems({"generator": {"hidden": [16]}}) == [
        "generator.hidden: is not used by network.family = 'dcgan'; leave it out"
    ]


def test_another_choice_takes_the_recipes_fields_of_the_one_before_with_it():
    """``--set network.family=mlp`` must not fail over widths that the user never gave."""
    recipe = Recipe.load("quick", {"network.family": "mlp", "generator.hidden": [8]})
    assert recipe.generator.hidden == (8,) and "width" not in recipe.values()["generator"]
    with pytest.raises(RecipeError, match=r"generator\.width: is not used by network\.family = 'mlp'; leave it out"):
        Recipe.load("quick", {"network.family": "mlp", "generator.width": 8})
    with pytest.raises(RecipeError) as caught:
        Recipe.load("quick", {"network.family": 5})
    assert caught.value.problems == ["network.family = 5: must be a text"]


def test_odd_values_and_files_are_refused_in_words(tmp_path: Path):
    assert parse_setting("training.seed=" + "9" * 5000)[1] == "9" * 5000
    assert parse_setting("image.width=" + "[" * 5000)[1] == "[" * 5000
    with pytest.raises(RecipeError, match=r"generator\.lr = True: must be a number"):
        Recipe.load("quick", {"generator.lr": True})
    with pytest.raises(InputError, match="cannot be read"):
        Recipe.load("x" * 400)
    marked = tmp_path / "marked.toml"
    marked.write_bytes(b"\xef\xbb\xbf" + Recipe.load("quick").to_toml().encode())
    assert Recipe.load(marked) == Recipe.load("quick")


def test_exactly_one_duration():
    assert "training: give one of" in problems({"training": {"epochs": 1, "minutes": 1}})[0]
    with pytest.raises(RecipeError, match=r"found none"):
        Recipe.from_values({})
    changed = Recipe.load("dcgan", {"training.minutes": 2.0})
    assert changed.training.minutes == 2.0 and changed.training.epochs is None


def test_overrides_do_not_touch_the_original():
    values = {"training": {"epochs": 1, "seed": 3}}
    assert merged(values, {"training.seed": 4, "image.width": 8, "training.epochs": None}) == {
        "training": {"seed": 4},
        "image": {"width": 8},
    }
    assert values == {"training": {"epochs": 1, "seed": 3}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("generator.lr=1e-4", ("generator.lr", 1e-4)),
        ("generator.hidden=[8, 16]", ("generator.hidden", [8, 16])),
        ("image.fit=pad", ("image.fit", "pad")),
        ("image.fit = 'pad'", ("image.fit", "pad")),
        ("about.summary=a=b", ("about.summary", "a=b")),
    ],
)
def test_settings_are_toml_or_plain_words(text: str, expected: tuple[str, object]):
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["generator.lr", "=3"])
def test_settings_without_a_name_or_value_are_refused(text: str):
    with pytest.raises(InputError, match=r"section\.field=value"):
        parse_setting(text)


def test_unknown_recipes_and_broken_files(tmp_path: Path):
    with pytest.raises(InputError, match="did you mean dcgan"):
        Recipe.load("dcgam")
    with pytest.raises(InputError, match="no such file"):
        Recipe.load("mine.toml")
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b"\xff[training")
    with pytest.raises(InputError, match="not TOML"):
        Recipe.load(broken)


JSONLIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*recipe_text.field_names(Recipe), *Recipe.model_fields, "generator.x", "x.y.z", ""])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, JSONLIKE, max_size=4))
def test_anything_at_all_is_accepted_or_refused_in_words(overrides: dict[str, object]):
    try:
        recipe = Recipe.load("quick", overrides)
    except RecipeError as error:
        assert error.problems and all("\n" not in problem for problem in error.problems)
    else:
        assert Recipe.from_toml(recipe.to_toml()) == recipe
