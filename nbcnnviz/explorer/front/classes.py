"""The list of classes: the best ones with their bars, a search among all, the one explained. See js/src/classes.ts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import traitlets as t

from nbcnnviz.explorer.front.base import Front
from nbcnnviz.inside.predictions import Row


class ClassList(Front):
    """Classes, each a row to be clicked.

    Events ``"choose"``, with the ``{"index": ...}`` of a class, or None for whichever is on top; ``"contrast"``, with the
    index of the class that the one explained is held against; and ``"search"``, with the ``{"text": ...}`` typed.
    """

    kind = t.Unicode("classes").tag(sync=True)
    heading = t.Unicode("Classes").tag(sync=True)
    rows = t.List(t.Dict()).tag(sync=True)
    found = t.List(t.Dict()).tag(sync=True)  # what was searched, best first
    wanted = t.Unicode("").tag(sync=True)  # the text that `found` answers
    matches = t.Int(0).tag(sync=True)  # how many there are in all
    count = t.Int(0).tag(sync=True)  # how many classes the network has
    chosen = t.Int(-1).tag(sync=True)  # the index of the class explained, -1 for none
    against = t.Int(-1).tag(sync=True)  # of the one it is held against, -1 for none
    top = t.Bool(False).tag(sync=True)  # whether whichever class is on top is explained
    topped = t.Bool(True).tag(sync=True)  # whether there is one on top
    note = t.Unicode("").tag(sync=True)  # in place of rows, or beside them

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows."""
        self.rows = [asdict(row) for row in rows]

    def show_found(self, wanted: str, rows: Sequence[Row], matches: int) -> None:
        """Show what a search found, of so many."""
        with self.hold_sync():
            # The text last: what was found is there when the browser hears whose it is.
            self.found, self.matches, self.wanted = [asdict(row) for row in rows], matches, wanted
