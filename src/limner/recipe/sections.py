"""The parts of a recipe, field by field. Every default of Limner stands here; the text under a field is its help."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Side = Annotated[int, Field(ge=8, le=1024)]
Rate = Annotated[float, Field(gt=0, le=1)]
Moment = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1, le=2**40)]
Weight = Annotated[float, Field(ge=0, le=10**6)]


class Section(BaseModel):
    """A part of a recipe: unknown fields are errors, and nothing changes after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("true and false are no values here")
        return value


class About(Section):
    """What the recipe is, for people."""

    summary: str = ""
    """One line: what it is for."""
    source: str = ""
    """Where its numbers come from."""
    cost: Literal["", "seconds", "minutes", "hours", "days"] = ""
    """How long until there is something to look at, on two CPU cores."""


class Image(Section):
    """What the pictures become before the networks see them."""

    width: Side | None = None
    """Pixels, 8 to 1024. Without it: measured on the data, with the longer side at most ``max_side``."""
    height: Side | None = None
    """Pixels, 8 to 1024. Without it: measured on the data."""
    channels: Literal[1, 3, 4] | None = None
    """1 grey, 3 RGB, 4 RGB with transparency. Without it: measured on the data."""
    fit: Literal["crop", "pad", "stretch", "crops"] = "crop"
    """How a picture of another shape gets the size: the middle is cut out (``crop``), it is padded (``pad``), it is
    stretched, or fresh random pieces at full resolution are cut in every epoch (``crops``: for a few large maps)."""
    background: Literal["white", "black"] = "white"
    """What padding is filled with, and what shows through when transparency is dropped."""
    max_side: Side = 64
    """The longer side, in pixels, when the size is measured on larger pictures."""
    pixel_limit: Annotated[int, Field(ge=64, le=2**32)] = 100_000_000
    """A file that unpacks to more pixels is skipped: it may be made to fill the memory. Pictures of the limit's size take up
    to 8 bytes a pixel while they are read; of WebP half as many are read, of JPEG 2000 a third."""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """The share of pictures that training never sees, kept to judge by; 0 for none. Sets of under 100 keep none."""
    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    """Pictures that are as good mirrored (maps are, letters are not) are shown mirrored half of the time. Copies are looked
    for upright only, so a mirrored copy goes unnoticed."""
    rotate: bool = False
    """Pictures that are as good turned are shown in all four directions (not square: upright or upside down)."""


class Network(Section):
    """Which pair of networks, and what they share."""

    family: str = "dcgan"
    """The architecture: a name from the table of networks."""
    latent: Annotated[int, Field(ge=1, le=4096)] = 100
    """Length of the latent vector z."""
    init_std: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Weights start as N(0, init_std); 0 keeps torch's own initialisation. ``r3gan`` and the discriminator of ``fewshot``
    draw theirs by rules of their own."""
    conditioning: str = "none"
    """How both networks learn of classes: a name from the table of conditionings."""
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=10_000)] | None = None
    """The names of the classes. Without it: measured on the data."""


class Player(Section):
    """One network's shape, and how it learns."""

    width: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = 64
    """Channels next to the picture; they double at each halving, up to eight times this. ``auto``: as many as the time
    allows, measured on this device when the training starts."""
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(min_length=1, max_length=16)] = (
        256,
        512,
    )
    """Widths of the fully connected layers, from the input on."""
    depth: Annotated[int, Field(ge=1, le=8)] = 1
    """Residual blocks (``r3gan``) or convolutions (``fewshot``) at each resolution."""
    activation: Literal["relu", "leaky_relu", "silu"] = "leaky_relu"
    """What stands between the layers."""
    slope: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Slope of ``leaky_relu`` below zero."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of activations set to zero in training, after each activation."""
    norm: Literal["batch", "instance", "layer", "none", "spectral"] = "batch"
    """What keeps activations in range: a normalisation, or ``spectral``, which bounds the weights instead."""
    kernel: Annotated[int, Field(ge=2, le=9)] = 4
    """Side of the convolutions that change the resolution, at least the stride."""
    stride: Literal[2, 4] = 2
    """By how much a convolution changes the resolution."""
    upsample: Literal["transposed", "nearest", "bilinear", "pixel-shuffle"] = "transposed"
    """How the generator doubles its maps (generator only)."""
    fine: bool = True
    """Half as many maps at the picture's own size, before its colours; without, a transposed convolution makes the colours
    from maps of half the size (generator of ``fewshot`` only)."""
    smooth: Annotated[int, Field(ge=0, le=9)] = 0
    """Side of one more convolution at the end, odd; 0 for none (generator only)."""
    excitation: bool = True
    """Small maps switch the channels of large ones on and off (Liu et al. 2021)."""
    residual: bool = True
    """A second branch at each halving: a mean over pixels and a 1x1 convolution (after Liu et al. 2021)."""
    deviation: bool = True
    """The discriminator sees how much the images of a batch differ (Karras et al. 2018)."""
    reconstruction: bool = True
    """The discriminator also learns to draw what it saw from its features (Liu et al. 2021)."""
    optimizer: str = "adam"
    """How gradients become steps: a name from the table of optimizers."""
    lr: Rate = 0.0002
    """Learning rate, over 0 to 1."""
    beta1: Moment = 0.5
    """Adam's decay of the mean gradient, 0 to under 1."""
    beta2: Moment = 0.999
    """Adam's decay of the mean squared gradient, 0 to under 1."""
    alpha: Moment = 0.99
    """RMSprop's decay of the mean squared gradient, 0 to under 1."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """AdamW's decay of the weights, times the learning rate, in each update."""
    clip_norm: Weight = 0.0
    """Gradients longer than this are shortened to it; 0 leaves them."""


class Objective(Section):
    """What the two networks play for."""

    name: str = "non-saturating"
    """The loss: a name from the table of objectives."""
    real_label: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    """The label of real images, over 0.5 to 1; 0.9 is one-sided label smoothing (Salimans et al. 2016)."""
    classification: Weight = 1.0
    """Weight of the class loss, for ``acgan``."""
    reconstruction: Weight = 1.0
    """Weight of the discriminator's task to remember what it saw, for families that have it."""


class Regularizers(Section):
    """What keeps the discriminator smooth."""

    r1: Weight | Literal["auto"] = 0.0
    """Gamma: half of it times the squared gradient at real images is added to D's loss (Mescheder et al. 2018). ``auto``:
    by the pictures' size and the batch, 0.0002 * pixels / batch (Karras et al. 2020, StyleGAN2-ADA)."""
    r2: Weight | Literal["auto"] = 0.0
    """Gamma of the same at generated images."""
    gradient_penalty: Weight = 0.0
    """Lambda of WGAN-GP: the gradient between real and generated images is drawn to length 1 (Gulrajani et al. 2017)."""
    every: Annotated[int, Field(ge=1, le=1000)] = 1
    """Only every so many updates of D, with as many times the weight (Karras et al. 2020)."""
    clip: Weight = 0.0
    """D's weights are cut to -clip..clip after each update; 0 leaves them (Arjovsky et al. 2017)."""


class Augment(Section):
    """What is done to real and generated images alike before the discriminator sees them; samples never show it."""

    policy: tuple[Literal["color", "translation", "cutout"], ...] = ()
    """Which changes (Zhao et al. 2020)."""
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of images that each change is made to; where it adapts, it starts from 0 and this is the most."""
    target: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Over 0: the probability follows the discriminator's overfitting, to keep the mean sign of its real logits here
    (0.6 in Karras et al. 2020; of the difference to a generated one, for relativistic and Wasserstein losses); 0: it is
    fixed."""
    speed_images: Positive = 500_000
    """Where the probability adapts: images in which it can go from 0 to 1."""
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Standard deviation of noise on the images, as a share of their range; 0.15 is 15 %."""
    noise_images: Positive | None = None
    """The noise fades to nothing over so many images. Without it: it stays."""


class Schedule(Section):
    """How the learning rates of both networks change on the way."""

    name: Literal["constant", "linear", "cosine"] = "constant"
    """How they fall once they have risen."""
    warmup_images: Annotated[int, Field(ge=0, le=2**40)] = 0
    """They rise from 0 over so many images."""
    images: Positive | None = None
    """They reach ``final`` after so many images. Without it: at the end of the training."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """What remains of them at the end, as a share."""


class Ema(Section):
    """The averaged generator, which samples are drawn from."""

    half_life: Annotated[int, Field(ge=0, le=10**9)] = 10_000
    """After this many images a weight counts half in the average; 0 switches the average off."""
    ramp: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Early on, the half-life is at most this share of the images seen, so that the first samples are not stale;
    0 for no ramp (Karras et al. 2020, "Training GANs with limited data")."""


class Training(Section):
    """How long, in what portions, and on what."""

    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    """Images in one update."""
    micro_batch: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Images that are computed at once: a batch is cut into such pieces, whose gradients are added up. Saves memory; batch
    normalisation (and ``deviation``) then see a piece only, and statistics are updated twice, because the generator draws each
    piece again in its own turn. Of several processes each computes its share of a piece. Without it: the whole batch."""
    recompute: bool = False
    """Activations are computed again for the gradients instead of being kept: less memory, about a third more time."""
    critic_steps: Annotated[int, Field(ge=1, le=1000)] = 1
    """Updates of the discriminator for each one of the generator, each with a batch of its own."""
    epochs: Annotated[float, Field(gt=0, le=10**7)] | None = None
    """Stop after this many passes over the images. Give one of epochs, images, minutes."""
    images: Positive | None = None
    """Stop after this many images."""
    minutes: Annotated[float, Field(gt=0, le=10**6)] | None = None
    """Stop after this many minutes of training."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The number that all randomness follows from."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    """auto, cpu, cuda, cuda:N or mps. auto takes a GPU where there is one."""
    precision: Literal["auto", "float32", "bfloat16", "float64"] = "auto"
    """Arithmetic of the networks. auto takes bfloat16 where the processor has it; weights are float32 then too."""


class Snapshots(Section):
    """What is written down on the way."""

    every_images: Positive | None = None
    """A grid of samples every so many images. Without it and ``every_epochs``: soon at first, then less and less often."""
    every_epochs: Annotated[float, Field(gt=0, le=10**7)] | None = None
    """A grid of samples every so many epochs; fractions are fine."""
    grid: Annotated[int, Field(ge=1, le=1024)] = 64
    """Samples in a grid."""
    checkpoint_minutes: Annotated[float, Field(gt=0, le=10**5)] = 3.0
    """Minutes between two checkpoints; a killed training loses at most this."""
    keep: Annotated[int, Field(ge=1, le=10**4)] = 2
    """How many of the newest checkpoints stay."""
    log_steps: Annotated[int, Field(ge=1, le=10**6)] = 20
    """Updates between two lines of the log."""


class Evaluation(Section):
    """How the generator is judged on the way and at the end. Losses do not say whether samples are good; this does."""

    share: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """The share of the time that judging may take at most, 0 to 0.5; 0 judges never, not even at the end."""
    every_images: Positive | None = None
    """An evaluation every so many images. Without it: measured when the training starts, so that ``share`` is kept."""
    images: Annotated[int, Field(ge=8, le=100_000)] = 1000
    """Generated images in one evaluation, and at most so many real ones; the last evaluation takes twice as many."""
    extractor: str = "limner"
    """What turns images into features: ``limner``, ``inception``, a TorchScript file, or ``package.module:function``."""
    patience: Positive | None = None
    """Stop when so many images have brought no better figure and none is expected. Without it: never."""


class Health(Section):
    """What is done when a training breaks: numbers that are none any more, or samples that have become all alike."""

    rollbacks: Annotated[int, Field(ge=0, le=100)] = 3
    """How often the training goes back to its last good state, with lower rates, before it is stopped."""
    rate_scale: Annotated[float, Field(gt=0, le=1)] = 0.5
    """What both learning rates are multiplied by each time."""
