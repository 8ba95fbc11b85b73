"""From a location to pictures that can be trained on: measured, decoded once in parallel, kept in the cache, split."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from limner.data import decode as decoding
from limner.data.build import Progress, build, read_one
from limner.data.columns import Names
from limner.data.decode import Target
from limner.data.measure import ImageSettings, Sample, needs_sample, resolve, spread, take_sample
from limner.data.parallel import default_workers
from limner.data.sampler import split_groups
from limner.data.sinks import MemorySink, Record, StoreError
from limner.data.sources import Digests, Source, Unreadable, open_source
from limner.data.store import CacheEntry, Store, bound, clear, entries
from limner.errors import InputError

__all__ = ["CacheEntry", "Collection", "Ragged", "bound", "clear", "entries", "prepare"]


_ASKED = 16
"""So many of the pictures that could not be read are tried again at most."""


class Ragged:
    """Pictures of different sizes, one after the other in one array.

    Args:
        pixels: all of them, flat.
        sizes: height and width of each.
        channels: of all.
    """

    def __init__(self, pixels: UInt8[np.ndarray, " bytes"], sizes: Int[np.ndarray, "n 2"], channels: int) -> None:
        self.pixels = pixels.view(np.ndarray)
        self.sizes, self.channels = sizes, channels
        self.starts = np.concatenate([[0], np.cumsum(sizes[:, 0] * sizes[:, 1] * channels)])

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        height, width = self.sizes[index]
        return self.pixels[self.starts[index] : self.starts[index + 1]].reshape(height, width, self.channels)

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return int(self.starts[-1])


@dataclass(frozen=True, eq=False)
class Collection:
    """A prepared collection.

    Attributes:
        images: ``[n, height, width, channels]`` uint8, mapped from the cache; with ``fit = "crops"`` a :class:`Ragged`.
        names: one a picture; read from the cache when they are asked for.
        labels: class numbers ``[n]``, or ``None``.
        classes: names of the classes; empty without labels.
        width, height, channels, fit: what the pictures became (with ``crops``: what is cut from them).
        train, held_out: indices into ``images``, ascending.
        content_hash: what the source held.
        summary: all that is worth writing down about it, JSON-able.
        title: a good name for a run on it.
    """

    images: UInt8[np.ndarray, "n h w c"] | Ragged
    names: Sequence[str]
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
    pixel_limit: int | None = None,
) -> Collection:
    """Pictures that can be trained on, from the cache when it has them.

    Args:
        location: see :func:`limner.data.sources.open_source`.
        image: the recipe's ``image`` section; what it leaves open is measured.
        seed: the run's seed (the held-out split follows from it).
        cache_dir: instead of ``$LIMNER_CACHE`` or the platform's.
        workers: threads or processes that decode; as many as there are processors by default.
        progress: called with pictures done and pictures in all, while decoding.
        pixel_limit: a picture with more pixels is skipped; ``image.pixel_limit`` by default.

    Raises:
        InputError: nothing there, fewer than two pictures that can be read, or a size outside 8 to 1024.
    """
    began = time.perf_counter()
    workers = workers or default_workers()
    if pixel_limit is None:
        pixel_limit = int(getattr(image, "pixel_limit", decoding.PIXEL_LIMIT))
    source = open_source(location)
    store = Store(cache_dir)
    known = store.known(source.location)
    remembered = _digests(known)
    content_hash, digests = source.content_hash(remembered)
    sample = _sample(known, content_hash)
    if sample is None and needs_sample(image):
        with decoding.quiet(pixel_limit):
            sample = take_sample(source, workers, pixel_limit)
    target = resolve(image, sample, pixel_limit)
    if (sized := source.sized(target.width, target.height)) is not source:
        source = sized
        drawn_hash, _ = source.content_hash()
    else:
        drawn_hash = content_hash
    # A sample in which a picture was missing that may be there the next time is not the last word on size and colour.
    kept = sample if sample is not None and sample.whole else None
    if digests != remembered or (kept is not None and kept != _sample(known, content_hash)):
        store.remember(source.location, _to_remember(content_hash, digests, kept))
    key = _key(drawn_hash, target)
    record = store.load(key)
    warnings = list(source.notes)
    hit = record is not None and not _can_be_mended(record, source, target, pixel_limit)
    if not hit:
        with decoding.quiet(pixel_limit):
            record = _built(source, drawn_hash, target, store, key, workers, progress, warnings, record)
    assert record is not None
    return _collection(record, source, target, image.held_out, seed, hit, warnings, began)


def _can_be_mended(record: Record, source: Source, target: Target, pixel_limit: int) -> bool:
    """Whether a picture that could not be read when a collection was prepared can be now: then all of it is prepared anew."""
    missed = record.meta.get("missed", [])
    for place in (missed[index] for index in spread(len(missed), _ASKED)):
        with suppress(Unreadable), decoding.quiet(pixel_limit):
            if place < len(source.entries):
                read_one(source, target, place)
                return True
    return False


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
    earlier: Record | None,
) -> Record:
    """Decode everything into the cache; when the cache cannot be written, take what an earlier time left there without what
    could not be read then, or decode into memory."""
    before = len(warnings)
    try:
        with store.sink(key) as sink:
            return build(source, content_hash, target, sink, workers, progress, warnings)
    except StoreError as error:
        del warnings[before:]
        why = f"the cache {store.root} cannot be written ({error})"
        warnings.append(f"{why}; the pictures are kept in memory")
        try:
            with MemorySink(why) as memory:
                return build(source, content_hash, target, memory, workers, progress, warnings)
        except InputError:
            if earlier is None:
                raise
            warnings[before:] = [
                f"{why}; some that could not be read when it was prepared can be now, and stay out of it"
            ]
            return earlier


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
    meta, columns = record.meta, record.columns
    names = Names(columns["letters"], columns["ends"])
    if target.fit == "crops":
        shapes = columns["shapes"].astype(np.int64)
        images: UInt8[np.ndarray, "n h w c"] | Ragged = Ragged(record.pixels, shapes, target.channels)
    else:
        images = record.pixels.reshape(len(names), target.height, target.width, target.channels)
    labels = columns["labels"].astype(np.int64) if "labels" in columns else None
    train, held_out, how = split_groups(
        len(names), columns.get("groups"), meta["grouped"], fraction, seed, columns.get("ranks")
    )
    counts = [] if labels is None else np.bincount(labels, minlength=len(meta["classes"])).tolist()
    summary = {
        "location": source.location,
        "kind": source.kind,
        "title": source.title,
        "content_hash": meta["content_hash"],
        "decoding": decoding.VERSION,
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
