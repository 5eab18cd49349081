"""The line of status: what is going on, how far it is, a button to stop it; and what went wrong. See js/src/status.ts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets as t

from nbcnnviz.explorer.front.base import Front


class StatusLine(Front):
    """What is going on, in words and as a bar. Event ``"stop"``: the reader asks for a stop.

    Its views report whether what they belong to is visible: not in a hidden tab, on a hidden page, or scrolled away.
    """

    kind = t.Unicode("status").tag(sync=True)
    status = t.Unicode("").tag(sync=True)
    step = t.Int(0).tag(sync=True)
    steps = t.Int(0).tag(sync=True)
    running = t.Bool(False).tag(sync=True)
    error = t.Unicode("").tag(sync=True)
    snapshot = t.Unicode("").tag(sync=True)  # identifies the explorer's snapshot, hidden while this is shown

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._views: dict[str, bool] = {}
        self._callbacks: list[Callable[[], None]] = []
        self.on("visibility", self._view_changed)

    @property
    def visible(self) -> bool:
        """Whether any view is visible; assumed until a view reports otherwise."""
        return not self._views or any(self._views.values())

    def on_visible(self, act: Callable[[], None]) -> None:
        """Call ``act`` whenever it becomes visible again."""
        self._callbacks.append(act)

    def _view_changed(self, message: dict[str, Any]) -> None:
        before, visible = self.visible, message.get("visible")
        if visible is None:
            self._views.pop(str(message.get("view")), None)
        else:
            self._views[str(message.get("view"))] = bool(visible)
        if self.visible and not before:
            for act in self._callbacks:
                act()

    def tell(self, status: str, step: int = 0, steps: int = 0) -> None:
        """Say that something runs; ``steps`` 0 where its end is not known."""
        with self.hold_sync():
            self.status, self.step, self.steps, self.running = status, step, steps, True

    def finish(self, status: str = "") -> None:
        """Say that nothing runs any more."""
        with self.hold_sync():
            self.status, self.step, self.steps, self.running = status, 1, 1, False
