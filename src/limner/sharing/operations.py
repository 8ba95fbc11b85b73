"""What a network may call of torch, and what each call is in the ONNX standard: one operation, or a few."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from limner.errors import LimnerError
from limner.sharing.graph import Graph, ints
from limner.sharing.shapes import BATCH

Operation = Callable[..., str]


class NotExportable(LimnerError):
    """A network does something that has no counterpart here."""


class Tracing(Protocol):
    """Who writes operations down."""

    graph: Graph

    def name(self, value: Any) -> str:
        """The name of a tensor, or of a number as a constant."""

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """One more operation; returns the name of what it makes."""


class Call:
    """One call of torch's: what its operation is written with.

    Args:
        tracer: where it goes.
        result: what the call made.
    """

    def __init__(self, tracer: Tracing, result: Tensor) -> None:
        self.result, self._tracer = result, tracer

    def __call__(self, op: str, *inputs: Any, **attributes: Any) -> str:
        """An ONNX operation. Inputs are tensors, numbers, arrays that become constants, names, or None for none."""
        names = []
        for value in inputs:
            if value is None:
                names.append("")
            elif isinstance(value, str):
                names.append(value)
            elif isinstance(value, np.ndarray):
                names.append(self._tracer.graph.constant(value, op.lower()))
            else:
                names.append(self._tracer.name(value))
        while names and not names[-1]:
            names.pop()
        return self._tracer.add(op, names, **attributes)

    def same(self, value: Tensor) -> str:
        """No operation at all: what comes out is what went in.

        Raises:
            NotExportable: it has another type.
        """
        if value.dtype != self.result.dtype:
            raise NotExportable(f"the network converts {value.dtype} to {self.result.dtype}")
        return self._tracer.name(value)

    def reshaped(self, value: str) -> str:
        """To the shape of the result, whatever the batch."""
        sizes = [-1 if size % BATCH == 0 and size else size for size in self.result.shape]
        return self("Reshape", value, ints(sizes), allowzero=0)

    def stated(self, condition: bool, what: str) -> None:
        """Raises NotExportable unless a condition holds."""
        if not condition:
            raise NotExportable(f"the network uses {what}, which export does not know")


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, second = (*value, *value)[:2]
    return int(first), int(second)


def _conv2d(
    call: Call,
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> str:
    call.stated(not isinstance(padding, str), "a convolution padded by name")
    return call(
        "Conv",
        input,
        weight,
        bias,
        kernel_shape=[*weight.shape[2:]],
        strides=[*_pair(stride)],
        pads=[*_pair(padding), *_pair(padding)],
        dilations=[*_pair(dilation)],
        group=groups,
    )


def _conv_transpose2d(
    call: Call,
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> str:
    return call(
        "ConvTranspose",
        input,
        weight,
        bias,
        kernel_shape=[*weight.shape[2:]],
        strides=[*_pair(stride)],
        pads=[*_pair(padding), *_pair(padding)],
        output_padding=[*_pair(output_padding)],
        dilations=[*_pair(dilation)],
        group=groups,
    )


def _linear(call: Call, input: Tensor, weight: Tensor, bias: Any = None) -> str:
    call.stated(input.ndim == 2, "a linear layer of more than vectors")
    return call("Gemm", input, weight, bias, transB=1)


def _batch_norm(
    call: Call,
    input: Tensor,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> str:
    call.stated(not training and running_mean is not None, "the statistics of a batch")
    channels = input.shape[1]
    scale = np.ones(channels, np.float32) if weight is None else weight
    offset = np.zeros(channels, np.float32) if bias is None else bias
    return call("BatchNormalization", input, scale, offset, running_mean, running_var, epsilon=eps)


def _instance_norm(
    call: Call,
    input: Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> str:
    call.stated(use_input_stats, "running statistics of instances")
    channels = input.shape[1]
    scale = np.ones(channels, np.float32) if weight is None else weight
    offset = np.zeros(channels, np.float32) if bias is None else bias
    return call("InstanceNormalization", input, scale, offset, epsilon=eps)


def _group_norm(
    call: Call, input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> str:
    """Each group as one instance's channel, and back: the standard's own operation is not in every runtime."""
    ones, zeros = np.ones(num_groups, np.float32), np.zeros(num_groups, np.float32)
    rows = call("Reshape", input, ints([0, num_groups, -1]), allowzero=0)
    normal = call.reshaped(call("InstanceNormalization", rows, ones, zeros, epsilon=eps))
    column = ints([1, -1, 1, 1])
    if weight is not None:
        normal = call("Mul", normal, call("Reshape", weight, column, allowzero=0))
    return normal if bias is None else call("Add", normal, call("Reshape", bias, column, allowzero=0))


def _embedding(call: Call, input: Tensor, weight: Tensor, *_: Any, **__: Any) -> str:
    return call("Gather", weight, input, axis=0)


def _leaky_relu(call: Call, input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> str:
    return call("LeakyRelu", input, alpha=float(negative_slope))


def _silu(call: Call, input: Tensor, inplace: bool = False) -> str:
    return call("Mul", input, call("Sigmoid", input))


def _dropout(call: Call, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> str:
    call.stated(not training, "dropout in training mode")
    return call.same(input)


def _interpolate(
    call: Call,
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: bool = False,
) -> str:
    call.stated(size is not None and not align_corners and not antialias, "interpolation by a factor")
    call.stated(mode in ("nearest", "bilinear"), f"{mode} interpolation")
    sizes = ints([*call.result.shape[2:]])
    if mode == "nearest":
        way = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        way = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    return call("Resize", input, None, None, sizes, axes=[2, 3], **way)


def _pixel_shuffle(call: Call, input: Tensor, upscale_factor: int) -> str:
    return call("DepthToSpace", input, blocksize=upscale_factor, mode="CRD")


def _avg_pool2d(
    call: Call,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> str:
    call.stated(not ceil_mode and divisor_override is None, "pooling that rounds up or has a divisor")
    return call(
        "AveragePool",
        input,
        kernel_shape=[*_pair(kernel_size)],
        strides=[*_pair(kernel_size if stride is None else stride)],
        pads=[*_pair(padding), *_pair(padding)],
        count_include_pad=int(count_include_pad and any(_pair(padding))),
    )


def _adaptive_avg_pool2d(call: Call, input: Tensor, output_size: Any) -> str:
    """Even bins are one pooling; uneven ones are two products with what each bin takes of each row, and column."""
    high, wide = input.shape[2:]
    tall, broad = call.result.shape[2:]
    if high % tall == 0 and wide % broad == 0:
        size = [high // tall, wide // broad]
        return call("AveragePool", input, kernel_shape=size, strides=size, pads=[0, 0, 0, 0], count_include_pad=0)
    rows = call("MatMul", _bins(high, tall), input)
    return call("MatMul", rows, np.ascontiguousarray(_bins(wide, broad).T))


def _bins(pixels: int, bins: int) -> np.ndarray[Any, Any]:
    """[bins, pixels]: each bin's mean. Bin i covers floor(i p / b) up to ceil((i + 1) p / b), as in torch."""
    shares = np.zeros((bins, pixels), np.float32)
    for place in range(bins):
        covered = slice(place * pixels // bins, math.ceil((place + 1) * pixels / bins))
        shares[place, covered] = 1 / (covered.stop - covered.start)
    return shares


def _cat(call: Call, tensors: Sequence[Tensor], dim: int = 0) -> str:
    return call("Concat", *tensors, axis=dim)


def _getitem(call: Call, input: Tensor, index: Any) -> str:
    items = list(index) if isinstance(index, tuple) else [index]
    if any(item is Ellipsis for item in items):
        place = next(place for place, item in enumerate(items) if item is Ellipsis)
        given = sum(item is not None and item is not Ellipsis for item in items)
        items[place : place + 1] = [slice(None)] * (input.ndim - given)
    axis, new = 0, []
    starts: list[int] = []
    ends: list[int] = []
    axes: list[int] = []
    for place, item in enumerate(items):
        if item is None:
            new.append(place)
            continue
        call.stated(isinstance(item, slice) and item.step in (None, 1), "an index that is no plain slice")
        start, stop, _ = item.indices(input.shape[axis])
        if (start, stop) != (0, input.shape[axis]):
            call.stated(input.shape[axis] != BATCH, "a part of the batch")
            for values, found in ((starts, start), (ends, stop), (axes, axis)):
                values.append(found)
        axis += 1
    name: Any = input
    if axes:
        name = call("Slice", name, ints(starts), ints(ends), ints(axes))
    if new:
        name = call("Unsqueeze", name, ints(new))
    return call.same(input) if name is input else str(name)


def _expand(call: Call, input: Tensor, *_: Any) -> str:
    call.stated(call.result.ndim == input.ndim, "more axes by expansion")
    sizes = [1 if new == old else new for old, new in zip(input.shape, call.result.shape, strict=True)]
    return call("Expand", input, ints(sizes))


def _addcmul(call: Call, input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> str:
    call.stated(value == 1, "addcmul with a factor")
    return call("Add", call("Mul", tensor1, tensor2), input)


def _permute(call: Call, input: Tensor, *dims: Any) -> str:
    order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return call("Transpose", input, perm=[dim % input.ndim for dim in order])


def _reshape(call: Call, input: Tensor, *_: Any, **__: Any) -> str:
    return call.reshaped(call.same(input))


def _same(call: Call, input: Tensor, *_: Any, **__: Any) -> str:
    return call.same(input)


def _one(op: str) -> Operation:
    """An operation of one tensor and nothing else; torch's ``inplace`` makes no difference to it."""
    return lambda call, input, *_, **__: call(op, input)


def _two(op: str, swapped: bool = False) -> Operation:
    """An operation of two tensors, or of a tensor and a number."""
    return lambda call, first, second: call(op, second, first) if swapped else call(op, first, second)


OPERATIONS: Mapping[str, Operation] = {
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "embedding": _embedding,
    "relu": _one("Relu"),
    "leaky_relu": _leaky_relu,
    "silu": _silu,
    "sigmoid": _one("Sigmoid"),
    "tanh": _one("Tanh"),
    "dropout": _dropout,
    "interpolate": _interpolate,
    "pixel_shuffle": _pixel_shuffle,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "cat": _cat,
    "getitem": _getitem,
    "expand": _expand,
    "addcmul": _addcmul,
    "mul": _two("Mul"),
    "rmul": _two("Mul"),
    "add": _two("Add"),
    "radd": _two("Add"),
    "sub": _two("Sub"),
    "rsub": _two("Sub", swapped=True),
    "div": _two("Div"),
    "truediv": _two("Div"),
    "permute": _permute,
    "view": _reshape,
    "reshape": _reshape,
    "flatten": _reshape,
    "unflatten": _reshape,
    "to": _same,
    "float": _same,
    "contiguous": _same,
}
"""What a network may call, by torch's names; those of methods, operators and calls in place lose their underscores."""
