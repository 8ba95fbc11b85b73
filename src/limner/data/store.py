"""The cache on disk: decoded pixels by content and preprocessing, and what is known of each source's files.

::

    <cache>/collections/<key>.pixels   raw uint8, mapped into memory when it is used
    <cache>/collections/<key>.json     shape, names, labels, what was skipped; written last: it means "whole"
    <cache>/sources/<location>.json    stamps and digests of a source's files, and what a sample of it showed
    <cache>/downloads/<name>/          data sets that were downloaded by name

A file gets its name only when it is complete and on disk (temporary name, fsync, rename). Two processes that prepare
the same collection write under names of their own; the last rename wins, and both wrote the same.

Only files named like that are ever listed or removed: the cache may have been put into a folder that holds other things.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
from jaxtyping import UInt8

from limner.errors import InputError

FORMAT = 2
"""Goes up when a collection's facts change, so that older ones are made anew."""
_BLOCK, _BLOCKS = 1 << 20, 16
_STALE_SECONDS = 3600.0
_KEY = "[0-9a-f]" * 32
_OWN = (
    f"collections/{_KEY}.json",
    f"collections/{_KEY}.pixels",
    f"sources/{_KEY}.json",
    f"features/{_KEY}.safetensors",
    "downloads/fashion-mnist/*.gz",
    "downloads/inception/*.pt",
)
"""Files of the cache, as glob has it. A collection's facts come first: without them its pixels do not count as whole."""
_BROKEN = (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What reading JSON raises that somebody else wrote, or that a disk changed."""


def expanded(path: str | Path, named: str) -> Path:
    """A path with ``~`` replaced. Raises InputError, with the setting that is meant, when nobody has such a home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{named} = {path}: cannot be opened ({error}); give a whole path") from None


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """``cache_dir``, else ``$LIMNER_CACHE``, else ``$XDG_CACHE_HOME/limner``, else ``~/.cache/limner``."""
    if cache_dir is not None:
        return expanded(cache_dir, "cache_dir")
    if os.environ.get("LIMNER_CACHE"):
        return expanded(os.environ["LIMNER_CACHE"], "LIMNER_CACHE")
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else expanded("~/.cache", "LIMNER_CACHE")) / "limner"


class StoreError(Exception):
    """The cache cannot be written; the message says why. Nobody's run ends for it."""


@dataclass(frozen=True)
class Record:
    """A prepared collection: JSON-able facts, and its pixels one after the other."""

    meta: dict[str, Any]
    pixels: UInt8[np.ndarray, " bytes"]
    path: Path | None


class Sink(Protocol):
    """Where decoded pixels go, in order. A context: leaving it without :meth:`finish` leaves nothing behind."""

    def __enter__(self) -> Sink: ...
    def __exit__(self, *error: object) -> None: ...
    def append(self, pixels: UInt8[np.ndarray, "*shape"]) -> None:
        """Write pixels. Raises StoreError when that fails."""

    def finish(self, meta: dict[str, Any]) -> Record:
        """All is written: make it a record. Raises StoreError when that fails."""


class MemorySink:
    """For when there is no cache that can be written."""

    def __init__(self) -> None:
        self._pieces: list[UInt8[np.ndarray, " bytes"]] = []

    def __enter__(self) -> MemorySink:
        return self

    def __exit__(self, *error: object) -> None:
        self._pieces.clear()

    def append(self, pixels: UInt8[np.ndarray, "*shape"]) -> None:
        """Keep pixels."""
        self._pieces.append(np.array(pixels, dtype=np.uint8).reshape(-1))

    def finish(self, meta: dict[str, Any]) -> Record:
        """See :class:`Sink`."""
        empty = np.zeros(0, dtype=np.uint8)
        return Record(meta, np.concatenate(self._pieces) if self._pieces else empty, None)


class DiskSink:
    """Writes ``<key>.pixels`` and ``<key>.json``."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self._part = folder / f"{key}.pixels.{uuid4().hex}.part"

    def __enter__(self) -> DiskSink:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("wb")
        except OSError as error:
            raise StoreError(str(error)) from None
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)

    def append(self, pixels: UInt8[np.ndarray, "*shape"]) -> None:
        """See :class:`Sink`."""
        try:
            self._file.write(np.ascontiguousarray(pixels).data)
        except OSError as error:
            raise StoreError(str(error)) from None

    def finish(self, meta: dict[str, Any]) -> Record:
        """See :class:`Sink`."""
        path = self._folder / f"{self._key}.pixels"
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            meta = meta | {"format": FORMAT, "key": self._key, "bytes": self._part.stat().st_size}
            meta["fingerprint"] = _fingerprint(self._part)
            os.replace(self._part, path)
            write_json(self._folder / f"{self._key}.json", meta)
            return Record(meta, np.memmap(path, dtype=np.uint8, mode="r"), path)
        except (OSError, ValueError) as error:
            raise StoreError(str(error)) from None


def write_json(path: Path, values: Any) -> None:
    """A JSON file, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(json.dumps(values, separators=(",", ":")))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _fingerprint(path: Path) -> int:
    """CRC-32 of 16 blocks of a megabyte, spread evenly: all of a small file, and in no time of a large one."""
    size = path.stat().st_size
    starts = range(0, size, _BLOCK)
    if len(starts) > _BLOCKS:
        starts = np.linspace(0, size - _BLOCK, _BLOCKS).astype(int).tolist()
    value = 0
    with path.open("rb") as file:
        for start in starts:
            file.seek(start)
            value = zlib.crc32(file.read(_BLOCK), value)
    return value


class Store:
    """A cache directory."""

    def __init__(self, cache_dir: str | Path | None = None) -> None:
        self.root = cache_root(cache_dir)
        self.collections = self.root / "collections"

    def sink(self, key: str) -> DiskSink:
        """Where to write the collection ``key``."""
        return DiskSink(self.collections, key)

    def load(self, key: str) -> Record | None:
        """The collection ``key``, or ``None`` when it is not there, not whole or damaged."""
        path = self.collections / f"{key}.pixels"
        facts = self.collections / f"{key}.json"
        try:
            meta = json.loads(facts.read_text(encoding="utf-8"))
            if (meta["format"], meta["key"]) != (FORMAT, key) or path.stat().st_size != meta["bytes"]:
                return None
            if _fingerprint(path) != meta["fingerprint"]:
                return None
            record = Record(meta, np.memmap(path, dtype=np.uint8, mode="r"), path)
        except _BROKEN:
            return None
        with contextlib.suppress(OSError):  # its time says when it was last used; a read-only cache works without
            os.utime(facts)
        return record

    def known(self, location: str) -> dict[str, Any]:
        """What was remembered of a source; empty when nothing was."""
        try:
            values = json.loads(self._source(location).read_text(encoding="utf-8"))
            return values if values["format"] == FORMAT and values["location"] == location else {}
        except _BROKEN:
            return {}

    def remember(self, location: str, values: dict[str, Any]) -> None:
        """Keep what is known of a source, where the cache can be written."""
        with contextlib.suppress(OSError):
            write_json(self._source(location), {"format": FORMAT, "location": location, **values})

    def _source(self, location: str) -> Path:
        name = hashlib.sha256(location.encode(errors="surrogateescape")).hexdigest()[:32]
        return self.root / "sources" / f"{name}.json"


@dataclass(frozen=True)
class CacheEntry:
    """A prepared collection on disk, for ``limner cache``.

    Attributes:
        key: its name in the cache.
        location: what it was made from, the first time.
        count: pictures.
        width, height, channels, fit: what they became.
        bytes: on disk.
        last_used: seconds since 1970.
    """

    key: str
    location: str
    count: int
    width: int
    height: int
    channels: int
    fit: str
    bytes: int
    last_used: float


def entries(cache_dir: str | Path | None = None) -> list[CacheEntry]:
    """What the cache holds, the last used first. Damaged entries are listed too, so that they can be cleared."""
    found = []
    for pixels in cache_root(cache_dir).glob(f"collections/{_KEY}.pixels"):
        facts = pixels.with_suffix(".json")
        with contextlib.suppress(OSError):  # another process may clear at this moment
            size = pixels.stat().st_size + (facts.stat().st_size if facts.exists() else 0)
            used = (facts if facts.exists() else pixels).stat().st_mtime
            found.append(CacheEntry(key=pixels.stem, bytes=size, last_used=used, **_facts(facts)))
    return sorted(found, key=lambda entry: (-entry.last_used, entry.key))


def _facts(path: Path) -> dict[str, Any]:
    """What a collection's JSON says of it."""
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        image = meta["image"]
        return {
            "location": str(meta["location"]),
            "fit": str(image["fit"]),
            "count": int(meta["count"]),
            **{name: int(image[name]) for name in ("width", "height", "channels")},
        }
    except _BROKEN:
        return {"location": "(damaged)", "fit": "", "count": 0, "width": 0, "height": 0, "channels": 0}


def clear(cache_dir: str | Path | None = None, *, keys: Iterable[str] | None = None) -> int:
    """Remove all that is cached, what was downloaded included; or the collections that are named by key alone.

    Returns:
        bytes that were freed.
    """
    root = cache_root(cache_dir)
    if keys is not None:
        return sum(_remove(root / f"collections/{key}.{ending}") for key in keys for ending in ("json", "pixels"))
    return sum(_remove(path) for pattern in _OWN for path in root.glob(pattern)) + sum(map(_remove, _parts(root)))


def _parts(root: Path) -> Iterator[Path]:
    """Files that are being written, or that were when somebody was killed."""
    for pattern in _OWN:
        yield from root.glob(f"{pattern}.{_KEY}.part")


def bound(max_bytes: int, cache_dir: str | Path | None = None) -> int:
    """Remove the collections and features that were not used for longest, until the rest takes at most ``max_bytes``.

    Leavings of killed processes, over an hour old, go too. Downloads stay.

    Returns:
        bytes that were freed.

    Raises:
        InputError: ``max_bytes`` is negative.
    """
    if max_bytes < 0:
        raise InputError(f"cache bound {max_bytes}: must be 0 bytes or more")
    freed = remove_leavings(cache_dir)
    root = cache_root(cache_dir)
    kept = [(entry.last_used, entry.bytes, entry.key) for entry in entries(cache_dir)]
    for path in root.glob(f"features/{_KEY}.safetensors"):
        with contextlib.suppress(OSError):
            kept.append((path.stat().st_mtime, path.stat().st_size, str(path)))
    total = sum(size for _, size, _ in kept)
    for _, size, name in sorted(kept):
        if total <= max_bytes:
            break
        total -= size
        freed += _remove(Path(name)) if name.endswith(".safetensors") else clear(cache_dir, keys=[name])
    return freed


def remove_leavings(cache_dir: str | Path | None = None) -> int:
    """Remove temporary files over an hour old: whoever wrote them was killed. Returns bytes that were freed."""
    freed = 0
    for path in _parts(cache_root(cache_dir)):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - _STALE_SECONDS:
                freed += _remove(path)
    return freed


def _remove(path: Path) -> int:
    """Bytes freed; a file that another process uses and the system protects stays."""
    try:
        size = path.stat().st_size
        path.unlink()
    except OSError:
        return 0
    return size
