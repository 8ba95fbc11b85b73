"""Memory runs out in the middle of a training: the update is done again in smaller parts, exactly, and it is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import limner
from limner import rundir
from limner.data import prepare
from limner.device import choose_device, is_shortage, release_memory
from limner.errors import LimnerError
from limner.generator import in_portions
from limner.judging.evaluate import Judge
from limner.recipe import Recipe
from limner.rundir import RunDir
from limner.training import shortage
from limner.training.assembly import assemble, resolved
from limner.training.callbacks import Show
from limner.training.display import Quiet
from limner.training.loop import Continue, Loop, Signal
from limner.training.shortage import Shelter, Undo
from limner.training.state import State, restore, training_tensors

TINY = {
    "network.latent": 6,
    "generator.width": 4,
    "discriminator.width": 4,
    "training.batch_size": 6,
    "training.device": "cpu",
    "training.precision": "float32",
    "image.width": 16,
    "image.height": 16,
    "image.channels": 1,
    "image.held_out": 0.0,
    "snapshots.grid": 4,
}
GAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "everything that remembers": (
        "dcgan",
        {
            "augment.policy": ["color", "translation"],
            "augment.target": 0.6,
            "augment.speed_images": 100,
            "discriminator.dropout": 0.2,
            "regularizers.r1": 1.0,
            "regularizers.every": 2,
            "discriminator.norm": "none",
            "ema.half_life": 20,
        },
    ),
    "batch normalisation in both": ("dcgan", {"ema.half_life": 0}),
    "a critic with several turns": (
        "dcgan",
        {
            "objective.name": "wasserstein",
            "training.critic_steps": 2,
            "regularizers.clip": 0.05,
            "generator.optimizer": "rmsprop",
            "discriminator.optimizer": "rmsprop",
        },
    ),
    "fewshot": ("fewshot", {}),
}
NO_MEMORY = (
    "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate 6 bytes."
)


class Stub:
    """As much of a run and of its checkpoints as a shelter needs."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.saved, self.description = -1, {}

    def save(self, loop: Loop) -> None:
        self.saved = loop.progress.images
        self.said.append({name: tensor.clone() for name, tensor in training_tensors(loop).items()})

    def describe(self, description: dict[str, str]) -> None:
        self.description = description

    def write(self, name: str, content: str) -> None:
        self.said.append(name)

    def append(self, name: str, record: dict[str, Any]) -> None:
        self.said.append(record)


def tiny(game: str, data: Path) -> Loop:
    name, more = GAMES[game]
    recipe = Recipe.load(name, {**TINY, **more, "training.images": 600})
    collection = prepare(data, recipe.image, seed=recipe.training.seed)
    device = choose_device("cpu")
    return assemble(resolved(recipe, collection, device), collection, device)


@contextmanager
def failing(at: int | None, error: BaseException) -> Iterator[list[int]]:
    """Counts convolutions and matrix products; number ``at`` fails, once."""
    calls = [0]
    names = ("conv2d", "conv_transpose2d", "linear")
    before = {name: getattr(torch.nn.functional, name) for name in names}

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] - 1 == at:
                raise error
            return function(*arguments, **options)

        return call

    for name, function in before.items():
        setattr(torch.nn.functional, name, wrapped(function))
    try:
        yield calls
    finally:
        for name, function in before.items():
            setattr(torch.nn.functional, name, function)


def states(loop: Loop, updates: int) -> dict[str, torch.Tensor]:
    for _ in range(updates):
        loop.update()
    return training_tensors(loop)


def equal(mine: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize("game", GAMES)
def test_wherever_it_fails_the_update_is_done_again_exactly(game: str, pictures: Path, monkeypatch: pytest.MonkeyPatch):
    """At each of an update's operations in turn, and within both optimizers' steps, once they have changed everything."""
    monkeypatch.setattr(shortage, "release_memory", lambda: None)  # which takes a third of a second
    reference = tiny(game, pictures)
    before = {name: tensor.clone() for name, tensor in states(reference, 3).items()}
    reference.recipe = reference.recipe.changed({"training.micro_batch": 3})
    reference.step.micro_batch = 3
    expected = states(reference, 2)
    loop = tiny(game, pictures)
    states(loop, 3)
    with failing(None, MemoryError()) as calls:
        loop.update()
    progress, coarse = reference.progress, loop.recipe
    every = max(1, calls[0] // 6)
    places: list[int | str] = [*range(0, calls[0], every), calls[0] - 1, "generator", "discriminator"]
    for place in places:
        stub = Stub()
        restore(loop, {name: tensor.clone() for name, tensor in before.items()})
        loop.progress = replace(progress, step=3, images=3 * loop.portion)
        loop.recipe, loop.step.micro_batch = coarse, None
        loop.shelter = Shelter(stub, stub, stub.said.append)  # type: ignore[arg-type]
        error = MemoryError() if place == 0 else RuntimeError(NO_MEMORY)
        if isinstance(place, str):
            hook = getattr(loop.step, f"{place}_optimizer").register_step_post_hook(_fails(error))
            loop.update()
            hook.remove()
        else:
            with failing(place, error):
                loop.update()
        saved, name, told, said = stub.said
        assert equal(saved, before), f"{place}: what is saved is the state before the update"
        assert (
            name == rundir.RECIPE and told["event"] == "shortage" and told["micro_batch"] == 3 == loop.step.micro_batch
        )
        assert (told["before"], told["images"], stub.saved) == (6, loop.portion * 3, loop.portion * 3)
        assert (
            said.startswith("warning: memory ran out") and Recipe.from_toml(stub.description["recipe"]) == loop.recipe
        )
        loop.update()
        assert equal(training_tensors(loop), expected), place


def _fails(error: BaseException) -> Callable[..., None]:
    left = [1]

    def hook(*_: Any) -> None:
        if left.pop() if left else 0:
            raise error

    return hook


def test_the_first_update_leaves_no_moments_behind(pictures: Path):
    """Moments are made in an optimizer's first step: they go again, or the next one would take a second step."""
    game = "batch normalisation in both"
    reference = tiny(game, pictures)
    reference.step.micro_batch = 3
    expected = states(reference, 2)
    for player in ("generator", "discriminator"):
        loop, stub = tiny(game, pictures), Stub()
        loop.shelter = Shelter(stub, stub, stub.said.append)  # type: ignore[arg-type]
        getattr(loop.step, f"{player}_optimizer").register_step_post_hook(_fails(MemoryError()))
        assert equal(states(loop, 2), expected)


def test_halved_until_it_fits_and_at_one_image_it_says_what_would(pictures: Path):
    loop, stub = tiny("batch normalisation in both", pictures), Stub()
    loop.shelter = Shelter(stub, stub, stub.said.append)  # type: ignore[arg-type]
    draw = loop.step.draw

    def hungry(batch: Any) -> Any:
        if len(batch) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity")
        return draw(batch)

    loop.step.draw = hungry  # type: ignore[method-assign]
    fits = 2
    loop.update()
    events = [item for item in stub.said if isinstance(item, dict) and "event" in item]
    assert [record["micro_batch"] for record in events] == [3, 2] and loop.progress.images == 6
    assert "2.00 GiB more were asked for" in events[0]["evidence"] and "batch normalisation" in events[0]["evidence"]
    before = {name: tensor.clone() for name, tensor in training_tensors(loop).items()}
    fits = 0
    loop.run()
    assert loop.ended == "stopped" and loop.progress.images == 6 and loop.step.micro_batch == 1
    assert loop.reason.startswith(
        "memory ran out with one image at a time (2.00 GiB more were asked for); --size 8x8 takes"
    )
    assert "generator.width" in loop.reason and "training.recompute=true" in loop.reason and "\n" not in loop.reason
    assert equal(training_tensors(loop), before) and stub.saved == 6


def test_other_errors_are_none_of_its_business(pictures: Path):
    loop, stub = tiny("batch normalisation in both", pictures), Stub()
    loop.shelter = Shelter(stub, stub, stub.said.append)  # type: ignore[arg-type]
    with (
        failing(5, RuntimeError("mat1 and mat2 shapes cannot be multiplied")),
        pytest.raises(RuntimeError, match="mat1"),
    ):
        loop.update()
    assert stub.said == []
    loop.shelter = shortage.together
    with failing(5, MemoryError()), pytest.raises(LimnerError, match=r"training.micro_batch=3"):
        loop.update()


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError(NO_MEMORY), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"), True),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("Expected all tensors to be on the same device"), False),
        (OSError(12, "Cannot allocate memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_counts_as_a_shortage(error: BaseException, is_one: bool):
    assert is_shortage(error) is is_one


def test_over_the_bound_the_next_update_is_finer(pictures: Path, monkeypatch: pytest.MonkeyPatch):
    """2 GB are the limit: 1 GB is held beside the updates, and 0.25 GB for each image at a time."""
    loop, stub = tiny("batch normalisation in both", pictures), Stub()
    loop.shelter = Shelter(stub, stub, stub.said.append, 2_000_000_000)  # type: ignore[arg-type]
    held = [1.0e9]
    advance = Loop.advance

    def measured(loop: Loop) -> None:
        advance(loop)
        held[0] = max(held[0], 1e9 + 0.25e9 * (loop.step.micro_batch or 6))

    monkeypatch.setattr(Loop, "advance", measured)
    monkeypatch.setattr(shortage, "held", lambda: int(held[0]))
    monkeypatch.setattr(shortage, "file_pages", lambda mapped: 0)
    monkeypatch.setattr(shortage, "release_memory", lambda: held.__setitem__(0, 1e9))
    loop.update()
    assert loop.step.micro_batch is None and stub.said == [], "first all that belongs to that moment is done"
    loop.update()
    assert loop.step.micro_batch == 3 and stub.saved == 6
    assert "2.50 GB were held, of 2 allowed" in stub.said[-1]
    states(loop, 3)
    assert loop.step.micro_batch == 3
    held[0] = 5e9  # an evaluation's, which the allocator has kept
    states(loop, 2)
    assert loop.step.micro_batch == 3
    monkeypatch.setattr(shortage, "release_memory", lambda: None)
    held[0] = 5e9
    states(loop, 2)
    notes = [item for item in stub.said if isinstance(item, str) and item.startswith("note")]
    assert len(notes) == 1 and "besides the updates" in notes[0] and loop.step.micro_batch == 3


class Short(Quiet):
    """Makes the next update fail when so many images have been seen; may interrupt later on."""

    def __init__(self, at: int, interrupt_at: int | None = None) -> None:
        self.at, self.interrupt_at, self.lines = at, interrupt_at, list[str]()

    def say(self, text: str) -> None:
        self.lines.append(text)

    def after_step(self, loop: Loop) -> Signal:
        if loop.progress.images == self.at:
            loop.step.generator_optimizer.register_step_post_hook(_fails(RuntimeError(NO_MEMORY)))
        if loop.progress.images == self.interrupt_at:
            loop.interrupted = True
        return Continue()


def test_a_whole_training_goes_on_and_is_resumed_exactly(pictures: Path, tmp_path: Path):
    overrides = {**TINY, "training.images": 90, "evaluation.every_images": 30, "evaluation.images": 16}
    settings = {"snapshots.log_steps": 1, **overrides}

    def train(name: str, display: Quiet) -> limner.training.outcome.Outcome:
        return limner.train(pictures, "quick", overrides=settings, runs=tmp_path, name=name, display=display)

    display = Short(36)
    whole = train("whole", display)
    assert whole.ended == "done" and [line for line in display.lines if "memory ran out" in line]
    parted = train("parted", Short(36, interrupt_at=48))
    assert (parted.ended, parted.images) == ("interrupted", 48)
    resumed = limner.resume(parted.run.path, display=Quiet())
    assert resumed.ended == "done"
    for run in (whole.run, resumed.run):
        recipe = run.recipe()
        assert (recipe.training.micro_batch, recipe.training.batch_size) == (3, 6)
        (told,) = (record for record in run.records(rundir.EVENTS) if record["event"] == "shortage")
        assert (told["images"], told["micro_batch"], told["before"], told["severity"]) == (36, 3, 6, "warning")
    mine, theirs = (load_file(run.newest_checkpoint()[1] / rundir.TRAINING) for run in (resumed.run, whole.run))
    assert equal(mine, theirs)
    assert "Memory ran out" in (whole.run.path / rundir.REPORT).read_text(encoding="utf-8")
    # And the same once more from the checkpoint of that very moment, with the finer parts from there on.
    assert 36 in dict(RunDir.open(whole.run.path).checkpoints()) or recipe.snapshots.keep < 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, whose memory can be limited")
def test_a_real_limit(pictures: Path, tmp_path: Path):
    """The device refuses memory in earnest: 256 images of 64x64 at a time need more than what is left, parts of them do not."""
    device = torch.device("cuda")
    settings = {
        **TINY, "image.width": 64, "image.height": 64, "generator.width": 64, "discriminator.width": 64,
        "training.batch_size": 256, "training.images": 768, "evaluation.share": 0, "training.device": "cuda",
    }  # fmt: skip

    class Tight(Quiet):
        def begin(self, loop: Loop, latest: Any) -> None:
            release_memory()
            share = (torch.cuda.memory_reserved() + 600e6) / torch.cuda.get_device_properties(device).total_memory
            torch.cuda.set_per_process_memory_fraction(share, device)

    try:
        outcome = limner.train(pictures, "dcgan", overrides=settings, runs=tmp_path, display=Tight())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    told = [record for record in outcome.run.records(rundir.EVENTS) if record["event"] == "shortage"]
    assert (outcome.ended, outcome.images) == ("done", 768) and told
    assert [record["micro_batch"] for record in told] == [256 >> number for number in range(1, len(told) + 1)]


def test_undoing_costs_little(pictures: Path):
    """Copies of weights are dropped when an update is over, and nothing is copied of an update that nobody watches."""
    loop = tiny("fewshot", pictures)
    undo = Undo(loop)
    undo.around(loop)
    assert not undo._stepped
    loop.advance()
    assert not undo._stepped


def test_pictures_are_drawn_in_smaller_portions_where_memory_runs_out():
    asked = []

    def draw(part: slice) -> np.ndarray:
        asked.append((part.start, part.stop))
        if part.stop - part.start > 2:
            raise RuntimeError(NO_MEMORY)
        return np.arange(part.start, part.stop, dtype=np.uint8).reshape(-1, 1, 1, 1)

    assert in_portions(draw, 5, 4).ravel().tolist() == [0, 1, 2, 3, 4]
    assert asked == [(0, 4), (0, 2), (2, 4), (4, 5)], "what did not fit once is not tried again"
    for words in (NO_MEMORY, "a mistake"):

        def fail(part: slice, words: str = words) -> np.ndarray:
            raise RuntimeError(words)

        with pytest.raises(RuntimeError, match=re.escape(words)):
            in_portions(fail, 5, 4)


@pytest.mark.parametrize("first", [True, False], ids=["always", "later"])
def test_what_there_is_no_memory_to_look_at_is_left_out(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
):
    """Neither an evaluation nor a grid nor a checkpoint that does not fit ends a training."""
    settings = {**TINY, "training.images": 60, "evaluation.images": 16, "snapshots.every_images": 12}
    judged, calls = Judge.figures, []

    def figures(self: Judge, *args: Any) -> Any:
        calls.append(1)
        if first or len(calls) > 1:
            raise MemoryError
        return judged(self, *args)

    def no_grid(self: Show, loop: Loop) -> None:
        raise RuntimeError(NO_MEMORY)

    monkeypatch.setattr(Judge, "figures", figures)
    monkeypatch.setattr(Show, "_draw", no_grid)
    display = Short(-1)
    outcome = limner.train(
        pictures, "quick", overrides={**settings, "evaluation.every_images": 30}, runs=tmp_path, display=display
    )
    assert (outcome.ended, outcome.images) == ("done", 60)
    told = [record for record in outcome.run.records(rundir.EVENTS) if record["event"] == "unjudged"]
    assert [record["images"] for record in told] == ([0, 30, 60] if first else [30, 60])
    assert len(list(outcome.run.records(rundir.METRICS))) == (0 if first else 1)
    untold = {line for line in display.lines if "no grid" in line}
    assert len(untold) == 5, "one for each moment, and one more attempt at the end"
    assert outcome.run.newest_checkpoint()[0] == 60


def test_a_checkpoint_that_does_not_fit_is_written_later(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = {**TINY, "training.images": 60, "evaluation.share": 0, "snapshots.checkpoint_minutes": 1e-6}
    whole, calls = State.training_file, []

    def file(self: State) -> dict[str, bytes]:
        calls.append(self.progress.images)
        if self.progress.images == 12:
            raise MemoryError
        return whole(self)

    monkeypatch.setattr(State, "training_file", file)
    display = Short(-1)
    outcome = limner.train(pictures, "quick", overrides=settings, runs=tmp_path, display=display)
    assert outcome.ended == "done" and outcome.run.newest_checkpoint()[0] == 60
    assert 12 in calls and any("not enough memory to write a checkpoint" in line for line in display.lines)
