"""The cleaned list: what it names is read, what is wrong with it is told in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache_support import Settings
from limner.data import open_source, prepare
from limner.data.listing import FORMAT, ListedSource, read_list, write_list
from limner.errors import InputError

SETTINGS: Any = Settings(width=16, height=16, channels=1)


def written(path: Path, location: str, names: list[Any], **more: Any) -> Path:
    values = {"format": FORMAT, "location": location, "content_hash": "", "names": names, "left_out": []} | more
    path.write_text(json.dumps(values))
    return path


def test_only_what_is_named_is_read(pictures: Path, tmp_path: Path) -> None:
    names = [f"disc{number:02}.png" for number in (3, 0, 7, 20)]
    source = open_source(written(tmp_path / "few.json", str(pictures), names))
    assert isinstance(source, ListedSource) and (source.kind, source.title) == ("list", "few")
    assert [entry.name for entry in source.entries] == sorted(names)
    assert source.read(1) == (pictures / "disc03.png").read_bytes()
    with source.open(2) as file:  # type: ignore[union-attr]
        assert file.read() == (pictures / "disc07.png").read_bytes()
    assert source.notes == ["20 pictures left out by the list few.json"]
    whole = prepare(pictures, SETTINGS, cache_dir=tmp_path / "cache")
    few = prepare(tmp_path / "few.json", SETTINGS, cache_dir=tmp_path / "cache")
    assert few.names == sorted(names)
    assert np.array_equal(few.images, whole.images[[0, 3, 7, 20]])
    assert few.content_hash != whole.content_hash


def test_a_relative_location_counts_from_the_list(pictures: Path, tmp_path: Path) -> None:
    assert len(open_source(written(tmp_path / "a.json", "pictures", ["disc00.png"])).entries) == 1


def test_labels_stay(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (16, 16)).save(tmp_path / "set" / name)
    source = open_source(written(tmp_path / "a.json", "set", ["cat/1.png", "dog/1.png"]))
    assert [entry.label for entry in source.entries] == ["cat", "dog"]


def test_arrays_and_drawn_collections(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (600, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "set.npy", images)
    for kept in (range(0, 600, 2), [0, 1, 2, 599]):
        path = written(tmp_path / "a.json", "set.npy", [str(number) for number in kept])
        assert np.array_equal(prepare(path, SETTINGS, cache_dir=tmp_path / "cache").images[..., 0], images[list(kept)])
    whole = prepare("procedural:initials:6", SETTINGS, cache_dir=tmp_path / "cache")
    path = written(tmp_path / "b.json", "procedural:initials:6", ["initials-1", "initials-4"])
    drawn = prepare(path, SETTINGS, cache_dir=tmp_path / "cache")
    assert np.array_equal(drawn.images, whole.images[[1, 4]])


def test_a_collection_that_changed_is_told(pictures: Path, tmp_path: Path) -> None:
    content, _ = open_source(pictures).content_hash()
    path = written(tmp_path / "a.json", str(pictures), ["disc00.png", "disc01.png"], content_hash=content)
    assert not any("changed" in line for line in prepare(path, SETTINGS, cache_dir=tmp_path / "c").summary["warnings"])
    Image.new("L", (16, 16), 9).save(pictures / "disc00.png")
    changed = prepare(path, SETTINGS, cache_dir=tmp_path / "c")
    assert f"{pictures} has changed since the list a.json was made" in changed.summary["warnings"]
    assert (changed.images[0] == 9).all()


WRONG = {
    "missing picture": ({"names": ["disc00.png", "../secret.png"]}, "'../secret.png' named there, but not"),
    "absolute path": ({"names": ["/etc/passwd"]}, "'/etc/passwd' named there, but not"),
    "twice": ({"names": ["disc00.png", "disc00.png"]}, "'disc00.png' named there, but not (or not so often)"),
    "several missing": ({"names": ["x", "y", "z"]}, "'x' and 2 more named there"),
    "no names": ({"names": []}, "names: must be a list with at least one"),
    "names no list": ({"names": "disc00.png"}, "names: must be a list"),
    "a number": ({"names": ["disc00.png", 7]}, "names[1] = 7: must be a text"),
    "no location": ({"location": None}, "location = None: must be the path"),
    "another format": ({"format": "limner list 9"}, "its format is 'limner list 9'"),
    "a list of a list": ({"location": "a.json"}, "is a list again"),
    "nowhere": ({"location": "nowhere"}, "no such file or folder"),
    "hash": ({"content_hash": 5}, "content_hash = 5: must be a text"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(case: str, pictures: Path, tmp_path: Path) -> None:
    values, said = WRONG[case]
    values = {"names": ["disc00.png"], "location": str(pictures)} | values
    path = written(tmp_path / "a.json", values.pop("location"), values.pop("names"), **values)
    with pytest.raises(InputError) as error:
        open_source(path)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "7", "[" * 100_000, "\xff\xfe"])
def test_no_list_at_all(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"no JSON|not a list of Limner's"):
        open_source(path)


def test_writing(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    odd = ["disc00.png", "\udcff.png"]  # a name that is no text to the system
    write_list(path, str(pictures), "ab", odd, [{"name": "disc01.png", "reason": "nearly uniform"}])
    values = read_list(path)
    assert (values["names"], values["content_hash"]) == (odd, "ab")
    assert values["left_out"] == [{"name": "disc01.png", "reason": "nearly uniform"}]
    write_list(path, str(pictures), "ab", ["disc02.png"], [])  # a list may be written anew
    assert read_list(path)["names"] == ["disc02.png"]
    assert [child.name for child in tmp_path.glob("*.part")] == []


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text('{"important": 1}')
    with pytest.raises(InputError, match="not overwritten"):
        write_list(mine, "x", "", ["a"], [])
    assert mine.read_text() == '{"important": 1}'
    with pytest.raises(InputError, match=r"must end in \.json"):
        write_list(tmp_path / "list.txt", "x", "", ["a"], [])
    with pytest.raises(InputError, match="does not exist"):
        write_list(tmp_path / "no" / "list.json", "x", "", ["a"], [])
    with pytest.raises(InputError, match="no picture would be left"):
        write_list(tmp_path / "list.json", "x", "", [], [])
