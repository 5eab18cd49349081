"""Three views of one map: the picture, the map over it, the map alone. See js/src/maps.ts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets as t
from ipycanvas import Canvas
from ipywidgets import widget_serialization
from PIL import Image
from torch import Tensor

from nbcnnviz.explorer.front.base import Coloured, Front
from nbcnnviz.explorer.front.canvas import CanvasHost, Draw, Drawn
from nbcnnviz.render import Scale, to_bytes
from nbcnnviz.render.encoding import lossless, photograph

VIEWS = (
    {"kind": "picture", "title": "Picture, as the network sees it"},
    {"kind": "overlay", "title": "Overlay"},
    {"kind": "map", "title": "Map"},
)
_FINE = 224
"""Pixels that marks have to a side, at least about: a picture of fewer is shown as large as any other."""

OBJECT = {"kind": "object", "title": "Object that the map points at"}
"""A view of the picture with the outline and the box of the object that was cut out of it."""

PINNED = {"kind": "pinned", "title": "Pinned"}
"""A view of the overlay that was pinned; shown as long as there is one."""


class MapFrame(Drawn, Front, Coloured):
    """Three views of one map, with colour bar, opacity, threshold and the value under the cursor.

    Event ``"pixel"``: the reader clicked a place, ``{"row": ..., "column": ...}`` of the map. Where places of the picture
    can be chosen, ``"place"`` in its stead, ``{"x": ..., "y": ...}`` in the picture's pixels, and where there are boxes also
    ``"box"``, ``{"at": ...}`` its place in the list. Where there is a view for a pinned map also ``"pin"`` and ``"unpin"``.
    """

    kind = t.Unicode("maps").tag(sync=True)
    marks = t.Instance(Canvas, allow_none=True).tag(sync=True, **widget_serialization)
    views = t.List(list(VIEWS)).tag(sync=True)
    picture = t.Bytes().tag(sync=True)
    size = t.List([0, 0]).tag(sync=True)
    pickable = t.Bool(False).tag(sync=True)  # whether a place of the picture can be chosen, whatever the map
    # A picture of its size (PNG) whose grey levels are regions; their borders are drawn.
    regions = t.Bytes().tag(sync=True)
    region_names = t.List(t.Unicode()).tag(sync=True)  # by grey level
    # Drawn on the picture: left, top, right, bottom, in its pixels.
    boxes: t.List[list[float]] = t.List().tag(sync=True)
    box_names = t.List(t.Unicode()).tag(sync=True)
    box = t.Int(-1).tag(sync=True)  # the chosen one's place in the list, -1 for none
    values = t.Bytes().tag(sync=True)
    shape = t.List([0, 0]).tag(sync=True)
    colour = t.Bytes().tag(sync=True)  # the map as a picture (PNG), shown alone in place of colours of a scale
    low = t.Float(0).tag(sync=True)
    high = t.Float(0).tag(sync=True)
    cut = t.Bool(False).tag(sync=True)
    opacity = t.Float(0.7).tag(sync=True)
    threshold = t.Float(0.0).tag(sync=True)
    contours = t.Bool(False).tag(sync=True)  # lines at quarters of the scale
    compare = t.Enum(("overlay", "blink", "split"), "overlay").tag(sync=True)  # of the overlay with the picture
    split = t.Float(0.5).tag(sync=True)  # the share, from the left, where the picture shows without the map
    compare_with = t.Enum(("picture", "pinned"), "picture").tag(sync=True)  # what is shown in its place
    pinned = t.Dict().tag(sync=True)  # of another map: picture, values, shape, low, colours, caption
    likeness = t.Unicode("").tag(sync=True)  # of the two maps, in words
    has_error = t.Bool(False).tag(sync=True)  # whether the map has a standard error, to be shown in its place
    of_error = t.Bool(False).tag(sync=True)  # whether it is wanted there
    outlining = t.Bool(False).tag(sync=True)  # whether the view of the object is shown: nobody else needs its mask
    cut_by = t.Enum(("random_walker", "grabcut"), "random_walker").tag(sync=True)  # the algorithm
    object = t.Bytes().tag(
        sync=True
    )  # its mask (PNG, of the picture's size), white on black; empty as long as there is none
    object_note = t.Unicode("").tag(sync=True)  # why there is none, in a sentence

    def __init__(self, **traits: Any) -> None:
        self._marks, self._fine = CanvasHost(), 1
        super().__init__(len(traits.get("views", VIEWS)), marks=self._marks.canvas, **traits)

    def show_picture(self, picture: Image.Image) -> None:
        """Show another picture, and no map until one comes."""
        width, height = picture.size
        for host in self._hosts:
            host.resize(width, height)
        self._fine = max(1, _FINE // max(width, height, 1))
        self._marks.resize(self._fine * width, self._fine * height)
        self.unmark()
        with self.hold_sync():
            self.picture, self.size = photograph(picture), [height, width]
            self.values, self.shape, self.colour, self.has_error = b"", [0, 0], b"", False
            self.pickable, self.regions, self.region_names = False, b"", []
            self.boxes, self.box_names, self.box = [], [], -1
            self.low = self.high = 0.0
            self.hide_object()

    def show_boxes(self, boxes: Sequence[tuple[float, float, float, float]], names: Sequence[str]) -> None:
        """Draw boxes on the picture: left, top, right, bottom, in its pixels, and what each is called. One can be chosen."""
        with self.hold_sync():
            self.boxes, self.box_names, self.box = [list(corners) for corners in boxes], list(names), -1
            self.pickable = bool(self.boxes)

    def show_regions(self, regions: Image.Image, names: Sequence[str]) -> None:
        """Draw the borders of regions on the picture, grey levels of one of its size. A place of one can be chosen."""
        with self.hold_sync():
            self.regions, self.region_names = lossless(regions), list(names)
            self.pickable = True

    def show_map(self, values: Tensor, scale: Scale, colours: str, picture: Image.Image | None = None) -> None:
        """Show a map (h, w) on a colour scale; alone as a ``picture`` of its own, if it has one."""
        with self.hold_sync():
            self.values, self.shape = to_bytes(values, scale).tobytes(), list(values.shape)
            self.low, self.high, self.cut = scale.low, scale.high, scale.cut
            self.colours = colours
            self.colour = b"" if picture is None else lossless(picture)

    def show_object(self, mask: Image.Image) -> None:
        """Draw the outline and the box of an object, given white on black in a picture of the same size."""
        with self.hold_sync():
            self.object, self.object_note = lossless(mask), ""

    def hide_object(self) -> None:
        """Show no object until one comes."""
        with self.hold_sync():
            self.object, self.object_note = b"", ""

    def pin(self) -> None:
        """Keep the map and its picture beside those to come, and compare them with it."""
        with self.hold_sync():
            kept = ("picture", "values", "shape", "low", "colours", "caption")
            self.pinned = {name: getattr(self, name) for name in kept}
            self.compare_with = "pinned"

    def unpin(self) -> None:
        """Show no pinned map."""
        with self.hold_sync():
            self.pinned, self.likeness, self.compare_with = {}, "", "picture"

    def mark(self, draw: Draw) -> None:
        """Draw over the overlay and the map, in the picture's pixels, in place of what was marked before."""
        self._marks.draw(_enlarged(draw, self._fine))

    def unmark(self) -> None:
        """Remove the marks."""
        self._marks.clear()


def _enlarged(draw: Draw, times: int) -> Draw:
    """A drawing in a picture's pixels, on a canvas that has more."""
    if times == 1:
        return draw

    def enlarged(canvas: Canvas) -> None:
        canvas.save()
        canvas.scale(times, times)
        draw(canvas)
        canvas.restore()

    return enlarged
