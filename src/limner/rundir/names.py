"""What things in a run directory are called."""

from __future__ import annotations

import re
from pathlib import Path

RECIPE = "recipe.toml"
DATA = "data.json"
ENVIRONMENT = "environment.json"
LOG = "log.jsonl"
METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
LOGS = (LOG, METRICS, EVENTS)
REPORT = "report.html"
LOCK = "lock"
SAMPLES = "samples"
CHECKPOINTS = "checkpoints"
EVALUATION = "evaluation"
FIGURES = "figures.json"
BEST = "best"
GENERATOR = "generator.safetensors"
TRAINING = "training.safetensors"
STATE = "state.json"
SUMS = "SHA256SUMS"

CLOCKS = ("time", "seconds", "images_per_second", "took")
"""Fields of logs and states that say what a clock said: all else of a resumed run is that of an unbroken one."""


def image_number(images: int) -> str:
    """The name of something made after so many images: nine digits, so that names sort."""
    return f"{images:09d}"


def numbered(directory: Path, suffix: str) -> list[tuple[int, Path]]:
    """What a directory has of names made by :func:`image_number`, with the number, in order."""
    found = []
    if directory.is_dir():
        for path in directory.iterdir():
            match = re.fullmatch(rf"(\d{{9,18}}){re.escape(suffix)}", path.name, re.ASCII)
            if match:
                found.append((int(match[1]), path))
    return sorted(found)
