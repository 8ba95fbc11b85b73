"""From a location to prepared pictures: decoded once, noticed when edited, the same whatever the source."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache_support import REAL, SMALL, Settings, files, no_decoding, save, settled
from limner.data import Ragged, build, cache, drawn, measure, prepare, sinks
from limner.errors import InputError
from sources_support import run_directory


def test_prepare(levels: Path, kept: Path) -> None:
    (levels / "notes.txt").write_text("x")
    seen: list[tuple[int, int]] = []
    collection = prepare(
        levels, Settings(16, 16, 3), cache_dir=kept, progress=lambda done, total: seen.append((done, total))
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
    assert summary["sizes"] == {
        "different": 1,
        "smallest": [16, 16],
        "middle": [16, 16],
        "largest": [16, 16],
        "bounds": [16, 16],
        "common": [[16, 16, 12]],
    }
    assert summary["modes"] == {"RGB": 12}
    assert summary["content_hash"] == collection.content_hash and len(collection.content_hash) == 64
    assert summary["held_out"]["count"] == 0 and summary["title"] == "set" == collection.title
    assert summary["cache"]["bytes"] == 12 * 16 * 16 * 3 == Path(summary["cache"]["path"]).stat().st_size
    assert not summary["cache"]["hit"]
    with pytest.raises(ValueError):
        collection.images[0] = 0  # type: ignore[index]


def test_the_second_start_decodes_nothing(levels: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(levels, Settings(), cache_dir=kept)
    no_decoding(monkeypatch)
    monkeypatch.setattr("limner.data.sources._digest", lambda part: pytest.fail("read again"))
    second = prepare(levels, Settings(), cache_dir=kept)
    assert second.summary["cache"]["hit"]
    assert (np.asarray(second.images) == np.asarray(first.images)).all()
    assert second.content_hash == first.content_hash
    with pytest.raises(AssertionError, match="decoded again"):
        prepare(levels, Settings(width=24, height=16), cache_dir=kept)


def test_an_edited_folder_is_noticed(levels: Path, kept: Path) -> None:
    first = prepare(levels, SMALL, cache_dir=kept)
    save(levels / "03.png", (255, 0, 0))
    second = prepare(levels, SMALL, cache_dir=kept)
    assert second.content_hash != first.content_hash
    assert second.images[3][0, 0].tolist() == [255, 0, 0] and first.images[3][0, 0].tolist() == [60, 60, 60]
    measured = prepare(levels, Settings(), cache_dir=kept)
    assert (measured.width, measured.channels) == (16, 3)
    for index in range(12):
        save(levels / f"{index:02}.png", index, (24, 24), "L")
    measured = prepare(levels, Settings(), cache_dir=kept)  # measured again as well
    assert (measured.width, measured.channels) == (24, 1)
    (levels / "05.png").unlink()
    assert len(prepare(levels, SMALL, cache_dir=kept).names) == 11
    save(levels / "zz.png", (1, 2, 3))
    assert prepare(levels, SMALL, cache_dir=kept).images[-1][0, 0].tolist() == [1, 2, 3]


def test_touched_or_moved_pictures_are_the_same_pictures(
    levels: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(levels, SMALL, cache_dir=kept)
    no_decoding(monkeypatch)
    os.utime(levels / "03.png", (1.1e9, 1.1e9))
    assert prepare(levels, SMALL, cache_dir=kept).content_hash == first.content_hash
    moved = levels.rename(levels.with_name("elsewhere"))
    collection = prepare(moved, SMALL, cache_dir=kept)
    assert collection.summary["cache"]["hit"]
    assert collection.summary["location"] == str(moved) and collection.title == "elsewhere"


# What is unreadable


def test_unreadable_pictures_are_named_and_counted(levels: Path, kept: Path) -> None:
    (levels / "empty.png").write_bytes(b"")
    (levels / "text.jpg").write_text("no picture")
    (levels / "cut.png").write_bytes((levels / "03.png").read_bytes()[:60])
    save(levels / "huge.png", 0, (400, 300), "1")
    for hit in (False, True):
        collection = prepare(levels, SMALL, cache_dir=kept, pixel_limit=100_000)
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


def test_a_picture_that_vanishes_while_others_are_read_is_named(levels: Path, kept: Path) -> None:
    def vanish(done: int, total: int) -> None:
        (levels / "11.png").unlink(missing_ok=True)

    summary = prepare(levels, SMALL, cache_dir=kept, workers=1, progress=vanish).summary
    assert summary["count"] == 11
    assert summary["skipped"] == [{"name": "11.png", "reason": "No such file or directory"}]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_a_bad_moment_is_not_for_ever(
    error: Exception, levels: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that the disk or the memory refused is read once more, left out, and taken in as soon as it can be read."""
    real, asked = build.decode, []
    refused = (levels / "05.png").read_bytes()

    def refuse(data: Any, target: Any, **more: Any) -> Any:
        asked.append(data == refused)
        if data == refused and sum(asked) <= failures:
            raise error
        return real(data, target, **more)

    monkeypatch.setattr(build, "decode", refuse)
    failures = 1
    assert prepare(levels, SMALL, cache_dir=kept / "once").summary["count"] == 12, "the second attempt does it"
    failures, asked[:] = 10**9, []
    for hit in (False, True):
        collection = prepare(levels, SMALL, cache_dir=kept)
        assert (collection.summary["count"], collection.summary["cache"]["hit"]) == (11, hit)
        assert collection.summary["skipped"][0]["name"] == "05.png"
    assert len(asked) == 12 + 1 + 1, "of what is known, only the missing one is asked for again"
    failures = 0
    collection = prepare(levels, SMALL, cache_dir=kept)
    assert (collection.summary["count"], collection.summary["cache"]["hit"]) == (12, False)
    assert prepare(levels, SMALL, cache_dir=kept).summary["cache"]["hit"]


def test_what_is_known_is_not_lost_for_one_more_picture(
    levels: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing picture can be read again, and there is no room for all of it once more."""
    real, refused = build.decode, (levels / "05.png").read_bytes()

    def refuse(data: Any, target: Any, **more: Any) -> Any:
        if data == refused:
            raise OSError(errno.EIO, "Input/output error")
        return real(data, target, **more)

    with monkeypatch.context() as patched:
        patched.setattr(build, "decode", refuse)
        assert prepare(levels, SMALL, cache_dir=kept).summary["count"] == 11
    monkeypatch.setattr(sinks, "IN_MEMORY", 1000)
    monkeypatch.setattr(sinks.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    summary = prepare(levels, SMALL, cache_dir=kept).summary
    assert summary["count"] == 11 and "cannot be written" in summary["warnings"][0]
    assert "can be now, and stay out of it" in summary["warnings"][0]


def test_size_and_colour_do_not_follow_from_a_bad_moment(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only coloured pictures could not be read at first."""
    for index in range(12):
        save(tmp_path / f"set/{index:02}.png", *(((200, 10, index),) if index < 3 else (index, (16, 16), "L")))
    settled(tmp_path / "set")
    opened = measure.open_image

    def refuse(data: Any, pixel_limit: int) -> Any:
        image = opened(data, pixel_limit)
        if image.mode == "RGB":
            raise OSError(errno.EIO, "Input/output error")
        return image

    with monkeypatch.context() as patched:
        patched.setattr(measure, "open_image", refuse)
        assert prepare(tmp_path / "set", Settings(), cache_dir=kept).channels == 1
    assert prepare(tmp_path / "set", Settings(), cache_dir=kept).channels == 3


def test_what_is_passed_over_is_told(levels: Path, kept: Path) -> None:
    before = prepare(levels, SMALL, cache_dir=kept)
    run_directory(levels / "runs/set")
    after = prepare(levels, SMALL, cache_dir=kept)
    assert after.summary["warnings"] == ["runs/set: a run of Limner's, passed over"]
    assert after.content_hash == before.content_hash and after.summary["cache"]["hit"]


def test_listing_of_skipped_pictures_is_bounded(levels: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "LISTED", 3)
    for index in range(5):
        (levels / f"x{index}.png").write_bytes(b"")
    summary = prepare(levels, SMALL, cache_dir=kept).summary
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
    began = time.process_time()
    assert prepare(Path(REAL) / name, image, cache_dir=kept).summary["cache"]["hit"]
    assert time.process_time() - began < 1.0


def test_near_copies_never_straddle_the_split(tmp_path: Path, kept: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(80):  # 80 pictures under names that say nothing, every second one twice
        pixels = np.asarray(Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((32, 32)))
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "set" / f"{(number * 37) % 101:03}.png")
        if number % 2:
            Image.fromarray(pixels).save(tmp_path / "set" / f"{(number * 37) % 101 + 500:03}.jpg", quality=60)
    settings = replace(SMALL, width=32, height=32, held_out=0.25)
    for seed in range(5):
        collection = cache.prepare(tmp_path / "set", settings, cache_dir=kept, seed=seed)
        assert collection.summary["near_copies"] == 40 and len(collection.held_out) == 30
        assert collection.summary["held_out"]["how"] == "single pictures, 80 near-copies with those that they are like"
        held = {int(collection.names[place][:3]) % 500 for place in collection.held_out}
        trained = {int(collection.names[place][:3]) % 500 for place in collection.train}
        assert not held & trained
