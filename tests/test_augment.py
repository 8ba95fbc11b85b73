"""Augmentation: each change by hand, its gradient, its chances; ADA's controller; noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from limner import noise
from limner.errors import InputError
from limner.noise import Stream
from limner.recipe import Augment
from limner.training import device_noise, transforms
from limner.training.augment import FAKE, FAKE_FOR_GENERATOR, REAL, REAL_FOR_GENERATOR, Augmentation

ALL = ("color", "translation", "cutout")
TURNS = (REAL, FAKE, FAKE_FOR_GENERATOR, REAL_FOR_GENERATOR)


def pictures(count: int = 8, channels: int = 3, height: int = 16, width: int = 24, dtype=torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(count, channels, height, width, generator=generator, dtype=dtype) * 2 - 1


def test_colours_count_as_much_as_they_show():
    """By hand: 0.5 is 191 of 255; half of it is 95.6, and -0.25; none of it is black, -1; opacity is left alone."""
    pixel = torch.tensor([0.5, -1.0, 1.0]).view(1, 3, 1, 1)
    for opacity, wanted in ((1.0, [0.5, -1.0, 1.0]), (0.0, [-0.25, -1.0, 0.0]), (-1.0, [-1.0, -1.0, -1.0])):
        images = torch.cat([pixel, torch.full((1, 1, 1, 1), opacity)], 1)
        found = transforms.premultiplied(images).flatten()
        assert found.tolist() == pytest.approx([*wanted, opacity])
    images = pictures(2, 4, 3, 5, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(transforms.premultiplied, images)
    assert torch.autograd.gradgradcheck(transforms.premultiplied, images)


def several(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def moved(image: Tensor, down: int, right: int) -> Tensor:
    """The slow, obvious translation of one image [c, h, w]."""
    result = torch.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                result[:, y, x] = image[:, y - down, x - right]
    return result


def recolored(image: Tensor, brightness: float, saturation: float, contrast: float) -> Tensor:
    """The three steps one after another, as the papers have them, on one image [c, h, w]."""
    colors = image[:3] + brightness
    if len(image) >= 3:
        mean = colors.mean(0, keepdim=True)
        colors = mean + saturation * (colors - mean)
    middle = 0.0 if len(image) == 4 else colors.mean()
    return torch.cat([middle + contrast * (colors - middle), image[3:]])


def test_hidden_colours_stay_hidden():
    """Pictures that look the same look the same after all changes, whatever their colours are where nothing shows."""
    opacity = torch.where(torch.rand(6, 1, 12, 10, generator=torch.Generator().manual_seed(3)) < 0.5, -1.0, 0.5)
    one = torch.cat([pictures(6, 3, 12, 10), opacity], 1)
    other = torch.where(opacity == -1, -one, one)
    other[:, 3:] = opacity
    augment = Augmentation(Augment(policy=ALL), 5, "cpu")
    changed = [augment(each, np.arange(6), FAKE, 0) for each in (one, other)]
    assert not torch.equal(*changed) and not torch.allclose(changed[0], one)
    shown = [transforms.premultiplied(each) for each in changed]
    torch.testing.assert_close(*shown, rtol=0, atol=1e-6)
    hidden = one.clone().requires_grad_()
    transforms.premultiplied(augment(hidden, np.arange(6), FAKE, 0)).square().sum().backward()
    assert hidden.grad is not None
    behind = (opacity == -1).expand(-1, 3, -1, -1)
    assert hidden.grad[:, :3][behind].abs().max() < 1e-6 < hidden.grad[:, :3][~behind].abs().max()


def test_color_by_hand():
    """Two pixels, (0.3, 0.6, 0.9) and grey 0: means 0.6 and 0, image 0.3."""
    image = several(0.3, 0, 0.6, 0, 0.9, 0).view(1, 3, 1, 2)
    one, none = several(1.0), several(0.0)
    brighter = transforms.change(image, transforms.recolor(3, several(0.25), one, one))
    torch.testing.assert_close(brighter, image + 0.25)
    grey = transforms.change(image, transforms.recolor(3, none, none, one))
    torch.testing.assert_close(grey, several(0.6, 0, 0.6, 0, 0.6, 0).view(1, 3, 1, 2))
    vivid = transforms.change(image, transforms.recolor(3, none, several(2.0), one))
    torch.testing.assert_close(vivid, several(0, 0, 0.6, 0, 1.2, 0).view(1, 3, 1, 2))
    flat = transforms.change(image, transforms.recolor(3, none, one, several(0.5)))
    torch.testing.assert_close(flat, several(0.3, 0.15, 0.45, 0.15, 0.6, 0.15).view(1, 3, 1, 2))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_color_is_its_three_steps(channels: int):
    images = pictures(5, channels, dtype=torch.float64)
    numbers = torch.rand(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    brightness, saturation, contrast = numbers[0] - 0.5, numbers[1] * 2, numbers[2] + 0.5
    found = transforms.change(images, transforms.recolor(channels, brightness, saturation, contrast))
    expected = [recolored(*each) for each in zip(images, brightness, saturation, contrast, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-12, rtol=0)
    assert channels < 4 or torch.equal(found[:, 3], images[:, 3])


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_translation_of_every_distance(format: torch.memory_format):
    """8x17 pixels move by at most 1 and 2."""
    assert transforms.reach(8, 17) == (1, 2) and transforms.reach(64, 64) == (8, 8)
    down, right = (each.flatten() for each in torch.meshgrid(torch.arange(-1, 2), torch.arange(-2, 3), indexing="ij"))
    images = pictures(len(down), 4, 8, 17).contiguous(memory_format=format)
    found = transforms.change(images, move=transforms.Move(down, right))
    expected = torch.stack([moved(*each) for each in zip(images, down.tolist(), right.tolist(), strict=True)])
    assert torch.equal(found, expected) and found.is_contiguous(memory_format=format)


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_cutout_by_hand(format: torch.memory_format):
    """Holes of 4x5 in 8x9 pixels: inside, over the upper left corner, and in an image that was not chosen."""
    assert transforms.hole_size(8, 9) == (4, 5)
    images = torch.ones(3, 4, 8, 9).contiguous(memory_format=format)
    top, left, chosen = torch.tensor([2, -2, 2]), torch.tensor([3, -2, 3]), torch.tensor([True, True, False])
    found = transforms.change(images, cut=transforms.hole(8, 9, top, left, chosen))
    expected = torch.ones(3, 4, 8, 9)
    expected[0, :, 2:6, 3:8] = 0
    expected[1, :, :2, :3] = 0
    assert torch.equal(found, expected)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_gradients_by_numerical_differentiation(channels: int, format: torch.memory_format):
    images = pictures(2, channels, 8, 9, torch.float64).contiguous(memory_format=format).requires_grad_()
    colors = transforms.recolor(channels, several(0.2, -0.3), several(1.7, 0.4), several(0.6, 1.4))
    move = transforms.Move(torch.tensor([1, -1]), torch.tensor([-1, 0]))
    cut = transforms.hole(8, 9, torch.tensor([-1, 5]), torch.tensor([3, 2]), torch.tensor([True, True]))

    def changed(at: Tensor) -> Tensor:
        return transforms.change(at, colors, move, cut)

    assert torch.autograd.gradcheck(changed, images, fast_mode=channels > 1)
    assert torch.autograd.gradgradcheck(lambda at: changed(at).sin(), images, fast_mode=True)


def test_nothing_on_gives_the_images_back():
    images = pictures()
    for settings in (Augment(), Augment(policy=ALL, probability=0.0)):
        augment = Augmentation(settings, 0, "cpu")
        assert not augment.active and augment(images, np.arange(8), REAL, 0) is images


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_adaptive_probability_begins_at_0_and_changes_nothing(channels: int):
    augment = Augmentation(Augment(policy=ALL, target=0.6), 0, "cpu")
    images = pictures(channels=channels)
    assert augment.active and torch.equal(augment(images, np.arange(8), REAL, 0), images)


@pytest.mark.parametrize("policy", ALL)
@pytest.mark.parametrize("probability, low, high", [(0.5, 0.46, 0.54), (0.1, 0.076, 0.124)])
def test_about_so_many_are_hit(policy: str, probability: float, low: float, high: float):
    """2,400 images, within four standard deviations. A change can also be one that leaves an image as it is."""
    augment = Augmentation(Augment(policy=(policy,), probability=probability), 3, "cpu")
    images = torch.rand(2400, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = augment(images, np.arange(2400), REAL, 0)
    hit = (found != images).flatten(1).any(1).double().mean().item()
    # Brightness, saturation and contrast have a chance each; one translation in 25 is none.
    share = {"color": 1 - (1 - probability) ** 3, "translation": probability * 24 / 25, "cutout": probability}[policy]
    assert hit == pytest.approx(share, abs=(high - low) / 2)


def test_always_means_always():
    augment = Augmentation(Augment(policy=("cutout",)), 3, "cpu")
    found = augment(torch.ones(4000, 1, 8, 8), np.arange(4000), REAL, 0)
    assert (found == 0).flatten(1).any(1).all()


def test_what_happens_to_a_sample_is_its_own():
    """The same for a batch, for its halves, and in another order; another turn, seed or index is another matter."""
    images, indices = pictures(8, 3, 33, 20), np.arange(8) + (1 << 33)
    for settings in (Augment(policy=ALL), Augment(policy=ALL, probability=0.5, noise=0.1)):
        augment = Augmentation(settings, 5, "cpu")
        whole = augment(images, indices, FAKE, 100)
        assert torch.equal(whole, Augmentation(settings, 5, "cpu")(images, indices, FAKE, 100))
        halves = [augment(images[part], indices[part], FAKE, 100) for part in (slice(0, 4), slice(4, 8))]
        assert torch.equal(whole, torch.cat(halves))
        assert torch.equal(whole[5:6], augment(images[5:6], indices[5:6], FAKE, 100))
        back = augment(images.flip(0), indices[::-1], FAKE, 100).flip(0)
        assert torch.equal(whole, back)
        assert torch.equal(whole, augment(images.contiguous(memory_format=torch.channels_last), indices, FAKE, 100))
        others = [augment(images, indices, turn, 100) for turn in TURNS if turn != FAKE]
        others += [
            augment(images, indices + 8, FAKE, 100),
            Augmentation(settings, 6, "cpu")(images, indices, FAKE, 100),
        ]
        for other in others:
            assert (other != whole).flatten(1).any(1).sum() >= 6


def test_turns_use_words_of_their_own():
    """Brightness of a black image is the first of a turn's sixteen words."""
    augment = Augmentation(Augment(policy=("color",)), 7, "cpu")
    indices = np.array([4, 9])
    drawn = noise.uniform(7, Stream.AUGMENT, indices, 64)
    for turn in TURNS:
        found = augment(torch.zeros(2, 1, 8, 8), indices, turn, 0)
        assert found[:, 0, 3, 3].tolist() == pytest.approx((drawn[:, 16 * turn] - 0.5).tolist(), abs=1e-6)


def test_ranges():
    """Brightness within half a unit, contrast 0.5 to 1.5, saturation 0 to 2 (Zhao et al. 2020), and all of it is used."""
    count = 3000
    augment = Augmentation(Augment(policy=("color",)), 1, "cpu")
    grey = torch.zeros(count, 1, 8, 8)
    brightness = augment(grey, np.arange(count), REAL, 0)[:, 0, 0, 0]
    grey[:, :, ::2] += 0.5
    grey[:, :, 1::2] -= 0.5
    found = augment(grey, np.arange(count), REAL, 0)
    contrast = (found[:, 0, 0, 0] - found[:, 0, 1, 0]) / 1.0
    rgb = torch.tensor([0.5, 0.0, -0.5]).view(1, 3, 1, 1).expand(count, 3, 8, 8)
    found = augment(rgb.contiguous(), np.arange(count), REAL, 0)
    saturation = (found[:, 0, 0, 0] - found[:, 2, 0, 0]) / contrast
    for values, low, high in ((brightness, -0.5, 0.5), (contrast, 0.5, 1.5), (saturation, 0.0, 2.0)):
        span = high - low
        assert low - 1e-5 <= values.min() <= low + 0.01 * span and high - 0.01 * span <= values.max() <= high + 1e-5
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=4 * span / (12 * count) ** 0.5)


def test_translations_are_uniform():
    """A dot in the middle of 16x24 pixels goes to each of 5 x 7 places equally often."""
    count = 7000
    images = torch.zeros(count, 1, 16, 24)
    images[:, :, 8, 12] = 1
    found = Augmentation(Augment(policy=("translation",)), 1, "cpu")(images, np.arange(count), REAL, 0).sum(0)[0]
    reached = found[6:11, 9:16]
    assert found.sum() == reached.sum() == count
    assert (reached - count / 35).abs().max() < 4.5 * (count / 35) ** 0.5


def test_the_hole_lies_anywhere():
    """In 8 pixels a hole of 4 has its middle at one of 9 places and takes 2, 3, 4, 4, 4, 4, 4, 3 or 2 of them.

    So it takes 30/72 of a side on average; in 9 pixels one of 5 takes 3, 4, 5, 5, 5, 5, 5, 4 or 3, which is 39/81.
    """
    count = 6000
    found = Augmentation(Augment(policy=("cutout",)), 1, "cpu")(torch.ones(count, 1, 8, 9), np.arange(count), REAL, 0)
    holes = found[:, 0] == 0
    tall, wide = holes.any(2).sum(1), holes.any(1).sum(1)
    assert set(tall.tolist()) == {2, 3, 4} and set(wide.tolist()) == {3, 4, 5}
    assert tall.double().mean().item() == pytest.approx(30 / 9, abs=0.04)
    assert wide.double().mean().item() == pytest.approx(39 / 9, abs=0.04)
    assert holes.double().mean().item() == pytest.approx(30 / 72 * 39 / 81, abs=0.005)
    assert torch.equal(holes.sum((1, 2)), tall * wide), "a rectangle"


def test_half_precision_comes_back_as_float32():
    images = pictures().bfloat16().requires_grad_()
    found = Augmentation(Augment(policy=ALL), 0, "cpu")(images, np.arange(8), REAL, 0)
    assert found.dtype == torch.float32
    found.sum().backward()
    assert images.grad.dtype == torch.bfloat16 and images.grad.any()


def test_gradients_through_everything():
    images = pictures(3, 3, 8, 10, torch.float64).requires_grad_()
    augment = Augmentation(Augment(policy=ALL, noise=0.1), 0, "cpu")
    assert torch.autograd.gradcheck(lambda at: augment(at, np.arange(3), REAL, 0), images, fast_mode=True)


def test_wrong_calls():
    with pytest.raises(ValueError, match="8 images"):
        transforms.change(pictures(), move=transforms.Move(torch.tensor([1]), torch.tensor([1])))
    augment = Augmentation(Augment(policy=ALL), 0, "cpu")
    for indices, turn in ((np.arange(7), REAL), (np.arange(8), 4)):
        with pytest.raises(ValueError, match="as many indices"):
            augment(pictures(), indices, turn, 0)
    with pytest.raises(InputError, match="geometry"):
        Augmentation(Augment.model_construct(policy=("geometry",)), 0, "cpu")


def test_the_same_words_as_in_numpy():
    indices = np.array([0, 5, (1 << 40) + 3])
    found = device_noise.words((1 << 62) + 9, Stream.AUGMENT, torch.from_numpy(indices), 2, 6)
    expected = noise.words((1 << 62) + 9, Stream.AUGMENT, indices, 32)[:, 8:]
    assert np.array_equal(found.permute(1, 2, 0).reshape(3, -1).numpy(), expected)
    normals = device_noise.normals(9, Stream.AUGMENT, torch.from_numpy(indices), 0, 31, torch.float64)
    np.testing.assert_allclose(normals.numpy(), noise.normal(9, Stream.AUGMENT, indices, 31), atol=1e-6)


def test_its_size_and_its_end():
    """15 % of a range of 2 is 0.3; half of it is left when half of the images are seen, nothing at the end."""
    augment = Augmentation(Augment(noise=0.15, noise_images=1000), 0, "cpu")
    images = pictures(16, 3, 32, 40)
    whole = augment(images, np.arange(16), REAL, 0) - images
    half = augment(images, np.arange(16), REAL, 500) - images
    assert whole.std().item() == pytest.approx(0.3, rel=0.02) and whole.mean().item() == pytest.approx(0, abs=0.005)
    torch.testing.assert_close(half, whole / 2, atol=1e-6, rtol=0)
    assert augment(images, np.arange(16), REAL, 1000) is images and augment(images, np.arange(16), REAL, 2000) is images
    steady = Augmentation(Augment(noise=0.15), 0, "cpu")
    assert torch.equal(steady(images, np.arange(16), REAL, 10**9) - images, whole)


def test_no_two_pixels_share_it():
    augment = Augmentation(Augment(noise=0.5), 0, "cpu")
    nothing = torch.zeros(4, 4, 32, 32, dtype=torch.float64)
    drawn = torch.stack([augment(nothing, np.arange(4), turn, 0) for turn in TURNS])
    assert len(drawn.unique()) == drawn.numel()
    rows = torch.corrcoef(drawn.flatten(0, 2).flatten(1))
    assert (rows - torch.eye(len(rows))).abs().max() < 5 / 32


ADAPTIVE = Augment(policy=ALL, target=0.6, speed_images=640)


def test_it_rises_and_falls_at_its_speed():
    """64 images are a tenth of 640: so p goes up by 0.1 a batch, stays at 1, and comes down again."""
    augment = Augmentation(ADAPTIVE, 0, "cpu")
    rising, falling = [], []
    for _ in range(12):
        augment.observe(torch.full((64,), 0.3))
        rising.append(augment.probability)
    assert rising == pytest.approx([0.1 * min(step, 10) for step in range(1, 13)], abs=1e-12)
    for _ in range(14):
        augment.observe(torch.full((64,), -5.0))
        falling.append(augment.probability)
    # The mean sign is 1 - 2 (1 - e^(-n/4)) after n batches, near enough: under 0.6 from the first on.
    assert falling == pytest.approx([max(0.0, 1 - 0.1 * step) for step in range(1, 15)], abs=1e-12)


def test_the_recipes_probability_is_the_most_that_it_reaches():
    augment = Augmentation(ADAPTIVE.model_copy(update={"probability": 0.25}), 0, "cpu")
    for _ in range(5):
        augment.observe(torch.ones(64))
    assert augment.probability == 0.25


def test_the_mean_is_of_about_256_images():
    """Each batch of 64 leaves e^(-1/4) of what was known: three batches that are half wrong bring a mean sign of 1 to
    0.779, 0.607 and 0.472. Only the last is under the target of 0.6."""
    augment = Augmentation(ADAPTIVE, 0, "cpu")
    for _ in range(60):
        augment.observe(torch.ones(64))
    signs = []
    for _ in range(3):
        augment.observe(torch.cat([torch.ones(32), -torch.ones(32)]))
        state = augment.state()
        signs.append((state["sign"] / state["weight"]).item())
    assert signs == pytest.approx([np.exp(-step / 4) for step in (1, 2, 3)], abs=1e-5)
    assert augment.probability == pytest.approx(0.9), "1, 1, and one step down"


def test_a_first_batch_counts_in_full():
    """80 % right is a mean sign of 0.6; a little more is over the target, a little less under it."""
    for right, expected in ((81, 100 / 640), (79, 0.0)):
        augment = Augmentation(ADAPTIVE, 0, "cpu")
        augment.observe(torch.cat([torch.ones(right), -torch.ones(100 - right)]))
        assert augment.probability == pytest.approx(expected, abs=1e-12)


def test_a_fixed_probability_does_not_move():
    augment = Augmentation(Augment(policy=ALL, probability=0.3), 0, "cpu")
    augment.observe(torch.ones(1000))
    assert augment.probability == 0.3 and not augment.adaptive and augment.state() == {}


def test_the_probability_is_what_happens():
    augment = Augmentation(ADAPTIVE, 0, "cpu")
    for _ in range(5):
        augment.observe(torch.ones(64))
    images = torch.ones(2000, 1, 8, 8)
    only = Augmentation(Augment(policy=("cutout",), probability=0.5), 0, "cpu")
    hit = (only(images, np.arange(2000), REAL, 0) == 0).flatten(1).any(1)
    fixed = Augmentation(Augment(policy=ALL, probability=0.5), 0, "cpu")
    assert torch.equal(augment(images, np.arange(2000), REAL, 0), fixed(images, np.arange(2000), REAL, 0))
    assert 0.45 < hit.double().mean() < 0.55


def test_state_round_trip():
    first, second = Augmentation(ADAPTIVE, 0, "cpu"), Augmentation(ADAPTIVE, 0, "cpu")
    for logits in (torch.ones(64), torch.ones(37), torch.cat([torch.ones(20), -torch.ones(10)])):
        first.observe(logits)
    kept = {name: value.clone() for name, value in first.state().items()}
    second.restore(kept)
    for logits in (-torch.ones(50), torch.ones(64)):
        first.observe(logits)
        second.observe(logits)
    assert second.state().keys() == first.state().keys()
    assert all(torch.equal(second.state()[name], value) for name, value in first.state().items())
    assert first.probability != kept["probability"].item()
    second.restore({})
    assert second.probability == first.probability
    with pytest.raises(KeyError):
        second.restore({"probability": torch.tensor(1.0)})
