"""The memory plan: what is predicted is what a training takes, and what is chosen fits."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import run
from types import SimpleNamespace

import numpy as np
import pytest

from limner.data import prepare
from limner.device import choose_device
from limner.errors import InputError, LimnerError
from limner.recipe import Recipe
from limner.training import memory
from limner.training.assembly import resolved
from limner.training.memory import Fit, Found, Job, PastBound, available, fit, rehearse
from limner.training.rehearsal import _updated

SMALL = {
    "generator.width": 4,
    "discriminator.width": 4,
    "network.latent": 8,
    "training.batch_size": 8,
    "training.images": 16,
    "snapshots.grid": 4,
    "evaluation.images": 16,
    "training.device": "cpu",
    "training.precision": "float32",
}
linux = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc")


def recipe_for(data: Path, **more: object) -> Recipe:
    recipe = Recipe.load("quick", {**SMALL, **{key.replace("__", "."): value for key, value in more.items()}})
    return resolved(recipe, prepare(data, recipe.image), choose_device("cpu"))


class Machine:
    """Stands in for rehearsals: a training of ``fixed`` bytes and ``slope`` more for each image at a time; recomputing
    halves the slope."""

    def __init__(self, fixed: float, slope: float, rest: float = 0) -> None:
        self.fixed, self.slope, self.rest = fixed, slope, rest
        self.asked: list[tuple[int, bool, bool]] = []

    def __call__(self, job: Job) -> Found:
        training = Recipe.from_toml(job.recipe).training
        images = training.micro_batch or training.batch_size
        self.asked.append((images, training.recompute, job.whole))
        peak = self.fixed + self.slope * images * (0.5 if training.recompute else 1)
        peak = int(max(peak, self.rest if job.whole else 0))
        if job.bound is not None and peak > job.bound:
            raise PastBound("evaluation" if peak == self.rest else "updates")
        return Found(peak, {"updates": peak}, 0.01, 1.0, 1.0, (10, 10), 24)


@pytest.fixture
def recipe() -> Recipe:
    overrides = {**SMALL, "training.batch_size": 64, "image.width": 64, "image.height": 64, "image.channels": 1}
    return Recipe.load("quick", overrides)


def fitted(monkeypatch: pytest.MonkeyPatch, recipe: Recipe, machine: Machine, bound: float) -> Fit:
    monkeypatch.setattr(memory, "rehearse", machine)
    return fit("pictures", recipe, int(bound), 1.0, lambda text: None)


def chosen(found: Fit) -> tuple[int | None, bool]:
    return found.recipe.training.micro_batch, found.recipe.training.recompute


def test_what_fits_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, recipe: Recipe):
    machine = Machine(1e9, 1e7)
    found = fitted(monkeypatch, recipe, machine, 2e9)
    assert found.recipe == recipe and found.said == "" and machine.asked == [(64, False, True)]


def test_the_largest_part_that_fits_is_chosen_and_rehearsed(monkeypatch: pytest.MonkeyPatch, recipe: Recipe):
    """94 % of 3 GB are 2.82: 18 images of 0.1 GB beside 1 GB; four parts of 16 are as many as of 18."""
    machine = Machine(1e9, 1e8)
    found = fitted(monkeypatch, recipe, machine, 3e9)
    assert chosen(found) == (16, False)
    assert machine.asked == [(64, False, True), (1, False, False), (2, False, False), (16, False, True)]
    assert found.found.peak == 2.6e9
    assert found.said.startswith("2.60 of 3 GB at its peak: batches of 64 are computed 16 images at a time, in 4 parts")
    assert "batch normalisation" in found.said


def test_with_batch_normalisation_recomputing_comes_before_tiny_parts(monkeypatch: pytest.MonkeyPatch, recipe: Recipe):
    """2.82 GB hold 1 + 3 * 0.6, so 3 at a time, but 6 when recomputed: 11 parts of 6 (the last has 4)."""
    found = fitted(monkeypatch, recipe, Machine(1e9, 6e8), 3e9)
    assert chosen(found) == (6, True) and "computed again" in found.said
    plain = recipe.changed({"generator.norm": "none", "discriminator.norm": "none"})
    found = fitted(monkeypatch, plain, Machine(1e9, 6e8), 3e9)
    assert chosen(found) == (3, False) and "normalisation" not in found.said


def test_fewer_images_than_statistics_want_are_better_than_none(monkeypatch: pytest.MonkeyPatch, recipe: Recipe):
    assert chosen(fitted(monkeypatch, recipe, Machine(1e9, 1.2e9), 3e9)) == (1, False)
    assert chosen(fitted(monkeypatch, recipe, Machine(1e9, 3e9), 3e9)) == (1, True)


def test_what_cannot_fit_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, recipe: Recipe):
    for machine, words in (
        (Machine(4e9, 1), "not even one image at a time fits; it ended during updates); --size 32x32"),
        (Machine(1e9, 1e7, rest=4e9), "updates would fit, judging does not; it ended during evaluation"),
    ):
        with pytest.raises(InputError, match=r"^--memory 3GB: ") as caught:
            fitted(monkeypatch, recipe, machine, 3e9)
        assert words in str(caught.value) and len(str(caught.value).splitlines()) == 1
    # As it is, two for the line, and the fewest: more tries would not help.
    assert [images for images, _, _ in machine.asked] == [64, 1, 2, 4]


def test_the_recipes_own_parts_are_the_largest(monkeypatch: pytest.MonkeyPatch, recipe: Recipe):
    asked = recipe.changed({"training.micro_batch": 8, "training.recompute": True})
    machine = Machine(1e9, 6e8)
    assert chosen(fitted(monkeypatch, asked, machine, 3e9)) == (6, True)
    assert all(images <= 8 and recompute for images, recompute, _ in machine.asked)


class Clockwork:
    """A loop whose updates take as long as a formula says: ``a`` and ``b`` for each image, and ``penalty`` times that
    much in updates with a penalty."""

    def __init__(self, recipe: Recipe, a: float, b: float, penalty: float = 1.0) -> None:
        self.recipe, self.a, self.b, self.penalty = recipe, a, b, penalty
        terms = [(None, 1.0)] if recipe.regularizers.r1 else []
        self.step = SimpleNamespace(penalties=SimpleNamespace(terms=terms))
        self.progress = SimpleNamespace(step=0)
        self.batches: list[int] = []

    @property
    def portion(self) -> int:
        return self.recipe.training.batch_size * self.recipe.training.critic_steps

    def advance(self) -> float:
        turns, every = self.recipe.training.critic_steps, self.recipe.regularizers.every
        penalised = any((self.progress.step * turns + turn + 1) % every == 0 for turn in range(turns))
        self.progress.step += 1
        self.batches.append(self.recipe.training.batch_size)
        return (self.a + self.b * self.portion) * (self.penalty if penalised and self.step.penalties.terms else 1)


@pytest.mark.parametrize("turns", [1, 2])
def test_lazy_penalties_count_as_often_as_they_come(monkeypatch: pytest.MonkeyPatch, recipe: Recipe, turns: int):
    """One update in 8 (or one in 4, with two turns of D in each) takes three times as long."""
    monkeypatch.setattr("limner.training.rehearsal._step", Clockwork.advance)
    settings = {"regularizers.r1": 1.0, "regularizers.every": 8, "discriminator.norm": "none"}
    lazy = recipe.changed({**settings, "training.critic_steps": turns})
    seconds, shown = _updated(Clockwork(lazy, 0, 0.001, 3), lazy, 0.5)
    assert shown == 64 and seconds == pytest.approx(0.001 * (1 + 2 * turns / 8))


def test_long_updates_are_timed_on_two_sizes(monkeypatch: pytest.MonkeyPatch, recipe: Recipe):
    """4 s whatever the batch and 1 s an image are 68 s for 64 images; 4 and 8 images are enough to know."""
    monkeypatch.setattr("limner.training.rehearsal._step", Clockwork.advance)
    parts = recipe.changed({"training.micro_batch": 2})
    loop = Clockwork(parts, 4, 1)
    assert _updated(loop, parts, 3) == (pytest.approx(68 / 64), 8)
    assert loop.batches == [4, 4, 8]
    quick = Clockwork(parts, 0.04, 0.01)
    assert _updated(quick, parts, 0.5) == (pytest.approx(0.68 / 64), 64)
    assert _updated(Clockwork(parts, 4, 1), parts, 0) == (0, 4)


@linux
def test_a_rehearsal_measures_what_a_training_takes(pictures: Path, tmp_path: Path):
    """Predicted in one process, trained in another one whose memory is followed: within 15 %, both ways."""
    sizes = {"image.width": 96, "image.height": 80, "generator.width": 16, "discriminator.width": 16}
    bigger = recipe_for(pictures, **sizes, training__batch_size=16)
    found = rehearse(Job(str(pictures), bigger.to_toml(), None, 0.05, True, 1))
    assert list(found.after) == ["networks", "first evaluation", "updates", "samples", "evaluation", "checkpoint"]
    assert sorted(found.after.values()) == list(found.after.values())
    alone = rehearse(Job(str(pictures), bigger.to_toml(), None, 0.05, False, 1)).after
    assert list(alone) == ["networks", "updates"]
    assert alone["updates"] > alone["networks"] + 12e6  # 17 to 20 are usual
    assert found.seconds > 0 and 0 < found.processor < 1.2 and found.epoch_size == 24
    script = (
        "import json, sys, limner\n"
        "from limner.data.store import cache_root\n"
        "from limner.training.display import Quiet\n"
        "from limner.training.memory import Watch\n"
        "data, recipe, runs = json.load(sys.stdin)\n"
        "import torch; torch.set_num_threads(1)\n"
        "watch = Watch(None, cache_root()); watch.start()\n"
        "limner.train(data, limner.recipe.Recipe.from_toml(recipe), runs=runs, display=Quiet())\n"
        "print(watch.peak)\n"
    )
    job = json.dumps([str(pictures), bigger.to_toml(), str(tmp_path / "runs")])
    ended = run([sys.executable, "-c", script], input=job, capture_output=True, text=True, check=True)
    assert found.peak == pytest.approx(int(ended.stdout), rel=0.15)


@linux
def test_a_rehearsal_ends_itself_at_its_bound(pictures: Path):
    wide = recipe_for(pictures, image__width=128, image__height=128, generator__width=64, evaluation__share=0)
    wide = wide.changed({"training.batch_size": 64})
    with pytest.raises(PastBound) as caught:
        rehearse(Job(str(pictures), wide.to_toml(), 700_000_000, 0.05, False, 1))
    assert caught.value.during == "updates"


def test_what_a_training_would_refuse_is_refused(pictures: Path, tmp_path: Path):
    toml = recipe_for(pictures).to_toml()
    with pytest.raises(InputError, match="nothing-here"):
        rehearse(Job(str(tmp_path / "nothing-here"), toml, None, 0.05, False))


def test_a_rehearsal_that_fails_says_why(pictures: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/bin/sh")
    with pytest.raises(LimnerError, match="rehearsal of the training failed"):
        rehearse(Job(str(pictures), recipe_for(pictures).to_toml(), None, 0.05, False))


@linux
def test_the_watch_counts_what_is_held_and_not_what_is_mapped(tmp_path: Path):
    size = 60_000_000
    (tmp_path / "mapped").mkdir()
    np.ones(size, dtype=np.uint8).tofile(tmp_path / "mapped" / "data.bin")
    script = (
        "import sys, time, numpy as np\n"
        "from pathlib import Path\n"
        "from limner.training.memory import Watch\n"
        "folder = Path(sys.argv[1])\n"
        "inside, outside = Watch(None, folder), Watch(None)\n"
        "before = inside.peak, outside.peak\n"
        "inside.start(); mapped = np.memmap(folder / 'data.bin', dtype=np.uint8, mode='r'); int(mapped.sum())\n"
        "print(inside.peak - before[0], outside.peak - before[1])\n"
        f"held = np.ones({size}, dtype=np.uint8); time.sleep(0.1); del held\n"
        "print(inside.peak - before[0])\n"
    )
    ended = run([sys.executable, "-c", script, str(tmp_path / "mapped")], capture_output=True, text=True, check=True)
    without, with_it, held = map(int, ended.stdout.split())
    assert without < 10e6 and with_it == pytest.approx(size, rel=0.15) and held == pytest.approx(size, rel=0.15)
    free = available()
    assert free is not None and 1e7 < free < 1e14


def test_jobs_and_findings_survive_json():
    job = Job("here", "text", None, 1.0, True, 2)
    assert replace(job) == Job(**json.loads(json.dumps(vars(job))))
