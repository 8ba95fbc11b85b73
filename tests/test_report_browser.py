"""The report in a real browser: headless Chromium, which ``make test`` sets up or asks for.

A machine without a browser fails these tests with one line that says what is missing: a report that no browser has opened is
not a tested one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from limner.judging.report import write_report
from limner.rundir import RunDir
from report_support import append, full_run, write_evaluation

LONG = "a_name_without_any_place_to_break_it_" * 12
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A finished run with names that nothing can break."""
    run = full_run(tmp_path_factory.mktemp("runs") / "letters", frames=5)
    events = [
        {"event": "collapse", "images": 30_000, "severity": "error", "evidence": LONG, "advice": "lower generator.lr"},
        {"event": LONG, "images": 30_000, "details": LONG},
    ]
    append(run, "events.jsonl", events)
    data = run.read_json("data.json")
    run.write(
        "data.json",
        {**data, "classes": {LONG: 3, "A": 5}, "skipped": [{"name": LONG, "reason": LONG}], "warnings": [LONG]},
    )
    return run


@pytest.fixture(scope="module")
def report(run: RunDir) -> str:
    return write_report(run).as_uri()


def opened(browser: Browser, report: str, width: int = 1280, **settings: Any) -> Page:
    """The report in a window of its own."""
    page = browser.new_context(viewport={"width": width, "height": 900}, **settings).new_page()
    page.goto(report)
    return page


def shown(page: Page) -> list[str]:
    """The pictures of the time slider that can be seen."""
    frames = page.locator("#frames > li img")
    return [
        str(frames.nth(place).get_attribute("alt")) for place in range(frames.count()) if frames.nth(place).is_visible()
    ]


def test_it_opens_without_a_word_from_the_console_and_asks_for_nothing(browser: Browser, report: str) -> None:
    page = browser.new_context(offline=True).new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report)
    page.locator("#when").press("Home")
    page.locator(".plot").first.hover()
    page.wait_for_timeout(100)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report]
    broken = page.evaluate("Array.from(document.images).filter((image) => !image.naturalWidth).length")
    assert broken == 0


def test_the_slider_shows_another_picture_and_says_which(browser: Browser, report: str) -> None:
    page = opened(browser, report)
    slider, said = page.locator("#when"), page.locator("#when-text")
    assert shown(page) == ["Grid of generated images after 64,000 images, epoch 71.1, the best snapshot"]
    assert said.inner_text() == "after 64,000 images, epoch 71.1, the best snapshot"
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert shown(page) == ["Grid of generated images after 51,200 images, epoch 56.9"]
    assert said.inner_text() == slider.get_attribute("aria-valuetext") == "after 51,200 images, epoch 56.9"
    page.keyboard.press("Home")
    assert shown(page)[0].startswith("Grid of generated images after 12,800 images")
    page.keyboard.press("ArrowLeft")  # there is nothing before the first
    assert len(shown(page)) == 1
    page.keyboard.press("End")
    assert said.inner_text().startswith("after 64,000 images")
    assert page.get_by_label("Images seen").get_attribute("id") == "when"


def test_play_goes_through_the_pictures_and_can_be_paused(browser: Browser, report: str) -> None:
    page = opened(browser, report)
    play, said = page.locator("#play"), page.locator("#when-text")
    play.click()
    assert play.inner_text() == "Pause" and said.inner_text().startswith("after 12,800")
    expect(page.locator("#when")).to_have_value("1")
    play.click()
    assert play.inner_text() == "Play" and play.get_attribute("aria-pressed") == "false"
    at = said.inner_text()
    page.wait_for_timeout(500)
    assert said.inner_text() == at
    play.click()
    expect(play).to_have_text("Play", timeout=8000)
    assert said.inner_text().startswith("after 64,000")


def test_without_scripts_all_pictures_are_there(browser: Browser, report: str) -> None:
    page = opened(browser, report, java_script_enabled=False)
    assert len(shown(page)) == 5
    assert not page.locator("#when").is_visible() and not page.locator("#play").is_visible()
    assert page.locator("#frames figcaption").first.inner_text().startswith("after 12,800 images")


def test_nothing_is_wider_than_the_window(browser: Browser, report: str) -> None:
    page = opened(browser, report)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for width in (320, 390, 768, 1010, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            """(width) => Array.from(document.querySelectorAll("h1, h2, h3, p, dd, dt, li, figure, img"))
                .filter((one) => !one.closest(".scroll, .skip, .hidden") && one.getBoundingClientRect().right > width + 1)
                .map((one) => one.outerHTML.slice(0, 120))""",
            width,
        )
        assert outside == []


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) { layers.push(parse(getComputedStyle(at).backgroundColor)); }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => value / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || ["STYLE", "SCRIPT"].includes(element.tagName) || element.closest("title")) continue;
    const style = getComputedStyle(element);
    if (style.visibility !== "visible" || !element.getClientRects().length) continue;
    const behind = ground(element);
    const colour = over(parse(element.closest("svg") ? style.fill : style.color), behind);
    const [high, low] = [light(colour), light(behind)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
    const key = element.tagName + "." + (element.getAttribute("class") || "") + " in " + element.parentElement.tagName;
    const least = large ? 3 : 4.5;
    if (!(key in found) || ratio / least < found[key][0] / found[key][1]) { found[key] = [ratio, least]; }
  }
  return found;
}"""
"""The contrast of every visible text with what lies behind it, and the least that WCAG 2 AA asks for, by kind of element."""


def test_contrast_is_that_of_wcag_aa_in_light_and_dark(browser: Browser, report: str) -> None:
    page = opened(browser, report)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.locator(".plot").first.focus()
    page.keyboard.press("End")
    grounds = set()
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        found = page.evaluate(CONTRAST)
        assert len(found) > 40
        assert any(key.startswith("text.") for key in found)  # the charts' too
        assert {key: ratio for key, (ratio, least) in found.items() if ratio < least} == {}
    assert len(grounds) == 2


def test_charts_are_read_by_keyboard_and_pointer(browser: Browser, report: str) -> None:
    page = opened(browser, report)
    plot, said = page.locator("#figure-kernel .plot"), page.locator("#figure-kernel .readout")
    assert said.inner_text() == ""
    plot.focus()
    page.keyboard.press("End")
    last = said.inner_text()
    assert last.startswith("64,000 images: ") and " to " in last and last.endswith("1,000 generated, 900 real")
    page.keyboard.press("ArrowLeft")
    assert said.inner_text().startswith("57,600 images: ")
    page.locator("#log-losses .plot").hover()
    told = page.locator("#log-losses .readout").inner_text()
    assert "discriminator " in told and "generator " in told and " to " in told


def test_the_policy_holds(browser: Browser, report: str) -> None:
    page = opened(browser, report)
    ran = page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            return Boolean(window.ran);
        }"""
    )
    assert ran is False
    reached = page.evaluate("fetch('data:text/plain,x').then(() => true, () => false)")
    assert reached is False


def test_less_motion_plays_more_slowly(browser: Browser, report: str) -> None:
    page = opened(browser, report, reduced_motion="reduce")
    page.locator("#play").click()
    page.wait_for_timeout(700)
    assert page.locator("#when-text").inner_text().startswith("after 12,800")


def test_a_run_with_a_single_grid_needs_no_slider(browser: Browser, tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1, channels=4)
    write_evaluation(run, 70_000, channels=4)
    page = opened(browser, write_report(run).as_uri())
    assert len(shown(page)) == 1
    assert not page.locator("#when").is_visible()
