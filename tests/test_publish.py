"""A published page in a real browser: it draws what PyTorch draws, and its links are the very pictures."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from browser_support import chromium, file_server, page_or_fail
from conftest import discs
from export_support import small
from limner import train
from limner.generator import TrainedGenerator, load, slerp
from limner.noise import seed_of
from limner.sharing.export import export_safetensors
from limner.sharing.publish import Published, publish
from limner.sharing.serving import serve

SITE = "deep/down/site"
FULL, HALF = 2, 8
"""Steps of 255 by which a picture may differ, with weights in full and in half precision."""


@dataclass(frozen=True)
class Site:
    """A published page behind a plain server of files, one folder deep."""

    made: Published
    generator: TrainedGenerator
    url: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few seconds, with evaluations, on 120 grey pictures of 16x16."""
    page_or_fail()
    folder = tmp_path_factory.mktemp("discs")
    for number, picture in enumerate(discs(120, 16, 16, 1)):
        picture.save(folder / f"disc{number:03d}.png")
    overrides = {
        "image.width": 16,
        "image.height": 16,
        "training.images": 960,
        "training.batch_size": 16,
        "training.device": "cpu",
        "training.precision": "float32",
        "generator.width": 8,
        "discriminator.width": 8,
        "network.latent": 12,
    }
    return train(folder, "quick", overrides=overrides, runs=tmp_path_factory.mktemp("runs"), name="discs").run.path


@pytest.fixture(scope="module")
def site(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The run's page, with weights in half precision."""
    root = tmp_path_factory.mktemp("host")
    made = publish(trained, root / SITE, name="Discs & <rings>", licence="CC0")
    with file_server(root) as address:
        yield Site(made, load(trained), f"{address}/{SITE}/")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page in full precision, of wide pictures with transparency and three classes."""
    root = tmp_path_factory.mktemp("host")
    file = tmp_path_factory.mktemp("file") / "kinds.safetensors"
    generator = small("quick", 20, 12, 4, classes=3)
    export_safetensors(generator, file)
    made = publish(file, root / SITE, half=False)
    with file_server(root) as address:
        yield Site(made, generator, f"{address}/{SITE}/")


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a page whose generator draws: ``opened(site, "#picture=7", viewport=...)``; it may not complain or ask others."""
    contexts, complaints = [], []

    def go(site: Site, hash: str = "", **settings: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked(request.url))
        page.goto(site.url + hash)
        expect(page.locator("[data-provider]")).to_contain_text("Drawn in your browser", timeout=30_000)
        return page

    def asked(url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "http://localhost:", "blob:")):
            complaints.append(url)

    yield go
    for context in contexts:
        context.close()
    assert complaints == []


def pixels(canvas: Locator) -> np.ndarray:
    """What a canvas shows, RGBA [h, w, 4], once its picture is drawn."""
    expect(canvas).to_have_attribute("data-drawn", "yes", timeout=15_000)
    shape, values = canvas.evaluate(
        "(c) => [[c.height, c.width], [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    return np.asarray(values, np.int16).reshape(*shape, 4)


def tile(page: Page, seed: int) -> Locator:
    return page.locator(f".tile-open[data-seed='{seed}'] canvas")


def grey(drawn: np.ndarray) -> np.ndarray:
    """Of an opaque grey picture: its one channel [h, w, 1]."""
    assert (drawn[..., :3] == drawn[..., :1]).all() and (drawn[..., 3] == 255).all()
    return drawn[..., :1]


def apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(np.int16) - other.astype(np.int16)).max())


def saved(page: Page, folder: Path, button: str = "Save PNG") -> Image.Image:
    """The picture that a button lets the visitor keep."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).locator("visible=true").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return Image.open(path)


def test_sixteen_pictures_are_pytorchs_in_half_precision(site: Site, opened: Open) -> None:
    page = opened(site)
    assert site.made.exported.half
    expected = site.generator.draw_seeds(range(16))
    assert len({picture.tobytes() for picture in expected}) == 16 and expected.std() > 10
    worst = max(apart(grey(pixels(tile(page, seed))), expected[seed]) for seed in range(16))
    assert worst <= HALF
    expect(page.locator("h1")).to_have_text("Discs & <rings>")
    assert page.title() == "Discs & <rings>"
    loaded = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert not [name for name in loaded if "jspi" in name]


def test_full_precision_is_nearer_and_classes_are_chosen_by_name(kinds: Site, opened: Open, tmp_path: Path) -> None:
    page = opened(kinds, "#picture=7")
    own = saved(page, tmp_path)  # exact, where a canvas rounds what is half transparent
    assert own.mode == "RGBA" and own.size == (20, 12)
    assert apart(np.asarray(own), kinds.generator.draw_seeds([7])[0]) <= FULL
    page.keyboard.press("Escape")
    page.get_by_label("Class").select_option(label="kind 2")
    assert "class=kind%202" in page.url
    page.locator(".tile-open[data-seed='7']").click()
    expect(page.locator("#picture-title")).to_have_text("Seed 7")
    expect(page.locator(".overlay.picture p").first).to_have_text("kind 2")
    chosen = np.asarray(saved(page, tmp_path))
    assert apart(chosen, kinds.generator.draw_seeds([7], "kind 2")[0]) <= FULL < apart(chosen, np.asarray(own))


def test_truncation_multiplies_the_latents(site: Site, opened: Open) -> None:
    page = opened(site)
    page.get_by_label("Truncation").fill("0.5")
    expected = site.generator.draw(site.generator.latents([3]) * np.float32(0.5))[0]
    plain = site.generator.draw_seeds([3])[0]
    assert apart(expected, plain) > HALF
    expect(page).to_have_url(re.compile(r"#truncation=0\.5$"))
    assert apart(grey(pixels(tile(page, 3))), expected) <= HALF


def test_a_saved_picture_comes_back_by_its_link(site: Site, opened: Open, tmp_path: Path) -> None:
    page = opened(site)
    page.get_by_label("Truncation").fill("0.8")
    page.locator(".tile-open[data-seed='5']").click()
    page.locator(".near-open").nth(3).click()  # a variation
    expect(page.locator("#picture-title")).to_contain_text("% from 5 to")
    first = saved(page, tmp_path)
    link = first.info["Source"]
    assert link == page.url and "picture=5~" in link and "truncation=0.8" in link and first.info["Copyright"] == "CC0"
    again = opened(Site(site.made, site.generator, link))
    shown = grey(pixels(again.locator(".overlay.picture canvas.large")))
    np.testing.assert_array_equal(np.asarray(first)[..., None], shown)
    towards = int(re.search(r"5~(\d+)@0\.18", link)[1])  # type: ignore[index]
    start, end = site.generator.latents([5, towards])
    latents = (slerp(start, end, np.asarray(0.18)) * 0.8).astype(np.float32)[None]
    assert apart(shown, site.generator.draw(latents)[0]) <= HALF


def test_two_chosen_pictures_are_blended(site: Site, opened: Open, tmp_path: Path) -> None:
    page = opened(site)
    for seed in (2, 9):
        page.locator(f".tile-open[data-seed='{seed}']").hover()
        page.get_by_role("button", name=f"Choose seed {seed}", exact=True).click()
    page.get_by_role("button", name="Blend", exact=True).click()
    place = page.get_by_label("Place between the pictures")
    place.fill("0.25")
    place.dispatch_event("change")
    start, end = site.generator.latents([2, 9])
    expected = site.generator.draw(slerp(start, end, np.asarray(0.25)).astype(np.float32)[None])[0]
    shown = grey(pixels(page.locator(".overlay.walk canvas.large")))
    assert apart(shown, expected) <= HALF
    assert page.url.endswith("#walk=2,9&at=0.25")
    np.testing.assert_array_equal(np.asarray(saved(page, tmp_path))[..., None], shown)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('.walk canvas.large').dataset.picture !== '2~9@0.25'")
    page.get_by_role("button", name="Pause").click()
    page.go_back()
    expect(page.locator(".overlay.walk")).to_be_hidden()
    sheet = saved(page, tmp_path, "Sheet")
    assert sheet.size == (1 + 2 * 17, 1 + 17) and sheet.info["Comment"] == "Row by row: 2, 9"
    drawn = np.asarray(sheet)[1:17, 1:17, None]
    assert apart(drawn, site.generator.draw_seeds([2])[0]) <= HALF


def test_a_word_is_a_seed_and_a_wrong_number_is_told(site: Site, opened: Open) -> None:
    page = opened(site)
    field = page.get_by_label("A word or a number is a picture")
    field.fill(str(2**64))
    expect(page.locator("#seed-told")).to_contain_text(f"from 0 to {2**64 - 1}")
    field.fill("Antonia")
    expect(page.locator("#seed-told")).to_have_text(f"is seed {seed_of('Antonia')}")
    field.press("Enter")
    expect(page.locator("#picture-title")).to_have_text(f"Seed {seed_of('Antonia')}")
    shown = grey(pixels(page.locator(".overlay.picture canvas.large")))
    assert apart(shown, site.generator.draw_seeds([seed_of("Antonia")])[0]) <= HALF


def test_the_wall_is_endless_and_keeps_few_elements(site: Site, opened: Open) -> None:
    page = opened(site)
    page.evaluate("scrollTo(0, 400_000)")
    page.wait_for_function("+document.querySelector('.tile:not([hidden]) .tile-open').dataset.seed > 10_000")
    seen = [
        int(seed)
        for seed in page.locator(".tile:not([hidden]) .tile-open").evaluate_all("t => t.map(b => b.dataset.seed)")
    ]
    assert len(seen) < 250 and max(seen) - min(seen) == len(seen) - 1
    middle = sorted(seen)[len(seen) // 2]
    assert apart(grey(pixels(tile(page, middle))), site.generator.draw_seeds([middle])[0]) <= HALF
    page.goto(site.url + f"#seed={2**64 - 3}")  # its last three
    expect(page.locator(f".tile-open[data-seed='{2**64 - 1}']")).to_be_visible()
    assert page.locator(".tile:not([hidden])").count() == 3


def test_it_works_by_keyboard_and_says_what_is_where(site: Site, opened: Open) -> None:
    page = opened(site)
    expect(page.locator(".tile-open[tabindex='0']")).to_have_count(1)
    page.locator(".tile-open[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".tile-open[data-seed='1']")).to_be_focused()
    page.keyboard.press("c")
    expect(page.get_by_role("region", name="Chosen pictures")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Seed 1")).to_be_visible()
    expect(page.get_by_role("img", name="Seed 1")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog", name="Seed 2")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".tile-open[data-seed='2']")).to_be_focused()
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select')].filter((e) => !(e.ariaLabel || e.textContent.trim()
           || e.labels?.length)).map((e) => e.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_on_a_phone(site: Site, opened: Open, scheme: str) -> None:
    page = opened(site, color_scheme=scheme, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) > 380) == (scheme == "light")
    for hash in ("#picture=7", "#walk=7,12,9&at=0.4", "#story"):
        page.goto(site.url + hash)
        assert page.evaluate(fits), hash
    expect(page.locator(".story-grid")).to_be_visible()


def test_the_story_goes_through_time(site: Site, opened: Open) -> None:
    page = opened(site, "#story")
    grids = json.loads((site.made.path / "limner.json").read_text())["story"]["grids"]
    said, image = page.locator(".story-when"), page.locator(".story-grid")
    expect(said).to_have_text("after 960 images")
    slider = page.get_by_label("Images seen")
    slider.focus()
    page.keyboard.press("Home")
    assert image.get_attribute("src", timeout=1000).endswith(grids[0]["url"])  # type: ignore[union-attr]
    assert said.inner_text() == slider.get_attribute("aria-valuetext")
    expect(page.locator(".curve canvas")).to_be_visible()
    page.get_by_role("button", name="Explore").click()
    expect(tile(page, 0)).to_be_visible()


def test_a_wrong_link_and_a_damaged_generator_are_told(site: Site, opened: Open, browser: Browser) -> None:
    page = opened(site, "#picture=7~x&truncation=9")
    expect(page.locator(".toast")).to_contain_text("truncation is not understood")
    assert tile(page, 0).is_visible()
    context = browser.new_context()
    context.route("**/*.onnx", lambda route: route.fulfill(body=b"something else"))
    broken = context.new_page()
    broken.goto(site.url)
    expect(broken.locator(".status-text")).to_contain_text("not the one that this page was made with", timeout=15_000)
    expect(broken.locator(".tile-open canvas[data-drawn='sample']").first).to_be_visible()
    context.close()


def test_served_by_limner_it_has_threads(site: Site, browser: Browser) -> None:
    told: Queue[str] = Queue()
    threading.Thread(target=serve, args=(site.made.path, 0), kwargs={"told": told.put}, daemon=True).start()
    page = browser.new_context().new_page()
    page.goto(f"{told.get(timeout=20)}?threads=2")
    expect(page.locator("[data-provider]")).to_contain_text("WebAssembly, 2 threads", timeout=30_000)
    assert page.evaluate("crossOriginIsolated")
    assert apart(grey(pixels(tile(page, 1))), site.generator.draw_seeds([1])[0]) <= HALF
    page.context.close()


def test_with_webgpu_it_draws_the_same_and_loads_that_runtime_alone(site: Site, browser: Browser) -> None:
    """By Chromium's own GPU in software (SwiftShader). Systems whose Chromium comes without it skip this."""
    flags = ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--use-vulkan=swiftshader"]
    kind = browser.browser_type
    opened = kind.launch(
        executable_path=chromium(kind.executable_path), args=[*flags, "--enable-features=Vulkan,WebGPU"]
    )
    try:
        page = opened.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(site.url)
        if not page.evaluate("navigator.gpu ? navigator.gpu.requestAdapter().then((found) => !!found) : false"):
            pytest.skip("this Chromium has no WebGPU")
        expect(page.locator("[data-provider]")).to_contain_text("by WebGPU", timeout=60_000)
        for seed in (0, 7):
            assert apart(grey(pixels(tile(page, seed))), site.generator.draw_seeds([seed])[0]) <= HALF
        assert [url.rpartition("/")[2] for url in asked if url.endswith(".wasm.gz")] == [
            "ort-wasm-simd-threaded.jspi.wasm.gz"
        ]
    finally:
        opened.close()
