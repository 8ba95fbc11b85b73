"""Real images on their way to the networks: chosen by the sampler, gathered on the device, scaled to [-1, 1]."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from limner.data import Collection, Sampler

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
    """

    def __init__(self, collection: Collection, seed: int, device: torch.device, dtype: torch.dtype) -> None:
        self.sampler = Sampler(collection, seed)
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
            places = torch.from_numpy(self.sampler.indices(start, count)).to(self.device, non_blocking=True)
            pixels = self._resident[places]
        else:
            pixels = torch.from_numpy(self.sampler.batch(start, count)[0]).to(self.device, non_blocking=True)
        return pixels.permute(0, 3, 1, 2).to(self.dtype).div_(127.5).sub_(1.0)
