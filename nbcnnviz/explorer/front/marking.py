"""A picture on which the reader marks a part by dragging a box. See js/src/marking.ts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import traitlets as t
from PIL import Image

from nbcnnviz.explorer.front.base import Front
from nbcnnviz.explorer.front.canvas import Drawn
from nbcnnviz.render.encoding import photograph

Box = tuple[int, int, int, int]


class MarkingFrame(Drawn, Front):
    """A picture, and a box on it. Event ``"marked"``: the reader dragged one, ``{"box": [left, top, right, bottom]}``."""

    kind = t.Unicode("marking").tag(sync=True)
    picture = t.Bytes().tag(sync=True)
    size = t.List([0, 0]).tag(sync=True)
    box: t.List[int] = t.List().tag(sync=True)  # left, top, right, bottom, in pixels of the picture; empty for none

    def show(self, picture: Image.Image, caption: str) -> None:
        """Show another picture; the box stays."""
        with self.hold_sync():
            self.picture, self.size, self.caption = photograph(picture), [picture.height, picture.width], caption

    def on_marked(self, act: Callable[[Box], None]) -> None:
        """Call ``act`` with a box that the reader dragged, if it is one within the picture."""

        def marked(message: dict[str, Any]) -> None:
            box = self.within(message.get("box"))
            if box is not None:
                act(box)

        self.on("marked", marked)

    def within(self, box: Any) -> Box | None:
        """What is within the picture of a box; None where nothing is, or it is none."""
        if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(_is_number, box)):
            return None
        height, width = self.size
        left, right = (min(max(round(edge), 0), width) for edge in box[::2])
        top, bottom = (min(max(round(edge), 0), height) for edge in box[1::2])
        return (left, top, right, bottom) if left < right and top < bottom else None


def _is_number(what: Any) -> bool:
    return isinstance(what, (int, float)) and math.isfinite(what)
