"""Several runs, held against one another: functions of run directories alone.

:func:`compare` gives plain data (:meth:`Comparison.values` is JSON), :func:`limner.judging.comparison.page.build_page` one
self-contained page of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limner.errors import InputError
from limner.judging.comparison.configurations import Configuration, Given, configurations, differing, value_of
from limner.judging.comparison.effects import MOST_LEVELS, Effect, Interaction, effects, factor_levels, interactions
from limner.judging.comparison.read import Member, read_members
from limner.judging.comparison.statistics import COMPARED, Difference, mean
from limner.judging.comparison.views import View, views
from limner.judging.figures import Figure
from limner.recipe.text import nearest

__all__ = ["COMPARED", "MAIN", "Comparison", "Configuration", "Given", "compare", "compared_members"]

MAIN = "kernel_distance"
"""The figure that is compared by where none is named: the one that means the same at any number of images."""


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        title: of the page.
        configurations: in the order in which they were given.
        reference: the name of the one that the others are held against.
        metric: the figure that counts most.
        views: the moments at which they were held against one another; the first counts most.
        verdicts: view -> figure -> configuration -> how it differs from the reference.
        effects, interactions: view -> figure -> what each factor does.
        fields: what recipes differ in.
        notes: what a reader has to know.
    """

    title: str
    configurations: tuple[Configuration, ...]
    reference: str
    metric: str
    views: tuple[View, ...]
    verdicts: Mapping[str, Mapping[str, Mapping[str, Difference]]]
    effects: Mapping[str, Mapping[str, Sequence[Effect]]]
    interactions: Mapping[str, Mapping[str, Sequence[Interaction]]]
    fields: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def members(self) -> list[Member]:
        """All runs."""
        return [member for configuration in self.configurations for member in configuration.runs]

    def metrics(self) -> list[str]:
        """Figures that any run has: the one that counts most, then the others in their usual order."""
        known = {
            name for one in self.members for reading in (*one.way, one.last) if reading for name in reading.figures
        }
        return [name for name in dict.fromkeys((self.metric, *COMPARED)) if name in known]

    def mean(self, view: View, configuration: str, name: str) -> Figure | None:
        """A configuration's mean over its seeds."""
        return mean([figure for figure in view.figures(configuration, name).values() if figure is not None], name)

    def values(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "title": self.title,
            "metric": self.metric,
            "reference": self.reference,
            "configurations": [
                {
                    "name": one.name,
                    "levels": dict(one.levels),
                    "differences": {field: value_of(one.runs[0], field) for field in self.fields},
                    "runs": [_run_values(member) for member in one.runs],
                }
                for one in self.configurations
            ],
            "views": [self._view_values(view) for view in self.views],
            "notes": list(self.notes),
        }

    def _view_values(self, view: View) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        for name in self.metrics():
            figures[name] = {}
            for one in self.configurations:
                found = self.mean(view, one.name, name)
                seeds = view.figures(one.name, name)
                against = self.verdicts[view.key][name].get(one.name)
                figures[name][one.name] = {
                    "mean": None if found is None else found.values(),
                    "seeds": {str(seed): None if own is None else own.values() for seed, own in seeds.items()},
                    "verdict": None if against is None else against.values(),
                }
        return {
            "key": view.key,
            "title": view.title,
            "note": view.note,
            "figures": figures,
            "effects": {name: [one.values() for one in own] for name, own in self.effects[view.key].items()},
            "interactions": {name: [one.values() for one in own] for name, own in self.interactions[view.key].items()},
        }


def compare(
    runs: Sequence[str | Path],
    *,
    metric: str = MAIN,
    reference: str | None = None,
    title: str = "",
    given: Mapping[str, Given] | None = None,
) -> Comparison:
    """Hold runs against one another.

    Args:
        runs: run directories, one or more. Those whose recipes differ only in the seed are one configuration.
        metric: the figure that counts most, one of :data:`COMPARED`.
        reference: the configuration that the others are held against; the first run's by default.
        title: of the page.
        given: what a study knows of its runs, by the name of their directories.

    Raises:
        InputError: something is no run directory, or there is no such figure or configuration.
    """
    return compared_members(read_members(runs), metric=metric, reference=reference, title=title, given=given)


def compared_members(
    members: Sequence[Member],
    *,
    metric: str = MAIN,
    reference: str | None = None,
    title: str = "",
    given: Mapping[str, Given] | None = None,
) -> Comparison:
    """:func:`compare` for runs that have been read."""
    if metric not in COMPARED:
        raise InputError(f"metric {metric!r}: must be one of {', '.join(COMPARED)}{nearest(metric, COMPARED)}")
    found = configurations(members, given)
    named = {one.name: one for one in found}
    reference = found[0].name if reference is None else reference
    if reference not in named:
        raise InputError(f"no configuration {reference!r}; there are {', '.join(named)}{nearest(reference, named)}")
    seen = views(found)
    empty = Comparison(
        title or ", ".join(named), tuple(found), reference, metric, tuple(seen), {}, {}, {},
        tuple(differing(members)), tuple(_notes(found, members)),
    )  # fmt: skip
    metrics = empty.metrics()
    verdicts = {
        view.key: {
            name: {one: view.against(one, reference, name) for one in named if one != reference} for name in metrics
        }
        for view in seen
    }
    return Comparison(
        **{
            **vars(empty),
            "verdicts": verdicts,
            "effects": {view.key: {name: effects(found, view, name) for name in metrics} for view in seen},
            "interactions": {view.key: {metric: interactions(found, view, metric)} for view in seen},
        }
    )


def _notes(found: Sequence[Configuration], members: Sequence[Member]) -> list[str]:
    notes = []
    for one in found:
        for double in one.doubles:
            notes.append(f"{double.name} repeats seed {double.seed} of {one.name}: it is shown, and not counted.")
    seeds = {tuple(one.members) for one in found}
    if len(seeds) > 1:
        notes.append("Not all configurations have the same seeds; only seeds that both have are compared.")
    for member in members:
        if member.last is None and not member.diverged:
            notes.append(f"{member.name} has not been evaluated: limner evaluate {member.path}")
        elif member.ended not in ("done", "stopped", ""):
            notes.append(f"{member.name} is not at its end ({member.ended}).")
    extractors = {reading.reference[0] for member in members if (reading := member.last)}
    if len(extractors) > 1:
        notes.append(f"Figures come from different extractors ({', '.join(sorted(extractors))}).")
    many = [factor for factor, levels in factor_levels(found).items() if len(levels) > MOST_LEVELS]
    if many:
        notes.append(f"{', '.join(many)}: searched over many values, so that no effect of single values is given.")
    return notes


def _run_values(member: Member) -> dict[str, Any]:
    last = member.last
    return {
        "name": member.name,
        "path": str(member.path),
        "seed": member.seed,
        "data": member.data,
        "images": member.images,
        "updates": member.step,
        "seconds": member.seconds,
        "ended": member.ended,
        "broken": member.broken,
        "copying": "" if last is None else last.copying,
    }
