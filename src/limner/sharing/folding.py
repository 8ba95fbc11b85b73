"""The same graph for less: batch normalisation goes into the weights before it, a first layer becomes a plain product."""

from __future__ import annotations

from typing import Any

import numpy as np

from limner.sharing.graph import Graph, Node, ints

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm")


def straighten_bases(graph: Graph) -> None:
    """Turn transposed convolutions of a single pixel into products: a latent vector times a matrix is a base.

    The same numbers; a runtime that takes it for a convolution spends some ten times as long.
    """
    for node in [*graph.nodes]:
        if node.op != "ConvTranspose" or node.attributes["group"] != 1 or any(node.attributes["pads"]):  # type: ignore[arg-type]
            continue
        given, (_, *made) = graph.shapes[node.inputs[0]], graph.shapes[node.output]
        weight = graph.constants.get(node.inputs[1])
        if (
            given[2:] != [1, 1]
            or weight is None
            or [*weight.shape[1:]] != made
            or graph.consumers()[node.inputs[1]] > 1
        ):
            continue
        row, product = graph.fresh("row"), graph.fresh("gemm")
        graph.constants[node.inputs[1]] = np.ascontiguousarray(weight.reshape(len(weight), -1).T)
        inputs = [row, node.inputs[1]]
        if len(node.inputs) > 2:
            bias = np.repeat(graph.constants[node.inputs[2]], weight[0, 0].size)
            inputs.append(graph.constant(bias, f"{node.inputs[2]}.repeated"))
        place = graph.nodes.index(node)
        flat = [
            Node("Reshape", [node.inputs[0], graph.constant(ints([-1, len(weight)]), "flat")], row, {"allowzero": 0})
        ]
        maker = graph.makers().get(node.inputs[0])
        if maker is not None and maker.op == "Unsqueeze" and graph.shapes[maker.inputs[0]] == [None, len(weight)]:
            flat, inputs[0] = [], maker.inputs[0]
        sizes = graph.constant(ints([-1, *(size or 1 for size in made)]), "base")
        graph.nodes[place : place + 1] = [
            *flat,
            Node("Gemm", inputs, product, {"transB": 1}),
            Node("Reshape", [product, sizes], node.output, {"allowzero": 0}),
        ]
    graph.drop_unused()


def fold_batch_norms(graph: Graph) -> None:
    """Fold every batch normalisation that follows a convolution or a linear layer, in float64, rounded once.

    In eval mode it is ``s x + t`` with one ``s`` and ``t`` a channel (Ioffe and Szegedy 2015, section 3.1), and so are the
    convolution and it together. What keeps channels apart and weighs pixels by shares that add up to 1 may stand between:
    interpolation, means over pixels, channels that become pixels. Where something else takes the values as well, it stays.
    """
    for node in [*graph.nodes]:
        if node.op == "BatchNormalization":
            _fold(graph, node)
    graph.drop_unused()


def _fold(graph: Graph, node: Node) -> None:
    gamma, beta, mean, variance = (graph.constants[name].astype(np.float64) for name in node.inputs[1:])
    scale = gamma / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))  # type: ignore[arg-type]
    offset = beta - mean * scale
    counts, makers = graph.consumers(), graph.makers()
    name = node.inputs[0]
    while True:
        maker = makers.get(name)
        if maker is None or counts[name] > 1:
            return
        if maker.op in _WEIGHTED:
            break
        if maker.op == "DepthToSpace":
            copies = int(maker.attributes["blocksize"]) ** 2  # type: ignore[arg-type]
            scale, offset = np.repeat(scale, copies), np.repeat(offset, copies)
        elif maker.op == "Reshape":
            sizes = graph.constants[maker.inputs[1]]
            if makers.get(maker.inputs[0], maker).op != "Gemm" or sizes.shape != (4,) or sizes[1] != len(scale):
                return
            copies = int(sizes[2] * sizes[3])
            scale, offset = np.repeat(scale, copies), np.repeat(offset, copies)
        elif maker.op != "Resize" and (maker.op != "AveragePool" or maker.attributes.get("count_include_pad")):
            return
        name = maker.inputs[0]
    if not _scaled(graph, maker, scale, offset):
        return
    for other in graph.nodes:
        other.inputs = [node.inputs[0] if taken == node.output else taken for taken in other.inputs]
    if graph.output == node.output:
        graph.output = node.inputs[0]
    graph.nodes.remove(node)


def _scaled(graph: Graph, layer: Node, scale: np.ndarray[Any, Any], offset: np.ndarray[Any, Any]) -> bool:
    """Multiply what a layer makes by ``scale`` and add ``offset``, a number for each channel of its output."""
    name = layer.inputs[1]
    weight = graph.constants.get(name)
    if (
        weight is None
        or graph.consumers()[name] > 1
        or (layer.op == "ConvTranspose" and layer.attributes["group"] != 1)
    ):
        return False
    column = (1, -1, 1, 1) if layer.op == "ConvTranspose" else (-1, *[1] * (weight.ndim - 1))
    graph.constants[name] = (weight * scale.reshape(column)).astype(np.float32)
    if len(layer.inputs) > 2:
        offset = offset + graph.constants[layer.inputs[2]] * scale
        layer.inputs = layer.inputs[:2]
    layer.inputs.append(graph.constant(offset.astype(np.float32), f"{name.removesuffix('.weight')}.bias"))
    return True
