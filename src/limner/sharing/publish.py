"""A static page that draws with the generator in the visitor's browser: ``limner publish``.

The folder can lie anywhere on any static host: all addresses in it are relative. What belongs to one generator lies in a
folder with its checksum in the name, so that no cache mixes two.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from limner.errors import InputError
from limner.films import home, write
from limner.generator import TrainedGenerator
from limner.recipe.text import printable
from limner.rundir import RunDir
from limner.sharing.export import Exported, export_onnx, load_trained
from limner.sharing.page import DOCUMENT, FORMAT, built_page, page_document, sample_files, story_files
from limner.sharing.parity import NotEqual

HOME, INDEX, LIST = "home.json", "index.html", "limner-files.json"
MODEL = "generator.onnx"
LIST_FORMAT = "limner-files-1"
SAMPLE_COUNT = 48
GPU = "jspi"
"""In the names of the runtime's files that only browsers with WebGPU load."""
RUNTIME = ("runtime/", "assets/runtime-")
"""How names begin of ONNX Runtime's files."""
OTHERS = ("assets/studio-",)
"""How names begin of what the page needs in the studio alone."""
SCRIPT_ENDS = (".js", ".mjs", ".css", ".html", ".svg")


@dataclass(frozen=True)
class Published:
    """A page that was written.

    Attributes:
        path: its folder.
        exported: its generator.
        why_full: why they are not, where half precision was tried.
        files: in the folder, with their bytes, in the order of their names.
    """

    path: Path
    exported: Exported
    why_full: str
    files: dict[str, int]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(self.files.values())

    @property
    def own_bytes(self) -> int:
        """Of Limner's own code: scripts, styles, the page."""
        return sum(
            size for name, size in self.files.items() if name.endswith(SCRIPT_ENDS) and not name.startswith(RUNTIME)
        )

    def visit_bytes(self, gpu: bool) -> int:
        """What a visitor downloads who looks at everything, with WebGPU or with WebAssembly alone."""
        return sum(size for name, size in self.files.items() if not self._left_out(name, gpu))

    @staticmethod
    def _left_out(name: str, gpu: bool) -> bool:
        of_runtime = name.startswith(RUNTIME)
        return name in (LIST, "LICENSES.txt") or (of_runtime and _is_gpus(name) != gpu)

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "path": str(self.path),
            "bytes": self.bytes,
            "files": len(self.files),
            "half": self.exported.half,
            "why_full": self.why_full,
            "generator_bytes": self.exported.bytes,
            "own_code_bytes": self.own_bytes,
            "visit_bytes": {"webassembly": self.visit_bytes(False), "webgpu": self.visit_bytes(True)},
            "parity": self.exported.parity.values(),
        }


def publish(
    source: str | Path,
    out: str | Path,
    *,
    at: str = "newest",
    half: bool | None = None,
    webgpu: bool = True,
    name: str | None = None,
    licence: str | None = None,
) -> Published:
    """Write a page that draws with a generator.

    Args:
        source: a run directory, a checkpoint or a ``.safetensors`` file.
        out: the folder; a new one, one without a page, or one that was written by this function: then it is replaced.
        at: which snapshot of a run: ``newest``, ``best`` or a number of images.
        half: weights in half precision. By default where that changes no picture much (99.9 % of the pixels within 2 of 255,
            none above 8).
        webgpu: also with the runtime for WebGPU, which most small generators are as quick without.
        name: what the page is called; what the generator was trained on by default.
        licence: who may use it for what.

    Raises:
        InputError: there is no such generator, the page is not built, or the folder is somebody else's or cannot be written.
        NotEqual: the exported generator draws other pictures, in full precision too.
    """
    page = built_page()
    folder = Path(out)
    before = _listed(folder)
    generator = load_trained(source, at)
    place = home(Path(source))
    run = RunDir.open(place) if place else None
    with TemporaryDirectory() as scratch:
        exported, why_full = _export(generator, Path(scratch) / MODEL, half, licence)
        own = Path(scratch) / _folder_name(exported.path)
        own.mkdir()
        exported = replace(exported, path=exported.path.rename(own / MODEL))
        samples = _under(own.name, sample_files(generator, own, SAMPLE_COUNT))
        story = story_files(run, own, generator) if run else None
        if story:
            story["grids"] = _under(own.name, story["grids"])
        document = page_document(
            generator, exported, folder=own.parent, samples=samples, run=run, story=story, name=name, licence=licence
        )
        files = {**_page_files(page, webgpu), **_all_files(own, own.name)}
    if not webgpu:
        document["webgpu"] = False
    files[HOME] = _json({"home": "site", "document": DOCUMENT})
    files[DOCUMENT] = _json(document)
    files[INDEX] = _index(files[INDEX].decode("utf-8"), document).encode()
    _check_free(folder, files, before)
    _write(folder, files, before)
    sizes = {file: len(content) for file, content in sorted(files.items())}
    sizes[LIST] = (folder / LIST).stat().st_size
    return Published(folder, replace(exported, path=folder / own.name / MODEL), why_full, sizes)


def _under(folder: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Things with addresses, as they are seen from a folder above."""
    return [{**thing, "url": f"{folder}/{thing['url']}"} for thing in found]


def _export(generator: TrainedGenerator, path: Path, half: bool | None, licence: str | None) -> tuple[Exported, str]:
    """The generator as ONNX, in half precision where that may be; and why it is not, where it was tried."""
    why = ""
    if half is not False:
        try:
            return export_onnx(generator, path, half=True, licence=licence), ""
        except (NotEqual, InputError) as error:
            too_large = str(error).startswith("--half")  # weights that float16 cannot hold
            if half or not (too_large or isinstance(error, NotEqual)):
                raise
            why = str(error).removeprefix("--half: ").partition(": nothing is written")[0].partition("; export")[0]
    return export_onnx(generator, path, licence=licence), why


def _folder_name(model: Path) -> str:
    return f"generator-{hashlib.sha256(model.read_bytes()).hexdigest()[:12]}"


def _page_files(page: Path, webgpu: bool) -> dict[str, bytes]:
    """The built page, without what only the studio needs, and what only WebGPU does where it is not wanted."""
    found = {name: content for name, content in _all_files(page, "").items() if not name.startswith(OTHERS)}
    return {name: content for name, content in found.items() if webgpu or not _is_gpus(name)}


def _is_gpus(name: str) -> bool:
    return name.startswith(RUNTIME) and GPU in name


def _all_files(folder: Path, prefix: str) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(PurePosixPath(prefix, path.relative_to(folder).as_posix()))] = path.read_bytes()
    return found


def _index(page: str, document: dict[str, Any]) -> str:
    """The page with the generator's name in its head, for search engines, messengers and tabs."""
    width, height = document["width"], document["height"]
    said = f"Pictures that nobody drew, {width} x {height}, made in your browser by a generator of {document['name']}."
    title = f"<title>{html.escape(document['name'])}</title>"
    meta = f'<meta name="description" content="{html.escape(said, quote=True)}">'
    return page.replace("<title>Limner</title>", f"{title}\n    {meta}", 1)


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _listed(folder: Path) -> list[str] | None:
    """What an earlier page in a folder consists of; ``None`` where there is none.

    Raises:
        InputError: the folder is a file, or its list is damaged.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: is a file; name a folder")
    path = folder / LIST
    return listed(path) if path.is_file() else None


def listed(path: Path) -> list[str]:
    """The names in a page's list of its files.

    Raises:
        InputError: it is damaged.
    """
    try:
        found = json.loads(path.read_bytes())
        names = found["files"]
        if found["format"] != LIST_FORMAT or not isinstance(names, list) or not all(_is_inside(name) for name in names):
            raise ValueError("not this format")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: is damaged ({printable(str(error), 200)}); publish into a new folder") from None
    return list(names)


def _is_inside(name: Any) -> bool:
    """Whether a name is that of a file in the folder itself or under it."""
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    return bool(parts) and not PurePosixPath(name).is_absolute() and ".." not in parts and "\\" not in name


def _check_free(folder: Path, files: Iterable[str], before: list[str] | None) -> None:
    """Find out whether nothing that is not ours would be overwritten.

    Raises:
        InputError: something would.
    """
    ours = set(before or ())
    for name in files:
        if name not in ours and (folder / name).exists():
            raise InputError(
                f"--out {folder}: has a {name} that no published page wrote; name a new folder, or one without it"
            )


def _write(folder: Path, files: dict[str, bytes], before: list[str] | None) -> None:
    """Write the page: what others point to first, so that whoever visits meanwhile sees the old or the new one."""
    last = (DOCUMENT, INDEX)
    # Until the list is whole, it has what was there and what is coming: another try may then go on.
    _write_list(folder, sorted({*files, *(before or ())}))
    for name in sorted(files, key=lambda name: (name in last, name)):
        write(folder / name, files[name])
    for name in set(before or ()) - set(files):
        path = folder / name
        with suppress(OSError):
            path.unlink(missing_ok=True)
        for parent in path.relative_to(folder).parents:
            with suppress(OSError):  # others' files are in it
                if parent != Path():
                    (folder / parent).rmdir()
    _write_list(folder, sorted(files))


def _write_list(folder: Path, names: list[str]) -> None:
    write(folder / LIST, _json({"format": LIST_FORMAT, "page": FORMAT, "files": names}))
