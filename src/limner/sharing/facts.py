"""What an exported file says of itself."""

from __future__ import annotations

import json

from limner.drawing import SeededGenerator
from limner.version import __version__

FORMAT = "limner-onnx-1"
CHECKED_SEEDS = (0, 1, 2, 3)
FIRST = 4
"""Numbers of each latent vector that are told."""
NO_LICENCE = "not stated"


def facts(generator: SeededGenerator, licence: str | None = None) -> dict[str, str]:
    """What every exported file has in its metadata: recipe, origin, licence, and latents to check seeds by.

    Args:
        generator: what is exported.
        licence: what its owner says of who may use it; what the generator itself says by default.
    """
    latents = generator.latents(CHECKED_SEEDS)[:, :FIRST]
    return {
        "recipe": generator.recipe.to_toml(),
        "images": str(generator.images),
        "data": generator.name,
        "licence": licence or generator.licence or NO_LICENCE,
        "limner": __version__,
        "seeds": json.dumps(CHECKED_SEEDS),
        # Nine digits tell a float32 from all others.
        "latents": json.dumps([[float(f"{number:.9g}") for number in row] for row in latents]),
    }
