"""Pictures of pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner import films, imaging
from limner.errors import InputError


def test_signed_floats_become_pixels():
    images = np.array([-1.0, -0.999, 0.0, 0.5, 1.0, 1.7, -3.0], dtype=np.float32).reshape(7, 1, 1, 1)
    assert imaging.to_uint8(images).ravel().tolist() == [0, 0, 128, 191, 255, 255, 0]
    assert imaging.to_uint8(np.zeros((2, 3, 4, 5), np.float32)).shape == (2, 4, 5, 3)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_grids_hold_every_picture_in_its_place(channels: int, mode: str):
    pictures = np.full((5, 6, 4, channels), 200, np.uint8)
    pictures[3] = 17
    sheet = imaging.grid(pictures, columns=3, gap=2)
    assert sheet.mode == mode and sheet.size == (3 * 6 + 2, 2 * 8 + 2)
    pixels = np.asarray(sheet).reshape(18, 20, channels)
    assert (pixels[10:16, 2:6] == 17).all() and (pixels[2:8, 2:6] == 200).all()
    assert (pixels[:2] == (0 if channels == 4 else 236)).all()


def test_sheets_are_nearly_square():
    assert imaging.grid_shape(64, 32, 32) == (8, 8)
    columns, rows = imaging.grid_shape(60, 96, 64)
    assert columns * rows >= 60 and 0.6 < columns * 96 / (rows * 64) < 1.7
    assert imaging.grid_shape(3, 1000, 8) == (1, 3)


def test_enlarging_keeps_pixels():
    image = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4))
    large = imaging.enlarged(image, 14)
    assert large.size == (12, 12) and np.array_equal(np.asarray(large)[::3, ::3], np.asarray(image))
    assert imaging.enlarged(image, 3) is image


def test_transparency_is_kept_in_png_and_flattened_in_films():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4] = (255, 0, 0, 255)
    image = imaging.to_image(pixels)
    with Image.open(io.BytesIO(imaging.png_bytes(image, note="grün"))) as kept:
        assert kept.mode == "RGBA" and np.array_equal(np.asarray(kept), pixels) and kept.text["note"] == "grün"
    flat = np.asarray(imaging.flat(image))
    assert (flat[0, 0] == (255, 0, 0)).all() and (flat[7, 7] == 255).all()


def test_captions_stand_below(tmp_path: Path):
    image = Image.new("L", (200, 100), 90)
    told = imaging.captioned(image, "12,800 images")
    pixels = np.asarray(told)
    assert told.width == 200 and 115 < told.height < 140
    assert (pixels[:100] == 90).all() and pixels[100:].min() < 80 and np.median(pixels[100:]) == 255


def frames(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (33, 21), (20 * number, 100, 50)) for number in range(count)]


def test_gifs_loop_and_keep_their_timing():
    with Image.open(io.BytesIO(imaging.gif_bytes(frames(4), [100, 100, 100, 2500]))) as film:
        assert film.n_frames == 4 and film.info["loop"] == 0
        durations = []
        for number in range(4):
            film.seek(number)
            durations.append(film.info["duration"])
    assert durations == [100, 100, 100, 2500]


def test_films_are_what_their_name_says(tmp_path: Path):
    films.save(tmp_path / "a" / "film.gif", frames(5), 10)
    with Image.open(tmp_path / "a" / "film.gif") as film:
        assert film.size == (33, 21) and film.info["duration"] == 100
    films.save(tmp_path / "film.mp4", frames(5), [100] * 4 + [500])
    av = imaging.encoder()
    with av.open(str(tmp_path / "film.mp4")) as film:
        decoded = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(decoded) == 9 and decoded[0].shape == (22, 34, 3)
    assert abs(int(decoded[8][10, 10, 0]) - 80) < 6 and abs(int(decoded[1][10, 10, 0]) - 20) < 6
    with pytest.raises(InputError, match=r"must end in .gif or .mp4"):
        films.save(tmp_path / "film.avi", frames(2), 10)


def test_a_missing_encoder_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'limner\[video\]'"):
        films.check_name(Path("film.mp4"))


def test_a_place_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        films.write(tmp_path / "file" / "x.gif", b"")


def test_a_timelapse_lasts_some_ten_seconds():
    for count in (2, 20, 80, 160):
        times = films.timelapse_milliseconds(count)
        assert len(times) == count and times[-1] == 2500
        assert 2.5 < sum(times) / 1000 < 14
