"""What the tests of exported generators share: small generators of any recipe, with weights and statistics that matter."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int

from limner import networks
from limner.generator import TrainedGenerator
from limner.recipe import Recipe


def small(
    name: str = "dcgan", width: int = 20, height: int = 33, channels: int = 3, classes: int = 0, **overrides: object
) -> TrainedGenerator:
    """A generator of a shipped recipe at reduced width.

    Its weights are off their initial values, and its batch statistics are those of no batch, so that leaving one out shows.
    With ``classes`` it is conditioned on so many.
    """
    values: dict[str, object] = {
        "image.width": width,
        "image.height": height,
        "image.channels": channels,
        "network.latent": 16,
        "training.device": "cpu",
        "training.precision": "float32",
    }
    if Recipe.load(name).network.family == "mlp":
        values |= {"generator.hidden": [12, 24], "discriminator.hidden": [24, 12]}
    else:
        values |= {"generator.width": 8, "discriminator.width": 8}
    if classes:
        values |= {
            "network.classes": [f"kind {number}" for number in range(classes)],
            "network.conditioning": "projection",
        }
    recipe = Recipe.load(name, {**values, **overrides})
    network, _ = networks.build(recipe, width=width, height=height, channels=channels, classes=classes)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
        for place, buffer in network.named_buffers():
            if place.endswith("running_mean"):
                buffer.copy_(0.2 * torch.randn(buffer.shape, generator=random))
            elif place.endswith("running_var"):
                buffer.copy_(0.3 + torch.rand(buffer.shape, generator=random))
    return TrainedGenerator(network, recipe, 6400, "discs")


def torch_images(generator: TrainedGenerator, seeds: Int[np.ndarray, " b"]) -> np.ndarray:
    """The images of seeds by PyTorch, [b, c, h, w] in [-1, 1]."""
    known = (torch.from_numpy(generator.labels(seeds)),) if generator.classes else ()
    with torch.inference_mode():
        return generator.network(torch.from_numpy(generator.latents(seeds)), *known).numpy()
