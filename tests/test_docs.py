"""The pages in docs/ become a site without a warning, and its reference has what it says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", out / "trees", DOCS, out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_in_the_site_and_in_its_contents(site: Path):
    pages = {path.stem for path in DOCS.glob("*.md")}
    start = (site / "index.html").read_text(encoding="utf-8")
    assert pages >= {
        "index",
        "quickstart",
        "guide",
        "data",
        "recipes",
        "metrics",
        "publish",
        "scaling",
        "benchmarks",
        "api",
    }
    for page in pages:
        assert (site / f"{page}.html").is_file()
        assert page == "index" or re.search(rf'class="reference internal" href="{page}\.html"', start), page


def test_the_reference_is_made_of_the_docstrings(site: Path):
    text = re.sub(r"<[^>]+>", "", (site / "api.html").read_text(encoding="utf-8"))
    for words in (
        "Go on with a training from its newest checkpoint",
        "Philox-4x32-10",
        "Spherical linear interpolation",
    ):
        assert words in text


def test_every_picture_of_the_pages_is_there_and_used(site: Path):
    shown = set()
    for page in (*DOCS.glob("*.md"), ROOT / "README.md"):
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            picture = (page.parent / target).resolve()
            assert picture.is_file(), f"{page.name}: {target}"
            shown.add(picture)
    there = {path.resolve() for path in (DOCS / "images").rglob("*") if path.is_file()}
    assert there <= shown, f"shown nowhere: {sorted(path.name for path in there - shown)}"


def test_the_published_page_is_whole_and_goes_along(site: Path):
    """Every file that it lists is there, is small enough to be kept, and is in the site."""
    listed = json.loads((DOCS / "page" / "limner-files.json").read_text(encoding="utf-8"))["files"]
    assert {"index.html", "limner.json", "home.json"} <= set(listed)
    for name in listed:
        assert (DOCS / "page" / name).stat().st_size < 4 << 20, name
        assert (site / "page" / name).read_bytes() == (DOCS / "page" / name).read_bytes()
    document = json.loads((DOCS / "page" / "limner.json").read_text(encoding="utf-8"))
    model = (DOCS / "page" / document["model"]["url"]).read_bytes()
    assert hashlib.sha256(model).hexdigest() == document["model"]["sha256"]
    assert "page/index.html" in (site / "index.html").read_text(encoding="utf-8")
