"""From what the reader gives, a file, a camera's frame, a box, to the picture that is selected."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image

from nbcnnviz.core.geometry import taken_part
from nbcnnviz.core.samples import samples
from nbcnnviz.explorer.front import WHOLE, Intake
from nbcnnviz.explorer.panels import Act
from nbcnnviz.session import Selection, View
from nbcnnviz.session.history import CAMERA

_OWN = "your picture"


class Pictures(View):
    """Takes pictures in, and shows the one selected as it was given.

    Parameters
    ----------
    selection
        What is set.
    attempt
        Runs a change of it and shows what is wrong with it, if anything.
    """

    def __init__(self, selection: Selection, attempt: Callable[[Act], None]) -> None:
        self._selection, self._attempt = selection, attempt
        self._awaited = False
        self._shown: tuple[Image.Image, str] | None = None
        self._own: Image.Image | None = None
        self.widget = Intake(label="Picture")
        self.widget.offer_samples()
        self.follow()
        self.widget.on("sample", lambda message: self._take(message.get("name")))
        self.widget.on("own", lambda _: self._take(self._own))
        self.widget.on("picture", lambda message: self._take(_file(message, str(message.get("name", "")))))
        self.widget.on("frame", self._frame)
        self.widget.on("measure", lambda _: self._measure())
        self.widget.on("crop", lambda message: attempt(lambda: self._crop(message.get("box"))))

    def task_over(self) -> None:
        """The picture that was selected last is on screen, or will not be: the camera may send another."""
        if self._awaited:
            self._awaited = False
            self.widget.next()

    def follow(self) -> None:
        """Show the picture that is selected, and what of it is cropped."""
        s = self._selection.snapshot
        name = s.source or _OWN
        if self._shown is None or self._shown[0] is not s.image or self._shown[1] != name:
            self._shown = s.image, name
            if name not in samples():  # which takes milliseconds: not at every change
                self._own = s.image
            self.widget.show(s.image, name)
        self.widget.crop = list(s.crop or WHOLE)

    def _take(self, picture: Any) -> None:
        self._attempt(lambda: setattr(self._selection, "image", picture))

    def _frame(self, message: dict[str, Any]) -> None:
        before, self._awaited = self._selection.image, True
        self._take(_file(message, CAMERA))
        if self._selection.image == before:  # it was no picture, or the very same: nothing will be computed
            self.task_over()

    def _measure(self) -> None:
        """Show which part of what is cropped the network takes."""
        s = self._selection.snapshot
        self.widget.taken = taken_part(s.network.preprocess, s.network.unprocess, (s.picture.height, s.picture.width))

    def _crop(self, box: Any) -> None:
        self._selection.crop = tuple(box) if isinstance(box, (list, tuple)) else box


def _file(message: dict[str, Any], name: str) -> io.BytesIO:
    file = io.BytesIO(message.get("content", b""))
    file.name = f"{name} (yours)" if name in samples() else name  # it is another picture than the sample
    return file
