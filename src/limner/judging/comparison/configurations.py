"""Runs that differ only in the seed are one configuration; what configurations differ in names them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limner.judging.comparison.read import Member
from limner.judging.report.words import text

SEED = "training.seed"
INCIDENTAL = (
    SEED,
    "training.device",
    "evaluation.every_images",
    "evaluation.share",
    "snapshots.every_images",
    "snapshots.every_epochs",
    "snapshots.grid",
    "snapshots.checkpoint_minutes",
    "snapshots.keep",
    "snapshots.log_steps",
)
"""Fields that make no other configuration: when something is looked at, and where it was computed."""
DATA = "data"
"""What stands in place of a field's name where runs were trained on other images."""
_SEEDED = re.compile(r"[-_ ]?seed[-_ ]?\d+$")


@dataclass(frozen=True)
class Configuration:
    """Runs that differ only in the seed.

    Attributes:
        name: unlike that of any other.
        levels: what it has of everything in which the configurations differ, by factor, in words.
        members: its runs by seed.
        doubles: runs of a seed that is there already; they are shown, and not counted.
    """

    name: str
    levels: Mapping[str, str]
    members: Mapping[int, Member]
    doubles: tuple[Member, ...] = ()

    @property
    def runs(self) -> list[Member]:
        """All of them."""
        return [*self.members.values(), *self.doubles]


@dataclass(frozen=True)
class Given:
    """What a study knows of a run: its configuration's name, and its levels by factor."""

    name: str
    levels: Mapping[str, str]


def configurations(members: Sequence[Member], given: Mapping[str, Given] | None = None) -> list[Configuration]:
    """Group runs, in the order in which they come.

    Args:
        members: the runs.
        given: what a study knows, by the run's name; otherwise names and factors are what recipes differ in.
    """
    if given is not None:
        groups: dict[Any, list[Member]] = {}
        for member in members:
            known = given[member.name]
            groups.setdefault((known.name, tuple(known.levels.items())), []).append(member)
        return [_made(name, dict(levels), found) for (name, levels), found in groups.items()]
    groups = {}
    for member in members:
        groups.setdefault(_key(member), []).append(member)
    factors = _factors([found[0] for found in groups.values()])
    all_levels = [{factor: _level(found[0], fields) for factor, fields in factors.items()} for found in groups.values()]
    names = _names(list(groups.values()), all_levels)
    return [_made(name, levels, found) for name, levels, found in zip(names, all_levels, groups.values(), strict=True)]


def differing(members: Sequence[Member]) -> list[str]:
    """The fields in which runs differ, in the recipe's order; :data:`DATA` first where the images do."""
    names = dict.fromkeys(name for member in members for name in member.recipe)
    found = [
        name
        for name in names
        if name not in INCIDENTAL
        and not name.startswith("about.")
        and len({_frozen(member.recipe.get(name)) for member in members}) > 1
    ]
    return [*([DATA] if len({member.content for member in members}) > 1 else []), *found]


def value_of(member: Member, field: str) -> str:
    """What a run has in a field, in words; a dash where its recipe has no such field."""
    if field == DATA:
        return member.data or "unknown"
    value = member.recipe.get(field)
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return text(", ".join(map(str, value))) or "none"
    return text(f"{value:g}" if isinstance(value, float) else value)


def _made(name: str, levels: Mapping[str, str], found: Sequence[Member]) -> Configuration:
    members: dict[int, Member] = {}
    doubles = []
    for member in found:
        if member.seed in members:
            doubles.append(member)
        else:
            members[member.seed] = member
    return Configuration(name, levels, dict(sorted(members.items())), tuple(doubles))


def _key(member: Member) -> Any:
    kept = {name: value for name, value in member.recipe.items() if name not in INCIDENTAL}
    return member.content, tuple(
        (name, _frozen(value)) for name, value in sorted(kept.items()) if not name.startswith("about.")
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _factors(members: Sequence[Member]) -> dict[str, list[str]]:
    """Factor -> its fields: those that tell the configurations apart in the same way are one factor."""
    found: dict[tuple[int, ...], list[str]] = {}
    for field in differing(members):
        values: dict[Any, int] = {}
        parts = tuple(
            values.setdefault(member.content if field == DATA else _frozen(member.recipe.get(field)), len(values))
            for member in members
        )
        found.setdefault(parts, []).append(field)
    return {_factor_name(fields): fields for fields in found.values()}


def _factor_name(fields: Sequence[str]) -> str:
    return fields[0] if len(fields) == 1 else f"{fields[0]} and {len(fields) - 1} more"


def _level(member: Member, fields: Sequence[str]) -> str:
    return value_of(member, fields[0])


def _names(groups: Sequence[Sequence[Member]], levels: Sequence[Mapping[str, str]]) -> list[str]:
    """Of runs called alike but for a seed at the end: that; otherwise what they differ in."""
    stems = []
    for found in groups:
        own = {_SEEDED.sub("", member.name) for member in found}
        stems.append(own.pop() if len(own) == 1 else "")
    if all(stems) and len(set(stems)) == len(stems):
        return stems
    names = [", ".join(f"{field.split('.')[-1]} {value}" for field, value in own.items()) for own in levels]
    names = [name if len(name) <= 60 else groups[place][0].name for place, name in enumerate(names)]
    counts: dict[str, int] = {}
    unlike = []
    for place, name in enumerate(names):
        name = name or groups[place][0].name
        counts[name] = counts.get(name, 0) + 1
        unlike.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return unlike
