"""Where and in what precision to compute."""

from __future__ import annotations

import gc
import os
import platform
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from limner.errors import InputError
from limner.version import __version__

BFLOAT16_GAIN = 1.2
"""bfloat16 is worth its rounding when its matrix products are faster by this."""
PRODUCTS = 12
"""Measured of each kind, the quickest counts: a few hundredths of a second in all."""

_SHORTAGE = re.compile(
    r"out of memory|(can't|cannot) allocate|not enough memory|bad_alloc|ALLOC_FAILED"
    r"|could not (create|execute) a (primitive|memory)",  # oneDNN, whose convolutions have worked before
    re.IGNORECASE,
)
"""What torch, its libraries and the C++ standard library say, in errors that have no class of their own."""

Autocast = Callable[[], AbstractContextManager[object]]


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name}: must be auto, cpu, mps, cuda or cuda:N") from None
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise InputError(f"device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"device {name}: this machine has no MPS; use --device cpu")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """``float32``, ``bfloat16`` or ``float64``; ``auto`` takes bfloat16 where it is faster.

    Raises:
        InputError: the device cannot.
    """
    if name == "auto":
        return "bfloat16" if _bfloat16_is_faster(device) else "float32"
    if name == "float64" and device.type == "mps":
        raise InputError("precision float64: MPS has none; use --device cpu or another precision")
    return name


def autocast_for(precision: str, device: torch.device) -> Autocast:
    """What forward passes run under: autocast for bfloat16, nothing otherwise."""
    if precision == "bfloat16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext


def parameter_type(precision: str) -> torch.dtype:
    """What weights are kept in: float32, or float64 when asked for."""
    return torch.float64 if precision == "float64" else torch.float32


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Values from main memory on a device, without waiting for what the device still has to do."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()  # from ordinary memory, the copy would wait
    return values.to(device, non_blocking=True)


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """What a run's numbers depend on: versions, device, threads, precision."""
    return {
        "limner": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        "precision": precision,
    }


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that were freed instead of returning them to the system.

    A training step frees and asks for the same activations over and over; returned to the system, each comes back as
    fresh pages that the kernel has to clear first. Elsewhere than on glibc this does nothing.
    """
    import ctypes

    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_SHORTAGE.search(str(error)))


def release_memory() -> None:
    """Give the system back what nobody uses any more."""
    import ctypes

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _bfloat16_is_faster(device: torch.device) -> bool:
    """Measured on a matrix product, because having the instructions does not mean that they are fast."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    kinds = {dtype: torch.ones(512, 512, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds = dict.fromkeys(kinds, float("inf"))
    # In turns: what else the machine does for a moment must not hit all the products of one kind.
    for _ in range(PRODUCTS):
        for dtype, left in kinds.items():
            started = time.perf_counter()
            left @ left
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - started)
    return seconds[torch.float32] > BFLOAT16_GAIN * seconds[torch.bfloat16]


def processor_name() -> str:
    """The processor, in the system's words."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
