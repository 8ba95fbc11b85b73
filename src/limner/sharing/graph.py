"""A network as a list of operations on named values: what is between a traced network and an ONNX file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Attribute = int | float | str | list[int]


@dataclass
class Node:
    """One operation, by its name in the ONNX standard.

    Attributes:
        op: such as ``Conv``.
        inputs: names of what it takes, in the standard's order.
        output: the name of what it makes.
        attributes: as the standard names them.
    """

    op: str
    inputs: list[str]
    output: str
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass
class Graph:
    """Operations in an order in which they can be done.

    Attributes:
        nodes: the operations.
        constants: weights, sizes and axes, by name.
        shapes: of every value, by name; ``None`` stands for the batch.
        output: the name of the images, [b, c, h, w] in [-1, 1].
        classes: whether it takes labels besides latents.
    """

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    shapes: dict[str, list[int | None]] = field(default_factory=dict)
    output: str = ""
    classes: bool = False
    _numbers: int = 0

    def fresh(self, hint: str) -> str:
        """A name that no value has yet."""
        while True:
            self._numbers += 1
            name = f"{hint}_{self._numbers}"
            if name not in self.constants and name not in self.shapes:
                return name

    def constant(self, value: Any, hint: str) -> str:
        """Keep an array under a name of its own."""
        name = self.fresh(hint)
        self.constants[name] = np.asarray(value)
        return name

    def consumers(self) -> dict[str, int]:
        """How often each value is taken; the images are taken once more, by whoever asked for them."""
        counts = {self.output: 1}
        for name in (name for node in self.nodes for name in node.inputs):
            counts[name] = counts.get(name, 0) + 1
        return counts

    def makers(self) -> dict[str, Node]:
        """The operation that makes each value."""
        return {node.output: node for node in self.nodes}

    def drop_unused(self) -> None:
        """Remove operations and constants that the images do not depend on."""
        needed, kept = {self.output}, []
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {name: value for name, value in self.constants.items() if name in needed}

    def weights(self) -> Iterator[np.ndarray[Any, Any]]:
        """The constants that were learned, or follow from what was."""
        yield from (value for value in self.constants.values() if value.dtype == np.float32)


def ints(values: Iterable[int]) -> np.ndarray[Any, Any]:
    """Sizes or axes, as the standard wants them."""
    return np.asarray([*values], dtype=np.int64)
