"""The commands that let a generator leave the machine: thin, as in ``cli.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from limner.cli_options import (
    AtOption,
    BestOption,
    GeneratorArgument,
    JsonOption,
    LicenceOption,
    chosen,
    said_bytes,
    written,
)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog="Example: limner export runs/maps --out maps.onnx --half")(export)
    app.command(epilog="Example: limner push runs/maps owner/maps --private")(push)


def export(
    source: GeneratorArgument,
    out: Annotated[Path, typer.Option(metavar="FILE.onnx|FILE.safetensors", help="What to write.")],
    at: AtOption = "newest",
    best: BestOption = False,
    half: Annotated[bool, typer.Option("--half", help="Weights as float16: half the size.")] = False,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="ONNX that makes uint8 pixels instead of numbers in [-1, 1].")
    ] = False,
    licence: LicenceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a generator to a file that runs anywhere, checked against PyTorch before it appears."""
    from limner.sharing.export import check_export, export_generator, load_trained

    check_export(out, pixels)
    generator = load_trained(source, chosen(at, best))
    made = export_generator(generator, out, half=half, pixels=pixels, licence=written("--licence", licence))
    if as_json:
        print(json.dumps(made.values(), indent=2))
        return
    opset = "" if made.opset is None else f", opset {made.opset}"
    print(f"{made.path}: {said_bytes(made.bytes)}{opset}\nchecked: {made.parity.describe()}")


def push(
    source: GeneratorArgument,
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Where on the hub; made where it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Only you can see it, if it is new.")] = False,
    site: Annotated[
        bool, typer.Option("--site/--no-site", help="The page in which it draws, as a static space of the same name.")
    ] = True,
    at: AtOption = "newest",
    best: BestOption = False,
    licence: LicenceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a generator on the Hugging Face hub: card, weights, ONNX, samples, and its page in a space."""
    from limner.sharing.hub import push as push_to_hub

    pushed = push_to_hub(
        source, name, private=private, site=site, at=chosen(at, best), licence=written("--licence", licence)
    )
    print(json.dumps(pushed.values(), indent=2) if as_json else pushed.describe())
