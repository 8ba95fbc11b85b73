"""Colour profiles: numbers of other primaries become those that show the same colours as sRGB."""

from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from limner.data import profiles
from limner.data.decode import Target, decode

P3 = ((0.51512, 0.29198, 0.15710), (0.24120, 0.69225, 0.06657), (-0.00105, 0.04189, 0.78407))
"""Display P3, columns red, green, blue, adapted to D50 (as in Apple's profile; the rows add up to D50)."""
SRGB = ((0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.71410))
GAMMA = 2.2


def profile(primaries: tuple[tuple[float, ...], ...] = P3, space: bytes = b"RGB ", name: str = "Wide") -> bytes:
    """A matrix profile as ICC.1:2001 has it: three primaries and one gamma."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(65536 * value)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * GAMMA)) + b"\0\0"
    text = name.encode() + b"\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {
        b"desc": described + bytes(-len(described) % 4), b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": xyz((0.96420, 1.0, 0.82491)), **{bytes([letter]) + b"TRC": curve for letter in b"rgb"},
        **{bytes([letter]) + b"XYZ": xyz(column) for letter, column in zip(b"rgb", zip(*primaries, strict=True), strict=True)},
    }  # fmt: skip
    table, content = b"", b""
    for tag, value in tags.items():
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(content), len(value))
        content += value
    head = struct.pack(">I4sI4s4s4s", 0, b"none", 0x02400000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">iii", 63190, 65536, 54061)
    whole = head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + content
    return struct.pack(">I", len(whole)) + whole[4:]


def by_hand(colours: np.ndarray) -> np.ndarray:
    """Linear light, the same XYZ, linear sRGB, and its own curve (IEC 61966-2-1)."""
    linear = (colours / 255.0) ** (round(256 * GAMMA) / 256)
    light = np.clip(linear @ np.array(P3).T @ np.linalg.inv(SRGB).T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


COLOURS = np.array([[220, 60, 40], [60, 200, 80], [128, 128, 128], [255, 255, 255], [0, 0, 0], [90, 110, 180]])


def picture(mode: str) -> Image.Image:
    image = Image.fromarray(COLOURS.astype(np.uint8).reshape(1, 6, 3))
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.array([[255, 128, 0, 255, 7, 255]], np.uint8)))
    return image.quantize(6) if mode == "P" else image


@pytest.mark.parametrize(
    ("mode", "format"),
    [*((mode, format) for mode in ("RGB", "RGBA") for format in ("PNG", "TIFF", "WEBP")), ("P", "PNG")],
)
def test_colours_are_those_that_are_meant(mode: str, format: str) -> None:
    """By hand from the primaries, to a level and a half; opacity is left alone, grey stays grey."""
    file = io.BytesIO()
    picture(mode).save(
        file, format, icc_profile=profile(), **({"lossless": True, "exact": True} if format == "WEBP" else {})
    )
    channels = 4 if mode == "RGBA" else 3
    found = decode(file.getvalue(), Target(6, 1, channels, "crop", "white")).pixels[0]  # type: ignore[arg-type]
    shown = [0, 1, 3, 5] if mode == "RGBA" else range(6)  # what is not seen has no colour
    wanted = by_hand(COLOURS)
    assert np.abs(wanted[0] - COLOURS[0]).max() > 15, "the profile matters"
    for place in shown:
        assert np.abs(found[place, :3] - wanted[place]).max() <= (2.6 if mode == "RGBA" else 1.5), place
    if mode == "RGBA":
        assert found[:, 3].tolist() == [255, 128, 0, 255, 7, 255]


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"garbage",
        profile()[:300],
        profile(space=b"CMYK"),
        bytes(profiles.LARGEST + 1),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ],
    ids=["none", "garbage", "cut", "of other colours", "too large", "sRGB"],
)
def test_other_profiles_change_nothing(given: bytes | None) -> None:
    for mode in ("RGB", "RGBA"):
        image = picture(mode)
        image.info["icc_profile"] = given
        assert profiles.in_srgb(image) is image


def test_grey_has_no_profile_to_follow() -> None:
    image = Image.new("L", (2, 2), 90)
    image.info["icc_profile"] = profile()
    assert profiles.in_srgb(image) is image


def test_a_profile_is_known_by_what_it_does_and_not_by_its_name() -> None:
    """Editors call theirs "Linear sRGB"."""
    image = picture("RGB")
    image.info["icc_profile"] = profile(name="sRGB, but wide")
    found = np.asarray(profiles.in_srgb(image)).reshape(-1, 3)
    assert np.abs(found - by_hand(COLOURS)).max() <= 1.5


def test_without_its_other_half_pillow_follows_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL._imagingcms", None)
    monkeypatch.delitem(sys.modules, "PIL.ImageCms")
    monkeypatch.delattr("PIL.ImageCms")
    monkeypatch.delattr("PIL._imagingcms")
    profiles._transform.cache_clear()
    image = picture("RGB")
    image.info["icc_profile"] = profile()
    assert profiles.in_srgb(image) is image
    profiles._transform.cache_clear()
