"""Small pictures for lists: the first samples of a grid."""

from __future__ import annotations

import io

from PIL import Image

from limner.imaging import png_bytes
from limner.studio.memo import Answer, tagged
from limner.studio.places import Missing

WIDTH, HEIGHT = 480, 300
_LARGEST_PIXELS = 64_000_000


def thumbnail(content: bytes, picture: tuple[int, int] | None) -> Answer:
    """The left upper part of a grid, in whole pictures, at most :data:`WIDTH` wide; pixels of small pictures stay as they are.

    Args:
        content: the grid, a PNG.
        picture: width and height of one of its pictures; without it the grid as a whole is made small.

    Raises:
        Missing: it is no picture that can be read.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as opened:
            if opened.width * opened.height > _LARGEST_PIXELS:
                raise Missing("grid: is too large for a thumbnail")
            grid = opened.convert("RGBA" if "A" in opened.getbands() or "transparency" in opened.info else "RGB")
    except Missing:
        raise
    except Exception:  # whatever lies there; a decoder may raise anything
        raise Missing("grid: cannot be read") from None
    if picture is not None:
        grid = _first(grid, picture)
    if grid.width > WIDTH or grid.height > 2 * HEIGHT:
        grid.thumbnail((WIDTH, 2 * HEIGHT), Image.Resampling.LANCZOS)
    return tagged(png_bytes(grid), "image/png")


def _first(grid: Image.Image, picture: tuple[int, int]) -> Image.Image:
    """Whole pictures from the left upper corner: about as many as fill a thumbnail at their size, 2 x 1 at least.

    A grid has a gap of a twenty-fourth of a picture's width around each, and may have been enlarged by a whole factor.
    """
    width, height = picture
    gap = max(1, width // 24)
    factor = max(1, round(512 / max(grid.size))) if max(grid.size) < 512 else 1
    for candidate in range(1, 65):  # the factor with which columns and rows come out whole
        across, down = grid.width / candidate - gap, grid.height / candidate - gap
        if across % (width + gap) == 0 and down % (height + gap) == 0 and across > 0 and down > 0:
            factor = candidate
            break
    step_x, step_y, edge = factor * (width + gap), factor * (height + gap), factor * gap
    columns = max(2, min(6, round(WIDTH / step_x)))
    rows = max(1, round(columns * step_x * HEIGHT / WIDTH / step_y))
    return grid.crop((0, 0, min(grid.width, columns * step_x + edge), min(grid.height, rows * step_y + edge)))
