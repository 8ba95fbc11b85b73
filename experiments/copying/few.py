"""How often are few training pictures called copied, where none could be held out?

    python experiments/copying/few.py DATA_DIR

Of initials-64.zip and fashion-mnist in DATA_DIR, N pictures stand for the training set, 128 others that are near-copies of none
of them for an honest generator's samples, 60 times; and copies of them, blurred, or blurred, shifted, brightened and grained at
once, stand for a copier's, all of its samples or a fifth, 12 times. Nothing is held out. Prints markdown; takes four minutes
on one core.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from limner.data import prepare
from limner.data.copies import near_copy_groups
from limner.judging.features import open_extractor
from limner.judging.memorisation import COPIES, SOME, copying, thumbnails
from limner.recipe import Image

SIZES = (10, 20, 40, 70, 99)
HONEST, COPIER, SAMPLES, PICTURES = 60, 12, 128, 600
SHARES = (0.2, 1.0)


def softened(pixels: Any, random: np.random.Generator) -> dict[str, Any]:
    """The pictures as a copier draws them, by what it does to them."""
    values = pixels.astype(float)
    mixed = np.roll(ndimage.gaussian_filter(values, (0, 0.7, 0.7, 0)), (1, 1), (1, 2)) * 0.85 + 15
    found = {
        "blurred": ndimage.gaussian_filter(values, (0, 1, 1, 0)),
        "mixed": mixed + random.normal(0, 6, values.shape),
    }
    return {name: np.clip(np.rint(each), 0, 255).astype(np.uint8) for name, each in found.items()}


def called(
    seen: Mapping[str, Any], train: Any, others: Any, count: int, kind: str, random: np.random.Generator
) -> bool:
    """Whether a generator of which so many samples are copies of the training pictures is called a copier.

    Args:
        seen: features and thumbnails of all pictures, as they are and as a copier draws them.
        train, others: places of the training pictures and of the honest samples.
        count: copies among the samples.
        kind: what a copier does to them.
        random: which are copied.
    """
    copied, nothing = random.choice(train, count), train[:0]
    features, pixels = (
        np.concatenate([seen[kind][part][copied], seen["own"][part][others[count:]]]) for part in (0, 1)
    )
    own = seen["own"]
    verdict = copying(
        features, own[0][train], own[0][nothing], generated_pixels=pixels, train_pixels=own[1][train],
        held_out_pixels=own[1][nothing], train_groups=np.arange(len(train)),
    ).verdict  # fmt: skip
    return verdict in (SOME, COPIES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with the collections")
    data = parser.parse_args().data
    extractor = open_extractor("limner")
    print("| set | pictures | false alarms | copiers found |\n|---|---:|---|---|")
    for name in ("initials-64.zip", "fashion-mnist"):
        random = np.random.default_rng(5)
        images = np.asarray(prepare(data / name, Image(held_out=0)).images)
        images = images[random.permutation(len(images))[:PICTURES]]
        groups, drawn = near_copy_groups(images), {"own": images, **softened(images, random)}
        seen = {kind: (extractor(pixels), thumbnails(pixels)) for kind, pixels in drawn.items()}
        for size in SIZES:
            told: Counter[str] = Counter()
            for number in range(HONEST):
                order = random.permutation(len(images))
                train = order[:size]
                others = np.array([one for one in order[size:] if groups[one] not in set(groups[train])])[:SAMPLES]

                told["honest"] += called(seen, train, others, 0, "own", random)
                for kind in drawn if number < COPIER else ():
                    for share in SHARES if kind != "own" else ():
                        told[f"{kind} {share:.0%}"] += called(seen, train, others, round(share * SAMPLES), kind, random)
            found = ", ".join(f"{what} {count} of {COPIER}" for what, count in told.items() if what != "honest")
            print(f"| {name} | {size} | {told['honest']} of {HONEST} | {found} |", flush=True)


if __name__ == "__main__":
    main()
