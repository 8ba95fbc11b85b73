"""Draw how the kernel distance of ``limner`` grows with every disturbance: ``plot.py results.json OUT.png``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from sets import CHANGES, CONTAMINATED, DROPPED


def main(results: Path, out: Path) -> None:
    """One panel for each disturbance, one line for each set."""
    found = json.loads(results.read_text(encoding="utf-8"))["limner"]
    strengths = {name: (0.0, *values) for name, (_, values) in CHANGES.items()}
    strengths |= {"contamination": (0.0, *CONTAMINATED), "dropping": (0.0, *DROPPED)}
    figure, axes = plt.subplots(2, 4, figsize=(10, 4.6), layout="constrained")
    for axis, (change, values) in zip(axes.flat, strengths.items(), strict=True):
        for name, marker in zip(found, "osD^", strict=True):
            axis.plot(values, found[name][change]["kernel"]["mean"], marker=marker, markersize=3.5, label=name)
        axis.set_yscale("symlog", linthresh=0.01)
        axis.set_title(change, fontsize=10)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
    axes[0, 0].legend(fontsize=7)
    figure.supxlabel("strength", fontsize=9)
    figure.supylabel("kernel distance", fontsize=9)
    figure.savefig(out, dpi=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
