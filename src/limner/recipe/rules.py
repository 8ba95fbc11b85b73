"""What holds between a recipe's fields: which of them belong to which choice, and which exclude one another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from limner import tables
from limner.recipe import text as recipe_text

DURATIONS = ("training.epochs", "training.images", "training.minutes")
"""Of these a recipe has one."""
_RHYTHMS = ("snapshots.every_images", "snapshots.every_epochs")
_ONE_SIDED = (
    *(f"discriminator.{name}" for name in ("upsample", "smooth", "fine", "excitation")),
    *(f"generator.{name}" for name in ("residual", "deviation", "reconstruction")),
)


def merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with some set otherwise. Of epochs, images and minutes, one that is set replaces the others."""
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for group in (DURATIONS, _RHYTHMS):
        if any(overrides.get(name) is not None for name in group):
            overrides = {**dict.fromkeys(group), **overrides}
    for name, value in overrides.items():
        section, _, field = name.partition(".")
        inner = result.setdefault(section, {}) if field else result
        if not isinstance(inner, dict):
            inner = result[section] = {}
        if value is None:
            inner.pop(field or section, None)
        else:
            inner[field or section] = value
    return result


def _selected(
    values: Mapping[str, Any], model: type[BaseModel]
) -> Iterable[tuple[str, str, Mapping[str, tables.Entry]]]:
    """Each field that chooses from a table: its name, its value (the default where none is given), the table."""
    for name, table in tables.SELECTORS.items():
        section, field = name.split(".")
        default = model.model_fields[section].annotation.model_fields[field].default  # type: ignore[union-attr]
        given = values.get(section)
        yield name, given.get(field, default) if isinstance(given, Mapping) else default, table


def unused_fields(values: Mapping[str, Any], model: type[BaseModel]) -> dict[str, str]:
    """The fields that some choice uses but the chosen ones do not: ``section.field`` -> why."""
    used: set[str] = set()
    others: dict[str, str] = {}
    for name, value, table in _selected(values, model):
        prefix = "" if name.split(".")[0] in ("network", "objective") else name.split(".")[0] + "."
        for key, entry in table.items():
            fields = [field for field in entry.fields if field.startswith(prefix)]
            if key == value:
                used.update(fields)
            else:
                others.update({field: f"is not used by {name} = {value!r}" for field in fields})
    others.update({field: f"has no meaning for the {field.split('.')[0]}" for field in _ONE_SIDED})
    return {field: why for field, why in others.items() if field not in used}


def _value(values: Mapping[str, Any], model: type[BaseModel], name: str) -> Any:
    """What a field has: what is given, or its default."""
    section, field = name.split(".")
    given = values.get(section)
    if isinstance(given, Mapping) and field in given:
        return given[field]
    return model.model_fields[section].annotation.model_fields[field].default  # type: ignore[union-attr]


def _contradictions(value: Callable[[str], Any]) -> Iterable[tuple[str, str]]:
    """Fields that are right alone but not together: the name of one, and why."""

    def over(name: str, bound: float) -> bool:
        found = value(name)
        return found == "auto" or (isinstance(found, int | float) and found > bound)

    family, conditioning = value("network.family"), value("network.conditioning")
    entry = tables.NETWORKS.get(family) if isinstance(family, str) else None
    named = isinstance(conditioning, str) and conditioning in tables.CONDITIONINGS
    wanted = conditioning if named and conditioning != "none" else None
    if entry is not None and wanted is not None and wanted not in entry.conditions:
        able = [key for key, other in tables.NETWORKS.items() if wanted in other.conditions]
        yield "network.conditioning", f"the {family} family cannot do {wanted}; it can be had with {', '.join(able)}"
    penalties = [f"regularizers.{name}" for name in tables.REGULARIZERS]
    switched_on = [name for name in penalties if over(name, 0)]
    normed = entry is not None and "discriminator.norm" in entry.fields
    if switched_on and normed and value("discriminator.norm") == "batch":
        yield (
            switched_on[0],
            "a penalty is on each image's own gradient, and batch normalisation mixes images;"
            " set discriminator.norm to layer, instance, spectral or none",
        )
    if over("regularizers.clip", 0) and normed and value("discriminator.norm") == "spectral":
        yield (
            "regularizers.clip",
            "weights that spectral normalisation divides by their norm anyway are not bounded by cutting them;"
            " set discriminator.norm to layer, instance, batch or none",
        )
    if value("augment.noise_images") is not None and not over("augment.noise", 0):
        yield "augment.noise_images", "there is no noise to fade; give augment.noise"
    if over("regularizers.every", 1) and not switched_on:
        yield "regularizers.every", f"there is nothing to do less often; switch on one of {', '.join(penalties)}"
    if over("augment.target", 0) and not value("augment.policy"):
        yield "augment.target", "there is nothing to adapt; give augment.policy some of color, translation, cutout"
    batch, micro = value("training.batch_size"), value("training.micro_batch")
    if isinstance(batch, int) and isinstance(micro, int) and micro > batch:
        yield "training.micro_batch", f"must be at most training.batch_size, which is {batch}"
    rises, falls = value("schedule.warmup_images"), value("schedule.images")
    if value("schedule.name") != "constant" and isinstance(rises, int) and isinstance(falls, int) and falls <= rises:
        yield (
            "schedule.images",
            f"must be more than schedule.warmup_images, which is {rises}, or rates would drop at once",
        )
    for player in ("generator", "discriminator"):
        kernel, stride = value(f"{player}.kernel"), value(f"{player}.stride")
        if isinstance(kernel, int) and isinstance(stride, int) and kernel < stride:
            yield (
                f"{player}.kernel",
                f"must be at least {player}.stride, which is {stride}, or pixels would be left out",
            )
    smooth = value("generator.smooth")
    if isinstance(smooth, int) and smooth and (smooth % 2 == 0 or smooth < 3):
        yield "generator.smooth", f"must be 0 or an odd number from 3 to 9 (found {smooth})"


def cautions(value: Callable[[str], Any], default: Callable[[str], Any]) -> list[str]:
    """What is allowed and hardly meant, one line each.

    Args:
        value: what a field has, by ``section.field``.
        default: what it has when nobody sets it.
    """
    bounds = [f"regularizers.{name}" for name in (*tables.REGULARIZERS, "clip")]
    slope_is_bound = any(value(name) for name in bounds) or value("discriminator.norm") == "spectral"
    found = []
    if value("objective.name") == "wasserstein" and not slope_is_bound:
        found.append(
            "objective.name = 'wasserstein': nothing bounds the discriminator's slope, so its loss can fall without end;"
            f" set one of {', '.join(bounds)}, or discriminator.norm = 'spectral'"
        )
    if value("augment.target") and not value("augment.probability"):
        found.append("augment.target: adapts nothing, because augment.probability, the most that it may be, is 0")
    for needed, has, idle in (
        ("schedule.name is constant", value("schedule.name") != "constant", ("schedule.final", "schedule.images")),
        ("augment.policy is empty", value("augment.policy"), ("augment.probability",)),
        ("discriminator.reconstruction is off", value("discriminator.reconstruction"), ("objective.reconstruction",)),
        ("evaluation.share is 0", value("evaluation.share"), ("evaluation.every_images", "evaluation.patience")),
    ):
        for name in idle:
            if not has and value(name) != default(name):
                found.append(f"{name} = {value(name)}: does nothing, because {needed}")
    return found


def across(values: Mapping[str, Any], model: type[BaseModel]) -> list[str]:
    """What no single field can see."""
    problems = []
    known = True
    for name, value, table in _selected(values, model):
        if not isinstance(value, str):
            known = False
        elif value not in table:
            known = False
            hint = recipe_text.nearest(value, table)
            problems.append(f"{name} = {value!r}: must be one of {', '.join(table)}{hint}")
    if known:
        for name, why in unused_fields(values, model).items():
            section, field = name.split(".")
            if isinstance(values.get(section), Mapping) and field in values[section]:
                problems.append(f"{name}: {why}; leave it out")
    for name, why in _contradictions(lambda name: _value(values, model, name)):
        problems.append(f"{name}: {why}")
    for group, least in ((DURATIONS, 1), (_RHYTHMS, 0)):
        section = values.get(group[0].split(".")[0], {})
        given = [name for name in group if isinstance(section, Mapping) and name.split(".")[1] in section]
        if not least <= len(given) <= 1:
            found = " and ".join(given) or "none"
            problems.append(f"{group[0].split('.')[0]}: give one of {', '.join(group)} (found {found})")
    return problems
