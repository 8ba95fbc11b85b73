"""Contestants in processes of their own that do the same work in turns.

Each has its own process, because what one sets in the allocator, or keeps warm, must not help the other; in turns,
because the machine may be shared, and what slows it for a while should meet both alike.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import torch

from parts.machine import limits, synchronise

Step = Callable[[], int]
"""One piece of the work; returns how many pictures it was."""
Factory = Callable[..., Step]
"""Makes a contestant's step in its process; importable by name, as its settings must be what pickle knows. A step that
has a method ``close`` is closed at the end."""

AS_LIMNER = {"GOMP_SPINCOUNT": "10000"}
"""What ``limner`` sets in the environment before torch is loaded, unless the user did."""
ASYNCHRONOUS = 16
"""Steps of a GPU between two looks at the clock, which wait for it."""


@dataclass(frozen=True)
class Turn:
    """One turn: pictures, seconds by the clock and of processors (of children that ended too), peak memory so far in
    bytes."""

    pictures: int
    seconds: float
    processor: float
    peak: int

    @property
    def rate(self) -> float:
        """Pictures a second, by the clock."""
        return self.pictures / self.seconds

    @property
    def processor_rate(self) -> float:
        """Pictures for a second of a processor, which says something on a busy machine too."""
        return self.pictures / self.processor


class Contestant:
    """A process that does its work when told to.

    Args:
        factory, settings: what makes its step, there.
        device: what its clock waits for.
        environment: variables that it has unless they are set already.
    """

    def __init__(
        self,
        factory: Factory,
        settings: Mapping[str, Any],
        device: torch.device,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.orders, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_work, args=(factory, dict(settings), str(device), theirs))
        own = {key: value for key, value in (environment or {}).items() if key not in os.environ}
        os.environ |= own
        try:
            self.process.start()
        finally:
            for key in own:
                del os.environ[key]
        theirs.close()

    def turn(self, seconds: float, cycle: int = 1) -> Turn:
        """Whole cycles of so many steps, one at least, until the seconds are over.

        Raises:
            RuntimeError: it failed; the message says how.
        """
        self.begin(seconds, cycle)
        return self.end()

    def begin(self, seconds: float, cycle: int = 1) -> None:
        """A turn whose result :meth:`end` waits for."""
        self.orders.send((seconds, cycle))

    def end(self) -> Turn:
        """The result of a turn that was begun. Raises RuntimeError."""
        try:
            answer = self.orders.recv()
        except EOFError:
            self.process.join(5)
            raise RuntimeError(f"a contestant has gone (exit code {self.process.exitcode})") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer  # type: ignore[no-any-return]

    def __enter__(self) -> Contestant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self.orders.send(None)
        self.process.join(20)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.orders.close()


def _work(factory: Factory, settings: dict[str, Any], device_name: str, orders: Connection) -> None:
    """A contestant's process: for every number of seconds it answers with a turn, or with what went wrong."""
    step: Step | None = None
    try:
        device = torch.device(device_name)
        while (order := orders.recv()) is not None:
            step = step or factory(**settings)
            orders.send(_turn(step, *order, device))
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception:
        orders.send(traceback.format_exc())
    finally:
        if hasattr(step, "close"):
            step.close()


def _turn(step: Step, seconds: float, cycle: int, device: torch.device) -> Turn:
    stride = ASYNCHRONOUS if device.type == "cuda" else 1
    synchronise(device)
    began, had = time.perf_counter(), _processor()
    pictures = steps = 0
    while True:
        pictures += step()
        steps += 1
        if steps % cycle:
            continue
        if steps % stride == 0 or not seconds:
            synchronise(device)
            if time.perf_counter() - began >= seconds:
                break
    return Turn(pictures, time.perf_counter() - began, _processor() - had, peak(device))


def _processor() -> float:
    """Processor seconds of this process, and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak(device: torch.device) -> int:
    """The most memory that this process has held, in bytes: of its pages, or of the device's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass(frozen=True)
class Round:
    """One turn of each contestant, and what the machine could do right after."""

    turns: dict[str, Turn]
    limits: dict[str, float]

    def ratio(self, ours: str, theirs: str) -> float:
        """How many times as fast one was as another."""
        return self.turns[ours].rate / self.turns[theirs].rate

    def processor_ratio(self, ours: str, theirs: str) -> float:
        """The same by processor time."""
        return self.turns[ours].processor_rate / self.turns[theirs].processor_rate


def contest(
    factories: Mapping[str, tuple[Factory, Mapping[str, Any]]],
    *,
    rounds: int,
    seconds: float,
    device: torch.device,
    cycle: int = 1,
    tiny: bool = False,
    warm_up: bool = True,
    bounded: bool = True,
) -> list[Round]:
    """Rounds in which each contestant has a turn; who begins changes from round to round.

    A contestant whose name begins with ``limner`` has the environment that the command sets.

    Args:
        factories: by name, what makes a contestant's step, and its settings.
        rounds: how many.
        seconds: of a turn, at least.
        device: where they work.
        cycle: steps that belong together.
        tiny: measure the machine's limits on small numbers.
        warm_up: let all go through one cycle before the rounds.
        bounded: measure the machine's limits in every round.

    Raises:
        RuntimeError: a contestant failed.
    """
    contestants: dict[str, Contestant] = {}
    try:
        for name, (factory, settings) in factories.items():
            contestants[name] = Contestant(factory, settings, device, AS_LIMNER if name.startswith("limner") else None)
        for contestant in (
            contestants.values() if warm_up else ()
        ):  # all at once: they import what they need, and nothing is measured
            contestant.begin(0.0, cycle)
        for contestant in contestants.values() if warm_up else ():
            contestant.end()
        found = []
        for number in range(rounds):
            order = list(contestants)[:: 1 if number % 2 == 0 else -1]
            turns = {name: contestants[name].turn(seconds, cycle) for name in order}
            found.append(Round(turns, limits(device, tiny) if bounded else {}))
        return found
    finally:
        for contestant in contestants.values():
            contestant.__exit__(None, None, None)


def in_child(function: Callable[..., Any], **settings: Any) -> Any:
    """What a function returns in a fresh process.

    Raises:
        RuntimeError: it failed there.
    """
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_call, args=(function, settings, theirs))
    process.start()
    theirs.close()
    try:
        failed, answer = mine.recv()
    except EOFError:
        failed, answer = True, "a child has gone without an answer"
    process.join()
    if failed:
        raise RuntimeError(answer)
    return answer


def in_children(calls: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any]]]) -> dict[str, Any]:
    """What functions return, each in a fresh process, two of them at a time: for what is counted and not timed.

    Args:
        calls: by name, a function and its settings.

    Raises:
        RuntimeError: one failed.
    """
    with ThreadPoolExecutor(2) as threads:
        begun = {name: threads.submit(in_child, function, **own) for name, (function, own) in calls.items()}
        return {name: future.result() for name, future in begun.items()}


def _call(function: Callable[..., Any], settings: dict[str, Any], answers: Connection) -> None:
    try:
        answers.send((False, function(**settings)))
    except Exception:
        answers.send((True, traceback.format_exc()))
