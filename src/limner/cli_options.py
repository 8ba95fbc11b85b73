"""What several commands take, and how what is written on a command line is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.errors import InputError

if TYPE_CHECKING:
    from limner.recipe import Recipe

LAST_SEED = 2**64 - 1

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder, zip, IDX, npy, npz or HDF5 file, fashion-mnist, hf:owner/name[:split], procedural:initials|maps,"
        " or a .json list that inspect wrote.",
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, such as runs/maps.")]
GeneratorArgument = Annotated[
    Path, typer.Argument(metavar="RUN|FILE", help="A run directory, a checkpoint, a .safetensors or an .onnx file.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Any field of the recipe, repeatable.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
RunsOption = Annotated[Path, typer.Option(metavar="DIR", help="Where run directories lie.")]
EpochsOption = Annotated[float | None, typer.Option(help="Passes over the images.")]
ImagesOption = Annotated[int | None, typer.Option(help="Or: images to see in all.")]
MinutesOption = Annotated[float | None, typer.Option(help="Or: minutes of training.")]
PatienceOption = Annotated[
    int | None,
    typer.Option(
        metavar="IMAGES", help="Stop when so many images brought nothing better and nothing better is expected."
    ),
]
PixelLimitOption = Annotated[
    int | None,
    typer.Option(metavar="PIXELS", help="Files that unpack to more are skipped; 100 million by default."),
]
LabelOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only this class, of a generator that knows classes.")
]
AtOption = Annotated[str, typer.Option(metavar="newest|best|N", help="Which snapshot of a run.")]
BestOption = Annotated[bool, typer.Option("--best", help="The snapshot that scored best: --at best.")]
LicenceOption = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Who may use it for what; goes into the files.")
]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionOption = Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float64.")]
MemoryOption = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Such as 24GB: compute in portions that stay below it.")
]
TimingsOption = Annotated[bool, typer.Option("--timings", help="Say at the end where the time went.")]
FilmOption = Annotated[Path | None, typer.Option(metavar="FILE.gif|FILE.mp4", help="In RUN by default, as GIF.")]


def read_recipe(
    name: str | None, flags: Mapping[str, Any], size: str | None = None, settings: Sequence[str] | None = None
) -> Recipe:
    """The recipe that a command line asks for, with everything that is wrong with either told at once.

    Args:
        name: a shipped name or a TOML file; the usual one by default.
        flags: values by ``section.field``; ``None`` where a flag is not given.
        size: see :func:`read_size`.
        settings: ``section.field=value``, which win over flags.

    Raises:
        InputError: one line for each thing that is wrong.
    """
    from limner.recipe import DEFAULT, Recipe

    problems = []
    overrides = {key: value for key, value in flags.items() if value is not None}
    if size is not None:
        try:
            overrides["image.width"], overrides["image.height"] = read_size(size)
        except InputError as error:
            problems.append(str(error))
    try:
        overrides |= read_settings(settings)
    except InputError as error:
        problems.append(str(error))
    try:
        recipe = Recipe.load(name or DEFAULT, overrides)
    except InputError as error:
        problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return recipe


def read_settings(settings: Sequence[str] | None) -> dict[str, Any]:
    """``section.field=value``, each, as values by field.

    Raises:
        InputError: one line for each that is wrong.
    """
    from limner.recipe import parse_setting

    overrides, problems = {}, []
    for text in settings or []:
        try:
            field, value = parse_setting(text)
            overrides[field] = value
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return overrides


def read_size(text: str) -> tuple[int, int]:
    """``64`` or ``96x64`` as width and height.

    Raises:
        InputError: it is neither.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"--size {text}: write one number (64) or WIDTHxHEIGHT (96x64)")
    return int(parts[0]), int(parts[-1])


def chosen(at: str, best: bool) -> str:
    """The snapshot that ``--at`` and ``--best`` ask for.

    Raises:
        InputError: they ask for different ones.
    """
    if best and at not in ("newest", "best"):
        raise InputError(f"--best and --at {at}: ask for one of them")
    return "best" if best else at


def written(option: str, text: str | None) -> str | None:
    """What an option says in words, which others are to read.

    Raises:
        InputError: it holds bytes that are no text.
    """
    if text is not None and not text.isprintable():
        raise InputError(f"{option}: holds what is no text (a wrong encoding, or control characters)")
    return text


def read_seed(text: str) -> int:
    """A number is itself, any other word the seed that :func:`limner.noise.seed_of` gives it.

    Raises:
        InputError: it is no seed.
    """
    word = text.strip()
    if re.fullmatch(r"[+-]?[0-9]{1,60}", word, re.ASCII):
        if not 0 <= int(word) <= LAST_SEED:
            raise InputError(f"--seed {word}: must be from 0 to {LAST_SEED}, or a word")
        return int(word)
    if not word:
        raise InputError("--seed: is empty; give a number from 0 to 2**64 - 1, or a word")
    from limner.noise import seed_of

    return seed_of(written("--seed", word) or "")


def read_pixel_limit(given: int | None) -> int | None:
    """The limit as the recipe's ``image.pixel_limit`` would have it.

    Raises:
        InputError: it is none.
    """
    return None if given is None else read_recipe("quick", {"image.pixel_limit": given}).image.pixel_limit


def read_bytes(text: str, name: str) -> int:
    """``500MB`` or ``10GB`` as a number of bytes.

    Raises:
        InputError: it is no size.
    """
    units = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
    number = text.strip().lower().rstrip("bkmgt")
    unit = text.strip().lower()[len(number) :]
    try:
        count = int(float(number) * units[unit])
    except (KeyError, ValueError, OverflowError):
        count = -1
    if count < 0:
        raise InputError(f"{name} {text}: write a size such as 500MB or 10GB")
    return count


def said_bytes(count: int) -> str:
    """A number of bytes as people say it: 12 bytes, 1.5 MB, 340 GB."""
    size, unit = float(count), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if size >= 100 or unit == "bytes" else f"{size:.1f} {unit}"
