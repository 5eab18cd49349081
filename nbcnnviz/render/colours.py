"""Colour maps as tables of 256 colours, and the colours of lines.

The two default maps are perceptually uniform and told apart by colour-blind eyes. The tables are the cmap package's.
"""

from __future__ import annotations

import colorsys
from functools import cache

import numpy as np

SEQUENTIAL = "inferno"
"""For maps that start at zero."""
DIVERGING = "RdBu_r"
"""For signed maps: zero in the middle."""

# What a colour map is called here, and in cmap's catalogue.
_CATALOGUE = {
    "inferno": "bids:inferno",
    "viridis": "bids:viridis",
    "magma": "bids:magma",
    "cividis": "cividis:cividis",
    "gray": "matlab:gray",
    "turbo": "google:turbo",
    "jet": "matlab:jet",
    "RdBu_r": "colorbrewer:RdBu_r",
    "PuOr_r": "colorbrewer:PuOr_r",
    "coolwarm": "matplotlib:coolwarm",
}
COLOURS = tuple(_CATALOGUE)

LINES = ("#5b8fc7", "#e08a1e", "#4fa56b", "#c8589b", "#8f7fd1", "#a98b5d", "#5fb3b3", "#d06f5c")
"""Colours of lines, to be told from one another on white and on black; of more lines see `palette`."""


@cache
def lookup_table(name: str) -> np.ndarray:
    """The 256 colours of a colour map, (256, 3) uint8: one of `COLOURS`, or a name from cmap's catalogue."""
    import cmap  # when the first map is drawn

    table = (cmap.Colormap(_CATALOGUE.get(name, name)).lut(256)[:, :3] * 255).round().astype(np.uint8)
    table.setflags(write=False)
    return table


def default_for(signed: bool) -> str:
    """The colour map for a signed map, or for one that starts at zero."""
    return DIVERGING if signed else SEQUENTIAL


def palette(count: int) -> list[str]:
    """Colours for so many lines."""
    if count <= len(LINES):
        return list(LINES[: max(1, count)])
    return [_hex((at * 0.618034) % 1, (0.45, 0.6)[at % 2], 0.55) for at in range(count)]


def depth_colours(count: int) -> list[str]:
    """Colours from the first layer to the last, blue to orange, as bright as can be seen on white and on black."""
    return [_hex((0.6 + 0.48 * i / max(count - 1, 1)) % 1, 0.55, 0.65) for i in range(count)]


def _hex(hue: float, lightness: float, saturation: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, saturation))
