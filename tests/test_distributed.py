"""Several processes against one: the same weights, the same measures, the same end; and no end that hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import distributed_worker as worker
from limner.errors import InputError
from limner.networks.together import Together
from limner.recipe import Recipe
from limner.training.assembly import assemble
from limner.training.distributed import Group
from limner.training.meeting import joined
from limner.training.turns import Batch
from limner.training.turns import joined as joined_batches

WORKER = Path(worker.__file__)
TINY = {"generator.width": 4, "discriminator.width": 4}
IN_PARTS = {"training.micro_batch": 4}
DCGAN = {**TINY, "image.width": 16, "image.height": 16, "training.epochs": 1, "objective.name": "non-saturating"}
FEWSHOT = {**TINY, "regularizers.r1": 1.0, "regularizers.r2": 1.0, "regularizers.every": 3, "augment.speed_images": 400}
WGAN = {
    **DCGAN,
    "training.batch_size": 6,
    "discriminator.norm": "none",
    "objective.name": "wasserstein",
    "regularizers.gradient_penalty": 10.0,
}
AGAIN = {"training.recompute": True}

CASES: dict[str, dict[str, Any]] = {
    # Batch normalisation in both networks; seven images are three and four.
    "dcgan": {"recipe": "dcgan", "settings": {**DCGAN, "training.batch_size": 7}},
    "dcgan in parts": {"recipe": "dcgan", "settings": {**DCGAN, **IN_PARTS, "training.batch_size": 7}},
    "dcgan computed again": {"recipe": "dcgan", "settings": {**DCGAN, **AGAIN, "training.batch_size": 5}, "steps": 8},
    "wgan-gp": {"recipe": "dcgan", "settings": {**WGAN, "discriminator.clip_norm": 1.0}},
    "wgan-gp in parts": {"recipe": "dcgan", "settings": {**WGAN, **IN_PARTS}},
    "several turns": {"recipe": "dcgan", "settings": {**WGAN, "training.critic_steps": 3}, "steps": 8},
    # The deviation looks across the batch, R1 and R2 are derivatives of it, the augmentation follows all logits.
    "fewshot": {"recipe": "fewshot", "settings": {**FEWSHOT, "training.batch_size": 8}},
    "fewshot in parts": {"recipe": "fewshot", "settings": {**FEWSHOT, **IN_PARTS, "training.batch_size": 8}},
    "fewshot uneven": {"recipe": "fewshot", "settings": {**FEWSHOT, "training.batch_size": 9}, "steps": 8},
    "fewshot computed again": {
        "recipe": "fewshot",
        "settings": {**FEWSHOT, **AGAIN, "training.batch_size": 8},
        "steps": 8,
    },
    "spectral": {
        "recipe": "dcgan",
        "settings": {**DCGAN, "training.batch_size": 7, "discriminator.norm": "spectral", "objective.name": "hinge"},
        "steps": 8,
    },
    # Batch normalisation by class in the generator, and a class loss.
    "classes": {
        "recipe": "dcgan",
        "settings": {**DCGAN, "training.batch_size": 7, "network.conditioning": "acgan"},
        "steps": 8,
    },
    "going back": {"recipe": "dcgan", "settings": {**DCGAN, "training.batch_size": 6}, "rollback": 5, "steps": 8},
}
OTHERS: dict[str, dict[str, Any]] = {
    "interrupted": {
        "recipe": "dcgan",
        "settings": {**DCGAN, "training.batch_size": 4},
        "interrupt": [1, 4],
        "steps": 8,
    },
    "drift": {"recipe": "dcgan", "settings": {**DCGAN, "training.batch_size": 4}, "drift": [1, 2], "steps": 8},
    "dropout": {
        "recipe": "dcgan",
        "settings": {**DCGAN, "training.batch_size": 4, "discriminator.dropout": 0.3},
        "steps": 5,
    },
}


def start(plan: dict[str, Any], folder: Path) -> dict[str, dict[str, tuple[int, float]]]:
    """Carry out a plan of the worker's; exit code and seconds of each process."""
    (folder / "plan.json").write_text(json.dumps(plan))
    environment = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK")}
    command = [sys.executable, str(WORKER), str(folder / "plan.json"), str(folder)]
    subprocess.run(command, env={**environment, "OMP_NUM_THREADS": "1"}, check=True, timeout=280)
    ends: dict[str, dict[str, tuple[int, float]]] = json.loads((folder / "ends.json").read_text())
    return ends


def difference(ours: Path, theirs: Path) -> float:
    """The largest difference between two trainings, of weights, moments, statistics and averages."""
    one, other = load_file(ours), load_file(theirs)
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def test_processes_train_as_one_does(tmp_path: Path):
    """In float64, after fifty updates, every number of a training is that of one process, up to 1e-9."""
    three = {name: CASES[name] for name in ("dcgan computed again", "fewshot uneven", "several turns")}
    plan = {
        "one": {"size": 1, "cases": CASES},
        "two": {"size": 2, "cases": {**CASES, **OTHERS}},
        "three": {"size": 3, "cases": three},
    }
    ends = start(plan, tmp_path)
    assert all(code == 0 for of in ends.values() for code, _ in of.values()), ends
    for size, number, cases in (("two", 2, CASES), ("three", 3, three)):
        for name in cases:
            found = difference(tmp_path / f"one.{name}.0.safetensors", tmp_path / f"{size}.{name}.0.safetensors")
            assert found < 1e-9, (size, name, found)
            ran = [json.loads((tmp_path / f"{size}.{name}.{rank}.json").read_text()) for rank in range(number)]
            alone = json.loads((tmp_path / f"one.{name}.0.json").read_text())
            for mine, theirs in zip(alone["measured"], ran[0]["measured"], strict=True):
                assert theirs == pytest.approx(mine, rel=1e-7, abs=1e-9), (size, name)
            # Bit for bit on every process, and the same end.
            assert len({one["hash"] for one in ran}) == 1, (size, name)
            same = ("ended", "step", "rollbacks")
            assert all([one[key] for key in same] == [alone[key] for key in same] for one in ran), (size, name)
    for name, expected in (("interrupted", ("interrupted", 4)), ("dropout", ("done", 5)), ("drift", ("done", 8))):
        ran = [json.loads((tmp_path / f"two.{name}.{rank}.json").read_text()) for rank in range(2)]
        assert ran[0]["hash"] == ran[1]["hash"]
        assert all((one["ended"], one["step"]) == expected for one in ran)
    follower = {
        name: json.loads((tmp_path / f"two.{name}.1.json").read_text()) for name in ("going back", "drift", "dcgan")
    }
    assert follower["going back"]["rollbacks"] == 1
    assert [follower[name]["drifts"] for name in ("drift", "dcgan")] == [1, 0]


def test_no_process_waits_for_one_that_has_gone(tmp_path: Path):
    """Killed, stopped (which is how a cut line looks), refused or faulty: all end, and one says why. A pause is no end."""
    case = {"some": {**CASES["dcgan"], "steps": 8}}
    hows = ("killed", "stopped", "refused", "faulty", "pause")
    ends = start({how: {"size": 2, "end": how, "cases": case} for how in hows}, tmp_path)
    said = {how: [(tmp_path / f"{how}.{rank}.err").read_text() for rank in range(2)] for how in hows}
    codes = {how: [ends[how][str(rank)][0] for rank in range(2)] for how in hows}
    assert codes == {"killed": [1, -9], "stopped": [1, -9], "refused": [2, 2], "faulty": [1, 1], "pause": [0, 0]}, said
    assert all(seconds < 60 for of in ends.values() for _, seconds in of.values()), ends
    for how in ("killed", "stopped"):
        lines = said[how][0].strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("limner: ") and "limner resume" in lines[0], lines
    assert "process 1" in said["stopped"][0] and "not been heard of" in said["stopped"][0]
    assert said["refused"] == ["", "limner: picture 7 is no picture\n"]
    assert said["faulty"][0] == "" and "ZeroDivisionError: a fault of our own" in said["faulty"][1]
    assert said["pause"] == ["", ""]


def test_more_processes_than_images_are_refused(tmp_path: Path):
    for settings, where in (
        ({"training.batch_size": 2}, "training.batch_size = 2: 3 processes"),
        ({"training.batch_size": 8, "training.micro_batch": 3}, r"in parts of 3 \(training.micro_batch\): 3 processes"),
    ):
        recipe = Recipe.load("dcgan", {**DCGAN, **settings})
        with pytest.raises(InputError, match=where):
            assemble(recipe, None, torch.device("cpu"), Together(1, 3))  # type: ignore[arg-type]


def test_shares_are_whole_and_even():
    for count in range(3, 12):
        shares = [Together(rank, 3).share(range(100, 100 + count)) for rank in range(3)]
        assert [number for share in shares for number in share] == [*range(100, 100 + count)]
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_share_of_a_batch_is_cut_where_the_batch_is():
    """Ten images in parts of four, on two processes: the second has 2-4, 6-8 and 9 of them (from 0, ends left out)."""
    together = Together(1, 2)
    own = [*range(2, 4), *range(6, 8), 9]
    values = torch.tensor(own, dtype=torch.float64)
    batch = Batch(values.view(-1, 1, 1, 1), values[:, None], None, values, whole=10)
    parts = batch.parts(4, together)
    assert [part.z[:, 0].tolist() for part in parts] == [[2, 3], [6, 7], [9]]
    assert [part.whole for part in parts] == [4, 4, 2]
    again = joined_batches(parts)
    assert torch.equal(again.real, batch.real) and again.whole == 10 and again.mix is not None


def test_memory_is_planned_for_one_process():
    group = Group(Together(0, 4))
    recipe = Recipe.load("dcgan", {**DCGAN, "training.batch_size": 30, "training.micro_batch": 12})
    own = group.of_one(recipe)
    assert (own.training.batch_size, own.training.micro_batch) == (8, 3)
    # Twice four processes' portion would be 8, of which 30 leave 6; 12 leave 6 as well; 7 would leave 2, too few for four.
    for micro, expected in ((2, 8), (3, 12), (None, None)):
        fitted = own.changed({"training.micro_batch": micro, "training.recompute": micro is not None})
        found = group.of_all(recipe.changed({"training.micro_batch": None}), fitted).training
        assert (found.micro_batch, found.recompute) == (expected, micro is not None)
    few = recipe.changed({"training.batch_size": 9, "training.micro_batch": None})
    found = group.of_all(few, group.of_one(few).changed({"training.micro_batch": 2}))
    assert found.training.micro_batch == 5, "of 8 one would be left over, of 7 two, of 6 three"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "0", "MASTER_PORT": "1"}, "MASTER_ADDR is not set"),
        ({"RANK": "x", "MASTER_ADDR": "here", "MASTER_PORT": "1"}, "must be numbers"),
        ({"RANK": "2", "MASTER_ADDR": "here", "MASTER_PORT": "1"}, "RANK is 2, but WORLD_SIZE 2"),
    ],
)
def test_half_an_environment_is_refused(environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": "2", **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{said}.*torchrun|{said}"), joined():
        pass
