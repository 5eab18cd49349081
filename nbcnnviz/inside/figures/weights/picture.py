"""The page of the Weights panel as a picture, for a file."""

from __future__ import annotations

import math

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
    count, height, width = view.maps.shape[:3]
    wide = 2 * max(side, width if columns > 1 else side)
    columns = max(1, min(columns, 920 // (wide + 16)))
    high = max(1, round(wide * height / width))
    labelled = any(tile.label for tile in view.tiles)
    step = high + (40 if labelled else 16)
    rows = math.ceil(count / columns)
    sheet = Image.new("RGB", (960, 80 + rows * step + 60), "white")
    pen = ImageDraw.Draw(sheet)
    text = view.caption
    while pen.textlength(text, font(12)) > 920 and len(text) > 8:
        text = text[:-2].rstrip("…") + "…"
    pen.text((20, 24), text, "#1f2328", font(12))
    table = lookup_table(colours)
    pixels = colour_bytes(view) if view.maps.ndim == 4 else table[colour_bytes(view)]
    for at, tile in enumerate(view.tiles):
        row, column = divmod(at, columns)
        x, y = 20 + column * (wide + 16), 70 + row * step
        resample = Image.Resampling.NEAREST if width <= wide else Image.Resampling.BOX
        sheet.paste(Image.fromarray(pixels[at]).resize((wide, high), resample), (x, y))
        if tile.broken:
            pen.polygon([(x + wide - 20, y), (x + wide, y), (x + wide, y + 20)], "#d64545")
        if tile.label:
            pen.text((x + wide / 2, y + high + 4), tile.label, "#57606a", font(9), anchor="ma")
    if view.maps.ndim == 3:
        y = 80 + rows * step
        sheet.paste(Image.fromarray(table[None]).resize((512, 14)), (20, y))
        for at, value in ((20, -view.scale.high), (276, 0.0), (532, view.scale.high)):
            pen.text(
                (at, y + 18),
                short(value),
                "#1f2328",
                font(9),
                anchor="la" if at == 20 else "ma" if value == 0 else "ra",
            )
    return sheet
