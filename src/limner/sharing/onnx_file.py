"""What is in an ONNX file, read without running any of it: neither onnx nor onnxruntime nor torch is needed.

An ONNX file is a protocol buffer: fields, each with a number and a length (https://protobuf.dev/programming-guides/encoding).
Only the fields that Limner writes are read, and a file with any other is refused. So there is nothing in a file that passes
that could reach outside of it (weights in other files, operations of other libraries, functions, inner graphs).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from limner.sharing.graph import Attribute, Graph, Node

_TYPES: dict[int, type[np.generic]] = {1: np.float32, 2: np.uint8, 7: np.int64, 10: np.float16}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_AXES = 8

Field = tuple[int, Any]


class Foreign(ValueError):
    """Something that Limner does not write."""


@dataclass
class Value:
    """An input or an output.

    Attributes:
        name: how it is called.
        kind: numpy's type of its numbers.
        sizes: of its axes; a free one is a name.
    """

    name: str
    kind: type[np.generic]
    sizes: list[int | str]


@dataclass
class OnnxFile:
    """All that is in a file.

    Attributes:
        graph: operations and constants; its shapes are not known yet.
        inputs, outputs: what goes in and comes out.
        facts: its metadata.
        opset: of the standard.
    """

    graph: Graph
    inputs: list[Value]
    outputs: list[Value]
    facts: dict[str, str]
    opset: int


def parse(content: bytes) -> OnnxFile:
    """Read a file's content.

    Raises:
        ValueError: it is no ONNX file, it is cut off, or has something in it that Limner does not write.
    """
    facts: dict[str, str] = {}
    opset, body = 0, None
    for number, value in _fields(memoryview(content), {1, 2, 3, 7, 8, 14}):
        if number == 7:
            if body is not None:
                raise Foreign("two graphs")
            body = _message(value)
        elif number == 8:
            imported = dict(_fields(_message(value), {1, 2}))
            if _text(imported.get(1, b"")):
                raise Foreign("operations of another library")
            opset = int(imported.get(2, 0))
        elif number == 14:
            pair = {key: _text(words) for key, words in _fields(_message(value), {1, 2})}
            facts[pair.get(1, "")] = pair.get(2, "")
    if body is None:
        raise Foreign("no graph")
    graph = Graph()
    inputs: list[Value] = []
    outputs: list[Value] = []
    for number, value in _fields(body, {1, 2, 5, 11, 12}):
        if number == 1:
            graph.nodes.append(_node(_message(value)))
        elif number == 5:
            name, array = _tensor(_message(value))
            if name in graph.constants:
                raise Foreign("two weights of one name")
            graph.constants[name] = array
        elif number in (11, 12):
            (inputs if number == 11 else outputs).append(_value(_message(value)))
    return OnnxFile(graph, inputs, outputs, facts, opset)


def _fields(content: memoryview, known: set[int]) -> Iterator[Field]:
    """The fields of a message: number, and an integer or bytes.

    Raises:
        Foreign: a field that is not known.
    """
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        number, kind = key >> 3, key & 7
        if number not in known:
            raise Foreign(f"field {number}, which Limner does not write")
        if kind == _VARINT:
            value, place = _varint(content, place)
            yield number, value
            continue
        if kind == _BYTES:
            length, place = _varint(content, place)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise Foreign("no such kind of field")
        if length > len(content) - place:
            raise Foreign("cut off")
        yield number, content[place : place + length]
        place += length


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            raise Foreign("cut off")
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise Foreign("a number of more than ten bytes")


def _message(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise Foreign("a number in the place of a message")
    return value


def _text(value: Any) -> str:
    return bytes(_message(value) if not isinstance(value, bytes) else value).decode("utf-8")


def _signed(value: Any) -> int:
    """An int64, which is written as if it were not signed."""
    if isinstance(value, memoryview) or value >= 1 << 64:
        raise Foreign("no 64-bit number")
    return int(value) - (1 << 64) if value >= 1 << 63 else int(value)


def _integers(value: Any) -> list[int]:
    """Integers that are packed into one field, or the one that is in it."""
    if not isinstance(value, memoryview):
        return [_signed(value)]
    found, place = [], 0
    while place < len(value):
        number, place = _varint(value, place)
        found.append(_signed(number))
    return found


def _node(content: memoryview) -> Node:
    node, outputs = Node("", [], ""), []
    for number, value in _fields(content, {1, 2, 3, 4, 5}):
        if number == 1:
            node.inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            node.op = _text(value)
        elif number == 5:
            name, attribute = _attribute(_message(value))
            node.attributes[name] = attribute
    if len(outputs) != 1:
        raise Foreign("an operation that does not make one value")
    node.output = outputs[0]
    return node


def _attribute(content: memoryview) -> tuple[str, Attribute]:
    name, kind, whole = "", 0, []
    value: Attribute | None = None
    for number, part in _fields(content, {1, 2, 3, 4, 8, 20}):
        if number == 1:
            name = _text(part)
        elif number == 2:
            value = float(np.frombuffer(_message(part), "<f4")[0])
        elif number == 3:
            value = _signed(part)
        elif number == 4:
            value = _text(part)
        elif number == 8:
            whole += _integers(part)
        else:
            kind = _signed(part)
    if kind == 7:
        value = whole
    if value is None or kind not in (1, 2, 3, 7):
        raise Foreign(f"an attribute of kind {kind}")
    return name, value


def _tensor(content: memoryview) -> tuple[str, np.ndarray[Any, Any]]:
    name, kind, sizes = "", 0, []
    numbers = memoryview(b"")
    for number, value in _fields(content, {1, 2, 8, 9}):
        if number == 1:
            sizes += _integers(value)
        elif number == 2:
            kind = _signed(value)
        elif number == 8:
            name = _text(value)
        else:
            numbers = _message(value)
    if kind not in _TYPES:
        raise Foreign(f"weights of type {kind}")
    if len(sizes) > _MOST_AXES or any(size < 0 for size in sizes):
        raise Foreign("weights of no possible shape")
    count = 1
    for size in sizes:
        count *= size
    if count * np.dtype(_TYPES[kind]).itemsize != len(numbers):
        raise Foreign("weights of another length than their shape")
    return name, np.frombuffer(numbers, np.dtype(_TYPES[kind]).newbyteorder("<")).reshape(sizes)


def _value(content: memoryview) -> Value:
    name, kind, sizes = "", 0, []
    for number, value in _fields(content, {1, 2}):
        if number == 1:
            name = _text(value)
            continue
        for _, tensor in _fields(_message(value), {1}):
            for part, inner in _fields(_message(tensor), {1, 2}):
                if part == 1:
                    kind = _signed(inner)
                    continue
                for _, axis in _fields(_message(inner), {1}):
                    found = dict(_fields(_message(axis), {1, 2}))
                    sizes.append(_signed(found[1]) if 1 in found else _text(found.get(2, b"")))
    if kind not in _TYPES:
        raise Foreign(f"values of type {kind}")
    return Value(name, _TYPES[kind], sizes)
