"""What is on the tiles and in the charts of the Weights panel: the weights, and beside them their gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nbcnnviz.inside.figures.weights.frame import (
    WeightsFrame,
    as_numpy,
    broken_in,
    matrix_strides,
    symmetric,
)
from nbcnnviz.inside.figures.weights.words import called, rise
from nbcnnviz.render import Scale, to_bytes
from nbcnnviz.render.plots import BLUE, PURPLE, Plot, Ruler, short
from nbcnnviz.render.tiles import Tile, mosaic, strongest

_RGB = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class View:
    """Tiles on one scale: maps (n, h, w), or colour pictures (n, h, w, 3)."""

    maps: Tensor
    scale: Scale
    tiles: list[Tile]
    caption: str


Views = tuple[View | None, View | None]
"""Of weights, and of their gradient if there is one: the same tiles in the same order."""


def filter_views(frame: WeightsFrame) -> Views:
    """A tile for each filter on the page: in colour, or with the kernels of all its inputs side by side."""
    found, rgb = frame.weights, frame.weights.kind == "rgb"
    gradients = None if found.gradient_norms is None else found.gradient_norms.tolist()
    norms = found.norms.tolist()
    said = []
    for i in frame.filters.tolist():
        judged = {"index": None, "norm": norms[i], "gradient": gradients[i] if gradients else norms[i]}[frame.by]
        label = found.filters[i] if judged is None else f"{found.filters[i]}: {short(judged)}"
        slope = f", of its gradient {short(gradients[i])}" if gradients else ""
        said.append((i, label, f"filter {found.filters[i]}, norm {short(norms[i])}{slope}"))

    def view(values: Tensor, broken: Tensor, caption: str) -> View:
        shown = values[frame.filters.to(values.device)]
        scale = symmetric(shown)
        maps = shown.permute(0, 2, 3, 1) if rgb else mosaic(shown)
        tiles = [Tile(i, label, title, int(broken[i])) for i, label, title in said]
        return View(maps, scale, tiles, caption)

    return _both(frame, view, "Weights", rise(frame))


def kernel_views(frame: WeightsFrame) -> Views:
    """A tile for each input of the filter looked at."""
    found = frame.weights
    assert found.inputs is not None
    names = _RGB if found.kind == "rgb" else [str(i) for i in found.inputs[frame.filter].tolist()]

    def view(values: Tensor, _: Tensor, caption: str) -> View:
        shown = values[frame.filter][frame.inputs.to(values.device)]
        broken = broken_in(shown).tolist()
        tiles = [Tile(i, names[i], f"input {names[i]}", b) for i, b in zip(frame.inputs.tolist(), broken, strict=True)]
        return View(shown, symmetric(shown), tiles, caption)

    name = found.filters[frame.filter]
    return _both(frame, view, f"Filter {name}, input by input", f"Filter {name}, gradient")


def matrix_views(frame: WeightsFrame) -> Views:
    """One tile: the matrix, its rows in the order asked for, reduced by keeping the strongest of what falls together."""
    found = frame.weights
    rows, columns = found.values.shape
    strides = matrix_strides(found)

    def view(values: Tensor, broken: Tensor, caption: str) -> View:
        # A few rows at a time: the largest matrices are larger than what is free beside them.
        rows_at_once = frame.order.to(values.device).split(64 * strides[0])
        shown = torch.cat([strongest(values[some].float(), strides) for some in rows_at_once])
        title = f"{rows:,} filters (rows) x {columns:,} inputs"
        if max(strides) > 1:
            title += f", a square the strongest of {strides[0]} x {strides[1]}"
        return View(shown[None], symmetric(shown), [Tile(0, "", title, int(broken.sum()))], caption)

    return _both(frame, view, "Weights, a filter a row", rise(frame))


def _both(frame: WeightsFrame, view: Callable[[Tensor, Tensor, str], View], own: str, beside: str) -> Views:
    found = frame.weights
    slope = None
    if found.gradient is not None and frame.broken_gradient is not None:
        slope = view(found.gradient, frame.broken_gradient, beside)
    return view(found.values, frame.broken, own), slope


def colour_bytes(view: View) -> np.ndarray:
    """The places of a view on its scale, as bytes of its own shape."""
    return to_bytes(view.maps.flatten(0, 1).flatten(1), view.scale).reshape(tuple(view.maps.shape))


# Charts.


def scale_plots(frame: WeightsFrame) -> list[Plot]:
    """Scales and their gradient; and shifts and theirs, if there are any."""
    found = frame.weights
    own = [(frame.weights.parameter, found.values, found.gradient)]
    if found.shifts is not None:
        own.append((f"{found.parameter.rpartition('.')[0]}.bias", found.shifts, found.shift_gradient))
    plots = []
    for name, values, slope in own:
        plots.append(_over_filters(frame, name, values, BLUE))
        if slope is not None:
            plots.append(_over_filters(frame, rise(frame), slope, PURPLE))
    return plots


def norm_plots(frame: WeightsFrame) -> list[Plot]:
    """The norm of each filter, and of its gradient."""
    found = frame.weights
    plots = [_over_filters(frame, "Norm of each filter", found.norms, BLUE)]
    if found.gradient_norms is not None:
        plots.append(_over_filters(frame, "Norm of the gradient of each", found.gradient_norms, PURPLE))
    return plots


def _over_filters(frame: WeightsFrame, title: str, values: Tensor, colour: str) -> Plot:
    found = frame.weights
    shown = as_numpy(values[frame.filters.to(values.device)]).astype(np.float64)
    filters = frame.filters.tolist()
    at = filters.index(frame.filter) if frame.filter in filters else None
    hints = [f"{called(found, i)}: {short(v)}" for i, v in zip(filters, shown, strict=True)]
    return Plot(
        title,
        shown,
        Ruler.even(shown),
        colour=colour,
        ticks={place: str(filters[place]) for place in _spread(len(filters))},
        broken=~np.isfinite(shown),
        chosen=at,
        hints=hints,
    )


def row_plots(frame: WeightsFrame) -> list[Plot]:
    """The weights of the filter looked at, and their gradient, input by input."""
    found = frame.weights
    inputs = frame.inputs.tolist()
    name = called(found, frame.filter)
    plots = []
    for title, values, colour in (
        (f"{name}, input by input", found.values, BLUE),
        (f"{name}, gradient", found.gradient, PURPLE),
    ):
        if values is not None:
            shown = as_numpy(values[frame.filter][frame.inputs.to(values.device)]).astype(np.float64)
            plots.append(
                Plot(
                    title,
                    shown,
                    Ruler.even(shown),
                    colour=colour,
                    ticks={place: str(inputs[place]) for place in _spread(len(inputs))},
                    broken=~np.isfinite(shown),
                    hints=[f"input {i}: {short(v)}" for i, v in zip(inputs, shown, strict=True)],
                )
            )
    return plots


def _spread(count: int, most: int = 9) -> list[int]:
    """A few places from the first to the last."""
    return sorted({round(i * (count - 1) / max(1, min(most, count) - 1)) for i in range(min(most, count))})
