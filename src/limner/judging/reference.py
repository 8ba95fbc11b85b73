"""Real images, ready to be compared with: their features are computed once and kept in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import numpy as np
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load, save

from limner import noise
from limner.data import Collection, Sampler
from limner.data import decode as decoding
from limner.data.copies import near_copy_groups
from limner.data.store import cache_root
from limner.judging.features import Extractor
from limner.judging.memorisation import thumbnails
from limner.noise import Stream

Pixels = UInt8[np.ndarray, "n h w c"]
Features = Float[np.ndarray, "n d"]
Advance = Callable[[int, int], None]

LEAST = 100
ROOM = 2**29
"""Bytes of pixels that are kept in memory, unless these are fewer than :data:`LEAST` images."""
PIECES = 2000
"""Pieces, where training cuts fresh ones: as many as a thorough evaluation draws, for no piece can be looked for."""
PORTION = 500
"""Images between two reports of progress."""
FOLDER = "features"
GOLDEN = (math.sqrt(5) - 1) / 2
"""The conjugate of the golden ratio."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Some real images of a collection and what the extractor makes of them.

    Attributes:
        pixels: the images.
        features: one row an image.
        places: their indices in the collection.
    """

    pixels: Pixels
    features: Features
    places: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def thumbnails(self) -> Float[np.ndarray, "n y x c"]:
        """Small copies, for distances between pixels."""
        return thumbnails(self.pixels)

    @cached_property
    def groups(self) -> Int[np.ndarray, " n"]:
        """Equal numbers for images that are near-copies of one another."""
        return near_copy_groups(self.pixels)

    def first(self, count: int) -> Sample:
        """The first so many of them: they come in a random order."""
        return self if count >= len(self) else Sample(self.pixels[:count], self.features[:count], self.places[:count])


@dataclass(frozen=True, eq=False)
class Reference:
    """What generated images are compared with.

    Attributes:
        collection: where the images come from.
        extractor: what made the features.
        train: images that were trained on, in a random order.
        held_out: images that were not.
    """

    collection: Collection
    extractor: Extractor
    train: Sample
    held_out: Sample

    @property
    def fresh_crops(self) -> bool:
        """Whether training saw random pieces rather than whole images, of which no piece is ever seen twice."""
        return self.collection.fit == "crops"

    def names(self, sample: Sample) -> list[str]:
        """The names of a sample's images."""
        return [self.collection.names[place] for place in sample.places]


def representative_labels(labels: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " count"]:
    """Classes for ``count`` samples, each as often as among ``labels``, and that for the first so many of them too.

    They are the sorted labels at places ``floor(frac(i phi) n)``, with the golden ratio's conjugate phi, whose multiples stay
    evenly spread however many there are (Kronecker's sequence; Niederreiter 1992, chapter 3).

    Args:
        labels: one or more class numbers.
        count: 0 or more.
    """
    shares = np.arange(count) * GOLDEN % 1.0
    return np.sort(np.asarray(labels, dtype=np.int64))[(shares * len(labels)).astype(np.int64)]


def asked_labels(classes: Sequence[str], collection: Collection, count: int) -> Int[np.ndarray, " count"] | None:
    """Which class each sample of an evaluation is asked to be, so that samples are compared with a collection fairly.

    Classes are as frequent as among the collection's training images (see :func:`representative_labels`). Where the collection
    knows none of them, all are as frequent as one another.

    Args:
        classes: names of the generator's classes, which its labels number.
        collection: real images; its classes go by name, whatever their numbers.
        count: how many samples.

    Returns:
        numbers of the generator's classes; ``None`` without classes.
    """
    if not classes:
        return None
    known = {name: number for number, name in enumerate(classes)}
    real = np.zeros(0, np.int64)
    if collection.labels is not None:
        own = np.array([known.get(name, -1) for name in collection.classes], dtype=np.int64)
        real = own[collection.labels[collection.train]]
        real = real[real >= 0]
    return representative_labels(real if len(real) else np.arange(len(classes)), count)


def reference(
    collection: Collection,
    extractor: Extractor,
    *,
    seed: int,
    most: int,
    advance: Advance | None = None,
    cache_dir: Path | None = None,
) -> Reference:
    """Real images of a collection with their features, from the cache where it has them.

    Args:
        collection: prepared images.
        extractor: what makes features.
        seed: which images are taken when there are too many follows from it.
        most: training images at most; of the held-out ones, half as many.
        advance: called with images done and images in all, while features are computed.
        cache_dir: instead of the usual cache.
    """
    size = collection.width * collection.height * collection.channels
    most = min(most, max(LEAST, ROOM // size))
    chosen = [_chosen(collection, collection.train, most, seed, 0)]
    chosen += [_chosen(collection, collection.held_out, -(-most // 2), seed, 1)]
    total = sum(len(places) for places in chosen)
    samples = []
    done = 0
    for index, places in enumerate(chosen):
        pixels = _pixels(collection, places, seed, index)
        key = _key(collection, extractor, places, seed)
        features = _kept(key, len(places), cache_dir)
        if features is None:
            parts = []
            for start in range(0, len(places), PORTION):
                parts.append(extractor(pixels[start : start + PORTION]))
                if advance is not None:
                    advance(done + min(start + PORTION, len(places)), total)
            features = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
            keep_file(key, save({"features": np.ascontiguousarray(features)}), cache_dir)
        done += len(places)
        if advance is not None:
            advance(done, total)
        samples.append(Sample(pixels, features, places))
    if not len(samples[1]):
        samples[1] = Sample(samples[1].pixels, samples[0].features[:0], samples[1].places)
    return Reference(collection, extractor, samples[0], samples[1])


def _chosen(
    collection: Collection, part: Int[np.ndarray, " n"], most: int, seed: int, index: int
) -> Int[np.ndarray, " n"]:
    """Up to so many of a part's images, in a random order, so that the first of them are a fair sample too. Of images
    that training cuts pieces from, as many pieces, several from one image where there are few."""
    if collection.fit == "crops" and len(part):
        return Sampler(collection, seed, part).indices(0, min(most, PIECES))
    order = noise.permutation(seed, Stream.EVALUATION, index, len(part))
    return np.asarray(part[order[:most]])


def _pixels(collection: Collection, places: Int[np.ndarray, " n"], seed: int, index: int) -> Pixels:
    if isinstance(collection.images, np.ndarray):
        return np.asarray(collection.images[places])
    if not len(places):
        return np.zeros((0, collection.height, collection.width, collection.channels), np.uint8)
    part = collection.held_out if index else collection.train
    return Sampler(collection, seed, part).batch(0, len(places))[0]


def _key(collection: Collection, extractor: Extractor, places: Int[np.ndarray, " n"], seed: int) -> str:
    """What the features depend on. Pieces depend on the seed too."""
    described = [
        decoding.VERSION,
        collection.content_hash,
        collection.summary["image"],
        extractor.key,
        hashlib.sha256(places.tobytes()).hexdigest(),
        seed if collection.fit == "crops" else None,
    ]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


def _kept(key: str, count: int, cache_dir: Path | None) -> Features | None:
    try:
        features = load(kept_file(key, cache_dir))["features"]
    except (SafetensorError, KeyError, ValueError):
        return None
    if features.ndim != 2 or len(features) != count or features.dtype != np.float32:
        return None
    return features


def kept_file(key: str, cache_dir: Path | None) -> bytes:
    """What was kept of that key; nothing where there is none. It counts as used."""
    path = cache_root(cache_dir) / FOLDER / f"{key}.safetensors"
    try:
        content = path.read_bytes()
    except OSError:
        return b""
    with contextlib.suppress(OSError):
        os.utime(path)
    return content


def keep_file(key: str, content: bytes, cache_dir: Path | None) -> None:
    """Write what was computed of real images to the cache; where it cannot be written it is computed again next time.

    Args:
        key: 32 hexadecimal digits of all that it depends on.
        content: safetensors.
        cache_dir: instead of the usual cache.
    """
    path = cache_root(cache_dir) / FOLDER / f"{key}.safetensors"
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)
