"""How fast Limner is here, and what of its goals that meets: everything in one session, side by side.

    python benchmarks/bench.py [--only PART ...] [--device cuda] [--out FILE.json]

Each comparison runs in turns, in processes of their own, and the machine's own limits (matrix products, a copy of
memory) are measured in between; figures are medians with their range. Where ``LIMNER_TEST_DATA`` names a folder with
the real collections they are used, otherwise sets are drawn by rule. The table is printed, and written to
``benchmarks/results/MACHINE.json``, where parts that are not measured this time stay as they were;
``benchmarks/plot.py`` puts it into docs/benchmarks.md.

Two processors that nobody else uses take some ten minutes, and ten more for ``--only long``. A busy machine gives figures
that mean little: ratios less so than seconds. ``--tiny`` only shows that everything works.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from limner.device import choose_device
from parts import generating, gpu, growth, machine, memory, reading, start, training, trainings
from parts.figures import HEADINGS, Figure, figure, table
from parts.settings import Settings

RESULTS = Path(__file__).parent / "results"


def limits(settings: Settings) -> list[Figure]:
    """What the machine can do at its best, before anything else runs."""
    found = [machine.limits(settings.device, settings.tiny) for _ in range(settings.rounds)]
    return [
        figure("float32 product", "GFLOP/s", [each["float32"] for each in found]),
        figure("bfloat16 product", "GFLOP/s", [each["bfloat16"] for each in found]),
        figure("memory copied", "GB/s", [each["copy"] for each in found]),
    ]


PARTS: dict[str, tuple[str, Callable[[Settings], list[Figure]]]] = {
    "machine": ("What the machine can do", limits),
    "start": ("Start", start.run),
    "training": ("Training", training.run),
    "fashion": ("Fashion-MNIST", trainings.fashion),
    "shares": ("Where a training's time goes", trainings.few),
    "reading": ("Reading", reading.run),
    "generating": ("Generating", generating.run),
    "memory": ("Memory", memory.run),
    "growth": ("Growth", growth.run),
    "gpu": ("GPU", gpu.run),
    "long": ("Where ten minutes go", trainings.long),
}
LONG = ("long",)
"""Measured where they are named."""


def measured(names: list[str], settings: Settings) -> dict[str, Any]:
    """The parts of these names, each with its figures, or with what went wrong."""
    found: dict[str, Any] = {}
    for name in names:
        title, run = PARTS[name]
        began = time.perf_counter()
        error, figures = None, []
        with TemporaryDirectory(dir=settings.work, ignore_cleanup_errors=True) as work:
            try:
                figures = run(Settings(**{**vars(settings), "work": Path(work)}))
            except (RuntimeError, OSError, MemoryError) as failure:
                error = str(failure).strip()
        if not figures and error is None:
            continue  # not for this device
        rows = [each.as_json() for each in figures]
        found[name] = {
            "title": title,
            "date": date.today().isoformat(),
            "seconds": round(time.perf_counter() - began, 1),
            "load": [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
            "figures": rows,
            **({"error": error} if error else {}),
        }
        print(f"\n{title} ({found[name]['seconds']:.0f} s)\n{table(rows)}", flush=True)
        if error:
            print(f"FAILED: {error}", file=sys.stderr, flush=True)
    return found


def written(path: Path, settings: Settings, found: dict[str, Any]) -> None:
    """Results into their file; parts that were not measured stay."""
    before = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.is_file() else {}
    parts = {name: {**before, **found}[name] for name in PARTS if name in {**before, **found}}
    values = {"machine": machine.described(settings.device), "parts": parts}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Measure; the exit code is 1 where a part could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="the least length of a turn")
    parser.add_argument("--work", type=Path, help="a folder for what is made on the way; a temporary one by default")
    parser.add_argument("--out", type=Path, help="by default benchmarks/results/MACHINE.json")
    parser.add_argument("--tiny", action="store_true", help="as small as it can be, to see that it works")
    told = parser.parse_args(arguments)
    device = choose_device(told.device)
    data = Path(os.environ["LIMNER_TEST_DATA"]) if os.environ.get("LIMNER_TEST_DATA") else None
    if told.out is None and told.tiny:
        parser.error("--tiny needs --out: its figures mean nothing, and must not overwrite real ones")
    path = told.out or RESULTS / f"{machine.slug(device)}.json"
    if told.work is not None:
        told.work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=told.work, ignore_cleanup_errors=True) as work:
        settings = Settings(Path(work), data, device, told.precision, told.rounds, told.seconds, told.tiny)
        print(f"{machine.slug(device)}, torch {torch.__version__}; columns: {', '.join(HEADINGS)}", flush=True)
        found = measured(told.only or [name for name in PARTS if name not in LONG], settings)
        written(path, settings, found)
    spent = sum(part["seconds"] for part in found.values())
    print(f"\n{spent:.0f} s in all; written to {path}")
    return 1 if any("error" in part for part in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
