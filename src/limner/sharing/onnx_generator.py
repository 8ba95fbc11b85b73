"""A generator without torch: an exported ONNX file, drawn by onnxruntime.

All that a file says is checked before onnxruntime sees it (:mod:`limner.sharing.onnx_file`, :mod:`limner.sharing.shapes`).
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from limner import imaging
from limner.drawing import BROKEN, SeededGenerator, recipe_in
from limner.errors import InputError
from limner.recipe import Recipe
from limner.recipe.text import printable, shown
from limner.sharing.facts import FORMAT
from limner.sharing.onnx_file import OnnxFile, parse
from limner.sharing.shapes import BATCH, infer

LARGEST = 2**31
"""Bytes of a file: a protocol buffer cannot be longer."""
OPSETS = range(18, 19)
"""Of the standard, that a file may be written in."""


def import_onnxruntime() -> Any:
    """The package that runs ONNX.

    Raises:
        InputError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise InputError("ONNX needs 'onnxruntime': pip install 'limner[export]'") from None
    return onnxruntime


class OnnxGenerator(SeededGenerator):
    """An exported generator that is ready to draw: the same pictures by seed as the run it came from, within 1 of 255.

    Args:
        session: onnxruntime's.
        recipe, images, name: see :class:`limner.drawing.SeededGenerator`.
        pixels: it makes uint8 pixels [b, h, w, c] instead of images in [-1, 1].
    """

    def __init__(self, session: Any, recipe: Recipe, images: int, name: str, *, pixels: bool) -> None:
        super().__init__(recipe, images, name)
        self._session, self.pixels = session, pixels

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> OnnxGenerator:
        """The generator in a file's content.

        Args:
            content: of an ``.onnx`` file.
            where: the file, for messages.

        Raises:
            InputError: it is none that Limner wrote, is damaged, or would take more memory than there is.
        """
        onnxruntime = import_onnxruntime()
        try:
            file = parse(content)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{where}: is not a generator that Limner exported ({printable(str(error), 100)})"
            ) from None
        recipe = _checked_recipe(file, where)
        if not all(np.isfinite(value).all() for value in file.graph.constants.values() if value.dtype.kind == "f"):
            raise InputError(f"{where}: has weights that are no numbers: {BROKEN}")
        needed = _checked_room(file, recipe, where, len(content))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is told below, in one line
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class in common but this one
            raise InputError(f"{where}: onnxruntime cannot run it ({printable(str(error), 200)})") from None
        facts = file.facts
        made = cls(
            session,
            recipe,
            int(facts["images"]),
            printable(facts.get("data", Path(where).stem), 200),
            pixels=file.outputs[0].name == "pixels",
        )
        made.licence = printable(facts.get("licence", ""), 500)
        made.fit(needed)
        return made

    def run(
        self, latents: Float[np.ndarray, "b z"], labels: Int[np.ndarray, " b"] | None = None
    ) -> np.ndarray[Any, Any]:
        """What the file's graph makes, all at once: images [b, c, h, w] in [-1, 1], or uint8 pixels [b, h, w, c].

        Args:
            latents: one a picture.
            labels: the class number of each, where there are classes.
        """
        given = {"z": np.ascontiguousarray(latents, dtype=np.float32)}
        if labels is not None:
            given["labels"] = np.ascontiguousarray(labels, dtype=np.int64)
        made: np.ndarray[Any, Any] = self._session.run(None, given)[0]
        return made

    def draw(self, latents: Float[np.ndarray, "b z"], labels: Int[np.ndarray, " b"] | None = None) -> imaging.Batch:
        """Pictures from latents (see :meth:`SeededGenerator.draw`)."""
        labels = self.checked_labels(len(latents), labels)
        width, height = self.size
        pixels = np.empty((len(latents), height, width, self.recipe.image.channels or 0), dtype=np.uint8)
        for start in range(0, len(latents), self.at_once):
            part = slice(start, start + self.at_once)
            made = self.run(latents[part], None if labels is None else labels[part])
            pixels[part] = made if self.pixels else self.to_pixels(made)
        return pixels


def load(path: str | Path) -> OnnxGenerator:
    """A generator from an ``.onnx`` file that Limner exported.

    Raises:
        InputError: there is none, or onnxruntime is missing; see also :meth:`OnnxGenerator.from_bytes`.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: is not a generator that Limner exported ({path.stat().st_size:,} bytes)")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    return OnnxGenerator.from_bytes(content, str(path))


def _checked_recipe(file: OnnxFile, where: str) -> Recipe:
    """The recipe in a file, found to be of what its graph takes and makes.

    Raises:
        InputError: it is not.
    """
    kind = file.facts.get("format", "")
    if kind.startswith("limner-onnx-") and kind != FORMAT:
        raise InputError(f"{where}: is of a newer Limner (its format is {shown(kind)}); update Limner")
    if kind != FORMAT or file.opset not in OPSETS:
        raise InputError(
            f"{where}: is not a generator that Limner exported (its format is {shown(kind)}, its opset {file.opset})"
        )
    recipe = recipe_in(file.facts.get("recipe", ""), where)
    seen = file.facts.get("images", "")
    if not re.fullmatch(r"[0-9]{1,18}", seen):
        raise InputError(f"{where}: its metadata is damaged (images = {shown(seen)} is no count)")
    image, network = recipe.image, recipe.network
    classes = network.conditioning != "none" and bool(network.classes)
    inputs: dict[str, tuple[Any, list[Any]]] = {"z": (np.float32, ["batch", network.latent])}
    if classes:
        inputs["labels"] = (np.int64, ["batch"])
    outputs = {
        "images": (np.float32, ["batch", image.channels, image.height, image.width]),
        "pixels": (np.uint8, ["batch", image.height, image.width, image.channels]),
    }
    found = {value.name: (value.kind, value.sizes) for value in file.inputs}
    made = {value.name: (value.kind, value.sizes) for value in file.outputs}
    if found != inputs or len(made) != 1 or not made.items() <= outputs.items():
        raise InputError(f"{where}: its recipe is not that of its graph; export the run again")
    return recipe


def _checked_room(file: OnnxFile, recipe: Recipe, where: str, length: int) -> int:
    """Bytes that drawing one picture takes beside the weights, about.

    Raises:
        InputError: the graph does not fit together, does not make what it says, or is too large for this machine.
    """
    output = file.outputs[0]
    inputs = {value.name: [size if isinstance(size, int) else BATCH for size in value.sizes] for value in file.inputs}
    try:
        shapes = infer(file.graph, inputs)
    except ValueError as error:
        raise InputError(f"{where}: is not a generator that Limner exported ({printable(str(error), 100)})") from None
    wanted = [size if isinstance(size, int) else BATCH for size in output.sizes]
    if shapes.get(output.name) != wanted:
        raise InputError(f"{where}: its graph does not make the pictures that it should; export the run again")
    fixed, needed = 0, 0
    known = set(file.graph.constants)
    for node in file.graph.nodes:
        taken = [name for name in node.inputs if name]
        if known.issuperset(taken):  # computed once, when the file is opened, and kept
            known.add(node.output)
            fixed += 4 * math.prod(shapes[node.output])
            continue
        needed = max(needed, sum(4 * math.prod(shapes[name]) for name in (*taken, node.output) if name not in known))
    needed = -(-needed // BATCH)
    if fixed > 4 * length + 2**20:
        raise InputError(f"{where}: is not a generator that Limner exported (its weights unpack to {fixed:,} bytes)")
    room = _physical_memory()
    if room is not None and needed > room:
        raise InputError(
            f"{where}: to draw a picture it would take {needed / 1e9:,.0f} GB, and this machine has {room / 1e9:,.0f} GB"
        )
    return needed


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
