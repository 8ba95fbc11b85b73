"""What a machine has for training: what to send along with a question."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from importlib.util import find_spec
from typing import Any

import torch

from limner.data.store import cache_root
from limner.device import choose_device, choose_precision, processor_name
from limner.version import __version__

EXTRAS = {"export": "onnxruntime", "hdf5": "h5py", "hub": "datasets", "video": "av"}


def examine() -> dict[str, Any]:
    """Facts by name, in an order for reading."""
    device = choose_device("auto")
    root = cache_root()
    existing = next(path for path in (root, *root.parents) if path.exists())
    return {
        "limner": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "torch": torch.__version__,
        "system": platform.platform(),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "memory": _memory(),
        "cuda": _cuda(),
        "mps": torch.backends.mps.is_available(),
        "device": str(device),
        "precision": choose_precision("auto", device),
        "float32": f"{product_rate(torch.float32, device):,.0f} GFLOP/s",
        "bfloat16": f"{product_rate(torch.bfloat16, device):,.0f} GFLOP/s",
        "cache": f"{root} ({shutil.disk_usage(existing).free / 1e9:,.0f} GB free)",
        **{f"[{extra}]": "yes" if find_spec(module) else f"no: pip install 'limner[{extra}]'"
           for extra, module in EXTRAS.items()},
    }  # fmt: skip


def _memory() -> str:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            facts = dict(line.split(":") for line in file)
        return f"{int(facts['MemTotal'].split()[0]) / 1e6:,.1f} GB, {int(facts['MemAvailable'].split()[0]) / 1e6:,.1f} free"
    except (OSError, KeyError, ValueError):
        return "unknown"


def _cuda() -> str:
    if not torch.cuda.is_available():
        return "no"
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return ", ".join(f"{device.name} ({device.total_memory / 1e9:,.0f} GB)" for device in found)


def product_rate(dtype: torch.dtype, device: torch.device, size: int | None = None) -> float:
    """The best of a few matrix products, in GFLOP/s: about what the processor can do.

    Args:
        dtype: of both factors and the product.
        device: where.
        size: rows and columns; by default 1024 on a CPU and 8192 elsewhere.
    """
    size = size or (1024 if device.type == "cpu" else 8192)
    left = torch.randn(size, size, device=device).to(dtype)
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        (left @ left)[0, 0].item()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9
