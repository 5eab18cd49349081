"""Parts of the Compare panel: the picture with its box, the scores with their curves, What if with its bars."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bqplot
import ipywidgets as w
import numpy as np

from nbcnnviz.core.layers import Layer
from nbcnnviz.explorer.front import MarkingFrame, receive_while_busy
from nbcnnviz.explorer.panels.compare.frames import Box, Change
from nbcnnviz.explorer.panels.compare.words import scores
from nbcnnviz.explorer.widgets.charts import LineChart, figure
from nbcnnviz.explorer.widgets.layout import (
    Updating,
    button,
    checkbox,
    column,
    hint,
    labelled,
    lines,
    row,
    toggles,
)
from nbcnnviz.inside import WhatIf
from nbcnnviz.metrics import METRICS, Comparison, Curve, Judged
from nbcnnviz.render.colours import palette
from nbcnnviz.render.plots import BLUE, ORANGE

_EDGES = ("Left", "Top", "Right", "Bottom")
_FIRST = ("insertion", "deletion", "pointing", "inside")
_CLASSES = 5
_NO_REGION, _HIDE, _KEEP = "as it is", "hide it", "it alone"
_REGIONS = {_NO_REGION: None, _HIDE: "hide", _KEEP: "keep"}


class Marked:
    """The picture and the box that the reader drags on it, or writes into number fields.

    Attributes
    ----------
    box : Box or None
        Left, top, right and bottom, in pixels of the picture as the network saw it.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.box: Box | None = None
        self._changed, self._updating = changed, Updating()
        self.frame = MarkingFrame(label="The object, or the part to change")
        self.frame.on_marked(self._mark)
        self._edges = [
            w.BoundedIntText(
                0, 0, 1, description=name, tooltip=f"The box's {name.lower()} edge, in pixels",
                style={"description_width": "50px"}, layout=w.Layout(width="104px", margin="0"),
            )
            for name in _EDGES
        ]  # fmt: skip
        for edge in self._edges:
            edge.observe(self._typed, "value")
        self._clear = button("No box", "", "Take the box away", lambda: self._mark(None))
        self.widget = column(self.frame, row(*self._edges, self._clear, gap="2px 4px"), flex="0 1 216px")

    def show(self, picture: Any, caption: str) -> None:
        """Show a picture; a box that does not fit on it is taken away."""
        self.frame.show(picture, caption)
        with self._updating:
            for at, edge in enumerate(self._edges):
                edge.max = (picture.width, picture.height)[at % 2]
        if self.box is not None and self.frame.within(self.box) != self.box:
            self._set(None)

    def _mark(self, box: Box | None) -> None:
        if box != self.box:
            self._set(box)
            self._changed()

    def _set(self, box: Box | None) -> None:
        self.box, self.frame.box = box, list(box or ())
        with self._updating:
            for edge, value in zip(self._edges, box or (0, 0, 0, 0), strict=True):
                edge.value = value

    def _typed(self, _: Any) -> None:
        if not self._updating:
            box = self.frame.within([edge.value for edge in self._edges])
            if box != self.box:
                self.box, self.frame.box = box, list(box or ())
                self._changed()


class ScoresView:
    """Which metrics, of which maps; the table; the curves."""

    def __init__(self, judge: Callable[[], None]) -> None:
        self.metrics = {
            name: checkbox(m.title, f"{m.title}; cost a map: {m.cost}", name in _FIRST) for name, m in METRICS.items()
        }
        for tick in self.metrics.values():
            tick.layout.margin = "0"
        self.of = toggles({"selected map": "Judge the map that is selected", "all maps": "Judge every map shown"})
        self._judge = button("Judge", "balance-scale", "Compute the scores that are ticked", judge)
        self._judge.button_style = "primary"
        self._table = w.HTML(scores(None, {}), layout=w.Layout(margin="0", min_width="0"))
        self._charts = {name: LineChart(130, legend=name == "insertion") for name in ("insertion", "deletion")}
        legend = self._charts["insertion"].legend
        assert legend is not None
        titles = {
            "insertion": "Insertion: the score as pixels are shown, strongest first; % of the pixels",
            "deletion": "Deletion: the score as pixels are taken away, strongest first",
        }
        charts = (column(w.HTML(hint(titles[n])), c.figure, flex="1 1 200px") for n, c in self._charts.items())
        self._drawn = (row(*charts), legend)
        self._curves = column()  # a chart that is in the page and hidden would have no width
        for part in self._drawn:
            receive_while_busy(part)
        self.widget = column(
            row(*self.metrics.values(), gap="0 12px"),
            row(labelled("Of the", self.of), self._judge),
            self._table,
            self._curves,
            flex="1 1 280px",
        )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The metrics that are ticked."""
        return tuple(name for name, tick in self.metrics.items() if tick.value)

    @property
    def all_maps(self) -> bool:
        """Whether every map is judged."""
        return bool(self.of.value == "all maps")

    def close(self) -> None:
        """Have the charts closed with the rest."""
        self._curves.children = self._drawn

    def show(self, comparison: Comparison | None, judged: Mapping[int, Sequence[Judged]]) -> None:
        """Show the scores that there are."""
        self._table.value = scores(comparison, judged)
        drawn = {
            name: [
                (comparison.entries[at].name, one.score)
                for at, found in judged.items()
                for one in found
                if comparison is not None and one.metric.name == name and isinstance(one.score, Curve)
            ]
            for name in self._charts
        }
        if any(drawn.values()) != bool(self._curves.children):
            self._curves.children = self._drawn if any(drawn.values()) else ()
        every = list(dict.fromkeys(name for curves in drawn.values() for name, _ in curves))
        colour = dict(zip(every, palette(len(every)), strict=False))
        for name, curves in drawn.items():
            if curves:
                steps, values = 100 * curves[0][1].shares, np.stack([curve.values for _, curve in curves])
                names = [known for known, _ in curves]
                self._charts[name].draw(steps, values, [colour[known] for known in names], names=names)


class WhatIfView:
    """A channel scaled, a part of the picture hidden or alone, and the classes before and after."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed, self._updating = changed, Updating()
        self.filter = w.BoundedIntText(
            0, 0, 0, description="Filter", tooltip="The channel of the layer selected that is scaled",
            style={"description_width": "initial"}, layout=w.Layout(width="170px"),
        )  # fmt: skip
        self.scale = w.FloatSlider(
            1.0, min=-1.0, max=3.0, step=0.1, description="times", readout_format=".1f",
            tooltip="What the channel is multiplied by: 0 is off, 1 as it is",
            style={"description_width": "initial"}, layout=w.Layout(width="auto", flex="1 1 180px", min_width="0"),
        )  # fmt: skip
        self._off = button("Off", "", "Switch the filter off", lambda: setattr(self.scale, "value", 0.0))
        self.region = toggles(
            {
                _NO_REGION: "Leave the picture as it is",
                _HIDE: "Fill the marked part with the picture's mean colour",
                _KEEP: "Fill all but the marked part with the picture's mean colour",
            }
        )
        self._about = w.HTML(layout=w.Layout(margin="0", min_width="0"))
        for control in (self.filter, self.scale, self.region):
            control.observe(self._set, "value")
        names = bqplot.OrdinalScale(reverse=True)
        self._share = bqplot.LinearScale(min=0, max=1)
        self._bars = bqplot.Bars(
            x=[], y=[], type="grouped", scales={"x": names, "y": self._share}, orientation="horizontal",
            colors=[BLUE, ORANGE], padding=0.25,
        )  # fmt: skip
        self._axis = bqplot.Axis(scale=self._share, tick_format=".0%", num_ticks=3, grid_lines="none")
        axes = [bqplot.Axis(scale=names, orientation="vertical", grid_lines="none"), self._axis]
        self._chart = figure([self._bars], axes, 230, left=150, right=20)
        self._chart.layout.visibility = "hidden"
        legend = w.HTML(
            f"<span style='color:{BLUE}'>■</span> as it is &nbsp; <span style='color:{ORANGE}'>■</span> what if",
            layout=w.Layout(margin="0"),
        )
        self.widget = column(
            row(self.filter, self.scale, self._off),
            row(labelled("Marked part", self.region)),
            self._about,
            legend,
            self._chart,
            flex="1 1 280px",
        )
        self.show(None, None)

    def change(self) -> Change:
        """What is to be changed."""
        region = _REGIONS[self.region.value]
        channel = None if self.scale.value == 1 else int(self.filter.value)
        return Change(channel, float(self.scale.value), region)

    def follow(self, layer: Layer | None, selected: int | None) -> None:
        """Offer the channels of the layer that is selected, and show the one selected."""
        with self._updating:
            count = 0 if layer is None else layer.filters
            self.filter.disabled = self.scale.disabled = self._off.disabled = not count
            self.filter.max = max(0, count - 1)
            if selected is not None and count:
                self.filter.value = selected
            self.filter.description = "Filter" if layer is None else f"Filter of {count}:"

    def suggest(self, channel: int) -> None:
        """Offer a filter, as long as none is changed."""
        with self._updating:
            if self.scale.value == 1 and channel <= self.filter.max:
                self.filter.value = channel

    def show(self, found: WhatIf | None, layer: str | None) -> None:
        """Show the classes before and after."""
        reveal_bars = found is not None
        self._chart.layout.visibility = "visible" if reveal_bars else "hidden"
        if found is None:
            where = f" of {layer}" if layer else ""
            self._about.value = lines(
                [
                    f"Move the slider to scale a filter{where}, or drag a box on the picture and hide it or all else: the "
                    "classes before and after come here at once."
                ]
            )
            return
        top = found.top(_CLASSES)
        values = np.array([[was for *_, was, _ in top], [now for *_, now in top]])
        known = found.network.kind not in ("regression", "embedding")
        with self._share.hold_sync():
            self._share.min, self._share.max = (
                (0.0, 1.0) if known else (min(0.0, values.min()), max(values.max(), 1e-9))
            )
        self._axis.tick_format = ".0%" if known else ".3~g"
        with self._bars.hold_sync():
            self._bars.x = [f"{name[:20]} ({index})" for index, name, *_ in top]
            self._bars.y = values
        self._about.value = f"<div style='line-height: 1.4'><b>What if {html.escape(found.change)}</b></div>"

    def _set(self, _: Any) -> None:
        if not self._updating:
            self._changed()
