"""What the studio says of runs: their states, how far they are, their curves; and that nothing is computed twice."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.rundir import RunDir
from limner.studio.curves import MOST_POINTS, bucketed
from limner.studio.tails import History, Tail, last_lines
from limner.studio.thumbnails import thumbnail
from report_support import BATCH, append, bare_run, full_run, log_line, metrics_line
from studio_support import client, studio, training


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    (tmp_path / "runs").mkdir()
    return full_run(tmp_path / "runs" / "letters")


def state(run: RunDir, images: int, **values: object) -> None:
    """A checkpoint's state."""
    folder = run.path / "checkpoints" / f"{images:09d}"
    folder.mkdir(exist_ok=True)
    (folder / "state.json").write_text(json.dumps({"format": 1, "images": images, **values}))
    (folder / "training.safetensors").touch()


def test_a_finished_run_is_summarised(tmp_path: Path, run: RunDir) -> None:
    asking = client(studio(tmp_path))
    (found,) = asking.get("/api/runs").json()["runs"]
    assert found["name"] == "letters" and found["state"] == "finished" and found["share"] == 1.0
    assert (found["images"], found["width"], found["height"], found["channels"]) == (64_000, 32, 32, 1)
    assert (found["recipe"], found["data"], found["count"]) == ("quick", "my pictures", 1000)
    assert found["grid"] == 64_000 and found["grids"] == 8 and found["snapshots"] == 1
    assert found["remaining"] is None and found["seconds"] == pytest.approx(110, abs=1)
    assert found["best"] == 64_000 and found["figure"]["low"] < found["figure"]["value"] < found["figure"]["high"]
    more = asking.get("/api/runs/letters").json()
    assert more["grids_at"] == [8000 * place for place in range(1, 9)] and more["has_best"] is False
    assert more["verdict"]["headline"] and more["verdict"]["remarks"]
    assert [event["event"] for event in more["events"]][:2] == ["best", "resumed"]  # the newest first
    assert more["changes"]["recipe"] == "quick"
    changed = {row["field"]: row for row in more["changes"]["differences"]}
    assert changed["generator.lr"]["here"] == "0.0001" and changed["generator.lr"]["why"] == "changed"
    assert changed["training.device"]["why"] == "measured"
    assert more["command"][:3] == ["/usr/local/bin/limner", "train", "my pictures"]


def test_states_follow_from_the_lock_the_events_and_the_checkpoint(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    ended = {"interrupted": "interrupted", "stopped": "failed"}
    for kind in ended:
        run = bare_run(runs / kind)
        state(run, 640, ended=kind)
        append(
            run, "events.jsonl", [{"event": "started", "images": 0}, {"event": kind, "images": 640, "reason": "a disk"}]
        )
    killed = bare_run(runs / "killed")
    state(killed, 640, ended="done")
    append(killed, "events.jsonl", [{"event": "stopped", "images": 640}, {"event": "resumed", "images": 640}])
    state(killed, 1280)
    found = {one["name"]: one for one in client(studio(tmp_path)).get("/api/runs").json()["runs"]}
    assert {name: found[name]["state"] for name in ended} == ended
    assert found["stopped"]["reason"] == "a disk"
    assert found["killed"]["state"] == "interrupted" and "ended without a word" in found["killed"]["reason"]


def test_a_training_shows_up_by_itself_with_what_is_left(tmp_path: Path, run: RunDir) -> None:
    asking = client(studio(tmp_path))
    assert asking.get("/api/runs/letters").json()["state"] == "finished"
    (run.path / "recipe.toml").write_text(
        run.recipe().changed({"training.images": 256_000, "training.batch_size": BATCH}).to_toml()
    )
    with training(run.path):
        found = asking.get("/api/runs/letters").json()
        assert found["state"] == "training" and found["total"] == 256_000 and found["share"] == 0.25
        assert found["remaining"] == pytest.approx(3 * 110, rel=0.02)  # a quarter took 110 s
        append(run, "log.jsonl", [log_line(2000)])
        found = asking.get("/api/runs/letters").json()
        assert found["images"] == 128_000 and found["share"] == 0.5
    assert asking.get("/api/runs/letters").json()["state"] != "training"


def test_an_answer_is_computed_once_until_something_changes(tmp_path: Path, run: RunDir) -> None:
    made = studio(tmp_path)
    asking = client(made)
    time.sleep(0.1)  # what was written just now may change again unseen, and is not kept
    for path in ("/api/runs/letters", "/api/runs/letters/curves", "/api/runs/letters/thumbnails/64000.png"):
        first = asking.get(path)
        computed = made.memo.computed
        again = asking.get(path, headers={"if-none-match": first.headers["etag"]})
        assert again.status_code == 304 and again.content == b"" and made.memo.computed == computed
        assert asking.get(path, headers={"if-none-match": '"other"'}).content == first.content
    tag = asking.get("/api/runs/letters/curves").headers["etag"]
    append(run, "log.jsonl", [log_line(1020)])
    assert asking.get("/api/runs/letters/curves", headers={"if-none-match": tag}).status_code == 200
    assert made.memo.computed == computed + 1


def test_curves_have_intervals_and_the_log_its_numbers(tmp_path: Path, run: RunDir) -> None:
    append(run, "log.jsonl", [log_line(1020, generator_loss=None)])
    found = client(studio(tmp_path)).get("/api/runs/letters/curves").json()
    log = found["log"]
    assert log["images"] == [BATCH * step for step in range(20, 1021, 20)] and log["lines"] == 51
    losses = log["columns"]["generator_loss"]["value"]
    assert losses[0] == pytest.approx(log_line(20)["generator_loss"], rel=1e-4) and losses[-1] is None
    kernel = next(one for one in found["figures"] if one["name"] == "kernel_distance")
    wanted = metrics_line(1000)["figures"]["kernel_distance"]
    assert (kernel["images"][-1], kernel["value"][-1]) == (64_000, pytest.approx(wanted["value"], rel=1e-4))
    assert kernel["low"][-1] == pytest.approx(wanted["low"], rel=1e-4) and kernel["better"] == "lower"


@pytest.mark.parametrize("count", [0, 1, 7, MOST_POINTS, MOST_POINTS + 1, 1000, 12_345])
def test_long_logs_become_few_points_with_quantiles(count: int) -> None:
    random = np.random.default_rng(count)
    images = np.arange(1, count + 1) * 64.0
    values = random.normal(size=count)
    values[random.random(count) < 0.2] = np.nan
    values[: count // 3] = np.nan
    places, rows = bucketed(images, {"loss": values})
    assert len(places) <= MOST_POINTS and len(places) == len(rows["loss"]["value"])
    if count <= MOST_POINTS:
        assert places == images.tolist() and set(rows["loss"]) == {"value"}
        return
    size = 2 ** math.ceil(math.log2(count / MOST_POINTS))
    for place in range(0, len(places), 17):
        inside = values[place * size : (place + 1) * size]
        known = inside[~np.isnan(inside)]
        assert places[place] == images[: (place + 1) * size][-1]
        for name, share in (("low", 0.1), ("value", 0.5), ("high", 0.9)):
            found = rows["loss"][name][place]
            if len(known):
                assert found == pytest.approx(np.quantile(known, share), rel=1e-4, abs=1e-9)
            else:
                assert found is None


def test_points_stay_where_they_are_while_a_log_grows() -> None:
    values = np.random.default_rng(0).normal(size=1200)
    first, _ = bucketed(np.arange(1000.0), {"loss": values[:1000]})
    later, _ = bucketed(np.arange(1200.0), {"loss": values})
    assert later[: len(first) - 1] == first[:-1]


def test_a_log_is_read_on_and_read_anew_when_it_was_rewound(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    tail = Tail(tmp_path, "log.jsonl")
    assert tail.read_on() == (False, [])
    path.write_bytes(b'{"images": 1}\n{"images": 2}\n{"ima')
    assert tail.read_on() == (False, [{"images": 1}, {"images": 2}])
    with path.open("ab") as file:
        file.write(b'ges": 3}\nno json\n{"images": true}\n[1]\n{"images": 4}\n')
    assert tail.read_on() == (False, [{"images": 3}, {"images": 4}])
    assert tail.read_on() == (False, [])
    # A training that goes back writes the log anew: shorter, or in a file of its own, or with other lines as long.
    for content in (b'{"images": 1}\n', b'{"images": 1}\n{"images": 5}\n', b'{"images": 1}\n{"images": 6}\n'):
        new = tmp_path / "new"
        new.write_bytes(content)
        os.replace(new, path)
        anew, lines = tail.read_on()
        assert anew and lines == [json.loads(line) for line in content.splitlines()]
    path.write_bytes(b'{"images": 1}\n{"images": 7}\n{"images": 8}\n')  # the same file, other lines
    assert tail.read_on() == (True, [{"images": 1}, {"images": 7}, {"images": 8}])
    path.unlink()
    assert tail.read_on() == (True, [])


def test_history_forgets_what_was_rewound(tmp_path: Path, run: RunDir) -> None:
    history = History(run.path)
    history.update()
    assert history.images[-1] == 64_000 and len(history.evaluations) == 11
    run.rewind(32_000)
    history.update()
    assert history.images[-1] == 32_000 and len(history.columns["seconds"]) == len(history.images) == 25
    assert [line["images"] for line in history.evaluations][-1] == 32_000


def test_columns_that_come_later_begin_with_nothing(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "run")
    append(run, "log.jsonl", [log_line(20), log_line(40, augment_probability=0.25), log_line(60, real_logit="x")])
    history = History(run.path)
    history.update()
    assert list(map(math.isnan, history.columns["augment_probability"])) == [True, False, True]
    assert list(map(math.isnan, history.columns["real_logit"])) == [False, False, True]


def test_the_last_lines_of_a_long_log_are_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"images": {number}}}\n' for number in range(10_000)))
    found = last_lines(tmp_path, "log.jsonl", 1000)
    assert found[-1] == {"images": 9999} and found == [
        {"images": number} for number in range(10_000 - len(found), 10_000)
    ]
    assert 40 < len(found) < 60
    assert last_lines(tmp_path, "none") == []


def test_runs_are_compared_field_by_field(tmp_path: Path, run: RunDir) -> None:
    other = full_run(tmp_path / "runs" / "other")
    other.write("recipe.toml", run.recipe().changed({"generator.lr": 0.003, "augment.policy": ["color"]}).to_toml())
    asking = client(studio(tmp_path))
    found = asking.get("/api/compare?run=letters&run=other").json()
    rows = {row["field"]: row["values"] for row in found["differences"]}
    assert rows["generator.lr"] == ["0.0001", "0.003"] and rows["augment.policy"] == ["none", "color"]
    assert set(rows) == {"generator.lr", "augment.policy"} and found["same"] > 40
    assert asking.get("/api/compare?run=letters").status_code == 422
    assert asking.get("/api/compare?run=letters&run=none").status_code == 404


def test_damaged_runs_are_shown_as_far_as_they_can_be_read(tmp_path: Path, run: RunDir) -> None:
    broken = full_run(tmp_path / "runs" / "broken", frames=2)
    for name in ("recipe.toml", "data.json", "environment.json", "log.jsonl", "metrics.jsonl", "events.jsonl"):
        (broken.path / name).write_bytes(b'\x00{"images": [[\xff\n')
    for path in (broken.path / "samples").iterdir():
        path.write_bytes(b"\x89PNG no picture")
    asking = client(studio(tmp_path))
    names = {one["name"]: one for one in asking.get("/api/runs").json()["runs"]}
    assert set(names) == {"letters", "broken"} and names["broken"]["family"] == ""
    for path in ("", "/curves"):
        assert asking.get(f"/api/runs/broken{path}").status_code == 200
    assert asking.get("/api/runs/broken/thumbnails/64000.png").status_code == 404
    assert asking.get("/api/compare?run=letters&run=broken").status_code == 400


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_what_is_really_in_a_run_is_shown(tmp_path: Path, run: RunDir, kind: str) -> None:
    """The run's files are links to those of a run elsewhere, or pipes that nobody writes into."""
    elsewhere = full_run(tmp_path / "elsewhere" / "secret", frames=1)
    elsewhere.write("data.json", {**elsewhere.read_json("data.json"), "title": "secret", "location": "secret"})
    names = ["data.json", "environment.json", "log.jsonl", "metrics.jsonl", "events.jsonl", "recipe.toml"]
    names += [f"{path.parent.parent.name}/{path.parent.name}/{path.name}" for path in run.path.glob("*/*/*.json")]
    assert len(names) > 7
    for name in names:
        path = run.path / name
        path.unlink()
        if kind == "link":
            path.symlink_to(elsewhere.path / name)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()
    if kind != "link":
        (run.path / "recipe.toml").rmdir() if kind == "folder" else (run.path / "recipe.toml").unlink()
        run.write("recipe.toml", elsewhere.recipe().to_toml())
    asking = client(studio(tmp_path))
    (shown,) = asking.get("/api/runs").json()["runs"]
    assert (shown["data"], shown["count"], shown["figure"], shown["rate"]) == ("", None, None, None)
    detail = asking.get("/api/runs/letters").json()
    assert "secret" not in json.dumps(detail) and detail["events"] == [] and detail["environment"] == {}
    assert asking.get("/api/runs/letters/curves").json()["figures"] == []


def test_a_run_that_is_removed_while_it_is_watched_is_gone_and_can_come_back(tmp_path: Path, run: RunDir) -> None:
    asking = client(studio(tmp_path))
    addresses = ["", "/curves", "/samples/64000.png", "/report"]
    before = [asking.get(f"/api/runs/letters{address}").status_code for address in addresses]
    assert before[:3] == [200] * 3
    kept = tmp_path / "kept"
    shutil.move(run.path, kept)
    assert asking.get("/api/runs").json()["runs"] == []
    assert {asking.get(f"/api/runs/letters{address}").status_code for address in addresses} == {404}
    assert asking.post("/api/runs/letters/stop").status_code == 404
    shutil.move(kept, run.path)
    assert [asking.get(f"/api/runs/letters{address}").status_code for address in addresses] == before


@pytest.mark.parametrize("factor", [1, 3])
def test_a_thumbnail_holds_whole_pictures(factor: int) -> None:
    """Of a grid of 8 x 8 pictures, 64 x 48 pixels with gaps of 2, enlarged by a whole factor."""
    gap = 2
    sheet = np.full((gap + 8 * (48 + gap), gap + 8 * (64 + gap)), 236, np.uint8)
    for row in range(8):
        for column in range(8):
            top, left = gap + row * (48 + gap), gap + column * (64 + gap)
            sheet[top : top + 48, left : left + 64] = 10 * row + column
    grid = Image.fromarray(np.kron(sheet, np.ones((factor, factor), np.uint8)))
    buffer = io.BytesIO()
    grid.save(buffer, "PNG")
    with Image.open(io.BytesIO(thumbnail(buffer.getvalue(), (64, 48)).body)) as found:
        step = 66 * factor
        columns = max(2, min(6, round(480 / step)))
        assert found.width == pytest.approx(min(480, columns * step + gap * factor), abs=1)
        pixels = np.asarray(found.convert("L"))
    scale = found.width / (columns * step + gap * factor)
    for column in range(columns):
        middle = round(scale * (gap * factor + column * step + 32 * factor))
        assert pixels[round(scale * factor * 26), middle] == column
