"""What the studio has done: collections inspected, forms checked, trainings begun as the command line would begin them."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import discs
from limner.recipe import Recipe, parse_setting
from limner.studio import forms, jobs
from limner.studio.forms import Forms
from limner.studio.jobs import Busy, Job, Jobs
from limner.studio.launches import Launches
from limner.studio.models import TrainingForm
from limner.studio.places import Missing, Places
from limner.studio.snapshots import Snapshots
from report_support import full_run
from studio_support import client, studio, until

FORM = {"data": "procedural:initials:200", "recipe": "quick"}


def checked(asking: Any, **form: Any) -> dict[str, str]:
    """What is wrong, by field."""
    answer = asking.post("/api/check", json={**FORM, **form})
    assert answer.status_code == 200
    return {problem["field"]: problem["message"] for problem in answer.json()["problems"]}


def test_each_problem_is_told_at_its_field_and_all_at_once(tmp_path: Path) -> None:
    asking = client(studio(tmp_path))
    assert checked(asking) == {}
    full_run(tmp_path / "runs" / "taken", frames=1)
    wrong = {
        "generator.lr": 5,
        "training.images": "many: must be more",
        "network.family": "dcgen",
        "training.seed": -1,
        "image.colour": 1,
    }
    found = checked(asking, settings=wrong, data="nowhere", name="taken")
    assert set(found) == {*wrong, "data", "name"}
    assert found["generator.lr"] == "must be a number from over 0 to 1"
    assert found["training.images"] == "must be a whole number from 1 to 1099511627776"
    assert (
        found["network.family"].startswith("must be one of dcgan,") and "did you mean dcgan" in found["network.family"]
    )
    assert found["data"] == "no such file or folder" and found["name"] == "there is a run 'taken' already"
    for name in ("../x", ".x", "a/b"):
        assert set(checked(asking, name=name)) == {"name"}


def test_what_holds_between_fields_is_told_at_one_of_them(tmp_path: Path) -> None:
    asking = client(studio(tmp_path))
    assert set(checked(asking, settings={"regularizers.r1": 1, "discriminator.norm": "batch"})) == {"regularizers.r1"}
    assert set(checked(asking, settings={"training.micro_batch": 1000})) == {"training.micro_batch"}
    assert set(checked(asking, recipe="nothing")) == set(checked(asking, recipe="/etc/passwd")) == {"recipe"}
    assert set(checked(asking, recipe="run:nothing")) == {"recipe"}


def test_code_and_files_by_name_are_not_for_pages(tmp_path: Path) -> None:
    asking = client(studio(tmp_path))
    for extractor in ("os:system", "/tmp/features.pt", "inception:/tmp/x"):
        assert set(checked(asking, settings={"evaluation.extractor": extractor})) == {"evaluation.extractor"}
    assert checked(asking, settings={"evaluation.extractor": "limner"}) == {}
    answer = asking.post("/api/trainings", json={**FORM, "settings": {"evaluation.extractor": "os:system"}})
    assert answer.status_code == 400 and not list((tmp_path / "runs").iterdir())


def test_a_recipe_is_described_with_what_it_uses(tmp_path: Path) -> None:
    asking = client(studio(tmp_path))
    found = asking.post("/api/check", json={**FORM, "settings": {"training.minutes": 3}}).json()["recipe"]
    assert found["values"]["training.minutes"] == 3 and "training.images" not in found["values"]
    assert "training.epochs" not in found["values"]
    unused = set(found["unused"])
    assert "generator.hidden" in unused and "generator.hidden" not in found["values"] and "generator.lr" not in unused
    everything = asking.get("/api/recipes").json()
    assert set(everything["recipes"]) >= {"quick", "dcgan", "fewshot"} and everything["usual"] == "fewshot"
    fields = everything["schema"]["$defs"]["Training"]["properties"]
    assert fields["seed"]["description"] == "The number that all randomness follows from."
    assert set(everything["choices"]["network.family"]) >= {"dcgan", "mlp"}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"generator.lr": 1e-4, "training.images": 640, "image.flip": "both", "image.rotate": True},
        {"augment.policy": ["color", "cutout"], "training.device": "cpu", "discriminator.norm": "none"},
        {"network.family": "mlp", "generator.hidden": [32, 64], "image.width": 16, "image.height": 16},
        {"image.max_side": None, "training.minutes": 2.5},
    ],
)
def test_the_command_makes_the_very_recipe_of_the_form(tmp_path: Path, settings: dict[str, Any]) -> None:
    """What is started is what was checked, word for word."""
    places = Places(tmp_path, (tmp_path,))
    launches = Launches(places)
    begun: list[list[str]] = []
    launches.begin = lambda name, kind, arguments, data="": begun.append(arguments)  # type: ignore[method-assign, assignment, return-value]
    form = TrainingForm(
        **{**FORM, "recipe": "quick", "settings": settings}, classes="network.family" not in settings, name="-x"
    )
    the_forms = Forms(places, launches)
    assert the_forms.start(form) == "-x"
    (arguments,) = begun
    assert arguments[:2] == ["train", "procedural:initials:200"]
    assert arguments[-1] == "--name=-x" and f"--runs={tmp_path}" in arguments
    recipe = next(one.removeprefix("--recipe=") for one in arguments if one.startswith("--recipe="))
    given = [one.removeprefix("--set=") for one in arguments if one.startswith("--set=")]
    made = Recipe.load(recipe, dict(map(parse_setting, given)))
    if "--classes" in arguments and made.network.conditioning == "none":
        made = made.changed({"network.conditioning": "projection"})
    assert made == the_forms.recipe(form)


def test_names_of_runs_come_from_the_collection(tmp_path: Path) -> None:
    places = Places(tmp_path, (tmp_path,))
    (tmp_path / "maps").mkdir()
    assert Launches(places).free_name("maps") == "maps-2"
    (tmp_path / "my maps.v2").mkdir()
    names = {data: forms._title(data) for data in ("procedural:maps:20", "/x/maps.zip", str(tmp_path / "my maps.v2"))}
    assert list(names.values()) == ["maps", "maps", "my-maps.v2"]


def test_a_collection_is_inspected_in_the_background(tmp_path: Path) -> None:
    made = studio(tmp_path)
    asking = client(made)
    folder = tmp_path / "data" / "discs"
    folder.mkdir()
    for number, picture in enumerate(discs(12, 20, 16, 3)):
        picture.save(folder / f"{number:02d}.png")
    Image.open(folder / "03.png").save(folder / "copy.png")
    (folder / "broken.png").write_bytes(b"no picture")
    begun = asking.post("/api/inspections", json={"data": "discs"}).json()
    assert begun["kind"] == "inspect" and begun["state"] in ("waiting", "working")
    found = until(lambda: (one := asking.get(f"/api/jobs/{begun['id']}").json())["state"] != "working" and one)
    assert found["state"] == "done" and found["progress"][0] == found["progress"][1]
    result = found["result"]
    assert (result["count"], result["unreadable_count"], result["exact_copies_count"]) == (13, 1, 1)
    assert result["exact_copies"] == [["03.png", "copy.png"]] and result["sizes"] == [[20, 16, 13]]
    assert "13 pictures can be read" in result["words"] and result["advice"]["command"].startswith("limner train")
    sheet = asking.get(f"/api/jobs/{begun['id']}/sheet.png")
    assert sheet.headers["content-type"] == "image/png" and sheet.content.startswith(b"\x89PNG")
    made.jobs.close()
    assert not made.jobs.folder.exists()


def test_what_goes_wrong_in_a_job_is_one_line(tmp_path: Path) -> None:
    asking = client(studio(tmp_path))
    (tmp_path / "data" / "none").mkdir()
    begun = asking.post("/api/inspections", json={"data": "none"}).json()
    found = until(lambda: (one := asking.get(f"/api/jobs/{begun['id']}").json())["state"] != "working" and one)
    assert found["state"] == "failed" and "has no image files" in found["error"] and "\n" not in found["error"]
    assert asking.get(f"/api/jobs/{begun['id']}/sheet.png").status_code == 404
    assert asking.post("/api/inspections", json={"data": "none", "width": 64}).status_code == 400
    assert asking.get("/api/jobs/nothing").status_code == asking.delete("/api/jobs/nothing").status_code == 404


def test_jobs_take_turns_are_done_once_and_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = "import sys, time; sys.stdin.read(); time.sleep(60)"
    real = jobs.subprocess.Popen
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda words, **more: real((sys.executable, "-c", slow), **more))
    made = Jobs()
    begun = [made.begin(Job("inspect", {}, key=str(number))) for number in range(jobs.MOST_WAITING)]
    assert [job.state for job in begun[:3]] == ["working", "working", "waiting"]
    assert made.begin(Job("inspect", {}, key="1")) is begun[1]
    with pytest.raises(Busy):
        made.begin(Job("inspect", {}, key="one more"))
    until(lambda: begun[0].process is not None)
    process = begun[0].process
    assert process is not None
    began = time.monotonic()
    assert made.cancel(begun[0].id) and made.cancel(begun[5].id)
    until(lambda: begun[0].process is None)
    assert process.returncode != 0 and time.monotonic() - began < 30
    assert begun[2].state == "working" and begun[5].state == begun[0].state == "cancelled"
    made.close()
    until(lambda: not [one for one in threading.enumerate() if one.name == "limner-inspect"])
    assert {job.state for job in begun} == {"cancelled"}


def test_what_was_done_and_is_gone_is_done_again() -> None:
    """A job that is over is no answer to the same question: what it had left may have been removed."""
    made = Jobs()
    made._start_next = lambda: None  # type: ignore[method-assign]
    first = made.begin(Job("export", {}, key="export a"))
    assert made.begin(Job("export", {}, key="export a")) is first
    for state in ("done", "failed", "cancelled"):
        first.state = state
        again = made.begin(Job("export", {}, key="export a"))
        assert again is not first and again.state == "waiting"
        first = again
    made.close()


def test_exported_snapshots_take_bounded_room(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    run = full_run(tmp_path / "runs" / "run", frames=1).path
    (run / "checkpoints" / "000064000" / "generator.safetensors").write_bytes(b"weights")
    made = Snapshots(Places(tmp_path / "runs", ()), Jobs(), tmp_path / "cache", most_bytes=250)
    key = made._key("run", "64000")
    for number, name in enumerate(("a" * 32, "b" * 32, "c" * 32, key)):
        (made.root / name / "samples").mkdir(parents=True)
        for part in ("limner.json", "generator.onnx"):
            (made.root / name / part).write_bytes(b"x" * 50)
        os.utime(made.root / name, (number, number))
    made._prune(keep=key)
    assert sorted(path.name[0] for path in made.root.iterdir()) == sorted(["b", "c", key[0]])
    assert made.export("run", "64000").state == "done"  # it is there
    assert made.file("run", "64000", ("limner.json",)).read_bytes() == b"x" * 50
    (run / "checkpoints" / "000064000" / "generator.safetensors").unlink()  # as a training that goes on does
    assert made.file("run", "64000", ("generator.onnx",)).is_file()
    for at, parts in (
        ("1", ("limner.json",)),
        ("64000", ("samples", "..")),
        ("64000", ("x",)),
        ("best", ("limner.json",)),
    ):
        with pytest.raises(Missing):
            made.file("run", at, parts)
