"""What a studio is started with, checked."""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from limner.errors import InputError

HOST = "127.0.0.1"
PORT = 8377
_LONGEST_TOKEN, _SHORTEST_TOKEN = 200, 16


@dataclass(frozen=True)
class Settings:
    """What a studio is started with.

    Attributes:
        runs: where run directories lie; need not exist yet.
        data: folders in which collections may be looked at and trained on.
        host: the address that is listened on.
        port: 0 for any that is free.
        token: what a browser has to know; ``None`` for nothing, on this machine's own address alone.
        page: the built page.
    """

    runs: Path
    data: tuple[Path, ...]
    host: str = HOST
    port: int = PORT
    token: str | None = None
    page: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can ask."""
        return is_loopback(self.host)


def checked(
    runs: Path,
    data: Sequence[Path] = (),
    host: str = HOST,
    port: int = PORT,
    token: str | None = None,
    page: Path | None = None,
) -> Settings:
    """Settings that go together: whoever listens on more than this machine's own address has a token, made if need be.

    Args:
        runs, host, port, page: see :class:`Settings`.
        data: see there; by default the working directory.
        token: 16 to 200 letters, digits, ``-`` or ``_``.

    Raises:
        InputError: something is wrong with them.
    """
    if runs.exists() and not runs.is_dir():
        raise InputError(f"--runs {runs}: is a file, not a directory")
    folders = tuple(data) or (Path.cwd(),)
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"--data {folder}: no such folder")
    if not 0 <= port < 65536:
        raise InputError(f"--port {port}: must be from 0 to 65535")
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,255}", host):
        raise InputError(f"--host {host}: must be an address such as 127.0.0.1, or a name of this machine")
    if token is not None and not re.fullmatch(rf"[A-Za-z0-9_-]{{{_SHORTEST_TOKEN},{_LONGEST_TOKEN}}}", token):
        raise InputError(f"--token: must have {_SHORTEST_TOKEN} to {_LONGEST_TOKEN} letters, digits, - or _")
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    return Settings(runs.absolute(), tuple(folder.resolve() for folder in folders), host, port, token, page)


def built_page() -> Path:
    """Where the built page lies.

    Raises:
        InputError: it has not been built.
    """
    page = Path(str(files("limner"))) / "web"
    if not (page / "index.html").is_file():
        raise InputError(f"{page}: the studio's page is not built; 'make web' builds it (it needs Node 20)")
    return page


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own, which no other can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
