"""Findings from logs and evaluations that are made by hand: each threshold from both sides."""

from __future__ import annotations

import math
from typing import Any

import pytest

from limner.judging.health import (
    GONE,
    HAD_VARIETY,
    WARM_UPS,
    WINDOW,
    WON,
    Finding,
    is_good,
    is_news,
    watch_evaluations,
    watch_log,
)
from limner.training.objectives import entropy


def line(number: int = 1, **values: Any) -> dict[str, Any]:
    """A line of a log as a training that goes well writes it."""
    usual = {"discriminator_loss": 0.5, "generator_loss": 2.0, "real_logit": 2.0, "fake_logit": -2.0}
    return {
        "step": 20 * number,
        "images": 640 * number,
        **usual,
        "generator_gradient": 10.0,
        "discriminator_gradient": 5.0,
        **values,
    }


def log(count: int = 60, **values: Any) -> list[dict[str, Any]]:
    return [line(number + 1, **values) for number in range(count)]


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


def test_a_training_that_goes_well_gives_nothing():
    assert watch_log(log(), 0.0) == [] == watch_log([], 0.0) == watch_log(log(1), 0.0)


@pytest.mark.parametrize(
    "name", ["discriminator_loss", "generator_loss", "real_logit", "fake_logit", "generator_gradient"]
)
def test_what_is_no_number_sends_back(name: str):
    (found,) = watch_log([*log(5), line(6, **{name: None})], 0.0)
    assert found.kind == "non-finite" and found.go_back and found.severity == "error"
    assert "after 3,840 images" in found.evidence
    assert ("gradients" if name.endswith("gradient") else "losses") in found.evidence


def test_gradients_explode_when_three_lines_say_so():
    calm, wild = log(30), [line(31 + number, generator_gradient=501.0) for number in range(3)]
    assert watch_log([*calm, *wild[:2]], 0.0) == []
    (found,) = watch_log([*calm, *wild], 0.0)
    assert found.kind == "exploding-gradients" and "501" in found.evidence and "10 was usual" in found.evidence
    assert not found.go_back
    below = [line(31 + number, generator_gradient=499.0) for number in range(3)]
    assert watch_log([*calm, *below], 0.0) == []
    assert watch_log([*log(5), *wild], 0.0) == [], "what is usual cannot be told from five lines"


def test_logits_explode_only_where_they_have_a_scale():
    lines = [*log(5), *[line(6 + number, fake_logit=-150.0) for number in range(3)]]
    assert kinds(watch_log(lines, 0.0)) == ["exploding-logits"]
    assert watch_log(lines, None) == [], "a critic's scores may be of any size"
    assert watch_log(lines[:-1], 0.0) == []
    assert watch_log([line(number + 1, real_logit=150.5, fake_logit=150.0) for number in range(9)], 0.0, True) == []
    (apart,) = watch_log(lines, 0.0, True)
    assert "logits differ by 152 in the last 3 log lines" in apart.evidence


@pytest.mark.parametrize("label", [1.0, 0.9])
def test_a_discriminator_that_wins_is_measured_from_the_least_loss(label: float):
    least = entropy(label)
    won = log(WINDOW, discriminator_loss=least + 0.9 * WON)
    assert kinds(watch_log(won, least)) == ["discriminator-winning"]
    assert watch_log(won[:-1], least) == []
    assert watch_log(log(WINDOW, discriminator_loss=least + 1.1 * WON), least) == []
    assert watch_log(won, None) == []
    advised = [watch_log(won, least, relative)[0].advice for relative in (False, True)]
    assert ["real_label" in advice for advice in advised] == [label == 1, False], "only what there is, and is not done"


def test_a_discriminator_that_loses():
    lost = log(WINDOW, real_logit=-1.0, fake_logit=1.0, discriminator_loss=2.6)
    (found,) = watch_log(lost, 0.0)
    assert found.kind == "discriminator-losing" and f"{WINDOW} of the last {WINDOW}" in found.evidence
    half = [item if number % 2 else line(number + 1) for number, item in enumerate(lost)]
    assert watch_log(half, 0.0) == []


def test_the_least_cross_entropy_is_the_labels_own():
    assert entropy(1.0) == 0.0
    assert entropy(0.9) == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1), abs=1e-12)
    assert entropy(0.9) == pytest.approx(0.325083, abs=1e-6)


def evaluation(images: int, diversity: float | None, step: int | None = None, **more: Any) -> dict[str, Any]:
    figures = {"diversity": {"value": diversity, "low": None, "high": None, "real": 500, "generated": 1000}}
    return {"step": images // 32 if step is None else step, "images": images, "figures": figures, **more}


def test_an_untrained_generator_is_not_ill():
    copies = {"verdict": "copies", "copied_share": {"value": 1.0, "generated": 1000}}
    assert watch_evaluations([evaluation(0, 1e-6, copying=copies)]) == [] == watch_evaluations([])


@pytest.mark.parametrize(("updates", "least"), list(WARM_UPS.items()))
def test_samples_that_never_differed(updates: int, least: float):
    untrained = evaluation(0, 1e-6)
    assert watch_evaluations([untrained, evaluation(3200, 0.9 * least, updates - 1)]) == []
    (found,) = watch_evaluations([untrained, evaluation(3200, 0.9 * least, updates)])
    assert found.kind == "collapse" and found.go_back and "1,000 samples" in found.evidence
    assert watch_evaluations([untrained, evaluation(3200, 1.1 * least, updates)]) == []


def test_a_fall_of_variety_is_a_collapse_once_there_was_some():
    high, low, low_again = evaluation(3200, 0.6), evaluation(6400, 0.23), evaluation(9600, 0.22)
    assert watch_evaluations([high, low]) == [], "one low value may be chance"
    (found,) = watch_evaluations([high, low, low_again])
    assert found.kind == "collapse" and "0.60 at its best" in found.evidence
    assert watch_evaluations([high, low, evaluation(9600, 0.25)]) == []
    assert watch_evaluations([evaluation(3200, 0.29), evaluation(6400, 0.05), evaluation(9600, 0.05)]) == []


def test_variety_that_is_all_gone_needs_no_second_look():
    gone = evaluation(6400, 0.9 * GONE)
    assert kinds(watch_evaluations([evaluation(3200, 1.1 * HAD_VARIETY), gone])) == ["collapse"]
    assert watch_evaluations([evaluation(3200, 0.9 * HAD_VARIETY), gone]) == [], "beginnings waver"
    assert watch_evaluations([evaluation(3200, 0.6), evaluation(6400, 1.1 * GONE)]) == []
    assert watch_evaluations([evaluation(3200, 0.6), evaluation(6400, None)]) == []


@pytest.mark.parametrize("verdict", ["copies", "copies some images", "no sign of copying", "not tested"])
def test_copies_are_told_but_do_not_send_back(verdict: str):
    share = {"value": 0.31, "low": 0.2, "high": 0.4, "real": 12, "generated": 500}
    found = watch_evaluations([evaluation(3200, 0.8, copying={"verdict": verdict, "copied_share": share})])
    assert kinds(found) == (["copying"] if verdict.startswith("copies") else [])
    assert all("31 % of 500" in finding.evidence and not finding.go_back for finding in found)


def test_each_kind_is_told_again_only_after_twice_as_many_images():
    finding = Finding("discriminator-winning", "warning", "", "")
    told = [{"event": "discriminator-winning", "images": 1000, "attempt": 0}]
    assert is_news(finding, 10, 0, [])
    assert not is_news(finding, 1000, 0, told) and not is_news(finding, 1999, 0, told)
    assert is_news(finding, 2000, 0, told)


def test_what_sends_back_is_told_once_for_each_place_and_attempt():
    finding = Finding("collapse", "error", "", "", go_back=True)
    told = [{"event": "collapse", "images": 1000, "attempt": 0}]
    assert not is_news(finding, 1000, 0, told), "a resumed training comes by there again"
    assert is_news(finding, 1000, 1, told) and is_news(finding, 1040, 0, told)


def test_which_states_are_worth_coming_back_to():
    high = evaluation(3200, 0.6)
    assert is_good([evaluation(0, 1e-6)]) and is_good([high]) and is_good([high, evaluation(6400, 0.25)])
    assert not is_good([evaluation(3200, 0.009)]) and not is_good([evaluation(3200, None)])
    assert not is_good([high, evaluation(6400, 0.23)]), "it may be the beginning of a fall"
    assert is_good([evaluation(3200, 0.29), evaluation(6400, 0.05)])
