"""Charts of numbers side by side, one a column: by bqplot on the screen, by Pillow in a file, from the same description.

bqplot draws places from 0 to 1000, on scales that never change: what is logarithmic, what has no logarithm, and which
ticks there are is decided here. (Its logarithmic scales lose a chart in which any value is zero or NaN.)
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bqplot
import ipywidgets as w
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nbcnnviz.explorer.front import receive_while_busy

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLUE, GREEN, PURPLE, ORANGE, RED, GREY = "#5b8fc7", "#4a9e6b", "#9a72c4", "#e08a1e", "#d64545", "#8c959f"

_TOP = 1000
_NARROWEST = 2.2  # pixels of a column on the screen; where there is less room, the chart is scrolled
_UNDER = -70  # where stands what has no place on a logarithmic scale


def short(value: float) -> str:
    """A number in three significant digits."""
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


@dataclass(frozen=True)
class Ruler:
    """The vertical axis: from which value to which, evenly or by decades; ``ticks`` are the values that are named."""

    low: float
    high: float
    log: bool = False
    ticks: tuple[float, ...] = ()

    @classmethod
    def decades(cls, values: Floats, *, low: float | None = None) -> Ruler:
        """A logarithmic one around the values that have a logarithm, from one power of ten to another."""
        found = values[np.isfinite(values) & (values > 0)]
        first, last = (
            (np.log10([found.min(), found.max()]) if len(found) else (-1.0, 0.0)) if low is None else (0.0, 0.0)
        )
        if low is not None:
            first, last = math.log10(low), math.log10(max([low, *found]))
        bottom = math.floor(first + 1e-9)
        top = max(math.ceil(last - 1e-9), bottom + 1)
        step = math.ceil((top - bottom) / 4)
        begin = bottom if low is None else math.ceil(first - 1e-9)
        ticks = tuple(10.0**power for power in range(begin, top + 1, step))
        return cls(10.0**bottom if low is None else low, 10.0**top, True, ticks)

    @classmethod
    def even(cls, values: Floats) -> Ruler:
        """A linear one around zero and the values that are finite."""
        found = values[np.isfinite(values)]
        low, high = min([0.0, *found]), max([0.0, *found])
        if low == high:
            high = 1.0
        rough = (high - low) / 4
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= rough * 0.999)
        ticks = tuple(step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1))
        return cls(low, high, False, ticks)

    def measures(self, values: Floats) -> Bools:
        """Which values have a place."""
        return np.isfinite(values) & (values > 0) if self.log else np.isfinite(values)

    def place(self, values: Any) -> Floats:
        """Where values are, 0 at the bottom and 1000 at the top; they must have a place."""
        low, high, at = self.low, self.high, np.asarray(values, np.float64)
        if self.log:
            low, high, at = math.log10(low), math.log10(high), np.log10(at)
        return np.clip((at - low) / (high - low), 0, 1) * _TOP

    @property
    def base(self) -> float:
        """Where bars begin: at zero, or at the bottom."""
        return 0.0 if self.log else float(self.place(0.0))


@dataclass(frozen=True, eq=False)
class Plot:
    """What a chart shows.

    Attributes
    ----------
    title
        What is measured.
    values
        (n,) a number a column; NaN where there is none to show.
    ruler
        The vertical axis.
    bars
        Bars, or else points joined by a line.
    colour
        Of the bars or points.
    ticks
        What is written under which place, in columns, of which the first is at 0.
    broken
        (n,) of which columns the number is NaN or infinite, rather than missing.
    reference
        A value at which a line is drawn across.
    chosen
        The column that is marked, if any.
    hints
        (n,) what is said of each column when it is pointed at.
    """

    title: str
    values: Floats
    ruler: Ruler
    bars: bool = True
    colour: str = BLUE
    ticks: Mapping[float, str] = field(default_factory=dict)
    broken: Bools | None = None
    reference: float | None = None
    chosen: int | None = None
    hints: Sequence[str] = ()

    @property
    def shown(self) -> Bools:
        """(n,) which columns have a bar or a point."""
        return self.ruler.measures(self.values)

    @property
    def at_zero(self) -> Bools:
        """(n,) which are zero, where zero has no place."""
        return (self.values == 0) & ~self.shown

    @property
    def marked(self) -> Bools:
        """(n,) which are marked as no number."""
        return np.zeros(len(self.values), bool) if self.broken is None else self.broken & ~self.shown


class Chart:
    """A plot on the screen, in the width there is.

    Parameters
    ----------
    height
        In pixels, without the title.
    choose, point
        Called with the column that the reader clicked, or points at; anywhere in it, however small its bar.
    """

    def __init__(
        self,
        height: int = 130,
        *,
        choose: Callable[[int], None] | None = None,
        point: Callable[[int], None] | None = None,
    ) -> None:
        self.plot: Plot | None = None
        self._x = bqplot.LinearScale(min=-0.5, max=0.5, allow_padding=False)
        self._y = bqplot.LinearScale(min=0, max=_TOP, allow_padding=False)
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
        self._says = w.HTML()
        self._point = point
        if choose is not None:
            self._columns.on_element_click(lambda _, event: self._heard(event.get("data"), choose))
        self._columns.on_hover(lambda _, event: self._heard(event.get("data"), self._pointed))
        self._columns.tooltip = self._says
        self._columns.tooltip_style = {"opacity": 0.95, "pointer-events": "none"}
        tick_style = {"font-size": "11px"}
        self._bottom = bqplot.Axis(scale=self._x, grid_lines="none", tick_values=[0.0], tick_style=tick_style)
        self._side = bqplot.Axis(
            scale=self._y, side="left", grid_lines="dashed", grid_color="rgba(140, 149, 159, 0.35)"
        )
        self._side.tick_values, self._side.tick_style = np.array([0.0]), tick_style
        self.figure = bqplot.Figure(
            marks=[self._bars, self._across, self._line, self._zeros, self._broken, self._columns],
            axes=[self._bottom, self._side],
            fig_margin={"top": 8, "bottom": 22, "left": 52, "right": 22},
            background_style={"fill": "transparent"},
            padding_x=0.0,
            padding_y=0.0,
            animation_duration=0,
        )
        if self.figure.has_trait("display_toolbar"):  # it would lie over the last columns
            self.figure.display_toolbar = False
        self.figure.layout.width, self.figure.layout.height = "100%", f"{height}px"
        self._title = w.HTML()
        scroll = w.Box([self.figure], layout=w.Layout(overflow="auto hidden", min_width="0"))
        self.widget = w.VBox([self._title, scroll], layout=w.Layout(min_width="0"))
        receive_while_busy(self.widget)  # it may be made after its panel

    def show(self, plot: Plot) -> None:
        """Show a plot in place of the last."""
        self.plot = plot
        ruler, count = plot.ruler, len(plot.values)
        columns = np.arange(count, dtype=np.float64)
        # Bars share out the room from the first to the last: one more at each end, outside, and each has a column's.
        wider = np.arange(-1, count + 1, dtype=np.float64)
        shown, zeros, broken = plot.shown, plot.at_zero, plot.marked
        self._title.value = f"<div style='font-weight: 600; line-height: 1.3'>{html.escape(plot.title)}</div>"
        bottom = float(_UNDER) if bool((zeros | broken).any()) else 0.0 if plot.bars else -25.0
        self.figure.layout.min_width = f"{round(_NARROWEST * count) + 74}px"
        with self._x.hold_sync():
            self._x.min, self._x.max = -0.5, max(count, 1) - 0.5
        with self._y.hold_sync():
            self._y.min, self._y.max = bottom, float(_TOP + 20)
        places = np.full(count, ruler.base)
        places[shown] = ruler.place(plot.values[shown])
        _put(self._bars, wider, np.pad(places, 1, constant_values=ruler.base), plot.bars, colors=[plot.colour])
        self._bars.base = ruler.base
        _put(self._line, columns[shown], places[shown], not plot.bars, colors=[plot.colour])
        under = np.full(count, _UNDER / 2)
        _put(self._zeros, columns[zeros], under[zeros], True, colors=[plot.colour])
        _put(self._broken, columns[broken], under[broken], True)
        across: Any = [] if plot.reference is None else np.repeat(ruler.place(plot.reference), 2)
        _put(self._across, np.array([-0.5, count - 0.5])[: len(across)], across, True)
        tints = [0.28 if column == plot.chosen else 0.0 for column in range(-1, count + 1)]
        _put(self._columns, wider, np.full(count + 2, float(_TOP + 20)), True, opacities=tints, base=bottom)
        _label(self._bottom, {float(at): text for at, text in plot.ticks.items()})
        _label(self._side, {float(round(float(ruler.place(tick)))): short(tick) for tick in ruler.ticks})

    def _heard(self, data: Any, act: Callable[[int], None]) -> None:
        """Act on a message of the browser, if it names a column."""
        at = data.get("index") if isinstance(data, dict) else None
        if type(at) is int and self.plot is not None and 1 <= at <= len(self.plot.values):
            act(at - 1)  # the first is the one outside

    def _pointed(self, column: int) -> None:
        hints = self.plot.hints if self.plot is not None else ()
        self._says.value = html.escape(hints[column]) if column < len(hints) else ""
        if self._point is not None:
            self._point(column)


def labelled(label: str, control: w.Widget) -> w.HBox:
    """A control behind its label, on one line where there is room."""
    return w.HBox([w.Label(label, layout=w.Layout(width="auto", margin="2px 4px 2px 2px")), control])


def _put(mark: Any, x: Any, y: Any, wanted: bool, **traits: Any) -> None:
    """Give a mark its numbers in one message; without any it is hidden, and keeps what it had."""
    visible = wanted and len(x) > 0
    with mark.hold_sync():
        if visible:
            mark.x, mark.y = x, y
            for name, value in traits.items():
                setattr(mark, name, value)
        mark.visible = visible


def _label(axis: Any, labels: Mapping[float, str]) -> None:
    labels = labels or {0.0: ""}  # without any, the axis would choose its own
    # In two messages: ticks are drawn a moment later, with the labels that were known when they came.
    axis.tick_labels = {str(int(at)) if at.is_integer() else repr(at): text for at, text in labels.items()}
    axis.tick_values = np.array([*labels])


# In a file.

_INK, _FAINT, _PAPER = "#1f2328", "#d0d7de", "#ffffff"
_SCALE = 2  # pixels of the file for one of the screen


def drawn(plots: Sequence[Plot], *, columns: int = 1, width: int = 720, height: int = 130) -> Image.Image:
    """Plots as a picture, in rows of so many, for a screen of twice the usual resolution."""
    across = width // columns
    down = height + 22
    rows = math.ceil(len(plots) / columns)
    sheet = Image.new("RGB", (across * columns * _SCALE, max(1, rows * down) * _SCALE), _PAPER)
    for at, plot in enumerate(plots):
        row, column = divmod(at, columns)
        sheet.paste(_drawn(plot, across, down), (column * across * _SCALE, row * down * _SCALE))
    return sheet


def letters(size: float) -> Any:
    """A typeface, for so many pixels of the screen."""
    return ImageFont.load_default(size * _SCALE)


def _drawn(plot: Plot, width: int, height: int) -> Image.Image:
    sheet = Image.new("RGB", (width * _SCALE, height * _SCALE), _PAPER)
    pen = ImageDraw.Draw(sheet)
    marks_under = bool((plot.at_zero | plot.marked).any())
    left, right, top, bottom = 60 * _SCALE, (width - 26) * _SCALE, 26 * _SCALE, (height - 24) * _SCALE
    floor = bottom - (8 * _SCALE if marks_under else 0)
    step = (right - left) / max(1, len(plot.values))

    def x(column: Any) -> float:
        return left + (column + 0.5) * step

    def y(places: Any) -> Any:
        return floor - np.asarray(places) / _TOP * (floor - top)

    pen.text((left, 4 * _SCALE), plot.title, _INK, letters(12))
    for tick in plot.ruler.ticks:
        at = float(y(plot.ruler.place(tick)))
        pen.line((left, at, right, at), _FAINT, 1)
        pen.text((left - 5 * _SCALE, at), short(tick), _INK, letters(10), anchor="rm")
    if plot.chosen is not None:
        pen.rectangle(
            (x(plot.chosen - 0.5), top, max(x(plot.chosen + 0.5), x(plot.chosen - 0.5) + 2), bottom), "#f7dfbf"
        )
    shown = np.flatnonzero(plot.shown)
    at_y = y(plot.ruler.place(plot.values[plot.shown]))
    base = float(y(plot.ruler.base))
    if plot.bars:
        for column, value in zip(shown, at_y, strict=True):
            margin = 0.1 * step if step > 4 else 0.0
            ends = sorted((base, float(value)))
            pen.rectangle((x(column - 0.5) + margin, ends[0], x(column + 0.5) - margin, ends[1]), plot.colour)
    else:
        dots = [(x(column), float(value)) for column, value in zip(shown, at_y, strict=True)]
        if len(dots) > 1:
            pen.line(dots, plot.colour, _SCALE)
        for dot in dots:
            pen.circle(dot, 1.7 * _SCALE, plot.colour)
    if plot.reference is not None:
        at = float(y(plot.ruler.place(plot.reference)))
        for begin in range(int(left), int(right), 10 * _SCALE):
            pen.line((begin, at, min(begin + 6 * _SCALE, right), at), GREY, _SCALE)
    under, size = bottom - 3 * _SCALE, 2 * _SCALE
    for column in np.flatnonzero(plot.at_zero):
        pen.circle((x(column), under), size, outline=plot.colour, width=_SCALE)
    for column in np.flatnonzero(plot.marked):
        at = x(column)
        pen.line((at - size, under - size, at + size, under + size), RED, _SCALE)
        pen.line((at - size, under + size, at + size, under - size), RED, _SCALE)
    pen.line((left, top, left, bottom), GREY, _SCALE)
    pen.line((left, bottom, right, bottom), GREY, _SCALE)
    for column_at, text in plot.ticks.items():
        pen.text((x(column_at), bottom + 4 * _SCALE), text, _INK, letters(10), anchor="ma")
    return sheet
