"""Convolutions, as a penalty on gradients differentiates them twice.

A penalty's gradient with respect to a weight is an ordinary weight gradient: of the convolution, with what comes back
for the inputs' gradient in place of the inputs. torch computes it as another convolution, whose kernel is as large as the
maps, after turning all of them in memory: no fast code is made for such kernels. Here it is what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ops = torch.ops.aten
_conv2d = F.conv2d


class TwiceDifferentiated(TorchFunctionMode):
    """While it is entered, :func:`torch.nn.functional.conv2d` is made for a gradient with respect to images, and a second
    one of something made of that.

    The first, with ``create_graph``, is of images alone: weights get nothing from it. The second is of weights alone:
    the images get nothing. That is what penalties ask for, and all that they pay for.

    Not for parts of a network that are computed again in the backward pass: by then it has been left. Nor under autocast,
    which does not reach into it.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return _convolved(*args, **kwargs) if func is _conv2d else func(*args, **kwargs)


def _convolved(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str) or input.dim() != 4:
        return _conv2d(input, weight, bias, stride, padding, dilation, groups)
    sides = ([one, one] if isinstance(one, int) else list(one) for one in (stride, padding, dilation))
    how = (*sides, False, [0, 0], groups)
    result: Tensor = _Convolved.apply(input, weight, bias, how)  # type: ignore[no-untyped-call]
    return result


class _Convolved(torch.autograd.Function):
    """A convolution."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.how, ctx.biased = how, bias is not None
        # The images themselves: what nobody asks a gradient of after the first one.
        ctx.images = images.is_leaf and not isinstance(images, torch.nn.Parameter)
        ctx.save_for_backward(images, weight)
        return _ops.convolution(images, weight, bias, *how)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        if gradient is None:
            return None, None, None, None
        images, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _InputGradient.apply(gradient, images, weight, ctx.how), None, None, None  # type: ignore[no-untyped-call]
        mask = [
            ctx.needs_input_grad[0] and not ctx.images,
            ctx.needs_input_grad[1],
            ctx.biased and ctx.needs_input_grad[2],
        ]
        sizes = [len(weight)] if ctx.biased else None
        return *_ops.convolution_backward(gradient, images, weight, sizes, *ctx.how, mask), None


class _InputGradient(torch.autograd.Function):
    """What a convolution sends back to its inputs: linear in the gradient and in the weight."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, images: Tensor, weight: Tensor, how: tuple[Any, ...]) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.how = how
        ctx.save_for_backward(gradient, weight)
        sent: Tensor = _ops.convolution_backward(gradient, images, weight, None, *how, [True, False, False])[0]
        return sent

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        (back,) = gradients
        if back is None:
            return None, None, None, None
        gradient, weight = ctx.saved_tensors
        for_gradient = _ops.convolution(back, weight, None, *ctx.how) if ctx.needs_input_grad[0] else None
        for_weight = None
        if ctx.needs_input_grad[2]:
            for_weight = _ops.convolution_backward(gradient, back, weight, None, *ctx.how, [False, True, False])[1]
        return for_gradient, None, for_weight, None
