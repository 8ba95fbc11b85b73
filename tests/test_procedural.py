"""The procedural collections: pure functions of index, size and seed, in every process and at every size."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.data.procedural import COLLECTIONS, maps

NAMES = sorted(COLLECTIONS)
SOURCE = Path(__file__).resolve().parents[1] / "src"


def _digest(picture: Image.Image) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_other_process_and_order_give_the_same_bytes(name: str) -> None:
    indices = [3, 0, 41, 7]
    program = (
        "import hashlib, json, sys\n"
        "from limner.data.procedural import COLLECTIONS\n"
        f"draw = COLLECTIONS[{name!r}].draw\n"
        f"print(json.dumps([hashlib.sha256(draw(i, (48, 40), 5).tobytes()).hexdigest() for i in {indices[::-1]}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True
    )
    here = [_digest(COLLECTIONS[name].draw(index, (48, 40), 5)) for index in indices]
    assert json.loads(done.stdout)[::-1] == here


@pytest.mark.parametrize("name", NAMES)
def test_index_and_seed_each_change_the_picture(name: str) -> None:
    draw = COLLECTIONS[name].draw
    pictures = [
        draw(index, (32, 32), seed) for index, seed in ((0, 0), (0, 0), (1, 0), (0, 1), (0, 2**64 - 1), (2**40, 0))
    ]
    digests = [_digest(picture) for picture in pictures]
    assert digests[0] == digests[1]
    assert len(set(digests[1:])) == 5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (33, 17), (8, 200), (64, 64), (101, 75)])
def test_any_size_has_the_mode_and_is_not_uniform(name: str, size: tuple[int, int]) -> None:
    collection = COLLECTIONS[name]
    for index in range(5):
        picture = collection.draw(index, size, 11)
        assert picture.size == size
        assert picture.mode == collection.mode
        assert np.asarray(picture).std() > (20 if name == "initials" else 6)


@pytest.mark.parametrize("name", NAMES)
def test_the_largest_size_works(name: str) -> None:
    picture = COLLECTIONS[name].draw(0, (1024, 512), 0)
    assert picture.size == (1024, 512)
    assert np.asarray(picture).std() > 10


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(7, 32), (32, 1025), (0, 0)])
def test_a_size_out_of_range_is_refused(name: str, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="8 to 1024"):
        COLLECTIONS[name].draw(0, size, 0)


def test_the_collections_say_what_they_are() -> None:
    assert {name: (c.mode, c.default_count) for name, c in COLLECTIONS.items()} == {
        "initials": ("L", 5000),
        "maps": ("RGB", 600),
    }
    assert all("\n" not in c.summary for c in COLLECTIONS.values())


def test_every_letter_comes_equally_often_in_an_order_that_the_seed_shuffles() -> None:
    label = COLLECTIONS["initials"].label
    letters = [label(index, 9) for index in range(26 * 20)]
    assert Counter(letters) == dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 20)
    assert letters[:26] != letters[26:52]
    assert letters[:26] != [label(index, 10) for index in range(26)]


def test_map_kinds_come_about_as_often_as_their_shares() -> None:
    labels = Counter(COLLECTIONS["maps"].label(index, 0) for index in range(1500))
    total = sum(maps.KINDS.values())
    for kind, share in maps.KINDS.items():
        # Five standard deviations of a binomial count.
        expected = 1500 * share / total
        assert abs(labels[kind] - expected) < 5 * np.sqrt(expected)


def test_initials_have_ink_and_paper() -> None:
    pictures = np.stack(
        [np.asarray(COLLECTIONS["initials"].draw(index, (32, 32), 3), np.float32) for index in range(104)]
    )
    dark, light = (pictures < 90).mean(axis=(1, 2)), (pictures > 190).mean(axis=(1, 2))
    # A letter needs both, whether it is black on white or white on black; a blot or a blank sheet has only one.
    assert dark.min() > 0.03
    assert light.min() > 0.08
    assert dark.max() < 0.9
    assert light.max() < 0.95
    # About as much ink as paper over the whole collection.
    assert 0.25 < dark.mean() < 0.65
    assert 0.25 < light.mean() < 0.65


def test_a_letter_is_told_from_the_others_by_its_pixels() -> None:
    """Among the five pictures most like a picture, inverted or not, there is one of its letter far oftener than by chance."""
    collection = COLLECTIONS["initials"]
    pictures = np.stack(
        [np.asarray(collection.draw(index, (16, 16), 1), np.float32).ravel() for index in range(26 * 28)]
    )
    letters = np.array([ord(str(collection.label(index, 1))) for index in range(len(pictures))])
    pictures -= pictures.mean(axis=1, keepdims=True)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    known = 26 * 24
    likeness = np.abs(pictures[known:] @ pictures[:known].T)
    ranked = letters[:known][np.argsort(-likeness, axis=1)[:, :5]]
    votes = (ranked == letters[known:, None]).any(axis=1).mean()
    # Five random neighbours would hold the letter in 18 of 100 pictures.
    assert 0.4 < votes <= 1.0


def test_maps_are_colourful_and_varied() -> None:
    pictures = np.stack([np.asarray(COLLECTIONS["maps"].draw(index, (48, 48), 2), np.float32) for index in range(40)])
    spread = pictures.std(axis=(1, 2)).mean(axis=1)
    assert spread.min() > 6
    colour = (pictures.max(axis=3) - pictures.min(axis=3)).mean(axis=(1, 2))
    assert np.median(colour) > 20
    assert 40 < pictures.mean() < 160
    means = pictures.mean(axis=(1, 2))
    assert means.std(axis=0).min() > 15


def test_the_label_of_a_map_is_what_its_drawing_picks(monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[str] = []
    for kind, painter in list(maps._PAINTERS.items()):

        def spy(painting: object, kind: str = kind, painter: object = painter) -> None:
            painted.append(kind)

        monkeypatch.setitem(maps._PAINTERS, kind, spy)
    for index in range(30):
        maps.draw(index, (8, 8), 4)
    assert painted == [maps.label(index, 4) for index in range(30)]


def test_importing_the_collections_needs_neither_torch_nor_matplotlib() -> None:
    program = "import sys, limner.data.procedural; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
