"""The line of status: what is going on, how far it is, a button to stop it; and what went wrong. See js/src/status.ts."""

from __future__ import annotations

import traitlets as t

from nbcnnviz.explorer.front.base import Front


class StatusLine(Front):
    """What is going on, in words and as a bar. Event ``"stop"``: the reader asks for a stop."""

    kind = t.Unicode("status").tag(sync=True)
    status = t.Unicode("").tag(sync=True)
    step = t.Int(0).tag(sync=True)
    steps = t.Int(0).tag(sync=True)
    running = t.Bool(False).tag(sync=True)
    error = t.Unicode("").tag(sync=True)

    def tell(self, status: str, step: int = 0, steps: int = 0) -> None:
        """Say that something runs; ``steps`` 0 where its end is not known."""
        with self.hold_sync():
            self.status, self.step, self.steps, self.running = status, step, steps, True

    def finish(self, status: str = "") -> None:
        """Say that nothing runs any more."""
        with self.hold_sync():
            self.status, self.step, self.steps, self.running = status, 1, 1, False
