"""The page of the Weights panel as a picture, for a file."""

from __future__ import annotations

from PIL import Image, ImageDraw

from nbcnnviz.inside.figures.weights.frame import WeightsFrame
from nbcnnviz.inside.figures.weights.views import (
    View,
    Views,
    colour_bytes,
    filter_views,
    kernel_views,
    matrix_views,
    norm_plots,
    row_plots,
    scale_plots,
)
from nbcnnviz.render import DIVERGING, lookup_table
from nbcnnviz.render.plots import font, plots_image, short, stacked
from nbcnnviz.render.tiles import tiles_image

_INK = "#1f2328"


def picture(frame: WeightsFrame, colours: str = DIVERGING) -> Image.Image:
    """The page as it is shown, side by side with the gradient."""
    kind = frame.weights.kind
    if kind == "scales":
        return plots_image(scale_plots(frame), columns=1 if frame.without else 2, width=960, height=170)
    sheets = []
    if kind == "matrix":
        sheets.append(_beside(matrix_views(frame), colours, 320, 1))
        sheets.append(
            plots_image(
                [*norm_plots(frame), *row_plots(frame)], columns=1 if frame.without else 2, width=960, height=150
            )
        )
    else:
        sheets.append(_beside(filter_views(frame), colours, 48, 8))
        sheets.append(_beside(kernel_views(frame), colours, 48, 8))
    return stacked(sheets)


def _beside(views: Views, colours: str, side: int, columns: int) -> Image.Image:
    return stacked([_sheet(view, colours, side, columns) for view in views if view is not None], beside=True)


def _sheet(view: View, colours: str, side: int, columns: int) -> Image.Image:
    """Tiles with their labels, the caption above and the colour scale below, 480 pixels wide at twice the resolution."""
    width = view.maps.shape[2]
    wide = 2 * max(side, width if columns > 1 else side)
    table, places = lookup_table(colours), colour_bytes(view)
    pixels = places if view.maps.ndim == 4 else table[places]
    tiles = tiles_image(pixels, view.tiles, width=wide, columns=max(1, min(columns, 920 // (wide + 8))), text=18)
    sheet = Image.new("RGB", (960, tiles.height + 130), "white")
    sheet.paste(tiles, (12, 62))
    pen, text = ImageDraw.Draw(sheet), view.caption
    while pen.textlength(text, font(12)) > 920 and len(text) > 8:
        text = text[:-2].rstrip("…") + "…"
    pen.text((20, 24), text, _INK, font(12))
    if view.maps.ndim == 3:
        y = tiles.height + 70
        sheet.paste(Image.fromarray(table[None]).resize((512, 14)), (20, y))
        for at, value, anchor in ((20, -view.scale.high, "la"), (276, 0.0, "ma"), (532, view.scale.high, "ra")):
            pen.text((at, y + 18), short(value), _INK, font(9), anchor=anchor)
    return sheet
