"""Any trained generator, whatever it is kept in."""

from __future__ import annotations

from pathlib import Path

from limner.drawing import SeededGenerator
from limner.errors import InputError


def is_onnx(path: str | Path) -> bool:
    """Whether a path is that of an ONNX file, by its name."""
    return Path(path).suffix.lower() == ".onnx" and not Path(path).is_dir()


def load(path: str | Path, device: str = "cpu", at: str = "newest", precision: str = "float32") -> SeededGenerator:
    """A generator from a run directory, a checkpoint, a ``.safetensors`` file, or an ``.onnx`` file (which needs no torch).

    Args:
        path: where it is.
        device: where it draws: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto`` for a GPU where there is one. ONNX files
            are drawn on the CPU.
        at: which snapshot of a run directory: ``newest``, ``best``, or a number of images.
        precision: ``float32``, in which a seed's picture is the same everywhere; ``bfloat16``, which may be faster and differs
            from it by rounding; or ``auto`` for the faster one. ONNX files have their own.

    Raises:
        InputError: there is none, the file is damaged or of another program, or there is no such device or precision.
    """
    if is_onnx(path):
        if device not in ("auto", "cpu"):
            raise InputError(f"device {device}: ONNX files are drawn on the CPU here; leave --device out")
        if at != "newest":
            raise InputError(f"{path}: holds one snapshot, so there is no choosing (--at {at}); leave it out")
        if precision not in ("auto", "float32"):
            raise InputError(f"precision {precision}: ONNX files are drawn in their own; leave --precision out")
        from limner.sharing.onnx_generator import load as load_onnx

        return load_onnx(path)
    from limner.generator import load as load_torch

    return load_torch(path, device, at, precision)
