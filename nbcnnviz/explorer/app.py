"""The explorer: a selection, its controls and panels, and the jobs that answer it."""

from __future__ import annotations

import base64
import contextvars
import html
import io
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

import ipywidgets as w
import traitlets as t
from IPython.display import publish_display_data
from torch import nn

from nbcnnviz.attribution import Attribution
from nbcnnviz.core.bands import Bands
from nbcnnviz.core.errors import MethodNotApplicableError, NbcnnvizError, StaleTraceError, UnknownNameError
from nbcnnviz.core.images import samples
from nbcnnviz.core.network import Network
from nbcnnviz.core.outline import activity
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.controls import Controls
from nbcnnviz.explorer.front import LayerMap, MapFrame, StatusLine, Tools, parts_of, receive_while_busy
from nbcnnviz.explorer.panels import TABS, Act, ExplainPanel, Panel, PredictionsPanel, Request
from nbcnnviz.explorer.pictures import Pictures
from nbcnnviz.explorer.runner import FRAMES_A_SECOND, End, Runner
from nbcnnviz.session.history import History
from nbcnnviz.session.messages import sentence
from nbcnnviz.session.selection import Selection
from nbcnnviz.session.tracing import Tracer
from nbcnnviz.zoo import load_network

PANELS = ("layers", *TABS, "predictions")

_FIRST_PICTURE = 3.0
"""Seconds that the display of the widget may wait for the picture that is saved with it."""

_Shown = tuple[Panel, Any]


class UnknownPanelError(UnknownNameError):
    """The explorer has no panel of this name."""

    kind = "panel"


class Explorer(w.VBox):
    """The widget that `explore` makes. Show it by naming it at the end of a cell.

    Attributes
    ----------
    selection : Selection
        What is looked at; setting a trait of it is the same as using a control.
    error : BaseException or None
        What went wrong since the selection last changed.
    """

    error: BaseException | None

    def __init__(self, selection: Selection, panels: Sequence[str] = PANELS) -> None:
        panels = [panels] if isinstance(panels, str) else list(panels)
        for name in panels:
            if name not in PANELS:
                raise UnknownPanelError(name, PANELS, f"The panels are {', '.join(PANELS)}.")
        self.selection = selection
        self.error = None
        self._tracer = Tracer(self._let_go)
        self._shown_trace: Trace | None = None
        self._asking = threading.RLock()
        self._put_off = False
        self._publishing = threading.RLock()
        self._began = 0.0
        self._at_work: object | None = None  # a token of the job whose answer is awaited

        selection.observe(self._selected, t.All)  # ahead of what shows it: of those, one may fail
        self._predictions = PredictionsPanel(lambda index: self._attempt(lambda: setattr(selection, "target", index)))
        self._controls = Controls(selection, self._load, self._attempt)
        self._status = StatusLine(label="Status", layout=w.Layout(flex="1 1 300px", width="auto", min_width="0"))
        self._status.snapshot = self._status.model_id
        self._runner = Runner(self._started, self._shown, self._ended)
        self._status.on("stop", lambda _: self._runner.stop())
        self._history = History(selection)
        self._tools = Tools(label="Selection and export", layout=w.Layout(flex="0 0 auto", width="auto"))
        for name in ("can_undo", "can_redo"):
            t.dlink((self._history, name), (self._tools, name))
        self._tools.on("undo", lambda _: self._attempt(self._history.undo))
        self._tools.on("redo", lambda _: self._attempt(self._history.redo))
        self._tools.on("code", lambda _: self._attempt(lambda: self._tools.copy(self.code())))
        self._tools.on("save", lambda message: self._attempt(lambda: self._download(message.get("format"))))

        self._pictures = Pictures(selection, self._attempt)
        self._map = LayerMap(label="Layer map")
        self._map.on("choose", lambda message: self._attempt(lambda: setattr(selection, "layer", message.get("layer"))))
        self._mapped: Network | None = None
        self._follow_map()
        self._mapping = "layers" in panels
        self._warmed: Trace | None = None

        self._panels: dict[str, Panel] = {}
        self._tabs = w.Tab([w.VBox(layout=w.Layout(min_width="0")) for name in TABS if name in panels])
        self._tabs.titles = [TABS[name].title for name in TABS if name in panels]
        self._names = [name for name in TABS if name in panels]
        self._turn_to(self._names[0] if self._names else None)

        columns = []
        if self._names:
            shown = self._tabs if len(self._names) > 1 else self._tabs.children[0]
            line = w.HBox([self._tools, self._status], layout=w.Layout(flex_flow="row wrap", grid_gap="4px 16px"))
            columns.append(_column("main", self._controls.widget, line, shown))
        if self._mapping:
            columns.append(_column("map", self._map))
        if "predictions" in panels:
            given = [self._pictures.widget] if self._names else []
            columns.append(_column("side", self._predictions.widget, *given))
        if columns and not self._names:
            columns[0].children = (self._status, *columns[0].children)
        super().__init__([w.HBox(columns, layout=w.Layout(flex_flow="row wrap", width="100%", grid_gap="8px 24px"))])
        self.add_class("nbcnnviz")
        self._tabs.observe(self._turned, "selected_index")
        receive_while_busy(self)
        self._ask()

    def __repr__(self) -> str:
        s = self.selection
        return f"<Explorer: {s.method} of {s.network.name}, {s.source or 'a picture'}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and beside it a picture, for hosts that show one of the two."""
        bundle = super()._repr_mimebundle_(**kwargs)
        still = self._kept_picture()
        if still is not None and isinstance(bundle, dict):
            bundle["image/png"] = still["image/png"]
        return bundle

    def _ipython_display_(self, **_: Any) -> None:
        """The widget as one output, a picture as another: JupyterLab shows no picture in place of a widget that is gone.

        It shows an error then, and a page made by nbconvert an empty box. Where the widget lives it hides the picture,
        which is left where no kernel runs: GitHub, nbconvert, a notebook opened again.
        """
        publish_display_data(super()._repr_mimebundle_())
        still = self._kept_picture()
        if still is not None:
            publish_display_data(still)

    def _display_(self) -> Any:
        """What marimo shows, which has no ipywidgets: the frame of the map; the widget is for Jupyter."""
        return self.frame if self.frame is not None else repr(self)

    def _kept_picture(self) -> dict[str, str] | None:
        """What the panel turned up shows, as an output without a widget; None if there is no picture of it."""
        self._runner.wait(_FIRST_PICTURE)
        with suppress(Exception):  # a picture more is no reason to show no widget
            panel = self._panels[self._panel] if self._panel else None
            preview = panel.preview() if panel else None
            if panel is not None and preview is not None:
                file = io.BytesIO()
                preview.save(file, "PNG")
                encoded = base64.b64encode(file.getvalue()).decode()
                what = getattr(panel.widget, "caption", "") or panel.title
                said = html.escape(f"{what}, {self.selection.network.name}, {self.selection.source or 'a picture'}")
                page = (
                    f'<figure class="nbv-snapshot nbv-snapshot-{self._status.snapshot}" style="margin: 0">'
                    f'<img src="data:image/png;base64,{encoded}" alt="{said}" style="max-width: 100%">'
                    f"<figcaption>{said}. Run the cell to explore it.</figcaption></figure>"
                )
                return {"text/html": page, "image/png": encoded, "text/plain": said}
        return None

    # What a user of the API calls.

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
        panel = self._panels.get("explain")
        return panel.result if isinstance(panel, ExplainPanel) else None

    @property
    def frame(self) -> MapFrame | None:
        """The views of the map, with all that the browser does with them: an anywidget, to be shown by itself.

        None as long as the Explain panel has not been turned up.
        """
        panel = self._panels.get("explain")
        return panel.widget if isinstance(panel, ExplainPanel) else None

    def wait(self, timeout: float | None = None) -> Explorer:
        """Block until the explorer is idle; TimeoutError after ``timeout`` seconds. Returns the explorer."""
        if not self._runner.wait(timeout):
            raise TimeoutError(f"The explorer was still computing after {timeout} s.")
        return self

    def stop(self) -> None:
        """Stop what is being computed; what is on screen stays."""
        self._runner.stop()

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
        s = self.selection
        lines = ["import nbcnnviz as nv"]
        lines.append("net = ...  # your nv.Network" if s.network.origin is None else f"net = nv.{s.network.origin}")
        image = repr(s.source)
        if s.source not in samples() and not Path(s.source).expanduser().is_file():
            image = "image"
            lines.append("image = ...  # your picture")
        if s.crop is not None:
            image = "cropped"
            load = "net.picture" if isinstance(s.image, Bands) else "nv.load_image"
            lines.append(f"image = {load}({'image' if lines[-1].startswith('image') else repr(s.source)})")
            lines.append(f"cropped = image.crop({s.box})")
        panel = self._panels[self._panel] if self._panel else None
        return "\n".join([*lines, *(panel.code(image) if panel else [f"trace = net.trace({image})"])])

    def close(self) -> None:
        """Stop everything, end the threads and remove the widget."""
        if self.comm is not None:  # else it is closed, or was refused before it was made
            for panel in self.panels.values():
                panel.close()
            self._runner.close()
            self.selection.unobserve(self._selected, t.All)
            self._controls.close()
            self._history.close()
            self._pictures.close()
            self._tracer.forget()
            # ipywidgets keeps every widget that is not closed, and with it all that its callbacks know.
            sides = (self._map, self._pictures.widget, self._predictions.widget)
            shown = [panel.widget for panel in self.panels.values()]
            for part in parts_of(self, self._tabs, self._controls.widget, self._tools, self._status, *sides, *shown) - {
                self
            }:
                part.close()
            self._shown_trace = self._warmed = None
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
            self._ask()

    def _turn_to(self, name: str | None) -> None:
        self._panel = name
        if name is None:
            return
        if name not in self._panels:
            panel = self._panels[name] = TABS[name](self.selection, self._attempt, self._ask)
            panel.gives_way_to(self._runner)
            receive_while_busy(panel.widget)
            self._tabs.children[self._names.index(name)].children = [panel.widget]
            with self._publishing:
                if self._shown_trace is not None:
                    panel.show_trace(self._shown_trace)
        self._tools.formats = list(self._panels[name].formats)
        self._controls.uses_method = self._panels[name].uses_method
        self._controls.follow()

    def _follow_map(self) -> None:
        network, layer = self.selection.network, self.selection.layer
        if self._mapped is not network:
            self._mapped = network
            self._map.show(network)
        self._map.current = layer or ""

    # From a change of the selection to a job. Runs on whatever thread the change was made on, and computes nothing.

    def _selected(self, change: t.Bunch) -> None:
        if not self.selection.changing and change.name != "source":
            if change.name == "network":
                self._controls.loading = None  # this one came later
            self.error = None
            self._follow_map()
            with self._publishing:
                self._status.error = ""
            self._ask()

    def _ask(self) -> None:
        with self._asking:  # or of two changes at once, the request of the first may be the last
            self._put_off = self._controls.loading is not None  # what is loaded answers, or the end of loading asks
            if self._put_off:
                return
            request = self.selection.snapshot
            panel = self._panels[self._panel] if self._panel else None
            self._runner.submit(lambda: self._answer(request, panel))

    def _attempt(self, act: Act) -> None:
        """Make a change that the reader asked for; what is wrong with it is shown, never raised."""
        try:
            act()
        except Exception as error:
            self._fail(error)

    def _load(self, name: str) -> None:
        with self._asking:
            if name == self.selection.network.name:
                self._controls.loading = None
                self._ask()  # instead of what is being loaded
            else:
                self._controls.loading = name
                self._runner.submit(lambda: self._load_and_select(name))

    # Jobs: generators of frames, each with the panel that it is for. They run on the worker's thread.

    def _answer(self, request: Request, panel: Panel | None) -> Generator[_Shown, None, None]:
        for once_more in (True, False):
            trace = self._tracer(request.network, request.picture)
            self._show_trace(trace, request)
            try:
                if panel is not None:
                    for frame in panel.answer(request, trace):
                        yield panel, frame
                took = (time.perf_counter() - self._began) * 1000
                self._finish(f"{took:.0f} ms on {trace.network.device}")
                self._warm_map(trace)
                return self._tracer.warm_up(trace, self._runner.given_up)
            except StaleTraceError:  # the network is being trained: look again
                if not once_more:
                    raise
            self._tracer.forget()
            del trace

    def _load_and_select(self, name: str) -> Generator[_Shown, None, None]:
        told_at = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal told_at
            if self._runner.given_up():
                raise _LoadStoppedError(f"Loading {name} was stopped.")
            if time.monotonic() - told_at < 1 / FRAMES_A_SECOND:
                return
            told_at = time.monotonic()
            self._tell(f"Downloading {name}: {done / 1e6:.0f} of {total / 1e6:.0f} MB", done, total)

        network = None
        try:
            self._tell(f"Loading {name} ...")
            network = load_network(name, progress=progress)
        finally:
            with self._asking:
                selected = network is not None and not self._runner.given_up()
                if self._controls.loading == name:
                    self._controls.loading = None
            if not selected:
                self._controls.follow()  # the menu showed it already
        if selected:
            self._tell("Computing ...")
            self.selection.network = network
        yield from ()

    # From frames to the screen. Runs on the worker's thread, and for messages also on the callers'.

    def _started(self) -> None:
        self._began = time.perf_counter()
        self._at_work = token = object()
        # Most answers are there before anyone could read that they are awaited; a message less, they are there sooner.
        self._timer = threading.Timer(0.2, contextvars.copy_context().run, (self._still, token))
        self._timer.daemon = True
        self._timer.start()

    def _still(self, token: object) -> None:
        with self._publishing:
            if self._at_work is token and not self._status.running:
                self._tell("Computing ...")

    def _ended(self, error: BaseException | None, end: End) -> None:
        self._timer.cancel()
        if end != "replaced":  # else the newer job tells
            if self._at_work is not None:
                self._finish("Stopped" if end == "stopped" else "")
            if error is not None and not isinstance(error, _LoadStoppedError):
                self._fail(error)
        if self._put_off:
            self._ask()
        if end != "replaced":
            self._pictures.answered()

    def _finish(self, status: str) -> None:
        """Say that the answer is there, or that none will come."""
        with self._publishing:
            self._at_work = None
            self._status.finish(status)

    def _show_trace(self, trace: Trace, request: Request) -> None:
        with self._publishing:
            if trace is not self._shown_trace:
                self._predictions.show(trace)
                for panel in self.panels.values():
                    panel.show_trace(trace)
                self._shown_trace = trace  # and not if anything of it failed
            asked = request.target
            self._predictions.mark(_best(trace) if asked is None else asked if isinstance(asked, int) else None)

    def _warm_map(self, trace: Trace) -> None:
        """Colour the layer map by how active the picture makes each layer."""
        if self._warmed is not trace and self._mapping and not self._runner.given_up():
            self._map.warm(activity(trace), "root mean square of the activations")
            self._warmed = trace

    def _let_go(self) -> None:
        self._shown_trace = self._warmed = None
        for panel in self.panels.values():
            panel.forget()

    def _shown(self, frame: _Shown) -> None:
        panel, data = frame
        with self._publishing:
            panel.show(data)
            if getattr(data, "steps", 1) > 1:
                self._tell(self._status.status, data.step, data.steps)

    def _tell(self, status: str, step: int = 0, steps: int = 0) -> None:
        with self._publishing:
            self._status.tell(status, step, steps)

    def _fail(self, error: BaseException) -> None:
        self.error = error
        with self._publishing:
            self._status.error = sentence(error)
        self._controls.follow()  # a control may show what could not be had


class _LoadStoppedError(NbcnnvizError):
    """A download was given up for something newer."""


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


def _best(trace: Trace) -> int | None:
    """The class that is explained unless another is chosen; None where none is better than another."""
    with suppress(MethodNotApplicableError):
        return trace.best[0]
    return None
