"""Strided convolutions whose weight gradients, in bfloat16 on a processor, are matrix products.

A weight gradient is one product: of what came back, with the patches that the kernel saw. torch's own code for it (oneDNN)
runs at half the rate of the other two passes on processors with AVX512-BF16; as long as the patches stay in the cache, laying
them out and multiplying is faster (docs/benchmarks.md). In everything else these layers are torch's.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHANNELS = 128
"""On both sides, at least: with fewer, laying out the patches costs as much as it saves."""
PATCHES = 24 << 20
"""Bytes of patches, at most: of what is larger, little is still in the cache when it is multiplied."""

_ops = torch.ops.aten


class Conv2d(nn.Conv2d):
    """A convolution (see :class:`torch.nn.Conv2d`)."""

    def forward(self, input: Float[Tensor, "b c H W"]) -> Float[Tensor, "b k h w"]:
        """Features, by torch or with the other weight gradient."""
        return _convolved(self, input) if _suits(self, input) else super().forward(input)


class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution (see :class:`torch.nn.ConvTranspose2d`)."""

    def forward(
        self, input: Float[Tensor, "b c h w"], output_size: list[int] | None = None
    ) -> Float[Tensor, "b k H W"]:
        """Features, by torch or with the other weight gradient."""
        if output_size is None and _suits(self, input):
            return _convolved(self, input)
        return super().forward(input, output_size)


def weight_gradient(
    small: Float[Tensor, "b k h w"],
    large: Float[Tensor, "b c H W"],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Float[Tensor, "k c y x"]:
    """The gradient of a convolution's weights, from ``large`` to ``small``; of a transposed one's, from ``small`` to ``large``.

    Args:
        small: what comes back for the convolution's output, or the transposed one's input.
        large: the convolution's input, or what comes back for the transposed one's output.
        kernel, stride, padding: vertically and horizontally.
    """
    count, channels, height, width = small.shape
    (down, across), (tall, wide) = padding, kernel
    rows = F.pad(large.permute(0, 2, 3, 1), (0, 0, across, across, down, down))
    by_picture, by_row, by_pixel, by_channel = rows.stride()
    patches = rows.as_strided(
        (count, height, width, tall, wide, large.shape[1]),
        (by_picture, stride[0] * by_row, stride[1] * by_pixel, by_row, by_pixel, by_channel),
    ).reshape(count * height * width, -1)
    found = small.permute(0, 2, 3, 1).reshape(-1, channels).t() @ patches
    return found.view(channels, tall, wide, -1).permute(0, 3, 1, 2)


@lru_cache(maxsize=1)
def _pays() -> bool:
    """Whether this processor is one of those on which it was measured to be faster: not by measuring it now, because what
    an update computes must not depend on what else the machine does."""
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16")) and not known.get("amx_bf16")


def _suits(layer: nn.Conv2d | nn.ConvTranspose2d, features: Tensor) -> bool:
    if features.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or not torch.is_grad_enabled():
        return False
    strided = (
        max(layer.stride) > 1 and layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    )
    if not strided or isinstance(layer.padding, str) or set(layer.output_padding) != {0}:
        return False
    if min(layer.in_channels, layer.out_channels) < CHANNELS or torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return False
    if not layer.weight.requires_grad or not _pays():
        return False
    if layer.transposed:
        positions, channels = features.numel() // layer.in_channels, layer.out_channels
    else:
        positions, channels = features.numel() // layer.in_channels // prod(layer.stride), layer.in_channels
    return 2 * positions * channels * prod(layer.kernel_size) <= PATCHES


def _convolved(layer: nn.Conv2d | nn.ConvTranspose2d, features: Tensor) -> Tensor:
    how = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.transposed, [0, 0], 1)
    result: Tensor = _Convolved.apply(features.to(torch.bfloat16), layer.weight, layer.bias, how)  # type: ignore[no-untyped-call]
    return result


class _Convolved(torch.autograd.Function):
    """A convolution in bfloat16 with weights in float32, as autocast does it."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]) -> Tensor:
        rounded = weight.to(torch.bfloat16)
        ctx.how, ctx.biased = how, bias is not None
        ctx.save_for_backward(features, rounded)
        own = None if bias is None else bias.to(torch.bfloat16)
        return _ops.convolution(features, rounded, own, *how)  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        for_features = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_features = _ops.convolution_backward(gradient, features, weight, None, *ctx.how, [True, False, False])[
                0
            ]
        if ctx.needs_input_grad[1]:
            stride, padding, _, transposed, *_ = ctx.how
            small, large = (features, gradient) if transposed else (gradient, features)
            for_weight = weight_gradient(small, large, weight.shape[2:], stride, padding).float()
        if ctx.biased and ctx.needs_input_grad[2]:
            for_bias = gradient.float().sum((0, 2, 3))
        return for_features, for_weight, for_bias, None
