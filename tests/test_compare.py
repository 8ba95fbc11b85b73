"""Comparisons of runs: the statistics by hand, the moments at which runs are compared, the page, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from comparison_support import IMAGES, fake_run
from conftest import Cli
from limner.errors import InputError
from limner.judging.comparison import Comparison, compare
from limner.judging.comparison.configurations import Given
from limner.judging.comparison.page import build_page
from limner.judging.comparison.statistics import Readings, difference, fisher, freedom, mean, over_blocks, student
from limner.judging.comparison.words import describe, headline
from limner.judging.figures import Figure
from report_support import Page

NAME = "kernel_distance"


def figure(value: float, half: float = 0.001) -> Figure:
    return Figure(value, value - half, value + half, 900, 1000)


def readings(*values: float | None, half: float = 0.001) -> Readings:
    return {seed: None if value is None else figure(value, half) for seed, value in enumerate(values)}


def test_students_t_is_that_of_scipy() -> None:
    for number in [*range(1, 60), 100, 1000, 10**6]:
        assert student(number) == pytest.approx(stats.t.ppf(0.975, number), rel=2e-5)
    with pytest.raises(ValueError):
        student(0)


def test_a_difference_by_hand() -> None:
    """Within-configuration variances 0.0002 and 0.0008: pooled standard error sqrt(0.001 / 2), t with 2 degrees 4.30265."""
    found = difference(NAME, readings(0.10, 0.12), readings(0.30, 0.34))
    assert found.value == pytest.approx(-0.21) and found.half == pytest.approx(4.30265 * np.sqrt(0.0005), rel=1e-4)
    assert (found.verdict, found.better, found.worse, found.seeds) == ("better", 2, 0, 2)
    assert found.words == "better, +0.210 \N{PLUS-MINUS SIGN} 0.096 kernel distance, 2 of 2 seeds"
    back = difference(NAME, readings(0.30, 0.34), readings(0.10, 0.12))
    assert back.verdict == "worse" and back.words.startswith("worse, \N{MINUS SIGN}0.210") and back.worse == 2
    unpooled = stats.ttest_ind([0.10, 0.12], [0.30, 0.34]).confidence_interval()
    assert found.half == pytest.approx((unpooled.high - unpooled.low) / 2, rel=1e-4)


def test_the_direction_of_a_figure_decides_what_is_better() -> None:
    more = readings(0.80, 0.82)
    less = readings(0.50, 0.51)
    assert difference("precision", more, less).verdict == "better"
    assert difference("precision", more, less).words.startswith("better, +30.5")  # in points
    near, far = readings(0.99, 1.02), readings(1.60, 1.62)  # diversity should be 1, from either side
    assert difference("diversity", near, far).verdict == "better"


def test_the_interval_is_never_narrower_than_measuring_leaves_it() -> None:
    """Seeds that agree by luck: variances of 0, and intervals of +-0.05 each, so +-0.05 for the mean of two differences."""
    found = difference(NAME, readings(0.10, 0.10, half=0.05), readings(0.14, 0.14, half=0.05))
    assert found.half == pytest.approx(0.05, rel=1e-6)
    assert found.verdict == "no difference found" and found.better == 0


def test_what_few_seeds_cannot_tell_is_not_told() -> None:
    one = difference(NAME, readings(0.1), readings(0.3))
    assert one.verdict == "too few seeds to tell" and one.half is None and "in the only one" in one.words
    apart = difference(NAME, readings(0.10, 0.25), readings(0.30, 0.31))  # both better, but by how much?
    assert apart.verdict == "too few seeds to tell" and (apart.better, apart.worse) == (2, 0)
    disagree = difference(NAME, readings(0.10, 0.40), readings(0.30, 0.31))
    assert disagree.verdict == "no difference found" and (disagree.better, disagree.worse) == (1, 1)
    assert "1 of 2 seeds better, 1 worse" in disagree.words
    assert difference(NAME, {0: figure(0.1)}, {1: figure(0.2)}).verdict == "cannot be compared"
    uneven = {0: Figure(0.1, 0.09, 0.11, 50, 50), 1: Figure(0.1, 0.09, 0.11, 50, 50)}
    assert difference("frechet_distance", uneven, readings(0.2, 0.2)).words.endswith("other numbers of images")


def test_a_run_that_diverged_counts_as_worse() -> None:
    all_lost = difference(NAME, readings(None, None), readings(0.1, 0.1))
    assert all_lost.verdict == "worse" and all_lost.words == "worse: broke off in 2 of 2 seeds"
    assert difference(NAME, readings(0.1, 0.1), readings(None, None)).verdict == "better"
    some = difference(NAME, readings(0.01, None), readings(0.1, 0.1))
    assert some.verdict == "too few seeds to tell" and "broke off in 1 of 2 seeds" in some.words
    assert difference(NAME, readings(None, None), readings(None, None)).words == "cannot be compared: both broke off"
    for lost, count, verdict in ((9, 10, "worse"), (4, 5, "worse"), (3, 4, "too few seeds to tell")):
        # Fisher's exact test, one-sided: 10 / 167,960 and so on; 4 of 5 against 0 of 5 is 0.024, 3 of 4 is 0.071.
        chance = stats.fisher_exact([[lost, count - lost], [0, count]])[1]
        assert (chance < 0.05) == (verdict == "worse")
        found = difference(NAME, readings(*[None] * lost, *[0.1] * (count - lost)), readings(*[0.1] * count))
        assert found.verdict == verdict and f"broke off in {lost} of {count} seeds" in found.words


def test_where_both_broke_off_in_some_all_of_them_count() -> None:
    """Seven of ten against two of ten: 0.070, though in five seeds it was one of them alone."""
    mine, other = readings(*[None] * 7, *[0.1] * 3), readings(*[None] * 2, *[0.1] * 8)
    found = difference(NAME, mine, other)
    assert found.verdict == "too few seeds to tell" and (found.better, found.worse) == (0, 5)
    assert "broke off in 7 of 10 seeds, the other in 2" in found.words
    assert difference(NAME, other, mine).words.endswith("broke off in 2 of 10 seeds, the other in 7")
    assert (
        difference(NAME, readings(*[None] * 9, 0.1), other).words == "worse: broke off in 9 of 10 seeds, the other in 2"
    )
    for first in range(11):
        for second in range(11):
            chance = stats.fisher_exact([[first, 10 - first], [second, 10 - second]])[1]
            assert fisher(first, second, 10) == pytest.approx(chance, rel=1e-9)


def test_what_mostly_broke_off_is_not_the_best(tmp_path: Path) -> None:
    runs = [
        fake_run(tmp_path / f"{name}-seed{seed}", seed, level, diverged=seed < lost, generator__lr=rate)
        for name, rate, level, lost in (("base", 2e-4, 0.31, 0), ("fine", 1e-4, 0.22, 0), ("wild", 1e-3, 0.20, 3))
        for seed in range(4)
    ]
    told = compare(runs)
    assert headline(told).endswith("the best mean has fine.")
    (line,) = [line for line in describe(told).splitlines() if line.strip().startswith("wild")]
    assert "1 of 4" in line


def test_degrees_of_freedom_are_those_of_welch() -> None:
    random = np.random.default_rng(3)
    for count in (3, 5, 9):
        one, two = random.normal(size=count), 7 * random.normal(size=count)
        exact = stats.ttest_ind(one, two, equal_var=False).df
        assert freedom(one.tolist(), two.tolist()) == int(exact)
        assert freedom(one.tolist(), (one + 3).tolist()) == 2 * (count - 1), "equally spread"
        assert freedom(one.tolist(), [1.0] * count) == count - 1, "one side does not vary"
    assert freedom([1, 2], [1, 9]) == 2 and freedom([1, 1, 1], [2, 2, 2]) == 4


def test_alike_configurations_are_called_different_about_as_rarely_as_promised() -> None:
    """2,000 studies of two equal configurations with two seeds: the interval holds 0 in 95 % of them."""
    random = np.random.default_rng(5)
    values = random.normal(0.2, 0.02, (2000, 2, 2))
    told = [
        difference(NAME, readings(*one, half=1e-6), readings(*two, half=1e-6)).verdict for one, two in values.tolist()
    ]
    wrong = sum(verdict in ("better", "worse") for verdict in told)
    assert 0.015 * 2000 < wrong < 0.06 * 2000  # 5 %, less those in which a seed says the opposite


def test_blocks_and_means_by_hand() -> None:
    found = over_blocks(NAME, [0.1, 0.2, 0.3], value=-0.2, what="pairs")
    assert found.half == pytest.approx(4.30265 * 0.1 / np.sqrt(3), rel=1e-4)
    assert found.verdict == "no difference found" or found.verdict == "too few seeds to tell"
    assert over_blocks(NAME, [0.2, 0.21, 0.22], value=-0.21, what="pairs").verdict == "better"
    middle = mean([figure(0.1), figure(0.3)])
    assert middle is not None and middle.value == pytest.approx(0.2)
    assert middle.high == pytest.approx(0.2 + 12.7062 * 0.1, rel=1e-4)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Batch 32 and 128, two seeds each: 32 is better at equal images, 128 at equal updates."""
    folder = tmp_path_factory.mktemp("two")
    return [
        fake_run(folder / f"batch-{batch}-seed{seed}", seed, level, training__batch_size=batch)
        for batch, level in ((32, 0.10), (128, 0.21))
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def found(two: list[Path]) -> Comparison:
    return compare(two)


def test_runs_that_differ_in_the_seed_are_one_configuration(found: Comparison) -> None:
    assert [one.name for one in found.configurations] == ["batch-32", "batch-128"]
    assert [list(one.members) for one in found.configurations] == [[0, 1], [0, 1]]
    assert found.fields == ("training.batch_size",)


def test_equal_images_and_equal_updates_say_different_things(found: Comparison) -> None:
    images, updates = found.views
    assert (images.key, updates.key) == ("images", "updates")
    verdicts = found.verdicts
    assert verdicts["images"][NAME]["batch-128"].verdict == "worse"
    assert verdicts["updates"][NAME]["batch-128"].verdict == "better"
    reading = updates.readings["batch-32"][0]
    assert reading is not None and reading.step == IMAGES // 128 and reading.images == IMAGES // 4
    assert headline(found).startswith("Batch-128, beside batch-32: worse, ")
    assert "2 of 2 seeds at equal images; better" in headline(found)


def test_other_images_are_another_yardstick(tmp_path: Path) -> None:
    runs = [
        fake_run(tmp_path / f"{name}-seed{seed}", seed, 0.1 if name == "a" else 0.3, content=name)
        for name in "ab"
        for seed in (0, 1)
    ]
    told = compare(runs)
    assert told.verdicts["images"][NAME]["b"].words == "cannot be compared: against other real images"
    assert [one.levels for one in told.configurations] == [{"data": "my pictures"}, {"data": "my pictures"}]


def test_another_part_of_the_same_images_is_another_yardstick(tmp_path: Path) -> None:
    """Half of a collection held out: what is left is less to be like."""
    runs = [
        fake_run(tmp_path / f"{name}-seed{seed}", seed, train / 4000, train=train, image__held_out=1 - train / 1000)
        for name, train in (("most", 900), ("half", 500))
        for seed in (0, 1)
    ]
    runs += [fake_run(tmp_path / f"third-seed{seed}", seed, 0.3, training__batch_size=64) for seed in (0, 1)]
    told = compare(runs)
    assert told.verdicts["images"][NAME]["half"].words == "cannot be compared: against other real images"
    assert headline(told).endswith("the best mean has most.")  # half's is as low, and of something else


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Forty runs: five batches, four rates, two seeds; the highest rate diverges with the smallest batches."""
    folder = tmp_path_factory.mktemp("many")
    runs, given = [], {}
    for place, batch in enumerate((16, 32, 64, 128, 256)):
        for rate, lr in enumerate((2e-4, 4e-4, 1e-3, 2e-3)):
            for seed in (0, 1):
                level = 0.08 + 0.02 * place + 0.03 * rate**2 * (1 + (place == 4))
                path = folder / f"b{batch}-lr{lr:g}-seed{seed}"
                lost = rate == 3 and place < 2
                fields = {"training__batch_size": batch, "generator__lr": lr}
                runs.append(fake_run(path, seed, level, diverged=lost, **fields))
                levels = {"batch": str(batch), "rate <b>": f"{lr:g}"}
                given[path.name] = Given(f"b{batch}, {lr:g}", levels)
    return compare(runs, given=given, title="forty <script>alert(1)</script>")


def test_effects_are_means_over_what_is_alike(many: Comparison) -> None:
    told = {(one.factor, one.level): one for one in many.effects["images"][NAME]}
    batch = told["batch", "32"]
    assert batch.others == 4 and batch.difference.verdict == "worse"
    assert batch.difference.value == pytest.approx(0.02, abs=1e-3)  # over three rates: with the fourth both diverged
    rate = told["rate <b>", "0.001"]
    assert rate.others == 5 and rate.difference.value == pytest.approx((4 * 0.12 + 0.24) / 5, abs=1e-3)
    words = " ".join(one.words for one in many.interactions["images"][NAME])
    assert "batch = 256 gains less with rate <b> = 0.001" in words
    assert "no sign that what batch = 32 does depends on rate <b> = 0.0004" in words


def test_the_page_is_whole_escaped_and_has_everything(many: Comparison, found: Comparison) -> None:
    for told in (many, found):
        html = build_page(told, intro=["What is <i>better</i>?"])
        page = Page(html)
        assert len(html) < 6_000_000
        for one in told.configurations:
            assert one.name in page.text
        assert "<script>alert" not in html and "<i>better" not in html and "What is <i>better</i>?" in page.text
        policy = next(tag["content"] for tag in page.all("meta") if tag.get("http-equiv"))
        assert "default-src 'none'" in policy and not [
            tag for tag in page.all("img") if not tag["src"].startswith("data:")
        ]
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
    assert "broke off in 2 of 2 seeds" in Page(build_page(many)).text
    assert (
        json.loads(json.dumps(many.values()))["views"][0]["figures"][NAME]["b32, 0.002"]["verdict"]["verdict"]
        == "worse"
    )


def test_one_run_alone_is_told_to_be_alone(two: list[Path]) -> None:
    alone = compare(two[:1])
    assert "nothing to compare" in describe(alone) and Page(build_page(alone)).text
    twice = compare([*two, two[0]])
    assert len(twice.members) == 4, "the same directory is the same run"


def test_bad_calls_get_one_line(two: list[Path], tmp_path: Path) -> None:
    for arguments, words in (
        ({"metric": "kernel_distanc"}, "did you mean kernel_distance"),
        ({"reference": "batch-33"}, "did you mean batch-32"),
    ):
        with pytest.raises(InputError, match=words):
            compare(two, **arguments)
    with pytest.raises(InputError, match="no such run directory"):
        compare([tmp_path / "none"])
    with pytest.raises(InputError, match="nothing to compare"):
        compare([])


def test_the_command_writes_the_page(cli: Cli, two: list[Path], tmp_path: Path) -> None:
    done = cli("compare", *two, "--out", "page.html", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reference"] == "batch-32"
    assert "batch-128" in Page((tmp_path / "page.html").read_text("utf-8")).text


def test_a_mean_share_stays_one() -> None:
    found = mean([figure(0.0), figure(0.02)], "precision")
    assert found is not None and found.low == 0.0 and found.high == pytest.approx(0.01 + 12.7062 * 0.01, rel=1e-3)
    free = mean([figure(0.0), figure(0.02)], NAME)
    assert free is not None and free.low is not None and free.low < 0
