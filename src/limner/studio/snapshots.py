"""Snapshots for the explorer: exported when they are asked for, and kept in the user's cache by their content."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

from limner import rundir
from limner.data.store import cache_root
from limner.errors import InputError
from limner.rundir import RunDir
from limner.studio.folders import DOCUMENT, MODEL, PICTURES
from limner.studio.jobs import Job, Jobs
from limner.studio.places import Missing, Places
from limner.version import __version__

MOST_BYTES = 2 << 30
"""Of exported snapshots in the cache; the ones longest unused go first."""
_LEFT_SECONDS = 3600.0


class Snapshots:
    """Exported snapshots.

    Args:
        places: the roots.
        jobs: where exports are done.
        cache: where they are kept; the user's cache by default.
        most_bytes: that they may take.
    """

    def __init__(self, places: Places, jobs: Jobs, cache: Path | None = None, most_bytes: int = MOST_BYTES) -> None:
        self.places, self.jobs, self.most_bytes = places, jobs, most_bytes
        self.root = (cache or cache_root()) / "studio"
        self._digests: dict[tuple[int, ...], str] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def export(self, name: str, at: str) -> Job:
        """Export a snapshot in the background; one that is there already is done at once.

        Raises:
            Missing: there is none.
        """
        run, key = self.places.run(name), self._key(name, at)
        folder = self.root / key
        if self._is_whole(folder):
            return Job("export", {}, state="done", result={"bytes": 0})
        self.root.mkdir(parents=True, exist_ok=True)
        self._prune(keep=key)
        values = {"run": str(run), "at": at if at == rundir.BEST else str(int(at)), "folder": str(folder)}
        return self.jobs.begin(Job("export", values, key=f"export {key}"))

    def file(self, name: str, at: str, parts: tuple[str, ...]) -> Path:
        """A file of an exported snapshot.

        Raises:
            Missing: there is none, or it has not been exported.
        """
        known = parts in ((DOCUMENT,), (MODEL,)) or (len(parts) == 2 and parts[0] == PICTURES and _is_plain(parts[1]))
        if known:
            with suppress(Missing):
                key = self._key(name, at)
                path = self.root.joinpath(key, *parts)
                if path.is_file():
                    if parts == (DOCUMENT,):
                        with suppress(OSError):
                            os.utime(self.root / key)
                    return path
        raise Missing(f"run {name!r}: its snapshot {at} has not been exported, or has no {'/'.join(parts)}")

    def _key(self, name: str, at: str) -> str:
        """The cache's name for a snapshot, by its content. What was a snapshot once stays known while the studio runs: a
        training removes its checkpoints, and somebody may be exploring one."""
        try:
            file = self._weights(name, at)
            status = file.stat()
        except (Missing, OSError):
            with self._lock:
                if (name, at) in self._keys:
                    return self._keys[name, at]
            raise Missing(f"run {name!r}: has no snapshot {at}") from None
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        with self._lock:
            digest = self._digests.get(stamp)
        if digest is None:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        key = hashlib.sha256(f"{__version__} 1 {name} {digest}".encode()).hexdigest()[:32]
        with self._lock:
            self._digests[stamp] = digest
            self._keys[name, at] = key
        return key

    def _weights(self, name: str, at: str) -> Path:
        run = RunDir.open(self.places.run(name))  # refuses links in it
        if at == rundir.BEST:
            return run.path / rundir.CHECKPOINTS / rundir.BEST / rundir.GENERATOR
        known = dict(run.checkpoints())
        if not (at.isascii() and at.isdecimal() and len(at) < 19 and int(at) in known):
            raise Missing(f"run {name!r}: has no snapshot {at}")
        return known[int(at)] / rundir.GENERATOR

    @staticmethod
    def _is_whole(folder: Path) -> bool:
        return (folder / DOCUMENT).is_file() and (folder / MODEL).is_file()

    def _prune(self, keep: str) -> None:
        """Remove what was not used for longest until there is room, and what killed exports left."""
        found = []
        for folder in self.root.iterdir():
            with suppress(OSError):
                status = folder.stat()
                if folder.name.startswith(".tmp-") and time.time() - status.st_mtime > _LEFT_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
                elif len(folder.name) == 32 and folder.name != keep:
                    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                    found.append((status.st_mtime, size, folder))
        held = sum(size for _, size, _ in found)
        for _, size, folder in sorted(found):
            if held <= self.most_bytes:
                break
            shutil.rmtree(folder, ignore_errors=True)
            held -= size


def _is_plain(name: str) -> bool:
    return name.isascii() and name.replace(".", "").replace("-", "").isalnum() and not name.startswith(".")


__all__ = ["InputError", "Snapshots"]
