"""docs/findings.md, made of the studies and their results: nothing in it is written by hand but what the studies say."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from limner.judging.comparison.statistics import COMPARED
from limner.judging.figures import Figure
from limner.judging.report.words import figure_words, percent
from limner.progress import duration

HEAD = """# What the sources found, answered with evidence

The authors of the two projects that Limner started from changed one thing at a time and trusted their eyes. Here are their
questions again, each as a study with two seeds on the real images. `make findings` repeats all of it, or only what is named
or was changed, and makes this page from the committed results in `experiments/findings/results/`; the studies are beside
them. All runs together took {took} of one thread, so half of that with two at a time on two cores.

Each figure is a mean over the seeds with its 95 % interval. A difference is called one when its interval, which counts both
the spread of the seeds and the evaluation's own uncertainty, does not hold 0; with two seeds that takes a large one. Plus is
better. How it is told: [studies](studies.md). What the figures mean: [metrics](metrics.md).
"""
OTHERS = ("precision", "recall", "coverage", "diversity", "copied_share")
WAY = 4
TITLES = {
    "q01": "Batch size", "q02": "LeakyReLU, or ReLU with dropout", "q03": "Learning rates",
    "q04": "Ways up, smoothing, strides", "q05": "Normalisation", "q06": "Wasserstein", "q07": "Labels and noise",
    "q08": "The vanilla GAN", "q09": "More epochs on the same few images", "q10": "Size", "q11": "Precision",
}  # fmt: skip


def write(studies: Sequence[Path], results: Path, target: Path) -> None:
    """Write the page."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text(studies, results, target.parent), encoding="utf-8")


def text(studies: Sequence[Path], results: Path, folder: Path) -> str:
    """The page, for a place in a folder: a section for each question, in which each of its studies has its part."""
    parts = [HEAD.format(took=duration(sum(map(seconds, results.glob("*.jsonl")))))]
    number = ""
    for path in studies:
        key = path.stem[:3]
        if key != number:
            number = key
            parts.append(f"## {int(key[1:])}. {TITLES.get(key, path.stem)}\n")
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        parts.append(entry(path.stem, given, results, folder))
    return "\n".join(parts)


def seconds(file: Path) -> float:
    """What all runs of a study took, one after the other."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[1:]]
    return sum(row.get("seconds_in_all", 0.0) for row in rows)


def entry(name: str, given: Mapping[str, Any], results: Path, folder: Path) -> str:
    """One study: question, what the source said, what was measured, sheet, verdict, advice."""
    lines = [f"### {given['question']}", "", f"**The source.** {given['source']}", ""]
    file = results / f"{name}.jsonl"
    if not file.is_file():
        return "\n".join([*lines, "Not measured yet.", ""])
    told, *rows = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
    names = [one["name"] for one in told["configurations"]]
    seeds = sorted({row["seed"] for row in rows})
    lines.append(
        f"**Measured.** `experiments/findings/{name}.toml`: {len(names)} configurations, seeds {', '.join(map(str, seeds))};"
        f" {len(rows)} runs of {duration(fmean(row['seconds'] for row in rows if 'seconds' in row))} on average."
    )
    for view in told["views"]:
        lines += ["", f"{view['title']}. {view['note']}", "", *view_table(told, view)]
    lines += way(rows, names, told["metric"])
    lines += gathered(rows, names)
    lines += costs(rows, names) if "minutes" in given["budget"] else []
    for view in told["views"][:1]:
        lines += effects(told, view)
    sheet = results / "sheets" / f"{name}.png"
    if sheet.is_file():
        place = os.path.relpath(sheet, folder)
        lines += ["", f"![What each configuration drew with the first seed]({place})"]
    lines += ["", f"**Verdict.** {told['headline']}", ""]
    lines += [f"**Advice.** {given.get('advice') or 'None follows yet.'}", ""]
    return "\n".join(lines)


def view_table(told: Mapping[str, Any], view: Mapping[str, Any]) -> list[str]:
    """Each configuration at one moment: figures, and what it is beside the reference."""
    metric = told["metric"]
    shown = [name for name in dict.fromkeys((metric, *OTHERS)) if name in view["figures"]]
    lines = [
        f"| configuration | {' | '.join(COMPARED[name].label for name in shown)} | beside {cell(told['reference'])} |"
    ]
    lines.append(f"|---|{'---|' * len(shown)}---|")
    for one in told["configurations"]:
        name = one["name"]
        cells = [cell(name)]
        for figure in shown:
            mean = view["figures"][figure][name]["mean"]
            cells.append("" if mean is None else figure_words(figure, Figure.from_values(mean)))
        verdict = view["figures"].get(metric, {}).get(name, {}).get("verdict")
        cells.append("" if verdict is None else cell(verdict["words"]))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def effects(told: Mapping[str, Any], view: Mapping[str, Any]) -> list[str]:
    """What each factor does, where there are several."""
    found = view["effects"].get(told["metric"], [])
    if len({one["factor"] for one in found}) < 2:
        return []
    lines = ["", "All else alike:", ""]
    for one in found:
        lines.append(f"- {one['factor']} {one['level']} beside {one['base']}: {one['difference']['words']}")
    lines += [f"- {one['words']}" for one in view["interactions"].get(told["metric"], [])]
    return lines


def way(rows: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str) -> list[str]:
    """The figure, and the share of copies, at even steps on the way; means over the seeds. For where copies appear."""
    if not any(copies(reading) for row in rows for reading in row.get("way") or []):
        return []
    lines = ["", f"On the way: {COMPARED[metric].label} / copied share, by images seen.", ""]
    own = {name: [row for row in rows if row["configuration"] == name and row.get("way")] for name in names}
    most = max((len(row["way"]) for row in rows if row.get("way")), default=0)
    places = sorted({round(most * step / WAY) for step in range(1, WAY + 1)} - {0})
    seen = [next((f"{row['way'][place]['images']:,}" for row in rows if len(row.get("way") or []) > place), "") for place in
            [min(place, most - 1) for place in places]]  # fmt: skip
    lines += [f"| configuration | {' | '.join(seen)} |", f"|---|{'---|' * len(seen)}"]
    for name in names:
        cells = []
        for place in places:
            readings = [row["way"][min(place, most - 1)] for row in own[name] if len(row["way"]) > min(place, most - 1)]
            values = [reading["figures"][metric]["value"] for reading in readings if metric in reading["figures"]]
            shares = [copies(reading) for reading in readings]
            cells.append(f"{fmean(values):.3g} / {percent(fmean(shares))}" if values else "")
        lines.append(f"| {cell(name)} | {' | '.join(cells)} |")
    return lines


def gathered(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """How many training images are the nearest ones to samples, where that was looked at."""
    if not any("nearest" in row for row in rows):
        return []
    counts = next(row["nearest"]["samples"]["count"] for row in rows if "nearest" in row)
    lines = ["", f"The nearest training image to each of {counts} samples, pixel by pixel; a column for each seed.", ""]
    seeds = sorted({row["seed"] for row in rows})
    lines += [f"| configuration | {' | '.join(f'seed {seed}' for seed in seeds)} |", f"|---|{'---|' * len(seeds)}"]

    def words(found: Mapping[str, Any]) -> str:
        return f"{percent(found['commonest'])} have the same one, {found['different']} different ones"

    for name in names:
        own = {row["seed"]: row["nearest"]["samples"] for row in rows if row["configuration"] == name}
        lines.append(f"| {cell(name)} | {' | '.join(words(own[seed]) for seed in seeds)} |")
    real = {row["seed"]: row["nearest"].get("held_out") for row in rows}
    if all(real.values()):
        lines.append(f"| real images, held out | {' | '.join(words(real[seed]) for seed in seeds)} |")
    return lines


def costs(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """What each configuration took: for a study in which the time is given."""
    lines = ["", "| configuration | images seen | images/s | memory at its peak |", "|---|---:|---:|---:|"]
    for name in names:
        own = [row for row in rows if row["configuration"] == name and row.get("seconds")]
        if own:
            images = fmean(row["images"] for row in own)
            rate = fmean(row["images"] / row["seconds"] for row in own)
            peak = max(row["peak_memory"] for row in own)
            lines.append(f"| {cell(name)} | {images:,.0f} | {rate:.3g} | {peak / 1e9:.2f} GB |")
    return lines


def copies(reading: Mapping[str, Any]) -> float:
    """The share of copies at a moment; 0 where it was not told."""
    found = (reading.get("figures") or {}).get("copied_share") or {}
    return float(found.get("value") or 0)


def cell(words: str) -> str:
    """Text in a table's cell."""
    return words.replace("|", "\\|")
