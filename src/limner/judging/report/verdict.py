"""What a training's figures say, in plain words: how close, how varied, copied or not, still improving, what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from limner.judging import outlook
from limner.judging.distances.diversity import of_a_faithful_one
from limner.judging.figures import Figure, comparable
from limner.judging.report.words import (
    computed_from,
    figure_of,
    figure_words,
    mapping,
    sentence,
    text,
    whole_number,
)

Line = Mapping[str, Any]
Tone = Literal["good", "mixed", "bad", "unknown"]

CLOSE, APART = 0.75, 0.2
"""Samples are close to real images when they lie among them at least this share as often as other real images do, some
way off down to the second, and far below. A rule of thumb for words; the figures beside the words are what was measured."""
VARIED, POOR = 0.8, 0.4
"""The same for variety: shares of the real images' variety."""
RICH = 1.25
"""Above this, samples differ more from one another than real images do, which is no virtue."""

COPYING = ("no sign of copying", "copies some images", "copies", "too few images to tell")
TROUBLE = {
    "non-finite": "numbers that are none",
    "exploding-gradients": "exploding gradients",
    "exploding-logits": "exploding logits",
    "discriminator-winning": "a discriminator that won for long",
    "discriminator-losing": "a discriminator that lost for long",
    "collapse": "samples that became alike",
    "copying": "copied images",
    "rollback": "a return to an earlier state",
}
"""Events that a reader should be told of in the verdict, in words."""


@dataclass(frozen=True)
class Remark:
    """One thing that can be said: what it is about (a word), and one or two sentences."""

    topic: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """A training in words.

    Attributes:
        headline: one sentence.
        remarks: what it rests on, by topic.
        tone: ``good``, ``mixed``, ``bad``, or ``unknown`` when nothing was measured.
    """

    headline: str
    remarks: tuple[Remark, ...]
    tone: Tone

    @property
    def sentences(self) -> tuple[str, ...]:
        """The remarks as plain text."""
        return tuple(remark.text for remark in self.remarks)


Level = Literal["same", "high", "middle", "low"]
"""How much of what real images would score was reached."""

_QUALITY: dict[Level, str] = {
    "same": "Not to be told from real images by these figures",
    "high": "Close to the real images",
    "middle": "Some way from the real images",
    "low": "Far from the real images",
}
_VARIETY: dict[Level, str] = {
    "same": "more different from one another than real images are",
    "high": "as varied as they are",
    "middle": "less varied than they are",
    "low": "far less varied than they are",
}


def verdict(
    evaluation: Line | None, metrics: Sequence[Line], events: Sequence[Line], *, reason: str | None = None
) -> Verdict:
    """What a training came to.

    Args:
        evaluation: what an evaluation found (its ``figures.json``), or ``None``; then the newest of ``metrics`` counts.
        metrics: the evaluations on the way, oldest first.
        events: what happened, oldest first.
        reason: why the training broke off; without it, it did not.

    Returns:
        Words for all that can be said, and for what cannot.
    """
    found = mapping(evaluation) or (metrics[-1] if metrics else {})
    figures = {name: figure for name, values in mapping(found.get("figures")).items() if (figure := figure_of(values))}
    yardstick = {
        name: figure for name, values in mapping(found.get("yardstick")).items() if (figure := figure_of(values))
    }
    remarks = []
    if reason:
        remarks.append(Remark("Ended", f"The training broke off: {text(reason).rstrip('.')}."))
    quality = quality_level(figures, yardstick)
    variety = variety_level(figures, yardstick, whole_number(mapping(found.get("data")).get("train")))
    copies = _copying_verdict(found)
    if figures:
        remarks += [
            Remark("Quality", _quality_words(figures, yardstick)),
            Remark("Variety", _variety_words(figures, yardstick)),
        ]
    else:
        remarks.append(
            Remark("Quality", "Nothing was evaluated, so how good the samples are cannot be said. Losses do not tell.")
        )
    remarks.append(Remark("Copying", _copying_words(found)))
    trend = _trend(found, metrics)
    remarks.append(Remark("Trend", trend))
    problems, serious = _problems(events)
    remarks.append(Remark("Problems", problems))
    headline = _headline(quality, variety, copies, bool(figures))
    if reason:
        headline = "The training broke off. " + headline
    return Verdict(headline, tuple(remarks), _tone(quality, variety, copies, bool(reason), serious, bool(figures)))


def quality_level(figures: Mapping[str, Figure], yardstick: Mapping[str, Figure]) -> Level | None:
    """How near single samples are to real images, by precision, next to what held-out real images score.

    ``same`` when the kernel distance's interval holds that of held-out real images too.
    """
    precision = figures.get("precision")
    if precision is None:
        return "same" if _cannot_be_told(figures, yardstick) else None
    reached = precision.value / max(yardstick["precision"].value, 1e-9) if "precision" in yardstick else precision.value
    level: Level = "high" if reached >= CLOSE else "middle" if reached >= APART else "low"
    return "same" if level == "high" and _cannot_be_told(figures, yardstick) else level


def variety_level(
    figures: Mapping[str, Figure], yardstick: Mapping[str, Figure], train: int | None = None
) -> Level | None:
    """How much of the real images' variety there is: the least that diversity and recall say.

    Coverage is left out: it also falls when samples lie beside the real images rather than among them, which is quality.

    Args:
        figures: of the generated images.
        yardstick: of held-out real images.
        train: how many training images there are; of few, not even a faithful generator has all of their diversity. Where it
            is not known, that shows only when more images were generated than there were to compare with.
    """
    shares = []
    diversity, recall = figures.get("diversity"), figures.get("recall")
    if diversity is not None:
        # Pieces are cut from fewer pictures than were compared.
        few = diversity.real if train is None else max(train, diversity.real)
        fair = few > 2 and (
            train is not None or diversity.generated > diversity.real
        )  # of two images there is no saying
        shares.append(diversity.value / of_a_faithful_one(few) if fair else diversity.value)
    if recall is not None:
        best = yardstick.get("recall")
        fair = best is not None and comparable("recall", recall, best)
        shares.append(recall.value / max(best.value, 1e-9) if best is not None and fair else recall.value)
    if not shares:
        return None
    share = min(shares)
    if diversity is not None and diversity.value > RICH and share >= VARIED:
        return "same"
    return "high" if share >= VARIED else "middle" if share >= POOR else "low"


def _cannot_be_told(figures: Mapping[str, Figure], yardstick: Mapping[str, Figure]) -> bool:
    mine, real = figures.get("kernel_distance"), yardstick.get("kernel_distance")
    if mine is None or real is None or mine.low is None:
        return False
    return mine.low <= max(real.value, 0.0)


def _quality_words(figures: Mapping[str, Figure], yardstick: Mapping[str, Figure]) -> str:
    said = []
    precision, distance = figures.get("precision"), figures.get("kernel_distance")
    if precision is not None:
        real = yardstick.get("precision")
        than = f"; of {real.generated:,} real images held out, {figure_words('precision', real)} do" if real else ""
        among = f"{figure_words('precision', precision)} of the samples lie among the real images"
        said.append(sentence(f"{among} ({computed_from(precision)}){than}"))
    if distance is not None:
        real = yardstick.get("kernel_distance")
        if real is None:
            than = "; there is no figure of real against real to hold beside it"
        elif _cannot_be_told(figures, yardstick):
            than = f", which {real.generated:,} real images held out reach too: {figure_words('kernel_distance', real)}"
        else:
            than = f"; that of {real.generated:,} real images held out is {figure_words('kernel_distance', real)}"
        said.append(
            f"The kernel distance is {figure_words('kernel_distance', distance)} ({computed_from(distance)}){than}."
        )
    return " ".join(said) or "Neither precision nor the kernel distance was measured."


def _variety_words(figures: Mapping[str, Figure], yardstick: Mapping[str, Figure]) -> str:
    said = []
    diversity, recall = (figures.get(name) for name in ("diversity", "recall"))
    if diversity is not None:
        said.append(
            f"The samples are {figure_words('diversity', diversity)} times as diverse as the real images"
            f" ({computed_from(diversity)})."
        )
    if recall is not None:
        real = yardstick.get("recall")
        fair = real is not None and comparable("recall", recall, real)
        than = (
            f"; {figure_words('recall', real)} lie among {real.generated:,} real images held out"
            if real is not None and fair
            else ""
        )
        reached = f"{figure_words('recall', recall)} of the real images lie among the samples"
        said.append(sentence(f"{reached} ({computed_from(recall)}){than}"))
    return " ".join(said) or "Neither diversity nor recall was measured."


def _copying_verdict(found: Line) -> str | None:
    said = mapping(found.get("copying")).get("verdict")
    return said if said in COPYING else None


def _copying_words(found: Line) -> str:
    copying = mapping(found.get("copying"))
    said = _copying_verdict(found)
    if said is None:
        why = text(copying.get("reason") or "")
        return f"Whether images were copied was not tested{f': {why}' if why else ''}."
    share = figure_of(copying.get("copied_share"))
    counted = (
        f" Copied share of the samples: {figure_words('copied_share', share)} ({computed_from(share)})."
        if share
        else ""
    )
    words = {
        "no sign of copying": "No sign of copying: samples are no nearer to single training images than originals are.",
        "copies some images": "Some samples are near-copies of training images.",
        "copies": "The samples are copies of training images.",
        "too few images to tell": "Too few images to tell whether the generator copies.",
    }[said]
    return words + counted


def _trend(found: Line, metrics: Sequence[Line]) -> str:
    expected = mapping(found.get("outlook")) or _outlook(metrics)
    sentence = text(expected.get("sentence") or "")
    gain = figure_of(expected.get("gain"))
    best = next((whole_number(line.get("images")) for line in reversed(metrics) if line.get("best") is True), None)
    newest = whole_number(metrics[-1].get("images")) if metrics else None
    after = ""
    if best is not None and newest is not None:
        after = (
            " The newest evaluation is the best one." if best == newest else f" The best one was after {best:,} images."
        )
    if not sentence:
        return f"Whether going on would help cannot be said.{after}"
    word = ""
    if gain is not None and gain.low is not None and gain.high is not None:
        if gain.low > 0:
            word = "Still improving. " if expected.get("worth_it", True) else "Improving slowly. "
        else:
            word = "Getting worse. " if gain.high < 0 else "Levelled off. "
    return f"{word}{sentence}{after}"


def _outlook(metrics: Sequence[Line]) -> Line:
    """The outlook that an evaluation would have written, where there is none."""
    try:
        return outlook.outlook(metrics).values() if metrics else {}
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):  # lines that are no metrics
        return {}


def _problems(events: Sequence[Line]) -> tuple[str, bool]:
    """What went wrong, and whether any of it is more than a note."""
    counts = Counter(kind for event in events if isinstance(kind := event.get("event"), str) and kind in TROUBLE)
    if not counts:
        return "None was seen in the training.", False
    named = [f"{TROUBLE[kind]} ({number} times)" if number > 1 else TROUBLE[kind] for kind, number in counts.items()]
    listed = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    return f"Seen in the training: {listed}. The events below have evidence and advice.", True


def _headline(quality: Level | None, variety: Level | None, copies: str | None, measured: bool) -> str:
    if not measured:
        return "Not evaluated: nothing can be said about the samples but what the eye sees."
    said = [_QUALITY[quality]] if quality else ["How close the samples are to real images was not measured"]
    if variety:
        said.append(_VARIETY[variety])
    tail = {
        "no sign of copying": "no sign of copying",
        "copies some images": "some are copies of training images",
        "copies": "they are copies of training images",
        "too few images to tell": "too few images to tell copies",
    }.get(copies or "", "not tested for copying")
    return ", ".join(said) + "; " + tail + "."


def _tone(
    quality: Level | None, variety: Level | None, copies: str | None, broken: bool, trouble: bool, measured: bool
) -> Tone:
    if broken or copies == "copies" or (measured and "low" in (quality, variety)):
        return "bad"
    if not measured or quality is None or variety is None:
        return "unknown"
    well = quality in ("same", "high") and variety == "high" and copies == "no sign of copying"
    return "good" if well and not trouble else "mixed"
