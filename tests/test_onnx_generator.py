"""Exported ONNX files: drawn without torch, by seed, as the run draws; and what is none of Limner's is refused unopened."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import limner
from conftest import Cli
from export_support import small
from limner import films
from limner.errors import InputError
from limner.sharing.export import export_onnx
from limner.sharing.onnx_file import parse
from limner.sharing.onnx_generator import OnnxGenerator, load

WITHOUT_TORCH = """
import sys
for name in ("torch", "onnx", "safetensors"):
    sys.modules[name] = None  # any import of it fails
sys.argv = ["limner", *sys.argv[1:]]
from limner.cli import main
main()
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "discs.onnx"
    export_onnx(small("dcgan", 16, 12, 3, classes=3), path, licence="CC0-1.0")
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "plain.onnx"
    export_onnx(small("dcgan", 16, 16, 1), path)
    return path


def test_it_draws_what_the_generator_draws(exported: Path):
    generator, drawn = small("dcgan", 16, 12, 3, classes=3), load(exported)
    assert (drawn.size, drawn.latent, drawn.classes) == (generator.size, generator.latent, generator.classes)
    assert (drawn.images, drawn.name, drawn.licence) == (6400, "discs", "CC0-1.0")
    assert drawn.recipe == generator.recipe
    seeds = [0, 1, 2, 70, 2**64 - 1]
    for label in (None, 2, "kind 1"):
        difference = drawn.draw_seeds(seeds, label).astype(int) - generator.draw_seeds(seeds, label).astype(int)
        assert np.abs(difference).max() <= 1
    assert not np.array_equal(drawn.draw_seeds([5], 0), drawn.draw_seeds([5], 1))
    many = drawn.sample(70, seed=5, label=0)  # in two portions
    assert many[0].size == (16, 12) and many[0].mode == "RGB"
    alone = np.asarray(drawn.sample(1, seed=71, label=0)[0]).astype(int)
    assert np.abs(alone - np.asarray(many[66]).astype(int)).max() <= 1
    assert drawn.draw(np.empty((0, 16), np.float32), np.empty(0, np.int64)).shape == (0, 12, 16, 3)
    with pytest.raises(InputError, match=r"label 'kind 3': none of the classes \(kind 0, kind 1, kind 2\)"):
        drawn.sample(1, label="kind 3")
    with pytest.raises(ValueError, match="labels are needed"):
        drawn.draw(drawn.latents([1]))
    with pytest.raises(ValueError, match="3 class numbers from 0 to 2"):
        drawn.draw(drawn.latents([1, 2, 3]), np.array([0, 3, -1]))


def test_it_walks_as_the_generator_walks(exported: Path):
    generator, drawn = small("dcgan", 16, 12, 3, classes=3), limner.load(exported)
    mine, theirs = (one.interpolate([1, 2, 3], 4) for one in (drawn, generator))
    for made, wanted in zip(mine, theirs, strict=True):
        assert np.abs(np.asarray(made).astype(int) - np.asarray(wanted).astype(int)).max() <= 1


def without_torch(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        cwd=directory,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_generate_and_animate_need_no_torch_and_draw_the_same_files(exported: Path, tmp_path: Path):
    done = without_torch(tmp_path, "generate", str(exported), "--count", "3", "--seed", "7", "--label", "Kind 1")
    assert done.returncode == 0, done.stderr
    generator = small("dcgan", 16, 12, 3, classes=3)
    films.draw_pictures(generator, 3, 7, tmp_path / "run", "kind 1")
    mine, theirs = tmp_path / "discs-generated", tmp_path / "run"
    names = {path.name for path in theirs.iterdir()}
    assert {path.name for path in mine.iterdir()} == names and "seed-000007-kind-1.png" in names
    for name in names:
        with Image.open(mine / name) as made, Image.open(theirs / name) as wanted:
            assert np.abs(np.asarray(made).astype(int) - np.asarray(wanted).astype(int)).max() <= 1
    done = without_torch(tmp_path, "animate", str(exported), "--seconds", "0.5", "--keys", "2", "--out", "walk.gif")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "walk.gif") as film:
        assert getattr(film, "n_frames", 1) == 10


def test_what_is_missing_is_said_in_one_line(cli: Cli, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'limner\[export\]'"):
        load(exported)
    for arguments, words in (
        (("none.onnx",), "none.onnx: no such file"),
        ((exported, "--device", "cuda"), "device cuda: ONNX files are drawn on the CPU"),
        ((exported, "--precision", "bfloat16"), "precision bfloat16: ONNX files are drawn in their own"),
        ((exported, "--label", "x"), "none of the classes"),
    ):
        done = cli("generate", *arguments, "--out", tmp_path / "drawn")
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


Change = Callable[[Any], None]


def changed(path: Path, change: Change) -> bytes:
    """A file's content after somebody has been at it."""
    model = onnx.load(path)
    change(model)
    return bytes(model.SerializeToString())


def weights_elsewhere(model: Any) -> None:
    tensor = model.graph.initializer[0]
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")


def foreign_operation(model: Any) -> None:
    model.graph.node[-1].domain = "com.example"


def foreign_library(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def inner_graph(model: Any) -> None:
    attribute = model.graph.node[0].attribute.add()
    attribute.name, attribute.type = "body", onnx.AttributeProto.GRAPH
    attribute.g.CopyFrom(onnx.GraphProto.FromString(model.graph.SerializeToString()))


def function(model: Any) -> None:
    model.functions.add().name = "f"


def loop(model: Any) -> None:
    model.graph.node[-1].op_type = "Loop"


def shape(name: str, *sizes: int) -> Any:
    return numpy_helper.from_array(np.array(sizes, np.int64), name)


def before_the_end(model: Any, *nodes: Any) -> None:
    """Put operations between the last but one and the last."""
    last = model.graph.node[-1]
    nodes[0].input[0] = last.input[0]
    last.input[0] = nodes[-1].output[0]
    kept = [*model.graph.node[:-1], *nodes, last]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def terabyte(model: Any) -> None:
    """Enlarged ten thousand times, and back again: the pictures have the size they should have."""
    model.graph.initializer.extend([shape("vast", 120_000, 160_000), shape("back", 16, 16)])
    way = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", "axes": [2, 3]}
    before_the_end(
        model,
        helper.make_node("Resize", ["", "", "", "vast"], ["large"], **way),
        helper.make_node("Resize", ["large", "", "", "back"], ["small"], **way),
    )


def unpacked(model: Any) -> None:
    """A weight that unpacks to gigabytes when the file is opened."""
    model.graph.initializer.extend(
        [shape("wide", 1, 60_000, 60_000), numpy_helper.from_array(np.ones((1, 1, 1), np.float32), "one")]
    )
    model.graph.node.insert(0, helper.make_node("Expand", ["one", "wide"], ["gigabytes"]))


def other_latent(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 17


def fixed_batch(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def other_size(model: Any) -> None:
    for place in (2, 3):
        model.graph.output[0].type.tensor_type.shape.dim[place].dim_value = 1024


def no_recipe(model: Any) -> None:
    next(entry for entry in model.metadata_props if entry.key == "recipe").value = "nothing = 1"


def no_count(model: Any) -> None:
    next(entry for entry in model.metadata_props if entry.key == "images").value = "9" * 400


def other_format(model: Any) -> None:
    next(entry for entry in model.metadata_props if entry.key == "format").value = "something"


def newer(model: Any) -> None:
    next(entry for entry in model.metadata_props if entry.key == "format").value = "limner-onnx-2"


def no_facts(model: Any) -> None:
    del model.metadata_props[:]


def cut_weights(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-4]


def huge_weights(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 2**62


def same_value_twice(model: Any) -> None:
    model.graph.node[1].output[0] = model.graph.node[0].output[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (weights_elsewhere, "which Limner does not write"),
        (foreign_operation, "which Limner does not write"),
        (foreign_library, "operations of another library"),
        (inner_graph, "which Limner does not write"),
        (function, "which Limner does not write"),
        (loop, "the operation 'Loop'"),
        (terabyte, "to draw a picture it would take "),
        (unpacked, "its weights unpack to 14,4"),
        (other_latent, "its recipe is not that of its graph"),
        (fixed_batch, "its recipe is not that of its graph"),
        (other_size, "its recipe is not that of its graph"),
        (no_recipe, "nothing"),
        (no_count, "images = '999"),
        (other_format, "is not a generator that Limner exported"),
        (newer, "update Limner"),
        (no_facts, "is not a generator that Limner exported"),
        (cut_weights, "another length than their shape"),
        (huge_weights, "another length than their shape"),
        (same_value_twice, "does not fit what goes into it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_hostile_files_are_refused_before_anything_runs(
    change: Change, words: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import onnxruntime

    def opened(*_: Any, **__: Any) -> None:
        raise AssertionError("onnxruntime was given a hostile file")

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    path = tmp_path / "bad.onnx"
    path.write_bytes(changed(plain, change))
    with pytest.raises(InputError) as refused:
        load(path)
    assert words in str(refused.value) and str(path) in str(refused.value) and len(str(refused.value)) < 1000


def test_what_is_no_onnx_at_all_is_refused(exported: Path, tmp_path: Path):
    content = exported.read_bytes()
    path = tmp_path / "bad.onnx"
    for bad in (
        b"",
        b"\x80\x04K\x01.",
        b"\xff" * 100,
        content[: len(content) // 2],
        content[:-1],
        content[1:],
        b"ORTM" * 9,
    ):
        path.write_bytes(bad)
        with pytest.raises(InputError, match=r"bad\.onnx: is not a generator that Limner exported"):
            load(path)
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load("/dev/zero")


def test_weights_that_are_no_numbers_are_refused(plain: Path):
    """A byte of an exponent turned: found when the file is opened, also where it would make pixels of them."""
    content = bytearray(plain.read_bytes())
    weights = next(value for value in parse(bytes(content)).graph.constants.values() if value.dtype == np.float32)
    place = content.index(np.ascontiguousarray(weights).tobytes())
    content[place : place + 4] = np.float32("nan").tobytes()
    with pytest.raises(InputError, match=r"broken\.onnx: has weights that are no numbers"):
        OnnxGenerator.from_bytes(bytes(content), "broken.onnx")


def test_damage_anywhere_is_refused_or_told_in_one_line(plain: Path):
    """One byte changed, wherever: an error of Limner's or a generator, never anything else."""
    content = bytearray(plain.read_bytes())
    graph = parse(bytes(content)).graph
    random = np.random.default_rng(0)
    places = random.choice(len(content), 150, replace=False)
    refused = 0
    for place in (*range(60), *(int(place) for place in places)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(8))
        try:
            made = OnnxGenerator.from_bytes(bytes(damaged), "damaged.onnx")
            made.draw_seeds([1])
        except InputError:
            refused += 1
    assert refused > 10 and len(graph.nodes) == 7
