"""How failures are told on a command line: in one clear line, with an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys

from limner.errors import LimnerError


def flush() -> None:
    """Write what was printed while a failure can still be told. Python's own flush at exit would tell it badly."""
    try:
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = None
        if isinstance(error, BrokenPipeError):
            raise
        raise LimnerError(f"standard output: cannot be written ({error.strerror or error})") from None


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
