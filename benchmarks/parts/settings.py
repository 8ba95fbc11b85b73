"""What a run of the benchmarks is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        work: a folder for whatever a part needs; it is removed afterwards.
        data: where the real collections are; ``None`` for drawn ones.
        device: what is measured.
        precision: of Limner's trainings; ``auto`` as its users have it.
        rounds, seconds: turns of each contestant, and the least length of one.
        tiny: everything as small as it can be, to see that it works; the figures mean nothing.
    """

    work: Path
    data: Path | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "auto"
    rounds: int = 3
    seconds: float = 1.5
    tiny: bool = False
