"""The object that the map of the Explain panel points at, cut out of the picture while its view is shown."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import numpy as np
from PIL import Image

from nbcnnviz.attribution import Attribution, Mask, segment
from nbcnnviz.explorer.front import MapFrame
from nbcnnviz.session import Task, Tasks
from nbcnnviz.session.messages import sentence

_SMOOTH = 3 / 224
"""By how much a map of single pixels is blurred first, as a share of the picture's shorter side."""

_Wanted = tuple[Attribution, dict[str, Any]]


class CutOut:
    """Cuts the object out in a task of its own, so that nothing waits for it, and shows it in the frame.

    Parameters
    ----------
    frame
        Where it is shown; its ``outlining`` says whether anybody looks, its ``cut_by`` by what algorithm.
    """

    def __init__(self, frame: MapFrame) -> None:
        self._frame = frame
        self._tasks: Tasks | None = None
        self._task: Task | None = None
        self._lock = threading.RLock()  # a mask is never shown with another map than its own
        self._result: Attribution | None = None
        self._wanted: _Wanted | None = None
        self._found: Mask | str | None = None
        frame.observe(self._asked, ["outlining", "cut_by"])

    def use(self, tasks: Tasks) -> None:
        """Be given what runs tasks."""
        self._tasks = tasks

    def clear(self) -> None:
        """Show none: the map is about to be another."""
        with self._lock:
            self._result = None
            self._forget()

    def begin(self, result: Attribution | None) -> None:
        """Cut out the object of a map that has all its steps, as soon as somebody looks."""
        with self._lock:
            if result is not self._result:
                self._result = result
                self._forget()
            self._start()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until what was begun is there; False if that took longer than ``timeout`` seconds."""
        task = self._task
        return task is None or task.wait(timeout)

    def shown(self, result: Attribution) -> Mask | None:
        """The mask of a map, if its view is shown and it is there."""
        with self._lock:
            found = self._found if result is self._result and self._frame.outlining else None
        return found if isinstance(found, Mask) else None

    def mask(self, result: Attribution) -> Mask:
        """The mask of a map: the one shown, else made now.

        Raises
        ------
        NbcnnvizError
            If the map tells no object from its background, or a package is missing; see `nbcnnviz.segment`.
        """
        return self.shown(result) or segment(result, **self._options(result))

    def code(self, result: Attribution | None) -> list[str]:
        """The call of `nbcnnviz.segment` that makes the mask again, if its view is shown."""
        if result is None or not self._frame.outlining:
            return []
        options = "".join(f", {name}={value!r}" for name, value in self._options(result).items())
        return [f"mask = nv.segment(result{options})"]

    def _options(self, result: Attribution) -> dict[str, Any]:
        """What differs from the defaults: gradients of single pixels are specks unless they are blurred."""
        height, width = result.trace.size
        by_pixel = tuple(result.values.shape[2:]) == (height, width)
        smooth = round(_SMOOTH * min(height, width), 1) if by_pixel else 0.0
        how = self._frame.cut_by
        return ({"how": how} if how != "random_walker" else {}) | ({"smooth": smooth} if smooth else {})

    def _asked(self, change: Any) -> None:
        with self._lock:
            if change.name == "cut_by":
                self._forget()
            self._start()

    def _forget(self) -> None:
        self._found = self._wanted = None
        self._frame.hide_object()

    def _start(self) -> None:
        if self._tasks is None or self._result is None or not self._frame.outlining:
            return
        wanted = result, options = self._result, self._options(self._result)
        if wanted == self._wanted:  # it is there, or on its way
            return
        self._wanted, before = wanted, self._task
        self._task = self._tasks.start(
            lambda task: _cut(task, result, options, before),
            "Cutting out the object",
            policy="keep",
            on_frame=lambda found: self._show(wanted, found),
        )

    def _show(self, wanted: _Wanted, found: Mask | str) -> None:
        with self._lock:
            if wanted != self._wanted:
                return
            self._found = found
            if isinstance(found, Mask):
                self._frame.show_object(white_on_black(found))
            else:
                self._frame.object_note = found


def _cut(
    task: Task, result: Attribution, options: dict[str, Any], before: Task | None
) -> Generator[Mask | str, None, None]:
    """The mask, or in a sentence why there is none."""
    if before is not None:  # one at a time: of a large picture it takes seconds, and cannot be interrupted
        before.stop()
        while not before.wait(0.05):
            task.check()
    try:
        yield segment(result, **options)
    except Exception as error:  # of memory there may be too little, for a large picture
        yield sentence(error)


def white_on_black(mask: Mask) -> Image.Image:
    """A mask as a picture."""
    return Image.fromarray(mask.mask.astype(np.uint8) * 255)
