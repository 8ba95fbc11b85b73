"""Networks without numbers: what they say of those with numbers, and that looking at them is quick."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from limner.networks import build, outline
from limner.networks.outline import drawing_bytes, outlines
from limner.recipe import Recipe
from limner.recipe import names as recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_a_batch_of_no_pictures_takes_the_shapes_of_one(name: str) -> None:
    """The plain way, a picture without numbers, is the reference."""
    width = {} if name == "vanilla" else {"generator.width": 4, "discriminator.width": 4}
    recipe = Recipe.load(name, {"image.width": 75, "image.height": 49, "image.channels": 3, **width})
    conditional = recipe.network.conditioning != "none"
    recipe = recipe.changed({"network.classes": ["a", "b"]}) if conditional else recipe
    with outlines():
        network, _ = build(recipe, width=75, height=49, channels=3, classes=2 * conditional)
    most = 0

    def measure(_: torch.nn.Module, given: tuple[object, ...], made: torch.Tensor) -> None:
        nonlocal most
        most = max(most, sum(one.nbytes for one in (*given, made) if isinstance(one, torch.Tensor)))

    hooks = [module.register_forward_hook(measure) for module in network.modules()]
    labels = (torch.zeros(1, dtype=torch.int64, device="meta"),) if conditional else ()
    with torch.inference_mode():
        network.eval()(torch.empty(1, recipe.network.latent, device="meta"), *labels)
    for hook in hooks:
        hook.remove()
    assert drawing_bytes(network, recipe.network.latent, 2 * conditional) == most > 4 * 75 * 49 * 3


@pytest.mark.parametrize("size", [(64, 8), (33, 97)])
@pytest.mark.parametrize("norm", ["batch", "instance", "layer", "spectral", "none"])
@pytest.mark.parametrize("upsample", ["transposed", "nearest", "bilinear", "pixel-shuffle"])
def test_every_kind_of_layer_is_seen(upsample: str, norm: str, size: tuple[int, int]) -> None:
    """What it would take is known, and close to what the memory of a picture in the layers is by itself."""
    recipe = Recipe.load(
        "dcgan",
        {
            **{"image.width": size[0], "image.height": size[1], "image.channels": 3, "generator.norm": norm},
            **{"generator.upsample": upsample, "generator.width": 4, "discriminator.width": 4},
        },
    )
    with outlines():
        network, _ = build(recipe, width=size[0], height=size[1], channels=3)
    found = drawing_bytes(network, recipe.network.latent, 0)
    assert 2 * 4 * 3 * size[0] * size[1] <= found <= 4 * (4 + 32) * 4 * size[0] * size[1]


def test_heavy_weights_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.load("dcgan", {"image.width": 32, "image.height": 32, "image.channels": 3})
    with outlines():
        network, _ = build(recipe, width=32, height=32, channels=3)
    light = drawing_bytes(network, recipe.network.latent, 0)
    monkeypatch.setattr(outline, "LIGHT", 1)
    monkeypatch.setattr(torch, "zeros", None)
    assert drawing_bytes(network, recipe.network.latent, 0) == light


@pytest.mark.parametrize("name", ["fewshot", "dcgan", "sngan", "r3gan", "mapmaker", "quick"])
def test_the_first_picture_does_not_wait_for_the_compiler(name: str, tmp_path: Path) -> None:
    """torch imports its compiler for operations on tensors without numbers: a second, of which nobody has anything."""
    sizes = {"image.width": 32, "image.height": 32, "image.channels": 3}
    recipe = Recipe.load(name, {**sizes, "generator.width": 4, "discriminator.width": 4})
    network, _ = build(recipe, width=32, height=32, channels=3)
    file = tmp_path / "generator.safetensors"
    about = {"format": "limner-generator-1", "recipe": recipe.to_toml(), "images": "0"}
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, file, about)
    script = (
        "import sys; from limner.generator import load; load(sys.argv[1]).draw_seeds([0]);"
        "print(*(name for name in ('torch', 'torch._dynamo', 'sympy') if name in sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["torch"]
