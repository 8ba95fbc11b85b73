"""Classes: joined to the latent vector of a generator, and what a discriminator does with them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from limner.networks.layers import Opinion

EMBEDDING = 128
"""Most numbers that a class adds to a latent vector."""


class ClassifiedLatent(nn.Module):
    """A latent vector and an embedding of the class, one after the other (Mirza and Osindero 2014).

    The embedding is N(0, 1) at the start, as latents are, and as long as they are, up to 128.

    Args:
        latent: length of the latent vector.
        classes: how many there are; with 0 latents pass unchanged.
    """

    is_input = True

    def __init__(self, latent: int, classes: int) -> None:
        super().__init__()
        length = min(latent, EMBEDDING) if classes else 0
        self.embedding = nn.Embedding(classes, length) if classes else None
        self.length = latent + length

    def forward(self, z: Float[Tensor, "b z"], labels: Int[Tensor, " b"] | None) -> Float[Tensor, "b y"]:
        """[b, z] to [b, length]."""
        if self.embedding is None:
            return z
        return torch.cat([z, self.embedding(needed(labels)).to(z.dtype)], 1)


class Projection(nn.Module):
    """The part of the logit that depends on the class: <its embedding, features> (Miyato and Koyama, ICLR 2018, eq. 4).

    Args:
        classes: how many there are.
        features: how many numbers describe an image.
    """

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, features)
        nn.init.normal_(self.embedding.weight, 0.0, features**-0.5)

    def forward(self, features: Float[Tensor, "b ..."], labels: Int[Tensor, " b"] | None) -> Float[Tensor, " b"]:
        """What to add to the logits."""
        rows = self.embedding(needed(labels))
        added: Tensor = (rows * features.flatten(1)).sum(1)
        return added

    def draw(self, std: float) -> None:
        """Initial embeddings from N(0, std)."""
        nn.init.normal_(self.embedding.weight, 0.0, std)


class Classified(nn.Module):
    """A discriminator that may be conditioned on classes. A family says what it sees: ``look(images)``.

    ``projection`` adds a part to the logit that depends on the class asked about; ``acgan`` answers with logits of the classes
    besides (Odena, Olah and Shlens, ICML 2017). Both see the features as the layer of the logit sees them: where that one
    covers a map of features pixel by pixel, so do they. Summed over the map, features of a small receptive field (10 pixels
    with DCGAN's layers at 28x28) could not tell one shape from another.

    Args:
        conditioning: ``none``, ``projection`` or ``acgan``.
        classes: how many there are; 0 for none.
        features: how many numbers the last layer sees.
    """

    def __init__(self, conditioning: str, classes: int, features: int) -> None:
        super().__init__()
        self.recompute = False
        self.conditioning = conditioning if classes else "none"
        self.auxiliary: frozenset[str] = frozenset(["classes"] if self.conditioning == "acgan" else [])
        self._classes, self._features = classes, features

    def look(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, " b"], Float[Tensor, "b ..."]]:
        """The logit of each image, whatever its class, and the features that it was computed from."""
        raise NotImplementedError

    def add_classes(self) -> None:
        """Make the part for the classes. To be called last, so that it takes no random numbers from what is always there."""
        if self.conditioning == "projection":
            self.projection = Projection(self._classes, self._features)
        elif self.conditioning == "acgan":
            self.classifier = nn.Linear(self._features, self._classes)

    def opinion(self, images: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"] | None = None) -> Opinion:
        """All that the discriminator has to say. ``projection`` needs the labels, int64 from 0 on."""
        logits, features = self.look(images)
        if self.conditioning == "projection":
            logits = logits + self.projection(features, labels)
        classes = self.classifier(features.flatten(1)) if self.conditioning == "acgan" else None
        return Opinion(logits, classes)

    def forward(self, images: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"] | None = None) -> Float[Tensor, " b"]:
        """One logit an image: how real it looks (as a picture of its class), before any sigmoid."""
        return self.opinion(images, labels).logits


def needed(labels: Int[Tensor, " b"] | None) -> Int[Tensor, " b"]:
    """The labels, which a network with classes cannot do without.

    Raises:
        ValueError: there are none.
    """
    if labels is None:
        raise ValueError("this network is conditioned on classes: it needs the label of each image")
    return labels
