"""What is known of each picture of a collection, as arrays: a million texts and numbers as Python objects take a gigabyte."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import numpy as np
from jaxtyping import Int, Shaped, UInt8

_TEXT = {"encoding": "utf-8", "errors": "surrogatepass"}
"""Every text there and back, also names of files that are no text."""
_ALIGNED = 8
_TYPES = ("uint8", "int32", "int64")


class Names(Sequence[str]):
    """Texts, one after the other in one array of bytes.

    Args:
        letters: all of them in UTF-8.
        ends: where each one ends.
    """

    def __init__(self, letters: UInt8[np.ndarray, " bytes"], ends: Int[np.ndarray, " n"]) -> None:
        self.letters, self.ends = letters.view(np.ndarray), ends

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start = int(self.ends[place - 1]) if place else 0
        return str(self.letters[start : int(self.ends[place])].tobytes(), **_TEXT)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Names({len(self)})"


def pack(texts: Iterable[str]) -> Names:
    """Texts as :class:`Names`; they are asked for one at a time."""
    letters, ends = bytearray(), array("q")
    for text in texts:
        letters += text.encode(**_TEXT)
        ends.append(len(letters))
    return Names(np.frombuffer(letters, np.uint8), np.frombuffer(ends, np.int64))


def ranks(names: Names) -> Int[np.ndarray, " n"] | None:
    """Each text's place in the order of texts, of equal ones by their places; ``None`` where they are in that order."""
    before = ""
    for name in names:
        if name < before:
            break
        before = name
    else:
        return None
    order = np.argsort(np.array(names, dtype=object), kind="stable")
    found = np.empty(len(names), np.int32)
    found[order] = np.arange(len(names), dtype=np.int32)
    return found


def write_columns(columns: Mapping[str, Shaped[np.ndarray, "..."]]) -> tuple[dict[str, Any], list[bytes]]:
    """Arrays as one file: where each lies, for JSON, and the bytes in pieces."""
    described: dict[str, Any] = {}
    pieces: list[bytes] = []
    start = 0
    for name, values in columns.items():
        content = np.ascontiguousarray(values)
        described[name] = [content.dtype.name, list(content.shape), start]
        filled = -content.nbytes % _ALIGNED
        pieces += [content.tobytes(), bytes(filled)]
        start += content.nbytes + filled
    return described, pieces


def read_columns(described: Mapping[str, Any], content: UInt8[np.ndarray, " bytes"]) -> dict[str, Any]:
    """The arrays of :func:`write_columns`; they look into ``content``, and nothing is copied.

    Raises:
        ValueError, TypeError, KeyError: the description does not fit.
    """
    columns = {}
    for name, (kind, shape, start) in described.items():
        if kind not in _TYPES or start < 0 or any(side < 0 for side in shape):
            raise ValueError(f"{name}: {kind} {shape} at {start}")
        count = int(np.prod(shape, dtype=np.int64))
        flat = np.frombuffer(content, np.dtype(kind), count, start) if count else np.zeros(0, np.dtype(kind))
        columns[name] = flat.reshape(shape)
    return columns
