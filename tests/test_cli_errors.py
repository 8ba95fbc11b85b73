"""How the command fails: one line and an exit code, whatever it was. Mostly in this process, which is quick."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from limner.cli import main
from limner.cli_options import read_recipe
from limner.errors import InputError
from test_cli import refused


def inside(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in this process: quick, where nothing depends on a process of its own."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
        patch.setattr("sys.argv", ["limner", *map(str, arguments)])
        main()
    printed = capsys.readouterr()
    code = left.value.code
    return subprocess.CompletedProcess([], code if isinstance(code, int) else 0, printed.out, printed.err)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make ``limner recipes`` fail in a way."""

    def make(error: BaseException) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr("limner.recipe.names", fail)

    return make


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(28, "No space left on device", "/x/y"), 1, "/x/y: No space left on device"),
        (OSError("odd"), 1, "odd"),
        (PermissionError(13, "Permission denied", "/x"), 2, "/x: Permission denied"),
        (MemoryError(), 1, "out of memory; ask for less"),
        (MemoryError("Unable to allocate 3.00 TiB for an array"), 1, "out of memory (3.00 TiB more were asked for)"),
        (
            RuntimeError("[enforce fail] can't allocate memory: you tried to allocate 412 bytes. Error code 12"),
            1,
            "out of memory (412 bytes more were asked for)",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0"), 1, "out of memory (20.00 GiB more"),
    ],
)
def test_what_nobody_expected_is_one_line(
    error: Exception,
    code: int,
    line: str,
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    failing(error)
    finished = inside(capsys, "recipes")
    assert finished.returncode == code and finished.stdout == ""
    assert finished.stderr.startswith(f"limner: {line}") and finished.stderr.count("\n") == 1
    monkeypatch.setenv("LIMNER_TRACEBACK", "1")
    finished = inside(capsys, "recipes")
    assert finished.stderr.startswith("Traceback") and f"\nlimner: {line}" in finished.stderr


def test_a_fault_of_our_own_keeps_its_traceback(failing: Callable[[BaseException], None]):
    failing(RuntimeError("shapes do not fit"))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="shapes do not fit"):
        patch.setattr("sys.argv", ["limner", "recipes"])
        main()


def test_a_training_that_does_not_fit_says_what_to_make_smaller(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, pictures: Path
):
    def fail(*arguments: object, **named: object) -> None:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"
        )

    monkeypatch.setattr("limner.training.train.train", fail)
    finished = inside(capsys, "train", pictures)
    assert (finished.returncode, finished.stderr) == (
        1,
        "limner: out of memory; use a smaller --batch-size, --size or width\n",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
@pytest.mark.parametrize("arguments", [["recipes", "--json"], ["--version"]])  # more than a buffer holds, and less
def test_output_that_cannot_be_written_is_one_line(arguments: list[str]):
    with open("/dev/full", "w", encoding="ascii") as full:
        command = [sys.executable, "-m", "limner", *arguments]
        finished = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert finished.returncode == 1 and finished.stderr.startswith("limner: ")
    assert "No space left on device" in finished.stderr and finished.stderr.count("\n") == 1


def test_a_reader_that_has_gone_is_told_nothing():
    command = [sys.executable, "-m", "limner", "recipes", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_an_interrupted_command_says_so(tmp_path: Path):
    command = [sys.executable, "-m", "limner", "make-data", "maps", str(tmp_path / "made"), "--count", "100000"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs do not hear it otherwise
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("made/**/*.png")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "limner: interrupted\n")


def test_waiting_threads_leave_the_processor_to_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    inside(capsys, "--version")
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    inside(capsys, "--version")
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    inside(capsys, "--version")
    assert "GOMP_SPINCOUNT" not in os.environ


def test_a_training_goes_on_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    asked: dict[str, object] = {}

    def resume(run: Path, *, overrides: dict[str, object], memory: int | None) -> None:
        asked.update(overrides)
        raise InputError("enough")

    monkeypatch.setattr("limner.training.resuming.resume", resume)
    inside(capsys, "resume", tmp_path, "--device", "cpu", "--precision", "float32", "--minutes", "5")
    assert asked == {"training.device": "cpu", "training.precision": "float32", "training.minutes": 5.0}


def test_the_usual_recipe_has_its_name_from_one_place(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("limner.recipe.DEFAULT", "vanilla")
    assert read_recipe(None, {}).network.family == "mlp"
    assert read_recipe("dcgan", {}).network.family == "dcgan"


@pytest.mark.parametrize("text", ["-5GB", "much", "nan", "inf", "5XB", ""])
def test_sizes_that_are_none(text: str, capsys: pytest.CaptureFixture[str]):
    refused(inside(capsys, "cache", "bound", "--", text), f"SIZE {text}: write a size such as 500MB or 10GB")


def test_seeds_beyond_the_last(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    for command in (["generate", tmp_path], ["animate", tmp_path], ["make-data", "maps", tmp_path / "x"]):
        finished = inside(capsys, *command, "--seed", 2**64)
        assert finished.returncode == 2 and "--seed" in finished.stderr and str(2**64 - 1) in finished.stderr


def test_damaged_grids_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "recipe.toml").write_text("")
    Image.new("L", (99, 66)).save(tmp_path / "samples" / "000000000.png")
    (tmp_path / "samples" / "000000100.png").write_bytes(b"no picture")
    finished = inside(capsys, "timelapse", tmp_path)
    assert finished.returncode == 0 and "timelapse.gif: 1 frames, 2.50 s" in finished.stdout
    assert finished.stderr == f"limner: skipped {tmp_path}/samples/000000100.png: is damaged\n"
