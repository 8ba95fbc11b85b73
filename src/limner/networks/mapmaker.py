"""The pair of a hobby project that drew battle maps of 750x750 pixels from 360 of them.

Generator, as its author described it: a latent vector (3x20x20) -> linear -> 16x64x64 -> two transposed convolutions of large
stride to about 1000x1000 -> one convolution that reduces to 750x750 -> tanh, with batch normalisation. What was not told, and
is decided here:

- **The sizes.** Two strides of 4 make 1024x1024 of 64x64. The reducing layer is a transposed convolution, kernel 3, stride 1,
  whose padding crops: 138 on each side take 1024 to 750. An ordinary convolution without padding would need a kernel of 275.
  Other sizes have the same proportions, the least base whose sixteenfold is 1024/750 of the picture or more, and where the
  number of pixels to crop is odd, the far side loses one more. The crop is the price of the description: at 750x750 it
  throws 46 % of the inner pixels away. They still count in the statistics of batch normalisation.
- **Kernels of 8** for the strides of 4. The kernel is a multiple of the stride, so every pixel belongs to exactly 2x2
  kernels: 5 to 7 would overlap unevenly, which draws checkerboards (Odena, Dumoulin and Olah 2016), and 4 would not overlap at
  all, which leaves seams every 4 pixels. 12 would cost 2.25 times as much.
- **Channels** width, 2 x width, width (16, 32, 16): 2x2 kernels meet at each pixel, so the two large strides cost 8 x width x
  2 x width multiply-adds a pixel of 256x256 and of 1024x1024, 0.27 and 4.3 GFLOP an image in all, and the reducing layer 0.5.
  The linear layer, as described, has nearly all of the 78.7 million parameters (1200 x 65,536).
- **The discriminator**: two strides of 4 with kernels of 8, then of 2 with kernels of 4 down to a base of 4 to 7 pixels.

At 750x750 in float32 the activations and gradients of a forward and backward pass through both take 1.2 GiB at batch 4 and
2.2 GiB at batch 8, beside 0.3 GiB of weights, and some 2.3 s an image on one core of a CPU.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from limner.networks.conditioning import ClassifiedLatent, needed
from limner.networks.layers import Stack, after
from limner.networks.norms import normalises, spectral
from limner.networks.resample import halvings, smoothing
from limner.networks.strided import StridedDiscriminator

_STRIDE, _KERNEL, _PADDING = 4, 8, 2
_INNER, _OUTER = 1024, 750


class Generator(nn.Module):
    """Latent vectors to images.

    With classes the normalisation is conditional; where there is none, an embedding of the class is joined to the latent.

    Args:
        latent: length of the latent vector.
        width_px, height_px: size of the images, 8 or more.
        channels: 1, 3 or 4.
        classes: how many there are; 0 for none.
        width: channels of the base and of the inner picture.
        activation, slope, norm, smooth: see :class:`limner.recipe.Player`.
    """

    def __init__(
        self,
        *,
        latent: int,
        width_px: int,
        height_px: int,
        channels: int,
        classes: int,
        width: int,
        activation: str,
        slope: float,
        norm: str,
        smooth: int,
    ) -> None:
        super().__init__()
        self.recompute = False
        self.conditional_norm = bool(classes) and normalises(norm)
        self.latent = ClassifiedLatent(latent, 0 if self.conditional_norm else classes)
        base, bias = (_base(height_px), _base(width_px)), not normalises(norm)

        def then(channels: int) -> list[nn.Module]:
            return after(channels, norm, classes, activation, slope, 0.0)

        def enlarge(inside: int, outside: int) -> nn.Module:
            return nn.ConvTranspose2d(inside, outside, _KERNEL, _STRIDE, _PADDING, bias=bias)

        self.layers = Stack(
            [
                [
                    nn.Linear(self.latent.length, width * base[0] * base[1], bias=bias),
                    nn.Unflatten(1, (width, *base)),
                    *then(width),
                ],
                [enlarge(width, 2 * width), *then(2 * width)],
                [enlarge(2 * width, width), *then(width)],
                [Reduction(width, channels, (height_px, width_px)), *smoothing(channels, smooth), nn.Tanh()],
            ]
        )
        if norm == "spectral":
            spectral(self)

    def forward(self, z: Float[Tensor, "b z"], labels: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b c h w"]:
        """Images in [-1, 1]; with classes, of the label of each (int64)."""
        if self.conditional_norm:
            labels = needed(labels)
        images: Tensor = self.layers(self.latent(z, labels), labels, again=self.recompute)
        return images


class Discriminator(StridedDiscriminator):
    """Images to logits; the arguments are those of :class:`Generator`.

    Args:
        others: ``channels``, ``classes``, ``conditioning``, ``width``, ``activation``, ``slope``, ``norm``: see
            :class:`limner.networks.strided.StridedDiscriminator`.
    """

    def __init__(self, *, width_px: int, height_px: int, **others: Any) -> None:
        super().__init__(halvings(height_px, width_px, None, [_STRIDE, _STRIDE, 2]), dropout=0.0, **others)


class Reduction(nn.ConvTranspose2d):
    """A transposed convolution, kernel 3, stride 1, whose padding crops to an exact size.

    What the padding would throw away is cut off before it is computed: the same numbers in a third of the time.

    Args:
        inside, outside: channels before and after.
        size: (height, width) after, at least 2 less than before.
    """

    def __init__(self, inside: int, outside: int, size: tuple[int, int]) -> None:
        super().__init__(inside, outside, 3, padding=2, bias=False)
        self.size = size

    def forward(self, features: Float[Tensor, "b k H W"]) -> Float[Tensor, "b c h w"]:  # type: ignore[override]
        """The middle of the picture."""
        rows, columns = (
            slice((large - small - 2) // 2, (large - small - 2) // 2 + small + 2)
            for large, small in zip(features.shape[2:], self.size, strict=True)
        )
        return super().forward(features[:, :, rows, columns])


def _base(side: int) -> int:
    """Pixels of the base for so many of the picture: 64 for 750; 2 at least, since one pixel cannot be normalised."""
    return max(-(-side * _INNER // (_OUTER * _STRIDE**2)), 2)
