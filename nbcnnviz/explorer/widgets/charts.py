"""Charts on the screen: columns that can be clicked, and lines over steps. The one place that makes bqplot figures."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bqplot
import ipywidgets as w
import numpy as np

from nbcnnviz.explorer.front import receive_while_busy
from nbcnnviz.explorer.widgets.layout import hint, set_traits
from nbcnnviz.render.colours import palette
from nbcnnviz.render.plots import GREY, ORANGE, RED, TOP, Floats, Plot, Ruler, short

_NARROWEST = 1.8  # pixels of a column on the screen; where there is less room, the chart is scrolled
_UNDER = -70  # where stands what has no place on a logarithmic scale
_NAMED = 16  # lines that a legend names
_TICKS = {"font-size": "11px"}


def figure(marks: Sequence[Any], axes: Sequence[Any], height: int, *, left: int = 52, right: int = 14) -> bqplot.Figure:
    """A figure in the width there is, on whatever background; its title and legend go beside it, in words.

    bqplot's own titles and legends are lost in dark themes, and its toolbar would lie over the marks at the right.
    """
    made = bqplot.Figure(
        marks=list(marks),
        axes=list(axes),
        fig_margin={"top": 8, "bottom": 24, "left": left, "right": right},
        background_style={"fill": "transparent"},
        padding_x=0.0,
        padding_y=0.0,
        animation_duration=0,
    )
    if made.has_trait("display_toolbar"):
        made.display_toolbar = False
    made.layout.width, made.layout.height, made.layout.min_width = "100%", f"{height}px", "0"
    made.layout.margin = "0"  # or it stands out by as much
    return made


def update(mark: Any, x: Any, y: Any, wanted: bool = True, **traits: Any) -> None:
    """Give a mark its numbers in one message; without any it is hidden, and keeps what it had."""
    visible = wanted and len(x) > 0
    with mark.hold_sync():
        if visible:
            mark.x, mark.y = x, y
            for name, value in traits.items():
                setattr(mark, name, value)
        mark.visible = visible


class ColumnChart:
    """A plot on the screen, in the width there is.

    bqplot draws places from 0 to `TOP`, on scales that never change: what is logarithmic, what has no logarithm, and which
    ticks there are is the plot's. (Its logarithmic scales lose a chart in which any value is zero or NaN.)

    Parameters
    ----------
    height
        In pixels, without the title.
    choose
        Called with the column that the reader clicked; anywhere in it, however small its bar. What is pointed at is named
        beside the title, where it covers nothing.
    """

    def __init__(self, height: int = 130, *, choose: Callable[[int], None] | None = None) -> None:
        self.plot: Plot | None = None
        self._x = bqplot.LinearScale(min=-0.5, max=0.5, allow_padding=False)
        self._y = bqplot.LinearScale(min=0, max=TOP, allow_padding=False)
        scales = {"x": self._x, "y": self._y}
        style: dict[str, Any] = {"scales": scales, "visible": False, "tooltip": None}
        self._bars = bqplot.Bars(x=[0.0], y=[0.0], padding=0.1, **style)
        self._line = bqplot.Lines(x=[0.0], y=[0.0], stroke_width=1, marker="circle", marker_size=14, **style)
        self._zeros = bqplot.Scatter(x=[0.0], y=[0.0], marker="circle", fill=False, default_size=16, **style)
        self._broken = bqplot.Scatter(x=[0.0], y=[0.0], marker="cross", colors=[RED], default_size=26, **style)
        self._across = bqplot.Lines(
            x=[0.0, 1.0], y=[0.0, 0.0], colors=[GREY], stroke_width=1.5, line_style="dashed", **style
        )
        # Over all others, a column's whole height: to be pointed at, clicked, and tinted where it is the chosen one.
        self._columns = bqplot.Bars(x=[0.0], y=[0.0], padding=0, colors=[ORANGE], stroke=ORANGE, **style)
        if choose is not None:
            self._columns.on_element_click(lambda _, event: self._on_column(event.get("data"), choose))
        self._columns.on_hover(lambda _, event: self._on_column(event.get("data"), self._pointed))
        self._bottom = bqplot.Axis(scale=self._x, grid_lines="none", tick_values=[0.0], tick_style=_TICKS)
        self._side = bqplot.Axis(
            scale=self._y, side="left", grid_lines="dashed", grid_color="rgba(140, 149, 159, 0.35)"
        )
        self._side.tick_values, self._side.tick_style = np.array([0.0]), _TICKS
        marks = [self._bars, self._across, self._line, self._zeros, self._broken, self._columns]
        self.figure = figure(marks, [self._bottom, self._side], height, right=22)
        self.figure.layout.visibility = "hidden"  # until there is something to be seen
        self._title, self.pointed_at = (w.HTML(layout=w.Layout(margin="0", min_width="0")) for _ in range(2))
        self._title.layout.flex, self.pointed_at.layout.flex = "0 1 auto", "0 0 auto"
        for part in (self._title, self.pointed_at):
            part.add_class("nbv-one-line")
        heading = w.HBox([self._title, self.pointed_at], layout=w.Layout(min_width="0", grid_gap="12px"))
        scroll = w.Box([self.figure], layout=w.Layout(overflow="auto hidden", min_width="0"))
        self.widget = w.VBox([heading, scroll], layout=w.Layout(min_width="0"))
        receive_while_busy(self.widget)  # it may be made after its panel

    def show(self, plot: Plot) -> None:
        """Show a plot in place of the last."""
        self.plot = plot
        ruler, count = plot.ruler, len(plot.values)
        columns = np.arange(count, dtype=np.float64)
        # Bars share out the room from the first to the last: one more at each end, outside, and each has a column's.
        wider = np.arange(-1, count + 1, dtype=np.float64)
        shown, zeros, broken = plot.shown, plot.at_zero, plot.marked
        empty = not bool((shown | zeros | broken).any())
        set_traits(self.figure.layout, visibility="hidden" if empty else "visible")
        self._title.value = f"<b>{html.escape(plot.title)}</b>"
        self.pointed_at.value = hint("no values") if empty else ""
        bottom = float(_UNDER) if bool((zeros | broken).any()) else 0.0 if plot.bars else -25.0
        self.figure.layout.min_width = f"{round(_NARROWEST * count) + 74}px"
        with self._x.hold_sync():
            self._x.min, self._x.max = -0.5, max(count, 1) - 0.5
        with self._y.hold_sync():
            self._y.min, self._y.max = bottom, float(TOP + 20)
        places = np.full(count, ruler.base)
        places[shown] = ruler.place(plot.values[shown])
        update(self._bars, wider, np.pad(places, 1, constant_values=ruler.base), plot.bars, colors=[plot.colour])
        self._bars.base = ruler.base
        update(self._line, columns[shown], places[shown], not plot.bars, colors=[plot.colour])
        under = np.full(count, _UNDER / 2)
        update(self._zeros, columns[zeros], under[zeros], True, colors=[plot.colour])
        update(self._broken, columns[broken], under[broken], True)
        across: Any = [] if plot.reference is None else np.repeat(ruler.place(plot.reference), 2)
        update(self._across, np.array([-0.5, count - 0.5])[: len(across)], across, True)
        tints = [0.28 if column == plot.chosen else 0.0 for column in range(-1, count + 1)]
        update(self._columns, wider, np.full(count + 2, float(TOP + 20)), True, opacities=tints, base=bottom)
        _label(self._bottom, {float(at): text for at, text in plot.ticks.items()})
        _label(self._side, {float(round(float(ruler.place(tick)))): short(tick) for tick in ruler.ticks})

    def _on_column(self, data: Any, act: Callable[[int], None]) -> None:
        """Act on a message of the browser, if it names a column."""
        at = data.get("index") if isinstance(data, dict) else None
        if type(at) is int and self.plot is not None and 1 <= at <= len(self.plot.values):
            act(at - 1)  # the first is the one outside

    def _pointed(self, column: int) -> None:
        hints = self.plot.hints if self.plot is not None else ()
        self.pointed_at.value = hint(hints[column]) if column < len(hints) else ""


class LineChart:
    """Lines over steps: gaps where a number is not known, crosses at steps where one is NaN or infinite.

    Parameters
    ----------
    height
        In pixels.
    log, share
        A logarithmic axis; or one from 0 to 100 %.
    reference
        A value at which a dashed line is drawn across.
    smoothed
        Whether there is a second, stronger line: a running mean of the first.
    legend
        Whether there is a legend.

    Attributes
    ----------
    lines, crosses, figure
        bqplot's marks and figure.
    legend
        A widget with the names of the lines, where one was asked for.
    """

    def __init__(
        self,
        height: int = 170,
        *,
        log: bool = False,
        share: bool = False,
        reference: float | None = None,
        smoothed: bool = False,
        legend: bool = False,
    ) -> None:
        self._log, self.share, self._reference = log, share, reference
        self._x = bqplot.LinearScale(min=0, max=1, allow_padding=False)
        self._y = (bqplot.LogScale if log else bqplot.LinearScale)(min=0.1, max=1)
        scales = {"x": self._x, "y": self._y}
        start: dict[str, Any] = {"x": [0.0], "y": [1.0], "scales": scales}
        width, opacity = (1.0, 0.45) if smoothed else (1.4, 0.9)
        self.lines = bqplot.Lines(colors=palette(1), stroke_width=width, opacities=[opacity], **start)
        self.smooth = bqplot.Lines(colors=palette(1), stroke_width=2.5, visible=smoothed, **start)
        self._across = bqplot.Lines(colors=[GREY], stroke_width=1, line_style="dashed", visible=False, **start)
        self.crosses = bqplot.Scatter(x=[], y=[], scales=scales, colors=[RED], marker="cross", default_size=36)
        self._bottom = bqplot.Axis(scale=self._x, num_ticks=5, grid_lines="none", tick_format="~s")
        self._side = bqplot.Axis(scale=self._y, side="left", num_ticks=5, grid_lines="solid")
        marks = [self._across, self.lines, self.smooth, self.crosses]
        self.figure = figure(marks, [self._bottom, self._side], height)
        self.figure.layout.visibility = "hidden"  # until there are numbers
        self.legend = w.HTML(layout=w.Layout(margin="0", min_width="0")) if legend else None

    @property
    def x(self) -> Floats:
        """The steps that are drawn."""
        return np.asarray(self.lines.x, float)[:-2]

    @property
    def y(self) -> Floats:
        """The numbers that are drawn, (lines, steps)."""
        return np.atleast_2d(self.lines.y)[:, :-2]

    def draw(
        self,
        steps: Sequence[int] | Floats,
        values: Any,
        colours: Sequence[str] | None = None,
        lost: Sequence[float] | Floats = (),
        smooth: Floats | None = None,
        names: Sequence[str] = (),
        absent: str = "",
    ) -> None:
        """Draw values (lines, steps), and crosses at the steps where something was ``lost``.

        ``names`` of the lines make the legend, which says what is ``absent`` where there is none.
        """
        values = np.atleast_2d(np.asarray(values, float))
        steps, colours = np.asarray(steps, float), list(colours or palette(len(values)))
        if self.legend is not None:
            set_traits(self.legend, value=_legend(names, colours) if values.size else html.escape(absent))
        set_traits(self.figure.layout, visibility="visible" if values.size else "hidden")
        if not values.size:
            return
        values = np.where(np.isfinite(values) & ((values > 0) | (not self._log)), values, np.nan)
        ruler, last = self._ruler(values), float(max(steps[-1], 1))
        first = min(float(steps[0]), last - 1)
        set_traits(self._x, min=first, max=last)
        with self._y.hold_sync():
            set_traits(self._y, min=ruler.low, max=ruler.high)
        set_traits(self._side, tick_format=".0e" if self._log else ".0%" if self.share else "~g")
        set_traits(self._side, tick_values=np.array(ruler.ticks))
        x = np.append(steps, [last, last])
        update(self.lines, x, _closed(values, ruler.low), colors=colours)
        if smooth is not None:
            update(self.smooth, x, _closed(smooth[None], ruler.low))
        if self._reference is not None:
            update(self._across, np.array([first, last]), np.full(2, self._reference))
        if len(lost) + len(self.crosses.x):
            with self.crosses.hold_sync():
                self.crosses.x, self.crosses.y = np.asarray(lost, float), np.full(len(lost), ruler.high)

    def _ruler(self, values: Floats) -> Ruler:
        if self.share:
            return Ruler(0.0, 1.0, False, (0.0, 0.25, 0.5, 0.75, 1.0))
        known = values if self._reference is None else np.append(values, self._reference)
        return Ruler.decades(known) if self._log else Ruler.around(known)


def _legend(names: Sequence[str], colours: Sequence[str]) -> str:
    entries = [
        f"<span style='white-space:nowrap'><span style='color:{colour}'>━</span> {html.escape(name)}</span>"
        for name, colour in zip(names[:_NAMED], colours, strict=False)
    ]
    if len(names) > _NAMED:
        entries.append(f"and {len(names) - _NAMED} more")
    return f"<div style='line-height:1.5'>{' &nbsp; '.join(entries)}</div>"


def _closed(lines: Floats, low: float) -> Floats:
    """Lines with a point by itself at the end, which is not drawn: bqplot wants the last one to be a number."""
    return np.hstack([lines, np.full((len(lines), 2), (np.nan, low))])


def _label(axis: Any, labels: Mapping[float, str]) -> None:
    labels = labels or {0.0: ""}  # without any, the axis would choose its own
    # In two messages: ticks are drawn a moment later, with the labels that were known when they came.
    axis.tick_labels = {str(int(at)) if at.is_integer() else repr(at): text for at, text in labels.items()}
    axis.tick_values = np.array([*labels])
