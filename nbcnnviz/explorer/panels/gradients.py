"""The Gradients panel: its controls and charts, what the reader does with them, and the answers."""

from __future__ import annotations

import html
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import ipywidgets as w
import numpy as np
from PIL import Image

from nbcnnviz.core.errors import GradientError, MethodNotApplicableError, NbcnnvizError, StaleTraceError
from nbcnnviz.core.samples import samples
from nbcnnviz.core.targets import Target, in_python, one_class, same_target
from nbcnnviz.core.trace import EVERYTHING, Trace
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
from nbcnnviz.inside.dead import DeadFilters
from nbcnnviz.inside.figures.files import FORMATS, write
from nbcnnviz.inside.figures.gradients.frame import GradientsFrame, Size
from nbcnnviz.inside.figures.gradients.plots import depth_plots, picture, spread_plots
from nbcnnviz.inside.figures.gradients.words import about, dead_words, layer_words, summary
from nbcnnviz.inside.statistics import Depth, Histogram, depth, histograms
from nbcnnviz.session import Snapshot
from nbcnnviz.session.tracing import weights_state

_NORMS = {
    "RMS": "Over the root of the number of values, the root mean square: layers of all sizes compare",
    "L2 norm": "The L2 norm of all values together",
}
_MOST_LISTED = 2000


@dataclass(eq=False)
class _Known:
    """What need not be computed again for a trace and a target."""

    trace: Trace
    target: Target
    depth: Depth
    histograms: dict[str, Mapping[str, Histogram]]


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
    widget: w.VBox

    def __init__(self, *links: Any) -> None:
        super().__init__(*links)
        self.result: GradientsFrame | None = None
        self._known: _Known | None = None
        self._learning_rate = 1e-2
        self._size: Size = "RMS"
        self._log_counts = True
        self._of_filter = False
        self._counts_asked = self._counts_made = 0  # of the dead filters over all samples
        self._begun = False
        self._dead = DeadFilters()
        self._counted: tuple[Any, set[int]] | None = None  # of which network and weights, and which pictures
        self._updating = Updating()
        self._build()

    def _build(self) -> None:
        self._of = toggles(
            {
                "class": "What raises the score of the class",
                "filter": "What raises the filter that is selected",
            }
        )
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
        for control, set_ in (
            (self._of, lambda value: setattr(self, "_of_filter", value == "filter")),
            (self._norms, lambda value: setattr(self, "_size", value)),
            (self._rate, self._set_learning_rate),
            (self._counts, lambda value: setattr(self, "_log_counts", value == "log")),
        ):
            control.observe(self._setter(set_), "value")
        self._of_box = labelled("Gradient of the", self._of)
        self._counts_box = labelled("Counts", self._counts)
        self._about = w.HTML(hint("What the gradient does from layer to layer comes here ..."))
        self._selected = w.HTML()
        self._depths = [ColumnChart(96, choose=self._column_chosen) for _ in range(3)]
        self._spread_title = w.HTML()
        self._spreads = [ColumnChart(140) for _ in range(4)]
        self._spread_box = grid()
        self._dead_text = w.HTML()
        self._all_samples = button(
            "Count over all samples",
            "",
            "Run every sample picture through the network, and see which filters stay dead",
            self._count_samples,
        )
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
            *(chart.widget for chart in self._depths),
            self._selected,
            row(self._spread_title, self._counts_box, gap="4px 20px"),
            self._spread_box,
            row(self._dead_text, self._all_samples, gap="4px 20px"),
            self._lists,
        )

    # What the reader does.

    def _setter(self, set_: Callable[[Any], None]) -> Callable[[Any], None]:
        def changed(change: Any) -> None:
            def set_and_ask() -> None:
                set_(change.new)
                self.ask()

            if not self._updating:
                self.attempt(set_and_ask)

        return changed

    def _set_learning_rate(self, rate: float) -> None:
        if not (np.isfinite(rate) and rate > 0):
            with self._updating:
                self._rate.value = self._learning_rate
            raise MethodNotApplicableError(f"A learning rate is a number above zero, such as 0.01, not {rate:g}.")
        self._learning_rate = float(rate)

    def _column_chosen(self, column: int) -> None:
        frame = self.result
        if frame is not None and column < len(frame.depth.layers):
            self._go_to(frame.depth.layers[column])

    def _go_to(self, layer: str, filter_: int | None = None) -> None:
        def go() -> None:
            self.selection.layer = layer
            if filter_ is not None:
                self.selection.filter = filter_

        self.attempt(go)

    def _count_samples(self) -> None:
        self._counts_asked += 1
        self.ask()

    def _dead_layer_chosen(self, change: Any) -> None:
        if not self._updating and change.new is not None:
            self._go_to(change.new)

    def _dead_filter_chosen(self, change: Any) -> None:
        frame = self.result
        if not self._updating and change.new is not None and frame is not None and frame.layer is not None:
            self._go_to(frame.layer, change.new)

    def settings(self) -> int:
        """How often a count over all samples was asked for."""
        return self._counts_asked

    # From the selection to frames.

    def answer(self, snapshot: Snapshot, trace: Trace) -> Generator[GradientsFrame, None, None]:
        """The norms, one backward pass for all; the histograms of the layer; and the dead filters, over samples if asked."""
        self._begun = True
        self._count(trace)
        of_filter = None if snapshot.filter is None else self._of_filter
        target = one_class(snapshot.target if of_filter else snapshot.class_, trace)
        known = self._learn(trace, target, snapshot.layer)
        frame = GradientsFrame(
            snapshot.network,
            known.depth.at_rate(self._learning_rate),
            target,
            target.describe(trace.network),
            snapshot.layer,
            None if snapshot.layer is None else known.depth.column(trace, snapshot.layer),
            known.histograms.get(snapshot.layer or "", {}),
            self._size,
            self._log_counts,
            self._dead.counted,
            of_filter,
        )
        del known
        over_samples, self._counts_made = snapshot.settings > self._counts_made, snapshot.settings
        yield frame
        names = samples() if over_samples else ()
        for step, name in enumerate(names, 1):
            self._count(snapshot.network.trace(name))
            yield replace(frame, dead=self._dead.counted, step=step, steps=len(names))

    def _learn(self, trace: Trace, target: Target, layer: str | None) -> _Known:
        """What there is to know of a trace and a target, and of a layer; by one backward pass, if any."""
        known = self._known
        if known is None or known.trace is not trace or not same_target(known.target, target):
            self._known = known = None
            gradients = trace.gradient(target, EVERYTHING)
            known = _Known(trace, target, depth(trace, target, gradients=gradients), {})
            if layer is not None:
                known.histograms[layer] = histograms(trace, layer, target, gradients=gradients)
            self._known = known
        elif layer is not None and layer not in known.histograms:
            try:
                known.histograms[layer] = histograms(trace, layer, target)
            except StaleTraceError:
                raise
            except GradientError:  # the target does not depend on the layer
                known.histograms[layer] = histograms(trace, layer, target, gradients={})
        return known

    # Which filters are dead, over every picture that the explorer has shown since the panel was turned up.

    def show_trace(self, trace: Trace) -> None:
        """Count the dead filters of one more picture."""
        if self._begun:  # until then it may be the notebook's own thread that tells
            self._count(trace)

    def _count(self, trace: Trace) -> None:
        state = trace.network, weights_state(trace.network)
        if self._counted is None or self._counted[0] != state:
            self._dead, self._counted = DeadFilters(), (state, set())
        pictures = self._counted[1]
        key = hash(trace.input.detach().float().cpu().numpy().tobytes())
        if key not in pictures:
            self._dead.add(trace)
            pictures.add(key)

    def forget(self) -> None:
        """Let the trace go; the count of dead filters goes on."""
        self._known = self.result = None

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
        self._of.value = "filter" if frame.of_filter else "class"
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

    def preview(self) -> Image.Image | None:
        """The charts."""
        return None if self.result is None else picture(self.result)

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write the charts, or their numbers (``.npz``)."""
        frame = self.result
        if frame is None:
            raise NbcnnvizError("There are no gradients to save yet: wait for the explorer, with ex.wait().")
        write(path, picture(frame), frame.arrays(), summary(frame), code)

    def code(self, image: str) -> list[str]:
        """The calls of `nbcnnviz.inside` that make the numbers again."""
        frame = self.result
        code = ["from nbcnnviz.inside import DeadFilters, depth, histograms", f"trace = net.trace({image})"]
        if frame is None:
            return code
        more, target = in_python(frame.target)
        code += [*more, f"norms = depth(trace, {target}, learning_rate={frame.depth.learning_rate!r})"]
        if "gradients" in frame.histograms:
            code.append(f"spread = histograms(trace, {frame.layer!r}, {target})")
        elif frame.histograms:
            code.append(f"spread = histograms(trace, {frame.layer!r}, gradients={{}})  # there are none")
        return [*code, "dead = DeadFilters()", "dead.add(trace)  # and the other pictures' traces"]


def _line(what: str, said: str) -> str:
    return f"<div style='line-height: 1.45'><b>{what}:</b> {html.escape(said)}</div>"


def _offer(list_: w.Select, options: Sequence[tuple[str, Any]], value: Any) -> None:
    if tuple(options) != tuple(list_.options):
        list_.options = options
    if list_.value != value:
        list_.value = value
