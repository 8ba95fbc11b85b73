"""What the sources found, put to the test: every study in this folder, its results as data, and the page made of them.

    python experiments/findings/run.py --data-root DIR [--only q05 q07a] [--workers 2] [--stage run page]

DIR (or LIMNER_TEST_DATA) holds initials-64.zip, battlemaps-750.zip and fashion-mnist. ``run`` does each study that has no
results of its present self under results/: one that was cut off goes on, one that was changed is done again, no other.
``page`` writes docs/findings.md from results/ alone. All of it takes under 3 hours on two cores.

For each study there is results/NAME.jsonl: a line about the whole comparison, then one for each run; and sheets/NAME.png, what
each configuration drew with its first seed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from PIL import Image, ImageDraw

from limner.data import open_source
from limner.data.listing import write_list
from limner.errors import LimnerError
from limner.judging.comparison import Comparison
from limner.judging.comparison.words import headline
from limner.noise import Stream, permutation
from limner.study.conduct import check, conduct
from limner.study.file import read_study
from limner.study.results import comparison

sys.path.insert(0, str(Path(__file__).parent))
import nearest
import page

HERE = Path(__file__).parent
LISTS = {"maps-100.json": 100, "maps-200.json": 200}
"""Lists of some of the maps, each a part of the next."""
MAPS = "battlemaps-750.zip"
SHEET_BYTES, SIDE, COLUMNS = 150_000, 260, 4
GATHERED = ("q05_normalisation",)
"""Studies that ask whether samples gather around one training image."""
KEPT = ("run", "configuration", "levels", "seed", "state", "ended", "reason", "images", "updates", "epochs", "figures",
        "common", "rollbacks", "copying", "train", "size", "way", "seconds", "seconds_in_all", "peak_memory")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("LIMNER_TEST_DATA"))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument(
        "--work", type=Path, default=HERE.parents[1] / "build" / "findings", help="where runs lie meanwhile"
    )
    parser.add_argument("--page", type=Path, default=HERE.parents[1] / "docs" / "findings.md")
    parser.add_argument("--only", nargs="*", default=[], help="studies whose names begin so")
    parser.add_argument("--stage", nargs="*", default=["run", "page"], choices=["run", "page"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="of the budgets, to try the way itself")
    parser.add_argument("--again", action="store_true", help="also what has results")
    arguments = parser.parse_args()
    studies = [path for path in sorted(HERE.glob("q*.toml")) if is_named(path.stem, arguments.only)]
    failed = []
    if "run" in arguments.stage:
        if arguments.data_root is None or not Path(arguments.data_root).is_dir():
            parser.error("--data-root (or LIMNER_TEST_DATA) must name the folder with the collections")
        prepared(Path(arguments.data_root).resolve(), arguments.work)
        for path in studies:
            try:
                done(path, arguments)
            except LimnerError as error:
                failed.append(path.stem)
                print(f"{path.stem}: {error}", file=sys.stderr)
    if "page" in arguments.stage:
        page.write(sorted(HERE.glob("q*.toml")), arguments.results, arguments.page)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def is_named(name: str, only: Sequence[str]) -> bool:
    """Whether a study is wanted."""
    return not only or any(name.startswith(one) for one in only)


def prepared(data: Path, work: Path) -> None:
    """The environment that study files speak of, and the lists of a part of the maps."""
    lists = work.resolve() / "lists"
    os.environ["LIMNER_TEST_DATA"], os.environ["LIMNER_FINDINGS"] = str(data), str(lists)
    lists.mkdir(parents=True, exist_ok=True)
    if all((lists / name).is_file() for name in LISTS):
        return
    source = open_source(data / MAPS)
    names = [entry.name for entry in source.entries]
    order = permutation(0, Stream.DATA_ORDER, 0, len(names))
    for name, count in LISTS.items():
        chosen = sorted(names[place] for place in order[:count])
        write_list(lists / name, source.location, source.content_hash()[0], chosen, [])


def done(path: Path, arguments: argparse.Namespace) -> None:
    """Do one study, unless its results are there."""
    name = path.stem
    work = arguments.work / name
    file = scaled(path, arguments.scale, arguments.work)
    own = digest(file)
    target = arguments.results / f"{name}.jsonl"
    if not arguments.again and known_digest(target) == own:
        print(f"{name}: has its results")
        return
    stamp = work / "digest"
    if work.exists() and (not stamp.is_file() or stamp.read_text() != own):
        shutil.rmtree(work)  # of another study of that name
    work.mkdir(parents=True, exist_ok=True)
    stamp.write_text(own)
    print(f"{name}: {read_study(file).given.question}", flush=True)
    found = conduct(file, workers=arguments.workers, resume=(work / "study.toml").exists(), out=work)
    if found.failed:
        raise LimnerError(f"{found.failed} runs failed; {work} has more")
    told = comparison(read_study(file), work, found.rows)
    assert told is not None
    kept = [{key: value for key, value in row.values().items() if key in KEPT} for row in found.rows]
    if name in GATHERED:
        data = {job.name: job.data for job in check(file).jobs}
        for row in kept:
            row["nearest"] = nearest.gathered(work / "runs" / row["run"], data[row["run"]])
    write_results(target, own, told, kept)
    write_sheet(arguments.results / "sheets" / f"{name}.png", told)


def scaled(path: Path, scale: float, work: Path) -> Path:
    """The study itself; or a copy with another budget."""
    if scale == 1.0:
        return path
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    budget = values["budget"]
    for key in ("images", "updates", "minutes"):
        if key in budget:
            budget[key] = budget[key] * scale if key == "minutes" else max(1, round(budget[key] * scale))
    values["set"].setdefault("evaluation", {})["images"] = 32
    copy = work / "scaled" / path.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(tomli_w.dumps(values), encoding="utf-8")
    return copy


def digest(path: Path) -> str:
    """Of everything that a study's figures follow from: not of what it says about itself."""
    study = read_study(path)
    parts = [one.digest for one in check(path).jobs]
    given = study.given
    parts += [
        given.metric,
        str(given.reference),
        given.budget.model_dump_json(),
        json.dumps(dict(study.names), default=dict),
    ]
    parts += ["" if given.judge is None else given.judge.model_dump_json(exclude={"data"})]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def known_digest(target: Path) -> str:
    """Of the results that are there; empty without any."""
    if not target.is_file():
        return ""
    with target.open(encoding="utf-8") as file:
        return str(json.loads(file.readline()).get("digest", ""))


def write_results(target: Path, own: str, told: Comparison, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line about the comparison, then one for each run. Paths of this machine and lists of pairs stay out."""
    values = told.values()
    for one in values["configurations"]:
        one["runs"] = [run["name"] for run in one["runs"]]
    lines = [{"digest": own, "headline": headline(told), **values}, *rows]
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    part.replace(target)


def write_sheet(target: Path, told: Comparison) -> None:
    """What each configuration drew with its first seed, side by side, with its name above."""
    tiles = []
    for one in told.configurations:
        member = next(iter(one.members.values()))
        picture = Image.new("RGB", (SIDE, SIDE), "white")
        if member.sheet is not None:
            with Image.open(member.sheet) as opened:
                opened = opened.convert("RGB")
                opened.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
                picture.paste(opened, (0, 0))
        tiles.append((one.name, picture))
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    gap, head = 8, 18
    sheet = Image.new("RGB", (columns * (SIDE + gap) + gap, rows * (SIDE + head + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, picture) in enumerate(tiles):
        left, top = gap + number % columns * (SIDE + gap), gap + number // columns * (SIDE + head + gap)
        draw.text((left, top), name[:44], fill="black")
        sheet.paste(picture, (left, top + head))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(small(sheet))


def small(sheet: Image.Image) -> bytes:
    """A PNG of at most 150 KB: fewer colours, then fewer pixels."""
    found = b""
    for share in (1.0, 0.8, 0.65, 0.5, 0.4, 0.3):
        size = (round(sheet.width * share), round(sheet.height * share))
        resized = sheet if share == 1 else sheet.resize(size, Image.Resampling.LANCZOS)
        for colours in (64, 24):
            buffer = io.BytesIO()
            resized.quantize(colours).save(buffer, "PNG", optimize=True)
            found = buffer.getvalue()
            if len(found) <= SHEET_BYTES:
                return found
    return found


if __name__ == "__main__":
    main()
