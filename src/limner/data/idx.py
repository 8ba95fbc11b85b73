"""IDX files, the format of MNIST (http://yann.lecun.com/exdb/mnist), and Fashion-MNIST by its name.

An IDX file is two zero bytes, a type code, the number of axes, each axis as a big-endian 32-bit count, then the
numbers.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import math
import os
import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.request import urlopen
from uuid import uuid4

import numpy as np
from jaxtyping import Shaped

from limner.data.arrays import UNPACKED_BYTES, ArraySource, Stack, check_labels, label_texts
from limner.data.sources import open_regular
from limner.data.store import cache_root, expanded
from limner.errors import InputError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IMAGES = re.compile(r"(images?)([-.])idx[34]", re.IGNORECASE)
_MOST_PACKED = 1100
"""Gzip makes nothing smaller than by a factor of 1032."""
_READ_ERRORS = (OSError, EOFError, zlib.error)

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
}
"""Fashion-MNIST's training files and their published MD5 sums (Xiao, Rasul and Vollgraf 2017, MIT licence).

Its test files are not used, so they need not be there either.
"""
_FASHION_URLS = (
    "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",  # the official bucket
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
_FASHION_LABELS = (  # SHA-256 of the label files' bytes when unpacked, so that the data set is known wherever it lies
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)


def open_idx(location: str | Path) -> ArraySource:
    """IDX images with the labels that belong to them.

    Args:
        location: the images' file, or a folder. Of several image files in a folder the one named ``train`` is taken.
            Labels are looked for beside it (``images-idx3`` -> ``labels-idx1``); without them the pictures have no
            classes.

    Raises:
        InputError: not IDX (the magic number is wrong), too short, or several files that may be meant.
    """
    path = Path(location).expanduser().resolve()
    images = _choose(path) if path.is_dir() else path
    shape, dtype, start = _header(images)
    if len(shape) not in (3, 4):
        raise InputError(f"data {images}: IDX with {len(shape)} axes; images have three. Give the images' file")
    parts = {"images": images}
    labels: list[str] | None = None
    classes: tuple[str, ...] | None = None
    beside = _labels_of(images)
    if beside is not None:
        parts["labels"] = beside
        its_shape, its_dtype, _ = _header(beside)
        check_labels(its_shape, its_dtype, shape, beside)
        values = _values(beside)
        labels = label_texts(values, str(beside))
        if hashlib.sha256(_packed(values)).hexdigest() in _FASHION_LABELS:
            classes = FASHION_CLASSES
            labels = [classes[int(label)] for label in labels]
    source = ArraySource(path, "idx", Stack(shape, dtype, lambda: _pixels(images)), labels, parts, classes)
    if images.suffix.lower() != ".gz":  # what is packed shows its length only when it is read
        found, expected = images.stat().st_size - start, math.prod(shape) * dtype.itemsize
        if found < expected:
            raise InputError(f"data {images}: ends after {found} of {expected} bytes of pixels; get the file again")
    return source


def _choose(folder: Path) -> Path:
    found = sorted(child for child in folder.iterdir() if _IMAGES.search(child.name) and os.path.isfile(child))
    by_name: dict[str, Path] = {}
    for child in found:  # the unpacked and the packed file, when both are there, are one
        by_name.setdefault(child.name.removesuffix(".gz"), child)
    files = list(by_name.values())
    training = [child for child in files if child.name.lower().startswith("train")]
    chosen = training if len(training) == 1 else files
    if len(chosen) != 1:
        names = ", ".join(child.name for child in files) or "none"
        raise InputError(f"data {folder}: which IDX image file (…images-idx3-ubyte) is meant? Found: {names}; name one")
    return chosen[0]


def _labels_of(images: Path) -> Path | None:
    name = _IMAGES.sub(lambda match: f"labels{match[2]}idx1", images.name)
    if name == images.name:
        return None
    plain = images.with_name(name.removesuffix(".gz"))
    for candidate in (images.with_name(name), plain, plain.with_name(f"{plain.name}.gz")):
        if os.path.isfile(candidate):
            return candidate
    return None


def _is_packed(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(2) == b"\x1f\x8b"


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if _is_packed(path) else path.open("rb")  # type: ignore[return-value]


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Shape, type, and where the numbers start."""
    try:
        with _open(path) as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 4:
                shown = "0x" + magic.hex() if magic else "missing"
                raise InputError(f"data {path}: no IDX file (its magic number is {shown}, that of images 0x00000803)")
            axes = file.read(4 * magic[3])
            if len(axes) < 4 * magic[3]:
                raise InputError(f"data {path}: ends within its header; get the file again")
    except _READ_ERRORS as error:
        raise InputError(f"data {path}: cannot be read ({error}); get the file again") from None
    shape = struct.unpack(f">{magic[3]}I", axes)
    return shape, np.dtype(_TYPES[magic[2]]), 4 + 4 * magic[3]


def _pixels(path: Path) -> Shaped[np.ndarray, "*shape"]:
    """The array; what is neither packed nor in another byte order is mapped, so that it need not fit into memory."""
    shape, dtype, start = _header(path)
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if packed or dtype.itemsize > 1 or path.stat().st_size < start + math.prod(shape) * dtype.itemsize:
        return _values(path)
    return np.memmap(path, dtype, "r", start, shape)


def _values(path: Path) -> Shaped[np.ndarray, "*shape"]:
    """The whole array: mapped, or unpacked into memory."""
    shape, dtype, start = _header(path)
    expected = math.prod(shape) * dtype.itemsize
    if expected > path.stat().st_size * _MOST_PACKED:  # before memory is asked for
        raise InputError(f"data {path}: too short for the {expected:,} bytes of numbers it announces; get it again")
    if not _is_packed(path):
        found = path.stat().st_size - start
        if found < expected:
            raise InputError(
                f"data {path}: ends after {max(0, found)} of {expected} bytes of numbers; get the file again"
            )
        return np.memmap(path, dtype, "r", start, shape) if expected else np.empty(shape, dtype)
    if expected > UNPACKED_BYTES:
        raise InputError(
            f"data {path}: {expected:,} bytes would have to be unpacked into memory; unpack it with gunzip"
        )
    try:
        with _open(path) as file:
            file.read(start)
            body = file.read(expected)
            file.read(1)  # past the end, where gzip keeps its checksum and compares it
    except _READ_ERRORS as error:
        raise InputError(f"data {path}: damaged ({error}); get the file again") from None
    if len(body) < expected:
        raise InputError(f"data {path}: ends after {len(body)} of {expected} bytes of numbers; get the file again")
    return np.frombuffer(body, dtype).reshape(shape)


def _packed(labels: Shaped[np.ndarray, " n"]) -> bytes:
    return struct.pack(">BBBBI", 0, 0, 8, 1, len(labels)) + labels.astype(np.uint8).tobytes()


def open_fashion_mnist(location: str | Path = "fashion-mnist", *, cache_dir: Path | None = None) -> ArraySource:
    """Fashion-MNIST's 60,000 training pictures: found, or downloaded once.

    Looked for in ``$LIMNER_DATA``, in ``$LIMNER_DATA/fashion-mnist`` and in the cache; else downloaded into the cache.
    The two training files are all that is wanted, and their MD5 sums are checked when they are found.

    Raises:
        InputError: not found, and the download fails.
    """
    folders = []
    if os.environ.get("LIMNER_DATA"):
        data = expanded(os.environ["LIMNER_DATA"], "LIMNER_DATA")
        folders = [data, data / "fashion-mnist"]
    downloads = cache_root(cache_dir) / "downloads" / "fashion-mnist"
    folder = next((folder for folder in (*folders, downloads) if _has_fashion(folder)), None)
    if folder is None:
        wrong = [str(folder / name) for folder in folders for name in FASHION_FILES if _md5(folder / name)]
        wrong = [path for path in wrong if _md5(Path(path)) != FASHION_FILES[Path(path).name]]
        for name, md5 in FASHION_FILES.items():
            _download(name, md5, downloads, f"; {wrong[0]} is there, but its MD5 sum is wrong" if wrong else "")
        folder = downloads
    source = open_idx(folder / "train-images-idx3-ubyte.gz")
    source.location = source.title = source.kind = "fashion-mnist"
    return source


def _has_fashion(folder: Path) -> bool:
    return all(_md5(folder / name) == md5 for name, md5 in FASHION_FILES.items())


def _md5(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return ""


def _download(name: str, md5: str, folder: Path, note: str) -> None:
    """One file into ``folder``: whole and right, or not at all. ``note`` is for the message when it fails."""
    path = folder / name
    if _md5(path) == md5:
        return
    part = folder / f"{name}.{uuid4().hex}.part"
    problem = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for url in _FASHION_URLS:
            try:
                with urlopen(url + name, timeout=30) as answer:
                    content = answer.read()
            except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
                problem = str(error)
                continue
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                problem = "the file's MD5 sum is wrong"
                continue
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            return
    except OSError as error:
        problem = str(error)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    raise InputError(
        f"data fashion-mnist: {name} cannot be downloaded ({problem}){note}; put {' and '.join(FASHION_FILES)} into "
        "a folder and set LIMNER_DATA to it"
    )
