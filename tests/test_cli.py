"""The real command as a subprocess: what it does, and the one line it gives for what is wrong."""

from __future__ import annotations

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Cli, discs
from limner.recipe import Recipe, names

SMALL = [
    *("--set", "generator.width=4"),
    *("--set", "discriminator.width=4"),
    *("--set", "network.latent=8"),
    *("--batch-size", "8"),
]


def refused(finished: subprocess.CompletedProcess[str], *parts: str, lines: int = 1) -> None:
    """One clear line for each thing that is wrong, exit code 2, nothing on standard output, no traceback."""
    assert finished.returncode == 2, finished.stderr
    told = [line for line in finished.stderr.splitlines() if line.startswith("limner: ")]
    assert len(told) == lines == len(finished.stderr.splitlines()), finished.stderr
    assert "Traceback" not in finished.stderr and finished.stdout == ""
    for part in parts:
        assert part in finished.stderr


def test_from_pictures_to_a_film(cli: Cli, pictures: Path, tmp_path: Path):
    """The whole way of a user, one command after the other."""
    trained = cli("train", pictures, *SMALL, "--images", "160", "--seed", "1", "--set", "snapshots.every_images=40")
    assert trained.returncode == 0, trained.stderr
    assert "done: 160 images, 6.7 epochs" in trained.stdout and "limner generate runs/pictures" in trained.stdout
    run = tmp_path / "runs" / "pictures"
    assert "Traceback" not in trained.stderr and (run / "recipe.toml").is_file()

    drawn = cli("generate", "runs/pictures", "--count", "5", "--seed", "7", "--out", "new")
    assert drawn.returncode == 0, drawn.stderr
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == [
        "seed-000007.png",
        "seed-000008.png",
        "seed-000009.png",
        "seed-000010.png",
        "seed-000011.png",
        "sheet.png",
    ]
    alone = cli("generate", "runs/pictures", "--count", "1", "--seed", "9", "--out", "one")
    assert alone.returncode == 0
    with Image.open(tmp_path / "one" / "seed-000009.png") as one, Image.open(tmp_path / "new" / names[2]) as same:
        assert np.abs(np.asarray(one).astype(int) - np.asarray(same).astype(int)).max() <= 1

    lapse = cli("timelapse", "runs/pictures")
    assert lapse.returncode == 0, lapse.stderr
    with Image.open(run / "timelapse.gif") as film:
        assert film.n_frames == len(list((run / "samples").iterdir())) == 4
    walk = cli("animate", "runs/pictures", "--out", "walk.mp4", "--seconds", "1", "--tiles", "4")
    assert walk.returncode == 0 and "20 frames, 1.00 s" in walk.stdout
    assert (tmp_path / "walk.mp4").read_bytes()[4:8] == b"ftyp"

    longer = cli("resume", "runs/pictures", "--images", "200", "--json")
    assert longer.returncode == 0 and json.loads(longer.stdout)["images"] == 200


def test_a_second_run_gets_a_name_of_its_own(cli: Cli, pictures: Path, tmp_path: Path):
    for _ in range(2):
        assert cli("train", pictures, *SMALL, "--images", "8").returncode == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["pictures", "pictures-2"]
    refused(
        cli("train", pictures, *SMALL, "--images", "8", "--name", "pictures-2"),
        "--name pictures-2: runs/pictures-2 exists already",
        "limner resume runs/pictures-2",
    )


def test_one_corrupt_picture_never_ends_a_run(cli: Cli, pictures: Path, tmp_path: Path):
    (pictures / "torn.png").write_bytes((pictures / "disc00.png").read_bytes()[:40])
    (pictures / "empty.jpg").write_bytes(b"")
    finished = cli("train", pictures, *SMALL, "--images", "16")
    assert finished.returncode == 0, finished.stderr
    assert "torn.png" in finished.stderr and "empty.jpg" in finished.stderr
    data = json.loads((tmp_path / "runs" / "pictures" / "data.json").read_text())
    assert data["count"] == 24 and {item["name"] for item in data["skipped"]} == {"torn.png", "empty.jpg"}


@pytest.mark.skipif(not hasattr(signal, "SIGTERM") or os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_is_saved_and_goes_on(pictures: Path, tmp_path: Path, cli: Cli, number: int):
    command = [sys.executable, "-m", "limner", "train", str(pictures), *SMALL, "--minutes", "5"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        log = tmp_path / "runs" / "pictures" / "log.jsonl"
        deadline = time.monotonic() + 60
        while not (log.is_file() and log.read_text().count("\n") >= 2) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "interrupted, everything is saved" in out and "limner resume runs/pictures" in out
    saved = sorted((tmp_path / "runs" / "pictures" / "checkpoints").iterdir())
    assert len(saved) == 2 and int(saved[-1].name) >= 320, "the untrained state, and where it was interrupted"
    more = int(saved[-1].name) + 80
    finished = cli("resume", "runs/pictures", "--images", more, "--json")
    assert finished.returncode == 0 and json.loads(finished.stdout)["images"] == more


def idx(path: Path, magic: int, count: int, data: bytes) -> Path:
    path.write_bytes(gzip.compress(struct.pack(">IIII", magic, count, 28, 28) + data))
    return path


def test_bad_data(cli: Cli, tmp_path: Path):
    refused(cli("train", "missing"), "missing")
    (tmp_path / "empty").mkdir()
    refused(cli("train", "empty"), "empty")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no picture")
    refused(cli("train", "texts"), "texts")
    (tmp_path / "renamed").mkdir()
    for number in range(3):
        (tmp_path / "renamed" / f"{number}.png").write_text("no picture")
    refused(cli("train", "renamed"), "renamed", "none of 3 pictures", "0.png")
    (tmp_path / "lonely").mkdir()
    discs(1, 16, 16, 1)[0].save(tmp_path / "lonely" / "one.png")
    refused(cli("train", "lonely"), "at least two")
    idx(tmp_path / "wrong-idx3-ubyte.gz", 0x12345678, 2, bytes(2 * 784))
    refused(cli("train", "wrong-idx3-ubyte.gz"), "magic")
    idx(tmp_path / "short-idx3-ubyte.gz", 0x00000803, 100, bytes(784))
    refused(cli("train", "short-idx3-ubyte.gz"), "short-idx3-ubyte.gz")
    with zipfile.ZipFile(tmp_path / "hostile.zip", "w") as archive:
        archive.writestr("../outside.png", b"x")
    refused(cli("train", "hostile.zip"), "../outside.png")
    assert not (tmp_path.parent / "outside.png").exists()
    refused(cli("train", "procedural:nothing"), "initials, maps")
    assert not (tmp_path / "runs").exists()


def test_bad_recipes(cli: Cli, pictures: Path, tmp_path: Path):
    refused(cli("train", pictures, "--recipe", "initails"), "'initails'", "did you mean initials?")
    refused(
        cli("train", pictures, "--set", "generator.lrr=1"), "generator.lrr: unknown field; did you mean generator.lr?"
    )
    refused(
        cli("train", pictures, "--batch-size", "0"), "training.batch_size = 0: must be a whole number from 1 to 65536"
    )
    refused(
        cli("train", pictures, "--batch-size", "0", "--set", "image.fit=krop", "--set", "network.famly=mlp"),
        "training.batch_size",
        "image.fit",
        "network.famly",
        lines=3,
    )
    refused(cli("train", pictures, "--size", "3x5000"), "image.width = 3", "image.height = 5000", lines=2)
    refused(
        cli("train", pictures, "--size", "wide", "--set", "lr", "--set", "seed", "--batch-size", "0"),
        "--size wide",
        "--set lr: write section.field=value",
        "--set seed: write section.field=value",
        "training.batch_size = 0",
        lines=4,
    )
    refused(cli("train", pictures, "--epochs", "2", "--minutes", "1"), "give one of training.epochs")
    refused(cli("train", pictures, "--device", "cuda:99"), "cuda:99")
    assert not (tmp_path / "runs").exists()


def test_bad_places(cli: Cli, pictures: Path, tmp_path: Path):
    """Not by permissions: a user who may do everything (root) is not stopped by them."""
    (tmp_path / "file").write_text("")
    refused(cli("train", pictures, "--runs", "file"), "--runs file: is a file")
    refused(cli("train", pictures, "--runs", "file/below"), "--runs file/below: cannot be written")
    if Path("/proc/self").exists():
        refused(cli("train", pictures, "--runs", "/proc/runs"), "--runs /proc/runs: cannot be written")
    refused(cli("train", pictures, "--name", "../up"), "--name ../up: must be a plain name")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are POSIX")
def test_a_read_only_place(pictures: Path, tmp_path: Path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    command = [sys.executable, "-m", "limner", "train", str(pictures), *SMALL, "--runs", str(locked)]
    if os.geteuid() == 0:  # permissions do not stop root, unless it gives up that very power
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    refused(finished, f"--runs {locked}: cannot be written (Permission denied)")


def test_bad_runs(cli: Cli, pictures: Path, tmp_path: Path):
    refused(cli("resume", "runs/none"), "runs/none: no such run directory")
    refused(cli("resume", pictures), "is not a run directory")
    refused(cli("generate", "runs/none"), "no such run directory or generator file")
    assert cli("train", pictures, *SMALL, "--images", "8").returncode == 0
    for checkpoint in (tmp_path / "runs" / "pictures" / "checkpoints").iterdir():
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    refused(cli("resume", "runs/pictures"), "has no checkpoint")
    refused(cli("generate", "runs/pictures"), "has no checkpoint")
    refused(cli("animate", "runs/pictures", "--out", "walk.avi"), "must end in .gif or .mp4")


def test_recipes_are_listed_and_shown(cli: Cli):
    listed = cli("recipes")
    assert listed.returncode == 0
    lines = listed.stdout.splitlines()
    for name in names():
        about = Recipe.load(name).about
        place = next(number for number, line in enumerate(lines) if line.startswith(f"{name} "))
        assert about.cost in lines[place] and about.summary in lines[place] and about.source in lines[place + 1]
    sizes = {line.split()[0]: line.split()[1] for line in lines if not line.startswith(" ")}
    assert (sizes["dcgan"], sizes["fashion"], sizes["mapmaker"]) == ("64x64", "28x28", "750x750")
    shown = cli("recipes", "show", "initials")
    assert "batch_size = 32" in shown.stdout and "#" in shown.stdout
    values = json.loads(cli("recipes", "--json").stdout)
    assert values["dcgan"]["training"]["batch_size"] == 128
    refused(cli("recipes", "show", "nothing"), "no such recipe")


def test_a_dry_run_says_what_would_happen(cli: Cli, pictures: Path, tmp_path: Path):
    finished = cli("train", pictures, *SMALL, "--epochs", "10", "--dry-run", "--json")
    assert finished.returncode == 0, finished.stderr
    values = json.loads(finished.stdout)
    assert values["images"] == 240 and values["data"]["count"] == 24 and values["images_per_second"] > 0
    assert not (tmp_path / "runs").exists()


def test_made_data_can_be_trained_on(cli: Cli, tmp_path: Path):
    made = cli("make-data", "maps", "drawn", "--count", "12", "--size", "24x16", "--seed", "3")
    assert made.returncode == 0, made.stderr
    files = sorted(path for path in (tmp_path / "drawn").rglob("*.png"))
    assert len(files) == 12
    with Image.open(files[0]) as picture:
        assert picture.size == (24, 16) and picture.mode == "RGB"
    assert cli("train", "drawn", *SMALL, "--images", "16").returncode == 0
    refused(cli("make-data", "maps", "drawn", "--count", "2"), "drawn", "not empty")
    refused(cli("make-data", "sprites", "other"), "initials, maps")
    refused(cli("make-data", "maps", "other", "--size", "4"), "--size")


def test_the_cache_is_listed_bounded_and_cleared(cli: Cli, pictures: Path, tmp_path: Path):
    place = {"LIMNER_CACHE": str(tmp_path / "cache")}
    assert cli("train", pictures, *SMALL, "--images", "8", **place).returncode == 0
    listed = json.loads(cli("cache", "--json", **place).stdout)
    assert len(listed) == 1 and listed[0]["count"] == 24 and listed[0]["bytes"] >= 24 * 256
    assert "1 collections" in cli("cache", **place).stdout
    refused(cli("cache", "bound", "much", **place), "10GB")
    assert cli("cache", "bound", "1GB", **place).stdout.startswith("freed 0 bytes")
    assert cli("cache", "clear", **place).returncode == 0
    assert json.loads(cli("cache", "--json", **place).stdout) == []


def test_the_doctor(cli: Cli):
    facts = json.loads(cli("doctor", "--json").stdout)
    assert facts["device"] in ("cpu", "cuda", "mps") and "GFLOP/s" in facts["float32"]


def test_the_demo(cli: Cli, tmp_path: Path):
    finished = cli("demo", "--minutes", "0.1", timeout=300)
    assert finished.returncode == 0, finished.stderr
    for name in ("sheet.png", "timelapse.gif", "walk.gif", "recipe.toml"):
        assert (tmp_path / "runs" / "demo" / name).stat().st_size > 500
    assert "runs/demo/sheet.png" in finished.stdout


def test_help_is_quick_and_imports_nothing_heavy(cli: Cli):
    assert "train" in cli("--help").stdout
    code = (
        "import sys; sys.argv = ['limner', '--help']\n"
        "from limner.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pydantic', 'matplotlib', 'limner.recipe'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
    code = "import sys, limner; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_usage_errors(cli: Cli):
    wrong = {
        "no such option: --nothing; see 'limner --help'": ["--nothing"],
        "train: missing argument 'DATA'; see 'limner train --help'": ["train"],
        "generate: invalid value for '--count': ": ["generate", "x", "--count", "0"],
        "no such command 'fly'": ["fly"],
        "no such command 'trian'. Did you mean 'train'? see 'limner --help'": ["trian", "maps"],
        "train: no such option: --sise ": ["train", "maps", "--sise", "32"],
        "recipes show: missing argument 'NAME'; see 'limner recipes show --help'": ["recipes", "show"],
        "train: got unexpected extra argument": ["train", "maps", "more"],
    }
    for words, arguments in wrong.items():
        finished = cli(*arguments)
        assert finished.returncode == 2 and finished.stdout == "", finished
        assert finished.stderr.startswith(f"limner: {words}") and finished.stderr.count("\n") == 1, finished.stderr
    assert "Usage: limner" in cli().stdout + cli().stderr
    assert cli("--version").stdout.startswith("limner 0.")
