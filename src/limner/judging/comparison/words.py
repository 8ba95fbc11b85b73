"""A comparison in words: for a terminal, and the sentence that the page begins with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from limner.judging.comparison import Comparison
from limner.judging.comparison.statistics import COMPARED
from limner.judging.comparison.views import View
from limner.judging.figures import Figure
from limner.judging.report.words import counted, figure_words, sentence

MOST_LINES = 60


def describe(found: Comparison) -> str:
    """The table of configurations at each moment, then what is to be known."""
    lines = [headline(found), ""]
    for view in found.views:
        lines += [f"{view.title}. {view.note}", *_table(found, view), ""]
    for name in found.metrics()[1:]:
        view = found.views[0]
        told = found.verdicts[view.key][name]
        lines += [f"{name.replace('_', ' ')}: {one}: {own.words}" for one, own in list(told.items())[:MOST_LINES]]
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines).rstrip()


def headline(found: Comparison) -> str:
    """What came of it, in a sentence."""
    label = COMPARED[found.metric].label
    others = [one.name for one in found.configurations if one.name != found.reference]
    if not others:
        return sentence(f"one configuration, {counted(len(found.members), 'run', 'runs')}: there is nothing to compare")
    if found.metric not in found.verdicts[found.views[0].key]:
        return sentence(f"nothing has the {label}, so nothing can be compared by it")
    if len(others) == 1:
        told = [f"{found.verdicts[view.key][found.metric][others[0]].words} {_when(view)}" for view in found.views]
        return sentence(f"{others[0]}, beside {found.reference}: {'; '.join(told)}")
    view = found.views[0]
    verdicts = found.verdicts[view.key][found.metric]
    counts = Counter(own.verdict for own in verdicts.values())
    said = ", ".join(f"{count} {_outcome(verdict, count)}" for verdict, count in counts.most_common())
    best = _best(found, view)
    lead = "" if best is None else f"; the best mean has {best}"
    return sentence(f"of {len(others)} configurations beside {found.reference}, by {label} {_when(view)}: {said}{lead}")


def _outcome(verdict: str, count: int) -> str:
    plural = "s" if count == 1 else ""
    return {
        "better": f"{'is' if plural else 'are'} better",
        "worse": f"{'is' if plural else 'are'} worse",
        "no difference found": f"show{plural} no difference",
        "too few seeds to tell": "cannot be told with so few seeds",
        "cannot be compared": "cannot be compared",
    }[verdict]


def _when(view: View) -> str:
    return {"end": "at the end", "images": "at equal images", "updates": "at equal updates"}[view.key]


def _best(found: Comparison, view: View) -> str | None:
    better = COMPARED[found.metric].better
    verdicts = found.verdicts[view.key][found.metric]
    values = {
        one.name: abs(own.value - 1) if better == "one" else -own.value if better == "higher" else own.value
        for one in found.configurations
        if (own := found.mean(view, one.name, found.metric)) is not None
        and (one.name == found.reference or verdicts[one.name].verdict != "cannot be compared")
        and None not in view.figures(one.name, found.metric).values()  # whose other seeds broke off is not the best
    }
    return min(values, key=lambda name: values[name]) if values else None


def _seeds(figures: Collection[Figure | None]) -> str:
    """How many seeds there are, and of how many a mean is, where some broke off."""
    left = sum(figure is not None for figure in figures)
    return str(left) if left == len(figures) else f"{left} of {len(figures)}"


def _table(found: Comparison, view: View) -> list[str]:
    rows = [["configuration", "seeds", COMPARED[found.metric].label, f"beside {found.reference}"]]
    for one in found.configurations[:MOST_LINES]:
        figures = view.figures(one.name, found.metric)
        own = found.mean(view, one.name, found.metric)
        against = found.verdicts[view.key].get(found.metric, {}).get(one.name)
        rows.append(
            [
                one.name,
                _seeds(figures.values()),
                "-" if own is None else figure_words(found.metric, own),
                "" if against is None else against.words,
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
