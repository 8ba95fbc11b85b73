"""Features: the network that is shipped, Inception's interface, TorchScript files and functions."""

from __future__ import annotations

import hashlib
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from limner.data.procedural import COLLECTIONS
from limner.errors import InputError
from limner.judging import features as module
from limner.judging.distances.kernel import kernel_distance
from limner.judging.features import (
    WEIGHTS,
    InceptionExtractor,
    LimnerExtractor,
    fetch_inception,
    open_extractor,
    working_size,
)
from limner.judging.features.inception import inception_path
from limner.judging.features.network import load_network

# TorchScript is what the published file is; torch would rather have its successor.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def limner() -> LimnerExtractor:
    return LimnerExtractor()


def some(count: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Smooth random images: noise alone looks much the same whatever is done to it."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 4, 4, channels), dtype=np.uint8)
    shown = [
        [np.asarray(Image.fromarray(image[..., k]).resize((width, height), 3)) for k in range(channels)]
        for image in coarse
    ]
    return np.array(shown, dtype=np.uint8).reshape(count, channels, height, width).transpose(0, 2, 3, 1)


# The network that is shipped


def test_the_shipped_weights_are_small_and_named_by_their_content(limner):
    assert WEIGHTS.stat().st_size <= 4 << 20
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert limner.key == f"limner-{digest[:12]}-{module.PREPROCESSING}"
    opened = open_extractor("limner")
    assert (opened.name, opened.key, opened.dimensions) == ("limner", limner.key, limner.dimensions)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (31, 57), (8, 8), (200, 40), (8, 1024), (300, 301)])
def test_any_size_and_any_channels_give_one_finite_row_each(limner, height, width, channels):
    found = limner(some(3, height, width, channels))
    assert found.shape == (3, limner.dimensions) and found.dtype == np.float32
    assert np.isfinite(found).all()
    assert np.abs(found[0] - found[1]).max() > 0.01  # different images, different features


def test_no_images_give_no_rows(limner):
    assert limner(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, limner.dimensions)


def test_features_of_an_image_do_not_depend_on_its_neighbours(limner):
    images = some(140, 40, 56, 3)  # more than one batch
    together = limner(images)
    np.testing.assert_allclose(limner(images[7:8]), together[7:8], rtol=0, atol=1e-5)
    np.testing.assert_allclose(limner(images[100:]), together[100:], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(LimnerExtractor()(images), together)


def test_transparent_images_do_not_depend_on_their_neighbours_either(limner):
    images = some(6, 64, 64, 4)
    images[[1, 4], ..., 3] = 255
    together = limner(images)
    for place in range(6):
        np.testing.assert_allclose(limner(images[place : place + 1])[0], together[place], rtol=0, atol=1e-5)


def test_grey_is_rgb_of_equal_channels_and_opaque_is_rgb(limner):
    grey = some(4, 64, 64, 1)
    np.testing.assert_allclose(limner(grey), limner(np.repeat(grey, 3, axis=3)), rtol=0, atol=1e-5)
    colour = some(4, 64, 64, 3, seed=1)
    opaque = np.concatenate([colour, np.full((4, 64, 64, 1), 255, np.uint8)], axis=3)
    np.testing.assert_allclose(limner(opaque), limner(colour), rtol=0, atol=1e-5)


def test_transparency_is_seen_and_the_colour_under_it_is_not(limner):
    image = some(1, 64, 64, 4)
    image[..., 3] = 255
    for tone in (0, 128, 255):  # on no colour can a hole hide
        plain, holed = image.copy(), image.copy()
        plain[:, 16:48, 16:48, :3] = holed[:, 16:48, 16:48, :3] = tone
        holed[:, 16:48, 16:48, 3] = 0
        assert np.abs(limner(plain) - limner(holed)).mean() > 0.05
        other = holed.copy()
        other[:, 16:48, 16:48, :3] = 255 - tone
        np.testing.assert_array_equal(limner(other), limner(holed))


def test_transparent_features_are_the_mean_over_black_and_white(limner):
    image = some(2, 64, 64, 4)
    alpha = image[..., 3:] / 255.0
    dark = np.floor(image[..., :3] * alpha + 0.5).astype(np.uint8)
    light = np.floor(image[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    np.testing.assert_allclose(limner(image), (limner(dark) + limner(light)) / 2, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), (64, 64)),
        ((28, 28), (64, 64)),  # enlarged
        ((750, 750), (128, 128)),  # reduced
        ((96, 64), (96, 64)),
        ((500, 750), (104, 160)),  # 128 / sqrt(500 * 750) = 0.209: 104.5 and 156.8, to multiples of 8
        ((8, 1024), (16, 512)),  # the mean is 90.5; the sides meet their bounds
        ((1024, 1024), (128, 128)),
    ],
)
def test_the_working_size_is_a_function_of_the_size(size, expected):
    assert working_size(*size) == expected
    assert working_size(*size[::-1]) == expected[::-1]


def test_features_are_scaled_for_the_kernel(limner):
    """The cubic kernel is neither linear nor a power of nothing else where a feature's mean square is about 1."""
    for name, collection in COLLECTIONS.items():
        images = np.stack([np.asarray(collection.draw(index, (64, 64), 3).convert("RGB")) for index in range(30)])
        assert 0.2 < float((limner(images) ** 2).mean()) < 5, name


def test_distances_grow_with_noise_and_with_blur(limner):
    """Real halves against each other are nearer than any disturbance, and each disturbance nearer than a stronger one."""
    draw = COLLECTIONS["initials"].draw
    images = np.stack([np.asarray(draw(index, (64, 64), 4)) for index in range(200)])[..., None]
    first, second = images[:100], images[100:]
    random = np.random.default_rng(0)
    noisy = [
        np.clip(second + random.normal(0, 255 * strength, second.shape), 0, 255).astype(np.uint8)
        for strength in (0, 0.08, 0.16, 0.32)
    ]
    blurred = [
        np.stack([np.asarray(Image.fromarray(one[..., 0]).filter(ImageFilter.GaussianBlur(radius))) for one in second])
        for radius in (0, 0.7, 1.1, 2.0)
    ]
    reference = limner(first)
    for copies in (noisy, [copy[..., None] for copy in blurred]):
        values = [float(kernel_distance(reference, limner(copy)).value) for copy in copies]
        assert values == sorted(values) and values[-1] > 10 * abs(values[0]), values


def test_damaged_weights_say_so(tmp_path):
    with pytest.raises(InputError, match="install Limner again"):
        load_network(tmp_path / "missing.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(WEIGHTS.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"broken\.safetensors"):
        load_network(broken)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8, 2), np.uint8), np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3), np.float32)]
)
def test_what_is_no_image_is_refused(limner, images):
    with pytest.raises(InputError, match="must be uint8"):
        limner(images)


# TorchScript


class Likeness(nn.Module):
    """The interface of the published Inception file: uint8 images, features on request, else class probabilities."""

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        assert img.dtype == torch.uint8
        if not return_features:
            return torch.zeros(img.shape[0], 1008)
        values = img.float()
        return torch.cat([values.mean((2, 3)), values.amax((2, 3))], dim=1)


class Means(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class Flat(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1)


class Infinite(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return 1 / (images.mean((2, 3)) * 0)


class Picky(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[2] == 224, "only 224 pixels"
        return images.mean((2, 3))


def script(network: nn.Module, path: Path) -> Path:
    torch.jit.script(network).save(str(path))
    return path


def test_inception_gets_what_the_reference_gives_it(tmp_path):
    path = script(Likeness(), tmp_path / "small.pt")
    extractor = open_extractor(f"inception:{path}")
    images = some(40, 20, 30, 3)  # more than one batch
    found = extractor(images)
    np.testing.assert_allclose(found[:, :3], images.astype(float).mean((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(found[:, 3:], images.max((1, 2)))
    assert "not the published weights" in extractor.name and extractor.dimensions == 6
    assert re.fullmatch(r"inception-[0-9a-f]{12}-\d+", extractor.key)
    grey = some(2, 20, 30, 1)
    np.testing.assert_allclose(extractor(grey)[:, :3], np.repeat(grey.astype(float).mean((1, 2)), 3, axis=1), rtol=1e-5)


def test_inception_is_taken_from_the_cache_and_never_fetched_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("limner.judging.features.inception.urlopen", lambda *a, **k: pytest.fail("went to the network"))
    with pytest.raises(InputError, match="--download") as caught:
        open_extractor("inception", cache_dir=tmp_path)
    assert "\n" not in str(caught.value)
    inception_path(tmp_path).parent.mkdir(parents=True)
    path = script(Likeness(), inception_path(tmp_path))
    with pytest.raises(InputError, match="wrong SHA-256"):
        open_extractor("inception", cache_dir=tmp_path)
    monkeypatch.setattr(module, "INCEPTION_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    opened = open_extractor("inception", cache_dir=tmp_path)
    assert isinstance(opened, InceptionExtractor) and opened.name == "inception" and opened.dimensions == 2048


def test_fetching_keeps_the_right_file_and_no_other(tmp_path):
    content = b"weights" * 200_000
    (tmp_path / "served").write_bytes(content)
    url, digest = (tmp_path / "served").as_uri(), hashlib.sha256(content).hexdigest()
    cache = tmp_path / "cache"
    with pytest.raises(InputError, match="sent another file") as caught:
        fetch_inception(cache, url=url)
    assert "\n" not in str(caught.value)
    assert list(inception_path(cache).parent.iterdir()) == []
    pieces: list[int] = []
    path = fetch_inception(cache, url=url, sha256=digest, advance=pieces.append)
    assert path == inception_path(cache) and path.read_bytes() == content and sum(pieces) == len(content)
    assert list(path.parent.iterdir()) == [path]
    fetch_inception(cache, url="http://nowhere.invalid/", sha256=digest)  # it is there: nothing is asked
    path.write_bytes(b"damaged")
    assert fetch_inception(cache, url=url, sha256=digest).read_bytes() == content


def test_offline_says_so_in_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: whoever asks is refused
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match="check the network") as caught:
            fetch_inception(tmp_path, url=f"http://127.0.0.1:{port}/inception.pt", timeout=5)
    assert "\n" not in str(caught.value)
    assert not inception_path(tmp_path).exists()


def test_any_torchscript_gets_floats_and_its_key_is_its_content(tmp_path):
    path = script(Means(), tmp_path / "means.pt")
    extractor = open_extractor(str(path))
    images = np.zeros((2, 9, 7, 3), np.uint8)
    images[0, ..., 1] = 255
    np.testing.assert_allclose(extractor(images), [[-1, 1, -1], [-1, -1, -1]], atol=1e-6)
    assert open_extractor(path).key == extractor.key and extractor.dimensions == 3
    assert open_extractor(script(Flat(), tmp_path / "flat.pt")).key != extractor.key
    half = np.full((1, 8, 8, 4), 255, np.uint8)
    half[..., 3] = 51  # a fifth of white: 51 on black, 255 on white; their mean is 153, or 0.2 in [-1, 1]
    np.testing.assert_allclose(extractor(half), [[0.2, 0.2, 0.2]], atol=1e-6)


@pytest.mark.parametrize(
    ("network", "says"), [(Flat(), r"shape \[2, 8, 8\]"), (Infinite(), "not finite"), (Picky(), "failed on a batch")]
)
def test_a_network_that_does_not_fit_is_named(tmp_path, network, says):
    path = script(network, tmp_path / "odd.pt")
    with pytest.raises(InputError, match=says) as caught:
        open_extractor(path)(some(2, 8, 8, 3))
    assert "odd.pt" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_torchscript_is_refused(tmp_path):
    path = tmp_path / "text.pt"
    path.write_text("no network")
    with pytest.raises(InputError, match="no TorchScript file") as caught:
        open_extractor(path)
    assert "\n" not in str(caught.value)


# Functions, and what is not there


def brightness(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1, images.shape[3]).mean(1)


def test_a_function_gets_the_images_as_they_are():
    extractor = open_extractor(brightness)
    images = some(130, 10, 12, 4)
    np.testing.assert_allclose(extractor(images), images.astype(float).mean((1, 2)), rtol=1e-5)
    assert extractor.dimensions == 4 and extractor.name == "brightness"
    assert extractor(images[:0]).shape == (0, 4)
    assert open_extractor(brightness).key == extractor.key
    assert re.fullmatch(r"[\w.-]+", extractor.key)


def test_a_function_is_found_by_name_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "our_features_1.py").write_text("def reds(images):\n    return images[:, 0, :, 0].tolist()\n")
    extractor = open_extractor("our_features_1:reds")
    images = some(2, 6, 5, 3)
    np.testing.assert_array_equal(extractor(images), images[:, 0, :, 0])
    with pytest.raises(InputError, match="cannot be imported"):
        open_extractor("our_features_1:greens")
    with pytest.raises(InputError, match="cannot be imported"):
        open_extractor("no_such_module_1:reds")


def test_a_changed_function_has_another_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (2, 3):
        (tmp_path / f"our_features_{number}.py").write_text(
            f"def tone(images):\n    return images[:, 0, :, 0] * {number}\n"
        )
    assert open_extractor("our_features_2:tone").key != open_extractor("our_features_3:tone").key


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda images: np.zeros((len(images) + 1, 3)), r"shape \[3, 3\] for 2 images"),
        (lambda images: np.full((len(images), 3), np.nan), "not finite"),
        (lambda images: 1 / 0, "division by zero"),
        (lambda images: "features", "numbers"),
    ],
)
def test_a_function_that_answers_nonsense_is_refused(function, says):
    with pytest.raises(InputError, match=says):
        open_extractor(function)(some(2, 8, 8, 3))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("limnr", "did you mean limner"),
        ("nonsense", "inception"),
        ("nowhere.pt", "no file nowhere.pt"),
        ("inception:nowhere", "no file nowhere"),
    ],
)
def test_what_is_not_there_is_named(spec, says):
    with pytest.raises(InputError, match=says) as caught:
        open_extractor(spec)
    assert "\n" not in str(caught.value)
