"""What holds between a recipe's fields: which of them belong to which choice, and which exclude one another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from limner import recipe_text, tables

_DURATIONS = ("training.epochs", "training.images", "training.minutes")
_RHYTHMS = ("snapshots.every_images", "snapshots.every_epochs")


def merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with some set otherwise. Of epochs, images and minutes, one that is set replaces the others."""
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for group in (_DURATIONS, _RHYTHMS):
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
        prefix = "" if name in ("network.family", "objective.name") else name.split(".")[0] + "."
        for key, entry in table.items():
            fields = [field for field in entry.fields if field.startswith(prefix)]
            if key == value:
                used.update(fields)
            else:
                others.update({field: f"is not used by {name} = {value!r}" for field in fields})
    return {field: why for field, why in others.items() if field not in used}


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
    for group, least in ((_DURATIONS, 1), (_RHYTHMS, 0)):
        section = values.get(group[0].split(".")[0], {})
        given = [name for name in group if isinstance(section, Mapping) and name.split(".")[1] in section]
        if not least <= len(given) <= 1:
            found = " and ".join(given) or "none"
            problems.append(f"{group[0].split('.')[0]}: give one of {', '.join(group)} (found {found})")
    return problems
