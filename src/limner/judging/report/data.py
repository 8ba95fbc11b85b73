"""Facts of a run as texts: the line of facts on top, its data, its machine, and the numbers behind the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limner.judging.figures import KINDS
from limner.judging.report.read import Contents, Line
from limner.judging.report.series import thinned
from limner.judging.report.words import (
    computed_from,
    counted,
    figure_of,
    figure_words,
    mapping,
    real_number,
    short,
    text,
    whole_number,
)
from limner.progress import duration

Fact = tuple[str, str]
METRIC_ROWS, LOG_ROWS, SKIPPED_ROWS, CLASS_BARS = 40, 12, 20, 80
CHANNELS = {1: "grey", 3: "RGB", 4: "RGB with transparency"}
LOG_FIELDS = (
    ("discriminator_loss", "discriminator loss"),
    ("generator_loss", "generator loss"),
    ("real_logit", "real logit"),
    ("fake_logit", "fake logit"),
    ("discriminator_gradient", "discriminator gradient"),
    ("generator_gradient", "generator gradient"),
)


def facts(run: Contents) -> list[Fact]:
    """What a reader wants to know at once."""
    newest = run.log[-1] if run.log else {}
    found = [("images seen", f"{run.images:,}")]
    epoch = real_number(newest.get("epoch"))
    if epoch is not None:
        found.append(("epochs", f"{epoch:,.1f}"))
    seconds = real_number(run.state.get("seconds")) or real_number(newest.get("seconds"))
    if seconds is not None and seconds >= 0:
        found.append(("running time", duration(seconds)))
    count, held = whole_number(run.data.get("count")), whole_number(mapping(run.data.get("held_out")).get("count"))
    if count is not None:
        found.append(("trained on", f"{count - (held or 0):,} images"))
    size = _size(run)
    if size:
        found.append(("size", size))
    if run.best is not None:
        found.append(("best snapshot", f"{run.best:,} images"))
    if run.ended:
        found.append(("ended", run.ended))
    return found


def _size(run: Contents) -> str:
    image = mapping(run.data.get("image"))
    width, height = whole_number(image.get("width")), whole_number(image.get("height"))
    if not width or not height:
        return ""
    channels = CHANNELS.get(whole_number(image.get("channels")) or 0, "")
    return f"{width} \N{MULTIPLICATION SIGN} {height} {channels}".strip()


def copying_facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """The copying test: its verdict, statistics, and how many images it saw."""
    rows: list[Fact] = []
    share = figure_of(found.get("copied_share"))
    if share:
        rows.append(
            ("copied share of the samples", f"{figure_words('copied_share', share)} from {computed_from(share)}")
        )
    counts = [
        f"{number:,} {what}"
        for key, what in (("generated", "generated"), ("train", "training"), ("held_out", "held out"))
        if (number := whole_number(found.get(key))) is not None
    ]
    rows += _test("statistic of the verdict", found)
    meehan = mapping(found.get("meehan"))
    rows += _test("data-copying test of Meehan, Chaudhuri and Dasgupta (2020)", meehan)
    if counts:
        rows.append(("images compared", ", ".join(counts)))
    if found.get("reason"):
        rows.append(("why", text(found["reason"])))
    return {"verdict": text(found.get("verdict") or "not said"), "facts": rows}


def _test(what: str, found: Mapping[str, Any]) -> list[Fact]:
    statistic, p_value = real_number(found.get("statistic")), real_number(found.get("p_value"))
    said = [short(statistic)] if statistic is not None else []
    if p_value is not None:
        said.append("p < 0.0001" if p_value < 1e-4 else f"p = {p_value:.2g}")
    return [(what, ", ".join(said))] if said else []


def metrics_table(metrics: Sequence[Line]) -> dict[str, Any]:
    """The evaluations as a table: at most :data:`METRIC_ROWS` of them, each figure with its interval and its counts."""
    names = [name for name in KINDS if any(figure_of(mapping(line.get("figures")).get(name)) for line in metrics)]
    rows = []
    for place in thinned(len(metrics), METRIC_ROWS):
        line = metrics[place]
        figures = [figure_of(mapping(line.get("figures")).get(name)) for name in names]
        images = next((computed_from(figure) for figure in figures if figure), "\N{EN DASH}")
        cells = [
            figure_words(name, figure) if figure else "\N{EN DASH}" for name, figure in zip(names, figures, strict=True)
        ]
        copying = text(mapping(line.get("copying")).get("verdict") or "\N{EN DASH}")
        rows.append(
            {
                "images": f"{int(line['images']):,}",
                "best": line.get("best") is True,
                "cells": cells,
                "copying": copying,
                "counted": images,
            }
        )
    return {"names": [KINDS[name].label for name in names], "rows": rows, "left": len(metrics) - len(rows)}


def log_table(log: Sequence[Line]) -> dict[str, Any]:
    """The log at a dozen moments."""
    fields = [(key, name) for key, name in LOG_FIELDS if any(key in line for line in log)]
    rows = []
    for place in thinned(len(log), LOG_ROWS):
        line = log[place]
        values = [real_number(line.get(key)) for key, _ in fields]
        rows.append(
            [f"{int(line['images']):,}", *("not a number" if value is None else short(value) for value in values)]
        )
    return {"names": [name for _, name in fields], "rows": rows, "left": len(log) - len(rows)}


def data_facts(data: Mapping[str, Any]) -> list[Fact]:
    """Where the images came from and what they are."""
    found = []
    for key, name in (("title", "collection"), ("location", "read from"), ("kind", "kind of source")):
        if data.get(key):
            found.append((name, text(data[key])))
    count, held = whole_number(data.get("count")), mapping(data.get("held_out"))
    held_count = whole_number(held.get("count"))
    if count is not None:
        out = f", {held_count:,} of them held out to judge by" if held_count else ", none held out"
        how = f" ({text(held['how'])})" if held_count and held.get("how") else ""
        found.append(("images", f"{count:,}{out}{how}"))
    image = mapping(data.get("image"))
    if image:
        shape = f"{text(image.get('width', '?'))} \N{MULTIPLICATION SIGN} {text(image.get('height', '?'))}"
        kind = CHANNELS.get(whole_number(image.get("channels")) or 0, "")
        found.append(("size for training", f"{shape} {kind}, fit by {text(image.get('fit', '?'))}"))
    sizes = mapping(data.get("sizes"))
    smallest, largest = (_pair(sizes.get(key)) for key in ("smallest", "largest"))
    if smallest and largest:
        spread = smallest if smallest == largest else f"{smallest} to {largest}"
        different = whole_number(sizes.get("different"))
        found.append(
            ("sizes of the originals", f"{spread}{f', {different:,} different' if different and different > 1 else ''}")
        )
    modes = mapping(data.get("modes"))
    if modes:
        named = [f"{text(mode)} {whole_number(count) or 0:,}" for mode, count in list(modes.items())[:12]]
        found.append(("modes of the originals", ", ".join(named)))
    for key, name in (("skipped_count", "skipped"), ("ignored", "no images, ignored")):
        if whole_number(data.get(key)):
            found.append((name, counted(whole_number(data[key]) or 0, "file", "files")))
    if data.get("content_hash"):
        found.append(("hash of the content", text(data["content_hash"])))
    return found


def _pair(value: Any) -> str:
    if not isinstance(value, list) or len(value) != 2 or any(whole_number(side) is None for side in value):
        return ""
    return f"{whole_number(value[0])} \N{MULTIPLICATION SIGN} {whole_number(value[1])}"


def class_counts(data: Mapping[str, Any]) -> dict[str, Any]:
    """The classes with their counts, and each count as a share of the largest in hundredths."""
    counts = {
        text(name): number
        for name, value in list(mapping(data.get("classes")).items())
        if (number := whole_number(value)) is not None
    }
    most = max(counts.values(), default=0)
    rows = [
        (name, f"{count:,}", round(100 * count / max(1, most), 1)) for name, count in list(counts.items())[:CLASS_BARS]
    ]
    return {"rows": rows, "left": len(counts) - len(rows), "short": all(len(name) <= 3 for name, _, _ in rows)}


def skipped(data: Mapping[str, Any]) -> dict[str, Any]:
    """Files that were passed over, by name with the reason."""
    listed = data.get("skipped")
    rows = [
        (text(mapping(item).get("name", "?")), text(mapping(item).get("reason", "?")))
        for item in (listed if isinstance(listed, list) else [])[:SKIPPED_ROWS]
    ]
    total = max(whole_number(data.get("skipped_count")) or 0, len(rows))
    return {"rows": rows, "left": total - len(rows)}


def data_warnings(data: Mapping[str, Any]) -> list[str]:
    """What was noticed about the images."""
    listed = data.get("warnings")
    return [text(item) for item in (listed if isinstance(listed, list) else [])[:20]]


def environment(found: Mapping[str, Any]) -> list[Fact]:
    """Versions and machine."""
    return [(text(name).replace("_", " "), text(value)) for name, value in list(found.items())[:40]]
