"""Preprocessings as users of Caffe have them: in terms of raw pixels, swapped channels, and means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.cropping import covering
from nbcnnviz.core.errors import ImageError


def pixels_of(picture: Image.Image) -> Tensor:
    """Pixels (3, H, W), float32 in [0, 1], of an RGB picture."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float() / 255


@dataclass(frozen=True)
class Caffe:
    """``(raw_scale * pixels[channel_swap] - mean) * input_scale``, as Caffe's ``io.Transformer`` does.

    Attributes
    ----------
    size
        Height and width of the input.
    mean
        One number a channel of the input (after the swap, in raw units), or an image (3, h, w) of at least ``size``, whose
        centre is used.
    raw_scale
        What white is before the mean is subtracted.
    input_scale
        What is multiplied with at the end.
    channel_swap
        Which of red, green and blue each channel of the input is.
    squash
        Whether the whole picture is scaled to ``size``, as pycaffe does; or, keeping its proportions, until it covers
        ``size``, and the centre cut out.
    """

    size: tuple[int, int]
    mean: Tensor = field(default_factory=lambda: torch.zeros(3, 1, 1))
    raw_scale: float = 255.0
    input_scale: float = 1.0
    channel_swap: tuple[int, int, int] = (2, 1, 0)
    squash: bool = False

    def __call__(self, picture: Image.Image) -> Tensor:
        """The input (3, H, W) for a picture."""
        height, width = self.size
        fitted = (
            picture.resize((width, height), Image.Resampling.BILINEAR) if self.squash else covering(picture, self.size)
        )
        return (self.raw_scale * pixels_of(fitted)[list(self.channel_swap)] - self.mean) * self.input_scale

    def unprocess(self, x: Tensor) -> Tensor:
        """Pixels (N, 3, H, W) in [0, 1] of an input (N, 3, H, W); exact, with a mean image too."""
        mean = self.mean.to(x)
        if tuple(x.shape[2:]) != self.size:  # an input of another size, given as a tensor
            mean = mean.mean((1, 2), keepdim=True)
        pixels = (x / self.input_scale + mean) / self.raw_scale
        back = [self.channel_swap.index(colour) for colour in range(3)]
        return pixels[:, back].clamp(0, 1)


@dataclass(frozen=True)
class Standardized:
    """Each picture by itself: ``(pixels - mean(pixels)) / std(pixels)``, a z-score.

    The mean and the standard deviation of a picture are lost in its input, so that what is shown of it is stretched from
    black to white.

    Attributes
    ----------
    size
        Height and width of the input; a picture is scaled to cover it, and the centre cut out.
    channels
        3, or 1 for a picture turned to grey first.
    each_channel
        Whether each channel has its own mean and deviation.
    """

    size: tuple[int, int]
    channels: int = 3
    each_channel: bool = False

    def __call__(self, picture: Image.Image) -> Tensor:
        """The input (C, H, W) for a picture; zero for a picture of one colour."""
        pixels = pixels_of(covering(picture, self.size))
        if self.channels == 1:
            pixels = pixels_of(covering(picture, self.size).convert("L").convert("RGB"))[:1]
        axes = (1, 2) if self.each_channel else (0, 1, 2)
        centred = pixels - pixels.mean(axes, keepdim=True)
        deviation = centred.square().mean(axes, keepdim=True).sqrt()
        return torch.where(deviation > 1e-6, centred / deviation.clamp_min(1e-6), torch.zeros_like(centred))

    def unprocess(self, x: Tensor) -> Tensor:
        """Pixels (N, 3, H, W) in [0, 1] of an input (N, C, H, W), each picture stretched from black to white."""
        axes = (2, 3) if self.each_channel else (1, 2, 3)
        low, high = x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
        return ((x - low) / (high - low).clamp_min(1e-12)).expand(-1, 3, -1, -1)


def caffe(
    size: int | tuple[int, int],
    mean: Any = 0.0,
    *,
    raw_scale: float = 255.0,
    input_scale: float = 1.0,
    channel_swap: Sequence[int] = (2, 1, 0),
    squash: bool = False,
) -> Caffe:
    """See `nbcnnviz.Preprocess.caffe`."""
    height, width = (size, size) if isinstance(size, int) else size
    means = torch.as_tensor(np.array(mean, dtype=np.float32) if not isinstance(mean, Tensor) else mean).float()
    if means.ndim == 4 and len(means) == 1:  # as a binaryproto has it
        means = means[0]
    if means.ndim == 0:
        means = means.expand(3)
    if means.ndim == 1:
        means = means[:, None, None]
    if means.ndim != 3 or len(means) != 3:
        raise ImageError(
            f"A mean of shape {tuple(means.shape)} fits no picture: give one number, three, or an image (3, H, W), in the "
            "order of the input's channels."
        )
    if means.shape[1:].numel() > 1:
        top, left = (means.shape[1] - height) // 2, (means.shape[2] - width) // 2
        if min(top, left) < 0:
            raise ImageError(
                f"The mean image, {means.shape[1]} x {means.shape[2]}, is smaller than the input, {height} x {width}: "
                "scale it up, or give its mean, one number a channel."
            )
        means = means[:, top : top + height, left : left + width]
    if sorted(channel_swap) != [0, 1, 2]:
        raise ImageError(f"A channel swap puts 0, 1 and 2 in some order, such as (2, 1, 0): not {tuple(channel_swap)}.")
    if not raw_scale or not input_scale:
        raise ImageError("A scale of 0 leaves nothing of a picture: Caffe's are 255, 1 or 1 / 255, say.")
    return Caffe((height, width), means.clone(), raw_scale, input_scale, tuple(channel_swap), squash)  # type: ignore[arg-type]
