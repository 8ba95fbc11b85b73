"""Layers whose slope does not change with their input, as a penalty on gradients may see them.

A penalty is differentiated twice. The slope of a (leaky) ReLU is constant on both sides of 0, that of pooling
everywhere, so their second derivatives are 0; torch computes these zeros as tensors and sends them back through the
whole forward pass of the network, convolutions and all. Here they are not made, and autograd goes no further where
there is nothing. Values and gradients stay the same; for a discriminator of convolutions, leaky ReLUs and pooling alone
(``r3gan``) a sixth of an update's arithmetic goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ops = torch.ops.aten


class ConstantSlopes(TorchFunctionMode):
    """While it is entered, :func:`relu`, :func:`leaky_relu` and :func:`avg_pool2d` of torch have no second derivative.

    Not for parts of a network that are computed again in the backward pass: by then it has been left.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = _RULES.get(func)
        return func(*args, **(kwargs or {})) if rule is None else rule(*args, **(kwargs or {}))


def _leaky_relu(values: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    result: Tensor = _Bent.apply(values, float(negative_slope))  # type: ignore[no-untyped-call]
    return result


def _relu(values: Tensor, inplace: bool = False) -> Tensor:
    return _leaky_relu(values, 0.0)


def _avg_pool2d(
    values: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *rest: Any, **named: Any
) -> Tensor:
    names = ("ceil_mode", "count_include_pad", "divisor_override")
    chosen = {"ceil_mode": False, "count_include_pad": True, "divisor_override": None}
    chosen |= dict(zip(names, rest, strict=False)) | named
    kernel, stride, padding = (
        [side, side] if isinstance(side, int) else list(side)
        for side in (kernel_size, kernel_size if stride is None else stride, padding)
    )
    how = (kernel, stride, padding, *(chosen[name] for name in names))
    result: Tensor = _Pooled.apply(values, how)  # type: ignore[no-untyped-call]
    return result


class _Bent(torch.autograd.Function):
    """A leaky ReLU; which side of 0 a value was on can be told from the result."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, slope: float) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.slope = slope
        result = _ops.leaky_relu(values, slope) if slope else values.relu()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        if gradient is None:
            return None, None
        (result,) = ctx.saved_tensors
        return _BentBack.apply(gradient, result, ctx.slope), None  # type: ignore[no-untyped-call]


class _BentBack(torch.autograd.Function):
    """A gradient times the slope, 1 or ``slope``; its own adjoint."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, result: Tensor, slope: float) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.slope = slope
        ctx.save_for_backward(result)
        return _ops.leaky_relu_backward(gradient, result, slope, True)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        if gradient is None:
            return None, None, None
        (result,) = ctx.saved_tensors
        return _BentBack.apply(gradient, result, ctx.slope), None, None  # type: ignore[no-untyped-call]


class _Pooled(torch.autograd.Function):
    """Means over windows."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, how: tuple[Any, ...]) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.how = how
        ctx.save_for_backward(values)
        return _ops.avg_pool2d(values, *how)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        if gradient is None:
            return None, None
        (values,) = ctx.saved_tensors
        return _PooledBack.apply(gradient, values, ctx.how), None  # type: ignore[no-untyped-call]


class _PooledBack(torch.autograd.Function):
    """The adjoint of :class:`_Pooled`, which needs only the shape of what was pooled."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, values: Tensor, how: tuple[Any, ...]) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.how = how
        return _ops.avg_pool2d_backward(gradient, values, *how)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        if gradient is None:
            return None, None, None
        return _Pooled.apply(gradient, ctx.how), None, None  # type: ignore[no-untyped-call]


_RULES: dict[Any, Callable[..., Tensor]] = {
    F.relu: _relu,
    F.leaky_relu: _leaky_relu,
    F.avg_pool2d: _avg_pool2d,
}
