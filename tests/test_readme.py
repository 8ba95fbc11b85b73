"""What the README and the guide say can be done is done here, with less to do."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from conftest import Cli, discs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
LESS = "--images 32 --batch-size 8 --set generator.width=4 --set discriminator.width=4 --set network.latent=8"


def blocks(text: str, language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [body for named, body in found if named == language]


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    folder = tmp_path / "maps"
    folder.mkdir()
    for number, picture in enumerate(discs(12, 40, 24, 3)):
        picture.save(folder / f"{number}.jpg")
    return folder


RATES = """
data = "maps"
recipe = "quick"
seeds = [0]
[budget]
images = 16
[set]
generator.width = 4
discriminator.width = 4
training.batch_size = 8
evaluation.images = 12
[factors]
generator.lr = [0.0001, 0.0005]
"""


def test_every_command_of_the_readme_runs(cli: Cli, maps: Path, tmp_path: Path):
    commands = [line for block in blocks(README) for line in block.splitlines() if line.startswith("limner ")]
    assert len(commands) == 15
    (tmp_path / "rates.toml").write_text(RATES)
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        if words[0] == "train":
            words = shlex.split(re.sub(r"--minutes \d+", "", shlex.join(words)) + " " + LESS)
        elif words[0] == "studio":  # it goes on until it is ended, in tests of its own
            words.append("--help")
        finished = cli(*words)
        assert finished.returncode == 0, f"{command}\n{finished.stderr}"
    assert len(list((tmp_path / "runs" / "maps" / "generated").glob("seed-*.png"))) == 64
    assert (tmp_path / "walk.mp4").is_file() and (tmp_path / "runs" / "maps" / "timelapse.gif").is_file()


def test_the_python_of_the_readme_runs(maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (code,) = blocks(README, "python")
    less = '"training.images": 32, "generator.width": 4, "discriminator.width": 4'
    assert '"training.minutes": 20' in code
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code.replace('"training.minutes": 20', less), names)
    outcome = names["outcome"]
    assert outcome.ended == "done" and outcome.run.path == Path("runs/maps")  # type: ignore[attr-defined]


def test_what_the_guide_shows_of_errors_is_what_is_said(cli: Cli, maps: Path):
    shown = next(block for block in blocks(GUIDE) if block.startswith("$ limner train"))
    command, *expected = shown.splitlines()
    finished = cli(*shlex.split(command)[2:])
    assert finished.returncode == 2 and finished.stderr.splitlines() == expected


def test_the_tree_of_the_readme_is_the_source():
    tree = next(block for block in blocks(README) if block.startswith("src/limner/"))
    named = set(re.findall(r"[\w.]+\.py", tree))
    there = {path.name for path in (ROOT / "src" / "limner").rglob("*.py") if "procedural" not in path.parts}
    assert there - {"__init__.py", "__main__.py"} == named


def test_pictures_and_pages_that_are_linked_are_there():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        place, folder = page.read_text(encoding="utf-8"), page.parent
        for link in re.findall(r"\]\(([^)#:]+)\)", place):
            assert (folder / link).is_file(), link
    for path in (path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()):
        with Image.open(path) as picture:
            picture.verify()


def test_the_two_commands_are_targets():
    make = shutil.which("make")
    assert make, "make is not installed"
    for target in ("demo", "test", "lint", "bench"):
        planned = subprocess.run([make, "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert planned.returncode == 0, planned.stderr
    assert "limner demo" in subprocess.run([make, "-n", "demo"], cwd=ROOT, capture_output=True, text=True).stdout
