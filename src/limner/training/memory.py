"""How much memory a training takes, and in what portions it has to compute to take less.

Measured, not computed: the training is rehearsed in a process of its own (:mod:`limner.training.rehearsal`), which ends itself
when it passes a bound, so that nothing else on the machine suffers. Where a batch does not fit as a whole, two rehearsals
with one and with two images at a time give a straight line, peak = fixed + slope * images; what the line promises is then
rehearsed itself, with everything that a training does beside its updates.

On a CPU the peak is what the process holds in memory: its own pages and those of its program, but not the pages of mapped
pictures, which the system drops when it needs room. On CUDA it is what torch has reserved, and half a gigabyte for CUDA itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from limner.errors import InputError, LimnerError
from limner.recipe import Recipe

MARGIN = 0.94
"""The share of a budget that the line may fill: updates differ a little, and memory is not cut to measure."""
TRIES = 3
STATISTICS = 4
"""Images at a time that batch normalisation should see; fewer only where nothing else fits."""
UPDATES, EVALUATION = "updates", "evaluation"
"""What a rehearsal does, of what it says that memory ran out during."""
JOB, FOUND = "job.json", "found.json"
OVER = 73
"""Exit code of a rehearsal that has passed its bound."""
_PERIOD = 0.01
_KILLED = (OVER, -9, 137)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What is rehearsed.

    Attributes:
        data: as for a training.
        recipe: resolved, as TOML.
        bound: bytes; ``None`` for none.
        seconds: of updates that are timed, at least.
        whole: with samples, an evaluation and a checkpoint; else updates alone.
        threads: of torch; 0 for its own choice.
    """

    data: str
    recipe: str
    bound: int | None
    seconds: float
    whole: bool
    threads: int = 0


@dataclass(frozen=True)
class Found:
    """What a rehearsal measured.

    Attributes:
        peak: bytes.
        after: bytes at the peak so far, by what had been done: ``networks``, ``first evaluation`` (before the training),
            ``updates``, ``samples``, ``evaluation`` (at the end), ``checkpoint``.
        seconds: per image, of updates.
        processor: seconds of processor time that were had in each second of them; on a busy machine fewer than there are
            threads, and then ``seconds`` are too many.
        evaluation: seconds of comparing an evaluation's samples with real images; drawing them not included.
        parameters: of generator and discriminator.
        epoch_size: images that are trained on.
    """

    peak: int
    after: dict[str, int]
    seconds: float
    processor: float
    evaluation: float
    parameters: tuple[int, int]
    epoch_size: int


@dataclass(frozen=True)
class Fit:
    """A recipe that fits into memory, what it takes there, and a line for people about what was changed, if anything."""

    recipe: Recipe
    found: Found
    said: str


class PastBound(LimnerError):
    """A rehearsal has passed its bound; ``during`` says while it did what."""

    def __init__(self, during: str) -> None:
        super().__init__(f"more memory than allowed, during {during}")
        self.during = during


def fit(data: str | Path, recipe: Recipe, bound: int | None, seconds: float, say: Say, threads: int = 0) -> Fit:
    """Rehearse a training, and where a bound is given, choose micro-batch and recomputation so that it stays below.

    Args:
        data: as for a training.
        recipe: resolved; its ``micro_batch`` is the most that is chosen.
        bound: bytes of main memory, or of the GPU's where the recipe trains on one; ``None``: what is free here bounds
            the rehearsal, and nothing is chosen.
        seconds: of timed updates.
        say: told of each rehearsal.
        threads: of torch.

    Raises:
        InputError: nothing fits, or memory cannot be measured here.
    """
    if bound is None:
        return _as_it_is(data, recipe, seconds, threads)
    if recipe.training.device == "cpu" and not Watch.measures():
        raise InputError("--memory: this system does not say how much memory a process has")
    job = Job(str(data), recipe.to_toml(), bound, seconds, True, threads)
    before, batch = recipe.training, recipe.training.batch_size
    most = min(before.micro_batch or batch, batch)
    during = UPDATES
    try:
        found = rehearse(job)
        if found.peak <= bound:
            return Fit(recipe, found, "")
    except PastBound as error:
        during = error.during
    say(f"does not fit into {bound / 1e9:.3g} GB as it is; looking for what does")
    lines: dict[bool, tuple[float, float] | None] = {}
    for recompute, least in _ways(recipe, most):
        if recompute not in lines:
            lines[recompute] = _line(job, recipe, recompute, most)
        line = lines[recompute]
        if line is None:
            continue
        images = most if line[1] <= 0 else min(most, int((MARGIN * bound - line[0]) / line[1]))
        for _ in range(TRIES):
            images = even(batch, images)
            chosen = _with(recipe, images, recompute)
            if chosen == recipe:  # which did not fit
                images = even(batch, int(images * 0.75) if during == UPDATES else least)
                chosen = _with(recipe, images, recompute)
            if images < least or chosen == recipe:
                break
            try:
                found = rehearse(replace(job, recipe=chosen.to_toml()))
                if found.peak <= bound:
                    return Fit(chosen, found, _said(recipe, chosen, found, bound))
                during = max(found.after, key=lambda phase: found.after[phase])
            except PastBound as error:
                during = error.during
            if during != UPDATES and images <= least:
                raise InputError(_too_small(recipe, bound, during, lines))
            images = int(images * 0.75) if during == UPDATES else least
    raise InputError(_too_small(recipe, bound, during, lines))


def rehearse(job: Job) -> Found:
    """Do what a training does, for a few updates, in a process of its own.

    Raises:
        PastBound: it took more memory than allowed.
        InputError: what the training would raise.
        LimnerError: it failed in another way.
    """
    with TemporaryDirectory(prefix="limner-") as folder:
        (Path(folder) / JOB).write_text(json.dumps(asdict(job)), encoding="utf-8")
        command = [sys.executable, "-m", "limner.training.rehearsal", folder]
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        told: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            told = json.loads((Path(folder) / FOUND).read_text(encoding="utf-8"))
    if ended.returncode == 0 and "peak" in told:
        return Found(**{**told, "parameters": tuple(told["parameters"])})
    if "error" in told:
        raise InputError(told["error"])
    if "during" in told or ended.returncode in _KILLED:
        raise PastBound(told.get("during", "updates"))
    last = ended.stderr.decode(errors="replace").strip().splitlines()
    raise LimnerError(
        f"a rehearsal of the training failed (code {ended.returncode}): {last[-1] if last else 'no word'}"
    )


def _as_it_is(data: str | Path, recipe: Recipe, seconds: float, threads: int) -> Fit:
    free = available() if recipe.training.device == "cpu" else None
    try:
        return Fit(recipe, rehearse(Job(str(data), recipe.to_toml(), free, seconds, True, threads)), "")
    except PastBound as error:
        had = f"the {free / 1e9:.3g} GB that are free here" if free else "the memory there is"
        advice = f"--memory {max(free / 1e9, 0.1):.1f}GB" if free else "--memory SIZE"
        raise InputError(
            f"this training needs more than {had} (it ended during {error.during}); {advice} computes fewer images at a"
            " time, --batch-size and --size make it smaller"
        ) from None


def _ways(recipe: Recipe, most: int) -> Iterator[tuple[bool, int]]:
    """Whether to recompute, and the fewest images at a time: in the order in which they are tried."""
    normed = compares_images(recipe)
    leasts = (min(STATISTICS, most), 1) if normed else (1,)
    for least in dict.fromkeys(leasts):
        for recompute in (True,) if recipe.training.recompute else (False, True):
            yield recompute, least


def compares_images(recipe: Recipe) -> bool:
    """Whether a network looks at several images together, so that it matters how many are computed at a time."""
    players = [recipe.values()[player] for player in ("generator", "discriminator")]
    return any(player.get("norm") == "batch" or player.get("deviation") for player in players)


def _line(job: Job, recipe: Recipe, recompute: bool, most: int) -> tuple[float, float] | None:
    """Bytes without images, and bytes for each image at a time; ``None`` when not even one fits."""
    peaks: list[int] = []
    for images in (1, 2):
        if images > most:
            break
        small = replace(job, recipe=_with(recipe, images, recompute).to_toml(), whole=False, seconds=0)
        try:
            peaks.append(rehearse(small).peak)
        except PastBound:
            break
    if not peaks:
        return None
    slope = float(peaks[1] - peaks[0]) if len(peaks) > 1 else max(peaks[0], (job.bound or 0) - peaks[0])
    return peaks[0] - slope, slope


def _with(recipe: Recipe, images: int, recompute: bool) -> Recipe:
    micro = None if images >= recipe.training.batch_size else images
    return recipe.changed({"training.micro_batch": micro, "training.recompute": recompute})


def even(batch: int, images: int) -> int:
    """At most so many images at a time, in parts of equal size, so that no part is left with one or two."""
    if images < 1:
        return 0
    parts = -(-batch // images)
    return -(-batch // parts)


def _said(before: Recipe, after: Recipe, found: Found, bound: int) -> str:
    training = after.training
    changes = []
    if training.micro_batch != before.training.micro_batch:
        batch, at_once = training.batch_size, training.micro_batch or training.batch_size
        changes.append(f"batches of {batch} are computed {at_once} images at a time, in {-(-batch // at_once)} parts")
        if compares_images(after):
            changes.append(
                "what looks at several images together (batch normalisation, deviation) sees one part at a time"
            )
    if training.recompute and not before.training.recompute:
        changes.append("activations are computed again for the gradients")
    said = f"{found.peak / 1e9:.2f} of {bound / 1e9:.3g} GB at its peak"
    return f"{said}: {'; '.join(changes)}" if changes else said


def _too_small(recipe: Recipe, bound: int, during: str, lines: dict[bool, tuple[float, float] | None]) -> str:
    image = recipe.image
    assert image.width is not None and image.height is not None
    width, height = max(8, image.width // 2), max(8, image.height // 2)
    one = [line[0] + line[1] for line in lines.values() if line is not None]
    if during == EVALUATION:
        why = "updates would fit, judging does not"
        advice = "--set evaluation.share=0 leaves it out, and evaluation.images is the number of samples"
    else:
        why = (
            f"updates one image at a time take {min(one) / 1e9:.2f} GB" if one else "not even one image at a time fits"
        )
        advice = f"--size {width}x{height} takes about a quarter, and narrower networks take less"
    return (
        f"--memory {bound / 1e9:.3g}GB: this training cannot be made to fit ({why}; it ended during {during}); {advice}"
    )


class Watch(threading.Thread):
    """Follows the memory of its own process; ends it when that passes a bound.

    Args:
        bound: bytes; ``None`` only looks.
        mapped: a folder whose mapped files do not count.
        past: called before the process is ended.
    """

    def __init__(self, bound: int | None, mapped: Path | None = None, past: Callable[[], None] | None = None) -> None:
        super().__init__(daemon=True)
        self._bound, self._mapped, self._past = bound, mapped, past
        self._parent = os.getppid()
        self._own = 0
        self._program = file_pages(mapped)
        self._ended = threading.Event()

    @staticmethod
    def measures() -> bool:
        """Whether this system says how much memory a process has."""
        return held() > 0

    def run(self) -> None:
        while not self._ended.wait(_PERIOD):
            self._look()
            if self._bound is not None and (self._own + self._program > self._bound or os.getppid() != self._parent):
                if self._past is not None:
                    self._past()
                os._exit(OVER)

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()

    @property
    def peak(self) -> int:
        """Bytes at the peak so far."""
        self._look()
        self._program = max(self._program, file_pages(self._mapped))
        return self._own + self._program

    def _look(self) -> None:
        self._own = max(self._own, held())


def available() -> int | None:
    """Bytes of main memory that a new process can have; ``None`` where the system does not say."""
    found = []
    with suppress(OSError, KeyError, ValueError):
        found.append(_facts("/proc/meminfo")["MemAvailable"])
    with suppress(OSError, ValueError):  # a container's own limit
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        facts = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        found.append(limit - used + int(facts.get("inactive_file", 0)))  # files that were read can be dropped
    return max(0, min(found)) if found else None


def held() -> int:
    """Bytes that belong to this process alone; elsewhere than on Linux the most that it has had of all kinds."""
    with suppress(OSError, KeyError, ValueError):
        facts = _facts("/proc/self/status")
        return facts["RssAnon"] + facts["RssShmem"]
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def file_pages(mapped: Path | None) -> int:
    """Bytes of files that this process has in memory, its program above all, but for those in a folder."""
    total, inside = 0, False
    with suppress(OSError, ValueError), open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
        resident = anonymous = 0
        for line in file:
            words = line.split()
            if words[0].endswith(":"):
                resident = int(words[1]) * 1024 if words[0] == "Rss:" else resident
                if words[0] == "Anonymous:":
                    anonymous = int(words[1]) * 1024
                    total += resident - anonymous if inside else 0
            else:
                path = line.split(maxsplit=5)[5].strip() if len(words) > 5 else ""
                inside = path.startswith("/") and not (mapped is not None and path.startswith(f"{mapped}/"))
    return total


def _facts(path: str) -> dict[str, int]:
    """Lines such as ``RssAnon:  12 kB`` of a file of the system's, in bytes."""
    facts = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            words = value.split()
            if len(words) == 2 and words[1] == "kB":
                facts[name] = int(words[0]) * 1024
    return facts
