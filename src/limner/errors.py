"""The errors that a user can mend, each one a clear line: what is wrong, where, and what to do."""

from __future__ import annotations


class LimnerError(Exception):
    """Something that went wrong while working (exit code 1)."""

    exit_code = 1


class InputError(LimnerError):
    """The call, the recipe or the data is wrong (exit code 2)."""

    exit_code = 2
