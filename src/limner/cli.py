"""The command line: parse, call, print. What is heavy is imported inside the commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.errors import InputError, LimnerError

if TYPE_CHECKING:
    from limner.training.outcome import Outcome
    from limner.training.plan import Plan

INTERRUPTED = 130

app = typer.Typer(
    name="limner",
    help="From a small collection of images to a generator that you keep.",
    epilog="Begin with: limner demo, or limner train FOLDER",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipes_app = typer.Typer(help="The shipped recipes.", invoke_without_command=True, rich_markup_mode=None)
cache_app = typer.Typer(help="The pictures that are kept decoded.", invoke_without_command=True, rich_markup_mode=None)
app.add_typer(recipes_app, name="recipes")
app.add_typer(cache_app, name="cache")

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder, zip, IDX, npy, npz or HDF5 file, fashion-mnist, hf:owner/name[:split], procedural:initials|maps.",
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, such as runs/maps.")]
GeneratorArgument = Annotated[
    Path, typer.Argument(metavar="RUN|FILE", help="A run directory, a checkpoint, or a .safetensors file.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Any field of the recipe, repeatable.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
RunsOption = Annotated[Path, typer.Option(metavar="DIR", help="Where run directories lie.")]
EpochsOption = Annotated[float | None, typer.Option(help="Passes over the images.")]
ImagesOption = Annotated[int | None, typer.Option(help="Or: images to see in all.")]
MinutesOption = Annotated[float | None, typer.Option(help="Or: minutes of training.")]


@app.callback(invoke_without_command=True)
def limner(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        from limner.version import __version__

        print(f"limner {__version__}")
        raise typer.Exit


@app.command(epilog="Example: limner train ./maps --size 96x64 --minutes 20")
def train(
    data: DataArgument,
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="What to train and how; see 'limner recipes'.")
    ] = "quick",
    size: Annotated[str | None, typer.Option(metavar="N|WIDTHxHEIGHT", help="Pixels, 8 to 1024 a side.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 RGB, 4 RGB with transparency.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in one update.")] = None,
    epochs: EpochsOption = None,
    images: ImagesOption = None,
    minutes: MinutesOption = None,
    seed: Annotated[int | None, typer.Option(help="All randomness follows from it.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float64.")] = None,
    settings: SetOption = None,
    runs: RunsOption = Path("runs"),
    name: Annotated[str | None, typer.Option(help="The run's name; by default the data's, numbered.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and stop.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a generator on a collection of images."""
    from limner.recipe import Recipe, parse_setting

    flags = {
        **_size(size),
        "image.channels": channels,
        "training.batch_size": batch_size,
        "training.epochs": epochs,
        "training.images": images,
        "training.minutes": minutes,
        "training.seed": seed,
        "training.device": device,
        "training.precision": precision,
    }
    overrides = {key: value for key, value in flags.items() if value is not None}
    overrides |= dict(parse_setting(text) for text in settings or [])
    chosen = Recipe.load(recipe, overrides)  # checked before anything heavy is imported
    if dry_run:
        from limner.training.plan import plan

        _print_plan(plan(data, chosen), as_json)
        return
    from limner.training.train import train as run_training

    _finish(run_training(data, chosen, runs=runs, name=name), as_json)


@app.command(epilog="Example: limner resume runs/maps --epochs 50")
def resume(
    run: RunArgument,
    epochs: EpochsOption = None,
    images: ImagesOption = None,
    minutes: MinutesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a training, exactly where it stopped; with a new duration, for longer."""
    from limner.training.train import resume as go_on

    durations = {"training.epochs": epochs, "training.images": images, "training.minutes": minutes}
    overrides = {key: value for key, value in durations.items() if value is not None}
    _finish(go_on(run, overrides=overrides), as_json)


@app.command(epilog="Example: limner generate runs/maps --count 64 --seed 7")
def generate(
    source: GeneratorArgument,
    count: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first; the others count on.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where they go; RUN/generated by default.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
) -> None:
    """Draw new pictures, one PNG for each seed, and a sheet of them all."""
    from limner.films import draw_pictures
    from limner.generator import load

    directory = out or (source / "generated" if source.is_dir() else Path(f"{source.stem}-generated"))
    sheet = draw_pictures(load(source, device), count, seed, directory)
    print(f"{count:,} pictures in {directory}/ (a sheet of them: {sheet.name})")


@app.command(epilog="Example: limner animate runs/maps --out walk.mp4")
def animate(
    source: GeneratorArgument,
    out: Annotated[Path | None, typer.Option(metavar="FILE.gif|FILE.mp4", help="RUN/walk.gif by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    keys: Annotated[int, typer.Option(min=2, max=1000, help="Seeds that each picture visits.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of the loop.")] = 8.0,
    fps: Annotated[int, typer.Option(min=1, max=50, help="Frames in a second.")] = 20,
    tiles: Annotated[int, typer.Option(min=1, max=400, help="Pictures side by side.")] = 9,
    side: Annotated[int, typer.Option(min=16, max=4096, help="Longer side of the film, about, in pixels.")] = 384,
) -> None:
    """Walk through the latents in a seamless loop, as GIF or MP4."""
    from limner import films
    from limner.generator import load

    path = out or (source / "walk.gif" if source.is_dir() else Path("walk.gif"))
    films.check_name(path)
    frames = films.latent_walk(
        load(source), seed=seed, keys=keys, seconds=seconds, frames_per_second=fps, tiles=tiles, side=side
    )
    films.save(path, frames, fps)
    print(f"{path}: {len(frames)} frames, {len(frames) / fps:.1f} s, {path.stat().st_size / 1024:,.0f} KiB")


@app.command(epilog="Example: limner timelapse runs/maps")
def timelapse(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(metavar="FILE.gif|FILE.mp4", help="RUN/timelapse.gif by default.")] = None,
    side: Annotated[int, typer.Option(min=64, max=4096, help="Longer side at most, in pixels.")] = 640,
) -> None:
    """The training as a film: one frame for each sample grid."""
    from limner import films
    from limner.rundir import RunDir

    path = out or run / "timelapse.gif"
    films.check_name(path)
    frames = films.timelapse(RunDir.open(run), side)
    films.save(path, frames, films.timelapse_milliseconds(len(frames)))
    print(f"{path}: {len(frames)} frames, {path.stat().st_size / 1024:,.0f} KiB")


@recipes_app.callback(epilog="Example: limner recipes show initials > mine.toml")
def recipes(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the shipped recipes; 'limner recipes show NAME' prints one."""
    if context.invoked_subcommand:
        return
    from limner.recipe import Recipe, names

    loaded = {name: Recipe.load(name) for name in names()}
    if as_json:
        print(json.dumps({name: recipe.values() for name, recipe in loaded.items()}, indent=2))
        return
    width = max(map(len, loaded))
    for name, recipe in loaded.items():
        image = recipe.image
        size = f"{image.width}x{image.height}" if image.width else f"to {image.max_side}"
        print(f"{name:{width}}  {size:>7}  {recipe.about.cost:8} {recipe.about.summary}")
        print(f"{'':{width}}  {'':7}  {'':8} from {recipe.about.source}")


@recipes_app.command("show", epilog="Example: limner recipes show dcgan")
def show_recipe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A shipped name, or a TOML file.")],
    as_json: JsonOption = False,
) -> None:
    """Print a recipe, complete and commented: copy it and change what you like."""
    from limner.recipe import Recipe, find

    recipe = Recipe.load(name)
    print(json.dumps(recipe.values(), indent=2) if as_json else find(name).read_text(encoding="utf-8"), end="")
    if as_json:
        print()


@app.command("make-data", epilog="Example: limner make-data initials ./initials --count 2000 --size 64")
def make_data(
    collection: Annotated[str, typer.Argument(metavar="initials|maps", help="What to draw.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the pictures.")],
    count: Annotated[int | None, typer.Option(min=2, max=1_000_000, help="How many.")] = None,
    size: Annotated[str, typer.Option(metavar="N|WIDTHxHEIGHT", help="Pixels, 8 to 1024 a side.")] = "64",
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another collection.")] = 0,
) -> None:
    """Draw a collection by rule, so that nothing need be downloaded."""
    from limner.data.make import write_collection

    sides = _size(size)
    made = write_collection(collection, out, count, (sides["image.width"], sides["image.height"]), seed)
    print(f"{made:,} pictures in {out}/; next: limner train {out}")


@cache_app.callback(epilog="Example: limner cache bound 10GB")
def cache(context: typer.Context, as_json: JsonOption = False) -> None:
    """List what is cached; 'clear' empties it, 'bound SIZE' drops what was not used for longest."""
    if context.invoked_subcommand:
        return
    from limner.data import store as kept

    found = kept.entries()
    if as_json:
        print(json.dumps([vars(entry) for entry in found], indent=2))
        return
    for entry in found:
        size = f"{entry.width}x{entry.height}x{entry.channels}"
        print(f"{entry.count:>9,}  {size:>11} {entry.fit:7} {_bytes(entry.bytes):>8}  {entry.location}")
    print(f"{len(found)} collections, {_bytes(sum(entry.bytes for entry in found))} in {kept.cache_root()}")


@cache_app.command("clear", epilog="Example: limner cache clear")
def clear_cache() -> None:
    """Remove everything that is cached; it is made anew when it is needed."""
    from limner.data import store as kept

    print(f"freed {_bytes(kept.clear())}")


@cache_app.command("bound", epilog="Example: limner cache bound 10GB")
def bound_cache(size: Annotated[str, typer.Argument(metavar="SIZE", help="Such as 500MB or 10GB.")]) -> None:
    """Keep the cache to a size: what was not used for longest goes first."""
    from limner.data import store as kept

    print(f"freed {_bytes(kept.bound(_parse_bytes(size)))}")


@app.command(epilog="Example: limner demo --minutes 3")
def demo(
    minutes: Annotated[float, typer.Option(min=0.05, max=1000, help="Minutes of training.")] = 3.0,
    runs: RunsOption = Path("runs"),
) -> None:
    """Draw a set of initials, train on them for some minutes, and show what came of it."""
    from limner.demo import run_demo

    raise typer.Exit(run_demo(minutes, runs))


@app.command(epilog="Example: limner doctor --json")
def doctor(as_json: JsonOption = False) -> None:
    """What this machine has: versions, devices, speed of its arithmetic, optional packages, disk."""
    from limner.doctor import examine

    found = examine()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    width = max(map(len, found))
    for key, value in found.items():
        print(f"{key:{width}}  {value}")


def main() -> None:
    """Run the command line: one clear line for an error, never a traceback for what a user can mend."""
    try:
        app()
    except LimnerError as error:
        for line in str(error).splitlines():
            print(f"limner: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("limner: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain once more at exit.
        sys.stdout = None
        sys.exit(1)


def _size(text: str | None) -> dict[str, Any]:
    """``64`` or ``96x64`` as the recipe's width and height; nothing for nothing."""
    if text is None:
        return {}
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(f"--size {text}: write one number (64) or WIDTHxHEIGHT (96x64)")
    width, height = int(parts[0]), int(parts[-1])
    return {"image.width": width, "image.height": height}


def _finish(outcome: Outcome, as_json: bool) -> None:
    """Say how a training ended, and leave with its exit code."""
    print(json.dumps(outcome.values(), indent=2) if as_json else outcome.describe())
    codes = {"done": 0, "interrupted": INTERRUPTED}
    raise typer.Exit(codes.get(outcome.ended, 1))


def _print_plan(plan: Plan, as_json: bool) -> None:
    print(json.dumps(plan.values(), indent=2) if as_json else plan.describe())


def _bytes(count: int) -> str:
    size, unit = float(count), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if size >= 100 or unit == "bytes" else f"{size:.1f} {unit}"


def _parse_bytes(text: str) -> int:
    units = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
    number = text.strip().lower().rstrip("bkmgt")
    unit = text.strip().lower()[len(number) :]
    try:
        return int(float(number) * units[unit])
    except (KeyError, ValueError, OverflowError):
        raise InputError(f"{text}: write a size such as 500MB or 10GB") from None
