"""Image files and folders that lie: refused by name, without a program started, in bounded memory."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.data import opening, prepare
from limner.data.decode import Target, decode
from limner.data.opening import FORMATS, open_image, quiet
from limner.data.parallel import FILES, Room, ordered
from limner.data.sources import Unreadable, open_source
from limner.errors import InputError
from limner.judging.inspect import inspect
from limner.recipe import Image as ImageSettings
from sources_support import png, write

TARGET = Target(16, 16, 3)
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def bare_png(width: int, height: int) -> bytes:
    """A PNG's header alone."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    parts = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (head, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_formats_that_other_programs_would_read_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*args: object, **options: object) -> None:
        raise AssertionError(f"started {args}")

    monkeypatch.setattr("subprocess.Popen", started)
    monkeypatch.setattr("subprocess.check_call", started)
    Image.init()
    assert "EPS" in Image.OPEN and "WMF" in Image.OPEN  # Pillow itself would
    for content in (POSTSCRIPT, b"\xd7\xcd\xc6\x9a" + bytes(60), b"GRIB" + bytes(3) + b"\1" + bytes(99)):
        with pytest.raises(Unreadable, match="not an image"):
            decode(content, TARGET)
    assert not {"EPS", "WMF", "FITS", "GRIB", "BUFR", "HDF5", "MPEG", "IPTC", "XVTHUMB", "PCD"} & set(FORMATS)


def test_icons_hold_pictures_within_the_limit_alone() -> None:
    inner = saved(Image.new("RGBA", (300, 300)), "PNG")
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    with quiet(89_999), pytest.raises(Unreadable, match=r"(300x300|90,000 pixels).* over the limit of 89,99[89]"):
        decode(icon, Target(16, 16, 3, pixel_limit=89_999))
    with quiet(90_000):
        assert decode(icon, Target(16, 16, 3, pixel_limit=90_000)).pixels.shape == (16, 16, 3)
    assert Image.MAX_IMAGE_PIXELS is not None and Image.MAX_IMAGE_PIXELS > 10**7  # as it was


@pytest.mark.parametrize(("format", "weight"), [("PNG", 1), ("WEBP", 2), ("JPEG2000", 3), ("DDS", 8)])
def test_formats_that_take_more_have_less(format: str, weight: int) -> None:
    data = saved(Image.new("RGB", (40, 30)), format)
    assert open_image(data, 1200 * weight).size == (40, 30)
    allowed = (1200 * weight - 1) // weight
    with pytest.raises(Unreadable, match=f"40x30 is over the limit of {allowed:,} pixels.*--pixel-limit"):
        open_image(data, 1200 * weight - 1)


def test_the_limit_is_a_field_and_a_flag(tmp_path: Path) -> None:
    write(tmp_path / "set", {"a.png": png(1), "b.png": png(2), "large.png": png(3, (40, 40))})
    kept = tmp_path / "cache"
    settings = ImageSettings(width=16, height=16, channels=1, pixel_limit=1599)
    found = prepare(tmp_path / "set", settings, cache_dir=kept)
    assert found.summary["skipped_count"] == 1 and "40x40" in found.summary["skipped"][0]["reason"]
    raised = settings.model_copy(update={"pixel_limit": 1600})
    assert prepare(tmp_path / "set", raised, cache_dir=kept).summary["skipped_count"] == 0
    assert len(inspect(tmp_path / "set", pixel_limit=1599).values()["unreadable"]) == 1
    assert len(inspect(tmp_path / "set").values()["unreadable"]) == 0
    with pytest.raises(InputError, match=r"none of 2 .* over the limit of 90 pixels"):
        open_source(write(tmp_path / "two", {"c.png": png(1, (10, 10)), "d.png": png(2, (10, 10))}))
        prepare(tmp_path / "two", ImageSettings(pixel_limit=90), cache_dir=kept)


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "F", "I", "L", "P", "LA"])
def test_large_pictures_come_out_as_small_ones_do(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Band by band or at once: the same pixels."""
    values = np.arange(24 * 30).reshape(24, 30)
    if mode in ("I;16", "I", "F"):
        image = Image.fromarray({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode](values * 90))
    else:
        image = Image.fromarray(np.dstack([values % 256] * 3 + [values % 7 * 40]).astype(np.uint8)).convert(mode)
    data = saved(image, "TIFF")
    for target in (Target(30, 24, 3, fit="crops"), Target(30, 24, 4, fit="crops"), Target(8, 8, 1)):
        monkeypatch.setattr("limner.data.decode._BAND", 1 << 22)
        whole = decode(data, target).pixels
        monkeypatch.setattr("limner.data.decode._BAND", 64)
        assert np.array_equal(decode(data, target).pixels, whole)


def test_inspection_of_bands_is_that_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for name, channels in (("rgb", 3), ("rgba", 4), ("grey", 1)):
        pixels = random.integers(0, 256, (40, 30, channels), np.uint8)
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(tmp_path / f"{name}.png")
    Image.fromarray(np.repeat(pixels, 3, axis=-1)).save(tmp_path / "same.png")  # grey, kept as colour: a copy
    whole = inspect(tmp_path).values()
    monkeypatch.setattr("limner.data.decode._BAND", 64)
    pieces = inspect(tmp_path).values()
    for values in (whole, pieces):
        values.pop("seconds", None)
    assert pieces == whole
    assert "same.png" in str(whole)


def test_room_is_shared_and_never_overdrawn() -> None:
    room, held, most = Room(10), [0], [0]
    lock = threading.Lock()

    def work(amount: int) -> int:
        with room.taken(amount):
            with lock:
                held[0] += min(amount, 10)
                most[0] = max(most[0], held[0])
            threading.Event().wait(0.002)
            with lock:
                held[0] -= min(amount, 10)
        return amount

    threads = [threading.Thread(target=work, args=(amount,)) for amount in (6, 3, 12, 1, 5, 10, 0, 4) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads) and held == [0] and 5 <= most[0] <= 10


def test_large_files_wait_for_one_another() -> None:
    """Each takes more than half of the room that files have, so never two are held at once."""
    inside, most, lock = [0], [0], threading.Lock()

    def work(item: int) -> int:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        threading.Event().wait(0.004)
        with lock:
            inside[0] -= 1
        return item

    assert FILES is not None
    large, small = (lambda item: 100 << 20), (lambda item: 1)
    assert list(ordered(work, range(40), 4, large)) == list(range(40)) and most[0] == 1
    assert list(ordered(work, range(40), 4, small)) == list(range(40)) and most[0] > 1


def test_reasons_are_one_harmless_line() -> None:
    with pytest.raises(Unreadable) as caught, opening.reasons():
        raise ValueError("\x1b]0;title\x07 a\nb\u202e " + "x" * 9999)
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


# Folders


links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


@links
def test_links_between_folders_do_not_multiply(tmp_path: Path) -> None:
    """Thirty folders, each with two links to the next: a thousand million ways, and thirty pictures."""
    for number in range(30):
        write(tmp_path / f"chain/n{number}", {"x.png": png(number)})
        for name in "ab":
            (tmp_path / f"chain/n{number}/{name}").symlink_to(tmp_path / f"chain/n{number + 1}")
    write(tmp_path / "set", {"y.png": png()})
    (tmp_path / "set/in").symlink_to(tmp_path / "chain/n0")
    names = [entry.name for entry in open_source(tmp_path / "set").entries]
    assert len(names) == 31 and names[0] == "in/" + "a/" * 29 + "x.png" and "y.png" in names


@links
def test_links_up_or_into_the_system_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, {"set/a.png": png(), "beside.png": png()})
    for name, place in (("up", ".."), ("root", "/"), ("proc", "/proc/self"), ("dev", "/dev"), ("sys", "/sys")):
        (tmp_path / "set" / name).symlink_to(place)
    assert [entry.name for entry in open_source(tmp_path / "set").entries] == ["a.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have shorter paths")
def test_folders_deeper_than_python_goes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("deep.png", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
    os.close(folder)
    names = [entry.name for entry in open_source(tmp_path).entries]
    os.system(f"rm -rf '{tmp_path}/d'")
    assert names == ["a.png", "d/" * 1100 + "deep.png"]


def test_a_file_without_end_is_neither_read_nor_hashed(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": png(1), "b.png": png(2)})
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(1 << 42)
    source = open_source(tmp_path)
    source.content_hash()  # would take days
    with pytest.raises(Unreadable, match=r"4,398,046,511,104 bytes; at most"):
        source.read(2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": png(1), "b.png": png(2)})
    source = open_source(tmp_path)
    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(Unreadable, match="a pipe or device"):
        source.read(0)
    assert source.read(1) == png(2)
