"""What a dry run says about the disk is true: measured while a training writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import limner
from conftest import discs
from limner import durable, networks, rundir
from limner.recipe import Recipe
from limner.training.callbacks import is_due
from limner.training.display import Quiet
from limner.training.plan import Plan
from limner.training.room import grids, most_checkpoint_bytes, most_other_bytes


def size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


class Watching:
    """Stands where the system's calls are: looks at a directory's size before each that makes or removes a name."""

    def __init__(self, runs: Path) -> None:
        self.runs, self.most = runs, 0

    def __getattr__(self, name: str) -> Any:
        if name in ("rename", "unlink", "fsync"):
            self.most = max([self.most, *(size(place) for place in self.runs.glob(f"*/{rundir.CHECKPOINTS}"))])
        return getattr(os, name)


def test_no_more_room_is_taken_than_was_said_and_not_much_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    np.savez(tmp_path / "pictures.npz", images=np.stack([np.asarray(picture) for picture in discs(24, 32, 32, 1)]))
    watching = Watching(tmp_path / "runs")
    monkeypatch.setattr(durable, "system", watching)
    recipe = Recipe.load("quick").changed(
        {
            "training.images": 40,
            "training.batch_size": 4,
            "snapshots.keep": 2,
            "snapshots.every_images": 8,
            "snapshots.checkpoint_minutes": 1e-9,
            "evaluation.images": 8,
            "evaluation.every_images": 8,
        }
    )
    run = limner.train(tmp_path / "pictures.npz", recipe, runs=tmp_path / "runs", display=Quiet()).run
    recipe = run.recipe()
    pair = networks.build(recipe, width=32, height=32, channels=1)
    generator, discriminator = (sum(value.numel() for value in network.parameters()) for network in pair)
    stated = most_checkpoint_bytes(recipe, (generator, discriminator))
    assert 0.8 * stated < watching.most <= stated
    others = size(run.path) - size(run.path / rundir.CHECKPOINTS)
    stated = most_other_bytes(recipe, 40, 24)
    assert 0.01 * stated < others <= stated


@pytest.mark.parametrize("rhythm", [{}, {"snapshots.every_images": 96}, {"snapshots.every_epochs": 0.7}])
@pytest.mark.parametrize("images", [8, 1000, 100_000])
def test_grids_are_counted_as_they_are_drawn(rhythm: dict[str, object], images: int):
    settings = Recipe.load("quick").changed(rhythm).snapshots
    drawn = sum(is_due(settings, now - 8, now, 300) for now in range(8, images + 1, 8))
    assert drawn <= grids(settings, images, 300) <= drawn + 2


def test_a_plan_states_it():
    recipe = Recipe.load("quick").changed({"image.width": 16, "image.height": 16, "image.channels": 1})
    data = {
        "location": "pictures",
        "count": 24,
        "skipped": [],
        "skipped_count": 0,
        "held_out": {"count": 0, "how": "off"},
    }
    planned = Plan(recipe, data, (1, 1), 80, 9.0, 1.0, 10**9, 26_000_000, 107_000_000, 12_000_000, 24, {})
    (line,) = [line for line in planned.describe().splitlines() if line.startswith("disk ")]
    assert line == "disk      at most 107 MB of checkpoints (26 MB each), and 12 MB of grids, logs and the report"
    assert planned.values()["disk_bytes"] == 119_000_000
