"""Pictures side by side, each under its title, as they change: see js/src/pictures.ts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets as t
from PIL import Image

from nbcnnviz.explorer.front.base import Front
from nbcnnviz.explorer.front.canvas import CanvasHost, Drawn
from nbcnnviz.render.encoding import encoded


class PictureFrame(Drawn, Front):
    """Pictures side by side; one message shows new ones.

    Event ``"choose"``: the reader clicked a picture, ``{"at": ...}`` its place in the row.
    """

    kind = t.Unicode("pictures").tag(sync=True)
    pictures = t.List(t.Bytes()).tag(sync=True)
    titles = t.List(t.Unicode()).tag(sync=True)
    chosen = t.Int(-1).tag(sync=True)
    choosable = t.Bool(False).tag(sync=True)
    width = t.Int(224).tag(sync=True)  # the least that each is wide on the screen, in pixels

    def __init__(self, **traits: Any) -> None:
        super().__init__(canvases=0, **traits)  # they are made for the pictures that come

    def close(self) -> None:
        """Close the canvases too, also those of pictures that are not shown now."""
        for host in self._hosts:
            host.canvas.close()
        super().close()

    def show(
        self, pictures: Sequence[Image.Image], titles: Sequence[str], caption: str = "", quality: int = 88
    ) -> None:
        """Show pictures in place of those before."""
        while len(self._hosts) < len(pictures):
            self._hosts.append(CanvasHost(*pictures[len(self._hosts)].size))
        with self.hold_sync():
            self.canvases = [s.canvas for s in self._hosts[: len(pictures)]]
            self.pictures = [encoded(p, quality) for p in pictures]
            self.titles, self.caption = list(titles), caption
