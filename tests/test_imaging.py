"""Pictures of pictures."""

from __future__ import annotations

import io
import sys
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner import films, imaging, progress
from limner.errors import InputError
from limner.films import Film
from limner.rundir import RunDir


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
    return [Image.new("RGB", (33, 21), (20 * number % 256, 100, 50)) for number in range(count)]


def shown(path: Path) -> list[int]:
    """How long a GIF shows each frame, in milliseconds."""
    with Image.open(path) as film:
        times = []
        for number in range(film.n_frames):
            film.seek(number)
            times.append(film.info["duration"])
        return times


def test_gifs_loop_and_keep_their_timing():
    seconds = [Fraction(1, 10)] * 3 + [Fraction(5, 2)]
    with Image.open(io.BytesIO(imaging.gif_bytes(iter(frames(4)), seconds))) as film:
        assert film.n_frames == 4 and film.info["loop"] == 0
        durations = []
        for number in range(4):
            film.seek(number)
            durations.append(film.info["duration"])
    assert durations == [100, 100, 100, 2500]


@pytest.mark.parametrize("rate", [7, 24, 30, 49, 50])
def test_a_gif_lasts_as_long_as_it_should(rate: int, tmp_path: Path):
    """Its clock has hundredths, and no rate but 1, 2, 4, 5, 10, 20, 25 and 50 divides a second into them."""
    length = films.save(tmp_path / "film.gif", Film(frames(rate), [Fraction(1, rate)] * rate))
    times = shown(tmp_path / "film.gif")
    assert sum(times) == 1000 and length == 1.0
    assert max(times) - min(times) <= 10 and min(times) >= 20


def decoded(path: Path) -> tuple[Fraction, Fraction, list[np.ndarray]]:
    """Rate, length and pixels of an MP4."""
    with imaging.encoder().open(str(path)) as film:
        video = film.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        return video.average_rate, video.duration * video.time_base, pictures


@pytest.mark.parametrize(("rate", "count"), [(7, 21), (24, 36), (1, 2), (50, 10)])
def test_an_mp4_has_the_rate_that_was_asked_for(rate: int, count: int, tmp_path: Path):
    length = films.save(tmp_path / "film.mp4", Film(frames(count), [Fraction(1, rate)] * count))
    found, lasts, pictures = decoded(tmp_path / "film.mp4")
    assert (found, lasts, len(pictures)) == (rate, Fraction(count, rate), count)
    assert length == pytest.approx(count / rate)


def test_a_timelapse_as_mp4_rests_on_its_last_frame(tmp_path: Path):
    seconds = films.timelapse_seconds(50)
    films.save(tmp_path / "film.mp4", Film(frames(50), seconds))
    found, lasts, pictures = decoded(tmp_path / "film.mp4")
    assert found == 50 and lasts == sum(seconds) == len(pictures) / found


def test_films_are_what_their_name_says(tmp_path: Path):
    films.save(tmp_path / "a" / "film.gif", Film(frames(5), [Fraction(1, 10)] * 5))
    with Image.open(tmp_path / "a" / "film.gif") as film:
        assert film.size == (33, 21) and film.info["duration"] == 100
    assert films.save(tmp_path / "film.mp4", Film(frames(5), [Fraction(1, 10)] * 4 + [Fraction(1, 2)])) == 0.9
    rate, _, pictures = decoded(tmp_path / "film.mp4")
    assert rate == 10 and len(pictures) == 9 and pictures[0].shape == (22, 34, 3)
    assert abs(int(pictures[8][10, 10, 0]) - 80) < 6 and abs(int(pictures[1][10, 10, 0]) - 20) < 6
    with pytest.raises(InputError, match=r"must end in .gif or .mp4"):
        films.save(tmp_path / "film.avi", Film(frames(2), [Fraction(1, 10)] * 2))


def test_frames_are_not_held_while_a_film_is_written(tmp_path: Path):
    """However long it is: the encoder keeps some dozens."""
    alive: list[weakref.ref[Image.Image]] = []
    most = 0

    def drawn() -> Iterator[Image.Image]:
        nonlocal most
        for frame in map(lambda number: Image.new("RGB", (32, 32), (number % 256, 0, 0)), range(300)):
            alive.append(weakref.ref(frame))
            most = max(most, sum(reference() is not None for reference in alive))
            yield frame

    films.save(tmp_path / "film.mp4", Film(drawn(), [Fraction(1, 25)] * 300))
    assert most < 10


def test_a_gif_that_no_one_could_show_is_refused(tmp_path: Path):
    def drawn() -> Iterator[Image.Image]:
        yield Image.new("RGB", (2000, 1000))
        raise AssertionError("one frame is enough to know")

    with pytest.raises(InputError, match=r"180 frames of 2000x1000 are 1.1 GB .* ask for an .mp4, a smaller --side"):
        films.save(tmp_path / "film.gif", Film(drawn(), [Fraction(1, 20)] * 180))
    assert not list(tmp_path.iterdir())


def test_frames_that_cannot_be_encoded_are_one_line(tmp_path: Path):
    with pytest.raises(InputError, match=r"MP4: 40000x16 frames cannot be encoded"):
        films.save(tmp_path / "film.mp4", Film([Image.new("L", (40000, 16))], [Fraction(1)]))
    assert not list(tmp_path.iterdir())


def test_a_film_appears_whole_or_not_at_all(tmp_path: Path):
    def torn() -> Iterator[Image.Image]:
        yield from frames(3)
        raise KeyboardInterrupt

    for name in ("film.gif", "film.mp4"):
        (tmp_path / name).write_bytes(b"the one before")
        with pytest.raises(KeyboardInterrupt):
            films.save(tmp_path / name, Film(torn(), [Fraction(1, 10)] * 9))
        assert (tmp_path / name).read_bytes() == b"the one before"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_missing_encoder_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'limner\[video\]'"):
        films.check_name(Path("film.mp4"))


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out .*cannot be written"):
        films.write(tmp_path / "file" / "x.gif", b"")
    with pytest.raises(InputError, match=r"--out .*cannot be written"):
        films.save(tmp_path / "file" / "x.mp4", Film(frames(1), [Fraction(1)]))

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "x.gif").write_bytes(b"the one before")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"--out .*x.gif: cannot be written \(No space left on device\)"):
        films.write(tmp_path / "x.gif", b"new")
    assert (tmp_path / "x.gif").read_bytes() == b"the one before" and len(list(tmp_path.iterdir())) == 2


def test_a_timelapse_lasts_some_ten_seconds():
    for count in (1, 2, 20, 80, 160):
        times = films.timelapse_seconds(count)
        assert len(times) == count and times[-1] == 2.5
        assert 2.5 <= sum(times) < 14
        assert all((50 * shown).denominator == 1 for shown in times)


@pytest.fixture
def training(tmp_path: Path) -> RunDir:
    """A run directory with grids and little else."""
    run = RunDir.create(tmp_path / "runs", "x", "x")
    run.write("recipe.toml", "")
    run.write("data.json", {"count": 100, "held_out": {"count": 20}})
    for number in range(5):
        noise = np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8)
        run.save_samples(100 * number, imaging.png_bytes(imaging.to_image(noise)))
    return run


def test_damaged_grids_are_passed_over(training: RunDir, tmp_path: Path):
    grids = [path for _, path in training.samples()]
    grids[0].write_bytes(b"no picture")
    grids[2].write_bytes(grids[2].read_bytes()[:900])
    Image.new("RGB", (9, 9)).save(grids[3])
    film = films.timelapse(training, 640)
    assert film.skipped == [
        f"skipped {grids[0]}: is damaged",
        f"skipped {grids[2]}: is damaged",
        f"skipped {grids[3]}: has another size",
    ]
    films.save(tmp_path / "film.gif", film)
    assert len(shown(tmp_path / "film.gif")) == len(film.seconds) == 2
    for path in grids:
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of its 5 sample grids can be read"):
        films.timelapse(training, 640)


@pytest.mark.parametrize("data", ["{}", '{"count": 20, "held_out": {"count": 20}}', "{", '{"count": null}'])
def test_without_its_data_a_timelapse_knows_no_epochs(training: RunDir, data: str, monkeypatch: pytest.MonkeyPatch):
    captions: list[str] = []
    monkeypatch.setattr(imaging, "captioned", lambda image, text: captions.append(text) or image)
    list(films.timelapse(training, 640).frames)
    assert captions[1] == "100 images    epoch 1.2"
    captions.clear()
    training.write("data.json", data)
    list(films.timelapse(training, 640).frames)
    assert captions[1] == "100 images"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_whoever_sits_at_a_terminal_and_waits(monkeypatch: pytest.MonkeyPatch):
    def work() -> str:
        with progress.counted(2000, "pictures") as advance:
            for _ in range(1000):
                advance()
        return sys.stderr.getvalue()  # type: ignore[attr-defined]

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    clock = iter(range(100_000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock) / 100)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert work() == ""
    monkeypatch.setattr("sys.stderr", Terminal())
    told = work()
    assert "199 of 2,000 pictures" not in told and "200 of 2,000 pictures  100/s  0:18 left" in told
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(progress, "PATIENCE", 1e9)
    assert work() == ""
