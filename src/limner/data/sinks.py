"""Where decoded pictures go: into the cache, from which a build that was killed goes on, or into memory.

While a collection is being written its files are ``<key>.pixels.part``, ``<key>.thumbs.part`` and ``<key>.journal.part``
(:mod:`limner.data.journal`). Whoever finds them locked by another process writes under names of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
from jaxtyping import Shaped, UInt8

from limner.data import decode
from limner.data.columns import read_columns, write_columns
from limner.data.journal import Busy, Journal
from limner.durable import sync_directory
from limner.errors import InputError

FORMAT = 3
"""Goes up when a collection's facts change, so that older ones are made anew."""
IN_MEMORY = 1 << 32
"""Bytes of pixels that are kept in memory at most, where there is no cache that can be written."""
SLACK = 1 << 26
"""Bytes that stay free on the cache's disk."""
PARTS = ("pixels", "thumbs", "journal")
_BLOCK, _BLOCKS = 1 << 20, 16

Pixels = UInt8[np.ndarray, "n h w c"]
Columns = Mapping[str, Shaped[np.ndarray, "..."]]


class StoreError(Exception):
    """The cache cannot be written; the message says why. Nobody's run ends for it."""


@dataclass(frozen=True)
class Record:
    """A prepared collection: JSON-able facts, its pixels one after the other, and arrays with a row for each picture."""

    meta: dict[str, Any]
    pixels: UInt8[np.ndarray, " bytes"]
    path: Path | None
    columns: dict[str, Any] = field(default_factory=dict)


class Sink(Protocol):
    """Where decoded pictures go, in order. All are contexts: left without :meth:`finish` they leave nothing that counts."""

    portions: list[dict[str, Any]]
    """What is known of the portions that are there already, from an earlier build."""

    def expect(self, size: int) -> None:
        """So many bytes of pixels will come in all, about. Raises StoreError or InputError where there is no room."""

    def append(self, pixels: Pixels, thumbs: UInt8[np.ndarray, "n 32 32 c"]) -> None:
        """Write pictures and their thumbnails. Raises StoreError when that fails."""

    def is_due(self, more: int = 0) -> bool:
        """Whether :meth:`mark` should be called, once ``more`` bytes have been appended."""

    def mark(self, facts: dict[str, Any]) -> None:
        """What was appended since the last time is one more portion. Raises StoreError."""

    def thumbs(self) -> UInt8[np.ndarray, " bytes"]:
        """All thumbnails, one after the other. Raises StoreError."""

    def finish(self, meta: dict[str, Any], columns: Columns) -> Record:
        """All is written: make it a record. Raises StoreError when that fails."""


class MemorySink:
    """For when there is no cache that can be written.

    Args:
        why: there is none.
    """

    def __init__(self, why: str) -> None:
        self._why = why
        self._pieces: list[UInt8[np.ndarray, " bytes"]] = []
        self._thumbs: list[UInt8[np.ndarray, " bytes"]] = []
        self._size = 0
        self.portions: list[dict[str, Any]] = []

    def __enter__(self) -> MemorySink:
        return self

    def __exit__(self, *error: object) -> None:
        self._pieces.clear()

    def expect(self, size: int) -> None:
        """See :class:`Sink`."""
        if size > IN_MEMORY:
            raise InputError(
                f"{self._why}, and the pictures take {size / 1e9:.1f} GB, too much to keep in memory; make room, or set"
                " LIMNER_CACHE to a folder on another disk"
            )

    def append(self, pixels: Pixels, thumbs: UInt8[np.ndarray, "n 32 32 c"]) -> None:
        """See :class:`Sink`."""
        self._size += pixels.nbytes
        self.expect(self._size)
        self._pieces.append(np.array(pixels, dtype=np.uint8).reshape(-1))
        self._thumbs.append(thumbs.reshape(-1))

    def is_due(self, more: int = 0) -> bool:
        """See :class:`Sink`."""
        return False

    def mark(self, facts: dict[str, Any]) -> None:
        """See :class:`Sink`."""
        self.portions.append(facts)

    def thumbs(self) -> UInt8[np.ndarray, " bytes"]:
        """See :class:`Sink`."""
        return np.concatenate(self._thumbs) if self._thumbs else np.zeros(0, dtype=np.uint8)

    def finish(self, meta: dict[str, Any], columns: Columns) -> Record:
        """See :class:`Sink`."""
        self._thumbs.clear()
        pixels = np.empty(self._size, dtype=np.uint8)
        start = 0
        for number, piece in enumerate(self._pieces):
            pixels[start : start + len(piece)] = piece
            start += len(piece)
            self._pieces[number] = piece[:0]  # given back at once: never twice in memory
        return Record(meta, pixels, None, dict(columns))


class DiskSink:
    """Writes ``<key>.pixels``, ``<key>.rows`` and ``<key>.json``."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self._finished = False
        self.portions: list[dict[str, Any]] = []

    def __enter__(self) -> DiskSink:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                self._take("part", shared=True)
            except Busy:
                self._take(f"{uuid4().hex}.part", shared=False)
        except OSError as error:
            raise StoreError(str(error)) from None
        self.portions = [portion["facts"] for portion in self._journal.portions]
        return self

    def _take(self, ending: str, shared: bool) -> None:
        self._pixels, self._thumbs, self._notes = (self._folder / f"{self._key}.{part}.{ending}" for part in PARTS)
        identity = [FORMAT, decode.VERSION, self._key]
        self._journal = Journal(
            self._notes, (self._pixels, self._thumbs), identity, shared, self._mend if shared else None
        )
        self._shared = shared

    def _mend(self) -> None:
        """Killed between the last renames: its pixels have their name already, but nothing says that they are whole.

        Only who holds the lock knows that it was killed, and is not just about to be done.
        """
        whole = self._folder / f"{self._key}.pixels"
        if self._notes.stat().st_size and not self._pixels.exists() and whole.exists():
            whole.rename(self._pixels)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # Of what is broken off, the finished portions stay for the next time, but not where they are in the way.
        stays = self._shared and self._journal.portions and not isinstance(error, StoreError | InputError)
        if self._finished or not stays:
            for path in (self._pixels, self._thumbs, self._notes):  # before the lock is let go of
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        self._journal.close()

    def expect(self, size: int) -> None:
        """See :class:`Sink`."""
        have = sum(path.stat().st_size for path in (self._pixels, self._thumbs))
        with suppress(OSError):
            free = shutil.disk_usage(self._folder).free
            if size + SLACK > free + have:
                raise StoreError(f"{size / 1e9:.1f} GB of pixels, and {free / 1e9:.1f} GB are free on its disk")

    def append(self, pixels: Pixels, thumbs: UInt8[np.ndarray, "n 32 32 c"]) -> None:
        """See :class:`Sink`."""
        try:
            self._journal.append(np.ascontiguousarray(pixels).data, np.ascontiguousarray(thumbs).data)
        except OSError as error:
            raise StoreError(str(error)) from None

    def is_due(self, more: int = 0) -> bool:
        """See :class:`Sink`."""
        return self._journal.is_due(more)

    def mark(self, facts: dict[str, Any]) -> None:
        """See :class:`Sink`."""
        try:
            self._journal.finish(facts)
        except OSError as error:
            raise StoreError(str(error)) from None
        self.portions.append(facts)

    def thumbs(self) -> UInt8[np.ndarray, " bytes"]:
        """See :class:`Sink`. They are mapped."""
        try:
            self._journal.wait()
            if not self._thumbs.stat().st_size:
                return np.zeros(0, dtype=np.uint8)
            return np.memmap(self._thumbs, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise StoreError(str(error)) from None

    def finish(self, meta: dict[str, Any], columns: Columns) -> Record:
        """See :class:`Sink`."""
        path, rows, facts = (self._folder / f"{self._key}.{ending}" for ending in ("pixels", "rows", "json"))
        described, pieces = write_columns(columns)
        try:
            self._journal.wait()
            _write(rows, pieces)
            meta = meta | {"format": FORMAT, "key": self._key, "bytes": self._pixels.stat().st_size}
            meta |= {"columns": described, "fingerprints": [fingerprint(self._pixels), fingerprint(rows)]}
            os.replace(self._pixels, path)
            sync_directory(self._folder)
            write_json(facts, meta)
            self._finished = True
            return opened(meta, path)
        except (OSError, ValueError) as error:
            raise StoreError(str(error)) from None


def opened(meta: dict[str, Any], path: Path) -> Record:
    """A record whose files are there; pixels and rows are mapped. Raises OSError, ValueError, KeyError, TypeError."""
    rows = np.memmap(path.with_suffix(".rows"), dtype=np.uint8, mode="r")
    return Record(
        meta, np.memmap(path, dtype=np.uint8, mode="r"), path, read_columns(meta["columns"], rows.view(np.ndarray))
    )


def write_json(path: Path, values: Any) -> None:
    """A JSON file, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, (json.dumps(values, separators=(",", ":")).encode(),))
    sync_directory(path.parent)


def _write(path: Path, pieces: list[bytes] | tuple[bytes, ...]) -> None:
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def fingerprint(path: Path) -> int:
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
