"""How good are these images? Every figure for one set of generated images, or for a run, or for a folder of any origin."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from limner import imaging, rundir
from limner.data.copies import near_copy_groups
from limner.errors import LimnerError
from limner.judging import distances
from limner.judging.agreement import Classifier, agreement, feature_classifier
from limner.judging.figures import AGREEMENT, Figure
from limner.judging.memorisation import TOO_FEW, copying, thumbnails
from limner.judging.outlook import outlook
from limner.judging.reference import Reference, Sample
from limner.rundir import RunDir

FORMAT = 1
REAL = 10_000
"""Real images that figures are computed from, at most; copies are looked for among all that the reference has."""
YARDSTICK = 8
"""Held-out images that are needed to say how near real images come to one another."""
ALIKE = 16
"""Near-copies of one training image that copies are looked for among."""
DIFFERENT, WITNESSES = 8, 64
"""Samples that differ, of so many, without which nothing is said of copies."""
SHEET = 36
PAIR_SIDE = 128

Pixels = UInt8[np.ndarray, "n h w c"]


@dataclass(frozen=True, eq=False)
class Judge:
    """Compares generated images with a reference.

    Attributes:
        reference: real images.
        real: how many of them figures are computed from, at most.
        classifier: says whether samples show the classes they were asked for; without it one of features does.
    """

    reference: Reference
    real: int = REAL
    classifier: Classifier | None = None

    @cached_property
    def sample(self) -> Sample:
        """The real images that figures are computed from; fewer of them when fewer images are judged."""
        return self.reference.train.first(self.real)

    def figures(self, pixels: Pixels) -> dict[str, Any]:
        """Every figure of generated images, by name, and whether they are copies: one line of a run's metrics."""
        features = self.reference.extractor(pixels)
        found = self._figures(features, pixels)
        return {
            "extractor": self.reference.extractor.name,
            "figures": {name: figure.values() for name, figure in found.items()},
            "copying": self._copying(features, pixels),
        }

    def everything(
        self, pixels: Pixels, names: Sequence[str | int], asked: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """All that can be said: figures, the yardstick, classes, copies with the closest pairs.

        Args:
            pixels: generated images.
            names: what each is called: its seed, or the name of its file.
            asked: the class that each was asked to be, by name, for generators that can be asked.
        """
        features = self.reference.extractor(pixels)
        found = self._figures(features, pixels)
        copies = self._copying(features, pixels)
        train = self.reference.names(self.reference.train)
        for pair in copies.get("pairs", []):
            pair["name"] = train[pair["nearest"]]
            pair["seed" if isinstance(names[pair["index"]], int) else "generated_name"] = names[pair["index"]]
            if asked is not None:
                pair["label"] = asked[pair["index"]]
        collection = self.reference.collection
        record = {
            "extractor": {"name": self.reference.extractor.name, "key": self.reference.extractor.key},
            "data": {
                "title": collection.title,
                "location": collection.summary["location"],
                "content_hash": collection.content_hash,
                "train": len(collection.train),
                "held_out": len(collection.held_out),
                "width": collection.width,
                "height": collection.height,
                "channels": collection.channels,
            },
            "figures": {name: figure.values() for name, figure in found.items()},
            "yardstick": {name: figure.values() for name, figure in self.yardstick(len(pixels)).items()},
            "classes": self._classes(features),
            "copying": copies,
        }
        if asked is not None:
            self._add_agreement(record, features, pixels, asked)
        return record

    def _add_agreement(self, record: dict[str, Any], features: Any, pixels: Pixels, asked: Sequence[str]) -> None:
        """How many samples show what they were asked for: of all, of each class, and of real images as the yardstick."""
        numbers = {name: number for number, name in enumerate(self.reference.collection.classes)}
        wanted = np.array([numbers.get(name, -1) for name in asked], dtype=np.int64)
        known = wanted >= 0
        classifier = self.classifier or feature_classifier(self.reference)
        if classifier is None or not known.any():
            return
        wanted, named = wanted[known], classifier.classify(pixels if known.all() else pixels[known], features[known])
        record["figures"][AGREEMENT] = agreement(named, wanted).values()
        record["yardstick"][AGREEMENT] = classifier.accuracy.values()
        record["classifier"] = classifier.values()
        for name, figures in record["classes"].items():
            own = wanted == numbers[name]
            figures[AGREEMENT] = agreement(named[own], wanted[own]).values()

    def yardstick(self, count: int) -> dict[str, Figure]:
        """The figures of held-out real images, at most ``count``, against the same reference: what a perfect generator would
        score. Empty when too few are held out."""
        held_out = self.reference.held_out.first(count)
        if len(held_out) < YARDSTICK:
            return {}
        found = self._figures(held_out.features, held_out.pixels)
        if self.reference.fresh_crops:
            # Pieces of one picture are no independent images: there are fewer witnesses than pieces, so no interval holds.
            found = {name: replace(figure, low=None, high=None) for name, figure in found.items()}
        return found

    def _figures(self, features: Any, pixels: Pixels) -> dict[str, Figure]:
        """Figures of equally many real and generated images: recall and coverage depend on how many there are of one for
        each of the other, and so mean the same for samples as for the yardstick. Kernel distance and diversity mean the same at
        any number: of few real images, all that was generated is worth hearing, up to what takes seconds."""
        count = min(len(self.sample), len(pixels))
        real = self.sample.first(count)
        found = distances.all_figures(real.features, features[:count], real.pixels, pixels[:count])
        if len(pixels) > count:
            found["kernel_distance"] = distances.kernel_distance(real.features, features[: max(count, REAL)])
            found["diversity"] = distances.diversity(real.features, features)
        return found

    def _copying(self, features: Any, pixels: Pixels) -> dict[str, Any]:
        reference, train = self.reference, self.reference.train
        if reference.fresh_crops:
            return {"verdict": "not tested", "reason": "training cuts a fresh piece each time, so none is seen twice"}
        # Of the first few alone: among many that are all alike, every pair is a candidate.
        kinds = len(np.unique(near_copy_groups(pixels[:WITNESSES]))) if len(pixels) else 0
        if len(pixels) and kinds < min(DIFFERENT, len(pixels)):
            # One picture over and over is one witness, not a thousand.
            return {"verdict": TOO_FEW, "reason": "the samples are nearly all alike"}
        few = thinned(train.groups, ALIKE)
        found = copying(
            features,
            train.features[few],
            reference.held_out.features,
            generated_pixels=thumbnails(pixels),
            train_pixels=train.thumbnails[few],
            held_out_pixels=reference.held_out.thumbnails,
            train_groups=train.groups[few],
        ).values()
        for pair in found["pairs"]:
            pair["nearest"] = int(few[pair["nearest"]])
        return found

    def _classes(self, features: Any) -> dict[str, Any]:
        collection = self.reference.collection
        if collection.labels is None:
            return {}
        # Equally many of both, as for the whole: else a class of a large collection would seem to be reached less.
        count = min(len(self.sample), len(features))
        real = self.sample.first(count)
        found = distances.class_figures(real.features, collection.labels[real.places], features[:count])
        return {
            collection.classes[number]: {kind: figure.values() for kind, figure in figures.items()}
            for number, figures in found.items()
        }


def thinned(groups: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " k"]:
    """Places of at most so many of each group, in order: of a film, a few frames stand for all that look like them."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    rank = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    return np.sort(order[rank < most])


def is_of(record: Mapping[str, Any], judge: Judge, count: int) -> bool:
    """Whether an evaluation that was kept says what one by this judge of so many samples would say, or more."""
    extractor, data, drawn = (record.get(name) for name in ("extractor", "data", "drawn"))
    return (
        isinstance(extractor, Mapping)
        and isinstance(data, Mapping)
        and isinstance(drawn, int)
        and extractor.get("key") == judge.reference.extractor.key
        and data.get("content_hash") == judge.reference.collection.content_hash
        and drawn >= count
    )


def save_evaluation(
    run: RunDir,
    images: int,
    judge: Judge,
    pixels: Pixels,
    seeds: Sequence[int],
    asked: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Evaluate what a run's generator drew, and keep figures, sheets and the closest pairs in the run directory.

    Args:
        run: where.
        images: real images that the generator had seen.
        judge: compares.
        pixels: what was drawn.
        seeds: of each.
        asked: the class of each, by name, where it was asked for one.

    Returns:
        the figures as they were written.
    """
    began = time.perf_counter()
    found = judge.everything(pixels, [int(seed) for seed in seeds], asked)
    train = judge.reference.train
    files: dict[str, bytes] = {
        "real.png": _sheet(train.pixels[:SHEET]),
        "generated.png": _sheet(pixels[:SHEET]),
    }
    for number, pair in enumerate(found["copying"].get("pairs", [])):
        drawn, nearest = pixels[pair.pop("index")], train.pixels[pair.pop("nearest")]
        pair["generated"], pair["nearest"] = f"pairs/{number:02d}-generated.png", f"pairs/{number:02d}-nearest.png"
        files[pair["generated"]], files[pair["nearest"]] = _picture(drawn), _picture(nearest)
    record = {
        "format": FORMAT,
        "source": str(run.path),
        "images": images,
        **found,
        "outlook": outlook(list(run.records(rundir.METRICS))).values(),
        "drawn": len(pixels),
        "seconds": round(time.perf_counter() - began, 2),
    }
    files[rundir.FIGURES] = (json.dumps(record, indent=2) + "\n").encode()
    try:
        run.save_evaluation(images, files)
    except LimnerError as error:  # what was measured is worth telling all the same
        record["unsaved"] = str(error)
    return record


def _sheet(pixels: Pixels) -> bytes:
    return imaging.png_bytes(imaging.enlarged(imaging.grid(pixels), 384))


def _picture(pixels: UInt8[np.ndarray, "h w c"]) -> bytes:
    image = imaging.to_image(pixels)
    if max(image.size) > PAIR_SIDE:
        image.thumbnail((PAIR_SIDE, PAIR_SIDE))
    return imaging.png_bytes(image)
