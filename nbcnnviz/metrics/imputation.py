"""Pixels taken out of a picture and filled in from those around them, so that what is missing does not show."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# A pixel is the weighted mean of its eight neighbours: a sixth each beside it, a twelfth each across (Rong et al. 2022).
_NEIGHBOURS = [(dy, dx, 1 / 6 if dy == 0 or dx == 0 else 1 / 12) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def imputed(x: Tensor, missing: Tensor, noise: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
    """A picture (C, H, W) with the ``missing`` pixels (H, W) replaced: noisy linear imputation (Rong et al. 2022, 4.2).

    Every missing pixel becomes the weighted mean of its neighbours within the picture, missing ones included: one sparse
    linear system. ``noise`` is the standard deviation of what is added to them.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    height, width = missing.shape
    gone = missing.cpu().numpy().astype(bool)
    unknowns = np.full(gone.shape, -1)
    unknowns[gone] = np.arange(gone.sum())
    if not gone.any():
        return x.clone()
    ys, xs = np.nonzero(gone)
    pixels = x.detach().double().cpu().numpy()
    weight_within = np.zeros(len(ys))
    known = np.zeros((len(ys), len(pixels)))
    rows, columns, entries = [], [], []
    for dy, dx, weight in _NEIGHBOURS:
        y, x_ = ys + dy, xs + dx
        within = np.flatnonzero((y >= 0) & (x_ >= 0) & (y < height) & (x_ < width))
        y, x_ = y[within], x_[within]
        weight_within[within] += weight
        there = ~gone[y, x_]
        known[within[there]] += weight * pixels[:, y[there], x_[there]].T
        rows.append(within[~there])
        columns.append(unknowns[y[~there], x_[~there]])
        entries.append(np.full((~there).sum(), -weight))
    rows.append(np.arange(len(ys)))
    columns.append(np.arange(len(ys)))
    entries.append(weight_within)
    system = coo_matrix(
        (np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), shape=(len(ys), len(ys))
    ).tocsc()
    if len(ys) == height * width:  # nothing is left to fill in from
        filled = np.repeat(pixels.mean((1, 2))[None], len(ys), 0)
    else:
        filled = splu(system).solve(known)
    out = x.detach().clone()
    values = torch.from_numpy(filled.T)
    if noise:
        values = values + noise * torch.randn(values.shape, generator=generator, dtype=values.dtype)
    out[:, torch.from_numpy(gone).to(out.device)] = values.to(out)
    return out
