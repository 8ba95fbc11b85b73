"""How large the values of a graph are: reckoned before anything is computed.

A file of a hundred bytes can ask for a terabyte. So the sizes of all values are worked out from those of the inputs, by the
rules of the ONNX standard for the operations that Limner writes, and any other operation is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from limner.sharing.graph import Attribute, Graph, Node

BATCH = 7919
"""Stands for the batch: a prime above the sides of pictures and the channels of networks."""
Shape = list[int]
_MOST = 1 << 48
"""Numbers in a value: more fit into no machine."""


class Misfit(ValueError):
    """An operation that is not known, or that what goes into it does not fit."""


class _Call:
    """One operation, with what its inputs are."""

    def __init__(self, node: Node, shapes: Mapping[str, Shape], constants: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self.node, self._shapes, self._constants = node, shapes, constants

    def shape(self, place: int) -> Shape:
        """Of an input."""
        return self._shapes[self.node.inputs[place]]

    def shapes(self) -> list[Shape]:
        """Of all inputs that are there."""
        return [self._shapes[name] for name in self.node.inputs if name]

    def known(self, place: int) -> list[int]:
        """Sizes or axes that are an input, which has to be a constant."""
        value = self._constants[self.node.inputs[place]]
        _hold(value.dtype == np.int64 and value.ndim == 1)
        return [int(number) for number in value]

    def whole(self, name: str, default: int | None = None) -> int:
        """An attribute that is a number."""
        value = self._attribute(name, default)
        _hold(isinstance(value, int))
        return int(value)  # type: ignore[arg-type]

    def wholes(self, name: str, count: int) -> list[int]:
        """An attribute of so many numbers that are not negative."""
        value = self._attribute(name, None)
        _hold(isinstance(value, list) and len(value) == count and min(value) >= 0)
        return value  # type: ignore[return-value]

    def _attribute(self, name: str, default: Attribute | None) -> Attribute | None:
        return self.node.attributes.get(name, default)


def _hold(condition: bool) -> None:
    if not condition:
        raise Misfit


def infer(graph: Graph, inputs: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    """The shape of every value.

    Args:
        graph: operations and constants.
        inputs: shapes by name, with :data:`BATCH` for the batch.

    Raises:
        ValueError: an operation is not known, or does not fit its inputs; the message names it.
    """
    shapes = {name: [*array.shape] for name, array in graph.constants.items()}
    shapes |= {name: [*sizes] for name, sizes in inputs.items()}
    for node in graph.nodes:
        rule = RULES.get(node.op)
        if rule is None:
            raise Misfit(f"the operation {node.op[:40]!r}, which Limner does not write")
        try:
            _hold(all(name in shapes for name in node.inputs if name))
            made = rule(_Call(node, shapes, graph.constants))
            _hold(node.output not in shapes and bool(node.output))
            _hold(all(size >= 1 for size in made) and math.prod(made) < _MOST)
        except (Misfit, KeyError, IndexError, ValueError, ZeroDivisionError):
            raise Misfit(f"{node.op} does not fit what goes into it") from None
        shapes[node.output] = made
    return shapes


def _conv(call: _Call) -> Shape:
    (batch, channels, *sides), (outside, inside, *_) = call.shape(0), call.shape(1)
    group = call.whole("group")
    _hold(group >= 1 and channels == inside * group)
    return [batch, outside, *_slid(call, sides)]


def _pool(call: _Call) -> Shape:
    batch, channels, *sides = call.shape(0)
    return [batch, channels, *_slid(call, sides)]


def _slid(call: _Call, sides: Shape) -> Shape:
    """Sides after a kernel went over them."""
    _hold(len(sides) == 2)
    kernel, strides, pads = call.wholes("kernel_shape", 2), call.wholes("strides", 2), call.wholes("pads", 4)
    steps = call.wholes("dilations", 2) if "dilations" in call.node.attributes else [1, 1]
    return [
        (side + pads[axis] + pads[axis + 2] - steps[axis] * (kernel[axis] - 1) - 1) // strides[axis] + 1
        for axis, side in enumerate(sides)
    ]


def _conv_transpose(call: _Call) -> Shape:
    (batch, channels, *sides), (inside, outside, *_) = call.shape(0), call.shape(1)
    group = call.whole("group")
    _hold(group >= 1 and channels == inside and len(sides) == 2)
    kernel, strides, pads = call.wholes("kernel_shape", 2), call.wholes("strides", 2), call.wholes("pads", 4)
    added, steps = call.wholes("output_padding", 2), call.wholes("dilations", 2)
    grown = [
        strides[axis] * (side - 1) + added[axis] + steps[axis] * (kernel[axis] - 1) + 1 - pads[axis] - pads[axis + 2]
        for axis, side in enumerate(sides)
    ]
    return [batch, outside * group, *grown]


def _gemm(call: _Call) -> Shape:
    (rows, inner), (outside, other) = call.shape(0), call.shape(1)
    _hold(call.whole("transB") == 1 and inner == other)
    return [rows, outside]


def _matmul(call: _Call) -> Shape:
    left, right = call.shape(0), call.shape(1)
    _hold(len(left) >= 2 and len(right) >= 2 and left[-1] == right[-2])
    return [*_broadcast(left[:-2], right[:-2]), left[-2], right[-1]]


def _broadcast(*shapes: Shape) -> Shape:
    length = max(map(len, shapes))
    columns = zip(*([1] * (length - len(shape)) + shape for shape in shapes), strict=True)
    made = []
    for column in columns:
        sizes = {size for size in column if size != 1}
        _hold(len(sizes) <= 1)
        made.append(sizes.pop() if sizes else 1)
    return made


def _gather(call: _Call) -> Shape:
    _hold(call.whole("axis", 0) == 0)
    return [*call.shape(1), *call.shape(0)[1:]]


def _resize(call: _Call) -> Shape:
    _hold(call.node.attributes.get("axes") == [2, 3] and call.node.inputs[1:3] == ["", ""])
    high, wide = call.known(3)
    return [*call.shape(0)[:2], high, wide]


def _depth_to_space(call: _Call) -> Shape:
    batch, channels, high, wide = call.shape(0)
    block = call.whole("blocksize")
    _hold(block >= 1 and channels % block**2 == 0)
    return [batch, channels // block**2, high * block, wide * block]


def _concat(call: _Call) -> Shape:
    first, *others = call.shapes()
    axis = call.whole("axis")
    _hold(0 <= axis < len(first))
    for other in others:
        _hold(other[:axis] + other[axis + 1 :] == first[:axis] + first[axis + 1 :])
    return [*first[:axis], sum(shape[axis] for shape in call.shapes()), *first[axis + 1 :]]


def _slice(call: _Call) -> Shape:
    made = [*call.shape(0)]
    for start, end, axis in zip(call.known(1), call.known(2), call.known(3), strict=True):
        _hold(0 <= start < end <= made[axis] and axis >= 0)
        made[axis] = end - start
    return made


def _unsqueeze(call: _Call) -> Shape:
    made = [*call.shape(0)]
    for axis in sorted(call.known(1)):
        _hold(0 <= axis <= len(made) < 8)
        made.insert(axis, 1)
    return made


def _transpose(call: _Call) -> Shape:
    given = call.shape(0)
    order = call.wholes("perm", len(given))
    _hold(sorted(order) == [*range(len(given))])
    return [given[axis] for axis in order]


def _reshape(call: _Call) -> Shape:
    given, made = call.shape(0), call.known(1)
    _hold(call.whole("allowzero") == 0 and made.count(-1) <= 1 and min(made) >= -1)
    made = [given[axis] if size == 0 else size for axis, size in enumerate(made)]
    rest = math.prod(size for size in made if size != -1)
    total = math.prod(given)
    _hold(total % rest == 0)
    made = [total // rest if size == -1 else size for size in made]
    _hold(math.prod(made) == total)
    return made


def _same(call: _Call) -> Shape:
    return [*call.shape(0)]


RULES: Mapping[str, Callable[[_Call], Shape]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _same,
    "InstanceNormalization": _same,
    "Gather": _gather,
    "Relu": _same,
    "LeakyRelu": _same,
    "Sigmoid": _same,
    "Tanh": _same,
    "Mul": lambda call: _broadcast(*call.shapes()),
    "Add": lambda call: _broadcast(*call.shapes()),
    "Sub": lambda call: _broadcast(*call.shapes()),
    "Div": lambda call: _broadcast(*call.shapes()),
    "Resize": _resize,
    "DepthToSpace": _depth_to_space,
    "AveragePool": _pool,
    "Concat": _concat,
    "Slice": _slice,
    "Unsqueeze": _unsqueeze,
    "Expand": lambda call: _broadcast(call.shape(0), call.known(1)),
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Cast": _same,
    "Clip": _same,
    "Round": _same,
}
"""By operation: the shape of what it makes."""
