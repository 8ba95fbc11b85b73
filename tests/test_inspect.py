"""What is in a collection: each planted problem is named, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache_support import REAL, Settings
from conftest import Cli
from limner.data import prepare
from limner.errors import InputError
from limner.judging.inspect import inspect, left_out, quick_findings, write_outputs
from limner.judging.inspect.advice import advise, enough
from limner.judging.inspect.outliers import find_outliers
from limner.judging.inspect.read import uniform_images
from test_duplicates import scene

EMPTY = ("exact_copies", "near_copies", "turned_copies", "nearly_uniform", "outliers", "unreadable", "classes")
"""What is empty where nothing is wrong."""


def save(folder: Path, name: str, image: Image.Image, **how: Any) -> None:
    folder.mkdir(exist_ok=True)
    image.save(folder / name, **how)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Sixty pictures that nothing is wrong with."""
    for seed in range(60):
        save(tmp_path / "set", f"p{seed:02}.png", scene(seed, (96, 64)))
    return tmp_path / "set"


@pytest.fixture
def spoilt(sound: Path) -> Path:
    """The same with everything that can be wrong, once or twice."""
    save(sound, "x_exact.png", scene(3, (96, 64)))
    save(sound, "x_exact_opaque.png", scene(3, (96, 64)).convert("RGBA"))
    save(sound, "x_saved.jpg", scene(5, (96, 64)), quality=50)
    save(sound, "x_large.png", scene(8, (96, 64)).resize((288, 192), Image.Resampling.BICUBIC))
    save(sound, "x_turned.png", scene(11, (96, 64)).transpose(Image.Transpose.ROTATE_270))
    save(sound, "x_mirrored.jpg", scene(12, (96, 64)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), quality=85)
    blank = np.random.default_rng(0).integers(246, 252, (64, 96, 3), dtype=np.uint8)
    save(sound, "x_blank.png", Image.fromarray(blank))
    save(sound, "x_grey.png", scene(101, (96, 64), "L"))
    save(sound, "x_palette.png", scene(102, (96, 64)).quantize(64))
    save(sound, "x_cmyk.jpg", scene(103, (96, 64)).convert("CMYK"))
    Image.new("1", (12_000, 9_000)).save(sound / "x_huge.png")
    (sound / "x_zero.png").write_bytes(b"")
    (sound / "x_text.png").write_text("this is no picture\n" * 20)
    (sound / "x_corrupt.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8)
    whole = (sound / "p07.png").read_bytes()
    (sound / "x_cut.png").write_bytes(whole[: len(whole) // 2])
    jpeg = (sound / "x_saved.jpg").read_bytes()
    (sound / "x_cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (sound / "x_phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    (sound / "notes.txt").write_text("mine")
    return sound


def test_a_sound_collection_raises_no_alarm(sound: Path) -> None:
    found = inspect(sound)
    values = found.values()
    assert values["count"] == values["different"] == 60
    for key in EMPTY:
        assert not values[key], key
    assert "nothing is wrong with it" in found.describe()
    assert (values["sizes"], values["aspects"], values["modes"]) == ([[96, 64, 60]], {"3:2": 60}, {"RGB": 60})


def test_each_planted_problem_is_named_and_nothing_else(spoilt: Path) -> None:
    values = inspect(spoilt).values()
    unreadable = {item["name"]: item["reason"] for item in values["unreadable"]}
    assert set(unreadable) == {f"x_{name}" for name in (
        "huge.png", "zero.png", "text.png", "corrupt.jpg", "cut.png", "cut.jpg", "phone.heic"
    )}  # fmt: skip
    assert unreadable["x_zero.png"] == "empty file"
    assert unreadable["x_huge.png"].startswith("12000x9000 is over the limit of 100,000,000 pixels")
    assert unreadable["x_text.png"] == "not an image in a format that Pillow reads"
    assert unreadable["x_phone.heic"].endswith("save it as PNG or JPEG")
    assert "truncated" in unreadable["x_cut.jpg"]
    assert values["exact_copies"] == [["p03.png", "x_exact.png", "x_exact_opaque.png"]]
    assert values["near_copies"] == [["p05.png", "x_saved.jpg"], ["p08.png", "x_large.png"]]
    turned = {(pair["one"], pair["other"]): pair["how"] for pair in values["turned_copies"]}
    assert turned == {("p11.png", "x_turned.png"): "turned by 90 degrees", ("p12.png", "x_mirrored.jpg"): "mirrored"}
    assert values["nearly_uniform"] == ["x_blank.png"]
    assert values["outliers"] == []
    assert values["modes"] == {"RGB": 66, "RGBA": 1, "L": 1, "P": 1, "CMYK": 1}
    assert (values["count"], values["different"], values["ignored"]) == (70, 65, 1)
    assert values["coloured"] == 69 and values["transparent"] == 0  # all but the grey one; one is RGBA, but opaque


def test_the_list_leaves_out_what_is_wrong_and_keeps_the_best(spoilt: Path, tmp_path: Path) -> None:
    path = tmp_path / "clean.json"
    before = sorted((child.name, child.read_bytes()) for child in spoilt.iterdir())
    lines = write_outputs(inspect(spoilt), tmp_path / "sheet.png", path)
    assert "65 pictures kept, 12 left out" in lines[-1]
    written = json.loads(path.read_text())
    out = {item["name"]: item["reason"] for item in written["left_out"]}
    assert out["x_exact.png"] == "an exact copy of p03.png"
    assert out["p08.png"] == "a near-copy of x_large.png"  # the larger one stays
    assert out["x_saved.jpg"] == "a near-copy of p05.png"
    assert out["x_blank.png"] == "nearly uniform" and out["x_zero.png"] == "empty file"
    assert {"x_turned.png", "x_mirrored.jpg", "x_large.png"} <= set(written["names"])
    again = inspect(path)
    for key in ("exact_copies", "near_copies", "nearly_uniform", "unreadable"):
        assert not again.values()[key]
    assert again.values()["count"] == 65
    settings: Any = Settings(width=16, height=16, channels=3)
    assert len(prepare(path, settings, cache_dir=tmp_path / "cache").names) == 65
    write_outputs(again, None, tmp_path / "second.json")  # a list of a list names the collection itself
    assert json.loads((tmp_path / "second.json").read_text())["location"] == str(spoilt)
    assert sorted((child.name, child.read_bytes()) for child in spoilt.iterdir()) == before
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.width == 1048 and sheet.height > 800


def test_outliers_are_few_and_convincing(tmp_path: Path) -> None:
    for seed in range(150):  # dark pages with a light figure, and one photograph-like picture
        random = np.random.default_rng(seed)
        page = np.full((64, 64, 3), 30, np.uint8) + random.integers(0, 8, (64, 64, 3), dtype=np.uint8)
        left, top = random.integers(8, 32, 2)
        page[top : top + 24, left : left + random.integers(8, 24)] = random.integers(150, 200)
        save(tmp_path / "set", f"{seed:03}.png", Image.fromarray(page))
    assert inspect(tmp_path / "set").values()["outliers"] == []
    save(tmp_path / "set", "photo.png", scene(1, (64, 64)))
    found = inspect(tmp_path / "set")
    assert found.values()["outliers"] == ["photo.png"]
    write_outputs(found, None, tmp_path / "all.json")
    write_outputs(found, None, tmp_path / "some.json", prune_outliers=True)
    assert "photo.png" in json.loads((tmp_path / "all.json").read_text())["names"]
    assert "photo.png" not in json.loads((tmp_path / "some.json").read_text())["names"]


def test_of_a_few_pictures_none_is_an_outlier() -> None:
    thumbs = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 1), dtype=np.uint8)
    thumbs[7] = 0
    assert len(find_outliers(thumbs, np.zeros(30, bool))) == 0


def test_nearly_uniform() -> None:
    images = np.full((6, 64, 64, 3), 200, np.uint8)
    images[1] += np.random.default_rng(0).integers(-8, 9, (64, 64, 3)).astype(np.uint8)
    images[2, 30, 30] = 0  # one pixel in 4096 is dirt
    images[3, 30, 28:33] = 0  # five are a thing
    images[4] = np.linspace(160, 220, 64)[:, None].astype(np.uint8)
    images[5, :, :, 0] = 0  # red is gone everywhere: still one colour
    assert uniform_images(images).tolist() == [True, True, True, False, False, True]


@pytest.mark.parametrize(
    ("different", "said"),
    [
        (1, "not enough"),
        (99, "try things out"),
        (100, "overall shapes"),
        (999, "overall shapes"),
        (1000, "one kind of"),
        (9999, "one kind of"),
        (10000, "from scratch"),
    ],
)
def test_enough_for_what(different: int, said: str) -> None:
    assert said in enough(different) and enough(different).startswith(f"{different:,} different")


def test_advice() -> None:
    def given(sizes: list[tuple[int, int]], **more: Any) -> Any:
        facts: dict[str, Any] = {"colour": True, "alpha_share": 0.0, "different": 5000} | more
        return advise("./my maps", np.array(sizes), **facts)

    same = given([(128, 128)] * 9)
    assert (same.width, same.height, same.channels, same.fit, same.recipe) == (64, 64, 3, "crop", "fewshot")
    assert same.command == "limner train './my maps' --recipe fewshot --size 64"
    assert given([(64, 64)] * 9, colour=False).recipe == "initials"
    grey = given([(28, 28)] * 9, colour=False)
    assert (grey.recipe, grey.width, grey.channels) == ("fashion", 28, 1)
    assert given([(900, 900)] * 9, different=300).fit == "crops"
    assert given([(900, 900)] * 9, different=3000).fit == "crop"
    mixed = given([(100, 300)] * 5 + [(300, 100)] * 5)
    assert mixed.fit == "pad" and "image.fit=pad" in mixed.command
    assert given([(96, 96)] * 9, alpha_share=0.5).channels == 4
    wide = given([(300, 200)] * 9, size=(96, 64))
    assert (
        (wide.width, wide.height) == (96, 64) and "--size 96x64" in wide.command and "as you asked" in wide.reasons[0]
    )
    with pytest.raises(InputError, match="8 to 1024"):
        given([(300, 200)] * 9, size=(4, 4))


def test_quick_findings(tmp_path: Path) -> None:
    settings: Any = Settings(width=32, height=32, channels=3)
    folder = tmp_path / "set"
    for seed in range(120):
        save(folder, f"{seed:03}.png", scene(seed, (32, 32)))
    assert quick_findings(prepare(folder, settings, cache_dir=tmp_path / "c")) == []
    for copy in range(3):
        save(folder, f"copy{copy}.png", scene(7, (32, 32)))
    save(folder, "blank.png", Image.new("RGB", (32, 32), "white"))
    collection = prepare(folder, settings, cache_dir=tmp_path / "c")
    assert quick_findings(collection) == [
        f"3 pictures are exact copies of others; 'limner inspect {folder}' shows them",
        f"1 picture is nearly uniform; 'limner inspect {folder}' shows them",
    ]
    labels = np.array([0] * 120 + [1] * 4)
    uneven = replace(collection, images=collection.images[:0], labels=labels, classes=("map", "plan"))
    assert quick_findings(uneven) == ["classes are uneven: 'map' has 120 pictures, 'plan' has 4"]
    few = replace(collection, images=collection.images[:20], names=collection.names[:20])
    assert quick_findings(few) == [
        "only 20 pictures: they will mostly be learnt by heart, and none are held out to tell"
    ]


def test_what_a_training_leaves_out(tmp_path: Path) -> None:
    """Colours and transparency that a recipe does not have, pictures that are smaller, pictures that are larger."""
    folder = tmp_path / "set"
    for seed in range(4):
        save(folder, f"{seed}.png", scene(seed, (48, 32)).convert("RGBA" if seed else "RGB"))

    def told(**settings: Any) -> list[str]:
        asked: Any = Settings(**settings)
        return left_out(asked, prepare(folder, asked, cache_dir=tmp_path / "c"))

    assert told(width=48, height=32, channels=4) == [] == told(width=48, height=32)
    assert told(width=48, height=32, channels=3) == [
        "3 of 4 pictures are RGBA, and RGB has no transparency; --channels 4 keeps them"
    ]
    assert told(width=48, height=32, channels=1) == [
        "3 of 4 pictures are RGBA, and grey has no transparency; --channels 4 keeps them"
    ]
    (enlarged,) = told(width=64, height=40)
    assert enlarged.startswith("all pictures are smaller than 64x40 (none is over 48x32) and are enlarged")
    (reduced,) = told(max_side=32)
    assert reduced.startswith("pictures are reduced to 32x21 (they are 48x32); --size N")
    assert told(max_side=33) == [] == told(width=32, height=32), "hardly smaller, or as it was asked"
    save(folder, "0.png", scene(0, (480, 320)).convert("RGB"))  # one that is larger is not the usual size
    assert told(max_side=48, channels=4) == []
    save(folder, "1.png", scene(1, (96, 64)))
    (reduced,) = told(max_side=32, channels=4)
    assert "(half of them are 48x32 or larger)" in reduced
    for seed in range(4):
        save(folder, f"{seed}.png", scene(seed, (48, 32)))
    assert told(width=48, height=32, channels=1) == [
        "4 of 4 pictures are RGB, and grey has no colours; --channels 3 keeps them"
    ]


def test_the_command(cli: Cli, spoilt: Path) -> None:
    done = cli("inspect", spoilt, "--prune", "clean.json", "--sheet", "sheet.png")
    assert done.returncode == 0, done.stderr
    for said in (
        "7 cannot be read:",
        "x_zero.png: empty file",
        "p03.png = x_exact.png",
        "1 nearly uniform: x_blank.png",
    ):
        assert said in done.stdout
    assert f"limner train {spoilt} --recipe fewshot --size 64x43" in done.stdout
    answer = cli("inspect", "clean.json", "--json")
    assert json.loads(answer.stdout)["count"] == 65
    refused = cli("inspect", spoilt, "--prune", spoilt / "notes.txt")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert (spoilt / "notes.txt").read_text() == "mine"
    nothing = cli("inspect", spoilt, "--prune-outliers")
    assert nothing.returncode == 2 and "give --prune" in nothing.stderr


def test_odd_names_are_printed_in_one_line(cli: Cli, sound: Path) -> None:
    for name in ("line\nbreak.png", "no-text-\udcff.png"):
        (sound / name).write_bytes(b"")
    done = cli("inspect", sound, "--sheet", "sheet.png", "--prune", "clean.json")
    assert done.returncode == 0, done.stderr
    assert "line\\nbreak.png: empty file" in done.stdout and "no-text-\\udcff.png: empty file" in done.stdout


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of 1 pictures can be read \(a.png: empty file\)"):
        inspect(tmp_path / "set")


@pytest.mark.skipif(not REAL, reason="LIMNER_TEST_DATA is not set")
def test_real_initials() -> None:
    """Every one can be read; some blocks were printed more than once, and letters that only share a frame are not named."""
    values = inspect(Path(REAL) / "initials-64.zip").values()
    assert (values["count"], values["unreadable"], values["nearly_uniform"], values["outliers"]) == (8324, [], [], [])
    assert 150 < len(values["near_copies"]) < 260 and len(values["exact_copies"]) == 0
    assert max(map(len, values["near_copies"])) < 60
