"""Hostile folders: links, pipes, devices, sockets, names that are no text, depth."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

from fuzz_images import MATERIAL, beside_good, damaged, in_turn, looked_at
from fuzz_worker import Case, Make

NAMES = (
    b"a\nb.png",
    b"\xff\xfe.png",
    b"\x1b[31mred.png",
    b"\x1b]0;x\x07.png",
    b"-rf.png",
    b"--json.png",
    b"a b'c\".png",
    b"<img src=x onerror=alert(1)>.png",
    b"\xe2\x80\xaegnp.png",
    b"x" * 250 + b".png",
    b"%s.png",
    b"*.png",
    b"~.png",
    b".png",
    b"\xed\xa0\x80.png",
    b"a\tb.png",
    b"a\rb.png",
    b"$(touch canary).png",
)


def _picture() -> bytes:
    return next(
        content
        for ending, content in (MATERIAL.encoded(random.Random(number)) for number in range(999))
        if ending == "png"
    )


def odd_names(data: Path) -> None:
    for number, name in enumerate(NAMES):
        with open(os.fsencode(data) + b"/" + name, "wb") as file:
            file.write(_picture() if number % 2 else b"no picture")


def odd_classes(data: Path) -> None:
    for path in data.iterdir():
        path.unlink()
    for name in NAMES[:10]:
        folder = os.fsencode(data) + b"/" + name
        os.makedirs(folder)
        with open(folder + b"/x.png", "wb") as file:
            file.write(_picture())


def loops(data: Path) -> None:
    (data / "self").symlink_to(data)
    (data / "up").symlink_to("..")
    (data / "a").mkdir()
    (data / "a/b").symlink_to("../a")
    (data / "loop.png").symlink_to("loop.png")
    (data / "one.png").symlink_to("two.png")
    (data / "two.png").symlink_to("one.png")


def many_links(data: Path) -> None:
    """Links between folders: the ways through them are more than anyone can go."""
    for number in range(12):
        (data / f"d{number}").mkdir()
        (data / f"d{number}/x.png").write_bytes(_picture())
    for number in range(12):
        for other in range(12):
            (data / f"d{number}/l{other}").symlink_to(data / f"d{other}")


def chain(data: Path) -> None:
    """Two links to each next folder: two to the power of sixty ways."""
    outside = data.parent / "outside"
    for number in range(60):
        folder = outside / f"n{number}"
        folder.mkdir(parents=True)
        for name in "ab":
            (folder / name).symlink_to(outside / f"n{number + 1}")
    (data / "in").symlink_to(outside / "n0")


def devices(data: Path) -> None:
    os.mkfifo(data / "pipe.png")
    os.mkfifo(data / "pipe")
    for name in ("zero", "random", "full", "tty", "null"):
        (data / f"{name}.png").symlink_to(f"/dev/{name}")
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(data)
    server.bind("socket.png")
    os.chdir(here)
    server.close()


def system(data: Path) -> None:
    """The system's own files, which say that they are empty, or wait."""
    (data / "proc").symlink_to("/proc/self")
    (data / "dev").symlink_to("/dev")
    (data / "mem.png").symlink_to("/proc/self/mem")
    (data / "kmsg").symlink_to("/proc/kmsg")


def deep(data: Path) -> None:
    """Folders in folders, deeper than a path may be long."""
    here = os.open(data, os.O_RDONLY)
    for _ in range(1900):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    descriptor = os.open("x.png", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(descriptor, _picture())
    os.close(descriptor)
    os.close(here)


def wide(data: Path) -> None:
    for number in range(20_000):
        (data / f"{number}.txt").touch()


def sparse(data: Path) -> None:
    for name in ("big.png", "big", "big.tif"):
        with (data / name).open("wb") as file:
            file.write(b"II*\0")
            file.truncate(1 << 42)


def looks_like_a_run(data: Path) -> None:
    (data / "run/checkpoints").mkdir(parents=True)
    os.mkfifo(data / "run/recipe.toml")
    (data / "train-images-idx3-ubyte").mkdir()


def nothing(data: Path) -> None:
    for path in data.iterdir():
        path.unlink()


SPECIAL: list[tuple[str, Callable[[Path], None]]] = [
    ("odd names", odd_names),
    ("odd names of classes", odd_classes),
    ("loops of links", loops),
    ("many links", many_links),
    ("a chain of links", chain),
    ("pipes, devices and sockets", devices),
    ("the system's own files", system),
    ("deep", deep),
    ("many files", wide),
    ("files of four terabytes, sparse", sparse),
    ("folders named as files", looks_like_a_run),
    ("nothing", nothing),
]


def special(chance: random.Random, folder: Path, number: int) -> Case:
    what, make = SPECIAL[number % len(SPECIAL)]
    data = beside_good(folder, {})
    make(data)
    return looked_at(chance, data, what)


def mutated(chance: random.Random, folder: Path) -> Case:
    """A folder of several odd things at a time."""
    data = beside_good(folder, {})
    done = []
    for what, make in chance.sample(SPECIAL[:7], 2):
        try:
            make(data)
        except OSError:  # a name is taken by what was made before
            continue
        done.append(what)
    for number in range(3):
        ending, content = MATERIAL.encoded(chance)
        (data / f"sub{number % 2}").mkdir(exist_ok=True)
        (data / f"sub{number % 2}/{number}.{ending}").write_bytes(damaged(chance, content))
    return looked_at(chance, data, " and ".join(done))


GROUPS: dict[str, Make] = {"folders": mutated, "folders-special": in_turn(special)}
