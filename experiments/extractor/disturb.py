"""Do distances grow as images get worse? Every candidate for features, on every real set, under rising disturbance.

    python experiments/extractor/disturb.py DATA --pool /tmp/pool.npz --out results.json

Each set is halved at random. One half is the reference; the other is disturbed, more and more. So strength 0 is the distance
between real images and real images. How much that alone varies comes from other random halves of the same images.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from candidates import CANDIDATES
from sets import CHANGES, CONTAMINATED, DROPPED, OTHER, fit, load

from limner.judging.distances.frechet import frechet_distance
from limner.judging.distances.kernel import kernel_distance
from limner.judging.features import WEIGHTS

Features = Callable[[np.ndarray], np.ndarray]
DISTANCES = {"kernel": kernel_distance, "frechet": frechet_distance}
SPLITS = 10


def _distances(reference: np.ndarray, other: np.ndarray) -> dict[str, float]:
    return {name: float(distance(reference, other).value) for name, distance in DISTANCES.items()}


def summary(curves: np.ndarray) -> dict[str, object]:
    """How well distances rise.

    Args:
        curves: distances [splits, 1 + strengths], the undisturbed first.

    Returns:
        ``mean``: of the splits, at each strength; ``rises``: share of steps that rise, over all splits; ``tau``: Kendall's, of
        strength and distance, the mean of the splits; ``gain``: how far the weakest disturbance is above real against real,
        in standard deviations of that; ``seen``: share of disturbed sets that are above 95 % of the undisturbed ones.
    """
    strengths = curves.shape[1]
    pairs = [np.sign(curves[:, i] - curves[:, j]) for i in range(strengths) for j in range(i)]
    floor = curves[:, 0]
    return {
        "mean": [float(f"{value:.4g}") for value in curves.mean(0)],
        "rises": round(float((np.diff(curves, axis=1) > 0).mean()), 3),
        "tau": round(float(np.mean(pairs)), 3),
        "gain": round(float((curves[:, 1].mean() - floor.mean()) / floor.std(ddof=1)), 2),
        "seen": round(float((curves[:, 1:] > np.quantile(floor, 0.95)).mean()), 3),
    }


def judge(features: Features, name: str, sets: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, object]:
    """Every disturbance of one set, over several random halvings of it."""
    images, modes = sets[name]
    half = len(images) // 2
    orders = [np.random.default_rng((5, split)).permutation(len(images)) for split in range(SPLITS)]
    splits = [(order[:half], order[half : 2 * half]) for order in orders]
    clean = features(images)
    floor = [_distances(clean[first], clean[second]) for first, second in splits]
    curves: dict[str, list[list[dict[str, float]]]] = {}
    for change, (function, strengths) in CHANGES.items():
        curves[change] = [floor]
        for strength in strengths:
            changed = features(function(images, strength, np.random.default_rng(7)))
            curves[change].append([_distances(clean[first], changed[second]) for first, second in splits])
    alien, _ = sets[OTHER[name]]
    alien = features(fit(alien[:half], images.shape[1], images.shape[3]))
    curves["contamination"] = [floor]
    for share in CONTAMINATED:
        count = round(share * half)
        found = []
        for first, second in splits:  # the order of a split is random, so its first images are as good as any
            mixed = clean[second].copy()
            mixed[:count] = alien[np.arange(count) % len(alien)]
            found.append(_distances(clean[first], mixed))
        curves["contamination"].append(found)
    curves["dropping"] = [
        [
            _distances(clean[first], clean[_dropped(second, modes, share, np.random.default_rng((11, place)))])
            for place, (first, second) in enumerate(splits)
        ]
        for share in (0.0, *DROPPED)
    ]
    found_all: dict[str, object] = {"images": half}
    for change, points in curves.items():
        found_all[change] = {
            kind: summary(np.array([[point[kind] for point in level] for level in points]).T) for kind in DISTANCES
        }
    return found_all


def _dropped(places: np.ndarray, modes: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Half of the places, when whole modes are gone, one after the other in random order, until a share is.

    The count is the same for every share, for Frechet distances depend on it.
    """
    ranks = random.permutation(int(modes.max()) + 1)
    by_mode = places[np.argsort(ranks[modes[places]], kind="stable")]
    kept = by_mode[round(share * len(places)) :]
    # A fixed priority for every image, so that a stronger disturbance keeps what it can of a weaker one.
    priority = random.permutation(int(places.max()) + 1)
    return kept[np.argsort(priority[kept])][: len(places) // 2]


Results = dict[str, dict[str, dict[str, object]]]
"""Candidate -> set -> disturbance -> distance -> what :func:`summary` gives."""


def _row(names: list[str], found: list[dict[str, object]]) -> str:
    def mean(key: str) -> float:
        return float(np.mean([one[key] for one in found]))

    steady = float(np.mean([np.diff(one["mean"]) > 0 for one in found]))
    worst = min(float(one["tau"]) for one in found)
    gain = float(np.median([one["gain"] for one in found]))
    numbers = [
        f"{mean('rises'):.0%}",
        f"{steady:.0%}",
        f"{mean('tau'):.2f}",
        f"{worst:.2f}",
        f"{gain:.1f}",
        f"{mean('seen'):.0%}",
    ]
    return f"| {' | '.join([*names, *numbers])} |"


def tables(results: Results) -> str:
    """The results in Markdown: every candidate over all sets and disturbances, then ``limner`` on each set and against each."""
    heads = ["steps that rise", "of the mean", "tau", "worst tau", "gain", "seen"]

    def started(*names: str) -> list[str]:
        return [f"| {' | '.join([*names, *heads])} |", "|---" * (len(names) + len(heads)) + "|"]

    def chosen(candidate: str, kind: str, one_set: str = "", one_change: str = "") -> list[dict[str, object]]:
        return [
            values[kind]
            for name, changes in results[candidate].items()
            for change, values in changes.items()
            if isinstance(values, dict) and one_set in ("", name) and one_change in ("", change)
        ]

    rows = started("features", "distance")
    rows += [_row([one, kind], chosen(one, kind)) for kind in DISTANCES for one in results]
    if "limner" in results:
        rows += ["", *started("`limner` on", "distance")]
        rows += [_row([one, kind], chosen("limner", kind, one)) for kind in DISTANCES for one in results["limner"]]
        rows += ["", *started("`limner` against", "distance")]
        changes = [*CHANGES, "contamination", "dropping"]
        rows += [_row([one, kind], chosen("limner", kind, "", one)) for kind in DISTANCES for one in changes]
    return "\n".join(rows)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Test features by disturbing real images.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--pool", type=Path, required=True, help="drawn images (train.py), which scale the candidates")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="of the trained network")
    parser.add_argument(
        "--only", nargs="*", default=list(CANDIDATES), help="candidates; the others stay as the file has them"
    )
    parser.add_argument("--count", type=int, default=250, help="images in a half, where there are as many")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with np.load(arguments.pool) as stored:
        pool = stored["images"][::8]
    sets = load(arguments.data, arguments.count)
    results: Results = {}
    if arguments.out.exists():
        results = json.loads(arguments.out.read_text(encoding="utf-8"))
    for name in arguments.only:
        started = time.monotonic()
        features = CANDIDATES[name](arguments.weights, pool)
        results[name] = {one: judge(features, one, sets) for one in sets}
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        results = {one: results[one] for one in CANDIDATES if one in results}
        arguments.out.write_text(json.dumps(results, separators=(",", ":")) + "\n", encoding="utf-8")
    print(tables(results))


if __name__ == "__main__":
    main()
