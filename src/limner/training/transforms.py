"""Differentiable changes of images, each sample with numbers of its own: colour, translation, cutout (Zhao et al. 2020).

Pure functions without randomness; :mod:`limner.training.augment` draws the numbers. Nothing here waits for a device, or loops
over samples on one. A sample's result does not depend on the other samples in its batch.

What comes in from outside the frame, and what is cut out, is 0 in every channel: mid-grey, as in the paper, and half
transparent where there is transparency. Real pictures rarely hold exactly that, so D can tell what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Images = Float[Tensor, "b c h w"]
Numbers = Float[Tensor, " b"]
Pixels = Int[Tensor, " b"]

RGBA = 4
"""Channels of images with transparency."""
REACH = 8
"""Translations reach this part of a side."""
SLICED = 1 << 14
"""Numbers of a sample from which a processor translates one after the other: that goes through memory once, and not three
times."""


class Recolor(NamedTuple):
    """New colours: own * x + pixel * (mean of its pixel) + image * (mean of its image) + shift, each number by sample."""

    own: Numbers
    pixel: Numbers
    image: Numbers
    shift: Numbers


class Move(NamedTuple):
    """A translation in whole pixels, negative for up and left, at most :func:`reach` far."""

    down: Pixels
    right: Pixels


class Hole(NamedTuple):
    """Rows and columns that are cut out where they cross."""

    rows: Bool[Tensor, "b h"]
    columns: Bool[Tensor, "b w"]


def premultiplied(images: Images) -> Images:
    """Colours times opacity, towards black where nothing shows; opacity as it was.

    Colours that no one sees are no difference between real and generated images. As numbers they are: the hard edge from the
    colours of a silhouette to those behind it would have to be learned to the pixel, once for colours and once for opacity.

    Args:
        images: four channels in [-1, 1], the last is opacity.
    """
    opacity = (images[:, 3:] + 1) / 2
    return torch.cat([(images[:, :3] + 1) * opacity - 1, images[:, 3:]], 1)


def recolor(channels: int, brightness: Numbers, saturation: Numbers, contrast: Numbers) -> Recolor:
    """Brightness, then saturation, then contrast, as one change. Transparency stays; grey images have no saturation.

    Values may leave [-1, 1]. They are not cut, so that gradients pass.

    Args:
        channels: 1, 3 or 4.
        brightness: added to every colour.
        saturation: each colour's distance from its pixel's mean is multiplied by this.
        contrast: each colour's distance from its image's mean is multiplied by this (Zhao et al. 2020); where there is
            transparency, its distance from mid-grey (Karras et al. 2020, appendix B), because an image's mean would carry
            colours that no one sees into those that show.
    """
    if channels == 1:
        saturation = torch.ones_like(saturation)
    own, pixel = contrast * saturation, contrast * (1 - saturation)
    if channels == RGBA:
        return Recolor(own, pixel, torch.zeros_like(contrast), contrast * brightness)
    return Recolor(own, pixel, 1 - contrast, brightness)


def reach(height: int, width: int) -> tuple[int, int]:
    """How far translations go at most, in pixels: an eighth of each side, rounded down, and 1 at least."""
    return max(1, height // REACH), max(1, width // REACH)


def hole_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of what cutout takes away: half of each side, rounded up from a half."""
    return (height + 1) // 2, (width + 1) // 2


def hole(height: int, width: int, top: Pixels, left: Pixels, chosen: Bool[Tensor, " b"]) -> Hole:
    """A rectangle (see :func:`hole_size`) in each of the chosen samples. It may lie partly outside the image.

    Args:
        height, width: of the images.
        top, left: its first row and column; they may be negative.
        chosen: which samples.
    """
    tall, wide = hole_size(height, width)
    rows = torch.arange(height, device=top.device) - top[:, None]
    columns = torch.arange(width, device=top.device) - left[:, None]
    return Hole((rows >= 0) & (rows < tall) & chosen[:, None], (columns >= 0) & (columns < wide))


def change(images: Images, colors: Recolor | None = None, move: Move | None = None, cut: Hole | None = None) -> Images:
    """Change colours, then translate, then cut out; ``None`` leaves a step out.

    Args:
        images: with 1, 3 or 4 channels, contiguous or channels_last; the result keeps the memory format.

    Raises:
        ValueError: there are not as many numbers as images.
    """
    steps = (*(colors or (None,) * 4), *(move or (None,) * 2), *(cut or (None,) * 2))
    if any(step is not None and len(step) != len(images) for step in steps):
        raise ValueError(f"each of {len(images)} images needs numbers of its own")
    changed: Tensor = _Change.apply(images, False, *steps)  # type: ignore[no-untyped-call]
    return changed


class _Change(torch.autograd.Function):
    """All the steps at once, to go through memory as seldom as possible.

    But for the shift they are linear, and each has a simple adjoint: taking means and cutting out are symmetric, and a
    translation's adjoint is the translation back. So the gradient is the same steps in reverse. Autograd cannot know that: its
    derivative of indexing adds up scattered numbers, which is slow, and on a GPU not repeatable.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, back: bool, *steps: Tensor | None) -> Tensor:
        ctx.back = back
        ctx.save_for_backward(*steps)
        colors, move, cut = _unpacked(steps)
        height, width = images.shape[2:]
        last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
        form = torch.channels_last if last else torch.contiguous_format
        sliced = move is not None and images.device.type == "cpu" and images[0].numel() >= SLICED
        if move is not None and not sliced:
            far_down, far_right = reach(height, width)
            size = (*images.shape[:2], height + 2 * far_down, width + 2 * far_right)
            padded = torch.empty(size, dtype=images.dtype, device=images.device, memory_format=form).zero_()
            result = padded[:, :, far_down : far_down + height, far_right : far_right + width]
        else:
            result = torch.empty_like(images, memory_format=form)
        if back or colors is None:
            result.copy_(images)
        else:
            _recolor(images, result, colors)
        if back and cut is not None:
            _cut(result, cut)
        if move is not None:
            down, right = move if back else (-move.down, -move.right)
            if sliced:
                result = _shifted(result, down.tolist(), right.tolist())
            else:
                result = _window(padded, far_down + down, far_right + right, height, width)
        if cut is not None and not back:
            _cut(result, cut)
        if colors is not None and back:
            _recolor(result, result, colors)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        own, pixel, image, shift, *others = ctx.saved_tensors
        shift = None if shift is None else torch.zeros_like(shift)
        moved = _Change.apply(gradients[0], not ctx.back, own, pixel, image, shift, *others)  # type: ignore[no-untyped-call]
        return moved, *(None,) * 9


def _unpacked(steps: Sequence[Tensor | None]) -> tuple[Recolor | None, Move | None, Hole | None]:
    """The steps as :func:`change` had them, before they became arguments that autograd knows."""
    own, pixel, image, shift, down, right, rows, columns = steps
    colors = move = cut = None
    if own is not None and pixel is not None and image is not None and shift is not None:
        colors = Recolor(own, pixel, image, shift)
    if down is not None and right is not None:
        move = Move(down, right)
    if rows is not None and columns is not None:
        cut = Hole(rows, columns)
    return colors, move, cut


def _recolor(source: Tensor, target: Tensor, numbers: Recolor) -> None:
    """Write the changed colours of one to the other, which may be the same.

    It goes channel by channel, which is quick in both memory formats; and no sum runs over more than one axis, so that the
    result does not depend on how a batch is cut.
    """
    own, pixel, image, shift = (each.view(-1, 1, 1) for each in numbers)
    colors = 1 if source.shape[1] == 1 else 3
    mean = source[:, 0] if colors == 1 else (source[:, 0] + source[:, 1]).add_(source[:, 2]).div_(3)
    base = torch.addcmul(image * mean.mean(2, keepdim=True).mean(1, keepdim=True) + shift, pixel, mean)
    for channel in range(colors):
        torch.addcmul(base, own, source[:, channel], out=target[:, channel])
    if target is not source:
        target[:, colors:] = source[:, colors:]


def _window(padded: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """One window of each padded image, by its first row and column. Windows are views, so this only copies rows."""
    windows = padded.unfold(2, height, 1).unfold(3, width, 1).movedim(1, 3)  # [b, y, x, c, h, w]
    samples = torch.arange(len(padded), device=padded.device)
    if padded.is_contiguous():
        return windows[samples, top, left]
    return windows.movedim(3, 5)[samples, top, left].movedim(3, 1)  # with the channels innermost, as they lie in memory


def _shifted(images: Tensor, down: Sequence[int], right: Sequence[int]) -> Tensor:
    """What :func:`_window` gives, of images that are not padded: each from row ``down`` and column ``right`` on, 0 outside."""
    result = torch.empty_like(images)
    height, width = images.shape[2:]
    for image, target, first, left in zip(images, result, down, right, strict=True):
        top, bottom = max(0, -first), min(height, height - first)
        begin, end = max(0, -left), min(width, width - left)
        target[:, top:bottom, begin:end] = image[:, top + first : bottom + first, begin + left : end + left]
        for edge in (target[:, :top], target[:, bottom:], target[:, top:bottom, :begin], target[:, top:bottom, end:]):
            if edge.numel():
                edge.zero_()
    return result


def _cut(images: Tensor, cut: Hole) -> None:
    images.mul_((~(cut.rows[:, None, :, None] & cut.columns[:, None, None, :])).to(images.dtype))
