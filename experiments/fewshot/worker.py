"""One training of a study, or one system whose pace is measured: ``python worker.py train|pace JSON``, as runs.py calls it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import Rows, small_png
from runs import FASTGAN, SETS, STAND_IN, Job, Place, collection_of, fastgan, outcome, recipe_of, run_path

import limner
from limner import imaging
from limner.device import choose_device, environment
from limner.generator import class_grid
from limner.judging.agreement import best_classifier
from limner.judging.evaluate import REAL, Judge
from limner.judging.features import open_extractor
from limner.judging.reference import asked_labels, reference
from limner.judging.subjects import TRAIN
from limner.recipe import names as recipe_names
from limner.rundir import RunDir
from limner.training.assembly import assemble, resolved
from limner.training.display import Quiet
from limner.training.judge import sample_count

SAMPLES = 2000
"""Samples that are judged, where the set has as many images."""
YARDSTICKS = ("kernel_distance", "coverage", "recall", "precision", "label_agreement")


class Pace:
    """A contestant: one system that trains for so many seconds whenever it is asked, and says how fast."""

    def __init__(self, job: Job, place: Place) -> None:
        collection = collection_of(job, place)
        if job.recipe:
            device = choose_device(place.device)
            self.loop = assemble(resolved(recipe_of(job, place), collection, device), collection, device)
            self.one, self.portion = self.loop.advance, self.loop.portion
        else:
            pixels = np.asarray(collection.images[collection.train])
            trainer = fastgan.Trainer(pixels, job.seed, FASTGAN[job.system], place.device, place.precision)
            self.one, self.portion = trainer.step, fastgan.BATCH
        self.cuda = place.device.startswith("cuda")
        # On one core, seconds of its time, which other work on the machine hardly touches.
        self.clock = time.process_time if place.device == "cpu" and place.threads == 1 else time.perf_counter

    def measure(self, seconds: float) -> float:
        """Images per second, over whole updates."""
        started, images = self.clock(), 0
        while not images or self.clock() - started < seconds:
            self.one()
            images += self.portion
            if self.cuda:
                torch.cuda.synchronize()
        return images / (self.clock() - started)


def train(job: Job, place: Place, images: int) -> tuple[dict[str, Any], Callable[[int], np.ndarray], Any]:
    """Train for so many images, or go on where that was cut off.

    Returns:
        what is known of the training, what draws samples, and the generator where it is Limner's.
    """
    if not job.recipe:
        collection = collection_of(job, place)
        pixels, width = np.asarray(collection.images[collection.train]), FASTGAN[job.system]
        started = time.perf_counter()
        draw = fastgan.train(pixels, images, job.seed, width=width, device=place.device, precision=place.precision)
        images = -(-images // fastgan.BATCH) * fastgan.BATCH
        return {"images": images, "seconds": round(time.perf_counter() - started, 1), "ended": "done"}, draw, None
    path = run_path(job, place, images)
    if path.exists() and not RunDir(path).checkpoints():
        shutil.rmtree(path)
    if path.exists():
        outcome = limner.resume(path, display=Quiet())
    else:
        recipe, data = recipe_of(job, place, images), Path(place.data) / SETS[job.set]
        outcome = limner.train(data, recipe, runs=path.parent, name=path.name, display=Quiet())
    if outcome.ended == "interrupted":
        raise SystemExit(130)  # its state is saved
    generator = limner.load(path, place.device)

    def draw_seeds(count: int) -> np.ndarray:
        labels = asked_labels(generator.classes, collection_of(job, place), count)
        return generator.draw(generator.latents(np.arange(count)), labels)

    known = {"images": outcome.images, "seconds": round(outcome.seconds, 1), "ended": outcome.ended}
    return known | ({"reason": outcome.reason} if outcome.reason else {}), draw_seeds, generator


def judged(job: Job, place: Place, draw: Callable[[int], np.ndarray], generator: Any) -> dict[str, Any]:
    """The figures of samples: the same judge for every system."""
    collection = collection_of(job, place)
    real = reference(collection, open_extractor("limner", place.device), seed=job.seed, most=TRAIN)
    count = sample_count(SAMPLES, len(collection.train))
    classes = () if generator is None else generator.classes
    labels = asked_labels(classes, collection, count)
    judge = Judge(real, REAL, best_classifier(real, device=place.device) if labels is not None else None)
    asked = None if labels is None else [classes[label] for label in labels]
    found = judge.everything(draw(count), list(range(count)), asked)
    copying = {key: found["copying"][key] for key in ("verdict", "copied_share") if key in found["copying"]}
    yardstick = {key: value for key, value in found["yardstick"].items() if key in YARDSTICKS}
    data = {key: found["data"][key] for key in ("train", "held_out", "width", "height", "channels")}
    return {"data": data, "samples": count, "figures": found["figures"], "copying": copying, "yardstick": yardstick}


def sheet(job: Job, draw: Callable[[int], np.ndarray], generator: Any, columns: int, rows: int, side: int) -> Any:
    """Samples of the first seeds, none chosen; pictures over ``side`` are made smaller, and fewer."""
    if generator is not None and generator.classes:
        width, height = generator.size
        columns, rows = class_grid(len(generator.classes), columns * rows, width, height) or (columns, rows)
        pixels = generator.draw_seeds(np.arange(columns * rows))
    else:
        pixels = draw(columns * rows)
    if max(pixels.shape[1:3]) > side:
        columns, rows = max(1, columns // 2), max(1, rows // 2)
        scale = 2 * side / max(pixels.shape[1:3])
        small = [imaging.to_image(picture) for picture in pixels[: columns * rows]]
        small = [each.resize((round(each.width * scale), round(each.height * scale)), 1) for each in small]
        pixels = np.stack([np.asarray(each).reshape(each.height, each.width, -1) for each in small])
    return imaging.flat(imaging.enlarged(imaging.grid(pixels, columns=columns), 640))


def perform(job: Job, place: Place, task: Mapping[str, Any]) -> None:
    """Train, judge, and write the sheet and the row: what a process of its own does."""
    known, draw, generator = train(job, place, task["images"])
    began = time.perf_counter()
    row = {**asdict(job), "budget_seconds": job.seconds, "digest": outcome(job, place), "pace": task["pace"], **known}
    if job.recipe and job.recipe not in recipe_names():
        row["stand_in"] = STAND_IN
    row |= judged(job, place, draw, generator)
    network = generator.network if generator is not None else None
    row["generator_parameters"] = sum(p.numel() for p in network.parameters()) if network is not None else None
    if known["ended"] != "done":
        print(f"{job.name}: {known}", flush=True)
    png = small_png(sheet(job, draw, generator, *task["grid"], task["side"]), task["bytes"])
    path = Path(task["sheet"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png)
    row |= {"sheet": path.name, "judging_seconds": round(time.perf_counter() - began, 1)}
    row |= {"precision": place.precision, "machine": environment(choose_device(place.device), place.precision)}
    Rows(Path(task["rows"])).add(row)


def main() -> None:
    what, given = sys.argv[1], json.loads(sys.argv[2])
    torch.set_num_threads(given["threads"])
    job, place = Job(**given["job"]), Place(**given["place"])
    if what == "train":
        perform(job, place, given["task"])
        return
    contestant = Pace(job, place)
    for line in sys.stdin:
        print(contestant.measure(float(line)), flush=True)


if __name__ == "__main__":
    main()
