"""The parts of the report: words, ticks and curves, pictures within a number of bytes, recipes compared, commands."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.judging.figures import Figure
from limner.judging.report import charts as report_charts
from limner.judging.report import pictures as report_pictures
from limner.judging.report import recipe as report_recipe
from limner.judging.report import series as report_series
from limner.judging.report import words as report_words
from limner.judging.report.read import contents
from limner.judging.report.series import Point, Series
from limner.recipe import Recipe
from report_support import BATCH, full_run, log_line, png


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (1.2, "1.20"),
        (12345.6, "12,346"),
        (-0.5, "\N{MINUS SIGN}0.500"),
        (0.00002, "2.0e\N{MINUS SIGN}05"),
    ],
)
def test_numbers_in_words(number: float, words: str) -> None:
    assert report_words.short(number) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0, "0 %"),
        (0.0004, "under 0.1 %"),
        (0.004, "0.4 %"),
        (0.07, "7 %"),
        (0.5, "50 %"),
        (0.996, "99.6 %"),
        (0.9999, "over 99.9 %"),
        (1, "100 %"),
    ],
)
def test_shares_in_words(share: float, words: str) -> None:
    assert report_words.percent(share).replace("\N{NO-BREAK SPACE}", " ") == words


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (Figure(0.031, 0.0288, 0.0332), "0.0310 (0.0288 to 0.0332)"),
        (Figure(0.0004, -0.00062, 0.00142), "0.0004 (\N{MINUS SIGN}0.0006 to 0.0014)"),
        (Figure(4.2, 4.031, 4.369), "4.20 (4.03 to 4.37)"),
        (Figure(250.0, 190.0, 310.0), "250 (190 to 310)"),
        (Figure(1.0, 1.0, 1.0), "1.000 (1.000 to 1.000)"),
        (Figure(12.5), "12.5 (no interval)"),
        (Figure(0.0, 0.0, 0.0), "0 (0 to 0)"),
    ],
)
def test_figures_have_the_decimals_that_their_intervals_bear(figure: Figure, words: str) -> None:
    assert report_words.figure_words("kernel_distance", figure) == words


def test_ticks() -> None:
    assert report_charts.linear_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert report_charts.linear_ticks(-3.2, 7.1) == [-5, -2.5, 0, 2.5, 5, 7.5]
    assert report_charts.linear_ticks(5, 5) == [2, 3, 4, 5, 6, 7, 8]
    assert report_charts.log_ticks(0.002, 0.9) == pytest.approx([0.003, 0.01, 0.03, 0.1, 0.3])
    assert report_charts.log_ticks(0.002, 300) == pytest.approx([0.01, 0.1, 1, 10, 100])


def test_log_curves_are_medians_with_the_middle_of_their_neighbours() -> None:
    lines = [{"images": 10 * place, "x": float(value)} for place, value in enumerate([1, 9, 2, 8, 3, 7, 4])]
    series, window = report_series.logged(lines, "x", "x")
    assert window == 5
    assert [point.y for point in series.points] == [3, 3, 3, 7, 4, 4, 4]
    # 1, 2, 3, 8, 9: the 10 % quantile is 0.4 of the way from the first to the second.
    assert series.points[0].low == pytest.approx(1.4) and series.points[0].high == pytest.approx(8.6)


def test_charts_are_logarithmic_only_where_that_can_be() -> None:
    def drawn(*values: float) -> str:
        points = tuple(Point(100 * place, value, value * 0.9, value * 1.1) for place, value in enumerate(values))
        made = report_charts.chart("x", "X", "", [Series("x", points)], caption="", may_be_log=True)
        assert made is not None
        return made.svg

    assert "log scale" in drawn(1.0, 0.1, 0.01)
    assert "log scale" not in drawn(1.0, 0.5, 0.2)
    assert "log scale" not in drawn(1.0, 0.1, -0.001)
    assert report_charts.chart("x", "X", "", [Series("x", ())], caption="") is None


def test_a_curves_places_are_where_its_numbers_say() -> None:
    points = (Point(0, 0.0), Point(50, 0.5), Point(100, 1.0))
    made = report_charts.chart("x", "X", "", [Series("x", points)], caption="", fixed=(0.0, 1.0))
    assert made is not None
    (line,) = re.findall(r'<polyline class="line" points="([^"]+)"', made.svg)
    left, right = report_charts.LEFT, report_charts.WIDTH - report_charts.RIGHT
    top, bottom = report_charts.TOP, report_charts.HEIGHT - report_charts.BOTTOM
    expected = f"{left}.0,{bottom}.0 {(left + right) / 2},{(top + bottom) / 2} {right}.0,{top}.0"
    assert [tuple(map(float, pair.split(","))) for pair in line.split()] == [
        tuple(map(float, pair.split(","))) for pair in expected.split()
    ]


def test_every_shipped_recipe_is_found_again() -> None:
    for name in ("quick", "initials", "fashion", "dcgan", "vanilla"):
        recipe = Recipe.load(name)
        found = report_recipe.shipped_recipe(recipe)
        assert found is not None and found[0] == name
        assert report_recipe.differences(recipe, found[1]) == []
    assert report_recipe.shipped_recipe(Recipe.load("quick", {"about.summary": "mine"})) is None
    assert report_recipe.shipped_recipe(Recipe.load("quick", {"about.summary": ""})) is None


def test_differences_say_what_was_changed_added_removed_measured() -> None:
    shipped = Recipe.load("quick")
    mine = shipped.changed(
        {"training.minutes": 3, "training.device": "cpu", "image.width": 16, "image.height": 16, "generator.lr": 1e-5}
    )
    found = {one.name: (one.shipped, one.here, one.why) for one in report_recipe.differences(mine, shipped)}
    assert found["generator.lr"][1:] == ("1e-05", "changed")
    assert found["training.minutes"] == ("\N{EN DASH}", "3", "added")
    assert found["training.device"] == ('"auto"', '"cpu"', "measured")
    assert found["image.width"] == ("\N{EN DASH}", "16", "measured")
    assert any(why == "removed" for _, _, why in found.values())
    assert [one.why for one in report_recipe.differences(mine, shipped)][-3:] == ["measured"] * 3
    # A device that the shipped recipe names is no measurement.
    again = report_recipe.differences(mine.changed({"training.device": "cuda"}), mine)
    assert [one.why for one in again] == ["changed"]


def test_commands_are_quoted(tmp_path: Path) -> None:
    run = full_run(tmp_path / "a run", frames=1, steps=100)
    found = dict(report_recipe.commands(contents(run)))
    assert found["As it was given"] == "limner train 'my pictures' --recipe quick --set generator.lr=1e-4"
    assert found["From the recipe that it left"] == f"limner train 'my pictures' --recipe '{run.path}/recipe.toml'"
    assert found["Go on with it"] == f"limner resume '{run.path}'"


def test_values_that_are_none_break_the_curves() -> None:
    lines = [
        log_line(step, generator_loss=None if 400 <= step <= 440 else 1.0 + step / 1000) for step in range(20, 801, 20)
    ]
    series, _ = report_series.logged(lines, "generator_loss", "generator")
    parts = report_charts.pieces(series)
    assert [(part[0].x // BATCH, part[-1].x // BATCH) for part in parts] == [(20, 380), (460, 800)]


def test_pictures_shrink_until_they_fit(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 256, (400, 300, 4), np.uint8)
    path.write_bytes(png(Image.fromarray(pixels)))
    found = report_pictures.embedded(path, 9_000)
    assert found is not None
    content = base64.b64decode(found.source.split(",", 1)[1])
    assert 2_000 < len(content) <= 9_000
    assert (found.width, found.height, found.alpha) == (300, 400, False)
    whole = report_pictures.embedded(path, 1_000_000)
    assert whole is not None and whole.alpha and base64.b64decode(whole.source.split(",", 1)[1]) == path.read_bytes()


def test_transparency_becomes_white_in_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    path.write_bytes(png(Image.new("RGBA", (64, 64), (0, 0, 0, 0))))
    found = report_pictures.embedded(path, 0, 32)
    assert found is not None
    with Image.open(io.BytesIO(base64.b64decode(found.source.split(",", 1)[1]))) as image:
        assert max(image.size) <= 16  # the least that there is
        assert image.convert("L").getextrema()[0] > 250


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40), b"GIF89a" + bytes(20)])
def test_what_is_no_picture_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    assert report_pictures.embedded(tmp_path / "x.png", 1000) is None
    assert report_pictures.embedded(tmp_path / "missing.png", 1000) is None
    assert report_pictures.embedded(tmp_path, 1000) is None


@pytest.mark.parametrize(
    ("count", "most", "wanted", "expected"),
    [
        (3, 5, None, [0, 1, 2]),
        (9, 5, None, [0, 2, 4, 6, 8]),
        (9, 5, 3, [0, 3, 4, 6, 8]),
        (9, 3, 8, [0, 4, 8]),
        (9, 2, 4, [0, 4, 8]),
    ],
)
def test_which_grids_are_chosen(count: int, most: int, wanted: int | None, expected: list[int]) -> None:
    found = report_pictures.chosen(count, most, wanted)
    assert found == expected
