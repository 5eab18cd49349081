"""What an answer of the panel is made of, and how each part comes from a trace.

All of it is on the CPU and apart from the graph, but for the layer's own maps, which share the trace's memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from torch import Tensor

from nbcnnviz.core.rules import Rule
from nbcnnviz.core.targets import TargetLike, Unit, as_target
from nbcnnviz.core.trace import Trace
from nbcnnviz.inside import Box, FeatureMaps, Place, Ranking, Switches, feature_maps, project, ranking, strongest
from nbcnnviz.inside.features import By
from nbcnnviz.inside.figures.captions import amiss, applied_at
from nbcnnviz.render import Scale
from nbcnnviz.render.tiles import Tile, reduced

A_PAGE: Final = 96
TILE: Final = 64
"""How wide a tile is on the screen, in pixels; no larger map is sent there."""

ORDERS: Final[dict[By, str]] = {
    "index": "index",
    "activation": "strongest activation",
    "mean": "mean activation",
    "contribution": "gradient x activation",
}
RULES: Final[dict[str, Rule]] = {"Gradient": "gradient", "Guided backprop": "guided", "Deconvnet": "deconvnet"}
ZEILER: Final = "Zeiler projection"


@dataclass(frozen=True, eq=False)
class Stack:
    """A layer's maps, and what is to be known of all of them before a page of them is shown.

    Attributes
    ----------
    maps : FeatureMaps
        The maps.
    broken : tuple[int, ...]
        How many values of each are NaN or infinite.
    signed, high
        Whether any is negative, and the largest finite magnitude.
    """

    maps: FeatureMaps
    broken: tuple[int, ...]
    signed: bool
    high: float

    @property
    def spatial(self) -> bool:
        """Whether they are maps, and not one value each."""
        return self.maps.values.shape[1:].numel() > 1

    @property
    def noun(self) -> str:
        """What one of the layer's channels is called."""
        return "filter" if self.spatial else "unit"

    @property
    def size(self) -> str:
        """Of a map, in words."""
        return " x ".join(map(str, self.maps.values.shape[1:]))


@dataclass(frozen=True, eq=False)
class Page:
    """A page of the grid: some of the filters in their order, reduced to what a tile has room for."""

    number: int
    pages: int
    order: Ranking
    signed: bool
    maps: Tensor
    scales: tuple[Scale, ...]
    tiles: tuple[Tile, ...]
    caption: str


@dataclass(frozen=True, eq=False)
class Large:
    """The map of one filter, at its own resolution."""

    filter: int
    values: Tensor
    scale: Scale
    strongest: Place
    caption: str


@dataclass(frozen=True, eq=False)
class UnitMap:
    """What made a unit fire: a map on the input, (C, H, W); and for Zeiler's, the switches of the max-pools on the path."""

    values: Tensor
    rectifiers: int
    switches: tuple[Switches, ...] | None


@dataclass(frozen=True, eq=False)
class UnitView:
    """A unit with its receptive field, and its map on the input as it is shown."""

    place: Place
    box: Box
    unit_map: UnitMap
    map: Tensor
    scale: Scale
    caption: str


@dataclass(frozen=True, eq=False)
class Features:
    """All that the panel shows at once.

    Attributes
    ----------
    layer : str
        Whose maps.
    stack, page, large
        All its maps, a page of them, and one.
    filter : int or None
        The filter that is selected; if none is, the first in the order is the large one.
    place : tuple[int, int] or None
        The row and column of the unit that is looked at.
    unit_view : UnitView or None
        That unit; None too while it is being computed.
    """

    layer: str
    stack: Stack
    page: Page
    large: Large
    filter: int | None
    place: tuple[int, int] | None
    unit_view: UnitView | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """The numbers, by name.

        ``activations`` (F, h, w), of the whole layer; ``filters`` in their ``order`` with the values that they were
        ``judged`` by; the ``filter`` that is shown large; and of a unit, ``unit`` (row, column), its ``receptive_field``
        (top, left, bottom, right), its ``unit_map`` (C, H, W), and of each max-pool on a Zeiler projection's path
        ``switches_0`` ..., (K, 3) of row and column on the picture and strength.
        """
        order, view = self.page.order, self.unit_view
        arrays = {
            "activations": self.stack.maps.values.float().cpu().numpy(),
            "filters": order.filters.numpy(),
            "judged": order.values.float().numpy(),
            "order": np.array(order.by),
            "filter": np.array(self.large.filter),
        }
        if view is not None:
            arrays["unit"] = np.array([view.place.row, view.place.column])
            arrays["receptive_field"] = np.array(view.box)
            arrays["unit_map"] = view.unit_map.values.numpy()
            for i, pool in enumerate(view.unit_map.switches or ()):
                arrays[f"switches_{i}"] = np.column_stack([pool.pixels.cpu(), pool.strengths.float().cpu()])
        return arrays


def stack_of(trace: Trace, layer: str) -> Stack:
    """Look through a layer."""
    maps = feature_maps(trace, layer)
    low, high = (float(end) for end in _finite(maps.values).aminmax())
    return Stack(maps, tuple((maps.nan + maps.infinite).tolist()), low < 0, max(high, -low))


def order_of(trace: Trace, layer: str, by: By, target: TargetLike) -> Ranking:
    """The filters of a layer in an order."""
    order = ranking(trace, layer, by, target=target)
    return Ranking(order.by, order.filters.cpu(), order.values.cpu())


def pages_of(order: Ranking) -> int:
    """How many pages the filters of a layer fill."""
    return math.ceil(len(order.filters) / A_PAGE)


def page_of(trace: Trace, stack: Stack, order: Ranking, target: TargetLike, number: int, shared: bool) -> Page:
    """A page of the grid, on one colour scale for all pages or on one for each tile."""
    part = slice(number * A_PAGE, (number + 1) * A_PAGE)
    filters, judged = order.filters[part], order.values[part].tolist()
    maps = reduced(stack.maps.values[filters.to(stack.maps.values.device)].float(), TILE).cpu()
    scales: tuple[Scale, ...] = (_scale(stack.high, stack),)
    if not shared:
        # Among signed maps, one that is zero everywhere is in the middle of any scale.
        highs = [high or (stack.high or 1.0) * stack.signed for high in _finite(maps).abs().amax((1, 2)).tolist()]
        scales = tuple(_scale(high, stack) for high in highs)
    said = [f": {ORDERS[order.by]} {value:.3g}" if order.by != "index" else "" for value in judged]
    tiles = tuple(
        Tile(i, str(i), f"{stack.noun} {i}{value}", stack.broken[i])
        for i, value in zip(filters.tolist(), said, strict=True)
    )
    caption = _caption_of_page(trace, stack, order, target)
    return Page(number, pages_of(order), order, stack.signed, maps, scales, tiles, caption)


def large_of(trace: Trace, stack: Stack, filter_: int) -> Large:
    """The map of one filter."""
    values = stack.maps.values[filter_].float().cpu()
    best, scale = strongest(trace, stack.maps.layer, filter_), Scale.to_show(values)
    caption = f"{stack.noun.capitalize()} {filter_} of {stack.maps.layer}: "
    if stack.spatial:
        caption += f"strongest {best.value:.3g} at row {best.row}, column {best.column}"
    else:
        caption += f"{float(values):.3g}"
    return Large(
        filter_, values, scale, best, caption + amiss(values, scale, "; ", "the filter does not answer to this picture")
    )


def unit_map_of(trace: Trace, unit: Unit, how: str) -> UnitMap:
    """What made a unit fire: one of `RULES`, or `ZEILER`."""
    if how == ZEILER:
        projection = project(trace, unit.layer, unit.channel, place=unit.place)
        return UnitMap(projection.values.float().cpu(), projection.rectifiers, projection.switches)
    gradient, rectifiers = trace.gradient_and_rectifiers(unit, "input", RULES[how])
    return UnitMap(gradient[0].float().cpu(), rectifiers, None)


def unit_view_of(trace: Trace, stack: Stack, unit: Unit, how: str, box: Box, found: UnitMap, signed: bool) -> UnitView:
    """A unit as it is shown: the sum of its map over colours, signed, or the largest magnitude over them."""
    row, column = unit.place
    place = Place(row, column, float(stack.maps.values[unit.channel, row, column]))
    map_ = found.values.sum(0) if signed else found.values.abs().amax(0)
    scale = Scale.to_show(map_)
    at = f" at row {row}, column {column} of filter {unit.channel}" if stack.spatial else f" {unit.channel}"
    sees = "the whole picture" if (box.height, box.width) == trace.size else f"{box.height} x {box.width} pixels"
    if how != "Gradient" and found.rectifiers:
        how += applied_at(found.rectifiers)
    elif how != "Gradient":
        how += ", no rectifier on the way" + (": the same as the gradient" if how != ZEILER else "")
    flat = "a small change of the picture does not change the unit, whose rectifier is flat there"
    caption = f"Unit{at}: {place.value:.3g}, sees {sees}. {how}{amiss(map_, scale, '; ', flat)}"
    return UnitView(place, box, found, map_, scale, caption)


def _caption_of_page(trace: Trace, stack: Stack, order: Ranking, target: TargetLike) -> str:
    count = len(stack.maps)
    what = f"{count} maps of {stack.size}" if stack.spatial else f"{count} units without places"
    by = ORDERS[order.by]
    alike = int((order.values == order.values[0]).sum())
    if order.by == "activation" and alike > 1:
        by += f", which {alike} of them share ({float(order.values[0]):.3g}): these by their mean"
    if order.by == "contribution":
        by += f" for {as_target(target, trace).describe(trace.network)}"
    broken = sum(n > 0 for n in stack.broken)
    nan, infinite = int(stack.maps.nan.sum()), int(stack.maps.infinite.sum())
    remark = f"; {broken} of them with {nan} NaN and {infinite} infinite values" if broken else ""
    return f"{stack.maps.layer}: {what}, by {by}{remark}"


def _scale(high: float, stack: Stack) -> Scale:
    return Scale(-high if stack.signed else 0.0, high)


def _finite(values: Tensor) -> Tensor:
    return values.nan_to_num(0, 0, 0)
