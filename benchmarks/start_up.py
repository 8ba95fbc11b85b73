"""How long until something happens: ``limner --help``, and the first update of a second training on the same data.

    python benchmarks/start_up.py DATA [--size 64] [--rounds 5]

Each figure is of a fresh process. Of the training, what the imports take is told apart: the rest is reading the cache,
choosing the precision, building the networks and the first update.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

CHILD = """
import sys, time
began = time.perf_counter()
import limner.training.train as training
from limner.training.display import Quiet


imported = time.perf_counter()

class First(Quiet):
    def after_step(self, loop):
        print(imported - began, time.perf_counter() - imported)
        sys.stdout.flush()
        import os
        os._exit(0)

training.train(sys.argv[1], "quick", overrides={"image.max_side": int(sys.argv[2])}, runs=sys.argv[3], display=First())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    help_seconds, import_seconds, first_seconds = [], [], []
    for number in range(arguments.rounds + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "limner", "--help"], check=True, capture_output=True)
        help_taken = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as runs:
            command = [sys.executable, "-c", CHILD, arguments.data, str(arguments.size), runs]
            finished = subprocess.run(command, check=True, capture_output=True, text=True)
        imports, first = map(float, finished.stdout.split())
        if number:  # the first round fills the caches
            help_seconds.append(help_taken)
            import_seconds.append(imports)
            first_seconds.append(first)
    for name, seconds in (
        ("limner --help", help_seconds),
        ("imports of a training", import_seconds),
        ("from there to the end of the first update", first_seconds),
    ):
        print(f"{name:42} {statistics.median(seconds):6.3f} s   ({min(seconds):.3f} to {max(seconds):.3f})")


if __name__ == "__main__":
    main()
