"""What keeps a picture from drowning in noise: penalties on the score, and edits of the picture after a step.

Pictures are in the units of the network's input, where zero is the mean colour.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nbcnnviz.synthesis.controls import Controls


def penalties(picture: Tensor, controls: Controls) -> dict[str, Tensor]:
    """The penalties that are switched on, weighted, summed over the batch."""
    found = {}
    if controls.l2:
        found["l2"] = controls.l2 * picture.square().sum()
    if controls.tv:
        found["tv"] = controls.tv * total_variation(picture)
    return found


def total_variation(picture: Tensor) -> Tensor:
    """The sum over pixels of the length of the slope: ``sqrt(sum over channels of dy^2 + dx^2)`` (Rudin et al. 1992).

    Differences are to the next pixel, none at the last row and column.
    """
    down = F.pad(picture.diff(dim=2), (0, 0, 0, 1))
    right = F.pad(picture.diff(dim=3), (0, 1))
    slope = (down.square() + right.square()).sum(1)
    return (slope + 1e-8).sqrt().sum() - slope.numel() * 1e-4


def edited(picture: Tensor, contribution: Tensor | None, controls: Controls, step: int) -> Tensor:
    """The picture after the edits that are due at the end of a step, the first being 1: decay, blur, clipping.

    Yosinski et al. 2015, section 3; ``contribution`` (N, C, H, W) is the picture times the score's gradient with
    respect to it, needed to clip by it.
    """
    if controls.decay:
        picture = picture * (1 - controls.decay)
    if controls.blur_every and controls.blur_radius and step % controls.blur_every == 0:
        picture = blurred(picture, controls.blur_radius)
    if controls.clip_norm:
        picture = _without_least(picture, picture.norm(dim=1, keepdim=True), controls.clip_norm)
    if controls.clip_contribution and contribution is not None:
        picture = _without_least(picture, contribution.sum(1, keepdim=True).abs(), controls.clip_contribution)
    return picture


def blurred(picture: Tensor, radius: float) -> Tensor:
    """Convolved with a Gaussian of standard deviation ``radius`` pixels, cut off at four; mirrored at the border."""
    reach = min(math.ceil(4 * radius), picture.shape[2] - 1, picture.shape[3] - 1)
    if reach < 1:
        return picture
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=picture.device) / radius) ** 2).to(picture.dtype)
    kernel = (kernel / kernel.sum()).view(1, 1, -1, 1)
    shape = picture.shape
    x = F.pad(picture.flatten(0, 1)[:, None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, kernel), kernel.transpose(2, 3)).view(shape)


def _without_least(picture: Tensor, merit: Tensor, percent: float) -> Tensor:
    """The picture with the pixels of least merit, (N, 1, H, W), set to the mean colour; this percentage of each."""
    count = int(merit[0].numel() * percent / 100)
    if count == 0:
        return picture
    bar = merit.flatten(1).kthvalue(count, dim=1).values.view(-1, 1, 1, 1)
    return picture.masked_fill(merit <= bar, 0)
