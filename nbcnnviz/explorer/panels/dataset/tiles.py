"""A filter's patches as they are shown: each beside its projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nbcnnviz.dataset import SeenPatch, TopPatches
from nbcnnviz.render.tiles import Tile, tiles_image

SIDE = 96
"""Pixels of a patch on its longer side; its projection beside it has as many."""

_GREY = 127


@dataclass(frozen=True, eq=False)
class Shown:
    """What the panel shows of one filter; ``seen`` may lack projections that are still to come.

    ``note`` says why there is nothing, where there is nothing.
    """

    layer: str
    channel: int
    seen: tuple[SeenPatch, ...] = ()
    caption: str = ""
    note: str = ""


def pixels(seen: Sequence[SeenPatch]) -> np.ndarray:
    """The tiles, (n, SIDE, 2 SIDE, 3) uint8; grey where there is nothing, or nothing yet."""
    tiles = np.full((len(seen), SIDE, 2 * SIDE, 3), _GREY, np.uint8)
    for tile, one in zip(tiles, seen, strict=True):
        for half, picture in enumerate((one.pixels, one.projected_pixels)):
            if picture is not None:
                _put(tile[:, half * SIDE : (half + 1) * SIDE], picture)
    return tiles


def named(seen: Sequence[SeenPatch]) -> list[Tile]:
    """What is written under each tile, and said of it."""
    tiles = []
    for rank, one in enumerate(seen):
        p = one.patch
        label = f", {one.label}" if one.label else ""
        hint = f"{p.key}{label}: {p.value:.3g} at row {p.row}, column {p.column}. Click to open it, with this unit selected"
        tiles.append(Tile(rank, f"{p.value:.3g}{' ' + one.label if one.label else ''}"[:24], hint))
    return tiles


def caption(result: TopPatches, layer: str, channel: int) -> str:
    """How often the filter fires, at which values, and for which labels."""
    said = f"Filter {channel}: fires in {result.fires(layer, channel):.0%} of {result.seen} pictures"
    labels = [f"{label} {mean:.3g}" for label, mean in result.classes(layer, channel, 2)]
    return said + (f", most for {', '.join(labels)}" if labels else "")


def sheet(shown: Shown) -> Image.Image | None:
    """The tiles as one picture, three a row as in Zeiler & Fergus 2014, figure 2; None if there are none."""
    if not shown.seen:
        return None
    bare = [Tile(at) for at in range(len(shown.seen))]
    return tiles_image(pixels(shown.seen), bare, width=2 * SIDE, columns=3)


def _put(where: np.ndarray, picture: np.ndarray) -> None:
    """A picture in the middle of a square, as large as it fits."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    where[top : top + size[1], left : left + size[0]] = small
