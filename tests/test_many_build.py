"""A build that is broken off goes on: what it gives is, byte for byte, what it gives at a stroke."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_support import SMALL, Settings, files, save, settled
from limner.data import build, cache, drawn, journal, prepare, sinks
from limner.data.columns import Names, pack, ranks, read_columns, write_columns
from limner.data.journal import Busy, Journal
from limner.data.listing import write_list
from limner.data.sources import open_source
from limner.errors import InputError

COUNT = 130


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of many sizes and modes; some cannot be read, and some are there twice. Enough to be split."""
    random = np.random.default_rng(0)
    for index in range(COUNT):
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        name = tmp_path / "set" / f"class{index % 3}" / f"{index:03}.png"
        if index % 11 == 5:
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_bytes(b"" if index % 2 else b"no picture")
        else:
            mode = "L" if index % 7 == 0 else "RGB"
            save(name, colour[0] if mode == "L" else colour, (16 + index % 4, 16), mode)
    return settled(tmp_path / "set")


def contents(kept: Path) -> dict[str, bytes]:
    return {name: (kept / "collections" / name).read_bytes() for name in files(kept / "collections")}


@pytest.fixture
def portions(monkeypatch: pytest.MonkeyPatch) -> int:
    """Small portions: nine pictures each."""
    monkeypatch.setattr(journal, "BYTES", 9 * 16 * 16 * 3)
    return 9


class Killed(BaseException):
    """Stands in for a kill: nothing is tidied up that a kill would leave."""


def broken_off(folder: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, at: int, image: Settings = SMALL) -> None:
    """Prepare until ``at`` pictures are done, and end there as a kill would."""

    def progress(done: int, total: int) -> None:
        if done >= at:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(sinks.DiskSink, "__exit__", lambda self, *error: self._journal.close())
        with pytest.raises(Killed):
            prepare(folder, image, cache_dir=kept, progress=progress, workers=1)


@pytest.mark.parametrize("image", [SMALL, Settings(16, 16, 3, fit="crops")], ids=["crop", "crops"])
def test_the_finished_cache_is_byte_for_byte_the_same(
    folder: Path, tmp_path: Path, portions: int, monkeypatch: pytest.MonkeyPatch, image: Settings
) -> None:
    whole = prepare(folder, image, cache_dir=tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    assert whole.summary["skipped_count"] == 12 and len(expected) == 3
    for at in (10, 40, 41, 100, COUNT):
        broken_off(folder, tmp_path / "kept", monkeypatch, at, image)
    decoded: list[int] = []
    monkeypatch.setattr(
        build, "decode", lambda data, target, real=build.decode: decoded.append(1) or real(data, target)
    )
    seen: list[int] = []
    again = prepare(folder, image, cache_dir=tmp_path / "kept", progress=lambda done, _: seen.append(done))
    assert len(decoded) < 2 * portions and seen[0] > 100 and seen == sorted(seen) and seen[-1] == COUNT
    assert f"at {seen[0]} of {COUNT} pictures" in again.summary["warnings"][0]
    assert contents(tmp_path / "kept") == expected
    assert again.names == whole.names and again.labels is not None and (again.labels == whole.labels).all()
    assert prepare(folder, image, cache_dir=tmp_path / "kept").summary["cache"]["hit"]


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_many_build import SMALL, journal, prepare
journal.BYTES = 9 * 16 * 16 * 3
def progress(done, total):
    print(done, flush=True)
    sys.stdin.readline()
prepare({folder!r}, SMALL, cache_dir=Path({kept!r}), workers=1, progress=progress)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_real_kills(folder: Path, tmp_path: Path, portions: int) -> None:
    prepare(folder, SMALL, cache_dir=tmp_path / "whole")
    code = CHILD.format(here=str(Path(__file__).parent), folder=str(folder), kept=str(tmp_path / "kept"))
    reached = 0
    for at in (50, 90):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdin is not None
        began = int(process.stdout.readline())
        assert began >= reached
        for _ in range(at - began):
            process.stdin.write("\n")
            process.stdin.flush()
            done = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
        reached = done - 3 * portions  # the newest portion may be on its way to the disk
        assert reached > 10
    seen: list[int] = []
    prepare(folder, SMALL, cache_dir=tmp_path / "kept", progress=lambda done, _: seen.append(done))
    assert seen[0] >= reached
    assert contents(tmp_path / "kept") == contents(tmp_path / "whole")


def cut(path: Path, by: int) -> None:
    os.truncate(path, path.stat().st_size - by)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 64
    path.write_bytes(content)


def line(path: Path, number: int) -> int:
    """Where a line of a file begins."""
    return len(b"".join(path.read_bytes().splitlines(keepends=True)[:number]))


DAMAGE: dict[str, tuple[Callable[[dict[str, Path]], object], int]] = {
    "nothing": (lambda part: None, 63),
    "half a line": (lambda part: cut(part["journal"], 40), 54),
    "a changed line": (lambda part: flip(part["journal"], line(part["journal"], 4) + 60), 27),
    "another collection's": (lambda part: flip(part["journal"], 20), 0),
    "no journal": (lambda part: part["journal"].unlink(), 0),
    "pixels that never reached the disk": (lambda part: os.truncate(part["pixels"], 20_000), 18),
    "a changed pixel": (lambda part: flip(part["pixels"], 30_000), 36),
    "a changed thumbnail": (lambda part: flip(part["thumbs"], 9 * 3072 + 5), 9),
    "no thumbnails": (lambda part: part["thumbs"].unlink(), 0),
    "garbage": (lambda part: part["journal"].write_bytes(os.urandom(3000)), 0),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_decoded_again(
    damage: str, folder: Path, tmp_path: Path, portions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(folder, SMALL, cache_dir=tmp_path / "whole")
    kept = tmp_path / "kept"
    broken_off(folder, kept, monkeypatch, 78)
    harm, good = DAMAGE[damage]
    harm({part.suffixes[-2][1:]: part for part in (kept / "collections").iterdir()})
    seen: list[int] = []
    prepare(folder, SMALL, cache_dir=kept, progress=lambda done, _: seen.append(done))
    assert good <= seen[0] <= 1.2 * good + 2, "some entries cannot be read, and belong to a portion too"
    assert contents(kept) == contents(tmp_path / "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="files are locked otherwise")
def test_who_comes_while_another_is_finishing_takes_nothing_from_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels that have their name while the facts are not written are of one who was killed, or is just about to be done."""
    real, met = sinks.write_json, []

    def late(path: Path, values: Any) -> None:
        if path.parent.name == "collections":
            with sinks.DiskSink(path.parent, path.stem) as other:
                met.append(other.portions)
        real(path, values)

    monkeypatch.setattr(sinks, "write_json", late)
    made = prepare(folder, SMALL, cache_dir=tmp_path / "kept")
    assert met == [[]] and made.summary["cache"]["path"] is not None
    assert not any("cannot be written" in line for line in made.summary["warnings"])
    assert prepare(folder, SMALL, cache_dir=tmp_path / "kept").summary["cache"]["hit"]


def test_killed_between_the_last_renames(
    folder: Path, tmp_path: Path, portions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pixels have their name, the facts have not: nothing is decoded again."""
    prepare(folder, SMALL, cache_dir=tmp_path / "whole")
    kept = tmp_path / "kept"

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(sinks, "write_json", killed)
        patch.setattr(sinks.DiskSink, "__exit__", lambda self, *error: self._journal.close())
        with pytest.raises(Killed):
            prepare(folder, SMALL, cache_dir=kept)
    assert [name for name in files(kept / "collections") if name.endswith(".pixels")]
    monkeypatch.setattr(build, "decode", lambda *_: pytest.fail("decoded again"))
    prepare(folder, SMALL, cache_dir=kept)
    assert contents(kept) == contents(tmp_path / "whole")


def test_an_interrupt_keeps_what_is_done_and_a_full_disk_nothing(
    folder: Path, tmp_path: Path, portions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 60:
            raise KeyboardInterrupt

    kept = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, SMALL, cache_dir=kept, progress=interrupt)
    assert len(files(kept / "collections")) == 3
    seen: list[int] = []
    calls: list[int] = []

    def full(number: int) -> None:
        calls.append(number)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.os, "fsync", full)
    collection = prepare(folder, SMALL, cache_dir=kept, progress=lambda done, _: seen.append(done))
    assert "No space left" in collection.summary["warnings"][0] and not files(kept / "collections")
    assert len(collection.names) == 118 and seen[-1] == COUNT


def test_no_room_is_told_before_hours_of_work(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = sinks.SLACK + 16 * 16 * 3
    monkeypatch.setattr(sinks.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    collection = prepare(folder, SMALL, cache_dir=tmp_path / "kept")
    assert "free on its disk" in collection.summary["warnings"][0] and not files(tmp_path / "kept" / "collections")
    monkeypatch.setattr(sinks, "IN_MEMORY", 10_000)
    with pytest.raises(InputError, match=r"cannot be written .* take 0.0 GB, too much to keep in memory") as caught:
        prepare(folder, SMALL, cache_dir=tmp_path / "kept")
    assert "\n" not in str(caught.value)


def test_who_finds_it_taken_works_alone(folder: Path, tmp_path: Path, portions: int) -> None:
    """Another build of the same collection within this one."""
    kept, inner = tmp_path / "kept", []

    def progress(done: int, total: int) -> None:
        if done == 60 and not inner:
            inner.append(prepare(folder, SMALL, cache_dir=kept))
            assert len(files(kept / "collections")) == 6  # whole, and the parts of the outer one

    outer = prepare(folder, SMALL, cache_dir=kept, progress=progress)
    assert (np.asarray(outer.images) == np.asarray(inner[0].images)).all()
    assert len(files(kept / "collections")) == 3


def test_arrays_are_taken_up_within_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1000, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(1000) % 3)
    monkeypatch.setattr(journal, "BYTES", 100 * 256)
    image = Settings(16, 16, 1)
    broken_off(tmp_path / "x.npz", tmp_path / "kept", monkeypatch, 600, image)
    again = prepare(tmp_path / "x.npz", image, cache_dir=tmp_path / "kept")
    assert (np.asarray(again.images)[..., 0] == images).all()
    assert "at 768 of 1,000 pictures" in again.summary["warnings"][0]
    assert again.labels is not None and again.labels.tolist() == (np.arange(1000) % 3).tolist()


@pytest.mark.parametrize("listed", [False, True])
def test_drawn_pictures_are_gone_on_with(listed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes draw from the place where it was broken off, and nothing before it."""
    monkeypatch.setattr(drawn, "_PER_WORKER", 10)
    monkeypatch.setattr(journal, "BYTES", 10 * 16 * 16)
    data = "procedural:initials:41"
    if listed:
        names = [entry.name for entry in open_source(data).entries if not entry.name.endswith("7")]
        data = str(tmp_path / "list.json")
        write_list(Path(data), "procedural:initials:41", "", names, [])
    image = Settings(16, 16)
    whole = prepare(data, image, cache_dir=tmp_path / "whole", workers=1)

    def interrupt(done: int, total: int) -> None:
        if done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(data, image, cache_dir=tmp_path / "kept", workers=2, progress=interrupt)
    again = prepare(data, image, cache_dir=tmp_path / "kept", workers=2)
    assert "went on" in again.summary["warnings"][-1]
    assert (np.asarray(again.images) == np.asarray(whole.images)).all() and again.names == whole.names
    assert contents(tmp_path / "kept") == contents(tmp_path / "whole")


def test_a_journal_in_numbers(tmp_path: Path) -> None:
    paths = tmp_path / "a", tmp_path / "b"
    first = Journal(tmp_path / "j", paths, "me")
    with pytest.raises(Busy):
        Journal(tmp_path / "j", paths, "me")
    for number in range(3):
        first.append(bytes([number]) * 10, b"x")
        first.finish({"number": number})
    first.append(b"lost", b"too")
    first.close()
    assert (paths[0].stat().st_size, paths[1].stat().st_size) == (34, 6)
    second = Journal(tmp_path / "j", paths, "me")
    assert [portion["facts"]["number"] for portion in second.portions] == [0, 1, 2]
    assert second.portions[1]["ends"] == [20, 2] and (paths[0].stat().st_size, paths[1].stat().st_size) == (30, 3)
    second.close()
    third = Journal(tmp_path / "j", paths, "you")
    assert third.portions == [] and paths[0].stat().st_size == 0
    third.close()


# Columns


def test_names_there_and_back() -> None:
    texts = ["b.png", "", "a/ü.png", "no-text-\udcff.png", "a" * 300, "b.png"]
    names = pack(texts)
    assert names == texts and names[-1] == "b.png" and names[1:3] == texts[1:3] and len(names) == 6
    assert names != texts[:5] and pack([]) == [] and ranks(pack([])) is None
    with pytest.raises(IndexError):
        names[6]
    order = ranks(names)
    assert order is not None and order.tolist() == [3, 0, 1, 5, 2, 4]
    assert ranks(pack(sorted(texts))) is None


def test_columns_are_read_where_they_lie() -> None:
    columns = {"a": np.arange(5, dtype=np.uint8), "b": np.arange(6).reshape(3, 2), "c": np.zeros((0, 2), np.int32)}
    described, pieces = write_columns(columns)
    content = np.frombuffer(b"".join(pieces), np.uint8)
    found = read_columns(json.loads(json.dumps(described)), content)
    for name, values in columns.items():
        assert (found[name] == values).all() and found[name].dtype == values.dtype and found[name].shape == values.shape
    assert found["b"].base is not None and not found["b"].flags.owndata
    for wrong in (["float64", [1], 0], ["int64", [9], 0], ["int64", [-1], 0], ["int64", [1], -8], ["int64", [1], 999]):
        with pytest.raises((ValueError, TypeError)):
            read_columns({"x": wrong}, content)
    assert isinstance(Names(found["a"], found["b"][:, 0]), Names)


def test_the_summary_does_not_depend_on_portions(folder: Path, tmp_path: Path, portions: int) -> None:
    collection = prepare(folder, SMALL, cache_dir=tmp_path / "kept")
    assert collection.summary["sizes"]["different"] == 4 and sum(collection.summary["modes"].values()) == 118
    assert collection.summary["classes"] == {"class0": 40, "class1": 39, "class2": 39}
    assert cache.Store(tmp_path / "kept").load("0" * 32) is None
