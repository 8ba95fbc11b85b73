"""Image files that lie: about their size, their parts, their format; and files that unpack to far more than they are."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG, with a right checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    width: int, height: int, *parts: bytes, depth: int = 8, colour: int = 2, pixels: bytes = b"", lace: int = 0
) -> bytes:
    """A PNG whose header says anything."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, lace)
    body = [chunk(b"IHDR", head), *parts, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def zeros(size: int) -> bytes:
    """So many zeros, packed."""
    packer = zlib.compressobj(9)
    piece = bytes(1 << 20)
    parts = [packer.compress(piece) for _ in range(size >> 20)] + [
        packer.compress(bytes(size & 0xFFFFF)),
        packer.flush(),
    ]
    return b"".join(parts)


def png_bomb(width: int, height: int, colour: int, depth: int = 8, lace: int = 0) -> bytes:
    """A whole PNG of zeros."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, lace)
    rows = zeros(height * (1 + (width * samples * depth + 7) // 8))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def icon(inside: bytes, size: int = 16) -> bytes:
    """An .ico whose one picture is this file."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, size, size, 0, 0, 1, 32, len(inside), 22) + inside


def tiff(tags: dict[int, tuple[int, int, int]], extra: bytes = b"", next_one: int = 0) -> bytes:
    """A TIFF with these tags: type, count, value."""
    rows = b"".join(struct.pack("<HHII", tag, *values) for tag, values in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + struct.pack("<I", next_one) + extra


def tiff_tags(width: int, height: int, **others: tuple[int, int, int]) -> dict[int, tuple[int, int, int]]:
    """What a grey TIFF needs."""
    tags = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, 1, 8),
        259: (3, 1, 1),
        262: (3, 1, 1),
        273: (4, 1, 8),
        277: (3, 1, 1),
        278: (4, 1, height),
        279: (4, 1, width * height & 0xFFFFFFFF),
    }
    return tags | {int(name[1:]): value for name, value in others.items()}


def webp(width: int, height: int) -> bytes:
    """An extended WebP that announces a canvas, and one tiny picture."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "WEBP", lossless=True)
    inner = file.getvalue()[12:]
    head = (
        b"VP8X"
        + struct.pack("<I", 10)
        + b"\0\0\0\0"
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(inner)) + b"WEBP" + head + inner


def qoi(width: int, height: int) -> bytes:
    """A QOI of runs of one colour."""
    return b"qoif" + struct.pack(">IIBB", width, height, 4, 0) + b"\xfd" * (width * height // 62 + 1) + bytes(7) + b"\1"


def gif(width: int, height: int, frame: tuple[int, int, int, int]) -> bytes:
    """A GIF whose frame lies anywhere."""
    file = io.BytesIO()
    Image.new("P", (8, 8)).save(file, "GIF")
    data = bytearray(file.getvalue())
    data[6:10] = struct.pack("<HH", width, height)
    place = data.index(b",", 13)
    data[place + 1 : place + 9] = struct.pack("<HHHH", *frame)
    return bytes(data)


def jpeg(width: int, height: int) -> bytes:
    """A progressive JPEG whose header says another size."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (9, 90, 200)).save(file, "JPEG", progressive=True)
    data = bytearray(file.getvalue())
    place = data.index(b"\xff\xc2")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def dds(width: int, height: int) -> bytes:
    """An uncompressed DDS, as Python unpacks it."""
    form = struct.pack("<IIIIIIII", 32, 0x41, 0, 32, 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    return (
        b"DDS "
        + struct.pack("<IIIIIII44x", 124, 0x1007, height, width, width * 4 & 0xFFFFFFFF, 0, 0)
        + form
        + bytes(20)
        + bytes(4096)
    )


POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(canary) (w) file closefile\nshowpage\n%%EOF\n"
)
SPECIAL: list[tuple[str, str, Callable[[], bytes]]] = [
    ("png header of 2^31", "png", lambda: png(2**31 - 1, 2**31 - 1)),
    ("png of no size", "png", lambda: png(0, 0)),
    ("png of no height", "png", lambda: png(10, 0)),
    ("png bomb, grey, 400 million", "png", lambda: png_bomb(20_000, 20_000, 0, 1)),
    ("png bomb, RGBA, 99 million", "png", lambda: png_bomb(9_900, 10_000, 6)),
    ("png bomb, RGBA of 16 bits", "png", lambda: png_bomb(9_900, 10_000, 6, 16)),
    ("png bomb, grey of 16 bits", "png", lambda: png_bomb(9_900, 10_000, 0, 16)),
    ("png bomb, interlaced", "png", lambda: png_bomb(9_900, 10_000, 2, 8, 1)),
    ("png that is one row", "png", lambda: png_bomb(90_000_000, 1, 0)),
    ("png that is one column", "png", lambda: png_bomb(1, 40_000_000, 0)),
    ("png with a text bomb", "png", lambda: png(8, 8, chunk(b"zTXt", b"a\0\0" + zeros(400 << 20)), pixels=bytes(200))),
    (
        "png with many texts",
        "png",
        lambda: png(8, 8, *[chunk(b"tEXt", b"a\0" + bytes(900_000))] * 100, pixels=bytes(200)),
    ),
    (
        "png with a profile bomb",
        "png",
        lambda: png(8, 8, chunk(b"iCCP", b"a\0\0" + zeros(400 << 20)), pixels=bytes(200)),
    ),
    (
        "png with EXIF of garbage",
        "png",
        lambda: png(8, 8, chunk(b"eXIf", b"II*\0\xff\xff\xff\xff" * 9), pixels=bytes(200)),
    ),
    (
        "png with a million frames",
        "png",
        lambda: png(8, 8, chunk(b"acTL", struct.pack(">II", 10**6, 0)), pixels=bytes(200)),
    ),
    ("png with a million chunks", "png", lambda: png(8, 8, *[chunk(b"tIME", b"")] * 10**6, pixels=bytes(200))),
    ("png with a chunk of 2 GiB", "png", lambda: png(8, 8)[:33] + b"\x7f\xff\xff\xffzTXt" + bytes(1000)),
    ("icon with a png bomb", "ico", lambda: icon(png_bomb(12_000, 12_000, 6))),
    ("icon with an icon", "ico", lambda: icon(icon(png(8, 8)))),
    ("icon with EPS", "ico", lambda: icon(POSTSCRIPT)),
    ("EPS as png", "png", lambda: POSTSCRIPT),
    ("EPS", "eps", lambda: POSTSCRIPT),
    (
        "EPS without an ending's help",
        "jpg",
        lambda: b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, len(POSTSCRIPT)) + bytes(18) + POSTSCRIPT,
    ),
    ("WMF", "png", lambda: b"\xd7\xcd\xc6\x9a" + bytes(60)),
    (
        "FITS",
        "png",
        lambda: (
            b"SIMPLE  =                    T".ljust(80)
            + b"BITPIX  = 8".ljust(80)
            + b"NAXIS   = 0".ljust(80)
            + b"END".ljust(2640)
        ),
    ),
    ("HDF5 as png", "png", lambda: b"\x89HDF\r\n\x1a\n" + bytes(500)),
    ("GRIB as png", "png", lambda: b"GRIB" + bytes(3) + b"\1" + bytes(100)),
    ("SVG with entities", "svg", lambda: b'<!DOCTYPE s [<!ENTITY a "aaaa">]><svg>&a;</svg>'),
    ("webp of 16383 x 16383", "webp", lambda: webp(16383, 16383)),
    ("webp of 7000 x 7000", "webp", lambda: webp(7000, 7000)),
    ("webp of 2^24 x 255", "webp", lambda: webp(2**24, 255)),
    ("qoi of 99 million", "qoi", lambda: qoi(9_900, 10_000)),
    ("gif of 65535 x 65535", "gif", lambda: gif(65535, 65535, (0, 0, 8, 8))),
    ("gif with a frame far away", "gif", lambda: gif(8, 8, (60000, 60000, 5000, 5000))),
    ("gif of no size", "gif", lambda: gif(0, 0, (0, 0, 0, 0))),
    ("jpeg of 65500 x 65500", "jpg", lambda: jpeg(65500, 65500)),
    ("jpeg of 9900 x 10000", "jpg", lambda: jpeg(9900, 10000)),
    ("jpeg of no height", "jpg", lambda: jpeg(64, 0)),
    ("dds of 9000 x 9000", "dds", lambda: dds(9000, 9000)),
    ("dds of 2^31", "dds", lambda: dds(2**31, 2**31)),
    ("tiff of 2^32 x 2^32", "tif", lambda: tiff(tiff_tags(2**32 - 1, 2**32 - 1))),
    ("tiff of 9000 x 9000 without pixels", "tif", lambda: tiff(tiff_tags(9000, 9000))),
    ("tiff that is its own next page", "tif", lambda: tiff(tiff_tags(8, 8), bytes(99), 8)),
    (
        "tiff with tiles of 2^31",
        "tif",
        lambda: tiff(
            tiff_tags(8, 8, t322=(4, 1, 2**31), t323=(4, 1, 2**31), t259=(3, 1, 5), t324=(4, 1, 8), t325=(4, 1, 9))
        ),
    ),
    (
        "tiff with a tag of 2^32 values",
        "tif",
        lambda: tiff(tiff_tags(8, 8, t700=(1, 2**32 - 1, 8), t34675=(7, 2**31, 8))),
    ),
    ("tiff with 200 bits a sample", "tif", lambda: tiff(tiff_tags(8, 8, t258=(3, 1, 200), t277=(3, 1, 60000)))),
    ("tiff in floats of garbage", "tif", lambda: tiff(tiff_tags(8, 8, t258=(3, 1, 32), t339=(3, 1, 3)), b"\xff" * 400)),
    ("ppm of text, large", "ppm", lambda: b"P3 3000 3000 255\n" + b"1 " * 27_000_000),
    ("ppm of 2^40", "ppm", lambda: b"P6 1099511627776 1099511627776 255\n" + bytes(99)),
    ("ppm with a comment without end", "ppm", lambda: b"P6 8 8 255\n#" + b"x" * 10_000_000),
    (
        "xpm with a palette of 2^31",
        "xpm",
        lambda: b'/* XPM */\nstatic char *x[] = {\n"8 8 2147483647 9",\n' + b'"a c #000000",\n' * 1000,
    ),
    (
        "xbm of 2^31",
        "xbm",
        lambda: b"#define a_width 2147483647\n#define a_height 2147483647\nstatic char a_bits[] = {\n0x00};",
    ),
    ("im with a header without end", "im", lambda: b"Image type: RGB image\r\n" + b"Name: x\r\n" * 200_000),
    (
        "psd of 30000 x 30000",
        "psd",
        lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30000, 30000, 8, 3) + bytes(40),
    ),
    (
        "psd with layers of 2 GiB",
        "psd",
        lambda: (
            b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + struct.pack(">III", 0, 0, 2**31) + bytes(99)
        ),
    ),
    (
        "bmp of -2^31",
        "bmp",
        lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, 2**31 - 1, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
    ),
    (
        "bmp with a palette of 2^32",
        "bmp",
        lambda: (
            b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, 8, 8, 1, 8, 0, 0, 0, 0, 2**32 - 1, 0) + bytes(99)
        ),
    ),
    (
        "jp2 of 2^32",
        "jp2",
        lambda: (
            b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 \0\0\0\x2djp2h\0\0\0\x16ihdr"
            + b"\xff" * 8
            + b"\0\3\7\7\0\0"
        ),
    ),
    ("jp2 with boxes without end", "jp2", lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x08free" * 500_000),
    (
        "icns with sizes that lie",
        "icns",
        lambda: b"icns" + struct.pack(">I", 2**31) + b"ic10" + struct.pack(">I", 2**31 - 1) + bytes(50),
    ),
    ("a gibibyte of zeros as png, sparse", "png", lambda: b"sparse"),
    ("nothing at all", "png", lambda: b""),
]
