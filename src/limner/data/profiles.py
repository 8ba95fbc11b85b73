"""Colour profiles: what a camera's or a printer's numbers are in sRGB, which everything else here takes for granted."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

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


@lru_cache(maxsize=32)
def _transform(profile: bytes, colours: str) -> Any:
    """From a profile to sRGB; ``None`` where that changes nothing, or cannot be had."""
    try:
        from PIL import ImageCms
    except ImportError:  # a Pillow without LittleCMS
        return None
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if own.profile.xcolor_space.strip() != colours or "srgb" in ImageCms.getProfileDescription(own).lower():
            return None
        return ImageCms.buildTransform(
            own,
            ImageCms.createProfile("sRGB"),
            colours,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # Decoding threads share it.
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None
