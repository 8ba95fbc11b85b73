"""Warm start: what fits is copied, what does not stays as it was drawn, and a resumed training needs the source no more."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import limner
from limner import rundir
from limner.data import prepare
from limner.errors import InputError
from limner.generator import load
from limner.networks import build
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.training.alignment import aligned, layers_of, paired
from limner.training.assembly import assemble, resolved
from limner.training.display import Quiet
from limner.training.warm_start import begin, take

SMALL = {
    "generator.width": 4,
    "discriminator.width": 4,
    "network.latent": 8,
    "training.batch_size": 8,
    "training.images": 16,
    "snapshots.grid": 4,
    "evaluation.share": 0,
    "training.device": "cpu",
    "training.precision": "float32",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two updates on grey noise of 16x16."""
    folder = tmp_path_factory.mktemp("source")
    np.save(folder / "noise.npy", np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8))
    limner.train(folder / "noise.npy", "quick", overrides=SMALL, runs=folder, name="run", display=Quiet())
    return folder / "run"


def pair(seed: int = 1, size: tuple[int, int] = (16, 16), channels: int = 1, **more: object):
    """A new pair of networks and its resolved recipe."""
    overrides = {**SMALL, "training.seed": seed, **{key.replace("__", "."): value for key, value in more.items()}}
    overrides |= {"image.width": size[0], "image.height": size[1], "image.channels": channels}
    recipe = Recipe.load("quick", overrides)
    return *build(recipe, width=size[0], height=size[1], channels=channels), recipe


def kept(source: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The source's averaged generator and its discriminator."""
    tensors = load_file(RunDir(source).newest_checkpoint()[1] / rundir.TRAINING)
    generator, discriminator = (
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        for prefix in ("average.", "discriminator.")
    )
    return generator, discriminator


def convolutions(network: nn.Module) -> list[Tensor]:
    return [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]


def test_the_same_networks_are_taken_whole(source: Path):
    generator, discriminator, recipe = pair()
    taken = take(generator, discriminator, source, recipe)
    for network, theirs in zip((generator, discriminator), kept(source), strict=True):
        mine = network.state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert not taken.generator.new and not taken.discriminator.new
    count = len(generator.state_dict())
    assert taken.describe().startswith(f"from {source} (16 images): {count} of {count} tensors of the generator (100 %")
    # The averaged generator, not the trained one, and they differ.
    tensors = load_file(RunDir(source).newest_checkpoint()[1] / rundir.TRAINING)
    first = next(iter(generator.state_dict()))
    assert not torch.equal(tensors[f"generator.{first}"], generator.state_dict()[first])


def test_other_channels_leave_the_layers_next_to_the_picture(source: Path):
    generator, discriminator, recipe = pair(channels=3)
    fresh = pair(channels=3)[:2]
    taken = take(generator, discriminator, source, recipe)
    for network, untouched, place in zip((generator, discriminator), fresh, (-1, 0), strict=True):
        assert torch.equal(convolutions(network)[place], convolutions(untouched)[place])
    assert len(taken.generator.new) == len(taken.discriminator.new) == 1
    assert all("3 instead of 1" in why for part in (taken.generator, taken.discriminator) for why in part.new.values())
    last = convolutions(generator)[-1].numel()
    total = sum(parameter.numel() for parameter in generator.parameters())
    assert taken.generator.parameters == (total - last, total)
    assert "3 instead of 1" in taken.describe()


def test_a_larger_size_keeps_both_ends_and_adds_in_between(source: Path):
    """16 px has bases of 4x4 with 8 channels (4, 8); 32 px goes on to 16: only the step from 8 to 16 channels is new, and
    what touches the base."""
    generator, discriminator, recipe = pair(size=(32, 32))
    theirs = kept(source)
    taken = take(generator, discriminator, source, recipe)
    # G: latent -> 16 (other channels: new), 16 -> 8 (new), 8 -> 4 and 4 -> 1 as in the source.
    shapes = [tuple(weight.shape) for weight in convolutions(generator)]
    assert shapes == [(8, 16, 4, 4), (16, 8, 4, 4), (8, 4, 4, 4), (4, 1, 4, 4)]
    of_source = [tensor for tensor in theirs[0].values() if tensor.dim() == 4]
    for mine, other in zip(convolutions(generator)[2:], of_source[1:], strict=True):
        assert torch.equal(mine, other)
    of_source = [tensor for tensor in theirs[1].values() if tensor.dim() == 4]
    for mine, other in zip(convolutions(discriminator)[:2], of_source[:2], strict=True):
        assert torch.equal(mine, other)
    assert len(taken.generator.taken) + len(taken.generator.new) == len(generator.state_dict())
    assert 0 < taken.generator.parameters[0] < taken.generator.parameters[1]


def test_what_lies_between_the_layers_does_not_part_them(source: Path):
    """Dropout has no weights, but moves the names of all that follows; another normalisation leaves the convolutions."""
    theirs = kept(source)
    for more in ({"generator__dropout": 0.3, "discriminator__dropout": 0.3}, {"discriminator__norm": "layer"}):
        generator, discriminator, recipe = pair(**more)
        taken = take(generator, discriminator, source, recipe)
        for network, tensors in zip((generator, discriminator), theirs, strict=True):
            weights = [tensor for tensor in tensors.values() if tensor.dim() == 4]
            assert all(map(torch.equal, convolutions(network), weights))
            assert len(convolutions(network)) == len(weights)
        assert not taken.generator.new
        assert bool(taken.discriminator.new) == ("discriminator__norm" in more)
        assert set(taken.discriminator.new.values()) <= {"its layer is another one", "has no counterpart"}


def test_normalised_weights_are_others(source: Path):
    """What is divided by its spectral norm is no plain weight, and its bias is not taken alone."""
    generator, discriminator, recipe = pair(discriminator__norm="spectral")
    taken = take(generator, discriminator, source, recipe)
    assert taken.discriminator is not None and not taken.discriminator.taken and not taken.generator.new


def test_a_layer_of_other_width_is_said_with_its_own_counterpart(source: Path):
    """Wider by half: only what is as wide as the picture's channels has one size in common."""
    generator, discriminator, recipe = pair(generator__width=6, discriminator__width=4)
    new = take(generator, discriminator, source, recipe).generator.new
    shapes = {name: list(tensor.shape) for name, tensor in generator.state_dict().items()}
    of_source = [list(tensor.shape) for tensor in kept(source)[0].values() if tensor.dim() == 4]
    weights = [name for name in new if len(shapes[name]) == 4]
    assert shapes[weights[0]] == [8, 12, 4, 4] and new[weights[0]] == "12 instead of 8 in [8, 12, 4, 4]"
    assert new[weights[1]] == f"[12, 6, 4, 4] instead of {of_source[1]}" == "[12, 6, 4, 4] instead of [8, 4, 4, 4]"
    assert not any(name.endswith(".bias") and name not in new for name in shapes)  # no bias without its weights
    assert new[weights[2]] == "6 instead of 4 in [6, 1, 4, 4]"


def test_layers_are_put_side_by_side_in_their_order_not_by_name(tmp_path: Path):
    """A file has its tensors by name: ``last`` after ``decoder``, and number 10 before number 2."""
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8))
    for family, more in (("fewshot", {}), ("quick", {"discriminator.kernel": 4, "image.max_side": 64})):
        name = f"{family}-run"
        limner.train(tmp_path / "noise.npy", family, overrides=SMALL | more, runs=tmp_path, name=name, display=Quiet())
        recipe = RunDir.open(tmp_path / name).recipe()
        networks = build(recipe.changed({"training.seed": 8}), width=16, height=16, channels=1)
        taken = take(*networks, tmp_path / name, recipe)
        assert taken.discriminator is not None and not taken.discriminator.new
        larger = recipe.changed({"image.width": 32, "image.height": 32})
        networks = build(larger, width=32, height=32, channels=1)
        discriminator = networks[1]
        taken = take(*networks, tmp_path / name, larger)
        theirs = load_file(RunDir.open(tmp_path / name).newest_checkpoint()[1] / rundir.TRAINING)
        mine, pairs = (
            discriminator.state_dict(),
            paired(discriminator.state_dict(), ordered(recipe, theirs), False, True),
        )
        assert taken.discriminator is not None and set(pairs) == set(taken.discriminator.taken)
        assert all(torch.equal(mine[name], theirs[f"discriminator.{other}"]) for name, other in pairs.items())


def ordered(recipe: Recipe, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A discriminator's tensors as its network has them."""
    network = build(recipe, width=16, height=16, channels=1)[1]
    return {name: tensors[f"discriminator.{name}"] for name in network.state_dict()}


def linear(widths: list[int]) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(inside, outside) for inside, outside in pairwise(widths)))


def test_where_blocks_are_alike_the_base_decides():
    """Two blocks 4 -> 4 beside three: a generator keeps the first two, next to the latent; a discriminator the last two."""
    few, many = (layers_of(linear([2, *[4] * count, 3]).state_dict()) for count in (3, 4))
    assert aligned(many, few, False) == [("0", "0"), ("1", "1"), ("2", "2"), ("4", "3")]
    assert aligned(many, few, True) == [("0", "0"), ("2", "1"), ("3", "2"), ("4", "3")]


def test_the_heaviest_common_layers_win():
    """One big layer outweighs two small ones that stand in the other order."""
    mine = layers_of(linear([2, 3, 2, 50, 60]).state_dict())
    theirs = layers_of(linear([50, 60, 2, 3, 2]).state_dict())
    assert aligned(mine, theirs, False) == [("3", "0")]


def test_spectral_normalisation_belongs_to_its_layer():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2))
    layers = layers_of(nn.Sequential(layer).state_dict())
    assert list(layers) == ["0"] and len(layers["0"]) == 4


def test_a_file_has_no_discriminator(source: Path, tmp_path: Path):
    file = shutil.copy(RunDir(source).newest_checkpoint()[1] / rundir.GENERATOR, tmp_path / "mine.safetensors")
    generator, discriminator, recipe = pair()
    before = [parameter.clone() for parameter in discriminator.parameters()]
    taken = take(generator, discriminator, file, recipe)
    assert taken.discriminator is None and "no discriminator" in taken.describe()
    assert all(torch.equal(a, b) for a, b in zip(before, discriminator.parameters(), strict=True))
    assert taken.event()["discriminator"] is None
    z = torch.zeros(2, 8)
    assert torch.allclose(generator.eval()(z), load(file).network(z), atol=1e-6)


def test_what_cannot_be_taken_is_refused_in_one_line_and_changes_nothing(source: Path, tmp_path: Path):
    generator, discriminator, recipe = pair()
    other = recipe.changed({"network.family": "mlp"})
    wide = pair(generator__width=6, discriminator__width=6, network__latent=9)
    before = [parameter.clone() for network in wide[:2] for parameter in network.parameters()]
    for call, words in (
        (lambda: take(generator, discriminator, source, other), "of the dcgan family, and this training is of mlp"),
        (
            lambda: take(wide[0], wide[1], source, wide[2]),
            r"not one layer has the shapes .*\(network.latent = 8, generator.width = 4, discriminator.width = 4\)",
        ),
        (lambda: take(generator, discriminator, tmp_path / "nothing", recipe), "no such run directory"),
        (lambda: take(generator, discriminator, source, recipe, at="77"), "no such snapshot"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1
    after = [parameter for network in wide[:2] for parameter in network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_loop_begins_with_the_average_equal_to_what_it_took(source: Path, pictures: Path):
    recipe = Recipe.load("quick", {**SMALL, "training.seed": 5, "ema.half_life": 1000})
    collection = prepare(pictures, recipe.image)
    device = torch.device("cpu")
    loop = assemble(resolved(recipe, collection, device), collection, device)
    taken = begin(loop, source)
    theirs = kept(source)[0]
    for network in (loop.step.generator, loop.average.network):
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in network.state_dict().items())
    loop.advance()
    moved = dict(loop.step.generator.named_parameters())
    averaged = dict(loop.average.network.named_parameters())
    name = next(iter(moved))
    assert not torch.equal(moved[name], theirs[name])
    # The average follows the network that is trained, from where it began.
    assert (averaged[name] - theirs[name]).abs().max() <= (moved[name] - theirs[name]).abs().max()
    assert not torch.equal(averaged[name], theirs[name])
    told = json.loads(json.dumps(taken.event()))
    assert told["event"] == "warm start" and told["images"] == 0 and told["source_images"] == 16


def test_what_belongs_to_a_class_is_taken_for_the_same_classes_only(tmp_path: Path):
    """Two trainings on classes of other names: their convolutions agree, their embeddings do not."""
    pictures = np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8)
    for name, labels in {"old": ["oak", "elm"], "same": ["oak", "elm"], "other": ["sun", "moon"]}.items():
        np.savez(tmp_path / f"{name}.npz", images=pictures, labels=np.array(labels)[np.arange(24) % 2])
    settings = {**SMALL, "network.conditioning": "projection"}
    limner.train(tmp_path / "old.npz", "quick", overrides=settings, runs=tmp_path, name="run", display=Quiet())
    of_classes = {}
    for name in ("same", "other"):
        recipe = Recipe.load("quick", {**settings, "training.seed": 3})
        collection, device = prepare(tmp_path / f"{name}.npz", recipe.image), torch.device("cpu")
        loop = assemble(resolved(recipe, collection, device), collection, device)
        taken = begin(loop, tmp_path / "run")
        assert taken.discriminator is not None
        assert any(tensor.endswith(".weight") and "gains" not in tensor for tensor in taken.generator.taken)
        names = {tensor for tensor in taken.generator.taken if "gains" in tensor or "biases" in tensor}
        of_classes[name] = names | {tensor for tensor in taken.discriminator.taken if "projection" in tensor}
    assert len(of_classes["same"]) >= 3 and not of_classes["other"]
