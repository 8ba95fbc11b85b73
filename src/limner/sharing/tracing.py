"""A network as a :class:`~limner.sharing.graph.Graph`: it is called once, and what it calls of torch is written down.

The call is made on torch's ``meta`` device, where tensors have shapes and no numbers, so it costs next to nothing; and at the
level of ``torch.nn.functional``, where each call is one operation of the ONNX standard or a few. A module in eval mode makes
the same calls every time, whatever it is called with, so the list is all there is to the network: no loops, no branches,
nothing of its training. What a family calls that is not known is refused by name (:mod:`limner.sharing.operations`).

The batch is recognised by its length, a number that no other size has.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from limner.sharing.graph import Graph, Node
from limner.sharing.operations import OPERATIONS, Call, NotExportable
from limner.sharing.shapes import BATCH

__all__ = ["NotExportable", "trace"]


def trace(network: nn.Module, latent: int, classes: int) -> Graph:
    """What a generator does, as a graph from ``z`` (and ``labels``) to images.

    Args:
        network: in eval mode; it is not changed.
        latent: length of its latent vectors.
        classes: how many classes it knows; 0 for none.

    Raises:
        NotExportable: it calls something that is not in :data:`OPERATIONS`.
    """
    plain = copy.deepcopy(network).cpu().float().eval()
    outline = copy.deepcopy(plain).to("meta")
    tracer = _Tracer()
    z = torch.empty(BATCH, latent, device="meta")
    labels = (torch.empty(BATCH, dtype=torch.int64, device="meta"),) if classes else ()
    tracer.know(z, "z")
    for tensor in labels:
        tracer.know(tensor, "labels")
    with torch.no_grad():
        values = dict(_tensors(plain))
    # Weights that follow from others (spectral normalisation) are computed once, and are plain numbers from then on. The cache
    # takes copies of a network for one another, so it is not yet there for the values.
    with torch.no_grad(), parametrize.cached():
        for name, tensor in _tensors(outline):
            tracer.graph.constants[name] = values[name].detach().contiguous().numpy()
            tracer.know(tensor, name)
        with tracer:
            images = outline(z, *labels)
    tracer.graph.output = tracer.name(images)
    tracer.graph.classes = bool(classes)
    tracer.graph.drop_unused()
    return tracer.graph


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that a network keeps, or computes from those alone, by name."""
    for path, module in network.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        computed = [*module.parametrizations] if parametrize.is_parametrized(module) else []
        for name, tensor in [*own, *((name, getattr(module, name)) for name in computed)]:
            yield f"{path}.{name}" if path else name, tensor


class _Tracer(TorchFunctionMode):
    """Writes down the calls that are made while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = Graph()
        self._names: dict[int, str] = {}
        self._alive: list[Tensor] = []  # an id is a tensor's own only as long as the tensor is there

    def know(self, tensor: Tensor, name: str) -> None:
        """Give a tensor a name."""
        self._names[id(tensor)] = name
        self._alive.append(tensor)
        self.graph.shapes[name] = [None if size == BATCH else size for size in tensor.shape]

    def name(self, value: Any) -> str:
        """The name of a tensor, or of a number as a constant.

        Raises:
            NotExportable: the tensor came from a call that was not seen.
        """
        if isinstance(value, Tensor):
            if id(value) not in self._names:
                raise NotExportable("the network takes a tensor that is neither a weight nor computed from its inputs")
            return self._names[id(value)]
        return self.graph.constant(np.float32(value), "number")

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """One more operation; returns the name of what it makes. An input "" is left out."""
        output = self.graph.fresh(op.lower())
        self.graph.nodes.append(Node(op, [*inputs], output, attributes))
        self.graph.shapes[output] = []
        return output

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not isinstance(result, Tensor):
            return result
        called = getattr(func, "__name__", str(func)).strip("_")
        operation = OPERATIONS.get(called)
        if operation is None:
            known = ", ".join(sorted(OPERATIONS))
            raise NotExportable(f"the network calls torch's {called}, which export does not know; it knows {known}")
        self.know(result, operation(Call(self, result), *args, **(kwargs or {})))
        return result
