"""What a session computes for: a view, which turns the selection into frames, and frames into something seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nbcnnviz.attribution import Attribution, attribute, methods
from nbcnnviz.core.trace import Trace
from nbcnnviz.session.snapshot import Snapshot


class View:
    """From the selection to frames, and from frames to the screen. What it does not need, it leaves as it is here."""

    def settings(self) -> Any:
        """Settings of its own, as they are now; `answer` gets them as ``snapshot.settings``. On any thread."""
        return None

    def answer(self, snapshot: Snapshot, trace: Trace) -> Iterator[Any]:
        """Compute frames, on the task's thread."""
        yield from ()

    def show(self, frame: Any) -> None:
        """Show a frame that `answer` made, on the task's thread."""

    def show_trace(self, trace: Trace) -> None:
        """Take notice of another picture or network, before the first frame of it."""

    def show_question(self, snapshot: Snapshot, trace: Trace) -> None:
        """Take notice of what is asked, before the first frame of it, whichever view it is asked for."""

    def follow(self) -> None:
        """Take notice of a change of the selection, on the thread that made it."""

    def answered(self, trace: Trace) -> None:
        """Compute what nobody waits for, after the last frame."""

    def forget(self) -> None:
        """Let go of traces and what hangs on them: another is about to be made."""


class Explanation(View):
    """The map of what is selected, once or better and better.

    Attributes
    ----------
    result : Attribution or None
        The last frame; None until the first of a picture is there.
    """

    result: Attribution | None = None

    def answer(self, snapshot: Snapshot, trace: Trace) -> Iterator[Any]:
        """The method's frames."""
        layer = snapshot.layer if methods()[snapshot.method].needs_layer else None
        question = {"method": snapshot.method, "target": snapshot.target, "layer": layer}
        yield from attribute.stream(trace, **question, **snapshot.options)

    def show(self, frame: Attribution) -> None:
        """Keep a frame."""
        self.result = frame

    def show_trace(self, trace: Trace) -> None:
        """Let the result go: it is of another picture."""
        self.result = None

    def forget(self) -> None:
        """Let the result go, and its trace with it."""
        self.result = None
