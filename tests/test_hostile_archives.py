"""Zip archives that are made to harm, and good ones, which are read as Python's own module reads them."""

from __future__ import annotations

import io
import struct
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limner.data.archive import Archive, BadArchive
from limner.data.sources import Unreadable, open_source
from limner.errors import InputError
from sources_support import png, zipped

METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])


def local(name: bytes, content: bytes, size: int, method: int = 0, crc: int | None = None) -> bytes:
    numbers = (20, 0, method, 0, 0, zlib.crc32(content) if crc is None else crc, len(content), size, len(name), 0)
    return b"PK\3\4" + struct.pack("<HHHHHIIIHH", *numbers) + name + content


def central(name: bytes, packed: int, size: int, place: int, crc: int, method: int = 0, mode: int = 0) -> bytes:
    numbers = (20, 20, 0, method, 0, 0, crc, packed, size, len(name), 0, 0, 0, 0, mode << 16, place)
    return b"PK\1\2" + struct.pack("<HHHHHHIIIHHHHHII", *numbers) + name


def end(count: int, size: int, place: int) -> bytes:
    return b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, size, place, 0)


def one(size: int, method: int = 0, content: bytes = b"x" * 100, crc: int | None = None, mode: int = 0) -> bytes:
    """An archive of one entry whose directory says anything."""
    body = local(b"a.png", content, size, method)
    directory = central(b"a.png", len(content), size, 0, zlib.crc32(content) if crc is None else crc, method, mode)
    return body + directory + end(1, len(directory), len(body))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.tuples(st.text(min_size=1, max_size=20), st.binary(max_size=3000), METHODS), max_size=6),
    before=st.binary(max_size=50),
    comment=st.binary(max_size=50),
)
def test_good_archives_are_read_as_zipfile_reads_them(
    files: list[tuple[str, bytes, int]], before: bytes, comment: bytes, tmp_path: Path
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name, content, method in {name: (name, *rest) for name, *rest in files}.values():
            if "\0" not in name and name.isprintable():
                info = zipfile.ZipInfo(name)
                info.compress_type = method
                written.writestr(info, content)
        written.comment = comment.replace(b"PK", b"pk")
    path = tmp_path / "x.zip"
    path.write_bytes(before.replace(b"PK", b"pk") + file.getvalue())
    mine = Archive(path)
    with zipfile.ZipFile(path) as theirs:
        infos = theirs.infolist()
        assert [mine.name(place) for place in range(len(mine))] == [info.filename for info in infos]
        assert [mine.read(place) for place in range(len(mine))] == [theirs.read(info) for info in infos]
        assert [bytes(mine.read_into(place)) for place in range(len(mine))] == [theirs.read(info) for info in infos]


def test_64_bit_archives_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as written, written.open("a.png", "w", force_zip64=True) as entry:
        entry.write(b"content")
    assert Archive(path).read(0) == b"content"
    content = local(b"a.png", b"content", 7)
    extra = struct.pack("<HHQQQ", 1, 24, 7, 7, 0)
    row = bytearray(central(b"a.png", 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, zlib.crc32(b"content")) + extra)
    row[30:32] = struct.pack("<H", len(extra))
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, len(row), len(content))
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(content) + len(row), 1)
    path.write_bytes(content + bytes(row) + record + locator + end(65535, 0xFFFFFFFF, 0xFFFFFFFF))
    assert Archive(path).read(0) == zipfile.ZipFile(path).read("a.png") == b"content"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (one(99), "larger than it says"),
        (one(101), "ends too soon"),
        (one(100, crc=1), "CRC"),
        (one(100, method=99), r"method \(number 99\)"),
        (one(100, method=8), "cannot be unpacked"),
        (one(100, method=12), "cannot be unpacked"),
        (one(100).replace(b"a.png", b"b.png", 1), "two names"),
        (b"PK\3\5" + one(100)[4:], "not where the directory says"),
    ],
)
def test_an_entry_that_lies_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    archive = Archive(path)
    with pytest.raises(BadArchive, match=message):
        archive.read(0)
    with pytest.raises(Unreadable, match=message):
        open_source(path).read(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no zip archive"),
        (b"x" * 100_000, "no zip archive"),
        (one(100)[:-30], "no zip archive"),
        (end(5, 0xFFFFFFF0, 0), "end is missing"),
        (one(100)[:-22] + end(1, 51, 136), "end is missing"),
        (one(100)[:-22] + end(1, 50, 136), "directory is"),
        (one(100)[50:], "end is missing|cut off"),
        (one(100)[:-18] + b"\1\0" + one(100)[-16:], "several parts"),
    ],
)
def test_an_archive_that_lies_is_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_source(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_bomb_of_one_piece_many_times_is_refused_before_anything_is_unpacked(tmp_path: Path) -> None:
    """Two thousand entries, all the same bytes: 40 GB out of 100 kB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(20 << 20)) + packer.flush()
    body = local(b"a.png", packed, 20 << 20, 8)
    directory = b"".join(central(b"%d.png" % number, len(packed), 20 << 20, 0, 0, 8) for number in range(2000))
    path = tmp_path / "x.zip"
    path.write_bytes(body + directory + end(2000, len(directory), len(body)))
    began = time.process_time()
    with pytest.raises(InputError, match="overlap"):
        open_source(path)
    assert time.process_time() - began < 5


def test_a_bomb_by_ratio_is_bounded_by_its_announcement(tmp_path: Path) -> None:
    """It says 1,000 bytes and unpacks to 20 MiB: the reading ends soon after the thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(20 << 20)) + packer.flush()
    body = local(b"a.png", packed, 1000, 8)
    directory = central(b"a.png", len(packed), 1000, 0, 0, 8)
    path = tmp_path / "x.zip"
    path.write_bytes(body + directory + end(1, len(directory), len(body)))
    archive = Archive(path)
    with pytest.raises(BadArchive, match="larger than it says"):
        archive.read(0)
    file = archive.open(0)
    with pytest.raises(BadArchive, match="larger than it says"):
        file.read(10)


def test_large_entries_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(one((192 << 20) + 1))
    with pytest.raises(Unreadable, match="bytes; at most 201,326,592 are read"):
        open_source(path).read(0)


def test_links_in_archives_are_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(one(11, content=b"/etc/passwd", mode=0o120777))
    with pytest.raises(InputError, match=r"a\.png: a link, no picture"):
        open_source(path)


def test_names_that_command_a_terminal_are_told_harmlessly(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"good.png": png(), "../\x1b]0;x\x07.png": png()})
    with pytest.raises(InputError, match="outside") as caught:
        open_source(path)
    assert str(caught.value).isprintable()


def test_an_entry_is_read_from_its_head_as_far_as_asked(tmp_path: Path) -> None:
    content = bytes(range(256)) * 16_000
    path = zipped(tmp_path / "x.zip", {"a.png": content})
    file = Archive(path).open(0)
    assert file.read(5) == content[:5] and len(file._made) < len(content)
    assert file.seek(1000) == 1000 and file.read(7) == content[1000:1007]
    assert file.seek(2) == 2 and file.read(3) == content[2:5]
    assert file.seek(-4, io.SEEK_END) == len(content) - 4 and file.read() == content[-4:]
    with pytest.raises(ValueError, match="negative"):
        file.seek(-1)
