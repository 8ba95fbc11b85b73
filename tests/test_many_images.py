"""Very many pictures: looked at in part, compared in bounded work, asked for before they are wanted."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_support import Settings, save
from conftest import Cli
from limner.data import Sampler, ahead, copies, idx, prepare, search
from limner.data.copies import groups_of
from limner.data.search import Looks, candidates, equal_rows, nth_largest
from limner.errors import InputError
from limner.judging.inspect import inspect, quick_findings, write_outputs
from limner.judging.inspect.read import Thumbnails, runs
from limner.training.display import Plain

GREY = Settings(16, 16, 1)


def clouds(count: int, side: int = 16, seed: int = 0) -> np.ndarray:
    """Soft pictures, none like another."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, 4, 4), dtype=np.uint8)
    return small.repeat(side // 4, 1).repeat(side // 4, 2)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """1,200 pictures; 700 and 701 are the same, and so are 5 and 1100. 702 is blank."""
    images = clouds(1200)
    images[701], images[1100], images[702] = images[700], images[5], 200
    np.savez(tmp_path / "many.npz", images=images, labels=np.arange(1200) // 400)
    return tmp_path / "many.npz"


# Looking


def test_runs_are_even_and_within() -> None:
    assert runs(1000, None) == runs(1000, 1000) == [(0, 1000)] and runs(0, 10) == []
    assert runs(2100, None) == [(0, 1024), (1024, 2048), (2048, 2100)]
    found = runs(1_000_000, 100_000)
    assert len(found) == 1000 and found[0] == (0, 100) and found[-1] == (999_900, 1_000_000)
    starts = np.array(found)[:, 0]
    assert (np.diff(starts) >= 1000).all() and (np.diff(starts) <= 1002).all()


def test_of_very_many_a_part_is_looked_at_and_that_is_said(many: Path, tmp_path: Path) -> None:
    whole = inspect(many)
    assert (whole.reading.looked_at, whole.reading.entries, whole.reading.is_sample) == (1200, 1200, False)
    assert whole.values()["exact_copies"] == [["5", "1100"], ["700", "701"]]
    part = inspect(many, most=400)
    values = part.values()
    assert (values["entries"], values["looked_at"], values["count"]) == (1200, 400, 400)
    assert [entry for entry in (0, 367, 733, 1100) if str(entry) in part.reading.names] == [0, 367, 733, 1100]
    assert part.reading.places.tolist() == [int(name) for name in part.reading.names]
    assert values["exact_copies"] == [["5", "1100"]]
    said = part.describe().splitlines()
    assert "of 1,200 pictures 400 were looked at" in said[1] and "--all" in said[1]
    assert "looked at" not in whole.describe()
    with pytest.raises(InputError, match=r"only 400 of 1,200 pictures were looked at; give --all as well"):
        write_outputs(part, None, tmp_path / "clean.json")
    assert write_outputs(part, tmp_path / "sheet.png", None)
    assert "left out" in write_outputs(whole, None, tmp_path / "clean.json")[-1]


def test_files_are_looked_at_in_part_too(tmp_path: Path) -> None:
    for place in range(230):
        save(tmp_path / "set" / f"{place:03}.png", (place, 255 - place, place * 3 % 256))
    part = inspect(tmp_path / "set", most=100)
    assert part.reading.names == [f"{place:03}.png" for place in range(100)]
    both = inspect(tmp_path / "set", most=200)
    assert both.reading.names == [f"{place:03}.png" for place in [*range(100), *range(130, 230)]]


def test_the_command_takes_all(cli: Cli, many: Path) -> None:
    answer = cli("inspect", many, "--all", "--json")
    assert answer.returncode == 0 and json.loads(answer.stdout)["looked_at"] == 1200


@pytest.mark.parametrize("in_memory", [1 << 20, 10])
def test_thumbnails_are_kept_in_memory_or_in_a_file(in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[Thumbnails.__module__], "_IN_MEMORY", in_memory)
    random = np.random.default_rng(0)
    for channels in ([1, 1, 1], [1, 3, 1], [3, 1, 4], [4], []):
        kept = Thumbnails()
        given = [random.integers(0, 256, (32, 32, each), dtype=np.uint8) for each in channels]
        for thumb in given:
            kept.append(thumb)
        found, most = kept.all(), max(channels, default=1)
        assert found.shape == (len(channels), 32, 32, most)
        for thumb, row in zip(given, found, strict=True):
            assert (row[..., : min(most, 3)] == thumb[..., :3]).all()
            if most == 4:
                assert (row[..., 3] == (thumb[..., 3] if thumb.shape[-1] == 4 else 255)).all()


def test_quick_findings_of_very_many(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = prepare(many, GREY, cache_dir=tmp_path / "kept")
    assert quick_findings(collection)[0].startswith("2 pictures are exact copies of others")
    monkeypatch.setattr(sys.modules[quick_findings.__module__], "MOST", 400)
    assert quick_findings(collection)[0].startswith("at least 1 picture is an exact copy of another")


# Comparing


def test_equal_rows() -> None:
    digests = np.random.default_rng(0).integers(0, 256, (6, 16), dtype=np.uint8)
    digests[4], digests[5] = digests[1], digests[0]
    first, which = equal_rows(digests)
    assert first.tolist() == [0, 1, 2, 3] and which.tolist() == [0, 1, 2, 3, 1, 0]
    assert [part.tolist() for part in equal_rows(digests[:0])] == [[], []]


def all_pairs(looks: Looks, reach: np.ndarray) -> set[tuple[int, int]]:
    """The slow way: a matrix."""
    rows = looks.descriptors(np.arange(len(looks))).astype(np.float64) / 4000
    squares = np.square(rows).sum(axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0))
    near = (apart <= np.minimum(reach[:, None], reach[None])) & np.triu(np.ones_like(apart, bool), 1)
    return set(zip(*(places.tolist() for places in np.nonzero(near)), strict=True))


@pytest.mark.parametrize("kept", [1 << 26, 0])
def test_the_tree_finds_what_a_matrix_finds(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With descriptors kept and with descriptors made when they are asked for; 1,500 are six leaves and more."""
    monkeypatch.setattr(search, "_KEPT", kept)
    random = np.random.default_rng(3)
    thumbs = clouds(1500, 32)[..., None]
    thumbs[700:] = np.clip(thumbs[:800].astype(int) + random.integers(-60, 61, (800, 1, 1, 1)) // 3
                           + random.normal(0, 12, (800, 32, 32, 1)), 0, 255)  # fmt: skip
    looks = Looks(thumbs, np.arange(1500))
    reach = random.uniform(0.05, 0.4, 1500)
    found = {
        (int(one), int(other))
        for left, right, _ in candidates(looks, looks, reach, reach)
        for one, other in zip(left, right, strict=True)
    }
    expected = all_pairs(looks, reach)
    assert found == expected and len(expected) > 300


@pytest.mark.parametrize("columns", [3, 64, 255, 256, 1000, 4286])
@pytest.mark.parametrize("place", [0, 1, 4, 50])
def test_the_nth_largest_is_what_sorting_finds(columns: int, place: int) -> None:
    """Also where several are equal, and where they lie side by side."""
    random = np.random.default_rng(columns + place)
    values = random.integers(-40, 40, (33, columns)).astype(np.float32)
    values[5] = np.arange(columns)
    values[6] = values[5, ::-1]
    values[7] = 3
    place = min(place, columns - 1)
    assert (nth_largest(values, place) == np.sort(values, axis=1)[:, columns - 1 - place]).all()


def test_where_everything_is_alike_the_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 variants of one picture have two million pairs within reach: the nearest few of each are compared."""
    random = np.random.default_rng(0)
    thumbs = np.clip(clouds(1, 32)[..., None] + random.normal(0, 1, (2000, 32, 32, 1)), 0, 255).astype(np.uint8)
    for image in thumbs:  # another spot for each, so that none is a copy
        down, across = random.integers(0, 24, 2)
        image[down : down + 8, across : across + 8] = random.integers(0, 256)
    thumbs[1999] = np.clip(thumbs[77].astype(int) + 1, 0, 255)
    compared = [0]

    def counted(first: np.ndarray, second: np.ndarray, real: Any = copies.compare) -> Any:
        compared[0] += len(first)
        return real(first, second)

    monkeypatch.setattr(copies, "compare", counted)
    numbers = groups_of(thumbs)
    assert 1000 < compared[0] <= search.CLOSELY * 2000
    assert numbers[1999] == numbers[77]
    monkeypatch.setattr(search, "WORK", 1)  # of the tree's boxes the nearest alone
    monkeypatch.setattr(search, "ROUGHLY", 2)
    assert groups_of(thumbs)[1999] == numbers[77]


def test_progress_of_the_search_is_told(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    groups_of(clouds(600, 32)[..., None], lambda done, total: seen.append((done, total)))
    assert seen[-1] == (600, 600) and [done for done, _ in seen] == sorted(done for done, _ in seen)


# Sources and samples


def test_idx_is_mapped_and_not_read(tmp_path: Path) -> None:
    images = clouds(50)
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(b"\0\0\x08\x03" + np.array(images.shape, ">u4").tobytes() + images.tobytes())
    assert isinstance(idx._pixels(path), np.memmap)
    collection = prepare(path, GREY, cache_dir=tmp_path / "kept")
    assert (np.asarray(collection.images)[..., 0] == images).all()


class Asked:
    """A mapped file's advice, written down."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def madvise(self, *call: int) -> None:
        self.calls.append(call)


@pytest.mark.skipif(not hasattr(ahead.mmap, "MADV_WILLNEED"), reason="this system takes no advice about mapped files")
def test_the_next_batch_is_asked_for(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = prepare(many, GREY, cache_dir=tmp_path / "kept")
    plain = Sampler(collection, 1)
    monkeypatch.setattr(ahead, "LEAST", 1)
    monkeypatch.setattr(ahead.mmap, "PAGESIZE", 256)
    told, asked = Sampler(collection, 1), Asked()
    assert told._ahead.active and not plain._ahead.active and told._ahead._offset == 0
    told._ahead._file = asked  # type: ignore[assignment]
    for start in (0, 8, 16, 1190, 1198, 1206):
        asked.calls.clear()
        assert (told.batch(start, 8)[0] == plain.batch(start, 8)[0]).all()
        step = 1174 if start == 1190 else 8
        places = Sampler(collection, 1).indices(start + step, 8)
        wanted = [(ahead.mmap.MADV_WILLNEED, int(place) * 256, 256) for place in places]
        assert asked.calls[-8:] == wanted
        assert (asked.calls[0] == (ahead.mmap.MADV_RANDOM,)) is (start == 0)
    assert len(told._orders) <= 3


def test_pieces_of_large_pictures_are_asked_for_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(12):
        save(tmp_path / "set" / f"{place:02}.png", (place, 0, 0), (30 + place, 40))
    collection = prepare(tmp_path / "set", Settings(16, 16, 3, fit="crops"), cache_dir=tmp_path / "kept")
    plain = Sampler(collection, 1)
    monkeypatch.setattr(ahead, "LEAST", 1)
    told = Sampler(collection, 1)
    assert told._ahead.active
    for start in (0, 4, 8, 12):
        assert (told.batch(start, 4)[0] == plain.batch(start, 4)[0]).all()
    assert not Sampler(
        replace(collection, images=np.zeros((3, 8, 8, 1), np.uint8), train=np.arange(3)), 1
    )._ahead.active


def test_remaining_time_counts_what_is_done_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that is gone on with at 600 of 1,000 has done 100 in 20 seconds: 60 are left for 300."""
    clock = [1000.0]
    monkeypatch.setattr("limner.training.display.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    plain = Plain(stream)
    plain.preparing(600, 1000)
    clock[0] += 20
    plain.preparing(700, 1000)
    clock[0] += 60
    plain.preparing(1000, 1000)
    lines = stream.getvalue().splitlines()
    assert lines == ["looked at 700 of 1,000 pictures, 1 min 0 s left", "looked at 1,000 of 1,000 pictures"]


def test_the_harness(tmp_path: Path) -> None:
    """Its quick mode, but for the trainings: one of them takes as long as all of this."""
    script = Path(__file__).parents[1] / "benchmarks" / "many_images.py"
    command = [
        sys.executable,
        str(script),
        "--quick",
        "--no-training",
        "--only",
        "300",
        "--work",
        str(tmp_path),
        "--out",
    ]
    ended = subprocess.run([*command, str(tmp_path / "out.json")], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (row,) = json.loads((tmp_path / "out.json").read_text()).values()
    assert row["same_bytes"] and row["killed_at"] == 150 and row["start"]["hit"] and row["inspect"]["looked_at"] == 300
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
