"""One update of the discriminator, one of the generator: what a GAN is.

Two networks play a game. The discriminator D looks at images and says how real each one looks; the generator G turns noise
z into images that D should take for real. An update has three parts:

1.  G draws a batch of fakes from noise.
2.  D sees real images and those fakes, and improves at telling them apart.
3.  The improved D looks at the same fakes, and G improves at fooling it.

Only here do networks, losses and optimizers meet; what they are is none of this file's business. The generator's turn uses the
fakes that the discriminator has just seen, so G runs forward once; and it needs D's gradient with respect to its *input* only,
so D's weights are frozen for that pass, which saves a third of its cost and changes nothing.

Three things may come between. Images can be augmented on their way to D, real and fake alike. A batch can be cut into parts
that fit into memory, whose gradients add up to the batch's. And D may have several turns, each with a batch of its own, before
G has one (the critic of a Wasserstein GAN).

Several processes can play together, each with its share of every batch. Their gradients add up as those of parts do: all that
is to be seen of it here are ``together.sum_gradients`` and, for what a look at all images decides, ``together.gather``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from limner.networks.together import ALONE, Together
from limner.timing import timed
from limner.training.augment import FAKE, FAKE_FOR_GENERATOR, HALF, REAL, REAL_FOR_GENERATOR, Augmentation
from limner.training.objectives import Objective, classification, reconstruction
from limner.training.regularizers import Regularizer, clip_weights
from limner.training.slopes import ConstantSlopes
from limner.training.transforms import RGBA, premultiplied
from limner.training.turns import Batch, Images, Labels, Measures, Scalar, mean
from limner.training.twice import TwiceDifferentiated

Logits = Float[Tensor, " b"]


@dataclass(frozen=True)
class Penalties:
    """What D's gradient is penalised for.

    Attributes:
        terms: each with its weight.
        every: in how many turns of D one has penalties, which then weigh as many times more (Karras et al. 2020, StyleGAN2,
            "lazy regularization").
        clip: D's weights are cut to -clip..clip; 0 leaves them.
    """

    terms: Sequence[tuple[Regularizer, float]] = ()
    every: int = 1
    clip: float = 0.0

    def due(self, number: int) -> bool:
        """Whether the turn of D that has so many before it has penalties."""
        return bool(self.terms) and (number + 1) % self.every == 0


@dataclass
class Step:
    """The two networks with their optimizers, and what they play for.

    Attributes:
        generator, discriminator: networks in training mode.
        generator_optimizer, discriminator_optimizer: over their parameters.
        objective: the losses.
        autocast: a new context for the forward passes (lower precision, or nothing).
        penalties: on D's gradient.
        augment: what D sees instead of the images themselves.
        class_weight, memory_weight: of naming the classes and of drawing what it saw, for discriminators that can do those.
        generator_clip_norm, discriminator_clip_norm: the longest gradient; 0 for any.
        micro_batch: the most images at once, over all processes; ``None`` for the whole batch.
        together: the processes that play together, each with its share of every batch and the same networks.
    """

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: Optimizer
    discriminator_optimizer: Optimizer
    objective: Objective
    autocast: Callable[[], AbstractContextManager[object]]
    penalties: Penalties = Penalties()
    augment: Augmentation | None = None
    class_weight: float = 0.0
    memory_weight: float = 0.0
    generator_clip_norm: float = 0.0
    discriminator_clip_norm: float = 0.0
    micro_batch: int | None = None
    together: Together = ALONE

    def __call__(self, batches: Sequence[Batch], number: int = 0) -> Measures:
        """Update D once for each batch, then G once with the last one.

        Args:
            batches: one or more.
            number: turns that D has had before.
        """
        penalty = None
        for turn, batch in enumerate(batches, 1):
            parts = batch.parts(self.micro_batch, self.together)
            # One graph of G is kept for its turn; with more parts there would be no memory for them, and G draws them again.
            keep = turn == len(batches) and len(parts) == 1
            with torch.set_grad_enabled(keep):
                fakes = [self.draw(part) for part in parts]
            measures = self.update_discriminator(parts, [fake.detach() for fake in fakes], number + turn - 1)
            # The last turn that had a penalty tells of it: a lazy one may never fall on the last turn of all.
            penalty = measures.penalty if measures.penalty is not None else penalty
        loss = self.update_generator(parts, fakes if keep else [None] * len(parts))
        return replace(measures, generator_loss=loss, penalty=penalty)

    def draw(self, batch: Batch) -> Images:
        """G's images of a batch's latents and classes."""
        with self.autocast():
            return self.generator(batch.z) if batch.labels is None else self.generator(batch.z, batch.labels)  # type: ignore[no-any-return]

    def update_discriminator(self, parts: Sequence[Batch], fakes: Sequence[Images], number: int) -> Measures:
        """D's turn.

        Real and fake go through D separately, so that batch normalisation never mixes them.
        """
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        total = sum(part.whole for part in parts)
        measured, margins = [], []
        for part, fake in zip(parts, fakes, strict=True):
            share = len(part) / total
            real, fake = self._seen(part.real, part, REAL), self._seen(fake, part, FAKE)
            loss, measures, margin = self._judge(real, fake, part.labels)
            margins.append(margin)
            if self.penalties.due(number):
                # By itself, after the loss: so there is never more than one graph of D.
                (share * loss).backward()  # type: ignore[no-untyped-call]
                loss = self._penalty(real, fake, part)
                measures = replace(measures, penalty=loss.detach())
            (share * loss).backward()  # type: ignore[no-untyped-call]
            measured.append((share, measures))
        measures = self._sum(self.discriminator, mean(measured))
        _shorten(self.discriminator, self.discriminator_clip_norm)
        self.discriminator_optimizer.step()
        if self.penalties.clip:
            clip_weights(self.discriminator, self.penalties.clip)
        if self.augment is not None and self.augment.adaptive:
            self.augment.observe(self.together.gather(torch.cat(margins)).everything)
        return measures

    def update_generator(self, parts: Sequence[Batch], fakes: Sequence[Images | None]) -> Scalar:
        """G's turn: its loss. ``fakes`` still remember how G made them; where there is none, G draws it (again)."""
        self.generator_optimizer.zero_grad(set_to_none=True)
        total, losses = sum(part.whole for part in parts), []
        with _frozen(self.discriminator):
            for part, drawn in zip(parts, fakes, strict=True):
                fake = self._seen(self.draw(part) if drawn is None else drawn, part, FAKE_FOR_GENERATOR)
                logits, classes, _ = self._look(fake, part.labels)
                real_logits = None
                if self.objective.relativistic:
                    with torch.no_grad():
                        real = self._seen(part.real, part, REAL_FOR_GENERATOR)
                        real_logits = self._look(real, part.labels)[0]
                adversarial = self.objective.generator(logits, real_logits)
                loss = adversarial
                if classes is not None:
                    assert part.labels is not None
                    loss = loss + self.class_weight * classification(classes, part.labels)
                share = len(part) / total
                (share * loss).backward()  # type: ignore[no-untyped-call]
                losses.append(share * adversarial.detach())
        loss = self.together.sum_gradients(self.generator, sum(losses[1:], losses[0])[None])[0]
        _shorten(self.generator, self.generator_clip_norm)
        self.generator_optimizer.step()
        return loss

    def _sum(self, network: nn.Module, measures: Measures) -> Measures:
        """Add up all processes' gradients of a network, and what they have measured."""
        if self.together.size == 1:
            return measures
        values = measures.values()
        sums = self.together.sum_gradients(network, torch.stack([value.double() for value in values.values()]))
        return Measures(**dict(zip(values, sums, strict=True)))

    def _judge(self, real: Images, fake: Images, labels: Labels | None) -> tuple[Scalar, Measures, Logits]:
        """D's loss on images as it sees them, what there is to tell of it, and by how much it takes real images for real."""
        real_logits, real_classes, remembered = self._look(real, labels, remember=True)
        fake_logits, fake_classes, _ = self._look(fake, labels)
        adversarial = loss = self.objective.discriminator(real_logits, fake_logits)
        class_loss = memory_loss = None
        if real_classes is not None and fake_classes is not None:
            assert labels is not None
            class_loss = classification(real_classes, labels) + classification(fake_classes, labels)
            loss = loss + self.class_weight * class_loss
        if remembered is not None:
            memory_loss = reconstruction(remembered, real)
            loss = loss + self.memory_weight * memory_loss
        measures = Measures(
            discriminator_loss=adversarial.detach(),
            real_logit=real_logits.detach().mean(),
            fake_logit=fake_logits.detach().mean(),
            classification=None if class_loss is None else class_loss.detach(),
            reconstruction=None if memory_loss is None else memory_loss.detach(),
            augment_probability=self.augment.current.clone()
            if self.augment is not None and self.augment.adaptive
            else None,
        )
        return loss, measures, self.objective.margin(real_logits, fake_logits).detach()

    def _penalty(self, real: Images, fake: Images, part: Batch) -> Scalar:
        """All penalties of one turn, in float32 at least whatever the precision: gradients of gradients need it."""

        # What is computed again in the backward pass would be so without them.
        again = getattr(self.discriminator, "recompute", False)
        twice = nullcontext if again else TwiceDifferentiated
        straight = (
            ConstantSlopes if getattr(self.discriminator, "constant_slopes", False) and not again else nullcontext
        )

        def discriminator(images: Images) -> Logits:
            with twice(), straight():
                logits = self.discriminator(images) if part.labels is None else self.discriminator(images, part.labels)
            return logits  # type: ignore[no-any-return]

        mix = part.mix if part.mix is not None else real.new_full((len(real),), 0.5)
        with torch.autocast(real.device.type, enabled=False):
            real, fake = real.detach(), fake.detach().to(real.dtype)
            terms = [weight * term(discriminator, real, fake, mix) for term, weight in self.penalties.terms]
            return self.penalties.every * sum(terms[1:], terms[0])

    def _look(
        self, images: Images, labels: Labels | None, *, remember: bool = False
    ) -> tuple[Logits, Tensor | None, Tensor | None]:
        """What D says: logits, and where it can do that, classes and (if wanted) what it remembers of the images."""
        known = () if labels is None else (labels,)
        with self.autocast():
            # What it remembers can cost as much as the rest: it is asked only where that is used.
            auxiliary: frozenset[str] = getattr(self.discriminator, "auxiliary", frozenset())
            if not auxiliary - (set() if remember else {"reconstruction"}):
                return _precise(self.discriminator(images, *known)), None, None
            options = {"remember": remember} if "reconstruction" in auxiliary else {}
            logits, classes, remembered = self.discriminator.opinion(images, *known, **options)  # type: ignore[operator]
        return _precise(logits), _precise(classes), _precise(remembered)

    def _seen(self, images: Images, batch: Batch, turn: int) -> Images:
        """Images as D sees them: changed, and of what is transparent only as much as shows."""
        if self.augment is not None:
            assert batch.drawn is not None, "a batch that is augmented needs what was drawn for it"
            with timed("augmentation"):
                images = self.augment.apply(images, batch.drawn, turn)
        return premultiplied(images) if images.shape[1] == RGBA else images


def _precise(values: Tensor) -> Tensor:
    """Losses are computed in float32 at least."""
    return values.float() if values is not None and values.dtype in HALF else values


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _shorten(network: nn.Module, longest: float) -> None:
    if longest:
        nn.utils.clip_grad_norm_(network.parameters(), longest)
