"""The verdict's words, held against figures made by hand."""

from __future__ import annotations

import pytest

from limner.judging.report.verdict import Verdict, quality_level, variety_level, verdict
from limner.judging.report.words import figure_of
from report_support import copying, figure, figures, metrics_line, outlook, yardstick


def judged(
    found: dict | None = None,
    real: dict | None = None,
    copies: dict | None = None,
    events: list | None = None,
    **more: object,
) -> Verdict:
    evaluation = {
        "figures": figures() if found is None else found,
        "yardstick": yardstick() if real is None else real,
        "copying": copying() if copies is None else copies,
        "outlook": outlook(0.004, 0.002),
    }
    return verdict({**evaluation, **more}, [], events or [])


def remark(found: Verdict, topic: str) -> str:
    return next(one.text for one in found.remarks if one.topic == topic).replace("\N{NO-BREAK SPACE}", " ")


def test_a_perfect_generator_is_called_one() -> None:
    # Real images in place of generated ones: precision and recall are the yardstick's, and the kernel distances meet.
    found = judged(figures(kernel_distance=0.001, precision=0.92, recall=0.9, diversity=1.0))
    assert (
        found.headline == "Not to be told from real images by these figures, as varied as they are; no sign of copying."
    )
    assert found.tone == "good"
    assert "which 100 real images held out reach too" in remark(found, "Quality")


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        (0.75, "Close to the real images"),  # 0.75 / 0.93 = 0.81
        (0.69, "Some way from the real images"),  # 0.74
        (0.19, "Some way from the real images"),  # 0.204
        (0.18, "Far from the real images"),  # 0.194
    ],
)
def test_quality_is_relative_to_real_images(precision: float, words: str) -> None:
    assert judged(figures(precision=precision)).headline.startswith(words)


def test_a_low_kernel_distance_does_not_make_poor_precision_good() -> None:
    found = judged(figures(kernel_distance=0.0001, precision=0.1))
    assert found.headline.startswith("Far from the real images")
    assert found.tone == "bad"


@pytest.mark.parametrize(
    ("values", "words", "tone"),
    [
        ({"diversity": 0.9, "recall": 0.85}, "as varied as they are", "good"),
        ({"diversity": 0.6, "recall": 0.85}, "less varied than they are", "mixed"),
        ({"diversity": 0.9, "recall": 0.5}, "less varied than they are", "mixed"),
        ({"diversity": 0.05, "recall": 0.85}, "far less varied than they are", "bad"),
        ({"diversity": 1.5, "recall": 0.9}, "more different from one another than real images are", "mixed"),
    ],
)
def test_variety_is_the_least_that_its_figures_say(values: dict[str, float], words: str, tone: str) -> None:
    found = judged(figures(precision=0.9, **values))
    assert f", {words};" in found.headline
    assert found.tone == tone


def test_of_few_pictures_a_generator_cannot_be_more_varied_than_they_are() -> None:
    for real, value, level in ((5, 0.29, "high"), (5, 0.15, "middle"), (5, 0.03, "low"), (1000, 0.29, "low")):
        mine = {"diversity": figure_of(figure(value, 0.02, real=real, generated=1280))}
        assert variety_level(mine, {}) == level
        assert variety_level(mine, {}, real) == level


def test_of_few_samples_the_pictures_are_as_many_as_before() -> None:
    """Eight samples are compared with eight pictures, of however many there are."""
    mine = {"diversity": figure_of(figure(0.3, 0.02, real=8, generated=8))}
    assert variety_level(mine, {}, 5000) == "low"
    assert variety_level(mine, {}, 8) == "middle"  # 0.3 / 0.44, what a faithful generator of eight has
    assert variety_level(mine, {}) == "low"
    few = {**figures(), "diversity": figure(0.3, 0.02, real=8, generated=8)}
    for train, words in ((5000, "far less varied"), (8, "less varied")):
        assert f", {words} than they are;" in judged(few, data={"train": train}).headline


def test_recall_is_held_against_real_images_only_at_like_counts() -> None:
    mine = {"recall": figure_of(figure(0.6, 0.02, real=900, generated=1000))}
    few = {"recall": figure_of(figure(0.65, 0.05, real=900, generated=100))}
    many = {"recall": figure_of(figure(0.65, 0.05, real=900, generated=900))}
    # Nine real images for each held-out one are harder to reach than one: no yardstick for samples.
    assert variety_level(mine, few) == "middle"  # 0.6 as it stands
    assert variety_level(mine, many) == "high"  # 0.6 / 0.65 = 0.92


def test_coverage_says_nothing_of_variety() -> None:
    assert variety_level({"coverage": figure_of(figure(0.1, 0.02))}, {}) is None


def test_what_was_not_measured_has_no_level() -> None:
    assert quality_level({}, {}) is None
    assert variety_level({}, {}) is None
    only = {"kernel_distance": figure_of(figure(0.3, 0.01))}
    assert quality_level(only, {}) is None


def test_every_number_has_its_interval_and_its_counts() -> None:
    found = judged()
    assert remark(found, "Quality") == (
        "71 % (68 to 74 %) of the samples lie among the real images (1,000 generated, 900 real); of 100 real images held"
        " out, 93 % (88 to 98 %) do. The kernel distance is 0.0310 (0.0288 to 0.0332) (1,000 generated, 900 real); that of"
        " 100 real images held out is 0.0004 (\N{MINUS SIGN}0.0006 to 0.0014)."
    )
    assert "0.910 (0.873 to 0.947) times as diverse" in remark(found, "Variety")
    assert "55 % (53 to 57 %) of the real images lie among the samples (1,000 generated, 900 real)." in remark(
        found, "Variety"
    )


def test_without_a_yardstick_it_says_so() -> None:
    found = judged(real={})
    assert "there is no figure of real against real" in remark(found, "Quality")
    assert found.headline.startswith("Some way from")  # a precision of 0.71 by itself


@pytest.mark.parametrize(
    ("said", "headline", "words", "tone"),
    [
        ("no sign of copying", "no sign of copying.", "No sign of copying", "good"),
        ("copies some images", "some are copies of training images.", "Some samples are near-copies", "mixed"),
        ("copies", "they are copies of training images.", "The samples are copies", "bad"),
        ("too few images to tell", "too few images to tell copies.", "Too few images", "mixed"),
        ("<b>all fine</b>", "not tested for copying.", "was not tested", "mixed"),
    ],
)
def test_copying(said: str, headline: str, words: str, tone: str) -> None:
    found = judged(figures(precision=0.9, recall=0.9), copies=copying(said, 0.05))
    assert found.headline.endswith("; " + headline)
    assert words in remark(found, "Copying")
    assert found.tone == tone


def test_the_copied_share_has_its_interval() -> None:
    found = judged(copies=copying("copies some images", 0.05))
    assert "5 % (4 to 6.2 %) (1,000 generated, 900 real)" in remark(found, "Copying")


@pytest.mark.parametrize(
    ("gain", "spread", "worth_it", "words"),
    [
        (0.004, 0.002, True, "Still improving."),
        (0.004, 0.002, False, "Improving slowly."),
        (0.001, 0.002, False, "Levelled off."),
        (-0.004, 0.002, False, "Getting worse."),
    ],
)
def test_the_trend_is_that_of_the_outlook(gain: float, spread: float, worth_it: bool, words: str) -> None:
    found = judged(outlook=outlook(gain, spread, worth_it))
    assert remark(found, "Trend").startswith(f"{words} Going on for another 50,000 images.")


def test_the_best_snapshot_is_named() -> None:
    lines = [metrics_line(100), metrics_line(200, best=True), metrics_line(300, best=False)]
    found = verdict({"figures": figures(), "outlook": outlook(0.1, 0.01)}, lines, [])
    assert remark(found, "Trend").endswith("The best one was after 12,800 images.")


def test_problems_are_counted_and_told() -> None:
    events = [{"event": "rollback"}, {"event": "collapse"}, {"event": "collapse"}, {"event": "started"}]
    found = judged(figures(precision=0.9, recall=0.9), events=events)
    assert "a return to an earlier state and samples that became alike (2 times)" in remark(found, "Problems")
    assert found.tone == "mixed"
    assert remark(judged(), "Problems").startswith("None was seen")


def test_a_training_that_broke_off_says_so_first() -> None:
    found = verdict({"figures": figures()}, [], [], reason="the losses are not numbers any more")
    assert found.headline.startswith("The training broke off. ")
    assert found.remarks[0].text == "The training broke off: the losses are not numbers any more."
    assert found.tone == "bad"


def test_without_an_evaluation_nothing_is_claimed() -> None:
    found = verdict(None, [], [])
    assert found.tone == "unknown"
    assert found.headline.startswith("Not evaluated")
    assert remark(found, "Quality").startswith("Nothing was evaluated")
    assert remark(found, "Copying") == "Whether images were copied was not tested."
    assert remark(found, "Trend") == "Whether going on would help cannot be said."


def test_the_newest_line_of_the_metrics_stands_in_for_an_evaluation() -> None:
    found = verdict(None, [metrics_line(10), metrics_line(2000)], [])
    assert "there is no figure of real against real" in remark(found, "Quality")
    assert found.tone == "mixed"


@pytest.mark.parametrize(
    "damaged",
    [
        {"figures": "none"},
        {"figures": {"precision": 3}, "copying": [], "outlook": 7, "yardstick": None},
        {"figures": {"precision": {"value": "high"}}, "copying": {"verdict": {}}},
        {"figures": {"precision": {"value": float("nan"), "real": -1}}},
        {"figures": {"precision": {"value": True}}, "outlook": {"sentence": 3, "gain": {"value": 10**400}}},
    ],
)
def test_damaged_values_are_as_good_as_missing(damaged: dict) -> None:
    found = verdict(damaged, [{"images": "x", "best": True}], [{"event": None}, {"event": {}}, {}])
    assert found.tone == "unknown"
    assert found.headline.startswith("Not evaluated")


def test_a_test_that_was_not_made_says_why() -> None:
    found = judged(copies={"verdict": "not tested", "reason": "training cuts a fresh piece each time"})
    assert (
        remark(found, "Copying") == "Whether images were copied was not tested: training cuts a fresh piece each time."
    )


def test_without_a_full_evaluation_the_trend_is_that_of_the_metrics() -> None:
    # From 250 updates on, the kernel distance falls from 0.36 to 0.05, ever more slowly.
    found = verdict(None, [metrics_line(step) for step in range(0, 1001, 100)], [])
    assert remark(found, "Trend").startswith("Still improving. Going on for another 64,000 images")
    flat = verdict(None, [metrics_line(step) for step in range(3000, 12_001, 1000)], [])
    assert not remark(flat, "Trend").startswith("Still improving")
    assert remark(verdict(None, [metrics_line(100)], []), "Trend").startswith("Too few evaluations")
