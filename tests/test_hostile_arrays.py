"""Arrays, lists and recipes that lie: nothing is unpickled, nothing is opened elsewhere, nothing hangs or fills the memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import signal
import struct
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limner.data import hdf5
from limner.data.idx import open_idx
from limner.data.sources import Unreadable, open_source
from limner.errors import InputError, LimnerError
from limner.recipe import Recipe, RecipeError
from limner.recipe.text import field_names, nearest, shown
from sources_support import IMAGES, LABELS, idx_bytes, png, write

FIXTURE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Canary:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(path: Path, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def header(shape: str, kind: str = "'|u1'", order: str = "False") -> bytes:
    text = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("where", ["npy", "npz", "npz labels", "raw"])
def test_python_objects_are_never_made(where: str, tmp_path: Path) -> None:
    """The canary sings when anybody unpickles it, and nobody does."""
    canary = tmp_path / "sang"
    objects = npy(np.array([Canary(canary)] * 6, dtype=object))
    path = tmp_path / f"x.{'npz' if 'npz' in where else 'npy'}"
    if where == "npy":
        path.write_bytes(objects)
    elif where == "raw":
        path.write_bytes(header("(6, 12, 10)", "'|O'") + pickle.dumps(Canary(canary)))
    elif where == "npz":
        npz(path, images=header("(6, 12, 10)", "'|O'") + pickle.dumps(Canary(canary)))
    else:
        npz(path, images=npy(IMAGES), labels=objects)
    with pytest.raises(InputError, match="object") as caught:
        source = open_source(path)
        source.read(0)
    assert "\n" not in str(caught.value) and not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))  # it can
    assert canary.exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_is_read_in_place_or_unpacked(method: int, order: str, tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", method, images=npy(np.asarray(IMAGES, order=order)), labels=npy(LABELS))
    source = open_source(path)
    assert [entry.label for entry in source.entries] == [str(label) for label in LABELS]
    found = np.stack([np.asarray(source.read(index)) for index in range(6)])
    assert np.array_equal(found[..., 0], IMAGES)
    mapped = isinstance(source._array, np.memmap)  # type: ignore[attr-defined]
    assert mapped is (method == zipfile.ZIP_STORED)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header("(6, 12, 11)") + bytes(720), "announces.*720|792|bytes are there"),
        (header("(10**9, 12, 10)") + bytes(720), "cannot be read|not a .npz"),
        (header("(-6, 12, -10)") + bytes(720), "shape|announces"),
        (header("(6, 2147483648, 2147483648)") + bytes(720), "are announced"),
        (header("(9999999999999, 12, 10)") + bytes(720), "are announced"),
        (header("(6, 12, 10)", "'<U99999999'") + bytes(720), "holds no pictures|are announced"),
        (header("(6, 12, 10)", "'<c16'") + bytes(720), "holds no pictures"),
        (header("(6, 12, 10)", "[('a', '<f4')]") + bytes(720), "holds no pictures"),
        (header("(" * 3000), "not a .npz"),
    ],
)
def test_headers_that_lie_are_refused_before_memory_is_asked_for(content: bytes, message: str, tmp_path: Path) -> None:
    for name, path in (("npz", npz(tmp_path / "x.npz", images=content)), ("npy", tmp_path / "x.npy")):
        if name == "npy":
            path.write_bytes(content)
        began = time.process_time()
        with pytest.raises(InputError, match=message if name == "npz" else ".") as caught:
            open_source(path).read(0)
        assert time.process_time() - began < 2 and len(str(caught.value)) < 600


def test_what_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    size = 3000 * 600 * 300  # 540 MB
    path = tmp_path / "train-images-idx3-ubyte.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(bytes([0, 0, 8, 3]) + struct.pack(">III", 3000, 600, 300))
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    with pytest.raises(
        InputError, match="540,000,000 bytes would have to be unpacked into memory; unpack it with gunzip"
    ):
        open_idx(path).read(0)


def test_unpacked_idx_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "images-idx3"
    path.write_bytes(idx_bytes(IMAGES))
    source = open_idx(path)
    assert np.array_equal(source.read(3)[..., 0], IMAGES[3]) and isinstance(source._array, np.memmap)


@FIXTURE
@given(
    axes=st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 20), min_size=1, max_size=5),
    kind=st.integers(0, 15),
    body=st.binary(max_size=900),
)
def test_any_idx_header_is_read_or_refused_in_one_line(axes: list[int], kind: int, body: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, kind, len(axes)]) + struct.pack(f">{len(axes)}I", *axes) + body)
    try:
        source = open_source(path)
        assert source.read(0).shape[:2] == tuple(axes[1:3])
    except LimnerError as error:
        assert "\n" not in str(error)


# HDF5


@pytest.fixture
def h5py() -> Any:
    return pytest.importorskip("h5py")


def test_numbers_that_lie_in_other_files_are_not_opened(h5py: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(range(240)) * 3)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["images"] = IMAGES
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("images", (6, 12, 10), "u1", external=[(str(secret), 0, 720)])
    layout = h5py.VirtualLayout((6, 12, 10), "u1")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "images", (6, 12, 10))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["images"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "images")
    for name in ("external", "virtual"):
        with h5py.File(tmp_path / f"{name}.h5") as file:
            assert file["images"].shape == (6, 12, 10)  # the library itself would
        with pytest.raises(InputError, match="in other files, which are never opened"):
            open_source(tmp_path / f"{name}.h5")
    with pytest.raises(InputError, match="which array holds the pictures"):
        open_source(tmp_path / "link.h5")


def test_petabytes_are_refused_and_labels_are_bounded(h5py: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file.create_dataset("images", (10**6, 10**6, 10**6), "f8", chunks=(1, 1000, 1000), compression="gzip")
    with pytest.raises(InputError, match="are announced"):
        open_source(tmp_path / "large.h5")
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["images"] = IMAGES
        file.create_dataset("labels", (10**9,), "f8", chunks=(1000,), compression="gzip")
    with pytest.raises(InputError, match="1,000,000,000 labels are more than are read"):
        open_source(tmp_path / "labels.h5")


@pytest.fixture
def stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An HDF5 file, read by a process that hangs on one picture and breaks down on another."""
    child = tmp_path / "child.py"
    source = Path(hdf5._CHILD).read_text()
    trap = (
        "        if question['start'] <= 2 < question['stop']:\n            import time; time.sleep(3600)\n"
        "        if question['start'] <= 4 < question['stop']:\n            os.abort()\n"
    )
    child.write_text(source.replace('    if "read" in question:\n', f'    if "read" in question:\n{trap}'))
    assert trap in child.read_text()
    monkeypatch.setattr(hdf5, "_CHILD", child)
    return tmp_path / "x.h5"


def test_a_library_that_hangs_or_dies_costs_its_pictures_only(
    h5py: Any, stubborn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(stubborn, "w") as file:
        file["images"] = IMAGES
    source = open_source(stubborn)
    monkeypatch.setattr(hdf5, "PATIENCE", 1.0)
    assert np.array_equal(source.read(0)[..., 0], IMAGES[0])
    with pytest.raises(Unreadable, match="does not answer within 1 s"):
        source.read(2)
    assert np.array_equal(source.read(3)[..., 0], IMAGES[3])
    with pytest.raises(Unreadable, match="breaks down"):
        source.read(4)
    assert np.array_equal(source.read(5)[..., 0], IMAGES[5])
    assert source.block(0, 6) is None  # the last of its three lives
    with pytest.raises(Unreadable, match="too often"):
        source.read(0)


def test_nothing_is_left_of_the_other_process(h5py: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = IMAGES
    source = open_source(tmp_path / "x.h5")
    process = source._array._reader._process  # type: ignore[attr-defined]
    assert process.poll() is None
    del source
    for _ in range(100):
        if process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.returncode == -signal.SIGKILL


def test_threads_share_the_other_process(h5py: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = IMAGES
    source = open_source(tmp_path / "x.h5")
    found: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        found[index] = np.asarray(source.read(index % 6))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(np.array_equal(found[index][..., 0], IMAGES[index % 6]) for index in range(18))


# Lists and recipes


@pytest.fixture
def listed(tmp_path: Path) -> Iterator[Path]:
    write(tmp_path / "data", {"a.png": png(1), "b.png": png(2)})
    yield tmp_path / "list.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 200_000, "no JSON"),
        (
            b'{"format": "limner list 1", "location": "data", "names": [' + b"[]," * 3_100_000 + b"[]]}",
            "values are too many",
        ),
        (b'{"format": ' + b"9" * 10_000 + b"}", "no JSON"),
        (b'{"format": "limner list 1", "location": "data", "names": ["\\u001b]0;x\\u0007\\ud800"]}', "named there"),
        (b'{"format": "limner list 1", "location": "data", "names": ["' + b"x" * 10**6 + b'"]}', "named there"),
        (b'{"format": "limner list 1", "location": "list.json", "names": ["a"]}', "is a list again"),
        (b'{"format": "limner list 1", "location": "/dev/zero", "names": ["a"]}', "no such file or folder"),
        (b'{"format": "limner list 1", "location": "\\u0000", "names": ["a"]}', "location ="),
        (b'{"format": "limner list 1", "location": "data", "names": ["../data/a.png"]}', "named there"),
    ],
)
def test_lists_that_are_hard_to_read(content: bytes, message: str, listed: Path) -> None:
    listed.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_source(listed)
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()


HARD = {
    "deep lists": "a = " + "[" * 100_000 + "]" * 100_000,
    "deep tables": "[" + ".".join(["a"] * 50_000) + "]\nb = 1",
    "deep keys": ".".join(["a"] * 20_000) + " = 1",
    "a long number": "format = " + "9" * 100_000,
    "a long name": "x" * 200_000 + " = 1",
    "a long field": "[image]\n" + "widt" * 40_000 + " = 1",
    "many fields": "[image]\n" + "".join(f"x{number} = 1\n" for number in range(15_000)),
    "commands": '[about]\nsummary = 5\n"\\u001b[2J" = "\\u001b]0;x"',
    "too large": "# " + "x" * 300_000,
}


@pytest.mark.parametrize("name", HARD)
def test_recipes_that_are_hard_to_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HARD[name])
    began = time.process_time()
    with pytest.raises(InputError) as caught:
        Recipe.load(path)
    lines = str(caught.value).split("\n")
    assert time.process_time() - began < 5 and len(lines) <= 26
    assert all(line.isprintable() and len(line) < 1200 for line in lines)


_scalars = st.integers(-(2**70), 2**70) | st.floats() | st.booleans() | st.text(max_size=20) | st.none()
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@FIXTURE
@given(changes=st.dictionaries(st.sampled_from(field_names(Recipe)) | st.text(max_size=9), _values, max_size=4))
def test_any_value_in_any_field_is_taken_or_named(changes: dict[str, Any]) -> None:
    try:
        Recipe.load("quick", changes)
    except RecipeError as error:
        assert error.problems and all(problem.isprintable() for problem in error.problems)


def test_values_are_shown_in_short() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "a list" and shown(10**5000) == "a int" and shown("x" * 99) == "'" + "x" * 56 + "..."
    assert nearest("x" * 10**6, ["width"]) == "" and nearest("widht", ["width"]) == "; did you mean width?"
    while deep:
        deep = deep[0]  # let go of it level by level


def test_json_of_a_recipe_says_the_pixel_limit() -> None:
    assert json.loads(json.dumps(Recipe.load("quick").values()))["image"]["pixel_limit"] == 100_000_000
    with pytest.raises(RecipeError, match=r"image\.pixel_limit = 5: must be a whole number from 64"):
        Recipe.load("quick", {"image.pixel_limit": 5})
    assert sys.version_info >= (3, 11) and os.name
