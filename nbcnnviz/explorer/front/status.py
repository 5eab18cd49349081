"""The line of status: what is going on, how far it is, a button to stop it; and what went wrong. See js/src/status.ts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets as t

from nbcnnviz.explorer.front.base import Front


class StatusLine(Front):
    """What is going on, in words and as a bar. Event ``"stop"``: the reader asks for a stop.

    Its views say whether what they belong to is on a screen: not in a hidden tab, on a page that is not looked at, or
    scrolled away.
    """

    kind = t.Unicode("status").tag(sync=True)
    status = t.Unicode("").tag(sync=True)
    step = t.Int(0).tag(sync=True)
    steps = t.Int(0).tag(sync=True)
    running = t.Bool(False).tag(sync=True)
    error = t.Unicode("").tag(sync=True)
    still = t.Unicode("").tag(sync=True)  # names the picture kept beside the explorer, which hides while this is shown

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._views: dict[str, bool] = {}
        self._then: list[Callable[[], None]] = []
        self.on("seen", self._hear_of_view)

    @property
    def seen(self) -> bool:
        """Whether someone may be looking; taken for granted until a view says otherwise."""
        return not self._views or any(self._views.values())

    def on_seen(self, act: Callable[[], None]) -> None:
        """Call ``act`` whenever someone may be looking again."""
        self._then.append(act)

    def _hear_of_view(self, message: dict[str, Any]) -> None:
        before, seen = self.seen, message.get("seen")
        if seen is None:
            self._views.pop(str(message.get("view")), None)
        else:
            self._views[str(message.get("view"))] = bool(seen)
        if self.seen and not before:
            for act in self._then:
                act()

    def tell(self, status: str, step: int = 0, steps: int = 0) -> None:
        """Say that something runs; ``steps`` 0 where its end is not known."""
        with self.hold_sync():
            self.status, self.step, self.steps, self.running = status, step, steps, True

    def finish(self, status: str = "") -> None:
        """Say that nothing runs any more."""
        with self.hold_sync():
            self.status, self.step, self.steps, self.running = status, 1, 1, False
