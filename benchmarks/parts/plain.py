"""Trainings as they are written when nothing is done for speed: what Limner's are measured and tested against.

The same networks from the same weights, the same losses, penalties, augmentation and averaging as a recipe's training
has, so that only engineering differs:

- float32, eager, contiguous; Adam as ``torch.optim`` makes it by default; the whole set in memory as floats;
- G runs forward once with its graph in each turn of D, and the last of these fakes serves G's turn too;
- in G's turn D's weights take gradients that nobody uses, until the next ``zero_grad``;
- R1 and R2 take D's gradient from the forward pass of the loss itself, in the turns in which the recipe has penalties;
  the
  penalty of WGAN-GP has a pass of its own, as it must;
- augmentation is written with torch's own operations, sample by sample where it moves them, as DiffAugment is
  described;
- the averaged weights are a loop over the parameters.

The textbook's DCGAN loop, of which the first goal speaks, is here too (:func:`textbook`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from limner import networks
from limner.recipe import Recipe
from limner.training.assembly import make_objective
from limner.training.ema import AveragedGenerator
from limner.training.objectives import reconstruction

Images = Float[Tensor, "b c h w"]
REACH = 8
"""Translations reach this part of a side."""


@dataclass(frozen=True)
class Changes:
    """What augmentation does to each sample: colours, shifts in pixels, and which of (colours three, shift) are done
    at all."""

    brightness: Float[Tensor, " b"]
    saturation: Float[Tensor, " b"]
    contrast: Float[Tensor, " b"]
    down: Int[Tensor, " b"]
    right: Int[Tensor, " b"]
    chosen: Bool[Tensor, "4 b"]


Draw = Callable[[Images, int], Changes]


def drawn(images: Images, turn: int, probability: float = 1.0) -> Changes:
    """Changes from torch's own generator, on the images' device."""
    count, device = len(images), images.device
    colours = torch.rand(3, count, device=device)
    far = [max(1, side // REACH) for side in images.shape[2:]]
    down, right = (torch.randint(-most, most + 1, (count,), device=device) for most in far)
    chosen = torch.rand(4, count, device=device) < probability
    return Changes(colours[0] - 0.5, colours[1] * 2, colours[2] + 0.5, down, right, chosen)


def augmented(images: Images, changes: Changes) -> Images:
    """Colour, then translation (Zhao et al. 2020), with torch's own operations."""

    def each(values: Tensor, chosen: Tensor, neutral: float) -> Tensor:
        return torch.where(chosen, values, neutral).view(-1, 1, 1, 1).to(images.dtype)

    colours, rest = (images[:, :3], images[:, 3:]) if images.shape[1] > 3 else (images, images[:, :0])
    colours = colours + each(changes.brightness, changes.chosen[0], 0.0)
    if colours.shape[1] == 3:
        mean = colours.mean(1, keepdim=True)
        colours = (colours - mean) * each(changes.saturation, changes.chosen[1], 1.0) + mean
    mean = colours.mean((1, 2, 3), keepdim=True) * (rest.shape[1] == 0)  # with transparency, around mid-grey
    colours = (colours - mean) * each(changes.contrast, changes.chosen[2], 1.0) + mean
    images = torch.cat([colours, rest], 1)
    height, width = images.shape[2:]
    tall, wide = max(1, height // REACH), max(1, width // REACH)
    padded = functional.pad(images, (wide, wide, tall, tall))
    down, right = (values * changes.chosen[3] for values in (changes.down, changes.right))
    return torch.stack(
        [
            picture[:, tall - low : tall - low + height, wide - far : wide - far + width]
            for picture, low, far in zip(padded, down.tolist(), right.tolist(), strict=True)
        ]
    )


class PlainTraining:
    """A recipe's training, plainly.

    Args:
        recipe: resolved; without classes; of the policies it may have colour and translation.
        device, dtype: of everything.
        draw: what augmentation does; by default random.

    Raises:
        ValueError: the recipe has something that this does not.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        draw: Draw = drawn,
    ) -> None:
        unknown = set(recipe.augment.policy) - {"color", "translation"}
        others = recipe.network.classes or recipe.regularizers.clip or recipe.augment.noise
        optimizers = {recipe.generator.optimizer, recipe.discriminator.optimizer}
        if unknown or others or optimizers != {"adam"} or len(recipe.augment.policy) == 1:
            raise ValueError(
                "the plain training has no classes, clipping, noise, single policies, or other optimizers than Adam"
            )
        image = recipe.image
        assert image.width is not None and image.height is not None and image.channels is not None
        pair = networks.build(recipe, width=image.width, height=image.height, channels=image.channels)
        self.generator, self.discriminator = (network.to(device, dtype).train() for network in pair)
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), lr=player.lr, betas=(player.beta1, player.beta2))
            for network, player in (
                (self.generator, recipe.generator),
                (self.discriminator, recipe.discriminator),
            )
        )
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.decay = AveragedGenerator(self.generator, recipe.ema).decay  # the rule alone
        self.recipe, self.objective, self.draw = recipe, make_objective(recipe), draw
        self.updates = self.turns = self.images = 0

    def seen(self, images: Images, turn: int) -> Images:
        """Images as D sees them; ``turn`` as Limner counts them."""
        return augmented(images, self.draw(images, turn)) if self.recipe.augment.policy else images

    def update(self, batches: list[tuple[Images, Tensor, Tensor]]) -> None:
        """D's turns, one for each batch of real images, latents and mixing shares; then G's with the last one."""
        for real, z, mix in batches:
            fake = self.generator(z)
            self.discriminators_turn(real, fake, mix)
        self.generator_optimizer.zero_grad()
        logits = self.discriminator(self.seen(fake, 2))
        real_logits = None
        if self.objective.relativistic:
            with torch.no_grad():
                real_logits = self.discriminator(self.seen(real, 3))
        self.objective.generator(logits, real_logits).backward()
        self.generator_optimizer.step()
        self.images += len(batches) * len(real)
        self.follow(len(batches) * len(real))
        self.updates += 1

    def discriminators_turn(self, real: Images, fake: Images, mix: Tensor) -> None:
        """D's loss with its penalties, backward at once, and a step."""
        settings, optimizer = self.recipe.regularizers, self.discriminator_optimizer
        self.turns += 1
        due = self.turns % settings.every == 0
        optimizer.zero_grad()
        real, fake = self.seen(real, 0), self.seen(fake.detach(), 1)
        if due and settings.r1:
            real = real.detach().requires_grad_()
        if due and settings.r2:
            fake = fake.detach().requires_grad_()
        remembered = None
        if "reconstruction" in getattr(self.discriminator, "auxiliary", ()):
            real_logits, _, remembered = self.discriminator.opinion(real)
        else:
            real_logits = self.discriminator(real)
        fake_logits = self.discriminator(fake)
        loss = self.objective.discriminator(real_logits, fake_logits)
        if remembered is not None:
            loss = loss + self.recipe.objective.reconstruction * reconstruction(remembered, real.detach())
        if due:
            for weight, images, logits in ((settings.r1, real, real_logits), (settings.r2, fake, fake_logits)):
                if weight:
                    slope = torch.autograd.grad(logits.sum(), images, create_graph=True)[0]
                    loss = loss + settings.every * weight * slope.square().sum((1, 2, 3)).mean() / 2
            if settings.gradient_penalty:
                share = mix.view(-1, 1, 1, 1)
                between = (share * real.detach() + (1 - share) * fake.detach()).requires_grad_()
                slope = torch.autograd.grad(self.discriminator(between).sum(), between, create_graph=True)[0]
                lengths = slope.flatten(1).norm(dim=1)
                loss = loss + settings.every * settings.gradient_penalty * (lengths - 1).square().mean()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def follow(self, count: int) -> None:
        """The averaged weights, one by one."""
        if not self.recipe.ema.half_life:
            return
        keep = self.decay(count, self.images)
        mine = [*self.average.parameters(), *self.average.buffers()]
        theirs = [*self.generator.parameters(), *self.generator.buffers()]
        for average, value in zip(mine, theirs, strict=True):
            if average.is_floating_point():
                average.mul_(keep).add_(value, alpha=1 - keep)
            else:
                average.copy_(value)


def plain_step(recipe: Recipe, pictures: Images) -> Callable[[], int]:
    """One update of a plain training on pictures that lie on their device; returns images seen."""
    training = PlainTraining(recipe, pictures.device)
    batch, turns, place = recipe.training.batch_size, recipe.training.critic_steps, 0

    def step() -> int:
        nonlocal place
        batches = []
        for _ in range(turns):
            place = (place + batch) % (len(pictures) - batch + 1)
            z = torch.randn(batch, recipe.network.latent, device=pictures.device)
            mix = torch.rand(batch, device=pictures.device)
            batches.append((pictures[place : place + batch], z, mix))
        training.update(batches)
        return batch * turns

    return step


def textbook(pictures: Images, batch: int) -> Callable[[], int]:
    """One step of the loop that textbooks print for DCGAN (as PyTorch's own example has it); returns images seen.

    float32, eager, contiguous, the whole set in memory (no loader cost), one generated batch for both updates,
    discriminator gradients computed in the generator's update too.
    """
    device, channels = pictures.device, pictures.shape[1]

    def initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)

    up = [nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False), nn.BatchNorm2d(512), nn.ReLU(True)]
    for inside, outside in ((512, 256), (256, 128), (128, 64)):
        up += [nn.ConvTranspose2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(True)]
    generator = nn.Sequential(*up, nn.ConvTranspose2d(64, channels, 4, 2, 1, bias=False), nn.Tanh())
    down: list[nn.Module] = [nn.Conv2d(channels, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for inside, outside in ((64, 128), (128, 256), (256, 512)):
        down += [nn.Conv2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.LeakyReLU(0.2, True)]
    discriminator = nn.Sequential(*down, nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Sigmoid())
    for network in (generator, discriminator):
        network.apply(initialise).to(device)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=0.0002, betas=(0.5, 0.999))
    of_generator = torch.optim.Adam(generator.parameters(), lr=0.0002, betas=(0.5, 0.999))
    criterion = nn.BCELoss()
    place = 0

    def step() -> int:
        nonlocal place
        real = pictures[place : place + batch]
        place = (place + batch) % (len(pictures) - batch + 1)
        label = torch.full((batch,), 1.0, device=device)
        discriminator.zero_grad()
        criterion(discriminator(real).view(-1), label).backward()
        fake = generator(torch.randn(batch, 100, 1, 1, device=device))
        label.fill_(0.0)
        criterion(discriminator(fake.detach()).view(-1), label).backward()
        of_discriminator.step()
        generator.zero_grad()
        label.fill_(1.0)
        criterion(discriminator(fake).view(-1), label).backward()
        of_generator.step()
        return batch

    return step
