"""The curves of a run: its score, and below it the probabilities, the gradient's norm or the penalties."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as w
import numpy as np

from nbcnnviz.explorer.widgets.charts import LineChart
from nbcnnviz.explorer.widgets.layout import row, toggles
from nbcnnviz.synthesis.record import RunRecord

_HEIGHT = 140
_LOW = f"min({_HEIGHT}px, 13vh)"  # so that both are on a laptop's screen
_KINDS = {
    "Probability": "The probabilities of the most likely classes",
    "Gradient": "How strong the gradient is that moves the picture: its norm, at what the network sees of it",
    "Penalties": "What the regularizers that are switched on (L2, total variation) take off the score",
}


class Curves:
    """Two charts, of which the lower shows what the reader turns to."""

    def __init__(self) -> None:
        self._score, self._other = LineChart(_HEIGHT, legend=True), LineChart(_HEIGHT, legend=True)
        for chart in (self._score, self._other):
            chart.figure.layout.height = _LOW
        self.kind = toggles(_KINDS, "96px")
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

    def draw(self, record: RunRecord, titles: Sequence[str], classes: Sequence[str], asked: Sequence[int]) -> None:
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
        self._again = lambda: self._draw_other(record, titles, classes, asked)
        count = len(record.scores[-1]) if record.scores else 0
        blank = (np.nan,) * count  # a run that went on from another may show more or fewer pictures
        rows = [scores if len(scores) == count else blank for scores in record.scores]
        self._score.draw(record.steps, np.array(rows).T, names=titles if count > 1 else ())
        self._again()

    def forget(self) -> None:
        """Let go of the run that was drawn."""
        self._again = lambda: None

    def _draw_other(
        self, record: RunRecord, titles: Sequence[str], classes: Sequence[str], asked: Sequence[int]
    ) -> None:
        steps, kind = record.steps, self.kind.value
        self._other.share = kind == "Probability"
        if kind == "Gradient":
            self._other.draw(steps, record.gradients)
        elif kind == "Penalties":
            names = [*dict.fromkeys(name for found in record.penalties for name in found)]
            words = {"l2": "L2", "tv": "total variation"}
            values = [[found.get(name, np.nan) for found in record.penalties] for name in names]
            absent = "No regularizer is switched on."
            self._other.draw(steps, values, names=[words.get(name, name) for name in names], absent=absent)
        else:
            absent = "The forward pass ends at the layer asked for: there are no probabilities."
            probabilities, names = record.best(titles, classes, asked)
            self._other.draw(steps, probabilities, names=names, absent=absent)


def _heading(*parts: w.Widget | str) -> w.HBox:
    widgets = [w.HTML(part, layout=w.Layout(margin="0")) if isinstance(part, str) else part for part in parts]
    return row(*widgets, gap="0 12px")
