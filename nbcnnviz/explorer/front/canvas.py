"""The one place that draws with ipycanvas, and knows its faults.

- Its commands go through one manager for the whole process, which two threads at once would mix: one lock.
- ``hold_canvas`` leaves the manager holding when drawing raises: here what was half drawn is dropped, and what someone
  else holds back meanwhile is kept.
- After a reload the page knows no canvas, while the manager thinks it told it: the canvas is named every time.
- A page that connects later gets an empty canvas: what was drawn last is drawn again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import Any

import traitlets as t
from ipycanvas import Canvas
from ipycanvas.canvas import _CANVAS_MANAGER
from ipywidgets import widget_serialization

MANAGER = _CANVAS_MANAGER
Draw = Callable[[Canvas], None]

_LOCK = RLock()


class CanvasHost:
    """An ipycanvas canvas that can be drawn anew from any thread.

    Attributes
    ----------
    canvas : ipycanvas.Canvas
        The widget.
    """

    def __init__(self, width: int = 224, height: int = 224) -> None:
        self.canvas = Canvas(width=width, height=height)
        self._last: Draw | None = None
        self.canvas.on_client_ready(self._draw_again)

    def resize(self, width: int, height: int) -> None:
        """Change the size in pixels; this clears the canvas."""
        if (self.canvas.width, self.canvas.height) != (width, height):
            self.canvas.width, self.canvas.height = width, height

    def draw(self, draw: Draw) -> None:
        """Clear the canvas and draw, in one message."""
        with _LOCK:
            held = MANAGER._caching, MANAGER._commands_cache, MANAGER._buffers_cache
            MANAGER._current_canvas = None
            MANAGER._caching, MANAGER._commands_cache, MANAGER._buffers_cache = True, [], []
            try:
                self.canvas.clear()
                draw(self.canvas)
                self._last = draw
                for _ in range(2):
                    with suppress(Exception):  # it may not be delivered: who draws cannot help that
                        MANAGER.flush()
                        break
            finally:
                MANAGER._caching, MANAGER._commands_cache, MANAGER._buffers_cache = held
                MANAGER._current_canvas = None

    def clear(self) -> None:
        """Remove what was drawn, if anything was."""
        if self._last is not None:
            self.draw(lambda _: None)
            self._last = None

    def _draw_again(self) -> None:
        if self._last is not None:
            self.draw(self._last)


class Drawn(t.HasTraits):
    """What front ends have that draw on canvases."""

    canvases = t.List(t.Instance(Canvas)).tag(sync=True, **widget_serialization)
    caption = t.Unicode("").tag(sync=True)

    def __init__(self, canvases: int = 1, **traits: Any) -> None:
        self._hosts = [CanvasHost() for _ in range(canvases)]
        super().__init__(canvases=[host.canvas for host in self._hosts], **traits)
