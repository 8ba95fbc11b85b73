"""Classes all the way: a training that learns them, pictures asked for by name, and whether they show what was asked."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from conftest import Cli, discs
from limner import films, imaging
from limner.data import prepare
from limner.errors import InputError
from limner.generator import TrainedGenerator, class_grid
from limner.judging import agreement as agreeing
from limner.judging.agreement import agreement, best_classifier, feature_classifier
from limner.judging.evaluate import Judge
from limner.judging.features import open_extractor
from limner.judging.reference import Reference, asked_labels, reference, representative_labels
from limner.judging.subjects import Evaluation, class_table, table
from limner.noise import Stream, normal
from limner.recipe import Image as ImageSettings
from limner.rundir import RunDir
from limner.training.display import Quiet
from test_training import SMALL, InterruptAt, everything

SETTINGS = {**SMALL, "network.conditioning": "projection", "training.images": 64, "snapshots.grid": 6}
CLASSES = ("Discs", "bars", "checks.")
"""In the order in which a collection numbers them."""


def stripes(count: int, both: bool, seed: int) -> list[Image.Image]:
    """Grey pictures of horizontal bars, or of checks, each moved and of its own brightness."""
    random = np.random.default_rng(seed)
    lines = np.arange(16) // 2 % 2
    pictures = []
    for _ in range(count):
        rows, columns = np.roll(lines, random.integers(4)), np.roll(lines, random.integers(4))
        pattern = (rows[:, None] ^ columns) if both else np.broadcast_to(rows[:, None], (16, 16))
        noise = random.uniform(0, 40, (16, 16))
        pictures.append(Image.fromarray((pattern * random.uniform(120, 200) + noise).astype(np.uint8)))
    return pictures


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 130 pictures in three sub-folders: 60 bars, 40 checks, 30 discs."""
    folder = tmp_path_factory.mktemp("classes") / "set"
    kinds = {"bars": stripes(60, False, 1), "checks.": stripes(40, True, 2), "Discs": discs(30, 16, 16, 1)}
    for name, pictures in kinds.items():
        (folder / name).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            picture.save(folder / name / f"{name[0]}{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    runs = tmp_path_factory.mktemp("runs")
    return limner.train(data, "quick", overrides=SETTINGS, runs=runs, display=Quiet()).run


@pytest.fixture(scope="module")
def generator(run: RunDir) -> TrainedGenerator:
    return limner.load(run.path)


@pytest.fixture(scope="module")
def vivid(run: RunDir) -> TrainedGenerator:
    """The generator with embeddings of classes that differ plainly, as after a longer training."""
    found = limner.load(run.path)
    torch.manual_seed(0)
    for module in found.network.modules():
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight)
    return found


def near(one: object, other: object) -> bool:
    """The same picture, but for rounding: sums in batches of another size come out in another order."""
    return bool(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max() <= 1)


@pytest.fixture(scope="module")
def real(data: Path) -> Reference:
    collection = prepare(data, ImageSettings(held_out=0))
    return reference(collection, open_extractor("limner"), seed=0, most=1000)


def test_the_command_from_training_to_judging(cli: Cli, data: Path, tmp_path: Path):
    """Three commands: classes are learnt, asked for by name, and judged."""
    chosen = {**SETTINGS, "evaluation.share": 0}
    settings = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    done = cli("train", data, "--recipe", "quick", *settings, "--name", "one")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "one"
    assert RunDir.open(run).recipe().network.classes == CLASSES
    drawn = cli("generate", run, "--label", "discs", "--count", "3", "--seed", "7")
    assert drawn.returncode == 0, drawn.stderr
    names = sorted(path.name for path in (run / "generated").iterdir())
    assert names == ["seed-000007-Discs.png", "seed-000008-Discs.png", "seed-000009-Discs.png", "sheet-Discs.png"]
    with Image.open(run / "generated" / names[1]) as picture:
        (expected,) = limner.load(run).sample(1, seed=8, label="Discs")
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(expected).astype(int)).max() <= 1
    judged = cli("evaluate", run, "--count", "40")
    assert judged.returncode == 0, judged.stderr
    rows = {line.split("  ")[0]: line for line in judged.stdout.splitlines()}
    assert "label agreement (higher is better)" in rows and "label agreement" in rows["class"]
    assert "classes are told by logistic regression on limner features, trained on" in judged.stdout
    kept = json.loads((run / "evaluation/000000064/figures.json").read_text())
    asked = {name: figures["label_agreement"]["generated"] for name, figures in kept["classes"].items()}
    train = Counter(prepare(data, ImageSettings()).labels[prepare(data, ImageSettings()).train].tolist())
    for number, name in enumerate(CLASSES):
        assert abs(asked[name] - 40 * train[number] / sum(train.values())) < 2.5, "as frequent as in training"
    assert kept["figures"]["label_agreement"]["generated"] == 40 == sum(asked.values())
    assert kept["yardstick"]["label_agreement"]["value"] > 0.8
    pair = kept["copying"]["pairs"][0]
    (shown,) = limner.load(run).sample(1, seed=pair["seed"], label=pair["label"])
    with Image.open(run / "evaluation/000000064" / pair["generated"]) as picture:
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(shown).astype(int)).max() <= 1


def test_no_classes_to_learn(pictures: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"pictures: has no classes to train on; .* first-level sub-folders"):
        limner.train(pictures, "quick", overrides=SETTINGS, runs=tmp_path / "runs", display=Quiet())
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("conditioning", ["projection", "acgan"])
def test_resumed_is_bit_identical_with_classes(data: Path, tmp_path: Path, conditioning: str):
    settings = {**SETTINGS, "network.conditioning": conditioning, "training.images": 112}
    if conditioning == "acgan":  # judged once is enough
        settings["evaluation.share"] = 0
    for name, display in (("whole", Quiet()), ("parted", InterruptAt(11))):
        limner.train(data, "quick", overrides=settings, runs=tmp_path, name=name, display=display)
    assert limner.resume(tmp_path / "parted", display=Quiet()).ended == "done"
    expected, found = (everything(RunDir.open(tmp_path / name)) for name in ("whole", "parted"))
    assert expected.keys() == found.keys() and len(expected) > 40
    assert all(expected[key] == found[key] for key in expected)


def test_labels_of_seeds_by_hand(generator: TrainedGenerator):
    assert generator.classes == CLASSES
    assert generator.labels([0, 1, 2, 3, 31]).tolist() == [0, 1, 2, 0, 1]
    assert generator.labels([2**64 - 1]).tolist() == [0], "2**64 - 1 is 3 times 6148914691236517205"
    assert generator.labels([5]).dtype == np.int64
    assert [generator.label(asked) for asked in ("Discs", "discs", "BARS", "checks.", 0, 2)] == [0, 0, 1, 2, 0, 2]


def test_labels_that_are_none(generator: TrainedGenerator, tmp_path: Path):
    usual = {"seed": 0, "keys": 2, "seconds": 1.0, "frames_per_second": 4, "tiles": 1, "side": 16}
    for ask in (
        lambda: generator.sample(1, label="disk"),
        lambda: generator.interpolate([1, 2], label="disk"),
        lambda: films.draw_pictures(generator, 1, 0, tmp_path / "drawn", label="disk"),
        lambda: films.latent_walk(generator, **usual, label="disk"),
    ):
        with pytest.raises(
            InputError, match=r"label 'disk': none of the classes \(Discs, bars, checks\.\); did you mean discs\?"
        ):
            ask()
    with pytest.raises(InputError, match=r"label '3': none of the classes \(Discs, bars, checks\.\)$"):
        generator.label("3")  # a text is a name, for names may be digits
    assert not (tmp_path / "drawn").exists()
    for number in (-1, 3):
        with pytest.raises(
            InputError, match=f"label {number}: must be from 0 to 2; the classes are Discs, bars, checks."
        ):
            generator.label(number)
    with pytest.raises(ValueError, match="labels are needed: one of the 3 classes"):
        generator.draw(generator.latents([1]))
    for wrong in ([3], [-1], [0, 1]):
        with pytest.raises(ValueError, match="labels must be 1 class numbers from 0 to 2"):
            generator.draw(generator.latents([1]), np.array(wrong))
    network = generator.recipe.network.model_copy(update={"conditioning": "none", "classes": None})
    plain = TrainedGenerator(generator.network, generator.recipe.model_copy(update={"network": network}), 0, "maps")
    assert plain.classes == () and plain.labels([4]).tolist() == [0]
    for ask in (lambda: plain.sample(1, label="bars"), lambda: plain.interpolate([1, 2], label=0)):
        with pytest.raises(InputError, match="maps was not trained on classes; leave the label out"):
            ask()
    with pytest.raises(InputError, match="maps was not trained on classes"):
        plain.draw(plain.latents([1]), np.array([0]))


def test_a_seed_and_a_class_are_one_picture(vivid: TrainedGenerator):
    own, bars = vivid.sample(70, seed=4), vivid.sample(70, seed=4, label="bars")
    for number in (0, 1, 2, 65, 66):  # of classes 1, 2, 0, 0, 1, in the first portion and in the second
        assert near(own[number], bars[number]) == ((4 + number) % 3 == 1)
        assert near(own[number], vivid.sample(1, seed=4 + number)[0])
    drawn = vivid.draw(vivid.latents([4, 5]), np.array([1, 1]))
    assert near(drawn[1, ..., 0], bars[1])
    # A walk keeps the class of its first seed, or the one that was asked for.
    for path in (
        vivid.interpolate([4, 6], 2, loop=False),
        vivid.interpolate([5, 6], 2, loop=False, label="bars"),
    ):
        assert near(path[-1], vivid.sample(1, seed=6, label="bars")[0])
        assert not near(path[-1], vivid.sample(1, seed=6)[0])


def test_each_tile_of_a_walk_keeps_its_class(vivid: TrainedGenerator):
    usual = {"seed": 1, "keys": 2, "seconds": 1.0, "frames_per_second": 4, "tiles": 3, "side": 16}
    for label, classes in ((None, [1, 2, 0]), ("bars", [1, 1, 1])):
        frames = list(films.latent_walk(vivid, **usual, label=label).frames)
        for frame, key in ((0, 0), (2, 1)):
            expected = vivid.draw(vivid.latents([1 + key, 3 + key, 5 + key]), np.array(classes))
            assert near(frames[frame], imaging.grid(expected))


def test_grids_have_columns_of_classes(run: RunDir, generator: TrainedGenerator, tmp_path: Path):
    """In the training's grids picture i shows class i modulo 3, in sheets each seed its own."""
    kept = run.read_json(f"evaluation/{64:09d}/figures.json")  # of its last evaluation, beside
    assert kept["figures"]["label_agreement"]["generated"] == kept["drawn"] > 30
    _, path = run.samples()[-1]
    z = normal(run.recipe().training.seed, Stream.GRID, np.arange(6), 8)
    sheet = imaging.enlarged(imaging.grid(generator.draw(z, np.array([0, 1, 2, 0, 1, 2])), 3), 512)
    with Image.open(path) as saved:
        assert np.abs(np.asarray(saved).astype(int) - np.asarray(sheet).astype(int)).max() <= 3
    drawn = films.draw_pictures(generator, 11, 2, tmp_path)
    assert drawn.name == "sheet.png" and (tmp_path / "seed-000005-checks.png").is_file()
    with Image.open(drawn) as saved:
        assert saved.size == imaging.enlarged(imaging.grid(np.zeros((11, 16, 16, 1), np.uint8), 3), 512).size


@pytest.mark.parametrize(
    ("classes", "count", "size", "expected"),
    [
        (10, 64, (28, 28), (10, 6)),  # 8 x 8 would be square; 60 pictures
        (2, 64, (64, 64), (8, 8)),  # four columns of each class
        (3, 64, (64, 64), (9, 7)),
        (16, 64, (64, 64), (16, 4)),
        (10, 4, (16, 16), (10, 1)),
        (4, 64, (100, 25), (4, 16)),  # wide pictures: sqrt(64 / 4) columns
        (17, 64, (64, 64), None),
        (1, 64, (64, 64), None),
        (0, 64, (64, 64), None),
    ],
)
def test_the_shape_of_such_a_grid(classes: int, count: int, size: tuple[int, int], expected: tuple[int, int] | None):
    assert class_grid(classes, count, *size) == expected


def test_class_names_as_file_names():
    names = ["T-shirt/top", " ../x\0y ", "Ärmel_1", "...", "日本", "a" * 99]
    assert films.file_names(names) == ["T-shirt-top", "x-y", "Ärmel_1", "class", "日本", "a" * 40]
    assert films.file_names(["a b", "A/B", "a-b-0"]) == ["a-b-0", "A-B-1", "a-b-0-2"], (
        "no two alike, in capitals or not"
    )
    assert films.file_names([]) == []


def test_representative_labels_by_hand():
    """frac(i phi) is 0, .618, .236, .854, .472, .090, .708, .326: times 4, rounded down, a place in 0 0 0 1."""
    assert representative_labels(np.array([1, 0, 0, 0]), 8).tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert representative_labels(np.array([7, 3]), 6).tolist() == [3, 7, 3, 7, 3, 3]
    assert representative_labels(np.array([5]), 0).tolist() == []


def test_any_first_so_many_labels_are_balanced():
    labels = np.repeat(np.arange(4), [500, 300, 150, 50])
    found = representative_labels(labels, 3000)
    counts = np.cumsum(found[:, None] == np.arange(4), axis=0)
    expected = np.arange(1, 3001)[:, None] * np.array([0.5, 0.3, 0.15, 0.05])
    assert np.abs(counts - expected).max() < 4, "of random labels the counts would be off by some 30"


def test_labels_go_by_name_where_numbers_differ():
    def collection(classes: list[str], labels: list[int]) -> SimpleNamespace:
        return SimpleNamespace(classes=classes, labels=np.array(labels), train=np.arange(len(labels)))

    other = collection(["c", "x", "a"], [0, 0, 0, 1, 2, 1])  # three of c, one of a, two that are unknown
    found = Counter(asked_labels(("a", "b", "c"), other, 400).tolist())
    assert set(found) == {0, 2} and abs(found[2] - 300) < 4
    strange = Counter(asked_labels(("a", "b"), collection(["x", "y"], [0, 1]), 100).tolist())
    assert abs(strange[0] - 50) < 3 and abs(strange[1] - 50) < 3
    nothing = SimpleNamespace(classes=(), labels=None, train=np.arange(3))
    assert set(asked_labels(("a", "b"), nothing, 20)) == {0, 1} and asked_labels((), nothing, 20) is None


def test_agreement_by_hand():
    """Wilson's interval of 15 of 20, by its formula: (0.75 + 0.09604 -+ 0.19817) / 1.19207, the middle term z^2 / 40."""
    found = agreement(np.array([0] * 15 + [1] * 5), np.zeros(20, int))
    assert (found.value, found.generated, found.real) == (0.75, 20, 0)
    assert found.low == pytest.approx(0.53130, abs=1e-4) and found.high == pytest.approx(0.88814, abs=1e-4)
    assert np.isnan(agreement(np.zeros(0, int), np.zeros(0, int)).value)


def test_agreement_of_samples_that_are_known(real: Reference):
    """Real images as samples: all asked rightly, all asked wrongly, and a third of them wrongly."""
    names = real.collection.classes
    true = real.collection.labels[real.train.places]
    some, judge = np.arange(60), Judge(real)
    for wrong, low, high in ((0, 0.95, 1.0), (60, 0.0, 0.05), (20, 0.62, 0.70)):
        asked = [names[(true[place] + (place < wrong)) % 3] for place in some]
        record = judge.everything(real.train.pixels[:60], some.tolist(), asked)
        assert low <= record["figures"]["label_agreement"]["value"] <= high
    # With none held out, a fifth of the 130 images says how good the classifier is.
    assert record["yardstick"].keys() == {"label_agreement"} and record["classifier"]["accuracy"]["generated"] == 26
    assert record["yardstick"]["label_agreement"]["value"] > 0.9
    assert record["classifier"]["trained"] == 94, "of 130 neither a fifth to test on nor a tenth of the rest"
    shown = class_table(Evaluation("x", None, record))
    assert shown.count("\n") == 4 and "label agreement" in shown.splitlines()[0] and "trained on 94" in shown
    plain = judge.everything(real.train.pixels[:60], some.tolist())
    assert "label_agreement" not in plain["figures"] and "classifier" not in plain
    both = table([Evaluation("asked", 1, record), Evaluation("plain", 1, plain)]).splitlines()
    (row,) = [line for line in both if line.startswith("label agreement")]
    assert row.split()[5:7] == ["0.667", "(0.541"] and " -  " in row
    unknown = judge.everything(real.train.pixels[:60], some.tolist(), ["something else"] * 60)
    assert "label_agreement" not in unknown["figures"]


def test_a_network_where_features_do_not_suffice(real: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is trained once; the better of both is taken, and both are tested on what neither learnt from."""
    monkeypatch.setattr(agreeing, "NETWORK_LEAST", 50)
    assert "logistic" in best_classifier(real, cache_dir=tmp_path).description, "right as it nearly always is"
    monkeypatch.setattr(agreeing, "NEARLY_ALL", 1.1)
    useless = Reference(
        real.collection,
        real.extractor,
        agreeing.Sample(real.train.pixels, 0 * real.train.features, real.train.places),
        real.held_out,
    )
    found = best_classifier(useless, cache_dir=tmp_path)
    assert found.description == "a convolutional network" and found.trained == 94
    assert found.accuracy.value > 0.8 and found.accuracy.generated == 26
    assert feature_classifier(useless).accuracy.value < 0.7
    assert len(list((tmp_path / "features").glob("*.safetensors"))) == 1

    def again(*arguments: object) -> None:
        raise AssertionError("it is trained a second time")

    monkeypatch.setattr(agreeing, "_train", again)
    kept = best_classifier(useless, cache_dir=tmp_path)
    pixels = real.train.pixels[:40]
    assert np.array_equal(
        kept.classify(pixels, useless.train.features[:40]), found.classify(pixels, useless.train.features[:40])
    )


def test_no_classes_no_classifier(pictures: Path):
    plain = reference(prepare(pictures, ImageSettings()), open_extractor("limner"), seed=0, most=100)
    assert feature_classifier(plain) is None and best_classifier(plain) is None
