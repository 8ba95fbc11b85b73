"""Run directories of several configurations, made by hand, for the tests of comparisons: as trainings leave them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from limner.recipe import Recipe
from limner.rundir import RunDir
from report_support import DATA, ENVIRONMENT, OVERRIDES, copying, figures, grid, png, write_evaluation

IMAGES = 51_200
EVALUATIONS = 8


def fake_run(
    path: Path,
    seed: int,
    level: float,
    *,
    diverged: bool = False,
    content: str = "",
    train: int = 900,
    **overrides: Any,
) -> Path:
    """A finished run whose kernel distance falls to ``level``, give or take what its seed adds; or one that diverged."""
    run = RunDir.create(path.parent, path.name, "run")
    fields = {name.replace("__", "."): value for name, value in overrides.items()}
    values = {**OVERRIDES, "training.seed": seed, "training.images": IMAGES, "training.batch_size": 32, **fields}
    recipe = Recipe.load("quick", values)
    portion = recipe.training.batch_size * recipe.training.critic_steps
    data = {**DATA, "content_hash": content or DATA["content_hash"]}
    run.write("recipe.toml", recipe.to_toml())
    run.write("data.json", data)
    run.write("environment.json", ENVIRONMENT)
    wobble = 0.004 * (-1) ** seed
    for place in range(EVALUATIONS + 1):
        images = IMAGES * place // EVALUATIONS
        value = level + wobble + 0.9 * math.exp(-images / 9000)
        if diverged and place > EVALUATIONS // 2:
            break
        found = figures(kernel_distance=value, precision=max(0.02, 0.8 - value), recall=max(0.01, 0.6 - value))
        line = {"step": images // portion, "images": images, "seconds": images / 300, "extractor": "limner"}
        run.append(
            "metrics.jsonl", {**line, "figures": found, "copying": {"verdict": "no sign of copying", "train": train}}
        )
    run.append("events.jsonl", {"event": "started", "images": 0})
    end = IMAGES // 2 if diverged else IMAGES
    if diverged:
        run.append("events.jsonl", {"event": "stopped", "images": end, "reason": "the losses are no numbers any more"})
    else:
        own = figures(kernel_distance=level + wobble, precision=0.8 - level, recall=0.6 - level)
        judged = {"content_hash": data["content_hash"]}
        said = {**copying(pairs=0), "train": train}
        folder = write_evaluation(run, IMAGES, side=8, figures=own, data=judged, copying=said, pairs=0)
        (folder / "generated.png").write_bytes(png(grid(3, 16, 1, seed)))
    folder = run.path / "checkpoints" / f"{end:09d}"
    folder.mkdir()
    state = {"format": 1, "step": end // portion, "images": end, "ended": "stopped" if diverged else "done"}
    (folder / "state.json").write_text(json.dumps({**state, "seconds": 110.0}))
    (folder / "training.safetensors").touch()
    return run.path
