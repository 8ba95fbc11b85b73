"""The command line: parse, call, print. What is heavy is imported inside the commands."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from limner import cli_cache, cli_judging, cli_publish, cli_sharing, cli_studio, cli_study
from limner.cli_errors import flush, one_line, told
from limner.cli_options import (
    LAST_SEED,
    AtOption,
    DataArgument,
    DeviceOption,
    EpochsOption,
    FilmOption,
    GeneratorArgument,
    ImagesOption,
    JsonOption,
    LabelOption,
    MemoryOption,
    MinutesOption,
    PatienceOption,
    PixelLimitOption,
    PrecisionOption,
    RunArgument,
    RunsOption,
    SetOption,
    TimingsOption,
    read_bytes,
    read_recipe,
    read_seed,
    read_settings,
    read_size,
)
from limner.errors import InputError, LimnerError
from limner.progress import guard
from limner.timing import Timings, measured

if TYPE_CHECKING:
    from limner.films import Film
    from limner.training.outcome import Outcome
    from limner.training.plan import Plan

INTERRUPTED = 130


class _Commands(TyperGroup):
    """Commands that say in one line what was wrong about their call, and that they were interrupted: typer itself takes four
    lines for the one, and leaves with 130 and without a word for the other."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        with one_line():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        try:
            with one_line():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            print("limner: interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="limner",
    cls=_Commands,
    help="From a small collection of images to a generator that you keep.",
    epilog="Begin with: limner demo, or limner train FOLDER",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipes_app = typer.Typer(help="The shipped recipes.", invoke_without_command=True, rich_markup_mode=None)
app.add_typer(recipes_app, name="recipes")
app.add_typer(cli_cache.app, name="cache")


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
        str | None, typer.Option(metavar="NAME|FILE.toml", help="What to train and how; see 'limner recipes'.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="N|WIDTHxHEIGHT", help="Pixels, 8 to 1024 a side.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 RGB, 4 RGB with transparency.")] = None,
    pixel_limit: PixelLimitOption = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in one update.")] = None,
    epochs: EpochsOption = None,
    images: ImagesOption = None,
    minutes: MinutesOption = None,
    patience: PatienceOption = None,
    classes: Annotated[
        bool,
        typer.Option("--classes", help="Learn classes (sub-folders or labels), to ask for pictures by name."),
    ] = False,
    seed: Annotated[int | None, typer.Option(help="All randomness follows from it.")] = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    settings: SetOption = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN|FILE", help="Start from another training's weights, where layers match."),
    ] = None,
    at: AtOption = "newest",
    memory: MemoryOption = None,
    runs: RunsOption = Path("runs"),
    name: Annotated[str | None, typer.Option(help="The run's name; by default the data's, numbered.")] = None,
    timings: TimingsOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and stop.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a generator on a collection of images."""
    flags = {
        "image.channels": channels,
        "image.pixel_limit": pixel_limit,
        "training.batch_size": batch_size,
        "training.epochs": epochs,
        "training.images": images,
        "training.minutes": minutes,
        "evaluation.patience": patience,
        "training.seed": seed,
        "training.device": device,
        "training.precision": precision,
    }
    chosen = read_recipe(recipe, flags, size, settings)  # checked before anything heavy is imported
    bound = None if memory is None else read_bytes(memory, "--memory")
    if source is None and at != "newest":
        raise InputError(f"--at {at}: says where in another training to begin; give that one with --from")
    if classes and chosen.network.conditioning == "none":
        chosen = read_recipe(recipe, {**flags, "network.conditioning": "projection"}, size, settings)
    from limner.data.sources import kind_of

    kind_of(data)
    if dry_run:
        if os.environ.get("WORLD_SIZE", "1") not in ("", "1") and os.environ.get("RANK") != "0":
            return  # one of several processes: the first one says it
        from limner.training.plan import plan

        _print_plan(plan(data, chosen, start_from=source, start_at=at, memory=bound), as_json)
        return
    from limner.training.train import train as run_training

    with measured(_wait(chosen.training.device) if timings else None) as spent:
        outcome = run_training(data, chosen, runs=runs, name=name, start_from=source, start_at=at, memory=bound)
    _finish(outcome, as_json, spent)


@app.command(epilog="Example: limner resume runs/maps --epochs 50")
def resume(
    run: RunArgument,
    epochs: EpochsOption = None,
    images: ImagesOption = None,
    minutes: MinutesOption = None,
    patience: PatienceOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    memory: MemoryOption = None,
    settings: SetOption = None,
    timings: TimingsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a training, exactly where it stopped; with a new duration, for longer."""
    bound = None if memory is None else read_bytes(memory, "--memory")
    from limner.training.resuming import resume as go_on

    flags = {
        "training.epochs": epochs,
        "training.images": images,
        "training.minutes": minutes,
        "evaluation.patience": patience,
        "training.device": device,
        "training.precision": precision,
    }
    overrides = {key: value for key, value in flags.items() if value is not None} | read_settings(settings)
    with measured(_wait(device or "auto") if timings else None) as spent:
        outcome = go_on(run, overrides=overrides, memory=bound)
    _finish(outcome, as_json, spent)


@app.command(epilog="Example: limner generate runs/maps --count 64 --seed 7")
def generate(
    source: GeneratorArgument,
    count: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 64,
    seed: Annotated[
        str, typer.Option(metavar="N|WORD", help="Seed of the first, a number or a word; the others count on.")
    ] = "0",
    label: LabelOption = None,
    at: AtOption = "newest",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where they go; RUN/generated by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    precision: Annotated[
        str,
        typer.Option(help="float32, the same pictures everywhere; bfloat16, much the same; or auto, the faster one."),
    ] = "float32",
) -> None:
    """Draw new pictures, one PNG for each seed, and a sheet of them all."""
    first = read_seed(seed)
    from limner.films import draw_pictures, home
    from limner.sharing.loading import load

    generator = load(source, device, at, precision)
    run = home(source)
    directory = out or (run / "generated" if run else Path(f"{source.resolve().stem}-generated"))
    sheet = draw_pictures(generator, count, first, directory, label)
    print(f"{count:,} pictures in {directory}/ (a sheet of them: {sheet.name})")


@app.command(epilog="Example: limner animate runs/maps --out walk.mp4")
def animate(
    source: GeneratorArgument,
    out: FilmOption = None,
    seed: Annotated[int, typer.Option(min=0, max=LAST_SEED, help="The first seed.")] = 0,
    keys: Annotated[int, typer.Option(min=2, max=1000, help="Seeds that each picture visits.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of the loop.")] = 8.0,
    fps: Annotated[int, typer.Option(min=1, max=50, help="Frames in a second.")] = 20,
    label: LabelOption = None,
    tiles: Annotated[int, typer.Option(min=1, max=400, help="Pictures side by side.")] = 9,
    side: Annotated[int, typer.Option(min=16, max=4096, help="Longer side of the film, about, in pixels.")] = 384,
) -> None:
    """Walk through the latents in a seamless loop, as GIF or MP4."""
    from limner import films
    from limner.sharing.loading import load

    if out:
        films.check_name(out)
    generator = load(source)
    path = out or (films.home(source) or Path()) / "walk.gif"
    film = films.latent_walk(
        generator,
        seed=seed,
        keys=keys,
        seconds=seconds,
        frames_per_second=fps,
        tiles=tiles,
        side=side,
        label=label,
    )
    _say_film(path, film, films.save(path, film))


@app.command(epilog="Example: limner timelapse runs/maps")
def timelapse(
    run: RunArgument,
    out: FilmOption = None,
    side: Annotated[int, typer.Option(min=64, max=4096, help="Longer side at most, in pixels.")] = 640,
) -> None:
    """The training as a film: one frame for each sample grid."""
    from limner import films
    from limner.rundir import RunDir

    path = out or run / "timelapse.gif"
    films.check_name(path)
    film = films.timelapse(RunDir.open(run), side)
    for line in film.skipped:
        print(f"limner: {line}", file=sys.stderr)
    _say_film(path, film, films.save(path, film))


cli_judging.register(app)
cli_sharing.register(app)
cli_publish.register(app)
cli_studio.register(app)
cli_study.register(app)


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
    seed: Annotated[int, typer.Option(min=0, max=LAST_SEED, help="Another seed is another collection.")] = 0,
) -> None:
    """Draw a collection by rule, so that nothing need be downloaded."""
    from limner.data.make import write_collection

    made = write_collection(collection, out, count, read_size(size), seed)
    print(f"{made:,} pictures in {out}/; next: limner train {out}")


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
    """Run the command line: one clear line for an error, a traceback only for a fault of Limner's own.

    With ``LIMNER_TRACEBACK`` set, there is a traceback as well as the line.
    """
    # torch's threads spin while they wait for one another. By default they do so for milliseconds, and as soon as another
    # program takes a core, a training on all cores falls to a tenth of its speed or less; never spinning halves the speed of
    # small networks on a quiet machine. A short spin costs little on either (docs/benchmarks.md). Read when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    guard()
    try:
        try:
            app()
        finally:
            flush()
    except BrokenPipeError:  # whoever read our output has gone, and wants no more of it
        sys.exit(1)
    except (LimnerError, OSError, MemoryError, RuntimeError) as error:
        words = told(error)
        if words is None:
            raise
        if os.environ.get("LIMNER_TRACEBACK"):
            traceback.print_exc()
        text, code = words
        if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):  # one of several processes: one of them speaks
            from limner.training.meeting import speaks

            if not speaks(code):
                sys.exit(code)
        for line in text.splitlines():
            print(f"limner: {line}", file=sys.stderr)
        sys.exit(code)


def _wait(device: str) -> Callable[[], None]:
    """What waits for a device to be done, so that its work is counted where it was asked for."""
    import torch

    cuda = torch.cuda.is_available() and device.startswith(("auto", "cuda"))
    return torch.cuda.synchronize if cuda else lambda: None


def _finish(outcome: Outcome, as_json: bool, spent: Timings | None) -> None:
    """Say how a training ended, and leave with its exit code."""
    if not outcome.follows:
        values = outcome.values() if spent is None else {**outcome.values(), "timings": spent.values()}
        print(json.dumps(values, indent=2) if as_json else outcome.describe())
        if spent is not None and not as_json:
            print(f"\nwhere the time went:\n{spent.table()}")
    codes = {"done": 0, "interrupted": INTERRUPTED}
    raise typer.Exit(codes.get(outcome.ended, 1))


def _print_plan(plan: Plan, as_json: bool) -> None:
    print(json.dumps(plan.values(), indent=2) if as_json else plan.describe())


def _say_film(path: Path, film: Film, seconds: float) -> None:
    print(f"{path}: {len(film.seconds)} frames, {seconds:.2f} s, {path.stat().st_size / 1024:,.0f} KiB")
