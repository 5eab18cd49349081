"""The predictions: the top classes as bars; a click on one explains it."""

from __future__ import annotations

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
        self._bars = bqplot.Bars(
            x=[], y=[], scales={"x": names, "y": share}, orientation="horizontal", colors=[_BAR], padding=0.25
        )
        self._bars.on_element_click(self._clicked)
        axes = [
            bqplot.Axis(scale=names, orientation="vertical", grid_lines="none"),
            bqplot.Axis(scale=share, tick_format=".0%", num_ticks=3, grid_lines="none"),
        ]
        chart = figure([self._bars], axes, 250, left=168, right=20)
        chart.padding_y = 0.02
        heading = w.HTML("<b>Predictions</b> <span class='nbv-hint'>click a bar to explain it</span>")
        # A box that could be scrolled would be one more stop of Tab, and there is nothing to scroll to.
        self.widget = w.VBox([heading, chart], layout=w.Layout(overflow="visible", min_width="0"))

    def show(self, trace: Trace) -> None:
        """Show a trace's top classes."""
        self._top = trace.top(_SHOWN)
        # A bar needs a name of its own, and two classes may share one (ImageNet's two cranes): the index tells them apart.
        names = [_short(name) for _, name, _ in self._top]
        said = trace.network.head.text if trace.network.kind == "regression" else _percent
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


def _short(name: str, length: int = 18) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _percent(probability: float) -> str:
    return "<1%" if probability < 0.01 else f"{probability:.0%}"
