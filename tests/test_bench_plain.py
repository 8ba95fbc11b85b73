"""Everything that is done for speed together, against the same training written plainly; and that no update waits for
a device."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import bench_support  # noqa: F401  makes the benchmarks importable
from limner import noise
from limner.noise import Stream
from limner.training import callbacks, transforms
from limner.training.augment import Augmentation
from limner.training.loop import Loop
from parts import training
from parts.plain import Changes, PlainTraining, augmented, textbook

UPDATES = 4
CPU = torch.device("cpu")
AUGMENTED = {"augment.policy": ["color", "translation"], "augment.target": 0.0, "augment.probability": 0.7}


def small(name: str, **overrides: Any) -> training.Case:
    case = training.CASES[name].small()
    return training.Case(
        case.recipe, (20, 16), case.channels, 1.0, {**case.overrides, "training.batch_size": 4, **overrides}
    )


def numbers(loop: Loop, images: Tensor, indices: np.ndarray, turn: int) -> Changes:
    """What Limner does to these samples, by the table at the head of ``augment.py``."""
    drawn = noise.uniform(loop.recipe.training.seed, Stream.AUGMENT, indices, 64)[:, 16 * turn : 16 * turn + 16]
    brightness, saturation, contrast, down, right, _, _, *chances = torch.from_numpy(drawn.T)
    height, width = images.shape[2:]
    shifts = [
        ((2 * (side // 8) + 1) * chance).floor().long() - side // 8 for side, chance in ((height, down), (width, right))
    ]
    chosen = torch.stack(chances[:4]) < loop.recipe.augment.probability
    return Changes(brightness - 0.5, 2 * saturation, contrast + 0.5, *shifts, chosen)


@pytest.mark.parametrize("name", training.CASES)
def test_a_training_is_the_plain_one(name: str):
    """One graph of G, D frozen in G's turn, penalties by themselves and lazy, fused Adam, channels_last, averages at a
    stroke."""
    loop = training.limner_loop(small(name, **(AUGMENTED if "fewshot" in name else {})), "float64", "cpu")
    indices = np.zeros(0, dtype=np.int64)
    plain = PlainTraining(loop.recipe, CPU, torch.float64, lambda images, turn: numbers(loop, images, indices, turn))
    size, turns = loop.recipe.training.batch_size, loop.recipe.training.critic_steps
    before = torch.cat([value.flatten().clone() for value in plain.generator.parameters()])
    for _ in range(UPDATES):
        first = loop.progress.images
        batches = [loop.batch(first + turn * size, size) for turn in range(turns)]
        indices = np.arange(size) + first + (turns - 1) * size
        assert turns == 1 or not loop.recipe.augment.policy
        shares = [torch.full((size,), 0.5).double() if batch.mix is None else batch.mix for batch in batches]
        plain.update([(batch.real.contiguous(), batch.z, mix) for batch, mix in zip(batches, shares, strict=True)])
        loop.advance()
    pairs = [(plain.generator, loop.step.generator), (plain.discriminator, loop.step.discriminator)]
    if loop.recipe.ema.half_life:
        pairs.append((plain.average, loop.average.network))
    for theirs, ours in pairs:
        for (label, expected), value in zip(theirs.state_dict().items(), ours.state_dict().values(), strict=True):
            torch.testing.assert_close(
                value, expected, rtol=0, atol=1e-8, msg=lambda text, label=label: f"{label}: {text}"
            )
    moved = torch.cat([value.flatten() for value in plain.generator.parameters()]) - before
    assert moved.abs().max() > 1e-4


def test_plain_augmentation_is_limners():
    """Images of four channels, at probability 0.7, in both of their forms."""
    loop = training.limner_loop(small("fewshot 128x128", **AUGMENTED), "float64", "cpu")
    images = torch.rand(8, 4, 20, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    indices = np.arange(100, 108)
    changes = numbers(loop, images, indices, 2)
    assert 0 < changes.chosen.sum() < changes.chosen.numel() and changes.down.unique().numel() > 2
    augment = Augmentation(loop.recipe.augment, loop.recipe.training.seed, CPU)
    torch.testing.assert_close(augment(images, indices, 2, 0), augmented(images, changes), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 4])
def test_translating_one_by_one_is_translating_at_once(
    form: torch.memory_format, channels: int, monkeypatch: pytest.MonkeyPatch
):
    """Every distance of 9x17 pixels, there and back, with the other steps around it."""
    far_down, far_right = transforms.reach(9, 17)
    places = torch.cartesian_prod(torch.arange(-far_down, far_down + 1), torch.arange(-far_right, far_right + 1))
    images = torch.randn(len(places), channels, 9, 17, generator=torch.Generator().manual_seed(1))
    images = images.contiguous(memory_format=form).requires_grad_()
    one = torch.linspace(0.5, 1.5, len(places))
    steps = (
        transforms.recolor(channels, one, one, one),
        transforms.Move(*places.T),
        transforms.hole(9, 17, places[:, 0] + 3, places[:, 1], one > 1),
    )
    found = []
    for least in (1 << 30, 0):
        monkeypatch.setattr(transforms, "SLICED", least)
        for colors, cut in ((None, None), (steps[0], steps[2])):
            changed = transforms.change(images, colors, steps[1], cut)
            found.append((changed, torch.autograd.grad(changed.square().sum(), images)[0]))
    for (expected, slope), (changed, other) in zip(found[:2], found[2:], strict=True):
        assert torch.equal(changed, expected) and torch.equal(other, slope)
        assert changed.stride() == expected.stride()
    assert not torch.equal(found[0][0], images)


def test_what_the_plain_training_cannot_do_is_refused():
    for settings in ({"augment.policy": ["cutout"]}, {"discriminator.optimizer": "rmsprop"}, {"augment.noise": 0.1}):
        recipe, _ = training.prepared(small("dcgan 64x64", **settings), "float32", CPU)
        with pytest.raises(ValueError, match="the plain training has no"):
            PlainTraining(recipe, CPU)


def test_arithmetic_is_that_of_the_layers():
    """At 64x64, by hand: G 102,400 + 3 x 33,554,432 + 1,048,576 ... multiply-adds; the sum is the 2.24 GFLOP of the
    docs."""
    cost = training.counted(training.CASES["dcgan 64x64"], "cpu")
    maps = [(100, 512, 1), (512, 256, 16), (256, 128, 64), (128, 64, 256), (64, 1, 1024)]
    generator = sum(16 * inside * outside * places for inside, outside, places in maps)
    # The same layers upside down, where the last has one place with all of its 16 weights.
    discriminator = 16 * (512 + 512 * 256 * 16 + 256 * 128 * 64 + 128 * 64 * 256 + 64 * 1024)
    first_of_d, first_of_g = 16 * 64 * 1024, 16 * 100 * 512
    ours = 3 * generator - first_of_g  # forward, backward to weights and input; latents take no gradient
    ours += 2 * (3 * discriminator - first_of_d)  # real and fake: nor do images
    ours += 2 * discriminator  # in G's turn forward, and backward to the input alone
    assert cost["limner"] == pytest.approx(2 * ours / 1e9, rel=1e-6)
    assert cost["plain"] == pytest.approx(2 * (ours + discriminator) / 1e9, rel=1e-6)


def test_the_textbook_loop_trains():
    pictures = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert textbook(pictures, 2)() == 2


class Waiting(TorchDispatchMode):
    """Counts what would make the program wait for a GPU: a tensor's value asked for, or a shape that depends on
    values."""

    NAMES = ("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim")

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._overloadpacket.__name__
        by_mask = name == "index" and any(
            place is not None and place.dtype in (torch.bool, torch.uint8) for place in args[1]
        )
        if name in self.NAMES or by_mask:
            self.counts[name] += 1
        return function(*args, **(kwargs or {}))


def test_waiting_is_noticed():
    values = torch.tensor([1.0, 0.0])
    with Waiting() as waited:
        float(values[0])
        bool(values[0] > 0)
        values[values > 0]
    assert waited.counts["_local_scalar_dense"] == 2 and waited.counts["index"] == 1


@pytest.mark.parametrize(
    "name, overrides",
    [
        ("dcgan 64x64", {"generator.clip_norm": 1.0, "schedule.name": "cosine", "schedule.images": 100}),
        ("fewshot 128x128", {"augment.noise": 0.1, "image.flip": "both", "image.rotate": True}),
        ("wgan-gp 64x64", {}),
        ("r3gan 64x64", {"training.micro_batch": 2}),
        ("dcgan 64x64", {"discriminator.norm": "spectral", "objective.name": "hinge"}),
    ],
)
def test_no_update_waits_for_the_device(name: str, overrides: dict[str, Any]):
    loop = training.limner_loop(small(name, **overrides), "float32", "cpu")
    loop.advance()
    with Waiting() as waited:
        for _ in range(4):
            loop.advance()
    assert not waited.counts


def test_a_log_line_waits_once():
    """Eleven scalars of both precisions become the numbers that each would be, by one look at the device."""
    kinds = (torch.float32, torch.float64)
    values = {f"value {place}": torch.tensor(10.0**place / 3, dtype=kinds[place % 2]) for place in range(10)}
    values["no number"] = torch.tensor(float("nan"))
    with Waiting() as waited:
        found = callbacks.numbers(values)()
    assert not waited.counts, "the list is read at once"
    assert found.pop("no number") is None
    assert found == {name: float(f"{float(value):.6g}") for name, value in values.items() if name in found}
    assert len(found) == 10
