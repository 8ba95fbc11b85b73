"""The page of findings is made of the committed studies and their results."""

from __future__ import annotations

import json
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from conftest import discs
from limner.recipe import Recipe, names

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "experiments" / "findings").glob("q*.toml"))
RESULTS = ROOT / "experiments" / "findings" / "results"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "experiments" / "findings"), *sys.path])


def test_the_page_is_what_its_results_make():
    import page

    written = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    assert page.text(STUDIES, RESULTS, ROOT / "docs") == written, "run experiments/findings/run.py --stage page"
    assert "Not measured yet" not in written and "None follows yet" not in written


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_study_has_results_of_two_seeds_and_a_sheet(study: Path):
    told, *rows = (json.loads(line) for line in (RESULTS / f"{study.stem}.jsonl").read_text("utf-8").splitlines())
    given = tomllib.loads(study.read_text(encoding="utf-8"))
    seeds = {name: set() for name in (one["name"] for one in told["configurations"])}
    for row in rows:
        seeds[row["configuration"]].add(row["seed"])
    assert all(len(found) >= 2 for found in seeds.values()) and {row["state"] for row in rows} == {"done"}
    assert given["question"] and given["source"] and given["advice"]
    assert (RESULTS / "sheets" / f"{study.stem}.png").is_file()


def test_results_are_of_the_studies_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A recipe or a study that has changed since has other digests: its results would be of something else."""
    import run

    for name in ("LIMNER_TEST_DATA", "LIMNER_FINDINGS"):
        monkeypatch.setenv(name, "")  # what is set below is taken back
    (tmp_path / "fashion-mnist").mkdir()
    for number, picture in enumerate(discs(4, 16, 16, 1)):  # of the collections, only their names count
        picture.save(tmp_path / "fashion-mnist" / f"{number}.png")
    for name in ("initials-64.zip", "battlemaps-750.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for path in (tmp_path / "fashion-mnist").iterdir():
                archive.write(path, path.name)
    run.prepared(tmp_path, tmp_path / "work")
    stale = [path.stem for path in STUDIES if run.known_digest(RESULTS / f"{path.stem}.jsonl") != run.digest(path)]
    assert stale == [], "run make findings"


def test_recipes_cite_findings():
    folder = ROOT / "src" / "limner" / "recipes"
    citing = {name for name in names() if "docs/findings.md" in (folder / f"{name}.toml").read_text(encoding="utf-8")}
    assert citing >= {"initials", "dcgan", "fashion", "quick", "mapmaker", "wgan", "wgan-gp", "vanilla"}
    # What the advice says that they have.
    assert [Recipe.load(name).training.batch_size for name in ("initials", "quick", "fashion", "dcgan")] == [
        32,
        32,
        32,
        128,
    ]
