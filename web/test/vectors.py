"""Writes noise.json: random numbers as Limner's noise.py draws them, for the page's own to be held to.

    python web/test/vectors.py

Philox's published answers are in tests/test_noise.py; these say that the layout around it is the same in both languages.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from limner.generator import slerp
from limner.noise import Stream, normal, philox, sample_latents, seed_of, words

FILE = Path(__file__).with_name("noise.json")
SEEDS = (0, 1, 7, 999_999, 2**32 - 1, 2**32, 2**53 + 1, 2**63, 2**64 - 1)
WORDS = ("Antonia", "antonia", "Zoë", "Zoe\u0308", "初", "two words", "x" * 200, "\U0001f3a8")
SHARES = (0.05, 0.18, 0.5, 0.875)


def vectors() -> dict[str, Any]:
    """All of them. Numbers of 64 bits are texts, as JSON has none."""
    top = 2**32 - 1
    counters = [
        ((0, 0, 0, 0), (0, 0)),
        ((top,) * 4, (top,) * 2),
        ((1, 2, 3, 4), (5, 6)),
        ((top, 0, 1 << 31, 9), (1, top)),
    ]
    return {
        "philox": [[list(c), list(k), philox(c, k).tolist()] for c, k in counters],
        "words": [
            {
                "seed": str(seed),
                "stream": int(stream),
                "index": str(index),
                "words": words(seed, stream, index, 7).tolist(),
            }
            for seed in SEEDS
            for stream, index in ((Stream.SAMPLE, 0), (Stream.GRID, 2**40 + 3))
        ],
        # As Python's floats, which JSON gives back to the last bit.
        "latents": [
            {
                "seed": str(seed),
                "size": size,
                "values": _numbers(sample_latents(np.asarray([seed], np.uint64), size)[0]),
            }
            for seed, size in [*((seed, 9) for seed in SEEDS), (7, 128)]
        ],
        "normals": _numbers(normal(3, Stream.TRAIN_LATENT, 5, 400)),
        "seeds": [[word, str(seed_of(word))] for word in WORDS],
        "slerp": [
            {"from": "7", "to": "12", "share": share, "values": _numbers(slerp(*_pair(), np.asarray(share)))}
            for share in SHARES
        ],
    }


def _pair() -> tuple[np.ndarray, np.ndarray]:
    start, end = sample_latents(np.asarray([7, 12], np.uint64), 16)
    return start, end


def _numbers(values: np.ndarray) -> list[float]:
    return [float(value) for value in values]


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
    print(FILE)
