"""Hostile image files: real pictures in every format that is read, damaged; and files made to lie."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_lies import SPECIAL
from fuzz_worker import NUMBER, Case, Make
from PIL import Image

FORMATS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("png", "PNG", "RGB", {}),
    ("png", "PNG", "RGBA", {}),
    ("png", "PNG", "P", {"transparency": b"\0\x80\xff"}),
    ("png", "PNG", "I;16", {}),
    ("png", "PNG", "1", {}),
    ("jpg", "JPEG", "RGB", {"exif": True}),
    ("jpg", "JPEG", "RGB", {"progressive": True}),
    ("jpg", "JPEG", "CMYK", {}),
    ("jpg", "JPEG", "L", {"icc_profile": bytes(3000)}),
    ("gif", "GIF", "P", {"save_all": True}),
    ("gif", "GIF", "P", {}),
    ("webp", "WEBP", "RGB", {}),
    ("webp", "WEBP", "RGBA", {"lossless": True}),
    ("webp", "WEBP", "RGB", {"save_all": True}),
    ("avif", "AVIF", "RGB", {"speed": 10}),
    ("bmp", "BMP", "RGB", {}),
    ("bmp", "BMP", "P", {}),
    ("dib", "DIB", "RGB", {}),
    ("tif", "TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("tif", "TIFF", "RGBA", {"compression": "tiff_adobe_deflate"}),
    ("tif", "TIFF", "CMYK", {}),
    ("tif", "TIFF", "F", {}),
    ("tif", "TIFF", "I;16", {}),
    ("tif", "TIFF", "1", {"compression": "group4"}),
    ("tif", "TIFF", "RGB", {"compression": "jpeg"}),
    ("ppm", "PPM", "RGB", {}),
    ("pgm", "PPM", "L", {}),
    ("jp2", "JPEG2000", "RGB", {}),
    ("j2k", "JPEG2000", "L", {"no_jp2": True}),
    ("tga", "TGA", "RGBA", {"compression": "tga_rle"}),
    ("tga", "TGA", "P", {}),
    ("ico", "ICO", "RGBA", {}),
    ("icns", "ICNS", "RGBA", {}),
    ("pcx", "PCX", "RGB", {}),
    ("pcx", "PCX", "P", {}),
    ("dds", "DDS", "RGBA", {}),
    ("qoi", "QOI", "RGBA", {}),
    ("sgi", "SGI", "RGB", {}),
    ("xbm", "XBM", "1", {}),
    ("im", "IM", "RGB", {}),
    ("im", "IM", "P", {}),
    ("msp", "MSP", "1", {}),
    ("blp", "BLP", "P", {}),
    ("mpo", "MPO", "RGB", {"save_all": True}),
    ("eps", "EPS", "RGB", {}),
    ("pdf", "PDF", "RGB", {}),
    ("spi", "SPIDER", "F", {}),
]
"""Ending, format, mode and options; the last ones Pillow writes (and some it reads), but they are not to be read."""
EDGES = (0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Material:
    """Real pictures, in every format."""

    def __init__(self) -> None:
        self.pictures: list[Image.Image] = []
        self._encoded: dict[tuple[int, int], tuple[str, bytes]] = {}

    def fill(self, data: str = "") -> None:
        """From archives of real pictures in a folder; otherwise drawn by rule."""
        if self.pictures:
            return
        for path in sorted(Path(data).glob("*.zip")) if data else []:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith((".png", ".jpg"))]
                for name in names[:: max(1, len(names) // 2)][:2]:
                    picture = Image.open(io.BytesIO(archive.read(name)))
                    picture.thumbnail((72, 72))
                    self.pictures.append(picture.convert("RGBA"))
        values = np.random.default_rng(0)
        for side in (17, 40):
            noise = values.integers(0, 256, (side, side + 5, 4), np.uint8)
            self.pictures.append(Image.fromarray(np.sort(noise, axis=0)))
        for place, picture in enumerate(self.pictures):  # now, so that processes that are forked later have them
            for number, kind in enumerate(FORMATS):
                self._encoded[place, number] = encode(picture, *kind)

    def encoded(self, chance: random.Random) -> tuple[str, bytes]:
        """An ending, and a file of it."""
        return self._encoded[chance.randrange(len(self.pictures)), chance.randrange(len(FORMATS))]


MATERIAL = Material()


def encode(picture: Image.Image, ending: str, kind: str, mode: str, options: dict[str, Any]) -> tuple[str, bytes]:
    """A picture as a file; as PNG where the format cannot be written."""
    options = dict(options)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(picture.convert("L")).astype(np.float32) / 255)
    else:
        image = picture.convert("RGB").convert(mode) if mode in ("CMYK", "P", "1", "L") else picture.convert(mode)
    if options.pop("exif", False):
        exif = Image.Exif()
        exif[0x112], exif[0x10E] = 6, "a picture " * 20
        options["exif"] = exif
    if kind in ("ICO", "ICNS"):
        image = image.resize((32, 32))
    if options.get("save_all"):
        options["append_images"] = [image.rotate(90), image.rotate(180)]
    file = io.BytesIO()
    try:
        image.save(file, kind, **options)
    except (OSError, ValueError, KeyError, AttributeError):
        picture.save(file, "PNG")
    return ending, file.getvalue()


def damaged(chance: random.Random, content: bytes, other: bytes = b"") -> bytes:
    """Content with something done to it, once or several times."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        near = chance.random() < 0.7
        place = chance.randrange(min(len(data), chance.choice((32, 128, 600))) if near else len(data))
        match chance.randrange(10):
            case 0:
                del data[chance.randrange(len(data)) :]
            case 1:
                for _ in range(chance.choice((1, 3, 20))):
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case 2 | 3 | 4:
                form = chance.choice(("<H", ">H", "<I", ">I", "B"))
                value = chance.choice(EDGES) & ((1 << 8 * struct.calcsize(form)) - 1)
                data[place : place + struct.calcsize(form)] = struct.pack(form, value)
            case 5:
                data[place] = chance.randrange(256)
            case 6:
                length = chance.randrange(1, 200)
                data[place:place] = data[place : place + length] * chance.choice((1, 2, 50))
            case 7:
                del data[place : place + chance.randrange(1, 64)]
            case 8:
                data += chance.randbytes(chance.choice((1, 100, 5000)))
            case 9 if other:
                data[place:] = other[place % len(other) :]
            case _:
                data[place : place + 16] = chance.randbytes(16)
    return bytes(data)


def beside_good(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with two good pictures and these."""
    data = folder / "data"
    data.mkdir()
    for number in range(2):
        Image.new("RGB", (20, 16), (number * 90, 40, 200)).save(data / f"good{number}.png")
    for name, content in files.items():
        (data / name).write_bytes(content)
    return data


def looked_at(chance: random.Random, data: Path, what: str) -> Case:
    """Prepared for a training, mostly; or inspected."""
    if chance.random() < 0.12:
        return Case(["inspect", str(data)], what=what)
    width, channels = chance.choice(("8", "16", "40")), chance.choice(("0", "1", "3", "4"))
    fit = chance.choice(("crop", "pad", "stretch", "crops"))
    return Case(["prepare", str(data), width, channels, fit], what=what)


def mutated(chance: random.Random, folder: Path) -> Case:
    """A real picture in some format, damaged, under its own ending or another."""
    files = {}
    for number in range(chance.choice((1, 1, 3))):
        ending, content = MATERIAL.encoded(chance)
        if chance.random() < 0.1:
            ending = chance.choice(FORMATS)[0]
        files[f"bad{number}.{ending}"] = damaged(chance, content, MATERIAL.encoded(chance)[1])
    return looked_at(chance, beside_good(folder, files), f"damaged {', '.join(files)}")


def special(chance: random.Random, folder: Path, number: int) -> Case:
    """One of the files that lie."""
    what, ending, make = SPECIAL[number % len(SPECIAL)]
    content = make()
    data = beside_good(folder, {f"bad.{ending}": content})
    if content == b"sparse":
        with (data / "bad.png").open("wb") as file:
            file.truncate(1 << 30)
    mode = [["prepare", str(data), "16", "0", fit] for fit in ("crop", "crops")] + [["inspect", str(data)]]
    return Case(chance.choice(mode), what=what, codes=(0,))


def in_turn(make: Callable[[random.Random, Path, int], Case]) -> Make:
    """Cases of a table, by their number."""
    return lambda chance, folder: make(chance, folder, NUMBER[0])


GROUPS: dict[str, Make] = {"images": mutated, "images-special": in_turn(special)}
