"""Everything that a report shows, read from a run directory. Whatever is missing or damaged becomes a note, not an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from limner import rundir
from limner.errors import InputError
from limner.judging.report.words import mapping, text, whole_number
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.rundir.logs import LONGEST

Line = dict[str, Any]
LARGEST = 64 * 2**20
"""Bytes of a log that are read; a log of that size has over a hundred thousand lines."""
MOST_LINES = 300_000


@dataclass
class Contents:
    """What a run directory holds.

    Attributes:
        name: the run's.
        path: as the user wrote it.
        recipe: ``None`` when it cannot be read; ``recipe_text`` is what the file says.
        data, environment, state: objects, empty when missing. ``state`` is the newest checkpoint's.
        log, metrics, events: lines with a whole number of ``images``, in their order.
        evaluation: the newest evaluation's figures, with its directory and the images seen before it.
        samples: images seen, and the grid drawn then.
        best: images seen at the best snapshot.
        notes: what is missing or damaged, a sentence each.
    """

    name: str
    path: Path
    recipe: Recipe | None = None
    recipe_text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    log: list[Line] = field(default_factory=list)
    metrics: list[Line] = field(default_factory=list)
    events: list[Line] = field(default_factory=list)
    evaluation: Mapping[str, Any] | None = None
    evaluation_path: Path | None = None
    evaluation_images: int = 0
    samples: list[tuple[int, Path]] = field(default_factory=list)
    best: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Images seen in all."""
        seen = [whole_number(self.state.get("images")) or 0]
        seen += [int(lines[-1]["images"]) for lines in (self.log, self.metrics) if lines]
        seen += [number for number, _ in self.samples[-1:]]
        return max(seen)

    @property
    def ended(self) -> str:
        """How the training ended, in a word; empty while that is not known."""
        for event in reversed(self.events):
            kind = event.get("event")
            if kind == "resumed":
                break
            if kind in ("stopped", "interrupted"):
                return str(kind)
        said = self.state.get("ended")
        return text(said) if isinstance(said, str) else ""

    @property
    def broken(self) -> str | None:
        """Why the training broke off, if it did and was not gone on with."""
        for event in reversed(self.events):
            kind = event.get("event")
            if kind in ("resumed", "rollback"):
                return None
            if kind == "non-finite":
                return text(event.get("evidence") or "the losses or weights are not numbers any more")
            if kind == "stopped":
                return text(event.get("reason") or event.get("evidence") or "no reason was recorded")
        return None


def contents(run: RunDir) -> Contents:
    """Read a run directory."""
    found = Contents(run.path.resolve().name or str(run.path), run.path)
    _read_recipe(run, found)
    found.data = _object(run, rundir.DATA, "what the images were", found)
    found.environment = _object(run, rundir.ENVIRONMENT, "where it ran", found)
    found.log = _lines(run, rundir.LOG, found)
    found.metrics = _lines(run, rundir.METRICS, found)
    found.events = _lines(run, rundir.EVENTS, found)
    found.samples = run.samples()
    if not found.log:
        found.notes.append("There is no log yet, so there are no curves of losses, logits and gradients.")
    if not found.samples:
        found.notes.append("No sample grid has been drawn yet.")
    _read_checkpoints(run, found)
    _read_evaluation(run, found)
    return found


def _read_recipe(run: RunDir, found: Contents) -> None:
    try:
        with (run.path / rundir.RECIPE).open("rb") as file:
            found.recipe_text = file.read(100_000).decode("utf-8", "replace")
        found.recipe = run.recipe()
    except (OSError, InputError) as error:
        first = text(str(error).splitlines()[0] if str(error) else "unreadable")
        found.notes.append(f"{rundir.RECIPE} cannot be used, so it is not compared with a shipped recipe: {first}")


def _object(run: RunDir, name: str, what: str, found: Contents) -> Mapping[str, Any]:
    try:
        return run.read_json(name)
    except (InputError, RecursionError):
        there = (run.path / name).exists()
        found.notes.append(f"{name} is {'damaged' if there else 'missing'}, so {what} is not known.")
        return {}


def _lines(run: RunDir, name: str, found: Contents) -> list[Line]:
    """The lines that can be used. How many cannot is told: a torn last line is common, more are not."""
    path = run.path / name
    if not path.is_file():
        return []
    try:
        if path.stat().st_size > LARGEST:
            found.notes.append(f"{name} is over {LARGEST // 2**20} MiB; it was passed over.")
            return []
        read = list(islice(run.records(name), MOST_LINES))
        with path.open("rb") as file:
            written = sum(1 for line in iter(partial(file.readline, LONGEST), b"") if line.strip())
    except (OSError, RecursionError, ValueError):
        found.notes.append(f"{name} cannot be read.")
        return []
    kept = [record for record in read if whole_number(record.get("images")) is not None]
    lost = written - len(kept)
    if len(read) == MOST_LINES:
        found.notes.append(f"Of {name} the first {MOST_LINES:,} lines were read.")
    elif lost > 0:
        found.notes.append(f"{lost:,} of the {written:,} lines of {name} are damaged and left out.")
    return sorted(kept, key=lambda record: int(record["images"])) if name != rundir.EVENTS else kept


def _read_checkpoints(run: RunDir, found: Contents) -> None:
    checkpoints = run.checkpoints()
    if checkpoints:
        found.state = _object(RunDir(checkpoints[-1][1]), rundir.STATE, "the state of the newest checkpoint", found)
    best = run.path / rundir.CHECKPOINTS / rundir.BEST
    if (best / rundir.STATE).is_file():
        found.best = whole_number(_object(RunDir(best), rundir.STATE, "the best snapshot", found).get("images"))
    if found.best is None:
        found.best = next((int(line["images"]) for line in reversed(found.metrics) if line.get("best") is True), None)


def _read_evaluation(run: RunDir, found: Contents) -> None:
    evaluations = run.evaluations()
    for images, path in reversed(evaluations):
        try:
            found.evaluation = RunDir(path).read_json(rundir.FIGURES)
        except (InputError, RecursionError):
            found.notes.append(f"The evaluation after {images:,} images is damaged.")
            continue
        found.evaluation_path, found.evaluation_images = path, images
        if not mapping(found.evaluation.get("figures")):
            found.notes.append(f"The evaluation after {images:,} images holds no figures.")
        return
    if found.metrics:
        found.notes.append(
            "There is no full evaluation, so real images, nearest neighbours and real against real are missing."
        )
    else:
        found.notes.append(f"Nothing has been evaluated yet: limner evaluate {found.path}")
