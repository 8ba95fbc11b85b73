"""What a recipe's networks would be, without making them: shapes, numbers, and the memory that drawing takes.

Modules on torch's ``meta`` device have shapes and no numbers, so that a description that asks for a hundred gigabytes costs
nothing to look at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from limner.errors import InputError

_FLOATS = ("F64", "F32", "F16", "BF16")
_KINDS = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


LIGHT = 1 << 28
"""Bytes of weights up to which they are looked at on a processor: layers may copy theirs, or compute with them."""


class _Undrawn(TorchFunctionMode):
    """Leaves initial weights out. torch would import its compiler to draw numbers that are none: a second."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is Tensor.normal_ or getattr(function, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


@contextmanager
def outlines() -> Iterator[None]:
    """Modules that are made meanwhile have shapes and no numbers."""
    with torch.device("meta"), _Undrawn():
        yield


def physical_memory() -> int | None:
    """Bytes of memory that the machine has; ``None`` where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def check_room(generator: nn.Module, discriminator: nn.Module) -> None:
    """Find out whether a pair of outlines could be made at all.

    Raises:
        InputError: its weights alone would not fit into the machine.
    """
    count = sum(parameter.numel() for network in (generator, discriminator) for parameter in network.parameters())
    room = physical_memory()
    if room is not None and 4 * count > room:
        raise InputError(
            f"the recipe's networks would have {count:,} weights, {4 * count / 1e9:,.0f} GB, and this machine has"
            f" {room / 1e9:,.0f} GB of memory; lower generator.width and discriminator.width (or hidden)"
        )


def check_weights(network: nn.Module, found: Mapping[str, tuple[list[int], str]], where: str) -> None:
    """Find out whether a file's tensors are those of an outline, before any of them is read.

    Args:
        network: on the ``meta`` device.
        found: shape and type (as safetensors names it) of each tensor of the file, by name.
        where: the file, for the message.

    Raises:
        InputError: one is missing, too many, of another shape, or not of numbers.
    """
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in found:
            raise _unfit(where, f"{name} is missing")
        shape, kind = found[name]
        if list(tensor.shape) != shape:
            raise _unfit(where, f"{name} is {_sides(shape)} and should be {_sides(tensor.shape)}")
        if kind not in (_FLOATS if tensor.is_floating_point() else (_KINDS.get(tensor.dtype),)):
            raise _unfit(where, f"{name} is of type {kind[:20]}")
    extra = next((name for name in found if name not in wanted), None)
    if extra is not None:
        raise _unfit(where, f"{extra[:100]!r} belongs to no layer")


def _unfit(where: str, why: str) -> InputError:
    return InputError(f"{where}: its weights do not fit its recipe ({why})")


def _sides(shape: Any) -> str:
    return "x".join(map(str, list(shape)[:9])) or "a single number"


def drawing_bytes(network: nn.Module, latent: int, classes: int) -> int:
    """Bytes that drawing one picture takes beside the weights, about: the layer with most going in and coming out.

    Where it can, it draws no picture at all: a batch of none, with a single zero for all weights. Shapes are known then, and
    unlike on the ``meta`` device nothing of torch's compiler is imported for it, which takes longer than all else.

    Args:
        network: a generator on the ``meta`` device.
        latent: length of its latent vectors.
        classes: how many it knows; 0 for none.
    """
    state = network.state_dict()
    if sum(one.numel() * one.element_size() for one in state.values()) <= LIGHT:
        zeros = {name: torch.zeros((), dtype=one.dtype).expand(one.shape) for name, one in state.items()}
        try:
            return _largest_layer(network, zeros, torch.empty(0, latent), classes)
        except (RuntimeError, IndexError):  # some layers know no batch of none (torch's own instance normalisation)
            pass
    return _largest_layer(network, {}, torch.empty(1, latent, device="meta"), classes)


def _largest_layer(network: nn.Module, weights: dict[str, Tensor], z: Float[Tensor, "b z"], classes: int) -> int:
    """Bytes that go in and come out of the layer with most of both, for one picture."""
    most = 0

    def measure(_: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        nonlocal most
        values = [value for value in (*given, made) if isinstance(value, Tensor)]
        most = max(most, sum(prod(value.shape[1:]) * value.element_size() for value in values))

    hooks = [module.register_forward_hook(measure) for module in network.modules()]
    labels = (torch.zeros(len(z), dtype=torch.int64, device=z.device),) if classes else ()
    try:
        with torch.inference_mode():
            functional_call(network.eval(), weights, (z, *labels))
    finally:
        for hook in hooks:
            hook.remove()
    return most


def filled(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """An outline with weights: on the CPU, as float32. ``tensors`` were found to fit (:func:`check_weights`)."""
    kinds = {name: wanted.dtype for name, wanted in network.state_dict().items()}
    # Copies: what safetensors hands out may still lie in the file.
    own = {name: tensor.to("cpu", kinds[name], copy=True) for name, tensor in tensors.items()}
    network.load_state_dict(own, assign=True)
    return network
