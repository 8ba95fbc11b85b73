"""How the processes that ``torchrun`` starts meet, and how they leave: together, and not without a word."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import uuid4

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from limner.errors import InputError, LimnerError
from limner.networks.together import Together
from limner.training.distributed import Group
from limner.training.watch import Watch, claim, claimed, connect

MEETING_SECONDS = 300.0
"""All processes have to be there in so many."""
PATIENCE = timedelta(days=365)
"""Of one operation: the watch ends what waits in vain, and a first process that evaluates may take its time."""
LEAVING_SECONDS = 5.0
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process was started as one of several."""
    return environment.get("WORLD_SIZE", "1") not in ("", "1")


def job() -> str:
    """What started these processes: its identity, its host and its number there. Empty without ``torchrun``.

    The same after it has started them again, because one of them failed or a host came or left.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{name} {socket.gethostname()} {os.getppid()}" if name else ""


def is_ours(other: str) -> bool:
    """Whether a run was begun by what started these processes."""
    own = job()
    if not own or other == own:
        return bool(own)
    # Started again, the first process may be on another host; of identities, all but torchrun's default tell trainings apart.
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") not in ("", "0")
    name = own.split()[0]
    return again and name != "none" and other.split()[:1] == [name]


@contextmanager
def joined() -> Iterator[Group]:
    """The group of the processes that were started together; of one, where this one was started by itself.

    An error in one process ends all of them with its exit code, and only that one says why.

    Raises:
        InputError: the environment is not as ``torchrun`` makes it, or not all processes come.
    """
    if not launched():
        yield Group()
        return
    rank, size, address, port = _environment()
    store = None
    with _in_time(rank, size):
        try:
            place, _, _ = next(iter(rendezvous("env://", timeout=timedelta(seconds=MEETING_SECONDS))))
            meeting = _meet(place, rank, size)
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
            private = PrefixStore(meeting, place)
            dist.init_process_group(backend, store=private, rank=rank, world_size=size, timeout=PATIENCE)
            store = PrefixStore(f"{meeting}-watch", connect(address, port))
        except (RuntimeError, ValueError) as error:
            raise LimnerError(
                f"the processes of this training cannot meet at {address}:{port} ({_line(error)})"
            ) from error
        group = Group(Together(rank, size), int(os.environ.get("LOCAL_RANK", rank)))
        group = Group(group.together, group.local_rank, tuple(group.everyone(socket.gethostname())))
        watch = Watch(store, rank, group.hosts)
        watch.start()
    try:
        yield group
        group.wait()
    except BaseException as error:
        _leave(error, watch)
        raise
    watch.stop()
    dist.destroy_process_group()


def speaks(code: int) -> bool:
    """Whether this process is the one that says why all of them end; for errors from before the processes have met."""
    if not launched() or dist.is_initialized():
        return True  # by itself; or :func:`joined` has seen to it
    try:
        _, _, address, port = _environment()
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return claim(PrefixStore(f"early-{attempt}", connect(address, port)), code)
    except (LimnerError, RuntimeError):
        return True


class Silent(SystemExit):
    """Leave with an exit code; another process has said why."""


def _environment() -> tuple[int, int, str, int]:
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if missing:
        raise InputError(
            f"WORLD_SIZE is {os.environ.get('WORLD_SIZE')}, but {missing[0]} is not set; start it with torchrun"
        )
    try:
        rank, size, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    except ValueError:
        raise InputError("RANK, WORLD_SIZE and MASTER_PORT must be numbers; start it with torchrun") from None
    if not 0 <= rank < size:
        raise InputError(f"RANK is {rank}, but WORLD_SIZE {size}; start it with torchrun")
    return rank, size, os.environ["MASTER_ADDR"], port


def _meet(store: Store, rank: int, size: int) -> str:
    """Find the processes that are here now; returns a name of this meeting that no other one has.

    ``torchrun`` keeps its store when it starts processes again, with all that those before them have left there, and does not
    number its attempts alike on all hosts. So each process writes a name of its own, the first one announces those that it
    finds, and whoever finds its own among them says so; once all have, they are those that are here.
    """
    own = uuid4().hex
    hellos = [f"hello-{number}" for number in range(size)]
    store.set(hellos[rank], own)
    while True:
        if rank == 0 and store.check(hellos):
            store.set("welcome", " ".join(store.get(hello).decode() for hello in hellos))
        if store.check(["welcome"]):
            names = store.get("welcome").decode()
            if len(names.split()) == size and names.split()[rank] == own:
                meeting = hashlib.sha256(names.encode()).hexdigest()[:32]
                present = [f"{meeting}-{number}" for number in range(size)]
                store.set(present[rank], "")
                if store.check(present):
                    return meeting
        time.sleep(0.05)


@contextmanager
def _in_time(rank: int, size: int) -> Iterator[None]:
    """End this process when the others do not come: what waits for them cannot be stopped otherwise."""

    def end() -> None:
        print(f"limner: process {rank}: not all {size} processes came within {MEETING_SECONDS:.0f} s", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(MEETING_SECONDS + LEAVING_SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leave(error: BaseException, watch: Watch) -> None:
    """Let the others know, and see to it that this process ends even where something still waits for them.

    Raises:
        Silent: another process has said why already.
    """
    watch.stop()
    code = error.exit_code if isinstance(error, LimnerError) else 130 if isinstance(error, KeyboardInterrupt) else 1
    timer = threading.Timer(LEAVING_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()
    first = True
    with suppress(RuntimeError):
        first = claim(watch.store, code)
        code = claimed(watch.store)
    if not first:
        raise Silent(code) from None


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
