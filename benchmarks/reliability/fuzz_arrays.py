"""Hostile arrays: .npy, .npz, IDX and HDF5 whose headers lie; Python objects, which are never read."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_images import EDGES, damaged, looked_at
from fuzz_worker import Case, Make

SHAPES = (
    "(6, 12, 10)",
    "(6, 12, 10, 3)",
    "(6, 3, 12, 10)",
    "()",
    "(6,)",
    "(0, 12, 10)",
    "(-6, 12, 10)",
    "(6, -12, -10)",
    "(10**3, 12, 10)",
    "(1000000000000, 12, 10)",
    "(6, 1000000000, 1000000000)",
    "(4294967296, 4294967296, 4294967296)",
    "(True, 12, 10)",
    "(6, 12, 10, 1, 1)",
    "(720,)",
    "(6, 120, 1)",
    "(1, 720, 1)",
    "(6.0, 12, 10)",
    "'x'",
    "None",
    "(1,) * 99",
    "(" + "1, " * 70 + ")",
)
TYPES = (
    "'|u1'",
    "'|b1'",
    "'<u2'",
    "'>f4'",
    "'<f8'",
    "'|O'",
    "'<U1000000'",
    "'|S2147483647'",
    "'<M8[ns]'",
    "'<c16'",
    "'|V8'",
    "'<f2'",
    "[('a', '<f4'), ('b', '|O')]",
    "[('a', '<u1', (1000000, 1000000))]",
    "'<i8'",
    "'x'",
    "5",
    "{'names': ['a']}",
    "'<f16'",
)


class Canary:
    """What leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.path}'",)


def npy_header(shape: str, kind: str, order: str = "False", version: int = 1, length: int | None = None) -> bytes:
    """A .npy header that says anything."""
    text = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text = text.ljust((len(text) + 74) // 64 * 64 - 11) + b"\n"
    form = "<H" if version == 1 else "<I"
    counted = min(len(text), 65535) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(form, counted) + text


def npy(chance: random.Random, folder: Path) -> bytes:
    """A .npy file that lies in its header, was damaged, or holds objects."""
    kind = chance.randrange(10)
    if kind == 0:
        file = io.BytesIO()
        np.save(file, np.array([Canary(folder / "cwd/canary")] * 6, dtype=object), allow_pickle=True)
        return file.getvalue()
    if kind == 1:
        return npy_header("(6, 12, 10)", "'|O'") + pickle.dumps(Canary(folder / "cwd/canary"))
    if kind == 2:
        deep = "(" * chance.choice((50, 3000)) + ")" * chance.choice((50, 3000))
        return npy_header(deep, "'|u1'") + bytes(720)
    if kind == 3:
        return npy_header(
            "(6, 12, 10)", "'|u1'", version=chance.choice((1, 2, 3, 4)), length=chance.choice(EDGES) & 0xFFFF
        ) + bytes(720)
    if kind < 7:
        order = chance.choice(("False", "True", "0", "__import__('os').system('touch canary')"))
        return npy_header(chance.choice(SHAPES), chance.choice(TYPES), order) + chance.randbytes(
            chance.choice((0, 100, 720, 5000))
        )
    file = io.BytesIO()
    values = np.random.default_rng(chance.randrange(99)).integers(0, 256, (6, 12, 10))
    np.save(file, values.astype(chance.choice(("u1", "f4", "i2", ">u2", "?"))))
    return damaged(chance, file.getvalue())


def idx(chance: random.Random) -> bytes:
    """An IDX file, its header changed."""
    body = chance.randbytes(720)
    if chance.random() < 0.5:
        axes = [chance.choice((6, 12, 10, *EDGES)) for _ in range(chance.choice((1, 2, 3, 3, 3, 4, 255)))]
        kind = chance.choice((8, 8, 9, 0x0B, 0x0C, 0x0D, 0x0E, 7, 255))
        return bytes([0, 0, kind, min(len(axes), 255)]) + struct.pack(f">{len(axes)}I", *axes) + body
    return damaged(chance, bytes([0, 0, 8, 3]) + struct.pack(">III", 6, 12, 10) + body)


def mutated(chance: random.Random, folder: Path) -> Case:
    """One of the three plain kinds."""
    kind = chance.choice(("npy", "npz", "npz", "idx", "idx.gz"))
    if kind == "npy":
        path = folder / "data.npy"
        path.write_bytes(npy(chance, folder))
    elif kind == "npz":
        file = io.BytesIO()
        method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("images.npy", npy(chance, folder))
            if chance.random() < 0.6:
                archive.writestr("labels.npy", npy(chance, folder))
            if chance.random() < 0.1:
                archive.writestr(chance.choice(("../x.npy", "\x1b[2J.npy", "images.npy", ".npy", "a.txt")), b"x")
            if chance.random() < 0.05:
                archive.writestr("x_train.npy", npy_header("(1000, 1000, 700)", "'|u1'") + bytes(700_000_000))
        content = file.getvalue()
        path = folder / "data.npz"
        path.write_bytes(damaged(chance, content) if chance.random() < 0.5 and len(content) < 1 << 20 else content)
    else:
        ending = ".gz" if kind == "idx.gz" else ""
        path = folder / f"train-images-idx3-ubyte{ending}"
        content, labels = idx(chance), bytes([0, 0, 8, 1]) + struct.pack(">I", chance.choice((6, 5, 2**31))) + bytes(6)
        if ending and chance.random() < 0.1:
            content = bytes([0, 0, 8, 3]) + struct.pack(">III", 3000, 1000, 1000) + bytes(200 << 20)
        content = gzip.compress(content, 1) if ending else content
        path.write_bytes(
            damaged(chance, content) if ending and chance.random() < 0.6 and len(content) < 1 << 20 else content
        )
        if chance.random() < 0.5:
            (folder / "train-labels-idx1-ubyte").write_bytes(
                damaged(chance, labels) if chance.random() < 0.7 else labels
            )
    return watched(looked_at(chance, path, f"a lying {kind}"), folder)


def watched(case: Case, folder: Path) -> Case:
    """A case in whose folder no canary may appear; the audit tells of what would write it."""
    case.what += f" (canary {folder / 'cwd/canary'})"
    return case


# HDF5


def hdf5_file(chance: random.Random, folder: Path) -> bytes:
    """A good HDF5 file: pictures, packed or not, with labels of numbers or texts, and parts that lie elsewhere."""
    import h5py

    path = folder / "made.h5"
    values = np.random.default_rng(chance.randrange(99)).integers(0, 256, (12, 12, 10), dtype=np.uint8)
    kind = chance.randrange(8)
    with h5py.File(path, "w", libver=chance.choice(("earliest", "latest"))) as file:
        place = file.create_group("a/b") if kind == 1 else file
        if kind == 2:
            outside = [(str(folder / "secret.bin"), 0, 1440)]
            (folder / "secret.bin").write_bytes(bytes(1440))
            file.create_dataset("images", (12, 12, 10), "u1", external=outside)
        elif kind == 3:
            layout = h5py.VirtualLayout((12, 12, 10), "u1")
            layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "images", (12, 12, 10))
            file.create_virtual_dataset("images", layout)
        elif kind == 4:
            file["images"] = h5py.ExternalLink(str(folder / "secret.h5"), "images")
            file["loop"] = h5py.SoftLink("/")
            file["self"] = file["/"]
        elif kind == 5:
            file.create_dataset("images", (10**9, 10**6, 10**6), "f8", chunks=(1, 1000, 1000), compression="gzip")
        elif kind == 6:
            file.create_dataset(
                "images", data=values, chunks=(2, 12, 10), compression="gzip", shuffle=True, fletcher32=True
            )
        else:
            place.create_dataset("images", data=values)
        if chance.random() < 0.6:
            texts = [f"class {number % 3}" for number in range(12)]
            place.create_dataset("labels", data=chance.choice((texts, [number % 3 for number in range(12)])))
    return path.read_bytes()


def hdf5(chance: random.Random, folder: Path) -> Case:
    """An HDF5 file that refers to others, announces petabytes, or is damaged."""
    content = hdf5_file(chance, folder)
    path = folder / "data.h5"
    if chance.random() < 0.75:
        content = damaged(chance, content)
        if chance.random() < 0.5:  # labels of texts lie in a heap, in which the library can go round in circles
            data = bytearray(content)
            place = data.find(b"GCOL")
            if place > 0:
                data[place + 8 + chance.randrange(60)] = chance.randrange(256)
            content = bytes(data)
    path.write_bytes(content)
    return looked_at(chance, path, "a hostile HDF5")


GROUPS: dict[str, Make] = {"arrays": mutated, "hdf5": hdf5}
