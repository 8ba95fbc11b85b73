"""The real command, as a benchmark calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Called:
    """A command that has ended: seconds by the clock, and what it printed."""

    seconds: float
    output: str

    @property
    def answer(self) -> dict[str, Any]:
        """The JSON that it printed last."""
        return dict(json.loads(self.output[self.output.index("\n{") + 1 :] if "\n{" in self.output else self.output))


def limner(arguments: Sequence[str | Path], cache: Path) -> Called:
    """Call ``limner`` with a cache of its own.

    Raises:
        RuntimeError: it failed.
    """
    environment = {**os.environ, "LIMNER_CACHE": str(cache)}
    return python(["-m", "limner", *arguments], environment)


def python(arguments: Sequence[str | Path], environment: dict[str, str] | None = None) -> Called:
    """Call this Python.

    Raises:
        RuntimeError: it failed.
    """
    began = time.perf_counter()
    line = [sys.executable, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return Called(seconds, done.stdout)
