"""The contact sheet of a collection: a sample of it, and what was found, side by side with names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from limner.data.decode import PIXEL_LIMIT, load, open_image, reasons
from limner.data.sources import Source, Unreadable

TILE = 96
_COLUMNS = 10
_GAP = 8
_LINE = 15
_GROUPS = 12
_WIDTH = _GAP + _COLUMNS * (TILE + _GAP)


@dataclass(frozen=True)
class Section:
    """A heading, and groups of pictures (by their places in the source) that stand side by side."""

    heading: str
    groups: Sequence[Sequence[int]]
    apart: bool = True


def draw_sheet(source: Source, sections: Sequence[Section]) -> Image.Image:
    """The sheet: 10 pictures in a row, each with its name; of long sections the first groups, and of those the first ten."""
    rows: list[Image.Image] = []
    for section in sections:
        if not section.groups:
            continue
        rows.append(_text(section.heading, 15, 26))
        shown = section.groups[:_GROUPS]
        if section.apart:
            packed: list[list[Sequence[int]]] = []
            for group in (group[:_COLUMNS] for group in shown):
                if packed and sum(map(len, packed[-1])) + len(packed[-1]) + len(group) <= _COLUMNS:
                    packed[-1].append(group)
                else:
                    packed.append([group])
            rows += [_row(source, line) for line in packed]
        else:
            places = [place for group in section.groups for place in group]
            rows += [_row(source, [places[k : k + _COLUMNS]]) for k in range(0, len(places), _COLUMNS)]
        if len(section.groups) > len(shown) and section.apart:
            rows.append(_text(f"and {len(section.groups) - len(shown):,} more", 12, 20))
    sheet = Image.new("RGB", (_WIDTH, sum(row.height for row in rows) + _GAP), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _text(text: str, size: int, height: int) -> Image.Image:
    image = Image.new("RGB", (_WIDTH, height), "white")
    ImageDraw.Draw(image).text((_GAP, height - 4), text, fill="black", font=ImageFont.load_default(size), anchor="ls")
    return image


def _row(source: Source, groups: Sequence[Sequence[int]]) -> Image.Image:
    """Groups one after the other, each on a ground of its own, with an empty place between them."""
    image = Image.new("RGB", (_WIDTH, TILE + _LINE + _GAP), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(10)
    column = 0
    for group in groups:
        left = _GAP + column * (TILE + _GAP)
        if len(group) > 1 and len(groups) > 1:
            right = left + len(group) * (TILE + _GAP)
            draw.rectangle((left - 4, 0, right - 5, TILE + _LINE + 4), fill=(226, 232, 242))
        for place in group:
            tile = _tile(source, place)
            x = _GAP + column * (TILE + _GAP)
            image.paste(tile, (x + (TILE - tile.width) // 2, 2 + (TILE - tile.height) // 2))
            draw.text((x, TILE + 12), _short(source.entries[place].name), fill=(60, 60, 60), font=font, anchor="ls")
            column += 1
        column += len(groups) > 1
    return image


def _short(name: str) -> str:
    """The end of a name, which tells pictures apart, as far as it fits under one."""
    name = name.encode(errors="replace").decode().rsplit("/", 1)[-1]
    return name if len(name) <= 17 else f"..{name[-15:]}"


def _tile(source: Source, place: int) -> Image.Image:
    try:
        with reasons():
            image = open_image(source.read(place), PIXEL_LIMIT)
            image = load(image, min(1.0, TILE / max(image.size)))
    except Unreadable:
        return Image.new("RGB", (TILE, TILE), (200, 60, 60))
    scale = TILE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)
    if image.mode in ("LA", "RGBA"):
        ground = Image.fromarray(_checks(*size))
        ground.paste(image.convert("RGBA"), (0, 0), image.getchannel("A"))
        return ground
    return image.convert("RGB")


def _checks(width: int, height: int) -> np.ndarray:
    down, across = np.mgrid[:height, :width] // 8
    light = np.where((down + across) % 2, 255, 224).astype(np.uint8)
    return np.repeat(light[..., None], 3, axis=-1)
