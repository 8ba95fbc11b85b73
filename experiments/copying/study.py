"""How well the search for copies tells copiers from honest generators, on real collections.

    python experiments/copying/study.py DATA_DIR [--draws 40] [--out experiments/copying]

DATA_DIR holds the four collections named in SETS; what is missing is left out. Honest "generators" are real images that the
training set does not hold, as they are and blurred, from the same groups and from others; copiers are the same with a
share replaced by spoilt training images. Writes results.json and table.md; takes some seven minutes on one core.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from limner.data import Collection, grouping, prepare
from limner.data.copies import near_copy_groups
from limner.judging.features import open_extractor
from limner.judging.memorisation import COPIES, NO_SIGN, SOME, copying, thumbnails
from limner.recipe import Recipe

SETS = {
    "initials": ("initials-64.zip", 64),
    "fashion": ("fashion-mnist", 28),
    "battle maps": ("battlemaps-750.zip", 128),
    "emoji": ("noto-emoji-128.zip", 64),
}
POOL, TRAIN, HELD_OUT, GENERATED = 2400, 800, 200, 300
SHARES = (0.05, 0.5, 1.0)
COPIED = 400
Spoil = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def blurred(image: np.ndarray, radius: float) -> np.ndarray:
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[image.shape[2]]
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image, mode)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius))).reshape(image.shape)


def noisy(image: np.ndarray, random: np.random.Generator, deviation: float) -> np.ndarray:
    values = image.astype(np.float64)
    values[..., :3] += random.normal(0, deviation, values[..., :3].shape)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def shifted(image: np.ndarray, random: np.random.Generator, by: int) -> np.ndarray:
    padded = np.pad(image, ((by, by), (by, by), (0, 0)), mode="edge")
    down, across = random.choice([0, 2 * by], 2)
    return padded[down : down + image.shape[0], across : across + image.shape[1]]


def other_brightness(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    values = image.astype(np.float64)
    values[..., :3] = (values[..., :3] - 128) * 0.85 + 128 + random.choice([-15, 15])
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    colours, kept = image[..., : min(3, image.shape[2])], io.BytesIO()
    Image.fromarray(colours[..., 0] if colours.shape[2] == 1 else colours).save(kept, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(kept)).reshape(colours.shape)
    return np.concatenate([decoded, image[..., 3:]], axis=2) if image.shape[2] == 4 else decoded


def spoils(size: int) -> dict[str, Spoil]:
    """What a copier may do to a copy; lengths in pixels at 64."""
    unit = size / 64
    step = max(1, round(unit))
    return {
        "exact": lambda image, random: image,
        "noise 10": lambda image, random: noisy(image, random, 10),
        "blur 1": lambda image, random: blurred(image, unit),
        "shift 2": lambda image, random: shifted(image, random, max(1, round(2 * unit))),
        "brightness 15, contrast 0.85": lambda image, random: other_brightness(image, random),
        "JPEG 30": lambda image, random: compressed(image, 30),
        "blur 0.7, shift 1, brightness, noise 6": lambda image, random: noisy(
            other_brightness(shifted(blurred(image, 0.7 * unit), random, step), random), random, 6
        ),
    }


class Pool:
    """Some images of a collection, with everything that is computed once."""

    def __init__(self, collection: Collection, size: int, extract: Callable[[np.ndarray], np.ndarray]) -> None:
        random = np.random.default_rng(0)
        count = len(collection.names)
        chosen = np.sort(random.permutation(count)[:POOL])
        self.pixels = np.asarray(collection.images[chosen])
        self.features, self.small = extract(self.pixels), thumbnails(self.pixels)
        soft = np.stack([blurred(image, 2 * size / 64) for image in self.pixels])
        self.soft_features, self.soft_small = extract(soft), thumbnails(soft)
        self.near = near_copy_groups(self.pixels)
        found = grouping.groups([collection.names[i] for i in chosen], None)
        if collection.labels is not None:
            self.kinds = collection.labels[chosen]
        else:
            self.kinds = found[0] if found is not None else None
        picked = random.permutation(len(chosen))[:COPIED]
        self.picked = picked
        self.copies = {}
        for name, spoil in spoils(size).items():
            images = np.stack([spoil(self.pixels[i], random) for i in picked])
            self.copies[name] = extract(images), thumbnails(images)

    def parts(self, random: np.random.Generator, how: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Training, held-out and further images; near-copies never straddle them.

        ``how``: ``alike`` (all from the same), ``held-out's`` (held-out and further images are of other groups than the
        training images) or ``training's`` (only the held-out ones are).
        """
        order = random.permutation(self.near.max() + 1)[self.near]  # whole groups of near-copies, in random order
        if how == "alike":
            ranked = np.argsort(order, kind="stable")
            total = len(ranked)
            cuts = (min(TRAIN, int(0.6 * total)), min(TRAIN + HELD_OUT, int(0.75 * total)))
            train, held_out, rest = np.split(ranked, cuts)
        else:
            assert self.kinds is not None
            kinds = random.permutation(self.kinds.max() + 1)[self.kinds]
            new = kinds < np.quantile(kinds, 0.3)
            inside, outside = (
                part[np.argsort(order[part], kind="stable")] for part in (np.flatnonzero(~new), np.flatnonzero(new))
            )
            if how == "training's":
                train, rest = np.split(inside, [min(TRAIN, int(0.7 * len(inside)))])
                held_out = outside[:HELD_OUT]
            else:
                train = inside[:TRAIN]
                held_out, rest = np.split(outside, [min(HELD_OUT, len(outside) // 2)])
        held_out = held_out[~np.isin(self.near[held_out], self.near[train])]
        rest = rest[~np.isin(self.near[rest], np.concatenate([self.near[train], self.near[held_out]]))]
        return train, held_out, rest[:GENERATED]

    def judged(self, train: np.ndarray, held_out: np.ndarray, features: np.ndarray, small: np.ndarray, seed: int):
        return copying(
            features,
            self.features[train],
            self.features[held_out],
            generated_pixels=small,
            train_pixels=self.small[train],
            held_out_pixels=self.small[held_out],
            train_groups=self.near[train],
            seed=seed,
        )


def honest(pool: Pool, draws: int) -> list[dict[str, object]]:
    """False alarms."""
    lines = []
    for how in ("alike", "held-out's", "training's") if pool.kinds is not None else ("alike",):
        for soft in (False, True):
            alarms, meehans = 0, 0
            for draw in range(draws):
                train, held_out, rest = pool.parts(np.random.default_rng(draw), how)
                features, small = (pool.soft_features, pool.soft_small) if soft else (pool.features, pool.small)
                found = pool.judged(train, held_out, features[rest], small[rest], draw)
                alarms += found.verdict in (SOME, COPIES)
                meehans += found.meehan is not None and found.meehan.p_value <= 0.01
            lines.append({"groups": how, "blurred": soft, "draws": draws, "alarms": alarms, "meehan": meehans})
            print("  honest", lines[-1], flush=True)
    return lines


def copiers(pool: Pool, draws: int) -> list[dict[str, object]]:
    """How often a share of copies is called what it is, and the estimated share."""
    lines = []
    for name, (features, small) in pool.copies.items():
        for share in SHARES:
            right, meehans, shares = 0, 0, []
            for draw in range(draws):
                random = np.random.default_rng(1000 + draw)
                train, held_out, rest = pool.parts(random, "alike")
                trained = np.flatnonzero(np.isin(pool.picked, train))
                made = np.resize(rest, max(len(rest), 200))
                number = round(share * len(made))
                own = random.choice(trained, number, replace=True)
                mixed = np.concatenate([features[own], pool.features[made[number:]]])
                mixed_small = np.concatenate([small[own], pool.small[made[number:]]])
                found = pool.judged(train, held_out, mixed, mixed_small, draw)
                right += found.verdict == (SOME if share < 0.25 else COPIES)
                meehans += found.meehan is not None and found.meehan.p_value <= 0.01
                shares.append(found.copied_share.value)
            lines.append(
                {"copies": name, "share": share, "draws": draws, "right": right, "meehan": meehans}
                | {"estimated": round(float(np.median(shares)), 4)}
            )
            print("  copier", lines[-1], flush=True)
    return lines


def table(results: dict[str, dict]) -> str:
    lines = ["| honest images | groups | " + " | ".join(results) + " |", "|---|---|" + "---:|" * len(results)]

    def cell(found: dict | None, key: str) -> str:
        return "-" if found is None else f"{found[key]} ({found['meehan']}) of {found['draws']}"

    for how in ("alike", "held-out's", "training's"):
        for soft in (False, True):
            row = [
                next((x for x in r["honest"] if (x["groups"], x["blurred"]) == (how, soft)), None)
                for r in results.values()
            ]
            lines.append(
                f"| {'blurred' if soft else 'as they are'} | {how} | "
                + " | ".join(cell(x, "alarms") for x in row)
                + " |"
            )
    lines += ["", "| copies | share | " + " | ".join(results) + " |", "|---|---:|" + "---:|" * len(results)]
    for index, line in enumerate(next(iter(results.values()))["copiers"]):
        row = [r["copiers"][index] for r in results.values()]
        lines.append(
            f"| {line['copies']} | {line['share']:.0%} | "
            + " | ".join(f"{cell(x, 'right')}, {x['estimated']:.1%}" for x in row)
            + " |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--copier-draws", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    options = parser.parse_args()
    extractor = open_extractor("limner")
    results = {}
    for name in options.sets:
        file, size = SETS[name]
        if not (options.data / file).exists():
            print(f"{name}: {file} is not there")
            continue
        began = time.perf_counter()
        image = Recipe.load("quick").changed({"image.width": size, "image.height": size}).image
        pool = Pool(prepare(options.data / file, image), size, extractor)
        print(f"{name}: {len(pool.pixels)} images, {pool.near.max() + 1} after near-copies", flush=True)
        results[name] = {"honest": honest(pool, options.draws), "copiers": copiers(pool, options.copier_draws)}
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    summary = {"extractor": extractor.key, "no sign": NO_SIGN, "sets": results}
    (options.out / "results.json").write_text(json.dumps(summary, indent=1) + "\n")
    (options.out / "table.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
