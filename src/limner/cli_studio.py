"""The command that opens the studio: thin, as in ``cli.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limner.cli_options import RunsOption


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog="Example: limner studio --runs runs --data ~/pictures")(studio)


def studio(
    runs: RunsOption = Path("runs"),
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Where collections lie, repeatable; the working directory by default."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; others than this machine's need a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8377,
    token: Annotated[
        str | None, typer.Option(help="What a browser has to know; made by itself where one is needed.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """A local page: watch trainings, compare them, explore their generators, look at data, train."""
    from limner.studio.server import serve
    from limner.studio.settings import built_page, checked

    serve(checked(runs, data or (), host, port, token, built_page()), browser)
