"""The processes of one training, on one host or many: what each has to know of the others, and how all come to know it.

Processors talk by gloo, NVIDIA's devices by NCCL; what is said about the training itself (texts, decisions, checkpoints) always
goes by gloo. Only the first process writes, shows, judges and decides. Nothing that is sent is pickled.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist

from limner.data import Collection
from limner.device import choose_device
from limner.errors import InputError
from limner.networks.together import ALONE, Together, reaching
from limner.recipe import Recipe
from limner.version import __version__

Result = TypeVar("Result")


@dataclass(frozen=True)
class Group:
    """This process among those of a training. A group of one asks nobody and waits for nobody.

    Attributes:
        together: its number, and how many there are: what networks know.
        local_rank: its number among those of this host.
        hosts: the name of each process's host.
    """

    together: Together = ALONE
    local_rank: int = 0
    hosts: tuple[str, ...] = ("",)

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self.together.size

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, shows and decides."""
        return self.together.rank == 0

    def device(self, name: str) -> torch.device:
        """The device of that name; of several GPUs, the one that is this process's own.

        Raises:
            InputError: there is none for this process, or processes cannot work together on it.
        """
        if self.size == 1:
            return choose_device(name)
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name.startswith("cuda"):
            if self.local_rank >= torch.cuda.device_count():
                raise InputError(
                    f"device {name}: process {self.local_rank} of {socket.gethostname()} has no GPU of its own, there are"
                    f" {torch.cuda.device_count()}; start fewer processes on a host, or use --device cpu"
                )
            name = f"cuda:{self.local_rank}"
        device = choose_device(name)
        if device.type not in ("cpu", "cuda"):
            raise InputError(f"device {name}: only cpu and cuda can train on several processes; use --device cpu")
        kinds = self.everyone(device.type)
        if len(set(kinds)) > 1:
            odd = next(rank for rank, kind in enumerate(kinds) if kind != kinds[0])
            raise InputError(
                f"device {name}: {self.hosts[0]} computes on {kinds[0]}, {self.hosts[odd]} on {kinds[odd]}; name one that"
                " all hosts have (--device cpu)"
            )
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return device

    def first(self, text: str) -> str:
        """The first process's text, on each of them."""
        return self.first_bytes(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")

    def first_bytes(self, content: bytes) -> bytes:
        """The first process's bytes, on each of them; what the others give does not matter."""
        if self.size == 1:
            return content
        length = int(self.together.first(len(content)))
        if not length:
            return b""
        message = torch.empty(length, dtype=torch.uint8)
        if self.leads:
            message.copy_(torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy()))
        with reaching():
            dist.broadcast(message, 0)
        return message.numpy().tobytes()

    def recipe(self, recipe: Recipe | None) -> Recipe:
        """The first process's recipe, on each of them: what was measured or chosen there holds for all."""
        if self.size == 1 and recipe is not None:
            return recipe
        return Recipe.from_toml(self.first("" if recipe is None else recipe.to_toml()))

    def everyone(self, text: str) -> list[str]:
        """Each process's text (of 4096 bytes at most), in their order."""
        if self.size == 1:
            return [text]
        row = torch.zeros(1, 4096, dtype=torch.uint8)
        content = text.encode()[:4096]
        row[0, : len(content)] = torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())
        rows = Together(self.together.rank, self.size, even=True).gather(row).everything
        return [bytes(row.tolist()).rstrip(b"\0").decode(errors="replace") for row in rows]

    def describe(self) -> str:
        """How many processes on how many hosts, to be joined to a line; nothing for one."""
        hosts = len(set(self.hosts))
        on = f" on {hosts} hosts" if hosts > 1 else ""
        return f", by {self.size} processes{on}" if self.size > 1 else ""

    def wait(self) -> None:
        """Until all processes are here."""
        self.together.first(0.0)

    def host_by_host(self, work: Callable[[], Result]) -> Result:
        """Work that one process does for its whole host: the others of a host begin when it is done."""
        if self.size == 1:
            return work()
        found = work() if self.local_rank == 0 else None
        self.wait()
        return work() if found is None else found

    def check_data(self, collection: Collection) -> None:
        """Find out whether all processes have the same pictures, and the same Limner.

        Raises:
            InputError: they have not.
        """
        image = f"{collection.width}x{collection.height}x{collection.channels}"
        mine = f"{collection.content_hash} {image} {len(collection.train)}"
        for what, values in (("Limner", self.everyone(__version__)), ("pictures", self.everyone(mine))):
            odd = next((rank for rank, value in enumerate(values) if value != values[0]), None)
            if odd is not None:
                shown = (value[:12] if what == "pictures" else value for value in (values[0], values[odd]))
                has, other = shown
                raise InputError(
                    f"data {collection.summary['location']}: process 0 ({self.hosts[0]}) has other {what} than process"
                    f" {odd} ({self.hosts[odd]}): {has} and {other}; all hosts need the same"
                )

    def of_one(self, recipe: Recipe) -> Recipe:
        """What one process does of a recipe, as a recipe of its own: its share of a batch, and of what is computed at once."""
        batch, micro = recipe.training.batch_size, recipe.training.micro_batch
        shares = {"training.batch_size": -(-batch // self.size)}
        if micro is not None:
            shares["training.micro_batch"] = -(-micro // self.size)
        return recipe.changed(shares)

    def of_all(self, recipe: Recipe, of_one: Recipe) -> Recipe:
        """The recipe, in which each process computes at once what ``of_one`` says."""
        recipe = recipe.changed({"training.recompute": of_one.training.recompute})
        micro, batch = of_one.training.micro_batch, recipe.training.batch_size
        if micro is None:
            return recipe
        # No part may have fewer images than there are processes, and the last one is what the others leave.
        most = min(micro * self.size, batch)
        fitting = (size for size in range(most, self.size, -1) if batch % size == 0 or batch % size >= self.size)
        return recipe.changed({"training.micro_batch": next(fitting, self.size)})
