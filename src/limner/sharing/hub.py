"""A generator on the Hugging Face hub: card, weights, samples, and its page as a static space.

The hub's own client does the talking: its settings hold (``HF_TOKEN``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, a saved login).
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limner import imaging
from limner.drawing import class_grid
from limner.errors import InputError, LimnerError
from limner.films import home
from limner.generator import TrainedGenerator
from limner.judging.report.read import contents
from limner.recipe.text import printable
from limner.rundir import RunDir
from limner.sharing.card import card
from limner.sharing.export import check_export, export_onnx, export_safetensors, load_trained
from limner.sharing.facts import NO_LICENCE
from limner.sharing.page import about
from limner.sharing.publish import LIST, listed

SHEET = 36
"""Pictures on the sheet, about."""
WEIGHTS, ONNX, SAMPLES, CARD = "generator.safetensors", "generator.onnx", "samples.png", "README.md"
RECIPE = "recipe.toml"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True)
class Pushed:
    """What is on the hub now.

    Attributes:
        url: of the generator.
        commit: in which it is there.
        files: their bytes by name.
        site: the address of its page, if it has one.
    """

    url: str
    commit: str
    files: dict[str, int]
    site: str | None

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def describe(self) -> str:
        """A few lines."""
        total = sum(self.files.values())
        lines = [f"{self.url}: {len(self.files)} files, {total / 1e6:,.1f} MB, in commit {self.commit[:12]}"]
        return "\n".join([*lines, *([f"its page: {self.site}"] if self.site else [])])


def import_hub() -> Any:
    """The hub's client.

    Raises:
        InputError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise InputError("the hub needs 'huggingface_hub': pip install 'limner[hub]'") from None
    return huggingface_hub


def push(
    source: str | Path,
    name: str,
    *,
    private: bool = False,
    site: bool = True,
    at: str = "newest",
    licence: str | None = None,
) -> Pushed:
    """Put a generator on the hub, in one commit: all of it is there, or nothing. What somebody else has put there stays.

    Args:
        source: a run directory, a checkpoint or a ``.safetensors`` file.
        name: ``owner/name``; it is made where it is not there.
        private: only its owner can see it. One that is there already stays as it is.
        site: its page too, as a static space of the same name, with the same visibility.
        at: which snapshot of a run directory.
        licence: what its owner says of who may use it; a word that the hub knows (``cc-by-4.0``) is told to it as such.

    Raises:
        InputError: a package or the token is missing, the hub refuses, there is no such generator, or what has this name on
            the hub is something else.
        LimnerError: the hub cannot be reached, or the exported files draw other pictures.
    """
    if not _NAME.fullmatch(name) or any(bad in name for bad in ("--", "..")) or name.endswith((".git", ".", "-")):
        raise InputError(f"push {printable(name, 200)}: write OWNER/NAME, of letters, digits, '-', '_' and '.'")
    hub = import_hub()
    check_export(Path(ONNX))
    if hub.get_token() is None:
        raise InputError("push: no token; log in with 'hf auth login', or set HF_TOKEN")
    generator = load_trained(source, at)
    api = hub.HfApi(library_name="limner")
    address = f"{api.endpoint}/spaces/{name}" if site else None
    with tempfile.TemporaryDirectory() as folder:
        page = _page(source, Path(folder, "page"), at, name, licence) if site else {}
        files = _files(generator, source, Path(folder), name, licence, address)
        with _spoken(name):
            if not sys.stderr.isatty():
                hub.utils.disable_progress_bars()
            _check_free(_there(hub, api, name, "model"), {CARD}, RECIPE, f"push {name}: that repository")
            stale = _stale(hub, api, name, set(page)) if site else []
            url = str(api.create_repo(name, private=private, exist_ok=True))
            done = api.create_commit(name, _additions(hub, files), commit_message=f"{generator.images:,} images seen")
            if site:
                api.create_repo(name, repo_type="space", space_sdk="static", private=private, exist_ok=True)
                changes = [
                    *_additions(hub, page),
                    *(hub.CommitOperationDelete(path_in_repo=file) for file in stale),
                ]
                api.create_commit(name, changes, repo_type="space", commit_message=f"{generator.images:,} images seen")
        sizes = {
            file: len(content) if isinstance(content, bytes) else content.stat().st_size
            for file, content in files.items()
        }
    return Pushed(url, str(done.oid), sizes, address)


def _there(hub: Any, api: Any, name: str, kind: str) -> set[str]:
    """The files of a repository; none where there is no such one, and but for what each has."""
    try:
        found = api.repo_info(name, repo_type=kind).siblings or []
    except hub.errors.RepositoryNotFoundError:
        return set()
    return {file.rfilename for file in found} - {".gitattributes"}


def _check_free(there: set[str], empty: set[str], mark: str, what: str) -> None:
    """Find out whether a place on the hub is empty, or one that Limner has filled.

    Raises:
        InputError: it is neither.
    """
    if there - empty and mark not in there:
        first = ", ".join(sorted(there - empty)[:3])
        raise InputError(f"{what} holds something else ({printable(first, 200)}); push to another name")


def _stale(hub: Any, api: Any, name: str, page: set[str]) -> list[str]:
    """What of an earlier page on the hub is not of the new one: names of files say what is in them, so they are others.

    Raises:
        InputError: what has this name is no page of Limner's, or its list is damaged.
    """
    there = _there(hub, api, name, "space")
    _check_free(there, {CARD}, LIST, f"push {name}: the space of that name (--no-site leaves it alone)")
    if LIST not in there:
        return []
    with tempfile.TemporaryDirectory() as folder:
        found = hub.hf_hub_download(name, LIST, repo_type="space", local_dir=folder, endpoint=api.endpoint)
        try:
            names = listed(Path(found))
        except InputError:
            raise InputError(
                f"push {name}: the {LIST} of the space of that name is damaged; push to another name, or leave the space"
                " alone with --no-site"
            ) from None
        return sorted({*names} & there - page)


def _additions(hub: Any, files: Mapping[str, bytes | Path]) -> list[Any]:
    return [
        hub.CommitOperationAdd(
            path_in_repo=file, path_or_fileobj=content if isinstance(content, bytes) else str(content)
        )
        for file, content in files.items()
    ]


def _files(
    generator: TrainedGenerator, source: str | Path, folder: Path, name: str, licence: str | None, site: str | None
) -> dict[str, bytes | Path]:
    """What the generator's place on the hub consists of."""
    weights = export_safetensors(generator, folder / WEIGHTS, licence=licence)
    onnx = export_onnx(generator, folder / ONNX, licence=licence)
    run = home(Path(source))
    words = card(
        generator,
        name,
        about=about(contents(RunDir.open(run)), generator.images) if run is not None else {},
        licence=licence or generator.licence or NO_LICENCE,
        files={WEIGHTS: weights.bytes, ONNX: onnx.bytes},
        parity=onnx.parity.describe(),
        site=site,
    )
    return {
        CARD: words.encode(),
        SAMPLES: _sheet(generator),
        RECIPE: generator.recipe.to_toml().encode(),
        WEIGHTS: folder / WEIGHTS,
        ONNX: folder / ONNX,
    }


def _sheet(generator: TrainedGenerator) -> bytes:
    """The pictures of seeds 0, 1, 2 and so on; with a few classes, a column for each."""
    shape = class_grid(len(generator.classes), SHEET, *generator.size)
    count = shape[0] * shape[1] if shape else SHEET
    pictures = generator.draw_seeds(np.arange(count, dtype=np.uint64))
    return imaging.png_bytes(imaging.enlarged(imaging.grid(pictures, shape[0] if shape else None), 768))


def _page(source: str | Path, folder: Path, at: str, name: str, licence: str | None) -> dict[str, bytes | Path]:
    """The published page, with the head that makes a static space of it."""
    from limner.sharing.publish import publish

    title = name.rpartition("/")[2]
    publish(source, folder, at=at, licence=licence)
    files: dict[str, bytes | Path] = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    head = (
        f"---\ntitle: {json.dumps(title)}\nsdk: static\napp_file: index.html\nmodels:\n- {name}\ntags:\n- limner\n---\n"
    )
    files[CARD] = f"{head}\nDraws pictures in your browser, with the generator [{name}](/{name}).\n".encode()
    return files


@contextmanager
def _spoken(name: str) -> Iterator[None]:
    """Turn what the hub and the network say into one line.

    Raises:
        InputError: the hub refuses.
        LimnerError: it cannot be reached, or fails.
    """
    try:
        yield
    except LimnerError:
        raise
    except Exception as error:  # the client's, its HTTP library's and the system's have no class in common
        answer = getattr(error, "response", None)
        status = getattr(answer, "status_code", None)
        said = printable(str(getattr(error, "server_message", None) or error).strip().split("\n")[0], 200)
        if status in (401, 403, 404):
            raise InputError(
                f"push {name}: the hub refuses ({status}: {said}); check the name, and that your token may write there"
            ) from None
        if status is not None and status < 500 and status != 429:
            raise InputError(f"push {name}: the hub refuses ({status}: {said})") from None
        if status is not None:
            raise LimnerError(f"push {name}: the hub fails ({status}: {said}); try again later") from None
        if isinstance(error, OSError) or type(error).__module__.startswith("httpx"):
            raise LimnerError(
                f"push {name}: the hub cannot be reached ({said}); check the network and HF_ENDPOINT"
            ) from None
        if isinstance(error, ValueError):
            raise InputError(f"push {name}: {said}") from None
        raise LimnerError(f"push {name}: the hub's client fails ({type(error).__name__}: {said})") from error
