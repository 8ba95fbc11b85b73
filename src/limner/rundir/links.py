"""A run directory holds what is in it: links would have a training write, or a report show, what lies elsewhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from limner.errors import InputError
from limner.rundir.names import CHECKPOINTS, DATA, ENVIRONMENT, EVALUATION, LOCK, LOGS, RECIPE, REPORT, SAMPLES

_FILES = (RECIPE, DATA, ENVIRONMENT, *LOGS, REPORT, LOCK)
_FOLDERS = (SAMPLES, CHECKPOINTS, EVALUATION, "generated")
_READ = (SAMPLES, CHECKPOINTS, EVALUATION)


def refuse_links(run: Path) -> None:
    """Find out whether everything that Limner reads and writes in a run directory is really there.

    Raises:
        InputError: something is a link, or a pipe or device; the line says what to do.
        OSError: it cannot be looked at.
    """
    for path, mode in _things(run):
        if stat.S_ISLNK(mode):
            raise InputError(
                f"{path}: is a link, and what Limner writes stays in the run directory; put there what it leads to"
                " (the run directory as a whole may be a link)"
            )
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(f"{path}: is a pipe or device, no file of a run; remove it")


def _things(run: Path) -> Iterator[tuple[Path, int]]:
    for name in (*_FILES, *_FOLDERS):
        try:
            yield run / name, os.lstat(run / name).st_mode
        except FileNotFoundError:
            continue
    waiting = [run / name for name in _READ]
    while waiting:
        folder = waiting.pop()
        try:
            children = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for child in children:
            if child.is_symlink():
                yield Path(child.path), stat.S_IFLNK
            elif child.is_dir(follow_symlinks=False):
                waiting.append(Path(child.path))
            elif not child.is_file(follow_symlinks=False):
                yield Path(child.path), stat.S_IFIFO
