"""A :class:`~limner.sharing.graph.Graph` as the bytes of an ONNX file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.sharing.graph import Graph, Node
from limner.version import __version__

OPSET = 18
"""Of the standard: the first in which a resize names its axes, so that the batch stays free. Runtimes of 2023 know it."""
IR_VERSION = 8
"""Of the file format: that of the standard's release with opset 18."""
SMALL = 64
"""Weights of fewer numbers stay in full precision in a file of halves: they weigh nothing."""
LARGEST_HALF = 65504.0
LARGEST = 2**31 - 2**24
"""Bytes of weights: a protocol buffer cannot be longer than 2 GiB, and there is more in it."""


def import_onnx() -> Any:
    """The package that writes ONNX.

    Raises:
        InputError: it is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise InputError("ONNX needs 'onnx' and 'onnxruntime': pip install 'limner[export]'") from None
    return onnx


def with_pixels(graph: Graph) -> Graph:
    """The graph with uint8 pixels [b, h, w, c] as its output: the arithmetic of :func:`limner.imaging.to_uint8`."""
    made = copy.copy(graph)
    made.nodes, made.constants = [*graph.nodes], dict(graph.constants)
    made.constants |= {
        "least": np.asarray(-1.0, np.float32),
        "most": np.asarray(1.0, np.float32),
        "half_range": np.asarray(127.5, np.float32),
    }
    made.nodes += [
        Node("Clip", [graph.output, "least", "most"], "clipped"),
        Node("Add", ["clipped", "most"], "raised"),
        Node("Mul", ["raised", "half_range"], "scaled"),
        Node("Round", ["scaled"], "rounded"),  # halves to even, as numpy
        Node("Cast", ["rounded"], "bytes", {"to": 2}),
        Node("Transpose", ["bytes"], "pixels", {"perm": [0, 2, 3, 1]}),
    ]
    made.output = "pixels"
    return made


def onnx_bytes(
    graph: Graph, latent: int, shape: tuple[int, int, int], facts: Mapping[str, str], *, half: bool
) -> bytes:
    """The file's content, checked by the standard's own checker.

    Args:
        graph: with images or pixels as its output.
        latent: length of the latent vectors.
        shape: channels, height and width of the images.
        facts: go into its metadata.
        half: store the weights as float16; a cast in the graph makes float32 of them, so that every runtime can run it.

    Raises:
        InputError: a weight is no number, or too large for float16, or the package is not installed.
    """
    onnx = import_onnx()
    helper, kinds = onnx.helper, onnx.TensorProto
    pixels = graph.output == "pixels"
    output = graph.output if pixels else "images"
    channels, height, width = shape
    length = sum(value.nbytes for value in graph.constants.values()) // (2 if half else 1)
    if length > LARGEST:
        raise InputError(f"ONNX files hold 2 GB, and its weights are {length / 1e9:.1f} GB: export .safetensors")
    initializers, nodes = [], []
    for name, value in graph.constants.items():
        if half and value.dtype == np.float32 and value.ndim > 1 and value.size >= SMALL:
            if not np.abs(value).max() <= LARGEST_HALF:
                raise InputError(f"--half: {name} has weights that float16 cannot hold; export without it")
            initializers.append(onnx.numpy_helper.from_array(value.astype(np.float16), f"{name}.half"))
            nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=kinds.FLOAT))
        else:
            initializers.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
    for node in graph.nodes:
        inputs = [output if name == graph.output else name for name in node.inputs]
        made = output if node.output == graph.output else node.output
        nodes.append(helper.make_node(node.op, inputs, [made], **node.attributes))
    inputs = [helper.make_tensor_value_info("z", kinds.FLOAT, ["batch", latent])]
    if graph.classes:
        inputs.append(helper.make_tensor_value_info("labels", kinds.INT64, ["batch"]))
    sizes = ["batch", height, width, channels] if pixels else ["batch", channels, height, width]
    outputs = [helper.make_tensor_value_info(output, kinds.UINT8 if pixels else kinds.FLOAT, sizes)]
    model = helper.make_model(
        helper.make_graph(nodes, "generator", inputs, outputs, initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="limner",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def facts_bytes(facts: Mapping[str, str]) -> bytes:
    """More metadata, to be put behind a file's content: protocol buffers that follow one another are one."""
    onnx = import_onnx()
    model = onnx.ModelProto()
    onnx.helper.set_model_props(model, dict(facts))
    return bytes(model.SerializeToString())
