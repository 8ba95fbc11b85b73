"""What a turn is played with, and what it showed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from limner.networks.together import ALONE, Together
from limner.training import augment
from limner.training.augment import Drawn

Images = Float[Tensor, "b c h w"]
Latents = Float[Tensor, "b z"]
Labels = Int[Tensor, " b"]
Scalar = Float[Tensor, ""]


@dataclass(frozen=True)
class Batch:
    """What one turn is played with.

    Attributes:
        real: images in [-1, 1].
        z: as many latent vectors.
        drawn: what augmentation does to each; ``None`` without augmentation.
        labels: classes of the real images, and so of the fakes; ``None`` without classes.
        mix: numbers between 0 and 1, for penalties between a real image and a fake; ``None`` when there are none.
        whole: images of the batch over all processes that train together; without it: those that are here.
    """

    real: Images
    z: Latents
    labels: Labels | None = None
    mix: Float[Tensor, " b"] | None = None
    drawn: Drawn | None = None
    whole: int = 0

    def __post_init__(self) -> None:
        if not self.whole:
            object.__setattr__(self, "whole", len(self.real))

    def __len__(self) -> int:
        return len(self.real)

    def parts(self, size: int | None, together: Together = ALONE) -> list[Batch]:
        """The batch in parts of at most ``size`` images over all processes, of which each has its share."""
        parts, start = [], 0
        for piece in pieces(0, self.whole, size):
            stop = start + len(together.share(piece))
            parts.append(self if stop - start == len(self) else self._cut(slice(start, stop), len(piece)))
            start = stop
        return parts

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with each of its tensors changed."""
        labels, mix = (None if values is None else change(values) for values in (self.labels, self.mix))
        drawn = None if self.drawn is None else self.drawn.map(change)
        return Batch(change(self.real), change(self.z), labels, mix, drawn, self.whole)

    def tensors(self) -> list[Tensor]:
        """All of them, in a fixed order; what there is not is left out."""
        found: list[Tensor] = []

        def note(tensor: Tensor) -> Tensor:
            found.append(tensor)
            return tensor

        self.map(note)
        return found

    def shapes(self) -> Hashable:
        """What there is, of what shapes: of two batches that are alike in this, one can take the other's place."""
        present = (self.labels is not None, self.mix is not None, self.drawn and self.drawn.present())
        return self.whole, present, tuple((tensor.shape, tensor.dtype, tensor.stride()) for tensor in self.tensors())

    def _cut(self, where: slice, whole: int) -> Batch:
        labels, mix = (None if values is None else values[where] for values in (self.labels, self.mix))
        drawn = None if self.drawn is None else self.drawn[where]
        return Batch(self.real[where], self.z[where], labels, mix, drawn, whole)


def joined(batches: Sequence[Batch]) -> Batch:
    """Several batches as one."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    return Batch(
        torch.cat([batch.real for batch in batches]),
        torch.cat([batch.z for batch in batches]),
        None if first.labels is None else torch.cat([batch.labels for batch in batches if batch.labels is not None]),
        None if first.mix is None else torch.cat([batch.mix for batch in batches if batch.mix is not None]),
        None if first.drawn is None else augment.joined([one.drawn for one in batches if one.drawn is not None]),
        sum(batch.whole for batch in batches),
    )


def pieces(first: int, count: int, size: int | None) -> list[range]:
    """``count`` numbers from ``first`` on, in pieces of at most ``size``."""
    step = size or count
    return [range(start, min(start + step, first + count)) for start in range(first, first + count, step)]


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What one update showed. Scalars stay on the device until somebody reads them; ``None`` is what was not measured."""

    discriminator_loss: Scalar
    generator_loss: Scalar | None = None
    real_logit: Scalar
    fake_logit: Scalar
    penalty: Scalar | None = None
    classification: Scalar | None = None
    reconstruction: Scalar | None = None
    augment_probability: Scalar | None = None

    def values(self) -> dict[str, Scalar]:
        """What was measured, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def mean(measured: Sequence[tuple[float, Measures]]) -> Measures:
    """What the parts of a batch showed together: each counts by its share of the images.

    Where other processes have parts too, this is what those here contribute; it is to be added up.
    """
    if len(measured) == 1 and measured[0][0] == 1:
        return measured[0][1]
    names = measured[0][1].values()
    return Measures(
        **{name: torch.stack([share * part.values()[name] for share, part in measured]).sum() for name in names}
    )
