"""The four pictures that show where a layer's rows and columns are, and how well an answer to them agrees with a grid."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

COUNT = 4
"""How many pictures there are."""

Grid = tuple[tuple[int, int], tuple[int, int]]
"""Rows and columns of tokens, and how many tokens there are before and after them that belong to no place."""

_CHANNELS, _PLACES = 32, 32  # as many tell enough, of a place and along an axis
_APART = 16  # tokens of no place, at most


def pictures(shape: tuple[int, int, int], mean: Tensor, deviation: Tensor) -> Tensor:
    """Pictures (4, C, H, W) with this mean and standard deviation of each channel, (C,).

    Two of coarse and fine noise; one with the left half of the first and the right half of the second; one with the top
    half of the first and the bottom half of the second.
    """
    channels, height, width = shape
    generator = torch.Generator().manual_seed(0)
    fine = torch.randn(2, channels, height, width, generator=generator, device="cpu")
    coarse = F.interpolate(torch.randn(2, channels, 4, 4, generator=generator, device="cpu"), (height, width))
    one, other = 0.7 * (fine + coarse) * deviation.view(-1, 1, 1) + mean.view(-1, 1, 1)
    beside, above = other.clone(), other.clone()
    beside[:, :, : width // 2] = one[:, :, : width // 2]
    above[:, : height // 2] = one[:, : height // 2]
    return torch.stack([one, other, beside, above])


def on_maps(values: Tensor, channels: int, rows: int, columns: int, size: tuple[int, int]) -> float:
    """How well values (4, ...) agree with these axes being channels, rows and columns, for an input of this size.

    1 is perfect agreement, 0 none; the lower one of rows and columns. Nothing can be told along an axis of one place: then
    the two must have the proportions of the input.
    """
    grid = values.shape[rows], values.shape[columns]
    if min(grid) == 1 and not _proportionate(grid, size):
        return 0.0
    steps = [-(-length // _PLACES) for length in grid]
    few = values.movedim((rows, columns), (1, 2))[:, :: steps[0], :: steps[1]]
    return float(_cosines(_likeness(few.flatten(1, 2)), _maps(*grid).to(values.device))[0])


def on_tokens(values: Tensor, channels: int, tokens: int, size: tuple[int, int]) -> tuple[float, Grid]:
    """The grid that values (4, ...) with these axes agree with best, and how well; see `on_maps`."""
    found = _likeness(values.movedim(tokens, 1))
    for proportionate in (True, False):
        grids, expected = _grids(values.shape[tokens], size, proportionate)
        if grids:
            cosines = _cosines(found, expected.to(values.device)).cpu()
            best = float(cosines.max())
            if best > 0.8 or not proportionate:
                # Of those that agree as well the first: with the fewest tokens apart.
                return best, grids[int((cosines >= best - 1e-3).nonzero()[0])]
    return 0.0, ((0, 0), (0, 0))


def on_grid(values: Tensor, channels: int, tokens: int, grid: Grid) -> float:
    """How well values (4, ...) with these axes agree with one grid; see `on_tokens`."""
    length = values.shape[tokens]
    return float(_cosines(_likeness(values.movedim(tokens, 1)), _sequence(grid, length)[None].to(values.device))[0])


def _likeness(values: Tensor) -> Tensor:
    """How like the first picture's each place of the last two is, of values (4, places, channels): (2, places).

    1 is the first picture's, 0 the second's; 0.5 where both have the same values.
    """
    values = values[..., :: -(-values.shape[-1] // _CHANNELS)].float()
    first, second, mixed = values[0], values[1], values[2:]
    to_first, to_second = ((mixed - pure).abs().nan_to_num(0, 0, 0).sum(2) for pure in (first, second))
    return (to_second / (to_first + to_second)).nan_to_num(0.5, 0.5, 0.5)


def _cosines(found: Tensor, expected: Tensor) -> Tensor:
    """The cosines of a likeness (2, places) with expectations (n, 2, places), the lower one of the two that tell: (n,)."""
    found = _centred(found)
    scale = found.norm(dim=1) * expected.norm(dim=2)
    cosines = (expected * found).sum(2) / scale.clamp_min(1e-20)
    # Along an axis of one place everything is expected to be alike.
    lowest: Tensor = cosines.masked_fill(expected.abs().amax(2) == 0, 1).amin(1)
    return lowest * (expected != 0).flatten(1).any(1)


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(-1, keepdim=True)


def _halves(length: int) -> Tensor:
    """How much of each of so many places is in the first half."""
    return ((0.5 - torch.arange(length) / length) * length).clamp(0, 1)


@lru_cache(maxsize=64)
def _maps(rows: int, columns: int) -> Tensor:
    """What the likeness of some, evenly, of a grid's places is, less its mean: (1, 2, places)."""
    down, across = (_halves(length)[:: -(-length // _PLACES)] for length in (rows, columns))
    return _centred(torch.stack([across.expand(len(down), -1), down[:, None].expand(-1, len(across))]).flatten(1))[None]


def _sequence(grid: Grid, length: int) -> Tensor:
    """What the likeness of tokens on a grid is, less its mean, and zero for those apart: (2, length)."""
    (rows, columns), (before, _) = grid
    across, down = _halves(columns).expand(rows, columns), _halves(rows)[:, None].expand(rows, columns)
    expected = torch.zeros(2, length)
    expected[:, before : before + rows * columns] = _centred(torch.stack([across, down]).flatten(1))
    return expected


@lru_cache(maxsize=64)
def _grids(length: int, size: tuple[int, int], proportionate: bool) -> tuple[list[Grid], Tensor]:
    """Grids of as many places as a sequence has tokens, or of a few less, with what the likeness on each is."""
    grids: list[Grid] = []
    for apart in range(min(_APART if proportionate else 2, length - 2) + 1):
        count = length - apart
        for rows in range(1, count + 1):
            grid = rows, count // rows
            if grid[0] * grid[1] != count or _proportionate(grid, size) is not proportionate:
                continue
            if proportionate or min(grid) > 1:
                grids.append((grid, (apart, 0)))
            if apart and (proportionate or min(grid) > 1):
                grids.append((grid, (0, apart)))
    return grids, torch.stack([_sequence(grid, length) for grid in grids]) if grids else torch.zeros(0)


def _proportionate(grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a grid has the proportions of an input, but for what is rounded to whole places."""
    return abs(grid[0] * size[1] - grid[1] * size[0]) <= max(size)
