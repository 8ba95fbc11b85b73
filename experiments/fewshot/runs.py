"""Trainings at equal wall-clock on a machine that is shared: what the studies of recipes have in common.

A budget in seconds becomes a number of images: the pace of each system is measured first, in turns with its rivals, so that
what else the machine does hits all alike; then each one trains for pace times seconds images, on one thread, however long that
takes. Each training, and each system whose pace is measured, is a process of its own (``worker.py``). Nothing is evaluated on
the way, for any of them, and all are judged alike at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rows import Rows

from limner.data import Collection, prepare
from limner.device import choose_device, choose_precision
from limner.recipe import Recipe
from limner.recipe import names as recipe_names

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import fastgan

SETS = {
    "maps": "battlemaps-750.zip",
    "emoji": "noto-emoji-128.zip",
    "initials": "initials-64.zip",
    "fashion": "fashion-mnist",
}
TRANSPARENT, SHOWN, UNMIXED = {"emoji"}, "-shown", "-shown-unmixed"
"""Sets with four channels, and what their results' digests end with: see :func:`outcome`."""
FASTGAN = {"fastgan": 64, "fastgan-quarter": 16}
"""Systems that are no recipes: the baseline, by width. A quarter of the published channels is a sixteenth of the arithmetic."""
WIDTHS = {64: 16, 128: 12, 1024: 8}
"""By size, in place of ``width = "auto"``, which could be another one at each measurement: all seeds have the same."""
STAGES = ("pace", "run", "table")
STAND_IN = "quick"
"""Used instead of a recipe that is not there yet; rows say so."""


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        system: what it is called.
        set: what it is trained on, a name of :data:`SETS`.
        size: side of the pictures; ``None`` for what the recipe says.
        seed: of the training, and of which images are held out.
        seconds: of the whole machine's time.
        recipe: a shipped recipe; empty for the systems of :data:`FASTGAN`.
        overrides: fields of the recipe that are set otherwise.
    """

    system: str
    set: str
    size: int | None
    seed: int
    seconds: float
    recipe: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def contest(self) -> str:
        """The set and size that it is compared at."""
        return f"{self.set}-{self.size or 'own'}"

    @property
    def name(self) -> str:
        """For files and people."""
        return f"{self.system}-{self.contest}-seed{self.seed}"

    def is_named(self, pattern: str) -> bool:
        """Whether ``system,set,seed`` means it; parts may be empty or missing, and a set may have its size (maps-128)."""
        parts = [*pattern.split(","), "", ""][:3]
        mine = ((self.system,), (self.set, self.contest), (str(self.seed),))
        return all(not part or part in names for part, names in zip(parts, mine, strict=True))


@dataclass(frozen=True)
class Place:
    """Where things are, and what they are computed with.

    Attributes:
        data: the folder with the collections.
        out: where results go.
        work: where run directories lie while they are needed.
        device, precision: the same for all.
        threads: a pace is measured on.
    """

    data: str
    out: str
    work: str
    device: str = "cpu"
    precision: str = "auto"
    threads: int = 2


def recipe_of(job: Job, place: Place, images: int = 2**30, seed: int | None = None) -> Recipe:
    """The recipe of a job, for so many images; channels, and without a size of its own the size, follow from the set."""
    wanted = {
        "training.images": images,
        "training.seed": job.seed if seed is None else seed,
        "training.device": place.device,
        "training.precision": place.precision,
        "evaluation.share": 0,
        "image.held_out": 0.1,
        **job.overrides,
    }
    if job.size is not None:
        # Recipes that were written for grey pictures are given the set's own channels.
        found = Recipe.load(STAND_IN, {"image.width": job.size, "image.height": job.size}).image
        collection = prepare(Path(place.data) / SETS[job.set], found)
        wanted |= {"image.width": job.size, "image.height": job.size, "image.channels": collection.channels}
    recipe = Recipe.load(job.recipe if job.recipe in recipe_names() else STAND_IN, wanted)
    width = WIDTHS[min(size for size in WIDTHS if size >= (job.size or recipe.image.max_side))]
    players = [player for player in ("generator", "discriminator") if getattr(recipe, player).width == "auto"]
    return recipe.changed({f"{player}.width": width for player in players})


def collection_of(job: Job, place: Place) -> Collection:
    """The images of a job, with the split that its seed gives: the same for every system."""
    if job.recipe:
        image = recipe_of(job, place).image
    else:
        image = Recipe.load(STAND_IN, {"image.width": job.size, "image.height": job.size, "image.held_out": 0.1}).image
    return prepare(Path(place.data) / SETS[job.set], image, seed=job.seed)


def digest(job: Job, place: Place) -> str:
    """What a result depends on but for seed and duration, so that a changed recipe is measured and trained again."""
    if job.recipe:
        # Not what the recipe is called or says of itself, nor what the budget sets.
        values = recipe_of(job, place, seed=0).model_dump(mode="json", exclude={"about"})
    else:
        values = {"fastgan": fastgan.VERSION, "width": FASTGAN[job.system], "size": job.size, "on": place.precision}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _seen(set: str, recipe: str) -> str:
    """Where there is transparency: that discriminators see colours times opacity, and that changed colours hold nothing of
    those that no one sees (without a recipe it is the baseline, which changes colours too)."""
    if set not in TRANSPARENT:
        return ""
    return UNMIXED if not recipe or "color" in Recipe.load(recipe).augment.policy else SHOWN


def outcome(job: Job, place: Place) -> str:
    """The digest of a result: with what its discriminator saw, which a pace hardly feels."""
    return digest(job, place) + _seen(job.set, job.recipe)


def is_stale(row: Mapping[str, Any]) -> bool:
    """Whether a result is from before discriminators saw only what shows."""
    return not row["digest"].endswith(_seen(row["set"], row["recipe"]))


def run_path(job: Job, place: Place, images: int) -> Path:
    """Where a recipe's run lies."""
    return Path(place.work) / f"{job.name}-{outcome(job, place)}-{images}"


def command(what: str, job: Job, place: Place, threads: int, **task: Any) -> tuple[list[str], dict[str, str]]:
    """A process for one job: its command line and environment."""
    described = json.dumps({"job": asdict(job), "place": asdict(place), "threads": threads, "task": task})
    return [sys.executable, str(Path(__file__).with_name("worker.py")), what, described], {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
    }


def measure_paces(jobs: Sequence[Job], place: Place, seconds: float, rounds: int, again: bool = False) -> None:
    """The pace of each system on each set and size, in turns; paces.json has median, range and rounds.

    Those that are known are not measured again: new ones run in turns with one that is known, and what counts is how much
    faster or slower they are than that one. So what is compared is as if all had been measured in the same turns.
    """
    path, paces = Path(place.out) / "paces.json", load_paces(place)
    contests: dict[str, dict[str, Job]] = {}
    for job in jobs:
        contests.setdefault(job.contest, {}).setdefault(job.system, job)
    for contest, systems in contests.items():
        digests = {system: digest(job, place) for system, job in systems.items()}
        known = paces.setdefault(contest, {})
        old = [] if again else [name for name, own in digests.items() if known.get(name, {}).get("digest") == own]
        new = [name for name in systems if name not in old]
        if not new:
            continue
        table = _in_turns(contest, {name: systems[name] for name in (*old[:1], *new)}, place, seconds, rounds)
        for system in new:
            found = [row[system] for row in table]
            if old:
                usual = known[old[0]]["images_per_second"]
                found = [usual * row[system] / row[old[0]] for row in table]
            known[system] = {
                "images_per_second": statistics.median(found), "low": min(found), "high": max(found), "rounds": found,
                "relative_to": old[0] if old else None, "digest": digests[system], "threads": place.threads,
                "precision": place.precision, "load": os.getloadavg()[0],
            }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(paces, indent=1) + "\n")
        part.replace(path)


def _in_turns(
    contest: str, systems: Mapping[str, Job], place: Place, seconds: float, rounds: int
) -> list[dict[str, float]]:
    """Images per second of each, round after round."""
    running, table = {}, []
    try:
        for system, job in systems.items():
            line, variables = command("pace", replace(job, seed=0), place, place.threads)
            pipe = subprocess.PIPE
            running[system] = subprocess.Popen(line, env=variables, stdin=pipe, stdout=pipe, text=True)
        for number in range(rounds + 1):
            row = {system: _asked(process, seconds if number else 0.0) for system, process in running.items()}
            if number:  # the first round warms up
                table.append(row)
                print(f"{contest}, round {number}: {row}", flush=True)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return table


def _asked(process: subprocess.Popen[str], seconds: float) -> float:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit("a process that measures a pace has died; what it said is above")
    return float(answer)


def load_paces(place: Place) -> dict[str, Any]:
    """paces.json, empty where it is not there."""
    path = Path(place.out) / "paces.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def run_all(jobs: Iterable[Job], place: Place, rows: Path, at_once: int, keep: bool = False, **look: Any) -> None:
    """Train and judge all that has no row yet, several at once, each on one thread.

    Args:
        jobs: in this order.
        place: where.
        rows: one line is appended for each that is done.
        at_once: processes.
        keep: leave run directories where they are.
        look: ``sheet`` (job -> path), ``grid`` (columns, rows), ``side`` and ``bytes`` of the sheets.
    """
    paces, waiting, running = load_paces(place), list(jobs), {}
    name_of: Callable[[Job], Path] = look.pop("sheet")

    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    failed = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                own, paced = outcome(job, place), digest(job, place)
                place_of = {"system": job.system, "set": job.set, "size": job.size, "seed": job.seed}
                if Rows(rows).has(**place_of, digest=own, budget_seconds=job.seconds):
                    continue
                pace = paces.get(job.contest, {}).get(job.system, {})
                if pace.get("digest") != paced:
                    raise SystemExit(f"{job.name}: its pace is not measured (stage pace)")
                images = max(1, round(pace["images_per_second"] * job.seconds))
                task = {"images": images, "pace": pace["images_per_second"], "rows": str(rows), **look}
                line, variables = command("train", job, place, 1, sheet=str(name_of(job)), **task)
                print(f"{time.strftime('%H:%M:%S')} {job.name}: {images:,} images", flush=True)
                running[subprocess.Popen(line, env=variables)] = job, images
            time.sleep(0.2)
            for process in [each for each in running if each.poll() is not None]:
                job, images = running.pop(process)
                print(f"{time.strftime('%H:%M:%S')} {job.name}: ended with {process.returncode}", flush=True)
                if process.returncode:
                    failed.append(job.name)
                elif job.recipe and not keep:
                    shutil.rmtree(run_path(job, place, images), ignore_errors=True)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; run it again to go on")


def add_arguments(parser: argparse.ArgumentParser, out: Path) -> None:
    """The command line that the studies share."""
    parser.add_argument("data", type=Path, help="the folder with the collections")
    parser.add_argument("--out", type=Path, default=out, help="where results go")
    parser.add_argument("--work", type=Path, default=Path("runs/studies"), help="where runs lie while they are needed")
    parser.add_argument("--stage", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument(
        "--only", action="append", default=[], metavar="SYSTEM,SET,SEED", help="may be given repeatedly"
    )
    parser.add_argument("--seconds", type=float, help="budget of the whole machine, instead of the study's")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, on one thread each")
    parser.add_argument("--pace-seconds", type=float, default=15.0, help="in one turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns")
    parser.add_argument("--threads", type=int, default=2, help="that a pace is measured on")
    parser.add_argument("--again", action="store_true", help="measure paces that are known again")
    parser.add_argument("--keep", action="store_true", help="keep the run directories")
    parser.add_argument("--device", default="cpu")


def place_of(arguments: argparse.Namespace, out: Path | None = None) -> Place:
    """Where things are, from the command line, with the precision settled."""
    names = str(arguments.data), str(out or arguments.out), str(arguments.work)
    return fixed(Place(*names, device=arguments.device, threads=arguments.threads))


def chosen(jobs: Iterable[Job], only: Sequence[str]) -> list[Job]:
    """The jobs that one of the patterns names; all without a pattern."""
    return [job for job in jobs if not only or any(job.is_named(pattern) for pattern in only)]


def fixed(place: Place) -> Place:
    """The same with a precision that is settled once, for paces and trainings alike, and told by paces.json later."""
    known = {found["precision"] for contest in load_paces(place).values() for found in contest.values()}
    if place.precision == "auto" and len(known) == 1:
        return replace(place, precision=known.pop())
    return replace(place, precision=choose_precision(place.precision, choose_device(place.device)))
