"""What a recipe leaves open is measured: size and channels."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import PngImagePlugin

from cache_support import Settings, save
from limner.data import idx, prepare
from limner.data.measure import Sample, resolve, take_sample
from limner.data.sources import open_source
from limner.errors import InputError
from sources_support import idx_bytes


@pytest.mark.parametrize("size", [(7, 64), (64, 1025)])
def test_sizes_out_of_range(size: tuple[int, int], levels: Path, kept: Path) -> None:
    with pytest.raises(InputError, match="8 to 1024"):
        prepare(levels, Settings(*size, 3), cache_dir=kept)


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


def test_a_file_that_cannot_be_read_is_asked_once(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture of it would fail in the same way, one after the other."""
    path = tmp_path / "x-images-idx3-ubyte.gz"
    noise = np.random.default_rng(0).integers(0, 256, (300, 16, 16), dtype=np.uint8)
    path.write_bytes(gzip.compress(idx_bytes(noise))[:-1000])
    reads = 0
    values = idx._values

    def counted(path: Path) -> np.ndarray:
        nonlocal reads
        reads += 1
        return values(path)

    monkeypatch.setattr(idx, "_values", counted)
    for image in (Settings(), Settings(16, 16, 1), Settings(8, 8, 1)):
        reads = 0
        with pytest.raises(InputError, match=rf"^data {path}: damaged .*; get the file again$"):
            prepare(path, image, cache_dir=kept)
        assert reads == 1
