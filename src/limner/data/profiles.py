"""Colour profiles: what a camera's or a printer's numbers are in sRGB, which everything else here takes for granted."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

LARGEST = 1 << 22
"""Bytes of a profile. Real ones have some hundred to some hundred thousand; printers' tables come to a few million."""


def in_srgb(image: Image.Image) -> Image.Image:
    """A loaded picture with its colours as sRGB, if it says what else they are (ICC.1; relative colorimetric, as browsers do).

    Opacity stays. A picture without colours, without a profile, or with one that is damaged or of other colours than its own
    stays as it is: nobody's picture is lost for its profile.

    Args:
        image: in any of Pillow's modes.

    Returns:
        the same picture, or one of mode ``RGB`` or ``RGBA``.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= LARGEST or image.mode not in _COLOURED:
        return image
    colours = "CMYK" if image.mode == "CMYK" else "RGB"
    transform = _transform(profile, colours)
    if transform is None:
        return image
    from PIL import ImageCms

    opaque = image.mode in ("RGB", "CMYK") and "transparency" not in image.info
    plain = image if image.mode == colours and opaque else image.convert("RGB" if opaque else "RGBA")
    try:
        result = ImageCms.applyTransform(plain if opaque else plain.convert("RGB"), transform)
    except (ImageCms.PyCMSError, ValueError):
        return image
    if result is None:
        return image
    if not opaque:
        result.putalpha(plain.getchannel("A"))
    result.info = {name: value for name, value in image.info.items() if name not in ("icc_profile", "transparency")}
    return result


_COLOURED = ("RGB", "RGBA", "RGBa", "P", "PA", "CMYK")


_LEVELS = 2
"""Profiles of sRGB differ by so many levels in how they round."""


@lru_cache(maxsize=32)
def _transform(profile: bytes, colours: str) -> Any:
    """From a profile to sRGB; ``None`` where that changes nothing to speak of, or cannot be had."""
    try:
        from PIL import ImageCms
    except ImportError:  # a Pillow without LittleCMS
        return None
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if own.profile.xcolor_space.strip() != colours:
            return None
        transform = ImageCms.buildTransform(
            own,
            ImageCms.createProfile("sRGB"),
            colours,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # Decoding threads share it.
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
        # By what it does: names are no guide ("Linear sRGB").
        if colours == "RGB" and _apart(ImageCms.applyTransform(_every(), transform), _every()) <= _LEVELS:
            return None
        return transform
    except (
        ImportError,
        ImageCms.PyCMSError,
        OSError,
        ValueError,
        TypeError,
        AttributeError,
    ):  # or without its other half
        return None


def _every() -> Image.Image:
    """Colours from everywhere in the cube, a third of them greys."""
    steps = np.linspace(0, 255, 9).round()
    grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    greys = np.repeat(np.arange(256.0)[:, None], 3, 1)
    return Image.fromarray(np.concatenate([grid, greys]).astype(np.uint8)[None])


def _apart(image: Image.Image | None, other: Image.Image) -> int:
    """How far two pictures are apart at most, in levels."""
    return 0 if image is None else int(np.abs(np.asarray(image, np.int16) - np.asarray(other, np.int16)).max())
