"""The demonstration: from nothing to letters that no one drew."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from limner import films, imaging
from limner.generator import load
from limner.training import display as displays
from limner.training.train import train

COLLECTION = "procedural:initials:6000"
SIZE = 32
SHEET = 100


def run_demo(minutes: float, runs: Path) -> int:
    """Draw initials, train on them, and leave grids, a timelapse, a walk and a final sheet; returns the exit code.

    Args:
        minutes: of training.
        runs: where run directories lie; the run is called ``demo``.
    """
    display = displays.automatic()
    display.say(f"Drawing ornamented capitals, then training on them for {minutes:g} minutes.")
    settings = {
        "image.width": SIZE,
        "image.height": SIZE,
        "training.minutes": minutes,
        "snapshots.checkpoint_minutes": 1.0,
    }
    outcome = train(COLLECTION, "quick", overrides=settings, runs=runs, default_name="demo", display=display)
    print(outcome.describe())
    if outcome.ended != "done":
        return 130 if outcome.ended == "interrupted" else 1
    path = outcome.run.path
    generator = load(path)
    pictures = generator.draw(generator.latents(np.arange(SHEET)))
    sheet = imaging.enlarged(imaging.grid(pictures, columns=10), 1024)
    films.write(path / "sheet.png", imaging.png_bytes(sheet))
    films.save(path / "timelapse.gif", films.timelapse(outcome.run, 640))
    walk = films.latent_walk(generator, seed=0, keys=5, seconds=8, frames_per_second=20, tiles=16, side=384)
    films.save(path / "walk.gif", walk)
    print(f"\nLook at {path}/sheet.png, {path}/timelapse.gif and {path}/walk.gif")
    return 0
