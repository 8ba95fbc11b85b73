"""Frames of printed initials: the outline of the block, and lines, beads and corner pieces along it."""

from __future__ import annotations

import numpy as np

from limner.data.procedural.ornament import Canvas, Field
from limner.data.procedural.texture import edge

SHAPES = {"rectangle": 8.0, "rounded": 1.0, "notched": 1.2, "chamfered": 0.6, "oval": 0.7}
STYLES = {"none": 1.0, "single": 3.0, "double": 2.0, "heavy": 1.5, "beaded": 1.0, "toothed": 0.8}


def outline(canvas: Canvas, shape: str, margin: float, wobble: Field) -> Field:
    """Distance in canvas pixels from the edge of a block, positive inside.

    Args:
        canvas: the sheet.
        shape: one of ``SHAPES``.
        margin: paper around the block, in canvas pixels.
        wobble: pixels by which a hand-cut edge misses the ruler.
    """
    down, right = canvas.axes()
    x, y = np.abs(right), np.abs(down)
    half_height, half_width = canvas.shape[0] / 2 - margin, canvas.shape[1] / 2 - margin
    corner = 0.15 * min(half_height, half_width)
    if shape == "oval":
        oval = (1 - np.hypot(x / half_width, y / half_height)) * min(half_height, half_width)
        return np.asarray(oval + wobble, np.float32)
    distance = np.minimum(half_width - x, half_height - y)
    if shape == "rounded":
        over_x, over_y = x - half_width + corner, y - half_height + corner
        over = np.hypot(np.maximum(over_x, 0), np.maximum(over_y, 0)) + np.minimum(np.maximum(over_x, over_y), 0)
        distance = corner - over
    elif shape == "notched":
        distance = np.minimum(distance, np.hypot(x - half_width, y - half_height) - 1.3 * corner)
    elif shape == "chamfered":
        distance = np.minimum(distance, (half_width + half_height - 1.3 * corner - x - y) * np.float32(0.7071))
    return np.asarray(distance + wobble, np.float32)


def _band(distance: Field, start: float, width: float) -> Field:
    """A line along the edge, ``start`` to ``start + width`` pixels inside it."""
    return edge(np.abs(distance - (start + width / 2)) - width / 2)


def border(canvas: Canvas, distance: Field, style: str) -> tuple[Field, float]:
    """Ink of the frame's lines, and how deep they reach into the block.

    Args:
        canvas: the sheet.
        distance: from :func:`outline`.
        style: one of ``STYLES``.
    """
    line = canvas.line
    if style == "none":
        return np.zeros(canvas.shape, np.float32), 0.0
    if style == "single":
        width = line * canvas.rng.uniform(1.0, 1.6)
        return _band(distance, 0, width), width
    if style == "double":
        outer, gap = line * canvas.rng.uniform(1.0, 1.8), line * canvas.rng.uniform(1.1, 1.5)
        return np.maximum(_band(distance, 0, outer), _band(distance, outer + gap, line)), outer + gap + line
    if style == "heavy":
        width = max(2.4 * line, 0.035 * canvas.unit)
        return _band(distance, 0, width), width
    return _patterned(canvas, distance, style)


def _patterned(canvas: Canvas, distance: Field, style: str) -> tuple[Field, float]:
    """Beads or teeth between two lines; the pattern meets in the middle of each side, so it is the same in every corner."""
    line = canvas.line
    width = max(2.6 * line, 0.05 * canvas.unit)
    down, right = canvas.axes()
    x, y = np.abs(right), np.abs(down)
    upright = canvas.shape[1] / 2 - x < canvas.shape[0] / 2 - y
    period = width * (1.15 if style == "beaded" else 0.9)
    along = np.mod(np.where(upright, y, x), period) - period / 2
    across = distance - (line + width / 2)
    if style == "beaded":
        filling = edge(np.hypot(along, across) - width * 0.36)
    else:
        filling = edge(
            np.maximum(np.abs(across) - width / 2, (np.abs(along) - period * 0.5 * (0.5 - across / width)) * 0.8)
        )
    depth = 2 * line + width
    lines = np.maximum(_band(distance, 0, line), _band(distance, line + width, line))
    return np.maximum(lines, filling * edge(np.abs(across) - width / 2)), depth


def corner_pieces(canvas: Canvas, distance: Field, depth: float) -> tuple[Field, Field]:
    """Squares with a star, lozenge or ring in the four corners of the block: their ink, and the ground that they cover."""
    down, right = canvas.axes()
    size = max(0.11 * canvas.unit, 4 * canvas.line)
    inset = depth * 0.5 + size * 0.5
    edge_x = float(np.abs(right[0, distance.max(axis=0) > 0]).max(initial=1.0))
    edge_y = float(np.abs(down[distance.max(axis=1) > 0, 0]).max(initial=1.0))
    x, y = np.abs(np.abs(right) - edge_x + inset), np.abs(np.abs(down) - edge_y + inset)
    square = np.maximum(x, y) - size / 2
    style = canvas.rng.integers(3)
    if style == 0:
        motif = edge(x + y - size * 0.36)
    elif style == 1:
        motif = edge(np.abs(np.hypot(x, y) - size * 0.24) - canvas.line * 0.5)
    else:
        motif = edge(np.minimum(x + 3 * y, y + 3 * x) - size * 0.5)
    return np.maximum(motif, edge(np.abs(square + canvas.line / 2) - canvas.line / 2)), edge(square)
