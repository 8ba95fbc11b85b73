"""What was written once is read for ever; what is of a newer version is refused in one line; damage is told and passed over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "reliability"))
from common import run_child

import limner
from limner import rundir
from limner.errors import InputError
from limner.rundir import SUMS, RunDir
from limner.rundir.snapshots import damaged
from limner.training.display import Quiet

FORMATS = sorted(Path(__file__).parent.joinpath("fixtures").glob("format-*"))


def command(place: Path, *arguments: str) -> tuple[int, str]:
    """Run the real command: its exit code, and all that it said."""
    output = place / "said.txt"
    code = run_child([*arguments], output)
    said = output.read_text()
    output.unlink()
    return code, said


class Listening(Quiet):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run that the first version left, and of its pictures, which it has beside it."""
    shutil.copytree(FORMATS[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def present(home: Path) -> RunDir:
    """The same run, gone on with by this version: its checkpoints have checksums."""
    limner.resume("run", display=Quiet())
    return RunDir.open(home / "run")


@pytest.mark.parametrize("fixture", FORMATS, ids=lambda path: path.name)
def test_a_run_of_every_format_is_resumed_drawn_from_judged_and_reported(
    fixture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(fixture, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ("generate", "run", "--count", "2"),
        ("generate", "run", "--count", "2", "--at", "best", "--out", "best"),
        ("evaluate", "run", "--count", "8", "--json"),
        ("report", "run"),
        ("resume", "run"),
        ("resume", "run", "--images", "120"),
    ):
        code, said = command(tmp_path, *arguments)
        assert code == 0, (arguments, said)
    run = RunDir.open(tmp_path / "run")
    assert run.newest_checkpoint()[0] == 120
    lines = list(run.records(rundir.LOG))
    assert [line["images"] for line in lines] == [*range(16, 121, 16), 120] or [line["step"] for line in lines][
        -1
    ] == 30
    assert [line["images"] for line in run.records(rundir.METRICS)][:4] == [0, 32, 64, 96]
    assert len(list((tmp_path / "run" / "generated").glob("*.png"))) == 3 and (run.path / rundir.REPORT).is_file()


def test_the_fixture_is_small_and_of_format_1():
    files = [path for path in FORMATS[0].rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 100_000
    states = [json.loads(path.read_text()) for path in files if path.name == rundir.STATE]
    assert len(states) == 4 and all(state["format"] == 1 for state in states)
    assert not any(path.name == SUMS for path in files)


def test_sums_are_as_the_systems_own_tool_checks_them(present: RunDir):
    _, newest = present.newest_checkpoint()
    names = {line.split("  ")[1] for line in (newest / SUMS).read_text().splitlines()}
    assert names == {path.name for path in newest.iterdir()} - {SUMS}
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("this system has no sha256sum")
    checked = subprocess.run([tool, "-c", SUMS], cwd=newest, capture_output=True, text=True)
    assert checked.returncode == 0 and checked.stdout.count(": OK") == 3


def flip(path: Path) -> None:
    """One bit in the middle of a file is not as it was."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a bit of the weights": (lambda path: flip(path / rundir.TRAINING), f"{rundir.TRAINING} is not as it was written"),
    "a bit of the generator": (
        lambda path: flip(path / rundir.GENERATOR),
        f"{rundir.GENERATOR} is not as it was written",
    ),
    "a digit of the state": (lambda path: flip(path / rundir.STATE), rundir.STATE),
    "half of the weights": (
        lambda path: os.truncate(path / rundir.TRAINING, 3000),
        f"{rundir.TRAINING} is not as it was written",
    ),
    "the generator": (lambda path: (path / rundir.GENERATOR).unlink(), f"it has lost its {rundir.GENERATOR}"),
    "the state's content": (lambda path: (path / rundir.STATE).write_bytes(b""), f"{rundir.STATE} cannot be read"),
    "the sums": (lambda path: (path / SUMS).unlink(), f"{SUMS} cannot be read"),
    "the sums' content": (lambda path: (path / SUMS).write_bytes(b"\xff"), f"{SUMS} cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_told_in_a_line_and_the_one_before_is_used(present: RunDir, damage: str):
    (before, _), (images, newest) = present.checkpoints()[-2:]
    harm, words = DAMAGES[damage]
    harm(newest)
    said: list[str] = []
    present.say = said.append
    assert present.newest_checkpoint()[0] == before and present.snapshot("newest").name == f"{before:09d}"
    assert len(said) == 2 and "\n" not in said[0]
    assert words in said[0] and f"the checkpoint before it is used, of {before:,} images" in said[0]
    with pytest.raises(InputError, match="is damaged"):
        present.snapshot(str(images))
    listening = Listening()
    resumed = limner.resume(present.path, display=listening)
    assert resumed.ended == "done" and resumed.images == images
    assert any(words in line for line in listening.said)
    assert damaged(newest) is None, "it was written again"


def test_drawing_needs_no_more_than_the_generator(present: RunDir, capsys: pytest.CaptureFixture[str]):
    images, newest = present.newest_checkpoint()
    flip(newest / rundir.TRAINING)
    assert limner.load(present.path).images == images
    flip(newest / rundir.GENERATOR)
    assert limner.load(present.path).images == present.checkpoints()[-2][0]
    assert capsys.readouterr().err.count("is not as it was written; the") <= 1


def test_when_all_are_damaged_that_is_one_line_and_exit_code_2(present: RunDir):
    for _, path in present.checkpoints():
        for name in (rundir.TRAINING, rundir.GENERATOR):
            os.truncate(path / name, (path / name).stat().st_size - 100)
    for name in ("resume", "generate"):
        code, said = command(present.path.parent, name, str(present.path))
        assert code == 2 and said.count("\n") == 1, said
        assert f"all {len(present.checkpoints())} checkpoints are damaged" in said


def test_a_damaged_best_one_is_told_and_another_that_was_the_best_is_used_and_it_is_mended(present: RunDir):
    best = present.path / rundir.CHECKPOINTS / rundir.BEST
    lines = [line for line in present.records(rundir.METRICS) if line["best"]]
    kept = dict(present.checkpoints())
    images = next((line["images"] for line in reversed(lines) if line["images"] in kept), None)
    flip(best / rundir.GENERATOR)
    said: list[str] = []
    present.say = said.append
    if images is None:
        with pytest.raises(InputError, match="no other that was the best is left; use --at newest"):
            present.best()
        return
    assert present.best() == kept[images] and len(said) == 1 and "is damaged" in said[0]
    present.mend_best()
    assert (damaged(best, rundir.DRAWABLE) is None) == (images == lines[-1]["images"])


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (rundir.RECIPE, "format = 1", "format = 99", "format"),
        (f"{rundir.CHECKPOINTS}/000000072/{rundir.STATE}", '"format": 1', '"format": 99', "of a newer Limner"),
    ],
)
def test_a_newer_format_is_refused_in_one_line(home: Path, name: str, old: str, new: str, words: str):
    path = home / "run" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    code, said = command(home, "resume", "run")
    assert code == 2 and said.count("\n") == 1, said
    assert words in said and "99" in said


def test_a_generator_of_a_newer_format_is_refused(home: Path):
    with safe_open(home / "run/checkpoints/best/generator.safetensors", framework="pt") as file:
        tensors, description = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors, home / "newer.safetensors", {**description, "format": "limner-generator-2"})
    with pytest.raises(InputError, match=r"is of a newer Limner \(its format is 'limner-generator-2'\); update Limner"):
        limner.load(home / "newer.safetensors")


def test_what_differs_at_resume_is_told_with_what_it_means(home: Path):
    path = home / "run" / rundir.ENVIRONMENT
    was = json.loads(path.read_text())
    path.write_text(json.dumps({**was, "limner": "0.0.9", "torch": "1.0", "processor": "a slide rule"}))
    listening = Listening()
    limner.resume("run", display=listening)
    notes = [line for line in listening.said if line.startswith("note:")]
    assert any("torch was 1.0 and is" in line and "but not bit for bit" in line for line in notes)
    assert any("processor was a slide rule and is" in line for line in notes)
    assert any(
        "limner was 0.0.9 and is" in line and "only if nothing that it uses has changed" in line for line in notes
    )
    assert not any("exactly as if" in line for line in listening.said)


def test_a_part_on_another_precision_is_remembered(home: Path):
    limner.resume("run", overrides={"training.precision": "float64", "training.images": 80}, display=Quiet())
    listening = Listening()
    limner.resume("run", overrides={"training.precision": "float32", "training.images": 96}, display=listening)
    assert any("precision was float32, then float64 and is float32" in line for line in listening.said)


def test_a_run_that_was_killed_before_it_had_seen_anything_begins_again(home: Path):
    run = RunDir.open(home / "run")
    for name in (rundir.CHECKPOINTS, rundir.SAMPLES, rundir.EVALUATION):
        shutil.rmtree(run.path / name)
        (run.path / name).mkdir()
    for name in (rundir.LOG, rundir.METRICS):
        (run.path / name).unlink()
    events = run.path / rundir.EVENTS
    events.write_text(events.read_text().splitlines()[0] + "\n")
    outcome = limner.resume("run", display=Quiet())
    assert outcome.ended == "done" and outcome.images == 96
    assert [line["images"] for line in run.records(rundir.METRICS)] == [0, 32, 64, 96]


def test_checkpoints_that_were_removed_are_no_beginning(home: Path):
    shutil.rmtree(home / "run" / rundir.CHECKPOINTS)
    with pytest.raises(InputError, match="has no checkpoint"):
        limner.resume("run", display=Quiet())
    assert len((home / "run" / rundir.LOG).read_text().splitlines()) > 3, "nothing was forgotten for it"
