"""Recorded updates: what is played has the numbers of what is run, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from limner import recipe as recipes
from limner.device import is_shortage
from limner.networks.together import ALONE, Together
from limner.recipe import Recipe
from limner.recipe.rules import merged
from limner.training.assembly import assemble, resolved
from limner.training.loop import Loop
from limner.training.recording import WARM, Recorded, can_be_recorded
from limner.training.state import restore, training_tensors
from limner.training.turns import Measures
from tape import Play, Tape
from test_family import collection, narrowed
from test_resume import COMBINED
from test_training import SMALL

CPU = torch.device("cpu")


def make_loop(folder: Path, recipe: Recipe, size: tuple[int, int] = (16, 16)) -> Loop:
    folder.mkdir(exist_ok=True)
    pictures = collection(folder, recipe, size)
    loop = assemble(resolved(recipe, pictures, CPU), pictures, CPU)
    for optimizer in (loop.step.generator_optimizer, loop.step.discriminator_optimizer):
        for group in optimizer.param_groups:
            if "fused" in group:  # the others take no tensor on a processor
                group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)
    return loop


def recorded(loop: Loop, **options: Any) -> Tape:
    tape = Tape()
    loop.recorded = Recorded(loop.step, tape, **options)
    return tape


def equal(one: Loop, other: Loop) -> list[str]:
    """What is not the same in both, bit for bit: all that is trained, what was measured, and the gradients."""
    pairs = [
        (training_tensors(one), training_tensors(other)),
        *((loop_one.values(), loop_other.values()) for loop_one, loop_other in [(one.measures, other.measures)]),
        (gradients(one), gradients(other)),
    ]
    differ = []
    for mine, theirs in pairs:
        assert mine.keys() == theirs.keys()
        differ += [name for name in mine if not torch.equal(mine[name], theirs[name])]
    return differ


def gradients(loop: Loop) -> dict[str, Tensor]:
    networks = {"generator": loop.step.generator, "discriminator": loop.step.discriminator}
    named = ((f"{who} {name}", one) for who, network in networks.items() for name, one in network.named_parameters())
    return {f"gradient of {name}": one.grad for name, one in named if one.grad is not None}


def follow(run: Loop, played: Loop, updates: int) -> None:
    for number in range(updates):
        run.advance()
        played.advance()
        assert equal(run, played) == [], f"after update {number + 1}"


@pytest.mark.parametrize("name", sorted(recipes.names()))
def test_every_recipe_is_played_as_it_is_run(tmp_path: Path, name: str):
    recipe = narrowed(name, 20)
    regularizers = recipe.regularizers
    if regularizers.r1 or regularizers.r2 or regularizers.gradient_penalty:
        recipe = recipe.changed({"regularizers.every": 2 * recipe.training.critic_steps})
    size = (40, 40) if name == "mapmaker" else (32, 32)
    run, played = (make_loop(tmp_path / part, recipe, size) for part in ("run", "played"))
    tape = recorded(played)
    follow(run, played, 2 * WARM + 6)
    assert played.recorded is not None
    # Every second update of the recipes that have a penalty has none: it is of another kind.
    kinds = 2 if run.step.penalties.terms else 1
    assert (played.recorded.records, tape.played) == (kinds, 2 * WARM + 6 - kinds * (WARM + 1))


@pytest.mark.parametrize("combined", COMBINED)
def test_everything_switched_on_is_played_as_it_is_run(tmp_path: Path, combined: str):
    """Rates, probabilities and noise change on the way; the noise ends, and so one kind of update and begins another."""
    settings = {
        **SMALL,
        **COMBINED[combined],
        "training.images": 1000,
        "training.recompute": False,
        "generator.optimizer": "adam",
        "discriminator.optimizer": "adam",
        "image.flip": "horizontal",
        "image.fit": "pad",
    }
    recipe = Recipe.from_values(merged({}, settings))
    run, played = (make_loop(tmp_path / part, recipe) for part in ("run", "played"))
    tape = recorded(played)
    rates = set()
    for _ in range(30):
        follow(run, played, 1)
        rates.add(float(played.step.generator_optimizer.param_groups[0]["lr"]))
    assert tape.played >= 12
    if recipe.schedule.warmup_images:
        assert len(rates) > 3
    if recipe.augment.target:
        assert played.step.augment is not None and 0 < played.step.augment.probability < 1


def test_another_kind_of_update_is_another_record(tmp_path: Path):
    """Finer parts (when memory ran short) are recorded anew, and the record that was there before can still be played."""
    run, played = (make_loop(tmp_path / part, plain()) for part in ("run", "played"))
    tape = recorded(played)
    kinds: dict[int | None, int] = {}
    for size in (None, 2, None):
        run.step.micro_batch = played.step.micro_batch = size
        follow(run, played, WARM + 3)
        kinds[size] = tape.played
    assert played.recorded is not None and played.recorded.records == 2
    assert kinds == {None: 2 + 2 + (WARM + 3), 2: 4}


def test_going_back_makes_records_worthless(tmp_path: Path):
    run, played = (make_loop(tmp_path / part, plain()) for part in ("run", "played"))
    tape = recorded(played)
    follow(run, played, WARM + 3)
    then = {name: value.clone() for name, value in training_tensors(run).items()}
    assert played.recorded is not None and played.recorded.records == 1 and tape.played == 2
    for loop in (run, played):
        restore(loop, then)
    assert played.recorded.records == 0
    follow(run, played, WARM + 2)
    assert played.recorded.records == 1 and tape.played == 3


def test_a_device_that_cannot_record_is_told_of_once(tmp_path: Path):
    run, played = (make_loop(tmp_path / part, plain()) for part in ("run", "played"))
    told: list[str] = []
    played.recorded = Recorded(played.step, broken("operation not permitted\nwhen stream is capturing"), told.append)
    follow(run, played, 3 * WARM)
    assert played.recorded.records == 0
    assert len(told) == 1 and "operation not permitted when stream is capturing" in told[0] and "\n" not in told[0]


def test_a_shortage_while_recording_is_the_callers_affair(tmp_path: Path):
    loop = make_loop(tmp_path, plain())
    loop.recorded = Recorded(loop.step, broken("CUDA out of memory. Tried to allocate 2.00 GiB"))
    for _ in range(WARM):
        loop.advance()
    before, images = training_tensors(loop), loop.progress.images
    before = {name: value.clone() for name, value in before.items()}
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        loop.advance()
    assert is_shortage(caught.value) and loop.progress.images == images
    after = training_tensors(loop)
    assert all(torch.equal(before[name], after[name]) for name in before)
    loop.advance()  # it is not given up: with finer parts there may be memory enough
    assert loop.progress.images == images + loop.portion


def test_a_wait_for_the_device_cannot_be_recorded(tmp_path: Path):
    """The stand-in refuses what a GPU would refuse, so that the other tests here say something."""
    loop = make_loop(tmp_path, plain())
    told: list[str] = []
    recorded(loop, say=told.append)
    real = loop.step.objective.discriminator
    loop.step.objective = replace(
        loop.step.objective,
        discriminator=lambda *logits: real(*logits) * (1 if math.isfinite(logits[0].detach().sum()) else 0),
    )
    for _ in range(WARM + 1):
        loop.advance()
    assert len(told) == 1 and "waits for the device" in told[0]


def test_what_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("LIMNER_EAGER", raising=False)
    cuda = torch.device("cuda")
    assert can_be_recorded(cuda, ALONE, recompute=False)
    assert not can_be_recorded(CPU, ALONE, recompute=False)
    assert not can_be_recorded(cuda, Together(0, 2), recompute=False)
    assert not can_be_recorded(cuda, ALONE, recompute=True)
    monkeypatch.setenv("LIMNER_EAGER", "1")
    assert not can_be_recorded(cuda, ALONE, recompute=False)
    assert make_loop(tmp_path, plain()).recorded is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which records updates")
@pytest.mark.parametrize("name", ["dcgan", "fewshot", "wgan-gp"])
def test_a_gpu_plays_what_it_would_run(tmp_path: Path, name: str):
    recipe, cuda, loops = narrowed(name, 100), torch.device("cuda"), []
    for part in ("run", "played"):
        (tmp_path / part).mkdir()
        pictures = collection(tmp_path / part, recipe, (32, 32))
        loops.append(assemble(resolved(recipe.changed({"training.device": "cuda"}), pictures, cuda), pictures, cuda))
    run, played = loops
    run.recorded = None
    for _ in range(3 * (WARM + 1) * recipe.regularizers.every):
        run.advance()
        played.advance()
    assert played.recorded is not None and played.recorded.records >= 1
    expected, found = training_tensors(run), training_tensors(played)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-2, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


def plain() -> Recipe:
    return narrowed("dcgan", 20).changed({"training.batch_size": 4})


def broken(message: str) -> Callable[[Callable[[], Measures]], tuple[Play, Measures]]:
    def record(work: Callable[[], Measures]) -> tuple[Play, Measures]:
        raise RuntimeError(message)

    return record
