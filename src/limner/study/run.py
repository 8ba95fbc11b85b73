"""What the process of one run does: train or go on, report on the way, and write down what came of it."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from limner import durable, imaging, rundir
from limner.data import Collection, prepare
from limner.errors import InputError, LimnerError
from limner.generator import TrainedGenerator, load
from limner.judging.evaluate import Judge as Judging
from limner.judging.features import open_extractor
from limner.judging.figures import Figure
from limner.judging.reference import asked_labels, reference
from limner.recipe import Recipe
from limner.rundir import RunDir, lock
from limner.study.child import LOCKED_SECONDS, NEWS_SECONDS, Link, result_path
from limner.study.file import Judge
from limner.training.display import Plain
from limner.training.judge import Examine
from limner.training.loop import Continue, Loop, Signal, Stop
from limner.training.outcome import Outcome
from limner.training.resuming import resume
from limner.training.train import train

COMMON, COMMON_SHEET = "common", "common.png"
PRUNED = "pruned: worse than the median of the runs before it"


def do(task: Mapping[str, Any], link: Link) -> dict[str, Any] | None:
    """Do one run.

    Args:
        task: ``out``, ``run``, ``data``, ``recipe`` (nested values), ``digest``, ``metric``, ``prune``, ``judge``.
        link: to the supervisor.

    Returns:
        what came of it, or ``None`` where it was interrupted with its state saved.

    Raises:
        LimnerError: it could not be done.
    """
    out, name = Path(task["out"]), str(task["run"])
    known = kept(out, name, str(task["digest"]))
    if known is not None:
        return known
    began = time.perf_counter()
    reporter = Reporter(link, str(task["metric"]), bool(task["prune"]))
    path = out / "runs" / name
    if path.exists():
        _wait_for(path)
        outcome = resume(path, display=reporter)
    else:
        recipe = Recipe.from_values(task["recipe"])
        outcome = train(task["data"], recipe, runs=path.parent, name=name, display=reporter)
    if outcome.ended == "interrupted" or not is_judged(outcome):
        return None
    judge = None if task.get("judge") is None else Judge.model_validate(task["judge"])
    found = result(outcome, task, reporter.pruned, time.perf_counter() - began)
    if judge is not None and outcome.ended == "done":
        found |= judged_alike(outcome.run, judge)
    place = result_path(out, name)
    durable.make_directory(place.parent)
    durable.atomic_write(place, json.dumps(found, indent=1).encode() + b"\n")
    return found


def kept(out: Path, name: str, digest: str) -> dict[str, Any] | None:
    """The result of a run that ended before, of this very recipe."""
    try:
        found = json.loads(result_path(out, name).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("digest") == digest else None


def is_judged(outcome: Outcome) -> bool:
    """Whether a training that is done was evaluated at its end, too; where a signal came between, resuming makes up for it."""
    return outcome.ended != "done" or any(images == outcome.images for images, _ in outcome.run.evaluations())


class Reporter(Plain):
    """Tells the supervisor how far a run is, and ends it when that is asked for. What people read goes to standard error.

    Args:
        link: to the supervisor.
        metric: the figure that is compared by.
        prune: the answer to an evaluation may be to end the run.
    """

    def __init__(self, link: Link, metric: str, prune: bool) -> None:
        super().__init__(sys.stderr)
        self.link, self.metric, self.prune = link, metric, prune
        self.pruned = False
        self._examine: Examine | None = None
        self._seen, self._told = 0, 0.0

    def preparing(self, done: int, total: int) -> None:
        if time.monotonic() - self._told > NEWS_SECONDS:
            self._told = time.monotonic()
            self.link.tell({"preparing": [done, total]})

    def begin(self, loop: Loop, latest: Mapping[str, Any]) -> None:
        super().begin(loop, latest)
        self._examine = next((one for one in loop.callbacks if isinstance(one, Examine)), None)

    def after_step(self, loop: Loop) -> Signal:
        if time.monotonic() - self._told > NEWS_SECONDS:
            self._told = time.monotonic()
            progress = loop.progress
            self.link.tell({"share": loop.share_done, "images": progress.images, "seconds": progress.seconds})
        lines = [] if self._examine is None else self._examine.lines
        if len(lines) < self._seen:  # the run has gone back
            self._seen = len(lines)
        while self._seen < len(lines):
            line, self._seen = lines[self._seen], self._seen + 1
            value = (line["figures"].get(self.metric) or {}).get("value")
            news = {"evaluated": self._seen - 1, "images": line["images"], "value": value}
            if not self.prune:
                self.link.tell(news)
            elif value is not None and line["images"] > 0 and self.link.ask(news) == "prune":
                self.pruned = True
                return Stop(PRUNED, satisfied=True)
        return Continue()


def result(outcome: Outcome, task: Mapping[str, Any], pruned: bool, took: float) -> dict[str, Any]:
    """What came of a run: figures of its end with their intervals, and what it cost."""
    run = outcome.run
    record: dict[str, Any] = {}
    if outcome.ended == "done":
        evaluations = run.evaluations()
        if evaluations:
            record = RunDir(evaluations[-1][1]).read_json(rundir.FIGURES)
    recipe, data = run.recipe(), run.read_json(rundir.DATA)
    portion = recipe.training.batch_size * recipe.training.critic_steps
    copying = record.get("copying") or {}
    figures = dict(record.get("figures") or {})
    if copying.get("copied_share", {}).get("value") is not None:
        figures["copied_share"] = copying["copied_share"]
    return {
        "run": task["run"],
        "digest": task["digest"],
        "ended": "pruned" if pruned else outcome.ended,
        "reason": outcome.reason,
        "images": outcome.images,
        "updates": outcome.images // portion,
        "epochs": round(outcome.epochs, 2),
        "rollbacks": sum(line.get("event") == "rollback" for line in run.records(rundir.EVENTS)),
        "figures": figures,
        "yardstick": record.get("yardstick") or {},
        "copying": copying.get("verdict", ""),
        "train": (record.get("data") or {}).get("train"),
        "content_hash": data.get("content_hash"),
        "size": [recipe.image.width, recipe.image.height, recipe.image.channels],
        "way": _way(run, task["metric"]),
        "seconds": round(outcome.seconds, 2),
        "seconds_in_all": round(took, 2),
        "peak_memory": peak_memory(),
    }


def _way(run: RunDir, metric: str) -> list[dict[str, Any]]:
    """What was measured on the way, in short: the figure that is compared by, and the share of copies."""
    found = []
    for line in run.records(rundir.METRICS):
        figures, copies = line.get("figures") or {}, line.get("copying") or {}
        own = {name: figures[name] for name in dict.fromkeys((metric, "kernel_distance", "recall")) if name in figures}
        if (copies.get("copied_share") or {}).get("value") is not None:
            own["copied_share"] = copies["copied_share"]
        found.append(
            {"images": line["images"], "step": line.get("step"), "figures": own, "copying": copies.get("verdict", "")}
        )
    return found


def value_of(figures: Mapping[str, Any], metric: str, kind: str) -> float | None:
    """The number that a search minimises or maximises."""
    found = figures.get(metric) or {}
    value = found.get("value")
    if value is None:
        return None
    return abs(float(value) - 1) if kind == "one" else float(value)


def judged_alike(run: RunDir, judge: Judge) -> dict[str, Any]:
    """The figures of a run's newest generator by a common yardstick, brought to its size; and a sheet in that size.

    Raises:
        InputError: the yardstick's collection cannot be read.
    """
    recipe = run.recipe()
    generator = load(run.newest_checkpoint()[1])
    wanted = recipe.image.model_dump() | {
        "width": judge.width, "height": judge.height, "channels": recipe.image.channels, "held_out": 0.0,
    }  # fmt: skip
    collection = prepare(judge.data, type(recipe.image).model_validate(wanted), seed=0)
    real = reference(collection, open_extractor(recipe.evaluation.extractor, "cpu"), seed=0, most=judge.images)
    count = min(judge.images, max(128, len(collection.train)))
    pixels = _resized(_drawn(generator, collection, count), judge.width, judge.height)
    record = Judging(real, judge.images).figures(pixels)
    sheet = imaging.png_bytes(imaging.enlarged(imaging.grid(pixels[:36]), 384))
    durable.atomic_write(run.path / COMMON_SHEET, sheet)
    values = {name: own for name, own in record["figures"].items()}
    return {COMMON: {"figures": values, "data": collection.title, "size": [judge.width, judge.height]}}


def _drawn(generator: TrainedGenerator, collection: Collection, count: int) -> imaging.Batch:
    """So many pictures; of a generator with classes, of each as many as the collection has."""
    return generator.draw(generator.latents(np.arange(count)), asked_labels(generator.classes, collection, count))


def _resized(pixels: imaging.Batch, width: int, height: int) -> imaging.Batch:
    """Pictures of another size, by the mean over what each pixel covers, as collections are decoded."""
    if pixels.shape[2] == width and pixels.shape[1] == height:
        return pixels
    made = [imaging.to_image(one).resize((width, height), Pillow.Resampling.LANCZOS) for one in pixels]
    return np.stack([np.asarray(one).reshape(height, width, -1) for one in made])


def peak_memory() -> int:
    """Bytes that this process has taken at most: of a GPU's memory where it trains there, else of main memory."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)


def _wait_for(path: Path) -> None:
    """Wait for the process that was at a run before: it saves and leaves.

    Raises:
        LimnerError: it does not.
    """
    until = time.monotonic() + LOCKED_SECONDS
    while lock.is_held(path):
        if time.monotonic() > until:
            raise LimnerError(f"{path}: is still being trained by another process")
        time.sleep(0.2)


def figures_of(result: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures of a result: by the common yardstick where there is one, and the rest of its own."""
    own = {**(result.get("figures") or {}), **((result.get(COMMON) or {}).get("figures") or {})}
    found = {}
    for name, values in own.items():
        try:
            if values.get("value") is not None:
                found[name] = Figure.from_values(values)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"result of {result.get('run')}: {name} is damaged") from None
    return found
