"""The cache on disk: decoded pixels by content and preprocessing, and what is known of each source's files.

::

    <cache>/collections/<key>.pixels   raw uint8, mapped into memory when it is used
    <cache>/collections/<key>.rows     names, labels and groups, mapped as well (:mod:`limner.data.columns`)
    <cache>/collections/<key>.json     shape, classes, what was skipped; written last: it means "whole"
    <cache>/sources/<location>.json    stamps and digests of a source's files, and what a sample of it showed
    <cache>/downloads/<name>/          data sets that were downloaded by name

A file gets its name only when it is complete and on disk (temporary name, fsync, rename). What is not complete yet can be
taken up again (:mod:`limner.data.sinks`). Two processes that prepare the same collection write under names of their own; the
last rename wins, and both wrote the same.

Only files named like that are ever listed or removed: the cache may have been put into a folder that holds other things.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limner.data.sinks import FORMAT, PARTS, DiskSink, Record, fingerprint, opened, write_json
from limner.errors import InputError

_STALE_SECONDS = 3600.0
_UNFINISHED_SECONDS = 30 * 86400.0
"""What can be taken up again stays for longer."""
_KEY = "[0-9a-f]" * 32
_OWN = (
    f"collections/{_KEY}.json",
    f"collections/{_KEY}.pixels",
    f"collections/{_KEY}.rows",
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
            if [fingerprint(path), fingerprint(path.with_suffix(".rows"))] != meta["fingerprints"]:
                return None
            record = opened(meta, path)
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
            size = sum(path.stat().st_size for path in (pixels, facts, pixels.with_suffix(".rows")) if path.exists())
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
        return sum(
            _remove(root / f"collections/{key}.{ending}") for key in keys for ending in ("json", "pixels", "rows")
        )
    whole = sum(_remove(path) for pattern in _OWN for path in root.glob(pattern))
    return whole + sum(_remove(path) for path, _ in _parts(root))


def _parts(root: Path) -> Iterator[tuple[Path, float]]:
    """Files that are being written, or that were when somebody was killed, and the seconds that they stay."""
    for pattern in (*_OWN, *(f"collections/{_KEY}.{part}" for part in PARTS[1:])):
        for path in root.glob(f"{pattern}.{_KEY}.part"):
            yield path, _STALE_SECONDS
    for part in PARTS:
        for path in root.glob(f"collections/{_KEY}.{part}.part"):
            yield path, _UNFINISHED_SECONDS


def bound(max_bytes: int, cache_dir: str | Path | None = None) -> int:
    """Remove the collections, whole or not, and features that were not used for longest, until the rest takes ``max_bytes``.

    Leavings of killed processes go too (see :func:`remove_leavings`). Downloads stay.

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
    for path in root.glob(f"collections/{_KEY}.journal.part"):  # collections that somebody has not finished
        with contextlib.suppress(OSError):
            used = path.stat().st_mtime
            if used < time.time() - _STALE_SECONDS:
                kept.append((used, sum(part.stat().st_size for part in _unfinished(path)), str(path)))
    total = sum(size for _, size, _ in kept)
    for _, size, name in sorted(kept):
        if total <= max_bytes:
            break
        total -= size
        if name.endswith(".part"):
            freed += sum(map(_remove, _unfinished(Path(name))))
        else:
            freed += _remove(Path(name)) if name.endswith(".safetensors") else clear(cache_dir, keys=[name])
    return freed


def _unfinished(journal: Path) -> list[Path]:
    """The files that belong to a journal, with it, as far as they are there."""
    key = journal.name.partition(".")[0]
    return [path for part in PARTS if (path := journal.with_name(f"{key}.{part}.part")).exists()]


def remove_leavings(cache_dir: str | Path | None = None) -> int:
    """Remove temporary files over an hour old: whoever wrote them was killed. Returns bytes that were freed.

    Collections that are not finished are taken up again by the next training on them, and stay for 30 days.
    """
    freed = 0
    for path, seconds in _parts(cache_root(cache_dir)):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - seconds:
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
