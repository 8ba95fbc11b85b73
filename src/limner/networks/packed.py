"""Batch normalisation of few channels on a processor: several pixels side by side fill a vector register.

In channels_last order, torch's own is slow where the channels are no multiple of 16: 8 maps of 256x256 and a batch of 8 took it
nine times as long as 16 maps of 181x181, which are as many numbers. Here a row holds the channels of
so many pixels that they fill whole registers; sums over rows are folded to sums over channels at the end.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

REGISTER = 16
"""Channels at a time that torch's own code likes: float32 numbers in 512 bits."""
ROW = 1024
"""Numbers in a row, at most: sums over rows are quicker, and more exact, where there are fewer of them."""
WORTH = 1 << 17
"""Numbers from which on it is worth the calls."""


def suits(features: Float[Tensor, "b c h w"]) -> bool:
    """Whether these are features that torch's own takes long for."""
    if features.device.type != "cpu" or features.dtype != torch.float32 or features.numel() < WORTH:
        return False
    narrow = features.shape[1] % REGISTER != 0
    return narrow and _row(features) > 0 and features.is_contiguous(memory_format=torch.channels_last)


def batch_norm(
    features: Float[Tensor, "b c h w"], weight: Float[Tensor, " c"], bias: Float[Tensor, " c"], eps: float
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Batch normalisation in training (Ioffe and Szegedy 2015, algorithm 1) of features that it suits (:func:`suits`).

    Args:
        features: in channels_last order.
        weight, bias: of each channel, afterwards.
        eps: added to the variance.

    Returns:
        what :func:`torch.nn.functional.batch_norm` makes of them, each channel's mean, and its variance (by the count).
    """
    normalised, mean, variance = _Packed.apply(features, weight, bias, eps)  # type: ignore[no-untyped-call]
    return normalised, mean, variance


def _row(features: Float[Tensor, "b c h w"]) -> int:
    """The numbers of so many pixels that they fill registers, and rows of about :data:`ROW`; 0 where none do."""
    channels = features.shape[1]
    pixels = features.numel() // channels
    together = REGISTER // gcd(channels, REGISTER)
    if pixels % together:
        return 0
    while 2 * together * channels <= ROW and pixels % (2 * together) == 0:
        together *= 2
    return together * channels


def _rows(values: Float[Tensor, "b c h w"]) -> Float[Tensor, "m row"]:
    return values.permute(0, 2, 3, 1).view(-1, _row(values))


def _channels(sums: Float[Tensor, " row"], channels: int) -> Float[Tensor, " c"]:
    return sums.view(-1, channels).sum(0)


class _Packed(torch.autograd.Function):
    """Both passes over rows. Asked for a gradient of its gradient, it leaves that to torch's own."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        rows, channels = _rows(features), features.shape[1]
        repeat, count = rows.shape[1] // channels, features.numel() // channels
        mean = _channels(rows.sum(0), channels) / count
        centred = rows - mean.repeat(repeat)
        variance = _channels((centred * centred).sum(0), channels) / count
        scale = torch.rsqrt(variance + eps)
        result = torch.empty_like(features)  # not a view of rows: activations write into it
        torch.addcmul(bias.repeat(repeat), centred, (scale * weight).repeat(repeat), out=_rows(result))
        ctx.save_for_backward(features, weight, bias, mean, scale)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return result, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, bias, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():
            again = F.batch_norm(features, None, None, weight, bias, True, eps=ctx.eps)
            asked = [
                one if need else None for one, need in zip((features, weight, bias), ctx.needs_input_grad, strict=False)
            ]
            found = iter(
                torch.autograd.grad(again, [one for one in asked if one is not None], gradient, create_graph=True)
            )
            return *(None if one is None else next(found) for one in asked), None
        given = _rows(gradient.contiguous(memory_format=torch.channels_last))
        rows, channels = _rows(features), features.shape[1]
        repeat, count = rows.shape[1] // channels, features.numel() // channels
        normal = (rows - mean.repeat(repeat)).mul_(scale.repeat(repeat))
        for_bias = _channels(given.sum(0), channels)
        for_weight = _channels((given * normal).sum(0), channels)
        # dx = weight * scale * (dy - mean(dy) - normal * mean(dy * normal))
        factor = weight * scale
        less, turn = -factor * for_bias / count, -factor * for_weight / count
        result = torch.empty_like(features)
        torch.addcmul(less.repeat(repeat), normal, turn.repeat(repeat), out=_rows(result))
        _rows(result).addcmul_(given, factor.repeat(repeat))
        return result, for_weight, for_bias, None
