"""Ornament of printed initials: grounds of lines and dots, scrolls with leaves, and frames.

Everything is coverage on a supersampled canvas, 1 for ink. Line widths and periods are given in canvas pixels by the
caller, who knows how many of them become one pixel of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from limner.data.procedural.texture import edge

Field = Float[np.ndarray, "h w"]
Points = Float[np.ndarray, "n 2"]


@dataclass(frozen=True)
class Canvas:
    """Where ornament is drawn.

    Args:
        shape: rows and columns.
        line: the thinnest line that still prints, in canvas pixels.
        unit: the shorter side of the ornamented field in canvas pixels; ornament scales with it.
        rng: where the choices come from.
    """

    shape: tuple[int, int]
    line: float
    unit: float
    rng: np.random.Generator

    def axes(self) -> tuple[Float[np.ndarray, "h 1"], Float[np.ndarray, "1 w"]]:
        """Pixel coordinates from the middle: down, and to the right."""
        height, width = self.shape
        down = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
        right = np.arange(width, dtype=np.float32)[None, :] - np.float32((width - 1) / 2)
        return down, right


def _wave(phase: Field, period: float, width: float) -> Field:
    """Parallel lines of ``width`` where ``phase`` (pixels) is a multiple of ``period``."""
    return edge(np.abs(np.mod(phase + period / 2, period) - period / 2) - width / 2)


def hatching(canvas: Canvas, wobble: Field) -> Field:
    """Parallel lines, level, upright or diagonal, sometimes crossed."""
    down, right = canvas.axes()
    rng = canvas.rng
    period = canvas.line * rng.uniform(2.3, 3.2)
    width = period * rng.uniform(0.32, 0.5)
    angle = rng.choice([0.0, 0.25, 0.5, 0.75, 0.0, 0.25]) * np.pi
    turned = np.float32(np.sin(angle)) * right + np.float32(np.cos(angle)) * down + 1.3 * wobble
    lines = _wave(turned, period, width)
    if rng.random() < 0.3:
        across = np.float32(np.cos(angle)) * right - np.float32(np.sin(angle)) * down + 1.3 * wobble
        lines = np.maximum(lines, _wave(across, period, width * 0.8))
    return lines


def stipple(canvas: Canvas, wobble: Field) -> Field:
    """Dots on a staggered lattice, each shifted a little."""
    down, right = canvas.axes()
    rng = canvas.rng
    period = canvas.line * rng.uniform(2.6, 4.2)
    radius = period * rng.uniform(0.22, 0.34)
    row = np.round(down / (0.75 * period))
    shift = np.mod(row, 2) * (period / 2)
    x = np.mod(right + shift + period / 2, period) - period / 2 + 2.0 * wobble
    y = down - row * (0.75 * period) + 2.0 * wobble
    return edge(np.hypot(x, y) - radius)


def diaper(canvas: Canvas, wobble: Field) -> Field:
    """A net of lozenges or squares: filled in turn like a chequer, or with a dot or a cross in each."""
    down, right = canvas.axes()
    rng = canvas.rng
    period = max(canvas.unit / rng.integers(5, 10), canvas.line * 5)
    diagonal = rng.random() < 0.7
    u = ((right + down) * np.float32(0.7071) if diagonal else right + 0 * down) + wobble
    v = ((right - down) * np.float32(0.7071) if diagonal else down + 0 * right) + wobble
    style = rng.integers(4)
    if style == 0:
        chequer = np.sin(u * np.float32(np.pi / period)) * np.sin(v * np.float32(np.pi / period))
        return edge(np.asarray(chequer * np.float32(-period / np.pi), np.float32))
    net = np.maximum(_wave(u, period, canvas.line), _wave(v, period, canvas.line))
    x = np.mod(u, period) - period / 2
    y = np.mod(v, period) - period / 2
    if style == 1:
        motif = edge(np.hypot(x, y) - period * 0.2)
    elif style == 2:
        motif = edge(np.minimum(np.abs(x), np.abs(y)) - canvas.line * 0.5) * edge(np.hypot(x, y) - period * 0.28)
    else:
        net, motif = 1 - net, 0 * net
        net *= edge(period * 0.16 - np.hypot(x, y))
    return np.asarray(np.maximum(net, motif), np.float32)


def scales(canvas: Canvas, wobble: Field) -> Field:
    """Overlapping arcs in staggered rows, like fish scales or waves."""
    down, right = canvas.axes()
    period = max(canvas.unit / canvas.rng.integers(5, 9), canvas.line * 6)
    result = np.zeros(canvas.shape, np.float32)
    row = np.floor((down + wobble) / (period / 2))
    for behind in (1, 0):
        centre_row = row + behind
        x = np.mod(right + np.mod(centre_row, 2) * (period / 2) + period / 2, period) - period / 2
        distance = np.hypot(x, down + wobble - centre_row * (period / 2))
        inside = edge(distance - period * 0.5)
        rings = np.maximum(edge(np.abs(distance - period * 0.46) - canvas.line / 2), edge(distance - period * 0.14))
        result = result * (1 - inside) + rings * inside
    return result


def rays(canvas: Canvas, wobble: Field) -> Field:
    """A sunburst from the middle or from a point below it, each ray widening outwards."""
    down, right = canvas.axes()
    rng = canvas.rng
    count = int(rng.integers(12, 25))
    angle = np.arctan2(down - rng.choice([0.0, 0.3]) * canvas.unit, right)
    phase = np.mod(angle * np.float32(count / (2 * np.pi)), 1.0) - 0.5
    radius = np.hypot(down, right)
    return edge((np.abs(phase) - 0.25) * np.maximum(radius, 1) * (2 * np.pi / count) + wobble)


def _leaf(kind: int) -> Points:
    """The outline of a leaf from (0, 0) to (1, 0)."""
    t = np.linspace(0, np.pi, 25 if kind == 1 else 13)
    along = (1 - np.cos(t)) / 2
    if kind == 0:  # a drop
        side = 0.28 * np.sin(t) * (1.25 - 0.6 * along)
    elif kind == 1:  # a leaf with three lobes on each side
        side = np.sin(t) * (0.3 - 0.12 * along + 0.07 * np.cos(6 * t))
    else:  # a bent half leaf
        upper = np.stack([along, 0.46 * np.sin(t) * (1.1 - 0.5 * along) - 0.18 * np.sin(t / 2) * along], axis=-1)
        lower = np.stack([along, -0.02 * np.sin(t) - 0.18 * np.sin(t / 2) * along], axis=-1)
        return np.concatenate([upper, lower[::-1]])
    return np.concatenate([np.stack([along, side], axis=-1), np.stack([along, -side], axis=-1)[::-1]])


LEAVES = tuple(_leaf(kind) for kind in range(3))


class Vine:
    """Stems, leaves, berries and flowers, drawn as filled shapes, mirrored if asked."""

    def __init__(self, canvas: Canvas, mirror: bool, hollow: bool) -> None:
        self.canvas = canvas
        self.mirror = mirror
        self.contour = canvas.line * 0.9 if hollow else 0.0
        self.image = Image.new("L", canvas.shape[::-1], 0)
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Points) -> None:
        """Fill an outline; with a contour, the inside stays empty and covers what lies below."""
        width = self.canvas.shape[1]
        shapes = [points]
        if self.mirror:
            shapes.append(np.array([width - 1, 0]) + points * np.array([-1, 1]))
        for shape in shapes:
            flat = shape.ravel().tolist()
            if self.contour:
                self.draw.polygon(flat, fill=0, outline=255, width=max(1, round(self.contour)))
            else:
                self.draw.polygon(flat, fill=255)

    def ribbon(self, points: Points, widths: Float[np.ndarray, " n"]) -> None:
        """A stem along ``points`` with the given width at each."""
        step = np.gradient(points, axis=0)
        normal = np.stack([-step[:, 1], step[:, 0]], axis=-1) / (np.hypot(step[:, 0], step[:, 1]) + 1e-6)[:, None]
        side = normal * (widths / 2)[:, None]
        self.polygon(np.concatenate([points + side, (points - side)[::-1]]))

    def disc(self, x: float, y: float, radius: float) -> None:
        """A berry."""
        turn = np.linspace(0, 2 * np.pi, int(np.clip(radius, 10, 40)), endpoint=False)
        self.polygon(np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=-1))

    def leaf(self, x: float, y: float, angle: float, length: float, kind: int, flip: bool = False) -> None:
        """A leaf that grows from a point in a direction (radians)."""
        shape = LEAVES[kind] * np.array([length, -length if flip else length])
        cosine, sine = np.cos(angle), np.sin(angle)
        self.polygon(np.array([x, y]) + shape @ np.array([[cosine, sine], [-sine, cosine]]))

    def flower(self, x: float, y: float, radius: float) -> None:
        """Five or six round petals about an eye."""
        petals = int(self.canvas.rng.integers(5, 7))
        turn = self.canvas.rng.uniform(0, 2 * np.pi)
        for petal in range(petals):
            angle = turn + 2 * np.pi * petal / petals
            self.disc(x + 0.62 * radius * np.cos(angle), y + 0.62 * radius * np.sin(angle), radius * 0.42)
        if self.mirror:
            self._eye(self.canvas.shape[1] - 1 - x, y, radius * 0.3)
        self._eye(x, y, radius * 0.3)

    def _eye(self, x: float, y: float, radius: float) -> None:
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)

    def spiral(self, x: float, y: float, radius: float, start: float, hand: int, kind: int) -> None:
        """A stem that enters a circle at angle ``start`` (radians) and curls up in it round a bud, leaves on its outer side.

        Args:
            x: centre of the circle.
            y: centre of the circle.
            radius: of the circle.
            start: angle of the point where the stem enters.
            hand: 1 or -1, the sense of the turn.
            kind: which leaf grows along it.
        """
        line, rng = self.canvas.line, self.canvas.rng
        if radius < 4.5 * line:
            # Too small for leaves: a comma that swells towards its end.
            t = np.linspace(0, 1, 12)
            far, angle = radius * (0.95 - 0.55 * t), start + hand * 4.6 * t
            points = np.stack([x + far * np.cos(angle), y + far * np.sin(angle)], axis=-1)
            self.ribbon(points, np.linspace(line * 0.9, max(1.4 * line, radius * 0.42), 12))
            self.disc(points[-1, 0], points[-1, 1], max(0.8 * line, radius * 0.24))
            return
        steps = int(np.clip(radius, 24, 90))
        t = np.linspace(0, 1, steps)
        thick = max(line * 1.15, radius * 0.15)
        long = radius > 8 * line
        far, angle = radius * (0.9 - (0.58 if long else 0.45) * t), start + hand * (9.0 if long else 7.2) * t
        points = np.stack([x + far * np.cos(angle), y + far * np.sin(angle)], axis=-1)
        for share in (0.04, 0.17, 0.3, 0.43, 0.56) if long else (0.08, 0.3, 0.5):
            place = round(share * steps)
            out = float(angle[place]) + hand * rng.uniform(0.8, 1.2)
            self.leaf(points[place, 0], points[place, 1], out, radius * rng.uniform(0.6, 0.8), kind, hand < 0)
        self.ribbon(points, np.linspace(thick * 1.3, max(line, thick * 0.7), steps))
        end_x, end_y, inward = points[-1, 0], points[-1, 1], float(angle[-1]) + hand * 2.3
        if rng.random() < 0.3 and radius > 7 * line:
            self.flower(x, y, radius * (0.34 if long else 0.42))
        else:
            for spread in (-1.1, 1.1, 0.0):
                self.leaf(end_x, end_y, inward + spread, radius * (0.62 if spread == 0 else 0.4), kind, hand < 0)

    def coverage(self) -> Field:
        """What was drawn, 0 to 1."""
        return np.asarray(self.image, np.float32) / np.float32(255)


def _pack(
    space: Field, rng: np.random.Generator, big: float, small: float, most: int
) -> list[tuple[float, float, float]]:
    """Circles (x, y, radius) that fill what is free, each as large as the place allows, the large ones first.

    Args:
        space: distance from whatever has to stay clear, in canvas pixels.
        rng: where the candidates come from.
        big: the largest radius.
        small: the smallest.
        most: how many circles at most.
    """
    height, width = space.shape
    spots = rng.random((360, 2)) * (width, height)
    radii = np.minimum(space[spots[:, 1].astype(int), spots[:, 0].astype(int)], big).astype(np.float64)
    circles: list[tuple[float, float, float]] = []
    while len(circles) < most:
        best = int(np.argmax(radii))
        radius = float(radii[best])
        if radius < small:
            break
        x, y = spots[best].tolist()
        circles.append((x, y, radius))
        np.minimum(radii, (np.hypot(spots[:, 0] - x, spots[:, 1] - y) - radius) * 1.04, out=radii)
    return circles


def scrolls(canvas: Canvas, space: Field, corners: bool) -> Field:
    """Vine scrolls wherever there is room, or one large curl in each corner.

    Args:
        canvas: the sheet.
        space: distance from the letter and the frame, in canvas pixels.
        corners: four corner curls instead of scrolls everywhere.
    """
    rng, line = canvas.rng, canvas.line
    height, width = canvas.shape
    mirrored = np.minimum(space, space[:, ::-1])
    # Symmetric only where that costs little room: round an A or an O, not round an L.
    mirror = bool(rng.random() < 0.6 and mirrored.mean() > 0.8 * space.mean())
    vine = Vine(canvas, mirror, hollow=bool(rng.random() < 0.15 and canvas.unit > 50 * line))
    kind = int(rng.integers(len(LEAVES)))
    big = max(canvas.unit * rng.uniform(0.13, 0.21), 5 * line)
    small = max(0.2 * big, 1.7 * line)
    room = mirrored[:, : width // 2] if mirror else space
    if corners:
        middle_y, middle_x = height // 2, width // 2
        quarters = [(top, left) for top in (0, middle_y) for left in ((0,) if mirror else (0, middle_x))]
        circles: list[tuple[float, float, float]] = []
        for top, left in quarters:
            quarter = space[top : top + middle_y, left : left + middle_x]
            for x, y, radius in _pack(quarter, rng, 1.3 * big, 2 * small, 1):
                x, y = x + left, y + top
                if all(np.hypot(x - a, y - b) > radius + c for a, b, c in circles):
                    circles.append((x, y, radius))
    else:
        circles = _pack(room, rng, big, small, 40)
    for place, (x, y, radius) in enumerate(circles):
        if corners or not place:
            start = float(np.arctan2(height / 2 - y, width / 2 - x))
            hand = 1 if (x < width / 2) == (y < height / 2) else -1
        else:
            # The stem leaves its nearest neighbour, as if both were one plant, and turns the other way.
            a, b, c = min(circles[:place], key=lambda other: np.hypot(x - other[0], y - other[1]) - other[2])
            start = float(np.arctan2(b - y, a - x))
            hand = 1 if place % 2 else -1
            gap = float(np.hypot(a - x, b - y)) - radius - c
            if gap < 1.5 * radius and radius > 2.6 * line:
                towards = np.array([np.cos(start), np.sin(start)])
                reach = np.array([x, y]) + np.array([[0.9 * radius], [1.1 * radius + gap]]) * towards
                vine.ribbon(reach, np.full(2, max(1.1 * line, radius * 0.18)))
        if radius > 2.6 * line:
            vine.spiral(x, y, radius, start, hand, kind)
        elif radius > 2.0 * line:
            vine.leaf(x - radius * np.cos(start), y - radius * np.sin(start), start, 2 * radius, kind, hand < 0)
        else:
            vine.disc(x, y, radius * 0.7)
    return vine.coverage()


def flowers(canvas: Canvas) -> Field:
    """Scattered blossoms and leaves on a staggered lattice, as on printed cotton."""
    rng = canvas.rng
    height, width = canvas.shape
    vine = Vine(canvas, mirror=False, hollow=False)
    pitch = max(canvas.unit / rng.integers(4, 7), 6.5 * canvas.line)
    kind = int(rng.integers(len(LEAVES)))
    for row in range(int(height / pitch) + 2):
        for column in range(int(width / pitch) + 2):
            x = (column + 0.5 * (row % 2)) * pitch + rng.uniform(-0.06, 0.06) * pitch
            y = row * pitch + rng.uniform(-0.06, 0.06) * pitch
            if (row + column) % 2:
                vine.flower(x, y, pitch * 0.4)
            else:
                turn = rng.uniform(0, 2 * np.pi)
                for third in range(3):
                    vine.leaf(x, y, turn + third * 2.1, pitch * 0.5, kind)
    return vine.coverage()


GROUNDS: dict[str, Callable[[Canvas, Field, Field], Field]] = {
    "hatching": lambda canvas, wobble, _: hatching(canvas, wobble),
    "stipple": lambda canvas, wobble, _: stipple(canvas, wobble),
    "diaper": lambda canvas, wobble, _: diaper(canvas, wobble),
    "scales": lambda canvas, wobble, _: scales(canvas, wobble),
    "rays": lambda canvas, wobble, _: rays(canvas, wobble),
    "vine": lambda canvas, _, space: scrolls(canvas, space, corners=False),
    "corners": lambda canvas, _, space: scrolls(canvas, space, corners=True),
    "flowers": lambda canvas, _, __: flowers(canvas),
}
"""Grounds by name: functions of the sheet, the wobble of hand-cut lines, and the distance from the letter and the frame."""
