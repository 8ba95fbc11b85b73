"""Pictures of a run as data URIs, each within a number of bytes, so that the whole report stays small."""

from __future__ import annotations

import base64
import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from limner.imaging import flat

TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
QUALITIES = (85, 70, 55, 40)
SHRINK = 0.8
HOPELESS = 3
"""A coarser JPEG takes down to about a third of the bytes; where that is not enough, fewer pixels are tried at once."""
SMALL = 128
"""Pictures of up to so many pixels are enlarged in the page, which should show their pixels."""
MOST_PIXELS = 64_000_000
MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        source: a data URI.
        width, height: of the original, in pixels.
        alpha: whether it may be transparent, so that it needs a ground.
        small: whether it should be shown in enlarged pixels.
    """

    source: str
    width: int
    height: int
    alpha: bool
    small: bool

    @property
    def size(self) -> int:
        """Letters in the page."""
        return len(self.source)


def embedded(path: Path, most: int, longer_side: int = 1100) -> Picture | None:
    """A picture file for the page: as it is where it is small enough, otherwise as JPEG, coarser or smaller until it fits.

    JPEG is a tenth of WebP's work at about its size, and dozens of grids should not take seconds. It has no transparency:
    what is transparent becomes white then.

    Args:
        path: PNG, JPEG or WebP.
        most: bytes that it may take (before base64, which takes a third more).
        longer_side: pixels that it may have.

    Returns:
        ``None`` when it is missing, damaged, or no picture.
    """
    opened = read_picture(path)
    if opened is None:
        return None
    content, kind, image = opened
    (width, height), alpha = image.size, image.mode == "RGBA"
    if len(content) > most or max(width, height) > longer_side:
        kind, content, alpha = "image/jpeg", reduced(image, most, longer_side), False
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return Picture(source, width, height, alpha, max(width, height) <= SMALL)


def read_picture(path: Path) -> tuple[bytes, str, Image.Image] | None:
    """A file's content, its type, and the picture as L, RGB or RGBA."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=list(TYPES)) as image:
                if image.width * image.height > MOST_PIXELS:
                    return None
                alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
                return (
                    content,
                    TYPES[str(image.format)],
                    image.convert("RGBA" if alpha else "L" if image.mode == "L" else "RGB"),
                )
    # Pillow raises many kinds of errors on damaged files, SyntaxError and struct.error among them.
    except Exception:
        return None


def reduced(image: Image.Image, most: int, longer_side: int) -> bytes:
    """JPEG of at most ``most`` bytes (or of 16 pixels, if nothing larger fits)."""
    image = flat(image)
    if max(image.size) > longer_side:
        image = image.copy()
        image.thumbnail((longer_side, longer_side), Image.Resampling.LANCZOS)
    while True:
        for quality in QUALITIES:
            content = _jpeg(image, quality)
            if len(content) <= most or max(image.size) <= 16:
                return content
            if len(content) > HOPELESS * most:
                break
        scale = min(SHRINK, 0.95 * math.sqrt(most / len(content)))  # bytes go about with the area
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def room_for(path: Path, most: int, fewest: int, greatest: int) -> int:
    """How many pictures like this one fit into ``most`` bytes at a fair quality: from ``fewest`` to ``greatest``."""
    opened = read_picture(path)
    if opened is None:
        return greatest
    content, _, image = opened
    size = min(len(content), len(_jpeg(flat(image), QUALITIES[1])))
    return max(fewest, min(greatest, most // max(1, size)))


def chosen(count: int, most: int, wanted: int | None = None) -> list[int]:
    """Which of ``count`` things to keep: the first, the last, the wanted one, and others at even steps.

    Grids come soon at first and then less often, so even steps among them keep that rhythm.
    """
    if count <= most:
        return list(range(count))
    kept = {round(place * (count - 1) / (most - 1)) for place in range(most)}
    if wanted is not None and wanted not in kept:
        between = sorted(kept)[1:-1]
        if between:
            kept.remove(min(between, key=lambda place: abs(place - wanted)))
        kept.add(wanted)
    return sorted(kept)
