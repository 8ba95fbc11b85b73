"""Images to feature vectors: what distances, precision and recall, and the search for copies are computed from.

An extractor is anything that has a name, a key and turns uint8 images into rows of numbers. ``limner`` is shipped and needs
nothing; ``inception`` is what the literature's FID is computed from; a TorchScript file or a Python function serve the rest.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import math
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn import functional

from limner.errors import InputError
from limner.judging.features.inception import (
    INCEPTION_BYTES,
    INCEPTION_DIMENSIONS,
    INCEPTION_SHA256,
    INCEPTION_URL,
    inception_path,
    sha256_of,
)
from limner.judging.features.inception import fetch_inception as fetch_inception
from limner.judging.features.network import load_network
from limner.tables import EXTRACTORS

Images = UInt8[np.ndarray, "n h w c"]
Features = Float32[np.ndarray, "n d"]

WEIGHTS = Path(__file__).with_name("weights") / "limner.safetensors"
PREPROCESSING = 1
"""Raised whenever the same image would give other features, so that nothing stale is taken from a cache."""
_SCRIPTS = (".pt", ".pth", ".ts", ".torchscript")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_SMALLEST, _LARGEST = 64, 128
_STEP, _SHORTEST, _LONGEST = 8, 16, 512
_BATCH = 128
_PIXELS = 1 << 24
"""Values of images in one batch at most, so that 1024 x 1024 pictures do not ask for gigabytes."""


class Extractor(Protocol):
    """Turns images into features.

    Attributes:
        name: for people.
        key: what features depend on beside the images: name, hash of the weights, version of the preparation. Letters,
            digits, ``.``, ``_`` and ``-`` only.
        dimensions: ``d``; ``None`` where it is only known after the first images.
    """

    name: str
    key: str
    dimensions: int | None

    def __call__(self, images: Images) -> Features:
        """Features of ``n >= 0`` images, each on its own: they do not depend on the others in the call.

        Args:
            images: uint8, 0 to 255; 1, 3 or 4 channels (grey, RGB, RGBA), of any size.

        Raises:
            InputError: they are no such images, or what came out is not one finite row for each.
        """


def open_extractor(
    spec: str | Path | Callable[[Images], Any], device: str | torch.device = "cpu", cache_dir: str | Path | None = None
) -> Extractor:
    """The extractor that is meant.

    Args:
        spec: ``limner``, ``inception`` (fetched before, see :func:`fetch_inception`), ``inception:FILE`` (the same network from
            a file), a TorchScript file, ``package.module:function``, or a function. Loading a TorchScript file or a module
            runs code that is in it.
        device: where networks compute.
        cache_dir: where ``inception`` was put (default: Limner's cache).

    Raises:
        InputError: no such name, file or function; the file is no TorchScript or is damaged; Inception was never fetched.
    """
    if isinstance(spec, Path):
        return _open_file(spec, torch.device(device))
    if not isinstance(spec, str):
        if not callable(spec):
            raise InputError(f"features {spec!r}: give a name, a file or a function")
        return FunctionExtractor(spec)
    if spec in EXTRACTORS:
        opened: Extractor = EXTRACTORS[spec].load()(torch.device(device), cache_dir)
        return opened
    if spec.startswith("inception:"):
        return InceptionExtractor(_existing(spec.partition(":")[2], spec), torch.device(device))
    if spec.lower().endswith(_SCRIPTS) or Path(spec).is_file():
        return _open_file(_existing(spec, spec), torch.device(device))
    if _FUNCTION.fullmatch(spec):
        return FunctionExtractor(_imported(spec), spec)
    near = difflib.get_close_matches(spec, list(EXTRACTORS), n=1, cutoff=0.6)
    hint = (
        f"did you mean {near[0]}?" if near else f"give {', '.join(EXTRACTORS)}, a TorchScript file or module:function"
    )
    raise InputError(f"features {spec!r}: no such extractor; {hint}")


def working_size(height: int, width: int) -> tuple[int, int]:
    """The size at which ``limner`` looks at images of a size: a function of the size alone.

    The geometric mean of the sides is brought into 64 to 128 pixels, the aspect is kept, and each side is rounded to a multiple
    of 8, between 16 and 512.
    """
    mean = math.sqrt(height * width)
    scale = min(max(mean, _SMALLEST), _LARGEST) / mean
    sides = (min(max(_STEP * round(side * scale / _STEP), _SHORTEST), _LONGEST) for side in (height, width))
    return next(sides), next(sides)


class LimnerExtractor:
    """The compact network that Limner ships (see ``docs/metrics.md``).

    Args:
        device: where it computes.
        weights: its file.

    Raises:
        InputError: the file cannot be used.
    """

    name = "limner"

    def __init__(self, device: torch.device | str = "cpu", weights: Path = WEIGHTS) -> None:
        self._device = torch.device(device)
        self._network = load_network(weights).to(self._device)
        self.key = f"limner-{sha256_of(weights)[:12]}-{PREPROCESSING}"
        self.dimensions: int | None = self._network.projection.shape[0]

    def __call__(self, images: Images) -> Features:
        """See :class:`Extractor`."""
        return _in_batches(images, self._features, self.name, self.dimensions)

    def _features(self, images: UInt8[Tensor, "b 3 h w"]) -> Float32[Tensor, "b d"]:
        size = working_size(*images.shape[2:])
        if size != tuple(images.shape[2:]):
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        values = images.to(self._device).float() / 127.5 - 1
        return self._network(values.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]


class ScriptExtractor:
    """A TorchScript file: float32 RGB images [b, 3, h, w] in [-1, 1] at their own size, to features [b, d].

    Args:
        path: the file.
        device: where it computes.

    Raises:
        InputError: it is no TorchScript.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.name = path.name
        self.key = f"script-{sha256_of(path)[:12]}-{PREPROCESSING}"
        self.dimensions: int | None = None
        self._module, self._device = _loaded(path, device), device

    def __call__(self, images: Images) -> Features:
        """See :class:`Extractor`."""
        found = _in_batches(images, self._features, self.name, self.dimensions)
        self.dimensions = found.shape[1] if len(found) else self.dimensions
        return found

    def _features(self, images: UInt8[Tensor, "b 3 h w"]) -> Any:
        return self._module(images.to(self._device).float() / 127.5 - 1)


class InceptionExtractor:
    """Inception-v3 as FID is defined with: the TorchScript file of the StyleGAN authors, or one with its interface.

    It is called with uint8 RGB images [b, 3, h, w] at their own size and ``return_features=True``, and resizes them itself
    in the manner of the original TensorFlow graph, so the result is comparable with published FIDs of that family.

    Args:
        path: the file.
        device: where it computes.

    Raises:
        InputError: it is no TorchScript.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        digest = sha256_of(path)
        self.published = digest == INCEPTION_SHA256
        self.name = "inception" if self.published else f"inception ({path.name}, not the published weights)"
        self.key = f"inception-{digest[:12]}-{PREPROCESSING}"
        self.dimensions: int | None = INCEPTION_DIMENSIONS if self.published else None
        self._module, self._device = _loaded(path, device), device

    def __call__(self, images: Images) -> Features:
        """See :class:`Extractor`."""
        found = _in_batches(images, self._features, self.name, self.dimensions, batch=32)
        self.dimensions = found.shape[1] if len(found) else self.dimensions
        return found

    def _features(self, images: UInt8[Tensor, "b 3 h w"]) -> Any:
        return self._module(images.to(self._device), return_features=True)


class FunctionExtractor:
    """A Python function of uint8 images [b, h, w, c], as they are stored, to features [b, d].

    Args:
        function: it; anything that numpy makes an array of may come back.
        spelling: ``module:function``, where it was named so.
    """

    def __init__(self, function: Callable[[Images], Any], spelling: str | None = None) -> None:
        self._function = function
        self.name = spelling or str(getattr(function, "__qualname__", type(function).__name__))
        self.key = f"function-{_code(function)[:12]}"
        self.dimensions: int | None = None

    def __call__(self, images: Images) -> Features:
        """See :class:`Extractor`."""
        _check_images(images)
        pieces: list[Features] = []
        for piece in _pieces(images, _BATCH):
            try:
                found = self._function(piece)
            except Exception as error:  # it is somebody else's code
                raise _failed(self.name, error) from error
            pieces.append(_checked(found, len(piece), self.name, self.dimensions))
            self.dimensions = pieces[-1].shape[1]
        return np.concatenate(pieces) if pieces else np.zeros((0, self.dimensions or 0), np.float32)


def open_limner(device: torch.device, cache_dir: str | Path | None = None) -> Extractor:
    """``limner``, for the table of extractors."""
    return LimnerExtractor(device)


def open_inception(device: torch.device, cache_dir: str | Path | None = None) -> Extractor:
    """``inception`` from the cache, for the table of extractors.

    Raises:
        InputError: it was never fetched, or what is there is not the published file.
    """
    path = inception_path(cache_dir)
    if not path.is_file():
        raise InputError(
            f"features inception: its weights are not here; add --download to fetch them once "
            f"({INCEPTION_BYTES / 1e6:.0f} MB), or get {INCEPTION_URL} and give --features inception:FILE"
        )
    extractor = InceptionExtractor(path, device)
    if not extractor.published:
        raise InputError(f"features inception: {path} is damaged (wrong SHA-256 sum); add --download to fetch it again")
    return extractor


def _open_file(path: Path, device: torch.device) -> Extractor:
    path = _existing(path, str(path))
    if path.stat().st_size == INCEPTION_BYTES and sha256_of(path) == INCEPTION_SHA256:
        return InceptionExtractor(path, device)  # whatever it is called here
    return ScriptExtractor(path, device)


def _existing(path: str | Path, spec: str) -> Path:
    with suppress(RuntimeError):  # nobody has such a home: then there is no such file
        path = Path(path).expanduser()
    if not Path(path).is_file():
        raise InputError(f"features {spec}: there is no file {path}; check the path")
    return Path(path)


def _loaded(path: Path, device: torch.device) -> Any:
    try:
        return torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
        raise InputError(
            f"features {path}: no TorchScript file ({why}); save the network with torch.jit.script(...).save(...)"
        ) from None


def _imported(spec: str) -> Callable[[Images], Any]:
    """What ``package.module:function`` names; the current folder is looked in last."""
    module, _, attribute = spec.partition(":")
    here = os.getcwd()
    sys.path.append(here)
    try:
        found: Any = importlib.import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
    except Exception as error:  # a module may do anything when it is imported
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"features {spec}: cannot be imported ({why}); check the name and where it is installed"
        ) from None
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise InputError(f"features {spec}: {attribute} is no function; name one that takes images [n, h, w, c]")
    return found  # type: ignore[no-any-return]


def _code(function: Any) -> str:
    """A hash of a function's source; where there is none, something that is never met again."""
    try:
        source = inspect.getsource(
            sys.modules[function.__module__] if "<locals>" not in function.__qualname__ else function
        )
    except (AttributeError, KeyError, OSError, TypeError):
        source = uuid.uuid4().hex
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    return hashlib.sha256(f"{name}\0{source}".encode()).hexdigest()


def _check_images(images: Images) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3, 4) or 0 in images.shape[1:]:
        raise InputError(
            f"features: {images.dtype} images of shape {list(images.shape)}; must be uint8 [n, h, w, c] with 1, 3 or 4 channels"
        )


def _pieces(images: Images, batch: int) -> Iterator[Images]:
    count = max(1, min(batch, _PIXELS // math.prod(images.shape[1:])))
    for start in range(0, len(images), count):
        yield np.array(images[start : start + count])  # a copy: they may be a read-only map of a file


@torch.inference_mode()
def _in_batches(
    images: Images, features: Callable[[Tensor], Any], name: str, dimensions: int | None, batch: int = _BATCH
) -> Features:
    """Features of RGB as they are, of grey as three equal channels, of RGBA as the mean over black and over white grounds.

    On one ground alone a colour could hide; on two, every transparency shows. What is opaque is the same on both.
    """
    _check_images(images)
    found: list[Features] = []
    for piece in _pieces(images, batch):
        count = len(piece)
        clear = np.zeros(0, dtype=np.int64)
        if piece.shape[3] == 4:
            clear = np.flatnonzero((piece[..., 3] < 255).reshape(count, -1).any(axis=1))
            piece = np.concatenate([_on(piece, 0), _on(piece[clear], 255)])
        shown = torch.from_numpy(np.ascontiguousarray(piece)).permute(0, 3, 1, 2)
        shown = shown.expand(-1, 3, -1, -1) if shown.shape[1] == 1 else shown
        try:
            values = features(shown)
        except Exception as error:  # it may be anybody's network; TorchScript has errors of its own
            raise _failed(name, error) from error
        values = values.float().cpu().numpy() if isinstance(values, Tensor) else values
        rows = _checked(values, len(piece), name, found[0].shape[1] if found else dimensions)
        rows, second = rows[:count], rows[count:]
        rows[clear] = (rows[clear] + second) / 2
        found.append(rows)
    return np.concatenate(found) if found else np.zeros((0, dimensions or 0), np.float32)


def _on(images: UInt8[np.ndarray, "n h w 4"], ground: int) -> UInt8[np.ndarray, "n h w 3"]:
    """RGBA over a plain ground, rounded to the nearest."""
    alpha = images[..., 3:].astype(np.uint16)
    return ((images[..., :3] * alpha + ground * (255 - alpha) + 127) // 255).astype(np.uint8)


def _failed(name: str, error: Exception) -> InputError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    why = (lines[-1] if lines else type(error).__name__)[:200]
    return InputError(
        f"features {name}: failed on a batch of images ({why}); does it take images of this kind and size?"
    )


def _checked(values: Any, count: int, name: str, dimensions: int | None) -> Features:
    """One finite row for each image, as float32. Raises InputError."""
    try:
        rows = np.array(values, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"features {name}: gave {type(values).__name__}, not numbers [n, d]; mend the network"
        ) from None
    if rows.ndim != 2 or len(rows) != count or rows.shape[1] == 0 or dimensions not in (None, rows.shape[1]):
        wanted = f"[{count}, {dimensions or 'd'}]"
        raise InputError(f"features {name}: gave shape {list(rows.shape)} for {count} images; must be {wanted}")
    if not np.isfinite(rows).all():
        raise InputError(f"features {name}: gave values that are not finite; mend the network or the images it saw")
    return rows
