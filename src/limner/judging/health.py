"""What goes wrong in a training, told from its own log and evaluations: pure functions, so that resuming changes nothing.

Each finding has the evidence in numbers, advice in one sentence, and says whether the training should go back to its last
good state. Thresholds were set on trainings that went well and on trainings that were broken on purpose
(``experiments/health``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

Line = Mapping[str, Any]
Severity = Literal["note", "warning", "error"]

WINDOW = 25
"""Lines of the log that a discriminator's winning or losing has to last: 500 updates at the usual rhythm."""
WON = 0.04
"""A discriminator whose loss is this near to the least possible one (in nats) teaches nothing any more."""
LOST = 0.9
"""Share of the window in which generated images look more real than real ones."""
EXPLODED_RATIO = 50.0
"""Gradients are exploding when they are longer by this than they used to be."""
EXPLODED_LOGIT = 100.0
"""A mean logit that means a probability of 1 - 1e-43: float32 has no gradient there."""
RECENT = 3
MEMORY = 200
"""Lines of the log that are looked at: what is usual is what was usual lately."""
NO_VARIETY = 0.01
"""Diversity (as a share of the real images') of samples that are all alike. Untrained generators begin at 1e-6."""
DEAD = 2e-4
WARM_UPS = {250: DEAD, 1000: NO_VARIETY}
"""After so many updates, samples should differ at least so much. Trainings that went well had 0.002 to 0.25 after 250
updates, and 0.3 or more after 1,000."""
HAD_VARIETY, GONE = 0.2, 0.02
"""Diversity that was once there, and its end: at the second, it is gone at a single evaluation."""
HAD_MUCH, FALL = 0.3, 0.4
"""It is also gone when, once it was at least the first number, two evaluations in a row are under the second times its best.
Early in a training it wavers by a factor of two and more."""


@dataclass(frozen=True)
class Finding:
    """Something that a person should know.

    Attributes:
        kind: its name in the events.
        severity: ``note``, ``warning`` or ``error``.
        evidence: what was seen, with numbers.
        advice: what to do, in one sentence.
        go_back: whether the training should go back to its last good state.
    """

    kind: str
    severity: Severity
    evidence: str
    advice: str
    go_back: bool = False


def watch_log(lines: Sequence[Line], least_loss: float | None, relative: bool = False) -> list[Finding]:
    """What the newest lines of the log show.

    Args:
        lines: the newest :data:`MEMORY` lines of the log, oldest first.
        least_loss: the least value that the discriminator's loss can have, in nats, for losses that are cross-entropies;
            ``None`` for those without such an end, whose logits have no scale.
        relative: only the differences of logits count, not where they lie.
    """
    if not lines:
        return []
    if found := _not_finite(lines[-1]):
        return [found]
    findings = [_exploding(lines)]
    if least_loss is not None:
        findings += [_saturated(lines, relative), _winning(lines, least_loss, relative)]
    findings.append(_losing(lines))
    return [finding for finding in findings if finding is not None]


def not_numbers(what: str, images: int) -> Finding:
    """The finding that something (losses, weights, samples) holds NaN or infinity."""
    return Finding(
        "non-finite",
        "error",
        f"the {what} are not numbers any more after {images:,} images",
        "lower the learning rates (--set generator.lr=1e-4 --set discriminator.lr=1e-4)",
        go_back=True,
    )


def _not_finite(line: Line) -> Finding | None:
    watched = ["discriminator_loss", "generator_loss", "real_logit", "fake_logit"]
    watched += ["generator_gradient", "discriminator_gradient"]
    missing = [name for name in watched if name in line and line[name] is None]
    losses = [name for name in missing if not name.endswith("gradient")]
    if not missing:
        return None
    return not_numbers("losses" if losses else "gradients", line.get("images", 0))


def _exploding(lines: Sequence[Line]) -> Finding | None:
    for network in ("generator", "discriminator"):
        norms = [line[f"{network}_gradient"] for line in lines if line.get(f"{network}_gradient") is not None]
        if len(norms) < RECENT + WINDOW // 2:
            continue
        usual, now = median(norms[:-RECENT]), min(norms[-RECENT:])
        if now > EXPLODED_RATIO * usual > 0:
            return Finding(
                "exploding-gradients",
                "warning",
                f"the {network}'s gradients have length {now:.3g} in the last {RECENT} log lines; {usual:.3g} was usual",
                f"lower {network}.lr; if it happens again, lower both rates",
            )
    return None


def _saturated(lines: Sequence[Line], relative: bool) -> Finding | None:
    recent = [
        line for line in lines[-RECENT:] if line.get("real_logit") is not None and line.get("fake_logit") is not None
    ]
    if len(recent) < RECENT:
        return None
    pairs = [(line["real_logit"], line["fake_logit"]) for line in recent]
    size = min(abs(real - fake) if relative else max(abs(real), abs(fake)) for real, fake in pairs)
    if size <= EXPLODED_LOGIT:
        return None
    return Finding(
        "exploding-logits",
        "warning",
        f"the discriminator's logits {'differ by' if relative else 'have a mean size of'} {size:,.0f} in the last {RECENT}"
        " log lines, where a sigmoid is flat",
        "lower the learning rates; both networks have left the range in which they can learn from one another",
    )


def _winning(lines: Sequence[Line], least_loss: float, relative: bool) -> Finding | None:
    window = [line["discriminator_loss"] for line in lines[-WINDOW:] if line.get("discriminator_loss") is not None]
    if len(window) < WINDOW:
        return None
    above, smoothed = median(window) - least_loss, relative or least_loss > 0
    if above >= WON:
        return None
    return Finding(
        "discriminator-winning",
        "warning",
        f"over the last {_span(lines):,} images the discriminator's loss was {max(above, 0):.3g} above the least possible one"
        " (median), so the generator hardly learns",
        "raise generator.lr or lower discriminator.lr"
        if smoothed  # or there is no label that could be
        else "raise generator.lr, lower discriminator.lr, or set objective.real_label to 0.9",
    )


def _losing(lines: Sequence[Line]) -> Finding | None:
    window = [
        line["real_logit"] <= line["fake_logit"]
        for line in lines[-WINDOW:]
        if line.get("real_logit") is not None and line.get("fake_logit") is not None
    ]
    if len(window) < WINDOW or sum(window) < LOST * WINDOW:
        return None
    return Finding(
        "discriminator-losing",
        "warning",
        f"in {sum(window)} of the last {WINDOW} log lines ({_span(lines):,} images) the discriminator took generated images"
        " for more real than real ones",
        "raise discriminator.lr or discriminator.width, or lower generator.lr; a loss of your own may have its labels swapped",
    )


def _span(lines: Sequence[Line]) -> int:
    """Images between the first and the last line of the window."""
    window = lines[-WINDOW:]
    return int(window[-1].get("images", 0) - window[0].get("images", 0))


def watch_evaluations(evaluations: Sequence[Line]) -> list[Finding]:
    """What the newest evaluation shows, next to those before it.

    Args:
        evaluations: lines of the run's metrics, oldest first; the one of the untrained generator is among them.
    """
    if not evaluations or evaluations[-1].get("images", 0) == 0:
        return []  # what nobody has trained yet is not ill
    findings = [_collapsed(evaluations), _copying(evaluations[-1])]
    return [finding for finding in findings if finding is not None]


def is_good(evaluations: Sequence[Line]) -> bool:
    """Whether the newest evaluation shows a state worth coming back to: its samples differ, and not far less than before.

    The untrained state is one too: from there everything can begin again.
    """
    newest = evaluations[-1]
    now = figure(newest, "diversity")
    return newest.get("images", 0) == 0 or (now is not None and now >= NO_VARIETY and not is_falling(evaluations))


def is_falling(evaluations: Sequence[Line]) -> bool:
    """Whether samples differ far less than they did at their best: if that lasts, it is a collapse."""
    now = figure(evaluations[-1], "diversity")
    best = max((figure(line, "diversity") or 0.0 for line in evaluations[:-1]), default=0.0)
    return now is not None and best >= HAD_MUCH and now < FALL * best


def _collapsed(evaluations: Sequence[Line]) -> Finding | None:
    newest = evaluations[-1]
    now = figure(newest, "diversity")
    if now is None:
        return None
    values = [value for line in evaluations[:-1] if (value := figure(line, "diversity")) is not None]
    best, before = max(values, default=0.0), values[-1] if values else math.inf
    never = any(newest.get("step", 0) >= updates and now < least for updates, least in WARM_UPS.items())
    gone = best >= HAD_VARIETY and now < GONE
    fell = gone or (best >= HAD_MUCH and max(now, before) < FALL * best)
    if not (never or fell):
        return None
    was = f"; their diversity was {best:.2f} at its best" if fell else ""
    counted = newest["figures"]["diversity"].get("generated", 0)
    return Finding(
        "collapse",
        "error",
        f"{counted:,} samples are nearly all alike: their diversity is {now:.2g} of the real images'{was}",
        "lower generator.lr, or take a smaller batch; the best snapshot may be the better generator",
        go_back=True,
    )


def _copying(line: Line) -> Finding | None:
    copying = line.get("copying") or {}
    if copying.get("verdict") not in ("copies", "copies some images"):
        return None
    share = copying.get("copied_share") or {}
    value = share.get("value")
    said = f"about {100 * value:.0f} % of " if value is not None else ""
    return Finding(
        "copying",
        "warning",
        f"{said}{share.get('generated', 0):,} samples are near-copies of images that the generator was trained on",
        "take an earlier snapshot, train for a shorter time, or add images; few images are learned by heart",
    )


def figure(line: Line, name: str) -> float | None:
    """The value of a figure in a line of the metrics; ``None`` where there is none, or nothing that can be read."""
    figures = line.get("figures")
    values = figures.get(name) if isinstance(figures, Mapping) else None
    value = values.get("value") if isinstance(values, Mapping) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def is_news(finding: Finding, images: int, attempt: int, events: Sequence[Line]) -> bool:
    """Whether a finding has not been told lately: each kind is told again only after twice as many images.

    A finding that sends the training back is told every time, but once for each place and attempt (a resumed training
    may come by there again).

    Args:
        finding: what was found.
        images: real images seen.
        attempt: rollbacks so far.
        events: the run's events.
    """
    told = [event for event in events if event.get("event") == finding.kind]
    if finding.go_back:
        return not any((event.get("images"), event.get("attempt")) == (images, attempt) for event in told)
    return not told or images >= 2 * max(int(event.get("images", 0)) for event in told) > 0
