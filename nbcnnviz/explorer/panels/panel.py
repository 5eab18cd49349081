"""What a panel is: a view of an explorer's session, as a widget."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, ClassVar

import ipywidgets as w
from PIL import Image

from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.inside.figures.files import Figure
from nbcnnviz.session import Selection, Tasks, View

Act = Callable[[], object]


class Panel(View):
    """A view whose frames are shown by widgets.

    A panel that is on screen is asked to `answer` whenever the selection, or something of its own, has changed; one
    that is hidden computes nothing. `answer` reads no widget: what it needs of the panel's controls, `settings` reads
    when the question is asked, on the thread that asks.

    Parameters
    ----------
    selection
        What the panel looks at and what its clicks change.
    attempt
        Runs a change that the reader asked for, and shows what is wrong with it, if anything.
    ask
        Asks for an answer anew, after something of the panel's own has changed.

    Attributes
    ----------
    name, title : str
        What it is called in Python and on its tab.
    uses_method : bool
        Whether what it shows hangs on the method that is selected.
    uses_class : bool
        Whether it hangs on the class that is selected: then the classes stay beside it where there is little room.
    own_stop : bool
        Whether it has a Stop of its own: then the explorer's is seen only while it stops something.
    formats : tuple[str, ...]
        The endings of files that it can be saved as.
    things : str
        What it shows, in words.
    widget : ipywidgets.Widget
        What is shown.
    result
        The frame that is on screen; None before there is one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    uses_method: ClassVar[bool] = False
    uses_class: ClassVar[bool] = True
    own_stop: ClassVar[bool] = False
    formats: ClassVar[tuple[str, ...]] = ()
    things: ClassVar[str] = "pictures"
    widget: w.Widget
    result: Any = None

    def __init__(self, selection: Selection, attempt: Callable[[Act], None], ask: Act) -> None:
        self.selection, self.attempt, self.ask = selection, attempt, ask

    def use(self, tasks: Tasks) -> None:
        """Be given the session's tasks, for those of its own that go on by themselves."""

    def settled(self) -> None:
        """Take notice that what is shown stays: all that was asked for is there, or it was stopped."""

    def figure(self, shown: Any) -> Figure:
        """What is on screen, as a picture with the numbers behind it."""
        raise NbcnnvizError("There is nothing to save in this panel.")

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write what is shown, in the format that the ending of ``path`` says: one of ``formats``."""
        shown = self.result  # which a task may be changing
        if shown is None:
            raise NbcnnvizError(f"There are no {self.things} to save yet: wait for the explorer, with ex.wait().")
        self.figure(shown).save(path, code)

    def preview(self) -> Image.Image | None:
        """What is shown, as a picture to be saved with the notebook; None if there is nothing to see."""
        shown = self.result
        return None if shown is None else self.figure(shown).picture

    def go_to(self, layer: str, filter_: int | None = None) -> None:
        """Select a layer, and a filter of it if one is given."""
        self.selection.layer = layer
        if filter_ is not None:
            self.selection.filter = filter_

    def choose_within(self, layer: str, **traits: Any) -> None:
        """Select something of a layer, such as a filter, unless the reader has gone elsewhere since."""
        if self.selection.layer == layer:
            for name, value in traits.items():
                setattr(self.selection, name, value)

    def code(self, image: str) -> list[str]:
        """The lines of Python that make what is shown again, where ``net`` is given and ``image`` is an expression."""
        return [f"trace = net.trace({image})"]

    def close(self) -> None:
        """End what the panel began."""
