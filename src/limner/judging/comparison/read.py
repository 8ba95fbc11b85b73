"""Run directories, read to be compared: what each was asked for, what was measured on the way, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limner.errors import InputError
from limner.judging.comparison.statistics import COMPARED, COPIED
from limner.judging.figures import Figure
from limner.judging.report.read import Contents, Line, contents
from limner.judging.report.recipe import flattened
from limner.judging.report.words import figure_of, mapping, real_number, text, whole_number
from limner.rundir import RECIPE, RunDir

SHEET = "generated.png"
"""Of an evaluation: the pictures of the first seeds."""


@dataclass(frozen=True)
class Reading:
    """Figures at one moment of a run.

    Attributes:
        images, step: real images seen, and updates of the generator, until then.
        figures: by name, the share of copies among them.
        copying: the verdict about copies; empty where there is none.
        reference: what the figures are against: extractor, and the collection's hash.
        train: how many of its images, where that is known: the others were held out.
    """

    images: int
    step: int
    figures: Mapping[str, Figure]
    copying: str = ""
    reference: tuple[str, str] = ("", "")
    train: int | None = None


@dataclass(frozen=True)
class Member:
    """One run.

    Attributes:
        name, path: of its directory.
        seed: of its training.
        recipe: its fields, ``section.field`` -> value.
        data, content: what it was trained on: a title, and the images' hash.
        way: what was measured on the way, in order.
        end: the thorough evaluation at the end; ``None`` without one.
        images, step, seconds: all that it saw, and its running time.
        ended: ``done``, ``interrupted``, ``stopped``, or empty while that is not known.
        broken: why it broke off, if it did.
        sheet: pictures of the first seeds, or else the newest grid.
        notes: what is missing or damaged.
    """

    name: str
    path: Path
    seed: int
    recipe: Mapping[str, Any]
    data: str
    content: str
    way: tuple[Reading, ...]
    end: Reading | None
    images: int
    step: int
    seconds: float | None
    ended: str
    broken: str | None
    sheet: Path | None
    notes: tuple[str, ...]

    @property
    def diverged(self) -> bool:
        """Whether it could not go on."""
        return self.broken is not None

    @property
    def last(self) -> Reading | None:
        """What was measured last: thoroughly, or else on the way."""
        return self.end or (self.way[-1] if self.way else None)


def read_member(path: str | Path) -> Member:
    """Read one run directory.

    Raises:
        InputError: it is none, or its recipe cannot be read.
    """
    run = RunDir.open(path)
    found = contents(run)
    if found.recipe is None:
        raise InputError(f"{run.path}: {'; '.join(found.notes) or 'has no recipe that can be read'}")
    recipe = flattened(found.recipe.values())
    content = found.data.get("content_hash")
    content = content if isinstance(content, str) else ""
    portion = _portion(recipe)
    way = tuple(_reading(line, line.get("extractor"), content, portion) for line in found.metrics)
    way = tuple(reading for reading in way if reading.figures)
    end = None
    if found.evaluation is not None and mapping(found.evaluation.get("figures")):
        extractor = mapping(found.evaluation.get("extractor")).get("name")
        judged = mapping(found.evaluation.get("data")).get("content_hash", content)
        line = {**found.evaluation, "images": found.evaluation_images}
        end = _reading(line, extractor, str(judged), portion)
    images = found.images
    return Member(
        name=found.name,
        path=run.path,
        seed=whole_number(recipe.get("training.seed")) or 0,
        recipe=recipe,
        data=text(found.data.get("title") or found.data.get("location") or ""),
        content=content,
        way=way,
        end=end,
        images=images,
        step=whole_number(found.state.get("step")) or round(images / portion),
        seconds=_seconds(found),
        ended=found.ended,
        broken=found.broken,
        sheet=_sheet(found),
        notes=tuple(found.notes),
    )


def read_members(paths: Sequence[str | Path]) -> list[Member]:
    """Read several, each once.

    Raises:
        InputError: one of them is no run directory, or there are none.
    """
    if not paths:
        raise InputError("nothing to compare; name run directories")
    unique = {Path(path).resolve(): path for given in paths for path in _runs_of(Path(given))}
    return [read_member(path) for path in unique.values()]


def _runs_of(path: Path) -> list[Path]:
    """A run directory itself; of a study, or of a folder with runs, all that are in it."""
    if not path.is_dir() or (path / RECIPE).exists():
        return [path]
    folder = path / "runs" if (path / "runs").is_dir() else path
    return sorted(place.parent for place in folder.glob(f"*/{RECIPE}")) or [path]


def _portion(recipe: Mapping[str, Any]) -> float:
    batch = real_number(recipe.get("training.batch_size")) or 1
    return batch * (real_number(recipe.get("training.critic_steps")) or 1)


def _reading(line: Line | Mapping[str, Any], extractor: Any, content: str, portion: float) -> Reading:
    images = int(line["images"])
    figures = {name: found for name, value in mapping(line.get("figures")).items() if (found := figure_of(value))}
    copying = mapping(line.get("copying"))
    share = figure_of(copying.get(COPIED))
    if share is not None:
        figures[COPIED] = share
    known = {name: figures[name] for name in COMPARED if name in figures}
    step = whole_number(line.get("step"))
    said = copying.get("verdict")
    return Reading(
        images,
        round(images / portion) if step is None else step,
        known,
        text(said) if isinstance(said, str) else "",
        (text(extractor or ""), content),
        whole_number(copying.get("train")),
    )


def _seconds(found: Contents) -> float | None:
    lines = (*found.log[-1:], *found.metrics[-1:])
    known = [value for line in (*lines, found.state) if (value := real_number(line.get("seconds"))) is not None]
    return max(known, default=None)


def _sheet(found: Contents) -> Path | None:
    if found.evaluation_path is not None and (found.evaluation_path / SHEET).is_file():
        return found.evaluation_path / SHEET
    return found.samples[-1][1] if found.samples else None
