"""Undo and redo of the selection."""

from __future__ import annotations

from typing import Any

import traitlets as t

from nbcnnviz.explorer.selection import Selection

CAMERA = "camera"
"""The name of pictures that a camera took, one after another."""

_LONGEST = 200
_ORDER = ("network", "image", "crop", "method", "layer", "target", "filter", "unit", "options")

_State = dict[str, Any]


class History(t.HasTraits):
    """What was selected, step by step.

    Attributes
    ----------
    can_undo, can_redo : bool
        Whether there is a step back, or one forward again.
    """

    can_undo = t.Bool(False)
    can_redo = t.Bool(False)

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        self._selection = selection
        self._back: list[_State] = []
        self._forward: list[_State] = []
        self._now = self._state()
        self._going = False
        selection.observe(self._changed, t.All)

    def undo(self) -> None:
        """Select what was selected before, if anything was."""
        self._go(self._back, self._forward)

    def redo(self) -> None:
        """Select what was selected before the last `undo`, if nothing else has been since."""
        self._go(self._forward, self._back)

    def close(self) -> None:
        """Forget everything."""
        self._selection.unobserve(self._changed, t.All)
        self._back, self._forward = [], []
        self._tell()

    def _state(self) -> _State:
        return {name: getattr(self._selection, name) for name in _ORDER}

    def _changed(self, change: t.Bunch) -> None:
        if self._going or not self._selection.settled or change.name not in _ORDER:
            return
        state = self._state()
        if not (change.name == "image" and self._now["image"].filename == change.new.filename == CAMERA):
            self._back = [*self._back, self._now][-_LONGEST:]  # but of a camera's frames the last is enough
        self._forward = []
        self._now = state
        self._tell()

    def _go(self, there: list[_State], back: list[_State]) -> None:
        if not there:
            return
        state = there.pop()
        back.append(self._now)
        self._going = True
        try:
            self._selection.restore(state)
        finally:
            self._going = False
            self._now = self._state()
            self._tell()

    def _tell(self) -> None:
        self.can_undo, self.can_redo = bool(self._back), bool(self._forward)
