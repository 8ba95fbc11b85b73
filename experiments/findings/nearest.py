"""Whether samples gather around one training image: which one is the nearest to each, pixel by pixel.

This is what the source looked at when it found that nearly all samples shared one nearest neighbour.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.distance import cdist

import limner
from limner.data import prepare
from limner.noise import sample_latents
from limner.recipe import Recipe

SAMPLES = 500


def gathered(run: Path, data: str) -> dict[str, Any]:
    """Of so many samples: how many different training images are the nearest ones, and what share has the commonest of them;
    and the same of as many held-out images, as far as there are.

    Args:
        run: a run directory.
        data: the collection that it was trained on.
    """
    recipe = Recipe.load(run / "recipe.toml")
    collection = prepare(data, recipe.image, seed=recipe.training.seed)
    training = flat(np.asarray(collection.images)[collection.train])
    generator = limner.load(run)
    samples = generator.draw(sample_latents(np.arange(SAMPLES), generator.recipe.network.latent))
    found = {"samples": _gathered(flat(samples), training)}
    held_out = np.asarray(collection.images)[collection.held_out][:SAMPLES]
    if len(held_out):
        found["held_out"] = _gathered(flat(held_out), training)
    return found


def flat(images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n d"]:
    """Pictures as points."""
    return images.reshape(len(images), -1).astype(np.float64)


def _gathered(points: Float[np.ndarray, "n d"], training: Float[np.ndarray, "m d"]) -> dict[str, Any]:
    nearest = cdist(points, training).argmin(axis=1)
    counts = np.unique(nearest, return_counts=True)[1]
    return {"count": len(points), "different": len(counts), "commonest": round(float(counts.max() / len(points)), 4)}
