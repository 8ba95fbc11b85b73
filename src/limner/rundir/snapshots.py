"""Checkpoints of a run: written whole, with checksums; few are kept, and only what is as it was written is used.

The sums are a file as ``sha256sum`` writes and checks it (``sha256sum -c SHA256SUMS``), over everything else in the checkpoint.
A sum of 32 bits would notice what a disk does wrong as well; this one can be checked without Limner.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from limner.durable import discard, is_full, write_together
from limner.errors import InputError, LimnerError
from limner.rundir.logs import Logs
from limner.rundir.names import BEST, CHECKPOINTS, GENERATOR, METRICS, STATE, SUMS, TRAINING, image_number, numbered

STATE_FORMAT = 2
"""Of a checkpoint's state. Format 1 had no checksums."""
WHOLE = (GENERATOR, TRAINING, STATE)
DRAWABLE = (GENERATOR, STATE)


class Snapshots(Logs):
    """The checkpoints of a run, and its best generator."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.say: Callable[[str], None] = _to_stderr
        """Told in a line when something damaged is passed over."""

    def checkpoints(self) -> list[tuple[int, Path]]:
        """The checkpoints, with the images seen before each, in order. Whether they are as written is not looked at."""
        found = numbered(self.path / CHECKPOINTS, "")
        return [item for item in found if all((item[1] / name).is_file() for name in (STATE, TRAINING))]

    def newest_checkpoint(self, needed: Iterable[str] = WHOLE) -> tuple[int, Path]:
        """The newest checkpoint that is as it was written: images seen, and its directory. Damaged ones are told.

        Args:
            needed: files that have to be so.

        Raises:
            InputError: there is none, or it is of a newer Limner.
        """
        found = self.checkpoints()
        if not found:
            raise InputError(f"{self.path}: has no checkpoint (the training ended before its first one); train again")
        damages: list[tuple[Path, str]] = []
        for images, path in reversed(found):
            damage = damaged(path, needed)
            if damage is None:
                for newer, words in damages:
                    self.say(
                        f"note: {newer}: is damaged ({words}); the checkpoint before it is used, of {images:,} images"
                    )
                return images, path
            damages.append((path, damage))
        newest, words = damages[0]
        many = "its only checkpoint is" if len(found) == 1 else f"all {len(found)} checkpoints are"
        raise InputError(
            f"{self.path}: {many} damaged ({newest.name}: {words}); get the directory back, or train again"
        )

    def healthy_checkpoint(self) -> tuple[int, Path] | None:
        """The newest checkpoint that an evaluation found in good health, and that is as it was written."""
        for images, path in reversed(self.checkpoints()):
            # Those that do not say were written when nothing was judged: their weights were numbers.
            if not _object(path / STATE).get("healthy", True):
                continue
            damage = damaged(path)
            if damage is None:
                return images, path
            self.say(f"note: {path}: is damaged ({damage}); the training goes back further")
        return None

    def snapshot(self, at: str, needed: Iterable[str] = WHOLE) -> Path:
        """The checkpoint that is meant by ``newest``, ``best`` or a number of images.

        Args:
            at: which.
            needed: files that have to be as they were written.

        Raises:
            InputError: there is none, or it is damaged.
        """
        if at == "newest":
            return self.newest_checkpoint(needed)[1]
        if at == BEST:
            return self.best()
        known = dict(self.checkpoints())
        digits = at.replace(",", "")
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else -1
        if number not in known:
            have = ", ".join([*(str(images) for images in known), "newest", BEST])
            raise InputError(f"--at {at}: {self.path} has no such snapshot; it has {have}")
        damage = damaged(known[number], needed)
        if damage is not None:
            raise InputError(f"--at {at}: {known[number]} is damaged ({damage}); take another one, or newest")
        return known[number]

    def best(self) -> Path:
        """The directory of the generator that scored best; if it is damaged, of the last best one that was also kept.

        Raises:
            InputError: there is none.
        """
        path = self.path / CHECKPOINTS / BEST
        if not path.is_dir():
            raise InputError(f"{self.path}: has no best snapshot (nothing was evaluated while it was trained)")
        damage = damaged(path, DRAWABLE)
        if damage is None:
            return path
        kept = dict(self.checkpoints())
        for images in reversed(self._best_ones()):
            if images in kept and damaged(kept[images], DRAWABLE) is None:
                self.say(
                    f"note: {path}: is damaged ({damage}); the snapshot of {images:,} images, once the best, is used"
                )
                return kept[images]
        raise InputError(f"{path}: is damaged ({damage}), and no other that was the best is left; use --at newest")

    def save_checkpoint(self, images: int, files: Mapping[str, bytes], keep: int) -> Path:
        """Keep a checkpoint's files, together or not at all, and only the newest ``keep`` checkpoints and the newest
        healthy one.

        Raises:
            LimnerError: it cannot be written; the newest before is still there.
        """
        final = self.path / CHECKPOINTS / image_number(images)
        write_together(final, {**files, SUMS: sums(files)})
        self._prune(keep)
        return final

    def with_room(self, write: Callable[[], Any]) -> None:
        """Write something; where there is no room, all checkpoints but the newest and the newest healthy one go first.

        Raises:
            LimnerError: it cannot be written; the newest checkpoint before is still there.
        """
        try:
            write()
        except LimnerError as error:
            if not is_full(error) or not self._prune(1):
                raise
            write()

    def save_best(self, files: Mapping[str, bytes]) -> Path:
        """Keep the files of the generator that scored best, in place of the one before."""
        final = self.path / CHECKPOINTS / BEST
        write_together(final, {**files, SUMS: sums(files)})
        return final

    def mend_best(self) -> None:
        """Write the best generator again from the checkpoint of its moment, if a kill or a damage came between.

        A checkpoint is written before the best generator, which is a part of it.

        Raises:
            LimnerError: it cannot be written.
        """
        best, ones = self.path / CHECKPOINTS / BEST, self._best_ones()
        path = dict(self.checkpoints()).get(ones[-1]) if ones else None
        if path is None or damaged(path, DRAWABLE) is not None:
            return
        # In bytes, because a training that went back may come by the same number of images with other weights.
        files = {name: (path / name).read_bytes() for name in DRAWABLE}
        if damaged(best, DRAWABLE) is not None or (best / GENERATOR).read_bytes() != files[GENERATOR]:
            self.save_best(files)

    def drop_checkpoints(self, images: int) -> None:
        """Remove the checkpoints after so many images.

        Raises:
            LimnerError: that cannot be done.
        """
        discard(*(path for number, path in self.checkpoints() if number > images))

    def _best_ones(self) -> list[int]:
        """At how many images there was a new best one, in order."""
        return [line["images"] for line in self.records(METRICS) if line.get("best") is True]

    def _prune(self, keep: int) -> int:
        """Remove all but the newest checkpoints and the newest healthy one; returns how many went."""
        whole = self.checkpoints()
        states = ((images, _object(path / STATE)) for images, path in reversed(whole))
        healthy = next((images for images, state in states if state and state.get("healthy", True)), None)
        old = [path for images, path in whole[:-keep] if images != healthy]
        try:
            discard(*old)
        except LimnerError:  # it is tried again after the next one
            return 0
        return len(old)


def sums(files: Mapping[str, bytes]) -> bytes:
    """A checksum file over some files."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()).encode()


def damaged(path: Path, needed: Iterable[str] = WHOLE) -> str | None:
    """What is wrong with a checkpoint's files, in words; ``None`` when they are as they were written.

    Args:
        path: the checkpoint.
        needed: the files that matter.

    Raises:
        InputError: it is of a newer Limner, which this one cannot judge.
    """
    state = _object(path / STATE)
    number = state.get("format")
    if type(number) is int and number > STATE_FORMAT:
        raise InputError(
            f"{path}: has format {number}, of a newer Limner; this one reads formats 1 to {STATE_FORMAT}: update Limner"
        )
    for name in needed:
        if not (path / name).is_file():
            return f"it has lost its {name}"
    if not state:
        return f"{STATE} cannot be read"
    if number == 1:
        cut = [name for name in needed if name.endswith(".safetensors") and not _is_whole(path / name)]
        return f"{cut[0]} is not whole" if cut else None
    try:
        lines = (path / SUMS).read_text(encoding="ascii").splitlines()
        written = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    except (OSError, ValueError):
        return f"{SUMS} cannot be read"
    for name in needed:
        try:
            with (path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"{name} cannot be read: {error.strerror or error}"
        if found != written.get(name):
            return f"{name} is not as it was written"
    return None


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says: eight bytes of the header's length, the header, the numbers."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                return False
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return path.stat().st_size == 8 + length + max(ends, default=0)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return False


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)
