"""The panel frame's side in the kernel: what the front end (js/) shows, as traits. See js/src/model.ts.

The traits hold the last picture as bytes, so that nothing drawn is lost with a canvas, a reload or the kernel.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets as t
from ipycanvas import Canvas
from ipywidgets import widget_serialization
from PIL import Image
from torch import Tensor

from nbcnnviz.explorer.surface import Draw, Surface
from nbcnnviz.render import COLOURS, SEQUENTIAL, Scale, lookup_table, to_bytes

_STATIC = Path(__file__).parent.parent / "static"

VIEWS = (
    {"kind": "picture", "title": "Picture, as the network sees it"},
    {"kind": "overlay", "title": "Overlay"},
    {"kind": "map", "title": "Map"},
)


class PanelFrame(anywidget.AnyWidget):
    """Three views of one map: the picture, the map over it, the map alone, with colour bar, status and stop."""

    # As text: of a path, anywidget would keep every instance for as long as the class lives.
    _esm = (_STATIC / "frame.js").read_text(encoding="utf-8")
    _css = (_STATIC / "frame.css").read_text(encoding="utf-8")

    surfaces = t.List(t.Instance(Canvas)).tag(sync=True, **widget_serialization)
    marks = t.Instance(Canvas, allow_none=True).tag(sync=True, **widget_serialization)
    views = t.List(list(VIEWS)).tag(sync=True)
    picture = t.Bytes().tag(sync=True)
    size = t.List([0, 0]).tag(sync=True)
    values = t.Bytes().tag(sync=True)
    shape = t.List([0, 0]).tag(sync=True)
    low = t.Float(0).tag(sync=True)
    high = t.Float(0).tag(sync=True)
    cut = t.Bool(False).tag(sync=True)
    colour_names = t.List(list(COLOURS)).tag(sync=True)
    colour_tables = t.Bytes(b"".join(lookup_table(name).tobytes() for name in COLOURS)).tag(sync=True)
    colours = t.Unicode(SEQUENTIAL).tag(sync=True)
    opacity = t.Float(0.7).tag(sync=True)
    threshold = t.Float(0.0).tag(sync=True)
    caption = t.Unicode("").tag(sync=True)
    status = t.Unicode("").tag(sync=True)
    step = t.Int(0).tag(sync=True)
    steps = t.Int(0).tag(sync=True)
    running = t.Bool(False).tag(sync=True)
    error = t.Unicode("").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        self._surfaces = [Surface() for _ in VIEWS]
        self._marks = Surface()
        super().__init__(surfaces=[s.canvas for s in self._surfaces], marks=self._marks.canvas, **traits)

    def show_picture(self, picture: Image.Image) -> None:
        """Show another picture, and no map until one comes."""
        width, height = picture.size
        for surface in (*self._surfaces, self._marks):
            surface.resize(width, height)
        self.unmark()
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=92)  # a photograph may lose a little; a map never does
        with self.hold_sync():
            self.picture, self.size = file.getvalue(), [height, width]
            self.values, self.shape = b"", [0, 0]
            self.low = self.high = 0.0

    def show_map(self, values: Tensor, scale: Scale, colours: str) -> None:
        """Show a map (h, w) on a colour scale."""
        with self.hold_sync():
            self.values, self.shape = to_bytes(values, scale).tobytes(), list(values.shape)
            self.low, self.high, self.cut = scale.low, scale.high, scale.cut
            self.colours = colours

    def mark(self, draw: Draw) -> None:
        """Draw over the overlay and the map, in the picture's pixels, in place of what was marked before."""
        self._marks.draw(draw)

    def unmark(self) -> None:
        """Remove the marks."""
        self._marks.clear()

    def on_stop(self, act: Callable[[], None]) -> None:
        """Call ``act`` when the reader asks for a stop."""

        def hear(_: Any, content: Any, __: Any) -> None:
            if isinstance(content, dict) and content.get("type") == "stop":
                act()

        self.on_msg(hear)
