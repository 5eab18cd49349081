"""Undo, redo, copy the code, save what is shown, full screen, help: see js/src/tools.ts."""

from __future__ import annotations

import traitlets as t

from nbcnnviz.explorer.front.base import Front


class Tools(Front):
    """A row of buttons.

    Events ``"undo"``, ``"redo"`` and ``"code"``; and ``"save"``, with the ``{"format": ...}`` chosen.
    """

    kind = t.Unicode("tools").tag(sync=True)
    can_undo = t.Bool(False).tag(sync=True)
    can_redo = t.Bool(False).tag(sync=True)
    formats = t.List(t.Unicode()).tag(sync=True)
    help = t.List(t.Dict()).tag(sync=True)  # of the panel turned up: headings with texts

    def copy(self, code: str) -> None:
        """Put text on the reader's clipboard, or before their eyes where there is none."""
        self.send({"type": "code", "text": code})
