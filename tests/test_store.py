"""The cache on disk: whole or not there, rebuilt when damaged, bounded, safe to share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from cache_support import SMALL, Settings, files, save
from limner.data import Collection, build, parallel, prepare, sinks, store
from limner.errors import InputError


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "gone", "json", "empty json", "list", "foreign"])
def test_a_damaged_cache_is_rebuilt(damage: str, levels: Path, kept: Path) -> None:
    first = prepare(levels, SMALL, cache_dir=kept)
    expected = np.array(first.images)
    pixels = Path(first.summary["cache"]["path"])
    facts = pixels.with_suffix(".json")
    content = bytearray(pixels.read_bytes())
    if damage == "flip":
        content[5000] ^= 1
        pixels.write_bytes(content)
    elif damage == "cut":
        pixels.write_bytes(content[:-1])
    elif damage == "longer":
        pixels.write_bytes(content + b"x")
    elif damage == "gone":
        pixels.unlink()
    else:
        facts.write_text({"json": facts.read_text()[:-20], "empty json": "", "list": "[]", "foreign": "{}"}[damage])
    again = prepare(levels, SMALL, cache_dir=kept)
    assert not again.summary["cache"]["hit"]
    assert (np.asarray(again.images) == expected).all()
    assert prepare(levels, SMALL, cache_dir=kept).summary["cache"]["hit"]


def test_a_damaged_memory_of_a_source_does_not_matter(levels: Path, kept: Path) -> None:
    prepare(levels, Settings(), cache_dir=kept)
    (known,) = (kept / "sources").glob("*.json")
    values = json.loads(known.read_text())
    for broken in (
        "",
        "[]",
        "{",
        json.dumps(values | {"files": {"00.png": 3}}),
        json.dumps(values | {"sample": {"sizes": 1}}),
    ):
        known.write_text(broken)
        assert len(prepare(levels, Settings(), cache_dir=kept).names) == 12


def test_an_unwritable_cache_falls_back_to_memory(levels: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the cache should be")
    collection = prepare(levels, SMALL, cache_dir=tmp_path / "file")
    assert collection.images.shape == (12, 16, 16, 3)  # type: ignore[union-attr]
    assert int(collection.images[2][0, 0, 0]) == 40
    (warning,) = collection.summary["warnings"]
    assert "memory" in warning and str(tmp_path / "file") in warning
    assert collection.summary["cache"]["path"] is None


def test_a_disk_that_fills_up_falls_back_to_memory(levels: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_TOGETHER", 2 * 16 * 16 * 3)  # two pictures
    calls = 0

    def append(self: sinks.DiskSink, pixels: np.ndarray, thumbs: np.ndarray) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise sinks.StoreError("No space left on device")

    monkeypatch.setattr(sinks.DiskSink, "append", append)
    collection = prepare(levels, SMALL, cache_dir=kept)
    assert len(collection.names) == 12 and int(collection.images[11][0, 0, 0]) == 220
    assert "No space left" in collection.summary["warnings"][0]
    assert not files(kept / "collections")


def test_an_interrupt_leaves_nothing_half_written(levels: Path, kept: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(levels, SMALL, cache_dir=kept, progress=interrupt)
    assert not files(kept / "collections")
    assert len(prepare(levels, SMALL, cache_dir=kept).names) == 12


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from test_cache import SMALL, prepare
def progress(done, total):
    print(done, flush=True)
    time.sleep({pause})
prepare({location!r}, SMALL, cache_dir=Path({cache!r}), progress=progress)
"""


def child(location: Path, cache_dir: Path, pause: float) -> subprocess.Popen[str]:
    code = CHILD.format(here=str(Path(__file__).parent), location=str(location), cache=str(cache_dir), pause=pause)
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_killed_process_leaves_nothing_that_counts(levels: Path, kept: Path) -> None:
    process = child(levels, kept, 0.2)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 4:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    parts = files(kept / "collections")
    assert len(parts) == 3 and all(part.endswith(".part") for part in parts)
    assert store.entries(kept) == []
    assert store.remove_leavings(kept) == 0  # it may still be somebody's
    collection = prepare(levels, SMALL, cache_dir=kept)
    assert not collection.summary["cache"]["hit"] and len(collection.names) == 12
    assert len(files(kept / "collections")) == 3 and not any(part.endswith(".part") for part in files(kept))


def test_what_nobody_finishes_goes_in_the_end(kept: Path) -> None:
    """What can be taken up again stays for a month, unless the cache is bounded; a nameless part for an hour."""
    folder = kept / "collections"
    folder.mkdir(parents=True)
    key = "ab" * 16
    parts = [folder / f"{key}.{part}.part" for part in ("pixels", "thumbs", "journal")]
    nameless = folder / f"{key}.rows.{'c' * 32}.part"

    def make(age: float) -> None:
        for path in (*parts, nameless):
            path.write_bytes(b"1234567890")
            os.utime(path, (time.time() - age,) * 2)

    make(1800)
    assert store.bound(0, kept) == 0
    make(7200)
    assert store.bound(31, kept) == 10 and not nameless.exists() and all(part.exists() for part in parts)
    assert store.bound(29, kept) == 30 and files(kept) == []
    make(31 * 86400)
    assert store.remove_leavings(kept) == 40 and files(kept) == []


def test_two_processes_at_once(levels: Path, kept: Path) -> None:
    processes = [child(levels, kept, 0.02) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    collection = prepare(levels, SMALL, cache_dir=kept)
    assert collection.summary["cache"]["hit"]
    assert [int(picture[0, 0, 0]) for picture in collection.images] == [index * 20 for index in range(12)]  # type: ignore[union-attr]
    assert len(files(kept / "collections")) == 3


def test_the_cache_is_no_larger_than_the_pixels(levels: Path, kept: Path) -> None:
    collection = prepare(levels, Settings(64, 64, 3), cache_dir=kept)
    pixels = collection.images.nbytes
    assert pixels <= sum((kept / name).stat().st_size for name in files(kept)) < pixels + 8000


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_keep_the_order(workers: int) -> None:
    def slow(item: int) -> int:
        time.sleep(0.003 if item % 3 else 0.001)
        return item * item

    assert list(parallel.ordered(slow, range(60), workers)) == [item * item for item in range(60)]


def test_threads_run_at_once_and_stop_when_nobody_listens() -> None:
    done: list[int] = []
    inside: set[int] = set()
    together: list[int] = []

    def slow(item: int) -> int:
        inside.add(item)
        time.sleep(0.01)
        together.append(len(inside))
        inside.discard(item)
        done.append(item)
        return item

    assert len(list(parallel.ordered(slow, range(86), 8))) == 86
    assert 4 <= max(together) <= 8  # 1 one after the other
    done.clear()
    results = parallel.ordered(slow, range(10_000), 4)
    for _ in range(10):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(done) < 100


# limner cache


def test_listing_clearing_and_bounding(tmp_path: Path, kept: Path) -> None:
    assert store.entries(kept) == [] and store.clear(kept) == 0 and store.bound(0, kept) == 0
    collections: list[Collection] = []
    for number in range(3):
        for index in range(4):
            save(tmp_path / f"set{number}" / f"{index}.png", (index, number, 0))
        collections.append(prepare(tmp_path / f"set{number}", SMALL, cache_dir=kept))
    keys = [Path(collection.summary["cache"]["path"]).stem for collection in collections]
    for age, key in enumerate(reversed(keys)):
        os.utime(kept / "collections" / f"{key}.json", (1e9 - age, 1e9 - age))
    found = store.entries(kept)
    assert [entry.key for entry in found] == keys[::-1]
    first = found[0]
    assert (first.location, first.count, first.width, first.height, first.channels, first.fit) == (
        str(tmp_path / "set2"), 4, 16, 16, 3, "crop",
    )  # fmt: skip
    assert first.bytes > 4 * 16 * 16 * 3 and first.last_used == 1e9
    prepare(tmp_path / "set0", SMALL, cache_dir=kept)  # used again: now the newest
    total = sum(entry.bytes for entry in found)
    freed = store.bound(total - 1, kept)
    assert freed == next(entry.bytes for entry in found if entry.key == keys[1])
    assert [entry.key for entry in store.entries(kept)] == [keys[0], keys[2]]
    assert np.asarray(collections[1].images).sum() > 0  # who has it open keeps it
    features = kept / "features" / f"{'ab' * 16}.safetensors"
    features.parent.mkdir()
    features.write_bytes(b"1234")
    os.utime(features, (1, 1))
    both = sum(entry.bytes for entry in store.entries(kept))
    assert store.bound(both + 3, kept) == 4 and not features.exists(), "features were not used for longest"
    assert store.clear(kept, keys=[keys[2]]) > 0
    assert [entry.key for entry in store.entries(kept)] == [keys[0]]


def test_clearing_takes_all_that_is_limners_and_nothing_else(levels: Path, kept: Path) -> None:
    """The cache may be told to lie in a folder with other things, or in a home."""
    others = ("downloads/letter.gz", "downloads/film.part", "sources/main.json", "collections/stamps.json", "notes.txt")
    prepare(levels, SMALL, cache_dir=kept)
    for name in others:
        (kept / name).parent.mkdir(exist_ok=True)
        (kept / name).write_bytes(b"12345")
        os.utime(kept / name, (1e9, 1e9))
    store.bound(10**9, kept)
    before = sum((kept / name).stat().st_size for name in set(files(kept)) - set(others))
    (kept / "downloads/fashion-mnist").mkdir()
    (kept / "downloads/fashion-mnist/train-images-idx3-ubyte.gz").write_bytes(b"1234567")
    (kept / f"downloads/fashion-mnist/train-labels-idx1-ubyte.gz.{'a' * 32}.part").write_bytes(b"123")
    assert store.clear(kept) == before + 10
    assert files(kept) == sorted(others)


def test_leavings_of_downloads_go(kept: Path) -> None:
    part = kept / f"downloads/fashion-mnist/train-labels-idx1-ubyte.gz.{'a' * 32}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"123")
    assert store.remove_leavings(kept) == 0
    os.utime(part, (1e9, 1e9))
    assert store.remove_leavings(kept) == 3


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"count": null}', '{"image": 3}', "[" * 9999, "gone", '{"a": "\xff"}']
)
def test_damaged_entries_are_listed(text: str, levels: Path, kept: Path) -> None:
    pixels = Path(prepare(levels, SMALL, cache_dir=kept).summary["cache"]["path"])
    facts = pixels.with_suffix(".json")
    good = json.loads(facts.read_text())
    texts = [text.encode("latin-1")] + [
        json.dumps(good | {"count": value}).encode() for value in (None, [], float("inf"))
    ]
    for content in texts:
        facts.write_bytes(content)
        if text == "gone":
            facts.unlink()
        (entry,) = store.entries(kept)
        assert (entry.key, entry.location, entry.count, entry.width) == (pixels.stem, "(damaged)", 0, 0)
        assert entry.bytes >= 12 * 16 * 16 * 3
    assert store.clear(kept, keys=[entry.key]) == entry.bytes and store.entries(kept) == []


def test_less_than_nothing_is_no_bound(levels: Path, kept: Path) -> None:
    prepare(levels, SMALL, cache_dir=kept)
    with pytest.raises(InputError, match="0 bytes or more"):
        store.bound(-1, kept)
    assert len(store.entries(kept)) == 1


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LIMNER_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert store.cache_root() == tmp_path / ".cache/limner"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert store.cache_root() == tmp_path / "xdg/limner"
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "own"))
    assert store.cache_root() == tmp_path / "own"
    assert store.cache_root(tmp_path / "given") == tmp_path / "given"
    monkeypatch.setenv("LIMNER_CACHE", "~nosuchuser/cache")
    with pytest.raises(InputError, match="LIMNER_CACHE = ~nosuchuser/cache"):
        store.cache_root()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files by /proc")
def test_pictures_in_memory_do_not_hold_on_to_files(levels: Path, kept: Path) -> None:
    """Reading leaves no file open: ten thousand pictures would end at the system's limit."""
    before = len(os.listdir("/proc/self/fd"))
    for index in range(40):
        save(levels / f"more{index}.png", (index, 0, 0))
    collection = prepare(levels, Settings(), cache_dir=kept)
    after = len(os.listdir("/proc/self/fd"))
    assert len(collection.names) == 52 and after <= before + 3
