"""The report as a page: well formed, self-contained, safe, small, complete, and there even when half of the run is not."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.judging.figures import KINDS
from limner.judging.report import build_report, write_report
from limner.recipe import Recipe
from limner.rundir import RunDir
from report_support import (
    Page,
    append,
    copying,
    figure,
    full_run,
    grid,
    log_line,
    metrics_line,
    png,
    write_evaluation,
)

MOST = 6_000_000
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return full_run(tmp_path_factory.mktemp("runs") / "letters")


@pytest.fixture(scope="module")
def page(run: RunDir) -> Page:
    return Page(build_report(run))


# --- the page ---------------------------------------------------------------------------------------------------------


def test_it_is_well_formed_and_has_the_parts_of_an_accessible_page(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.all("a")]
    assert links and all(link.startswith("#") and link[1:] in ids for link in links)
    for section in page.all("section"):
        assert section["aria-labelledby"] in ids
    assert all(image["alt"].strip() for image in page.all("img"))
    assert all(label["for"] in ids for label in page.all("label"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") == "true" for svg in page.all("svg"))


def test_headings_never_skip_a_level(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_tables_have_captions_and_headers(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption")) >= 5
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))


def test_it_loads_nothing_and_its_policy_names_its_own_script_and_style(run: RunDir, page: Page) -> None:
    html = build_report(run)
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "poster", "srcset", "data", "background", "xlink:href"):
            value = attributes.get(name, "")
            assert not value or value.startswith(("data:image/", "#")), (name, value[:80])
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes)
    assert not re.search(r"https?://(?!www\.w3\.org)", html)
    assert "url(" not in html and "@import" not in html
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for tag in ("style", "script"):
        (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_everything_of_a_run_is_there(page: Page) -> None:
    text = page.text
    for words in (
        "Close to the real images, less varied than they are; no sign of copying.",
        "64,000",  # images seen
        "900 images",  # trained on: 1,000 less 100 held out
        "32 \N{MULTIPLICATION SIGN} 32 grey",
        "No sign of copying",
        "generated, seed 17",
        "nearest: 00_a.png",
        "The discriminator won for long",
        "Over the last 6,400 images",
        "Advice: Raise generator.lr",
        "Training went on",
        "notes.txt.png",
        "8 of 8 grids",
        "2.13.0",
    ):
        assert words in text, words
    assert [chart["id"] for chart in page.all("figure") if chart.get("class") == "chart"] == [
        "figure-kernel",
        "figure-frechet",
        "figure-wasserstein",
        "figure-precision",
        "figure-coverage",
        "figure-diversity",
        "log-losses",
        "log-logits",
        "log-gradients",
    ]


def test_every_figure_has_its_interval_and_its_counts(run: RunDir) -> None:
    html = build_report(run).replace("\N{NO-BREAK SPACE}", " ")
    rows = re.search(r'<table class="figures".*?</table>', html, re.DOTALL)[0].split("<tr")[2:]  # type: ignore[index]
    assert len(rows) == len(KINDS)
    for row in rows:
        text = Page(f"<table><tr{row.split('</tbody>')[0]}</table>").text
        assert re.search(r"\d to \d", text), text
        assert "1,000 generated, 900 real" in text
        assert "real against real: 100 held out, 900 real" in text
    evaluations = re.search(r"The evaluations as a table.*?</table>", html, re.DOTALL)[0]  # type: ignore[index]
    assert evaluations.count("1,000 generated, 900 real") == 11
    assert evaluations.count(" to ") == 11 * len(KINDS)


def test_the_slider_covers_the_frames_and_each_says_when_it_was(page: Page) -> None:
    (slider,) = [entry for entry in page.all("input") if entry["type"] == "range"]
    frames = [entry["data-said"] for entry in page.all("li") if "data-said" in entry]
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "7", "7")
    assert len(frames) == 8
    assert frames[0] == "after 8,000 images"  # no line of the log is of this very moment
    assert frames[-1] == f"after 64,000 images, epoch {64_000 / 900:.1f}, the best snapshot"


def test_events_are_marked_on_the_time_axes(run: RunDir) -> None:
    html = build_report(run)
    chart = re.search(r'id="log-losses".*?</figure>', html, re.DOTALL)[0]  # type: ignore[index]
    assert "2. The discriminator won for long, after 19,200 images" in chart
    assert "3. Interrupted, with the state saved, after 38,400 images; 4. Training went on" in chart  # one flag
    assert '<g class="mark warning">' in chart


def test_the_recipes_differences_are_told(page: Page, run: RunDir) -> None:
    assert "From the shipped recipe quick" in page.text
    assert re.search(r"generator\.lr 0\.0005 0\.0001 changed", page.text)
    assert re.search(r"image\.width \N{EN DASH} 32 measured", page.text)
    assert re.search(r'training\.device "auto" "cpu" measured', page.text)


def test_it_is_quick_and_knows_no_torch(run: RunDir) -> None:
    code = (
        "import sys, time; from limner.rundir import RunDir; from limner.judging.report import build_report;"
        f"start = time.process_time(); build_report(RunDir.open({str(run.path)!r}));"
        "print('torch' in sys.modules, time.process_time() - start)"
    )
    torch, seconds = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert torch == "False"
    assert float(seconds) < 3


def test_it_is_written_whole_into_the_run(run: RunDir) -> None:
    path = write_report(run)
    assert path == run.path / "report.html"
    assert path.read_text("utf-8").endswith("</html>\n") or path.read_text("utf-8").endswith("</html>")
    assert not list(run.path.glob(".tmp-*"))


# --- hostile text -----------------------------------------------------------------------------------------------------


def test_text_from_the_run_stays_text(tmp_path: Path) -> None:
    run = full_run(tmp_path / "<b>run & 'co'", frames=2)
    events = [
        {
            "event": HOSTILE,
            "time": HOSTILE,
            "images": 3,
            "severity": HOSTILE,
            "evidence": HOSTILE,
            "advice": HOSTILE,
            HOSTILE: [HOSTILE],
        },
        {"event": "stopped", "images": 3, "reason": HOSTILE, "severity": "error"},
    ]
    append(run, "events.jsonl", events)
    keys = ("location", "kind", "title", "content_hash")
    run.write(
        "data.json",
        {
            **dict.fromkeys(keys, HOSTILE),
            "classes": {HOSTILE: 3},
            "skipped": [{"name": HOSTILE, "reason": HOSTILE}],
            "modes": {HOSTILE: 2},
            "warnings": [HOSTILE],
            "image": {"width": HOSTILE, "fit": HOSTILE},
            "held_out": {"count": 2, "how": HOSTILE},
            "count": 9,
        },
    )
    run.write("environment.json", {HOSTILE: HOSTILE})
    write_evaluation(
        run,
        65_000,
        extractor={"name": HOSTILE},
        figures={HOSTILE: figure(1.0, 0.1), "precision": figure(0.5, 0.1)},
        classes={HOSTILE: {"share": figure(0.1, 0.01)}},
        copying={
            **copying(HOSTILE),
            "pairs": [{"name": HOSTILE, "generated": HOSTILE, "nearest": "../../recipe.toml"}],
        },
        outlook={"sentence": HOSTILE},
    )
    run.write(
        "recipe.toml", Recipe.load("quick", {"about.summary": HOSTILE, "image.width": 8, "image.height": 8}).to_toml()
    )
    html = build_report(run)
    page = Page(html)
    assert "onerror" not in {name for _, attributes in page.tags for name in attributes}
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert html.count("<script") == html.count("</script") == 1
    assert "alert(1)</script>" not in html.split("<script>")[1]
    assert "{{ 7*7 }}" in page.text  # told as it stands, and never run as a template
    assert page.text.count("alert(1)") > 20
    assert "<b>run & 'co'" in page.text


def test_pictures_outside_the_evaluation_are_not_shown(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1)
    secret = png(grid(1, 16, 1, 77, gap=0))
    (tmp_path / "secret.png").write_bytes(secret)
    pairs = [
        {"name": "a", "generated": str(tmp_path / "secret.png"), "nearest": "../../../secret.png"},
        {"name": "b", "generated": "pairs", "nearest": "pairs/00-nearest.png\0"},
        {"name": "c", "generated": 3, "nearest": None},
        7,
    ]
    write_evaluation(run, 65_000, copying={**copying(), "pairs": pairs})
    html = build_report(run)
    assert base64.b64encode(secret).decode()[:200] not in html
    assert Page(html).text.count("no picture") == 8


def test_huge_and_deep_values_are_cut(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", frames=1)
    deep: object = "bottom"
    for _ in range(300):
        deep = [deep]
    append(run, "events.jsonl", [{"event": "note", "images": 1, "evidence": "x" * 2_000_000, "more": deep}])
    append(
        run,
        "events.jsonl",
        [{"event": f"kind {number}", "images": number, "evidence": "y" * 500} for number in range(3000)],
    )
    run.write(
        "data.json", {"classes": {f"class {number}": number for number in range(20_000)}, "location": "z" * 100_000}
    )
    run.write("environment.json", {f"key {number}": "v" * 5000 for number in range(3000)})
    html = build_report(run)
    assert len(html.encode()) < 1_500_000
    assert "... (cut)" in html
    assert "more classes" in html


# --- size -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [3, 4])
def test_many_large_grids_stay_within_six_megabytes(tmp_path: Path, channels: int) -> None:
    run = full_run(tmp_path / "run", frames=0, steps=4000)
    append(run, "log.jsonl", [log_line(step) for step in range(20, 20_000, 10)])
    append(run, "metrics.jsonl", [metrics_line(step) for step in range(30, 20_000, 30)])
    # Noise all over: nothing compresses worse than this.
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (530, 530, channels), np.uint8) for _ in range(3)]
    sheets = [png(Image.fromarray(pixels)) for pixels in noise]
    for place in range(125):
        (run.path / "samples" / f"{1600 * (place + 1):09d}.png").write_bytes(sheets[place % 3])
    folder = write_evaluation(run, 2_000_000, pairs=12, side=120, channels=channels, copying=copying("copies", 1.0, 12))
    for name in ("real.png", "generated.png"):
        (folder / name).write_bytes(sheets[0])
    start = time.process_time()
    html = build_report(run)
    seconds = time.process_time() - start
    size = len(html.encode())
    assert 2_000_000 < size < MOST
    assert seconds < 15
    page = Page(html)
    frames = [entry["data-said"] for entry in page.all("li") if "data-said" in entry]
    assert len(frames) == 24
    assert frames[0].startswith("after 1,600 images") and frames[-1].startswith("after 200,000 images")
    for image in page.all("img"):
        with Image.open(io.BytesIO(base64.b64decode(image["src"].split(",", 1)[1]))) as opened:
            opened.load()
    points = [json.loads(plot["data-points"]) for plot in page.all("div") if plot.get("class") == "plot"]
    assert len(points) == 9 and all(10 < len(one) <= 400 for one in points)


def test_small_grids_are_kept_as_they_are(run: RunDir, page: Page) -> None:
    first = run.samples()[0][1].read_bytes()
    assert any(image["src"].endswith(base64.b64encode(first).decode()) for image in page.all("img"))
