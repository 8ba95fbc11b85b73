"""The recipe: the one description of a training, checked as a whole, in TOML. Every default of Limner stands here.

The text under a field is its help. A recipe knows nothing of torch, so it can be read, checked and shown at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from limner import recipe_text, tables
from limner.errors import InputError
from limner.recipe_rules import across, merged, unused_fields

DEFAULT = "quick"
"""What is trained when no recipe is named."""

Side = Annotated[int, Field(ge=8, le=1024)]
Rate = Annotated[float, Field(gt=0, le=1)]
Moment = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1, le=2**40)]


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
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """The share of pictures that training never sees, kept to judge by; 0 for none. Sets of under 100 keep none."""


class Network(Section):
    """Which pair of networks, and what they share."""

    family: str = "dcgan"
    """The architecture: a name from the table of networks."""
    latent: Annotated[int, Field(ge=1, le=4096)] = 100
    """Length of the latent vector z."""
    init_std: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Weights start as N(0, init_std); 0 keeps torch's own initialisation."""


class Player(Section):
    """One network's shape, and how it learns."""

    width: Annotated[int, Field(ge=1, le=1024)] = 64
    """Channels at the full resolution; they double at each halving, up to eight times this."""
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(min_length=1, max_length=16)] = (
        256,
        512,
    )
    """Widths of the fully connected layers, from the input on."""
    activation: Literal["relu", "leaky_relu", "silu"] = "leaky_relu"
    """What stands between the layers."""
    slope: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Slope of ``leaky_relu`` below zero."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of activations set to zero in training, after each activation."""
    optimizer: str = "adam"
    """How gradients become steps: a name from the table of optimizers."""
    lr: Rate = 0.0002
    """Learning rate, over 0 to 1."""
    beta1: Moment = 0.5
    """Adam's decay of the mean gradient, 0 to under 1."""
    beta2: Moment = 0.999
    """Adam's decay of the mean squared gradient, 0 to under 1."""


class Objective(Section):
    """What the two networks play for."""

    name: str = "non-saturating"
    """The loss: a name from the table of objectives."""
    real_label: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    """The label of real images, over 0.5 to 1; 0.9 is one-sided label smoothing (Salimans et al. 2016)."""


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


class Recipe(Section):
    """A training, described completely. See :meth:`load` and :meth:`from_values`."""

    format: Literal[1] = 1
    """Version of this layout."""
    about: About = About()
    image: Image = Image()
    network: Network = Network()
    generator: Player = Player()
    discriminator: Player = Player()
    objective: Objective = Objective()
    ema: Ema = Ema()
    training: Training = Training()
    snapshots: Snapshots = Snapshots()
    evaluation: Evaluation = Evaluation()
    health: Health = Health()

    @classmethod
    def from_values(cls, values: Mapping[str, Any], where: str = "given") -> Recipe:
        """Check nested values (as TOML gives them).

        Raises:
            RecipeError: names every wrong field at once, with what was found and what is allowed.
        """
        problems: list[str] = []
        recipe = None
        try:
            recipe = cls.model_validate(values)
        except ValidationError as error:
            problems += [recipe_text.explain(problem, cls) for problem in error.errors()]
        problems += across(values, cls)
        if problems or recipe is None:
            raise RecipeError(problems, where)
        return recipe

    @classmethod
    def load(cls, recipe: str | Path | Recipe, overrides: Mapping[str, Any] | None = None) -> Recipe:
        """A recipe by its shipped name or from a TOML file, with some fields set otherwise.

        Args:
            recipe: a shipped name, a path, or a recipe.
            overrides: values by ``section.field``; ``None`` takes a field out.

        Raises:
            InputError: no such recipe, or not TOML.
            RecipeError: wrong fields, all of them named.
        """
        if isinstance(recipe, Recipe):
            values, where = recipe.values(), "given"
        else:
            try:
                values, where = _read(find(recipe).read_bytes(), str(recipe)), str(recipe)
            except OSError as error:
                raise InputError(f"recipe {recipe}: cannot be read ({error.strerror or error})") from None
        overrides = overrides or {}
        values = merged(values, overrides)
        if any(name in overrides for name in tables.SELECTORS):
            # Another network or optimizer was asked for: what the recipe says of the one before goes with it.
            for name in unused_fields(values, cls).keys() - overrides.keys():
                section, field = name.split(".")
                if isinstance(values.get(section), dict):
                    values[section].pop(field, None)
        return cls.from_values(values, where)

    def changed(self, overrides: Mapping[str, Any]) -> Recipe:
        """The same recipe with some fields set otherwise (by ``section.field``), checked again."""
        return Recipe.load(self, overrides)

    def values(self) -> dict[str, Any]:
        """Nested plain values: all that this recipe's choices use, and nothing that is ``None``."""
        values = self.model_dump(mode="json", exclude_none=True)
        for name in unused_fields(values, type(self)):
            section, field = name.split(".")
            values[section].pop(field, None)
        return values

    def to_toml(self) -> str:
        """Complete and commented TOML; :meth:`from_toml` gives the same recipe back."""
        return recipe_text.to_toml(self.values(), type(self))

    @classmethod
    def from_toml(cls, text: str, where: str = "given") -> Recipe:
        """Check a recipe's TOML text (see :meth:`from_values` for the errors)."""
        return cls.from_values(_read(text.encode(), where), where)


class RecipeError(InputError):
    """All that is wrong with a recipe: ``problems`` has one line each."""

    def __init__(self, problems: Iterable[str], where: str = "given") -> None:
        self.problems = [recipe_text.printable(problem) for problem in dict.fromkeys(problems)]
        super().__init__("\n".join(f"recipe {where}: {problem}" for problem in self.problems))


def names() -> list[str]:
    """The names of the shipped recipes."""
    return sorted(path.name.removesuffix(".toml") for path in _shipped().iterdir() if path.name.endswith(".toml"))


def find(recipe: str | Path) -> Any:
    """The TOML file of a shipped name or a path.

    Raises:
        InputError: there is none.
    """
    text = str(recipe)
    if text in names():
        return _shipped() / f"{text}.toml"
    path = Path(text)
    if path.is_file():
        return path
    if text.endswith(".toml") or "/" in text:
        raise InputError(f"recipe {text}: no such file; 'limner recipes' lists those that are shipped")
    hint = recipe_text.nearest(text, names())
    raise InputError(f"recipe {text!r}: no such recipe{hint}; 'limner recipes' lists them, a path must end in .toml")


def parse_setting(text: str) -> tuple[str, Any]:
    """``section.field=value`` as given to ``--set``: the value is TOML, or else a plain word.

    Raises:
        InputError: it has no ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"--set {text}: write section.field=value, such as generator.lr=1e-4")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):  # no TOML, or numbers and nests without end
        return name.strip(), value.strip()


def _shipped() -> Any:
    return files("limner") / "recipes"


def _read(text: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"recipe {where}: not TOML ({error})") from None
