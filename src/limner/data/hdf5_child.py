"""Reads an HDF5 file for another process (see ``hdf5.py``): questions on standard input, answers on standard output.

A program of its own, started by its path: it imports numpy and h5py and nothing of Limner, so that it starts quickly.
A question is a line of JSON. An answer is a line of JSON, with the number of ``bytes`` that follow it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

MEMORY = 768 << 20
"""Bytes that may be taken beside those of the libraries."""
MOST_SETS = 10_000
LABEL_BYTES = 64 << 20


def bound() -> None:
    """Take no more memory than :data:`MEMORY`, where the system can hold a process to that."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def listed(file: Any) -> list[tuple[str, list[int]]]:
    """Every data set, by name with its shape. Links to other files are not followed."""
    import h5py

    found: list[tuple[str, list[int]]] = []

    def visit(name: str | bytes, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            found.append((os.fsdecode(name), list(item.shape)))
        return True if len(found) > MOST_SETS else None

    if file.visititems(visit):
        raise ValueError(f"over {MOST_SETS:,} data sets")
    return found


def own(file: Any, name: str) -> Any:
    """A data set whose numbers are in this very file."""
    import h5py

    item = file[name]
    if not isinstance(item, h5py.Dataset):
        raise ValueError("it is no data set")
    if item.is_virtual or item.external:
        raise ValueError("its numbers are in other files, which are never opened")
    return item


def answer(file: Any, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Facts and bytes. Raises whatever the library raises."""
    import h5py
    import numpy as np

    if "look" in question:
        item = own(file, question["look"])
        return {"dtype": item.dtype.str if item.dtype.kind in "buif" else "O"}, b""
    if "read" in question:
        values = np.ascontiguousarray(own(file, question["read"])[question["start"] : question["stop"]])
        return {}, values.tobytes()
    if "labels" in question:
        item = own(file, question["labels"])
        if item.size * max(1, item.dtype.itemsize) > LABEL_BYTES:
            raise ValueError(f"{item.size:,} labels are more than are read")
        texts = h5py.check_string_dtype(item.dtype) is not None or item.dtype.kind in "SU"
        if item.dtype.kind not in "buif" and not texts:
            raise ValueError(f"labels of {item.dtype}; give numbers or texts")
        values = np.asarray(item[()])
        if not texts:
            return {"dtype": values.dtype.str, "shape": list(values.shape)}, values.tobytes()
        if values.size != len(values):
            raise ValueError("give one label a picture")
        flat = values.reshape(len(values)).tolist()
        words = [word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in flat]
        if sum(map(len, words)) > LABEL_BYTES:
            raise ValueError("its labels are longer than are read")
        return {"texts": True}, json.dumps(words).encode()
    return {"sets": listed(file)}, b""


def main(path: str) -> None:
    """Answer until there are no more questions."""
    out = os.fdopen(os.dup(1), "wb")
    import h5py

    bound()
    file: Any = None
    for line in sys.stdin.buffer:
        try:
            if file is None:
                file = h5py.File(path, "r")
            facts, content = answer(file, json.loads(line))
        except Exception as error:  # a damaged file makes the library raise nearly anything
            known = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            facts, content = {"refused": " ".join(known[:1000].split())[:200] or type(error).__name__}, b""
        out.write(json.dumps({**facts, "bytes": len(content)}).encode() + b"\n")
        out.write(content)
        out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
