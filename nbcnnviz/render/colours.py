"""Colour maps as tables of 256 colours.

The two defaults are perceptually uniform and told apart by colour-blind eyes. The tables are the cmap package's.
"""

from __future__ import annotations

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
