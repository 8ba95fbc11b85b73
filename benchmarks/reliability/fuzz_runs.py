"""Hostile run directories: links that lead outside, values of any kind, lines that are hard to read."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_images import damaged
from fuzz_lies import png
from fuzz_weights import BASE, HUGE
from fuzz_worker import Case, Make

TEXT = "<script>alert(1)</script>\x1b]0;x\x07\u202e\"'&\r\n"
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1e308,
    2**70,
    "NaN",
    TEXT,
    [],
    {},
    [TEXT] * 3,
    {TEXT: TEXT},
    {"a": {"b": {"c": [1, [2, [3]]]}}},
    "x" * 50_000,
    float("nan"),
    float("inf"),
    [[[]]] * 9,
    {"count": -5, "width": "x"},
    [1] * 2000,
    "../../secret.png",
    "/etc/passwd",
]
JSONS = ("data.json", "environment.json", "state", "figures")
LOGS = ("log.jsonl", "metrics.jsonl", "events.jsonl")
HARD_LINES = (
    b"[" * 100_000,
    b'{"images": ' + b"9" * 10_000 + b"}",
    b'{"images": NaN}',
    b'{"images": 1e999, "x": -Infinity}',
    b"\xff\xfe\0",
    b'{"images": 8, "epoch": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"images": 8, "time": ' + b'"' + b"x" * 3_000_000 + b'"}',
    b'{"images": 8, "event": "started", "command": ["rm", "-rf", "$(x)", "\\u001b[2J"]}',
    b"{" * 50_000,
    b"",
    b'{"images": 8, "discriminator_loss": 1e308, "generator_loss": -1e308, "seconds": 1e308}',
    b'{"images": 9007199254740993, "event": {"a": 1}, "severity": [], "attempt": "x", "environment": 5}',
    b'{"images": 8, "figures": {"kid": {"value": 1e308, "low": -1e308, "high": 1e308, "real": -1, "generated": 1e300}}}',
)


def attacked(chance: random.Random, folder: Path) -> tuple[Path, str]:
    """A copy of the base run in which several things were changed."""
    run = folder / chance.choice(("run", "run", TEXT.replace("/", "_")))
    shutil.copytree(BASE["run"], run)
    done = []
    for _ in range(chance.choice((1, 1, 2, 3))):
        make = chance.choice(ATTACKS)
        try:
            done.append(make(chance, run))
        except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
    return run, ", ".join(done)


def _json_file(chance: random.Random, run: Path) -> Path:
    name = chance.choice(JSONS)
    if name == "state":
        return sorted((run / "checkpoints").glob("0*"))[-1] / "state.json"
    if name == "figures":
        folder = run / "evaluation/000000016"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "figures.json").exists():
            figure = {"value": 0.5, "low": 0.1, "high": 0.9, "real": 10, "generated": 10}
            pairs = [{"generated": "../../../secret.png", "nearest": "x.png", "name": TEXT, "seed": 1, "distance": 0.5}]
            values = {
                "figures": {"kid": figure, TEXT: figure},
                "yardstick": {"kid": figure},
                "copying": {"verdict": TEXT, "pairs": pairs},
                "classes": {TEXT: {"share": figure}},
                "extractor": TEXT,
            }
            (folder / "figures.json").write_text(json.dumps(values))
        return folder / "figures.json"
    return run / name


def odd_value(chance: random.Random, run: Path) -> str:
    """Somewhere in one of the JSON files, another value."""
    path = _json_file(chance, run)
    values = json.loads(path.read_text())
    place = values
    while isinstance(place, dict) and place:
        key = chance.choice(list(place))
        if isinstance(place[key], dict) and place[key] and chance.random() < 0.7:
            place = place[key]
            continue
        place[key] = chance.choice(VALUES)
        break
    path.write_text(json.dumps(values))
    return f"a value in {path.name}"


def odd_file(chance: random.Random, run: Path) -> str:
    """One of the files damaged."""
    files = sorted(path for path in run.rglob("*") if path.is_file())
    path = chance.choice(files)
    path.write_bytes(chance.choice((damaged(chance, path.read_bytes()), b"", b"[" * 99_999, b"null", b"\0" * 100)))
    return f"{path.name} damaged"


def odd_lines(chance: random.Random, run: Path) -> str:
    """Lines of a log that are hard to read."""
    name = chance.choice(LOGS)
    with (run / name).open("ab") as file:
        for _ in range(chance.choice((1, 3))):
            file.write(chance.choice(HARD_LINES) + b"\n")
        line = {
            "images": chance.choice((8, 10**15, -5)),
            **{
                chance.choice(("event", "figures", "copying", "epoch", TEXT, "reason")): chance.choice(VALUES)
                for _ in range(3)
            },
        }
        file.write(json.dumps(line).encode() + b"\n")
    return f"lines of {name}"


def many_lines(chance: random.Random, run: Path) -> str:
    """A log of sixty megabytes."""
    name = chance.choice(LOGS)
    with (run / name).open("ab") as file:
        file.write(b'{"images":8}\n' * 4_500_000)
    return f"a long {name}"


def a_link(chance: random.Random, run: Path) -> str:
    """Something in the run leads outside."""
    outside = BASE["sentinel"]
    name = chance.choice(
        (
            "checkpoints",
            "samples",
            "evaluation",
            "generated",
            "log.jsonl",
            "metrics.jsonl",
            "events.jsonl",
            "lock",
            "recipe.toml",
            "data.json",
            "report.html",
            "samples/000000008.png",
            "checkpoints/000000001",
            "checkpoints/best",
        )
    )
    path = run / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(outside if "." not in path.name and path.name != "lock" else outside / "secret.txt")
    return f"{name} is a link"


def a_pipe(chance: random.Random, run: Path) -> str:
    """Something in the run waits for ever."""
    files = [path for path in sorted(run.rglob("*")) if path.is_file()]
    path = chance.choice(files)
    path.unlink()
    os.mkfifo(path)
    return f"{path.name} is a pipe"


def a_location(chance: random.Random, run: Path) -> str:
    """The data lie somewhere odd."""
    values = json.loads((run / "data.json").read_text())
    values["location"] = chance.choice(
        (
            "/dev/zero",
            "/dev/stdin",
            "/proc/self",
            "/",
            "../..",
            "",
            "\0",
            "~nobody/x",
            TEXT,
            "hf:",
            str(run),
            str(BASE["sentinel"]),
            "procedural:nothing",
            "x" * 5000,
            str(run / "samples"),
        )
    )
    (run / "data.json").write_text(json.dumps(values))
    return "another location"


def odd_pictures(chance: random.Random, run: Path) -> str:
    """Grids that are bombs, or none."""
    name = chance.choice(("000000008.png", "000000009.png", "999999999999999999.png", "000000000.png"))
    (run / "samples" / name).write_bytes(
        chance.choice((png(2**31 - 1, 2**31 - 1), png(0, 0), b"%!PS", damaged(chance, png(8, 8))))
    )
    return f"a hostile {name}"


def temporaries(chance: random.Random, run: Path) -> str:
    """Names that the next process would write under, leading outside."""
    for number in range(os.getpid() - 3, os.getpid() + 50):
        for name in ("report.html", "recipe.toml", "data.json", "log.jsonl"):
            (run / f".tmp-{number}-{name}").symlink_to(BASE["sentinel"] / "secret.txt")
    return "links under temporary names"


def odd_recipe(chance: random.Random, run: Path) -> str:
    """The run's recipe asks for something odd."""
    import tomli_w

    from limner.recipe import Recipe

    values = Recipe.load(run / "recipe.toml").values()
    what, changes = chance.choice(list(HUGE.items()))
    for name, value in changes.items():
        section, field = name.split(".")
        values[section][field] = value
    values["about"] = {"summary": TEXT}
    (run / "recipe.toml").write_text(tomli_w.dumps(values))
    return f"a recipe of {what}"


ATTACKS: list[Callable[[random.Random, Path], str]] = [
    odd_value,
    odd_value,
    odd_value,
    odd_file,
    odd_file,
    odd_lines,
    odd_lines,
    a_link,
    a_link,
    a_pipe,
    a_location,
    odd_pictures,
    temporaries,
    odd_recipe,
]


def report(chance: random.Random, folder: Path) -> Case:
    """Looked at in one of the ways that train nothing."""
    run, what = attacked(chance, folder)
    if chance.random() < 0.02:
        what += ", " + many_lines(chance, run)
    which = chance.choice(("report", "report", "report", "generate", "timelapse"))
    call = [which, str(run)]
    if which == "generate":
        call += ["--count", "2"]
    return Case(call, [run], f"a run with {what}")


def resume(chance: random.Random, folder: Path) -> Case:
    """Gone on with, for two more updates; or evaluated."""
    run, what = attacked(chance, folder)
    if chance.random() < 0.25:
        return Case(["evaluate", str(run), "--count", "8"], [run], f"a run with {what}")
    return Case(["resume", str(run), "--images", "24"], [run], f"a run with {what}")


GROUPS: dict[str, Make] = {"reports": report, "resume": resume}
