"""The run that hostile ones are made from, and hostile generator files: headers that lie, and huge networks."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from fuzz_images import EDGES, damaged
from fuzz_worker import Case, Make
from PIL import Image

BASE: dict[str, Path] = {}
"""The run that all are made from, and its pictures."""
SMALL = {
    "network.latent": 6,
    "generator.width": 2,
    "discriminator.width": 2,
    "training.batch_size": 4,
    "training.device": "cpu",
    "training.precision": "float32",
    "snapshots.log_steps": 1,
    "snapshots.every_images": 8,
    "snapshots.grid": 4,
    "snapshots.checkpoint_minutes": 1e-9,
    "evaluation.share": 0,
}


def prepare(root: Path, base: Path | None = None) -> None:
    """The run that all are made from: trained, unless there is one."""
    if base is not None:
        shutil.copytree(base, root / "base/run")
        BASE.update(run=root / "base/run", sentinel=root / "sentinel")
        return
    pictures = root / "pictures"
    pictures.mkdir()
    for number in range(12):
        Image.new("L", (8, 8), 20 * number).save(pictures / f"p{number}.png")
    flags = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    command = [
        "train",
        str(pictures),
        "--recipe",
        "quick",
        "--images",
        "16",
        "--runs",
        str(root / "base"),
        "--name",
        "run",
    ]
    environment = {**os.environ, "LIMNER_CACHE": str(root / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "limner", *command, *flags], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"the base run failed: {done.stderr}")
    BASE.update(run=root / "base/run", sentinel=root / "sentinel")


def parts() -> tuple[dict[str, Any], bytes]:
    """Header and numbers of the base run's generator."""
    newest = sorted((BASE["run"] / "checkpoints").glob("0*"))[-1]
    content = (newest / "generator.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def safetensors(header: Any, body: bytes, length: int | None = None) -> bytes:
    """A file of this header; ``length`` is what it says of it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


HUGE = {
    "width 1024 of 1024 pixels": {
        "generator.width": 1024,
        "discriminator.width": 1024,
        "image.width": 1024,
        "image.height": 1024,
    },
    "a latent of 4096": {"network.latent": 4096},
    "mlp of 10^11 weights": {
        "network.family": "mlp",
        "generator.hidden": [65536] * 16,
        "discriminator.hidden": [65536] * 16,
    },
    "a huge discriminator": {"discriminator.width": 1024},
    "10,000 classes": {
        "network.conditioning": "projection",
        "network.classes": [f"c{number}" for number in range(10_000)],
    },
    "an extractor that is code": {"evaluation.extractor": "os:system"},
    "commands in classes": {
        "network.conditioning": "projection",
        "network.classes": ["\x1b[2J", "</script><script>alert(1)</script>"],
    },
}


def weights(chance: random.Random, folder: Path) -> Case:
    """A generator's file, changed."""
    from limner.recipe import Recipe

    header, body = parts()
    kind, what, content = chance.randrange(12), "damaged", b""
    tensor = chance.choice([name for name in header if name != "__metadata__"])
    match kind:
        case 0:
            content = safetensors(header, body, chance.choice((*EDGES, 2**40, 2**63, 2**64 - 1)))
            what = "a length that lies"
        case 1:
            header[tensor]["data_offsets"] = [
                chance.choice((0, -1, 2**63, 5, len(body))),
                chance.choice((0, 1, 2**64, len(body) + 9)),
            ]
            what = "offsets that lie"
        case 2:
            header[tensor]["shape"] = chance.choice(
                ([], [0], [2**40, 2**40], [-1], [1] * 5000, ["x"], None, 7, [2**64])
            )
            what = "a shape that lies"
        case 3:
            header[tensor]["dtype"] = chance.choice(("I8", "F64", "BOOL", "U64", "F8_E4M3", "X", None, 5, "F16"))
            what = "another type"
        case 4 | 5:
            what, changes = chance.choice(list(HUGE.items()))
            values = Recipe.from_toml(header["__metadata__"]["recipe"]).values()
            import tomli_w

            for name, value in changes.items():
                section, field = name.split(".")
                values[section][field] = value
            header["__metadata__"]["recipe"] = tomli_w.dumps(values)
        case 6:
            header["__metadata__"] = chance.choice(
                (
                    {},
                    None,
                    [],
                    {"format": "limner-generator-1"},
                    {"format": 5},
                    {"format": "limner-generator-1", "recipe": "[" * 99_999},
                    {**header["__metadata__"], "images": "9" * 99_999},
                    {**header["__metadata__"], "data": "\x1b]0;x\x07" * 999},
                    {**header["__metadata__"], "recipe": header["__metadata__"]["recipe"][: chance.randrange(2000)]},
                )
            )
            what = "odd metadata"
        case 7:
            header.update(
                {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(40_000)}
            )
            what = "many tensors"
        case 8:
            content = safetensors(b"{" * 100_000 + b" " * 100, body)
            what = "a deep header"
        case 9:
            header[tensor + "\x1b[2J"] = header.pop(tensor)
            what = "another name"
        case 10:
            body = body[: chance.randrange(len(body))] if chance.random() < 0.5 else chance.randbytes(len(body))
            what = "other numbers"
        case _:
            content = damaged(chance, safetensors(header, body))
    path = folder / "x.safetensors"
    path.write_bytes(content or safetensors(header, body))
    if kind == 8 and chance.random() < 0.3:
        with path.open("wb") as file:
            file.write(struct.pack("<Q", 3 << 30))
            file.truncate(4 << 30)
        what = "a header of gigabytes, sparse"
    return Case(
        ["generate", str(path), "--count", "2", "--out", str(folder / "out")], [folder / "out"], f"weights, {what}"
    )


GROUPS: dict[str, Make] = {"weights": weights}
