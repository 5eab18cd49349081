"""RISE (Petsiuk et al. 2018), sketched: the target's mean under random masks, place by place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nbcnnviz.attribution import Attribution, method
from nbcnnviz.attribution.method import Frames
from nbcnnviz.core.options import option
from nbcnnviz.core.targets import Target
from nbcnnviz.core.trace import Trace

BATCH = 8


def random_masks(count: int, cells: int, keep: float, size: tuple[int, int], random: torch.Generator) -> Tensor:
    """Grids of cells that are kept or not, enlarged by more than the picture and cut at a random place: (N, 1, H, W)."""
    height, width = (-(-side // cells) for side in size)
    grids = (torch.rand(count, 1, cells + 1, cells + 1, generator=random) < keep).float()
    large = F.interpolate(grids, ((cells + 1) * height, (cells + 1) * width), mode="bilinear", align_corners=False)
    tops = torch.randint(height, (count,), generator=random).tolist()
    lefts = torch.randint(width, (count,), generator=random).tolist()
    cut = [m[:, y : y + size[0], x : x + size[1]] for m, y, x in zip(large, tops, lefts, strict=True)]
    return torch.stack(cut)


@method("RISE, sketched", family="perturbation", cost="masks x F", passes=lambda options, trace: options["masks"])
def rise_sketch(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    masks: int = option(64, low=1, high=100_000, help="How many random masks."),
    cells: int = option(7, low=2, high=64, help="How many cells of a mask lie side by side."),
    keep: float = option(0.5, low=0.01, high=0.99, help="The share of the cells that is kept."),
    seed: int = option(0, low=0, help="Of the random masks."),
) -> Frames:
    """sum_i M_i S(x M_i) / sum_i M_i, with the masks M_i."""
    random = torch.Generator().manual_seed(seed)
    total, weight = torch.zeros(1, 1, *trace.size), torch.zeros(1, 1, *trace.size)
    for done in range(0, masks, BATCH):
        made = random_masks(min(BATCH, masks - done), cells, keep, trace.size, random)
        scores = target(trace.network.trace(trace.input.detach() * made)).detach().cpu()
        total += (scores[:, None, None, None] * made).sum(0, keepdim=True)
        weight += made.sum(0, keepdim=True)
        values = total / weight.clamp(min=1e-12)
        yield Attribution(values, target, layer, trace, step=done + len(made), steps=masks)
