"""A snapshot as a folder that the page's explorer reads: the generator as ONNX, what it is, and a few pictures.

Runs in a job's process, for it needs PyTorch.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from limner.durable import sync_directory

DOCUMENT, MODEL, PICTURES = "limner.json", "generator.onnx", "samples"
SAMPLES = 12


def write_folder(values: Mapping[str, Any], advance: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Export a snapshot by the same functions as ``limner publish``; the folder appears whole or not at all.

    Args:
        values: ``run`` (a path), ``at`` (``best`` or a number of images) and ``folder`` (where to).
        advance: told how far it is.

    Raises:
        LimnerError: it cannot be exported.
    """
    from limner.generator import load
    from limner.rundir import RunDir
    from limner.sharing.export import export_onnx
    from limner.sharing.page import page_document, sample_files

    final = Path(values["folder"])
    advance(0, 3, "loading the generator")
    generator = load(values["run"], "cpu", str(values["at"]))
    part = final.with_name(f".tmp-{os.getpid()}-{final.name}")
    shutil.rmtree(part, ignore_errors=True)
    (part / PICTURES).mkdir(parents=True)
    try:
        advance(1, 3, "exporting it and comparing its pictures")
        exported = export_onnx(generator, part / MODEL)
        advance(2, 3, "drawing some pictures")
        samples = sample_files(generator, part, SAMPLES)
        document = page_document(generator, exported, samples=samples, run=RunDir(Path(values["run"])))
        (part / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")
        if not final.exists():
            os.replace(part, final)
            sync_directory(final.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    advance(3, 3, "done")
    return {"bytes": exported.bytes}
