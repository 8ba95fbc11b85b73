"""Every figure about real and generated images, at once.

All take features, float32 ``[n, d]``, except the sliced Wasserstein distance, which takes pixels. All are pure functions.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from limner.judging.distances.diversity import diversity
from limner.judging.distances.frechet import Statistics, frechet_distance
from limner.judging.distances.kernel import kernel_distance
from limner.judging.distances.prdc import class_figures, coverage, density, prdc, precision, recall
from limner.judging.distances.wasserstein import sliced_wasserstein
from limner.judging.figures import KINDS, Figure

__all__ = [
    "Statistics",
    "all_figures",
    "class_figures",
    "coverage",
    "density",
    "diversity",
    "frechet_distance",
    "kernel_distance",
    "precision",
    "recall",
    "sliced_wasserstein",
    "statistics",
]


def statistics(features: Float[np.ndarray, "n d"]) -> Statistics:
    """Mean and covariance of features, for :func:`frechet_distance` and a cache.

    Raises:
        ValueError: not finite, or none.
    """
    return Statistics.of(features)


def all_figures(
    real_features: Float[np.ndarray, "n d"],
    generated_features: Float[np.ndarray, "m d"],
    real_images: UInt8[np.ndarray, "n h w c"],
    generated_images: UInt8[np.ndarray, "m h w c"],
    seed: int = 0,
    real_statistics: Statistics | None = None,
) -> dict[str, Figure]:
    """All figures of :data:`limner.judging.figures.KINDS`, in that order.

    Args:
        real_features, generated_features: as an extractor gives them; float64 inside.
        real_images, generated_images: the same images, or others of the same two sources; one size and mode.
        seed: of the random patches and directions of the sliced Wasserstein distance; nothing else is drawn.
        real_statistics: of ``real_features``, where they are known already.

    Returns:
        figures by name. One that cannot be computed from so few images is nan and has no interval.

    Raises:
        ValueError: features that are not finite, or shapes that do not fit together.
    """
    figures = {
        "kernel_distance": kernel_distance(real_features, generated_features),
        "frechet_distance": frechet_distance(real_features, generated_features, real_statistics=real_statistics),
        **prdc(real_features, generated_features),
        "sliced_wasserstein": sliced_wasserstein(real_images, generated_images, seed),
        "diversity": diversity(real_features, generated_features),
    }
    return {name: figures[name] for name in KINDS}
