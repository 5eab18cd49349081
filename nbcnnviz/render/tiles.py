"""Small maps side by side, as a picture too, and large ones reduced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nbcnnviz.render.plots import RED

_GAP = 8


@dataclass(frozen=True)
class Tile:
    """What a tile stands for: its index (a filter, say), what is written under it, what is said when it is pointed at."""

    index: int
    label: str = ""
    title: str = ""
    broken: int = 0  # values that are NaN or infinite: the tile is marked
    note: str = ""  # a sentence in place of the picture
    badge: str = ""  # a number in its corner


def tiles_image(
    pixels: NDArray[np.uint8], tiles: Sequence[Tile], *, width: int, columns: int, text: int = 10
) -> Image.Image:
    """Tiles as one picture, each over its label; one with broken values has its corner marked.

    Parameters
    ----------
    pixels
        (n, h, w, 3) uint8.
    tiles
        What each stands for.
    width
        Of a tile in the picture, in pixels.
    columns
        How many there are in a row, at most.
    text
        How high the labels are, in pixels.
    """
    size = width, max(1, round(width * pixels.shape[1] / pixels.shape[2]))
    columns = max(1, min(len(tiles), columns))
    below = 2 * text if any(tile.label or tile.badge for tile in tiles) else _GAP
    step = width + _GAP, size[1] + below
    rows = max(1, math.ceil(len(tiles) / columns))
    sheet = Image.new("RGB", (columns * step[0] + _GAP, rows * step[1] + _GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(text)
    how = Image.Resampling.NEAREST if pixels.shape[2] <= width else Image.Resampling.BOX
    for at, (tile, shown) in enumerate(zip(tiles, pixels, strict=True)):
        x, y = _GAP + at % columns * step[0], _GAP + at // columns * step[1]
        sheet.paste(Image.fromarray(shown).resize(size, how), (x, y))
        pen.text((x + width / 2, y + size[1] + 2), f"{tile.label} {tile.badge}".strip(), "black", font, anchor="ma")
        if tile.broken:
            right, corner = x + width - 1, width // 5
            pen.polygon(((right - corner, y), (right, y), (right, y + corner)), fill=RED)
    return sheet


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
