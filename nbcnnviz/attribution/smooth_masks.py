"""Smooth masks of a given area, and pictures perturbed by them: what extremal perturbations are made of.

A mask is the smooth maximum of bumps on a coarse grid, each as high as its parameter (Fong, Patrick & Vedaldi 2019, section
3.2). Where a mask is 1 the picture is as it was, where it is 0 it is perturbed most.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

COLDNESS = 20.0
"""How near the smooth maximum is to the largest."""

_AT_ONCE = 2**18  # numbers of a chunk, so that a CPU's caches hold them


class SmoothMasks:
    """Masks (B, 1, H, W) with values in [0, 1] for parameters (B, 1, h, w) in [0, 1].

    Parameters
    ----------
    size
        Height and width of the pictures.
    stride
        How far apart the parameters are, in pixels.
    sigma
        The size of a bump: it is flat up to half of it and falls to 0.14 at one and a half, in pixels. Masks are made with
        a margin of as much around the picture.

    Attributes
    ----------
    grid : tuple[int, int]
        Height and width of the parameters.
    whole : tuple[int, int]
        Height and width of a mask with its margin.
    """

    def __init__(self, size: tuple[int, int], stride: int, sigma: float, like: Tensor) -> None:
        self._size, self._stride, self._margin = size, stride, round(sigma)
        reach = 1 + math.ceil(sigma / stride)
        before = 1 + math.ceil(2 * sigma / stride)
        self._kernel = 2 * reach + 1
        self.grid = (math.ceil(size[0] / stride), math.ceil(size[1] / stride))
        # Cells of pixels, each with the parameters whose bumps reach it; as many more as the picture's far edge needs.
        needed = tuple(-(-(round(sigma) + n + stride - 1) // stride) for n in size)
        self._cells = tuple(max(n + 2 * (before - reach), k) for n, k in zip(self.grid, needed, strict=True))
        after = [k + self._kernel - 1 - n - before for k, n in zip(self._cells, self.grid, strict=True)]
        self._pads = (before, after[1], before, after[0])
        self.whole = tuple(stride * n - stride + 1 for n in self._cells)
        within, bump = torch.arange(stride), torch.arange(self._kernel)
        away = (within[:, None] - sigma - stride * (bump - before)[None]).double()  # (stride, kernel)
        distance = (away[:, None, :, None].square() + away[None, :, None, :].square()).sqrt() / sigma
        heights = torch.exp(-2 * (distance - 0.5).clamp(min=0).square())
        self._heights = heights.reshape(stride**2, self._kernel**2).to(like)

    def __call__(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The masks, (B, 1, H, W), and the same with their margin, (B, 1, *whole)."""
        near = F.unfold(F.pad(parameters, self._pads), self._kernel)  # those whose bumps reach a cell, (B, k, cells)
        highest = _SmoothMaximum.apply(self._heights, near)
        whole = F.pixel_shuffle(highest.unflatten(2, self._cells), self._stride)
        whole = whole[..., : self.whole[0], : self.whole[1]].clamp(0, 1)
        m = self._margin
        return whole[..., m : m + self._size[0], m : m + self._size[1]], whole


class _SmoothMaximum(torch.autograd.Function):
    """sum_k t_k exp(c t_k) / sum_k exp(c t_k), t_k = heights (p, k) times near (B, k, n): (B, p, n).

    Written out, since autograd would keep ten tensors of B p k n numbers, some tens of millions.
    """

    @staticmethod
    def forward(ctx: Any, heights: Tensor, near: Tensor) -> Tensor:
        found = near.new_empty(len(near), len(heights), near.shape[2])
        for i, at in _chunks(heights, near):
            t = heights[:, :, None] * near[i, :, at]
            weights = (COLDNESS * t).exp_()
            found[i, :, at] = t.mul_(weights).sum(1) / weights.sum(1)
        ctx.save_for_backward(heights, near, found)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        heights, near, found = ctx.saved_tensors
        gradient = torch.empty_like(near)
        for i, at in _chunks(heights, near):
            t = heights[:, :, None] * near[i, :, at]
            weights = (COLDNESS * t).exp_()
            share = grads[0][i, :, at] / weights.sum(1)
            slopes = t.sub_(found[i, :, None, at]).mul_(COLDNESS).add_(1).mul_(weights).mul_(share[:, None])
            gradient[i, :, at] = slopes.mul_(heights[:, :, None]).sum(0)
        return None, gradient


def _chunks(heights: Tensor, near: Tensor) -> list[tuple[int, slice]]:
    count = near.shape[2]
    step = max(1, _AT_ONCE // heights.numel()) if near.device.type == "cpu" else count
    return [(i, slice(at, at + step)) for i in range(len(near)) for at in range(0, count, step)]


def off_area(whole: Tensor, areas: Tensor) -> Tensor:
    """How far masks (B, 1, H, W) are from being 0 or 1 and covering shares (B,): the mean square of sorted differences, (B,).

    Fong, Patrick & Vedaldi 2019, equation 3, over the number of pixels.
    """
    ordered = whole.flatten(1).sort(1).values
    count = ordered.shape[1]
    zeros = (count * (1 - areas)).floor()
    template = torch.arange(count, device=whole.device)[None] >= zeros[:, None]
    return (ordered - template.to(ordered)).square().mean(1)


def perturbed(levels: Tensor, masks: Tensor) -> Tensor:
    """Pictures (K, N, C, H, W) at masks (K, N, 1, H, W), of ``levels`` (L, N, C, H, W) from the most perturbed to none.

    Between two levels values are interpolated.
    """
    last = len(levels) - 1
    at = masks * last
    below = at.detach().floor().long()
    share = at - below
    ends = (below, (below + 1).clamp(max=last))
    low, high = (levels.gather(0, k.expand(-1, -1, *levels.shape[2:])) for k in ends)
    return low + share * (high - low)


def blurs(x: Tensor, sigma: float, count: int) -> Tensor:
    """Pictures (N, C, H, W) blurred by Gaussians of ``sigma`` down to zero in even steps, (count, N, C, H, W).

    Beyond the picture there are zeros, the mean colour of most networks' inputs.
    """
    return torch.stack([_blurred(x, sigma * (1 - level / (count - 1))) for level in range(count)])


def _blurred(x: Tensor, sigma: float) -> Tensor:
    if sigma <= 0:
        return x
    radius = math.ceil(4 * sigma)
    along = torch.exp(-torch.arange(-radius, radius + 1, dtype=torch.float64).square() / (2 * sigma**2))
    total = along.sum()
    rows, columns = (
        (torch.exp(-apart.square() / (2 * sigma**2)) * (apart.abs() <= radius) / total).to(x)
        for apart in (torch.arange(n)[:, None] - torch.arange(n, dtype=torch.float64)[None] for n in x.shape[2:])
    )
    return rows @ x @ columns.T
