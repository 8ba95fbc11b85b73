"""Classes in the networks: what depends on the label, what does not, and that every class can be learned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from limner.networks import mapmaker
from limner.networks.conditioning import ClassifiedLatent, Projection
from limner.networks.norms import ConditionalNorm, norm
from limner.tables import NETWORKS
from networks_support import build, everything_said, nudged, without_gradient

CLASSES = {"network.classes": ["a", "b", "c"]}
WAYS = [(family, way) for family, entry in NETWORKS.items() for way in entry.conditions]
NORMS = ["batch", "instance", "layer", "none", "spectral"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def check(generator: nn.Module, discriminator: nn.Module, way: str, latent: int = 16) -> None:
    """Labels change the pictures; of the discriminator's answers they change what they should; every weight is reached."""
    for network in (generator, discriminator):
        nudged(network, 0.2)
    labels = torch.tensor([0, 1, 2, 0])
    images = generator(torch.randn(4, latent), labels)
    generator.eval()
    discriminator.eval()
    z = torch.randn(1, latent).expand(4, -1)
    drawn = generator(z, labels)
    assert torch.allclose(drawn[0], drawn[3], atol=1e-5)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (drawn[first] - drawn[second]).abs().max() > 1e-4
    with pytest.raises(ValueError, match="needs the label"):
        generator(z)
    generator.train()
    discriminator.train()
    everything_said(discriminator, images, labels).backward()
    assert without_gradient(generator, discriminator) == []
    discriminator.eval()
    opinion = discriminator.opinion(images, labels)
    assert torch.allclose(discriminator(images, labels), opinion.logits, atol=1e-5)
    if way == "projection":
        assert discriminator.auxiliary.isdisjoint({"classes"}) and opinion.classes is None
        other = discriminator(images, torch.ones_like(labels))
        assert (opinion.logits - other)[[0, 2, 3]].abs().min() > 1e-5 and torch.allclose(opinion.logits[1], other[1])
        with pytest.raises(ValueError, match="needs the label"):
            discriminator(images)
    else:
        assert "classes" in discriminator.auxiliary and opinion.classes.shape == (4, 3)
        assert torch.allclose(discriminator(images), opinion.logits, atol=1e-5), "the logit does not know the label"


@pytest.mark.parametrize("size", [(33, 97), (8, 9)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize(("family", "way"), WAYS)
def test_every_family_that_can(family: str, way: str, size: tuple[int, int]):
    pair = build(family, *size, **CLASSES, **{"network.conditioning": way})
    check(*pair, way)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("way", ["projection", "acgan"])
def test_every_normalisation(way: str, name: str):
    switches = {"generator.norm": name, "discriminator.norm": name, "network.conditioning": way}
    generator, discriminator = build("dcgan", 17, 20, **CLASSES, **switches)
    conditional = sum(isinstance(module, ConditionalNorm) for module in generator.modules())
    assert conditional == (0 if name in ("none", "spectral") else 2)
    assert isinstance(generator.latent.embedding, nn.Embedding) == (conditional == 0)
    check(generator, discriminator, way)


@pytest.mark.parametrize("family", ["dcgan", "fewshot", "mapmaker"])
def test_a_class_is_as_loud_as_the_latent_vector_under_spectral_normalisation(family: str):
    """Its embedding is input, with numbers of the size of z's, and not a layer whose norm has to be 1."""
    switches = {"generator.norm": "spectral", "network.conditioning": "projection", "network.latent": 100}
    generator, _ = build(family, 32, 32, **CLASSES, **switches)
    assert isinstance(generator.latent.embedding, nn.Embedding)
    rows = generator.latent.embedding.weight
    assert not hasattr(generator.latent.embedding, "parametrizations") and 0.8 < rows.std() < 1.2
    layers = [
        module for module in generator.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]
    assert layers and all(hasattr(layer, "parametrizations") for layer in layers)


@pytest.mark.parametrize("name", ["batch", "none"])
@pytest.mark.parametrize("way", ["projection", "acgan"])
def test_mapmaker(way: str, name: str):
    shape = {"width_px": 33, "height_px": 20, "channels": 3, "classes": 3}
    others = {"width": 4, "activation": "silu", "slope": 0.2, "norm": name}
    generator = mapmaker.Generator(latent=16, smooth=3, **shape, **others)
    check(generator, mapmaker.Discriminator(conditioning=way, **shape, **others), way)


def test_without_classes_labels_do_nothing():
    for family in NETWORKS:
        generator, discriminator = build(family, 16, 16)
        generator.eval()
        discriminator.eval()
        z, labels = torch.randn(2, 16), torch.tensor([0, 1])
        assert torch.equal(generator(z, labels), generator(z))
        images = generator(z)
        assert torch.equal(discriminator(images, labels), discriminator(images))


@pytest.mark.parametrize(("family", "way"), WAYS)
def test_conditioned_weights_follow_from_the_seed_alone(family: str, way: str):
    def weights(seed: int) -> torch.Tensor:
        pair = build(family, 16, 16, **CLASSES, **{"network.conditioning": way, "training.seed": seed})
        return torch.cat([value.flatten().float() for network in pair for value in network.state_dict().values()])

    first = weights(3)
    torch.manual_seed(99)
    assert torch.equal(weights(3), first)
    assert not torch.equal(weights(4), first)


@pytest.mark.parametrize("name", ["batch", "instance", "layer"])
def test_conditional_norm_gives_each_class_its_mean_and_deviation(name: str):
    (layer,) = norm(name, 2, classes=3)
    assert isinstance(layer, ConditionalNorm)
    features = 3 * torch.randn(4, 2, 50, 40) + 7
    labels = torch.tensor([2, 0, 1, 1])
    plain = layer(features, labels)
    assert torch.allclose(plain, nn.Sequential(*norm(name, 2))(features), atol=1e-5), "gains start at 1, offsets at 0"
    with torch.no_grad():
        layer.gains.weight.copy_(torch.tensor([[1.0, 2], [3, 4], [5, 6]]))
        layer.biases.weight.copy_(torch.tensor([[-1.0, 0], [1, 2], [3, 10]]))
    found = layer(features, labels)
    assert torch.allclose(found[0, 1], plain[0, 1] * 6 + 10, atol=1e-5)
    assert torch.allclose(found[1, 0], plain[1, 0] - 1, atol=1e-5)
    assert torch.allclose(found[3, 1], plain[3, 1] * 4 + 2, atol=1e-5)
    assert found.mean((0, 2, 3))[0].item() == pytest.approx((3 - 1 + 1 + 1) / 4, abs=0.2)


def test_gains_start_at_one_in_a_built_pair():
    generator, _ = build("dcgan", **CLASSES, **{"network.conditioning": "projection"})
    gains = [module.gains.weight for module in generator.modules() if isinstance(module, ConditionalNorm)]
    assert len(gains) == 4 and all((gain == 1).all() and gain.shape[0] == 3 for gain in gains)


def test_projection_is_an_inner_product():
    projection = Projection(2, 4)
    with torch.no_grad():
        projection.embedding.weight.copy_(torch.tensor([[1.0, 2, 3, 4], [0, -1, 0, 1]]))
    features = torch.tensor([[[1.0, 1], [1, 1]], [[5, 7], [9, 10]]])[:, None]
    assert projection(features, torch.tensor([0, 1])).tolist() == [10, 3]
    assert projection(features, torch.tensor([1, 0])).tolist() == [0, 5 + 14 + 27 + 40]
    projection.draw(0.02)
    assert 0.001 < projection.embedding.weight.std() < 0.05


def test_the_class_is_joined_to_the_latent():
    joined = ClassifiedLatent(200, 5)
    assert joined.length == 328, "an embedding has 128 numbers at most"
    z = torch.randn(3, 200)
    values = joined(z, torch.tensor([4, 0, 4]))
    assert torch.equal(values[:, :200], z)
    assert torch.equal(values[0, 200:], values[2, 200:]) and torch.equal(values[0, 200:], joined.embedding.weight[4])
    assert 0.8 < joined.embedding.weight.std() < 1.2
    assert ClassifiedLatent(16, 5).length == 32 and ClassifiedLatent(16, 0).length == 16
