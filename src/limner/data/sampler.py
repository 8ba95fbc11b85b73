"""Which pictures are trained on, and in which order: a pure function of the seed and a sample's number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from limner import noise
from limner.data import grouping
from limner.data.ahead import Ahead
from limner.data.columns import pack, ranks
from limner.noise import Stream

if TYPE_CHECKING:
    from limner.data.cache import Collection

SMALL = 100
"""Sets of fewer pictures keep none back: a tenth of them measures nothing, and the training would miss it."""


def split(
    names: Sequence[str],
    fraction: float,
    seed: int,
    *,
    labels: Sequence[str | None] | None = None,
    grouped: bool = True,
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"], str]:
    """Which pictures are trained on and which are kept to judge by: by names and seed alone.

    Groups (see :mod:`limner.data.grouping`) are held out as a whole. They are gone through in a random order, and one
    is taken when that brings the number of pictures nearer to ``fraction``; at least one group, or one single picture, is.

    Args:
        names: one a picture.
        fraction: the share to hold out, 0 to 0.5.
        seed: the run's seed.
        labels: classes, where there are some.
        grouped: whether the names come from files, and may show groups.

    Returns:
        both sets of indices, ascending, and in words how it was done.
    """
    found = grouping.groups(names, labels) if grouped and fraction > 0 and len(names) >= SMALL else None
    numbers, how = found if found is not None else (None, "single pictures")
    return split_groups(len(names), numbers, how, fraction, seed, ranks(pack(names)))


def split_groups(
    count: int,
    numbers: Int[np.ndarray, " n"] | None,
    how: str,
    fraction: float,
    seed: int,
    order: Int[np.ndarray, " n"] | None = None,
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"], str]:
    """:func:`split` for groups that are known: ``numbers`` is each picture's group, or ``None`` for single pictures.

    ``order`` is each picture's place in the order of names (:func:`limner.data.columns.ranks`): it makes the split independent
    of the order in which pictures come. ``None`` where they come in the order of names.
    """
    everything = np.arange(count, dtype=np.int64)
    nothing = np.zeros(0, dtype=np.int64)
    if fraction <= 0:
        return everything, nothing, "off"
    if count < SMALL:
        return everything, nothing, f"off: fewer than {SMALL} pictures"
    target = max(1, round(fraction * count))
    rank = everything if order is None else order
    if numbers is None:
        chosen = np.zeros(count, dtype=bool)
        chosen[noise.permutation(seed, Stream.SPLIT, 0, count)[:target]] = True
        mask = chosen[rank]
    else:
        # A group is known by the first of its pictures in the order of names.
        first = np.full(int(numbers.max()) + 1, count, dtype=np.int64)
        np.minimum.at(first, numbers, rank)
        by_name = np.argsort(first, kind="stable")
        sizes = np.bincount(numbers)
        taken: list[int] = []
        held = 0
        for group in by_name[noise.permutation(seed, Stream.SPLIT, 0, len(sizes))]:
            if abs(held + sizes[group] - target) < abs(held - target):
                taken.append(int(group))
                held += int(sizes[group])
        mask = np.isin(numbers, taken or [int(by_name[np.argmin(sizes[by_name])])])
    return np.flatnonzero(~mask), np.flatnonzero(mask), how


class Sampler:
    """The pictures of any global sample index: no state, so a resumed training goes on exactly.

    Sample ``g`` is in epoch ``g // N`` at position ``g % N`` of that epoch's permutation. With ``fit = "crops"`` the
    place of its piece is keyed by ``g``, so that every epoch cuts afresh.

    Args:
        collection: what :func:`limner.data.cache.prepare` gives.
        seed: the run's seed.
        indices: which pictures; the training ones by default.
    """

    def __init__(self, collection: Collection, seed: int, indices: Int[np.ndarray, " n"] | None = None) -> None:
        self._collection, self._seed = collection, seed
        self._indices = np.asarray(collection.train if indices is None else indices, dtype=np.int64)
        if not len(self._indices):
            raise ValueError("no pictures to sample from")
        self._labels = collection.labels
        # The plain array: a memmap makes a new object of its own class for each piece that is cut out of it.
        images = collection.images
        self._images = images.view(np.ndarray) if isinstance(images, np.ndarray) else images
        if isinstance(images, np.ndarray):
            size = images.nbytes // max(len(images), 1)
            self._ahead = Ahead(images, np.arange(len(images) + 1, dtype=np.int64) * size)
        else:
            self._ahead = Ahead(images.pixels, images.starts)
        self._orders: dict[int, Int[np.ndarray, " n"]] = {}

    @property
    def epoch_size(self) -> int:
        """Pictures in an epoch."""
        return len(self._indices)

    def indices(self, start: int, count: int) -> Int[np.ndarray, " count"]:
        """The collection's indices of samples ``start`` to ``start + count``."""
        size = self.epoch_size
        first, last = start // size, (start + count - 1) // size
        for epoch in range(first, last + 1):
            if epoch not in self._orders:
                self._orders[epoch] = self._indices[noise.permutation(self._seed, Stream.DATA_ORDER, epoch, size)]
        orders = [self._orders[epoch] for epoch in range(first, last + 1)]
        # What is asked for ahead may be in the next epoch already.
        self._orders = {epoch: order for epoch, order in self._orders.items() if abs(epoch - last) <= 1}
        begin = start - first * size
        return (orders[0] if len(orders) == 1 else np.concatenate(orders))[begin : begin + count]

    def labels(self, start: int, count: int) -> Int[np.ndarray, " count"] | None:
        """The classes of samples ``start`` to ``start + count``, where there are some."""
        return None if self._labels is None else self._labels[self.indices(start, count)]

    def batch(
        self, start: int, count: int
    ) -> tuple[UInt8[np.ndarray, "count h w c"], Int[np.ndarray, " count"] | None]:
        """The pictures of samples ``start`` to ``start + count``, and their classes where there are some."""
        chosen = self.indices(start, count)
        labels = None if self._labels is None else self._labels[chosen]
        if self._ahead.active:
            self._ahead.ask(self.indices(*self._ahead.following(start, count)))
        if isinstance(self._images, np.ndarray):
            return self._images[chosen], labels
        width, height = self._collection.width, self._collection.height
        batch = np.empty((count, height, width, self._collection.channels), dtype=np.uint8)
        places = noise.uniform(self._seed, Stream.CROP, np.arange(start, start + count, dtype=np.uint64), 2)
        for row, (index, (down, across)) in enumerate(zip(chosen, places, strict=True)):
            batch[row] = crop(self._images[int(index)], width, height, down, across)
        return batch, labels


def crop(
    picture: UInt8[np.ndarray, "h w c"], width: int, height: int, down: float, across: float
) -> UInt8[np.ndarray, "height width c"]:
    """A piece of a picture; ``down`` and ``across``, 0 to under 1, go from its first to its last place."""
    top = int(down * (picture.shape[0] - height + 1))
    left = int(across * (picture.shape[1] - width + 1))
    return picture[top : top + height, left : left + width]
