"""The explorer: the layout of a session's controls and panels."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

import ipywidgets as w
import traitlets as t
from IPython.display import publish_display_data
from torch import nn

from nbcnnviz.attribution import Attribution
from nbcnnviz.core.errors import NbcnnvizError, UnknownNameError
from nbcnnviz.core.network import Network
from nbcnnviz.core.samples import samples
from nbcnnviz.explorer.controls import Controls
from nbcnnviz.explorer.front import MapFrame, StatusLine, Tools, parts_of, receive_while_busy
from nbcnnviz.explorer.language import catalogue, chosen
from nbcnnviz.explorer.output import picture_output
from nbcnnviz.explorer.panels import TABS, Act, ExplainPanel, Panel
from nbcnnviz.explorer.pictures import Pictures
from nbcnnviz.explorer.sides import Sides
from nbcnnviz.explorer.words import help_of
from nbcnnviz.session import Selection, Session, Task
from nbcnnviz.session.code import selection_code
from nbcnnviz.session.messages import sentence
from nbcnnviz.zoo import load_network

PANELS = ("layers", *TABS, "predictions")

_METHOD, _METHOD_WITHOUT_MAPS = "grad_cam", "saliency"
_FIRST_PICTURE = 3.0
"""Seconds that the display of the widget may wait for the picture that is saved with it."""


class UnknownPanelError(UnknownNameError):
    """The explorer has no panel of this name."""

    kind = "panel"


class Explorer(w.VBox):
    """The widget that `explore` makes. Show it by naming it at the end of a cell.

    Attributes
    ----------
    selection : Selection
        What is looked at; setting a trait of it is the same as using a control.
    session : Session
        What is computed for it: the tasks, the history.
    """

    def __init__(self, selection: Selection, panels: Sequence[str] = PANELS, language: str | None = None) -> None:
        panels = [panels] if isinstance(panels, str) else list(panels)
        for name in panels:
            if name not in PANELS:
                raise UnknownPanelError(name, PANELS, f"The panels are {', '.join(PANELS)}.")
        language = chosen(language)
        self.selection = selection
        self.session = session = Session(selection, self._task_changed)
        self._panels: dict[str, Panel] = {}
        self._in_front: Panel | None = None
        self._names = [name for name in TABS if name in panels]

        self._status = StatusLine(label="Status", language=language, texts=catalogue(language))
        self._status.snapshot = self._status.model_id
        self._status.on("stop", lambda _: session.stop())
        self._status.on("pause", lambda _: self._pause())
        self._controls = Controls(session, self._attempt)
        self._tools = Tools(label="Selection and export")
        for name in ("can_undo", "can_redo"):
            t.dlink((session.history, name), (self._tools, name))
        self._tools.on("undo", lambda _: self._attempt(session.history.undo))
        self._tools.on("redo", lambda _: self._attempt(session.history.redo))
        self._tools.on("code", lambda _: self._attempt(lambda: self._tools.copy(self.code())))
        self._tools.on("save", lambda message: self._attempt(lambda: self._download(message.get("format"))))
        self._pictures = Pictures(selection, self._attempt)
        self._sides = Sides(selection, self._attempt)
        session.view, session.views = None, [self._sides, self._controls, self._pictures]

        self._tabs = w.Tab([w.VBox(layout=w.Layout(min_width="0")) for _ in self._names])
        self._tabs.titles = [TABS[name].title for name in self._names]
        self._box = self._laid_out(panels)
        if self._names:
            self._turn_to(self._names[0])
        super().__init__([self._box])
        for name in ("nbcnnviz", "nbv-root"):
            self.add_class(name)
        self._tabs.observe(self._turned, "selected_index")
        selection.observe(self._explain_panel, "method")
        receive_while_busy(self)
        session.ask()

    def _laid_out(self, panels: Sequence[str]) -> w.GridBox:
        """Every part in the place that the style sheet has for it, in the order of Tab."""
        parts: dict[str, w.Widget] = {}
        if self._names:
            parts = {"network": self._controls.network, "picture": self._pictures.widget, "tools": self._tools}
            parts["method"] = self._controls.widget
        if self._names or "layers" in panels:
            parts["layers"] = self._sides.map
        if panels:
            parts["status"] = self._status
        if self._names:
            parts["main"] = self._tabs if len(self._names) > 1 else self._tabs.children[0]
        if self._names or "predictions" in panels:
            parts["classes"] = self._sides.predictions.widget
        for name, part in parts.items():
            part.add_class(f"nbv-at-{name}")
        box = w.GridBox([*parts.values()])
        box.add_class("nbv-layout")
        for name in ("main", "classes"):  # `:has(> ...)` would cost 30 ms at every change on the page
            if name in parts:
                box.add_class(f"nbv-has-{name}")
        if "layers" not in panels:
            box.add_class("nbv-no-tree")
        return box

    def __repr__(self) -> str:
        s = self.selection
        return f"<Explorer: {s.method} of {s.network.name}, {s.source or 'a picture'}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and beside it a picture, for hosts that show one of the two."""
        bundle = super()._repr_mimebundle_(**kwargs)
        picture = self._picture()
        if picture is not None and isinstance(bundle, dict):
            bundle["image/png"] = picture["image/png"]
        return bundle

    def _ipython_display_(self, **_: Any) -> None:
        """The widget as one output, a picture as another: JupyterLab shows no picture in place of a widget that is gone.

        It shows an error then, and a page made by nbconvert an empty box. Where the widget lives it hides the picture,
        which is left where no kernel runs: GitHub, nbconvert, a notebook opened again.
        """
        publish_display_data(super()._repr_mimebundle_())
        picture = self._picture()
        if picture is not None:
            publish_display_data(picture)

    def _display_(self) -> Any:
        """What marimo shows, which has no ipywidgets: the frame of the map; the widget is for Jupyter."""
        return self.frame if self.frame is not None else repr(self)

    def _picture(self) -> dict[str, str] | None:
        """What the panel turned up shows, as an output without a widget."""
        with suppress(Exception):  # a picture more is no reason to show no widget
            self.session.tasks.wait(_FIRST_PICTURE)
            if self._in_front is not None:
                return picture_output(self._in_front, self.selection.snapshot, self._status.snapshot)
        return None

    # What a user of the API calls.

    @property
    def error(self) -> BaseException | None:
        """What went wrong with what was asked for last; it ends with the next thing asked for."""
        return self.session.error

    @property
    def panel(self) -> str | None:
        """The name of the panel that is turned up, which alone computes; set it to turn another up."""
        return self._in_front.name if self._in_front is not None else None

    @panel.setter
    def panel(self, name: str) -> None:
        if name not in self._names:
            raise UnknownPanelError(name, self._names, f"This explorer's tabs are {', '.join(self._names) or 'none'}.")
        self._tabs.selected_index = self._names.index(name)

    @property
    def panels(self) -> dict[str, Panel]:
        """The panels that have been turned up so far, by name."""
        return dict(self._panels)

    @property
    def result(self) -> Attribution | None:
        """The map in the Explain panel; None until the first map of a picture is there."""
        return self.session.result

    @property
    def frame(self) -> MapFrame | None:
        """The views of the map, with all that the browser does with them: an anywidget, to be shown by itself.

        None as long as the Explain panel has not been turned up.
        """
        panel = self._panels.get("explain")
        return panel.widget if isinstance(panel, ExplainPanel) else None

    def wait(self, timeout: float | None = None) -> Explorer:
        """Block until the selection is answered, and return the explorer.

        Raises
        ------
        TimeoutError
            After ``timeout`` seconds.
        WaitError
            If it would never end, since it was called by what it waits for.
        """
        self.session.wait(timeout)
        return self

    def stop(self) -> None:
        """Stop what is being computed; what is on screen stays."""
        self.session.stop()

    def save(self, path: str | PathLike[str]) -> None:
        """Write what the panel turned up shows.

        For Explain, the overlay as it is set (``.png``, ``.svg`` ...), the raw values (``.npy``, ``.npz``), or a page with the
        overlay and the code (``.html``).
        """
        if self._in_front is None:
            raise NbcnnvizError("This explorer has no panel whose picture could be saved.")
        self._in_front.save(path, self.code())

    def code(self) -> str:
        """The lines of Python that make what is selected again; ``...`` stands for what only you have."""
        lines, image = selection_code(self.selection.snapshot)
        panel = self._in_front
        return "\n".join([*lines, *(panel.code(image) if panel else [f"trace = net.trace({image})"])])

    def close(self) -> None:
        """Stop everything, end the threads and remove the widget."""
        if self.comm is not None:  # else it is closed, or was refused before it was made
            self.session.close()
            self.selection.unobserve(self._explain_panel, "method")
            for panel in self.panels.values():
                panel.close()
            self._sides.forget()
            # ipywidgets keeps every widget that is not closed, and with it all that its callbacks know.
            sides = (self._sides.map, self._pictures.widget, self._sides.predictions.widget, self._controls.network)
            shown = [panel.widget for panel in self.panels.values()]
            parts = parts_of(self, self._tabs, self._controls.widget, self._tools, self._status, *sides, *shown)
            for part in parts - {self}:
                part.close()
        super().close()

    def _download(self, format_: object) -> None:
        """Save what is shown, and hand it to the reader's browser."""
        panel = self._in_front
        if panel is None or format_ not in panel.formats:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{panel.name}.{format_}"
            self.save(path)
            self._tools.download(path.name, path.read_bytes())

    # Tabs. A panel is made when it is first turned up.

    def _turned(self, change: t.Bunch) -> None:
        if change.new is not None:
            self._turn_to(self._names[change.new])
            self.session.ask()

    def _turn_to(self, name: str) -> None:
        panel = self._panels.get(name)
        if panel is None:
            # A hidden one is asked when it is turned up.
            panel = TABS[name](self.selection, self._attempt, lambda: name == self.panel and self.session.ask())
            self._panels[name] = panel
            panel.use(self.session.tasks)
            receive_while_busy(panel.widget)
            self._tabs.children[self._names.index(name)].children = [panel.widget]
            self.session.add(panel)
            if isinstance(panel, ExplainPanel):
                self.session.explanation = panel
        self._in_front = self.session.view = panel
        self._tools.formats = list(panel.formats)
        for view in (self._controls, self._sides):
            view.uses_method = panel.uses_method
            view.follow()
        self._explain_panel()
        for of_panel, there in (("with-classes", panel.uses_class), ("own-stop", panel.own_stop)):
            (self._box.add_class if there else self._box.remove_class)(f"nbv-{of_panel}")

    def _explain_panel(self, _: Any = None) -> None:
        panel = self._in_front
        if panel is not None:
            method = self.selection.snapshot.method if panel.uses_method else None
            self._tools.help = help_of(panel.name, panel.title, method)

    # What the reader does, and what a task tells.

    def _attempt(self, act: Act) -> None:
        self.session.attempt(act)
        if self.error is not None:
            self._controls.follow()  # a control may show what could not be had

    def _pause(self) -> None:
        task = self.session.task
        if task is not None:
            (task.resume if task.state == "paused" else task.pause)()

    def _task_changed(self, task: Task) -> None:
        session = self.session
        with session.lock:
            if task is not session.task:
                return  # the newer one tells
            self._status.show(task, "" if self.error is None else sentence(self.error))
        if self._in_front is not None and (task.answered or not task.live):
            self._in_front.settled()
        if not task.live:
            self._controls.follow()
            self._pictures.task_over()


def explore(
    network: Network | nn.Module | str | None = None,
    image: Any = None,
    *,
    method: str | None = None,
    target: Any = None,
    layer: str | None = None,
    filter: int | None = None,
    panels: Sequence[str] = PANELS,
    language: str | None = None,
) -> Explorer:
    """Open the explorer: pick a network, a picture, a layer, a filter, a class and a method, and see the map.

    Parameters
    ----------
    network
        A `Network`, a module of your own, or a name for `load_network`. Default: the bundled EfficientNet-Lite0.
    image
        Whatever `load_image` takes, or a preprocessed (1, C, H, W) tensor; for a network of other than one or three
        channels an array (H, W, C) as well. Default: the first sample.
    method, target, layer, filter
        What to show first; see `Selection`. The default method is Grad-CAM, of a network without maps saliency.
    panels
        Which panels to show: ``"explain"``, ``"synthesize"`` ... each on a tab, and beside them ``"layers"``, the network's
        layers as a tree, and ``"predictions"``; a strip of layers and the classes are beside any tab. Default: all.
    language
        Of the labels and explanations: ``"en"`` or ``"zh"``. Default: what ``NBCNNVIZ_LANGUAGE`` says, else English.

    Returns
    -------
    Explorer
        A widget; it has ``selection``, ``result``, ``save``, ``code``, ``wait`` and ``stop``.

    Raises
    ------
    NbcnnvizError
        If the network, picture, method, target, layer, panel or language does not exist; the message says what does.
    """
    if isinstance(network, nn.Module):
        network = Network(network)
    elif not isinstance(network, Network):
        network = load_network() if network is None else load_network(network)
    method = method or (_METHOD if network.last_maps is not None else _METHOD_WITHOUT_MAPS)
    selection = Selection(
        network, samples()[0] if image is None else image, method=method, layer=layer, target=target, filter=filter
    )
    return Explorer(selection, panels, language)
