"""The machine that is measured on: what it is called, and what it can do at its best."""

from __future__ import annotations

import os
import platform
import re
import time
from typing import Any

import torch

from limner.device import environment, processor_name
from limner.doctor import product_rate

PRODUCT = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the products."""
COPIED = {"cpu": 1 << 27, "cuda": 1 << 30}
"""Bytes of a copy: more than any cache holds."""


def slug(device: torch.device) -> str:
    """A name for the machine from processor, cores and device: letters, digits and hyphens, and nothing that tells
    whose it is."""
    words = [re.sub(r"\((r|tm|c)\)", "", processor_name(), flags=re.IGNORECASE), f"{os.cpu_count()} cores"]
    if device.type == "cuda":
        words.append(torch.cuda.get_device_name(device))
    name = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")
    return re.sub(r"-(cpu|processor)(?=-|$)", "", name)


def described(device: torch.device) -> dict[str, Any]:
    """What figures depend on: versions, processor, threads."""
    facts = environment(device, "")
    return {
        key: facts[key] for key in ("limner", "python", "torch", "processor", "cores", "threads", "device_name")
    } | {
        "system": platform.system(),
        "kernel": platform.release().split("-")[0],
    }


def synchronise(device: torch.device) -> None:
    """Wait for what a device still does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def limits(device: torch.device, tiny: bool = False) -> dict[str, float]:
    """What the machine can do now: matrix products in GFLOP/s (two operations a multiply-add), a copy of memory in
    GB/s.

    A copy of n bytes reads n and writes n, and counts n.
    """
    size = 256 if tiny else PRODUCT[device.type]
    return {
        "float32": product_rate(torch.float32, device, size),
        "bfloat16": product_rate(torch.bfloat16, device, size),
        "copy": copy_rate(device, (1 << 20) if tiny else COPIED[device.type]),
    }


def copy_rate(device: torch.device, size: int) -> float:
    """The best of a few copies of ``size`` bytes within a device's memory, in GB/s."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(5):
        synchronise(device)
        began = time.perf_counter()
        target.copy_(source)
        synchronise(device)
        best = min(best, time.perf_counter() - began)
    return size / best / 1e9
