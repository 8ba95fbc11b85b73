"""Generators as files that travel: safetensors for PyTorch, ONNX for everything else. Each is checked before it is written."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from limner.errors import InputError
from limner.films import write
from limner.generator import FORMAT as GENERATOR_FORMAT
from limner.generator import TrainedGenerator, load
from limner.sharing.facts import FORMAT, facts
from limner.sharing.folding import fold_batch_norms, straighten_bases
from limner.sharing.loading import is_onnx
from limner.sharing.onnx_generator import OnnxGenerator, import_onnxruntime
from limner.sharing.onnx_writer import LARGEST_HALF, OPSET, facts_bytes, import_onnx, onnx_bytes, with_pixels
from limner.sharing.parity import Parity, compare, refuse_broken
from limner.sharing.tracing import trace


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: where it is.
        bytes: its length.
        opset: of the ONNX standard; ``None`` for safetensors.
        parity: how far its pictures are from PyTorch's.
        half: its weights are stored as float16.
        pixels: it makes uint8 pixels [b, h, w, c] instead of images in [-1, 1].
    """

    path: Path
    bytes: int
    opset: int | None
    parity: Parity
    half: bool
    pixels: bool

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "path": str(self.path)}


def check_export(path: Path, pixels: bool = False) -> None:
    """Find out before the work begins whether a generator can be written under that name.

    Raises:
        InputError: the name ends in neither ``.onnx`` nor ``.safetensors``, a package is missing, or it is a directory.
    """
    kind = path.suffix.lower()
    if kind not in (".onnx", ".safetensors"):
        raise InputError(f"--out {path}: must end in .onnx or .safetensors")
    if path.is_dir():
        raise InputError(f"--out {path}: is a directory")
    if kind == ".onnx":
        import_onnx()
        import_onnxruntime()
    elif pixels:
        raise InputError("--pixels: only ONNX has the arithmetic in it; leave it out, or ask for an .onnx")


def load_trained(source: str | Path, at: str = "newest") -> TrainedGenerator:
    """The generator that is to be exported (see :func:`limner.generator.load`).

    Raises:
        InputError: there is none, or it is exported already.
    """
    if is_onnx(source):
        raise InputError(f"{source}: is exported already; take the run or the .safetensors that it came from")
    return load(source, at=at)


def export_generator(
    generator: TrainedGenerator,
    path: str | Path,
    *,
    half: bool = False,
    pixels: bool = False,
    licence: str | None = None,
) -> Exported:
    """Write a generator as its file's name asks for (see :func:`export_onnx` and :func:`export_safetensors`).

    Raises:
        InputError: see :func:`check_export`.
    """
    check_export(Path(path), pixels)
    if Path(path).suffix.lower() == ".onnx":
        return export_onnx(generator, path, half=half, pixels=pixels, licence=licence)
    return export_safetensors(generator, path, half=half, licence=licence)


def export_onnx(
    generator: TrainedGenerator,
    path: str | Path,
    *,
    half: bool = False,
    pixels: bool = False,
    licence: str | None = None,
) -> Exported:
    """Write a generator as ONNX: float32 ``z`` [batch, latent] to float32 ``images`` [batch, c, h, w] in [-1, 1].

    With classes it takes int64 ``labels`` [batch] too. The file appears only if onnxruntime draws the same pictures
    from it as PyTorch does.

    Args:
        generator: what :func:`limner.load` gave.
        path: where to.
        half: store weights as float16: half the size. They become float32 before anything is computed.
        pixels: make uint8 ``pixels`` [batch, h, w, c] instead, as :func:`limner.imaging.to_uint8` would.
        licence: what its owner says of who may use it.

    Raises:
        InputError: a package is missing, or the file cannot be written.
        NotExportable: the network does something that export does not know.
        NotEqual: its pictures differ from PyTorch's.
    """
    onnxruntime = import_onnxruntime()
    refuse_broken(generator)
    described = {"format": FORMAT, **facts(generator, licence), "half": json.dumps(half)}
    image = generator.recipe.image
    shape = (image.channels or 0, image.height or 0, image.width or 0)
    graph = trace(generator.network, generator.latent, len(generator.classes))
    straighten_bases(graph)
    fold_batch_norms(graph)
    if pixels:
        graph = with_pixels(graph)
    content = onnx_bytes(graph, generator.latent, shape, described, half=half)
    compared = f"onnxruntime {onnxruntime.__version__} with torch {torch.__version__}"
    ran = OnnxGenerator.from_bytes(content, str(path))
    parity = compare(generator, ran.run, compared, half=half, pixels=pixels)
    content += facts_bytes({"parity": json.dumps(parity.values())})
    write(Path(path), content)
    return Exported(Path(path), len(content), OPSET, parity, half, pixels)


def export_safetensors(
    generator: TrainedGenerator, path: str | Path, *, half: bool = False, licence: str | None = None
) -> Exported:
    """Write a generator's weights, which :func:`limner.load` reads; it appears only if they draw the same pictures.

    Args:
        generator: what :func:`limner.load` gave.
        path: where to.
        half: store weights of two axes and more as float16; statistics and offsets stay as they are.
        licence: what its owner says of who may use it.

    Raises:
        InputError: a weight is too large for float16, or the file cannot be written.
        NotEqual: its pictures differ.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.network.state_dict().items()}
    for name, tensor in tensors.items():
        if half and tensor.is_floating_point() and tensor.ndim > 1:
            if not tensor.abs().max() <= LARGEST_HALF:
                raise InputError(f"--half: {name} has weights that float16 cannot hold; export without it")
            tensors[name] = tensor.half()
    refuse_broken(generator)
    described = {"format": GENERATOR_FORMAT, **facts(generator, licence), "half": json.dumps(half)}
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder, "trial.safetensors")
        trial.write_bytes(save(tensors, described))
        again = load(trial)

    def drawn(latents: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        known = () if labels is None else (torch.from_numpy(labels),)
        with torch.inference_mode():
            return np.asarray(again.network(torch.from_numpy(latents), *known).numpy())

    parity = compare(generator, drawn, "the file's weights with the run's", half=half, pixels=False)
    content = save(tensors, {**described, "parity": json.dumps(parity.values())})
    write(Path(path), content)
    return Exported(Path(path), len(content), None, parity, half, False)
