"""The Weights panel: what a layer has learnt, filter by filter, and beside it what the class would change."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import ipywidgets as w
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from nbcnnviz.core.errors import GradientError, MethodNotApplicableError, NbcnnvizError, StaleTraceError
from nbcnnviz.core.network import Network
from nbcnnviz.core.replica import unwrapped
from nbcnnviz.core.targets import Target, describe
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front import Tile, TileFrame
from nbcnnviz.explorer.panels.asking import Quiet, class_asked, resolved, same, spelled
from nbcnnviz.explorer.panels.charts import BLUE, PURPLE, Chart, Plot, Ruler, drawn, letters, short
from nbcnnviz.explorer.panels.panel import Panel, Request
from nbcnnviz.explorer.panels.saving import FORMATS, write
from nbcnnviz.inside.kernels import By, Weights, main_parameter, weights
from nbcnnviz.render import DIVERGING, Scale, lookup_table, to_bytes

_SORTS: dict[str, By] = {"index": "index", "norm": "norm", "gradient": "gradient"}
_COLUMNS = 128  # bars on a page
_MOST_TILES, _FEWEST_TILES, _PAGE_BYTES = 64, 16, 300_000
_MATRIX = (250, 320)  # rows and columns that a matrix is reduced to, at most
_RGB = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class WeightsFrame:
    """What the panel shows.

    Attributes
    ----------
    network : Network
        Whose layer it is.
    weights : Weights
        Of all filters, in the module's order, with the target's gradient if there is one.
    target : Target
        Whose gradient that is; ``words``: what it is called.
    without : str
        Why there is no gradient; empty if there is one.
    by : str
        The order asked for; ``order``: all filters in it.
    filters : Tensor
        Those on the page; ``page`` of ``pages``, from 0.
    filter : int
        The one looked at closely.
    inputs : Tensor
        The places of its inputs that are shown, in the same order, a page of them too: ``input_page`` of ``input_pages``.
    broken : Tensor
        (F,) how many weights of each filter are NaN or infinite; ``broken_gradient`` the same of its gradient.
    """

    network: Network
    weights: Weights
    target: Target
    words: str
    without: str
    by: By
    order: Tensor
    filters: Tensor
    page: int
    pages: int
    filter: int
    inputs: Tensor
    input_page: int
    input_pages: int
    broken: Tensor
    broken_gradient: Tensor | None

    @property
    def layer(self) -> str:
        """Whose weights they are."""
        return self.weights.layer


@dataclass(frozen=True)
class Offer:
    """Layers that have weights, where the one chosen has none."""

    network: Network
    layers: tuple[str, ...]


class WeightsPanel(Panel):
    """Shows kernels as tiles, linear layers as a matrix, normalisations as bars; a click selects the filter.

    Attributes
    ----------
    result : WeightsFrame or None
        What is on screen.
    """

    name = "weights"
    title = "Weights"
    formats = FORMATS
    widget: w.VBox

    def __init__(self, *links: Any) -> None:
        super().__init__(*links)
        self.result: WeightsFrame | None = None
        self._known: tuple[Trace, str, Target, Weights, str] | None = None
        self._by: By = "index"
        self._own: tuple[str, int] | None = None  # a filter looked at that the selection cannot name
        self._turned: dict[str, tuple[Any, int]] = {}
        self._offered: Network | None = None
        self._quiet = Quiet()
        self._build()

    def _build(self) -> None:
        wide = w.Layout(width="auto", flex="1 1 240px", min_width="0", max_width="420px")
        initial = {"description_width": "initial"}
        self._layers = w.Dropdown(
            description="Weights of", tooltip="The layers that have weights of their own", style=initial, layout=wide
        )
        self._sort = w.ToggleButtons(
            options=list(_SORTS),
            description="Sorted by",
            tooltips=[
                "As the layer has them",
                "By the L2 norm of each filter, the largest first",
                "By the norm of the gradient: first what the class would change most",
            ],
            style=w.ToggleButtonsStyle(button_width="auto", description_width="initial"),
            layout=w.Layout(flex="0 0 auto", width="auto"),
        )
        self._layers.observe(self._layer_chosen, "value")
        self._sort.observe(self._sort_chosen, "value")
        self._about = w.HTML()
        self._gone = w.HBox(layout=w.Layout(flex_flow="row wrap", display="none"))
        self._pager = _Pager("Filters", lambda page: self._turn("filters", page))
        self._input_pager = _Pager("Inputs", lambda page: self._turn("inputs", page))
        self._close_up = w.HTML()
        self._tiles, self._slopes = _tiles("Weights"), _tiles("Gradient of the weights")
        self._kernels, self._kernel_slopes = _tiles("Kernels of the filter"), _tiles("Gradient of the kernels")
        for tiles in (self._tiles, self._slopes):
            tiles.on("choose", self._tile_chosen)
        self._overview, self._detail = _pair(self._tiles, self._slopes), _pair(self._kernels, self._kernel_slopes)
        # Figures are made when they are first needed: most layers need none.
        self._bars, self._more_bars = _pair(), _pair()
        self._charts: dict[str, Chart] = {}
        self.widget = w.VBox(
            [
                w.HBox([self._layers, self._sort], layout=w.Layout(flex_flow="row wrap", grid_gap="4px 20px")),
                self._about,
                self._gone,
                self._overview,
                self._pager.widget,
                self._bars,
                self._close_up,
                self._input_pager.widget,
                self._more_bars,
                self._detail,
            ],
            layout=w.Layout(min_width="0", grid_gap="6px", padding="8px 2px"),
        )
        _only(self._parts, ())

    @property
    def _parts(self) -> tuple[w.DOMWidget, ...]:
        return (
            *(self._overview, self._pager.widget, self._bars, self._close_up, self._input_pager.widget),
            *(self._more_bars, self._detail),
        )

    # What the reader does.

    def _layer_chosen(self, change: Any) -> None:
        if not self._quiet and change.new is not None:
            self._go_to(change.new)

    def _go_to(self, layer: str) -> None:
        self.attempt(lambda: setattr(self.selection, "layer", layer))

    def _sort_chosen(self, change: Any) -> None:
        if not self._quiet:
            self._by = _SORTS[change.new]
            self.ask()

    def _tile_chosen(self, message: dict[str, Any]) -> None:
        frame, index = self.result, message.get("index")
        if frame is not None and frame.weights.kind != "matrix" and isinstance(index, int):
            self._choose(index)

    def _bar_chosen(self, column: int) -> None:
        frame = self.result
        if frame is not None and column < len(frame.filters):
            self._choose(int(frame.filters[column]))

    def _choose(self, filter_: int) -> None:
        """Look at a filter: the selection's, where its filters are those of the weights."""
        frame = self.result
        if frame is None or not 0 <= filter_ < len(frame.weights):
            return
        layer = frame.network.layers.get(frame.layer)
        if layer is not None and len(layer.shape) in (1, 3) and layer.filters == len(frame.weights):
            self._own = None
            self.attempt(lambda: self._select(frame.layer, filter_))
        else:
            self._own = frame.layer, filter_
            self.ask()

    def _select(self, layer: str, filter_: int) -> None:
        if self.selection.layer == layer:  # else the reader has gone elsewhere since
            self.selection.filter = filter_

    def _turn(self, what: str, page: int) -> None:
        if not self._quiet and self.result is not None:
            self._turned[what] = self._place(what, self.result), page
            self.ask()

    @staticmethod
    def _place(what: str, frame: WeightsFrame) -> tuple[Any, ...]:
        """Where a page turned to counts: until something else is looked at."""
        return frame.network, frame.layer, frame.by, frame.filter

    # From the selection to a frame.

    def answer(self, request: Request, trace: Trace) -> Generator[WeightsFrame | Offer, None, None]:
        """The weights of the layer, and their gradient by one backward pass, unless both are known."""
        network, layer = request.network, request.layer
        offered = with_weights(network)
        if layer not in offered:
            near = _near(offered, network, layer)
            yield Offer(network, near)
            raise MethodNotApplicableError(_nothing(network, layer, near))
        target = resolved(class_asked(request, self.selection), trace)
        found, without = self._weights(trace, layer, target)
        yield self._frame(request, found, target, describe(target, trace), without)

    def _weights(self, trace: Trace, layer: str, target: Target) -> tuple[Weights, str]:
        known = self._known
        if known is None or known[0] is not trace or known[1] != layer or not same(known[2], target):
            self._known = None
            without = ""
            try:
                found = weights(trace, layer, gradient=True, target=target)
            except StaleTraceError:
                raise
            except GradientError as error:
                found, without = weights(trace, layer), str(error)
            known = self._known = trace, layer, target, found, without
        return known[3], known[4]

    def _frame(self, request: Request, found: Weights, target: Target, words: str, without: str) -> WeightsFrame:
        by, layer, network = self._by, found.layer, request.network
        order = _ordered(by, found.norms, found.gradient_norms)
        chosen = self._own[1] if self._own is not None and self._own[0] == layer else request.filter
        filter_ = int(order[0]) if chosen is None or chosen >= len(found) else chosen
        place = network, layer, by, filter_
        page, pages, filters = _paged(
            order, _per_page(found), self._page_asked("filters", place), int((order == filter_).nonzero()[0])
        )
        inputs = torch.zeros(1, dtype=torch.int64)
        if found.kind != "scales":
            own, slope = found.values[filter_], None if found.gradient is None else found.gradient[filter_]
            inputs = _ordered(
                "index" if found.kind == "rgb" else by, _norms(own), None if slope is None else _norms(slope)
            )
        input_page, input_pages, inputs = _paged(inputs, _COLUMNS, self._page_asked("inputs", place), 0)
        return WeightsFrame(
            network,
            found,
            target,
            words,
            without,
            by,
            order,
            filters,
            page,
            pages,
            filter_,
            inputs,
            input_page,
            input_pages,
            _broken(found.values),
            None if found.gradient is None else _broken(found.gradient),
        )

    def _page_asked(self, what: str, place: tuple[Any, ...]) -> int | None:
        where, page = self._turned.get(what, (None, 0))
        return page if where == place else None

    def forget(self) -> None:
        """Let the gradients go, and the trace with them."""
        self._known = self.result = None

    # From a frame to the screen.

    def show(self, frame: WeightsFrame | Offer) -> None:
        """Draw weights; or the way to a layer that has some."""
        with self._quiet:
            self._follow(frame)
            if isinstance(frame, Offer):
                self.result = None
                self._about.value = ""
                self._gone.children, gone = [self._button(layer) for layer in frame.layers], self._gone.children
                self._gone.layout.display = None
                _only(self._parts, ())
            else:
                self._gone.children, gone = [], self._gone.children
                self._gone.layout.display = "none"
                self.result = frame
                self._draw(frame)
        for button in gone:
            button.close()

    def _button(self, layer: str) -> w.Button:
        button = w.Button(
            description=f"go to {layer}", tooltip=f"Show the weights of {layer}", layout=w.Layout(width="auto")
        )
        button.on_click(lambda _: self._go_to(layer))
        return button

    def _follow(self, frame: WeightsFrame | Offer) -> None:
        if self._offered is not frame.network:
            self._offered = frame.network
            self._layers.options = [
                (f"{name}   {kind}, {' x '.join(map(str, shape))}", name)
                for name, (kind, shape) in with_weights(frame.network).items()
            ]
        self._layers.value = None if isinstance(frame, Offer) else frame.layer

    def _draw(self, frame: WeightsFrame) -> None:
        found, kind = frame.weights, frame.weights.kind
        self._about.value = _about(frame)
        labels = [found.filters[i] for i in frame.filters.tolist()]
        if frame.pages > 1:
            first = frame.page * _per_page(found)
            said = f"{first + 1} to {first + len(labels)} of {len(found):,} filters"
        else:
            said = f"{len(found):,} filters"
        self._pager.show(frame.page, frame.pages, said)
        first, each = frame.input_page * _COLUMNS, frame.weights.values.shape[1] if kind != "scales" else 0
        self._input_pager.show(
            frame.input_page, frame.input_pages, f"{first + 1} to {first + len(frame.inputs)} of {each:,} inputs"
        )
        self._close_up.value = _close_up(frame)
        paged = [self._pager.widget] if frame.pages > 1 else []
        paged_inputs = [self._input_pager.widget] if frame.input_pages > 1 else []
        if kind == "scales":
            self._draw_scales(frame)
            more = [self._more_bars] if found.shifts is not None else []
            _only(self._parts, [*paged, self._bars, *more])
        elif kind == "matrix":
            self._draw_matrix(frame)
            self._draw_rows(frame)
            parts = [self._overview, *paged, self._bars, self._close_up, *paged_inputs, self._more_bars]
            _only(self._parts, parts)
        else:
            self._draw_filters(frame)
            self._draw_kernels(frame)
            _only(self._parts, [self._overview, *paged, self._close_up, *paged_inputs, self._detail])

    def _draw_filters(self, frame: WeightsFrame) -> None:
        for tiles, view in zip((self._tiles, self._slopes), filter_views(frame), strict=True):
            side = 56 if frame.weights.kind == "rgb" else 64
            _fill(tiles, view, side if view is None else max(side, min(112, view.maps.shape[2])), frame.filter)

    def _draw_kernels(self, frame: WeightsFrame) -> None:
        each = len(frame.inputs)
        side = 96 if each <= 4 else 56 if each <= 64 else 40
        for tiles, view in zip((self._kernels, self._kernel_slopes), kernel_views(frame), strict=True):
            _fill(tiles, view, side, -1)

    def _draw_matrix(self, frame: WeightsFrame) -> None:
        for tiles, view in zip((self._tiles, self._slopes), matrix_views(frame), strict=True):
            _fill(tiles, view, _MATRIX[1], -1)

    def _draw_scales(self, frame: WeightsFrame) -> None:
        plots = scale_plots(frame)
        self._draw_plots(self._bars, plots[:2], self._bar_chosen)
        self._draw_plots(self._more_bars, plots[2:], self._bar_chosen)

    def _draw_rows(self, frame: WeightsFrame) -> None:
        self._draw_plots(self._bars, norm_plots(frame), self._bar_chosen)
        self._draw_plots(self._more_bars, row_plots(frame), None)

    def _draw_plots(self, box: w.GridBox, plots: Sequence[Plot], choose: Callable[[int], None] | None) -> None:
        """Draw plots in the charts of a box; one set can be clicked, another cannot."""
        charts = []
        for at in range(len(plots)):
            name = f"{'first' if box is self._bars else 'second'} {at} {choose is not None}"
            if name not in self._charts:
                self._charts[name] = Chart(160, choose=choose)
                box.children = [*box.children, self._charts[name].widget]
            charts.append(self._charts[name])
        _only(box.children, [chart.widget for chart in charts])
        for chart, plot in zip(charts, plots, strict=True):
            chart.show(plot)

    # As a file, as code.

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write the page as it is shown, or the numbers of the whole layer (``.npz``): weights, gradients, norms, order."""
        frame = self.result
        if frame is None:
            raise NbcnnvizError(
                "There are no weights to save yet: choose a layer that has some, and wait with ex.wait()."
            )
        found = frame.weights
        arrays = {
            "weights": found.values,
            "gradient": found.gradient,
            "shifts": found.shifts,
            "shift_gradient": found.shift_gradient,
            "norms": found.norms,
            "gradient_norms": found.gradient_norms,
            "order": frame.order,
            "inputs": found.inputs,
        }
        numbers = {name: _numpy(tensor) for name, tensor in arrays.items() if tensor is not None}
        write(path, picture(frame, self._tiles.colours), numbers, _said(frame), code)

    def code(self, image: str) -> list[str]:
        """The call of `nbcnnviz.inside.weights` that makes the numbers again."""
        lines = ["from nbcnnviz.inside import weights", f"trace = net.trace({image})"]
        frame = self.result
        if frame is None:
            return lines
        by, layer = f"by={frame.by!r}", repr(frame.layer)
        if frame.without:
            return [
                *lines,
                f"shown = weights(trace, {layer}, {by})  # no gradient",
                f"chosen = shown.values[{frame.filter}]",
            ]
        more, target = spelled(frame.target)
        return [
            *lines,
            *more,
            f"shown = weights(trace, {layer}, {by}, gradient=True, target={target})",
            f"chosen, its_gradient = shown.values[{frame.filter}], shown.gradient[{frame.filter}]",
        ]


class _Pager:
    """A page back, a page on, or straight to one; hidden where there is one page."""

    def __init__(self, what: str, turn: Callable[[int], None]) -> None:
        self._turn = turn
        slim = w.Layout(width="36px")
        self._back = w.Button(icon="chevron-left", tooltip=f"{what}: the page before", layout=slim)
        self._on = w.Button(icon="chevron-right", tooltip=f"{what}: the next page", layout=slim)
        self._page = w.BoundedIntText(1, 1, 1, description="Page", layout=w.Layout(width="110px"))
        self._page.style.description_width = "initial"
        self._says = w.HTML()
        self.widget = w.HBox(
            [self._back, self._page, self._on, self._says], layout=w.Layout(flex_flow="row wrap", grid_gap="2px 6px")
        )
        self._back.on_click(lambda _: turn(self._page.value - 2))
        self._on.on_click(lambda _: turn(self._page.value))
        self._page.observe(lambda change: turn(change.new - 1), "value")

    def show(self, page: int, pages: int, said: str) -> None:
        if page + 1 > self._page.max:
            self._page.max = pages
        self._page.value = page + 1
        self._page.max = pages
        self._back.disabled, self._on.disabled = page == 0, page == pages - 1
        self._says.value = f"<span class='nbv-hint'>of {pages}: {said}</span>"


# Which layers have weights.


def with_weights(network: Network) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The layers that have weights of their own, with their class and the weight's shape."""
    modules = dict(unwrapped(network.module).named_modules())
    found = {}
    for name, layer in network.layers.items():
        module = modules[name.partition(":")[0]]
        main = main_parameter(module)
        if main is not None:
            found[name] = layer.kind, tuple(getattr(module, main).shape)
    return found


def _near(offered: Sequence[str] | dict[str, Any], network: Network, layer: str | None) -> tuple[str, ...]:
    """Layers to go to instead: the first and last within a container; else the nearest before and behind."""
    within = [name for name in offered if layer is not None and name.startswith(f"{layer}.")]
    if not within:
        names = [*network.layers]
        at = names.index(layer) if layer in network.layers else 0
        before = [name for name in names[:at] if name in offered]
        behind = [name for name in names[at:] if name in offered]
        within = [*before[-1:], *behind[:1]]
    return tuple(dict.fromkeys([*within[:1], *within[-1:]]))


def _nothing(network: Network, layer: str | None, near: Sequence[str]) -> str:
    if not near:
        return f"No layer of {network.name} has weights of its own."
    choose = f"choose one that has, such as {near[0]!r}."
    if layer is None:
        return f"No layer is chosen: {choose}"
    kind = network.layers[layer].kind if layer in network.layers else "layer"
    return f"Layer {layer!r}, a {kind}, has no weights of its own: {choose}"


# Orders and pages.


def _ordered(by: By, norms: Tensor, gradient_norms: Tensor | None) -> Tensor:
    """As `nbcnnviz.inside.weights` orders them; by norm where there is no gradient to order by."""
    judged = gradient_norms if by == "gradient" and gradient_norms is not None else norms
    order = torch.arange(len(norms)) if by == "index" else judged.argsort(descending=True, stable=True)
    return order.cpu()


def _paged(order: Tensor, size: int, asked: int | None, position: int) -> tuple[int, int, Tensor]:
    """A page, how many there are, and what is on it: the page asked for, else the one with a position."""
    pages = max(1, math.ceil(len(order) / size))
    page = position // size if asked is None else min(max(0, asked), pages - 1)
    return page, pages, order[page * size : (page + 1) * size]


def _per_page(found: Weights) -> int:
    if found.kind in ("scales", "matrix"):
        return _COLUMNS
    if found.kind == "rgb":
        return 96
    rows, columns, gap = _mosaic_shape(found.values.shape[1:])
    height, width = found.values.shape[2:]
    pixels = rows * (height + gap) * columns * (width + gap)
    return max(_FEWEST_TILES, min(_MOST_TILES, _PAGE_BYTES // pixels))


def _norms(values: Tensor) -> Tensor:
    """The norm of each input's weights."""
    wide = torch.promote_types(values.dtype, torch.float32)
    return torch.linalg.vector_norm(values.flatten(1) if values.ndim > 1 else values[:, None], dim=1, dtype=wide)


def _broken(values: Tensor) -> Tensor:
    return (~values.isfinite()).reshape(len(values), -1).sum(1).cpu()


# What is on the tiles.


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
        rise = f", of its gradient {short(gradients[i])}" if gradients else ""
        said.append((i, label, f"filter {found.filters[i]}, norm {short(norms[i])}{rise}"))

    def view(values: Tensor, broken: Tensor, caption: str) -> View:
        shown = values[frame.filters.to(values.device)]
        scale = _symmetric(shown)
        maps = shown.permute(0, 2, 3, 1) if rgb else _mosaic(shown)
        tiles = [Tile(i, label, title, int(broken[i])) for i, label, title in said]
        return View(maps, scale, tiles, caption + (_colours_said(scale) if rgb else ""))

    each = found.values.shape[1]
    what = "in colour" if rgb else "a kernel each" if each == 1 else f"the kernels of its {each:,} inputs side by side"
    return _both(frame, view, f"Filters of {frame.layer}: {what}", _rise(frame))


def kernel_views(frame: WeightsFrame) -> Views:
    """A tile for each input of the filter looked at."""
    found = frame.weights
    assert found.inputs is not None
    names = _RGB if found.kind == "rgb" else [str(i) for i in found.inputs[frame.filter].tolist()]

    def view(values: Tensor, _: Tensor, caption: str) -> View:
        shown = values[frame.filter][frame.inputs.to(values.device)]
        broken = _broken(shown).tolist()
        tiles = [Tile(i, names[i], f"input {names[i]}", b) for i, b in zip(frame.inputs.tolist(), broken, strict=True)]
        return View(shown, _symmetric(shown), tiles, caption)

    name = found.filters[frame.filter]
    return _both(frame, view, f"Filter {name}: the kernel of each input", f"Filter {name}: {_rise(frame, small=True)}")


def matrix_views(frame: WeightsFrame) -> Views:
    """One tile: the matrix, its rows in the order asked for, reduced by keeping the strongest of what falls together."""
    found = frame.weights
    rows, columns = found.values.shape
    strides = math.ceil(rows / _MATRIX[0]), math.ceil(columns / _MATRIX[1])

    def view(values: Tensor, broken: Tensor, caption: str) -> View:
        shown = _strongest(values[frame.order.to(values.device)].float(), strides)
        title = f"{rows:,} filters (rows) x {columns:,} inputs"
        if max(strides) > 1:
            title += f", a square the strongest of {strides[0]} x {strides[1]}"
        return View(shown[None], _symmetric(shown), [Tile(0, "", title, int(broken.sum()))], caption)

    reduced = f", each square the strongest of {strides[0]} x {strides[1]}" if max(strides) > 1 else ""
    return _both(frame, view, f"Matrix of {frame.layer}: a filter a row{reduced}", _rise(frame))


def _both(frame: WeightsFrame, view: Callable[[Tensor, Tensor, str], View], own: str, rise: str) -> Views:
    found = frame.weights
    slope = None
    if found.gradient is not None and frame.broken_gradient is not None:
        slope = view(found.gradient, frame.broken_gradient, rise)
    return view(found.values, frame.broken, own), slope


def _rise(frame: WeightsFrame, small: bool = False) -> str:
    zero = frame.weights.gradient is not None and not bool(frame.weights.gradient.any())
    gradient = "gradient" if small else "Gradient"
    return f"{gradient} of {frame.words}: {'zero everywhere' if zero else 'this direction raises it'}"


def _symmetric(values: Tensor) -> Scale:
    """Zero in the middle; up to the largest finite magnitude."""
    high = Scale.of(values).high or 1.0
    return Scale(-high, high)


def _colours_said(scale: Scale) -> str:
    return f"; grey is zero, full colour ±{short(scale.high)}"


def _mosaic_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """How many kernels (inputs, h, w) go below and beside one another, about as a square, and the room between them."""
    inputs, height, width = shape
    columns = min(inputs, max(1, math.ceil(math.sqrt(inputs * height / width))))
    rows = math.ceil(inputs / columns)
    gap = 1 if inputs > 1 and height * width > 1 and columns * (width + 1) <= 96 else 0
    return rows, columns, gap


def _mosaic(values: Tensor) -> Tensor:
    """The kernels (n, inputs, h, w) of each filter beside one another, (n, H, W); what is left over is zero."""
    rows, columns, gap = _mosaic_shape(values.shape[1:])
    padded = F.pad(values, (0, gap, 0, gap, 0, rows * columns - values.shape[1]))
    laid = padded.unflatten(1, (rows, columns)).permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)
    return laid[:, : laid.shape[1] - gap, : laid.shape[2] - gap]


def _strongest(values: Tensor, strides: tuple[int, int]) -> Tensor:
    """A matrix with the value of the largest magnitude of each block."""
    if max(strides) == 1:
        return values
    high, low = (F.max_pool2d(v[None], strides, ceil_mode=True)[0] for v in (values, -values))
    return torch.where(high >= low, high, -low)


def _tiles(label: str) -> TileFrame:
    return TileFrame(label=label, colours=DIVERGING)


def _fill(tiles: TileFrame, view: View | None, side: int, chosen: int) -> None:
    tiles.layout.display = "none" if view is None else None
    if view is None:
        return
    with tiles.hold_sync():
        tiles.side, tiles.chosen = side, chosen
        if view.maps.ndim == 4:
            tiles.show_colour(_bytes(view), view.scale, view.tiles, view.caption)
        else:
            tiles.show(view.maps, [view.scale], view.tiles, tiles.colours, view.caption)


def _bytes(view: View) -> np.ndarray:
    return to_bytes(view.maps.flatten(0, 1).flatten(1), view.scale).reshape(tuple(view.maps.shape))


# What is on the bars.


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
            plots.append(_over_filters(frame, f"{_rise(frame)}: {name}", slope, PURPLE))
    return plots


def norm_plots(frame: WeightsFrame) -> list[Plot]:
    """The norm of each filter, and of its gradient."""
    found = frame.weights
    plots = [_over_filters(frame, "Norm of each filter: click one to select it", found.norms, BLUE)]
    if found.gradient_norms is not None:
        plots.append(_over_filters(frame, "Norm of its gradient", found.gradient_norms, PURPLE))
    return plots


def _over_filters(frame: WeightsFrame, title: str, values: Tensor, colour: str) -> Plot:
    found = frame.weights
    shown = _numpy(values[frame.filters.to(values.device)]).astype(np.float64)
    filters = frame.filters.tolist()
    at = filters.index(frame.filter) if frame.filter in filters else None
    hints = [f"{_called(found, i)}: {short(v)}" for i, v in zip(filters, shown, strict=True)]
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
    called = _called(found, frame.filter)
    plots = []
    for title, values, colour in (
        (f"{called}: the weight of each input", found.values, BLUE),
        (f"{called}: {_rise(frame, small=True)}", found.gradient, PURPLE),
    ):
        if values is not None:
            shown = _numpy(values[frame.filter][frame.inputs.to(values.device)]).astype(np.float64)
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


def _called(found: Weights, filter_: int) -> str:
    name = found.filters[filter_]
    return f"filter {filter_}" if name == str(filter_) else f"{name} ({filter_})"


# Words.


def _about(frame: WeightsFrame) -> str:
    """What the layer is, and what is amiss with it."""
    remarks = [_numbers_amiss(frame.broken, "weights"), _numbers_amiss(frame.broken_gradient, "values of the gradient")]
    if frame.without:
        remarks.append(f"No gradient is shown. {frame.without}")
        if frame.by == "gradient":
            remarks.append("Sorted by norm instead.")
    told = "".join(f"<br>{html.escape(remark)}" for remark in remarks if remark)
    return f"<b>{html.escape(frame.layer)}</b> <span class='nbv-hint'>{html.escape(_shape_said(frame))}</span>{told}"


def _shape_said(frame: WeightsFrame) -> str:
    found = frame.weights
    layer = frame.network.layers.get(frame.layer)
    kind = f"{layer.kind}: " if layer is not None else ""
    count, shape = len(found), found.values.shape
    if found.kind == "scales":
        return f"{kind}{count:,} {'scales and shifts' if found.shifts is not None else 'scales'}, one a channel"
    if found.kind == "matrix":
        return f"{kind}{count:,} filters of {shape[1]:,} inputs"
    assert found.inputs is not None
    reached = int(found.inputs.max()) + 1
    own = f", in groups: each sees {shape[1]:,} of {reached:,} inputs" if reached > shape[1] else ""
    return f"{kind}{count:,} filters of {' x '.join(map(str, shape[1:]))}{own}"


def _numbers_amiss(broken: Tensor | None, what: str) -> str:
    count = 0 if broken is None else int(broken.sum())
    if broken is None or not count:
        return ""
    return f"{count:,} {what} are NaN or infinite, in {int((broken > 0).sum()):,} of {len(broken):,} filters."


def _close_up(frame: WeightsFrame) -> str:
    found, i = frame.weights, frame.filter
    rise = "" if found.gradient_norms is None else f", of its gradient {short(float(found.gradient_norms[i]))}"
    said = f"norm {short(float(found.norms[i]))}{rise}"
    return f"<b>{html.escape(_called(found, i).capitalize())}</b> <span class='nbv-hint'>{said}</span>"


def _said(frame: WeightsFrame) -> str:
    beside = "" if frame.without else f", and the gradient of {frame.words}"
    return f"Weights of {frame.layer} of {frame.network.name}{beside}"


# Pictures.


def picture(frame: WeightsFrame, colours: str = DIVERGING) -> Image.Image:
    """The page as it is shown, side by side with the gradient."""
    kind = frame.weights.kind
    if kind == "scales":
        return drawn(scale_plots(frame), columns=1 if frame.without else 2, width=960, height=170)
    sheets = []
    if kind == "matrix":
        sheets.append(_beside(matrix_views(frame), colours, 320, 1))
        sheets.append(
            drawn([*norm_plots(frame), *row_plots(frame)], columns=1 if frame.without else 2, width=960, height=150)
        )
    else:
        sheets.append(_beside(filter_views(frame), colours, 48, 8))
        sheets.append(_beside(kernel_views(frame), colours, 48, 8))
    sheet = Image.new("RGB", (max(s.width for s in sheets), sum(s.height for s in sheets)), "white")
    top = 0
    for part in sheets:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def _beside(views: Views, colours: str, side: int, columns: int) -> Image.Image:
    shown = [view for view in views if view is not None]
    sheets = [_sheet(view, colours, side, columns) for view in shown]
    sheet = Image.new("RGB", (960 * len(sheets), max(s.height for s in sheets)), "white")
    for at, part in enumerate(sheets):
        sheet.paste(part, (960 * at, 0))
    return sheet


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
    while pen.textlength(text, letters(12)) > 920 and len(text) > 8:
        text = text[:-2].rstrip("…") + "…"
    pen.text((20, 24), text, "#1f2328", letters(12))
    table = lookup_table(colours)
    pixels = _bytes(view) if view.maps.ndim == 4 else table[_bytes(view)]
    for at, tile in enumerate(view.tiles):
        row, column = divmod(at, columns)
        x, y = 20 + column * (wide + 16), 70 + row * step
        resample = Image.Resampling.NEAREST if width <= wide else Image.Resampling.BOX
        sheet.paste(Image.fromarray(pixels[at]).resize((wide, high), resample), (x, y))
        if tile.broken:
            pen.polygon([(x + wide - 20, y), (x + wide, y), (x + wide, y + 20)], "#d64545")
        if tile.label:
            pen.text((x + wide / 2, y + high + 4), tile.label, "#57606a", letters(9), anchor="ma")
    if view.maps.ndim == 3:
        y = 80 + rows * step
        sheet.paste(Image.fromarray(table[None]).resize((512, 14)), (20, y))
        for at, value in ((20, -view.scale.high), (276, 0.0), (532, view.scale.high)):
            pen.text(
                (at, y + 18),
                short(value),
                "#1f2328",
                letters(9),
                anchor="la" if at == 20 else "ma" if value == 0 else "ra",
            )
    return sheet


# Widgets.


def _pair(*children: w.Widget) -> w.GridBox:
    return w.GridBox(
        children,
        layout=w.Layout(
            grid_template_columns="repeat(auto-fit, minmax(min(100%, 340px), 1fr))",
            grid_gap="10px 24px",
            min_width="0",
            width="100%",
        ),
    )


def _only(parts: Sequence[w.DOMWidget], shown: Sequence[w.DOMWidget]) -> None:
    """Show some of the parts, and hide the others."""
    for part in parts:
        display = None if any(part is one for one in shown) else "none"
        if part.layout.display != display:
            part.layout.display = display


def _numpy(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
