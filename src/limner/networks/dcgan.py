"""The convolutional pair of DCGAN (Radford, Metz and Chintala, ICLR 2016), for any size from 8 pixels a side.

At 64x64 with width 64 the layers are the paper's: 4x4 kernels, 100-512-256-128-64-C up and C-64-128-256-512-1 down, no
biases. Other sizes have more or fewer halvings (:func:`limner.networks.resample.halvings`), and the outermost layers cover
the base whatever its shape. Normalisation, kernels, strides and the way up can be others than the paper's; hidden
convolutions have biases where no normalisation follows that would undo them.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from limner.networks.conditioning import ClassifiedLatent, needed
from limner.networks.layers import Stack, after, doubling
from limner.networks.norms import normalises, spectral
from limner.networks.resample import enlarge, halvings, smoothing
from limner.networks.strided import StridedDiscriminator


class Generator(nn.Module):
    """Latent vectors to images.

    With classes the normalisation is conditional; where there is none, an embedding of the class is joined to the latent.

    Args:
        latent: length of the latent vector.
        width_px, height_px: size of the images, 8 or more.
        channels: 1, 3 or 4.
        classes: how many there are; 0 for none.
        width: channels of the last hidden layer.
        activation, slope, dropout, norm, kernel, stride, upsample, smooth: see :class:`limner.recipe.Player`.

    Raises:
        InputError: the kernel is smaller than the stride.
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
        dropout: float,
        norm: str,
        kernel: int,
        stride: int,
        upsample: str,
        smooth: int,
    ) -> None:
        super().__init__()
        self.recompute = False
        self.conditional_norm = bool(classes) and normalises(norm)
        self.latent = ClassifiedLatent(latent, 0 if self.conditional_norm else classes)
        stages = halvings(height_px, width_px, kernel, [stride])
        widths, bias = doubling(width, len(stages)), not normalises(norm)

        def then(channels: int) -> list[nn.Module]:
            return after(channels, norm, classes, activation, slope, dropout)

        base = nn.ConvTranspose2d(self.latent.length, widths[-1], stages[-1].outside, bias=bias)
        blocks = [[base, *then(widths[-1])]]
        for stage, inside, outside in zip(stages[:0:-1], widths[:0:-1], widths[-2::-1], strict=True):
            blocks.append([*enlarge(upsample, stage, inside, outside, bias), *then(outside)])
        last = enlarge(upsample, stages[0], widths[0], channels, False)
        self.layers = Stack([*blocks, [*last, *smoothing(channels, smooth), nn.Tanh()]])
        if norm == "spectral":
            spectral(self)

    def forward(self, z: Float[Tensor, "b z"], labels: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b c h w"]:
        """Images in [-1, 1]; with classes, of the label of each (int64)."""
        if self.conditional_norm:
            labels = needed(labels)
        images: Tensor = self.layers(self.latent(z, labels)[:, :, None, None], labels, again=self.recompute)
        return images


class Discriminator(StridedDiscriminator):
    """Images to logits; the arguments are those of :class:`Generator`.

    Args:
        others: ``channels``, ``classes``, ``conditioning``, ``width``, ``activation``, ``slope``, ``dropout``, ``norm``: see
            :class:`limner.networks.strided.StridedDiscriminator`.
    """

    def __init__(self, *, width_px: int, height_px: int, kernel: int, stride: int, **others: Any) -> None:
        super().__init__(halvings(height_px, width_px, kernel, [stride]), **others)
