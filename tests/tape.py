"""A stand-in for a CUDA graph on the CPU: it remembers every operation with its tensors, and plays them in fixed memory.

As with a graph, nothing of Python runs when it is played: a number that came from the host while it was recorded stays what it
was, and every result lies where it lay then. What would have to wait for a device is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from limner.training.turns import Measures

Play = Callable[[], None]

WAITS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default}


class _Listen(TorchDispatchMode):
    def __init__(self, done: list[tuple[Any, Any, Any, list[Tensor | None]]]) -> None:
        super().__init__()
        self._done = done

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITS:
            raise RuntimeError(f"{func} waits for the device")
        # As they are at this moment: an operation in place may give a tensor another shape later.
        given = tree_map_only(Tensor, Tensor.detach, (args, kwargs or {}))
        result = func(*args, **(kwargs or {}))
        taken = {leaf.untyped_storage().data_ptr() for leaf in _tensors(given)}
        # What shares memory with an argument is a view of it or was changed in place, and needs no copy.
        made = [one.detach() if one.untyped_storage().data_ptr() not in taken else None for one in _tensors(result)]
        if not func.is_view and torch.Tag.inplace_view not in func.tags:
            self._done.append((func, *given, made))
        return result


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


class Tape:
    """Records work on the CPU; ``played`` counts how often something was played."""

    def __init__(self) -> None:
        self.played = 0

    def __call__(self, work: Callable[[], Measures]) -> tuple[Callable[[], None], Measures]:
        done: list[tuple[Any, Any, Any, list[Tensor | None]]] = []
        with _Listen(done):
            measures = work()

        @torch.no_grad()
        def play() -> None:
            self.played += 1
            for func, args, kwargs, new in done:
                result = func(*args, **kwargs)
                for own, found in zip(new, _tensors(result), strict=True):
                    if own is not None:
                        own.copy_(found)

        return play, measures
