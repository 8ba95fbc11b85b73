"""Does an exported generator draw what the one in PyTorch draws?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from limner import imaging
from limner.errors import LimnerError
from limner.generator import TrainedGenerator

COUNT = 16
"""Pictures that are compared, those of seeds 0 to 15."""
PIXELS = 2**22
"""In the pictures that are compared, at most; two at least."""
TOLERANCE = 1e-3
"""Of images in [-1, 1]: an eighth of the step between two neighbouring pixel values."""
NEAR, NEAR_SHARE, FARTHEST = 2, 0.999, 8
"""In half precision: this share of the pixels within NEAR of 255, none above FARTHEST."""

Drawn = Callable[[Float[np.ndarray, "b z"], Int[np.ndarray, " b"] | None], np.ndarray[Any, Any]]


class NotEqual(LimnerError):
    """An exported generator draws other pictures."""


_NO_NUMBERS = "the generator draws pictures that are no numbers: nothing is written"


@dataclass(frozen=True)
class Parity:
    """How far the exported generator's pictures are from PyTorch's.

    Attributes:
        compared: what with what.
        seeds: of the pictures, each of its own class (seed modulo the number of classes).
        largest: largest difference of images in [-1, 1]; ``None`` where only pixels came out.
        largest_pixel: largest difference of pixels, of 255.
        equal, near: shares of the pixels that are equal, and that are within 2.
    """

    compared: str
    seeds: list[int]
    largest: float | None
    largest_pixel: int
    equal: float
    near: float

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def describe(self) -> str:
        """One line."""
        images = "" if self.largest is None else f"images in [-1, 1] differ by {self.largest:.1e} at most, "
        return (
            f"{self.compared}, {len(self.seeds)} seeds: {images}pixels by {self.largest_pixel} of 255 at most,"
            f" {self.equal:.3%} equal"
        )


def refuse_broken(generator: TrainedGenerator) -> None:
    """Find out whether all weights are numbers.

    Raises:
        NotEqual: some are not, so no file could hold what draws the same pictures.
    """
    if not all(weight.isfinite().all() for weight in generator.network.state_dict().values()):
        raise NotEqual(_NO_NUMBERS)


def compare(generator: TrainedGenerator, drawn: Drawn, compared: str, *, half: bool, pixels: bool) -> Parity:
    """Compare pictures of fixed seeds.

    Args:
        generator: in PyTorch; drawn on the CPU in float32.
        drawn: what the exported one makes of latents and labels: images, or pixels.
        compared: what with what, in words.
        half: its weights are in half precision.
        pixels: it makes uint8 [b, h, w, c].

    Raises:
        NotEqual: they differ by more than they may.
    """
    width, height = generator.size
    seeds = [*range(max(2, min(COUNT, PIXELS // (width * height))))]
    largest, values = 0.0, np.zeros(256, np.int64)
    for wanted, latents, labels in _drawn(generator, seeds):
        made = drawn(latents, labels)
        if not pixels:
            if made.shape != wanted.shape:
                raise NotEqual(f"the exported generator draws {made.shape}, PyTorch {wanted.shape}: nothing is written")
            largest = max(largest, float(np.abs(made - wanted).max()))  # NaN is caught below: its pixels differ
            if not np.isfinite(made).all() or not np.isfinite(wanted).all():
                raise NotEqual(_NO_NUMBERS)
            made = imaging.to_uint8(made)
        difference = np.abs(made.astype(np.int16) - imaging.to_uint8(wanted).astype(np.int16))
        values += np.bincount(difference.reshape(-1), minlength=256)
    shares = values.cumsum() / values.sum()
    farthest = int(np.flatnonzero(values).max())
    found = Parity(compared, seeds, None if pixels else largest, farthest, float(shares[0]), float(shares[NEAR]))
    good = found.near >= NEAR_SHARE and farthest <= FARTHEST if half else farthest <= 1 and largest <= TOLERANCE
    if not good:
        advice = "; export without --half" if half else ""
        raise NotEqual(
            f"the exported generator draws other pictures than PyTorch ({found.describe()}): nothing is written{advice}"
        )
    return found


def _drawn(
    generator: TrainedGenerator, seeds: list[int]
) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any] | None]]:
    """Images by PyTorch on the CPU in float32, with the latents and labels that they are of, some at once."""
    network = copy.deepcopy(generator.network).float().cpu().eval()
    for start in range(0, len(seeds), generator.at_once):
        some = seeds[start : start + generator.at_once]
        latents, labels = generator.latents(some), generator.labels(some) if generator.classes else None
        known = () if labels is None else (torch.from_numpy(labels),)
        with torch.inference_mode():
            yield network(torch.from_numpy(latents), *known).numpy(), latents, labels
