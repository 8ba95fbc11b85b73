"""A generator's card on the hub: what it draws, where it came from, how good it is, how to use it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from limner.drawing import SeededGenerator
from limner.recipe.text import printable
from limner.sharing.facts import NO_LICENCE
from limner.version import __version__

KNOWN_LICENCES = (
    *("afl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0"),
    *("cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
    *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
    *(
        "cc0-1.0",
        "ecl-2.0",
        "eupl-1.1",
        "eupl-1.2",
        "gpl-2.0",
        "gpl-3.0",
        "lgpl-3.0",
        "agpl-3.0",
        "isc",
        "mit",
        "mpl-2.0",
    ),
    *("odbl", "openrail", "pddl", "unlicense", "wtfpl", "zlib"),
)
"""Those that the hub has a word for; what else an owner writes is said in words."""
COLOURS = {1: "grey", 3: "RGB", 4: "RGBA"}
CLASSES = 50
"""That a card names, at most."""


def card(
    generator: SeededGenerator,
    name: str,
    *,
    about: Mapping[str, Any],
    licence: str,
    files: Mapping[str, int],
    parity: str,
    site: str | None,
) -> str:
    """The card, in Markdown with the head that the hub reads.

    Args:
        generator: what is pushed.
        name: ``owner/name``.
        about: what is known of its training (see :func:`limner.sharing.page.about`); empty without a run.
        licence: what its owner says of who may use it.
        files: their bytes by name.
        parity: how far the ONNX file's pictures are from PyTorch's, in words.
        site: the address of its page, if it has one.
    """
    width, height = generator.size
    colours = COLOURS[generator.recipe.image.channels or 3]
    title = name.rpartition("/")[2]
    data = str(about.get("data") or generator.name)
    facts = {
        "Pictures": f"{width} x {height}, {colours}",
        "Trained on": plain(data) + (f", {about['count']:,} pictures" if about.get("count") else ""),
        "Recipe": plain(str(about.get("recipe") or generator.recipe.network.family)),
        "Images seen": f"{generator.images:,}",
        "Trained": plain(str(about.get("trained") or "")),
        "Latent vector": f"{generator.latent} numbers from N(0, 1)",
        "Classes": _classes(generator.classes),
        "Checked": plain(parity),
        "Licence": plain(licence),
        "Made by": f"Limner {__version__}",
    }
    rows = [f"| {key} | {value} |" for key, value in facts.items() if value]
    listed = [f"- `{file}`: {size:,} bytes" for file, size in files.items()]
    verdict = about.get("verdict")
    parts = [
        _head(licence, bool(generator.classes)),
        f"# {plain(title)}",
        "![What it draws: a sheet of its first seeds](samples.png)",
        f"A generator of pictures like those of {plain(data)}. Every number from 0 to 2^64 - 1 is the seed of one picture, the"
        " same on every machine.",
        f"[Draw with it in your browser]({site})" if site else "",
        "\n".join(["| | |", "| --- | --- |", *rows]),
        f"## How good it is\n\n{plain(str(verdict))}" if verdict else "",
        "## How to use it\n\n" + _usage(generator, name),
        "## Files\n\n" + "\n".join(listed),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(licence: str, classes: bool) -> str:
    """What the hub reads: JSON strings are YAML ones too."""
    known = licence.strip().lower()
    lines = ["---"]
    if known in KNOWN_LICENCES:
        lines.append(f"license: {known}")
    elif licence != NO_LICENCE:
        lines.append("license: other")
    lines += [
        "library_name: limner",
        "pipeline_tag: unconditional-image-generation",
        "tags:",
        *(f"- {json.dumps(tag)}" for tag in ("limner", "gan", "onnx", *(["class-conditional"] if classes else []))),
        "---",
    ]
    return "\n".join(lines)


def _usage(generator: SeededGenerator, name: str) -> str:
    labels = ', "labels": np.zeros(16, np.int64)' if generator.classes else ""
    return f"""The pictures of 64 seeds, with Limner and without PyTorch:

```
hf download {name} generator.onnx --local-dir .
pip install "limner[export]"
limner generate generator.onnx --count 64 --seed 0
```

From Python, to go on with PyTorch:

```python
import limner

generator = limner.load("generator.safetensors")
generator.sample(16, seed=7)[0].save("seed-7.png")
```

With onnxruntime alone, from any latent vectors:

```python
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("generator.onnx")
z = np.random.default_rng(0).standard_normal((16, {generator.latent}), np.float32)
images = session.run(None, {{"z": z{labels}}})[0]  # [16, channels, height, width] in [-1, 1]
```"""


def _classes(classes: tuple[str, ...]) -> str:
    more = f" and {len(classes) - CLASSES:,} more" if len(classes) > CLASSES else ""
    return ", ".join(map(plain, classes[:CLASSES])) + more


def plain(text: str) -> str:
    """A text as Markdown shows it letter by letter, on one line: no links, no HTML, no new columns."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~$&])", r"\\\1", printable(text, 2000))
