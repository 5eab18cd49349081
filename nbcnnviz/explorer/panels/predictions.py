"""The predictions: the best classes as rows with bars; a click on one explains it, a shift-click holds it against another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbcnnviz.core.targets import ClassScore
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front.classes import ClassList
from nbcnnviz.inside.predictions import ClassTable

_FOUND = 40


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
    table : ClassTable or None
        What the network says of the picture; None before there is one.
    """

    def __init__(self, choose: Callable[[Any], None]) -> None:
        self._choose = choose
        self.table: ClassTable | None = None
        self.widget = ClassList(label="Classes")
        self.widget.on("choose", lambda message: self._chosen(message.get("index")))
        self.widget.on("contrast", lambda message: self._contrasted(message.get("index")))
        self.widget.on("search", lambda message: self._search(message.get("text")))

    def show(self, trace: Trace) -> None:
        """Show a trace's best classes; of a segmentation those present, of a regression the values."""
        table, widget = ClassTable(trace), self.widget
        self.table = table
        with widget.hold_sync():
            widget.heading, widget.count = table.heading, len(table.names)
            widget.topped, widget.note = table.has_best, table.note
            self._show_rows()
            self._search(widget.wanted)

    def mark(self, chosen: int | None, against: int | None = None, top: bool = False) -> None:
        """Say which class is explained, which it is held against, and whether it is whichever is on top."""
        with self.widget.hold_sync():
            self.widget.chosen = -1 if chosen is None else chosen
            self.widget.against = -1 if against is None else against
            self.widget.top = top
            self._show_rows()

    def _show_rows(self) -> None:
        """Show the best rows, and below them the class explained, or held against it, if it is not among them."""
        if self.table is not None:
            more = (index for index in (self.widget.chosen, self.widget.against) if index >= 0)
            self.widget.show(self.table.rows(dict.fromkeys([*(index for index, *_ in self.table.top), *more])))

    def _search(self, text: Any) -> None:
        if isinstance(text, str) and self.table is not None:
            found = self.table.search(text)
            self.widget.show_found(text, self.table.rows(found[:_FOUND]), len(found))

    def _chosen(self, index: Any) -> None:
        if index is None or self._is_class(index):
            self._choose(index)

    def _contrasted(self, index: Any) -> None:
        if self._is_class(index):
            chosen = self.widget.chosen
            same = chosen < 0 or chosen == index
            self._choose(index if same else ClassScore(chosen) - ClassScore(index))

    def _is_class(self, index: Any) -> bool:
        return type(index) is int and 0 <= index < (len(self.table.names) if self.table is not None else 0)
