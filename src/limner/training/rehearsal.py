"""A training in miniature, to be measured: ``python -m limner.training.rehearsal FOLDER`` (see :mod:`limner.training.memory`).

It does what a training does, in the same order and by the same code, as far as memory goes: networks, an evaluation, a few
updates, a grid of samples, what the evaluation at the end needs most memory for, a checkpoint. It writes no run. What a real
training also holds, but would take long to make (samples of a thorough evaluation, its real images, a second generator to draw
them), is held as so many bytes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from limner.data import Collection, prepare
from limner.data.spill import held, room_for
from limner.data.store import cache_root
from limner.device import choose_device, is_shortage
from limner.errors import InputError
from limner.judging.distances.wasserstein import sliced_wasserstein
from limner.judging.evaluate import Judge
from limner.judging.features import open_extractor
from limner.judging.reference import LEAST, PORTION, ROOM, reference
from limner.judging.subjects import TRAIN
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.training.assembly import assemble
from limner.training.callbacks import Show, training_tensors
from limner.training.conclude import THOROUGH
from limner.training.judge import sample_count
from limner.training.loop import Loop
from limner.training.memory import FOUND, JOB, OVER, Found, Job, Watch
from limner.training.pace import unhurried
from limner.training.shortage import Undo

MOST_STEPS = 10_000
LONG = 20.0
"""Seconds: an update that takes longer is timed on a part of its batch."""
CONTEXT = 500_000_000
"""Bytes that CUDA itself takes on the device, about."""


@dataclass
class _Meter:
    """The peak so far, on whatever device."""

    watch: Watch
    device: torch.device
    extra: int = 0
    after: dict[str, int] = field(default_factory=dict)
    doing: str = "data"

    def peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.device) + CONTEXT + self.extra
        return self.watch.peak + self.extra

    def done(self, phase: str, following: str) -> None:
        self.after[phase], self.doing = self.peak(), following


class _Nowhere(RunDir):
    """A run directory that keeps nothing."""

    def save_samples(self, images: int, png: bytes) -> Path:
        return Path()


def main(folder: Path) -> int:
    """Rehearse what the folder's job says, and write what was found beside it. Returns the exit code."""
    job = Job(**json.loads((folder / JOB).read_text(encoding="utf-8")))
    recipe = Recipe.from_toml(job.recipe)
    device = choose_device(recipe.training.device)
    with suppress(OSError):  # should memory run out after all, the system is to end this process and no other
        Path("/proc/self/oom_score_adj").write_text("1000")
    if job.threads:
        torch.set_num_threads(job.threads)
    if device.type == "cuda" and job.bound is not None:
        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, max(job.bound - CONTEXT, 0) / whole), device)
    meter: _Meter

    def tell(content: dict[str, Any]) -> None:
        (folder / FOUND).write_text(json.dumps(content), encoding="utf-8")

    on_host = device.type != "cuda"
    watch = Watch(job.bound if on_host else None, cache_root(), lambda: tell({"during": meter.doing}))
    meter = _Meter(watch, device)
    watch.start()
    try:
        tell(vars(rehearsed(job, recipe, device, meter)))
    except InputError as error:
        tell({"error": str(error)})
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        tell({"during": meter.doing})
        return OVER
    finally:
        watch.stop()
    return 0


def rehearsed(job: Job, recipe: Recipe, device: torch.device, meter: _Meter) -> Found:
    """Everything, measured."""
    collection = prepare(job.data, recipe.image, seed=recipe.training.seed)
    judge = _judge(recipe, collection, device)
    meter.doing = "networks"
    recipe = unhurried(recipe)
    loop = assemble(recipe, collection, device)
    loop.shelter = Undo(loop).around
    parameters = tuple(
        sum(parameter.numel() for parameter in network.parameters())
        for network in (loop.step.generator, loop.step.discriminator)
    )
    meter.done("networks", "evaluation")
    evaluation = 0.0
    if job.whole:
        # As a training does: what is asked for first decides where what comes later finds room among what was freed.
        evaluation = _evaluated(judge, loop, collection) if judge is not None else 0.0
        meter.done("first evaluation", "updates")
    meter.doing = "updates"
    began, had = time.perf_counter(), time.process_time()
    seconds, shown = _updated(loop, recipe, job.seconds)
    processor = (time.process_time() - had) / (time.perf_counter() - began)
    # The rest of the batch, which its parts wait in: real images (for each turn of D) and generated ones.
    pixels = collection.width * collection.height * collection.channels
    width = torch.finfo(loop.feed.dtype).bits // 8
    missing = recipe.training.batch_size - shown
    meter.extra = missing * pixels * ((width + 1) * recipe.training.critic_steps + width)
    meter.done("updates", "samples")
    if job.whole:
        with torch.no_grad():
            Show(_Nowhere(Path()), recipe.snapshots, lambda path: None).draw(loop)
        meter.done("samples", "evaluation")
        if judge is not None:
            _concluded(judge, loop, collection, (parameters[0], parameters[1]))
        meter.done("evaluation", "checkpoint")
        _saved(loop)
        meter.done("checkpoint", "the end")
    return Found(
        meter.peak(), meter.after, seconds, processor, evaluation, (parameters[0], parameters[1]), loop.feed.epoch_size
    )


def _judge(recipe: Recipe, collection: Collection, device: torch.device) -> Judge | None:
    settings = recipe.evaluation
    if settings.share == 0:
        return None
    extractor = open_extractor(settings.extractor, device if device.type == "cuda" else "cpu")
    real = reference(collection, extractor, seed=recipe.training.seed, most=2 * settings.images)
    return Judge(real, settings.images)


def _updated(loop: Loop, recipe: Recipe, least: float) -> tuple[float, int]:
    """Seconds per image of whole updates, and the largest batch that was really computed.

    An update that would take long is timed on two smaller batches instead, of two and of four parts: the time is a
    straight line, a + b * images, whose ``a`` is what the optimizers and the average take.
    """
    training = recipe.training
    batch = training.batch_size
    micro = min(training.micro_batch or batch, batch)
    small = min(2 * micro, batch)
    _warm_up(loop, recipe, small)
    once = _warm_up(loop, recipe, small)  # only now the optimizers' moments are there beside the activations
    if least == 0:
        return 0.0, small
    times = []
    if small == batch or once * batch / small <= LONG:
        if small < batch:
            once = _warm_up(loop, recipe, batch)
        if not _is_lazy(loop, recipe):
            times.append(once)
        while not times or (sum(times) < least and len(times) < MOST_STEPS):
            times.append(_step(loop))
        return _mean(loop, recipe, times) / loop.portion, batch
    if _is_lazy(loop, recipe):
        once = _step(loop)
    larger = min(2 * small, batch)
    _of(loop, recipe, larger)
    slope = (_step(loop) - once) / (larger - small)
    seconds = _mean(loop, recipe, [once + slope * (batch - small)])
    return seconds / (batch * training.critic_steps), larger


def _is_lazy(loop: Loop, recipe: Recipe) -> bool:
    """Whether some updates have penalties and others have not."""
    return bool(loop.step.penalties.terms) and recipe.regularizers.every > recipe.training.critic_steps


def _of(loop: Loop, recipe: Recipe, batch: int) -> None:
    """Make it a loop of another batch size."""
    micro = min(recipe.training.micro_batch or recipe.training.batch_size, batch)
    loop.recipe = recipe.changed({"training.batch_size": batch, "training.micro_batch": micro})


def _warm_up(loop: Loop, recipe: Recipe, batch: int) -> float:
    """An update as the first one is, with all penalties: the one that takes most memory. Returns its seconds."""
    _of(loop, recipe, batch)
    loop.progress.step = recipe.regularizers.every - 1  # the first update that has them all
    return _step(loop)


def _step(loop: Loop) -> float:
    """Seconds of one update."""
    began = time.perf_counter()
    loop.update()
    if loop.feed.device.type == "cuda":
        torch.cuda.synchronize(loop.feed.device)
    return time.perf_counter() - began


def _mean(loop: Loop, recipe: Recipe, times: list[float]) -> float:
    """The mean of updates, among which those with a lazy penalty are as frequent as in a training.

    Of the timed ones, which were the newest, it is known which had one.
    """
    if not _is_lazy(loop, recipe):
        return sum(times) / len(times)
    every, turns = recipe.regularizers.every, recipe.training.critic_steps
    first = loop.progress.step - len(times)
    had = [
        any((step * turns + turn + 1) % every == 0 for turn in range(turns))
        for step in range(first, loop.progress.step)
    ]
    plain = [seconds for seconds, penalised in zip(times, had, strict=True) if not penalised] or times
    whole = recipe.training.batch_size * turns / loop.portion
    loop.progress.step = every - 1  # the first update that has them all
    penalised = _step(loop) * whole
    mean = sum(plain) / len(plain)
    return mean + turns / every * (penalised - mean)


def _evaluated(judge: Judge, loop: Loop, collection: Collection) -> float:
    """Judge noise in place of samples. Returns the seconds that it took, without making the noise."""
    shape = (collection.height, collection.width, collection.channels)
    count = sample_count(loop.recipe.evaluation.images, len(collection.train))
    pixels, random = room_for((count, *shape)), np.random.default_rng(0)
    for number in range(count):
        pixels[number] = random.integers(0, 256, shape, dtype=np.uint8)
    began = time.perf_counter()
    judge.figures(pixels)
    return time.perf_counter() - began


def _concluded(judge: Judge, loop: Loop, collection: Collection, parameters: tuple[int, int]) -> None:
    """What takes memory in the thorough evaluation at the end, beside as many bytes as it holds all the time."""
    shape = (collection.height, collection.width, collection.channels)
    train, size = len(collection.train), int(np.prod(shape))
    samples = sample_count(THOROUGH * loop.recipe.evaluation.images, train)
    most = min(TRAIN, max(LEAST, ROOM // size))
    real = min(train, most) + min(len(collection.held_out), -(-most // 2))
    beside = held(samples, size) + real * size + 4 * (3 * parameters[0] + parameters[1])
    occupied = np.ones(beside, dtype=np.uint8)
    pixels = np.broadcast_to(np.zeros(shape, np.uint8), (samples, *shape))  # which are among those bytes already
    judge.reference.extractor(pixels[:PORTION])
    sliced_wasserstein(pixels, pixels)
    del occupied


def _saved(loop: Loop) -> None:
    """A checkpoint's files, in memory."""
    average = {name: value.detach().cpu().contiguous() for name, value in loop.average.current().state_dict().items()}
    tensors = training_tensors(loop)
    files = [save(average), save(tensors)]
    del files


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to do, and threads of libraries need not be waited for
