"""From a location to pictures that can be trained on: measured, decoded once in parallel, kept in the cache, split."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from limner.data import copies, grouping
from limner.data import decode as decoding
from limner.data.decode import PLAIN, Decoded, Target, convert_channels, decode, fitted
from limner.data.measure import ImageSettings, Sample, needs_sample, resolve, take_sample
from limner.data.parallel import default_workers, ordered
from limner.data.sampler import SMALL, split_groups
from limner.data.sources import Digests, Skipped, Source, Unreadable, natural, open_source
from limner.data.store import CacheEntry, MemorySink, Record, Sink, Store, StoreError, bound, clear, entries
from limner.errors import InputError

__all__ = ["CacheEntry", "Collection", "Ragged", "bound", "clear", "entries", "prepare"]

LISTED = 1000
"""How many skipped pictures are named in the summary; all are counted."""
_COMMON = 8
_BLOCK = 256

Progress = Callable[[int, int], None]


class Ragged:
    """Pictures of different sizes, one after the other in one array.

    Args:
        pixels: all of them, flat.
        sizes: height and width of each.
        channels: of all.
    """

    def __init__(self, pixels: UInt8[np.ndarray, " bytes"], sizes: Int[np.ndarray, "n 2"], channels: int) -> None:
        self._pixels = pixels.view(np.ndarray)
        self.sizes, self.channels = sizes, channels
        self._starts = np.concatenate([[0], np.cumsum(sizes[:, 0] * sizes[:, 1] * channels)])

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        height, width = self.sizes[index]
        return self._pixels[self._starts[index] : self._starts[index + 1]].reshape(height, width, self.channels)

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return int(self._starts[-1])


@dataclass(frozen=True, eq=False)
class Collection:
    """A prepared collection.

    Attributes:
        images: ``[n, height, width, channels]`` uint8, mapped from the cache; with ``fit = "crops"`` a :class:`Ragged`.
        names: one a picture.
        labels: class numbers ``[n]``, or ``None``.
        classes: names of the classes; empty without labels.
        width, height, channels, fit: what the pictures became (with ``crops``: what is cut from them).
        train, held_out: indices into ``images``, ascending.
        content_hash: what the source held.
        summary: all that is worth writing down about it, JSON-able.
        title: a good name for a run on it.
    """

    images: UInt8[np.ndarray, "n h w c"] | Ragged
    names: list[str]
    labels: Int[np.ndarray, " n"] | None
    classes: tuple[str, ...]
    width: int
    height: int
    channels: int
    fit: str
    train: Int[np.ndarray, " train"]
    held_out: Int[np.ndarray, " held_out"]
    content_hash: str
    summary: dict[str, Any]
    title: str


def prepare(
    location: str | Path,
    image: ImageSettings,
    *,
    seed: int = 0,
    cache_dir: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    pixel_limit: int = decoding.PIXEL_LIMIT,
) -> Collection:
    """Pictures that can be trained on, from the cache when it has them.

    Args:
        location: see :func:`limner.data.sources.open_source`.
        image: the recipe's ``image`` section; what it leaves open is measured.
        seed: the run's seed (the held-out split follows from it).
        cache_dir: instead of ``$LIMNER_CACHE`` or the platform's.
        workers: threads or processes that decode; as many as there are processors by default.
        progress: called with pictures done and pictures in all, while decoding.
        pixel_limit: a picture with more pixels is skipped.

    Raises:
        InputError: nothing there, fewer than two pictures that can be read, or a size outside 8 to 1024.
    """
    began = time.perf_counter()
    workers = workers or default_workers()
    source = open_source(location)
    store = Store(cache_dir)
    known = store.known(source.location)
    remembered = _digests(known)
    content_hash, digests = source.content_hash(remembered)
    sample = _sample(known, content_hash)
    if sample is None and needs_sample(image):
        with decoding.quiet():
            sample = take_sample(source, workers, pixel_limit)
    target = resolve(image, sample, pixel_limit)
    if (sized := source.sized(target.width, target.height)) is not source:
        source = sized
        drawn_hash, _ = source.content_hash()
    else:
        drawn_hash = content_hash
    if digests != remembered or (sample is not None and sample != _sample(known, content_hash)):
        store.remember(source.location, _to_remember(content_hash, digests, sample))
    key = _key(drawn_hash, target)
    record = store.load(key)
    hit = record is not None
    warnings = list(source.notes)
    if record is None:
        with decoding.quiet():
            record = _built(source, drawn_hash, target, store, key, workers, progress, warnings)
    return _collection(record, source, target, image.held_out, seed, hit, warnings, began)


def _digests(known: dict[str, Any]) -> Digests:
    try:
        return {name: (tuple(stamp), str(digest)) for name, (stamp, digest) in known.get("files", {}).items()}
    except (TypeError, ValueError, AttributeError):
        return {}


def _sample(known: dict[str, Any], content_hash: str) -> Sample | None:
    """What a sample of the same contents showed earlier."""
    if known.get("content_hash") != content_hash or not known.get("sample"):
        return None
    try:
        return Sample.from_values(known["sample"])
    except (TypeError, ValueError, KeyError):
        return None


def _to_remember(content_hash: str, digests: Digests, sample: Sample | None) -> dict[str, Any]:
    return {
        "content_hash": content_hash,
        "sample": sample.values() if sample is not None else None,
        "files": {name: [stamp, digest] for name, (stamp, digest) in digests.items()},
    }


def _key(content_hash: str, target: Target) -> str:
    values = json.dumps([decoding.VERSION, content_hash, asdict(target)], sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()[:32]


def _built(
    source: Source,
    content_hash: str,
    target: Target,
    store: Store,
    key: str,
    workers: int,
    progress: Progress | None,
    warnings: list[str],
) -> Record:
    """Decode everything into the cache; into memory when the cache cannot be written."""
    try:
        with store.sink(key) as sink:
            return _build(source, content_hash, target, sink, workers, progress)
    except StoreError as error:
        warnings.append(f"the cache {store.root} cannot be written ({error}); the pictures are kept in memory")
        with MemorySink() as sink:
            return _build(source, content_hash, target, sink, workers, progress)


def _build(
    source: Source, content_hash: str, target: Target, sink: Sink, workers: int, progress: Progress | None
) -> Record:
    names: list[str] = []
    labels: list[str | None] = []
    shapes: list[tuple[int, int]] = []
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    thumbs: list[UInt8[np.ndarray, "n 32 32 c"]] = []
    skipped = list(source.skipped)
    total = len(source.entries)
    place = 0
    pictures = _pictures(source, target, workers)
    try:
        for pixels, size, mode in pictures:
            if isinstance(pixels, Skipped):
                skipped.append(pixels)
                place += 1
            else:
                sink.append(pixels)
                thumbs.append(copies.thumbnails(pixels))
                for entry in source.entries[place : place + len(pixels)]:
                    names.append(entry.name)
                    labels.append(entry.label)
                shapes.extend([pixels.shape[1:3]] * len(pixels) if target.fit == "crops" else ())
                sizes[size] += len(pixels)
                modes[mode] += len(pixels)
                place += len(pixels)
            if progress is not None:
                progress(place, total)
    finally:
        pictures.close()
    if len(names) < 2:
        why = f"; {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise InputError(
            f"data {source.location}: {len(names)} of {total} pictures can be read{why}; at least two are needed"
        )
    classes, numbers = _classes(source, labels)
    found, near = None, 0
    if len(names) >= SMALL:
        alike = copies.groups_of(np.concatenate(thumbs))
        near = len(names) - len(np.unique(alike))
        found = grouping.with_copies(grouping.groups(names, labels) if source.grouped else None, alike)
    return sink.finish(
        {
            "location": source.location,
            "content_hash": content_hash,
            "image": asdict(target),
            "count": len(names),
            "names": names,
            "classes": classes,
            "labels": numbers,
            "shapes": shapes,
            "groups": None if found is None else found[0].tolist(),
            "grouped": "single pictures" if found is None else found[1],
            "near_copies": near,
            "sizes": _sizes(sizes),
            "modes": dict(modes.most_common()),
            "skipped": [asdict(item) for item in skipped[:LISTED]],
            "skipped_count": len(skipped),
        }
    )


def _pictures(
    source: Source, target: Target, workers: int
) -> Generator[tuple[UInt8[np.ndarray, "n h w c"] | Skipped, tuple[int, int], str]]:
    """All pictures in order, one or many at a time: pixels, their size before, their mode before."""

    def one(index: int) -> Decoded | Skipped:
        try:
            with decoding.reasons():
                return decode(source.read(index), target)
        except Unreadable as error:
            return Skipped(source.entries[index].name, str(error))

    total = len(source.entries)
    step = _BLOCK if source.in_blocks else total
    for start in range(0, total, step):
        stop = min(start + step, total)
        block = source.block(start, stop)
        if block is not None:
            size = block.shape[2], block.shape[1]
            if fitted(size, target) == ((0.0, 0.0, *size), size):  # nothing to resample: all of them at once
                yield convert_channels(block, target.channels, target.background), size, PLAIN[block.shape[3]]
                continue
        for item in source.stream(target, workers) or ordered(one, range(start, stop), workers):
            if isinstance(item, Skipped):
                yield item, (0, 0), ""
            else:
                yield item.pixels[None], item.size, item.mode


def _classes(source: Source, labels: list[str | None]) -> tuple[list[str], list[int] | None]:
    """Names of the classes and each picture's number; none unless every picture has one and there are at least two."""
    found = {label for label in labels if label is not None}
    if len(found) < 2 or None in labels:
        return [], None
    classes = list(source.classes) if source.classes is not None else sorted(found, key=natural)
    numbers = {name: number for number, name in enumerate(classes)}
    return classes, [numbers[label] for label in labels if label is not None]


def _sizes(sizes: Counter[tuple[int, int]]) -> dict[str, Any]:
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return {
        "different": len(sizes),
        "smallest": list(by_area[0]),
        "largest": list(by_area[-1]),
        "common": [[width, height, count] for (width, height), count in sizes.most_common(_COMMON)],
    }


def _collection(
    record: Record,
    source: Source,
    target: Target,
    fraction: float,
    seed: int,
    hit: bool,
    warnings: list[str],
    began: float,
) -> Collection:
    meta = record.meta
    names: list[str] = meta["names"]
    if target.fit == "crops":
        shapes = np.array(meta["shapes"], dtype=np.int64)
        images: UInt8[np.ndarray, "n h w c"] | Ragged = Ragged(record.pixels, shapes, target.channels)
    else:
        images = record.pixels.reshape(len(names), target.height, target.width, target.channels)
    labels = None if meta["labels"] is None else np.array(meta["labels"], dtype=np.int64)
    numbers = None if meta["groups"] is None else np.array(meta["groups"], dtype=np.int64)
    train, held_out, how = split_groups(len(names), numbers, meta["grouped"], fraction, seed, names)
    counts = [] if labels is None else np.bincount(labels, minlength=len(meta["classes"])).tolist()
    summary = {
        "location": source.location,
        "kind": source.kind,
        "title": source.title,
        "content_hash": meta["content_hash"],
        "count": len(names),
        "classes": dict(zip(meta["classes"], counts, strict=True)),
        "image": meta["image"],
        "sizes": meta["sizes"],
        "modes": meta["modes"],
        "skipped": meta["skipped"],
        "skipped_count": meta["skipped_count"],
        "ignored": source.ignored,
        "held_out": {"count": len(held_out), "how": how},
        "near_copies": meta["near_copies"],
        "cache": {"path": str(record.path) if record.path else None, "bytes": int(record.pixels.nbytes), "hit": hit},
        "warnings": warnings,
        "seconds": round(time.perf_counter() - began, 3),
    }
    return Collection(
        images=images,
        names=names,
        labels=labels,
        classes=tuple(meta["classes"]),
        width=target.width,
        height=target.height,
        channels=target.channels,
        fit=target.fit,
        train=train,
        held_out=held_out,
        content_hash=meta["content_hash"],
        summary=summary,
        title=source.title,
    )
