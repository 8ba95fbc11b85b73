"""Pictures of pictures: grids, captions, PNG, GIF and MP4. numpy and Pillow only."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from limner.errors import InputError

Pixels = UInt8[np.ndarray, "h w c"]
Batch = UInt8[np.ndarray, "b h w c"]


def to_uint8(images: Float[np.ndarray, "b c h w"]) -> Batch:
    """Images in [-1, 1] to pixels: (x + 1) * 127.5, rounded, kept within 0 to 255."""
    pixels = np.rint((np.clip(images, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def to_image(pixels: Pixels) -> Image.Image:
    """One picture (1, 3 or 4 channels) as a Pillow image (L, RGB or RGBA)."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def grid_shape(count: int, width: int, height: int, aspect: float = 1.0) -> tuple[int, int]:
    """Columns and rows for ``count`` pictures, so that the sheet comes near to ``aspect`` (width over height)."""
    columns = min(count, max(1, round(math.sqrt(count * height * aspect / width))))
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


def png_bytes(image: Image.Image, **text: str) -> bytes:
    """The picture as a PNG file's bytes; ``text`` goes into its text chunks."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in text.items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def gif_bytes(frames: Sequence[Image.Image], milliseconds: int | Sequence[int]) -> bytes:
    """An endless GIF, without transparency.

    Args:
        frames: at least one, all of one size.
        milliseconds: how long each is shown (GIF counts in hundredths of a second).
    """
    first, *rest = (flat(frame) for frame in frames)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0, optimize=False)
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


def mp4_bytes(frames: Sequence[Image.Image], milliseconds: Sequence[int]) -> bytes:
    """An H.264 film that browsers and phones play (4:2:0, so sides are made even by repeating an edge).

    Args:
        frames: at least one, all of one size.
        milliseconds: how long each is shown.

    Raises:
        InputError: the extra ``[video]`` is not installed.
    """
    av = encoder()
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1000 // min(milliseconds), options={"crf": "16"})
        stream.width, stream.height = (side + side % 2 for side in frames[0].size)
        stream.pix_fmt = "yuv420p"
        for frame, shown in zip(frames, milliseconds, strict=True):
            pixels = np.asarray(flat(frame).convert("RGB"))
            pixels = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
            # The rate is constant, so a longer rest is the same frame several times.
            for _ in range(max(1, round(shown / min(milliseconds)))):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
