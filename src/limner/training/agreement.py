"""What the processes of a training tell one another about it: where it stands, and after each update, whether it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Literal

import torch
from safetensors.torch import load, save

from limner.networks.together import add_up
from limner.training.distributed import Group
from limner.training.loop import Loop, Progress
from limner.training.state import restore, training_tensors

COMPARED = 200
"""After so many updates weights are compared."""
_ENDS: tuple[Literal["done", "interrupted", "stopped"] | None, ...] = (None, "done", "interrupted", "stopped")


def spread(loop: Loop, group: Group) -> None:
    """Put every process's loop where the first one's is: weights, optimizers, statistics, progress."""
    progress = group.first(json.dumps(asdict(loop.progress)))
    content = group.first_bytes(save(training_tensors(loop)) if group.leads else b"")
    if not group.leads:
        loop.progress = Progress(**json.loads(progress))
        restore(loop, load(content))


def begin_together(loop: Loop, group: Group, say: Callable[[str], None] = lambda text: None) -> None:
    """From here on every process's loop does what the first one's does, and tells of it by ``say``. All have to call it."""
    if group.size > 1:
        spread(loop, group)
        loop.agree = Agreement(loop, group, say)


class Agreement:
    """After each update: has anybody been interrupted, and what has the first process decided?

    Minutes, callbacks and what follows from them are the first one's. A rollback there is one everywhere.

    All processes have the same weights, because they take the same steps. On processors of different kinds the last bits of a
    step may differ, and add up; so now and then it is asked whether weights are the same, and if not, the first one's count.

    Args:
        loop: where it stands now, on all processes alike.
        group: the processes.
        say: tells a person.

    Attributes:
        drifts: how often weights were not the same.
    """

    def __init__(self, loop: Loop, group: Group, say: Callable[[str], None]) -> None:
        self.group, self.say, self.rollbacks = group, say, loop.progress.rollbacks
        self.drifts = 0

    def __call__(self, loop: Loop) -> None:
        """Let all know. The loop's ``interrupted`` and ``ended`` are the same everywhere afterwards."""
        decided = [_ENDS.index(loop.ended), loop.progress.rollbacks] if self.group.leads else [0, 0]
        ended, rollbacks, interrupted = (
            int(number) for number in add_up(torch.tensor([*decided, int(loop.interrupted)], dtype=torch.int64))
        )
        loop.interrupted = interrupted > 0
        if not self.group.leads:
            loop.ended = _ENDS[ended]
        if rollbacks != self.rollbacks:
            self.rollbacks = rollbacks
            spread(loop, self.group)
        elif loop.progress.step % COMPARED == 0 and self.drifted(loop):
            spread(loop, self.group)

    def drifted(self, loop: Loop) -> bool:
        """Whether any process has other weights than the first one. All have to ask."""
        networks = (loop.step.generator, loop.step.discriminator)
        bits = torch.stack([_bits(weight) for network in networks for weight in network.parameters()]).sum().cpu()
        told = self.group.everyone(str(int(bits)))
        if len(set(told)) > 1 and not self.drifts and self.group.leads:
            self.say("note: the hosts' processors round differently; the first one's weights count, now and then")
        self.drifts += len(set(told)) > 1
        return len(set(told)) > 1


def _bits(weight: torch.Tensor) -> torch.Tensor:
    """A number of a tensor's bits, on its device."""
    whole = torch.int64 if weight.element_size() == 8 else torch.int32
    return weight.detach().contiguous().view(whole).sum(dtype=torch.int64)
