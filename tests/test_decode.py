"""Decoding: every mode and format, orientation, fit, alpha, damage. Expected pixels are worked out by hand."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from limner.data.decode import Target, convert_channels, decode, fitted
from limner.data.sources import Unreadable

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def target(width: int = 16, height: int = 16, channels: int = 3, **options: object) -> Target:
    return Target(width, height, channels, **options)  # type: ignore[arg-type]


def quarters(size: int = 32) -> Image.Image:
    """Red, green / blue, white."""
    pixels = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    pixels[:half, :half], pixels[:half, half:], pixels[half:, :half], pixels[half:, half:] = RED, GREEN, BLUE, WHITE
    return Image.fromarray(pixels)


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    down, across = np.mgrid[0:height, 0:width]
    return Image.fromarray(
        np.stack([across * 255 // (width - 1), down * 255 // (height - 1), np.full_like(down, 90)], -1).astype(np.uint8)
    )


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("PPM", {}, 0),
        ("TGA", {}, 0),
        ("PCX", {}, 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 6),
        ("JPEG2000", {}, 1),
    ],
)
def test_formats_give_the_pixels_that_were_saved(format: str, options: dict[str, object], tolerance: int) -> None:
    picture = gradient(24, 20)
    decoded = decode(encoded(picture, format, **options), target(24, 20))
    assert decoded.size == (24, 20)
    assert decoded.pixels.dtype == np.uint8
    assert np.abs(decoded.pixels.astype(int) - np.asarray(picture).astype(int)).max() <= tolerance


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    for format in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if format == "WEBP" else {}
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
        assert (decode(data, target()).pixels == RED).all(), format


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_becomes_every_number_of_channels(mode: str, channels: int) -> None:
    """Mid grey (white in bilevel) in each mode is mid grey in each shape, opaque."""
    value = {"1": 1, "I;16": 128 * 257, "I": 128 * 257, "F": 128 / 255, "LA": (128, 255), "RGB": (128,) * 3}.get(
        mode, 128
    )
    if mode == "RGBA":
        value = (128, 128, 128, 255)
    if mode == "CMYK":
        value = (0, 0, 0, 127)
    image = Image.new(mode, (16, 16), value)
    if mode == "P":
        image.putpalette([level for index in range(256) for level in (index, index, index)])
    pixels = decode(encoded(image, "TIFF"), target(channels=channels)).pixels
    assert pixels.shape == (16, 16, channels)
    expected = 255 if mode == "1" else 128
    assert (pixels[..., : min(channels, 3)] == expected).all()
    if channels == 4:
        assert (pixels[..., 3] == 255).all()


@pytest.mark.parametrize(("format", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("TIFF", "I;16B"), ("PPM", "I;16")])
def test_sixteen_bits_are_scaled_not_clipped(format: str, mode: str) -> None:
    values = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    big_endian = Image.frombytes("I;16B", (16, 16), values.astype(">u2").tobytes())
    image = big_endian if mode == "I;16B" else Image.fromarray(values)
    pixels = decode(encoded(image, format), target(channels=1)).pixels[..., 0]
    assert (pixels == np.arange(256).reshape(16, 16)).all()


def test_dark_sixteen_bit_png_stays_dark_and_eight_bits_in_32_stay() -> None:
    dark = encoded(Image.fromarray(np.full((16, 16), 200, np.uint16)))
    assert (decode(dark, target(channels=1)).pixels == 1).all()
    eight = encoded(Image.fromarray(np.full((16, 16), 200, np.int32)), "TIFF")
    assert (decode(eight, target(channels=1)).pixels == 200).all()


def test_grey_is_rec_601_luma() -> None:
    pixels = decode(encoded(quarters()), target(32, 32, channels=1)).pixels[..., 0]
    assert [int(pixels[0, 0]), int(pixels[0, -1]), int(pixels[-1, 0]), int(pixels[-1, -1])] == [76, 150, 29, 255]


def test_cmyk_jpeg_as_adobe_writes_it() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    pixels = decode(encoded(ink, "JPEG", quality=95), target()).pixels.astype(int)
    assert np.abs(pixels - RED).max() <= 8


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_palette_with_transparency_keeps_it(transparency: object) -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([9, 9, 9, 200, 100, 50])
    image.paste(0, (0, 0, 8, 16))
    pixels = decode(encoded(image, transparency=transparency), target(channels=4)).pixels
    assert (pixels[:, :8] == 0).all()
    assert (pixels[:, 8:] == (200, 100, 50, 255)).all()


def test_colour_key_of_grey_and_rgb() -> None:
    grey = Image.new("L", (16, 16), 7)
    grey.paste(90, (8, 0, 16, 16))
    pixels = decode(encoded(grey, transparency=7), target(channels=4)).pixels
    assert (pixels[:, :8] == 0).all() and (pixels[:, 8:] == (90, 90, 90, 255)).all()
    pixels = decode(encoded(quarters(16), transparency=RED), target(channels=4)).pixels
    assert (pixels[0, 0] == 0).all() and (pixels[0, -1] == (*GREEN, 255)).all()


def test_invisible_colours_are_dropped_and_alpha_is_straight() -> None:
    image = Image.new("RGBA", (16, 16), (10, 200, 30, 0))
    image.paste((100, 60, 20, 128), (8, 0, 16, 16))
    pixels = decode(encoded(image), target(channels=4)).pixels
    assert (pixels[:, :8] == 0).all()
    assert (pixels[:, 8:] == (100, 60, 20, 128)).all()


def test_resampling_is_premultiplied() -> None:
    """A white shape on invisible black keeps its white at the edge: only alpha falls off."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (20, 20, 44, 44))
    pixels = decode(encoded(image), target(15, 15, channels=4)).pixels
    partly = (pixels[..., 3] > 16) & (pixels[..., 3] < 240)
    assert partly.sum() > 4
    assert (pixels[partly][:, :3] >= 250).all()


@pytest.mark.parametrize(
    ("background", "channels", "expected"),
    [
        ("white", 3, (177, 157, 137)),
        ("black", 3, (50, 30, 10)),
        ("white", 1, (161,)),
        ("black", 1, (34,)),
    ],
)
def test_dropped_alpha_shows_the_background(background: str, channels: int, expected: tuple[int, ...]) -> None:
    """Half of (100, 60, 20), by hand: 50 + 127, and so on; luma of the sum."""
    data = encoded(Image.new("RGBA", (16, 16), (100, 60, 20, 128)))
    pixels = decode(data, target(channels=channels, background=background)).pixels
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, format: str) -> None:
    """EXIF says how to turn what is stored; turned, every one of the eight shows the same picture."""
    upright = quarters(32).resize((48, 32), Image.Resampling.NEAREST)
    turn = Image.Transpose
    undo = {
        2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE,
        6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    decoded = decode(encoded(stored, format, exif=exif, **options), target(48, 32))
    assert decoded.size == (48, 32)
    corners = decoded.pixels[[2, 2, -3, -3], [2, -3, 2, -3]].astype(int)
    assert np.abs(corners - np.array([RED, GREEN, BLUE, WHITE])).max() <= 12


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_matter() -> None:
    data = encoded(quarters(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert decode(data, target()).pixels.shape == (16, 16, 3)


def test_crop_takes_the_middle() -> None:
    image = Image.new("RGB", (48, 16), RED)
    image.paste(GREEN, (16, 0, 32, 16))
    assert (decode(encoded(image), target(fit="crop")).pixels == GREEN).all()
    assert (decode(encoded(image.transpose(Image.Transpose.ROTATE_90)), target(fit="crop")).pixels == GREEN).all()


def test_stretch_keeps_everything() -> None:
    image = Image.new("RGB", (64, 16), RED)
    image.paste(GREEN, (32, 0, 64, 16))
    pixels = decode(encoded(image), target(fit="stretch")).pixels
    assert (pixels[:, :4] == RED).all() and (pixels[:, 12:] == GREEN).all()
    assert np.abs(pixels[:, 7].astype(int) - RED).max() < 90 and np.abs(pixels[:, 8].astype(int) - GREEN).max() < 90


@pytest.mark.parametrize(
    ("channels", "background", "fill"), [(3, "white", 255), (3, "black", 0), (1, "white", 255), (4, "white", 0)]
)
def test_pad_centres_on_the_background(channels: int, background: str, fill: int) -> None:
    image = Image.new("RGB", (32, 16), (120, 120, 120))
    pixels = decode(encoded(image), target(channels=channels, fit="pad", background=background)).pixels
    assert pixels.shape == (16, 16, channels)
    assert (pixels[:4] == fill).all() and (pixels[12:] == fill).all()
    assert (pixels[4:12, :, 0] == 120).all()


def test_small_pictures_are_enlarged() -> None:
    for fit in ("crop", "stretch", "pad", "crops"):
        pixels = decode(encoded(Image.new("RGB", (3, 5), RED)), target(fit=fit, background="white")).pixels
        assert pixels.shape[0] >= 16 and pixels.shape[1] >= 16
        assert (pixels[8, 8] == RED).all()


def test_downscaling_is_antialiased() -> None:
    """A checkerboard of single pixels is grey from afar; without antialiasing it would be black, white or moire."""
    board = np.indices((256, 256)).sum(0) % 2 * 255
    for size in (16, 19):
        pixels = decode(encoded(Image.fromarray(board.astype(np.uint8))), target(size, size, channels=1)).pixels
        assert np.abs(pixels.astype(int) - 127).max() <= 6


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_drafted_jpeg_is_what_a_png_would_be(fit: str) -> None:
    picture = gradient(640, 480)
    drafted = decode(encoded(picture, "JPEG", quality=97, subsampling=0), target(32, 40, fit=fit)).pixels.astype(int)
    exact = decode(encoded(picture), target(32, 40, fit=fit)).pixels.astype(int)
    assert np.abs(drafted - exact).max() <= 8
    assert np.abs(drafted - exact).mean() <= 2


def blocks(width: int, height: int, side: int) -> Image.Image:
    """Random colours, each ``side`` pixels square."""
    colours = np.random.default_rng(1).integers(0, 256, (height // side, width // side, 3), dtype=np.uint8)
    return Image.fromarray(colours.repeat(side, 0).repeat(side, 1))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(96, 64), (300, 20), (30, 200)])
def test_fast_reduction_keeps_detail(size: tuple[int, int], orientation: int) -> None:
    """JPEG's draft and the integer reduction before resampling, against plain resampling of every pixel."""
    picture = blocks(960, 640, 40)
    exact = np.asarray(picture.resize(size, Image.Resampling.LANCZOS)).astype(int)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else picture
    for format, mean in (("PNG", 1.0), ("JPEG", 2.0)):
        options = {"quality": 97, "subsampling": 0} if format == "JPEG" else {}
        pixels = decode(encoded(stored, format, exif=exif, **options), target(*size, fit="stretch")).pixels
        assert np.abs(pixels.astype(int) - exact).mean() <= mean, format


def test_crops_keep_the_resolution_within_limits() -> None:
    keep = target(16, 16, fit="crops")
    assert fitted((200, 120), keep)[1] == (200, 120)
    assert fitted((12, 40), keep)[1] == (16, 53)  # enlarged until it covers
    assert fitted((3000, 600), keep)[1] == (1280, 256)  # the shorter side to 16 times the target
    assert fitted((256, 3000), keep)[1] == (256, 3000)
    assert fitted((100, 20), target(64, 8, fit="crops"))[1] == (100, 20)
    decoded = decode(encoded(gradient(200, 120)), keep)
    assert decoded.pixels.shape == (120, 200, 3)
    assert (decoded.pixels == np.asarray(gradient(200, 120))).all()


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    wanted=st.tuples(st.integers(8, 1024), st.integers(8, 1024)),
    fit=st.sampled_from(["crop", "pad", "stretch", "crops"]),
)
def test_fitting_any_size_into_any_size(size: tuple[int, int], wanted: tuple[int, int], fit: str) -> None:
    (left, top, right, bottom), (width, height) = fitted(size, target(*wanted, fit=fit))
    assert 0 <= left < right <= size[0] + 1e-6 and 0 <= top < bottom <= size[1] + 1e-6
    assert left == pytest.approx(size[0] - right, abs=1e-6) and top == pytest.approx(size[1] - bottom, abs=1e-6)
    if fit == "crop":
        assert (width, height) == wanted
        assert (right - left) / (bottom - top) == pytest.approx(wanted[0] / wanted[1], rel=1e-6)
        assert right - left == pytest.approx(size[0]) or bottom - top == pytest.approx(size[1])
    elif fit == "stretch":
        assert (width, height) == wanted
    elif fit == "pad":
        assert width <= wanted[0] and height <= wanted[1] and (width == wanted[0] or height == wanted[1])
    else:
        assert width >= wanted[0] and height >= wanted[1]


@pytest.mark.parametrize("wanted", [(8, 8), (8, 1024), (1024, 8), (750, 500), (33, 17)])
def test_sizes_from_8_to_1024(wanted: tuple[int, int]) -> None:
    for channels in (1, 3, 4):
        assert decode(encoded(gradient(50, 40)), target(*wanted, channels)).pixels.shape == (*wanted[::-1], channels)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("given_channels", [1, 2, 3, 4])
def test_arrays_decode_like_files_and_like_blocks(given_channels: int, channels: int) -> None:
    """The slow path (one picture, through Pillow) and the fast one (a block of them) agree."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (5, 16, 16, given_channels), dtype=np.uint8)
    block = convert_channels(pixels, channels, "black")
    for picture, expected in zip(pixels, block, strict=True):
        assert (decode(picture, target(channels=channels, background="black")).pixels == expected).all()
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[given_channels]
        data = encoded(Image.fromarray(picture.squeeze(-1) if given_channels == 1 else picture, mode))
        assert (decode(data, target(channels=channels, background="black")).pixels == expected).all()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that announces many pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"this is no picture", "not an image"),
        (encoded(quarters(64))[:120], "(?i)trunc|broken"),
        (encoded(gradient(64, 64), "JPEG")[:500], "(?i)truncated"),
        (bomb(20_000, 20_000), "pixels"),
        (bomb(12_000, 9_000), "12000x9000 is over the limit of 100,000,000 pixels"),
        (encoded(gradient(64, 64), "WEBP")[:90], "."),
        (encoded(gradient(64, 64), "GIF")[:-300], "."),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_cannot_be_read_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason) as caught:
        decode(data, target())
    assert str(caught.value) and "\n" not in str(caught.value)


def test_the_pixel_limit_is_a_parameter() -> None:
    data = encoded(gradient(40, 30))
    assert decode(data, target(pixel_limit=1200)).size == (40, 30)
    with pytest.raises(Unreadable, match="40x30"):
        decode(data, target(pixel_limit=1199))


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), format=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]))
@pytest.mark.filterwarnings("ignore")
def test_damage_is_read_or_named_but_never_raises_otherwise(place: int, value: int, format: str) -> None:
    data = bytearray(encoded(gradient(32, 32), format))
    data[place % len(data)] = value
    try:
        assert decode(bytes(data), target(pixel_limit=10**6)).pixels.shape == (16, 16, 3)
    except Unreadable as error:
        assert str(error)
