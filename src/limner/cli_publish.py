"""The command that makes a page for visitors: thin, as in ``cli.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from limner.cli_options import AtOption, BestOption, JsonOption, LicenceOption, chosen, said_bytes, written
from limner.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog="Example: limner publish runs/maps --out site, then limner publish --serve site")(publish)


def publish(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN|FILE]", help="A run directory, a checkpoint, or a .safetensors file."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder to write, for any static host.")] = None,
    at: AtOption = "newest",
    best: BestOption = False,
    full: Annotated[
        bool, typer.Option("--full", help="Weights in full precision; half, where that changes no picture, by default.")
    ] = False,
    webgpu: Annotated[
        bool, typer.Option("--webgpu/--no-webgpu", help="With the runtime for browsers that have WebGPU: 4 MB more.")
    ] = True,
    name: Annotated[str | None, typer.Option(help="What the page is called; the collection's name by default.")] = None,
    licence: LicenceOption = None,
    site: Annotated[
        Path | None, typer.Option("--serve", metavar="SITE", help="Serve a published folder from this machine.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --serve; 0 takes any that is free.")] = 8378,
    as_json: JsonOption = False,
) -> None:
    """Write a page that draws with the generator in each visitor's browser, or serve one."""
    if site is not None:
        if source is not None or out is not None or at != "newest" or best or full or not webgpu or name or licence:
            raise InputError("--serve: takes a published folder alone; publish first, then serve")
        from limner.sharing.serving import serve

        serve(site, port, told=lambda address: print(f"{site} is at {address} (Ctrl-C ends it)"))
        return
    if source is None or out is None:
        raise InputError("publish: say what and where: limner publish RUN --out DIR, or limner publish --serve DIR")
    from limner.sharing.publish import publish as publish_page

    at, name, licence = chosen(at, best), written("--name", name), written("--licence", licence)
    made = publish_page(source, out, at=at, half=False if full else None, webgpu=webgpu, name=name, licence=licence)
    if as_json:
        print(json.dumps(made.values(), indent=2))
        return
    if made.why_full:
        print(f"note: weights are in full precision: {made.why_full}")
    precision = "half" if made.exported.half else "full"
    print(
        f"{out}/: {len(made.files)} files, {said_bytes(made.bytes)}\n"
        f"generator: {said_bytes(made.exported.bytes)}, {precision} precision; {made.exported.parity.describe()}\n"
        f"a visitor downloads {said_bytes(made.visit_bytes(False))}, of which {said_bytes(made.own_bytes)} are the page's"
        f" own code{f' ({said_bytes(made.visit_bytes(True))} where the browser has WebGPU)' if webgpu else ''}\n"
        f"to see it: limner publish --serve {out}"
    )
