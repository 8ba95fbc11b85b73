"""The commands that look and judge: thin, as in ``cli.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from limner.cli_options import (
    AtOption,
    DataArgument,
    JsonOption,
    PixelLimitOption,
    RunArgument,
    read_pixel_limit,
    read_size,
)
from limner.progress import working


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog="Example: limner inspect ./maps --sheet maps.png --prune maps.json")(inspect)
    app.command(epilog="Example: limner evaluate runs/maps runs/maps-2")(evaluate)
    app.command(epilog="Example: limner report runs/maps")(report)


def inspect(
    data: DataArgument,
    size: Annotated[
        str | None, typer.Option(metavar="N|WIDTHxHEIGHT", help="The size that you want, instead of a suggested one.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Write a contact sheet: samples, and what was found.")
    ] = None,
    prune: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write a cleaned list that 'limner train FILE.json' takes.")
    ] = None,
    prune_outliers: Annotated[
        bool,
        typer.Option("--prune-outliers", help="Leave outliers out of that list too; they are only told otherwise."),
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Look at every picture, also of more than 100,000; that may take an hour.")
    ] = False,
    pixel_limit: PixelLimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is in a collection, what is wrong with it and what it is good for. Nothing of yours is changed."""
    from limner.judging.inspect import MOST, check_outputs, write_outputs
    from limner.judging.inspect import inspect as look_at

    check_outputs(sheet, prune, prune_outliers)
    shape, limit = read_size(size) if size else None, read_pixel_limit(pixel_limit)
    found = look_at(data, size=shape, pixel_limit=limit, most=None if every else MOST)
    written = write_outputs(found, sheet, prune, prune_outliers)
    if as_json:
        print(json.dumps(found.values(), indent=2))
    else:
        print("\n".join([found.describe(), *written]))


def evaluate(
    subjects: Annotated[
        list[str],
        typer.Argument(metavar="RUN|FOLDER...", help="Runs, checkpoints, .safetensors files, or images of any origin."),
    ],
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Real images to compare with; a run's own by default.")
    ] = None,
    features: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE", help="limner, inception, inception:FILE, a TorchScript file, module:function."
        ),
    ] = "limner",
    count: Annotated[int, typer.Option(min=8, max=1_000_000, help="Images to draw or read, at most.")] = 2000,
    at: AtOption = "newest",
    size: Annotated[
        str | None, typer.Option(metavar="N|WIDTHxHEIGHT", help="Size at which folders of images are judged.")
    ] = None,
    pixel_limit: PixelLimitOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    download: Annotated[bool, typer.Option("--download", help="Fetch the weights of 'inception' if need be.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say how good generated images are: distances, variety, copies, each figure with its interval."""
    shape = read_size(size) if size else None
    from limner.device import choose_device
    from limner.judging.features import open_extractor
    from limner.judging.features.inception import fetch_inception
    from limner.judging.subjects import Bench, class_table, table

    if download:
        fetch_inception()
    place = choose_device(device)
    extractor = open_extractor(features, place if place.type == "cuda" else "cpu")
    with working() as advance:
        bench = Bench(extractor, count, data, shape, at, device, advance, read_pixel_limit(pixel_limit))
        found = [bench.evaluate(subject) for subject in subjects]
    if as_json:
        values = [item.values() for item in found]
        print(json.dumps(values[0] if len(values) == 1 else values, indent=2))
        return
    for item in found:
        for note in item.notes:
            print(f"note: {note}")
    print(table(found))
    for item in found:
        if classes := class_table(item):
            print(f"\n{item.name}\n{classes}")
    for item in found:
        outlook = item.record.get("outlook")
        if outlook:
            print(f"\n{item.name}: {outlook['sentence']}")


def report(run: RunArgument) -> None:
    """Write everything about a run into one self-contained page: RUN/report.html."""
    from limner.judging.report import write_report
    from limner.rundir import RunDir

    print(f"{write_report(RunDir.open(run))}")
