"""Maps of built places underground and indoors: stone dungeons with rooms and corridors, and taverns with plank floors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limner.data.procedural.floors import FLOORS, paint_floor, paint_stairs, paint_walls
from limner.data.procedural.furnishing import furnish
from limner.data.procedural.overland import paint_water
from limner.data.procedural.painting import Colour, Field, Painting, mix, tone


@dataclass(frozen=True)
class Room:
    """A rectangle of map squares, or the circle in it.

    Args:
        left: first column.
        top: first row.
        wide: columns.
        high: rows.
        circle: a round room.
    """

    left: int
    top: int
    wide: int
    high: int
    circle: bool = False

    @property
    def centre(self) -> tuple[float, float]:
        """The middle, in map squares."""
        return self.left + self.wide / 2, self.top + self.high / 2

    def seen(self, painting: Painting) -> bool:
        """Whether any of it, or of its walls, is on the sheet."""
        across = self.left + self.wide > -1 and self.left < painting.width + 1
        return across and self.top + self.high > -1 and self.top < painting.height + 1

    def distance(self, painting: Painting) -> Field:
        """Distance from the room's walls in map squares, negative inside."""
        x, y = painting.axes()
        centre_x, centre_y = self.centre
        if self.circle:
            return np.asarray(np.hypot(x - centre_x, y - centre_y) - min(self.wide, self.high) / 2, np.float32)
        away_x, away_y = (
            np.abs(x - np.float32(centre_x)) - self.wide / 2,
            np.abs(y - np.float32(centre_y)) - self.high / 2,
        )
        outside = np.hypot(np.maximum(away_x, 0), np.maximum(away_y, 0))
        return np.asarray(outside + np.minimum(np.maximum(away_x, away_y), 0), np.float32)


@dataclass(frozen=True)
class Style:
    """The look of a dungeon.

    Args:
        floor: colour of the floor's stones.
        wall: colour of the walls.
        earth: what lies behind the walls.
        light: daylight on everything; lamps come on top.
        lamp: colour of the lamps.
    """

    floor: Colour
    wall: Colour
    earth: Colour
    light: Colour
    lamp: Colour


STYLES = (
    Style((0.50, 0.49, 0.47), (0.62, 0.60, 0.56), (0.13, 0.12, 0.12), (0.95, 0.95, 0.96), (0.35, 0.24, 0.10)),
    Style((0.62, 0.53, 0.40), (0.74, 0.63, 0.46), (0.26, 0.20, 0.15), (0.98, 0.96, 0.92), (0.30, 0.20, 0.08)),
    Style((0.40, 0.45, 0.50), (0.52, 0.56, 0.60), (0.07, 0.08, 0.11), (0.66, 0.74, 0.86), (0.75, 0.50, 0.20)),
    Style((0.45, 0.48, 0.40), (0.55, 0.57, 0.46), (0.17, 0.18, 0.13), (0.92, 0.95, 0.88), (0.35, 0.27, 0.10)),
    Style((0.46, 0.35, 0.33), (0.56, 0.42, 0.39), (0.12, 0.07, 0.07), (0.78, 0.70, 0.70), (0.70, 0.34, 0.14)),
    Style((0.72, 0.70, 0.66), (0.50, 0.47, 0.45), (0.40, 0.35, 0.29), (1.0, 0.99, 0.97), (0.25, 0.18, 0.08)),
)


def plan(painting: Painting) -> tuple[list[Room], list[Room]]:
    """Rooms that do not touch, and the corridors that connect each with its neighbour.

    The plan is larger than the sheet, so that a map looks cut from a dungeon that goes on.
    """
    rng = painting.rng
    columns, rows = int(np.ceil(painting.width)) + 2, int(np.ceil(painting.height)) + 2
    rooms: list[Room] = []
    largest = min(8, max(3, round(0.62 * min(painting.width, painting.height))))
    for attempt in range(140):
        # The large rooms first: later there is only room for small ones.
        wide, high = (int(side) for side in rng.integers(4 if attempt < 30 and largest > 4 else 3, largest + 1, 2))
        circle = bool(rng.random() < 0.15 and min(wide, high) >= 4)
        if circle:
            wide = high = min(wide, high)
        left, top = int(rng.integers(-2, columns - 2)), int(rng.integers(-2, rows - 2))
        if not rooms:  # something to look at in the middle
            left, top = (
                (columns - 2 - wide) // 2 + int(rng.integers(-1, 2)),
                (rows - 2 - high) // 2 + int(rng.integers(-1, 2)),
            )
        apart = 1
        if all(
            left + wide + apart < r.left
            or r.left + r.wide + apart < left
            or top + high + apart < r.top
            or r.top + r.high + apart < top
            for r in rooms
        ):
            rooms.append(Room(left, top, wide, high, circle))
    corridors: list[Room] = []
    for place, room in enumerate(rooms[1:], start=1):
        middle_x, middle_y = room.left + room.wide // 2, room.top + room.high // 2
        nearest = sorted(
            rooms[:place], key=lambda r: abs(r.centre[0] - room.centre[0]) + abs(r.centre[1] - room.centre[1])
        )
        for other in nearest[: 1 + int(rng.random() < 0.3)]:
            to_x, to_y = other.left + other.wide // 2, other.top + other.high // 2
            bend_x, bend_y = (to_x, middle_y) if rng.random() < 0.5 else (middle_x, to_y)
            for ax, ay, bx, by in ((middle_x, middle_y, bend_x, bend_y), (bend_x, bend_y, to_x, to_y)):
                corridors.append(Room(min(ax, bx), min(ay, by), abs(ax - bx) + 1, abs(ay - by) + 1))
    return [room for room in rooms if room.seen(painting)], [way for way in corridors if way.seen(painting)]


def _doors(rooms: list[Room], corridors: list[Room]) -> list[tuple[float, float, bool]]:
    """Where corridors enter rooms: x, y in map squares, and whether the wall there stands upright."""
    found: dict[tuple[float, float], bool] = {}
    for room in rooms:
        for way in corridors:
            if way.high == 1 and room.top <= way.top < room.top + room.high:
                for side in (room.left, room.left + room.wide):
                    if way.left < side < way.left + way.wide:
                        found[side, way.top + 0.5] = True
            if way.wide == 1 and room.left <= way.left < room.left + room.wide:
                for side in (room.top, room.top + room.high):
                    if way.top < side < way.top + way.high:
                        found[way.left + 0.5, side] = False
    return [(x, y, upright) for (x, y), upright in found.items()]


def _paint_door(painting: Painting, x: float, y: float, upright: bool) -> None:
    """A door of boards between two posts."""
    part = painting.window(x - 1, y - 1, x + 1, y + 1)
    if part is None:
        return
    painting = part
    across, along = painting.axes() if upright else painting.axes()[::-1]
    if not upright:
        x, y = y, x
    thick, wide = np.abs(across - np.float32(x)), np.abs(along - np.float32(y))
    leaf = np.maximum(thick - 0.1, wide - 0.5)
    mask = painting.inside(leaf)
    painting.cast(mask, 0.1, 0.4)
    painting.blend(mask, (0.46, 0.29, 0.15))
    boards = np.abs(np.mod(wide / np.float32(0.17), 1) - 0.5) * np.float32(0.17)
    painting.shade(1 - 0.45 * mask * painting.inside(boards * -1 + 0.06))
    painting.shade(1 - 0.7 * painting.inside(np.abs(leaf) - 0.03))
    post = np.maximum(thick - 0.17, np.abs(wide - 0.5) - 0.09)
    painting.blend(painting.inside(post), (0.33, 0.29, 0.26))


def _earth(painting: Painting, colour: Colour) -> None:
    """What lies behind the walls: packed earth or rock."""
    painting.rgb = painting.texture((tone(colour, 0.75), colour, tone(colour, 1.25)), 1.6, grain=0.08)
    cracks = np.clip(1 - np.abs(painting.noise(1.1, octaves=3)) * 14, 0, 1)
    painting.shade(1 - 0.3 * cracks)


def _pool(painting: Painting, room: Room) -> None:
    """A basin of water, slime or lava in the middle of a room, with a rim of cut stone."""
    rng, lights = painting.rng, painting.lights
    part = painting.window(room.left, room.top, room.left + room.wide, room.top + room.high)
    if part is None:
        return
    painting = part
    x, y = painting.axes()
    centre_x, centre_y = room.centre
    half_x, half_y = room.wide / 2 - 1.0, room.high / 2 - 1.0
    away_x, away_y = np.abs(x - np.float32(centre_x)), np.abs(y - np.float32(centre_y))
    if room.circle or rng.random() < 0.3:
        distance = np.hypot(x - np.float32(centre_x), y - np.float32(centre_y)) - min(half_x, half_y)
    else:
        distance = np.maximum(away_x - half_x, away_y - half_y)
    rim = painting.inside(distance - 0.22)
    painting.cast(rim, 0.08, 0.35)
    painting.blend(rim, tone((0.66, 0.64, 0.6), rng.uniform(0.8, 1.1)))
    painting.shade(1 - 0.6 * painting.inside(np.abs(distance - 0.22) - 0.025))
    kind = rng.random()
    if kind < 0.62:
        paint_water(painting, -distance, ((0.08, 0.30, 0.36), (0.30, 0.60, 0.60)), 0.15)
    elif kind < 0.8:
        paint_water(painting, -distance, ((0.16, 0.28, 0.07), (0.45, 0.60, 0.18)), 0.1)
    else:
        paint_lava(painting, -distance)
        lights.append((centre_x, centre_y, max(half_x, half_y) + 1.6, (0.75, 0.30, 0.05)))
    # The rim throws a shadow on what lies lower.
    painting.shade(1 - 0.45 * painting.inside(distance) * np.clip(1 + (distance + 0.05) * 3.5, 0, 1))


def paint_lava(painting: Painting, depth: Field) -> None:
    """Molten rock with dark crust, where ``depth`` (map squares inside its shore) is above 0."""
    crust = painting.noise(0.9, octaves=3)
    heat = np.clip(1.15 - np.abs(crust) * 2.1 + 0.25 * painting.noise(2.0), 0, 1)[..., None]
    cold, warm, hot = (
        np.asarray(colour, np.float32) for colour in ((0.30, 0.06, 0.03), (0.88, 0.28, 0.04), (1.0, 0.80, 0.30))
    )
    rgb = np.where(heat < 0.6, cold + (warm - cold) * heat / 0.6, warm + (hot - warm) * (heat - 0.6) / 0.4)
    painting.blend(painting.inside(-depth), rgb.astype(np.float32))


def dungeon(painting: Painting) -> None:
    """Rooms and corridors of stone with doors, stairs, furniture, pools and rubble."""
    rng = painting.rng
    style = STYLES[int(rng.integers(len(STYLES)))]
    rooms, corridors = plan(painting)
    _earth(painting, style.earth)
    wobble = 0.035 * painting.noise(0.9, octaves=2)
    distance = np.minimum.reduce([place.distance(painting) for place in (*rooms, *corridors)]) + wobble
    common = str(rng.choice(["flags", "bricks", "cobbles"], p=[0.5, 0.3, 0.2]))
    paint_floor(painting, painting.inside(distance), common, style.floor)
    for room in rooms:
        part = painting.window(room.left, room.top, room.left + room.wide, room.top + room.high)
        if part and rng.random() < 0.6:
            kind = str(rng.choice(list(FLOORS)))
            colour = tone(mix(style.floor, (0.6, 0.55, 0.5), rng.uniform(0, 0.4)), rng.uniform(0.85, 1.12))
            paint_floor(part, part.inside(room.distance(part)), kind, colour)
    stains = np.clip(painting.noise(2.2, octaves=4) - 0.25, 0, 1)
    painting.blend(
        painting.inside(distance) * np.minimum(stains, 0.35), mix(style.earth, (0.25, 0.3, 0.15), rng.uniform(0, 0.7))
    )
    pools = [room for room in rooms if min(room.wide, room.high) >= 4 and rng.random() < 0.22]
    for room in pools:
        _pool(painting, room)
    paint_walls(painting, distance, style.wall, 0.3)
    doors = _doors([room for room in rooms if not room.circle], corridors)
    for x, y, upright in doors:
        if rng.random() < 0.75:
            _paint_door(painting, x, y, upright)
    lamp = style.lamp
    for room in rooms:
        theme = "pool" if room in pools else ""
        keep = [(x, y) for x, y, _ in doors]
        if rng.random() < 0.18 and not theme:
            paint_stairs(painting, room.left, room.top, bool(rng.random() < 0.5), style.floor)
            keep.append((room.left + 0.5, room.top + 1.0))
        furnish(painting, (room.left, room.top, room.wide, room.high), room.circle, theme, keep, lamp)
    painting.stamp()
    painting.shine(style.light)


def tavern(painting: Painting) -> None:
    """The inside of a house: plank floors, thin walls, tables, beds and a bar, with a garden or the night around."""
    rng = painting.rng
    outside: tuple[Colour, Colour, Colour] = (
        ((0.24, 0.34, 0.14), (0.34, 0.44, 0.19), (0.46, 0.53, 0.26)),
        ((0.38, 0.37, 0.36), (0.47, 0.46, 0.45), (0.57, 0.56, 0.54)),
        ((0.05, 0.05, 0.06), (0.07, 0.07, 0.08), (0.10, 0.09, 0.10)),
    )[int(rng.integers(3))]
    painting.rgb = painting.texture(outside, 1.8)
    columns, rows = int(painting.width), int(painting.height)
    inset = 1 if min(columns, rows) > 5 else 0
    left, top = inset if rng.random() < 0.7 else -2, inset if rng.random() < 0.7 else -2
    right, bottom = columns - inset + 2 * int(rng.random() < 0.3), rows - inset + 2 * int(rng.random() < 0.3)
    rooms = [Room(left, top, max(right - left, 3), max(bottom - top, 3))]
    for _ in range(5):
        room = max(rooms, key=lambda r: r.wide * r.high)
        if max(room.wide, room.high) < 7:
            break
        rooms.remove(room)
        if room.wide >= room.high:
            cut = int(rng.integers(3, room.wide - 2))
            rooms += [
                Room(room.left, room.top, cut, room.high),
                Room(room.left + cut, room.top, room.wide - cut, room.high),
            ]
        else:
            cut = int(rng.integers(3, room.high - 2))
            rooms += [
                Room(room.left, room.top, room.wide, cut),
                Room(room.left, room.top + cut, room.wide, room.high - cut),
            ]
    wood = mix((0.50, 0.33, 0.19), (0.66, 0.48, 0.30), rng.random())
    whole = np.minimum.reduce([room.distance(painting) for room in rooms])
    painting.cast(painting.inside(whole - 0.15), 0.3, 0.5)
    inner = np.full(painting.shape, np.float32(9))
    for room in rooms:
        inner = np.minimum(inner, room.distance(painting) + 0.13)
        part = painting.window(room.left, room.top, room.left + room.wide, room.top + room.high)
        if part is None:
            continue
        kind = "planks" if rng.random() < 0.82 else "flags"
        colour = tone(wood if kind == "planks" else (0.52, 0.5, 0.47), rng.uniform(0.88, 1.1))
        paint_floor(part, np.ones(part.shape, np.float32), kind, colour)
    doors = []
    for first in rooms:
        for second in rooms:
            if first.left + first.wide == second.left:
                low, high = max(first.top, second.top), min(first.top + first.high, second.top + second.high)
                if high - low >= 1:
                    doors.append((float(second.left), int(rng.integers(low, high)) + 0.5, True))
            if first.top + first.high == second.top:
                low, high = max(first.left, second.left), min(first.left + first.wide, second.left + second.wide)
                if high - low >= 1:
                    doors.append((int(rng.integers(low, high)) + 0.5, float(second.top), False))
    paint_walls(painting, inner, mix((0.42, 0.29, 0.19), (0.6, 0.55, 0.48), rng.random()), 0.26)
    for x, y, upright in doors:
        _paint_door(painting, x, y, upright)
    for room in rooms:
        furnish(
            painting,
            (room.left, room.top, room.wide, room.high),
            False,
            "home",
            [(x, y) for x, y, _ in doors],
            (0.35, 0.22, 0.08),
        )
    painting.stamp()
    painting.shine(((0.97, 0.95, 0.92), (0.80, 0.74, 0.70), (0.93, 0.93, 0.96))[int(rng.integers(3))])
