"""What a wheel holds is enough: the page travels in it, and every step from training to a page works from it alone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import limner

ROOT = Path(__file__).parents[1]
SMALL = ["--set", "generator.width=4", "--set", "discriminator.width=4", "--set", "evaluation.images=16"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, unpacked where nothing else is."""
    if not (Path(limner.__file__).parent / "web" / "index.html").is_file():
        pytest.fail("the page is not built: 'make web' builds it (it needs Node 20)", pytrace=False)
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    assert wheel.stat().st_size < 12_000_000
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, where: Path, *words: str) -> str:
    """The command as it is in the wheel: the source's own folder is not on the path."""
    code = "import sys, limner; assert limner.__file__.startswith(sys.argv[1]), limner.__file__; del sys.argv[1]"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nfrom limner.cli import main\nmain()", str(installed), *words],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_whole_chain_works_from_a_wheel(installed: Path, tmp_path: Path) -> None:
    package = installed / "limner"
    for name in ("web/index.html", "web/LICENSES.txt", "recipes/fewshot.toml", "judging/features/weights"):
        assert (package / name).exists(), name
    assert not list(installed.glob("tests")) and not list(package.rglob("*.ts"))
    run(
        installed,
        tmp_path,
        "train",
        "procedural:initials:40",
        *SMALL,
        "--size",
        "16",
        "--images",
        "64",
        "--name",
        "one",
    )
    run(installed, tmp_path, "export", "runs/one", "--out", "one.onnx")
    run(installed, tmp_path, "generate", "one.onnx", "--count", "2", "--out", "drawn")
    assert "a visitor downloads" in run(installed, tmp_path, "publish", "runs/one", "--out", "site")
    assert len(list((tmp_path / "drawn").glob("seed-*.png"))) == 2
    assert (tmp_path / "site" / "index.html").is_file() and (tmp_path / "runs" / "one" / "report.html").is_file()
