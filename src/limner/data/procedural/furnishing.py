"""What stands in the rooms of a dungeon or a house."""

from __future__ import annotations

import numpy as np

from limner.data.procedural.furniture import (
    altar,
    barrel,
    bed,
    chest,
    crate,
    fire,
    round_table,
    rug,
    sarcophagus,
    shelf,
    statue,
    table,
    turned,
)
from limner.data.procedural.nature import rock
from limner.data.procedural.painting import Colour, Painting, Rgba

Area = tuple[int, int, int, int]
"""Left, top, columns and rows of a room, in map squares."""

_DUNGEON_THEMES = ("hall", "hall", "library", "crypt", "temple", "store", "rubble", "mess", "barracks")
_HOME_THEMES = ("mess", "inn", "inn", "bedroom", "store", "library")


class _Room:
    """A room that keeps book of the squares taken."""

    def __init__(self, painting: Painting, area: Area, circle: bool, keep: list[tuple[float, float]]) -> None:
        self.painting = painting
        self.left, self.top, self.wide, self.high = area
        self.circle = circle
        self.taken = list(keep)

    def put(self, sprite: Rgba, x: float, y: float, tall: float) -> bool:
        """Place an object unless it would stand on another or in a door; whether there was room."""
        reach = 0.5 * max(sprite.shape[:2]) / self.painting.cell
        if any(max(abs(x - a), abs(y - b)) < 0.4 + 0.6 * reach for a, b in self.taken):
            return False
        for shift in np.linspace(-1, 1, max(1, round(2 * reach))):
            rows, columns = sprite.shape[:2]
            away = float(shift) * max(reach - 0.4, 0.0)
            self.taken.append((x + away, y) if columns > rows else (x, y + away))
        self.painting.place(sprite, x, y, tall)
        return True

    def wall_spot(self, depth: float) -> tuple[float, float, int]:
        """A place along a wall for something ``depth`` map squares deep: x, y, and quarter turns from the upper wall."""
        rng = self.painting.rng
        side = int(rng.integers(4))
        x = self.left + 0.6 + rng.random() * (self.wide - 1.2)
        y = self.top + 0.6 + rng.random() * (self.high - 1.2)
        inset = 0.08 + depth / 2
        if side == 0:
            return x, self.top + inset, 0
        if side == 1:
            return self.left + inset, y, 1
        if side == 2:
            return x, self.top + self.high - inset, 2
        return self.left + self.wide - inset, y, 3

    def corners(self, inset: float) -> list[tuple[float, float]]:
        """The four corners, ``inset`` map squares from the walls."""
        right, bottom = self.left + self.wide - inset, self.top + self.high - inset
        return [(x, y) for x in (self.left + inset, right) for y in (self.top + inset, bottom)]


def furnish(
    painting: Painting, area: Area, circle: bool, theme: str, keep: list[tuple[float, float]], lamp: Colour
) -> None:
    """Fill a room with things that belong together.

    Args:
        painting: the map.
        area: the room.
        circle: it is round, so its corners are wall.
        theme: "home" for a house, "pool" where the middle is taken, "" for any dungeon room.
        keep: places to keep free, such as doors.
        lamp: colour of the light that fires give.
    """
    rng = painting.rng
    left, top, wide, high = area
    if left > painting.width or top > painting.height or left + wide < 0 or top + high < 0:
        return
    room = _Room(painting, area, circle, keep)
    centre_x, centre_y = left + wide / 2, top + high / 2
    if theme == "home":
        theme = str(rng.choice(_HOME_THEMES))
    elif not theme:
        theme = str(rng.choice(_DUNGEON_THEMES))
    roomy = min(wide, high) >= 4
    if theme in ("hall", "temple", "bedroom", "inn") and rng.random() < 0.6:
        carpet = rug(painting, max(1.4, wide * 0.42), max(1.4, high * 0.42))
        painting.place(carpet, centre_x, centre_y, 0.01)
    if theme in ("hall", "temple", "pool") and roomy and not circle:
        for x, y in room.corners(1.0 if theme != "pool" else 0.5):
            room.put(statue(painting, 0.36), x, y, 0.22)
    _middle(room, theme, centre_x, centre_y, roomy)
    if not circle:
        _walls(room, theme)
    for _ in range(int(rng.integers(2, 6)) if theme in ("rubble", "hall", "crypt", "temple") else 0):
        stone = rock(painting, rng.uniform(0.12, 0.32), (0.5, 0.48, 0.46))
        room.put(stone, left + 0.4 + rng.random() * (wide - 0.8), top + 0.4 + rng.random() * (high - 0.8), 0.06)
    if rng.random() < 0.75:
        x, y, _ = room.wall_spot(0.5)
        if not circle and room.put(fire(painting, 0.24, stones=False), x, y, 0.12):
            painting.lights.append((x, y, 2.3, lamp))


def _middle(room: _Room, theme: str, x: float, y: float, roomy: bool) -> None:
    """The thing that the room is about, in its middle."""
    painting, rng = room.painting, room.painting.rng
    if theme == "temple":
        room.put(altar(painting), x, y, 0.15)
    elif theme == "hall":
        room.put(statue(painting, 0.62), x, y, 0.3)
    elif theme == "mess":
        if roomy:
            sprite = table(painting, float(np.clip(max(room.wide, room.high) - 2.4, 1.6, 3.6)))
            room.put(turned(sprite, int(room.high > room.wide)), x, y, 0.12)
        else:
            room.put(round_table(painting), x, y, 0.12)
    elif theme == "inn":
        across, down = max(1, (room.wide - 1) // 3), max(1, (room.high - 1) // 3)
        for column in range(across):
            for row in range(down):
                spot_x = room.left + room.wide * (column + 0.5) / across + rng.uniform(-0.2, 0.2)
                spot_y = room.top + room.high * (row + 0.5) / down + rng.uniform(-0.2, 0.2)
                room.put(round_table(painting), spot_x, spot_y, 0.12)
    elif theme == "crypt":
        count = max(1, (room.wide - 1) // 2)
        for place in range(count):
            room.put(sarcophagus(painting), room.left + room.wide * (place + 0.5) / count, y, 0.15)


def _walls(room: _Room, theme: str) -> None:
    """Things along the walls and in the corners."""
    painting, rng = room.painting, room.painting.rng
    if theme in ("store", "rubble", "mess", "inn", "barracks"):
        for x, y in room.corners(0.5):
            if rng.random() < (0.95 if theme == "store" else 0.5):
                room.put(crate(painting) if rng.random() < 0.5 else barrel(painting), x, y, 0.14)
    if theme == "store":
        for _ in range(5):
            x, y, _ = room.wall_spot(0.8)
            room.put(crate(painting) if rng.random() < 0.5 else barrel(painting), x, y, 0.14)
    if theme == "library":
        for _ in range(6):
            x, y, quarters = room.wall_spot(0.5)
            room.put(turned(shelf(painting, 1.5), quarters), x, y, 0.12)
    if theme in ("bedroom", "barracks"):
        for _ in range(1 if theme == "bedroom" else 4):
            x, y, quarters = room.wall_spot(1.9)
            room.put(turned(bed(painting), quarters), x, y, 0.1)
    for _ in range(int(rng.integers(0, 1 + (room.wide + room.high) // 3)) if theme != "pool" else 0):
        kind = int(rng.integers(4))
        x, y, quarters = room.wall_spot(0.5 if kind == 0 else 0.8)
        if kind == 0:
            room.put(turned(shelf(painting, 1.2), quarters), x, y, 0.12)
        else:
            room.put(crate(painting) if kind == 1 else barrel(painting), x, y, 0.14)
    if theme != "pool" and rng.random() < 0.45:
        x, y, quarters = room.wall_spot(0.6)
        room.put(turned(chest(painting), quarters), x, y, 0.1)
