"""Small maps side by side, and large ones reduced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """What a tile stands for: its index (a filter, say), what is written under it, what is said when it is pointed at."""

    index: int
    label: str = ""
    title: str = ""
    broken: int = 0  # values that are NaN or infinite: the tile is marked
    note: str = ""  # a sentence in place of the picture
    badge: str = ""  # a number in its corner


def mosaic_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """How many kernels (inputs, h, w) go below and beside one another, about as a square, and the room between them."""
    inputs, height, width = shape
    columns = min(inputs, max(1, math.ceil(math.sqrt(inputs * height / width))))
    rows = math.ceil(inputs / columns)
    gap = 1 if inputs > 1 and height * width > 1 and columns * (width + 1) <= 96 else 0
    return rows, columns, gap


def mosaic(values: Tensor) -> Tensor:
    """The kernels (n, inputs, h, w) of each filter beside one another, (n, H, W); what is left over is zero."""
    rows, columns, gap = mosaic_shape(values.shape[1:])
    padded = F.pad(values, (0, gap, 0, gap, 0, rows * columns - values.shape[1]))
    joined: Tensor = padded.unflatten(1, (rows, columns)).permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)
    return joined[:, : joined.shape[1] - gap, : joined.shape[2] - gap]


def strongest(values: Tensor, strides: tuple[int, int]) -> Tensor:
    """A matrix with the value of the largest magnitude of each block."""
    if max(strides) == 1:
        return values
    high, low = (F.max_pool2d(v[None], strides, ceil_mode=True)[0] for v in (values, -values))
    return torch.where(high >= low, high, -low)


def reduced(maps: Tensor, side: int) -> Tensor:
    """Maps (n, h, w) with no more places than ``side`` along either axis: the mean of those that fall together."""
    height, width = maps.shape[1:]
    larger = max(height, width)
    if larger <= side:
        return maps
    return F.adaptive_avg_pool2d(maps, (max(1, round(height * side / larger)), max(1, round(width * side / larger))))
