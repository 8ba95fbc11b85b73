"""The numbers of :mod:`limner.noise`, computed where the images are: for noise on every pixel, numpy would be too slow.

The words are the same ones, bit for bit. Normals are computed from them in the images' own precision, so they agree with
:func:`limner.noise.normal` up to rounding.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from limner.noise import Stream

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


def words(seed: int, stream: Stream, indices: Int[Tensor, " b"], first: int, count: int) -> Int[Tensor, "4 b count"]:
    """Blocks of four 32-bit words (Philox-4x32-10, see :mod:`limner.noise`) as int64: word, sample, block.

    Args:
        seed: 0 to 2**64 - 1.
        stream: what the numbers are for.
        indices: global sample indices, int64.
        first: the first block.
        count: how many blocks; ``first + count`` is at most 2**32.
    """
    # A product of two 32-bit words may pass 2**63 and turn negative; its 64 bits are right all the same, and the mask takes off
    # the sign that shifting to the right brings in.
    c0 = torch.arange(first, first + count, device=indices.device)[None]
    c1, c2 = (indices & _LOW)[:, None], ((indices >> 32) & _LOW)[:, None]
    c3 = torch.full_like(c1[:1], int(stream))
    k0, k1 = seed & _LOW, seed >> 32
    for turn in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        if turn < 2:  # not all have the full shape [b, count] yet
            c0, c2 = (p1 >> 32 ^ c1 ^ k0) & _LOW, (p0 >> 32 ^ c3 ^ k1) & _LOW
        else:
            c0 = (p1 >> 32).bitwise_xor_(c1).bitwise_xor_(k0).bitwise_and_(_LOW)
            c2 = (p0 >> 32).bitwise_xor_(c3).bitwise_xor_(k1).bitwise_and_(_LOW)
        c1, c3 = p1.bitwise_and_(_LOW), p0.bitwise_and_(_LOW)
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return torch.stack([c0, c1, c2, c3])


def normals(
    seed: int, stream: Stream, indices: Int[Tensor, " b"], first: int, count: int, dtype: torch.dtype
) -> Float[Tensor, "b count"]:
    """``count`` standard normal numbers for each sample, by Box and Muller.

    Args:
        seed, stream, indices, first: see :func:`words`.
        count: how many numbers; each block gives four.
        dtype: float32 or float64.
    """
    drawn = words(seed, stream, indices, first, -(-count // 4)).to(dtype).add_(0.5)
    radius = drawn[0::2].mul(2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = drawn[1::2].mul_(2.0 * math.pi * 2.0**-32)
    result = torch.empty(*radius.shape[1:], 2, 2, dtype=dtype, device=indices.device)  # [b, blocks, pair, cos or sin]
    for pair in range(2):
        torch.mul(radius[pair], angle[pair].cos(), out=result[:, :, pair, 0])
        torch.mul(radius[pair], angle[pair].sin(), out=result[:, :, pair, 1])
    return result.flatten(1)[:, :count]
