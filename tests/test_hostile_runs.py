"""Generator files and run directories made by somebody else: nothing outside is written or shown, nothing huge is made."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from limner.cli_errors import told
from limner.errors import InputError
from limner.generator import load
from limner.judging.report import build_report, write_report
from limner.networks import build
from limner.networks.outline import check_weights, drawing_bytes, physical_memory
from limner.progress import Guarded, harmless
from limner.recipe import Recipe
from limner.rundir import RunDir

FIXTURE = Path(__file__).parent / "fixtures" / "format-1" / "run"
linux = pytest.mark.skipif(sys.platform != "linux", reason="has other files of the system")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run, and a folder that nothing may touch."""
    shutil.copytree(FIXTURE, tmp_path / "run")
    outside = tmp_path / "outside"
    (outside / "000000001").mkdir(parents=True)
    (outside / "secret.txt").write_text("secret words")
    (outside / "000000001.png").write_bytes(b"secret picture")
    return tmp_path / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def generator_file(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("0*"))[-1] / "generator.safetensors"


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A safetensors file with another header."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    return path


def recipe_with(**values: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        recipe = Recipe.from_toml(header["__metadata__"]["recipe"]).values()
        for name, value in values.items():
            section, field = name.split("__")
            recipe[section][field] = value
        header["__metadata__"]["recipe"] = tomli_w.dumps(recipe)

    return change


# Links


@pytest.mark.parametrize(
    "name",
    ["checkpoints", "samples", "evaluation", "generated", "log.jsonl", "events.jsonl", "lock", "recipe.toml", "data.json",
     "report.html", "samples/000000001.png", "checkpoints/000000001", "checkpoints/best"],
)  # fmt: skip
def test_a_run_that_leads_outside_is_refused(name: str, run: Path) -> None:
    path, outside = run / name, run.parent / "outside"
    before = contents(outside)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(outside if "." not in path.name and path.name != "lock" else outside / "secret.txt")
    with pytest.raises(InputError, match="is a link") as caught:
        RunDir.open(run)
    assert str(path) in str(caught.value) and contents(outside) == before


def test_a_run_that_is_reached_by_a_link_is_like_any_other(run: Path) -> None:
    (run.parent / "linked").symlink_to(run)
    assert write_report(RunDir.open(run.parent / "linked")).is_file()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
@pytest.mark.parametrize("name", ["log.jsonl", "data.json", "checkpoints/x/state.json"])
def test_pipes_in_a_run_are_not_waited_for(name: str, run: Path) -> None:
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    with pytest.raises(InputError, match="is a pipe or device"):
        RunDir.open(run)


def test_links_under_temporary_names_are_not_written_through(run: Path) -> None:
    before = contents(run.parent / "outside")
    (run / f".tmp-{os.getpid()}-report.html").symlink_to(run.parent / "outside/secret.txt")
    with pytest.raises(Exception, match="cannot be written"):
        write_report(RunDir.open(run))
    assert contents(run.parent / "outside") == before


def test_pictures_are_drawn_beside_links_not_through_them(run: Path, tmp_path: Path) -> None:
    from limner.films import draw_pictures

    out, before = tmp_path / "out", contents(run.parent / "outside")
    out.mkdir()
    for name in ("seed-000000.png", f".seed-000000.png.{os.getpid()}.part"):
        (out / name).symlink_to(run.parent / "outside/secret.txt")
    draw_pictures(load(run), 1, 0, out)
    assert contents(run.parent / "outside") == before and not (out / "seed-000000.png").is_symlink()


# Values


HARD_LINES = [
    b"[" * 100_000,
    b'{"images": ' + b"9" * 10_000 + b"}",
    b'{"images": NaN}',
    b'{"images": 1e999}',
    b'{"images": 8, "epoch": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"images": 8, "time": "' + b"x" * (5 << 20) + b'"}',
    b'{"images": 8, "discriminator_loss": 1e308, "generator_loss": -1e308}',
    b'{"images": 9007199254740993, "event": {"a": 1}, "severity": []}',
    b"\xff\xfe\0",
]


def test_lines_that_are_hard_to_read_do_not_hide_the_others(run: Path) -> None:
    known = len(list(RunDir(run).records("log.jsonl")))
    with (run / "log.jsonl").open("ab") as file:
        for line in HARD_LINES:
            file.write(line + b"\n")
        file.write(b'{"images": 80, "epoch": 7.25}\n')
    found = list(RunDir(run).records("log.jsonl"))
    assert known < len(found) < known + len(HARD_LINES) and found[-1] == {"images": 80, "epoch": 7.25}
    page = build_report(RunDir.open(run))
    assert "80" in page and "lines of log.jsonl are damaged and left out" in page


@pytest.mark.parametrize("name", ["data.json", "environment.json"])
@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"count": ' + b"9" * 9999 + b"}", b"x" * (40 << 20)])
def test_files_that_are_hard_to_read_are_told_as_damaged(name: str, content: bytes, run: Path) -> None:
    (run / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: is damaged") as caught:
        RunDir(run).read_json(name)
    assert len(str(caught.value)) < 600
    assert f"{name} is damaged" in build_report(RunDir.open(run))


@linux
def test_a_report_of_a_long_log_takes_little_memory(run: Path) -> None:
    """Sixty megabytes of the shortest lines: they would take a gigabyte as objects."""
    with (run / "log.jsonl").open("ab") as file:
        file.write(b'{"images":8}\n' * 4_800_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    page = build_report(RunDir.open(run))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 << 10
    assert "the first 300,000 lines were read" in page


# Generator files


@pytest.mark.parametrize("length", [0, 2**31, 2**63, 2**64 - 1])
def test_a_header_of_gigabytes_is_not_asked_for(length: int, run: Path) -> None:
    path = generator_file(run)
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    with pytest.raises(InputError, match=f"a header of {length:,} bytes"):
        load(path)
    with path.open("r+b") as file:  # large enough for what it says, sparse
        file.truncate(min(length + 100, 1 << 40))
    with pytest.raises(InputError, match=f"a header of {length:,} bytes"):
        load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda header: header.update(x={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}),
            "readable|'x' belongs to no",
        ),
        (lambda header: header["__metadata__"].update(images="9" * 99_999), "is no count"),
        (lambda header: header["__metadata__"].update(recipe="[" * 99_999), "not TOML"),
        (lambda header: header.update(__metadata__={"format": "\x1b]0;x\x07" * 99}), "is not a generator"),
        (recipe_with(image__width=1024, image__height=1024), "do not fit its recipe"),
        (recipe_with(network__latent=4096), "and should be .*4096|4096x"),
        (recipe_with(generator__width=1024, discriminator__width=1024), "do not fit its recipe"),
    ],
)
def test_files_that_say_something_else_are_refused_before_they_are_read(
    change: Callable[[dict[str, Any]], None], message: str, run: Path
) -> None:
    path = changed(generator_file(run), change)
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


def test_a_discriminator_that_fills_the_machine_is_never_made(run: Path) -> None:
    """It stands in the recipe, and a generator's file does not hold it."""
    path = changed(generator_file(run), recipe_with(discriminator__width=1024))
    began = time.process_time()
    assert load(path).sample(1)[0].size == load(FIXTURE).sample(1)[0].size
    assert time.process_time() - began < 10


def test_weights_of_another_kind_are_refused(run: Path) -> None:
    recipe = Recipe.from_toml((FIXTURE / "recipe.toml").read_text())
    image = recipe.image
    with torch.device("meta"):
        network, _ = build(recipe, width=image.width or 0, height=image.height or 0, channels=image.channels or 0)
    found = {
        name: (list(tensor.shape), "F32" if tensor.is_floating_point() else "I64")
        for name, tensor in network.state_dict().items()
    }
    check_weights(network, found, "x")
    name = next(iter(found))
    for wrong, message in (
        ((found[name][0], "I8"), "of type I8"),
        (([1], "F32"), "is 1 and should be"),
        (None, "is missing"),
    ):
        with pytest.raises(InputError, match=f"do not fit its recipe .*{message}"):
            check_weights(
                network,
                {key: wrong if key == name else value for key, value in found.items() if key != name or wrong},
                "x",
            )
    half = {key: (shape, "F16" if kind == "F32" else kind) for key, (shape, kind) in found.items()}
    check_weights(network, half, "x")


def test_networks_larger_than_the_machine_are_refused() -> None:
    hidden = (65536,) * 16
    recipe = Recipe.load("vanilla", {"generator.hidden": hidden, "discriminator.hidden": hidden})
    began = time.process_time()
    with pytest.raises(InputError, match=r"would have 1\d\d,\d{3},\d{3},\d{3} weights, .* GB, and this machine has"):
        build(recipe, width=28, height=28, channels=1)
    assert time.process_time() - began < 5
    room = physical_memory()
    assert room is None or 1 << 28 < room < 1 << 50


def test_what_drawing_takes_is_known_beforehand() -> None:
    """By hand: one layer from 5 numbers to 3 takes 4 * (5 + 3) bytes."""
    with torch.device("meta"):
        layer = torch.nn.Linear(5, 3)
    assert drawing_bytes(layer, 5, 0) == 32


def test_a_loaded_generator_is_that_which_was_built(run: Path) -> None:
    """Filled from an outline or loaded into a network that was made: the same weights and the same pictures."""
    from safetensors.torch import load_file

    path = generator_file(run)
    loaded = load(path)
    image = loaded.recipe.image
    made, _ = build(loaded.recipe, width=image.width or 0, height=image.height or 0, channels=image.channels or 0)
    made.load_state_dict(load_file(path))
    for (name, mine), (other, theirs) in zip(
        loaded.network.state_dict().items(), made.state_dict().items(), strict=True
    ):
        assert name == other and torch.equal(mine, theirs) and not mine.is_meta
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())


# The terminal


def test_text_does_nothing_to_a_terminal() -> None:
    assert harmless("a\x1b]0;x\x07\x9b2J\u202eb\r\n\tc\rd") == "a\\x1b]0;x\\x07\\x9b2J\\u202eb\r\n\tc\\rd"
    assert harmless("Grüße, 日本, 👩‍👩‍👧") == "Grüße, 日本, 👩‍👩‍👧"
    stream = io.StringIO()
    drawing = Guarded(stream, drawing=True)
    drawing.write("\r\x1b[2K\x1b[32mbar\x1b[0m \x1b]0;x\x07")
    assert stream.getvalue() == "\r\x1b[2K\x1b[32mbar\x1b[0m \\x1b]0;x\\x07"
    assert drawing.getvalue() == stream.getvalue()  # all else is the stream's own


def test_a_line_of_an_error_has_an_end() -> None:
    words, code = told(InputError("x" * 5000 + "\nsecond")) or ("", 0)
    assert words == "x" * 1000 + "...\nsecond" and code == 2


@linux
def test_the_command_says_names_harmlessly(tmp_path: Path) -> None:
    from PIL import Image

    data = os.fsencode(tmp_path / "set")
    os.makedirs(data)
    for number, name in enumerate((b"\x1b]0;x\x07.png", b"\xff\xfe.png", b"a\nb.png")):
        with open(data + b"/" + name, "wb") as file:
            Image.new("L", (16, 16), 90 * number).save(file, "PNG")
        with open(data + b"/no-" + name, "wb") as file:
            file.write(b"no picture")
    environment = {**os.environ, "LIMNER_CACHE": str(tmp_path / "cache"), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "limner", "inspect", str(tmp_path / "set")]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
    assert b"\x1b" not in done.stdout and b"\x07" not in done.stdout and b"\\x1b]0;x" in done.stdout
