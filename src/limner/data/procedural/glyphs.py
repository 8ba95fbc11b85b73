"""Capital letters as distance fields, from the fonts that come with matplotlib.

A distance field says for each pixel how far it is from the letter's outline. One field gives every weight, outline, inline and
shadow of a letter by a comparison, and it can be scaled, slanted and condensed like a picture.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

_REACH = 0.15
"""How far from the outline distances are exact, in cap heights; beyond they stay at this value."""

_FRAKTUR = 0x1D56C
_SCRIPT = 0x1D4D0
_DOUBLE = 0x1D538
# Unicode had these letters elsewhere before it got the whole alphabet.
_MOVED = {
    (_DOUBLE, "C"): 0x2102,
    (_DOUBLE, "H"): 0x210D,
    (_DOUBLE, "N"): 0x2115,
    (_DOUBLE, "P"): 0x2119,
    (_DOUBLE, "Q"): 0x211A,
    (_DOUBLE, "R"): 0x211D,
    (_DOUBLE, "Z"): 0x2124,
}


@dataclass(frozen=True)
class Face:
    """A printing face.

    Args:
        file: a font in matplotlib's folder.
        share: how often it is used, against the others.
        first: the code point of its A.
        weight: range of emboldening, in cap heights on each side of a stroke.
        slant: range of slant, in cap heights of shift at the top; positive leans forward.
        solid: fit for hollow, inlined and shadowed letters: its strokes are thick and unbroken.
    """

    file: str
    share: float
    first: int = ord("A")
    weight: tuple[float, float] = (0.0, 0.02)
    slant: tuple[float, float] = (0.0, 0.0)
    solid: bool = True


FACES = (
    Face("STIXGeneralBol", 6.0, weight=(-0.01, 0.03)),
    Face("STIXGeneral", 4.0, weight=(0.01, 0.045), solid=False),
    Face("cmb10", 4.0, weight=(0.0, 0.03)),
    Face("cmr10", 2.5, weight=(0.015, 0.05), solid=False),
    Face("DejaVuSerif-Bold", 4.0, weight=(-0.015, 0.015)),
    Face("DejaVuSerif", 2.5, weight=(0.01, 0.05)),
    Face("DejaVuSans-Bold", 1.5, weight=(-0.03, 0.01), slant=(-0.08, 0.08)),
    Face("STIXGeneralBolIta", 1.5, weight=(-0.005, 0.02)),
    Face("DejaVuSerif-BoldItalic", 0.8, weight=(-0.015, 0.01)),
    Face("cmti10", 0.7, weight=(0.02, 0.04), solid=False),
    Face("DejaVuSerif", 2.0, first=_DOUBLE, weight=(-0.004, 0.004), solid=False),
    Face("STIXGeneralBol", 1.3, first=_FRAKTUR, weight=(-0.005, 0.015), solid=False),
    Face("STIXGeneral", 0.9, first=_SCRIPT, weight=(0.0, 0.02), solid=False),
)


@functools.cache
def _font(file: str, pixels: int) -> ImageFont.FreeTypeFont:
    """A font at ``pixels`` per em."""
    import matplotlib  # not at the top: a command that draws no letter should not wait for it

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{file}.ttf"), pixels)


def _squared_distance(away: Float[np.ndarray, "h w"], reach: int) -> Float[np.ndarray, "h w"]:
    """Squared distance of each pixel to the nearest pixel where ``away`` is 0, exact up to ``reach``, first along x, then y."""
    result = away
    for axis in (1, 0):
        padding = [(0, 0), (0, 0)]
        padding[axis] = (reach, reach)
        padded = np.pad(result, padding, constant_values=float(2 * reach * reach))
        length = result.shape[axis]
        nearest = result.copy()
        for shift in range(1, reach + 1):
            for start in (reach - shift, reach + shift):
                window = padded[:, start : start + length] if axis else padded[start : start + length]
                np.minimum(nearest, window + np.float32(shift * shift), out=nearest)
        result = nearest
    return result


@dataclass(frozen=True)
class Glyph:
    """A letter's distance field.

    Args:
        field: signed distance to the outline in cap heights, negative inside, as a PIL image of mode F.
        width: the letter's ink width, in cap heights.
        height: the letter's ink height, in cap heights; 1 but for letters with a tail.
        scale: pixels per cap height.
        margin: pixels around the ink.
    """

    field: Image.Image
    width: float
    height: float
    scale: int
    margin: int

    def place(
        self, shape: tuple[int, int], centre: tuple[float, float], height: float, stretch: float, slant: float
    ) -> Float[np.ndarray, "h w"]:
        """The letter's signed distance field in pixels of a canvas.

        Args:
            shape: rows and columns of the canvas.
            centre: x and y of the middle of the letter's ink.
            height: ink height in pixels.
            stretch: width against the natural width.
            slant: shift of the top against the bottom in letter heights, to the right if positive.
        """
        zoom = self.height * self.scale / height
        middle_x, middle_y = self.field.width / 2, self.field.height / 2
        shear = slant * zoom / stretch
        transform = (
            zoom / stretch,
            shear,
            middle_x - zoom / stretch * centre[0] - shear * centre[1],
            0.0,
            zoom,
            middle_y - zoom * centre[1],
        )
        placed = self.field.transform(
            shape[::-1], Image.Transform.AFFINE, transform, Image.Resampling.BILINEAR, fillcolor=_REACH
        )
        return np.asarray(placed) * np.float32(height / self.height * min(1.0, stretch))


@functools.cache
def glyph(face: Face, letter: str, scale: int) -> Glyph:
    """The distance field of a capital at ``scale`` pixels per cap height."""
    code = _MOVED.get((face.first, letter), face.first + ord(letter) - ord("A"))
    sample = _font(face.file, 200).getbbox("H")
    font = _font(face.file, max(8, round(200 * scale / (sample[3] - sample[1]))))
    left, top, right, bottom = font.getbbox(chr(code))
    reach = int(np.ceil(_REACH * scale))
    width, height = int(right - left), int(bottom - top)
    image = Image.new("L", (width + 2 * reach, height + 2 * reach), 0)
    ImageDraw.Draw(image).text((reach - left, reach - top), chr(code), font=font, fill=255)
    inside = np.asarray(image) >= 128
    far = np.float32(2 * reach * reach)
    outer = np.sqrt(_squared_distance(np.where(inside, np.float32(0), far), reach))
    inner = np.sqrt(_squared_distance(np.where(inside, far, np.float32(0)), reach))
    # The outline runs between the last pixel inside and the first outside, half a pixel from each.
    distance = np.where(inside, 0.5 - inner, outer - 0.5) / scale
    return Glyph(
        Image.fromarray(np.clip(distance, -_REACH, _REACH).astype(np.float32)),
        width / scale,
        height / scale,
        scale,
        reach,
    )
