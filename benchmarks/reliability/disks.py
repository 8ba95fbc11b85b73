"""A disk that forgets: the writing of a training is recorded, and what could be left of it after a power cut is made again.

The model is that of POSIX, with one promise that every journalling file system keeps. A file's content is safe when the file
was synced, a name in a directory when the directory was synced. Of what was written later, anything may be there: nothing,
all, a part, zeros of the right length. Of the names that were changed later in one directory the first few are there, in
their order (the promise); different directories know nothing of one another.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import Interposed


@dataclass
class Call:
    """One system call as it was made: its name, the paths below the root, and what was written."""

    name: str
    paths: tuple[str, ...]
    content: bytes = b""
    flags: int = 0


class Recorder(Interposed):
    """Writes down what is done below a directory.

    Args:
        root: the directory.
        told: called with each call, before it is made.
    """

    def __init__(self, root: Path, told: Callable[[Call], None]) -> None:
        self.root, self.told = str(root), told
        super().__init__(self._note)

    def _note(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        first = os.readlink(f"/proc/self/fd/{arguments[0]}") if isinstance(arguments[0], int) else arguments[0]
        second = arguments[1:2] if name in ("replace", "rename") else ()
        paths = [os.path.relpath(path, self.root) for path in (first, *second)]
        if any(path.startswith("..") for path in paths):
            return
        content, flags = b"", 0
        if name == "write":
            content = bytes(arguments[1])
        elif name in ("open", "ftruncate"):
            flags = arguments[1]
        self.told(Call(name, tuple(paths), content, flags))


@dataclass
class File:
    """A file's content now, and the last one that is safe."""

    content: bytes = b""
    safe: bytes = b""


@dataclass
class Directory:
    """A directory's names now, those that are safe, and the changes in between."""

    names: dict[str, File | Directory] = field(default_factory=dict)
    safe: dict[str, File | Directory] = field(default_factory=dict)
    changes: list[Callable[[dict[str, File | Directory]], None]] = field(default_factory=list)

    def change(self, change: Callable[[dict[str, File | Directory]], None]) -> None:
        change(self.names)
        self.changes.append(change)


class Disk:
    """A file system that knows what is safe. Calls are applied to it in their order."""

    def __init__(self) -> None:
        self.root = Directory()

    def apply(self, call: Call) -> None:
        parent, name = self._parent(call.paths[0])
        if call.name == "open":
            if call.flags & os.O_CREAT and name not in parent.names:
                made = File()
                parent.change(lambda names: names.__setitem__(name, made))
            elif call.flags & os.O_TRUNC:
                self._file(call).content = b""
        elif call.name == "write":
            self._file(call).content += call.content
        elif call.name == "ftruncate":
            self._file(call).content = self._file(call).content[: call.flags]
        elif call.name == "mkdir":
            new = Directory()
            parent.change(lambda names: names.__setitem__(name, new))
        elif call.name in ("unlink", "rmdir"):
            parent.change(lambda names: names.pop(name, None) and None)
        elif call.name in ("rename", "replace"):
            other, target = self._parent(call.paths[1])
            assert other is parent, "a rename between directories is not in the model"

            def move(names: dict[str, File | Directory]) -> None:
                names[target] = names.pop(name)

            parent.change(move)
        elif call.name == "fsync":
            synced = self._at(call.paths[0])
            if isinstance(synced, File):
                synced.safe = synced.content
            else:
                synced.safe, synced.changes = dict(synced.names), []

    def cut(self, chance: random.Random, place: Path) -> None:
        """Write into an empty directory what a power cut now could leave."""
        manner = chance.choice(("nothing", "anything", "names"))
        self._leave(self.root, place, chance, manner)

    def _leave(self, directory: Directory, place: Path, chance: random.Random, manner: str) -> None:
        place.mkdir(exist_ok=True)
        names = dict(directory.safe)
        kept = {"nothing": 0, "names": len(directory.changes)}.get(manner, chance.randint(0, len(directory.changes)))
        for change in directory.changes[:kept]:
            change(names)
        for name, entry in names.items():
            if isinstance(entry, Directory):
                self._leave(entry, place / name, chance, manner)
            else:
                (place / name).write_bytes(_content(entry, chance, manner))

    def _parent(self, path: str) -> tuple[Directory, str]:
        head, _, name = path.rpartition("/")
        found = self._at(head or ".")
        assert isinstance(found, Directory)
        return found, name

    def _at(self, path: str) -> File | Directory:
        found: File | Directory = self.root
        for part in Path(path).parts:
            assert isinstance(found, Directory)
            found = found.names[part]
        return found

    def _file(self, call: Call) -> File:
        found = self._at(call.paths[0])
        assert isinstance(found, File)
        return found


def _content(file: File, chance: random.Random, manner: str) -> bytes:
    """What could be left of a file's content."""
    if file.content == file.safe:
        return file.safe
    if manner == "nothing" or chance.random() < 0.3:
        return file.safe
    if chance.random() < 0.3:
        return file.content
    if file.content.startswith(file.safe):
        more = file.content[len(file.safe) :]
        cut = chance.randint(0, len(more))
        return file.safe + more[:cut] + chance.choice((b"", bytes(len(more) - cut)))
    return file.content[: chance.randint(0, len(file.content))]
