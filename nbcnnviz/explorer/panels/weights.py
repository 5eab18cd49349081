"""The Weights panel: widgets, what the reader does with them, and the answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import ipywidgets as w

from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import one_class
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front import TileFrame, parts_of
from nbcnnviz.explorer.panels.panel import Panel
from nbcnnviz.explorer.widgets.charts import ColumnChart
from nbcnnviz.explorer.widgets.layout import (
    Pager,
    Updating,
    button,
    grid,
    labelled,
    menu,
    panel,
    reveal,
    row,
    show_only,
    toggles,
)
from nbcnnviz.inside.figures.files import FORMATS, Figure
from nbcnnviz.inside.figures.weights import views
from nbcnnviz.inside.figures.weights.answer import Known, learn
from nbcnnviz.inside.figures.weights.frame import COLUMNS, MATRIX, Offer, WeightsFrame, near, nothing_said, per_page
from nbcnnviz.inside.figures.weights.picture import picture
from nbcnnviz.inside.figures.weights.words import about, close_up, summary
from nbcnnviz.inside.kernels import By, with_weights
from nbcnnviz.render import DIVERGING
from nbcnnviz.render.plots import Plot
from nbcnnviz.session import Snapshot

_SORTS: dict[By, str] = {
    "index": "As the layer has them",
    "norm": "By the L2 norm of each filter, the largest first",
    "gradient": "By the norm of the gradient: first what the class would change most",
}


class WeightsPanel(Panel):
    """Shows kernels as tiles, linear layers as a matrix, normalisations as bars; a click selects the filter.

    Attributes
    ----------
    result : WeightsFrame or None
        What is on screen.
    """

    name = "weights"
    title = "Weights"
    uses_class = False
    formats = FORMATS
    things = "weights"
    widget: w.VBox
    result: WeightsFrame | None = None

    def __init__(self, *links: Any) -> None:
        super().__init__(*links)
        self._known: Known | None = None
        self._own: tuple[str, int] | None = None  # a filter looked at that the selection cannot name
        self._turned: dict[str, tuple[Any, int]] = {}
        self._offered: Network | None = None
        self._updating = Updating()
        self._build()

    def _build(self) -> None:
        self._layers = menu("Weights of", "The layers that have weights of their own", [], None, basis=240)
        self._layers.layout.max_width = "420px"
        self._sort = toggles({str(by): tooltip for by, tooltip in _SORTS.items()})
        self._layers.observe(self._layer_chosen, "value")
        self._sort.observe(lambda _: self.ask(), "value")
        self._about = w.HTML()
        self._offers = row()
        reveal(self._offers, False)
        self._pager = Pager("Filters", lambda page: self._turn("filters", page))
        self._input_pager = Pager("Inputs", lambda page: self._turn("inputs", page))
        self._close_up = w.HTML()
        self._tiles, self._slopes = _tiles("Weights"), _tiles("Gradient of the weights")
        self._kernels, self._kernel_slopes = _tiles("Kernels of the filter"), _tiles("Gradient of the kernels")
        for tiles in (self._tiles, self._slopes):
            tiles.on("choose", self._tile_chosen)
        self._overview, self._detail = _pair(self._tiles, self._slopes), _pair(self._kernels, self._kernel_slopes)
        # Figures are made when they are first needed: most layers need none.
        self._bars, self._more_bars = _pair(), _pair()
        self._charts: dict[str, ColumnChart] = {}
        self._parts = (
            *(self._overview, self._pager.widget, self._bars, self._close_up, self._input_pager.widget),
            *(self._more_bars, self._detail),
        )
        self.widget = panel(
            row(self._layers, labelled("Sorted by", self._sort), gap="4px 20px"),
            self._about,
            self._offers,
            *self._parts,
        )
        show_only(self._parts, ())

    # What the reader does.

    def _layer_chosen(self, change: Any) -> None:
        if not self._updating and change.new is not None:
            self.attempt(lambda: self.go_to(change.new))

    def _tile_chosen(self, message: dict[str, Any]) -> None:
        frame, index = self.result, message.get("index")
        if frame is not None and frame.weights.kind != "matrix" and type(index) is int:
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
            self.attempt(lambda: self.choose_within(frame.layer, filter=filter_))
        else:
            self._own = frame.layer, filter_
            self.ask()

    def _turn(self, what: str, page: int) -> None:
        if not self._updating and self.result is not None:
            frame = self.result
            # It counts until something else is looked at.
            self._turned[what] = (frame.network, frame.layer, frame.by, frame.filter), page
            self.ask()

    def settings(self) -> By:
        """How the filters are sorted."""
        by: By = self._sort.value
        return by

    # From the selection to a frame.

    def answer(self, snapshot: Snapshot, trace: Trace) -> Generator[WeightsFrame | Offer, None, None]:
        """The weights of the layer, and their gradient by one backward pass, unless both are known."""
        network, layer = snapshot.network, snapshot.layer
        offered = with_weights(network)
        if layer not in offered:
            others = near(offered, network, layer)
            yield Offer(network, others)
            raise MethodNotApplicableError(nothing_said(network, layer, others))
        target = one_class(snapshot.class_, trace)
        known = self._known
        if known is None or not known.answers(trace, layer, target):
            self._known = None
            self._known = known = learn(trace, layer, target)
        chosen = self._own[1] if self._own is not None and self._own[0] == layer else snapshot.filter
        yield known.frame(snapshot.settings, chosen, self._page_asked)

    def _page_asked(self, what: str, place: tuple[Any, ...]) -> int | None:
        where, page = self._turned.get(what, (None, 0))
        if where == place:
            return page
        self._turned.pop(what, None)  # something else is looked at
        return None

    def forget(self) -> None:
        """Let the gradients go, and the trace with them."""
        self._known = self.result = None

    # From a frame to the screen.

    def show(self, frame: WeightsFrame | Offer) -> None:
        """Draw weights; or the way to a layer that has some."""
        with self._updating:
            self._follow(frame)
            if isinstance(frame, Offer):
                self.result = None
                self._about.value = ""
                self._offer(frame.layers)
                show_only(self._parts, ())
            else:
                self._offer(())
                self.result = frame
                self._draw(frame)

    def _offer(self, layers: Sequence[str]) -> None:
        """Offer to go to other layers, in place of those offered before."""
        before = self._offers.children
        self._offers.children = [self._way_to(layer) for layer in layers]
        reveal(self._offers, bool(layers))
        for part in parts_of(*before):
            part.close()

    def _way_to(self, layer: str) -> w.Button:
        tooltip = f"Show the weights of {layer}"
        return button(f"go to {layer}", "", tooltip, lambda: self.attempt(lambda: self.go_to(layer)))

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
        self._about.value = about(frame)
        labels = [found.filters[i] for i in frame.filters.tolist()]
        if frame.pages > 1:
            first = frame.page * per_page(found)
            said = f"{first + 1} to {first + len(labels)} of {len(found):,} filters"
        else:
            said = f"{len(found):,} filters"
        self._pager.show(frame.page, frame.pages, said)
        first, each = frame.input_page * COLUMNS, frame.weights.values.shape[1] if kind != "scales" else 0
        self._input_pager.show(
            frame.input_page, frame.input_pages, f"{first + 1} to {first + len(frame.inputs)} of {each:,} inputs"
        )
        self._close_up.value = close_up(frame)
        paged = [self._pager.widget] if frame.pages > 1 else []
        paged_inputs = [self._input_pager.widget] if frame.input_pages > 1 else []
        # A figure that is drawn for the first time while it is hidden has no size, and bqplot complains.
        if kind == "scales":
            show_only(self._parts, [*paged, self._bars, *([self._more_bars] if found.shifts is not None else [])])
            self._draw_scales(frame)
        elif kind == "matrix":
            parts = [self._overview, *paged, self._bars, self._close_up, *paged_inputs, self._more_bars]
            show_only(self._parts, parts)
            self._draw_matrix(frame)
        else:
            show_only(self._parts, [self._overview, *paged, self._close_up, *paged_inputs, self._detail])
            self._draw_kernels(frame)

    def _draw_kernels(self, frame: WeightsFrame) -> None:
        for tiles, view in zip((self._tiles, self._slopes), views.filter_views(frame), strict=True):
            side = 56 if frame.weights.kind == "rgb" else 64
            _fill(tiles, view, side if view is None else max(side, min(112, view.maps.shape[2])), frame.filter)
        each = len(frame.inputs)
        side = 96 if each <= 4 else 56 if each <= 64 else 40
        for tiles, view in zip((self._kernels, self._kernel_slopes), views.kernel_views(frame), strict=True):
            _fill(tiles, view, side, -1)

    def _draw_matrix(self, frame: WeightsFrame) -> None:
        for tiles, view in zip((self._tiles, self._slopes), views.matrix_views(frame), strict=True):
            _fill(tiles, view, MATRIX[1], -1)
        self._draw_plots(self._bars, views.norm_plots(frame), self._bar_chosen)
        self._draw_plots(self._more_bars, views.row_plots(frame), None)

    def _draw_scales(self, frame: WeightsFrame) -> None:
        plots = views.scale_plots(frame)
        self._draw_plots(self._bars, plots[:2], self._bar_chosen)
        self._draw_plots(self._more_bars, plots[2:], self._bar_chosen)

    def _draw_plots(self, box: w.GridBox, plots: Sequence[Plot], choose: Callable[[int], None] | None) -> None:
        """Draw plots in the charts of a box; one set can be clicked, another cannot."""
        charts = []
        for at in range(len(plots)):
            name = f"{'first' if box is self._bars else 'second'} {at} {choose is not None}"
            if name not in self._charts:
                self._charts[name] = ColumnChart(160, choose=choose)
                box.children = [*box.children, self._charts[name].widget]
            charts.append(self._charts[name])
        show_only(box.children, [chart.widget for chart in charts])
        for chart, plot in zip(charts, plots, strict=True):
            chart.show(plot)

    # As a file, as code.

    def figure(self, shown: WeightsFrame) -> Figure:
        """The page as it is shown, and the numbers of the whole layer: weights, gradients, norms, order."""
        return Figure(picture(shown, self._tiles.colours), shown.arrays, summary(shown))

    def code(self, image: str) -> list[str]:
        """The call of `nbcnnviz.inside.weights` that makes the numbers again."""
        if self.result is None:
            return ["from nbcnnviz.inside import weights", f"trace = net.trace({image})"]
        return self.result.code(image)


# Widgets.


def _tiles(label: str) -> TileFrame:
    return TileFrame(label=label, colours=DIVERGING)


def _fill(tiles: TileFrame, view: views.View | None, side: int, chosen: int) -> None:
    reveal(tiles, view is not None)
    if view is None:
        return
    with tiles.hold_sync():
        tiles.side, tiles.chosen = side, chosen
        if view.maps.ndim == 4:
            tiles.show_colour(views.colour_bytes(view), view.scale, view.tiles, view.caption)
        else:
            tiles.show(view.maps, [view.scale], view.tiles, tiles.colours, view.caption)


def _pair(*children: w.Widget) -> w.GridBox:
    return grid(*children, width=316, gap="10px 24px")
