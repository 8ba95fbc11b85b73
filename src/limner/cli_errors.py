"""How failures are told on a command line: in one clear line, with an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from limner.errors import InputError, LimnerError

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer exports those that derive from it


def flush() -> None:
    """Write what was printed while a failure can still be told. Python's own flush at exit would tell it badly."""
    try:
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = None
        if isinstance(error, BrokenPipeError):
            raise
        raise LimnerError(f"standard output: cannot be written ({error.strerror or error})") from None


@contextmanager
def one_line() -> Iterator[None]:
    """What is wrong about a call, as other errors are told.

    Raises:
        InputError: a command or an option that there is not, a value that is none, an argument that is missing or too much.
    """
    try:
        yield
    except _UsageError as error:
        context = getattr(error, "ctx", None)
        if context is None or type(error).__name__ == "NoArgsIsHelpError":
            raise
        said = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
        path = context.command_path
        where = path.removeprefix("limner").strip()
        raise InputError(
            f"{where + ': ' if where else ''}{said[:1].lower()}{said[1:]}{' ' if said[-1:] == '?' else '; '}see '{path} --help'"
        ) from None


LONGEST = 1000
"""Letters of a line; what is longer quotes something that nobody would read."""


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def told(error: Exception) -> tuple[str, int] | None:
    """An error in words, and its exit code; nothing for a fault that needs a traceback."""
    if isinstance(error, LimnerError):
        return "\n".join(map(_cut, str(error).splitlines())), error.exit_code
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        # A place that may not be entered, or cannot be, was named by the user, who can name another.
        theirs = isinstance(error, PermissionError) or error.errno in (errno.ENAMETOOLONG, errno.ELOOP)
        return f"{where}{error.strerror or error}", 2 if theirs else 1
    words = str(error)
    if not isinstance(error, MemoryError) and not re.search(
        r"out of memory|(can't|cannot) allocate|not enough memory", words
    ):
        return None
    asked = re.search(r"allocate ([\d.]+ \w+)", words)
    more = f" ({asked[1]} more were asked for)" if asked else ""
    if sys.argv[1:2] in (["train"], ["resume"], ["demo"]):
        return f"out of memory{more}; use a smaller --batch-size, --size or width", 1
    return f"out of memory{more}; ask for less at a time", 1
