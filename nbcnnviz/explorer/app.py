"""The explorer: a selection, its controls and panels, and the jobs that answer it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import ipywidgets as w
import traitlets as t
from PIL import Image
from torch import nn

from nbcnnviz.attribution import Attribution, attribute, methods
from nbcnnviz.core.errors import NbcnnvizError, StaleTraceError, UnknownNameError
from nbcnnviz.core.images import samples
from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import ClassScore
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.controls import Act, Controls
from nbcnnviz.explorer.panels.explain import ExplainPanel
from nbcnnviz.explorer.panels.predictions import PredictionsPanel
from nbcnnviz.explorer.runner import FRAMES_A_SECOND, Runner
from nbcnnviz.explorer.selection import Selection
from nbcnnviz.zoo import load_network

PANELS = ("explain", "predictions")

_WARM_UP = 4


class UnknownPanelError(UnknownNameError):
    """The explorer has no panel of this name."""

    kind = "panel"


@dataclass(frozen=True)
class _Request:
    """The selection as it was when asked, for the worker to answer whatever is selected since."""

    network: Network
    image: Image.Image
    target: Any
    layer: str | None
    method: str
    options: dict[str, Any]


class Explorer(w.VBox):
    """The widget that `explore` makes. Show it by naming it at the end of a cell.

    Attributes
    ----------
    selection : Selection
        What is looked at; setting a trait of it is the same as using a control.
    result : Attribution or None
        What is on screen; None until the first map is there.
    error : Exception or None
        What went wrong last, None once something succeeded.
    """

    result: Attribution | None
    error: Exception | None

    def __init__(self, selection: Selection, panels: Sequence[str] = PANELS) -> None:
        for name in panels:
            if name not in PANELS:
                raise UnknownPanelError(name, PANELS, f"The panels are {', '.join(PANELS)}.")
        self.selection = selection
        self.result = self.error = None
        self._traced: tuple[Network, Image.Image, Trace] | None = None
        self._shown_trace: Trace | None = None
        self._publishing = threading.RLock()
        self._began = 0.0
        self._at_work: object | None = None  # a token of the job whose answer is awaited
        self._timer: threading.Timer | None = None
        self._warm: weakref.WeakSet[Network] = weakref.WeakSet()

        self._explain = ExplainPanel()
        self._predictions = PredictionsPanel(lambda index: self._attempt(lambda: selection.set_trait("target", index)))
        self._controls = Controls(selection, self._load, self._attempt)
        self._runner = Runner(self._started, self._shown, self._ended)
        self._explain.widget.on_stop(self._runner.stop)

        columns = []
        if "explain" in panels:
            columns.append(_column(self._controls.widget, self._explain.widget, flex="3 1 500px"))
        if "predictions" in panels:
            columns.append(_column(self._predictions.widget, flex="1 1 280px"))
        super().__init__([w.HBox(columns, layout=w.Layout(flex_flow="row wrap", width="100%", grid_gap="8px 24px"))])
        self.add_class("nbcnnviz")
        selection.observe(self._selected, t.All)
        self._ask()

    # What a user of the API calls.

    def wait(self, timeout: float | None = None) -> Explorer:
        """Block until the explorer is idle; TimeoutError after ``timeout`` seconds. Returns the explorer."""
        if not self._runner.wait(timeout):
            raise TimeoutError(f"The explorer was still computing after {timeout} s.")
        return self

    def stop(self) -> None:
        """Stop what is being computed; what is on screen stays."""
        self._runner.stop()

    def save(self, path: str | PathLike[str]) -> None:
        """Write what is shown: the overlay as a picture (``.png``, ``.jpg`` ...), or the raw values (``.npy``)."""
        if self.result is None:
            raise NbcnnvizError("There is no map to save yet: wait for the explorer, with ex.wait().")
        self.result.save(path)

    def code(self) -> str:
        """The lines of Python that make what is selected again."""
        s = self.selection
        named = s.network.name in _loadable()
        network = f"net = nv.load_network({s.network.name!r})" if named else "net = ...  # your nv.Network"
        image = repr(s.source) if s.source else "image"
        target = self._explained()
        explained = f"nv.{target!r}" if type(target).__module__.startswith("nbcnnviz.") else repr(target)
        if callable(target) and not explained.startswith("nv."):
            explained = getattr(target, "__name__", "target")
        layer = f", layer={s.layer!r}" if methods()[s.method].needs_layer else ""
        options = "".join(f", {name}={value!r}" for name, value in s.options.items())
        call = f"result = nv.attribute(net, {image}, method={s.method!r}, target={explained}{layer}{options})"
        return f"import nbcnnviz as nv\n{network}\n{call}"

    def close(self) -> None:
        """Stop everything, end the thread and remove the widget."""
        self._runner.close()
        super().close()

    def _explained(self) -> Any:
        target = self.selection.explains()
        if target is None and self.result is not None and isinstance(self.result.target, ClassScore):
            return self.result.target.indices(self.result.trace)[0]
        return target

    # From a change of the selection to a job. Runs on whatever thread the change was made on, and computes nothing.

    def _selected(self, change: t.Bunch) -> None:
        if self.selection.settled and change.name != "source":
            self._ask()

    def _ask(self) -> None:
        s = self.selection
        layer = s.layer if methods()[s.method].needs_layer else None
        request = _Request(s.network, s.image, s.explains(), layer, s.method, dict(s.options))
        self._runner.submit(lambda: self._answer(request))

    def _attempt(self, act: Act) -> None:
        """Make a change that the reader asked for; what is wrong with it is shown, never raised."""
        try:
            act()
        except Exception as error:
            self._fail(error)

    def _load(self, name: str) -> None:
        self._runner.submit(lambda: self._load_and_select(name))

    # Jobs: generators of frames. They run on the worker's thread.

    def _answer(self, request: _Request) -> Generator[Any, None, None]:
        trace = self._trace_for(request)
        yield trace
        question = {"method": request.method, "target": request.target, "layer": request.layer, **request.options}
        try:
            yield from attribute.stream(trace, **question)
        except StaleTraceError:  # the network is being trained: look again
            self._traced = None
            trace = self._trace_for(request)
            yield trace
            yield from attribute.stream(trace, **question)
        self._warm_up(trace)

    def _warm_up(self, trace: Trace) -> None:
        """Run a network that is new a few times: a process's first passes are many times slower than the others."""
        if trace.network in self._warm:
            return
        for _ in range(_WARM_UP):
            if self._runner.given_up():
                return
            trace.gradient()
        self._warm.add(trace.network)

    def _trace_for(self, request: _Request) -> Trace:
        """The trace of the request's picture; the last one, if it is that."""
        if self._traced is not None:
            network, image, trace = self._traced
            if network is request.network and image is request.image:
                return trace
        # The last trace's memory is free before the next takes as much.
        self._traced = self._shown_trace = self.result = None
        trace = request.network.trace(request.image)
        self._traced = (request.network, request.image, trace)
        return trace

    def _load_and_select(self, name: str) -> Generator[Any, None, None]:
        told_at = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal told_at
            if self._runner.given_up():
                raise _LoadStoppedError(f"Loading {name} was stopped.")
            if time.monotonic() - told_at < 1 / FRAMES_A_SECOND:
                return
            told_at = time.monotonic()
            self._tell(f"Downloading {name}: {done / 1e6:.0f} of {total / 1e6:.0f} MB", done, total)

        self._tell(f"Loading {name} ...")
        network = load_network(name, progress=progress)
        if not self._runner.given_up():
            self.selection.network = network
        yield None

    # From frames to the screen. Runs on the worker's thread, and for messages also on the callers'.

    def _started(self) -> None:
        self._began = time.perf_counter()
        self._at_work = token = object()
        # Most answers are there before anyone could read that they are awaited; a message less, they are there sooner.
        self._timer = threading.Timer(0.2, self._still, (token,))
        self._timer.daemon = True
        self._timer.start()

    def _still(self, token: object) -> None:
        with self._publishing:
            if self._at_work is token and not self._explain.widget.running:
                self._tell("Computing ...")

    def _ended(self, error: Exception | None, stopped: bool) -> None:
        if self._at_work is not None:
            self._finish("Stopped" if stopped or error is not None else "")
        if error is not None and not isinstance(error, _LoadStoppedError):
            self._fail(error)

    def _finish(self, status: str) -> None:
        """Say that the answer is there, or that none will come."""
        with self._publishing, self._explain.widget.hold_sync():
            self._at_work = None
            if self._timer is not None:
                self._timer.cancel()
            self._explain.widget.running = False
            self._explain.widget.step = self._explain.widget.steps = 1
            self._explain.widget.status = status

    def _shown(self, frame: Any) -> None:
        with self._publishing:
            if isinstance(frame, Trace):
                if frame is not self._shown_trace:
                    self._shown_trace, self.result = frame, None
                    self._explain.show_trace(frame)
                    self._predictions.show(frame)
            elif isinstance(frame, Attribution):
                self.result, self.error = frame, None
                with self._explain.widget.hold_sync():
                    self._explain.show(frame)
                    if frame.step == frame.steps:
                        took = (time.perf_counter() - self._began) * 1000
                        self._finish(f"{took:.0f} ms on {frame.trace.network.device}")
                classes = frame.target.indices(frame.trace) if isinstance(frame.target, ClassScore) else (None,)
                self._predictions.mark(classes[0])

    def _tell(self, status: str, step: int = 0, steps: int = 0) -> None:
        with self._publishing, self._explain.widget.hold_sync():
            self._explain.widget.status = status
            self._explain.widget.step, self._explain.widget.steps = step, steps
            self._explain.widget.running = True

    def _fail(self, error: Exception) -> None:
        self.error = error
        known = isinstance(error, (NbcnnvizError, MemoryError))
        message = str(error) if known else f"Something unexpected happened ({type(error).__name__}): {error}"
        with self._publishing:
            self._explain.widget.error = message
            self._controls.follow()  # a control may show what could not be had


class _LoadStoppedError(NbcnnvizError):
    """A download was given up for something newer."""


def _column(*widgets: w.Widget, flex: str) -> w.VBox:
    return w.VBox(widgets, layout=w.Layout(flex=flex, min_width="0", grid_gap="8px"))


def _loadable() -> list[str]:
    from nbcnnviz.zoo import networks

    return networks()


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
        Whatever `load_image` takes. Default: the first sample.
    method, target, layer, filter
        What to show first; see `Selection`.
    panels
        Which panels to show: ``"explain"`` and ``"predictions"``.

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
