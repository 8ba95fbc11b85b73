"""Studies of recipes: their rows, their sheets, and that the pages say what they measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "experiments" / "fewshot"))
import compare  # noqa: E402
import rows  # noqa: E402

sys.path.insert(0, str(ROOT / "experiments" / "warm_start"))
import study  # noqa: E402


def test_a_torn_row_is_skipped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows.Rows(path).add({"a": 1, "b": 1})
    with path.open("a") as file:
        file.write('{"a": 2')
    rows.Rows(path).add({"a": 1, "b": 2})
    found = rows.Rows(path)
    assert found.rows == [{"a": 1, "b": 1}, {"a": 1, "b": 2}]
    assert found.has(a=1, b=2) and not found.has(a=2)
    assert found.newest("a") == [{"a": 1, "b": 2}]
    assert json.loads(path.read_text().splitlines()[-1]) == {"a": 1, "b": 2}


def test_sheets_are_made_small() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))
    large = rows.small_png(noise, 10**6)
    assert 200_000 < len(large) <= 10**6  # as it is
    assert 8_000 < len(rows.small_png(noise, 40_000)) <= 40_000


def test_intervals_that_meet_overlap() -> None:
    def row(low: float, high: float) -> dict[str, object]:
        return {"figures": {"kernel_distance": {"value": (low + high) / 2, "low": low, "high": high}}}

    assert rows.against(row(2.1, 3), row(1, 2)) == "worse, apart"
    assert rows.against(row(2, 3), row(1, 2)) == "overlap"
    assert rows.against(row(0, 0.9), row(1, 2)) == "better, apart"
    assert rows.against({"figures": {}}, row(1, 2)) == "-"


def test_an_ablation_says_by_how_much_each_change_is_worse() -> None:
    """By hand: 0.4 and 0.1 against 0.2 and 0.2 are 2 and 0.5 times as far, so on the whole as far."""

    def row(system: str, seed: int, value: float, coverage: float) -> dict[str, object]:
        distance = {"value": value, "low": value - 0.05, "high": value + 0.05}
        figures = {"kernel_distance": distance, "coverage": {"value": coverage}}
        copying = {"verdict": rows.COPIES if system == "worse" and seed else "no sign of copying"}
        return {"system": system, "set": "maps", "seed": seed, "figures": figures, "copying": copying}

    found = [row("base", 0, 0.2, 0.5), row("base", 1, 0.2, 0.7), row("even", 0, 0.4, 0.5), row("even", 1, 0.1, 0.5)]
    found += [row("worse", 0, 0.6, 0.1), row("worse", 1, 0.6, 0.2)]
    lines = rows.ablation(found, "base").splitlines()
    assert lines[2] == "| base |  |  | 0.20, 0.20 (0.60) | none |"
    assert lines[3] == "| even | 1.00 | 1 worse, 0 better of 2 | 0.40, 0.10 (0.50) | none |"
    assert lines[4] == "| worse | 3.00 | 2 worse, 0 better of 2 | 0.60, 0.60 (0.15) | 1 |"


def compared(
    system: str, seed: int, value: float, coverage: float, copying: str = "no sign of copying"
) -> dict[str, Any]:
    """A row of a comparison."""
    figures = {
        "kernel_distance": {"value": value, "low": value - 0.05, "high": value + 0.05, "real": 9, "generated": 9},
        "coverage": {"value": coverage, "low": 0.0, "high": 1.0, "real": 9, "generated": 9},
    }
    return {
        "system": system, "set": "maps", "size": 64, "seed": seed, "budget_seconds": 600.0, "images": 1000 + seed,
        "figures": figures, "yardstick": figures, "copying": {"verdict": copying},
    }  # fmt: skip


def test_a_comparison_tells_wins_and_what_was_not_one() -> None:
    won = [compared("base", 0, 0.2, 0.5), compared("other", 0, 0.6, 0.5)]
    assert rows.verdicts(won, "base").strip() == (
        "Of 1 pairs, `base` is nearer in 1 with intervals that do not meet; its coverage is as high or higher in 1."
    )
    lost = [compared("base", 1, 0.2, 0.4, rows.COPIES), compared("other", 1, 0.25, 0.6)]
    told = rows.verdicts([*won, *lost], "base")
    assert "Of 2 pairs, `base` is nearer in 1" in told and "higher in 1." in told
    assert "seed 1, against other: kernel distance 0.2 (0.15 to 0.25), the other's 0.25 (0.2 to 0.3)" in told
    assert "seed 1, against other: coverage" in told and f"seed 1, base: {rows.COPIES}" in told
    lines = rows.comparison([*lost, *won], "base").splitlines()
    assert lines[0] == "**Battle maps at 64x64, 10 minutes**, seed 0, 1"
    assert lines[4].startswith(
        "| **`base`** | 1,000; 1,001 | 0.2 (0.15 to 0.25) | 0.5 (0 to 1); 0.4 (0 to 1) | - | no sign"
    )
    assert lines[5].startswith("| other | 1,000; 1,001 | 0.6 (0.55 to 0.65); 0.25 (0.2 to 0.3) |")


def test_the_page_has_what_the_trainings_made() -> None:
    page = (ROOT / "docs" / "fewshot.md").read_text(encoding="utf-8")
    found = compare.results(ROOT / "experiments" / "fewshot" / "compare.jsonl")
    assert len(found) >= 10
    written = rows.inserted(page, compare.MARK, compare.told(found))
    assert written == page, "run experiments/fewshot/compare.py DATA_DIR --stage table --page docs/fewshot.md"
    warm = rows.Rows(ROOT / "experiments" / "warm_start" / "rows.jsonl").rows
    assert len(warm) >= 60
    written = rows.inserted(page, study.MARK, study.table(warm))
    assert written == page, "run experiments/warm_start/study.py DATA_DIR WORK_DIR --page docs/fewshot.md"
    with pytest.raises(ValueError, match="no lines"):
        rows.inserted("# Nothing", compare.MARK, "")
