"""Contour lines, as js/src/contours.ts draws them.

A place's distance from the line where a map has a level is, near by, how far its value is from the level over how fast
the values change there.
"""

from __future__ import annotations

import numpy as np

LEVELS = (0.25, 0.5, 0.75)
"""The shares of a scale's end at which lines are drawn; of a signed one on either side of its middle."""

_LINE, _EDGE, _DARK = 0.5, 1.2, 0.6  # half the widths in pixels of a white line and of the black one under it; how dark


def levels(signed: bool) -> list[float]:
    """The places of the lines on a scale from 0 to 255."""
    if signed:
        return [127.5 * (1 + side * share) for share in LEVELS for side in (-1, 1)]
    return [255 * share for share in LEVELS]


def inked(pixels: np.ndarray, places: np.ndarray, signed: bool) -> np.ndarray:
    """A picture (H, W, 3), any numbers from 0 to 255, with the contour lines of a map in places on its scale (H, W)."""
    field = places.astype(np.float64)
    slopes = [np.gradient(field, axis=axis) if field.shape[axis] > 1 else np.zeros_like(field) for axis in (0, 1)]
    off = np.abs(field[..., None] - levels(signed)).min(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        steep = np.hypot(*slopes)
        far = np.where(steep > 0, off / steep, np.inf)
    white = np.clip(_LINE + 0.5 - far, 0, 1)[..., None]
    light = 1 - _DARK * np.clip(_EDGE + 0.5 - far, 0, 1)[..., None]
    return pixels * light * (1 - white) + 255 * white
