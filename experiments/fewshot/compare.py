"""Is ``fewshot`` better than what there is, in the same time?

    python experiments/fewshot/compare.py DATA_DIR --out experiments/fewshot [--stage pace run table] [--only fewshot,maps,0]

Ten minutes of two cores at 64x64 on three sets, two seeds, against the recipes ``dcgan`` and ``wgan-gp`` (at that size, with
the set's own channels) and a FastGAN-style baseline (``benchmarks/fastgan.py``) with a quarter of the published channels, which
is no one's published network but learns sooner on two cores; on maps also with all of them. Twenty minutes at 128x128 on maps
against the baseline; with ``--device cuda``, twenty minutes at 256x256 instead of all these.

DATA_DIR holds battlemaps-750.zip, noto-emoji-128.zip and initials-64.zip. ``pace`` measures images per second of each system
on two threads, in turns, to paces.json; what else runs then slows all of them down alike. ``run`` trains each for as many
images as that makes in its time, on one thread, and appends rows to compare.jsonl and sheets to sheets/; what has a row is not
done again, and a training that was cut off goes on (the baseline's starts again). ``table`` prints markdown, writes it
into the page that ``--page`` names, and draws the sheets of each set below one another where ``--pictures`` says.

Nothing is evaluated on the way, for any of them. All are judged by the same reference: the held-out split of that seed, samples
of the averaged generator, as many as there are training images, 2,000 at most.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import runs
from PIL import Image
from rows import Rows, comparison, inserted, small_png, verdicts
from runs import FASTGAN, Job, Place

from limner import imaging

FIRST = "fewshot"
RECIPES = (FIRST, "dcgan", "wgan-gp")
BASELINE = "fastgan-quarter"
SMALL = [
    ("maps", 64, 10.0, (*RECIPES, *FASTGAN)),
    *((name, 64, 10.0, (*RECIPES, BASELINE)) for name in ("emoji", "initials")),
]
"""Set, size, minutes, systems."""
CONTESTS = {
    "cpu": [*SMALL, ("maps", 128, 20.0, (FIRST, BASELINE))],
    "cuda": [(name, 256, 20.0, (*RECIPES, *FASTGAN)) for name in ("maps",)],
}
SEEDS = (0, 1)
KEYS = ("system", "set", "size", "seed", "budget_seconds")
MARK = "beside"
"""What the lines of the page are called that tables stand between."""


def jobs(device: str, seconds: float | None) -> list[Job]:
    """All trainings: the first seed of everything comes first."""
    return [
        Job(system, name, size, seed, seconds or 60 * minutes, "" if system in FASTGAN else system)
        for seed in SEEDS
        for name, size, minutes, systems in CONTESTS[device.split(":")[0]]
        for system in systems
    ]


def results(path: Path) -> list[dict[str, Any]]:
    """The newest rows of the trainings, in their order."""
    found = {tuple(row[key] for key in KEYS): row for row in Rows(path).newest(*KEYS) if not runs.is_stale(row)}
    wanted = [(job.system, job.set, job.size, job.seed, job.seconds) for kind in CONTESTS for job in jobs(kind, None)]
    return [found[key] for key in wanted if key in found]


def told(found: Sequence[dict[str, Any]]) -> str:
    """What the page says of them."""
    return f"{verdicts(found, FIRST)}\n{comparison(found, FIRST)}"


WIDTH, SHOWN = 640, 2
"""Pixels across of a picture, and rows of each sheet's eight that it shows."""


def draw(found: list[dict[str, Any]], sheets: Path, to: Path) -> None:
    """For each set and size one picture of what the systems drew after the first seed's training, the nearest first."""
    for name, size in sorted({(row["set"], row["size"]) for row in found}):
        bands = []
        rows = [row for row in found if (row["set"], row["size"], row["seed"]) == (name, size, SEEDS[0])]
        for row in sorted(rows, key=lambda row: row["figures"]["kernel_distance"]["value"]):
            distance, system = row["figures"]["kernel_distance"]["value"], row["system"]
            sheet = imaging.flat(Image.open(sheets / row["sheet"]).convert("RGBA"))
            part = sheet.resize((WIDTH, WIDTH), Image.Resampling.LANCZOS).crop((0, 0, WIDTH, WIDTH * SHOWN // 8))
            bands.append(
                imaging.captioned(part, f"{system}: kernel distance {distance:.2f} after {row['images']:,} images")
            )
        whole = Image.new("RGB", (WIDTH, sum(band.height for band in bands)), "white")
        for number, band in enumerate(bands):
            whole.paste(band, (0, sum(other.height for other in bands[:number])))
        (to / f"fewshot-beside-{name}-{size}.png").write_bytes(small_png(whole, 1_000_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    runs.add_arguments(parser, Path(__file__).parent)
    parser.add_argument("--pictures", type=Path, help="where the table's stage draws what each system made of each set")
    parser.add_argument("--page", type=Path, help="the table's stage writes its tables between this page's marks")
    arguments = parser.parse_args()
    place: Place = runs.place_of(arguments)
    chosen = runs.chosen(jobs(arguments.device, arguments.seconds), arguments.only)
    path = arguments.out / "compare.jsonl"
    if "pace" in arguments.stage:
        runs.measure_paces(chosen, place, arguments.pace_seconds, arguments.rounds, arguments.again)
    if "run" in arguments.stage:
        runs.run_all(
            chosen, place, path, arguments.jobs, arguments.keep,
            sheet=lambda job: arguments.out / "sheets" / f"{job.name}.png", grid=(8, 8), side=128, bytes=200_000,
        )  # fmt: skip
    if "table" in arguments.stage:
        found = results(path)
        print(told(found))
        if arguments.page is not None:
            page = arguments.page.read_text(encoding="utf-8")
            arguments.page.write_text(inserted(page, MARK, told(found)), encoding="utf-8")
        if arguments.pictures is not None:
            draw(found, arguments.out / "sheets", arguments.pictures)


if __name__ == "__main__":
    main()
