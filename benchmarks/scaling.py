"""How training scales over processes of this machine: one and two of one thread each, against one process of two threads.

    python benchmarks/scaling.py [--rounds 5] [--seconds 6] [--cases fewshot-8 fewshot-32 dcgan-64] [--out scaling.json]

All contestants of a case live at once, each in processes of its own, and are measured in turns, because the machine may be
shared; ratios are taken within each turn. Whole updates are counted, as ``limner train`` makes them, without callbacks. What
the processes tell one another is counted too: messages and bytes of each update (but for the word after each update).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "fewshot-8": {"recipe": "fewshot", "batch": 8, "width": 24},
    "fewshot-32": {"recipe": "fewshot", "batch": 32, "width": 24},
    "dcgan-64": {"recipe": "dcgan", "batch": 64, "width": 64},
}
CONTESTANTS = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2), "2 processes, 1 thread each": (2, 1)}
FIRST = "1 process, 1 thread"


def work(case: dict[str, Any], folder: Path, rank: int, size: int, threads: int, port: int, orders: Connection) -> None:
    """A contestant's process: for every number of updates that it is sent it answers with what they took."""
    os.environ |= {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "10000"}  # as the command sets it
    if size > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    import torch

    from limner.data import prepare
    from limner.networks import together
    from limner.recipe import Recipe
    from limner.training.assembly import assemble, resolved
    from limner.training.meeting import joined

    torch.set_num_threads(threads)
    told = [0, 0]
    summing = together.add_up

    def counted(values: torch.Tensor) -> torch.Tensor:
        told[0], told[1] = told[0] + 1, told[1] + values.numel() * values.element_size()
        return summing(values)

    together.add_up = counted
    settings = {
        "training.batch_size": case["batch"],
        "training.precision": "float32",
        "training.device": "cpu",
        "generator.width": case["width"],
        "discriminator.width": case["width"],
    }
    recipe = Recipe.load(case["recipe"], settings)
    with joined() as group:
        collection = prepare(folder / "pictures.npy", recipe.image, cache_dir=folder / f"cache-{os.getpid()}")
        device = torch.device("cpu")
        loop = assemble(resolved(recipe, collection, device), collection, device, group.together)
        loop.advance()
        while (updates := orders.recv()) is not None:
            group.wait()
            told[:] = [0, 0]
            began = time.perf_counter()
            for _ in range(updates):
                loop.advance()
            messages, content = told
            group.wait()
            orders.send((time.perf_counter() - began, messages / updates, content / updates))


class Contestant:
    """So many processes of so many threads, started."""

    def __init__(self, case: dict[str, Any], folder: Path, size: int, threads: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.ends: list[Connection] = []
        self.processes = []
        for rank in range(size):
            mine, theirs = spawn.Pipe()
            process = spawn.Process(target=work, args=(case, folder, rank, size, threads, port, theirs), daemon=True)
            process.start()
            self.ends.append(mine)
            self.processes.append(process)
        self.updates = 1

    def measure(self, seconds: float, batch: int) -> dict[str, float]:
        """Images per second over about so many seconds; messages and bytes of an update."""
        for end in self.ends:
            end.send(self.updates)
        took, messages, content = [end.recv() for end in self.ends][0]  # noqa: RUF015 - all of them have to be heard
        rate = self.updates / took
        self.updates = max(4, 4 * round(seconds * rate / 4))  # whole cycles of lazy penalties
        return {"images per second": batch * rate, "messages": messages, "bytes": content}

    def close(self) -> None:
        for end in self.ends:
            end.send(None)
        for process in self.processes:
            process.join(30)


def run(case: dict[str, Any], rounds: int, seconds: float) -> dict[str, Any]:
    """A case, all contestants in turns."""
    import numpy as np

    with TemporaryDirectory() as name:
        folder = Path(name)
        shape = (512, 64, 64) if case["recipe"] == "dcgan" else (512, 64, 64, 3)
        np.save(folder / "pictures.npy", np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
        contestants = {label: Contestant(case, folder, *who) for label, who in CONTESTANTS.items()}
        rows: list[dict[str, dict[str, float]]] = []
        for number in range(rounds + 2):
            row = {label: one.measure(seconds, case["batch"]) for label, one in contestants.items()}
            if number > 1:  # the first tells how long an update takes, the second warms up
                rows.append(row)
        for one in contestants.values():
            one.close()
    found: dict[str, Any] = {}
    for label in CONTESTANTS:
        rates = [row[label]["images per second"] for row in rows]
        ratios = [row[label]["images per second"] / row[FIRST]["images per second"] for row in rows]
        found[label] = {
            "images per second": round(statistics.median(rates), 2),
            "times the first": round(statistics.median(ratios), 3),
            "from": round(min(ratios), 3),
            "to": round(max(ratios), 3),
            "messages an update": round(rows[-1][label]["messages"], 1),
            "bytes an update": round(rows[-1][label]["bytes"]),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for name in arguments.cases:
        results[name] = {**CASES[name], "contestants": run(CASES[name], arguments.rounds, arguments.seconds)}
        print(name)
        for label, found in results[name]["contestants"].items():
            print(
                f"  {label:28} {found['images per second']:9.2f} images/s  {found['times the first']:5.2f} times"
                f" ({found['from']:.2f} to {found['to']:.2f})  {found['messages an update']:5.1f} messages,"
                f" {found['bytes an update']:,} bytes an update"
            )
    if arguments.out:
        from limner.doctor import examine

        machine = {key: examine()[key] for key in ("limner", "torch", "processor", "cores") if key in examine()}
        values = {"machine": machine, "rounds": arguments.rounds, "seconds": arguments.seconds, **results}
        arguments.out.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
