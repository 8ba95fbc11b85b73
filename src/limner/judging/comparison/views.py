"""At which moments runs are held against one another: at their ends, at equal images seen, at equal updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from limner.judging.comparison.configurations import Configuration
from limner.judging.comparison.read import Member, Reading
from limner.judging.comparison.statistics import COPIED, Difference, difference
from limner.judging.figures import Figure

Key = Literal["end", "images", "updates"]
SAME, NEAR = 0.02, 0.75
"""Ends this near to one another are the same moment; an evaluation further back than that share of it is of another one."""


@dataclass(frozen=True)
class View:
    """Readings of every run at one moment.

    Attributes:
        key, title: which.
        note: what moment it is, in a sentence.
        readings: configuration -> seed -> reading; ``None`` for a run that diverged before. What was not measured is missing.
    """

    key: Key
    title: str
    note: str
    readings: Mapping[str, Mapping[int, Reading | None]]

    def figures(self, configuration: str, name: str) -> dict[int, Figure | None]:
        """A figure of a configuration by seed."""
        return {
            seed: None if reading is None else reading.figures[name]
            for seed, reading in self.readings[configuration].items()
            if reading is None or name in reading.figures
        }

    def against(self, mine: str, other: str, name: str) -> Difference:
        """Whether a configuration is better than another by a figure."""
        if name != COPIED and not self._same_images(mine, other):
            said = "cannot be compared: against other real images"
            return Difference("cannot be compared", None, None, 0, 0, 0, said)
        if not (self.readings[mine] and self.readings[other]):
            said = "cannot be compared: not evaluated near that moment"
            return Difference("cannot be compared", None, None, 0, 0, 0, said)
        return difference(name, self.figures(mine, name), self.figures(other, name))

    def _same_images(self, mine: str, other: str) -> bool:
        pairs = [(one, self.readings[other].get(seed)) for seed, one in self.readings[mine].items()]
        return all(_one_yardstick(one, two) for one, two in pairs if one is not None and two is not None)


def _one_yardstick(one: Reading, two: Reading) -> bool:
    """Whether two readings are against the same real images, of which another seed holds out others, but as many."""
    return one.reference == two.reference and (None in (one.train, two.train) or one.train == two.train)


def views(found: Sequence[Configuration]) -> list[View]:
    """The moments at which the runs can be compared; those that would say the same, or of which
    there are no two evaluations, are left out."""
    members = [member for configuration in found for member in configuration.members.values()]
    going = [member for member in members if not member.diverged and member.last is not None]
    end = View("end", "At the end", "Each run where it ended.", _readings(found, _at_end))
    if len(members) < 2 or not going:
        return [end]
    images = [last.images for member in going if (last := member.last) is not None]
    steps = [last.step for member in going if (last := member.last) is not None]
    same_images, same_steps = _alike(images), _alike(steps)
    made = []
    if same_images:
        note = f"All that did not break off have seen {_ranged(images)} images."
        if same_steps:
            note += f" They have made {_ranged(steps)} updates with them, so that equal images are equal updates."
        made.append(View("images", "At equal images seen", note, end.readings))
    else:
        made.append(_cut(found, "images", "At equal images seen", min(images), lambda one: one.images))
    if not same_steps:
        made.append(_cut(found, "updates", "At equal updates", min(steps), lambda one: one.step))
    elif not same_images:
        note = f"All that did not break off have made {_ranged(steps)} updates."
        made.append(View("updates", "At equal updates", note, end.readings))
    made = [view for view in made if sum(bool(own) for own in view.readings.values()) > 1]
    return made if made and (same_images or same_steps) else [*made, end]


def _at_end(member: Member) -> Reading | None:
    return None if member.diverged else member.last


def _readings(
    found: Sequence[Configuration], read: Callable[[Member], Reading | None]
) -> dict[str, dict[int, Reading | None]]:
    made: dict[str, dict[int, Reading | None]] = {}
    for configuration in found:
        own = made.setdefault(configuration.name, {})
        for seed, member in configuration.members.items():
            reading = read(member)
            if reading is not None or member.diverged:
                own[seed] = reading
    return made


def _cut(found: Sequence[Configuration], key: Key, title: str, at: int, place: Callable[[Reading], int]) -> View:
    """The last evaluation on the way at or before a moment. Ends are thorough evaluations, which would be another yardstick."""
    used: list[int] = []

    def read(member: Member) -> Reading | None:
        way = member.way or ((member.end,) if member.end else ())
        near = [reading for reading in way if place(reading) <= at * (1 + SAME / 2)]
        if not near or place(near[-1]) < NEAR * at:
            return None
        used.append(place(near[-1]))
        return near[-1]

    readings = _readings(found, read)
    unit = "images seen" if key == "images" else "updates"
    where = f"; the evaluations nearest before are at {_ranged(used)}" if used and not _alike(used) else ""
    return View(key, title, f"After {at:,} {unit}, which all that did not break off have reached{where}.", readings)


def _alike(numbers: Sequence[int]) -> bool:
    return max(numbers) - min(numbers) <= SAME * max(numbers)


def _ranged(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
