"""Augmentation between the images and the discriminator, real and fake alike: D(augment(x)).

With a few hundred pictures, D soon knows them by heart. If it sees every picture changed in another way each time, it cannot.
The changes are differentiable, so G learns from what D says of a changed fake, and does not learn to make changed pictures.

What happens to a sample follows from (seed, its global index, the turn) alone, not from the batch it is in.

======================== ======================================================================================
words of an index        for
======================== ======================================================================================
16 turn to 16 turn + 15  brightness, saturation, contrast; down, right; hole's middle (2); five chances; 4 spare
from 2**26 (turn + 1)    noise, number by number in the order c, h, w
======================== ======================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from limner import noise
from limner.device import to_device
from limner.errors import InputError
from limner.noise import Stream
from limner.recipe import Augment
from limner.training import device_noise, transforms

Images = Float[Tensor, "b c h w"]
Scalar = Float[Tensor, ""]

REAL, FAKE, FAKE_FOR_GENERATOR, REAL_FOR_GENERATOR = range(4)
"""Turns: who is looked at, in D's turn and in G's. Each has numbers of its own."""
TURNS = 4
POLICIES = ("color", "translation", "cutout")
"""In the order in which they are applied."""
WINDOW = 256
"""The controller's running mean forgets over about so many images (Karras et al. 2020, section 3: four batches of 64)."""
_WORDS = 16
_COLOR, _SHIFT, _HOLE, _CHANCE = slice(0, 3), slice(3, 5), slice(5, 7), slice(7, 12)
_CHANCES, _STRENGTHS = slice(0, 5), slice(5, 8)
_NOISE_BLOCK = 1 << 24
HALF = (torch.bfloat16, torch.float16)
_BELOW_ONE = 1.0 - 2.0**-24  # the largest float32 under 1: a uniform number must stay under a probability of 1


@dataclass(frozen=True)
class Drawn:
    """What was drawn for the samples of a batch, where the images are: the changes wait for nothing more from the host.

    Attributes:
        indices: the global sample index of each.
        numbers: for each turn, five chances and three strengths of colour changes; ``None`` when nothing is changed.
        places: for each turn, pixels down and right, and the hole's first row and column.
        deviation: of the noise, where values range over 2; ``None`` when there is none.
    """

    indices: Int[Tensor, " b"]
    numbers: Float[Tensor, "turns 8 b"] | None = None
    places: Int[Tensor, "turns 4 b"] | None = None
    deviation: Scalar | None = None

    def __getitem__(self, where: slice) -> Drawn:
        """Of some of the samples."""
        numbers, places = (None if one is None else one[:, :, where] for one in (self.numbers, self.places))
        return Drawn(self.indices[where], numbers, places, self.deviation)

    def map(self, change: Callable[[Tensor], Tensor]) -> Drawn:
        """The same with each of the tensors changed."""
        return Drawn(change(self.indices), *(None if one is None else change(one) for one in self._rest))

    def present(self) -> tuple[bool, ...]:
        """Which of them there are."""
        return tuple(one is not None for one in self._rest)

    @property
    def _rest(self) -> tuple[Tensor | None, Tensor | None, Scalar | None]:
        return self.numbers, self.places, self.deviation


def joined(drawn: Sequence[Drawn]) -> Drawn:
    """What was drawn for the samples of several batches of one update."""
    numbers, places = ([getattr(one, name) for one in drawn] for name in ("numbers", "places"))
    return Drawn(
        torch.cat([one.indices for one in drawn]),
        None if drawn[0].numbers is None else torch.cat(numbers, dim=2),
        None if drawn[0].places is None else torch.cat(places, dim=2),
        drawn[0].deviation,
    )


class Augmentation:
    """What D sees instead of the images themselves.

    Args:
        settings: the recipe's section.
        seed: the run's seed.
        device: where the images will be.

    Raises:
        InputError: an unknown policy.
    """

    def __init__(self, settings: Augment, seed: int, device: torch.device | str) -> None:
        unknown = [name for name in settings.policy if name not in POLICIES]
        if unknown:
            raise InputError(f"augment.policy: there is no {unknown[0]!r}; choose from {', '.join(POLICIES)}")
        self.settings, self.seed, self.device = settings, seed, torch.device(device)
        self._changes = bool(settings.policy) and settings.probability > 0
        precise = torch.float32 if self.device.type == "mps" else torch.float64
        start = 0.0 if self.adaptive else settings.probability
        self._probability = torch.tensor(start, dtype=precise, device=self.device)
        self._sign = torch.zeros_like(self._probability)
        self._weight = torch.zeros_like(self._probability)

    @property
    def active(self) -> bool:
        """Whether anything is switched on."""
        return self._changes or self.settings.noise > 0

    @property
    def adaptive(self) -> bool:
        """Whether the probability follows D's overfitting."""
        return self._changes and self.settings.target > 0

    @property
    def current(self) -> Scalar:
        """The probability of each change, on the device."""
        return self._probability

    @property
    def probability(self) -> float:
        """The probability of each change, 0 to 1. Asking waits for the device."""
        return float(self._probability)

    def __call__(self, images: Images, indices: Int[np.ndarray, " b"], turn: int, seen: int) -> Images:
        """Change images: :meth:`draw`, then :meth:`apply`."""
        height, width = images.shape[2:]
        dtype = torch.float32 if images.dtype in HALF else images.dtype
        return self.apply(images, self.draw(indices, height, width, dtype, seen), turn)

    def draw(self, indices: Int[np.ndarray, " b"], height: int, width: int, dtype: torch.dtype, seen: int) -> Drawn:
        """Draw what happens to samples, in all turns of an update.

        Args:
            indices: the global sample index of each.
            height, width: of the images.
            dtype: float32 or float64.
            seen: images that the training has seen so far.
        """
        deviation = self._deviation(seen)
        noisy = to_device(torch.tensor(deviation, dtype=dtype), self.device) if deviation else None
        numbers = places = None
        if self._changes:
            words = noise.uniform(self.seed, Stream.AUGMENT, indices, TURNS * _WORDS)
            words = np.minimum(words, _BELOW_ONE).reshape(-1, TURNS, _WORDS)
            # Brightness -0.5 to 0.5, saturation 0 to 2, contrast 0.5 to 1.5: 0, 1 and 1 leave an image as it is.
            strengths = (words[..., _COLOR] - 0.5) * (1.0, 2.0, 1.0)
            numbers = self._put(np.concatenate([words[..., _CHANCE], strengths], axis=-1), dtype)
            far, size = (
                np.array(both) for both in (transforms.reach(height, width), transforms.hole_size(height, width))
            )
            shift = np.floor(words[..., _SHIFT] * (2 * far + 1)) - far
            # The middle may lie anywhere in the image, so a hole is cut off at a side now and then.
            middle = np.floor(words[..., _HOLE] * (np.array([height, width]) + 1 - size % 2))
            places = self._put(np.concatenate([shift, middle - size // 2], axis=-1), torch.int64)
        return Drawn(self._put(np.asarray(indices, dtype=np.int64)), numbers, places, noisy)

    def apply(self, images: Images, drawn: Drawn, turn: int) -> Images:
        """Change images, differentiably. Nothing here comes from the host, or goes there.

        Args:
            images: in [-1, 1]; half precision comes back as float32.
            drawn: of these samples, for images of this size and precision.
            turn: :data:`REAL`, :data:`FAKE`, :data:`FAKE_FOR_GENERATOR` or :data:`REAL_FOR_GENERATOR`.

        Returns:
            images of the same shape, some of their values outside [-1, 1]; the very same ones when nothing is switched on.
        """
        if drawn.numbers is None and drawn.deviation is None:
            return images
        if len(drawn.indices) != len(images) or turn not in range(TURNS):
            raise ValueError(
                f"{len(images)} images need as many indices, not {len(drawn.indices)}, and a turn of 0 to 3"
            )
        images = images.float() if images.dtype in HALF else images
        if drawn.numbers is not None and drawn.places is not None:
            images = self._changed(images, drawn.numbers[turn], drawn.places[turn])
        if drawn.deviation is not None:
            first, count = (turn + 1) * _NOISE_BLOCK, images[0].numel()
            grain = device_noise.normals(self.seed, Stream.AUGMENT, drawn.indices, first, count, images.dtype)
            images = images + grain.mul_(drawn.deviation).view(images.shape)
        return images

    @torch.no_grad()
    def observe(self, real_logits: Float[Tensor, " b"]) -> None:
        """Let the probability follow D's overfitting (Karras et al. 2020, section 3). Call it once for each turn of D.

        When D takes most training images for real, the mean sign of its logits comes near 1 and the probability rises; under
        the target it falls. The speed is constant: from 0 to 1 in ``speed_images``. It begins at 0 and stays under the recipe's
        ``probability``. Nothing waits for the device.

        Args:
            real_logits: D's logits of real images, 0 where it is undecided (:meth:`Objective.margin`).
        """
        if not self.adaptive:
            return
        count = real_logits.numel()
        keep = math.exp(-count / WINDOW)
        sign = real_logits.detach().sign().to(self._sign.dtype).mean()
        # In place: a recorded update is played on the tensors that it was recorded with.
        self._sign.mul_(keep).add_((1 - keep) * sign)
        self._weight.mul_(keep).add_(1 - keep)
        # Divided by its weight the mean is right from the first batch on.
        direction = (self._sign / self._weight - self.settings.target).sign()
        self._probability.add_(direction * (count / self.settings.speed_images)).clamp_(0.0, self.settings.probability)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold: nothing where the probability is fixed."""
        if not self.adaptive:
            return {}
        return {"probability": self._probability, "sign": self._sign, "weight": self._weight}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from :meth:`state`. An empty one, of a training whose probability was fixed, changes nothing.

        Raises:
            KeyError: a part of the state is missing.
        """
        if not self.adaptive or not state:
            return
        for name, own in self.state().items():
            own.copy_(state[name])

    def _deviation(self, seen: int) -> float:
        """The noise's standard deviation, where values range over 2."""
        fades = self.settings.noise_images
        return 2.0 * self.settings.noise * (1.0 if fades is None else max(0.0, 1.0 - seen / fades))

    def _changed(self, images: Images, numbers: Float[Tensor, "8 b"], places: Int[Tensor, "4 b"]) -> Images:
        chosen = numbers[_CHANCES] < self._probability
        height, width = images.shape[2:]
        colors = move = cut = None
        if "color" in self.settings.policy:
            strength = numbers[_STRENGTHS] * chosen[:3]
            colors = transforms.recolor(images.shape[1], strength[0], 1 + strength[1], 1 + strength[2])
        if "translation" in self.settings.policy:
            move = transforms.Move(*places[:2] * chosen[3])
        if "cutout" in self.settings.policy:
            cut = transforms.hole(height, width, places[2], places[3], chosen[4])
        return transforms.change(images, colors, move, cut)

    def _put(self, values: np.ndarray, dtype: torch.dtype = torch.int64) -> Tensor:
        """Numbers to the device, samples last; to their precision first, as not every device has float64."""
        on_host = torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, 0, -1)))
        return to_device(on_host.to(dtype), self.device)
