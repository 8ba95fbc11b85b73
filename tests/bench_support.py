"""What contestants of the tests' benchmarks do: as light as it can be, as their processes import it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))


def sleeper(seconds: float) -> Callable[[], int]:
    """A contestant that needs so long for three pictures."""

    def step() -> int:
        time.sleep(seconds)
        return 3

    return step


def broken() -> Callable[[], int]:
    """A contestant that never begins."""
    raise ValueError("cannot begin")
