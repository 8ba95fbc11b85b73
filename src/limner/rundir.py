"""The run directory: names, atomic writes, checkpoints, discovery. Nothing else writes into it by itself.

A file appears whole or not at all: it is written under a temporary name, synced, and renamed. Everything is safetensors,
JSON, TOML or an image.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from limner.durable import TEMPORARY, atomic_write, sync_directory
from limner.errors import InputError, LimnerError
from limner.recipe import Recipe

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

RECIPE = "recipe.toml"
DATA = "data.json"
ENVIRONMENT = "environment.json"
LOG = "log.jsonl"
METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
REPORT = "report.html"
SAMPLES = "samples"
CHECKPOINTS = "checkpoints"
EVALUATION = "evaluation"
FIGURES = "figures.json"
BEST = "best"
GENERATOR = "generator.safetensors"
TRAINING = "training.safetensors"
STATE = "state.json"

LOCK = "lock"

_REPLACED = f"{TEMPORARY}replaced-"


def image_number(images: int) -> str:
    """The name of something made after so many images: nine digits, so that names sort."""
    return f"{images:09d}"


class RunDir:
    """One training's directory. Make one with :meth:`create`, or :meth:`open` one that is there."""

    def __init__(self, path: Path) -> None:
        self.path = path

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
        probe = cls.create(runs, name, f"{TEMPORARY}{os.getpid()}")
        shutil.rmtree(probe.path)
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
        if (name is not None and not re.fullmatch(r"[^/\\\0\n]{1,200}", name)) or name in (".", ".."):
            raise InputError(f"--name {name}: must be a plain name for a directory")
        number = 1
        while True:
            path = runs / (name or (default_name if number == 1 else f"{default_name}-{number}"))
            try:
                runs.mkdir(parents=True, exist_ok=True)
                path.mkdir()
                (path / SAMPLES).mkdir()
                (path / CHECKPOINTS).mkdir()
                return cls(path)
            except FileExistsError:
                if not runs.is_dir():
                    raise InputError(f"--runs {runs}: is a file, not a directory") from None
                if name is not None:
                    raise InputError(
                        f"--name {name}: {path} exists already; choose another name, or go on with"
                        f" 'limner resume {path}'"
                    ) from None
                number += 1
            except OSError as error:
                raise InputError(f"--runs {runs}: cannot be written ({error.strerror or error})") from None

    @classmethod
    def open(cls, path: str | Path) -> RunDir:
        """A run directory that is there.

        Raises:
            InputError: it is none.
        """
        path = Path(path)
        try:
            if not path.is_dir():
                raise InputError(f"{path}: no such run directory")
            if not (path / RECIPE).is_file():
                raise InputError(f"{path}: is not a run directory (it has no {RECIPE})")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for one training alone. The system lets go of it when the process ends, however it ends.

        Raises:
            InputError: another process trains it.
        """
        if fcntl is None:  # no such locks on this system
            yield
            return
        with (self.path / LOCK).open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                owner = file.read(20).strip() or "unknown"
                raise InputError(f"{self.path}: is being trained by another process (number {owner})") from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return Recipe.load(self.path / RECIPE)

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file's object.

        Raises:
            InputError: it is missing or damaged.
        """
        try:
            content = json.loads(self._read(name))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
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

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add one line to a log.

        Raises:
            LimnerError: it cannot be written.
        """
        try:
            with (self.path / name).open("ab+") as file:
                if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                    file.write(b"\n")  # a killed process left half a line: this one must not be lost with it
                file.write(json.dumps(record).encode() + b"\n")
        except OSError as error:
            raise LimnerError(f"{self.path / name}: cannot be written ({error.strerror or error})") from error

    def sync(self) -> None:
        """Make the lines of all logs durable: a checkpoint must not outlive what was logged before it."""
        for name in (LOG, METRICS, EVENTS):
            with suppress(OSError), (self.path / name).open("rb") as file:
                os.fsync(file.fileno())

    def records(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of a log that can be read: what is torn, or does not say at how many images it was, is passed over."""
        path = self.path / name
        if not path.is_file():
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue
                if isinstance(record, dict) and type(record.get("images")) is int:
                    yield record

    def rewind(self, images: int) -> None:
        """Forget what was logged and drawn after so many images (a resumed training writes it again)."""
        for name in (LOG, METRICS):
            kept = [record for record in self.records(name) if record["images"] <= images]
            atomic_write(self.path / name, "".join(json.dumps(record) + "\n" for record in kept).encode())
        for number, path in self.samples():
            if number > images:
                path.unlink()
        for number, path in self.evaluations():
            if number > images:
                shutil.rmtree(path, ignore_errors=True)

    def go_back(self, images: int) -> None:
        """Forget all that came after so many images, checkpoints included: the training goes on from there otherwise."""
        for number, path in self.checkpoints():
            if number > images:
                shutil.rmtree(path, ignore_errors=True)
        self.rewind(images)

    def save_samples(self, images: int, png: bytes) -> Path:
        """Keep a grid drawn after so many images; returns its path."""
        return self.write(f"{SAMPLES}/{image_number(images)}.png", png)

    def samples(self) -> list[tuple[int, Path]]:
        """The grids, with the images seen before each, in order."""
        return _numbered(self.path / SAMPLES, ".png")

    def checkpoints(self) -> list[tuple[int, Path]]:
        """The checkpoints, with the images seen before each, in order."""
        found = _numbered(self.path / CHECKPOINTS, "")
        return [item for item in found if all((item[1] / name).is_file() for name in (STATE, TRAINING))]

    def newest_checkpoint(self) -> tuple[int, Path]:
        """The newest checkpoint: images seen, and its directory.

        Raises:
            InputError: there is none.
        """
        found = self.checkpoints()
        if not found:
            raise InputError(f"{self.path}: has no checkpoint (the training ended before its first one); train again")
        return found[-1]

    def snapshot(self, at: str) -> Path:
        """The checkpoint that is meant by ``newest``, ``best`` or a number of images.

        Raises:
            InputError: there is none.
        """
        if at == "newest":
            return self.newest_checkpoint()[1]
        if at == BEST:
            return self.best()
        known = dict(self.checkpoints())
        digits = at.replace(",", "")
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else -1
        if number not in known:
            have = ", ".join([*(str(images) for images in known), "newest", BEST])
            raise InputError(f"--at {at}: {self.path} has no such snapshot; it has {have}")
        return known[number]

    def healthy_checkpoint(self) -> tuple[int, Path] | None:
        """The newest checkpoint that an evaluation found in good health."""
        for images, path in reversed(self.checkpoints()):
            try:
                # Those that do not say were written when nothing was judged: their weights were numbers.
                if RunDir(path).read_json(STATE).get("healthy", True):
                    return images, path
            except InputError:
                continue
        return None

    def best(self) -> Path:
        """The directory of the generator that scored best.

        Raises:
            InputError: there is none.
        """
        path = self.path / CHECKPOINTS / BEST
        if not path.is_dir():
            raise InputError(f"{self.path}: has no best snapshot (nothing was evaluated while it was trained)")
        return path

    def evaluations(self) -> list[tuple[int, Path]]:
        """The evaluations, with the images seen before each, in order."""
        return [found for found in _numbered(self.path / EVALUATION, "") if (found[1] / FIGURES).is_file()]

    def save_checkpoint(self, images: int, files: Mapping[str, bytes], keep: int) -> Path:
        """Keep a checkpoint's files, together or not at all, and only the newest ``keep`` checkpoints and the newest
        healthy one.

        Raises:
            LimnerError: it cannot be written; the ones before are still there.
        """
        final = self._save_together(CHECKPOINTS, image_number(images), files)
        healthy = self.healthy_checkpoint()
        for number, old in self.checkpoints()[:-keep]:
            if healthy is None or number != healthy[0]:
                shutil.rmtree(old, ignore_errors=True)
        return final

    def save_best(self, files: Mapping[str, bytes]) -> Path:
        """Keep the files of the generator that scored best, in place of the one before."""
        return self._save_together(CHECKPOINTS, BEST, files)

    def save_evaluation(self, images: int, files: Mapping[str, bytes]) -> Path:
        """Keep what an evaluation looked at and found (names may have one folder), together or not at all."""
        (self.path / EVALUATION).mkdir(exist_ok=True)
        return self._save_together(EVALUATION, image_number(images), files)

    def _save_together(self, where: str, name: str, files: Mapping[str, bytes]) -> Path:
        directory = self.path / where
        final = directory / name
        # Names of this process's own: another one may evaluate while this one trains.
        temporary = directory / f"{TEMPORARY}{os.getpid()}-{name}"
        replaced = directory / f"{_REPLACED}{name}"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            for folder in {Path(file).parent for file in files} - {Path()}:
                (temporary / folder).mkdir()
            for file, content in files.items():
                atomic_write(temporary / file, content)
            if final.exists():
                # The same moment of the same training: a new copy takes the old one's place.
                shutil.rmtree(replaced, ignore_errors=True)
                final.rename(replaced)
            temporary.rename(final)
            sync_directory(directory)
        except OSError as error:
            if replaced.exists() and not final.exists():
                with suppress(OSError):
                    replaced.rename(final)
            raise LimnerError(f"{final}: cannot be written ({error.strerror or error})") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
        return final

    def sweep(self) -> None:
        """Remove what a killed process left under temporary names; put back what it was about to replace.

        Only for whoever holds the run: others may be writing under such names.
        """
        for directory in (self.path / CHECKPOINTS, self.path / EVALUATION):
            for replaced in directory.glob(f"{_REPLACED}*"):
                final = directory / replaced.name.removeprefix(_REPLACED)
                if not final.exists():
                    with suppress(OSError):
                        replaced.rename(final)
        for directory in (self.path, self.path / SAMPLES, self.path / CHECKPOINTS, self.path / EVALUATION):
            for left in directory.glob(f"{TEMPORARY}*"):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise InputError(f"{self.path / name}: cannot be read ({error.strerror or error})") from None


def _numbered(directory: Path, suffix: str) -> list[tuple[int, Path]]:
    found = []
    if directory.is_dir():
        for path in directory.iterdir():
            match = re.fullmatch(rf"(\d{{9,}}){re.escape(suffix)}", path.name)
            if match:
                found.append((int(match[1]), path))
    return sorted(found)
