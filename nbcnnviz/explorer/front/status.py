"""The line of status: what is going on, how far it is, a button to stop it; and what went wrong. See js/src/status.ts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets as t

from nbcnnviz.core.durations import whole_seconds
from nbcnnviz.explorer.front.base import Front
from nbcnnviz.session import Task


class StatusLine(Front):
    """What is going on, in words and as a bar. Events ``"stop"`` and ``"pause"``, which also resumes: what the reader asks for.

    Its views report whether what they belong to is visible: not in a hidden tab, on a hidden page, or scrolled away.
    """

    kind = t.Unicode("status").tag(sync=True)
    status = t.Unicode("").tag(sync=True)
    step = t.Int(0).tag(sync=True)
    steps = t.Int(0).tag(sync=True)
    running = t.Bool(False).tag(sync=True)
    pausable = t.Bool(False).tag(sync=True)
    paused = t.Bool(False).tag(sync=True)
    stale = t.Bool(False).tag(sync=True)  # whether what is on screen answers something else than what was asked last
    error = t.Unicode("").tag(sync=True)
    snapshot = t.Unicode("").tag(sync=True)  # identifies the explorer's snapshot, hidden while this is shown
    roll_call = t.Int(0).tag(sync=True)  # whenever it changes, each view says again whether it is visible
    language = t.Unicode("en").tag(sync=True)
    texts = t.Dict().tag(sync=True)  # of that language, by the English

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
        before, view, visible = self.visible, str(message.get("view")), message.get("visible")
        left = bool(self._views.pop(view, False)) and not visible
        if visible is not None:
            self._views[view] = bool(visible)
        if left and any(self._views.values()):
            # The others may be of pages that were closed without taking their leave: who is still there says so.
            self._views = {other: seen for other, seen in self._views.items() if not seen}
            self.roll_call += 1
        if self.visible and not before:
            for act in self._callbacks:
                act()

    def show(self, task: Task, error: str = "") -> None:
        """Show how a task stands, and what went wrong."""
        busy = task.live and not task.answered
        with self.hold_sync():
            self.error, self.stale = error, error != "" or (busy and task.slow and task.made == 0)
            if not busy:
                self.finish({"stopped": "Stopped", "failed": ""}.get(task.state, task.status))
            elif task.slow or task.status or task.total > 1:
                self.tell(progress(task), task.completed, task.total, task.total > 1, task.state == "paused")
            else:  # it may be over before anyone could read it
                self.pausable = False

    def tell(self, status: str, step: int = 0, steps: int = 0, pausable: bool = False, paused: bool = False) -> None:
        """Say that something runs, or is paused; ``steps`` 0 where its end is not known."""
        with self.hold_sync():
            self.status, self.step, self.steps, self.running = status, step, steps, True
            self.pausable, self.paused = pausable, paused

    def finish(self, status: str = "") -> None:
        """Say that nothing runs any more."""
        with self.hold_sync():
            self.status, self.step, self.steps, self.running = status, 1, 1, False
            self.pausable = self.paused = False


def progress(task: Task) -> str:
    """What a task does, how far it is and how long it will take, in words."""
    if task.status:
        return task.status
    if task.total <= 1:
        return f"{task.title} ..."
    how_far = f"{task.completed} of {task.total}"
    if task.state == "paused":
        return f"Paused at {how_far}"
    left = task.seconds_left
    return f"{task.title}: {how_far}" + (f", {whole_seconds(left)} left" if left is not None else "")
