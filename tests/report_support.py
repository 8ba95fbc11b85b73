"""Run directories made by hand, for the tests of the report: as a training leaves them, without one."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limner.judging.figures import KINDS
from limner.recipe import Recipe
from limner.rundir import RunDir

Values = dict[str, Any]
BATCH = 64
VOID = {"meta", "img", "input", "br", "hr", "link"}


class Page(HTMLParser):
    """A page's elements in order; balanced, or it raises."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> inside {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


def figure(value: float, spread: float, real: int = 900, generated: int = 1000) -> Values:
    """A figure's JSON with an interval of ``value`` plus and minus ``spread``."""
    return {"value": value, "low": value - spread, "high": value + spread, "real": real, "generated": generated}


def figures(**values: float) -> Values:
    """Figures of every kind: those of a fair generator, but for the given values."""
    fair = {
        "kernel_distance": 0.031,
        "frechet_distance": 4.2,
        "precision": 0.71,
        "recall": 0.55,
        "density": 0.83,
        "coverage": 0.78,
        "sliced_wasserstein": 0.061,
        "diversity": 0.91,
    }
    assert list(fair) == list(KINDS)
    return {name: figure(value, 0.04 * abs(value) + 0.001) for name, value in {**fair, **values}.items()}


def yardstick(**values: float) -> Values:
    """Figures of real images against real ones."""
    real = {
        "kernel_distance": 0.0004,
        "frechet_distance": 1.1,
        "precision": 0.93,
        "recall": 0.92,
        "density": 1.01,
        "coverage": 0.95,
        "sliced_wasserstein": 0.012,
        "diversity": 1.0,
    }
    return {
        name: figure(value, 0.05 * abs(value) + 0.001, real=900, generated=100)
        for name, value in {**real, **values}.items()
    }


def copying(verdict: str = "no sign of copying", copied: float = 0.0, pairs: int = 0, **more: Any) -> Values:
    """The copying test's JSON."""
    return {
        "verdict": verdict,
        "statistic": 1.31,
        "p_value": 0.094,
        "copied_share": {
            "value": copied,
            "low": max(0.0, copied - 0.01),
            "high": copied + 0.012,
            "real": 900,
            "generated": 1000,
        },
        "train": 900,
        "held_out": 100,
        "generated": 1000,
        "meehan": {"statistic": -0.42, "p_value": 0.66},
        "pairs": [
            {
                "seed": 17 + place,
                "name": f"{place:02d}_a.png",
                "distance": 0.21 + 0.03 * place,
                "pixel_distance": 0.03,
                "copied": copied > 0 and place < 2,
                "generated": f"pairs/{place:02d}-generated.png",
                "nearest": f"pairs/{place:02d}-nearest.png",
            }
            for place in range(pairs)
        ],
        **more,
    }


def outlook(gain: float, spread: float, worth_it: bool = True) -> Values:
    """What going on would bring."""
    return {
        "sentence": "Going on for another 50,000 images.",
        "gain": figure(gain, spread),
        "images": 50_000,
        "worth_it": worth_it,
    }


def grid(columns: int, side: int, channels: int, seed: int, gap: int = 2) -> Image.Image:
    """A sheet of noisy discs, about as hard to compress as what a generator draws."""
    random = np.random.default_rng(seed)
    whole = gap + columns * (side + gap)
    sheet = np.full((whole, whole, channels), 236, np.uint8)
    rows, across = np.mgrid[:side, :side]
    for place in range(columns * columns):
        y, x = random.uniform(0.3, 0.7, 2) * side
        disc = np.hypot(rows - y, across - x) < random.uniform(0.2, 0.4) * side
        colours = random.integers(0, 256, (2, channels))
        tile = np.where(disc[..., None], *colours) + random.normal(0, 14, (side, side, channels))
        top, left = gap + place // columns * (side + gap), gap + place % columns * (side + gap)
        sheet[top : top + side, left : left + side] = np.clip(tile, 0, 255)
    return Image.fromarray(sheet[..., 0] if channels == 1 else sheet)


def png(image: Image.Image) -> bytes:
    """A picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def log_line(step: int, **more: Any) -> Values:
    """A line of the log: losses that settle, with some noise."""
    wave = math.sin(1.7 * step) * 0.2
    return {
        "step": step,
        "images": step * BATCH,
        "epoch": round(step * BATCH / 900, 4),
        "seconds": step * 0.11,
        "images_per_second": 581.8,
        "discriminator_loss": 0.8 + 0.5 * math.exp(-step / 150) + wave,
        "generator_loss": 1.4 + 0.4 * math.log1p(step / 100) + 2 * wave,
        "real_logit": 1.1 + wave,
        "fake_logit": -1.4 - wave,
        "generator_gradient": 3 + 20 * math.exp(-step / 80) + abs(wave),
        "discriminator_gradient": 5 + 9 * math.exp(-step / 80) + abs(wave),
        **more,
    }


def metrics_line(step: int, **more: Any) -> Values:
    """A line of the metrics: the kernel distance falls, variety rises."""
    far = math.exp(-step / 250)
    found = figures(
        kernel_distance=0.029 + 0.9 * far,
        frechet_distance=4 + 60 * far,
        precision=0.72 - 0.6 * far,
        recall=0.56 - 0.5 * far,
        density=0.84 - 0.7 * far,
        coverage=0.79 - 0.7 * far,
        sliced_wasserstein=0.06 + 0.3 * far,
        diversity=0.92 - 0.6 * far,
    )
    return {
        "step": step,
        "images": step * BATCH,
        "seconds": step * 0.11,
        "extractor": "limner",
        "figures": found,
        "copying": {key: value for key, value in copying().items() if key in ("verdict", "copied_share")},
        "best": True,
        "took": 2.2,
        **more,
    }


EVENTS: tuple[Values, ...] = (
    {
        "event": "started",
        "time": "2026-03-01T09:00:00+0000",
        "images": 0,
        "command": ["/usr/local/bin/limner", "train", "my pictures", "--recipe", "quick", "--set", "generator.lr=1e-4"],
    },
    {
        "event": "discriminator-winning",
        "time": "2026-03-01T09:02:10+0000",
        "images": 19_200,
        "severity": "warning",
        "evidence": "over the last 6,400 images the discriminator's loss was 0.02 above the least possible one (median)",
        "advice": "raise generator.lr, lower discriminator.lr, or set objective.real_label to 0.9",
    },
    {"event": "interrupted", "time": "2026-03-01T09:05:10+0000", "images": 38_400, "reason": ""},
    {
        "event": "resumed",
        "time": "2026-03-01T10:00:00+0000",
        "images": 38_400,
        "content_hash": "5659f4e2",
        "environment": {"torch": "2.13.0"},
        "changes": {"training.epochs": 80},
    },
    {
        "event": "best",
        "time": "2026-03-01T10:04:10+0000",
        "images": 64_000,
        "severity": "note",
        "evidence": "the kernel distance is 0.031 (0.029 to 0.033)",
    },
)

DATA: Values = {
    "location": "my pictures",
    "kind": "folder",
    "title": "my pictures",
    "content_hash": "5659f4e23d902783467088a94242a360ced31cb120e50bff4234caa750a88ee6",
    "count": 1000,
    "classes": {letter: 30 + 3 * place for place, letter in enumerate("ABCDEFGHIJKLM")},
    "image": {"width": 32, "height": 32, "channels": 1, "fit": "crop", "background": "white"},
    "sizes": {"different": 14, "smallest": [40, 38], "largest": [640, 480]},
    "modes": {"L": 900, "RGB": 100},
    "skipped": [{"name": "notes.txt.png", "reason": "is no image"}],
    "skipped_count": 1,
    "ignored": 2,
    "held_out": {"count": 100, "how": "single pictures"},
    "warnings": [],
}
ENVIRONMENT: Values = {
    "limner": "0.1.0",
    "python": "3.11.7",
    "torch": "2.13.0",
    "device_name": "a processor",
    "threads": 2,
}
OVERRIDES: Values = {
    "image.width": 32,
    "image.height": 32,
    "image.channels": 1,
    "training.device": "cpu",
    "training.precision": "float32",
    "generator.lr": 1e-4,
    "training.seed": 3,
}


def bare_run(path: Path) -> RunDir:
    """A run directory with a recipe alone: a training that has just begun."""
    run = RunDir.create(path.parent, path.name, "run")
    run.write("recipe.toml", Recipe.load("quick", OVERRIDES).to_toml())
    return run


def append(run: RunDir, name: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Lines for a log."""
    for line in lines:
        run.append(name, line)


def write_evaluation(
    run: RunDir, images: int, *, pairs: int = 6, side: int = 32, channels: int = 1, **more: Any
) -> Path:
    """An evaluation's directory."""
    folder = run.path / "evaluation" / f"{images:09d}"
    (folder / "pairs").mkdir(parents=True)
    found: Values = {
        "format": 1,
        "source": str(run.path),
        "images": images,
        "extractor": {"name": "limner", "key": "limner-1-abc"},
        "data": {"title": "my pictures", "location": "my pictures", "train": 900, "held_out": 100},
        "figures": figures(),
        "yardstick": yardstick(),
        "classes": {
            letter: {
                "share": figure(0.08, 0.01),
                "real_share": 0.077,
                "coverage": figure(0.7, 0.09, 70, 80),
                "recall": figure(0.5, 0.1, 70, 80),
            }
            for letter in "ABC"
        },
        "copying": copying(pairs=pairs),
        "outlook": outlook(0.004, 0.002),
        **more,
    }
    (folder / "figures.json").write_text(json.dumps(found))
    (folder / "real.png").write_bytes(png(grid(8, side, channels, 1)))
    (folder / "generated.png").write_bytes(png(grid(8, side, channels, 2)))
    for place in range(pairs):
        for number, kind in enumerate(("generated", "nearest")):
            picture = grid(1, side, channels, 100 + place + number, gap=0)
            (folder / "pairs" / f"{place:02d}-{kind}.png").write_bytes(png(picture))
    return folder


def full_run(path: Path, *, steps: int = 1000, frames: int = 8, side: int = 32, channels: int = 1) -> RunDir:
    """A run directory as a finished training leaves it, with an evaluation of its end."""
    run = bare_run(path)
    run.write("data.json", DATA)
    run.write("environment.json", ENVIRONMENT)
    append(run, "log.jsonl", [log_line(step) for step in range(20, steps + 1, 20)])
    append(run, "metrics.jsonl", [metrics_line(step) for step in range(0, steps + 1, max(1, steps // 10))])
    append(run, "events.jsonl", EVENTS)
    for place in range(frames):
        images = round(BATCH * steps * (place + 1) / frames)
        run.save_samples(images, png(grid(8, side, channels, place)))
    write_evaluation(run, steps * BATCH, side=side, channels=channels)
    for name in (f"{steps * BATCH:09d}", "best"):
        folder = run.path / "checkpoints" / name
        folder.mkdir()
        state = {"format": 1, "step": steps, "images": steps * BATCH, "seconds": 110.0, "ended": "done"}
        (folder / "state.json").write_text(json.dumps(state))
        (folder / "training.safetensors").touch()
    return run
