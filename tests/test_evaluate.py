"""``limner evaluate`` as a person calls it: runs, files, folders, tables, JSON, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limner
from conftest import Cli, discs
from limner.data import decode, prepare
from limner.judging.evaluate import Judge, thinned
from limner.judging.features import open_extractor
from limner.judging.figures import KINDS, Figure
from limner.judging.reference import reference
from limner.judging.subjects import Bench, Evaluation, _all, class_table, table
from limner.recipe import Image as ImageSettings
from limner.recipe import Recipe
from limner.training.display import Quiet
from test_training import SMALL

COUNT = 40


def save(pictures: list[Image.Image], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        picture.save(folder / f"p{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of 120 discs, and a run on it."""
    home = tmp_path_factory.mktemp("evaluate")
    save(discs(120, 16, 16, 1), home / "discs")
    settings = {**SMALL, "training.images": 80, "evaluation.share": 0}
    limner.train(home / "discs", "quick", overrides=settings, runs=home / "runs", name="one", display=Quiet())
    return home


def test_a_run_against_its_own_images(cli: Cli, home: Path):
    done = cli("evaluate", home / "runs" / "one", "--count", COUNT)
    assert done.returncode == 0, done.stderr
    lines = {line.split("  ")[0].strip(): line for line in done.stdout.splitlines()}
    for kind in KINDS.values():
        assert any(key.startswith(kind.label) for key in lines), kind.label
    assert "real against real" in done.stdout.splitlines()[0]
    assert lines["computed from real images"].split()[-2:] == ["40", "12"], "as many as were drawn, or are held out"
    kept = json.loads((home / "runs/one/evaluation/000000080/figures.json").read_text())
    assert kept["images"] == 80 and set(kept["figures"]) == set(KINDS)
    for values in kept["figures"].values():
        assert values["generated"] == COUNT == values["real"]
        assert values["low"] is not None and values["low"] <= values["value"] <= values["high"]
    assert len(kept["copying"]["pairs"]) == 12
    for pair in kept["copying"]["pairs"]:
        for name in ("generated", "nearest"):
            with Image.open(home / "runs/one/evaluation/000000080" / pair[name]) as picture:
                assert picture.size == (16, 16)
        # The picture that is named is the picture of that seed.
        drawn = limner.load(home / "runs/one").sample(1, seed=pair["seed"])[0]
        with Image.open(home / "runs/one/evaluation/000000080" / pair["generated"]) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(drawn))
        with Image.open(home / "runs/one/evaluation/000000080" / pair["nearest"]) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(Image.open(home / "discs" / pair["name"])))


def test_images_of_another_tool_several_and_json(cli: Cli, home: Path, tmp_path: Path):
    """The same distribution scores better than another one, whatever made it; a copy is called one."""
    save(discs(60, 16, 16, 1, seed=7), tmp_path / "good")
    random = np.random.default_rng(0)
    noise = [Image.fromarray(random.integers(0, 256, (16, 16), dtype=np.uint8)) for _ in range(60)]
    save(noise, tmp_path / "noise")
    done = cli("evaluate", "good", "noise", home / "discs", "--data", home / "discs", "--json")
    assert done.returncode == 0, done.stderr
    good, bad, same = json.loads(done.stdout)
    assert (good["source"], bad["source"]) == ("good", "noise")
    value = {name: (good["figures"][name]["value"], bad["figures"][name]["value"]) for name in KINDS}
    assert value["kernel_distance"][0] < 0.2 * value["kernel_distance"][1]
    assert value["frechet_distance"][0] < 0.5 * value["frechet_distance"][1]
    assert value["sliced_wasserstein"][0] < 0.5 * value["sliced_wasserstein"][1]
    assert value["precision"][0] > 0.5 > value["precision"][1] == 0
    assert value["recall"][0] > 0.5 > value["recall"][1]
    assert same["copying"]["verdict"] == "copies" and good["copying"]["verdict"] == "no sign of copying"
    assert same["copying"]["pairs"][0]["generated_name"] == same["copying"]["pairs"][0]["name"]


def test_colour_that_was_lost_is_seen(home: Path, tmp_path: Path):
    coloured = discs(60, 16, 16, 3, seed=1)
    save(coloured, tmp_path / "real")
    save([picture.convert("L") for picture in discs(60, 16, 16, 3, seed=2)], tmp_path / "grey")
    save(discs(60, 16, 16, 3, seed=2), tmp_path / "colour")
    bench = Bench(open_extractor("limner"), COUNT, data=str(tmp_path / "real"))
    grey, colour = (bench.evaluate(str(tmp_path / name)) for name in ("grey", "colour"))
    assert grey.figures["kernel_distance"].value > 10 * abs(colour.figures["kernel_distance"].value)
    assert any("judged as RGB" in note for note in grey.notes) and not any("judged as" in note for note in colour.notes)


def test_a_thorough_evaluation_is_not_replaced_by_a_hasty_one(home: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(home / "runs" / "one", run)
    shutil.rmtree(run / "evaluation", ignore_errors=True)
    kept = run / "evaluation" / "000000080" / "figures.json"
    for count, drawn in ((40, 40), (10, 40), (50, 50)):
        Bench(open_extractor("limner"), count).evaluate(str(run))
        assert json.loads(kept.read_text())["drawn"] == drawn


def test_several_runs_in_one_table(home: Path):
    shutil.copytree(home / "runs" / "one", home / "runs" / "two", dirs_exist_ok=True)
    bench = Bench(open_extractor("limner"), COUNT)
    found = [bench.evaluate(str(home / "runs" / name)) for name in ("one", "two")]
    lines = table(found).splitlines()
    assert "runs/one" in lines[0] and "runs/two" in lines[0] and "real against real" in lines[0]
    assert found[0].record["figures"] == found[1].record["figures"], "the same generator is the same"
    assert len(bench._judges) == 1, "what both need is prepared once"


def test_a_file_needs_data_and_a_snapshot_can_be_named(cli: Cli, home: Path):
    file = home / "runs/one/checkpoints/000000080/generator.safetensors"
    refused = cli("evaluate", file)
    assert refused.returncode == 2 and "--data DATA" in refused.stderr and refused.stderr.count("\n") == 1
    done = cli("evaluate", file, "--data", home / "discs", "--count", COUNT)
    assert done.returncode == 0 and "80" in done.stdout.splitlines()[1]
    wrong = cli("evaluate", home / "runs" / "one", "--at", "123")
    assert wrong.returncode == 2 and "it has 0, 80, newest, best" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--data", "discs"], "nowhere"),
        (["runs/one", "--features", "limmer"], "did you mean limner?"),
        (["runs/one", "--features", "missing.pt"], "missing.pt"),
        (["runs/one", "--features", "inception"], "--download"),
        (["runs/one", "--device", "cuda:9"], "device cuda:9"),
        (["discs"], "--data DATA"),
        (["runs/one", "--at", "best"], "no best snapshot"),
    ],
)
def test_what_is_wrong_is_one_line(cli: Cli, home: Path, tmp_path: Path, arguments: list[str], said: str):
    for name in ("runs", "discs"):
        (tmp_path / name).symlink_to(home / name)
    done = cli("evaluate", *arguments)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_features_are_computed_once(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    image = Recipe.load("quick").image
    collection = prepare(home / "discs", image, seed=3)
    calls: list[int] = []

    class Counting:
        name, key, dimensions = "counting", "counting-1", 4

        def __call__(self, images: np.ndarray) -> np.ndarray:
            calls.append(len(images))
            return images.reshape(len(images), -1)[:, :4].astype(np.float32)

    first = reference(collection, Counting(), seed=3, most=50, cache_dir=tmp_path)
    again = reference(collection, Counting(), seed=3, most=50, cache_dir=tmp_path)
    assert calls == [50, 12] and np.array_equal(first.train.features, again.train.features)
    assert set(first.train.places) <= set(collection.train.tolist())
    assert set(first.held_out.places) == set(collection.held_out.tolist())
    assert np.array_equal(first.train.pixels, collection.images[first.train.places])
    (kept,) = sorted((tmp_path / "features").glob("*.safetensors"))[:1]
    kept.write_bytes(b"damaged")
    assert np.array_equal(
        reference(collection, Counting(), seed=3, most=50, cache_dir=tmp_path).train.features, first.train.features
    )
    calls.clear()
    monkeypatch.setattr(decode, "VERSION", decode.VERSION + 1)  # the same files may be other pixels then
    reference(collection, Counting(), seed=3, most=50, cache_dir=tmp_path)
    assert calls == [50, 12]


def test_pieces_of_large_pictures(tmp_path: Path):
    """Where training cuts fresh pieces, real images are such pieces, as many as are wanted; copies cannot be looked for."""
    save(discs(5, 60, 48, 3), tmp_path / "maps")
    settings = ImageSettings(width=16, height=16, channels=3, fit="crops")
    found = reference(prepare(tmp_path / "maps", settings), open_extractor("limner"), seed=0, most=30)
    assert found.train.pixels.shape == (30, 16, 16, 3) and len(found.held_out) == 0
    record = Judge(found).everything(found.train.pixels, [str(number) for number in range(30)])
    assert record["copying"]["verdict"] == "not tested" and record["yardstick"] == {}


def test_classes_have_figures_of_their_own(tmp_path: Path):
    """Two classes, of which the samples have only one."""
    save(discs(60, 16, 16, 1), tmp_path / "set" / "discs")
    rows = np.arange(16)[:, None] // 2 % 2 * 255
    random = np.random.default_rng(1)
    bars = [np.roll(np.broadcast_to(rows, (16, 16)), random.integers(4), 0) for _ in range(60)]
    save([Image.fromarray((bar * random.uniform(0.5, 1)).astype(np.uint8)) for bar in bars], tmp_path / "set" / "bars")
    collection = prepare(tmp_path / "set", ImageSettings(held_out=0))
    samples = np.stack([np.asarray(picture)[..., None] for picture in discs(50, 16, 16, 1, seed=5)])
    judge = Judge(reference(collection, open_extractor("limner"), seed=0, most=120))
    classes = judge.everything(samples, list(range(50)))["classes"]
    assert set(classes) == {"discs", "bars"}
    assert classes["discs"]["share"]["value"] == 1.0 and classes["bars"]["share"]["value"] == 0.0
    assert classes["discs"]["coverage"]["value"] > 0.8 and classes["bars"]["coverage"]["value"] == 0.0
    assert classes["bars"]["real_share"]["value"] == pytest.approx(0.5)
    shown = class_table(Evaluation("x", None, {"classes": classes})).splitlines()
    assert len(shown) == 3 and shown[1].split()[0] == "bars" and shown[1].split()[-1] == "25", (
        "of 50 samples and as many"
    )
    assert class_table(Evaluation("x", None, {"classes": {}})) == ""


def test_a_class_is_reached_as_much_as_all_are(tmp_path: Path):
    """Eight real images for each generated one would leave most real ones without one near; equally many do not."""
    pictures = discs(450, 16, 16, 1)
    save(pictures[::2], tmp_path / "set" / "even")
    save(pictures[1::2], tmp_path / "set" / "odd")
    collection = prepare(tmp_path / "set", ImageSettings(held_out=0))
    judge = Judge(reference(collection, open_extractor("limner"), seed=0, most=450))
    samples = np.stack([np.asarray(picture)[..., None] for picture in discs(60, 16, 16, 1, seed=5)])
    found = judge.everything(samples, list(range(60)))
    whole = found["figures"]["coverage"]["value"]
    for figures in found["classes"].values():
        assert figures["coverage"]["value"] == pytest.approx(whole, abs=0.15)
        assert figures["coverage"]["real"] < 60


def test_of_few_real_images_all_samples_are_heard(tmp_path: Path):
    """A generator that draws all of five pictures equally often is as varied as they are, and no collapse."""
    save(discs(5, 16, 16, 1), tmp_path / "set")
    collection = prepare(tmp_path / "set", ImageSettings(width=16, height=16, channels=1, held_out=0))
    judge = Judge(reference(collection, open_extractor("limner"), seed=0, most=100))
    own = np.asarray(collection.images)
    figures = judge.figures(np.concatenate([own] * 20))["figures"]
    for name in ("kernel_distance", "diversity"):
        assert (figures[name]["real"], figures[name]["generated"]) == (5, 100), name
    assert figures["recall"]["generated"] == 5
    assert judge.figures(own)["copying"].get("reason") != "the samples are nearly all alike", "five that differ"
    assert judge.figures(np.repeat(own[:1], 5, 0))["copying"]["reason"] == "the samples are nearly all alike"


def test_images_are_taken_in_any_order_but_that_of_their_names(tmp_path: Path):
    """Figures may take the first of them: by name those would be of the first class alone."""
    save(discs(30, 8, 8, 1), tmp_path / "set")
    images = prepare(tmp_path / "set", ImageSettings(width=8, height=8, held_out=0))
    for count in (100, 30, 12):
        pixels, names = _all(images, count)
        assert len(pixels) == len(set(names)) == min(count, 30) and names != sorted(names, key=str)
        places = [list(images.names).index(str(name)) for name in names]
        assert np.array_equal(pixels, np.asarray(images.images)[places])


def test_a_figure_keeps_its_meaning_in_json():
    figure = Figure(0.123456789, -0.1, 0.3, 10, 20)
    assert Figure.from_values(json.loads(json.dumps(figure.values()))) == Figure(0.123457, -0.1, 0.3, 10, 20)
    nothing = Figure(float("nan"), None, None, 1, 1)
    assert nothing.values()["value"] is None and np.isnan(Figure.from_values(nothing.values()).value)
    assert str(figure) == "0.123 (-0.1 to 0.3)"


def test_of_each_group_a_few_stay():
    groups = np.array([3, 1, 3, 3, 0, 3, 1])
    assert thinned(groups, 2).tolist() == [0, 1, 2, 4, 6]
    assert thinned(groups, 9).tolist() == list(range(7)) and thinned(groups[:0], 2).tolist() == []
