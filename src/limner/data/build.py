"""Decoding a whole collection, in portions: what is finished stays finished, and a million pictures take no more memory than
a thousand, but for their names."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from limner.data import copies, grouping
from limner.data import decode as decoding
from limner.data.columns import pack, ranks
from limner.data.decode import PLAIN, Decoded, Target, convert_channels, decode, fitted
from limner.data.parallel import ordered
from limner.data.sampler import SMALL
from limner.data.search import SIDE
from limner.data.sinks import Record, Sink
from limner.data.sources import Missed, Skipped, Source, Unread, Unreadable, natural
from limner.errors import InputError

LISTED = 1000
"""How many skipped pictures are named in the summary; all are counted."""
MANY = 20_000
"""From so many pictures on the search for copies takes long enough to be shown."""
_COMMON = 8
_BLOCK = 256
_AT_ONCE = 1 << 24
"""Pixels of one block at most."""
_TOGETHER = 1 << 20
"""Bytes of small pictures that are reduced and written at once, about."""

_LARGE = 1 << 18
"""Bytes of a picture that is reduced by the thread that decoded it: there is little to gain from several at once."""

Progress = Callable[[int, int], None]
Thumbs = UInt8[np.ndarray, "n 32 32 c"]


@dataclass
class _Tally:
    """What was seen of a portion, or of all of them: JSON-able.

    Attributes:
        stop: entries of the source that were looked at, from its beginning.
        skipped: place and reason of each that cannot be used.
        missed: places of those among them that could not be read just now.
        sizes, modes: how many had which, in the order in which each was met first.
        shapes: height and width of each picture, one after the other, where they differ.
    """

    stop: int = 0
    skipped: list[tuple[int, str]] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    shapes: list[int] = field(default_factory=list)

    def count(self, size: tuple[int, int], mode: str, count: int) -> None:
        """So many more pictures of one kind."""
        for where, what in ((self.sizes, f"{size[0]}x{size[1]}"), (self.modes, mode)):
            where[what] = where.get(what, 0) + count


class _Gathered:
    """Pictures of one shape on their way to the sink, many small ones at a time: one by one they would cost much more."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pieces: list[UInt8[np.ndarray, "n h w c"]] = []
        self.bytes = 0

    def add(self, pixels: UInt8[np.ndarray, "n h w c"], thumbs: Thumbs | None = None) -> None:
        """Some more; large ones come with their thumbnails. Raises StoreError."""
        if self._pieces and (thumbs is not None or self._pieces[0].shape[1:] != pixels.shape[1:]):
            self.flush()
        if thumbs is not None:
            self._sink.append(pixels, thumbs)
            return
        self._pieces.append(pixels)
        self.bytes += pixels.nbytes
        if self.bytes >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Hand on all that there is. Raises StoreError."""
        if self._pieces:
            pixels = self._pieces[0] if len(self._pieces) == 1 else np.concatenate(self._pieces)
            self._pieces, self.bytes = [], 0
            self._sink.append(pixels, copies.thumbnails(pixels))


class _Total:
    """All portions together."""

    def __init__(self, entries: int) -> None:
        self.place = self.skipped_count = 0
        self.gone: Bool[np.ndarray, " n"] = np.zeros(entries, dtype=bool)
        self.skipped: list[tuple[int, str]] = []
        self.missed: list[int] = []
        self.sizes: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.shapes = array("i")

    def add(self, facts: dict[str, Any]) -> None:
        """One more portion."""
        self.place = facts["stop"]
        self.gone[[place for place, _ in facts["skipped"]]] = True
        self.skipped_count += len(facts["skipped"])
        self.skipped += facts["skipped"][: LISTED - len(self.skipped)]
        self.missed += facts.get("missed", [])[: LISTED - len(self.missed)]
        self.sizes.update(facts["sizes"])
        self.modes.update(facts["modes"])
        self.shapes.extend(facts["shapes"])


def build(
    source: Source,
    content_hash: str,
    target: Target,
    sink: Sink,
    workers: int,
    progress: Progress | None,
    warnings: list[str],
) -> Record:
    """Decode everything that ``sink`` does not have yet.

    Args:
        source: the pictures.
        content_hash: what they are.
        target: what they are to become.
        sink: where they go, opened.
        workers: threads or processes.
        progress: called with pictures done and pictures in all.
        warnings: told where an earlier build is gone on with.

    Raises:
        InputError: fewer than two pictures can be read.
        StoreError: the sink cannot be written.
    """
    entries = len(source.entries)
    total = _Total(entries)
    for facts in sink.portions:
        total.add(facts)
    if total.place:
        warnings.append(f"went on where preparing had been broken off, at {total.place:,} of {entries:,} pictures")
        if progress is not None:
            progress(total.place, entries)
    if target.fit != "crops":
        sink.expect(entries * (target.width * target.height + SIDE**2) * target.channels)
    tally, gathered = _Tally(total.place), _Gathered(sink)
    pictures = _pictures(source, target, workers, total.place)
    try:
        for pixels, thumbs, size, mode in pictures:
            if isinstance(pixels, Skipped):
                tally.skipped.append((tally.stop, pixels.reason))
                tally.missed += [tally.stop] * isinstance(pixels, Missed)
                tally.stop += 1
            else:
                gathered.add(pixels, thumbs)
                tally.count(size, mode, len(pixels))
                if target.fit == "crops":
                    tally.shapes += [*pixels.shape[1:3]] * len(pixels)
                tally.stop += len(pixels)
            if sink.is_due(gathered.bytes):
                gathered.flush()
                total.add(asdict(tally))
                sink.mark(asdict(tally))
                tally = _Tally(total.place)
            if progress is not None:
                progress(tally.stop, entries)
    finally:
        pictures.close()
    gathered.flush()
    total.add(asdict(tally))
    if tally.stop > (sink.portions[-1]["stop"] if sink.portions else 0):
        sink.mark(asdict(tally))
    return _finish(source, content_hash, target, sink, total, progress)


def _finish(
    source: Source, content_hash: str, target: Target, sink: Sink, total: _Total, progress: Progress | None
) -> Record:
    """All pixels are there: what else is to be known of the collection."""
    entries = len(source.entries)
    count = entries - total.skipped_count
    skipped = [Skipped(source.entries[place].name, reason) for place, reason in total.skipped]
    skipped = [*source.skipped, *skipped]
    if count < 2:
        why = f"; {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise InputError(
            f"data {source.location}: {count} of {entries} pictures can be read{why}; at least two are needed"
        )
    texts: dict[str | None, int] = {}
    numbers = array("i")

    def name(place: int) -> str:
        entry = source.entries[place]
        numbers.append(texts.setdefault(entry.label, len(texts)))
        return entry.name

    names = pack(name(place) for place in range(entries) if not total.gone[place])
    columns: dict[str, np.ndarray] = {"letters": names.letters, "ends": names.ends}
    classes, labels = _classes(source, list(texts), np.frombuffer(numbers, np.int32))
    if labels is not None:
        columns["labels"] = labels
    order = ranks(names)
    if order is not None:
        columns["ranks"] = order
    if target.fit == "crops":
        columns["shapes"] = np.frombuffer(total.shapes, np.int32).reshape(-1, 2)
    found, near = None, 0
    if count >= SMALL:
        thumbs = sink.thumbs().reshape(count, SIDE, SIDE, target.channels)
        # Of few it takes a moment; of many it is a second piece of work, whose progress is told as well.
        alike = copies.groups_of(thumbs, progress if count >= MANY else None)
        near = count - int(alike.max()) - 1
        if source.grouped:
            known = list(texts)
            found = grouping.groups(names, [known[number] for number in numbers])
        found = grouping.with_copies(found, alike)
    if found is not None:
        columns["groups"] = found[0].astype(np.int32)
    return sink.finish(
        {
            "location": source.location,
            "content_hash": content_hash,
            "image": asdict(target),
            "count": count,
            "classes": classes,
            "grouped": "single pictures" if found is None else found[1],
            "near_copies": near,
            "sizes": _sizes(total.sizes),
            "modes": dict(total.modes.most_common()),
            "skipped": [asdict(item) for item in skipped[:LISTED]],
            "skipped_count": len(source.skipped) + total.skipped_count,
            "missed": total.missed,
        },
        columns,
    )


def read_one(source: Source, target: Target, index: int) -> Decoded:
    """One picture as it is trained on. Raises Unreadable, or Unread where it may be had another time."""
    with decoding.reasons():
        return decode(source.read(index), target)


def _pictures(
    source: Source, target: Target, workers: int, first: int
) -> Generator[tuple[UInt8[np.ndarray, "n h w c"] | Skipped, Thumbs | None, tuple[int, int], str]]:
    """All pictures from ``first`` on in order, one or many at a time: pixels, thumbnails of large ones, their size before,
    their mode before."""

    def one(index: int) -> tuple[Decoded | Skipped, Thumbs | None]:
        name = source.entries[index].name
        try:
            try:
                decoded = read_one(source, target, index)
            except Unread:  # disks and networks have bad moments
                decoded = read_one(source, target, index)
        except Unread as error:
            return Missed(name, str(error)), None
        except Unreadable as error:
            return Skipped(name, str(error)), None
        return decoded, copies.thumbnails(decoded.pixels[None]) if decoded.pixels.nbytes >= _LARGE else None

    total = len(source.entries)
    step = _block(target) if source.in_blocks else max(total, 1)
    for start in range(first, total, step):
        stop = min(start + step, total)
        block = source.block(start, stop)
        if block is not None:
            size = block.shape[2], block.shape[1]
            if fitted(size, target) == ((0.0, 0.0, *size), size):  # nothing to resample: all of them at once
                yield convert_channels(block, target.channels, target.background), None, size, PLAIN[block.shape[3]]
                continue
        stream = source.stream(target, workers, start)
        ready = (
            ((item, None) for item in stream) if stream else ordered(one, range(start, stop), workers, source.weight)
        )
        for item, thumbs in ready:
            if isinstance(item, Skipped):
                yield item, None, (0, 0), ""
            else:
                yield item.pixels[None], thumbs, item.size, item.mode


def _block(target: Target) -> int:
    """Pictures that are taken from an array at a time."""
    return max(1, min(_BLOCK, _AT_ONCE // (target.width * target.height * target.channels)))


def _classes(
    source: Source, texts: list[str | None], numbers: Int[np.ndarray, " n"]
) -> tuple[list[str], Int[np.ndarray, " n"] | None]:
    """Names of the classes and each picture's number; none unless every picture has one and there are at least two.

    Args:
        source: may know the classes' order.
        texts: the labels that there are, each once.
        numbers: each picture's, by its place there.
    """
    found = [text for text in texts if text is not None]
    if len(found) < 2 or len(found) < len(texts):
        return [], None
    classes = list(source.classes) if source.classes is not None else sorted(found, key=natural)
    places = {name: place for place, name in enumerate(classes)}
    return classes, np.array([places[text] for text in found], dtype=np.int32)[numbers]


def _sizes(sizes: Counter[str]) -> dict[str, Any]:
    known = {tuple(map(int, text.split("x"))): count for text, count in sizes.items()}
    by_area = sorted(known, key=lambda size: (size[0] * size[1], size))
    up_to = list(accumulate(known[size] for size in by_area))
    middle = next(size for size, reached in zip(by_area, up_to, strict=True) if 2 * reached >= up_to[-1])
    return {
        "different": len(known),
        "smallest": list(by_area[0]),
        "middle": list(middle),
        "largest": list(by_area[-1]),
        "bounds": [max(sides) for sides in zip(*known, strict=True)],
        "common": [[*size, count] for size, count in Counter(known).most_common(_COMMON)],
    }
