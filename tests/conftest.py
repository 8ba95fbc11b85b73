"""What the tests share: a private cache, small collections, and the real command as a subprocess."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

# Before anything starts threads: a process with several of OpenMP's cannot be forked, and many tests fork.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image

pytest_plugins = ["browser_support", "cache_support"]

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or fills the cache of whoever runs it."""
    os.environ["LIMNER_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def command(tmp_path: Path) -> Cli:
    """The real command as it is started from a shell, in a directory of the test's own."""

    def run(*arguments: str | Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "limner", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def _warm() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported everything, which commands are forked from."""
    line = [sys.executable, str(Path(__file__).with_name("warm_command.py"))]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def cli(tmp_path: Path, command: Cli, request: pytest.FixtureRequest) -> Cli:
    """The real command in a process of its own, in a directory of the test's own: ``cli("train", "pictures", ...)``.

    It is forked from a process that has done the imports (``warm_command.py``), where the system can fork.
    """
    if not hasattr(os, "fork"):
        return command

    def run(*arguments: str | Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        process: subprocess.Popen[str] = request.getfixturevalue("_warm")
        assert process.stdin is not None and process.stdout is not None
        given = [*map(str, arguments)]
        with TemporaryDirectory() as folder:
            files = [str(Path(folder) / name) for name in ("out", "err")]
            order = {
                "arguments": given, "folder": str(tmp_path), "environment": {**os.environ, **environment},
                "out": files[0], "err": files[1], "seconds": timeout,
            }  # fmt: skip
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            code = json.loads(process.stdout.readline())
            if code == -9:
                raise subprocess.TimeoutExpired(given, timeout)
            out, err = (Path(file).read_text(encoding="utf-8") for file in files)
        return subprocess.CompletedProcess(given, code, out, err)

    return run


def discs(count: int, width: int, height: int, channels: int, seed: int = 0) -> list[Image.Image]:
    """Pictures of one bright disc each, at a place and of a size of its own."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    pictures = []
    for _ in range(count):
        x, y = random.uniform(0.25, 0.75, 2) * (width, height)
        inside = np.hypot(columns - x, rows - y) < random.uniform(0.12, 0.3) * min(width, height)
        colour = random.integers(120, 256, channels)
        ground = random.integers(0, 60, channels)
        pixels = np.where(inside[..., None], colour, ground).astype(np.uint8)
        pictures.append(Image.fromarray(pixels[..., 0] if channels == 1 else pixels))
    return pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 24 grey pictures, 16x16."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(discs(24, 16, 16, 1)):
        picture.save(folder / f"disc{number:02d}.png")
    return folder
