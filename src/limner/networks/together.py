"""Several processes that train one pair of networks: what a network has to know of them.

Each process computes a share of every batch. Where a layer looks at several images together (batch normalisation, the
deviation of ``fewshot``), it has to see the images of all processes, and so must its gradient, and the gradient of that. All
of this comes down to one operation, the sum over all processes: its derivative is itself, whatever the order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from limner.errors import LimnerError

ADVICE = "the newest checkpoint is safe: go on with 'limner resume', on as many processes as you like"


class Lost(LimnerError):
    """Another process of the training cannot be reached any more."""


class Gathered(NamedTuple):
    """What all processes have, one after the other in their order.

    Attributes:
        everything: [all, ...].
        mine: where this process's own part is.
    """

    everything: Tensor
    mine: slice


@dataclass(frozen=True)
class Together:
    """This process among those that train together. By itself it costs nothing and asks nobody.

    Every process has to call the same methods in the same order, with tensors of the same shapes (but for the length of
    :meth:`gather`).

    Attributes:
        rank: this process's number, from 0 on.
        size: how many there are.
        even: whether all have equally many images of each batch, and of each part of one.
    """

    rank: int = 0
    size: int = 1
    even: bool = False

    def share(self, numbers: range) -> range:
        """Which of some numbers are this process's: one piece; the pieces' lengths differ by one at most."""
        count = len(numbers)
        return numbers[self.rank * count // self.size : (self.rank + 1) * count // self.size]

    def total(self, values: Tensor) -> Tensor:
        """The sum of every process's values, on each of them; differentiable any number of times."""
        return values if self.size == 1 else _total(values)

    def gather(self, values: Float[Tensor, "b ..."]) -> Gathered:
        """Every process's rows, on each of them; differentiable any number of times.

        Each process puts its rows into zeros at the place of its own, and all is added up: exact, and one operation for all.
        """
        if self.size == 1:
            return Gathered(values, slice(0, len(values)))
        counts = [len(values)] * self.size if self.even else self._counts(len(values))
        first = sum(counts[: self.rank])
        mine = slice(first, first + len(values))
        padded = torch.cat(
            [
                values.new_zeros(first, *values.shape[1:]),
                values,
                values.new_zeros(sum(counts) - mine.stop, *values.shape[1:]),
            ]
        )
        return Gathered(self.total(padded), mine)

    def _counts(self, count: int) -> list[int]:
        """How many rows each process has. On the processor, so that a GPU need not be waited for."""
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = count
        return [int(number) for number in add_up(counts)]

    def first(self, number: float) -> float:
        """The first process's number, on each of them: for what was measured, or follows from a clock."""
        if self.size == 1:
            return number
        return float(add_up(torch.tensor(number if self.rank == 0 else 0.0, dtype=torch.float64)))

    @torch.no_grad()
    def sum_gradients(self, network: nn.Module, numbers: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Add up every process's gradients of a network, and some numbers besides, in one message.

        Args:
            network: its parameters' gradients become those of all processes' images.
            numbers: to be added up as well, in the gradients' own precision.
        """
        if self.size == 1:
            return numbers
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        message = torch.cat([*(gradient.reshape(-1) for gradient in gradients), numbers.to(gradients[0])])
        sums = torch.split(add_up(message), [*map(Tensor.numel, gradients), len(numbers)])
        for gradient, summed in zip(gradients, sums, strict=False):
            gradient.copy_(summed.view(gradient.shape))
        return sums[-1].to(numbers.dtype)


ALONE = Together()
"""One process, which is all."""


def join(network: nn.Module, together: Together) -> None:
    """Tell every layer that looks at several images which processes have the others."""
    for module in network.modules():
        if hasattr(module, "together"):
            module.together = together  # type: ignore[assignment]


def add_up(values: Tensor) -> Tensor:
    """The sum over all processes, in place; the same bits on each of them.

    Raises:
        Lost: another process has gone.
    """
    with reaching():
        dist.all_reduce(values)
    return values


@contextmanager
def reaching() -> Iterator[None]:
    """Turn what torch says of a lost connection into one line.

    Raises:
        Lost: another process has gone.
    """
    try:
        yield
    except RuntimeError as error:
        # Torch begins with the place in its source, and goes on with advice of its own.
        found = re.match(r"(?:\[[^\]]*:\d+\] )?(.*?)(?:\. |$)", str(error).strip())
        why = (found[1] if found else "") or type(error).__name__
        raise Lost(f"a process of this training, its host or the network has gone ({why}); {ADVICE}") from error


class _Total(torch.autograd.Function):
    """y = sum of x over processes, on each: so dL/dx = sum of dL/dy over processes, where L is the sum of all losses."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return add_up(values.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _total(gradient)


def _total(values: Tensor) -> Tensor:
    summed: Tensor = _Total.apply(values)  # type: ignore[no-untyped-call]
    return summed
