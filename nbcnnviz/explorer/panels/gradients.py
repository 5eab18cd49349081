"""The Gradients panel: its controls and charts, what the reader does with them, and the answers."""

from __future__ import annotations

import html
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets as w
import numpy as np

from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.samples import samples
from nbcnnviz.core.targets import one_class
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.panels.panel import Panel
from nbcnnviz.explorer.widgets.charts import ColumnChart
from nbcnnviz.explorer.widgets.layout import (
    Updating,
    button,
    column,
    grid,
    hint,
    labelled,
    lines,
    panel,
    reveal,
    row,
    select,
    toggles,
)
from nbcnnviz.inside.figures.files import FORMATS, Figure
from nbcnnviz.inside.figures.gradients.frame import GradientsFrame, Size
from nbcnnviz.inside.figures.gradients.known import DeadOverPictures, Known
from nbcnnviz.inside.figures.gradients.plots import depth_plots, picture, spread_plots
from nbcnnviz.inside.figures.gradients.words import about, dead_words, layer_words, summary
from nbcnnviz.session import Snapshot

_NORMS = {
    "RMS": "Over the root of the number of values, the root mean square: layers of all sizes compare",
    "L2 norm": "The L2 norm of all values together",
}
_MOST_LISTED = 2000

_COLUMNS = {"depth": "minmax(0, 1fr)", "spread": "repeat(auto-fit, minmax(min(100%, 300px), 1fr))"}


@dataclass(frozen=True)
class Settings:
    """What the panel's controls were set to when it was asked, and how often a count over all samples had been."""

    of_filter: bool
    size: Size
    learning_rate: float
    log_counts: bool
    counts_asked: int


class GradientsPanel(Panel):
    """Shows norms over depth, histograms and dead filters; a click on a column selects the layer.

    Attributes
    ----------
    result : GradientsFrame or None
        What is on screen.
    """

    name = "gradients"
    title = "Gradients"
    formats = FORMATS
    things = "gradients"
    widget: w.VBox
    result: GradientsFrame | None = None

    def __init__(self, *links: Any) -> None:
        super().__init__(*links)
        self._learning_rate = 1e-2  # the last one that was valid
        self._counts_asked = self._counts_made = 0  # of the dead filters over all samples
        self._begun = False
        self._known = Known()
        self._dead = DeadOverPictures()
        self._updating = Updating()
        self._build()

    def _build(self) -> None:
        what = {"class": "What raises the score of the class", "filter": "What raises the filter that is selected"}
        self._of = toggles(what)
        self._norms = toggles(_NORMS)
        self._rate = w.FloatText(
            self._learning_rate,
            description="Learning rate",
            tooltip="Of the step of plain gradient descent whose size is compared with the weights",
            continuous_update=False,
            style={"description_width": "initial"},
            layout=w.Layout(width="180px"),
        )
        self._counts = toggles({"log": "On a logarithmic axis", "linear": "On a linear axis"})
        for control in (self._of, self._norms, self._rate, self._counts):
            control.observe(self._changed, "value")
        self._of_box = labelled("Gradient of the", self._of)
        self._counts_box = labelled("Counts", self._counts)
        self._about = w.HTML(hint("What the gradient does from layer to layer comes here ..."))
        self._selected = w.HTML()
        self._depths = [ColumnChart(96, choose=self._column_chosen) for _ in range(3)]
        self._spread_title = w.HTML()
        self._spreads = [ColumnChart(140) for _ in range(4)]
        self._spread_box = grid()
        self._depth_box = grid(*(chart.widget for chart in self._depths))
        # Below one another; beside one another on a screen that is not high (js/src/layout.css).
        for name, box in (("depth", self._depth_box), ("spread", self._spread_box)):
            box.layout.grid_template_columns = f"var(--nbv-{name}-charts, {_COLUMNS[name]})"
        self._dead_text = w.HTML()
        tooltip = "Run every sample picture through the network, and see which filters stay dead"
        self._all_samples = button("Count over all samples", "", tooltip, self._count_samples)
        self._dead_layers = select("Layers with dead filters: choose one to select it")
        self._dead_filters = select("Dead filters of the layer: choose one to select it")
        self._dead_layers.observe(self._dead_layer_chosen, "value")
        self._dead_filters.observe(self._dead_filter_chosen, "value")
        self._lists = row(
            column(w.HTML(hint("Layers with dead filters")), self._dead_layers, flex="2 1 260px"),
            column(w.HTML(hint("Its dead filters")), self._dead_filters, flex="1 1 140px"),
            gap="6px 24px",
        )
        self.widget = panel(
            row(self._of_box, labelled("Norms", self._norms), self._rate, gap="4px 20px"),
            self._about,
            self._depth_box,
            self._selected,
            row(self._spread_title, self._counts_box, gap="4px 20px"),
            self._spread_box,
            row(self._dead_text, self._all_samples, gap="4px 20px"),
            self._lists,
        )

    # What the reader does.

    def _changed(self, _: Any) -> None:
        if not self._updating:
            self.attempt(self._ask_with_settings)

    def _ask_with_settings(self) -> None:
        rate = self._rate.value
        if not (np.isfinite(rate) and rate > 0):
            with self._updating:
                self._rate.value = self._learning_rate
            raise MethodNotApplicableError(f"A learning rate is a number above zero, such as 0.01, not {rate:g}.")
        self._learning_rate = float(rate)
        self.ask()

    def _column_chosen(self, column: int) -> None:
        frame = self.result
        if frame is not None and column < len(frame.depth.layers):
            self.attempt(lambda: self.go_to(frame.depth.layers[column]))

    def _count_samples(self) -> None:
        self._counts_asked += 1
        self.ask()

    def _dead_layer_chosen(self, change: Any) -> None:
        if not self._updating and change.new is not None:
            self.attempt(lambda: self.go_to(change.new))

    def _dead_filter_chosen(self, change: Any) -> None:
        frame = self.result
        layer = None if frame is None else frame.layer
        if not self._updating and change.new is not None and layer is not None:
            self.attempt(lambda: self.go_to(layer, change.new))

    def settings(self) -> Settings:
        """What the controls are set to."""
        log_counts = self._counts.value == "log"
        return Settings(
            self._of.value == "filter", self._norms.value, self._learning_rate, log_counts, self._counts_asked
        )

    # From the selection to frames.

    def answer(self, snapshot: Snapshot, trace: Trace) -> Generator[GradientsFrame, None, None]:
        """The norms, one backward pass for all; the histograms of the layer; and the dead filters, over samples if asked."""
        self._begun = True
        self._dead.add(trace)
        settings: Settings = snapshot.settings
        of_filter = None if snapshot.filter is None else settings.of_filter
        target = one_class(snapshot.target if of_filter else snapshot.class_, trace)
        depth, histograms = self._known.of(trace, target, snapshot.layer)
        frame = GradientsFrame(
            snapshot.network,
            depth.at_rate(settings.learning_rate),
            target,
            target.describe(trace.network),
            snapshot.layer,
            None if snapshot.layer is None else depth.column(trace, snapshot.layer),
            histograms,
            settings.size,
            settings.log_counts,
            self._dead.counted,
            of_filter,
        )
        over_samples, self._counts_made = settings.counts_asked > self._counts_made, settings.counts_asked
        yield frame
        names = samples() if over_samples else ()
        for step, name in enumerate(names, 1):
            self._dead.add(snapshot.network.trace(name))
            yield replace(frame, dead=self._dead.counted, step=step, steps=len(names))

    # Which filters are dead, over every picture that the explorer has shown since the panel was turned up.

    def show_trace(self, trace: Trace) -> None:
        """Count the dead filters of one more picture."""
        if self._begun:  # until then it may be the notebook's own thread that tells
            self._dead.add(trace)

    def forget(self) -> None:
        """Let the trace go; the count of dead filters goes on."""
        self.result = None
        self._known = Known()

    def close(self) -> None:
        """Put back what is not shown, that it is closed with the rest."""
        self._spread_box.children = [chart.widget for chart in self._spreads]

    # From a frame to the screen.

    def show(self, frame: GradientsFrame) -> None:
        """Draw the charts, of which those that are the same already are left alone."""
        last, self.result = self.result, frame
        with self._updating:
            if not frame.same_charts(last):
                self._draw(frame)
            self._list_dead(frame)

    def _draw(self, frame: GradientsFrame) -> None:
        reveal(self._of_box, frame.of_filter is not None)
        self._about.value = lines(about(frame))
        for chart, plot in zip(self._depths, depth_plots(frame), strict=True):
            chart.show(plot)
        chosen = "The layer selected has no column." if frame.at is None else layer_words(frame, frame.at)
        self._selected.value = _line("Selected", chosen)
        plots = spread_plots(frame)
        charts = self._spreads[: len(plots)]
        shown = tuple(chart.widget for chart in charts)
        if self._spread_box.children != shown:
            self._spread_box.children = shown
        for chart, plot in zip(charts, plots, strict=True):
            chart.show(plot)
        layer = "" if frame.layer is None else html.escape(frame.layer)
        self._spread_title.value = f"<b>How the values of {layer} are spread</b>" if plots else ""
        reveal(self._counts_box, bool(plots))

    def _list_dead(self, frame: GradientsFrame) -> None:
        dead = frame.dead
        self._dead_text.value = _line("Dead filters", dead_words(frame))
        reveal(self._all_samples, bool(dead.layers))
        listed = {layer: filters for layer, filters in dead.filters.items() if filters}
        reveal(self._lists, bool(listed))
        options = [(f"{layer}: {len(found):,} of {dead.layers[layer][1]:,}", layer) for layer, found in listed.items()]
        filters = listed.get(frame.layer or "", ())[:_MOST_LISTED]
        chosen = self.selection.filter
        _offer(self._dead_layers, options, frame.layer if frame.layer in listed else None)
        _offer(self._dead_filters, [(f"filter {i}", i) for i in filters], chosen if chosen in filters else None)

    # As a file, as code.

    def figure(self, shown: GradientsFrame) -> Figure:
        """The charts, and their numbers."""
        return Figure(picture(shown), shown.arrays, summary(shown))

    def code(self, image: str) -> list[str]:
        """The calls of `nbcnnviz.inside` that make the numbers again."""
        if self.result is None:
            return ["from nbcnnviz.inside import DeadFilters, depth, histograms", f"trace = net.trace({image})"]
        return self.result.code(image)


def _line(what: str, said: str) -> str:
    return f"<div style='line-height: 1.45'><b>{what}:</b> {html.escape(said)}</div>"


def _offer(list_: w.Select, options: Sequence[tuple[str, Any]], value: Any) -> None:
    if tuple(options) != tuple(list_.options):
        list_.options = options
    if list_.value != value:
        list_.value = value
