"""The pair for small collections and small machines: light, quick to learn, and hard to overfit.

The generator doubles a learned base in smooth steps, with skip-layer excitation (Liu, Zhu, Song and Elgammal, ICLR 2021,
"Towards faster and stabilized GAN training for high-fidelity few-shot image synthesis", section 3.1): what it knows at a small
size switches channels on and off at a large one. The discriminator has no normalisation, halves in two branches, sees how much
the images of a batch differ, ends in a look over the whole base, and draws what it saw from its own features (there, section
3.2): features that describe a picture well are harder to overfit with. It is made for the relativistic loss with R1 and R2
(recipe fewshot).
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from limner.networks.conditioning import Classified, ClassifiedLatent, needed
from limner.networks.layers import Opinion, Stack, after, doubling, recompute, run
from limner.networks.norms import norm, normalises, release, spectral
from limner.networks.resample import Halving, enlarge, halvings
from limner.networks.together import ALONE, Together

REACH = 3
"""Skip-layer excitation goes over so many doublings."""


def _draw(network: nn.Module, slope: float) -> None:
    """Weights that keep the size of what passes through (He et al. 2015), biases of 0.

    Without normalisation nothing else does: from N(0, 0.02) the logits of an untrained discriminator are some 1e-4, and so are
    the gradients that it gives.
    """
    normalised = release(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, slope, nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if normalised:
        spectral(network)


class Excitation(nn.Module):
    """Gates for the channels of a large map, from a small one: pooled to 4x4, two layers, sigmoid.

    Args:
        inside: channels of the small map.
        outside: channels that are switched.
    """

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.layers = nn.Sequential(nn.Conv2d(inside, outside, 4), nn.LeakyReLU(0.1), nn.Conv2d(outside, outside, 1))

    def forward(self, small: Float[Tensor, "b k h w"], large: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """The large map, each channel times its gate."""
        gates: Tensor = self.layers(self.pool(small))
        return large * gates.sigmoid()


class Generator(nn.Module):
    """Latent vectors to images.

    Args:
        latent: length of the latent vector.
        width_px, height_px: size of the images, 8 or more.
        channels: 1, 3 or 4.
        classes: how many there are; 0 for none.
        width: channels at half the resolution.
        depth: convolutions at each resolution.
        activation, slope, norm, upsample: see :class:`limner.recipe.Player`.
        fine: half as many maps at full size, before the colours; without, a transposed convolution makes the colours.
        excitation: whether small maps switch the channels of large ones.
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
        depth: int,
        activation: str,
        slope: float,
        norm: str,
        upsample: str,
        fine: bool,
        excitation: bool,
    ) -> None:
        super().__init__()
        self.recompute = False
        self.conditional_norm = bool(classes) and normalises(norm)
        self.latent = ClassifiedLatent(latent, 0 if self.conditional_norm else classes)
        stages = halvings(height_px, width_px)
        widths, bias = doubling(width, len(stages)), not normalises(norm)

        def then(count: int) -> list[nn.Module]:
            return after(count, norm, classes, activation, slope, 0.0)

        base = nn.ConvTranspose2d(self.latent.length, widths[-1], stages[-1].outside, bias=bias)
        blocks: list[list[nn.Module]] = [[base, *then(widths[-1])]]
        for stage, inside, outside in zip(stages[:0:-1], widths[:0:-1], widths[-2::-1], strict=True):
            block = [*enlarge(upsample, stage, inside, outside, bias), *then(outside)]
            for _ in range(depth - 1):
                block += [nn.Conv2d(outside, outside, 3, padding=1, bias=bias), *then(outside)]
            blocks.append(block)
        self.blocks = nn.ModuleList(Stack([block]) for block in blocks)
        counts = widths[::-1]
        self.excitations = nn.ModuleDict(
            {str(k): Excitation(counts[k - REACH], counts[k]) for k in range(REACH, len(blocks)) if excitation}
        )
        half = max(1, width // 2)
        # The four pixels that one of the maps becomes need not fit together unless something looks at all of them: with a
        # transposed convolution alone, silhouettes had teeth.
        self.fine = Stack([[*enlarge(upsample, stages[0], width, half, bias), *then(half)]] if fine else [])
        last = (
            [nn.Conv2d(half, channels, 3, padding=1)]
            if fine
            else enlarge("transposed", stages[0], width, channels, True)
        )
        self.last = nn.Sequential(*last, nn.Tanh())
        if norm == "spectral":
            spectral(self)

    def forward(self, z: Float[Tensor, "b z"], labels: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b c h w"]:
        """Images in [-1, 1]; with classes, of the label of each (int64)."""
        if self.conditional_norm:
            labels = needed(labels)
        values = self.latent(z, labels)[:, :, None, None]
        maps: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            values = block(values, labels, again=self.recompute)
            if str(number) in self.excitations:
                values = self.excitations[str(number)](maps[number - REACH], values)
            maps.append(values)
        images: Tensor = self.last(self.fine(values, labels, again=self.recompute))
        return images


class Down(nn.Module):
    """Half the size, in two branches: convolutions, and a mean over pixels with a 1x1 convolution.

    After Liu et al. 2021. Ours: the second branch has no nonlinearity, and the sum is scaled by the root of a half, which keeps
    its size where the paper's mean does not.

    Args:
        stage: sizes.
        inside, outside: channels.
        depth: convolutions in the first branch.
        name, slope, activate: normalisation and activation.
    """

    def __init__(
        self, stage: Halving, inside: int, outside: int, depth: int, name: str, activate: str, slope: float
    ) -> None:
        super().__init__()
        bias = not normalises(name)
        strided = nn.Conv2d(inside, outside, stage.kernel, stage.stride, stage.padding, bias=bias)
        layers = [strided, *after(outside, name, 0, activate, slope, 0.0)]
        for _ in range(depth - 1):
            more = nn.Conv2d(outside, outside, 3, padding=1, bias=bias)
            layers += [more, *after(outside, name, 0, activate, slope, 0.0)]
        self.layers = nn.Sequential(*layers)
        pool = nn.AdaptiveAvgPool2d(stage.outside)
        self.short = nn.Sequential(pool, nn.Conv2d(inside, outside, 1, bias=bias), *norm(name, outside))

    def forward(self, features: Float[Tensor, "b k H W"]) -> Float[Tensor, "b c h w"]:
        """Features at half the size."""
        values: Tensor = (self.layers(features) + self.short(features)) * 0.5**0.5
        return values


class Deviation(nn.Module):
    """One more map: how much the images of a group differ (Karras et al. 2018, progressive growing, section 3).

    A group's images come from all over the batch, and so from all processes that train together.

    Args:
        group: images that are compared.

    Attributes:
        together: which processes have the rest of the batch.
    """

    together: Together = ALONE

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """[b, c, h, w] to [b, c + 1, h, w]."""
        precise = features.float() if features.dtype in (torch.bfloat16, torch.float16) else features
        batch, mine = self.together.gather(precise)
        spread = self._spread(batch)[mine, None, None, None].to(features.dtype)
        return torch.cat([features, spread.expand(-1, 1, *features.shape[2:])], 1)

    def _spread(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """How much the group of each image differs."""
        count = len(features)
        # The nearest number that divides them: up to the group's, else the smallest over it.
        sizes = [size for size in range(2, count + 1) if count % size == 0]
        size = max([size for size in sizes if size <= self.group], default=min(sizes, default=1))
        if size == 1:
            return features.new_zeros(count)
        groups = features.reshape(size, count // size, *features.shape[1:])
        spread = ((groups - groups.mean(0)).square().mean(0) + 1e-8).sqrt().mean((1, 2, 3))
        return spread.repeat(size)


class Discriminator(Classified):
    """Images to logits; the arguments are those of :class:`Generator`.

    Args:
        reconstruction: whether it is asked to remember what it saw.
        conditioning: see :class:`limner.networks.conditioning.Classified`.
    """

    def __init__(
        self,
        *,
        width_px: int,
        height_px: int,
        channels: int,
        classes: int,
        conditioning: str,
        width: int,
        depth: int,
        activation: str,
        slope: float,
        norm: str,
        reconstruction: bool,
        deviation: bool,
        residual: bool,
    ) -> None:
        stages = halvings(height_px, width_px)
        widths, base = doubling(width, len(stages)), stages[-1].outside
        super().__init__(conditioning, classes, (widths[-1] + deviation) * base[0] * base[1])
        first = nn.Conv2d(channels, width, stages[0].kernel, stages[0].stride, stages[0].padding)
        blocks: list[nn.Module] = [nn.Sequential(first, *after(width, "none", 0, activation, slope, 0.0))]
        for stage, inside, outside in zip(stages[1:], widths[:-1], widths[1:], strict=True):
            if residual:
                blocks.append(Down(stage, inside, outside, depth, norm, activation, slope))
            else:
                down = nn.Conv2d(inside, outside, stage.kernel, stage.stride, stage.padding, bias=not normalises(norm))
                blocks.append(nn.Sequential(down, *after(outside, norm, 0, activation, slope, 0.0)))
        self.slope = slope if activation == "leaky_relu" else 0.0
        self.blocks = nn.ModuleList(blocks)
        self.deviation = Deviation() if deviation else nn.Identity()
        self.last = nn.Conv2d(widths[-1] + deviation, 1, base, bias=False)
        if reconstruction:
            # From the map of about 8x8, up to a quarter of the picture's size.
            self.source = max(0, len(stages) - 2)
            layers: list[nn.Module] = []
            count = widths[self.source]
            for stage in stages[self.source : 1 : -1]:
                layers += [nn.Upsample(size=stage.inside, mode="nearest")]
                layers += [nn.Conv2d(count, max(1, count // 2), 3, padding=1), nn.LeakyReLU(slope)]
                count = max(1, count // 2)
            self.decoder = nn.Sequential(*layers, nn.Conv2d(count, channels, 3, padding=1), nn.Tanh())
            self.auxiliary = self.auxiliary | {"reconstruction"}
        self.add_classes()
        if norm == "spectral":
            spectral(self)

    def initialise(self, std: float) -> None:
        """The family's own initial weights: see :func:`_draw`; ``std`` is not used."""
        _draw(self, self.slope)

    def look(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, " b"], Float[Tensor, "b k h w"]]:
        """Logits, and the map of features that they are computed from."""
        logits, features, _ = self._all(images)
        return logits, features

    def _all(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        maps = []
        values = images
        for block in self.blocks:
            values = recompute(partial(run, [block]), [block], values) if self.recompute else block(values)
            maps.append(values)
        values = self.deviation(values)
        return self.last(values).flatten(), values, maps

    def opinion(
        self, images: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"] | None = None, remember: bool = True
    ) -> Opinion:
        """Logits, classes, and (which costs as much as the rest) what it remembers of the images."""
        logits, features, maps = self._all(images)
        classes, remembered = None, None
        if self.conditioning == "projection":
            logits = logits + self.projection(features, labels)
        elif self.conditioning == "acgan":
            classes = self.classifier(features.flatten(1))
        if remember and "reconstruction" in self.auxiliary:
            remembered = self.decoder(maps[self.source])
        return Opinion(logits, classes, remembered)

    def forward(self, images: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"] | None = None) -> Float[Tensor, " b"]:
        """One logit an image, without the cost of drawing what it saw."""
        logits, features, _ = self._all(images)
        return logits + self.projection(features, labels) if self.conditioning == "projection" else logits
