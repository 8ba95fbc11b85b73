"""Hostile zip archives: damaged ones, and ones that are made to fill a disk, a memory, or a place outside."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from fuzz_images import MATERIAL, damaged, in_turn, looked_at
from fuzz_lies import POSTSCRIPT, png
from fuzz_worker import Case, Make

NAMES = (
    "../evil.png",
    "/etc/evil.png",
    "a/../../b.png",
    "..\\evil.png",
    "C:\\x.png",
    "a\0b.png",
    "a\nb.png",
    "\x1b[2Ja.png",
    "\x1b]0;title\x07.png",
    "\u202egnp.exe.png",
    "a" * 5000 + ".png",
    "",
    "/",
    ".",
    "..",
    "a//b.png",
    "a/./b.png",
    "con.png",
    "\xff\xfe.png",
    "é.png",
    "<script>alert(1)</script>.png",
    "%s%n.png",
    "a.png/",
    "\x7f.png",
    "\x9b2J.png",
)


def good() -> bytes:
    """A small picture."""
    return png(8, 8, pixels=bytes(200))


def local(name: bytes, content: bytes, method: int = 0, size: int | None = None, flags: int = 0) -> bytes:
    """An entry as it stands in an archive."""
    return (
        b"PK\3\4"
        + struct.pack(
            "<HHHHHIIIHH",
            20,
            flags,
            method,
            0,
            0,
            zlib.crc32(content),
            len(content),
            len(content) if size is None else size,
            len(name),
            0,
        )
        + name
        + content
    )


def central(
    name: bytes,
    packed: int,
    size: int,
    offset: int,
    crc: int = 0,
    method: int = 0,
    flags: int = 0,
    extra: bytes = b"",
    mode: int = 0,
) -> bytes:
    """An entry of an archive's directory."""
    return (
        b"PK\1\2"
        + struct.pack(
            "<HHHHHHIIIHHHHHII",
            20,
            20,
            flags,
            method,
            0,
            0,
            crc,
            packed,
            size,
            len(name),
            len(extra),
            0,
            0,
            0,
            mode << 16,
            offset,
        )
        + name
        + extra
    )


def end(count: int, size: int, offset: int, comment: bytes = b"") -> bytes:
    """An archive's last bytes."""
    return (
        b"PK\5\6"
        + struct.pack("<HHHHIIH", 0, 0, min(count, 65535), min(count, 65535), size, offset, len(comment))
        + comment
    )


def joined(entries: list[tuple[bytes, bytes]], **lies: int) -> bytes:
    """A stored archive of these."""
    body, directory = b"", b""
    for name, content in entries:
        directory += central(
            name,
            len(content),
            lies.get("size", len(content)),
            len(body),
            zlib.crc32(content),
            **{key: value for key, value in lies.items() if key in ("method", "flags", "mode")},
        )
        body += local(name, content)
    return body + directory + end(len(entries), len(directory), len(body))


def overlapping(count: int = 2000, size: int = 100 << 20) -> bytes:
    """A thousand entries that are all the same bytes: 100 MiB of zeros each."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()
    body = local(b"a.png", packed, 8, size)
    directory = b"".join(central(b"%d.png" % number, len(packed), size, 0, 0, 8) for number in range(count))
    return body + directory + end(count, len(directory), len(body))


def by_ratio(count: int = 12, size: int = 150 << 20) -> bytes:
    """Entries of zeros, each packed a thousand times smaller."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", good())
        archive.writestr("b.png", good())
        content = bytes(size)
        for number in range(count):
            archive.writestr(f"bomb{number}.bmp", content)
    return file.getvalue()


def million(kind: str) -> bytes:
    """A million entries: of pictures, of other files, of files without endings, of links to one place."""
    name = {"pictures": b"c%d/%07d.png", "others": b"%d%07d.txt", "bare": b"f%d/%07d", "same": b"%d/%07d.png"}[kind]
    content = good()
    bodies, rows, place = [], [], 0
    for number in range(1_000_000):
        called = name % (number % 10, number)
        one = content if number < 4 else b"x"
        if kind == "same":
            rows.append(central(called, len(content), len(content), 0, zlib.crc32(content)))
            continue
        bodies.append(local(called, one))
        rows.append(central(called, len(one), len(one), place, zlib.crc32(one)))
        place += len(bodies[-1])
    body = b"".join(bodies) or local(b"x.png", content)
    directory = b"".join(rows)
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, len(rows), len(rows), len(directory), len(body))
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(body) + len(directory), 1)
    return body + directory + record + locator + end(65535, 0xFFFFFFFF, 0xFFFFFFFF)


def large_sizes() -> bytes:
    """Sizes of 64 bits that lie."""
    content = good()
    extra = struct.pack("<HHQQQ", 1, 24, 2**60, 2**60, 2**60)
    directory = central(b"a.png", 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, extra=extra)
    body = local(b"a.png", content)
    return body + directory + end(1, len(directory), len(body))


def nested(depth: int = 30) -> bytes:
    """An archive in an archive, and so on."""
    content = good()
    name = "a.png"
    for _ in range(depth):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
            archive.writestr("b.png", good())
            archive.writestr("c.png", good())
        content, name = file.getvalue(), "inner.zip"
    return content


def encrypted() -> bytes:
    """All entries say that they are encrypted."""
    return joined([(b"a.png", good()), (b"b.png", good())], flags=1)


SPECIAL: list[tuple[str, Callable[[], bytes]]] = [
    ("a bomb by overlap", overlapping),
    ("a bomb by ratio", by_ratio),
    ("a million pictures", lambda: million("pictures")),
    ("a million other files", lambda: million("others")),
    ("a million files without endings", lambda: million("bare")),
    ("a million names of one entry", lambda: million("same")),
    ("sizes of 64 bits that lie", large_sizes),
    ("nested", nested),
    ("encrypted", encrypted),
    ("links", lambda: joined([(b"a.png", b"../../../etc/passwd"), (b"b.png", b"/etc/passwd")], mode=0o120777)),
    ("one name many times", lambda: joined([(b"a.png", good())] * 300)),
    ("sizes too small", lambda: joined([(b"a.png", good()), (b"b.png", good())], size=3)),
    ("sizes of 4 GiB", lambda: joined([(b"a.png", good()), (b"b.png", good())], size=0xFFFFFFFE)),
    ("an unknown method", lambda: joined([(b"a.png", good()), (b"b.png", good())], method=99)),
    (
        "a comment that is an end",
        lambda: joined([(b"a.png", good())])[:-2] + struct.pack("<H", 44) + end(9, 99, 2**31) + end(0, 0, 0),
    ),
    ("a program before it", lambda: b"MZ" + bytes(5000) + joined([(b"a.png", good()), (b"b.png", good())])),
    ("an empty archive", lambda: end(0, 0, 0)),
    ("a directory of 4 GiB", lambda: end(5, 0xFFFFFFF0, 0)),
    ("a directory that counts wrong", lambda: end(60000, 0, 0)),
    (
        "all odd names",
        lambda: joined(
            [
                (name.encode("utf-8", "replace"), good())
                for name in NAMES
                if ".." not in name and ":" not in name and not name.startswith("/")
            ]
        ),
    ),
    (
        "PostScript inside",
        lambda: joined([(b"a.png", POSTSCRIPT), (b"b.eps", POSTSCRIPT), (b"c.png", good()), (b"d.png", good())]),
    ),
]


def special(chance: random.Random, folder: Path, number: int) -> Case:
    """One of the archives that lie."""
    what, make = SPECIAL[number % len(SPECIAL)]
    path = folder / "data.zip"
    path.write_bytes(make())
    call = ["inspect", str(path)] if what != "a million pictures" else ["prepare", str(path), "16", "0", "crop"]
    return Case(call, what=what)


def mutated(chance: random.Random, folder: Path) -> Case:
    """An archive of real pictures with odd names, packed in some way, damaged or not."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(chance.randrange(1, 6)):
            ending, content = MATERIAL.encoded(chance)
            name = (
                chance.choice(NAMES)
                if chance.random() < 0.25
                else f"{chance.choice(('', 'a/', 'b/'))}{number}.{ending}"
            )
            info = zipfile.ZipInfo("x")
            info.filename = name or "x.png"
            info.compress_type = chance.choice(
                (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
            )
            if chance.random() < 0.05:
                info.external_attr = 0o120777 << 16
            content = damaged(chance, content) if chance.random() < 0.2 else content
            try:
                archive.writestr(info, content)
            except (ValueError, UnicodeError, struct.error):
                continue
        if chance.random() < 0.1:
            archive.comment = chance.randbytes(100)
    content = file.getvalue()
    if chance.random() < 0.8:
        # Half of the time in the directory, where sizes, places and names are.
        cut = content.rfind(b"PK\1\2") if chance.random() < 0.5 else 0
        content = content[: max(0, cut)] + damaged(chance, content[max(0, cut) :])
    path = folder / "data.zip"
    path.write_bytes(content)
    return looked_at(chance, path, "a damaged archive")


GROUPS: dict[str, Make] = {"archives": mutated, "archives-special": in_turn(special)}
