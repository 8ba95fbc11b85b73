"""A cleaned list: a small JSON file that names which pictures of a collection are used. ``limner inspect --prune`` writes it.

::

    {"format": "limner list 1", "location": "/home/me/maps", "content_hash": "9f..", "names": ["a.png", ..],
     "left_out": [{"name": "b.png", "reason": "an exact copy of a.png"}, ..]}

Names are looked up among those of the collection; no path is ever opened by them. A relative location counts from the
list's own folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np
from jaxtyping import UInt8

from limner.data.decode import Decoded, Target
from limner.data.sources import (
    Digests,
    Entry,
    Part,
    Skipped,
    Source,
    Unreadable,
    open_regular,
    open_source,
    safe_title,
)
from limner.errors import InputError, LimnerError
from limner.recipe.text import printable, shown

FORMAT = "limner list 1"
SUFFIX = ".json"
_BYTES, _VALUES = 1 << 27, 6_000_000
"""What a list has at most. A value of three letters can take 70 bytes of memory."""
_REMOTE = ("procedural:", "hf:")


class ListedSource(Source):
    """The pictures of another source that a list names, in that source's order.

    Raises:
        InputError: not such a list, or the collection lacks pictures that it names; one line says what to do.
    """

    kind = "list"

    def __init__(self, location: str | Path, inner: Source | None = None) -> None:
        path = Path(location).expanduser().resolve()
        values = read_list(path)
        self.location = str(path)
        self.title = safe_title(path.stem)
        self._content = str(values["content_hash"])
        self._inner = inner if inner is not None else _opened(path, values["location"])
        waiting: defaultdict[str, deque[int]] = defaultdict(deque)
        entries = self._inner.entries
        wanted = Counter(values["names"])
        for place, entry in enumerate(entries):
            if entry.name in wanted:
                waiting[entry.name].append(place)
        missing = [name for name, count in wanted.items() if len(waiting[name]) < count]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(
                f"data {path}: {shown(missing[0], 200)}{more} named there, but not (or not so often) in"
                f" {self._inner.location}; "
                "make the list again with 'limner inspect --prune'"
            )
        self._places = sorted(place for name, count in wanted.items() for place in islice(waiting[name], count))
        self.entries: list[Entry] = [entries[place] for place in self._places]
        self.classes = self._inner.classes
        self.grouped = self._inner.grouped
        self.in_blocks = self._inner.in_blocks
        left = len(entries) - len(self._places)
        self.notes = [*self._inner.notes, *([f"{left:,} pictures left out by the list {path.name}"] if left else [])]

    @property
    def collection(self) -> Source:
        """The whole collection that the list chooses from."""
        return self._inner

    def read(self, index: int) -> bytes | UInt8[np.ndarray, "h w c"]:
        """See :meth:`Source.read`."""
        return self._inner.read(self._places[index])

    def open(self, index: int) -> IO[bytes] | UInt8[np.ndarray, "h w c"]:
        """See :meth:`Source.open`."""
        return self._inner.open(self._places[index])

    def block(self, start: int, stop: int) -> UInt8[np.ndarray, "n h w c"] | None:
        """See :meth:`Source.block`; ``None`` where the pictures lie far apart."""
        places = np.array(self._places[start:stop])
        if not len(places) or places[-1] - places[0] > 4 * len(places):
            return None
        block = self._inner.block(int(places[0]), int(places[-1]) + 1)
        return None if block is None else block[places - places[0]]

    def parts(self) -> Iterable[Part]:
        """The files of the whole collection."""
        return self._inner.parts()

    def content_hash(self, known: Digests | None = None) -> tuple[str, Digests]:
        """From the collection's contents and the names; a collection that has changed since is told in ``notes``."""
        inner, digests = self._inner.content_hash(known)
        if self._content and inner != self._content:
            note = f"{self._inner.location} has changed since the list {Path(self.location).name} was made"
            self.notes = [*(kept for kept in self.notes if kept != note), note]
        names = "\0".join(str(place) for place in self._places)
        return hashlib.sha256(f"list\0{inner}\0{names}".encode()).hexdigest(), digests

    def sized(self, width: int, height: int) -> Source:
        """See :meth:`Source.sized`."""
        inner = self._inner.sized(width, height)
        if inner is self._inner:
            return self
        sized = ListedSource(self.location, inner)
        sized._content = ""  # that of the size at which it was drawn first
        return sized

    def stream(self, target: Target, workers: int, first: int = 0) -> Iterator[Decoded | Skipped] | None:
        """See :meth:`Source.stream`."""
        begin = self._places[first] if first < len(self._places) else len(self._inner.entries)
        stream = self._inner.stream(target, workers, begin)
        return None if stream is None else _chosen(stream, begin, set(self._places))


def _chosen(stream: Iterator[Decoded | Skipped], begin: int, places: set[int]) -> Iterator[Decoded | Skipped]:
    for place, item in enumerate(stream, begin):
        if place in places:
            yield item


def _opened(path: Path, location: str) -> Source:
    if location != "fashion-mnist" and not location.startswith(_REMOTE):
        place = Path(os.path.expanduser(location))
        place = place if place.is_absolute() else path.parent / place
        if place.suffix.lower() == SUFFIX:
            raise InputError(f"data {path}: its location {location} is a list again; name the collection itself")
        return open_source(place)
    return open_source(location)


def read_list(path: Path) -> dict[str, Any]:
    """The values of a list file, checked: ``location``, ``content_hash``, ``names``, ``left_out``.

    Raises:
        InputError: it cannot be read, is no list of Limner's, or one of its values is wrong; the line names it.
    """
    try:
        if path.stat().st_size > _BYTES:
            raise InputError(f"data {path}: {path.stat().st_size:,} bytes are too many for a list")
        with open_regular(path) as file:
            content = file.read(_BYTES)
        if sum(map(content.count, (b",", b"[", b"{"))) > _VALUES:
            raise InputError(f"data {path}: over {_VALUES:,} values are too many for a list")
        values = json.loads(content)
    except OSError as error:
        raise InputError(f"data {path}: cannot be opened ({error.strerror or error})") from None
    except Unreadable as error:
        raise InputError(f"data {path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"data {path}: no JSON ({printable(str(error), 200)}); give a list that 'limner inspect --prune' wrote"
        ) from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else None
        raise InputError(
            f"data {path}: not a list of Limner's (its format is {shown(found)}, not {FORMAT!r}); "
            "'limner inspect DATA --prune' writes one"
        )
    location, names, content = values.get("location"), values.get("names"), values.get("content_hash", "")
    if not isinstance(location, str) or not location or "\0" in location:
        raise InputError(f"data {path}: location = {shown(location)}: must be the path or name of a collection")
    if not isinstance(names, list) or not names:
        raise InputError(f"data {path}: names: must be a list with at least one picture's name")
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise InputError(f"data {path}: names[{place}] = {shown(name)}: must be a text")
    if not isinstance(content, str):
        raise InputError(f"data {path}: content_hash = {shown(content)}: must be a text")
    return {"location": location, "content_hash": content, "names": names, "left_out": values.get("left_out", [])}


def check_writable(path: Path) -> None:
    """Whether a list may be written there.

    Raises:
        InputError: another name is needed, its folder is missing, or another kind of file is there.
    """
    if path.suffix.lower() != SUFFIX:
        raise InputError(f"list {path}: its name must end in {SUFFIX}, so that it can be read as data")
    if not path.absolute().parent.is_dir():
        raise InputError(f"list {path}: the folder {path.absolute().parent} does not exist; make it first")
    if path.exists() or path.is_symlink():
        try:
            read_list(path)
        except InputError:
            raise InputError(
                f"list {path}: something that is no list of Limner's is there, and is not overwritten; give another name"
            ) from None


def write_list(
    path: Path, location: str, content_hash: str, names: Sequence[str], left_out: Sequence[Mapping[str, str]]
) -> None:
    """Write a list, whole or not at all; one name a line, so that it can be edited.

    Raises:
        InputError: see :func:`check_writable`; or no name is left.
        LimnerError: the disk refuses.
    """
    check_writable(path)
    if not names:
        raise InputError(f"list {path}: no picture would be left; nothing is written")
    values = {
        "format": FORMAT,
        "location": location,
        "content_hash": content_hash,
        "names": list(names),
        "left_out": [dict(item) for item in left_out],
    }
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise LimnerError(f"list {path}: cannot be written ({error.strerror or error})") from None
