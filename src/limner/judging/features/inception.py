"""The published Inception-v3 weights: where they are, what they must be, and fetching them when somebody asks for it."""

from __future__ import annotations

import hashlib
import http.client
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

from limner.data.store import cache_root
from limner.errors import InputError

INCEPTION_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
INCEPTION_BYTES = 95_607_719
INCEPTION_DIMENSIONS = 2048


def inception_path(cache_dir: str | Path | None = None) -> Path:
    """Where the fetched Inception weights lie."""
    return cache_root(cache_dir) / "downloads" / "inception" / "inception-2015-12-05.pt"


def fetch_inception(
    cache_dir: str | Path | None = None,
    *,
    url: str = INCEPTION_URL,
    sha256: str = INCEPTION_SHA256,
    advance: Callable[[int], None] | None = None,
    timeout: float = 30.0,
) -> Path:
    """Download the published Inception weights into the cache, unless they are there.

    Args:
        cache_dir: Limner's cache by default.
        url, sha256: what to get, and its checksum.
        advance: called with the number of bytes after each piece.
        timeout: seconds without an answer after which it counts as offline.

    Returns:
        the file, complete and checked.

    Raises:
        InputError: no network, another file than the published one, or no place for it.
    """
    path = inception_path(cache_dir)
    if path.is_file() and sha256_of(path) == sha256:
        return path
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urlopen(url, timeout=timeout) as answer, part.open("wb") as file:
            while piece := answer.read(1 << 20):
                digest.update(piece)
                file.write(piece)
                if advance is not None:
                    advance(len(piece))
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            raise InputError(
                f"features inception: {url} sent another file (SHA-256 {digest.hexdigest()[:12]}..., expected "
                f"{sha256[:12]}...); nothing was kept; try again, or give --features inception:FILE"
            )
        os.replace(part, path)
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"features inception: {url} cannot be fetched ({why}); check the network, or give --features inception:FILE"
        ) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return path


def sha256_of(path: Path) -> str:
    """A file's SHA-256 sum, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
