"""What the harnesses of reliability share: a small training, what it leaves behind, and ways to run it in a process of its own.

The training is small, but has everything that writes: a log, evaluations, findings, grids, checkpoints that are kept and
removed, a best generator, a thorough evaluation and a report.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image
from safetensors.torch import load_file

import limner.cli  # all that a child needs is imported here, once
import limner.judging.report
import limner.training.resuming
import limner.training.train  # noqa: F401
from limner import durable, rundir
from limner.rundir import RunDir

RESULTS = Path(__file__).parent / "results"
NAME = "run"
IMAGES = 48
SETTINGS = {
    "network.latent": 6,
    "generator.width": 2,
    "discriminator.width": 2,
    "discriminator.dropout": 0.2,
    "training.images": IMAGES,
    "training.batch_size": 4,
    "training.seed": 5,
    "training.device": "cpu",
    "training.precision": "float32",
    "snapshots.log_steps": 2,
    "snapshots.keep": 2,
    "snapshots.grid": 4,
    "snapshots.every_images": 8,
    "snapshots.checkpoint_minutes": 1e-9,
    "evaluation.images": 8,
    "evaluation.every_images": 12,
}
"""Twelve updates, a checkpoint after each."""
FACTS = ("started", "resumed", "interrupted", "stopped")
"""Events that say what people and systems did: a training that was killed has others than one that was not."""
_CLOCKED = (*rundir.CLOCKS, "source")


def make_pictures(folder: Path, count: int = 24, size: int = 8) -> Path:
    """A folder of grey pictures of one disc each."""
    drawn = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    folder.mkdir(parents=True)
    for number in range(count):
        x, y, radius = *drawn.uniform(0.25, 0.75, 2) * size, drawn.uniform(0.12, 0.3) * size
        pixels = np.where(np.hypot(columns - x, rows - y) < radius, drawn.integers(120, 256), drawn.integers(60))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"disc{number:02d}.png")
    return folder


def train_command(pictures: Path, runs: Path, **settings: Any) -> list[str]:
    """The arguments of ``limner`` for the small training."""
    values = {**SETTINGS, **{key.replace("__", "."): value for key, value in settings.items()}}
    images = str(values.pop("training.images"))
    command = ["train", str(pictures), "--recipe", "quick", "--runs", str(runs), "--name", NAME, "--images", images]
    for key, value in values.items():
        command += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    return command


def resume_command(runs: Path) -> list[str]:
    """The arguments of ``limner`` that go on with it."""
    return ["resume", str(runs / NAME)]


def in_child(arguments: list[str], output: Path, prepare: Callable[[], None] | None = None) -> int:
    """Start the real command in a process of its own, forked so that nothing need be imported again.

    Args:
        arguments: of ``limner``.
        output: a file that takes what it says.
        prepare: called in the child before anything else.

    Returns:
        the child's process id; see :func:`ended`.
    """
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setpgid(0, 0)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["limner", *arguments]
        if prepare is not None:
            prepare()
        from limner.cli import main

        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, seconds: float = 300.0) -> int:
    """Wait for a child; returns its exit code, or minus the signal that ended it. One that hangs is killed: -1000."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1000


def run_child(arguments: list[str], output: Path, prepare: Callable[[], None] | None = None) -> int:
    """Run the real command to its end in a child; returns its exit code as :func:`ended` does."""
    return ended(in_child(arguments, output, prepare))


class Interposed:
    """Stands where the system's calls are: ``before`` is asked for each call that changes files, with its number and name."""

    CHANGING = ("open", "write", "fsync", "ftruncate", "replace", "rename", "mkdir", "unlink", "rmdir")

    def __init__(self, before: Callable[[int, str, tuple[Any, ...]], None]) -> None:
        self._before, self.count = before, 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(os, name)
        if name not in self.CHANGING:
            return call

        def counted(*arguments: Any) -> Any:
            self.count += 1  # first: a call that fails counts as well
            self._before(self.count - 1, name, arguments)
            return call(*arguments)

        return counted

    def install(self) -> None:
        """From here on, in this process."""
        durable.system = self


def remains(run: RunDir) -> dict[str, Any]:
    """All that a training leaves behind but what clocks say, by name."""
    images, newest = run.newest_checkpoint()
    found: dict[str, Any] = {"images": images}
    places = {"newest": newest}
    if (run.path / rundir.CHECKPOINTS / rundir.BEST).is_dir():
        places["best"] = run.best()
    for place, path in places.items():
        for file in sorted(path.glob("*.safetensors")):
            for key, value in load_file(file).items():
                found[f"{place} {file.name} {key}"] = (str(value.dtype), tuple(value.shape), value.numpy().tobytes())
        found[f"{place} state"] = without_clocks(RunDir(path).read_json(rundir.STATE))
    for name in (rundir.LOG, rundir.METRICS):
        found[name] = [without_clocks(line) for line in run.records(name)]
    events = [line for line in run.records(rundir.EVENTS) if line["event"] not in FACTS]
    found[rundir.EVENTS] = [without_clocks(line) for line in events]
    found[rundir.RECIPE] = (run.path / rundir.RECIPE).read_bytes()
    found |= {f"sample {number}": path.read_bytes() for number, path in run.samples()}
    for number, path in run.evaluations():
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            content = file.read_bytes()
            figures = file.name == rundir.FIGURES
            found[f"evaluation {number} {file.relative_to(path)}"] = (
                without_clocks(json.loads(content)) if figures else content
            )
    found["report"] = (run.path / rundir.REPORT).is_file()
    found["leavings"] = sorted(str(path.relative_to(run.path)) for path in run.path.rglob(f"{durable.TEMPORARY}*"))
    return found


def without_clocks(record: Mapping[str, Any]) -> str:
    """A record as text, without what clocks say."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items() if key not in _CLOCKED}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return json.dumps(plain(record))


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What is not the same, by name."""
    return sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))


def arguments(about: str | None) -> argparse.Namespace:
    """``--quick`` for the tests, ``--most`` for a sample of the calls instead of all of them."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small, bounded share")
    parser.add_argument("--most", type=int, default=10**9, metavar="N", help="of the system calls, at most N, evenly")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def chosen(calls: int, given: argparse.Namespace, quick: int) -> list[int]:
    """Which of a training's calls are tried: all, some evenly, or few at random."""
    if given.quick:
        return sorted(random.Random(given.seed).sample(range(calls), quick))
    count = min(calls, given.most)
    return [number * calls // count for number in range(count)]


def conclude(name: str, counts: Mapping[str, Any], failures: list[str], quick: bool) -> int:
    """Print a summary, write it as JSON (a full run only), and return the exit code."""
    result = {**counts, "failures": len(failures), "failed": failures[:20]}
    for failure in failures[:20]:
        print(f"FAILED {failure}")
    print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in result.items() if key != "failed"))
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 1 if failures else 0
