"""A k-d tree whose leaves are small boxes of points (Bentley 1975), laid out so that a box is compared by one product."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

LEAF = 256
"""The most points of a box."""
_AT_ONCE = 1024
_AT_A_TIME = 100_000


@dataclass(frozen=True)
class Tree:
    """Points in small boxes.

    Attributes:
        order: numbers of points, box after box.
        starts: where each box begins in it, and where the last one ends.
        low, high: corners of the boxes.
    """

    order: Int[np.ndarray, " n"]
    starts: Int[np.ndarray, " b"]
    low: Float32[np.ndarray, "b k"]
    high: Float32[np.ndarray, "b k"]

    @classmethod
    def of(cls, points: Float32[np.ndarray, "n k"], numbers: Int[np.ndarray, " m"]) -> Tree:
        """Some of the points: what is too many is halved along its longest side, again and again."""
        waiting = [numbers]
        leaves: list[Int[np.ndarray, " m"]] = []
        while waiting:
            part = waiting.pop()
            if len(part) <= LEAF:
                leaves.append(part)
                continue
            low, high = _corners(points, part)
            half = np.argpartition(points[part, int(np.argmax(high - low))], len(part) // 2)
            waiting += [part[half[: len(part) // 2]], part[half[len(part) // 2 :]]]
        corners = [_corners(points, leaf) for leaf in leaves]
        return cls(
            np.concatenate(leaves),
            np.cumsum([0, *map(len, leaves)]),
            np.stack([low for low, _ in corners]),
            np.stack([high for _, high in corners]),
        )

    def packed(self, points: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k+1"]:
        """The points, box after box, times -2, and after each its squared length: one product then gives distances."""
        rows = np.empty((len(self.order), points.shape[1] + 1), np.float32)
        for start in range(0, len(rows), _AT_A_TIME):
            part = points[self.order[start : start + _AT_A_TIME]]
            np.multiply(part, -2, out=rows[start : start + _AT_A_TIME, :-1])
            rows[start : start + _AT_A_TIME, -1] = np.square(part).sum(axis=1)
        return rows

    def leaves(self) -> Iterator[Int[np.ndarray, " m"]]:
        """The points of each box."""
        for start, end in zip(self.starts[:-1], self.starts[1:], strict=True):
            yield self.order[start:end]

    def around(self, low: np.ndarray, high: np.ndarray, slack: float, most: int) -> list[tuple[int, int]]:
        """Where points in boxes within ``slack`` of a box lie, from and to; of many boxes the nearest ``most``."""
        gap = np.maximum(np.maximum(self.low - high, low - self.high), 0)
        apart = np.square(gap).sum(axis=1)
        boxes = np.flatnonzero(apart <= slack * slack)
        if len(boxes) > most:
            boxes = np.sort(boxes[np.argsort(apart[boxes], kind="stable")[:most]])
        runs: list[tuple[int, int]] = []
        for start, end in zip(self.starts[boxes].tolist(), self.starts[boxes + 1].tolist(), strict=True):
            if runs and runs[-1][1] == start and end - runs[-1][0] <= _AT_ONCE:
                runs[-1] = runs[-1][0], end
            else:
                runs.append((start, end))
        return runs


def _corners(
    points: Float32[np.ndarray, "n k"], numbers: Int[np.ndarray, " m"]
) -> tuple[Float32[np.ndarray, " k"], Float32[np.ndarray, " k"]]:
    """The least and the greatest coordinates of some points."""
    parts = [points[numbers[start : start + _AT_A_TIME]] for start in range(0, len(numbers), _AT_A_TIME)]
    return np.min([part.min(axis=0) for part in parts], axis=0), np.max([part.max(axis=0) for part in parts], axis=0)
