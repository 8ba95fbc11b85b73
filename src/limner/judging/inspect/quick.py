"""What a training says of its collection before it starts: from pixels that are decoded already, in a moment."""

from __future__ import annotations

import hashlib
from itertools import chain

import numpy as np
from jaxtyping import UInt8

from limner.data import Collection
from limner.data.decode import ALPHA_MODES
from limner.data.measure import ImageSettings
from limner.data.sampler import SMALL
from limner.judging.inspect.read import MOST, runs, uniform_images

_BYTES = 1 << 28
"""Of larger collections only so many bytes are looked at: every n-th row of all pictures."""
_PICTURES = 20_000
"""Of more pictures than this, so many, evenly spread, are asked whether they are nearly uniform."""
_UNIFORM_SIDE = 64
_COLOURED = ("RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_UNEVEN = 10.0
_REDUCED = 1.5
"""From this factor on it is said that pictures were larger than what is trained on."""


def quick_findings(collection: Collection) -> list[str]:
    """Short lines on what is worth knowing before a training; none when all is well.

    Exact copies, nearly uniform pictures, too few pictures, classes of very different sizes. Under a second for 10,000
    pictures of 64x64.
    """
    where = str(collection.summary.get("location", "DATA"))
    see = f"'limner inspect {where}' shows them"
    count = len(collection.names)
    lines = []
    if isinstance(collection.images, np.ndarray):
        copies = _exact_copies(collection.images)
        if copies:
            what = "picture is an exact copy of another" if copies == 1 else "pictures are exact copies of others"
            least = "at least " if count > MOST else ""
            lines.append(f"{least}{copies:,} {what}; {see}")
        uniform = _uniform(collection.images)
        if uniform:
            what = "picture is" if uniform == "1" else "pictures are"
            lines.append(f"{uniform} {what} nearly uniform; {see}")
    if count < SMALL:
        lines.append(f"only {count} pictures: they will mostly be learnt by heart, and none are held out to tell")
    if collection.labels is not None and len(collection.classes) > 1:
        sizes = np.bincount(collection.labels, minlength=len(collection.classes))
        if sizes.max() > _UNEVEN * max(int(sizes.min()), 1):
            small, large = collection.classes[int(sizes.argmin())], collection.classes[int(sizes.argmax())]
            lines.append(f"classes are uneven: {large!r} has {sizes.max():,} pictures, {small!r} has {sizes.min():,}")
    return lines


def left_out(asked: ImageSettings, collection: Collection) -> list[str]:
    """Short lines on what of the pictures a training does not see, or sees larger than it is; none when it sees all of them.

    Args:
        asked: the recipe's ``image`` section before it was resolved: what it leaves open follows from the pictures, and what
            it says may not fit them.
        collection: the pictures.
    """
    summary, lines = collection.summary, []
    count, modes, sizes = summary["count"], summary["modes"], summary["sizes"]
    for most, kinds, what in ((4, ALPHA_MODES, "transparency"), (3, _COLOURED, "colours")):
        had = sum(modes.get(kind, 0) for kind in kinds)
        if asked.channels is not None and collection.channels < most and had:
            found = "/".join(kind for kind in kinds if kind in modes)
            kind = "RGB" if collection.channels == 3 else "grey"
            lines.append(
                f"{had:,} of {count:,} pictures are {found}, and {kind} has no {what}; --channels {most} keeps them"
            )
            break
    width, height = collection.width, collection.height
    across, down = sizes["bounds"]
    if across < width and down < height:
        lines.append(
            f"all pictures are smaller than {width}x{height} (none is over {across}x{down}) and are enlarged; a smaller"
            " --size takes less time and loses nothing"
        )
    across, down = sizes["middle"]
    open_size = asked.width is None and asked.height is None and collection.fit != "crops"
    if open_size and max(across, down) >= _REDUCED * max(width, height):
        had = f"they are {across}x{down}" if sizes["different"] == 1 else f"half of them are {across}x{down} or larger"
        lines.append(
            f"pictures are reduced to {width}x{height} ({had}); --size N trains on larger ones, which takes longer"
        )
    return lines


def _exact_copies(images: UInt8[np.ndarray, "n h w c"]) -> int:
    """How many pictures equal an earlier one; of very many, among an evenly spread part of them."""
    count, height = images.shape[:2]
    chosen = runs(count, MOST)
    looked_at = sum(stop - start for start, stop in chosen)
    step = min(height, max(1, -(-images.nbytes // count * looked_at // _BYTES))) if count else 1
    seen: dict[bytes, list[int]] = {}
    copies = 0
    for place in chain.from_iterable(range(start, stop) for start, stop in chosen):
        picture = images[place]
        rows = np.ascontiguousarray(picture if step == 1 else picture[step // 2 :: step]).data
        earlier = seen.setdefault(hashlib.blake2b(rows, digest_size=16).digest(), [])
        # Where only some rows are looked at, those that agree in them are compared whole.
        if earlier and (step == 1 or any(np.array_equal(images[other], picture) for other in earlier[:4])):
            copies += 1
        elif len(earlier) < 4:
            earlier.append(place)
    return copies


def _uniform(images: UInt8[np.ndarray, "n h w c"]) -> str:
    """How many are nearly uniform, in words; nothing where none is."""
    count, height, width = images.shape[:3]
    if not count:
        return ""
    step = max(1, -(-count // _PICTURES))
    looked = images[::step, :: max(1, height // _UNIFORM_SIDE), :: max(1, width // _UNIFORM_SIDE)]
    # A cheap look first: what differs between a few places is not uniform.
    few = looked[:, :: max(1, looked.shape[1] // 8), :: max(1, looked.shape[2] // 8)].reshape(
        len(looked), -1, images.shape[3]
    )
    apart = np.ptp(few, axis=1).max(axis=1)
    maybe = np.flatnonzero(apart <= 64)
    found = int(uniform_images(np.ascontiguousarray(looked[maybe])).sum()) if len(maybe) else 0
    if not found:
        return ""
    return f"{found:,}" if step == 1 else f"about {found * step:,}"
