"""Real images on their way to the networks: chosen by the sampler, gathered on the device, scaled to [-1, 1]."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from limner import noise
from limner.data import Collection, Sampler
from limner.device import to_device
from limner.noise import Stream
from limner.recipe import Image

RESIDENT_SHARE = 0.25
"""A collection moves to the device as a whole when it takes at most this share of the device's memory."""


class Feed:
    """Batches of real images by global sample index.

    On a GPU the whole collection lies in device memory as uint8 where it fits, and batches are gathered there.

    Args:
        collection: prepared images.
        seed: the run's seed.
        device: where the networks are.
        dtype: what the images become.
        image: whether pictures are flipped and turned.
    """

    def __init__(
        self, collection: Collection, seed: int, device: torch.device, dtype: torch.dtype, image: Image | None = None
    ) -> None:
        self.sampler, self.seed = Sampler(collection, seed), seed
        self.image = image or Image()
        self.epoch_size = self.sampler.epoch_size
        self.device, self.dtype = device, dtype
        self._resident: Tensor | None = None
        if device.type == "cuda" and isinstance(collection.images, np.ndarray):
            room = torch.cuda.get_device_properties(device).total_memory * RESIDENT_SHARE
            if collection.images.nbytes <= room:
                self._resident = torch.from_numpy(np.ascontiguousarray(collection.images)).to(device)

    def batch(self, start: int, count: int) -> Float[Tensor, "b c h w"]:
        """The images of global sample indices ``start`` to ``start + count``, in [-1, 1] (x / 127.5 - 1).

        The memory format is channels_last, which is how the cache keeps them.
        """
        if self._resident is not None:
            places = to_device(torch.from_numpy(self.sampler.indices(start, count)), self.device)
            pixels = self._resident[places]
        else:
            pixels = to_device(torch.from_numpy(self.sampler.batch(start, count)[0]), self.device)
        if self.image.flip != "none" or self.image.rotate:
            pixels = self._turned(pixels, start)
        return pixels.permute(0, 3, 1, 2).to(self.dtype).div_(127.5).sub_(1.0)

    def labels(self, start: int, count: int) -> Int[Tensor, " b"]:
        """The classes of those images.

        Raises:
            ValueError: the collection has none.
        """
        labels = self.sampler.labels(start, count)
        if labels is None:
            raise ValueError("the collection has no classes")
        return to_device(torch.from_numpy(labels.astype(np.int64)), self.device)

    def _turned(self, pixels: UInt8[Tensor, "b h w c"], start: int) -> UInt8[Tensor, "b h w c"]:
        """Each picture mirrored and turned as its global sample index says."""
        indices = np.arange(start, start + len(pixels), dtype=np.uint64)
        chance = noise.uniform(self.seed, Stream.TURN, indices, 3)
        across = (chance[:, 0] < 0.5) & (self.image.flip in ("horizontal", "both"))
        down = (chance[:, 1] < 0.5) & (self.image.flip in ("vertical", "both"))
        quarters = (chance[:, 2] * 4).astype(np.int64) * self.image.rotate
        if pixels.shape[1] != pixels.shape[2]:
            quarters -= quarters % 2
        # A quarter turn swaps the axes and mirrors one of them; two make a half turn, which mirrors both.
        across, down = across ^ (quarters >= 2), down ^ ((quarters == 1) | (quarters == 2))
        if (quarters % 2).any():
            # Made contiguous first: of two memory orders torch.where would choose the turned one.
            turned = pixels.transpose(1, 2).contiguous()
            pixels = torch.where(self._mask(quarters % 2 == 1), turned, pixels)
        pixels = torch.where(self._mask(across), pixels.flip(2), pixels)
        return torch.where(self._mask(down), pixels.flip(1), pixels)

    def _mask(self, chosen: np.ndarray) -> Tensor:
        return to_device(torch.from_numpy(chosen), self.device)[:, None, None, None]
