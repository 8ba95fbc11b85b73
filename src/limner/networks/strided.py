"""The discriminator that several families share: strided convolutions down to a small base, and one that covers it."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from limner.networks.conditioning import Classified
from limner.networks.layers import Stack, after, doubling
from limner.networks.norms import normalises, spectral
from limner.networks.products import Conv2d
from limner.networks.resample import Halving


class StridedDiscriminator(Classified):
    """Images to logits, by one convolution a stage. Normalisation starts with the second, as in DCGAN.

    Args:
        stages: sizes, kernels and strides from the picture to the base.
        channels: 1, 3 or 4.
        width: channels of the first layer; they double, up to eight times.
        classes, conditioning: see :class:`limner.networks.conditioning.Classified`.
        activation, slope, dropout, norm: see :class:`limner.recipe.Player`.
    """

    def __init__(
        self,
        stages: Sequence[Halving],
        *,
        channels: int,
        classes: int,
        conditioning: str,
        width: int,
        activation: str,
        slope: float,
        dropout: float,
        norm: str,
    ) -> None:
        widths, base, bias = doubling(width, len(stages)), stages[-1].outside, not normalises(norm)
        super().__init__(conditioning, classes, widths[-1] * base[0] * base[1])
        blocks: list[list[nn.Module]] = []
        for stage, inside, outside in zip(stages, [channels, *widths], widths, strict=False):
            down = Conv2d(inside, outside, stage.kernel, stage.stride, stage.padding, bias=bias)
            blocks.append([down, *after(outside, norm if blocks else "none", 0, activation, slope, dropout)])
        self.layers = Stack([*blocks, [nn.Conv2d(widths[-1], 1, base, bias=False)]])
        self.add_classes()
        if norm == "spectral":
            spectral(self)

    def look(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, " b"], Float[Tensor, "b k h w"]]:
        """Logits, and the map of features that they are computed from."""
        features = self.layers(images, again=self.recompute, blocks=slice(-1))
        logits: Tensor = self.layers(features, blocks=slice(-1, None))
        return logits.flatten(), features
