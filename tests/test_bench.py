"""The benchmarks: that each part measures what it says, in a tiny form, and that results become tables and pictures."""

from __future__ import annotations

import json
import multiprocessing
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench_support import broken, sleeper  # makes the benchmarks importable

import bench  # isort: skip
import plot
from limner import load
from parts import contest, drawn, figures, generating, gpu, growth, machine, memory, reading, start, training, trainings
from parts.figures import figure
from parts.settings import Settings

CPU = torch.device("cpu")


def test_figures_know_their_goals():
    rate = figure("rate", "images/s", [3.0, 1.0, 2.0], 2.0)
    assert (rate.median, rate.met) == (2.0, True)
    assert figure("time", "s", 1.5, 1.0, most=True).met is False and figure("other", "", 0.5).met is None
    row = rate.as_json()
    assert row["low"] == 1.0 and row["high"] == 3.0 and row["bound"] == "least"
    assert figures.cells(row) == ("rate", "2 images/s", "1 to 3", "at least 2", "yes")
    assert figures.cells(figure("many", "", 12345.6).as_json()) == ("many", "12,350", "", "", "")
    with pytest.raises(ValueError, match="no value"):
        figure("nothing", "", [])


def test_the_machine_has_a_name_and_limits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "processor_name", lambda: "Maker(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    assert machine.slug(CPU) == "maker-xeon-e5-2690-v4-2-60ghz-2-cores"
    found = machine.limits(CPU, tiny=True)
    assert set(found) == {"float32", "bfloat16", "copy"} and min(found.values()) > 0


def test_contestants_play_in_turns():
    """One sleeps ten times as long as the other."""
    rounds = contest.contest(
        {"slow": (sleeper, {"seconds": 0.1}), "limner": (sleeper, {"seconds": 0.01})},
        rounds=2,
        seconds=0.05,
        device=CPU,
        cycle=3,
        tiny=True,
    )
    assert len(rounds) == 2 and set(rounds[0].limits) == {"float32", "bfloat16", "copy"}
    for each in rounds:
        slow, quick = each.turns["slow"], each.turns["limner"]
        assert slow.pictures == 9 and quick.pictures % 9 == 0 and quick.seconds >= 0.05
        assert slow.seconds >= 0.3 and slow.processor < slow.seconds and slow.peak > 10_000_000
        assert each.ratio("limner", "slow") > 1.5


def test_a_contestant_that_fails_says_why():
    """Its process's side, here; and the answer as the other side gets it."""
    ours, theirs = multiprocessing.Pipe()
    ours.send((0.0, 1))
    contest._work(broken, {}, "cpu", theirs)
    contestant = contest.Contestant.__new__(contest.Contestant)
    contestant.orders = ours
    with pytest.raises(RuntimeError, match="cannot begin"):
        contestant.end()


def test_summary_of_a_case():
    """Ours 200 images/s against 100, at 2 GFLOP an image and 800 GFLOP/s."""
    turns = {"plain": contest.Turn(100, 1.0, 2.0, 10**9), "limner": contest.Turn(200, 1.0, 2.0, 2 * 10**9)}
    rounds = [contest.Round(turns, {"float32": 800.0, "bfloat16": 100.0, "copy": 1.0})]
    found = {
        row.what: row
        for row in training.summary(
            "x", training.CASES["dcgan 64x64"], rounds, "float32", {"limner": 2.0, "plain": 3.0}
        )
    }
    assert found["x: times the textbook version"].median == 2.0 and found["x: times the textbook version"].met is False
    assert found["x: share of the float32 product"].median == 0.5
    assert found["x: peak memory, limner"].median == 2.0


def test_shares_of_a_training():
    """Of 100 seconds: 2 around it, 4 judging, 6 augmenting; what came before and after does not count."""
    spent = {
        "updates": 86.0,
        "data": 1.0,
        "log": 0.5,
        "grids": 0.5,
        "augmentation": 6.0,
        "evaluations": 4.0,
        "checkpoints": 2.0,
    }
    found = trainings.shares("few", {**spent, "conclusion": 50.0, "everything else": 9.0}, augmented=True)
    assert [row.median for row in found] == pytest.approx([0.02, 0.04, 0.02, 0.06])
    assert all(row.met for row in found if row.goal is not None)


def test_the_bare_reading_reads_the_same(tmp_path: Path):
    """The same pixels as Limner's cache, of pictures that have the size already; of others the same shape."""
    path = drawn.zipped(tmp_path / "set.zip", 5, (24, 16), "PNG")
    names = zipfile.ZipFile(path).namelist()
    for shape, same in (((16, 24, 3), True), ((16, 16, 3), False)):
        output = tmp_path / "bare.bin"
        np.memmap(output, np.uint8, "w+", shape=(5, *shape)).flush()
        reading._bare_part(path, output, (5, *shape), (0, names))
        bare = np.fromfile(output, np.uint8).reshape(5, *shape)
        step = reading.limner_step(path, shape, tmp_path)
        assert step() == 5
        (pixels,) = [
            file for file in (tmp_path / "cache").rglob("*") if file.is_file() and file.stat().st_size == bare.nbytes
        ]
        cached = np.fromfile(pixels, np.uint8).reshape(bare.shape)
        assert np.array_equal(bare, cached) if same else np.abs(bare.astype(int) - cached).mean() < 3
    file = drawn.idx(tmp_path / "idx", 7)
    assert reading.BareReading(file, (28, 28, 1), tmp_path)() == 7 == reading._count(file)
    assert (tmp_path / "bare.bin").read_bytes() == file.read_bytes()[16:]
    settings = Settings(tmp_path / "work", tiny=True, rounds=1)
    assert [row.unit for row in reading.large(settings)] == ["ms", "ms"]
    assert list(reading.sets(settings)) == [
        "photographs, 6 at 48x48",
        "small pictures, 12 at 64x64",
        "IDX, 40 at 28x28",
    ]


def test_generating_writes_what_the_generator_draws(tmp_path: Path):
    file = generating.generator_file(tmp_path / "g.safetensors", tiny=True)
    assert generating.bare_step(file, "bfloat16", "cpu")() == generating.BATCH
    assert generating.limner_step(file, "float32", 3, tmp_path, "cpu")() == 3
    (folder,) = tmp_path.glob("pictures-*")
    expected = load(file).sample(3, seed=0)
    for seed in range(3):
        assert np.array_equal(np.asarray(Image.open(folder / f"seed-{seed:06d}.png")), expected[seed])
    assert len(list(folder.iterdir())) == 4, "three pictures and a sheet, nothing half written"


def test_growth_and_memory_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert min(growth.against_size((16, 24), "float32", "cpu", 1)) > 0
    assert min(growth.against_count((40, 80), "cpu", 1)) > 0
    case = training.Case(
        "fewshot", (16, 16), 3, 1.0, {"generator.width": 2, "discriminator.width": 2, "training.batch_size": 2}
    )
    assert memory.peak_of(case, "float32", "cpu", 1) > 0.05
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "before"))
    threads = torch.get_num_threads()
    data = drawn.zipped(tmp_path / "set.zip", 12, (16, 16), "PNG")
    trail = memory.grown(data, tmp_path / "runs", tmp_path / "cache", 20)
    torch.set_num_threads(threads)
    assert len(trail) == 10 and min(trail) > 10


def test_the_gpus_parts_run_on_a_cpu(tmp_path: Path):
    narrow = {"generator.width": 2, "discriminator.width": 2, "training.batch_size": 4}
    assert gpu.epoch(training.Case("fashion", (28, 28), 1, 1.0, narrow), "float32", "cpu", 8) > 0
    assert gpu.fastgan_step(64, 2, 2, "cpu")() == 2
    assert gpu.run(Settings(tmp_path)) == []


def test_the_first_update_is_timed(tmp_path: Path):
    data = drawn.zipped(tmp_path / "set.zip", 12, (24, 24), "JPEG")
    imports, first = start._first(data, tmp_path / "runs", tmp_path / "cache")
    assert imports > 0.1 and first > 0.001


def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results file of two parts, one of which has failed."""

    def fails(settings: Settings) -> Any:
        raise RuntimeError("no such thing\nhere")

    grown = [figure(f"an image at {side}x{side}", "ms", side / 8) for side in (32, 64)]
    grown += [figure(f"an image of {count:,}", "ms", 2.0, note="drawn by rule") for count in (100, 1000)]
    trained = [figure("dcgan 64x64: times the textbook version", "", [2.0, 2.5, 3.0], 2.3)]
    monkeypatch.setitem(bench.PARTS, "growth", ("Growth", lambda settings: grown))
    monkeypatch.setitem(bench.PARTS, "training", ("Training", lambda settings: trained))
    monkeypatch.setitem(bench.PARTS, "memory", ("Memory", fails))
    path = tmp_path / "results" / "a-machine.json"
    told = ["--tiny", "--rounds", "1", "--work", str(tmp_path / "work"), "--out", str(path)]
    assert bench.main(["--only", "training", "growth", *told]) == 0
    assert bench.main(["--only", "machine", "memory", *told]) == 1
    return path


def test_results_become_tables_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = results(tmp_path, monkeypatch)
    values = json.loads(path.read_text())
    assert list(values["parts"]) == ["machine", "training", "memory", "growth"], "in their order; what was there stays"
    assert values["parts"]["memory"]["error"] == "no such thing\nhere"
    assert values["parts"]["training"]["figures"][0]["values"] == [2.0, 2.5, 3.0]
    docs = tmp_path / "docs"
    docs.mkdir()
    page = docs / "benchmarks.md"
    page.write_text(f"# Before\n\n{plot.BEGIN}\nold\n{plot.END}\n\nAfter.\n")
    assert plot.main([str(path), "--docs", str(docs)]) == 0
    text = page.read_text()
    assert text.startswith("# Before") and text.endswith("After.\n") and "old" not in text
    assert "| dcgan 64x64: times the textbook version | 2.5 | 2 to 3 | at least 2.3 | yes |" in text
    assert "Could not be measured: here" in text and "Some sets: drawn by rule." in text
    names = {file.name for file in (docs / "images").iterdir()}
    assert names == {"benchmark-training.png", "benchmark-size.png", "benchmark-count.png"}
    assert all(f"](images/{name})" in text for name in names), "a picture that no page shows would be an orphan"
    assert all(min(Image.open(docs / "images" / name).size) > 100 for name in names)
    assert plot.main([str(path), "--docs", str(docs)]) == 0 and page.read_text() == text, "the same again"
    with pytest.raises(ValueError, match="has no lines"):
        plot.insert("nothing", "text")


def test_tiny_results_never_overwrite_real_ones(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        bench.main(["--tiny", "--only", "machine"])
    assert "--out" in capsys.readouterr().err


def test_what_takes_long_is_measured_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[list[str]] = []
    monkeypatch.setattr(bench, "measured", lambda names, settings: asked.append(names) or {})
    told = ["--tiny", "--out", str(tmp_path / "results.json")]
    bench.main(told)
    bench.main([*told, "--only", "long"])
    assert asked == [[name for name in bench.PARTS if name != "long"], ["long"]]


def test_grouped_convolutions_are_counted_as_they_are():
    """By hand: 2 images of 8 channels at 6x6, kernels of 3x3 over 2 channels; forward and both gradients cost as much."""
    images, weight = torch.randn(2, 8, 6, 6, requires_grad=True), torch.randn(8, 2, 3, 3, requires_grad=True)
    with training.Arithmetic() as counter:
        torch.nn.functional.conv2d(images, weight, padding=1, groups=4).sum().backward()
    assert counter.operations == 3 * 2 * (2 * 8 * 6 * 6 * 2 * 3 * 3)
