"""What a collection is large enough for, and a size, a fit and a recipe to begin with, each with its reason."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from limner.data.decode import Fit, Target, fitted
from limner.data.measure import Sample, resolve
from limner.recipe import DEFAULT, Recipe

FEW, SOME, MANY = 100, 1_000, 10_000
"""Numbers of different pictures at which the answer changes; see :func:`enough`."""
BASIS = (
    "This goes by the number of different pictures alone, as published comparisons over subsets of one collection do "
    "(Karras et al. 2020, 'Training GANs with limited data'; Zhao et al. 2020, 'Differentiable augmentation'). How alike your "
    "pictures are matters as much; only a training and 'limner evaluate' can tell."
)
_CUT = 0.2
"""From this share of a picture lost to ``crop``, on the median, padding is suggested."""
_SIZES = 20_000
_LARGE = 6.0
"""From this many times the suggested side on, a few pictures are cut in pieces."""


@dataclass(frozen=True)
class Advice:
    """What to begin with.

    Attributes:
        width, height, channels, fit, recipe: what is suggested.
        reasons: a line for each.
        command: ready to be run.
        enough: what so many pictures are enough for, in words, and ``basis``, what that rests on.
    """

    width: int
    height: int
    channels: int
    fit: Fit
    recipe: str
    reasons: tuple[str, ...]
    command: str
    enough: str
    basis: str = BASIS

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def enough(different: int) -> str:
    """What a number of different pictures is enough for."""
    said = f"{different:,} different pictures"
    if different < 2:
        return f"{said}: not enough to train on; at least two are needed, some hundred to learn anything but these"
    if different < FEW:
        return (
            f"{said}: enough to try things out. A generator will mostly learn these by heart, and none are held out to "
            f"measure that by (below {FEW})"
        )
    if different < SOME:
        return (
            f"{said}: enough for colours, textures and overall shapes. Expect copies of single pictures when the training is "
            f"long; stop early and look. Below {SOME:,}, published methods needed augmentation or a generator that was trained "
            "before"
        )
    if different < MANY:
        return (
            f"{said}: enough for a small generator of one kind of subject, at 32 to 128 pixels. Without augmentation, quality "
            f"usually peaks and then falls below {MANY:,}; keep the best snapshot, not the last"
        )
    return (
        f"{said}: enough to train from scratch at small sizes without special care; at 256 pixels and more, or for many kinds "
        "of subject, published results use several times as many"
    )


def advise(
    location: str,
    sizes: Int[np.ndarray, "n 2"],
    *,
    colour: bool,
    alpha_share: float,
    different: int,
    size: tuple[int, int] | None = None,
) -> Advice:
    """Suggest a size, a fit and a recipe.

    Args:
        location: as the command line will name it.
        sizes: widths and heights of the pictures that can be read; at least one.
        colour: whether any of them is coloured.
        alpha_share: the share that is transparent somewhere.
        different: how many remain without copies and nearly uniform ones.
        size: width and height, where the user has chosen.

    Raises:
        InputError: the size is outside 8 to 1024.
    """
    image = Recipe.load(DEFAULT).image
    if size is not None:
        image = image.model_copy(update={"width": size[0], "height": size[1]})
    spread = sizes[:: max(1, len(sizes) // _SIZES)]  # whose medians are those of all
    sample = Sample(tuple((int(width), int(height)) for width, height in spread), not colour, alpha_share)
    target = resolve(image, sample)
    width, height, channels = target.width, target.height, target.channels
    reasons = [_why_size(sizes, target, size is not None, image.max_side)]
    fit, why = _fit(sizes, target, different, alpha_share)
    reasons.append(why)
    recipe, why = _recipe(width, height, channels)
    reasons.append(why)
    flags = ["limner", "train", location, "--recipe", recipe]
    flags += ["--size", str(width) if width == height else f"{width}x{height}"]
    if recipe != DEFAULT or channels == 4:
        flags += ["--channels", str(channels)]
    if fit != image.fit:
        flags += ["--set", f"image.fit={fit}"]
    return Advice(width, height, channels, fit, recipe, tuple(reasons), shlex.join(flags), enough(different))


def _why_size(sizes: Int[np.ndarray, "n 2"], target: Target, chosen: bool, most: int) -> str:
    said = f"{target.width}x{target.height}"
    small = int(((sizes[:, 0] < target.width) & (sizes[:, 1] < target.height)).sum())
    enlarged = f"; {small:,} pictures are smaller and would be enlarged" if small else ""
    if chosen:
        return f"size {said}: as you asked{enlarged}"
    longest = int(np.median(sizes.max(axis=1)))
    if longest > most:
        return (
            f"size {said}: the usual shape (longer side {longest} on the median), reduced to {most}, which two cores train in "
            f"minutes{enlarged}"
        )
    return f"size {said}: the pictures' own{enlarged}"


def _fit(sizes: Int[np.ndarray, "n 2"], target: Target, different: int, alpha_share: float) -> tuple[Fit, str]:
    longer = max(target.width, target.height)
    if different < SOME and np.median(sizes.min(axis=1)) >= _LARGE * longer and alpha_share == 0:
        times = round(float(np.median(sizes.min(axis=1))) / longer)
        return "crops", (
            f"fit crops: few and large pictures ({times} times the size), so fresh pieces at full resolution give more to "
            "learn from; take crop when each picture must be seen as a whole"
        )
    lost: list[float] = []
    for (width, height), count in zip(*np.unique(sizes, axis=0, return_counts=True), strict=True):
        box, _ = fitted((int(width), int(height)), target)
        kept = (box[2] - box[0]) * (box[3] - box[1]) / (width * height)
        lost += [1 - kept] * int(count)
    median = float(np.median(lost))
    if max(lost) < 0.01:
        return "crop", "fit crop: all pictures have this shape, so nothing is lost"
    if median > _CUT or (alpha_share > 0.5 and median > 0.05):
        return "pad", f"fit pad: cropping would cut {median:.0%} off the median picture (at most {max(lost):.0%})"
    return "crop", f"fit crop: it cuts {median:.0%} off the median picture (at most {max(lost):.0%})"


def _recipe(width: int, height: int, channels: Literal[1, 3, 4]) -> tuple[str, str]:
    if channels == 1 and (width, height) == (28, 28):
        return "fashion", "recipe fashion: made for grey pictures of 28x28"
    if channels == 1 and (width, height) == (64, 64):
        return "initials", "recipe initials: made for grey pictures of 64x64"
    return DEFAULT, f"recipe {DEFAULT}: takes any size and number of channels"
