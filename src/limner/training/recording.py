"""Updates that are recorded once and played from then on: a GPU needs no Python to do again what it has done before.

Small images keep a GPU busy for less time than Python takes to tell it what to do. So the first updates run as they are
(kernels are chosen, optimizers get their moments), the next one is recorded by the device while it is told what to do (a CUDA
graph), and from then on the record is played: one call for the whole update, with the same numbers as its result.

A record is of fixed memory and of fixed commands. Hence

- batches are copied into the tensors that it was recorded with; learning rates and the controller of the augmentation are
  tensors that change in place;
- what changes an update's commands makes another record: a penalty that is due, smaller parts, noise that has faded;
- who puts other tensors in the place of weights or moments (going back to a checkpoint) has to have all records forgotten.

Several processes, and activations that are computed again, are not recorded. ``LIMNER_EAGER=1`` in the environment records
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limner.device import is_shortage
from limner.networks.together import Together
from limner.training.step import Step
from limner.training.turns import Batch, Measures

WARM = 2
"""Updates of a kind that run as they are before one is recorded."""

Work = Callable[[], Measures]
Play = Callable[[], None]
Recorder = Callable[[Work], tuple[Play, Measures]]
"""Does some work once and remembers it: what does it again, and the tensors that its results are in each time."""


class CudaRecorder:
    """Records on the current CUDA device; all records share one pool of memory, since no two are played at once."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> tuple[Play, Measures]:
        graph = torch.cuda.CUDAGraph()
        # Other threads (the display, a checkpoint) may use the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            measures = work()
        graph.replay()  # while it is recorded, nothing is computed
        return graph.replay, measures


@dataclass
class _Record:
    """An update that can be played: where its batches go, where its results are, and the gradients it leaves."""

    play: Play
    batches: Sequence[Batch]
    measures: Measures
    gradients: Sequence[tuple[nn.Parameter, Tensor | None]]


class Recorded:
    """A step that is played where it can be: to be called in the place of the step.

    Args:
        step: whose updates are recorded; everything it computes with stays where it is.
        recorder: does the recording.
        say: tells a person that updates cannot be recorded.
    """

    def __init__(self, step: Step, recorder: Recorder, say: Callable[[str], None] | None = None) -> None:
        self.step, self.recorder, self.say = step, recorder, say
        self._seen: dict[Hashable, int] = {}
        self._records: dict[Hashable, _Record] = {}
        self._attached: Hashable = None
        self._given_up = False

    def __call__(self, batches: Sequence[Batch], number: int = 0) -> Measures:
        """One update, as :class:`Step` does it; the results stay what they are until the next one.

        Raises:
            RuntimeError: there is no memory left; then nothing has been changed, and nothing stays recorded.
        """
        kind = self._kind(batches, number)
        if kind in self._records:
            return self._played(kind, batches)
        seen = self._seen[kind] = self._seen.get(kind, 0) + 1
        self._attached = None
        if seen <= WARM or self._given_up:
            return self.step(batches, number)
        held = [batch.map(torch.clone) for batch in batches]
        try:
            play, measures = self.recorder(lambda: self.step(held, number))
        except RuntimeError as error:
            self.forget()
            if is_shortage(error):
                raise
            self._given_up = True
            if self.say is not None:
                why = " ".join(str(error).split())[:200]
                self.say(f"note: updates cannot be recorded on this device, and run one command at a time ({why})")
            return self.step(batches, number)
        gradients = [(parameter, parameter.grad) for network in self._networks for parameter in network.parameters()]
        self._records[kind] = _Record(play, held, measures, gradients)
        self._attached = kind
        return measures

    @property
    def records(self) -> int:
        """How many kinds of updates are recorded."""
        return len(self._records)

    def forget(self) -> None:
        """Forget all records, and give back what they hold: weights or moments are other tensors now, or memory is short."""
        self._records.clear()
        self._seen.clear()
        self._attached = None
        for network in self._networks:
            for parameter in network.parameters():
                parameter.grad = None

    @property
    def _networks(self) -> tuple[nn.Module, nn.Module]:
        return self.step.generator, self.step.discriminator

    def _played(self, kind: Hashable, batches: Sequence[Batch]) -> Measures:
        record = self._records[kind]
        for held, batch in zip(record.batches, batches, strict=True):
            for own, new in zip(held.tensors(), batch.tensors(), strict=True):
                own.copy_(new, non_blocking=True)
        record.play()
        if self._attached != kind:  # for who looks at the gradients of the update that was the last
            for parameter, gradient in record.gradients:
                parameter.grad = gradient
            self._attached = kind
        return record.measures

    def _kind(self, batches: Sequence[Batch], number: int) -> Hashable:
        """All that decides which commands an update consists of."""
        shapes = tuple(batch.shapes() for batch in batches)
        due = tuple(self.step.penalties.due(number + turn) for turn in range(len(batches)))
        return self.step.micro_batch, due, shapes


def can_be_recorded(device: torch.device, together: Together, recompute: bool) -> bool:
    """Whether a training's updates can be recorded, as far as that is known beforehand."""
    wanted = os.environ.get("LIMNER_EAGER", "") in ("", "0")
    return wanted and device.type == "cuda" and together.size == 1 and not recompute
