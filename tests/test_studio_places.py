"""No file outside of the studio's folders is served or written, whatever a name or a link says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from limner.errors import InputError
from limner.studio.places import Missing, Places
from report_support import full_run
from studio_support import client, studio

SECRET = b"nobody's business"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Runs and data beside a file that neither holds."""
    for name in ("runs", "data", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere" / "recipe.toml").write_bytes(SECRET)
    (tmp_path / "elsewhere" / "000000064.png").write_bytes(SECRET)
    return Places(tmp_path / "runs", ((tmp_path / "data").resolve(),))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../elsewhere", "a/b", "/etc", ".studio", ".tmp-1-x", "a\0b", "a\nb", "x" * 300, "\udcff"]
)
def test_what_is_no_name_is_no_run(places: Places, name: str) -> None:
    with pytest.raises(Missing):
        places.run(name)


def test_a_run_that_is_a_link_has_to_stay_inside(places: Places, tmp_path: Path) -> None:
    run = full_run(places.runs / "real").path
    (places.runs / "alias").symlink_to(run)
    (places.runs / "out").symlink_to(tmp_path / "elsewhere")
    (places.runs / "loop").symlink_to(places.runs / "loop")
    assert places.run("alias") == places.runs / "alias"
    for name in ("out", "loop"):
        with pytest.raises(Missing):
            places.run(name)


def test_links_in_a_run_are_not_followed(places: Places, tmp_path: Path) -> None:
    run = full_run(places.runs / "run", frames=1)
    good = places.read("run", "samples", "000064000.png")
    assert good.content.startswith(b"\x89PNG")
    (run.path / "samples" / "000000064.png").symlink_to(tmp_path / "elsewhere" / "000000064.png")
    (run.path / "report.html").symlink_to(tmp_path / "elsewhere" / "recipe.toml")
    os.mkfifo(run.path / "samples" / "000000128.png")
    for parts in (
        ("samples", "000000064.png"),
        ("samples", "000000128.png"),
        ("report.html",),
        ("samples", "..", "recipe.toml"),
        ("samples", ""),
        ("samples",),
        ("nothing",),
    ):
        with pytest.raises(Missing):
            places.read("run", *parts)
    (run.path / "samples").rename(run.path / "old")
    (run.path / "samples").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Missing):
        places.read("run", "samples", "000000064.png")


def test_collections_lie_in_the_data_folders(places: Places, tmp_path: Path) -> None:
    folder = places.data[0] / "maps"
    folder.mkdir()
    assert places.collection(str(folder)) == str(folder)
    assert places.collection("maps") == str(folder)
    assert places.collection("procedural:initials:200") == "procedural:initials:200"
    (places.data[0] / "list.json").write_text(json.dumps({"location": str(tmp_path / "elsewhere")}))
    (places.data[0] / "away").symlink_to(tmp_path / "elsewhere")
    for location in (
        str(tmp_path / "elsewhere"),
        "../elsewhere",
        "maps/../../elsewhere",
        "away",
        "/etc",
        "~",
        "nothing",
        "list.json",
        "hf:owner/name",
        "fashion-mnist",
        "procedural:other",
        "procedural:initials:200; rm",
        "a\0b",
    ):
        with pytest.raises(InputError):
            places.collection(location)


def test_links_in_a_collection_have_to_stay_inside(places: Places, tmp_path: Path) -> None:
    folder, other = places.data[0] / "maps", places.data[0] / "other"
    for path in (folder / "deep", other):
        path.mkdir(parents=True)
    (folder / "deep" / "near").symlink_to(other)
    assert places.collection("maps") == str(folder)
    (other / "far.png").symlink_to(tmp_path / "elsewhere" / "000000064.png")
    with pytest.raises(InputError, match="leads out of the data folders"):
        places.collection("maps")


def test_folders_are_listed_only_inside(places: Places, tmp_path: Path) -> None:
    root = places.data[0]
    (root / "maps").mkdir()
    for name in ("a.zip", "b.PNG", "c.png", ".hidden", "list.json", "notes.txt"):
        (root / name).touch()
    found = places.children(str(root))
    assert found == {"path": str(root), "parent": None, "folders": ["maps"], "files": ["a.zip"], "pictures": 2}
    assert places.children("maps")["parent"] == str(root)
    assert places.children("a.zip") == found  # the folder that it lies in
    for location in ("..", str(tmp_path), "../elsewhere/recipe.toml"):
        with pytest.raises(InputError):
            places.children(location)


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs/../../elsewhere/samples/64.png",
        "/api/runs/%2e%2e%2felsewhere/samples/64.png",
        "/api/runs/..%5celsewhere",
        "/api/runs/out/samples/64.png",
        "/api/runs/out",
        "/api/runs/run/snapshots/64000/../../recipe.toml",
        "/api/runs/run/snapshots/64000/%2e%2e%2f%2e%2e%2frecipe.toml",
        "/api/runs/run/snapshots/64000/samples/../../../x",
        "/../elsewhere/recipe.toml",
        "/%2e%2e/elsewhere/recipe.toml",
        "/api/folders?path=../elsewhere",
    ],
)
def test_no_address_leads_out(places: Places, tmp_path: Path, path: str) -> None:
    full_run(places.runs / "run", frames=1)
    (places.runs / "out").symlink_to(tmp_path / "elsewhere")
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("the page")
    answer = client(studio(tmp_path, page=page)).get(path)
    assert answer.status_code in (400, 404)
    assert SECRET not in answer.content


def test_a_report_is_shown_in_a_sandbox(places: Places, tmp_path: Path) -> None:
    run = full_run(places.runs / "run", frames=1)
    run.write("report.html", "<script>fetch('/api/runs')</script>")
    headers = client(studio(tmp_path)).get("/api/runs/run/report").headers
    assert headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in headers["content-security-policy"]
