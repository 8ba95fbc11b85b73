"""Pictures in HDF5 files, read by a process of its own.

The library behind h5py hangs or ends its whole process on some damaged files, and a file may say that its numbers are
in other files. So ``hdf5_child.py`` opens it, as a program that knows nothing of Limner, with little memory; it is ended
when it does not answer in time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from limner.data.arrays import LABEL_KEYS, ArraySource, Stack, choose, label_texts, resolved
from limner.data.sources import Unreadable
from limner.errors import InputError
from limner.recipe.text import printable

PATIENCE = 60.0
"""Seconds in which the other process has to answer: open the file, or read some megabytes."""
LIVES = 3
"""How often it may be lost before the rest of the file is given up."""
_CHILD = Path(__file__).with_name("hdf5_child.py")
_PORTION = 1 << 24


class _Lost(Exception):
    """The other process has ended, or did not answer."""


class _Refused(Exception):
    """The other process says why not."""


class Reader:
    """An HDF5 file in another process. Safe to use from several threads.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lives = path, LIVES
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Any = None

    def ask(self, **question: Any) -> tuple[dict[str, Any], bytes]:
        """A question, and what is answered: facts, and bytes.

        Raises:
            _Refused: it cannot be answered.
            _Lost: the library hung or broke down on it.
        """
        with self._lock:
            if self._process is None:
                if not self._lives:
                    raise _Lost("the HDF5 library has broken down on this file too often")
                self._start()
            assert self._process is not None
            timer = threading.Timer(PATIENCE, self._process.kill)
            timer.start()
            try:
                return self._exchange(self._process, question)
            except (OSError, ValueError, KeyError, TypeError) as error:
                self._lives -= 1
                late = not timer.is_alive()
                self.close()
                how = f"does not answer within {PATIENCE:g} s" if late else "breaks down"
                raise _Lost(f"the HDF5 library {how} on it") from error
            finally:
                timer.cancel()

    def _start(self) -> None:
        # -I: neither the user's environment nor the present folder decides what is imported.
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_CHILD), str(self._path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which then ends it
        )
        self._end = weakref.finalize(self, _end, self._process)

    def _exchange(self, process: subprocess.Popen[bytes], question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
        facts: dict[str, Any] = json.loads(process.stdout.readline(_PORTION))
        if "refused" in facts:
            raise _Refused(facts["refused"])
        count = int(facts["bytes"])
        content = process.stdout.read(count)
        if len(content) < count:
            raise ValueError("ended too soon")
        return facts, content

    def close(self) -> None:
        """End the other process."""
        if self._process is not None:
            self._end()
            self._process = None


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        process.kill()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    process.wait()


class _Remote:
    """A data set of the file, which slices like an array."""

    def __init__(self, reader: Reader, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._reader, self._name, self.shape, self.dtype = reader, name, shape, dtype

    def __getitem__(self, part: slice) -> Shaped[np.ndarray, "*shape"]:
        """Raises Unreadable."""
        start, stop, _ = part.indices(self.shape[0])
        values = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        each = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
        step = max(1, _PORTION // each)
        try:
            for first in range(start, stop, step):
                last = min(first + step, stop)
                _, content = self._reader.ask(read=self._name, start=first, stop=last)
                found = np.frombuffer(content, self.dtype)
                values[first - start : last - start] = found.reshape(last - first, *self.shape[1:])
        except (_Refused, _Lost, ValueError) as error:
            raise Unreadable(f"its part of the file is damaged ({printable(str(error), 200)})") from None
        return values


def open_hdf5(location: str | Path) -> ArraySource:
    """An HDF5 file: ``images`` (or the only data set with three or four axes, in any group) and ``labels``.

    Raises:
        InputError: h5py is missing, the file is damaged, keeps its numbers in other files, or holds no pictures.
    """
    path = resolved(location)
    if importlib.util.find_spec("h5py") is None:
        raise InputError(f"data {path}: HDF5 needs h5py; pip install 'limner[hdf5]'")
    reader = Reader(path)
    try:
        facts, _ = reader.ask()
        found = {str(name): tuple(map(int, shape)) for name, shape in facts["sets"]}
    except (_Refused, _Lost, KeyError, TypeError, ValueError) as error:
        raise InputError(f"data {path}: not an HDF5 file that can be read ({printable(str(error), 200)})") from None
    key = choose({name: len(shape) for name, shape in found.items()}, str(path))
    group = key.rpartition("/")[0]
    beside = [f"{group}/{name}".lstrip("/") for name in LABEL_KEYS]
    label = next((name for name in (*beside, *LABEL_KEYS) if name in found and name != key), None)
    asked = key
    try:
        facts, _ = reader.ask(look=key)
        dtype = np.dtype(facts["dtype"])
        stack = Stack(found[key], dtype, lambda: _Remote(reader, key, found[key], dtype))
        asked = label or key
        labels = None if label is None else _labels(reader, label, str(path))
    except (_Refused, _Lost, KeyError, TypeError, ValueError) as error:
        raise InputError(f"data {path}: {asked!r} cannot be read ({printable(str(error), 200)})") from None
    return ArraySource(path, "hdf5", stack, labels, {"": path})


def _labels(reader: Reader, name: str, location: str) -> list[str]:
    facts, content = reader.ask(labels=name)
    if facts.get("texts"):
        return [str(text) for text in json.loads(content)]
    values = np.frombuffer(content, np.dtype(facts["dtype"])).reshape([int(side) for side in facts["shape"]])
    return label_texts(values, location)
