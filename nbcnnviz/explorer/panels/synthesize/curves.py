"""The curves of a run: its score, and below it the probabilities, the gradient's norm or the penalties."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import bqplot
import ipywidgets as w
import numpy as np

from nbcnnviz.explorer.panels.synthesize.run import History

COLOURS = ("#5b8fc7", "#e08a1e", "#4fa56b", "#c8589b", "#8f7fd1", "#a98b5d", "#5fb3b3", "#d06f5c")
"""Of lines, to be told from one another on white and on black; of more lines see `palette`."""

_CLASSES = 5
_NAMED = 16  # lines that a legend names
_KINDS = {
    "Probability": "The probabilities of the most likely classes",
    "Gradient": "The norm of the score's gradient with respect to the network's view",
    "Penalties": "The regularisers that are switched on, weighted",
}


def palette(count: int) -> list[str]:
    """Colours for so many lines."""
    if count <= len(COLOURS):
        return list(COLOURS[: max(1, count)])
    turns = (colorsys.hls_to_rgb(at * 0.618034 % 1, (0.45, 0.6)[at % 2], 0.55) for at in range(count))
    return ["#" + "".join(f"{round(255 * part):02x}" for part in colour) for colour in turns]


@dataclass(frozen=True)
class Line:
    """A curve: its name, and a number for each step, NaN where there is none."""

    name: str
    values: Sequence[float]


class Chart:
    """A bqplot figure of lines over steps, with a legend in words beside its title.

    bqplot's own titles and legends are lost in dark themes.
    """

    def __init__(self) -> None:
        self._steps, self._values = bqplot.LinearScale(), bqplot.LinearScale()
        self._share = False
        self.lines = bqplot.Lines(
            x=np.zeros(0), y=np.zeros(0), scales={"x": self._steps, "y": self._values}, colors=palette(1),
            stroke_width=1.6,
        )  # fmt: skip
        self._axis = bqplot.Axis(scale=self._values, orientation="vertical", tick_format="~g")
        self.legend = w.HTML(layout=w.Layout(margin="0", min_width="0"))
        self.figure = bqplot.Figure(
            marks=[self.lines],
            axes=[bqplot.Axis(scale=self._steps, grid_lines="none", tick_format="~d"), self._axis],
            fig_margin={"top": 8, "bottom": 22, "left": 52, "right": 14},
            background_style={"fill": "transparent"},
            padding_x=0.0,
            padding_y=0.0,
            animation_duration=0,
            layout=w.Layout(width="100%", height="170px", min_width="0", margin="0"),
        )

    def draw(self, steps: Sequence[int], lines: Sequence[Line], share: bool = False, absent: str = "") -> None:
        """Draw lines, of shares of one if they are such; ``absent`` is said where there are none."""
        if share != self._share:
            self._share = share
            self._values.min, self._values.max = (0.0, 1.0) if share else (None, None)
            self._axis.tick_format = ".0%" if share else "~g"
        x = np.asarray(steps if lines else [], np.float32)
        y = np.array([line.values for line in lines], np.float32) if lines else x
        if len(x) == 1:  # bqplot would make a bare number of it
            x, y = np.repeat(x, 2), np.repeat(y, 2, axis=1)
        with self.lines.hold_sync():
            if len(self.lines.colors) != max(1, len(lines)):
                self.lines.colors = palette(len(lines))
            self.lines.x, self.lines.y = x, y
        legend = _legend(lines) if lines else absent
        if legend != self.legend.value:
            self.legend.value = legend
            self.figure.layout.visibility = "visible" if lines else "hidden"


class Curves:
    """Two charts, of which the lower shows what the reader turns to."""

    def __init__(self) -> None:
        self._score, self._other = Chart(), Chart()
        self.kind = w.ToggleButtons(
            options=list(_KINDS),
            tooltips=list(_KINDS.values()),
            style=w.ToggleButtonsStyle(button_width="96px"),
            layout=w.Layout(margin="0"),
        )
        self._again: Callable[[], None] = lambda: None
        self.kind.observe(lambda _: self._again(), "value")
        self.widget = w.VBox(
            [
                _heading("<b>Score</b>", self._score.legend),
                self._score.figure,
                _heading(self.kind, self._other.legend),
                self._other.figure,
            ],
            layout=w.Layout(min_width="0", flex="1 1 320px", overflow="hidden"),
        )

    def draw(self, history: History, titles: Sequence[str], classes: Sequence[str], asked: Sequence[int]) -> None:
        """Draw what is known of a run.

        Parameters
        ----------
        titles
            Of the pictures.
        classes
            The names of all classes.
        asked
            The classes whose probability is shown in any case.
        """
        self._again = lambda: self._draw_other(history, titles, classes, asked)
        count = len(history.scores[-1]) if history.scores else 0
        blank = (np.nan,) * count  # a run that went on from another may show more or fewer pictures
        rows = [scores if len(scores) == count else blank for scores in history.scores]
        names = titles if count > 1 else [""]
        each = zip(*rows, strict=True)
        self._score.draw(history.steps, [Line(name, values) for name, values in zip(names, each, strict=True)])
        self._again()

    def forget(self) -> None:
        """Let go of the run that was drawn."""
        self._again = lambda: None

    def _draw_other(
        self, history: History, titles: Sequence[str], classes: Sequence[str], asked: Sequence[int]
    ) -> None:
        steps, kind = history.steps, self.kind.value
        if kind == "Gradient":
            self._other.draw(steps, [Line("", history.gradients)])
        elif kind == "Penalties":
            names = dict.fromkeys(name for found in history.penalties for name in found)
            words = {"l2": "L2", "tv": "total variation"}
            lines = [Line(words.get(n, n), [found.get(n, np.nan) for found in history.penalties]) for n in names]
            self._other.draw(steps, lines, absent="No regulariser is switched on.")
        else:
            absent = "The forward pass ends at the layer asked for: there are no probabilities."
            self._other.draw(steps, _probabilities(history, titles, classes, asked), share=True, absent=absent)


def _probabilities(history: History, titles: Sequence[str], classes: Sequence[str], asked: Sequence[int]) -> list[Line]:
    last = history.probabilities[-1] if history.probabilities else None
    if last is None:
        return []
    several = bool(history.scores) and len(history.scores[-1]) > 1
    if several:
        shown, names = list(range(len(last))), [f"{title}, its best class" for title in titles]
    else:
        best = np.argsort(last)[::-1][:_CLASSES].tolist()
        shown = list(dict.fromkeys([*asked, *best]))[:_CLASSES]
        names = [classes[index] for index in shown]
    blank = np.full(len(last), np.nan, np.float16)
    rows = [blank if found is None or len(found) != len(last) else found for found in history.probabilities]
    values = np.stack([row[shown] for row in rows], axis=1)
    return [Line(name, row) for name, row in zip(names, values, strict=True)]


def _legend(lines: Sequence[Line]) -> str:
    named = zip(lines[:_NAMED], palette(len(lines)), strict=False)
    entries = [
        f"<span style='white-space:nowrap'><span style='color:{colour}'>━</span> {escape(line.name)}</span>"
        for line, colour in named
        if line.name
    ]
    if len(lines) > _NAMED:
        entries.append(f"and {len(lines) - _NAMED} more")
    return f"<div style='line-height:1.5'>{' &nbsp; '.join(entries)}</div>"


def _heading(*parts: w.Widget | str) -> w.HBox:
    widgets = [w.HTML(part, layout=w.Layout(margin="0")) if isinstance(part, str) else part for part in parts]
    return w.HBox(widgets, layout=w.Layout(align_items="center", flex_flow="row wrap", grid_gap="0 12px"))
