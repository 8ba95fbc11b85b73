"""The studio in a real browser: a training is started from the form, watched, stopped, resumed, explored and compared."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser_support import page_or_fail
from report_support import full_run
from test_report_browser import CONTRAST, SCHEMES

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/")
PATIENCE = 90_000
"""Milliseconds that a training may take to begin on a busy machine."""
FIELDS = {
    "#field-image-width": "16",
    "#field-image-height": "16",
    "#field-training-batch_size": "8",
    "#length": "2000000",
}
SMALL = {
    "#field-generator-width": "2",
    "#field-discriminator-width": "2",
    "#field-network-latent": "8",
    "#field-snapshots-log_steps": "4",
    "#field-evaluation-images": "32",
    "#field-evaluation-every_images": "1600",
    "#field-snapshots-every_images": "400",
    "#field-training-precision": "float32",
    "#field-training-device": "cpu",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs, of which one has finished, and data."""
    folder = tmp_path_factory.mktemp("studio")
    (folder / "runs").mkdir()
    full_run(folder / "runs" / "letters", frames=5, side=16)
    return folder


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """The real command's, until the tests are done; no training survives them."""
    page_or_fail()
    words = [sys.executable, "-m", "limner", "studio", "--no-browser", "--port", "0"]
    server = subprocess.Popen(
        [*words, "--runs", str(place / "runs"), "--data", str(place)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )
    assert server.stdout is not None
    found = ADDRESS.search(server.stdout.readline())
    assert found
    yield found[0]
    for found_lock in (place / "runs").glob("*/lock"):  # a test that failed may have left one at work
        with suppress(ValueError, ProcessLookupError):
            os.kill(int(found_lock.read_text().split("\n")[0]), signal.SIGKILL)
    server.terminate()
    server.wait(30)
    server.stdout.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A window whose console has nothing to say."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(address)
    yield opened
    opened.close()
    context.close()
    assert [text for text in said if "status of 4" not in text and "WebGPU" not in text] == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def points(page: Page, title: str) -> int:
    """How many points a chart has."""
    plot = page.locator("figure.chart", has_text=title).locator(".chart-plot")
    return int(plot.get_attribute("data-points") or 0) if plot.count() else 0


def images(page: Page) -> int:
    """Images seen, as the page of a run says it."""
    said = page.locator(".run-progress p").first.inner_text()
    return int(re.sub(r"\D", "", said.split(" ")[0]))


def grown(page: Page, title: str, before: int) -> int:
    """Wait until a chart has more points than before; how many. (The page's policy lets nobody wait by script.)"""
    for _ in range(PATIENCE // 100):
        if (now := points(page, title)) > before:
            return now
        page.wait_for_timeout(100)
    raise AssertionError(f"{title}: still {before} points")


def test_a_training_from_its_form_to_the_comparison(page: Page, address: str, place: Path) -> None:
    page.get_by_role("link", name="New training").click()
    expect(page.get_by_role("heading", name="New training")).to_be_visible()
    page.get_by_role("button", name="procedural:initials").click()
    page.get_by_role("radio", name=re.compile("^quick")).check()
    page.locator("#length + select").select_option("training.images")
    for field, value in FIELDS.items():
        page.locator(field).fill(value)
    page.locator("#collection").fill("procedural:initials:120")
    page.locator("#run-name").fill("letters")
    expect(page.locator("#error-name")).to_have_text("there is a run 'letters' already")
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    page.locator("#run-name").fill("story")
    for section in ("generator", "discriminator", "network", "snapshots", "evaluation", "training"):
        page.locator(f"details[data-section={section}] > summary").click()
    for field, value in SMALL.items():
        if page.locator(field).evaluate("one => one.tagName") == "SELECT":
            page.locator(field).select_option(value)
        else:
            page.locator(field).fill(value)
    page.locator("#field-generator-lr").fill("7")
    wrong = page.locator("[data-field='generator.lr'] .error-text")
    expect(wrong).to_have_text("must be a number from over 0 to 1")
    expect(page.locator("#field-generator-lr")).to_have_attribute("aria-invalid", "true")
    page.locator("#field-generator-lr").fill("0.0002")
    expect(wrong).to_be_empty()
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    page.get_by_role("button", name="Start training").click()

    expect(page.get_by_role("heading", name="story", exact=True)).to_be_visible()
    expect(page.locator(".state-training")).to_be_visible(timeout=PATIENCE)
    before = grown(page, "Losses", 0)
    grown(page, "Losses", before)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".state-paused")).to_be_visible()
    held = points(page, "Losses")
    page.wait_for_timeout(2500)
    assert points(page, "Losses") - held <= 4  # what was written before it was held
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".state-training")).to_be_visible()
    page.get_by_role("button", name="Stop and save").click()
    expect(page.locator(".run-head .state-interrupted")).to_be_visible(timeout=PATIENCE)
    seen = images(page)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".run-head .state-training")).to_be_visible(timeout=PATIENCE)
    for _ in range(PATIENCE // 100):
        if images(page) > seen:
            break
        page.wait_for_timeout(100)
    assert images(page) > seen > 0
    page.get_by_role("button", name="Stop and save").click()
    expect(page.locator(".run-head .state-interrupted")).to_be_visible(timeout=PATIENCE)
    events = [text.split("\n")[0] for text in page.locator(".events li").all_inner_texts()]
    assert events[-1] == "started" and events[0] == "interrupted" and "resumed" in events
    assert not list((place / "runs" / "story").glob("*.log")), "what its process said lies elsewhere"

    page.get_by_role("link", name="Runs", exact=True).first.click()
    for name in ("letters", "story"):
        page.get_by_label(f"Compare {name}").check()
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="Side by side")).to_be_visible()
    expect(page.locator(".side .grid-picture")).to_have_count(2)
    row = page.locator(".differences tr", has_text="generator.width")
    expect(row.locator("td").nth(1)).to_have_text("2")
    page.get_by_role("slider", name="Images seen").focus()
    page.keyboard.press("Home")
    expect(page.locator(".side p").last).to_contain_text("images")
    assert points(page, "Over images seen") > 1

    # A snapshot, drawn here; the pictures are those that a published page draws (test_page.py holds them to PyTorch's).
    page.goto(f"{address}?run=story&explore=newest")
    expect(page.get_by_label("Snapshot")).to_be_visible()
    page.locator(".explore-host .explorer").wait_for(timeout=PATIENCE)
    expect(page.locator(".explore-host h1")).to_be_visible()


def test_a_collection_is_looked_at(page: Page, place: Path) -> None:
    pictures = place / "pictures"
    pictures.mkdir()
    for grid in (place / "runs" / "letters" / "samples").glob("*.png"):
        (pictures / grid.name).write_bytes(grid.read_bytes())
    (pictures / "copy.png").write_bytes(grid.read_bytes())
    page.get_by_role("link", name="Data").click()
    page.get_by_role("button", name="pictures/").click()
    page.get_by_role("button", name="take this folder").click()
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_role("heading", name="What is there")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".finding summary").first).to_contain_text("groups of exact copies")
    assert page.locator(".sheet img").evaluate("one => one.decode().then(() => one.naturalWidth)") > 900
    page.get_by_role("link", name="Train on it").click()
    expect(page.locator("#collection")).to_have_value(str(pictures))


@pytest.mark.parametrize("query", ["", "?run=letters", "?compare=letters&compare=story", "?train", "?data"])
def test_every_view_fits_its_window_and_can_be_read(page: Page, address: str, query: str) -> None:
    page.goto(address + query)
    page.locator("h1").first.wait_for()
    page.wait_for_timeout(300)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for width in (1280, 768, 390, 320):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(400)  # colours change gradually
        found = page.evaluate(CONTRAST)
        assert {key: ratio for key, (ratio, least) in found.items() if ratio < least - 0.01} == {}
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button, a[href]")].filter((one) => {
            const labelled = one.labels && one.labels.length || one.getAttribute("aria-label") || one.textContent.trim();
            return !labelled && one.getClientRects().length;
        }).map((one) => one.outerHTML.slice(0, 160))"""
    )
    assert unnamed == []


def test_a_run_that_is_not_there_is_told(page: Page, address: str) -> None:
    page.goto(f"{address}?run=nothing")
    expect(page.get_by_role("alert").first).to_have_text("There is no run nothing.")
