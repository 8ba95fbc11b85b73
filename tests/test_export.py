"""Exported generators: they draw what PyTorch draws, say where they come from, or are not written."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

import limner
from conftest import Cli
from export_support import small, torch_images
from limner import imaging
from limner.errors import InputError, LimnerError
from limner.recipe import Recipe, names
from limner.sharing import export as exporting
from limner.sharing import parity
from limner.sharing.export import export_generator, export_onnx, export_safetensors
from limner.sharing.folding import fold_batch_norms, straighten_bases
from limner.sharing.graph import Graph, Node
from limner.sharing.onnx_file import parse
from limner.sharing.shapes import BATCH, RULES, infer
from limner.sharing.tracing import NotExportable, trace

SEEDS = np.arange(4, dtype=np.uint64)


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def cases() -> list[tuple[str, tuple[int, int, int], int]]:
    """Every shipped recipe: a side of 8, odd sizes, not square, grey, RGB and RGBA; with classes where it can have them."""
    found = []
    for name in names():
        family = Recipe.load(name).network.family
        conditional = Recipe.load(name).network.conditioning != "none"
        found.append((name, (33, 8, 1), 3 if conditional else 0))
        if family != "mlp":
            found.append((name, (20, 33, 4), 0 if conditional else 3))
    return [case for case in found if not (case[2] == 0 and Recipe.load(case[0]).network.conditioning != "none")]


@pytest.mark.parametrize(("name", "size", "classes"), cases())
def test_every_shipped_recipe_draws_the_same_from_an_onnx_file(
    name: str, size: tuple[int, int, int], classes: int, tmp_path: Path
):
    """By onnxruntime as anybody would call it, in batches of 1 and 3; and Limner's own check agrees."""
    generator = small(name, *size, classes=classes)
    written = export_onnx(generator, tmp_path / "g.onnx")
    assert written.bytes == (tmp_path / "g.onnx").stat().st_size
    assert written.parity.largest is not None and written.parity.largest < 2e-5 and written.parity.largest_pixel <= 1
    ran = session(tmp_path / "g.onnx")
    wanted = torch_images(generator, SEEDS)
    for part in (slice(0, 1), slice(1, 4)):
        given = {"z": generator.latents(SEEDS[part])}
        if classes:
            given["labels"] = generator.labels(SEEDS[part])
        (made,) = ran.run(["images"], given)
        np.testing.assert_allclose(made, wanted[part], atol=2e-5)
    half = export_onnx(generator, tmp_path / "half.onnx", half=True)
    assert half.bytes < 0.75 * written.bytes
    assert half.parity.near >= 0.999 and 0 < (half.parity.largest or 0) < 0.06


@pytest.mark.parametrize("norm", ["instance", "layer", "spectral", "none"])
@pytest.mark.parametrize("classes", [0, 3])
def test_every_normalisation(norm: str, classes: int, tmp_path: Path):
    generator = small("dcgan", 19, 24, 3, classes, **{"generator.norm": norm})
    wanted = torch_images(generator, SEEDS)
    found = export_onnx(generator, tmp_path / "g.onnx").parity
    assert found.largest is not None and found.largest < 1e-5
    # What is exported stays as it was, and can be exported again.
    np.testing.assert_array_equal(torch_images(generator, SEEDS), wanted)
    assert export_onnx(generator, tmp_path / "g.onnx").parity == found


@pytest.mark.parametrize("way", ["nearest", "bilinear", "pixel-shuffle"])
def test_every_way_up(way: str, tmp_path: Path):
    generator = small("dcgan", 50, 33, **{"generator.upsample": way, "generator.kernel": 5, "generator.smooth": 3})
    found = export_onnx(generator, tmp_path / "g.onnx").parity
    assert found.largest is not None and found.largest < 2e-5


def test_uneven_pools_of_excitation(tmp_path: Path):
    """A base of 6x4 pooled to 4x4 has uneven bins; a long picture has several excitations."""
    found = export_onnx(small("fewshot", 200, 9), tmp_path / "g.onnx").parity
    assert found.largest is not None and found.largest < 1e-5
    ops = [node.op for node in parse((tmp_path / "g.onnx").read_bytes()).graph.nodes]
    assert ops.count("MatMul") == 2 and ops.count("Sigmoid") == 2


def test_nothing_of_the_training_is_in_the_graph(tmp_path: Path):
    export_onnx(small("initials", 32, 32, 1), tmp_path / "g.onnx")
    model = onnx.load(tmp_path / "g.onnx")
    assert [node.op_type for node in model.graph.node] == [
        *("Gemm", "Reshape", "Relu"),
        *("ConvTranspose", "Relu", "ConvTranspose", "Relu", "ConvTranspose", "Tanh"),
    ]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not any("running" in tensor.name or "tracked" in tensor.name for tensor in model.graph.initializer)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_batch_norm_folds_as_by_hand():
    """y = (2 x + 1 - 3) / 2 * 6 + 5 with variance 4: 6 x - 1."""
    graph = Graph(output="y")
    graph.constants = {
        "w": np.full((1, 1, 1, 1), 2.0, np.float32),
        "b": np.array([1.0], np.float32),
        "gamma": np.array([6.0], np.float32),
        "beta": np.array([5.0], np.float32),
        "mean": np.array([3.0], np.float32),
        "variance": np.array([4.0], np.float32),
    }
    graph.nodes = [
        Node("Conv", ["x", "w", "b"], "c", {"group": 1}),
        Node("BatchNormalization", ["c", "gamma", "beta", "mean", "variance"], "y", {"epsilon": 0.0}),
    ]
    fold_batch_norms(graph)
    (conv,) = graph.nodes
    assert conv.op == "Conv" and graph.output == "c"
    assert graph.constants[conv.inputs[1]].item() == 6.0 and graph.constants[conv.inputs[2]].item() == -1.0


def test_batch_norm_stays_where_its_input_is_wanted_elsewhere():
    graph = Graph(output="y")
    graph.constants = {name: np.ones(1, np.float32) for name in ("g", "b", "m", "v")}
    graph.constants["w"] = np.ones((1, 1, 1, 1), np.float32)
    graph.nodes = [
        Node("Conv", ["x", "w"], "c", {"group": 1}),
        Node("BatchNormalization", ["c", "g", "b", "m", "v"], "n", {"epsilon": 0.0}),
        Node("Add", ["c", "n"], "y"),
    ]
    fold_batch_norms(graph)
    assert [node.op for node in graph.nodes] == ["Conv", "BatchNormalization", "Add"]


def test_sizes_are_known_before_anything_runs():
    """The rules for shapes give what torch gave while it was traced, for every value that torch has too."""
    for generator in (small("fewshot", 40, 21, 3, 2), small("r3gan", 20, 33), small("mapmaker", 30, 20)):
        graph = trace(generator.network, generator.latent, len(generator.classes))
        inputs = {"z": [BATCH, generator.latent], **({"labels": [BATCH]} if generator.classes else {})}
        found = infer(graph, inputs)
        for name, sizes in graph.shapes.items():
            if sizes and name in found:
                assert found[name] == [BATCH if size is None else size for size in sizes], name
        assert {node.op for node in graph.nodes} <= set(RULES)
        straighten_bases(graph)
        fold_batch_norms(graph)
        width, height = generator.size
        assert infer(graph, inputs)[graph.output] == [BATCH, generator.recipe.image.channels, height, width]


@pytest.mark.parametrize("half", [False, True])
def test_pixels_are_those_of_the_images(half: bool, tmp_path: Path):
    generator = small("dcgan", 20, 33, 4)
    written = export_onnx(generator, tmp_path / "p.onnx", pixels=True, half=half)
    assert written.parity.largest is None and written.pixels
    export_onnx(generator, tmp_path / "g.onnx", half=half)
    given = {"z": generator.latents(np.arange(16))}
    (pixels,) = session(tmp_path / "p.onnx").run(["pixels"], given)
    (images,) = session(tmp_path / "g.onnx").run(["images"], given)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, imaging.to_uint8(images))
    loaded = limner.load(tmp_path / "p.onnx")
    np.testing.assert_array_equal(loaded.draw(given["z"]), pixels)


def test_halves_of_pixel_values_round_to_even_as_in_numpy(tmp_path: Path):
    """A graph of nothing but the pixels: -1 is 0, 1 is 255, beyond is kept within, 0.5 goes to the even neighbour."""
    from limner.sharing.onnx_writer import onnx_bytes, with_pixels

    graph = Graph(
        nodes=[Node("Reshape", ["z", "sizes"], "images", {"allowzero": 0})],
        constants={"sizes": np.array([-1, 1, 1, 8])},
        output="images",
    )
    (tmp_path / "p.onnx").write_bytes(onnx_bytes(with_pixels(graph), 8, (1, 1, 8), {}, half=False))
    z = np.array([[-1, 1, -7, 7, 0, 1 / 127.5 - 1, 1.5 / 127.5 - 1, 2.5 / 127.5 - 1]], np.float32)
    (made,) = session(tmp_path / "p.onnx").run(None, {"z": z})
    assert made[0, 0, :6, 0].tolist() == [0, 255, 0, 255, 128, 1]
    np.testing.assert_array_equal(made, imaging.to_uint8(z.reshape(1, 1, 1, 8)))


def test_a_file_says_where_it_comes_from(tmp_path: Path):
    generator = small("dcgan", classes=2)
    generator.licence = "ask first"
    written = export_onnx(generator, tmp_path / "g.onnx", half=True)
    export_safetensors(generator, tmp_path / "g.safetensors", licence="CC0-1.0")
    in_onnx = session(tmp_path / "g.onnx").get_modelmeta().custom_metadata_map
    with safe_open(tmp_path / "g.safetensors", framework="np") as opened:
        in_safetensors = opened.metadata()
    assert in_onnx["format"] == "limner-onnx-1" and in_safetensors["format"] == "limner-generator-1"
    assert in_onnx["licence"] == "ask first" and in_safetensors["licence"] == "CC0-1.0"
    assert json.loads(in_onnx["half"]) is True and json.loads(in_safetensors["half"]) is False
    assert json.loads(in_onnx["parity"]) == written.parity.values()
    for facts in (in_onnx, in_safetensors):
        assert Recipe.from_toml(facts["recipe"]) == generator.recipe
        assert (facts["images"], facts["data"], facts["limner"]) == ("6400", "discs", limner.__version__)
        seeds, latents = json.loads(facts["seeds"]), json.loads(facts["latents"])
        assert seeds == [0, 1, 2, 3]
        np.testing.assert_array_equal(np.float32(latents), generator.latents(seeds)[:, :4])


@pytest.mark.parametrize("half", [False, True])
def test_safetensors_load_as_the_run_does(half: bool, tmp_path: Path):
    generator = small("fashion-conditional", 28, 28, 1, 3)
    written = export_safetensors(generator, tmp_path / "g.safetensors", half=half)
    loaded = limner.load(tmp_path / "g.safetensors")
    assert isinstance(loaded, limner.TrainedGenerator)
    assert (loaded.classes, loaded.images, loaded.name) == (generator.classes, 6400, "discs")
    assert all(tensor.dtype == torch.float32 for tensor in loaded.network.parameters())
    difference = np.abs(loaded.draw_seeds(SEEDS).astype(int) - generator.draw_seeds(SEEDS).astype(int))
    assert difference.max() <= (2 if half else 1)
    with safe_open(tmp_path / "g.safetensors", framework="pt") as opened:
        kinds = {opened.get_tensor(name).dtype for name in opened.keys()}  # noqa: SIM118
    assert (torch.float16 in kinds) == half
    plain = export_safetensors(generator, tmp_path / "h.safetensors", half=not half)
    assert (written.bytes < plain.bytes) == half


def test_nothing_is_written_where_the_pictures_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generator = small()

    def bent(graph: Graph) -> None:
        fold_batch_norms(graph)
        name = next(name for name, value in graph.constants.items() if value.ndim == 4)
        graph.constants[name] = graph.constants[name] * np.float32(1.05)

    monkeypatch.setattr(exporting, "fold_batch_norms", bent)
    with pytest.raises(parity.NotEqual, match=r"other pictures than PyTorch.*nothing is written"):
        export_onnx(generator, tmp_path / "g.onnx")
    assert not any(tmp_path.iterdir())


def compared(difference: np.ndarray, half: bool) -> parity.Parity:
    generator = small("dcgan", 32, 32, 1)

    def drawn(latents: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        with torch.inference_mode():
            pixels = imaging.to_uint8(generator.network(torch.from_numpy(latents)).numpy()).astype(np.int16)
        shift = np.where(pixels > 127, -difference.reshape(1, 32, 32, 1), difference.reshape(1, 32, 32, 1))
        return (pixels + shift).astype(np.uint8)

    return parity.compare(generator, drawn, "one with another", half=half, pixels=True)


def test_the_bounds_of_half_precision_hold_from_both_sides():
    """99.9 % of the pixels within 2 of 255, none above 8: one pixel of 1024 is under a thousandth, two are over."""
    difference = np.zeros(1024, np.int16)
    difference[0] = 8
    found = compared(difference, half=True)
    assert found.largest_pixel == 8 and found.near == pytest.approx(1023 / 1024) and found.equal == found.near
    with pytest.raises(parity.NotEqual):
        compared(difference, half=False)
    for bad in ([9], [3, 3]):
        difference[: len(bad)] = bad
        with pytest.raises(parity.NotEqual, match="without --half"):
            compared(difference, half=True)
    assert compared(np.full(1024, 2, np.int16), half=True).near == 1.0
    assert compared(np.full(1024, 1, np.int16), half=False).equal == 0.0


def test_a_generator_that_draws_no_numbers_is_refused(tmp_path: Path):
    generator = small()
    with torch.no_grad():
        next(generator.network.parameters())[0] = float("nan")
    for name in ("g.onnx", "g.safetensors"):
        with pytest.raises(LimnerError, match="nothing is written"):
            export_generator(generator, tmp_path / name)
    with pytest.raises(InputError, match="float16 cannot hold"):
        export_generator(generator, tmp_path / "g.safetensors", half=True)
    assert not any(tmp_path.iterdir())


class Odd(nn.Module):
    """A generator that asks torch for something that no family does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(z * self.weight)[:, :, None, None]


def test_a_call_that_is_not_known_is_named():
    with pytest.raises(
        NotExportable,
        match="calls torch's special_bessel_j0, which export does not know; it knows adaptive_avg_pool2d, add,",
    ):
        trace(Odd(), 16, 0)


def test_training_mode_leaves_no_trace(tmp_path: Path):
    """A network in training mode is exported as in eval mode: statistics of batches and dropout do not get in."""
    generator = small("dcgan", **{"generator.dropout": 0.5})
    generator.network.train()
    found = export_onnx(generator, tmp_path / "g.onnx").parity
    assert found.largest is not None and found.largest < 1e-5


def test_names_and_extras_are_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, words in (("g.pt", "must end in .onnx or .safetensors"), ("", "must end in")):
        with pytest.raises(InputError, match=words):
            export_generator(small(), tmp_path / name)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match="is a directory"):
        export_generator(small(), tmp_path / "folder.onnx")
    with pytest.raises(InputError, match="--pixels: only ONNX"):
        export_generator(small(), tmp_path / "g.safetensors", pixels=True)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        export_generator(small(), tmp_path / "file" / "g.onnx")
    for package in ("onnx", "onnxruntime"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, package, None)
            with pytest.raises(InputError, match=r"pip install 'limner\[export\]'"):
                export_generator(small(), tmp_path / "g.onnx")


def test_the_command_exports_and_says_what_it_checked(cli: Cli, tmp_path: Path):
    export_safetensors(small("quick", 16, 12, 1), tmp_path / "g.safetensors")
    done = cli("export", "g.safetensors", "--out", "there/g.onnx", "--licence", "CC0-1.0")
    assert done.returncode == 0, done.stderr
    said, checked = done.stdout.splitlines()
    assert said.startswith("there/g.onnx: ") and said.endswith(", opset 18")
    assert checked.startswith("checked: onnxruntime ") and "16 seeds: images in [-1, 1] differ by " in checked
    done = cli("export", "g.safetensors", "--out", "h.safetensors", "--half", "--json")
    values = json.loads(done.stdout)
    assert values["half"] is True and values["opset"] is None and values["parity"]["near"] >= 0.999
    again = cli("generate", "there/g.onnx", "--count", "2", "--out", "drawn")
    assert again.returncode == 0, again.stderr
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"seed-000000.png", "seed-000001.png", "sheet.png"}
    for wrong in (("g.safetensors", "--out", "g.pt"), ("none", "--out", "g.onnx"), ("there/g.onnx", "--out", "i.onnx")):
        done = cli("export", *wrong)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr


def test_the_fifteen_lines_of_the_guide_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    guide = (Path(__file__).parents[1] / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", guide, re.S) if "onnxruntime" in block)
    lines = code.splitlines()
    assert len([line for line in lines if line and not line.startswith(("import", "from"))]) <= 15
    for classes, mode in ((0, "L"), (2, "RGB")):
        generator = small("dcgan", 16, 12, 1 if mode == "L" else 3, classes)
        export_onnx(generator, tmp_path / "maps.onnx", licence="CC0-1.0")
        monkeypatch.chdir(tmp_path)
        exec(code, {})
        assert capsys.readouterr().out.startswith("discs CC0-1.0 onnxruntime ")
        z = np.random.default_rng(0).standard_normal((16, 16), np.float32)
        wanted = generator.draw(z, np.zeros(16, np.int64) if classes else None)
        with Image.open("15.png") as picture:
            assert picture.mode == mode and picture.size == (16, 12)
            assert np.abs(np.asarray(picture).reshape(12, 16, -1).astype(int) - wanted[15]).max() <= 1
