"""How good are these images? Every figure for one set of generated images, or for a run, or for a folder of any origin."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import UInt8

from limner import imaging, rundir
from limner.judging import distances
from limner.judging.figures import Figure
from limner.judging.memorisation import copying, thumbnails
from limner.judging.outlook import outlook
from limner.judging.reference import Reference, Sample
from limner.rundir import RunDir

FORMAT = 1
REAL = 10_000
"""Real images that figures are computed from, at most; copies are looked for among all that the reference has."""
YARDSTICK = 8
"""Held-out images that are needed to say how near real images come to one another."""
SHEET = 36
PAIR_SIDE = 128

Pixels = UInt8[np.ndarray, "n h w c"]


@dataclass(frozen=True, eq=False)
class Judge:
    """Compares generated images with a reference.

    Attributes:
        reference: real images.
        real: how many of them figures are computed from, at most.
    """

    reference: Reference
    real: int = REAL

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

    def everything(self, pixels: Pixels, names: Sequence[str | int]) -> dict[str, Any]:
        """All that can be said: figures, the yardstick, classes, copies with the closest pairs.

        Args:
            pixels: generated images.
            names: what each is called: its seed, or the name of its file.
        """
        features = self.reference.extractor(pixels)
        found = self._figures(features, pixels)
        copies = self._copying(features, pixels)
        train = self.reference.names(self.reference.train)
        for pair in copies.get("pairs", []):
            pair["name"] = train[pair["nearest"]]
            pair["seed" if isinstance(names[pair["index"]], int) else "generated_name"] = names[pair["index"]]
        collection = self.reference.collection
        return {
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
            "yardstick": {name: figure.values() for name, figure in self.yardstick.items()},
            "classes": self._classes(features),
            "copying": copies,
        }

    @cached_property
    def yardstick(self) -> dict[str, Figure]:
        """The figures of held-out real images against the same reference: what a perfect generator would score."""
        held_out = self.reference.held_out
        return self._figures(held_out.features, held_out.pixels) if len(held_out) >= YARDSTICK else {}

    def _figures(self, features: Any, pixels: Pixels) -> dict[str, Figure]:
        """Figures of equally many real and generated images: recall, coverage and the Frechet distance depend on counts,
        and so mean the same for samples as for the yardstick."""
        count = min(len(self.sample), len(pixels))
        real = self.sample.first(count)
        return distances.all_figures(real.features, features[:count], real.pixels, pixels[:count])

    def _copying(self, features: Any, pixels: Pixels) -> dict[str, Any]:
        reference = self.reference
        if reference.fresh_crops:
            return {"verdict": "not tested", "reason": "training cuts a fresh piece each time, so none is seen twice"}
        return copying(
            features,
            reference.train.features,
            reference.held_out.features,
            generated_pixels=thumbnails(pixels),
            train_pixels=reference.train.thumbnails,
            held_out_pixels=reference.held_out.thumbnails,
            train_groups=reference.train.groups,
        ).values()

    def _classes(self, features: Any) -> dict[str, Any]:
        collection = self.reference.collection
        if collection.labels is None:
            return {}
        labels = collection.labels[self.sample.places]
        found = distances.class_figures(self.sample.features, labels, features)
        return {
            collection.classes[number]: {kind: figure.values() for kind, figure in figures.items()}
            for number, figures in found.items()
        }


def save_evaluation(run: RunDir, images: int, judge: Judge, pixels: Pixels, seeds: Sequence[int]) -> dict[str, Any]:
    """Evaluate what a run's generator drew, and keep figures, sheets and the closest pairs in the run directory.

    Args:
        run: where.
        images: real images that the generator had seen.
        judge: compares.
        pixels: what was drawn.
        seeds: of each.

    Returns:
        the figures as they were written.
    """
    began = time.perf_counter()
    found = judge.everything(pixels, [int(seed) for seed in seeds])
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
        "seconds": round(time.perf_counter() - began, 2),
    }
    files[rundir.FIGURES] = (json.dumps(record, indent=2) + "\n").encode()
    run.save_evaluation(images, files)
    return record


def _sheet(pixels: Pixels) -> bytes:
    return imaging.png_bytes(imaging.enlarged(imaging.grid(pixels), 384))


def _picture(pixels: UInt8[np.ndarray, "h w c"]) -> bytes:
    image = imaging.to_image(pixels)
    if max(image.size) > PAIR_SIDE:
        image.thumbnail((PAIR_SIDE, PAIR_SIDE))
    return imaging.png_bytes(image)
