"""Where pictures come in: samples, files dropped or pasted, the camera; and what is cropped. See js/src/intake.ts."""

from __future__ import annotations

import traitlets as t
from PIL import Image

from nbcnnviz.core.images import load_image
from nbcnnviz.core.samples import samples
from nbcnnviz.explorer.front.base import Front
from nbcnnviz.render.encoding import encoded

WHOLE = (0.0, 0.0, 1.0, 1.0)
_SAMPLE, _ORIGINAL = (56, 40), (320, 200)


class Intake(Front):
    """Sample pictures as thumbnails, the picture as it was given, and a box on it.

    Events ``"sample"`` with its ``name``; ``"own"``, the last picture that was no sample; ``"picture"`` with a ``name``, and ``"frame"`` of the camera, with the file's
    bytes as ``content``; ``"measure"``, what part of it the network takes; ``"crop"`` with the ``box``: left, top, right and bottom as shares of width and height.
    """

    kind = t.Unicode("intake").tag(sync=True)
    names = t.List(t.Unicode()).tag(sync=True)
    thumbs = t.List(t.Bytes()).tag(sync=True)
    current = t.Unicode("").tag(sync=True)
    original = t.Bytes().tag(sync=True)
    own = t.Unicode("").tag(sync=True)  # the name of the last picture that was no sample, "" for none
    own_thumb = t.Bytes().tag(sync=True)
    crop = t.List(t.Float(), list(WHOLE)).tag(sync=True)
    taken = t.List(t.Float()).tag(sync=True)  # what the network takes of what is cropped, where that is known

    def offer_samples(self) -> None:
        """Show the samples."""
        with self.hold_sync():
            self.names = list(samples())
            self.thumbs = [encoded(_small(load_image(name), _SAMPLE), 80) for name in self.names]

    def show(self, original: Image.Image, name: str) -> None:
        """Show a picture as it was given, not cropped yet."""
        with self.hold_sync():
            self.original, self.crop, self.taken = encoded(_small(original, _ORIGINAL), 85), list(WHOLE), []
            self.current = name
            if name not in self.names:
                self.own, self.own_thumb = name, encoded(_small(original, _SAMPLE), 80)

    def next(self) -> None:
        """Tell the camera that its frame was answered."""
        self.send({"type": "next"})


def _small(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    small = picture.copy()
    small.thumbnail((2 * size[0], 2 * size[1]))  # for displays of two pixels a point
    return small
