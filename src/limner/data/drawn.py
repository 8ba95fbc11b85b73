"""The procedural collections as a source: ``procedural:initials``, ``procedural:maps``, with ``:COUNT`` after it.

They are drawn at the size that is wanted, as sources always from seed 0: the collection is the same for every run. Drawing is
plain Python, so threads do not help. Worker processes do: each draws every n-th picture and writes its pixels to a
pipe. They are started as ``python -m limner.data.drawn``, not by ``multiprocessing``: nothing is forked (torch may hold
threads), and a user's script is not imported again for want of a ``__main__`` guard.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8

from limner.data.decode import Decoded, Target, decode
from limner.data.sources import Digests, Entry, LazyEntries, Skipped, Source
from limner.errors import InputError, LimnerError

SEED = 0
DEFAULT_SIZE = (64, 64)
COUNT_LIMIT = 1_000_000
_PER_WORKER = 200
"""A process takes a fifth of a second to start: it has to have something to do."""
_CHANNELS = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


class DrawnSource(Source):
    """A collection that is drawn rather than read."""

    kind = "procedural"
    grouped = False

    def __init__(self, location: str | Path, size: tuple[int, int] = DEFAULT_SIZE, seed: int = SEED) -> None:
        from limner.data.procedural import COLLECTIONS

        self.location, self.size, self.seed = str(location), size, seed
        _, _, rest = self.location.partition(":")
        self._name, _, count = rest.partition(":")
        if self._name not in COLLECTIONS:
            known = ", ".join(sorted(COLLECTIONS))
            raise InputError(f"data {location}: no such procedural collection; there are {known}")
        self._collection: Any = COLLECTIONS[self._name]
        if count and not (count.isascii() and count.isdigit() and 2 <= int(count) <= COUNT_LIMIT):
            raise InputError(f"data {location}: {count!r} is no count; give 2 to {COUNT_LIMIT:,}")
        total = int(count) if count else int(self._collection.default_count)
        self.title = self._name
        digits = len(str(total - 1))
        # Made when asked for: a label may take as long as the plan of its picture.
        self.entries = LazyEntries(
            total, lambda place: Entry(f"{self._name}-{place:0{digits}}", self._collection.label(place, seed), ())
        )

    @property
    def mode(self) -> str:
        """Pillow's mode of the pictures."""
        return str(self._collection.mode)

    def read(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        """Draw one picture."""
        image = self._collection.draw(index, self.size, self.seed)
        pixels = np.asarray(image, dtype=np.uint8)
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def content_hash(self, known: Digests | None = None) -> tuple[str, Digests]:
        """From the name, the count, the size and the code that draws."""
        total = hashlib.sha256(f"procedural\0{self._name}\0{len(self.entries)}\0{self.size}\0{self.seed}".encode())
        code = [item for item in files("limner.data.procedural").iterdir() if item.name.endswith(".py")]
        for item in sorted(code, key=lambda item: item.name):
            total.update(item.read_bytes())
        return total.hexdigest(), {}

    def sized(self, width: int, height: int) -> DrawnSource:
        """The same collection drawn at another size."""
        return DrawnSource(self.location, (width, height), self.seed)

    def stream(self, target: Target, workers: int, first: int = 0) -> Iterator[Decoded | Skipped] | None:
        """Draw with several processes; ``None`` when it is not worth starting them."""
        workers = min(workers, (len(self.entries) - first) // _PER_WORKER)
        return self._drawn(target, workers, first) if workers > 1 and sys.executable else None

    def _drawn(self, target: Target, workers: int, first: int) -> Iterator[Decoded]:
        channels = _CHANNELS[self.mode]
        shape = (self.size[1], self.size[0], channels)
        command = [
            sys.executable,
            "-m",
            "limner.data.drawn",
            self.location,
            *map(str, (*self.size, self.seed, workers)),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for worker in range(workers):
                processes.append(
                    subprocess.Popen(
                        [*command, str(first + worker)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        env=environment,
                        start_new_session=True,  # Ctrl-C is for this process, which then ends them
                    )
                )
            for index in range(len(self.entries) - first):
                pixels = np.frombuffer(_exactly(processes[index % workers], int(np.prod(shape))), np.uint8)
                yield decode(pixels.reshape(shape), target)
        finally:
            for process in processes:
                process.kill()
                if process.stdout is not None:
                    process.stdout.close()
                process.wait()


def _exactly(process: subprocess.Popen[bytes], count: int) -> bytes:
    assert process.stdout is not None
    read = process.stdout.read(count)
    if len(read) < count:
        raise LimnerError(f"a process that draws pictures ended too soon (exit status {process.wait()})")
    return read


def _work(arguments: list[str], out: IO[bytes]) -> None:
    """Draw every ``workers``-th picture from ``first`` on and write its pixels."""
    location, width, height, seed, workers, first = arguments
    source = DrawnSource(location, (int(width), int(height)), int(seed))
    try:
        for index in range(int(first), len(source.entries), int(workers)):
            out.write(source.read(index).tobytes())
        out.flush()
    except (BrokenPipeError, KeyboardInterrupt):  # nobody wants them any more
        os._exit(1)


if __name__ == "__main__":
    _work(sys.argv[1:], sys.stdout.buffer)
