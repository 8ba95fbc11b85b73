"""What the page in the browser is told of a generator: ``limner.json``, pictures drawn beforehand, the training's story.

The page itself is built from ``web/`` into this package. It draws with the exported generator, so nothing here computes a
picture that the browser could.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from limner import imaging, rundir
from limner.drawing import SeededGenerator
from limner.errors import InputError
from limner.films import write
from limner.judging.figures import AGREEMENT, AGREEMENT_KIND, KINDS
from limner.judging.report.pictures import chosen, read_picture
from limner.judging.report.read import Contents, contents
from limner.judging.report.recipe import shipped_recipe
from limner.judging.report.verdict import verdict
from limner.judging.report.words import figure_of, mapping, real_number, text
from limner.recipe.text import printable
from limner.rundir import RunDir
from limner.sharing.export import Exported
from limner.sharing.facts import NO_LICENCE
from limner.version import __version__

FORMAT = "limner-page-1"
DOCUMENT = "limner.json"
SAMPLES, STORY = "samples", "story"
TOLERANCE, HALF_TOLERANCE = 2, 8
"""Steps of 255 by which a browser's picture may differ from PyTorch's, with weights in full and in half precision."""
SAMPLE_BYTES = 1_500_000
"""Of all pictures that are drawn beforehand, about; four come in any case."""
FEWEST_SAMPLES = 4
EXACT_SIDE = 256
"""Samples up to so many pixels are kept without losses."""
FRAMES, FEWEST_FRAMES, FRAME_SIDE, FRAMES_BYTES = 48, 20, 1100, 2_400_000
"""Grids of a story, at most and at least; their longer side in pixels, and the bytes of all."""
QUALITIES = (82, 70, 55)
SHRINK = 0.8


def built_page() -> Path:
    """Where the built page lies.

    Raises:
        InputError: it has not been built.
    """
    page = Path(str(files("limner"))) / "web"
    if not (page / "index.html").is_file():
        raise InputError(f"{page}: the page is not built; 'make web' builds it (it needs Node 20)")
    return page


def page_document(
    generator: SeededGenerator,
    exported: Exported,
    *,
    folder: Path | None = None,
    samples: Sequence[Mapping[str, Any]] = (),
    run: RunDir | None = None,
    story: Mapping[str, Any] | None = None,
    name: str | None = None,
    licence: str | None = None,
) -> dict[str, Any]:
    """What the page has to know of a generator, as JSON has it.

    Args:
        generator: what was exported.
        exported: as ONNX that makes images, not pixels.
        folder: where the document will lie; addresses are relative to it. By default beside the exported file.
        samples: what :func:`sample_files` gave.
        run: the run it came from, to tell of its training.
        story: what :func:`story_files` gave.
        name: what to call it; by default what it was trained on.
        licence: what its owner says of who may use it; what the generator itself says by default.

    Raises:
        InputError: the exported file cannot be read.
    """
    try:
        content = exported.path.read_bytes()
    except OSError as error:
        raise InputError(f"{exported.path}: cannot be read ({error.strerror or error})") from None
    width, height = generator.size
    owner = licence or generator.licence
    return {
        "format": FORMAT,
        "limner": __version__,
        "name": printable(name or generator.name, 200),
        "width": width,
        "height": height,
        "channels": generator.recipe.image.channels,
        "latent": generator.latent,
        "classes": [printable(label, 200) for label in generator.classes],
        "images": generator.images,
        "half": exported.half,
        "licence": "" if owner == NO_LICENCE else printable(owner, 500),
        "model": {
            "url": exported.path.relative_to(folder or exported.path.parent).as_posix(),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        },
        "parity": exported.parity.values(),
        "tolerance": HALF_TOLERANCE if exported.half else TOLERANCE,
        "truncation": {"kind": "scale"},
        "about": {"data": printable(generator.name, 200), **(about(contents(run), generator.images) if run else {})},
        "story": dict(story) if story else None,
        "samples": [dict(sample) for sample in samples],
    }


def about(found: Contents, images: int) -> dict[str, str | int | float | None]:
    """What is known of a training, after so many images: recipe, data, when and how long, and how good it is in words."""
    shipped = shipped_recipe(found.recipe) if found.recipe else None
    title, count = found.data.get("title"), found.data.get("count")
    times = [text(event["time"])[:10] for event in found.events if isinstance(event.get("time"), str)]
    seconds = [real_number(line.get("seconds")) for line in found.log if int(line["images"]) <= images]
    return {
        **({"data": printable(text(title), 200)} if isinstance(title, str) and title else {}),
        "recipe": shipped[0] if shipped else None,
        "count": count if type(count) is int and count > 0 else None,
        "trained": times[-1] if times else None,
        "seconds": seconds[-1] if seconds else None,
        "verdict": _words(found, images),
    }


def _words(found: Contents, images: int) -> str | None:
    """How good the generator of that moment is: what was measured then, or the last time before."""
    metrics = [line for line in found.metrics if int(line["images"]) <= images]
    judged = found.evaluation if found.evaluation_images == images else None
    if judged is None and not (metrics and mapping(metrics[-1].get("figures"))):
        return None
    at = images if judged else int(metrics[-1]["images"])
    events = [event for event in found.events if int(event["images"]) <= images]
    headline = verdict(judged, metrics, events).headline.rstrip(".")
    return f"{headline}." if at == images else f"{headline} (measured after {at:,} images)."


def sample_files(generator: SeededGenerator, folder: Path, count: int) -> list[dict[str, Any]]:
    """Draw the first seeds beforehand, into ``folder/samples``, so that a visitor sees something at once.

    Args:
        generator: what draws.
        folder: where the document lies.
        count: at most so many; fewer where pictures are large.

    Returns:
        seeds with their addresses, as the document has them.

    Raises:
        InputError: they cannot be written.
    """
    exact = max(generator.size) <= EXACT_SIDE
    made: list[dict[str, Any]] = []
    room = SAMPLE_BYTES
    for seed in range(count):
        picture = imaging.to_image(generator.draw_seeds([seed])[0])
        content = _webp(picture, None if exact else QUALITIES[0])
        if len(content) > room and len(made) >= FEWEST_SAMPLES:
            break
        room -= len(content)
        address = f"{SAMPLES}/{seed}.webp"
        write(folder / address, content)
        made.append({"seed": seed, "url": address})
    return made


def story_files(run: RunDir, folder: Path, generator: SeededGenerator) -> dict[str, Any] | None:
    """The training's grids and figures, for a time slider; grids go into ``folder/story``.

    Between 20 and 48 grids are kept, evenly chosen, the first and the last among them. Damaged ones are passed over.

    Args:
        run: the training.
        folder: where the document lies.
        generator: any of its generators: it says how large a picture is.

    Returns:
        grids with their addresses and figures, as the document has them; ``None`` when there are none.

    Raises:
        InputError: they cannot be written.
    """
    found = contents(run)
    measured = {int(line["images"]): figures for line in found.metrics if (figures := _figures(line))}
    newest = read_picture(found.samples[-1][1]) if found.samples else None
    each = len(_webp(newest[2], QUALITIES[1])) if newest else 1
    kept = chosen(len(found.samples), max(FEWEST_FRAMES, min(FRAMES, FRAMES_BYTES // each)))
    grids: list[dict[str, Any]] = []
    shape = (0, 0)
    for place in kept:
        images, path = found.samples[place]
        read = read_picture(path)
        if read is None:
            continue
        picture = read[2]
        shape = _grid_shape(picture.size, *generator.size)
        address = f"{STORY}/{rundir.image_number(images)}.webp"
        write(folder / address, _within(picture, FRAMES_BYTES // len(kept)))
        grids.append({"images": images, "url": address, "figures": measured.get(images, {})})
    if not grids:
        return None
    names = {name for figures in measured.values() for name in figures}
    kinds = {name: kind for name, kind in {**KINDS, AGREEMENT: AGREEMENT_KIND}.items() if name in names}
    return {
        "grids": grids,
        "columns": shape[0],
        "rows": shape[1],
        "measured": [{"images": images, "figures": figures} for images, figures in sorted(measured.items())],
        "kinds": {
            name: {"label": kind.label, "better": kind.better, "help": kind.help} for name, kind in kinds.items()
        },
    }


def _figures(line: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """An evaluation's figures that are numbers: value, and its interval where it has one."""
    found = {name: figure_of(values) for name, values in mapping(line.get("figures")).items()}
    return {
        name: [figure.value, figure.low, figure.high]
        for name, figure in found.items()
        if figure is not None and (name in KINDS or name == AGREEMENT)
    }


def _grid_shape(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Columns and rows of a grid that :func:`limner.imaging.grid` made, whatever whole number it was enlarged by."""
    gap = max(1, width // 24)
    for times in range(1, 65):
        cells = [(side / times - gap) / (each + gap) for side, each in zip(size, (width, height), strict=True)]
        if all(cell >= 1 and cell == int(cell) for cell in cells):
            return int(cells[0]), int(cells[1])
    return 0, 0


def _within(picture: Image.Image, most: int) -> bytes:
    """WebP, coarser until it fits, and then smaller."""
    picture = picture.copy()
    picture.thumbnail((FRAME_SIDE, FRAME_SIDE), Image.Resampling.LANCZOS)
    while True:
        for quality in QUALITIES:
            content = _webp(picture, quality)
            if len(content) <= most:
                return content
        size = round(picture.width * SHRINK), round(picture.height * SHRINK)
        if min(size) < 16:
            return content
        picture = picture.resize(size, Image.Resampling.LANCZOS)


def _webp(picture: Image.Image, quality: int | None) -> bytes:
    """A WebP file; without losses where no quality is given."""
    buffer = io.BytesIO()
    if quality is None:
        # "exact" keeps the colours of what is wholly transparent.
        picture.save(buffer, "WEBP", lossless=True, quality=60, method=4, exact=True)
    else:
        picture.save(buffer, "WEBP", quality=quality, method=3)
    return buffer.getvalue()
