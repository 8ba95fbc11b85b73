"""How fast the studio answers, and what it takes of a core while it watches a training.

A run directory with 10,000 grids is made. Then, against the real server in a process of its own: the median answer with 20
requests in flight, whether any of 200 at once fails, and the processor time that the server takes while a page watches a run
whose log grows twice a second. ``--json`` for the figures alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from limner.imaging import grid, png_bytes
from limner.recipe import Recipe
from limner.rundir import RunDir

GRIDS, LINES, EVALUATIONS = 10_000, 20_000, 60
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/")
SERVE = """
import sys
from pathlib import Path
from limner.studio.server import serve
from limner.studio.settings import checked
serve(checked(Path(sys.argv[1]), [Path(sys.argv[1])], port=0), browser=False)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="for which the server watches a training")
    parser.add_argument("--requests", type=int, default=600, help="in all, with 20 in flight")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        runs = Path(place)
        run = long_run(runs / "long")
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(runs)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert server.stdout is not None
        try:
            found = ADDRESS.search(server.stdout.readline())
            assert found, "the server did not start"
            port = int(found[1])
            wait_for(port)
            figures = {
                "grids": GRIDS,
                "log_lines": LINES,
                **answers(port, server.pid, run, arguments.requests),
                **watching(port, server.pid, run, arguments.seconds),
            }
        finally:
            server.terminate()
            server.wait()
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        print(
            f"{name.replace('_', ' '):40} {value:,.4g}"
            if isinstance(value, float)
            else f"{name.replace('_', ' '):40} {value:,}"
        )


def long_run(path: Path) -> RunDir:
    """A run that has gone on for long: its grids are one file under many names."""
    run = RunDir.create(path.parent, path.name, "run")
    recipe = Recipe.load(
        "quick", {"image.width": 32, "image.height": 32, "image.channels": 1, "training.images": 10**8}
    )
    run.write("recipe.toml", recipe.to_toml())
    run.write("data.json", {"title": "pictures", "count": 1000, "image": {"width": 32, "height": 32, "channels": 1}})
    run.write("environment.json", {"processes": 1})
    pictures = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 1), dtype=np.uint8)
    first = run.save_samples(64, png_bytes(grid(pictures)))
    for place in range(2, GRIDS + 1):
        os.link(first, run.path / "samples" / f"{64 * place:09d}.png")
    with (run.path / "log.jsonl").open("w") as file:
        for line in range(1, LINES + 1):
            file.write(json.dumps(log_line(line)) + "\n")
    figure = {"value": 1.0, "low": 0.9, "high": 1.1, "real": 900, "generated": 1000}
    for place in range(EVALUATIONS):
        names = ("kernel_distance", "frechet_distance", "precision", "recall", "density", "coverage", "diversity")
        run.append("metrics.jsonl", {"images": place * 1000, "seconds": 1.0, "figures": dict.fromkeys(names, figure)})
    run.append("events.jsonl", {"event": "started", "images": 0, "time": "2026-01-01T00:00:00+0000"})
    return run


def log_line(line: int) -> dict[str, float]:
    names = ("discriminator_loss", "generator_loss", "real_logit", "fake_logit", "generator_gradient")
    values = {name: 1 + (line * place % 97) / 97 for place, name in enumerate(names, 1)}
    return {
        "step": line,
        "images": 32 * line,
        "epoch": line / 31,
        "seconds": line / 7,
        "images_per_second": 224.0,
        **values,
    }


def ask(port: int, path: str, tag: str = "") -> tuple[int, float, str]:
    """Status, seconds and tag of an answer, on a connection of its own."""
    began = time.perf_counter()
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        asking.request("GET", path, headers={"If-None-Match": tag} if tag else {})
        answer = asking.getresponse()
        answer.read()
        return answer.status, time.perf_counter() - began, answer.getheader("ETag") or ""
    finally:
        asking.close()


def wait_for(port: int) -> None:
    for _ in range(600):
        try:
            ask(port, "/api/about")
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server does not answer")


def answers(port: int, server: int, run: RunDir, requests: int) -> dict[str, float]:
    """Times with 20 in flight, of a mix of all that a page asks; then 200 at once."""
    name = run.path.name
    paths = [
        "/api/runs",
        f"/api/runs/{name}",
        f"/api/runs/{name}/curves",
        *(f"/api/runs/{name}/samples/{64 * place}.png" for place in (1, 5000, 10_000)),
        f"/api/runs/{name}/thumbnails/640000.png",
        "/api/recipes",
    ]
    cold = {path: ask(port, path)[1] for path in paths}
    before = processor(server)
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda number: ask(port, paths[number % len(paths)]), range(requests)))
    spent = processor(server) - before
    times = sorted(seconds for _, seconds, _ in found)
    with ThreadPoolExecutor(200) as pool:
        burst = list(pool.map(lambda number: ask(port, paths[number % len(paths)]), range(200)))
    return {
        "first_answer_slowest_ms": 1000 * max(cold.values()),
        "median_of_20_in_flight_ms": 1000 * statistics.median(times),
        "p95_of_20_in_flight_ms": 1000 * times[int(0.95 * len(times))],
        "processor_ms_an_answer": 1000 * spent / requests,
        "failed_with_20_in_flight": sum(status != 200 for status, _, _ in found),
        "failed_of_200_at_once": sum(status != 200 for status, _, _ in burst),
        "slowest_of_200_at_once_ms": 1000 * max(seconds for _, seconds, _ in burst),
    }


def watching(port: int, server: int, run: RunDir, seconds: float) -> dict[str, float]:
    """Share of a core that the server takes while a page watches: its requests every two seconds, a log that grows."""
    stop = threading.Event()

    def train() -> None:
        line = LINES
        with run.locked():
            while not stop.wait(0.5):
                line += 1
                run.append("log.jsonl", log_line(line))

    training = threading.Thread(target=train)
    training.start()
    try:
        time.sleep(1)
        paths = {f"/api/runs/{run.path.name}": "", f"/api/runs/{run.path.name}/curves": "", "/api/runs": ""}
        for path in paths:
            ask(port, path)
        before, began = processor(server), time.monotonic()
        changed = 0
        while time.monotonic() - began < seconds:
            for path, tag in paths.items():
                status, _, paths[path] = ask(port, path, tag)
                changed += status == 200
            time.sleep(2)
        share = (processor(server) - before) / (time.monotonic() - began)
    finally:
        stop.set()
        training.join()
    return {"answers_that_had_changed": changed, "share_of_a_core_while_watching": share}


def processor(process: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
