"""Plots of numbers side by side, one a column: what is shown, on which axis, and the same as a picture for a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLUE, GREEN, PURPLE, ORANGE, RED, GREY = "#5b8fc7", "#4a9e6b", "#9a72c4", "#e08a1e", "#d64545", "#8c959f"

TOP = 1000
"""Where the upper end of an axis is; its lower end is at 0."""


def short(value: float) -> str:
    """A number in three significant digits."""
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def round_ticks(low: float, high: float) -> tuple[float, ...]:
    """About five round numbers from one to another."""
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= rough * 0.999)
    return tuple(step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1))


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
        step = math.ceil((top - bottom) / 5)
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
        return cls(low, high, False, round_ticks(low, high))

    @classmethod
    def around(cls, values: Floats) -> Ruler:
        """A linear one around the values that are finite, with some room, and zero where they come near it."""
        found = values[np.isfinite(values)]
        low, high = (float(found.min()), float(found.max())) if len(found) else (0.0, 1.0)
        room = 0.05 * (high - low) or 0.5 * abs(high) or 1.0
        low, high = 0.0 if 0 <= low < 0.5 * high else low - room, high + room
        return cls(low, high, False, round_ticks(low, high))

    def measures(self, values: Floats) -> Bools:
        """Which values have a place."""
        return np.isfinite(values) & (values > 0) if self.log else np.isfinite(values)

    def place(self, values: Any) -> Floats:
        """Where values are, 0 at the bottom and 1000 at the top; they must have a place."""
        low, high, at = self.low, self.high, np.asarray(values, np.float64)
        if self.log:
            low, high, at = math.log10(low), math.log10(high), np.log10(at)
        return np.clip((at - low) / (high - low), 0, 1) * TOP

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
        zero: Bools = (self.values == 0) & ~self.shown
        return zero

    @property
    def marked(self) -> Bools:
        """(n,) which are marked as no number."""
        return np.zeros(len(self.values), bool) if self.broken is None else self.broken & ~self.shown


_INK, _FAINT, _BACKGROUND = "#1f2328", "#d0d7de", "#ffffff"
_SCALE = 2  # pixels of the file for one of the screen


def plots_image(plots: Sequence[Plot], *, columns: int = 1, width: int = 720, height: int = 130) -> Image.Image:
    """Plots as a picture, in rows of so many, for a screen of twice the usual resolution."""
    across = width // columns
    down = height + 22
    rows = math.ceil(len(plots) / columns)
    sheet = Image.new("RGB", (across * columns * _SCALE, max(1, rows * down) * _SCALE), _BACKGROUND)
    for at, plot in enumerate(plots):
        row, column = divmod(at, columns)
        sheet.paste(_plot_image(plot, across, down), (column * across * _SCALE, row * down * _SCALE))
    return sheet


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of files, so many pixels of the screen high."""
    return ImageFont.load_default(size * _SCALE)


def stacked(parts: Sequence[Image.Image], *, beside: bool = False) -> Image.Image:
    """Pictures below one another, or beside one another, on white."""
    widths, heights = [part.width for part in parts], [part.height for part in parts]
    size = (sum(widths), max(heights)) if beside else (max(widths), sum(heights))
    sheet, at = Image.new("RGB", size, _BACKGROUND), 0
    for part in parts:
        sheet.paste(part, (at, 0) if beside else (0, at))
        at += part.width if beside else part.height
    return sheet


def _plot_image(plot: Plot, width: int, height: int) -> Image.Image:
    sheet = Image.new("RGB", (width * _SCALE, height * _SCALE), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    marks_under = bool((plot.at_zero | plot.marked).any())
    left, right, top, bottom = 60 * _SCALE, (width - 26) * _SCALE, 26 * _SCALE, (height - 24) * _SCALE
    floor = bottom - (8 * _SCALE if marks_under else 0)
    step = (right - left) / max(1, len(plot.values))

    def x(column: Any) -> float:
        return float(left + (column + 0.5) * step)

    def y(places: Any) -> Any:
        return floor - np.asarray(places) / TOP * (floor - top)

    pen.text((left, 4 * _SCALE), plot.title, _INK, font(12))
    for tick in plot.ruler.ticks:
        at = float(y(plot.ruler.place(tick)))
        pen.line((left, at, right, at), _FAINT, 1)
        pen.text((left - 5 * _SCALE, at), short(tick), _INK, font(10), anchor="rm")
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
        pen.text((x(column_at), bottom + 4 * _SCALE), text, _INK, font(10), anchor="ma")
    return sheet
