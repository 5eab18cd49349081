"""The Features panel: what the filters of a layer answered, and what made a unit of one fire."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import ipywidgets as w
from PIL import Image

from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.targets import Unit, in_python
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front import MapFrame, TileFrame, ring
from nbcnnviz.explorer.front.marks import DOTS, dots, outline, together
from nbcnnviz.explorer.panels.panel import Panel
from nbcnnviz.explorer.widgets.layout import Updating, button, checkbox, column, growing, hint, menu, reveal, row
from nbcnnviz.inside import Ranking, strongest
from nbcnnviz.inside.features import By
from nbcnnviz.inside.figures.features import A_PAGE, ORDERS, RULES, TILE, ZEILER, Features, Large, UnitView, pages_of
from nbcnnviz.inside.figures.files import FORMATS, Figure
from nbcnnviz.inside.figures.kept import FeatureFigures
from nbcnnviz.inside.figures.poster import poster
from nbcnnviz.session import Snapshot

_VIEWS = ({"kind": "overlay", "title": "Over the picture"}, {"kind": "map", "title": "Map"})
_CELL = "#00e5ff"


@dataclass(frozen=True)
class Settings:
    """What the panel's controls were set to when it was asked.

    ``turns``: how often the reader had turned to a page; ``sought``: had asked for the strongest unit.
    """

    by: By
    shared: bool
    how: str
    signed: bool
    page: int
    turns: int
    sought: int


class FeaturesPanel(Panel):
    """Shows the feature maps of the selected layer in a `TileFrame`; one of them, and a unit's map, in a `MapFrame` each.

    Attributes
    ----------
    result : Features or None
        What is on screen.
    order, shared, pager, map, signed, switches
        The panel's own controls: in which order, on one scale or not, which page; which map of a unit, signed or not,
        with the switches of max-pools or without. Setting ``value`` is the same as using them.
    """

    name = "features"
    title = "Features"
    uses_class = False
    formats = FORMATS
    things = "feature maps"
    result: Features | None = None

    def __init__(self, *links: Any) -> None:
        super().__init__(*links)
        self._figures = FeatureFigures()
        self._page = 0  # the one asked for
        self._turns = 0  # how often the reader turned to a page
        self._sought = self._found = 0  # how often the strongest unit was asked for, and was found
        self._turning = threading.Lock()
        self._followed: tuple[str, int | None] | None = None
        self._picture: Image.Image | None = None
        self._updating = Updating()
        self._make_controls()
        self.tiles = TileFrame(label="Feature maps", side=TILE)
        self.large = MapFrame(label="One feature map", views=list(_VIEWS))
        self.unit = MapFrame(label="What made the unit fire", views=list(_VIEWS))
        self.tiles.on("choose", lambda message: self._tile_chosen(message.get("index")))
        self.large.on("pixel", lambda message: self._pixel_chosen(message.get("row"), message.get("column")))
        self._lay_out()

    def _make_controls(self) -> None:
        tooltip = "Which maps come first; gradient x activation is for the class selected"
        orders = [(words.capitalize(), by) for by, words in ORDERS.items()]
        self.order = menu("Order", tooltip, orders, "activation")
        self.shared = checkbox("One scale for all", "Colour all maps on one scale, or each on its own", False)
        self.pager = w.IntSlider(min=1, max=2, readout=False, tooltip="Turn the pages", layout=growing(100))
        self._back = button("", "chevron-left", "The page before", lambda: self._turn_by(-1))
        self._next = button("", "chevron-right", "The next page", lambda: self._turn_by(1))
        self._page_label = w.Label()
        self.map = menu("Map", "How the unit is carried back to the picture", [*RULES, ZEILER], "Gradient")
        self.signed = checkbox("Signed", "The sum over colours, signed, or the largest magnitude over them", True)
        self.switches = checkbox("Max-pool switches", "", False)
        tooltip = "Select the unit with the largest activation, among those that have a gradient at the picture"
        self._strongest = button("Strongest unit", "", tooltip, self._choose_strongest)
        self._whole = button("Whole filter", "", "Look at the whole filter, not at one unit of it", self._no_unit)
        for control in (self.order, self.shared, self.pager, self.map, self.signed, self.switches):
            control.observe(self._changed, "value")

    def _lay_out(self) -> None:
        self._pages = row(self._back, self.pager, self._next, self._page_label)
        layout = w.Layout(margin="0", flex="1 1 180px", min_width="0")
        self._hint = w.HTML(hint("Click a place on the map to see what its unit looks at."), layout=layout)
        self._of_unit = column(row(self.map, self.signed, self.switches), self.unit)
        left = column(row(self.order, self.shared), self._pages, self.tiles, flex="1 1 300px")
        right = column(self.large, row(self._strongest, self._whole, self._hint), self._of_unit, flex="1 1 340px")
        self.widget = w.HBox([left, right], layout=w.Layout(flex_flow="row wrap", width="100%", grid_gap="12px 24px"))
        self.widget.add_class("nbcnnviz")

    def settings(self) -> Settings:
        """What the controls are set to."""
        with self._turning:
            page, turns = self._page, self._turns
        shared, signed = bool(self.shared.value), bool(self.signed.value)
        return Settings(self.order.value, shared, self.map.value, signed, page, turns, self._sought)

    # From the selection to frames. Runs on the task's thread.

    def answer(self, snapshot: Snapshot, trace: Trace) -> Generator[Features, None, None]:
        """The page and the large map; then, if a unit is looked at, what made it fire."""
        layer, figures = snapshot.layer, self._figures
        if layer is None:
            raise MethodNotApplicableError(
                f"No layer of {trace.network.name} has maps; of a layer that returns a vector, set as ex.selection.layer, "
                "the units are shown."
            )
        settings: Settings = snapshot.settings
        by: By = settings.by
        stack = figures.stack(trace, layer)
        target = snapshot.class_ if by == "contribution" else None
        order = figures.order(trace, layer, by, target)
        number = self._turned_up(snapshot, layer, order)
        page = figures.page(trace, stack, order, target, number, settings.shared)
        filter_ = int(order.filters[0]) if snapshot.filter is None else snapshot.filter
        large = figures.large(trace, stack, filter_)
        if settings.sought > self._found:
            self._found = settings.sought
            best = strongest(trace, layer, filter_, with_gradient=True)
            self.attempt(lambda: self.choose_within(layer, filter=filter_, unit=(best.row, best.column)))
            return
        place = snapshot.unit
        if place is None and not stack.spatial and snapshot.filter is not None:
            place = 0, 0  # the one unit that there is
        parts = layer, stack, page, large, snapshot.filter, place
        if place is None:
            yield Features(*parts)
            return
        asked = trace, Unit(layer, filter_, *place), settings.how, settings.signed
        if not figures.has_unit_view(*asked):
            yield Features(*parts)
        yield Features(*parts, figures.unit_view(*asked))

    def _turned_up(self, snapshot: Snapshot, layer: str, order: Ranking) -> int:
        """The page that is turned up; the one with the filter, where that is new; the first of a new layer."""
        filter_, settings = snapshot.filter, snapshot.settings
        number: int = settings.page
        before, self._followed = self._followed, (layer, filter_)
        if before != self._followed:
            if filter_ is not None:
                number = int((order.filters == filter_).nonzero()[0]) // A_PAGE
            elif before is None or before[0] != layer:
                number = 0
        number = min(number, pages_of(order) - 1)
        with self._turning:
            if self._turns == settings.turns:  # else the reader has turned to another since
                self._page = number
        return number

    # From frames to the screen. Runs on the worker's thread.

    def show_trace(self, trace: Trace) -> None:
        """Show another picture, and no map until one comes."""
        self.result = None
        self._picture = trace.pictures[0]
        for frame in (self.large, self.unit):
            frame.show_picture(self._picture)

    def forget(self) -> None:
        """Let go of the maps, and of the trace that they are a part of."""
        self.result = None
        self._figures = FeatureFigures()

    def close(self) -> None:
        """Let go of everything."""
        self.forget()
        self._picture = None

    def show(self, frame: Features) -> None:
        """Draw what has changed since the frame before."""
        before, self.result = self.result, frame
        page, large, view = frame.page, frame.large, frame.unit_view
        with self._updating:
            with self.tiles.hold_sync():
                if before is None or before.page is not page:
                    colours = self.tiles.colours_for(page.signed)
                    self.tiles.show(page.maps, page.scales, page.tiles, colours, page.caption)
                self.tiles.chosen = -1 if frame.filter is None else frame.filter
            if before is None or before.large is not large:
                self._show_map(self.large, large)
            if view is not None and (before is None or before.unit_view is not view):
                self._show_map(self.unit, view)
            self._mark(frame)
            self._follow(frame)

    def _show_map(self, frame: MapFrame, shown: Large | UnitView) -> None:
        values = shown.values if isinstance(shown, Large) else shown.map
        with frame.hold_sync():
            frame.show_map(values, shown.scale, frame.colours_for(shown.scale.signed))
            frame.caption = shown.caption

    def _mark(self, frame: Features) -> None:
        """Outline the unit and what it sees; where none is looked at, ring the map's strongest."""
        width, height = size = self.large.size[1], self.large.size[0]
        rows, columns = frame.large.values.shape
        across, down = width / columns, height / rows
        if frame.place is None:
            best = frame.large.strongest
            x, y = (best.column + 0.5) * across, (best.row + 0.5) * down
            self.large.mark(ring(x, y, width))
            return
        row, column = frame.place
        cell, view = outline(column * across, row * down, across, down, size, _CELL), frame.unit_view
        if view is None:
            self.large.mark(cell)
            return
        box = outline(view.box.left, view.box.top, view.box.width, view.box.height, size)
        switches = view.unit_map.switches if self.switches.value else None
        self.large.mark(together(box, cell))
        self.unit.mark(together(box, dots(switches or ())))

    def _follow(self, frame: Features) -> None:
        """Show in the controls what they are to, and offer what there is."""
        page, switches = frame.page, frame.unit_view.unit_map.switches if frame.unit_view else None
        reveal(self._pages, page.pages > 1)
        self._page_label.value = f"Page {page.number + 1} of {page.pages}"
        self.pager.max = max(2, page.pages)
        self.pager.value = self._page + 1  # which may be ahead of the page that is shown
        self._back.disabled, self._next.disabled = page.number == 0, page.number == page.pages - 1
        reveal(self._of_unit, frame.place is not None)
        reveal(self._hint, frame.place is None and frame.stack.spatial)
        self._strongest.disabled = not frame.stack.spatial
        self._whole.disabled = self.selection.unit is None
        self.switches.disabled = not switches
        self.switches.description = "No max-pool below" if switches == () else "Max-pool switches"
        if switches:
            self.switches.tooltip = f"Where the maxima on the way came from: a colour a max-pool, the {DOTS} strongest"
        elif switches is None:
            self.switches.tooltip = f"Only the {ZEILER} keeps the switches"
        else:
            self.switches.tooltip = "No max-pool lies between the picture and this layer"

    # From the controls to the selection, and to new answers. Nothing is computed here.

    def _changed(self, change: Any) -> None:
        if self._updating:
            return
        if change.owner is self.pager:
            self._turn_to(change.new - 1)
        elif change.owner is self.order:
            self._turn_to(0)
        self.ask()

    def _turn_to(self, page: int) -> None:
        with self._turning:
            self._page, self._turns = page, self._turns + 1

    def _turn_by(self, pages: int) -> None:
        self._turn_to(max(0, self._page + pages))
        self.ask()

    def _tile_chosen(self, index: object) -> None:
        if self._shows_what_is_selected():
            self.attempt(lambda: setattr(self.selection, "filter", index))

    def _pixel_chosen(self, row: object, column: object) -> None:
        shown = self.result
        if shown is None or not shown.stack.spatial or not self._shows_what_is_selected():
            return

        self.attempt(lambda: self.choose_within(shown.layer, filter=shown.large.filter, unit=(row, column)))

    def _shows_what_is_selected(self) -> bool:
        """Whether a click is on what is selected still, and not on what is about to go."""
        return self.result is not None and self.result.layer == self.selection.layer

    def _choose_strongest(self) -> None:
        if self._shows_what_is_selected():
            self._sought += 1
            self.ask()

    def _no_unit(self) -> None:
        self.attempt(lambda: setattr(self.selection, "unit", None))

    # What can be kept of it.

    def figure(self, shown: Features) -> Figure:
        """The page beside the maps, and their numbers."""
        page, large, view = shown.page, shown.large, shown.unit_view
        captions, maps = [page.caption, large.caption], [(_look(self.large), large.values, large.scale)]
        if view is not None:
            captions.append(view.caption)
            maps.append((_look(self.unit), view.map, view.scale))
        assert self._picture is not None
        sheet = poster(page, self.tiles.colours, self._picture, maps, view.box if view is not None else None)
        return Figure(sheet, shown.arrays, ". ".join(captions))

    def code(self, image: str) -> list[str]:
        """The calls of `nbcnnviz.inside` that make the maps, their order and the unit's map again."""
        s, shown, by = self.selection, self.result, self.order.value
        layer, first = repr(s.layer), self._page * A_PAGE
        lines, of = [f"trace = net.trace({image})"], ""
        if s.layer is None:
            return lines
        if by == "contribution" and s.target is not None:
            own, target = in_python(s.target)
            lines += own
            of = f", target={target}"
        filter_ = "int(order.filters[0])" if s.filter is None else repr(s.filter)
        lines += [
            "from nbcnnviz import inside",
            f"maps = inside.feature_maps(trace, {layer}).values",
            f"order = inside.ranking(trace, {layer}, {by!r}{of})",
            f"page = maps[order.filters[{first}:{first + A_PAGE}]]",
            f"map_ = maps[{filter_}]",
        ]
        place = s.unit or (shown.place if shown is not None and not shown.stack.spatial else None)
        if s.filter is None or place is None:
            return lines
        lines.append(f"box = inside.receptive_field(trace, {layer}, {place[0]}, {place[1]})")
        if self.map.value == ZEILER:
            lines.append(f"unit_map = inside.project(trace, {layer}, {filter_}, place={place}).values")
        else:
            unit, rule = f"nv.Unit({layer}, {filter_}, {place[0]}, {place[1]})", RULES[self.map.value]
            lines.append(f"unit_map = trace.gradient({unit}, rule={rule!r})[0]")
        lines.append(f"shown = unit_map{'.sum(0)' if self.signed.value else '.abs().amax(0)'}")
        return lines


def _look(frame: MapFrame) -> dict[str, Any]:
    return {name: getattr(frame, name) for name in ("opacity", "threshold", "colours")}
