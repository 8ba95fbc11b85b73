"""The commands of the cache: thin, as in ``cli.py``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from limner.cli_options import JsonOption, read_bytes, said_bytes

app = typer.Typer(
    help="Pictures that are kept decoded, and downloads.", invoke_without_command=True, rich_markup_mode=None
)


@app.callback(epilog="Example: limner cache bound 10GB")
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
        print(f"{entry.count:>9,}  {size:>11} {entry.fit:7} {said_bytes(entry.bytes):>8}  {entry.location}")
    print(f"{len(found)} collections, {said_bytes(sum(entry.bytes for entry in found))} in {kept.cache_root()}")


@app.command("clear", epilog="Example: limner cache clear")
def clear_cache() -> None:
    """Remove decoded pictures and downloads; they are made and fetched anew when they are needed."""
    from limner.data import store as kept

    print(f"freed {said_bytes(kept.clear())}")


@app.command("bound", epilog="Example: limner cache bound 10GB")
def bound_cache(size: Annotated[str, typer.Argument(metavar="SIZE", help="Such as 500MB or 10GB.")]) -> None:
    """Keep the cache to a size: what was not used for longest goes first."""
    from limner.data import store as kept

    print(f"freed {said_bytes(kept.bound(read_bytes(size, 'SIZE')))}")
