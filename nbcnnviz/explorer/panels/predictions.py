"""The predictions: the best classes as rows with bars; a click on one explains it, a shift-click holds it against another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nbcnnviz.core.targets import ClassScore
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front.classes import ClassList, Row
from nbcnnviz.inside.predictions import bar, bar_range, matching, percent, why_nothing

_SHOWN, _FOUND = 8, 40

Value = tuple[str, float]


class PredictionsPanel:
    """The classes with the largest values, the one explained, and what was searched.

    Parameters
    ----------
    choose
        Called with what is to be explained: the index of a class that was clicked, None for whichever is on top, or the
        difference of two class scores.

    Attributes
    ----------
    widget : ClassList
        What is shown.
    """

    def __init__(self, choose: Callable[[Any], None]) -> None:
        self._choose = choose
        self._names: Sequence[str] = ()
        self._kind = "logits"
        self._said: Callable[[float], str] = percent
        self._values: Mapping[int, Value] = {}  # all that are known, best first
        self._top: list[tuple[int, str, float]] = []
        self.widget = ClassList(label="Classes")
        self.widget.on("choose", lambda message: self._chosen(message.get("index")))
        self.widget.on("contrast", lambda message: self._contrasted(message.get("index")))
        self.widget.on("search", lambda message: self._search(message.get("text")))

    def show(self, trace: Trace) -> None:
        """Show a trace's best classes; of a segmentation those present, of a regression the values."""
        network = trace.network
        self._names, self._kind = network.classes, network.kind
        self._said = network.head.text if self._kind == "regression" else percent
        known = trace.top(max(1, len(self._names)))
        self._values = {index: (name, value) for index, name, value in known}
        self._top = [entry for entry in known[:_SHOWN] if entry[2] > 0 or self._kind != "segmentation"]
        widget = self.widget
        with widget.hold_sync():
            widget.heading = "Values" if self._kind == "regression" else "Classes"
            widget.count = len(self._names)
            widget.topped = self._kind != "embedding" and (self._kind != "regression" or len(self._names) == 1)
            widget.note = "" if self._top else why_nothing(trace)
            self._lay()
            self._search(widget.wanted)

    def mark(self, chosen: int | None, against: int | None = None, top: bool = False) -> None:
        """Say which class is explained, which it is held against, and whether it is whichever is on top."""
        with self.widget.hold_sync():
            self.widget.chosen = -1 if chosen is None else chosen
            self.widget.against = -1 if against is None else against
            self.widget.top = top
            self._lay()

    def _lay(self) -> None:
        """Put up the best rows, and below them the class explained, or held against it, if it is not among them."""
        shown = [index for index, *_ in self._top]
        more = (self.widget.chosen, self.widget.against)
        self.widget.show(self._rows([*shown, *dict.fromkeys(i for i in more if i >= 0 and i not in shown)]))

    def _rows(self, indices: Sequence[int]) -> list[Row]:
        values = [self._value(index) for index in indices]
        low, high = bar_range(values) if self._kind == "regression" else (0.0, 1.0)
        return [
            Row(index, self._name(index), self._said(value), *bar(value, low, high))
            for index, value in zip(indices, values, strict=True)
            if index < len(self._names)  # of the network before, until the first trace of this one
        ]

    def _name(self, index: int) -> str:
        return self._names[index] if index < len(self._names) else ""

    def _value(self, index: int) -> float:
        return self._values[index][1] if index in self._values else 0.0 if self._values else math.nan

    def _search(self, text: Any) -> None:
        if isinstance(text, str):
            found = matching(text, self._names, lambda index: self._value(index))
            self.widget.show_found(text, self._rows(found[:_FOUND]), len(found))

    def _chosen(self, index: Any) -> None:
        if index is None or self._is_class(index):
            self._choose(index)

    def _contrasted(self, index: Any) -> None:
        if self._is_class(index):
            chosen = self.widget.chosen
            same = chosen < 0 or chosen == index
            self._choose(index if same else ClassScore(chosen) - ClassScore(index))

    def _is_class(self, index: Any) -> bool:
        return type(index) is int and 0 <= index < len(self._names)
