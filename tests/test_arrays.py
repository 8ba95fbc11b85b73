"""Collections in one file: IDX, npy, npz and HDF5, damaged and lying ones among them."""

from __future__ import annotations

import gzip
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cache_support import Settings
from limner.data import prepare
from limner.data.sources import Unreadable, open_source
from limner.errors import InputError
from sources_support import IMAGES, LABELS, idx_bytes, read_all, write, zipped


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("by_folder", [False, True])
def test_idx(packed: bool, by_folder: bool, tmp_path: Path) -> None:
    ending, pack = (".gz", gzip.compress) if packed else ("", bytes)
    write(
        tmp_path,
        {
            f"train-images-idx3-ubyte{ending}": pack(idx_bytes(IMAGES)),
            f"train-labels-idx1-ubyte{ending}": pack(idx_bytes(LABELS)),
            f"t10k-images-idx3-ubyte{ending}": pack(idx_bytes(IMAGES[:2])),
            f"t10k-labels-idx1-ubyte{ending}": pack(idx_bytes(LABELS[:2])),
            "LICENSE": b"MIT",
        },
    )
    location = tmp_path if by_folder else tmp_path / f"train-images-idx3-ubyte{ending}"
    source = open_source(location)
    assert source.kind == "idx"
    assert [entry.label for entry in source.entries] == ["0", "1", "2", "0", "1", "2"]
    assert (np.stack(read_all(location))[..., 0] == IMAGES).all()
    block = source.block(1, 4)
    assert block is not None and (block[..., 0] == IMAGES[1:4]).all()


def test_idx_of_other_types_and_without_labels(tmp_path: Path) -> None:
    floats = (IMAGES / 255).astype(">f4")
    (tmp_path / "some-images-idx3-ubyte").write_bytes(idx_bytes(floats, 0x0D))
    assert (np.stack(read_all(tmp_path))[..., 0] == IMAGES).all()
    assert open_source(tmp_path).entries[3].label is None


GOOD = idx_bytes(IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x08\x01" + GOOD[4:], "1 axes|axes"),
        (b"\x00\x01\x08\x03" + GOOD[4:], "0x00010803"),
        (b"\x00\x00\x07\x03" + GOOD[4:], "0x00000703"),
        (GOOD[:10], "within its header"),
        (GOOD[:-1], "719 of 720"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "are announced"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_idx(content: bytes, message: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / f"x-images-idx3-ubyte{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=message):
        open_source(path).read(0)
    if not packed:  # what can be seen without unpacking is seen at once
        with pytest.raises(InputError, match=message):
            open_source(path)


def test_idx_cut_inside_its_gzip_and_labels_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "x-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(GOOD)[:-40])
    with pytest.raises(InputError, match="damaged"):
        open_source(path).read(0)
    content = bytearray(gzip.compress(GOOD))  # random numbers: stored as they are
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        open_source(path).read(0)
    path.write_bytes(gzip.compress(GOOD))
    (tmp_path / "x-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS[:5]))
    with pytest.raises(InputError, match="5 labels for 6 images"):
        open_source(path)


def test_labels_are_counted_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes may unpack to millions of them."""
    images = np.zeros((4, 8, 8), np.uint8)
    np.savez_compressed(tmp_path / "many.npz", images=images, labels=np.zeros(3_000_000, np.int64))
    np.savez_compressed(tmp_path / "long.npz", images=images, labels=np.zeros(4, "U100000"))
    np.savez_compressed(tmp_path / "wide.npz", images=images, labels=np.zeros((4, 1000), np.uint8))
    (tmp_path / "x-images-idx3-ubyte").write_bytes(GOOD)
    (tmp_path / "x-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(np.zeros(3_000_000, np.uint8))))
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 30_000
    for module in ("arrays", "idx"):
        monkeypatch.setattr(f"limner.data.{module}.label_texts", lambda *_: pytest.fail("unpacked"))
    for name, words in (
        ("many.npz", "3000000 labels for 4 images"),
        ("long.npz", r"labels of shape \[4\] of <U100000"),
        ("wide.npz", r"labels of shape \[4, 1000\]"),
        ("x-images-idx3-ubyte", "3000000 labels for 6 images"),
    ):
        with pytest.raises(InputError, match=words):
            open_source(tmp_path / name)


@pytest.mark.parametrize(
    "values",
    [
        IMAGES,
        IMAGES[..., None],
        IMAGES.astype(np.int64),
        IMAGES.astype(np.uint16) * 257,
        IMAGES.astype(np.float32) / 255,
        (IMAGES / 127.5 - 1).astype(np.float64),
        IMAGES.astype(np.float32),
        np.asfortranarray(IMAGES),
    ],
    ids=["uint8", "nhwc", "int64", "uint16", "unit", "signed", "float", "fortran"],
)
@pytest.mark.parametrize("kind", ["npy", "npz", "hdf5"])
def test_arrays_of_any_type(values: np.ndarray, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"set.{kind}"
    if kind == "npy":
        np.save(path, values)
    elif kind == "npz":
        np.savez_compressed(path, images=values, labels=LABELS)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["images"], file["labels"] = values, LABELS
    assert open_source(path).title == "set"
    assert (np.stack(read_all(path))[..., 0] == IMAGES).all()
    assert open_source(path).entries[1].label == (None if kind == "npy" else "1")


def test_channels_first_and_last(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 11, 3), dtype=np.uint8)
    np.save(tmp_path / "last.npy", pixels)
    np.save(tmp_path / "first.npy", pixels.transpose(0, 3, 1, 2))
    assert (np.stack(read_all(tmp_path / "last.npy")) == pixels).all()
    assert (np.stack(read_all(tmp_path / "first.npy")) == pixels).all()


def test_booleans_are_black_and_white(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES > 127)
    assert set(np.unique(read_all(tmp_path / "x.npy"))) == {0, 255}


def test_a_picture_with_numbers_that_are_not_finite_is_named(tmp_path: Path) -> None:
    values = (IMAGES / 255).astype(np.float32)
    values[2, 0, 0] = np.nan
    np.save(tmp_path / "x.npy", values)
    source = open_source(tmp_path / "x.npy")
    assert source.block(0, 6) is None and source.block(3, 6) is not None
    with pytest.raises(Unreadable, match="finite"):
        source.read(2)
    assert (np.asarray(source.read(3))[..., 0] == IMAGES[3]).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((6, 784), np.uint8), "shape"),
        (np.zeros((28, 28, 3), np.uint8), "shape"),
        (np.zeros((2, 5, 28, 28), np.uint8), "shape"),
        (np.zeros((2, 28, 28), complex), "complex"),
        (np.full((2, 28, 28), 1000.0), "1000"),
        (np.full((2, 28, 28), -5), "-5"),
        (np.array([b"x", {}], dtype=object), "bject"),
    ],
)
def test_arrays_that_hold_no_pictures(values: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", images=values)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(InputError, match=message if name == "x.npy" else "."):
            open_source(tmp_path / name).read(0)


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path(os.environ["LIMNER_TRAP"]),))


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "trap"
    monkeypatch.setenv("LIMNER_TRAP", str(trap))
    array = np.array([Payload()] * 2, dtype=object)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=array)
    (tmp_path / "y.npy").write_bytes(pickle.dumps(Payload()))
    for name in ("x.npy", "x.npz", "y.npy"):
        with pytest.raises(InputError):
            open_source(tmp_path / name).read(0)
    assert not trap.exists()
    np.load(tmp_path / "x.npy", allow_pickle=True)
    assert trap.exists()  # the trap works


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"x_train": IMAGES, "y_train": LABELS[:, None], "x_test": IMAGES[:1], "y_test": LABELS[:1]}, True),
        ({"pixels": IMAGES, "labels": np.array(list("abcabc"))}, True),
        ({"first": IMAGES, "second": IMAGES}, False),
        ({"labels": LABELS}, False),
    ],
)
def test_names_inside_npz(arrays: dict[str, np.ndarray], found: bool, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    if found:
        source = open_source(tmp_path / "x.npz")
        assert len(source.entries) == 6
        assert source.entries[1].label in ("1", "b")
    else:
        with pytest.raises(InputError, match="'images'"):
            open_source(tmp_path / "x.npz")


def test_hdf5_groups_and_texts(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["train/images"] = IMAGES
        file["train/labels"] = ["cat", "dog"] * 3
    assert [entry.label for entry in open_source(tmp_path / "x.h5").entries][:2] == ["cat", "dog"]


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_damaged_chunk_of_hdf5_costs_its_own_pictures_only(kind: type, tmp_path: Path) -> None:
    path = chunked(tmp_path / "x.h5", (IMAGES / 255 if kind is np.float32 else IMAGES).astype(kind), chunk=2)
    source = open_source(path)
    assert source.block(0, 6) is None and source.block(2, 4) is None
    block = source.block(4, 6)
    assert block is not None and (block[..., 0] == IMAGES[4:]).all()
    with pytest.raises(Unreadable, match="damaged"):
        source.read(3)
    assert (np.asarray(source.read(0))[..., 0] == IMAGES[0]).all()


def chunked(path: Path, values: np.ndarray, chunk: int) -> Path:
    """An HDF5 file whose second packed chunk is damaged."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", data=values, chunks=(chunk, *values.shape[1:]), compression="gzip")
        place = images.id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 40] = b"\xff" * 40
    path.write_bytes(content)
    return path


def test_a_damaged_chunk_never_ends_a_run(tmp_path: Path, kept: Path) -> None:
    pixels = np.repeat(np.arange(600, dtype=np.uint8)[:, None], 16 * 16, 1).reshape(600, 16, 16)
    for image in (Settings(), Settings(16, 16, 1), Settings(8, 8, 1)):
        collection = prepare(chunked(tmp_path / "x.h5", pixels, chunk=300), image, cache_dir=kept)
        assert collection.names == [str(index) for index in range(300)]
        assert collection.summary["skipped_count"] == 300 and collection.summary["skipped"][0]["name"] == "300"


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x-images-idx3-ubyte"])
def test_no_pictures_at_all(name: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES[:0])
    np.savez(tmp_path / "x.npz", images=IMAGES[:0])
    (tmp_path / "x-images-idx3-ubyte").write_bytes(idx_bytes(IMAGES[:0]))
    with pytest.raises(InputError, match="holds no pictures"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("place", [10, 20, 60, 127])
def test_a_damaged_header_of_npy_is_one_clear_line(place: int, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, IMAGES)
    content = bytearray(path.read_bytes())
    content[place] = 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npy") as caught:
        open_source(path).read(0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["images", "labels"])
def test_a_damaged_member_of_npz_is_one_clear_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=IMAGES, labels=np.arange(6))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
    place = info.header_offset + 30 + len(f"{name}.npy") + info.compress_size - 20
    content[place : place + 20] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npz: .*be read"):
        open_source(path).read(0)


@pytest.mark.parametrize("name", ["x.zip", "x.npy"])
def test_a_file_that_vanishes_is_one_clear_line(name: str, tmp_path: Path) -> None:
    zipped(tmp_path / "x.zip", {"a.png": b""})
    np.save(tmp_path / "x.npy", IMAGES)
    source = open_source(tmp_path / name)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match="any more"):
        source.content_hash()
