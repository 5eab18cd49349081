"""The predictions: the top classes as bars; a click on one explains it."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from typing import Any

import bqplot
import ipywidgets as w
import numpy as np

from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.widgets.charts import figure
from nbcnnviz.render.plots import BLUE, ORANGE

_SHOWN = 8
_BAR, _CHOSEN = BLUE, ORANGE


class PredictionsPanel:
    """Bars of the most probable classes.

    Parameters
    ----------
    choose
        Called with the class index of a bar that is clicked.
    """

    def __init__(self, choose: Callable[[int], None]) -> None:
        self._choose = choose
        self._top: list[tuple[int, str, float]] = []
        self._chosen: int | None = None
        names, share = bqplot.OrdinalScale(reverse=True), bqplot.LinearScale(min=0, max=1)
        self._share = share
        self._bars = bqplot.Bars(
            x=[], y=[], scales={"x": names, "y": share}, orientation="horizontal", colors=[_BAR], padding=0.25
        )
        self._bars.on_element_click(self._clicked)
        self._axis = bqplot.Axis(scale=share, tick_format=".0%", num_ticks=3, grid_lines="none")
        axes = [bqplot.Axis(scale=names, orientation="vertical", grid_lines="none"), self._axis]
        self._chart = chart = figure([self._bars], axes, 250, left=168, right=20)
        chart.padding_y = 0.02
        self._note = w.HTML()
        heading = w.HTML("<b>Predictions</b> <span class='nbv-hint'>click a bar to explain it</span>")
        # A box that could be scrolled would be one more stop of Tab, and there is nothing to scroll to.
        self.widget = w.VBox([heading, self._note, chart], layout=w.Layout(overflow="visible", min_width="0"))

    def show(self, trace: Trace) -> None:
        """Show a trace's top classes; of a segmentation those present, of a regression the values."""
        kind = trace.network.kind
        self._top = [(i, name, p) for i, name, p in trace.top(_SHOWN) if p > 0 or kind != "segmentation"]
        self._note.value = _nothing(trace) if not self._top else ""
        # Kept where it is: a chart that was never seen has no size.
        self._chart.layout.visibility = "visible" if self._top else "hidden"
        low, high, ticks = _range([p for *_, p in self._top]) if kind == "regression" else (0, 1, ".0%")
        with self._share.hold_sync():
            self._share.min, self._share.max = low, high
        self._axis.tick_format = ticks
        # A bar needs a name of its own, and two classes may share one (ImageNet's two cranes): the index tells them apart.
        names = [_short(name) for _, name, _ in self._top]
        said = trace.network.head.text if kind == "regression" else _percent
        labels = [
            f"{name if names.count(name) == 1 else f'{_short(name, 12)} ({index})'} {said(probability)}"
            for name, (index, _, probability) in zip(names, self._top, strict=True)
        ]
        with self._bars.hold_sync():
            self._bars.x = labels
            self._bars.y = np.array([probability for _, _, probability in self._top])
            self.mark(self._chosen)

    def mark(self, chosen: int | None) -> None:
        """Give the bar of the class that is explained its own colour."""
        self._chosen = chosen
        colours = [_CHOSEN if index == chosen else _BAR for index, _, _ in self._top]
        if colours != self._bars.colors:
            self._bars.colors = colours

    def _clicked(self, _: Any, event: dict[str, Any]) -> None:
        at = (event.get("data") or {}).get("index")
        if isinstance(at, int) and 0 <= at < len(self._top):
            self._choose(self._top[at][0])


def _range(values: list[float]) -> tuple[float, float, str]:
    """The ends of an axis that shows values as bars from zero, and how its ticks are written."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    return low, high if high > low else low + 1.0, ".3~g"


def _nothing(trace: Trace) -> str:
    """Why there are no bars."""
    said = trace.network.head.note if trace.network.kind == "embedding" else "nothing was found in this picture"
    return f"<span class='nbv-hint'>{html.escape(said[:1].upper() + said[1:])}.</span>"


def _short(name: str, length: int = 18) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _percent(probability: float) -> str:
    return "<1%" if probability < 0.01 else f"{probability:.0%}"
