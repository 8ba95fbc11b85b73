"""Pictures of pictures: grids, captions, PNG, GIF and MP4. numpy and Pillow only."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from limner.errors import InputError

Pixels = UInt8[np.ndarray, "h w c"]
Batch = UInt8[np.ndarray, "b h w c"]
FAST = 1
"""zlib's effort for pictures by the thousand, and for those that a training waits for: of the usual time a quarter (maps of
256x256) to nine tenths (64x64 letters), for files that are 0 to 5 % larger, and a sheet of emoji 10 %."""
GIF_RATE = 100
"""Ticks a second of a GIF's clock."""


def to_uint8(images: Float[np.ndarray, "b c h w"]) -> Batch:
    """Images in [-1, 1] to pixels: (x + 1) * 127.5, rounded, kept within 0 to 255."""
    pixels = np.rint((np.clip(images, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def to_image(pixels: Pixels) -> Image.Image:
    """One picture (1, 3 or 4 channels) as a Pillow image (L, RGB or RGBA)."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def grid_shape(count: int, width: int, height: int) -> tuple[int, int]:
    """Columns and rows for ``count`` pictures: a nearly square sheet, with a full last row where that is not too far off."""
    ideal = min(count, max(1.0, math.sqrt(count * height / width)))
    full = [columns for columns in range(1, count + 1) if count % columns == 0 and 0.7 < columns / ideal < 1.4]
    columns = min(full, key=lambda columns: abs(math.log(columns / ideal)), default=round(ideal))
    return columns, -(-count // columns)


def grid(pictures: Batch, columns: int | None = None, gap: int | None = None) -> Image.Image:
    """A sheet of pictures, row by row, on light grey; pictures with transparency leave the sheet transparent.

    Args:
        pictures: all of one shape.
        columns: how many in a row; without it the sheet comes out nearly square.
        gap: pixels between them; without it a twenty-fourth of their width.
    """
    count, height, width, channels = pictures.shape
    columns = columns or grid_shape(count, width, height)[0]
    rows = -(-count // columns)
    gap = max(1, width // 24) if gap is None else gap
    ground = {1: (236,), 3: (236, 236, 236), 4: (0, 0, 0, 0)}[channels]
    sheet = np.empty((gap + rows * (height + gap), gap + columns * (width + gap), channels), np.uint8)
    sheet[:] = ground
    for place, picture in enumerate(pictures):
        top, left = gap + place // columns * (height + gap), gap + place % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return to_image(sheet)


def enlarged(image: Image.Image, longer_side: int) -> Image.Image:
    """The picture in whole multiples of its pixels, as large as fits ``longer_side`` (small ones are hard to see)."""
    times = max(1, longer_side // max(image.size))
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST) if times > 1 else image


def flat(image: Image.Image, background: str = "white") -> Image.Image:
    """The picture without transparency, over ``background``; grey stays grey."""
    if image.mode in ("L", "RGB"):
        return image
    over = Image.new("RGBA", image.size, background)
    over.alpha_composite(image.convert("RGBA"))
    return over.convert("RGB")


def captioned(image: Image.Image, text: str) -> Image.Image:
    """The picture without transparency, with a line of text below it."""
    image = flat(image)
    size = max(11, image.width // 34)
    font = ImageFont.load_default(size)
    bar = round(size * 1.9)
    result = Image.new(image.mode, (image.width, image.height + bar), "white")
    result.paste(image, (0, 0))
    ImageDraw.Draw(result).text((image.width / 2, image.height + bar / 2), text, fill="black", font=font, anchor="mm")
    return result


def png_bytes(image: Image.Image, effort: int = 6, **text: str) -> bytes:
    """The picture as a PNG file's bytes, with zlib's ``effort`` (0 to 9); ``text`` goes into its text chunks."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in text.items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    # At the least effort, runs alone: for pictures with noise in them quicker than a search for what came before, and smaller.
    kind = zlib.Z_RLE if effort == FAST else -1
    image.save(buffer, "PNG", pnginfo=info, compress_level=effort, compress_type=kind)
    return buffer.getvalue()


def ticks(seconds: Sequence[Fraction], rate: Fraction | int) -> list[int]:
    """How long each frame is shown on a clock of ``rate`` ticks a second.

    Moments are rounded, not durations, so that roundings never add up: a film of 24 frames a second on a GIF's clock of
    hundredths shows 4 and 5 of them in turn, and lasts as long as it should.
    """
    moments = [0, *(round(moment * rate) for moment in accumulate(seconds))]
    return [end - start for start, end in pairwise(moments)]


def gif_bytes(frames: Iterable[Image.Image], seconds: Sequence[Fraction]) -> bytes:
    """An endless GIF, without transparency.

    Args:
        frames: at least one, all of one size.
        seconds: how long each is shown, 1/50 at least: viewers slow down what is faster.
    """
    flattened = (flat(frame) for frame in frames)
    first = next(flattened)
    times = [10 * hundredths for hundredths in ticks(seconds, GIF_RATE)]  # Pillow counts in milliseconds
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=flattened, duration=times, loop=0, optimize=False)
    return buffer.getvalue()


def encoder() -> Any:
    """The film encoder.

    Raises:
        InputError: the extra ``[video]`` is not installed.
    """
    try:
        import av
    except ImportError:
        raise InputError("MP4 needs an encoder: pip install 'limner[video]', or ask for a .gif") from None
    return av


def film_rate(seconds: Sequence[Fraction]) -> Fraction:
    """The constant rate at which every frame is shown for a whole number of times, but at most 50 a second."""
    different = set(seconds)
    common = math.lcm(*(shown.denominator for shown in different))
    step = Fraction(math.gcd(*(int(shown * common) for shown in different)), common)
    return min(1 / step, Fraction(50))


def write_mp4(file: BinaryIO, frames: Iterable[Image.Image], seconds: Sequence[Fraction]) -> None:
    """An H.264 film that browsers and phones play (4:2:0, so sides are made even by repeating an edge).

    Frames are encoded as they come; a few dozen are held at a time.

    Args:
        file: open for writing, and for going back in it.
        frames: at least one, all of one size.
        seconds: how long each is shown.

    Raises:
        InputError: the extra ``[video]`` is not installed, or its encoder cannot have frames of that size.
    """
    av = encoder()
    rate = film_rate(seconds)
    stream = None
    try:
        with av.open(file, "w", format="mp4") as container:
            # The rate is constant, so a longer rest is the same frame several times.
            for frame, times in zip(frames, ticks(seconds, rate), strict=True):
                pixels = np.asarray(flat(frame).convert("RGB"))
                pixels = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
                if stream is None:
                    stream = container.add_stream("libx264", rate=rate, options={"crf": "16"})
                    stream.height, stream.width = pixels.shape[:2]
                    stream.pix_fmt = "yuv420p"
                for _ in range(times):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            if stream is not None:
                container.mux(stream.encode())
    except av.FFmpegError as error:
        size = f"{stream.width}x{stream.height} " if stream is not None else ""
        raise InputError(f"MP4: {size}frames cannot be encoded ({error}); ask for a smaller film") from None
