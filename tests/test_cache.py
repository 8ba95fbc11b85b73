"""From a location to a collection: measured, decoded once, found again, rebuilt when damaged, never half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from limner.data import Collection, Ragged, cache, drawn, parallel, prepare, store
from limner.data.measure import Sample, resolve, take_sample
from limner.data.sources import open_source
from limner.errors import InputError

REAL = os.environ.get("LIMNER_TEST_DATA", "")


@dataclass(frozen=True)
class Settings:
    """The recipe's ``image`` section."""

    width: int | None = None
    height: int | None = None
    channels: Any = None
    fit: Any = "crop"
    background: Any = "white"
    max_side: int = 64
    held_out: float = 0.0


SMALL = Settings(width=16, height=16, channels=3)


def save(path: Path, colour: object, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)  # type: ignore[arg-type]


def settled(folder: Path) -> Path:
    """Files that are old enough to be remembered by their time."""
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve grey levels as RGB PNGs."""
    for index in range(12):
        save(tmp_path / "set" / f"{index:02}.png", (index * 20,) * 3)
    return settled(tmp_path / "set")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(cache, "_build", refuse)
    monkeypatch.setattr(cache, "take_sample", refuse)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_prepare(pictures: Path, kept: Path) -> None:
    (pictures / "notes.txt").write_text("x")
    seen: list[tuple[int, int]] = []
    collection = prepare(
        pictures, Settings(16, 16, 3), cache_dir=kept, progress=lambda done, total: seen.append((done, total))
    )
    assert collection.images.shape == (12, 16, 16, 3) and collection.images.dtype == np.uint8  # type: ignore[union-attr]
    assert [int(picture[0, 0, 0]) for picture in collection.images] == [index * 20 for index in range(12)]  # type: ignore[union-attr]
    assert collection.names == [f"{index:02}.png" for index in range(12)]
    assert collection.labels is None and collection.classes == ()
    assert (collection.width, collection.height, collection.channels, collection.fit) == (16, 16, 3, "crop")
    assert collection.train.tolist() == list(range(12)) and collection.held_out.tolist() == []
    assert seen[-1] == (12, 12) and [done for done, _ in seen] == sorted(done for done, _ in seen)
    summary = json.loads(json.dumps(collection.summary))
    assert (summary["count"], summary["ignored"], summary["skipped"], summary["skipped_count"]) == (12, 1, [], 0)
    assert summary["sizes"] == {"different": 1, "smallest": [16, 16], "largest": [16, 16], "common": [[16, 16, 12]]}
    assert summary["modes"] == {"RGB": 12}
    assert summary["content_hash"] == collection.content_hash and len(collection.content_hash) == 64
    assert summary["held_out"]["count"] == 0 and summary["title"] == "set" == collection.title
    assert summary["cache"]["bytes"] == 12 * 16 * 16 * 3 == Path(summary["cache"]["path"]).stat().st_size
    assert not summary["cache"]["hit"]
    with pytest.raises(ValueError):
        collection.images[0] = 0  # type: ignore[index]


def test_the_second_start_decodes_nothing(pictures: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(pictures, Settings(), cache_dir=kept)
    no_decoding(monkeypatch)
    monkeypatch.setattr("limner.data.sources._digest", lambda part: pytest.fail("read again"))
    second = prepare(pictures, Settings(), cache_dir=kept)
    assert second.summary["cache"]["hit"]
    assert (np.asarray(second.images) == np.asarray(first.images)).all()
    assert second.content_hash == first.content_hash
    with pytest.raises(AssertionError, match="decoded again"):
        prepare(pictures, Settings(width=24, height=16), cache_dir=kept)


def test_an_edited_folder_is_noticed(pictures: Path, kept: Path) -> None:
    first = prepare(pictures, SMALL, cache_dir=kept)
    save(pictures / "03.png", (255, 0, 0))
    second = prepare(pictures, SMALL, cache_dir=kept)
    assert second.content_hash != first.content_hash
    assert second.images[3][0, 0].tolist() == [255, 0, 0] and first.images[3][0, 0].tolist() == [60, 60, 60]
    measured = prepare(pictures, Settings(), cache_dir=kept)
    assert (measured.width, measured.channels) == (16, 3)
    for index in range(12):
        save(pictures / f"{index:02}.png", index, (24, 24), "L")
    measured = prepare(pictures, Settings(), cache_dir=kept)  # measured again as well
    assert (measured.width, measured.channels) == (24, 1)
    (pictures / "05.png").unlink()
    assert len(prepare(pictures, SMALL, cache_dir=kept).names) == 11
    save(pictures / "zz.png", (1, 2, 3))
    assert prepare(pictures, SMALL, cache_dir=kept).images[-1][0, 0].tolist() == [1, 2, 3]


def test_touched_or_moved_pictures_are_the_same_pictures(
    pictures: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(pictures, SMALL, cache_dir=kept)
    no_decoding(monkeypatch)
    os.utime(pictures / "03.png", (1.1e9, 1.1e9))
    assert prepare(pictures, SMALL, cache_dir=kept).content_hash == first.content_hash
    moved = pictures.rename(pictures.with_name("elsewhere"))
    collection = prepare(moved, SMALL, cache_dir=kept)
    assert collection.summary["cache"]["hit"]
    assert collection.summary["location"] == str(moved) and collection.title == "elsewhere"


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "gone", "json", "empty json", "list", "foreign"])
def test_a_damaged_cache_is_rebuilt(damage: str, pictures: Path, kept: Path) -> None:
    first = prepare(pictures, SMALL, cache_dir=kept)
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
    again = prepare(pictures, SMALL, cache_dir=kept)
    assert not again.summary["cache"]["hit"]
    assert (np.asarray(again.images) == expected).all()
    assert prepare(pictures, SMALL, cache_dir=kept).summary["cache"]["hit"]


def test_a_damaged_memory_of_a_source_does_not_matter(pictures: Path, kept: Path) -> None:
    prepare(pictures, Settings(), cache_dir=kept)
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
        assert len(prepare(pictures, Settings(), cache_dir=kept).names) == 12


def test_an_unwritable_cache_falls_back_to_memory(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the cache should be")
    collection = prepare(pictures, SMALL, cache_dir=tmp_path / "file")
    assert collection.images.shape == (12, 16, 16, 3)  # type: ignore[union-attr]
    assert int(collection.images[2][0, 0, 0]) == 40
    (warning,) = collection.summary["warnings"]
    assert "memory" in warning and str(tmp_path / "file") in warning
    assert collection.summary["cache"]["path"] is None


def test_a_disk_that_fills_up_falls_back_to_memory(pictures: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def append(self: store.DiskSink, pixels: np.ndarray) -> None:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise store.StoreError("No space left on device")

    monkeypatch.setattr(store.DiskSink, "append", append)
    collection = prepare(pictures, SMALL, cache_dir=kept)
    assert len(collection.names) == 12 and int(collection.images[11][0, 0, 0]) == 220
    assert "No space left" in collection.summary["warnings"][0]
    assert not files(kept / "collections")


def test_an_interrupt_leaves_nothing_half_written(pictures: Path, kept: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(pictures, SMALL, cache_dir=kept, progress=interrupt)
    assert not files(kept / "collections")
    assert len(prepare(pictures, SMALL, cache_dir=kept).names) == 12


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
def test_a_killed_process_leaves_nothing_that_counts(pictures: Path, kept: Path) -> None:
    process = child(pictures, kept, 0.2)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 4:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (part,) = files(kept / "collections")
    assert part.endswith(".part")
    assert store.entries(kept) == []
    collection = prepare(pictures, SMALL, cache_dir=kept)
    assert not collection.summary["cache"]["hit"]
    assert store.remove_leavings(kept) == 0  # it may still be somebody's
    os.utime(kept / "collections" / part, (time.time() - 7200,) * 2)
    store.bound(10**9, kept)
    assert len(files(kept / "collections")) == 2


def test_two_processes_at_once(pictures: Path, kept: Path) -> None:
    processes = [child(pictures, kept, 0.02) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    collection = prepare(pictures, SMALL, cache_dir=kept)
    assert collection.summary["cache"]["hit"]
    assert [int(picture[0, 0, 0]) for picture in collection.images] == [index * 20 for index in range(12)]  # type: ignore[union-attr]
    assert len(files(kept / "collections")) == 2


def test_the_cache_is_no_larger_than_the_pixels(pictures: Path, kept: Path) -> None:
    collection = prepare(pictures, Settings(64, 64, 3), cache_dir=kept)
    pixels = collection.images.nbytes
    assert pixels <= sum((kept / name).stat().st_size for name in files(kept)) < pixels + 8000


# What is unreadable


def test_unreadable_pictures_are_named_and_counted(pictures: Path, kept: Path) -> None:
    (pictures / "empty.png").write_bytes(b"")
    (pictures / "text.jpg").write_text("no picture")
    (pictures / "cut.png").write_bytes((pictures / "03.png").read_bytes()[:60])
    save(pictures / "huge.png", 0, (400, 300), "1")
    for hit in (False, True):
        collection = prepare(pictures, SMALL, cache_dir=kept, pixel_limit=100_000)
        assert collection.summary["cache"]["hit"] is hit
        assert collection.summary["skipped_count"] == 4
        assert [item["name"] for item in collection.summary["skipped"]] == [
            "cut.png",
            "empty.png",
            "huge.png",
            "text.jpg",
        ]
        reasons = {item["name"]: item["reason"] for item in collection.summary["skipped"]}
        assert reasons["empty.png"] == "empty file" and "400x300" in reasons["huge.png"]
        assert "not an image" in reasons["text.jpg"]
        assert len(collection.names) == 12 == len(collection.images)


def test_listing_of_skipped_pictures_is_bounded(pictures: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LISTED", 3)
    for index in range(5):
        (pictures / f"x{index}.png").write_bytes(b"")
    summary = prepare(pictures, SMALL, cache_dir=kept).summary
    assert summary["skipped_count"] == 5 and len(summary["skipped"]) == 3


@pytest.mark.parametrize(("good", "message"), [(0, "can be read"), (1, "1 of 3 pictures can be read")])
@pytest.mark.parametrize("image", [Settings(), SMALL])
def test_too_few_pictures(good: int, message: str, image: Settings, tmp_path: Path, kept: Path) -> None:
    for index in range(3 - good):
        (tmp_path / f"bad{index}.png").write_bytes(b"rubbish")
    for index in range(good):
        save(tmp_path / f"good{index}.png", (1, 2, 3))
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path, image, cache_dir=kept)
    assert "bad0.png" in str(caught.value) and "\n" not in str(caught.value)
    assert not files(kept / "collections")


@pytest.mark.parametrize("size", [(7, 64), (64, 1025)])
def test_sizes_out_of_range(size: tuple[int, int], pictures: Path, kept: Path) -> None:
    with pytest.raises(InputError, match="8 to 1024"):
        prepare(pictures, Settings(*size, 3), cache_dir=kept)


# Measuring


def sample(sizes: list[tuple[int, int]], grey: bool = False, alpha: float = 0.0) -> Sample:
    return Sample(tuple(sizes), grey, alpha)


@pytest.mark.parametrize(
    ("sizes", "settings", "expected"),
    [
        ([(28, 28)] * 9, Settings(), (28, 28)),
        ([(750, 750)] * 9, Settings(), (64, 64)),
        ([(750, 500)] * 9, Settings(), (64, 43)),
        ([(500, 750)] * 9, Settings(max_side=128), (85, 128)),
        ([(40, 30)] * 9, Settings(), (40, 30)),
        ([(2000, 10)] * 9, Settings(), (64, 8)),
        ([(100, 100), (90, 110), (300, 280)], Settings(), (64, 64)),
        ([(200, 100), (400, 200), (100, 60)], Settings(), (64, 32)),
        ([(20, 40), (22, 44), (30, 61)], Settings(), (22, 44)),
        ([(750, 500)] * 9, Settings(width=96), (96, 64)),
        ([(750, 500)] * 9, Settings(height=96), (144, 96)),
        ([(750, 500)] * 9, Settings(width=40, height=50), (40, 50)),
        ([(750, 500)] * 9, Settings(width=1024), (1024, 683)),
    ],
)
def test_measured_sizes(sizes: list[tuple[int, int]], settings: Settings, expected: tuple[int, int]) -> None:
    target = resolve(settings, sample(sizes))
    assert (target.width, target.height) == expected


@pytest.mark.parametrize(
    ("grey", "alpha", "expected"), [(True, 0.0, 1), (False, 0.0, 3), (False, 0.04, 3), (False, 0.06, 4), (True, 0.5, 4)]
)
def test_measured_channels(grey: bool, alpha: float, expected: int) -> None:
    assert resolve(Settings(), sample([(16, 16)] * 3, grey, alpha)).channels == expected


@pytest.mark.parametrize(
    ("colours", "mode", "expected"),
    [
        ([(9, 9, 9), (200, 200, 200)], "RGB", 1),
        ([(9, 9, 9), (200, 201, 199)], "RGB", 1),
        ([(9, 9, 9), (200, 190, 200)], "RGB", 3),
        ([9, 200], "L", 1),
        ([(9, 90), (200, 255)], "LA", 4),
        ([(9, 255), (200, 255)], "LA", 1),
        ([(9, 9, 9, 255), (200, 0, 0, 255)], "RGBA", 3),
        ([(9, 9, 9, 255), (200, 0, 0, 100)], "RGBA", 4),
        ([(9, 9, 9, 255), (9, 9, 9, 255)], "RGBA", 1),
    ],
)
def test_channels_are_what_the_pictures_show(
    colours: list[object], mode: str, expected: int, tmp_path: Path, kept: Path
) -> None:
    for index, colour in enumerate(colours):
        save(tmp_path / f"{index}.png", colour, mode=mode)
    collection = prepare(tmp_path, Settings(), cache_dir=kept)
    assert collection.channels == expected == collection.images.shape[-1]  # type: ignore[union-attr]


def test_invisible_colours_do_not_make_a_grey_set_coloured(tmp_path: Path, kept: Path) -> None:
    for index in range(40):
        save(tmp_path / f"{index:02}.png", (index, index, index, 255), mode="RGBA")
    save(tmp_path / "40.png", (200, 0, 0, 0), mode="RGBA")
    assert prepare(tmp_path, Settings(), cache_dir=kept).channels == 1
    save(tmp_path / "40.png", (200, 0, 0, 255), mode="RGBA")
    assert prepare(tmp_path, Settings(), cache_dir=kept).channels == 3


def test_measuring_reads_headers_only_of_most(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(200):
        save(tmp_path / f"{index}.png", (200, 0, 0), (12, 10))
    loads = 0
    load_end = PngImagePlugin.PngImageFile.load_end

    def counted(self: PngImagePlugin.PngImageFile) -> None:
        nonlocal loads
        loads += 1
        load_end(self)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end", counted)
    found = take_sample(open_source(tmp_path), 1)
    assert found == Sample(((12, 10),) * 200, False, 0.0)
    assert 1 <= loads <= 2  # the first coloured one decides


# Classes, arrays, crops


def test_folders_are_classes(tmp_path: Path, kept: Path) -> None:
    for name, count in (("class10", 2), ("class9", 3)):
        for index in range(count):
            save(tmp_path / "set" / name / f"{index}.png", (index, 0, 0))
    collection = prepare(tmp_path / "set", SMALL, cache_dir=kept)
    assert collection.classes == ("class9", "class10")
    assert collection.labels is not None and collection.labels.tolist() == [1, 1, 0, 0, 0]
    assert collection.labels.dtype == np.int64
    assert collection.summary["classes"] == {"class9": 3, "class10": 2}


@pytest.mark.parametrize("size", [(20, 12), (16, 16), (40, 8)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "crops"])
def test_arrays_and_files_become_the_same_pixels(
    size: tuple[int, int], channels: int, fit: str, tmp_path: Path, kept: Path
) -> None:
    """The block path, which skips Pillow where nothing is resampled, equals the path picture by picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 20, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    for index, picture in enumerate(pixels):
        (tmp_path / "x").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "x" / f"{index}.png")
    image = Settings(*size, channels, fit)
    array, folder = (prepare(tmp_path / name, image, cache_dir=kept) for name in ("x.npy", "x"))
    for one, other in zip(array.images, folder.images, strict=True):  # type: ignore[arg-type]
        assert (one == other).all()


@pytest.mark.parametrize("side", [16, 20])
def test_arrays_longer_than_a_block(side: int, tmp_path: Path, kept: Path) -> None:
    images = np.arange(600, dtype=np.uint16)[:, None, None].repeat(16, 1).repeat(16, 2) * 100
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(600) % 7)
    seen: list[int] = []
    collection = prepare(
        tmp_path / "x.npz", Settings(side, side, 1), cache_dir=kept, progress=lambda done, _: seen.append(done)
    )
    assert seen[-1] == 600 and collection.names == [str(index) for index in range(600)]
    assert collection.labels is not None and (collection.labels == np.arange(600) % 7).all()
    expected = np.rint(np.arange(600) * 100 / 257)
    assert np.abs(np.asarray(collection.images)[:, 8, 8, 0] - expected).max() <= 1


def test_a_picture_that_is_not_finite_is_skipped_and_labels_stay_in_step(tmp_path: Path, kept: Path) -> None:
    values = np.repeat(np.arange(300, dtype=np.float32)[:, None, None] / 300, 16, 1).repeat(16, 2)
    values[100] = np.inf
    np.savez(tmp_path / "x.npz", images=values, labels=np.arange(300) % 7)
    collection = prepare(tmp_path / "x.npz", Settings(), cache_dir=kept)
    assert collection.summary["skipped"] == [{"name": "100", "reason": "has numbers that are not finite"}]
    assert collection.labels is not None
    for place, index in enumerate([*range(100), *range(101, 300)]):
        assert collection.names[place] == str(index) and collection.labels[place] == index % 7
        assert abs(int(collection.images[place][0, 0, 0]) - index / 300 * 255) <= 0.51


def test_crops_keep_pictures_of_different_sizes(tmp_path: Path, kept: Path) -> None:
    sizes = [(50, 40), (10, 30), (16, 16), (31, 77)]
    for index, size in enumerate(sizes):
        save(tmp_path / "set" / f"{index}.png", (index + 1, 0, 0), size)
    for _ in range(2):
        collection = prepare(tmp_path / "set", Settings(16, 16, 3, fit="crops"), cache_dir=kept)
        images = collection.images
        assert isinstance(images, Ragged) and len(images) == 4
        assert [picture.shape for picture in images] == [(40, 50, 3), (48, 16, 3), (16, 16, 3), (77, 31, 3)]
        assert [int(picture.min(axis=(0, 1))[0]) for picture in images] == [1, 2, 3, 4]
        assert (images[-1] == images[3]).all()
        with pytest.raises(IndexError):
            images[4]
        assert images.nbytes == collection.summary["cache"]["bytes"]
    assert collection.summary["cache"]["hit"]


def test_procedural_pictures_are_drawn_at_the_wanted_size(kept: Path) -> None:
    collection = prepare("procedural:initials:30", Settings(32, 24), cache_dir=kept)
    assert collection.images.shape == (30, 24, 32, 1)  # type: ignore[union-attr]
    assert collection.labels is not None and len(collection.classes) > 1
    assert prepare("procedural:initials:30", Settings(32, 24), cache_dir=kept).summary["cache"]["hit"]
    assert prepare("procedural:initials:30", Settings(), cache_dir=kept).images.shape == (30, 64, 64, 1)  # type: ignore[union-attr]


def test_two_processes_draw_the_same_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "_PER_WORKER", 20)  # a real collection is larger
    image = Settings(16, 16)
    one, two = (
        prepare("procedural:initials:41", image, cache_dir=tmp_path / str(workers), workers=workers)
        for workers in (1, 2)
    )
    assert (np.asarray(one.images) == np.asarray(two.images)).all()


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_keep_the_order(workers: int) -> None:
    def slow(item: int) -> int:
        time.sleep(0.003 if item % 3 else 0.001)
        return item * item

    assert list(parallel.ordered(slow, range(60), workers)) == [item * item for item in range(60)]


def test_threads_run_at_once_and_stop_when_nobody_listens() -> None:
    done: list[int] = []

    def slow(item: int) -> int:
        time.sleep(0.01)
        done.append(item)
        return item

    began = time.perf_counter()
    assert len(list(parallel.ordered(slow, range(86), 8))) == 86
    assert time.perf_counter() - began < 0.5  # 0.86 s one after the other
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
    assert store.clear(kept, keys=[keys[2]]) > 0
    assert [entry.key for entry in store.entries(kept)] == [keys[0]]
    (kept / "downloads").mkdir()
    (kept / "downloads/x.gz").write_bytes(b"12345")
    store.clear(kept)
    assert files(kept) == ["downloads/x.gz"]
    assert store.clear(kept, downloads=True) == 5 and files(kept) == []


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


def test_nothing_here_imports_torch_and_little_is_imported_at_first() -> None:
    heavy = ("torch", "h5py", "datasets", "urllib.request")
    code = f"import sys, limner.data; print([name for name in {heavy} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.skipif(not REAL, reason="LIMNER_TEST_DATA is not set")
@pytest.mark.parametrize(
    ("name", "shape", "groups"),
    [
        ("initials-64.zip", (8324, 64, 64, 1), "1281 groups"),
        ("battlemaps-750.zip", (393, 64, 64, 3), "72 groups"),
        ("noto-emoji-128.zip", (1671, 64, 64, 4), "single"),
        ("fashion-mnist", (60_000, 28, 28, 1), "single"),
    ],
)
def test_real_collections(name: str, shape: tuple[int, ...], groups: str, kept: Path) -> None:
    image = Settings(held_out=0.1)
    collection = prepare(Path(REAL) / name, image, cache_dir=kept)
    assert collection.images.shape == shape and collection.summary["skipped_count"] == 0  # type: ignore[union-attr]
    assert collection.summary["held_out"]["how"].startswith(groups)
    assert len(collection.held_out) == pytest.approx(shape[0] / 10, rel=0.05)
    began = time.perf_counter()
    assert prepare(Path(REAL) / name, image, cache_dir=kept).summary["cache"]["hit"]
    assert time.perf_counter() - began < 1.0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files by /proc")
def test_pictures_in_memory_do_not_hold_on_to_files(pictures: Path, kept: Path) -> None:
    """Reading leaves no file open: ten thousand pictures would end at the system's limit."""
    before = len(os.listdir("/proc/self/fd"))
    for index in range(40):
        save(pictures / f"more{index}.png", (index, 0, 0))
    collection = prepare(pictures, Settings(), cache_dir=kept)
    after = len(os.listdir("/proc/self/fd"))
    assert len(collection.names) == 52 and after <= before + 3
