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

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from limner import noise
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
_NOISE_BLOCK = 1 << 24
_BELOW_ONE = 1.0 - 2.0**-24  # the largest float32 under 1: a uniform number must stay under a probability of 1


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
        self._known: tuple[bytes, Float[np.ndarray, "b words"]] = (b"", np.zeros((0, TURNS * _WORDS)))

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
        """Change images, differentiably.

        Args:
            images: in [-1, 1]; half precision comes back as float32.
            indices: the global sample index of each.
            turn: :data:`REAL`, :data:`FAKE`, :data:`FAKE_FOR_GENERATOR` or :data:`REAL_FOR_GENERATOR`.
            seen: images that the training has seen so far.

        Returns:
            images of the same shape, some of their values outside [-1, 1]; the very same ones when nothing is switched on.
        """
        deviation = self._deviation(seen)
        if not self._changes and not deviation:
            return images
        if len(indices) != len(images) or turn not in range(TURNS):
            raise ValueError(f"{len(images)} images need as many indices, not {len(indices)}, and a turn of 0 to 3")
        if images.dtype in (torch.bfloat16, torch.float16):
            images = images.float()
        if self._changes:
            images = self._changed(images, indices, turn)
        if deviation:
            first, count = (turn + 1) * _NOISE_BLOCK, images[0].numel()
            at = self._put(np.asarray(indices, dtype=np.int64))
            drawn = device_noise.normals(self.seed, Stream.AUGMENT, at, first, count, images.dtype)
            images = torch.add(images, drawn.view(images.shape), alpha=deviation)
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
        self._sign = keep * self._sign + (1 - keep) * sign
        self._weight = keep * self._weight + (1 - keep)
        # Divided by its weight the mean is right from the first batch on.
        direction = (self._sign / self._weight - self.settings.target).sign()
        self._probability = (self._probability + direction * (count / self.settings.speed_images)).clamp(
            0.0, self.settings.probability
        )

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
        own = self._probability
        self._probability, self._sign, self._weight = (
            state[name].to(own.device, own.dtype, copy=True) for name in ("probability", "sign", "weight")
        )

    def _deviation(self, seen: int) -> float:
        """The noise's standard deviation, where values range over 2."""
        fades = self.settings.noise_images
        return 2.0 * self.settings.noise * (1.0 if fades is None else max(0.0, 1.0 - seen / fades))

    def _changed(self, images: Images, indices: Int[np.ndarray, " b"], turn: int) -> Images:
        drawn = self._drawn(indices)[:, turn * _WORDS : (turn + 1) * _WORDS]
        height, width = images.shape[2:]
        chosen = self._put(drawn[:, _CHANCE].T, torch.float32) < self._probability
        colors = move = cut = None
        if "color" in self.settings.policy:
            # Brightness -0.5 to 0.5, saturation 0 to 2, contrast 0.5 to 1.5: 0, 1 and 1 leave an image as it is.
            strength = self._put(((drawn[:, _COLOR] - 0.5) * (1.0, 2.0, 1.0)).T, images.dtype) * chosen[:3]
            colors = transforms.recolor(images.shape[1], strength[0], 1 + strength[1], 1 + strength[2])
        if "translation" in self.settings.policy:
            far = np.array(transforms.reach(height, width))
            pixels = np.floor(drawn[:, _SHIFT] * (2 * far + 1)) - far
            move = transforms.Move(*self._put(pixels.T.astype(np.int64)) * chosen[3])
        if "cutout" in self.settings.policy:
            # The middle may lie anywhere in the image, so a hole is cut off at a side now and then.
            size = np.array(transforms.hole_size(height, width))
            middle = np.floor(drawn[:, _HOLE] * (np.array([height, width]) + 1 - size % 2))
            top, left = self._put((middle - size // 2).T.astype(np.int64))
            cut = transforms.hole(height, width, top, left, chosen[4])
        return transforms.change(images, colors, move, cut)

    def _drawn(self, indices: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b words"]:
        """The numbers of all turns: an update asks for each of them in turn, of the same samples, and drawing has its price."""
        key = indices.tobytes()
        if self._known[0] != key:
            drawn = noise.uniform(self.seed, Stream.AUGMENT, indices, TURNS * _WORDS)
            self._known = key, np.minimum(drawn, _BELOW_ONE)
        return self._known[1]

    def _put(self, values: np.ndarray, dtype: torch.dtype | None = None) -> Tensor:
        """Numbers to the device; to their precision first, as not every device has float64."""
        on_host = torch.from_numpy(np.ascontiguousarray(values))
        return (on_host if dtype is None else on_host.to(dtype)).to(self.device, non_blocking=True)
