"""The commands that compare: thin, as in ``cli.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from limner.cli_options import JsonOption


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog="Example: limner study batch.toml --workers 2")(study)
    app.command(epilog="Example: limner compare runs/maps runs/maps-2 --out compare.html")(compare)


def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="What is compared; see docs/studies.md.")],
    workers: Annotated[int, typer.Option(min=1, max=256, help="Runs at once, each in a process of its own.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study that was begun, or join it.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where it goes; studies/NAME by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, list the runs, and stop.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train every combination of some choices with the same seeds and budget, and say what makes a difference."""
    from limner.study.conduct import check, conduct

    if dry_run:
        checked = check(file)
        names = [one.name for one in checked.jobs]
        print(
            json.dumps(names, indent=2) if as_json else "\n".join(names) or "a search: its configurations are proposed"
        )
        return
    done = conduct(file, workers=workers, resume=resume, out=out)
    print(json.dumps(done.values(), indent=2) if as_json else done.describe())
    raise typer.Exit(1 if done.failed else 0)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories; or one with a study's runs.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a self-contained page.")] = None,
    metric: Annotated[str, typer.Option(metavar="NAME", help="The figure that counts most.")] = "kernel_distance",
    reference: Annotated[
        str | None, typer.Option(metavar="NAME", help="The configuration that the others are held against.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold runs against one another: at equal images and equal updates, with a verdict for each figure."""
    from limner.judging.comparison import compare as compared
    from limner.judging.comparison.words import describe

    found = compared(runs, metric=metric, reference=reference)
    if out is not None:
        from limner.judging.comparison.page import write_page

        write_page(found, out)
    if as_json:
        print(json.dumps(found.values(), indent=2))
        return
    print(describe(found))
    if out is not None:
        print(f"\n{out}")
