"""A page of features, and the maps that are shown large, as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from nbcnnviz.inside.figures.features import TILE, Page
from nbcnnviz.inside.receptive import Box
from nbcnnviz.render import Scale, coloured, overlay
from nbcnnviz.render.tiles import tiles_image

_SIDE, _GAP, _COLUMNS = 280, 8, 12


def poster(
    page: Page,
    colours: str | None,
    picture: Image.Image,
    maps: Sequence[tuple[Mapping[str, Any], Tensor, Scale]],
    box: Box | None,
) -> Image.Image:
    """The page of the grid; to its right each map over the picture, with the receptive field, and alone.

    Each map comes with its look, as `nbcnnviz.render.overlay` has it: ``opacity``, ``threshold``, ``colours``.
    """
    scales = np.broadcast_to(np.array(page.scales, object), len(page.maps))  # one for all, or one each
    pixels = np.stack([coloured(map_, scale, colours) for map_, scale in zip(page.maps, scales, strict=True)])
    grid = tiles_image(pixels, page.tiles, width=TILE, columns=_COLUMNS)
    size = _SIDE, max(1, round(_SIDE * picture.height / picture.width))
    height = max(grid.height, len(maps) * (size[1] + _GAP) + _GAP)
    sheet = Image.new("RGB", (grid.width + 2 * (size[0] + _GAP), height), "white")
    sheet.paste(grid)
    for i, (look, values, scale) in enumerate(maps):
        over = overlay(picture, values[None], **look)
        if box is not None and box.height > 0 and box.width > 0:
            ImageDraw.Draw(over).rectangle((box.left, box.top, box.right - 1, box.bottom - 1), outline="white")
        alone = Image.fromarray(coloured(values, scale, look.get("colours")))
        at = grid.width, _GAP + i * (size[1] + _GAP)
        sheet.paste(over.resize(size, Image.Resampling.BICUBIC), at)
        sheet.paste(alone.resize(size, Image.Resampling.NEAREST), (at[0] + size[0] + _GAP, at[1]))
    return sheet
