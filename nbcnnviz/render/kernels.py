"""Kernels side by side, and what is NaN or infinite in a picture."""

from __future__ import annotations

import numpy as np

from nbcnnviz.render.colours import DIVERGING, lookup_table

TILE, GAP = 24, 2
"""Pixels of a kernel, about, and between two."""
_CHOSEN = (224, 138, 30, 255)
_NOT_FINITE = (255, 0, 255, 255)


def kernel_grid(kernels: np.ndarray, chosen: int = -1) -> np.ndarray:
    """Kernels (n, channels, h, w) side by side, RGBA: of three channels in colour, grey where zero; else on a signed scale.

    One scale for all, up to the largest weight; ``chosen`` has a frame.
    """
    finite = np.isfinite(kernels).all(1)
    kernels = np.nan_to_num(kernels, posinf=0, neginf=0)
    flat = kernels if kernels.shape[1] == 3 else kernels.mean(1, keepdims=True)
    places = np.round(flat / (np.abs(flat).max() or 1) * 127.5 + 127.5).astype(np.uint8)
    pictures = places.transpose(0, 2, 3, 1) if flat.shape[1] == 3 else lookup_table(DIVERGING)[places[:, 0]]
    n, height, width = pictures.shape[:3]
    columns = int(np.ceil(np.sqrt(n * height / width)))
    lines = -(-n // columns)
    larger = max(1, round(TILE / max(height, width)))
    down, right = height * larger + GAP, width * larger + GAP
    grid = np.zeros((lines * down + GAP, columns * right + GAP, 4), np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * down, i % columns * right
        if i == chosen:
            grid[top : top + down + GAP, left : left + right + GAP] = _CHOSEN
        tile = with_faults(picture, ~finite[i]).repeat(larger, 0).repeat(larger, 1)
        grid[top + GAP : top + down, left + GAP : left + right] = tile
    return grid


def with_faults(picture: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) as RGBA, with the places marked that are NaN or infinite."""
    whole = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    whole[lost] = _NOT_FINITE
    return whole
