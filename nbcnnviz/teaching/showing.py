"""Pictures and numbers beside one another, with captions: for the cells of a lesson."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from nbcnnviz.attribution import Attribution
from nbcnnviz.core.errors import ArgumentTypeError
from nbcnnviz.core.images import load_image
from nbcnnviz.render import Scale, colour_picture, coloured
from nbcnnviz.render.plots import Plot, Ruler, font, plots_image, stacked

_GAP = 8


def row(
    pictures: Sequence[Any],
    captions: Sequence[object] = (),
    *,
    height: int = 160,
    columns: int | None = None,
    boxes: Sequence[Any] = (),
) -> Image.Image:
    """Pictures beside one another, each under its caption.

    Parameters
    ----------
    pictures
        Each a map (h, w) or (1, h, w) of numbers, drawn on a scale of its own (signed: blue below zero, white at zero, red
        above; else from black to bright); a (3, h, w) tensor, each channel about grey, which is zero; an `Attribution`; or
        whatever `load_image` takes.
    captions
        One each, or none.
    height
        Of each in pixels. Small ones are enlarged pixel by pixel.
    columns
        After how many a new row begins. Default: all in one.
    boxes
        One each, or none: (top, left, bottom, right) in the picture's own pixels, or None.

    Raises
    ------
    ArgumentTypeError
        If there are no pictures, or captions or boxes are not as many.
    """
    pictures = list(pictures)
    for what, given in (("captions", captions), ("boxes", boxes)):
        if not pictures or (given and len(given) != len(pictures)):
            raise ArgumentTypeError(f"{len(pictures)} pictures have {len(given)} {what}: give one each, or none.")
    every = zip(pictures, captions or [""] * len(pictures), boxes or [None] * len(pictures), strict=True)
    tiles = [_tile(_drawn(picture), str(caption), height, box) for picture, caption, box in every]
    columns = columns or len(tiles)
    widths = [max(tile.width for tile in tiles[at::columns]) for at in range(min(columns, len(tiles)))]
    tiles = [_widened(tile, widths[at % columns]) for at, tile in enumerate(tiles)]
    rows = [stacked(tiles[at : at + columns], beside=True) for at in range(0, len(tiles), columns)]
    return stacked(rows)


def chart(values: Mapping[str, Any], *, log: bool = False, labels: Sequence[str] = ()) -> Image.Image:
    """Numbers as bars, one chart for each name, all on one scale.

    Parameters
    ----------
    values
        From a title to (n,) numbers.
    log
        Whether the scale is logarithmic.
    labels
        Of the columns.
    """
    series = {name: np.asarray(torch.as_tensor(numbers).detach().cpu(), np.float64) for name, numbers in values.items()}
    together = np.concatenate([*series.values()])
    ruler = Ruler.decades(together) if log else Ruler.even(np.append(together, 0.0))
    every = max(1, -(-max(map(len, series.values())) // 10))
    ticks = {float(i): label for i, label in enumerate(labels) if i % every == 0}
    plots = [Plot(name, numbers, ruler, ticks=ticks) for name, numbers in series.items()]
    return plots_image(plots, columns=min(2, len(plots)))


def _drawn(picture: Any) -> Image.Image:
    if isinstance(picture, Attribution):
        return picture.picture() if picture.view == "picture" else picture.overlay()
    if isinstance(picture, np.ndarray) and picture.dtype.kind == "f":
        picture = torch.from_numpy(picture)
    if isinstance(picture, Tensor) and picture.dtype != torch.uint8:
        values = picture.detach().float().cpu()
        if values.ndim == 3 and len(values) == 3:
            return colour_picture(values)
        values = values[0] if values.ndim == 3 else values
        scale = Scale.of(values)
        return Image.fromarray(coloured(values, scale, None if scale.signed else "gray")[..., :3])
    return load_image(picture)


def _tile(picture: Image.Image, caption: str, height: int, box: Any) -> Image.Image:
    factor = height / picture.height
    width = max(1, round(picture.width * height / picture.height))
    smooth = picture.height > height
    picture = picture.resize((width, height), Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)
    pen, letters = ImageDraw.Draw(picture), font(7)
    if box is not None:
        top, left, bottom, right = (edge * factor for edge in box)
        pen.rectangle((left, top, right - 1, bottom - 1), outline="#e08a1e", width=3)
    lines = caption.split("\n") if caption else []
    wide = max([pen.textlength(line, letters) for line in lines], default=0)
    tile = Image.new("RGB", (max(width, int(wide)) + _GAP, height + 18 * len(lines) + _GAP), "white")
    tile.paste(picture, (0, 18 * len(lines)))
    pen = ImageDraw.Draw(tile)
    for at, line in enumerate(lines):
        pen.text((0, 18 * at), line, "black", letters)
    return tile


def _widened(tile: Image.Image, width: int) -> Image.Image:
    sheet = Image.new("RGB", (width, tile.height), "white")
    sheet.paste(tile)
    return sheet
