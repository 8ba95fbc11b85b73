"""Data sets of the Hugging Face hub, through ``datasets``."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from limner.data.sources import Digests, Entry, Source, Unreadable, open_regular, safe_title
from limner.errors import InputError

_IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo")
_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "category")
_FILE_LIMIT = 192 << 20
_LOCATION = re.compile(r"hf:(?P<name>[^:]+)(?::(?P<split>.+))?")


class HubSource(Source):
    """One split of a hub data set: the first column of images, and the first column of classes where there is one.

    Args:
        location: as the user gave it.
        name: the data set's name on the hub.
        dataset: a ``datasets.Dataset``, not streamed.

    Raises:
        InputError: no column holds images.
    """

    kind = "hub"
    grouped = False

    def __init__(self, location: str, name: str, dataset: Any) -> None:
        import datasets

        self.location, self.title = location, safe_title(name.rstrip("/").rpartition("/")[2])
        features = dataset.features
        images = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
        if not images:
            found = ", ".join(features)
            raise InputError(f"data {location}: no column of images (columns: {found}); take another data set")
        image = next((column for column in _IMAGE_COLUMNS if column in images), images[0])
        classed = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
        label = next((column for column in _LABEL_COLUMNS if column in classed), classed[0] if classed else None)
        # Undecoded: the bytes go through the same decoder as every other source's.
        self._dataset, self._column = dataset.cast_column(image, datasets.Image(decode=False)), image
        labels: list[str | None] = [None] * len(dataset)
        if label is not None:
            names = features[label].names
            numbers = dataset.with_format(None).select_columns([label])[:][label]
            # The hub writes -1 for "not known".
            labels = [names[number] if number is not None and number >= 0 else None for number in numbers]
            self.classes = tuple(names)
        self.entries = [Entry(str(index), text, ()) for index, text in enumerate(labels)]

    def read(self, index: int) -> bytes:
        """The bytes of one picture (see :meth:`Source.read`)."""
        cell = self._dataset[index][self._column]
        if cell is None:
            raise Unreadable("no picture in this row")
        if cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        if not cell.get("path"):
            raise Unreadable("no picture in this row")
        with open_regular(Path(cell["path"])) as file:
            return file.read(_FILE_LIMIT)

    def content_hash(self, known: Digests | None = None) -> tuple[str, Digests]:
        """From the fingerprint that ``datasets`` gives: of the revision, the split and the files it was built from."""
        info = self._dataset.info
        facts = [
            self._dataset._fingerprint,
            len(self.entries),
            str(info.features),
            sorted((info.download_checksums or {}).items(), key=str),
        ]
        return hashlib.sha256(repr(facts).encode()).hexdigest(), {}


def open_hub(location: str | Path) -> HubSource:
    """``hf:owner/name[:split]``; the split is ``train`` when none is named. ``hf:./folder`` reads a local data set.

    ``datasets`` downloads into its own cache the first time; without a network it finds the data set there again.

    Raises:
        InputError: ``datasets`` is missing, there is no such data set or split, or it has no images.
    """
    text = str(location)
    match = _LOCATION.fullmatch(text)
    if match is None:
        raise InputError(f"data {text!r}: write hf:owner/name or hf:owner/name:split")
    try:
        import datasets
    except ImportError:
        raise InputError(f"data {text}: hub data sets need 'datasets'; pip install 'limner[hub]'") from None
    name, split = match["name"], match["split"] or "train"
    try:
        dataset = datasets.load_dataset(name, split=split)
    except Exception as error:  # whatever the hub, the network or a data set's files make of it
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"data {text}: cannot be loaded ({why}); check the name, the split and the network") from None
    return HubSource(text, name, dataset)
