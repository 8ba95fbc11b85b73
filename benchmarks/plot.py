"""Results of ``benchmarks/bench.py`` as pictures and tables in the documentation.

    python benchmarks/plot.py [RESULTS.json ...] [--docs docs]

Reads all of ``benchmarks/results`` by default. The tables stand in ``docs/benchmarks.md`` between the lines ``<!--
results -->`` and ``<!-- end of results -->``, whatever was there before; pictures are ``docs/images/benchmark-*.png``.
The same results give the same text.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parts.figures import cells

HERE = Path(__file__).parent
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
CAPTIONS = {
    "benchmark-training.png": "how many times as fast recipes train as the same mathematics written plainly",
    "benchmark-size.png": "milliseconds an image against its size",
    "benchmark-count.png": "milliseconds an image against the number of images",
    "benchmark-gpu.png": "images a second over batch sizes",
}
"""What pictures show, for those who cannot see them."""
INK, LIMNER, PLAIN = "#333333", "#2a6f97", "#c9c9c9"

Results = dict[str, Any]


def load(paths: Sequence[Path]) -> dict[str, Results]:
    """Results by the machine's name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def rows(results: Results, part: str) -> list[dict[str, Any]]:
    """The figures of a part; none where it was not measured."""
    return list(results["parts"].get(part, {}).get("figures", []))


def markdown(machines: dict[str, Results]) -> str:
    """All tables."""
    lines: list[str] = []
    for results in machines.values():
        about = results["machine"]
        lines += [f"### {about['device_name']}, {about['cores']} cores, torch {about['torch']}", ""]
        for part in results["parts"].values():
            load = part.get("load")
            busy = f"; load {load[0]:g} at its end" if load else ""
            lines += [f"**{part['title']}** ({part['date']}, {part['seconds']:.0f} s{busy})", ""]
            if "error" in part:
                lines += ["Could not be measured: " + part["error"].splitlines()[-1], ""]
            if part["figures"]:
                lines += ["| | median | range | goal | met |", "|---|---|---|---|---|"]
                lines += [
                    f"| {' | '.join(cells(row))} |".replace("|  |", "| |").replace("|  |", "| |")
                    for row in part["figures"]
                ]
                lines += _notes(part["figures"])
                lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def _notes(figures: list[dict[str, Any]]) -> list[str]:
    notes = sorted({row["note"] for row in figures if row["note"]})
    return ["", "Some sets: " + ", ".join(notes) + "."] if notes else []


def insert(page: str, text: str) -> str:
    """The page with the text between its marks.

    Raises:
        ValueError: it has none.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def speeds(machines: dict[str, Results]) -> list[tuple[str, str, dict[str, Any], float]]:
    """Machine, case, ratio and goal of each training that was measured."""
    found = []
    for machine, results in machines.items():
        for row in rows(results, "training"):
            matched = re.fullmatch(r"(.+): times the (?:textbook|plain) version", row["what"])
            if matched:
                found.append((machine, matched[1], row, row["goal"]))
    return found


def series(results: Results, pattern: str) -> tuple[list[float], list[float]]:
    """The number in each figure's name that the pattern finds, and its median."""
    found = [(re.fullmatch(pattern, row["what"]), row["median"]) for row in rows(results, "growth")]
    pairs = [(float(match[1].replace(",", "")), value) for match, value in found if match]
    return [at for at, _ in pairs], [value for _, value in pairs]


def draw(machines: dict[str, Results], folder: Path) -> list[Path]:
    """The pictures that there are figures for."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "text.color": INK})
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    if found := speeds(machines):
        shown, axes = plt.subplots(figsize=(7, 0.8 + 0.42 * len(found)))
        for place, (machine, name, row, goal) in enumerate(reversed(found)):
            label = name if len(machines) == 1 else f"{name}, {machine}"
            spread = [[row["median"] - row["low"]], [row["high"] - row["median"]]]
            axes.barh(place, row["median"], 0.6, color=LIMNER, xerr=spread, ecolor=INK, capsize=3)
            axes.plot([goal, goal], [place - 0.4, place + 0.4], color=INK, linestyle=":")
            axes.text(-0.03, place, label, ha="right", va="center", transform=axes.get_yaxis_transform())
        axes.axvline(1, color=PLAIN, zorder=0)
        axes.set(yticks=[], xlabel="times as fast as the plain version (dotted: the goal)")
        made.append(_saved(shown, folder / "benchmark-training.png"))
    kinds = (
        ("size", r"an image at (\d+)x\d+", "pixels a side", "benchmark-size.png"),
        ("count", r"an image of ([\d,]+)", "images in the collection", "benchmark-count.png"),
    )
    for kind, pattern, label, name in kinds:
        lines = {machine: line for machine, results in machines.items() if (line := series(results, pattern))[0]}
        if lines:
            shown, axes = plt.subplots(figsize=(5, 3.2))
            for machine, (at, values) in lines.items():
                axes.plot(at, values, "o-", label=machine)
            most = max(max(values) for _, values in lines.values())
            # A cost that should be constant is shown from 0 on: only so can it be seen to be.
            flat = {"yscale": "linear", "ylim": (0, 1.3 * most)} if kind == "count" else {"yscale": "log"}
            axes.set(xscale="log", xlabel=label, ylabel="ms an image", **flat)
            if kind == "size":  # no powers of ten, and the marks between them would stand in one another's way
                for axis, ticks in (
                    (axes.xaxis, sorted({place for at, _ in lines.values() for place in at})),
                    (axes.yaxis, [base * 10**power for power in range(-2, 4) for base in (1, 2, 5)]),
                ):
                    low, high = axis.get_view_interval()
                    axis.set_ticks([tick for tick in ticks if low <= tick <= high])
                    axis.set_ticks([], minor=True)
                    axis.set_major_formatter("{x:g}")
            if len(lines) > 1:
                axes.legend(frameon=False)
            made.append(_saved(shown, folder / name))
    if gpus := {machine: results for machine, results in machines.items() if rows(results, "gpu")}:
        shown, axes = plt.subplots(figsize=(5, 3.2))
        for machine, results in gpus.items():
            matched = [
                (re.fullmatch(r"dcgan, batch (\d+): limner in \w+", row["what"]), row) for row in rows(results, "gpu")
            ]
            pairs = [(int(match[1]), row["median"]) for match, row in matched if match]
            axes.plot([at for at, _ in pairs], [value for _, value in pairs], "o-", label=machine)
        axes.set(xscale="log", xlabel="batch size", ylabel="images/s, dcgan 64x64", ylim=(0, None))
        axes.legend(frameon=False)
        made.append(_saved(shown, folder / "benchmark-gpu.png"))
    return made


def _saved(shown: Any, path: Path) -> Path:
    import matplotlib.pyplot as plt

    shown.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(shown)
    return path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path)
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs")
    told = parser.parse_args(arguments)
    paths = told.results or sorted((HERE / "results").glob("*.json"))
    if not paths:
        print("no results; first: python benchmarks/bench.py", file=sys.stderr)
        return 1
    machines = load(paths)
    page, folder = told.docs / "benchmarks.md", told.docs / "images"
    pictures = draw(machines, folder)
    for old in set(folder.glob("benchmark-*.png")) - set(pictures):
        old.unlink()  # of results that are gone
    shown = "\n\n".join(f"![{CAPTIONS[path.name]}](images/{path.name})" for path in pictures)
    text = f"{shown}\n\n{markdown(machines)}" if shown else markdown(machines)
    page.write_text(insert(page.read_text(encoding="utf-8"), text), encoding="utf-8")
    for path in (page, *pictures):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
