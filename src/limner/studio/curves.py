"""Curves of a run for a page: at most some hundred points, however long the log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limner.judging.figures import AGREEMENT, AGREEMENT_KIND, KINDS
from limner.judging.report.words import figure_of, mapping
from limner.studio.tails import History

MOST_POINTS = 400
LABELS = {
    "discriminator_loss": "discriminator loss",
    "generator_loss": "generator loss",
    "real_logit": "real logit",
    "fake_logit": "fake logit",
    "generator_gradient": "generator gradient",
    "discriminator_gradient": "discriminator gradient",
    "images_per_second": "images per second",
    "augment_probability": "share of images augmented",
}
"""Columns of the log that are drawn."""


def curves(history: History) -> dict[str, Any]:
    """Everything that is drawn over images seen."""
    with history.lock:
        images = np.array(history.images)
        columns = {name: np.array(history.columns[name]) for name in LABELS if name in history.columns}
        evaluations = list(history.evaluations)
    places, rows = bucketed(images, columns)
    log = {name: {"label": LABELS[name], **row} for name, row in rows.items()}
    return {"log": {"images": places, "lines": len(images), "columns": log}, "figures": figures(evaluations)}


def bucketed(
    images: np.ndarray, columns: Mapping[str, np.ndarray]
) -> tuple[list[int], dict[str, dict[str, list[float | None]]]]:
    """Columns of a log in at most :data:`MOST_POINTS` points.

    Of a long log each point is the median of 2, 4, 8, ... neighbouring lines, with the middle 80 % of them as its band. The
    number is a power of two, so that points stay where they are while the log grows.

    Args:
        images: of each line.
        columns: by name, as long; NaN where a line has no number.

    Returns:
        Images at the last line of each point; and for each column ``value`` and, where points are of several lines, ``low`` and
        ``high``.
    """
    count = len(images)
    size = 1 << max(0, math.ceil(math.log2(count / MOST_POINTS))) if count else 1
    if size == 1:
        return [int(one) for one in images], {name: {"value": _numbers(column)} for name, column in columns.items()}
    full = -(-count // size)
    ends = np.minimum(np.arange(1, full + 1) * size, count) - 1
    rows = {}
    for name, column in columns.items():
        padded = np.full(full * size, np.nan)
        padded[:count] = column
        ordered = np.sort(padded.reshape(full, size), axis=1)  # NaN comes last
        known = np.sum(~np.isnan(ordered), axis=1)
        rows[name] = {
            key: _numbers(_quantile(ordered, known, share))
            for key, share in (("value", 0.5), ("low", 0.1), ("high", 0.9))
        }
    return [int(one) for one in images[ends]], rows


def _quantile(ordered: np.ndarray, known: np.ndarray, share: float) -> np.ndarray:
    """The quantile of the first ``known`` values in each row, interpolated; NaN where there are none."""
    place = share * np.maximum(known - 1, 0)
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, np.maximum(known - 1, 0))
    rows = np.arange(len(ordered))
    low, high = ordered[rows, below], ordered[rows, above]
    found: np.ndarray = np.where(known > 0, low + (place - below) * (high - low), np.nan)
    return found


def figures(evaluations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each figure that was measured, over the evaluations, with its 95 % intervals."""
    found = []
    for name, kind in {**KINDS, AGREEMENT: AGREEMENT_KIND}.items():
        points = [
            (int(line["images"]), figure)
            for line in evaluations
            if (figure := figure_of(mapping(line.get("figures")).get(name))) is not None
        ]
        if points:
            found.append(
                {
                    "name": name,
                    "label": kind.label,
                    "better": kind.better,
                    "help": kind.help,
                    "images": [images for images, _ in points],
                    "value": [_number(figure.value) for _, figure in points],
                    "low": [_number(figure.low) for _, figure in points],
                    "high": [_number(figure.high) for _, figure in points],
                }
            )
    return found


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
