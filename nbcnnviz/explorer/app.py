"""The explorer: the layout of a session's controls and panels."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

import ipywidgets as w
import traitlets as t
from IPython.display import publish_display_data
from torch import nn

from nbcnnviz.attribution import Attribution
from nbcnnviz.core.errors import MethodNotApplicableError, NbcnnvizError, UnknownNameError
from nbcnnviz.core.network import Network
from nbcnnviz.core.outline import activity
from nbcnnviz.core.samples import samples
from nbcnnviz.core.targets import BoxScore, RegionScore
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.controls import Controls
from nbcnnviz.explorer.front import LayerMap, MapFrame, StatusLine, Tools, parts_of, receive_while_busy
from nbcnnviz.explorer.output import picture_output
from nbcnnviz.explorer.panels import TABS, Act, ExplainPanel, Panel, PredictionsPanel
from nbcnnviz.explorer.pictures import Pictures
from nbcnnviz.session import Selection, Session, Snapshot, Task, View
from nbcnnviz.session.code import selection_code
from nbcnnviz.session.messages import sentence
from nbcnnviz.zoo import load_network

PANELS = ("layers", *TABS, "predictions")

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

    def __init__(self, selection: Selection, panels: Sequence[str] = PANELS) -> None:
        panels = [panels] if isinstance(panels, str) else list(panels)
        for name in panels:
            if name not in PANELS:
                raise UnknownPanelError(name, PANELS, f"The panels are {', '.join(PANELS)}.")
        self.selection = selection
        self.session = session = Session(
            selection, self._task_changed
        )  # observes ahead of what shows it: that may fail
        self._panels: dict[str, Panel] = {}
        self._panel: str | None = None
        self._names = [name for name in TABS if name in panels]

        self._status = StatusLine(label="Status", layout=w.Layout(flex="1 1 300px", width="auto", min_width="0"))
        self._status.snapshot = self._status.model_id
        self._status.on("stop", lambda _: session.stop())
        self._status.on("pause", lambda _: self._pause())
        self._controls = Controls(session, self._attempt)
        self._tools = Tools(label="Selection and export", layout=w.Layout(flex="0 0 auto", width="auto"))
        for name in ("can_undo", "can_redo"):
            t.dlink((session.history, name), (self._tools, name))
        self._tools.on("undo", lambda _: self._attempt(session.history.undo))
        self._tools.on("redo", lambda _: self._attempt(session.history.redo))
        self._tools.on("code", lambda _: self._attempt(lambda: self._tools.copy(self.code())))
        self._tools.on("save", lambda message: self._attempt(lambda: self._download(message.get("format"))))
        self._pictures = Pictures(selection, self._attempt)
        self._sides = _Sides(selection, self._attempt, mapped="layers" in panels)
        session.view, session.views = None, [self._sides, self._controls]

        self._tabs = w.Tab([w.VBox(layout=w.Layout(min_width="0")) for _ in self._names])
        self._tabs.titles = [TABS[name].title for name in self._names]
        if self._names:
            self._turn_to(self._names[0])
        super().__init__([self._columns(panels)])
        self.add_class("nbcnnviz")
        self._tabs.observe(self._turned, "selected_index")
        receive_while_busy(self)
        session.ask()

    def _columns(self, panels: Sequence[str]) -> w.HBox:
        columns = []
        if self._names:
            shown = self._tabs if len(self._names) > 1 else self._tabs.children[0]
            line = w.HBox([self._tools, self._status], layout=w.Layout(flex_flow="row wrap", grid_gap="4px 16px"))
            columns.append(_column("main", self._controls.widget, line, shown))
        if "layers" in panels:
            columns.append(_column("map", self._sides.map))
        if "predictions" in panels:
            given = [self._pictures.widget] if self._names else []
            columns.append(_column("side", self._sides.predictions.widget, *given))
        if columns and not self._names:
            columns[0].children = (self._status, *columns[0].children)
        return w.HBox(columns, layout=w.Layout(flex_flow="row wrap", width="100%", grid_gap="8px 24px"))

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
            if self._panel is not None:
                panel = self._panels[self._panel]
                return picture_output(panel, self.selection.snapshot, self._status.snapshot)
        return None

    # What a user of the API calls.

    @property
    def error(self) -> BaseException | None:
        """What went wrong with what was asked for last; it ends with the next thing asked for."""
        return self.session.error

    @property
    def panel(self) -> str | None:
        """The name of the panel that is turned up, which alone computes; set it to turn another up."""
        return self._panel

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
        if self._panel is None:
            raise NbcnnvizError("This explorer has no panel whose picture could be saved.")
        self._panels[self._panel].save(path, self.code())

    def code(self) -> str:
        """The lines of Python that make what is selected again; ``...`` stands for what only you have."""
        lines, image = selection_code(self.selection.snapshot)
        panel = self._panels[self._panel] if self._panel else None
        return "\n".join([*lines, *(panel.code(image) if panel else [f"trace = net.trace({image})"])])

    def close(self) -> None:
        """Stop everything, end the threads and remove the widget."""
        if self.comm is not None:  # else it is closed, or was refused before it was made
            self.session.close()
            for panel in self.panels.values():
                panel.close()
            self._controls.close()
            self._pictures.close()
            self._sides.close()
            # ipywidgets keeps every widget that is not closed, and with it all that its callbacks know.
            sides = (self._sides.map, self._pictures.widget, self._sides.predictions.widget)
            shown = [panel.widget for panel in self.panels.values()]
            parts = parts_of(self, self._tabs, self._controls.widget, self._tools, self._status, *sides, *shown)
            for part in parts - {self}:
                part.close()
        super().close()

    def _download(self, format_: object) -> None:
        """Save what is shown, and hand it to the reader's browser."""
        if self._panel is None or format_ not in self._panels[self._panel].formats:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{self._panel}.{format_}"
            self.save(path)
            self._tools.download(path.name, path.read_bytes())

    # Tabs. A panel is made when it is first turned up.

    def _turned(self, change: t.Bunch) -> None:
        if change.new is not None:
            self._turn_to(self._names[change.new])
            self.session.ask()

    def _turn_to(self, name: str) -> None:
        if name not in self._panels:
            ask = lambda: name == self._panel and self.session.ask()  # noqa: E731 - a hidden one is asked when it is turned up
            panel = self._panels[name] = TABS[name](self.selection, self._attempt, ask)
            panel.use(self.session.tasks)
            receive_while_busy(panel.widget)
            self._tabs.children[self._names.index(name)].children = [panel.widget]
            self.session.add(panel)
            if isinstance(panel, ExplainPanel):
                self.session.explanation = panel
        self._panel, self.session.view = name, self._panels[name]
        self._tools.formats = list(self._panels[name].formats)
        self._controls.uses_method = self._panels[name].uses_method
        self._controls.follow()

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
        if not task.live:
            self._controls.follow()
            self._pictures.answered()


class _Sides(View):
    """What stands beside the panels: the layer map and the predictions."""

    def __init__(self, selection: Selection, attempt: Callable[[Act], None], mapped: bool) -> None:
        self._selection, self._mapped = selection, mapped
        self._network: Network | None = None
        self._coloured: Trace | None = None
        self.predictions = PredictionsPanel(lambda index: attempt(lambda: setattr(selection, "target", index)))
        self.map = LayerMap(label="Layer map")
        self.map.on("choose", lambda message: attempt(lambda: setattr(selection, "layer", message.get("layer"))))
        self._follow()
        selection.observe(self._changed, t.All)

    def show_trace(self, trace: Trace) -> None:
        self.predictions.show(trace)

    def show_question(self, snapshot: Snapshot, trace: Trace) -> None:
        self.predictions.mark(_class_of(snapshot.target, trace))

    def answered(self, trace: Trace) -> None:
        """Colour the layer map by how active the picture makes each layer."""
        if self._mapped and self._coloured is not trace:
            self.map.warm(activity(trace), "root mean square of the activations")
            self._coloured = trace

    def forget(self) -> None:
        self._coloured = None

    def close(self) -> None:
        self._selection.unobserve(self._changed, t.All)
        self._coloured = None

    def _changed(self, change: t.Bunch) -> None:
        if not self._selection.changing:
            self._follow()

    def _follow(self) -> None:
        snapshot = self._selection.snapshot
        if self._network is not snapshot.network:
            self._network = snapshot.network
            self.map.show(snapshot.network)
        self.map.current = snapshot.layer or ""


def _column(name: str, *widgets: w.Widget) -> w.VBox:
    """A column; how wide it is, and where, is for the style sheet to say."""
    column = w.VBox(widgets, layout=w.Layout(min_width="0", grid_gap="8px"))
    column.add_class(f"nbv-column-{name}")
    return column


def explore(
    network: Network | nn.Module | str | None = None,
    image: Any = None,
    *,
    method: str = "grad_cam",
    target: Any = None,
    layer: str | None = None,
    filter: int | None = None,
    panels: Sequence[str] = PANELS,
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
        What to show first; see `Selection`.
    panels
        Which panels to show: ``"explain"``, ``"synthesize"`` ... each on a tab, and beside them ``"layers"``, the network's
        map, and ``"predictions"``. Default: all.

    Returns
    -------
    Explorer
        A widget; it has ``selection``, ``result``, ``save``, ``code``, ``wait`` and ``stop``.

    Raises
    ------
    NbcnnvizError
        If the network, picture, method, target, layer or panel does not exist; the message says what does.
    """
    if isinstance(network, nn.Module):
        network = Network(network)
    elif not isinstance(network, Network):
        network = load_network() if network is None else load_network(network)
    selection = Selection(
        network, samples()[0] if image is None else image, method=method, layer=layer, target=target, filter=filter
    )
    return Explorer(selection, panels)


def _class_of(asked: Any, trace: Trace) -> int | None:
    """The class that a target is of, where it is of one."""
    if asked is None:
        return _best(trace)
    if isinstance(asked, RegionScore):
        return trace.network.class_index(asked.index)
    if isinstance(asked, BoxScore) and isinstance(asked.box, int):
        boxes = trace.boxes() if trace.network.kind == "detection" else []
        return boxes[asked.box].label if -len(boxes) <= asked.box < len(boxes) else None
    return asked if isinstance(asked, int) else None


def _best(trace: Trace) -> int | None:
    """The class that is explained unless another is chosen; None where none is better than another."""
    with suppress(MethodNotApplicableError):
        return trace.best[0]
    return None
