"""What a published folder holds, and what it never overwrites; the page's own tests, and what it is built from."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from http.client import HTTPConnection
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser_support import page_or_fail
from conftest import Cli
from export_support import small
from limner.errors import InputError
from limner.generator import TrainedGenerator
from limner.judging.report.read import contents
from limner.noise import seed_of
from limner.rundir import RunDir
from limner.sharing import page as pages
from limner.sharing import publish as publishing
from limner.sharing import serving
from limner.sharing.export import export_onnx, export_safetensors
from limner.sharing.page import about, built_page, page_document, sample_files, story_files
from limner.sharing.parity import NotEqual
from limner.sharing.publish import publish
from report_support import full_run

WEB = Path(__file__).parents[1] / "web"


@pytest.fixture(scope="module")
def generator() -> TrainedGenerator:
    return small("quick", 20, 12, 3, classes=3)


@pytest.fixture(scope="module")
def file(generator: TrainedGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "discs.safetensors"
    export_safetensors(generator, path, licence="CC0")
    return path


@pytest.fixture
def light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built page of some bytes, in the place of the real one."""
    page = tmp_path / "built"
    (page / "assets").mkdir(parents=True)
    (page / "runtime" / "1").mkdir(parents=True)
    (page / "index.html").write_text("<title>Limner</title><p>page", "utf-8")
    for name in (
        "assets/index-1.js",
        "assets/studio-1.js",
        "assets/runtime-a.js",
        "assets/runtime-a.jspi.js",
        "LICENSES.txt",
    ):
        (page / name).write_bytes(b"x" * 100)
    (page / "runtime/1/a.wasm.gz").write_bytes(b"x" * 1000)
    (page / "runtime/1/a.jspi.wasm.gz").write_bytes(b"x" * 2000)
    monkeypatch.setattr(publishing, "built_page", lambda: page)
    return page


def test_the_document_says_what_the_page_has_to_know(generator: TrainedGenerator, tmp_path: Path) -> None:
    exported = export_onnx(generator, tmp_path / "generator.onnx", half=True)
    made = page_document(
        generator, exported, samples=[{"seed": 0, "url": "samples/0.webp"}], name="Discs", licence="CC0"
    )
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    wanted = {"format": "limner-page-1", "name": "Discs", "width": 20, "height": 12, "channels": 3, "latent": 16}
    wanted |= {
        "classes": ["kind 0", "kind 1", "kind 2"],
        "images": 6400,
        "half": True,
        "licence": "CC0",
        "tolerance": 8,
    }
    assert {key: made[key] for key in wanted} == wanted
    assert made["model"]["url"] == "generator.onnx" and made["model"]["bytes"] == exported.bytes
    assert re.fullmatch("[0-9a-f]{64}", made["model"]["sha256"])
    assert made["parity"]["largest_pixel"] <= 8 and made["truncation"] == {"kind": "scale"}


def test_samples_are_the_very_pictures_of_their_seeds(generator: TrainedGenerator, tmp_path: Path) -> None:
    samples = sample_files(generator, tmp_path, 5)
    assert [sample["seed"] for sample in samples] == [0, 1, 2, 3, 4]
    for sample, expected in zip(samples, generator.draw_seeds(range(5)), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / sample["url"]).convert("RGB")), expected)


def test_large_pictures_are_fewer(generator: TrainedGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SAMPLE_BYTES", 10)
    assert len(sample_files(generator, tmp_path, 48)) == pages.FEWEST_SAMPLES


def test_a_story_has_grids_and_what_was_measured(generator: TrainedGenerator, tmp_path: Path) -> None:
    run = full_run(tmp_path / "runs" / "letters", frames=60)
    story = story_files(run, tmp_path / "site", generator)
    assert story is not None
    grids = story["grids"]
    assert 20 <= len(grids) <= 48 and [grid["images"] for grid in grids] == sorted({grid["images"] for grid in grids})
    assert (grids[0]["images"], grids[-1]["images"]) == (run.samples()[0][0], run.samples()[-1][0])
    assert all(Image.open(tmp_path / "site" / grid["url"]).format == "WEBP" for grid in grids)
    assert sum((tmp_path / "site" / grid["url"]).stat().st_size for grid in grids) <= pages.FRAMES_BYTES
    lines = [line for line in run.records("metrics.jsonl") if line["images"]]
    value = story["measured"][-1]["figures"]["kernel_distance"]
    figure = lines[-1]["figures"]["kernel_distance"]
    assert value == [figure["value"], figure["low"], figure["high"]]
    assert story["kinds"]["kernel_distance"]["better"] == "lower"


def test_what_is_said_of_a_training_is_of_that_snapshot(tmp_path: Path) -> None:
    found = contents(full_run(tmp_path / "letters", frames=5))
    last, first = about(found, found.metrics[-1]["images"]), about(found, found.metrics[0]["images"] + 1)
    assert last["verdict"] and "measured after" not in str(last["verdict"])
    assert f"(measured after {found.metrics[0]['images']:,} images)" in str(first["verdict"])
    assert about(found, found.metrics[0]["images"] - 1)["verdict"] is None
    assert last["seconds"] and (first["seconds"] or 0) < last["seconds"]


@pytest.mark.parametrize(
    ("size", "shape"), [((530, 530), (8, 8)), ((1060, 1060), (8, 8)), ((134, 68), (2, 1)), ((100, 100), (0, 0))]
)
def test_the_shape_of_a_grid_is_found(size: tuple[int, int], shape: tuple[int, int]) -> None:
    # 64 pixels a picture and gaps of 2: eight in a row are 2 + 8 * 66 = 530; enlarged twice, 1060.
    assert pages._grid_shape(size, 64, 64) == shape


def test_a_published_folder_holds_the_page_and_nothing_of_the_studio(light: Path, file: Path, tmp_path: Path) -> None:
    made = publish(file, tmp_path / "site")
    names = {path.relative_to(made.path).as_posix() for path in made.path.rglob("*") if path.is_file()}
    assert names == set(made.files) and "assets/studio-1.js" not in names
    assert {"index.html", "home.json", "limner.json", "assets/index-1.js", "runtime/1/a.wasm.gz"} <= names
    assert made.files == {name: (made.path / name).stat().st_size for name in names}
    assert json.loads((made.path / "home.json").read_text()) == {"home": "site", "document": "limner.json"}
    document = json.loads((made.path / "limner.json").read_text())
    assert (made.path / document["model"]["url"]).stat().st_size == document["model"]["bytes"] == made.exported.bytes
    assert made.exported.half and document["half"] and not made.why_full
    assert all((made.path / sample["url"]).is_file() for sample in document["samples"])
    # Of the runtimes, a visitor loads one; LICENSES.txt and the list of files nobody does.
    assert made.visit_bytes(True) - made.visit_bytes(False) == 1000
    assert made.own_bytes == 100 + made.files["index.html"]


def test_the_runtime_for_webgpu_can_be_left_out(light: Path, file: Path, tmp_path: Path) -> None:
    both, one = publish(file, tmp_path / "both"), publish(file, tmp_path / "one", webgpu=False)
    left_out = {"assets/runtime-a.jspi.js", "runtime/1/a.jspi.wasm.gz"}
    assert set(both.files) - set(one.files) == left_out and set(one.files) < set(both.files)
    documents = [json.loads((made.path / "limner.json").read_text()) for made in (both, one)]
    assert ["webgpu" in document for document in documents] == [False, True] and documents[1]["webgpu"] is False


def test_names_are_text_in_the_page(light: Path, file: Path, tmp_path: Path) -> None:
    made = publish(file, tmp_path / "site", name='</title><script>alert("x")</script>')
    page = (made.path / "index.html").read_text("utf-8")
    assert "<script>" not in page and "&lt;/title&gt;&lt;script&gt;" in page and page.count("<title>") == 1


def test_published_again_it_replaces_its_own_files_and_no_others(light: Path, file: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    first = publish(file, site)
    (site / "CNAME").write_text("maps.example", "utf-8")
    (site / first.exported.path.parent.name / "note.txt").write_text("mine", "utf-8")
    (light / "assets/index-1.js").rename(light / "assets/index-2.js")
    second = publish(file, site, half=False)
    assert second.exported.path.parent != first.exported.path.parent and not first.exported.path.exists()
    assert [path.name for path in first.exported.path.parent.iterdir()] == ["note.txt"]
    assert (site / "CNAME").read_text("utf-8") == "maps.example"
    assert not (site / "assets/index-1.js").exists() and (site / "assets/index-2.js").exists()


def test_a_folder_of_somebody_else_is_left_alone(light: Path, file: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("mine", "utf-8")
    with pytest.raises(InputError, match=r"has a index\.html that no published page wrote"):
        publish(file, site)
    assert [path.name for path in site.iterdir()] == ["index.html"] and (site / "index.html").read_text() == "mine"
    with pytest.raises(InputError, match="is a file; name a folder"):
        publish(file, site / "index.html")


@pytest.mark.parametrize("names", [["../precious"], ["/precious"], [7], "precious", None, ["a/../../precious"]])
def test_a_list_of_files_leads_to_none_outside(light: Path, file: Path, tmp_path: Path, names: Any) -> None:
    site = tmp_path / "site"
    site.mkdir()
    precious = tmp_path / "precious"
    precious.write_text("mine", "utf-8")
    (site / "limner-files.json").write_text(json.dumps({"format": "limner-files-1", "files": names}))
    with pytest.raises(InputError, match="is damaged"):
        publish(file, site)
    assert precious.read_text("utf-8") == "mine"


def test_where_half_precision_differs_too_much_it_is_full_and_says_so(
    light: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unequal(generator: TrainedGenerator, path: Path, *, half: bool = False, **rest: Any) -> Any:
        if half:
            raise NotEqual("the exported generator draws other pictures than PyTorch (far): nothing is written; export")
        return export_onnx(generator, path, half=half, **rest)

    monkeypatch.setattr(publishing, "export_onnx", unequal)
    made = publish(file, tmp_path / "site")
    assert not made.exported.half
    assert made.why_full == "the exported generator draws other pictures than PyTorch (far)"
    assert json.loads((made.path / "limner.json").read_text())["tolerance"] == 2
    with pytest.raises(NotEqual):
        publish(file, tmp_path / "other", half=True)
    assert not (tmp_path / "other").exists()


def test_without_a_built_page_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pages, "files", lambda name: tmp_path)
    with pytest.raises(InputError, match=r"the page is not built; 'make web' builds it \(it needs Node 20\)"):
        built_page()


def test_the_command_publishes_and_says_how_large_it_is(cli: Cli, file: Path, tmp_path: Path) -> None:
    page_or_fail()
    done = cli("publish", file, "--out", "site", "--name", "Discs")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^site/: \d+ files, \d+\.\d MB$", done.stdout, re.M)
    assert "half precision" in done.stdout and "limner publish --serve site" in done.stdout
    made = publish(file, tmp_path / "site", half=False)
    assert not made.exported.half and made.values()["own_code_bytes"] < 150_000
    assert made.values()["visit_bytes"]["webassembly"] - made.exported.bytes < 17_500_000
    text = "".join(
        path.read_text("utf-8") for path in (tmp_path / "site").rglob("*") if path.suffix in (".html", ".css")
    )
    assert "//" not in re.sub(r"/\*.*?\*/", "", text, flags=re.S), "styles and page name no other place"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what and where"),
        (["x.safetensors"], "say what and where"),
        (["--serve", "nowhere"], "holds no published page"),
        (["x.safetensors", "--serve", "nowhere"], "takes a published folder alone"),
        (["nowhere", "--out", "site"], "no such run directory"),
        (["nowhere", "--out", "site", "--best", "--at", "7"], "ask for one of them"),
    ],
)
def test_what_is_wrong_is_one_line(cli: Cli, arguments: list[str], words: str) -> None:
    done = cli("publish", *arguments)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["publish", "FILE", "--out", "site", "--at", "5"], "holds one snapshot"),
        (["export", "FILE", "--out", "new.onnx", "--best"], "holds one snapshot"),
        (["generate", "FILE", "--at", "5"], "holds one snapshot"),
        (["publish", "some.onnx", "--out", "site"], "is exported already"),
        (["publish", "--serve", "site", "--best"], "takes a published folder alone"),
        (["export", "FILE", "--out", "new.onnx", "--licence", "\udcff"], "--licence: holds what is no text"),
        (["publish", "FILE", "--out", "site", "--name", "\udcff"], "--name: holds what is no text"),
        (["generate", "FILE", "--seed", "\udcff"], "--seed: holds what is no text"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(
    cli: Cli, file: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "some.onnx").write_bytes(b"not read")
    done = cli(*(str(file) if word == "FILE" else word for word in arguments))
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "site").exists() and not (tmp_path / "new.onnx").exists()


def test_a_word_draws_the_picture_of_its_seed(cli: Cli, file: Path, tmp_path: Path) -> None:
    done = cli("generate", file, "--seed", "Antonia", "--count", "1", "--out", "new")
    assert done.returncode == 0, done.stderr
    # The first 8 bytes of SHA-256("Antonia"), as sha256sum writes them.
    assert seed_of("Antonia") == 0xA56D0D41108F1C16
    assert [path.name.split("-")[1] for path in (tmp_path / "new").glob("seed-*")] == [str(seed_of("Antonia"))]


def test_the_server_sends_what_threads_need_and_only_its_folder(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "assets").mkdir(parents=True)
    (tmp_path / "secret").write_text("x", "utf-8")
    for name, content in (("index.html", "page"), ("home.json", "{}"), ("a.wasm", "w"), ("a.js", "j")):
        (site / name).write_text(content, "utf-8")
    told: Queue[str] = Queue()
    Thread(target=serving.serve, args=(site, 0), kwargs={"told": told.put}, daemon=True).start()
    connection = HTTPConnection("127.0.0.1", int(told.get(timeout=20).rstrip("/").rpartition(":")[2]))

    def ask(path: str) -> tuple[int, str, str, str]:
        connection.request("GET", path)
        answer = connection.getresponse()
        kind, policy = answer.headers["Content-Type"], answer.headers["Cross-Origin-Embedder-Policy"]
        return answer.status, kind, policy, answer.read().decode()

    assert ask("/") == (200, "text/html", "require-corp", "page")
    assert ask("/a.wasm")[1] == "application/wasm" and ask("/a.js")[1] == "text/javascript"
    for path in ("/../secret", "/%2e%2e/secret", "/..%2fsecret", "/assets/", "/nothing", "/%00", "/a.js%00"):
        assert ask(path)[0] == 404, path


def test_the_pages_own_tests_pass(tmp_path: Path) -> None:
    page_or_fail()
    if not (WEB / "node_modules").is_dir() or shutil.which("npm") is None:
        pytest.fail("the page's own tests need Node 20 and its packages: 'make web' installs them", pytrace=False)
    done = subprocess.run(["npm", "test"], cwd=WEB, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"^# pass [2-9]\d$", done.stdout, re.M) and "# fail 0" in done.stdout


def test_the_known_answers_are_those_of_today() -> None:
    """web/test/noise.json, to which the page's random numbers are held, is what noise.py draws."""
    spec = importlib.util.spec_from_file_location("vectors", WEB / "test" / "vectors.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert json.loads((WEB / "test" / "noise.json").read_text()) == json.loads(json.dumps(module.vectors()))


def test_the_page_may_load_nothing_from_elsewhere() -> None:
    page = (WEB / "index.html").read_text("utf-8")
    policy = re.search(r'content="(default-src.*?)"', page, re.S)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules.pop("default-src") == "'none'" and rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert all(
        set(rule.split()) <= {"'self'", "'none'", "'wasm-unsafe-eval'", "blob:", "data:"} for rule in rules.values()
    )
    lock = (WEB / "package-lock.json").read_text("utf-8")
    assert "http" not in lock, "the lock file names no addresses"


def test_runs_without_grids_or_metrics_have_no_story(generator: TrainedGenerator, tmp_path: Path) -> None:
    run = full_run(tmp_path / "letters", frames=3)
    for _, path in run.samples():
        path.write_bytes(b"damaged")
    assert story_files(RunDir.open(run.path), tmp_path / "site", generator) is None
