"""Where the time goes: parts in parts, and the flag that asks for it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from conftest import Cli
from limner import timing


def test_a_part_inside_another_is_taken_from_it(monkeypatch: pytest.MonkeyPatch):
    """Outer from 1 to 8, inner from 2 to 5 in it, all ends at 10."""
    clock = iter([0.0, 1.0, 2.0, 5.0, 8.0, 10.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    with timing.measured() as spent:
        assert spent is not None
        with timing.timed("outer"), timing.timed("inner"):
            pass
        assert spent.seconds == {"outer": 4.0, "inner": 3.0}
        assert spent.values() == {"outer": 4.0, "inner": 3.0, "everything else": 3.0}


def test_the_device_is_waited_for_at_every_change():
    waits: list[int] = []
    with timing.measured(lambda: waits.append(1)):
        with timing.timed("outer"), timing.timed("inner"):
            pass
        with pytest.raises(ZeroDivisionError), timing.timed("broken"):
            raise ZeroDivisionError
    assert len(waits) == 6


def test_nothing_is_measured_unasked():
    with timing.measured(None) as spent, timing.timed("anything"):
        pass
    assert spent is None


def test_a_training_says_where_its_time_went(cli: Cli, pictures: Path, tmp_path: Path):
    settings = ["--recipe", "fewshot", "--size", "16", "--set", "generator.width=4", "--set", "discriminator.width=4"]
    done = cli("train", pictures, *settings, "--images", "64", "--timings", "--json")
    assert done.returncode == 0, done.stderr
    spent = json.loads(done.stdout)["timings"]
    parts = {"updates", "data", "augmentation", "log", "evaluations", "grids", "checkpoints", "display", "conclusion"}
    assert parts <= set(spent) and all(seconds >= 0 for seconds in spent.values())
    went_on = cli("resume", tmp_path / "runs" / "pictures", "--images", "96", "--timings")
    assert went_on.returncode == 0 and "where the time went:" in went_on.stdout and "updates" in went_on.stdout
