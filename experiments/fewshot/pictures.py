"""Sheets of several systems in one picture: what each drew from the first seeds, one below the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, LABEL, GAP, SIZE = 640, 18, 6, 13
"""Pixels: of the whole, of a band's title, between bands, of its letters."""


def bands(sheets: Mapping[str, Path], rows: int = 2, of: int = 8) -> Image.Image:
    """The upper ``rows`` of ``of`` of each sheet, with its title above it.

    Args:
        sheets: squares of as many rows as columns, by title.
    """
    font = ImageFont.load_default(SIZE)
    parts: list[Image.Image] = []
    for title, path in sheets.items():
        with Image.open(path) as opened:
            sheet = opened.convert("RGBA")
        ground = Image.new("RGBA", sheet.size, "white")
        ground.alpha_composite(sheet)
        scaled = ground.convert("RGB").resize(
            (WIDTH, round(WIDTH * sheet.height / sheet.width)), Image.Resampling.LANCZOS
        )
        height = round(scaled.height * rows / of)
        band = Image.new("RGB", (WIDTH, LABEL + height + GAP), "white")
        ImageDraw.Draw(band).text((2, LABEL - 5), title, fill="black", font=font, anchor="ls")
        band.paste(scaled.crop((0, 0, WIDTH, height)), (0, LABEL))
        parts.append(band)
    whole = Image.new("RGB", (WIDTH, sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    return whole
