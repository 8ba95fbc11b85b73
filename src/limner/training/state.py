"""Everything that a training consists of at a moment, as tensors by name and a few facts: what a checkpoint holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import torch
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from limner import rundir
from limner.training.loop import Loop, Progress


@dataclass(frozen=True)
class State:
    """A training at a moment between two updates.

    Attributes:
        generator: the averaged generator's tensors, which samples are drawn from.
        training: all others that going on needs.
        progress: where it stood.
        ended, reason: how it had ended, if it had.
        unfinished: not all that was due at this moment had been done: evaluated, drawn.
    """

    generator: Mapping[str, Tensor]
    training: Mapping[str, Tensor]
    progress: Progress
    ended: str | None
    reason: str
    unfinished: bool = False

    @classmethod
    def of(cls, loop: Loop, copied: bool = False, unfinished: bool = False) -> State:
        """The state of a loop; it goes on changing with the loop unless it is copied."""
        generator, training = whole(loop.average.current().state_dict()), training_tensors(loop)
        if copied:
            generator, training = ({key: value.clone() for key, value in one.items()} for one in (generator, training))
        ended, reason = (None, "") if unfinished else (loop.ended, loop.reason)
        return cls(generator, training, replace(loop.progress), ended, reason, unfinished)

    def is_finite(self) -> bool:
        """Whether all of it are numbers: nothing else is worth keeping."""
        return is_finite([*self.generator.values(), *self.training.values()])

    def generator_files(self, description: Mapping[str, str], healthy: bool) -> dict[str, bytes]:
        """The files that drawing needs: what is kept of the best generator.

        Args:
            description: what the generator says of itself.
            healthy: it is a state to come back to.
        """
        state = {
            "format": rundir.STATE_FORMAT,
            **asdict(self.progress),
            "ended": self.ended,
            "reason": self.reason,
            "healthy": healthy,
            **({"unfinished": True} if self.unfinished else {}),
        }
        described = {**description, "images": str(self.progress.images)}
        return {
            rundir.GENERATOR: save(dict(self.generator), metadata=described),
            rundir.STATE: json.dumps(state, indent=2).encode(),
        }

    def training_file(self) -> dict[str, bytes]:
        """The file that going on needs besides."""
        return {rundir.TRAINING: save(dict(self.training))}


def is_finite(values: Iterable[Tensor]) -> bool:
    """Whether all of them are numbers: nothing else is worth keeping."""
    return all(bool(torch.isfinite(value).all()) for value in values if value.is_floating_point())


def training_tensors(loop: Loop) -> dict[str, Tensor]:
    """Every tensor that a training consists of, by name."""
    step = loop.step
    tensors = {
        **_prefixed("generator", step.generator.state_dict()),
        **_prefixed("discriminator", step.discriminator.state_dict()),
        **_prefixed("average", loop.average.network.state_dict()),
        **_prefixed("augment", step.augment.state() if step.augment is not None else {}),
    }
    for name, optimizer in _optimizers(loop):
        for place, state in optimizer.state_dict()["state"].items():
            tensors.update(_prefixed(f"{name}.{place}", state))
    return whole(tensors)


def restore(loop: Loop, tensors: Mapping[str, Tensor]) -> None:
    """Put a checkpoint's tensors back where :func:`training_tensors` found them.

    Raises:
        KeyError, RuntimeError: the checkpoint is of another recipe.
    """
    step = loop.step
    loop.forget_records()
    step.generator.load_state_dict(_below("generator", tensors))
    step.discriminator.load_state_dict(_below("discriminator", tensors))
    loop.average.network.load_state_dict(_below("average", tensors))
    if step.augment is not None:
        step.augment.restore(_below("augment", tensors))
    for name, optimizer in _optimizers(loop):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(name, tensors).items():
            place, field = key.split(".", 1)
            # Moments keep their parameter's memory format: fused updates walk both in step.
            like = parameters[int(place)]
            state.setdefault(int(place), {})[field] = (
                torch.empty_like(like).copy_(value) if value.shape == like.shape else value.clone()
            )
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _optimizers(loop: Loop) -> list[tuple[str, Optimizer]]:
    return [
        ("generator_optimizer", loop.step.generator_optimizer),
        ("discriminator_optimizer", loop.step.discriminator_optimizer),
    ]


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor by itself, in plain order: safetensors wants neither shared nor strided storage."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
