"""The gallery's page: each recipe with its pictures, its figures, and when to choose it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rows import said

from limner.recipe import Recipe, names

WHEN: Mapping[str, str] = {
    "fewshot": "For your own pictures, unless you know why not. `train` takes it by itself.",
    "quick": "For a first look, for 32 to 48 pixels in grey, and where three minutes have to do.",
    "fashion-conditional": "When the pictures have classes and you want to ask for them by name.",
    "fashion": "For thousands of small grey pictures, where it is the fastest that there is here.",
    "initials": "For some thousand printed initials at 64x64, and to repeat what its source found.",
    "dcgan": "To compare with: the pair that most others are measured against.",
    "vanilla": "To see what convolutions are for: the same pictures without them.",
    "lsgan": "To compare losses on the same networks.",
    "sngan": "To compare: what a discriminator that cannot be steep does by itself.",
    "wgan": "To repeat a finding: its source got no letters from it.",
    "wgan-gp": "When the loss itself has to say how far a training is, and time does not matter.",
    "r3gan": "On a GPU, with thousands of pictures and hours.",
    "mapmaker": "To see what so large a leap from small maps gives.",
}
"""When to choose a recipe."""
REMARKS: Mapping[str, str] = {
    "fewshot": "Initials are letters in their frames, maps are ground, water and rock seen from above, without a place that one"
    " could name; emoji have outlines, limbs and shine. [fewshot.md](fewshot.md) has it beside others.",
    "quick": "Colours and grounds of maps without shapes, and the checkerboard of its transposed convolutions. Among emoji"
    " faces and heads come first, because many are alike; the rest are coloured clouds.",
    "initials": "Ten minutes are 1,529 updates of batches of 32: borders, and dark and light strokes in them behind a"
    " checkerboard; no letter yet.",
    "vanilla": "Shades of two or three letters at once, in loose pixels: no pixel knows of its neighbours.",
    "lsgan": "Ten minutes are 724 updates of batches of 64: a border, and grey within it.",
    "wgan": "Ten minutes are 436 updates of the generator, with five turns of the critic for each: borders, and ink in strokes;"
    " no letter, as its source found after a whole training.",
    "mapmaker": "Ten minutes are 124 updates of batches of 8: clouds in two colours, and the grid of its large strides; no map."
    " The sheet has eight pictures, made smaller.",
    "r3gan": "Ten minutes of two cores are 110 updates: blots of ink on white, without a border yet.",
    "sngan": "Ten minutes are 805 updates: light and dark grounds, and the beginning of a texture.",
    "dcgan": "With its batch of 128, ten minutes are 389 updates, 7 of its 25 epochs: a frame, and no letter yet. With 32, as"
    " in `initials`, letters come much sooner ([findings](findings.md), 1).",
    "wgan-gp": "Ten minutes are 117 updates of the generator, with five turns of the critic for each: nothing yet.",
    "fashion-conditional": (
        "Twice the time of the others, because classes need it: after half as many images, with rates that stayed, 83.8 %"
        " of the pictures showed the garment that they were asked for. Here it is 88.6 %; of real images, the same"
        " classifier is right about 88.9 %. One column a class."
    ),
    "fashion": "Trousers, shirts, pullovers and shoes at once, a bag among them; sandals and prints stay rough.",
}
"""What there is to see, written when the pictures were looked at."""
COLUMNS = [
    ("kernel distance", "kernel_distance"), ("coverage", "coverage"), ("recall", "recall"), ("precision", "precision"),
    ("right class", "label_agreement"),
]  # fmt: skip
SETS = {
    "maps": "battle maps",
    "emoji": "emoji",
    "initials": "printed initials",
    "fashion": "Fashion-MNIST",
}
INTRODUCTION = """# Recipes

The recipes that come with Limner, each trained as it is on a set that it is meant for, for as many images as {minutes:g}
minutes of two processor cores allow (the machine is that of [the benchmarks](benchmarks.md)); only that a tenth of the
pictures is held out of all of them, and none is judged on the way. None was chosen from several attempts: the seed is 0,
the sheets show seeds 0 to {last}, and what does not work is shown as it is. The figures are explained in
[metrics](metrics.md); held-out real images stand beside them, where there were enough. Those are other pictures than the
ones that a generator saw; where they are few, as of maps, samples can be nearer to the training pictures than they are.

*Cost* is how long it takes until there is something to look at, on two processor cores. `limner recipes` lists them,
`limner recipes show NAME` prints one with all its fields and the reasons for them, and `--recipe NAME` trains with it.

"""


def page(rows: Sequence[Mapping[str, Any]], pictures: Mapping[tuple[str, str], str], minutes: float, shown: int) -> str:
    """docs/recipes.md.

    Args:
        rows: of the trainings.
        pictures: recipe and set -> path of the sheet, from the page.
        minutes: that each had.
        shown: pictures on a sheet.
    """
    order = [*WHEN]
    rows = sorted(rows, key=lambda row: order.index(row["system"]))
    parts = [INTRODUCTION.format(minutes=minutes, last=shown - 1), _overview(rows)]
    missing = sorted(set(names()) - {row["system"] for row in rows})
    if missing:
        parts.append(f"Not trained here yet: {', '.join(f'`{name}`' for name in missing)}.\n")
    for name in dict.fromkeys(row["system"] for row in rows):
        about = Recipe.load(name).about
        parts.append(f"## {name}\n\n**{WHEN[name]}** {_sentence(about.summary)} Source: {about.source}.\n")
        if name in REMARKS:
            parts.append(REMARKS[name] + "\n")
        for row in rows:
            if row["system"] == name:
                parts.append(_shown(row, pictures.get((name, row["set"]))))
    return "\n".join(parts)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _size(row: Mapping[str, Any]) -> str:
    data = row["data"]
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[data["channels"]]
    return f"{data['width']}x{data['height']} {kind}"


def _overview(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| recipe | cost | pictures | images/s | kernel distance | coverage | copies |",
        "|---|---|---|---:|---|---|---|",
    ]
    for row in rows:
        cells = [
            f"[{row['system']}](#{row['system']})", Recipe.load(row["system"]).about.cost,
            f"{row['data']['train']:,} {SETS[row['set']]}, {_size(row)}", f"{row['pace']:,.{int(row['pace'] < 10)}f}",
            said(row, "kernel_distance"), said(row, "coverage"), row["copying"]["verdict"],
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _shown(row: Mapping[str, Any], picture: str | None) -> str:
    seen, held_out = f"{row['images']:,}", row["data"]["held_out"]
    ended = "" if row["ended"] == "done" else f" It ended as {row['ended']}."
    lines = [
        f"{row['data']['train']:,} {SETS[row['set']]} at {_size(row)}, {row['budget_seconds'] / 60:g} minutes: {seen} images"
        f" seen ({row['images'] / row['data']['train']:,.0f} epochs).{ended}\n"
    ]
    if picture:
        lines.append(f"![{row['system']}: {SETS[row['set']]} that no one made]({picture})\n")
    lines += [f"| | {row['system']} | {held_out:,} real images, held out |", "|---|---|---|"]
    real = {"figures": row["yardstick"]}
    for heading, key in COLUMNS:
        if said(row, key) != "-":
            lines.append(f"| {heading} | {said(row, key)} | {said(real, key)} |")
    lines.append(f"| copies | {row['copying']['verdict']} | |\n")
    return "\n".join(lines)
