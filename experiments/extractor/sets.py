"""The real sets that features are judged on, and ways to disturb them, each with rising strength."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

Images = np.ndarray
"""uint8 [n, h, w, c]"""
Random = np.random.Generator


def _zipped(path: Path, size: int, mode: str, count: int) -> Images:
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".png", ".jpg", ".jpeg")))
        order = np.random.default_rng(0).permutation(len(names))[:count]
        images = []
        for place in order:
            with Image.open(io.BytesIO(archive.read(names[place]))) as image:
                shown = image.convert(mode).resize((size, size), Image.Resampling.LANCZOS)
            images.append(np.asarray(shown, dtype=np.uint8))
    stacked = np.stack(images)
    return stacked[..., None] if stacked.ndim == 3 else stacked


def _fashion(folder: Path, count: int) -> tuple[Images, np.ndarray]:
    pixels = np.frombuffer(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
    labels = np.frombuffer(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8)
    return pixels.reshape(-1, 28, 28, 1)[:count], labels[:count].astype(int)


def clusters(images: Images, count: int = 10) -> np.ndarray:
    """Groups [n] by k-means over 8 x 8 thumbnails: modes of a set without labels, known to no candidate."""
    small = fit(images, 8, 3 if images.shape[3] == 4 else images.shape[3]).reshape(len(images), -1).astype(float)
    random = np.random.default_rng(1)
    centres = small[random.choice(len(small), count, replace=False)]
    for _ in range(20):
        nearest = ((small[:, None] - centres[None]) ** 2).sum(2).argmin(1)
        centres = np.stack([small[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in range(count)])
    return nearest


def fit(images: Images, size: int, channels: int) -> Images:
    """The same images at another size, in grey, RGB (over white) or RGBA."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    out = []
    for pixels in images:
        image = Image.fromarray(pixels.squeeze())
        if image.mode == "RGBA" and channels != 4:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        out.append(np.asarray(image.convert(mode).resize((size, size), Image.Resampling.BOX)))
    stacked = np.stack(out)
    return stacked[..., None] if channels == 1 else stacked


def load(folder: Path, count: int) -> dict[str, tuple[Images, np.ndarray]]:
    """Name -> up to ``2 * count`` images in random order, and the mode of each."""
    fashion, classes = _fashion(folder / "fashion-mnist", 2 * count)
    found = {"fashion": (fashion, classes)}
    for name, file, size, mode in (
        ("initials", "initials-64.zip", 64, "L"),
        ("battlemaps", "battlemaps-750.zip", 96, "RGB"),
        ("emoji", "noto-emoji-128.zip", 64, "RGBA"),
    ):
        images = _zipped(folder / file, size, mode, 2 * count)
        found[name] = images, clusters(images)
    return found


OTHER = {"fashion": "initials", "initials": "fashion", "battlemaps": "emoji", "emoji": "battlemaps"}
"""What contaminates what."""


def noise(images: Images, strength: float, random: Random) -> Images:
    """Gaussian, of a standard deviation in shares of the range."""
    return np.clip(np.round(images + random.normal(0, 255 * strength, images.shape)), 0, 255).astype(np.uint8)


def _each(images: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    done = np.stack([np.asarray(change(Image.fromarray(pixels.squeeze()))) for pixels in images])
    return done.reshape(images.shape)


def blur(images: Images, strength: float, random: Random) -> Images:
    """Gaussian, of a radius in pixels of an image of 64."""
    radius = strength * images.shape[1] / 64
    return _each(images, lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def occlusion(images: Images, strength: float, random: Random) -> Images:
    """One rectangle of one tone anywhere, of a share of the area."""
    done = images.copy()
    _, height, width, channels = images.shape
    for pixels in done:
        high = min(height, max(1, round(height * np.sqrt(strength * random.uniform(0.6, 1.6)))))
        wide = min(width, max(1, round(strength * height * width / high)))
        y, x = random.integers(height - high + 1), random.integers(width - wide + 1)
        tone = random.integers(256)
        pixels[y : y + high, x : x + wide] = tone
        if channels == 4:
            pixels[y : y + high, x : x + wide, 3] = 255
    return done


def swirl(images: Images, strength: float, random: Random) -> Images:
    """Turned about the middle by an angle (radians) that falls off to the edge; nearest pixels, so nothing is blurred."""
    _, height, width, _ = images.shape
    y, x = np.mgrid[0:height, 0:width]
    v, u = y - (height - 1) / 2, x - (width - 1) / 2
    turn = strength * np.exp(-4 * (u**2 + v**2) / (min(height, width) / 2) ** 2 / 1.5)
    column = np.clip(np.round(u * np.cos(turn) - v * np.sin(turn) + (width - 1) / 2), 0, width - 1).astype(int)
    row = np.clip(np.round(u * np.sin(turn) + v * np.cos(turn) + (height - 1) / 2), 0, height - 1).astype(int)
    return images[:, row, column]


def jpeg(images: Images, strength: float, random: Random) -> Images:
    """Stored as JPEG of quality 100 - strength; transparency is kept."""

    def stored(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.convert("RGB" if image.mode == "RGBA" else image.mode).save(file, "JPEG", quality=round(100 - strength))
        back = Image.open(file).copy()
        if image.mode == "RGBA":
            back.putalpha(image.getchannel("A"))
        return back

    return _each(images, stored)


def blend(images: Images, strength: float, random: Random) -> Images:
    """Each image with a share of another one laid over it, as generators do between modes."""
    other = images[random.permutation(len(images))].astype(float)
    return np.round((1 - strength) * images + strength * other).astype(np.uint8)


CHANGES: dict[str, tuple[Callable[[Images, float, Random], Images], tuple[float, ...]]] = {
    "noise": (noise, (0.02, 0.04, 0.08, 0.16, 0.32)),
    "blur": (blur, (0.4, 0.7, 1.1, 1.6, 2.4)),
    "occlusion": (occlusion, (0.03, 0.07, 0.14, 0.25, 0.45)),
    "swirl": (swirl, (0.2, 0.4, 0.8, 1.6, 3.0)),
    "jpeg": (jpeg, (20.0, 50.0, 75.0, 88.0, 95.0)),
    "blend": (blend, (0.08, 0.16, 0.24, 0.36, 0.5)),
}
"""Disturbances of single images: how, and the strengths."""
DROPPED = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Shares of the images that whole dropped modes held."""
CONTAMINATED = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Shares of images from another set."""
