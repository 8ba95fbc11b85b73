"""The real command, interrupted by a real signal and resumed in a new process: bit for bit the unbroken training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import Cli
from limner.rundir import RunDir

SETTINGS = [
    *("--recipe", "quick", "--images", "2400", "--batch-size", "8", "--seed", "5"),
    *("--set", "generator.width=4", "--set", "discriminator.width=4", "--set", "discriminator.dropout=0.2"),
    *("--set", "snapshots.log_steps=5", "--set", "evaluation.images=16", "--set", "evaluation.every_images=400"),
]


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_interrupted_by_a_signal_and_resumed(cli: Cli, pictures: Path, tmp_path: Path, precision: str):
    settings = [*SETTINGS, "--precision", precision]
    whole = cli("train", pictures, *settings, "--name", "whole")
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "limner", "train", str(pictures), *settings, "--name", "parted"]
    parted = tmp_path / "runs" / "parted"
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not ((parted / "log.jsonl").is_file() and (parted / "log.jsonl").stat().st_size > 2000):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    newest, _ = RunDir.open(parted).newest_checkpoint()
    assert 80 <= newest < 2400, "it has to be interrupted on the way"
    resumed = cli("resume", parted)
    assert resumed.returncode == 0 and "note:" not in resumed.stderr, resumed.stderr
    unbroken = tmp_path / "runs" / "whole"
    for place in ("checkpoints/000002400/generator.safetensors", "checkpoints/000002400/training.safetensors"):
        mine, other = load_file(parted / place), load_file(unbroken / place)
        assert mine.keys() == other.keys() and len(mine) > 10
        assert all(torch.equal(mine[name], other[name]) for name in mine), place
    ours, theirs = (sorted((run / "samples").iterdir()) for run in (parted, unbroken))
    assert len(ours) > 5 and [path.name for path in ours] == [path.name for path in theirs]
    assert all(mine.read_bytes() == other.read_bytes() for mine, other in zip(ours, theirs, strict=True))
