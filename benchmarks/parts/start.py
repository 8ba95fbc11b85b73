"""Goal 9, and the first step of goal 4: how long until something happens, each time in a fresh process.

Of a training, what the imports take is told apart: the rest is reading the cache, choosing the precision, building the
networks and the first update.
"""

from __future__ import annotations

import os
from pathlib import Path

from parts import drawn
from parts.commands import limner, python
from parts.figures import Figure, figure
from parts.settings import Settings

FIRST_UPDATE = """
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

overrides = {"image.max_side": 64, "evaluation.share": 0.0}
training.train(sys.argv[1], "quick", overrides=overrides, runs=sys.argv[2], display=First())
"""
LIGHT = "import limner, sys; print(int('torch' in sys.modules), len(sys.modules))"


def run(settings: Settings) -> list[Figure]:
    """Commands that should answer at once, and the first update of a training whose pictures are in the cache."""
    settings.work.mkdir(parents=True, exist_ok=True)
    cache, count = settings.work / "cache", 12 if settings.tiny else 393
    data = drawn.collection(None if settings.tiny else settings.data, "battlemaps-750.zip")
    data = data or drawn.zipped(settings.work / "photos.zip", count, (96, 96), "JPEG")
    rounds = 1 if settings.tiny else max(3, settings.rounds)
    helped = [limner(["--help"], cache).seconds for _ in range(rounds)]
    listed = [limner(["recipes"], cache).seconds for _ in range(rounds)]
    light = python(["-c", LIGHT]).output.split()
    firsts = [_first(data, settings.work / f"runs{number}", cache) for number in range(1 + rounds)][1:]
    return [
        figure("limner --help", "s", helped, 0.3, most=True),
        figure("limner recipes", "s", listed, 0.6, most=True),
        figure("import limner imports torch (1: yes)", "", float(light[0]), 0.0, most=True),
        figure("modules after import limner", "", float(light[1])),
        figure("imports of a training", "s", [imports for imports, _ in firsts]),
        figure("from there to the end of the first update, warm", "s", [first for _, first in firsts], 1.0, most=True),
    ]


def _first(data: Path, runs: Path, cache: Path) -> tuple[float, float]:
    environment = {**os.environ, "LIMNER_CACHE": str(cache)}
    imports, first = map(float, python(["-c", FIRST_UPDATE, data, runs], environment).output.split()[-2:])
    return imports, first
