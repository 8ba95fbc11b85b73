"""The report of runs that are not whole: begun, broken off, damaged, or without something that others have."""

from __future__ import annotations

import json
import math
import re
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest

from limner.judging.report import build_report
from report_support import Page, append, bare_run, figure, full_run, outlook, write_evaluation, yardstick


def test_a_training_that_has_just_begun(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "run")
    page = Page(build_report(run))
    for words in (
        "Not evaluated",
        "data.json is missing",
        "environment.json is missing",
        "There is no log yet",
        "No sample grid has been drawn yet",
        f"Nothing has been evaluated yet: limner evaluate {run.path}",
        f"limner train DATA --recipe {run.path}/recipe.toml",
    ):
        assert words in page.text, words
    assert page.all("img") == [] and not [entry for entry in page.all("input")]


@pytest.mark.parametrize(
    "name",
    [
        "data.json",
        "environment.json",
        "log.jsonl",
        "metrics.jsonl",
        "events.jsonl",
        "recipe.toml",
        "evaluation/000006400/figures.json",
    ],
)
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00{", b"[1, 2]", b'{"images": "many"}\nnull\n{"images": 1e999}\n{"half', b"[" * 5000]
)
def test_any_file_may_be_damaged(tmp_path: Path, name: str, content: bytes) -> None:
    run = full_run(tmp_path / "run", frames=2, steps=100)
    (run.path / name).write_bytes(content)
    text = Page(build_report(run)).text
    lacks = text.split("What this report lacks")[1] if "What this report lacks" in text else ""
    whole = {
        "metrics.jsonl": not content,  # an empty log is no damage
        "events.jsonl": not content,
        "recipe.toml": not content,  # and an empty recipe lacks only its duration
    }
    assert Path(name).name.split(".")[0].replace("figures", "evaluation") in lacks or whole.get(name), text[:600]


ODD = (
    None,
    True,
    -1,
    1e300,
    5e-324,
    10**30,
    "",
    "x",
    [],
    {},
    [1],
    {"value": 1},
    math.nan,
    math.inf,
    "\ud800",
    {"a": {"b": 1}},
)


def test_values_may_be_anything(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1, steps=100)
    random = Random(0)
    names = ("data.json", "metrics.jsonl", "log.jsonl", "events.jsonl", "evaluation/000006400/figures.json")
    for _ in range(5):
        for name in names:
            path = run.path / name
            before = path.read_text()
            lines = [json.loads(line) for line in before.splitlines()] if name.endswith("l") else [json.loads(before)]
            for _ in range(3):
                _spoil(random.choice(lines), random)
            path.write_text("\n".join(json.dumps(line) for line in lines))
            assert Page(build_report(run).encode().decode()).all("main")
            path.write_text(before)


def _spoil(value: Any, random: Random) -> None:
    """Put something odd somewhere inside."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    if not keys:
        return
    key = random.choice(keys)
    if isinstance(value[key], dict | list) and value[key] and random.random() < 0.7:
        _spoil(value[key], random)
    else:
        value[key] = deepcopy(random.choice(ODD))


def test_damaged_lines_are_counted(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1, steps=100)
    with (run.path / "log.jsonl").open("a") as file:
        file.write('nonsense\n{"images": -3}\n{"images": 99, "torn')
    assert "3 of the 8 lines of log.jsonl are damaged and left out." in Page(build_report(run)).text


def test_damaged_pictures_are_left_out(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=3)
    run.samples()[1][1].write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (run.path / "evaluation/000064000/real.png").unlink()
    page = Page(build_report(run))
    assert f"samples/{run.samples()[1][1].name} is damaged and left out." in page.text
    assert "2 of 3 grids" in page.text
    assert not any("sheet of real images" in image["alt"] for image in page.all("img"))


def test_a_training_that_broke_off(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1)
    append(
        run,
        "events.jsonl",
        [{"event": "non-finite", "images": 70_000, "evidence": "the losses are not numbers any more"}],
    )
    assert "The training broke off: the losses are not numbers any more" in Page(build_report(run)).text
    append(run, "events.jsonl", [{"event": "rollback", "images": 70_000}])
    assert "broke off" not in Page(build_report(run)).text


def test_a_training_that_was_stopped(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1, steps=100)
    append(run, "events.jsonl", [{"event": "stopped", "images": 6_400, "reason": "samples are all alike"}])
    text = Page(build_report(run)).text
    assert "The training broke off: samples are all alike." in text
    assert "ended stopped" in text  # although the newest checkpoint was taken before


def test_real_figures_of_other_counts_are_not_compared(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1, steps=100)
    # A hundred held-out images beside a thousand samples: four of the figures change with that number by themselves.
    assert Page(build_report(run)).text.count("not comparable: other numbers of images") == 4
    alike = {name: {**values, "generated": 1000} for name, values in yardstick().items()}
    write_evaluation(run, 7_000, yardstick=alike)
    assert "not comparable" not in Page(build_report(run)).text


def test_without_held_out_images_it_says_so(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1, steps=100)
    write_evaluation(run, 7_000, yardstick={})
    assert "There are no held-out real images to set beside them." in Page(build_report(run)).text


def test_classes_with_shares_of_either_form(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1, steps=100)
    classes = {
        "10": {"share": figure(0.5, 0.1), "real_share": figure(0.25, 0.0, 15, 30)},
        "9": {"share": figure(0.5, 0.1), "real_share": 0.75},
    }
    write_evaluation(run, 7_000, classes=classes)
    assert re.search(r"9 50 % \(40 to 60 %\) 75 % .* 10 50 % \(40 to 60 %\) 25 %", Page(build_report(run)).text)


def test_only_the_last_best_snapshot_is_listed(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1)
    append(run, "events.jsonl", [{"event": "best", "images": 100 * number} for number in range(1, 6)])
    page = Page(build_report(run))
    assert page.text.count("Best snapshot so far") == 1 + page.text.count("Best snapshot so far, after")
    assert "5 more are in the run's events" in page.text


def test_the_outlook_is_in_the_page(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1, steps=100)
    write_evaluation(run, 7_000, outlook=outlook(-0.01, 0.002, False))
    assert "Getting worse. Going on for another 50,000 images." in Page(build_report(run)).text
