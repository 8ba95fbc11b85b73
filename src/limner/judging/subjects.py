"""What can be judged: a run, a generator's file, or images of any origin; each against a collection of real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from limner import rundir
from limner.data import SOURCES, Collection, open_source, prepare
from limner.data.decode import PIXEL_LIMIT, quiet
from limner.data.measure import resolve, take_sample
from limner.data.parallel import default_workers
from limner.data.spill import room_for
from limner.errors import InputError
from limner.generator import TrainedGenerator, load
from limner.judging.agreement import best_classifier
from limner.judging.evaluate import REAL, Judge, Pixels, is_of, save_evaluation
from limner.judging.features import Extractor
from limner.judging.figures import AGREEMENT, AGREEMENT_KIND, KINDS, Figure, Kind, comparable
from limner.judging.outlook import outlook
from limner.judging.reference import asked_labels, reference
from limner.recipe import Image, Recipe
from limner.rundir import RunDir

TRAIN = 10_000
"""Training images among which copies are looked for, at most."""
LONGEST = 256
"""Images of unknown origin are judged at their own size, with the longer side at most this many pixels."""

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What was found about one subject.

    Attributes:
        name: the subject, as it was given.
        images: real images that its generator had seen; ``None`` for images of unknown origin.
        record: everything, as JSON has it.
        notes: what a person should know before they compare.
    """

    name: str
    images: int | None
    record: dict[str, Any]
    notes: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"source": self.name, "images": self.images, **self.record, "notes": list(self.notes)}

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures by name."""
        return {name: Figure.from_values(values) for name, values in self.record["figures"].items()}

    @property
    def yardstick(self) -> dict[str, Figure]:
        """What held-out real images score; empty where none are held out."""
        return {name: Figure.from_values(values) for name, values in self.record["yardstick"].items()}


@dataclass
class Bench:
    """Judges subjects one after the other; what several share is prepared once.

    Attributes:
        extractor: what makes features.
        count: images that each generator draws.
        data: real images for all of them; without it each run's own.
        size: width and height at which images of unknown origin are judged; their own by default.
        at: which snapshot of a run: ``newest``, ``best``, or a number of images.
        device: where generators draw.
        advance: called with images done and images in all while something takes long.
        pixel_limit: files that unpack to more pixels are skipped; what the recipe says by default.
    """

    extractor: Extractor
    count: int
    data: str | None = None
    size: tuple[int, int] | None = None
    at: str = "newest"
    device: str = "cpu"
    advance: Advance | None = None
    pixel_limit: int | None = None
    _judges: dict[Any, Judge] = field(default_factory=dict)

    def evaluate(self, what: str) -> Evaluation:
        """Judge one subject.

        Args:
            what: a run directory, a checkpoint, a ``.safetensors`` file, or anything that holds images.

        Raises:
            InputError: it is none of these, or there is nothing to compare it with.
        """
        path = Path(what)
        if (path / rundir.RECIPE).is_file():
            return self._run(what, RunDir.open(path))
        if path.suffix == ".safetensors" or (path / rundir.GENERATOR).is_file():
            return self._generator(what, load(path, self.device))
        if not path.exists() and ":" not in what and what not in SOURCES:
            raise InputError(f"{what}: there is no such thing; give a run directory, a generator file or images")
        return self._images(what)

    def _run(self, what: str, run: RunDir) -> Evaluation:
        generator = load(run.path, self.device, self.at)
        recipe = run.recipe()
        known = run.read_json(rundir.DATA)
        location = self.data or known.get("location")
        if not isinstance(location, str):
            raise InputError(f"{run.path / rundir.DATA}: is damaged (it has no location); give --data")
        judge = self._judge(location, recipe.image, recipe.training.seed)
        found = judge.reference.collection.content_hash
        notes = []
        if self.data is None and found != known.get("content_hash"):
            notes.append(f"{location} has changed since {what} was trained on it")
        judge = self._classifying(judge, generator)
        pixels, asked = self._drawn(generator, judge)
        if self._keeps(run, generator.images, judge, len(pixels)):
            record = save_evaluation(run, generator.images, judge, pixels, range(len(pixels)), asked)
            notes += [f"not kept in the run directory: {record['unsaved']}"] if "unsaved" in record else []
        else:
            record = judge.everything(pixels, list(range(len(pixels))), asked)
            record["outlook"] = outlook(list(run.records(rundir.METRICS))).values()
        if self.data is not None:
            notes.append("copies are looked for in the given images, which need not be those it was trained on")
        return Evaluation(what, generator.images, record, tuple(notes))

    def _keeps(self, run: RunDir, images: int, judge: Judge, count: int) -> bool:
        """Whether an evaluation belongs into the run directory: of the run's own images and features, unless a more
        thorough one is there."""
        if self.data is not None or self.extractor.name != run.recipe().evaluation.extractor:
            return False
        place = dict(run.evaluations()).get(images)
        try:
            return place is None or not is_of(RunDir(place).read_json(rundir.FIGURES), judge, count + 1)
        except InputError:
            return True

    def _generator(self, what: str, generator: TrainedGenerator) -> Evaluation:
        if self.data is None:
            raise InputError(f"{what}: give the real images to compare with: --data DATA")
        judge = self._judge(self.data, generator.recipe.image, generator.recipe.training.seed)
        judge = self._classifying(judge, generator)
        pixels, asked = self._drawn(generator, judge)
        return Evaluation(what, generator.images, judge.everything(pixels, list(range(len(pixels))), asked))

    def _images(self, what: str) -> Evaluation:
        mine = open_source(what)
        if self.data is None:
            raise InputError(f"{what}: is no run; to judge images, give the real ones to compare with: --data DATA")
        asked = Image(held_out=0, max_side=LONGEST) if self.size is None else self._sized()
        limit = self.pixel_limit or PIXEL_LIMIT
        with quiet(limit):
            target, real = (
                resolve(asked, take_sample(source, default_workers(), limit), limit)
                for source in (mine, open_source(self.data))
            )
        # Colours or transparency that only one side has are a difference, and must be seen.
        channels = max(target.channels, real.channels)
        alike = asked.model_copy(update={"width": target.width, "height": target.height, "channels": channels})
        images = prepare(what, alike, progress=self.advance, pixel_limit=self.pixel_limit)
        judge = self._judge(self.data, alike.model_copy(update={"held_out": 0.1}), 0)
        pixels, names = _all(images, self.count)
        notes = []
        if target.channels != real.channels:
            mode = {1: "grey", 3: "RGB", 4: "RGBA"}
            both = f"{what} is {mode[target.channels]}, {self.data} is {mode[real.channels]}"
            notes.append(f"{both}: judged as {mode[channels]}")
        if (target.width, target.height) != (real.width, real.height):
            notes.append(f"judged at {target.width}x{target.height}; {self.data} is {real.width}x{real.height}")
        if len(names) < len(images.names):
            notes.append(f"of {len(images.names):,} images, {len(names):,} were judged, chosen at random")
        return Evaluation(what, None, judge.everything(pixels, names), tuple(notes))

    def _sized(self) -> Image:
        assert self.size is not None
        return Recipe.load(
            "quick", {"image.width": self.size[0], "image.height": self.size[1], "image.held_out": 0}
        ).image

    def _judge(self, location: str, image: Image, seed: int) -> Judge:
        key = (location, tuple(sorted(image.model_dump().items())), seed)
        if key not in self._judges:
            collection = prepare(location, image, seed=seed, progress=self.advance, pixel_limit=self.pixel_limit)
            real = reference(collection, self.extractor, seed=seed, most=TRAIN, advance=self.advance)
            self._judges[key] = Judge(real, REAL)
        return self._judges[key]

    def _classifying(self, judge: Judge, generator: TrainedGenerator) -> Judge:
        """The judge, with the best classifier there is for a generator that can be asked for classes."""
        if not generator.classes:
            return judge
        key = ("classifying", id(judge))
        if key not in self._judges:
            best = best_classifier(judge.reference, device=self.device, advance=self.advance)
            self._judges[key] = replace(judge, classifier=best)
        return self._judges[key]

    def _drawn(self, generator: TrainedGenerator, judge: Judge) -> tuple[Pixels, list[str] | None]:
        """Pictures of the seeds from 0 on, and the class that each was asked to be."""
        labels = asked_labels(generator.classes, judge.reference.collection, self.count)
        width, height = generator.size
        pixels = room_for((self.count, height, width, generator.recipe.image.channels or 0))
        for start in range(0, self.count, 256):
            seeds = np.arange(start, min(start + 256, self.count))
            own = None if labels is None else labels[seeds]
            pixels[seeds] = generator.draw(generator.latents(seeds), own)
            if self.advance is not None:
                self.advance(int(seeds[-1]) + 1, self.count)
        asked = None if labels is None else [generator.classes[label] for label in labels]
        return pixels, asked


def _all(images: Collection, count: int) -> tuple[Pixels, list[str | int]]:
    """Up to so many images of a collection, and their names: in a random order, as figures may take the first of them."""
    from limner import noise

    assert isinstance(images.images, np.ndarray)
    places = noise.permutation(0, noise.Stream.EVALUATION, 2, len(images.names))[:count]
    return np.asarray(images.images[places]), [images.names[int(place)] for place in places]


def table(evaluations: list[Evaluation]) -> str:
    """Everything about one subject in lines, or several side by side; each number with its interval and counts.

    Behind them, for each collection that they were compared with, its yardstick: held-out real images against the others.
    """
    kinds = dict(KINDS)
    if any(AGREEMENT in found.figures for found in evaluations):
        kinds[AGREEMENT] = AGREEMENT_KIND
    columns = [["", "images seen in training", *(f"{kind.label} ({_GOOD[kind.better]})" for kind in kinds.values())]]
    columns[0] += [*_COUNTED, "copying"]
    yardsticks: dict[str, Evaluation] = {}
    for found in evaluations:
        seen = "-" if found.images is None else f"{found.images:,}"
        columns.append([found.name, seen, *_cells(found.figures, kinds), copies(found.record["copying"])])
        if found.yardstick:
            yardsticks.setdefault(str(found.record["data"]["title"]), found)
    for title, found in yardsticks.items():
        head = "real against real" if len(yardsticks) == 1 else f"real against real ({title})"
        cells = _cells(found.yardstick, kinds)
        for place, name in enumerate(kinds):
            both = found.figures.get(name), found.yardstick.get(name)
            if both[0] is not None and both[1] is not None and not comparable(name, both[0], both[1]):
                cells[place] = "other counts"
        columns.append([head, "-", *cells, ""])
    return "\n".join(_aligned([list(row) for row in zip(*columns, strict=True)]))


def class_table(found: Evaluation) -> str:
    """For a collection with classes: what share of the samples each has, and how much of it they reach; else nothing.

    For a generator that was asked for classes also how many of them came out, and what judged that.
    """
    rows = [["class", "share of samples", "share of real", "recall", "coverage", "samples", "real"]]
    asked = "classifier" in found.record
    if asked:
        rows[0].insert(1, AGREEMENT_KIND.label)
    for name, values in (found.record.get("classes") or {}).items():
        figures = {kind: Figure.from_values(value) for kind, value in values.items()}
        share = figures["share"]
        cells = [str(figures[kind]) for kind in ("share", "real_share", "recall", "coverage")]
        if asked:
            cells.insert(0, str(figures[AGREEMENT]) if AGREEMENT in figures else "-")
        rows.append([name, *cells, f"{share.generated:,}", f"{share.real:,}"])
    lines = _aligned(rows) if len(rows) > 1 else []
    if asked:
        by = found.record["classifier"]
        accuracy = Figure.from_values(by["accuracy"])
        lines.append(
            f"classes are told by {by['description']}, trained on {by['trained']:,} real images;"
            f" of {accuracy.generated:,} others it tells {accuracy} rightly"
        )
    return "\n".join(lines)


_COUNTED = ("computed from generated images", "computed from real images")


def _cells(figures: dict[str, Figure], kinds: Mapping[str, Kind]) -> list[str]:
    compared = [value for name, value in figures.items() if name in KINDS]
    counts = [max((getattr(value, side) for value in compared), default=0) for side in ("generated", "real")]
    return [*(str(figures[name]) if name in figures else "-" for name in kinds), *(f"{count:,}" for count in counts)]


_GOOD = {"lower": "lower is better", "higher": "higher is better", "one": "1 is best"}


def copies(found: dict[str, Any]) -> str:
    """The verdict about copying, with its evidence."""
    if "p_value" not in found:
        return f"{found['verdict']} ({found.get('reason', '')})"
    p_value = found["p_value"]
    chance = "" if p_value is None or p_value != p_value else f", p = {p_value:.2g}"
    counts = f"{found.get('generated', 0):,} generated, {found.get('train', 0):,} real"
    return f"{found['verdict']}{chance} ({counts})"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows if place < len(row)) for place in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
