"""Train the compact network of ``limner.judging`` on images drawn by rule, and write its weights.

    python experiments/extractor/train.py --pool /tmp/pool.npz --minutes 30 --out limner.safetensors

Three things are asked of the network at once. Two crops of one image should be alike, and unlike those of other images (Chen
et al., "A Simple Framework for Contrastive Learning", 2020, eq. 1). The group that drew an image should be told. And how
much noise, blur and occlusion was added should be told, from the same statistics that become features: a metric that
does not see them would be of no use.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from drawers import pool
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from limner.judging.features.network import FORMAT, WIDTHS, LimnerNetwork, Unit

VIEW = 48
TEMPERATURE = 0.2
KINDS = ("noise", "blur", "occlusion")


def _uniform(count: int, low: float, high: float, random: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=random)


def crop(images: Tensor, random: torch.Generator) -> Tensor:
    """One view [b, 3, 48, 48] of each image [b, 3, 64, 64]: half the batches are cut out, the others also scaled."""
    count = len(images)
    if torch.rand((), generator=random) < 0.5:
        places = torch.randint(0, images.shape[-1] - VIEW + 1, (count, 2), generator=random).tolist()
        views = torch.stack(
            [image[:, y : y + VIEW, x : x + VIEW] for image, (y, x) in zip(images, places, strict=True)]
        )
    else:
        scale = _uniform(count, 0.5, 1.0, random)
        shift = (1 - scale)[:, None] * (2 * torch.rand(count, 2, generator=random) - 1)
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = scale
        theta[:, :, 2] = shift
        grid = functional.affine_grid(theta, [count, 3, VIEW, VIEW], align_corners=False)
        views = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    mirrored = torch.rand(count, generator=random) < 0.5
    views = torch.where(mirrored[:, None, None, None], views.flip(3), views)
    return recolour(views, random)


def recolour(views: Tensor, random: torch.Generator) -> Tensor:
    """A little brighter, darker, duller; some grey. Colour stays worth knowing, but is not all that tells images apart."""
    count = len(views)
    gain, lift = _uniform(count, 0.7, 1.1, random), _uniform(count, -0.15, 0.15, random)
    views = views * gain[:, None, None, None] + lift[:, None, None, None]
    grey = views.mean(1, keepdim=True)
    keep = torch.where(torch.rand(count, generator=random) < 0.2, torch.zeros(count), _uniform(count, 0.6, 1.2, random))
    return (grey + (views - grey) * keep[:, None, None, None]).clamp(-1, 1)


def disturb(views: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some views disturbed, and by how much [b, 3]: roots of shares of the most. Half of them are left alone."""
    count, _, height, width = views.shape
    amounts = torch.zeros(count, len(KINDS))
    which = torch.randint(0, 2 * len(KINDS), (count,), generator=random)
    strength = torch.rand(count, generator=random) ** 3  # most are weak: strong ones are seen by anything
    for kind in range(len(KINDS)):
        amounts[which == kind, kind] = strength[which == kind]
    views = views.clone()
    for place in (amounts[:, 1] > 0).nonzero().flatten().tolist():
        sigma = 0.2 + 2.6 * float(amounts[place, 1])
        reach = max(1, int(2.5 * sigma))
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
        taps = (taps / taps.sum()).expand(3, 1, 1, -1)
        image = functional.pad(views[place][None], (reach,) * 4, mode="reflect")
        image = functional.conv2d(functional.conv2d(image, taps, groups=3), taps.transpose(2, 3), groups=3)
        views[place] = image[0]
    for place in (amounts[:, 2] > 0).nonzero().flatten().tolist():
        area = 0.6 * float(amounts[place, 2])
        ratio = float(_uniform(1, 0.5, 2.0, random))
        high = min(height, max(1, round(height * (area * ratio) ** 0.5)))
        wide = min(width, max(1, round(area * height * width / high)))
        y = int(torch.randint(0, height - high + 1, (), generator=random))
        x = int(torch.randint(0, width - wide + 1, (), generator=random))
        views[place, :, y : y + high, x : x + wide] = 2 * torch.rand(3, 1, 1, generator=random) - 1
    noise = torch.randn(views.shape, generator=random) * (0.6 * amounts[:, 0])[:, None, None, None]
    return (views + noise).clamp(-1, 1), amounts.sqrt()


def alike(first: Tensor, second: Tensor) -> Tensor:
    """NT-Xent over two views [b, d] of the same images."""
    codes = functional.normalize(torch.cat([first, second]), dim=1)
    scores = codes @ codes.T / TEMPERATURE
    scores.fill_diagonal_(-1e4)
    count = len(first)
    partner = torch.cat([torch.arange(count, 2 * count), torch.arange(count)])
    return functional.cross_entropy(scores, partner)


class Heads(nn.Module):
    """What is asked of the statistics while training, and thrown away afterwards."""

    def __init__(self, statistics: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(statistics)
        self.code = nn.Sequential(nn.Linear(statistics, 256), nn.ReLU(), nn.Linear(256, 128))
        self.group = nn.Sequential(nn.Dropout(0.2), nn.Linear(statistics, groups))
        self.amount = nn.Sequential(nn.Linear(statistics, 128), nn.ReLU(), nn.Linear(128, len(KINDS)))


def train(images: np.ndarray, groups: np.ndarray, minutes: float, batch: int, seed: int) -> LimnerNetwork:
    """The trained network, with its normalisation still apart."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    network = LimnerNetwork(normalised=True).to(memory_format=torch.channels_last).train()
    heads = Heads(network.centre.shape[0], int(groups.max()) + 1)
    parameters = [*network.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-4)
    labels = torch.from_numpy(groups)
    started, step, order = time.monotonic(), 0, torch.empty(0, dtype=torch.long)
    while (spent := (time.monotonic() - started) / (60 * minutes)) < 1:
        # The rate follows the clock, so that every budget ends at a rate of zero.
        rate = 2e-3 * min(1.0, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * spent))
        for settings in optimizer.param_groups:
            settings["lr"] = rate
        if len(order) < batch:
            order = torch.randperm(len(images), generator=random)
        chosen, order = order[:batch], order[batch:]
        pixels = torch.from_numpy(images[chosen.numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1
        views, amounts = disturb(torch.cat([crop(pixels, random), crop(pixels, random)]), random)
        statistics = heads.norm(network.pooled(views.contiguous(memory_format=torch.channels_last)))
        codes = heads.code(statistics)
        contrast = alike(codes[:batch], codes[batch:])
        group = functional.cross_entropy(heads.group(statistics), labels[chosen].repeat(2), label_smoothing=0.1)
        amount = functional.smooth_l1_loss(heads.amount(statistics), amounts, beta=0.1)
        loss = contrast + 0.5 * group + 8.0 * amount
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        if step % 50 == 0:
            right = float((heads.group(statistics).argmax(1) == labels[chosen].repeat(2)).float().mean())
            print(
                f"{spent:5.1%} step {step} contrast {contrast:.3f} group {group:.3f} ({right:.0%}) amount {amount:.4f}",
                flush=True,
            )
        step += 1
    return network.eval()


def fold(network: LimnerNetwork) -> LimnerNetwork:
    """The same function without normalisation layers: each is a scale and a shift, which go into its convolution."""
    plain = LimnerNetwork().eval()
    with torch.no_grad():
        for name, unit in network.named_modules():
            if not isinstance(unit, Unit):
                continue
            target, norm = plain.get_submodule(name), unit.norm
            assert isinstance(target, Unit) and isinstance(norm, nn.BatchNorm2d)
            assert (
                norm.running_var is not None and norm.running_mean is not None and target.convolution.bias is not None
            )
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            target.convolution.weight.copy_(unit.convolution.weight * scale[:, None, None, None])
            target.convolution.bias.copy_(norm.bias - norm.running_mean * scale)
    return plain.to(memory_format=torch.channels_last)


@torch.no_grad()
def statistics_of(network: LimnerNetwork, images: np.ndarray, batch: int = 128) -> Tensor:
    """Pooled statistics [n, p] of images."""
    found = []
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2).float() / 127.5 - 1
        found.append(network.pooled(pixels.contiguous(memory_format=torch.channels_last)))
    return torch.cat(found)


def set_projection(network: LimnerNetwork, images: np.ndarray, dimensions: int, power: float) -> None:
    """Centre, scale and turn the statistics into features, once and for all, from the images that were trained on.

    Every statistic is brought to unit variance, the leading principal directions are kept, and each direction of
    variance v is scaled by v ** -power (0: as it is, 0.5: whitened). Last, all are scaled together so that a feature's
    mean square is 1, which is what the kernel (x . y / d + 1) ** 3 is made for.
    """
    values = statistics_of(network, images).double()
    centre, spread = values.mean(0), values.std(0)
    # A channel that hardly ever moves must not become loud.
    scale = 1 / spread.clamp(min=float(spread.median()) * 0.05)
    scaled = (values - centre) * scale
    variance, directions = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
    variance, directions = variance.flip(0)[:dimensions], directions.flip(1)[:, :dimensions]
    loud = variance.clamp(min=1e-6) ** -power
    overall = (dimensions / float((variance * loud**2).sum())) ** 0.5
    network.centre = centre.float()
    network.projection = (overall * loud[:, None] * directions.T * scale[None]).float()
    print(f"{dimensions} of {len(scale)} directions hold {float(variance.sum()) / len(scale):.1%} of the variance")


def save(network: LimnerNetwork, path: Path) -> None:
    """Half-precision safetensors with what is needed to build the network again."""
    tensors = {
        name: value.half().contiguous() if name != "centre" else value.contiguous()
        for name, value in network.state_dict().items()
    }
    dimensions = len(network.projection)
    metadata = {"format": FORMAT, "widths": json.dumps(list(WIDTHS)), "dimensions": str(dimensions)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata)
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size:,} bytes")


def main() -> None:
    """Draw (or read) the pool, train, write."""
    parser = argparse.ArgumentParser(description="Train the features 'limner'.")
    parser.add_argument("--pool", type=Path, required=True, help="NPZ of drawn images; made when it is not there")
    parser.add_argument("--each", type=int, default=30, help="images of every group")
    parser.add_argument("--collections", type=int, default=3000, help="images of each procedural collection")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--power", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if not arguments.pool.exists():
        images, groups = pool(arguments.each, arguments.collections, arguments.seed)
        np.savez(arguments.pool, images=images, groups=groups)
    with np.load(arguments.pool) as stored:
        images, groups = stored["images"], stored["groups"]
    network = fold(train(images, groups, arguments.minutes, arguments.batch, arguments.seed))
    set_projection(network, images[::3], arguments.dimensions, arguments.power)
    save(network, arguments.out)


if __name__ == "__main__":
    main()
