"""The run directory: names, atomic writes, checkpoints, discovery. Nothing else writes into it by itself.

A file appears whole or not at all: it is written under a temporary name, synced, and renamed. Everything is safetensors,
JSON, TOML or an image.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from limner import durable
from limner.durable import (
    TEMPORARY,
    atomic_write,
    discard,
    is_leaving,
    make_directory,
    put_back,
    remove_tree,
    sync_directory,
    write_together,
)
from limner.errors import InputError, LimnerError
from limner.recipe import Recipe
from limner.rundir import lock
from limner.rundir.links import open_inside, refuse_links
from limner.rundir.names import (
    BEST,
    CHECKPOINTS,
    CLOCKS,
    DATA,
    ENVIRONMENT,
    EVALUATION,
    EVENTS,
    FIGURES,
    GENERATOR,
    LOCK,
    LOG,
    METRICS,
    RECIPE,
    REPORT,
    SAMPLES,
    STATE,
    SUMS,
    TRAINING,
    image_number,
    numbered,
)
from limner.rundir.snapshots import DRAWABLE, STATE_FORMAT, WHOLE, Snapshots

__all__ = [
    "BEST",
    "CHECKPOINTS",
    "CLOCKS",
    "DATA",
    "DRAWABLE",
    "ENVIRONMENT",
    "EVALUATION",
    "EVENTS",
    "FIGURES",
    "GENERATOR",
    "LOCK",
    "LOG",
    "METRICS",
    "RECIPE",
    "REPORT",
    "SAMPLES",
    "STATE",
    "STATE_FORMAT",
    "SUMS",
    "TRAINING",
    "WHOLE",
    "RunDir",
    "image_number",
]

_REPLACED = f"{TEMPORARY}replaced-"
_LARGEST = 1 << 25
"""Bytes of a JSON file that are read: three letters of it can take 70 bytes of memory."""


class RunDir(Snapshots):
    """One training's directory. Make one with :meth:`draft` or :meth:`create`, or :meth:`open` one that is there."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._wanted: tuple[Path, str | None, str] | None = None
        self._place: tuple[int, int] | None = None

    @classmethod
    def check(cls, runs: Path, name: str | None) -> None:
        """Find out before the work begins whether :meth:`create` will succeed; leaves nothing behind.

        Raises:
            InputError: see :meth:`create`.
        """
        try:
            made = [path for path in (runs, *runs.parents) if not path.exists()]
        except OSError as error:
            raise InputError(f"--runs {runs}: cannot be written ({error.strerror or error})") from None
        first = next(_names(runs, name, ""))
        if name is not None and first.exists():
            _refuse_taken(runs, first, name)
        # Under a name that nobody looks for: a kill in between leaves no run behind that is none.
        with suppress(OSError):
            remove_tree(runs / f"{TEMPORARY}{os.getpid()}")
        remove_tree(cls.create(runs, None, f"{TEMPORARY}{os.getpid()}").path)
        for path in made:
            with suppress(OSError):  # another training may have moved in already
                path.rmdir()

    @classmethod
    def create(cls, runs: Path, name: str | None, default_name: str) -> RunDir:
        """A new, empty run directory.

        Args:
            runs: where runs lie; made when missing.
            name: what the user asked for: refused when it exists.
            default_name: otherwise this, or with -2, -3, ... the first that is free.

        Raises:
            InputError: the name is taken or no name for a directory, or the place cannot be written.
        """
        for path in _names(runs, name, default_name):
            try:
                _make_parents(runs)
                durable.system.mkdir(path)
                return cls(path)._furnished()
            except FileExistsError:
                _refuse_taken(runs, path, name)
            except OSError as error:
                raise InputError(f"--runs {runs}: cannot be written ({error.strerror or error})") from None
        raise AssertionError

    @classmethod
    @contextmanager
    def draft(cls, runs: Path, name: str | None, default_name: str) -> Iterator[RunDir]:
        """A new run directory that nobody sees until :meth:`publish`, held by this process until the end of the block.

        So a run directory that is there has all that going on with it needs, whenever its training was killed.

        Args:
            runs, name, default_name: as for :meth:`create`; the name is taken by :meth:`publish`.

        Raises:
            InputError: see :meth:`create`.
        """
        first = next(_names(runs, name, default_name))
        if name is not None and first.exists():
            _refuse_taken(runs, first, name)
        path = runs / f"{TEMPORARY}{os.getpid()}-{name or default_name}"
        try:
            _make_parents(runs)
            _sweep_drafts(runs)
            remove_tree(path)
            durable.system.mkdir(path)
            run = cls(path)._furnished()
        except OSError as error:
            raise InputError(f"--runs {runs}: cannot be written ({error.strerror or error})") from None
        run._wanted = (runs, name, default_name)
        try:
            with lock.locked(path):
                yield run
        finally:
            if run._wanted is not None:  # it came to nothing
                with suppress(OSError):
                    remove_tree(path)

    def publish(self) -> None:
        """Give a draft its name, with everything that is in it. A run that has its name keeps it.

        Raises:
            InputError: the name has been taken meanwhile, or the place cannot be written.
            LimnerError: it has its name, but the place cannot be written any more.
        """
        if self._wanted is None:
            return
        runs, name, default_name = self._wanted
        self.sync()
        for path in _names(runs, name, default_name):
            try:
                if path.exists():  # a rename would replace an empty directory
                    raise FileExistsError
                durable.system.rename(self.path, path)
            except OSError as error:
                if not path.exists():
                    raise InputError(f"--runs {runs}: cannot be written ({error.strerror or error})") from None
                _refuse_taken(runs, path, name)
                continue
            self.path, self._wanted = path, None
            self._remember_place()
            try:
                sync_directory(runs)
            except OSError as error:  # it is there, and can be gone on with
                raise LimnerError(f"{runs}: cannot be written ({error.strerror or error})") from None
            return

    @classmethod
    def open(cls, path: str | Path) -> RunDir:
        """A run directory that is there.

        Raises:
            InputError: it is none, or something in it is a link.
        """
        path = Path(path)
        try:
            if not path.is_dir():
                raise InputError(f"{path}: no such run directory")
            if not (path / RECIPE).is_file():
                raise InputError(f"{path}: is not a run directory (it has no {RECIPE})")
            refuse_links(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for one training alone; see :func:`limner.rundir.lock.locked`.

        Raises:
            InputError: another process trains it.
        """
        with lock.locked(self.path):
            self._remember_place()
            yield

    def is_there(self) -> bool:
        """Whether the directory that was locked is still the one under its name."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return self._place is None or self._place == (found.st_dev, found.st_ino)

    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return Recipe.from_toml(self._read(RECIPE), str(self.path / RECIPE))

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file's object.

        Raises:
            InputError: it is missing or damaged.
        """
        try:
            content = json.loads(self._read(name))
        except (ValueError, RecursionError) as error:  # what is no JSON or no text, and numbers of thousands of digits
            raise InputError(f"{self.path / name}: is damaged ({error})") from None
        if not isinstance(content, dict):
            raise InputError(f"{self.path / name}: is damaged (no JSON object)")
        return content

    def write(self, name: str, content: bytes | str | Mapping[str, Any]) -> Path:
        """Write one file (text, bytes, or an object as JSON); returns its path."""
        if isinstance(content, Mapping):
            content = json.dumps(content, indent=2) + "\n"
        path = self.path / name
        atomic_write(path, content.encode() if isinstance(content, str) else content)
        return path

    def rewind(self, images: int, attempt: int | None = None, unfinished: bool = False) -> None:
        """Forget what was logged and drawn after so many images (a resumed training writes it again).

        Args:
            images: of the checkpoint that the training goes on from.
            attempt: its rollbacks, to forget also what was found after it.
            unfinished: that moment is to be evaluated again.

        Raises:
            LimnerError: that cannot be done.
        """
        self.rewind_logs(images, attempt, unfinished)
        self._owed_files.clear()  # what is owed is of after the newest checkpoint
        for number, path in self.samples():
            if number > images:
                remove_tree(path)
        with suppress(OSError):
            sync_directory(self.path / SAMPLES)
        discard(*(path for number, path in self.evaluations() if number > images))

    def go_back(self, images: int) -> None:
        """Forget all that came after so many images, checkpoints included: the training goes on from there otherwise.

        Checkpoints go first, and for good: none may outlive the lines that were logged before it.

        Raises:
            LimnerError: that cannot be done.
        """
        self.drop_checkpoints(images)
        self.rewind(images)

    def save_samples(self, images: int, png: bytes) -> Path:
        """Keep a grid drawn after so many images, in memory while the disk refuses it; returns its path."""
        name = f"{SAMPLES}/{image_number(images)}.png"
        self.write_or_owe(name, png)
        return self.path / name

    def samples(self) -> list[tuple[int, Path]]:
        """The grids, with the images seen before each, in order."""
        return numbered(self.path / SAMPLES, ".png")

    def evaluations(self) -> list[tuple[int, Path]]:
        """The evaluations, with the images seen before each, in order."""
        return [found for found in numbered(self.path / EVALUATION, "") if (found[1] / FIGURES).is_file()]

    def save_evaluation(self, images: int, files: Mapping[str, bytes]) -> Path:
        """Keep what an evaluation looked at and found (names may have one folder), together or not at all.

        Raises:
            LimnerError: it cannot be written.
        """
        final = self.path / EVALUATION / image_number(images)
        with suppress(OSError):  # writing into it says what is wrong
            make_directory(final.parent)
        write_together(final, files)
        return final

    def sweep(self) -> None:
        """Remove what killed processes left under temporary names; put back what one was about to replace.

        Only for whoever holds the run. Others may evaluate or report beside it: what a living process writes there stays.
        """
        for directory in (self.path / CHECKPOINTS, self.path / EVALUATION):
            for replaced in directory.glob(f"{_REPLACED}*"):
                put_back(replaced, directory / replaced.name.removeprefix(_REPLACED))
        for directory in (self.path, self.path / SAMPLES, self.path / CHECKPOINTS, self.path / EVALUATION):
            held = directory.name in (SAMPLES, CHECKPOINTS)
            for left in directory.glob(f"{TEMPORARY}*"):
                if held or is_leaving(left):
                    with suppress(OSError):
                        remove_tree(left)

    def _furnished(self) -> RunDir:
        make_directory(self.path / SAMPLES)
        make_directory(self.path / CHECKPOINTS)
        sync_directory(self.path.parent)
        return self

    def _remember_place(self) -> None:
        found = os.stat(self.path)
        self._place = (found.st_dev, found.st_ino)

    def _read(self, name: str) -> bytes:
        try:
            with open_inside(self.path, name) as file:
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise InputError(f"{self.path / name}: cannot be read ({error.strerror or error})") from None
        if len(content) > _LARGEST:
            raise InputError(f"{self.path / name}: is damaged (over {_LARGEST:,} bytes)")
        return content


def _names(runs: Path, name: str | None, default_name: str) -> Iterator[Path]:
    """The paths that a new run may have, best first. Raises InputError when the name is none."""
    if (name is not None and not re.fullmatch(r"[^/\\\0\n]{1,200}", name)) or name in (".", ".."):
        raise InputError(f"--name {name}: must be a plain name for a directory")
    yield runs / (name or default_name)
    number = 1
    while True:
        number += 1
        yield runs / (name or f"{default_name}-{number}")


def _refuse_taken(runs: Path, path: Path, name: str | None) -> None:
    """Say that a name is taken, unless another one will do."""
    if not runs.is_dir():
        raise InputError(f"--runs {runs}: is a file, not a directory") from None
    if name is not None:
        raise InputError(
            f"--name {name}: {path} exists already; choose another name, or go on with 'limner resume {path}'"
        ) from None


def _make_parents(runs: Path) -> None:
    for path in reversed((runs, *runs.parents)):
        if not path.exists():
            make_directory(path)
    if not runs.is_dir():
        raise FileExistsError


def _sweep_drafts(runs: Path) -> None:
    """Remove run directories that killed processes left before they had a name."""
    for left in runs.glob(f"{TEMPORARY}*"):
        if left.is_dir() and is_leaving(left) and not lock.is_held(left):
            with suppress(OSError):
                remove_tree(left)
