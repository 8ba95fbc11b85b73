"""Which curves the report draws: the figures of the evaluations, then the log."""

from __future__ import annotations

from collections.abc import Sequence

from limner.judging.figures import KINDS, comparable
from limner.judging.report.charts import Chart, Mark, Reference, chart
from limner.judging.report.read import Contents
from limner.judging.report.series import evaluated, logged
from limner.judging.report.words import computed_from, figure_of, figure_words, mapping

FIGURE_CHARTS: tuple[tuple[str, str, tuple[str, ...], tuple[float, float] | None, bool], ...] = (
    ("kernel", "Kernel distance", ("kernel_distance",), (0.0, 0.0), True),
    ("frechet", "Frechet distance", ("frechet_distance",), (0.0, 0.0), True),
    ("wasserstein", "Sliced Wasserstein distance", ("sliced_wasserstein",), (0.0, 0.0), True),
    ("precision", "Precision and recall", ("precision", "recall"), (0.0, 1.0), False),
    ("coverage", "Density and coverage", ("density", "coverage"), (0.0, 1.0), False),
    ("diversity", "Diversity", ("diversity",), (0.0, 1.0), False),
)
"""Key, title, figures, ends that the axis has at least, and whether it may be logarithmic."""
LOG_CHARTS: tuple[tuple[str, str, str, tuple[str, ...], bool], ...] = (
    ("losses", "Losses", "nats", ("discriminator_loss", "generator_loss"), False),
    ("logits", "Logits", "mean logit", ("real_logit", "fake_logit"), False),
    ("gradients", "Gradients", "length", ("discriminator_gradient", "generator_gradient"), True),
)
NAMES = {
    "discriminator_loss": "discriminator",
    "generator_loss": "generator",
    "real_logit": "real images",
    "fake_logit": "generated images",
    "generator_gradient": "generator",
    "discriminator_gradient": "discriminator",
}


def curves(run: Contents, marks: Sequence[Mark]) -> dict[str, list[Chart]]:
    """The charts that there is something for: ``figures`` and ``log``."""
    last = max([int(line["images"]) for line in (*run.log[-1:], *run.metrics[-1:])], default=0)
    yardstick = mapping(mapping(run.evaluation).get("yardstick"))
    figures: list[Chart | None] = []
    for key, title, names, fixed, may_be_log in FIGURE_CHARTS:
        series = [evaluated(run.metrics, name) for name in names]
        real = figure_of(yardstick.get(names[0])) if len(names) == 1 else None
        newest = figure_of(mapping(run.metrics[-1].get("figures")).get(names[0])) if run.metrics else None
        if real is not None and newest is not None and not comparable(names[0], newest, real):
            real = None
        label = f"real against real: {figure_words(names[0], real)}, {computed_from(real, 'held out')}" if real else ""
        reference = Reference(real.value, real.low, real.high, label) if real else None
        better = {"lower": "Lower is better.", "higher": "Higher is better."}.get(KINDS[names[0]].better, "1 is best.")
        count = max((len(one.points) for one in series), default=0)
        counted = next((one.points[-1].counted for one in series if one.points), "")
        caption = (
            f"{better} {count:,} evaluations; bands are 95\N{NO-BREAK SPACE}% intervals;"
            f" the newest is from {counted} images."
        )
        figures.append(
            chart(
                f"figure-{key}",
                title,
                "",
                series,
                caption=caption,
                marks=marks,
                reference=reference,
                fixed=fixed,
                may_be_log=may_be_log,
                last=last,
            )
        )
    log: list[Chart | None] = []
    batch = f" Each line is one batch of {run.recipe.training.batch_size:,} images." if run.recipe else ""
    for key, title, unit, names, may_be_log in LOG_CHARTS:
        made = [logged(run.log, name, NAMES[name]) for name in names]
        window = max(width for _, width in made)
        caption = (
            f"Medians over {window:,} neighbouring lines of the log; bands hold the middle 80\N{NO-BREAK SPACE}% of them."
            f" {len(run.log):,} lines.{batch}"
        )
        log.append(
            chart(
                f"log-{key}",
                title,
                unit,
                [one for one, _ in made],
                caption=caption,
                marks=marks,
                may_be_log=may_be_log,
                last=last,
            )
        )
    return {
        "figures": [one for one in figures if one is not None],
        "log": [one for one in log if one is not None],
    }
