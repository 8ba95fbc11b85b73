"""Trainings by several processes, forked from one that has imported everything; started by the tests of distribution.

    python distributed_worker.py PLAN.json FOLDER

A plan is, by name, ``{"size": processes, "cases": {...}}`` or ``{"size": processes, "end": how one of them ends}``. Each case
has ``recipe`` and ``settings``, and may have ``steps``, ``size``, ``rollback`` (after so many updates), ``interrupt`` and
``drift`` (process and update). FOLDER gets, for each process of an entry, ``ENTRY.CASE.RANK.safetensors``,
``ENTRY.CASE.RANK.json`` and ``ENTRY.RANK.err``, and ``ends.json``: exit code and seconds of each process.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from limner.data import prepare
from limner.errors import InputError, LimnerError
from limner.recipe import Recipe
from limner.training import agreement, watch
from limner.training.agreement import Agreement, begin_together
from limner.training.assembly import assemble, resolved
from limner.training.callbacks import gradient_norm
from limner.training.distributed import Group
from limner.training.loop import Continue, Loop, Rollback, Signal
from limner.training.meeting import joined
from limner.training.state import restore, training_tensors

STEPS = 50
SMALL = {"training.device": "cpu", "training.precision": "float64", "network.latent": 8}
SILENT_SECONDS = 3.0
"""Instead of half a minute, in entries that have an end."""


def make(case: dict[str, Any], data: Path, group: Group) -> Loop:
    """The loop of a case: on 23 grey pictures of noise, in three classes."""
    recipe = Recipe.load(case["recipe"], {**SMALL, **case["settings"]})
    path, size = data / f"noise-{case.get('size', 16)}.npz", case.get("size", 16)
    if not path.exists():
        pixels = np.random.default_rng(size).integers(0, 256, (23, size, size), dtype=np.uint8)
        np.savez(path, images=pixels, labels=np.arange(23) % 3)
    collection = prepare(path, recipe.image, cache_dir=data / "cache")
    device = torch.device("cpu")
    return assemble(resolved(recipe, collection, device), collection, device, group.together)


class Note:
    """A callback that writes down what each update has measured; it may interrupt, or change a weight, after so many."""

    def __init__(self, interrupts: int | None, drifts: int | None) -> None:
        self.interrupts, self.drifts = interrupts, drifts
        self.measured: list[dict[str, float]] = []

    def after_step(self, loop: Loop) -> Signal:
        assert loop.measures is not None
        values = {name: float(value) for name, value in loop.measures.values().items()}
        norms = {name: float(gradient_norm(getattr(loop.step, name))) for name in ("generator", "discriminator")}
        self.measured.append({**values, **norms})
        loop.interrupted = loop.interrupted or loop.progress.step == self.interrupts
        if loop.progress.step == self.drifts:
            next(loop.step.generator.parameters()).data.add_(1e-9)
        return Continue()

    def at_end(self, loop: Loop) -> Signal:
        return Continue()


class Back:
    """A callback of the first process: once, after some updates, it wants to go back to where the training began."""

    def __init__(self, loop: Loop, step: int) -> None:
        self.at, self.tensors = step, {key: value.clone() for key, value in training_tensors(loop).items()}

    def after_step(self, loop: Loop) -> Signal:
        due = loop.progress.step == self.at and not loop.progress.rollbacks
        return Rollback(0.5, "the test wants it") if due else Continue()

    def at_end(self, loop: Loop) -> Signal:
        return Continue()

    def go(self, loop: Loop, signal: Rollback) -> None:
        restore(loop, self.tensors)
        loop.progress.step = loop.progress.images = 0
        loop.progress.rollbacks, loop.progress.rate_scale = 1, signal.rate_scale


class End:
    """A callback that ends its process, or troubles it, after the third update."""

    def __init__(self, how: str, rank: int) -> None:
        self.how, self.rank = how, rank

    def after_step(self, loop: Loop) -> Signal:
        if loop.progress.step == 3:
            if self.how == "pause" and self.rank == 0:
                time.sleep(2.5 * SILENT_SECONDS)
            if self.rank == 1:
                match self.how:
                    case "killed":
                        os.kill(os.getpid(), signal.SIGKILL)
                    case "stopped":
                        os.kill(os.getpid(), signal.SIGSTOP)
                    case "refused":
                        raise InputError("picture 7 is no picture")
                    case "faulty":
                        raise ZeroDivisionError("a fault of our own")
        return Continue()

    def at_end(self, loop: Loop) -> Signal:
        return Continue()


def train(case: dict[str, Any], data: Path, group: Group, callback: End | None = None) -> dict[str, Any]:
    """Run a case; what each update measured, and how it ended."""
    loop = make(case, data, group)
    own = {
        what: at
        for what in ("interrupt", "drift")
        for rank, at in [case.get(what, (-1, 0))]
        if rank == group.together.rank
    }
    note = Note(own.get("interrupt"), own.get("drift"))
    agreement.COMPARED = 4
    loop.callbacks = [note] if callback is None else [note, callback]
    if "rollback" in case and group.leads:
        back = Back(loop, case["rollback"])
        loop.callbacks, loop.go_back = [note, back], back.go
    begin_together(loop, group)
    loop.images = case.get("steps", STEPS) * loop.portion
    loop.run()
    content = save(training_tensors(loop))
    drifts = loop.agree.drifts if isinstance(loop.agree, Agreement) else 0
    values = {"ended": loop.ended, "step": loop.progress.step, "rollbacks": loop.progress.rollbacks, "drifts": drifts}
    return {"content": content, "measured": note.measured, "hash": hashlib.sha256(content).hexdigest(), **values}


def work(name: str, entry: dict[str, Any], rank: int, folder: Path) -> None:
    """What one process does."""
    data = folder / f"{name}-data-{rank}"
    data.mkdir()
    if "end" in entry:
        watch.SILENT_SECONDS, watch.BEAT_SECONDS, watch.GRACE_SECONDS = SILENT_SECONDS, 0.3, 1.0
    with joined() as group:
        for label, case in entry["cases"].items():
            found = train(case, data, group, End(entry["end"], rank) if "end" in entry else None)
            place = str(folder / f"{name}.{label}.{rank}")
            Path(f"{place}.safetensors").write_bytes(found.pop("content"))
            Path(f"{place}.json").write_text(json.dumps(found))


def fork(name: str, entry: dict[str, Any], rank: int, port: int, folder: Path) -> int:
    """Start one process; its number."""
    child = os.fork()
    if child:
        return child
    if entry["size"] > 1:
        for key, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": entry["size"], "MASTER_PORT": port}.items():
            os.environ[key] = str(value)
        os.environ["MASTER_ADDR"] = "127.0.0.1"
    os.dup2(os.open(folder / f"{name}.{rank}.err", os.O_WRONLY | os.O_CREAT), 2)
    code = 1
    try:
        work(name, entry, rank, folder)
        code = 0
    except LimnerError as error:
        print(f"limner: {error}", file=sys.stderr)
        code = error.exit_code
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    plan, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    torch.set_num_threads(1)
    ends: dict[str, dict[int, tuple[int, float]]] = {}
    at_once = {name: entry for name, entry in plan.items() if "end" in entry}
    for group in (at_once, *({name: entry} for name, entry in plan.items() if "end" not in entry)):
        running: dict[int, tuple[str, int]] = {}
        for name, entry in group.items():
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            running |= {fork(name, entry, rank, port, folder): (name, rank) for rank in range(entry["size"])}
            ends[name] = {}
        began = time.monotonic()
        while running:
            child, status = os.wait()
            name, rank = running.pop(child)
            ends[name][rank] = (os.waitstatus_to_exitcode(status), time.monotonic() - began)
            for other, (of, number) in running.items():
                if plan[of].get("end") == "stopped" and of == name and number == 1:
                    os.kill(other, signal.SIGKILL)  # it cannot end by itself
    (folder / "ends.json").write_text(json.dumps(ends))


if __name__ == "__main__":
    main()
