"""Marks over the maps, and the panel as one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ipycanvas import Canvas
from PIL import Image, ImageDraw
from torch import Tensor

from nbcnnviz.explorer.front import MapFrame
from nbcnnviz.explorer.front.canvas import Draw
from nbcnnviz.inside import Box, Switches
from nbcnnviz.inside.figures.features import TILE, Page
from nbcnnviz.render import Scale, coloured, overlay
from nbcnnviz.render.tiles import tiles_image

DOTS = 400
_DOT_COLOURS = ("#00e5ff", "#ffd54f", "#ff80ab", "#b2ff59", "#ea80fc")
_SIDE, _GAP, _COLUMNS = 280, 8, 12


def outline(
    left: float, top: float, width: float, height: float, within: tuple[int, int], colour: str = "white"
) -> Draw:
    """A rectangle on black, to be seen on any picture; its line lies within a picture of that width and height."""
    edge = 2
    right, bottom = min(left + width, within[0] - edge), min(top + height, within[1] - edge)
    left, top = max(left, edge), max(top, edge)

    def draw(canvas: Canvas) -> None:
        for ink, line in (("black", 4), (colour, 2)):
            canvas.stroke_style, canvas.line_width = ink, line
            canvas.stroke_rect(left, top, max(1.0, right - left), max(1.0, bottom - top))

    return draw


def dots(pools: Sequence[Switches]) -> Draw:
    """The strongest switches of each max-pool, a colour a pool; the weaker half of the strength is paler."""

    def draw(canvas: Canvas) -> None:
        for i, pool in enumerate(pools):
            rows, columns = pool.pixels[:DOTS].float().cpu().numpy().T + 0.5
            strengths = pool.strengths[:DOTS].abs().float().cpu().numpy()
            strong = strengths >= strengths.max(initial=0) / 2
            canvas.fill_style = _DOT_COLOURS[i % len(_DOT_COLOURS)]
            for some, alpha in ((~strong, 0.5), (strong, 1.0)):
                if some.any():
                    canvas.global_alpha = alpha
                    canvas.fill_circles(columns[some], rows[some], 1.2)
        canvas.global_alpha = 1.0

    return draw


def together(*parts: Draw) -> Draw:
    """One drawing after the other."""

    def draw(canvas: Canvas) -> None:
        for part in parts:
            part(canvas)

    return draw


def poster(
    page: Page,
    colours: str,
    picture: Image.Image,
    maps: Sequence[tuple[MapFrame, Tensor, Scale]],
    box: Box | None,
) -> Image.Image:
    """The page of the grid; to its right each map over the picture, with the receptive field, and alone."""
    scales = np.broadcast_to(np.array(page.scales, object), len(page.maps))  # one for all, or one each
    pixels = np.stack([coloured(map_, scale, colours) for map_, scale in zip(page.maps, scales, strict=True)])
    grid = tiles_image(pixels, page.tiles, width=TILE, columns=_COLUMNS)
    size = _SIDE, max(1, round(_SIDE * picture.height / picture.width))
    height = max(grid.height, len(maps) * (size[1] + _GAP) + _GAP)
    sheet = Image.new("RGB", (grid.width + 2 * (size[0] + _GAP), height), "white")
    sheet.paste(grid)
    for i, (frame, values, scale) in enumerate(maps):
        over = overlay(picture, values[None], opacity=frame.opacity, threshold=frame.threshold, colours=frame.colours)
        if box is not None and box.height > 0 and box.width > 0:
            ImageDraw.Draw(over).rectangle((box.left, box.top, box.right - 1, box.bottom - 1), outline="white")
        alone = Image.fromarray(coloured(values, scale, frame.colours))
        at = grid.width, _GAP + i * (size[1] + _GAP)
        sheet.paste(over.resize(size, Image.Resampling.BICUBIC), at)
        sheet.paste(alone.resize(size, Image.Resampling.NEAREST), (at[0] + size[0] + _GAP, at[1]))
    return sheet
