"""Do samples show the class that they were asked for? A classifier that is trained on real images says."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as tensor_bytes
from torch import Tensor, nn
from torch.nn import functional

from limner import noise
from limner.data import Collection
from limner.data import decode as decoding
from limner.judging.distances.intervals import wilson
from limner.judging.figures import Figure
from limner.judging.reference import Advance, Reference, Sample, keep_file, kept_file
from limner.noise import Stream, derived_seed

LEAST = 100
"""Real images that a classifier is tested on, at least: fewer held-out ones say little."""
PRIOR = 10.0
"""Coefficients are N(0, 1/10) beforehand: about the best for 1,000 images of Fashion-MNIST, 4,000 and 10,000 alike."""
NETWORK_LEAST = 1000
"""Fewer real images are too few to train a network on."""
NEARLY_ALL = 0.97
"""A classifier of features that is right so often leaves a network nothing to gain."""
LARGEST = 32
"""The network looks at images of at most this many pixels a side."""
WIDTHS = (16, 32, 64)
PASSES, EPOCHS, BATCH = 120_000, 30, 64
"""Images that the network is trained on in all, at most; times that it sees each one, at most; images in an update."""
RATE, DECAY, SHIFT = 3e-3, 0.05, 2
VERSION = 1
"""Goes up when the network or its training changes."""

Pixels = UInt8[np.ndarray, "n h w c"]
Features = Float[np.ndarray, "n d"]
Labels = Int[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Classifier:
    """Says which class images show.

    Attributes:
        classify: images and their features to class numbers of the collection.
        description: what it is, for people.
        trained: real images that it was trained on.
        accuracy: share of other real images that it names rightly: what perfect samples would score.
    """

    classify: Callable[[Pixels, Features], Labels]
    description: str
    trained: int
    accuracy: Figure

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {"description": self.description, "trained": self.trained, "accuracy": self.accuracy.values()}


def agreement(named: Labels, asked: Labels) -> Figure:
    """Share of images that are named as they were asked for, with Wilson's interval; nan of none.

    Args:
        named: what a classifier says.
        asked: class numbers too.
    """
    if not len(asked):
        return Figure(math.nan)
    right = int((np.asarray(named) == np.asarray(asked)).sum())
    return Figure(right / len(asked), *wilson(right, len(asked)), generated=len(asked))


@dataclass(frozen=True, eq=False)
class _Split:
    """Rows of the reference's training images to learn from and to choose by, and images to test on."""

    train: Int[np.ndarray, " n"]
    trial: Int[np.ndarray, " k"]
    kept: Int[np.ndarray, " m"]
    test: Sample

    @classmethod
    def of(cls, reference: Reference) -> _Split | None:
        """Tested is on the held-out images, or where these are under 100, on a fifth of the others."""
        own, held_out, labels = reference.train, reference.held_out, reference.collection.labels
        if labels is None or len(np.unique(labels[own.places])) < 2:
            return None
        rows = np.arange(len(own))
        kept = rows[:0] if len(held_out) >= LEAST else rows[len(rows) - len(rows) // 5 :]
        rows = rows[: len(rows) - len(kept)]
        first = len(rows) - len(rows) // 10
        test = held_out if not len(kept) else Sample(own.pixels[kept], own.features[kept], own.places[kept])
        return cls(rows[:first], rows[first:], kept, test)


def feature_classifier(reference: Reference) -> Classifier | None:
    """Multinomial logistic regression on the reference's features; ``None`` where there are not two classes to tell apart.

    It is tested on the held-out images; where those are under 100, on a fifth of the others, which it is then not trained on.
    """
    split = _Split.of(reference)
    return None if split is None else _on_features(reference, split)


def best_classifier(
    reference: Reference,
    *,
    device: str | torch.device = "cpu",
    advance: Advance | None = None,
    cache_dir: Path | None = None,
) -> Classifier | None:
    """The better one of logistic regression on features and of a small convolutional network on the pixels.

    Which is better is asked of training images that neither was trained on, not of those that say how good the chosen one is.
    The network is trained once for a collection, in some minutes, and kept in the cache. It is left out where regression is
    nearly always right, where there are under 1,000 images, and where training cuts fresh pieces of them.

    Args:
        reference: real images, with labels or not.
        device: where the network computes.
        advance: called with images done and images in all, while the network is trained.
        cache_dir: instead of the usual cache.
    """
    split = _Split.of(reference)
    if split is None:
        return None
    simple = _on_features(reference, split)
    trial, collection = _part(reference.train, split.trial), reference.collection
    usual = _accuracy(simple.classify, collection, trial).value
    spared = reference.train.places[np.concatenate([split.trial, split.kept])]
    places = np.setdiff1d(collection.train, spared)
    pixels = collection.images
    if usual >= NEARLY_ALL or len(places) < NETWORK_LEAST or not isinstance(pixels, np.ndarray):
        return simple
    network = _network(collection, pixels, places, torch.device(device), advance, cache_dir)

    def classify(pixels: Pixels, features: Features) -> Labels:
        return _named(network, pixels, torch.device(device))

    if _accuracy(classify, collection, trial).value < usual:
        return simple
    accuracy = _accuracy(classify, collection, split.test)
    return Classifier(classify, "a convolutional network", len(places), accuracy)


def _part(sample: Sample, rows: Int[np.ndarray, " n"]) -> Sample:
    return Sample(sample.pixels[rows], sample.features[rows], sample.places[rows])


def _accuracy(classify: Callable[[Pixels, Features], Labels], collection: Collection, sample: Sample) -> Figure:
    assert collection.labels is not None
    return agreement(classify(sample.pixels, sample.features), collection.labels[sample.places])


def _on_features(reference: Reference, split: _Split) -> Classifier:
    """Multinomial logistic regression on standardised features: cross-entropy and a small penalty, minimised by L-BFGS."""
    collection, own = reference.collection, _part(reference.train, split.train)
    assert collection.labels is not None
    features = own.features.astype(np.float64)
    mean, spread = features.mean(0), features.std(0) + 1e-6

    def standard(values: Features) -> Tensor:
        return torch.from_numpy((values.astype(np.float64) - mean) / spread)

    inputs, labels = standard(features), torch.from_numpy(collection.labels[own.places].astype(np.int64))
    weights = torch.zeros(inputs.shape[1], len(collection.classes), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(collection.classes), dtype=torch.float64, requires_grad=True)
    penalty = PRIOR / (2 * len(inputs))
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(inputs @ weights + bias, labels) + penalty * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    matrix, offset = weights.detach(), bias.detach()

    def classify(pixels: Pixels, features: Features) -> Labels:
        return (standard(features) @ matrix + offset).argmax(1).numpy()

    accuracy = _accuracy(classify, collection, split.test)
    return Classifier(classify, f"logistic regression on {reference.extractor.name} features", len(own), accuracy)


def _network(
    collection: Collection,
    pixels: Pixels,
    places: Int[np.ndarray, " n"],
    device: torch.device,
    advance: Advance | None,
    cache_dir: Path | None,
) -> nn.Module:
    """The network, trained on those images of a collection, or from the cache."""
    drawn = hashlib.sha256(places.tobytes()).hexdigest()
    described = [decoding.VERSION, collection.content_hash, collection.summary["image"], drawn]
    key = hashlib.sha256(json.dumps(["classifier", VERSION, *described], sort_keys=True).encode()).hexdigest()[:32]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(0, Stream.EVALUATION, 0))
        network = _layers(collection.channels, len(collection.classes)).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        kept = kept_file(key, cache_dir)
        try:
            network.load_state_dict(read_tensors(kept))
        except (SafetensorError, RuntimeError, ValueError):  # none, damaged, or something else
            _train(network, collection, pixels, places, device, advance)
            tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
            keep_file(key, tensor_bytes(tensors), cache_dir)
    network.eval().requires_grad_(False)
    return network  # type: ignore[no-any-return]


def _layers(channels: int, classes: int) -> nn.Sequential:
    """Two 3x3 convolutions at each of three resolutions."""
    layers: list[nn.Module] = []
    for depth, width in enumerate(WIDTHS):
        for inside, stride in ((WIDTHS[depth - 1] if depth else channels, 2 if depth else 1), (width, 1)):
            layers += [nn.Conv2d(inside, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4 * WIDTHS[-1], classes)]
    return nn.Sequential(*layers, *head)


def _train(
    network: nn.Module,
    collection: Collection,
    pixels: Pixels,
    places: Int[np.ndarray, " n"],
    device: torch.device,
    advance: Advance | None,
) -> None:
    """AdamW in one cycle of rates; images are moved by up to two pixels, which no class minds."""
    assert collection.labels is not None
    labels = torch.from_numpy(collection.labels.astype(np.int64))
    steps = min(PASSES, EPOCHS * len(places)) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    network.train()
    order = np.concatenate(
        [
            noise.permutation(1, Stream.EVALUATION, epoch, len(places))
            for epoch in range(-(-steps * BATCH // len(places)))
        ]
    )
    for step in range(steps):
        chosen = places[order[step * BATCH : (step + 1) * BATCH]]
        images = _seen(pixels[chosen], device)
        height, width = images.shape[2:]
        down, across = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
        padded = functional.pad(images, (SHIFT,) * 4, mode="replicate")
        logits = network(padded[:, :, down : down + height, across : across + width])
        loss = functional.cross_entropy(logits, labels[chosen].to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rates.step()
        if advance is not None:
            advance((step + 1) * BATCH, steps * BATCH)


@torch.inference_mode()
def _named(network: nn.Module, pixels: Pixels, device: torch.device) -> Labels:
    pieces = [network(_seen(pixels[start : start + 256], device)).argmax(1) for start in range(0, len(pixels), 256)]
    return torch.cat(pieces).cpu().numpy() if pieces else np.zeros(0, np.int64)


def _seen(pixels: Pixels, device: torch.device) -> Float[Tensor, "b c h w"]:
    """Images in [-1, 1], the longer side at most 32 pixels."""
    images = torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    height, width = images.shape[2:]
    scale = LARGEST / max(height, width)
    if scale >= 1:
        return images
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return functional.interpolate(images, size, mode="bilinear", antialias=True)
