"""The explorer: a selection, its controls and panels, and the jobs that answer it."""

from __future__ import annotations

import contextvars
import threading
import time
import weakref
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import ipywidgets as w
import torch
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
from nbcnnviz.explorer.runner import FRAMES_A_SECOND, End, Runner
from nbcnnviz.explorer.selection import Selection
from nbcnnviz.explorer.surface import MANAGER
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


@dataclass(frozen=True)
class _Traced:
    """A trace, with what it was made from."""

    network: Network
    image: Image.Image
    weights: list[tuple[int, int]]
    trace: Trace


class Explorer(w.VBox):
    """The widget that `explore` makes. Show it by naming it at the end of a cell.

    Attributes
    ----------
    selection : Selection
        What is looked at; setting a trait of it is the same as using a control.
    result : Attribution or None
        What is on screen; None until the first map of a picture is there.
    error : BaseException or None
        What went wrong since the selection last changed.
    """

    result: Attribution | None
    error: BaseException | None

    def __init__(self, selection: Selection, panels: Sequence[str] = PANELS) -> None:
        panels = [panels] if isinstance(panels, str) else panels
        for name in panels:
            if name not in PANELS:
                raise UnknownPanelError(name, PANELS, f"The panels are {', '.join(PANELS)}.")
        self.selection = selection
        self.result = self.error = None
        self._traced: _Traced | None = None
        self._shown_trace: Trace | None = None
        self._asking = threading.RLock()
        self._put_off = False
        self._publishing = threading.RLock()
        self._began = 0.0
        self._at_work: object | None = None  # a token of the job whose answer is awaited
        self._warm: weakref.WeakSet[Network] = weakref.WeakSet()

        self._explain = ExplainPanel()
        self._predictions = PredictionsPanel(lambda index: self._attempt(lambda: setattr(selection, "target", index)))
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

    def __repr__(self) -> str:
        s = self.selection
        return f"<Explorer: {s.method} of {s.network.name}, {s.source or 'a picture'}>"

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
        """Write what is shown: the overlay as it is set (``.png``, ``.jpg`` ...), or the raw values (``.npy``)."""
        result = self.result
        if result is None:
            raise NbcnnvizError("There is no map to save yet: wait for the explorer, with ex.wait().")
        if str(path).endswith(".npy"):
            result.save(path)
        else:
            frame = self._explain.widget
            result.overlay(opacity=frame.opacity, threshold=frame.threshold, colours=frame.colours).save(path)

    def code(self) -> str:
        """The lines of Python that make what is selected again; ``...`` stands for what only you have."""
        s, result = self.selection, self.result
        lines = ["import nbcnnviz as nv"]
        lines.append("net = ...  # your nv.Network" if s.network.origin is None else f"net = nv.{s.network.origin}")
        image = repr(s.source)
        if s.source not in samples() and not Path(s.source).expanduser().is_file():
            image = "image"
            lines.append("image = ...  # your picture")
        target = s.explains()
        if target is None and result is not None and isinstance(result.target, ClassScore):
            target = result.target.indices(result.trace)[0]
        explained = repr(target)
        if type(target).__module__.startswith("nbcnnviz."):
            explained = f"nv.{explained}"
        elif callable(target):
            explained = "target"
            lines.append("target = ...  # your function of the trace")
        layer = f", layer={s.layer!r}" if methods()[s.method].needs_layer else ""
        options = "".join(f", {name}={value!r}" for name, value in s.options.items())
        lines.append(f"result = nv.attribute(net, {image}, method={s.method!r}, target={explained}{layer}{options})")
        return "\n".join(lines)

    def close(self) -> None:
        """Stop everything, end the thread and remove the widget."""
        if self.comm is not None:  # else it is closed, or was refused before it was made
            self._runner.close()
            self.selection.unobserve(self._selected, t.All)
            self._controls.close()
            self._traced = self._shown_trace = None
            # ipywidgets keeps every widget that is not closed, and with it all that its callbacks know.
            for part in _parts(self, self._controls.widget, self._explain.widget, self._predictions.widget) - {self}:
                part.close()
        super().close()

    # From a change of the selection to a job. Runs on whatever thread the change was made on, and computes nothing.

    def _selected(self, change: t.Bunch) -> None:
        if self.selection.settled and change.name != "source":
            if change.name == "network":
                self._controls.loading = None  # this one came later
            self.error = None
            with self._publishing:
                self._explain.widget.error = ""
            self._ask()

    def _ask(self) -> None:
        with self._asking:  # or of two changes at once, the request of the first may be the last
            self._put_off = self._controls.loading is not None  # what is loaded answers, or the end of loading asks
            if self._put_off:
                return
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
        with self._asking:
            if name == self.selection.network.name:
                self._controls.loading = None
                self._ask()  # instead of what is being loaded
            else:
                self._controls.loading = name
                self._runner.submit(lambda: self._load_and_select(name))

    # Jobs: generators of frames. They run on the worker's thread.

    def _answer(self, request: _Request) -> Generator[Any, None, None]:
        question = {"method": request.method, "target": request.target, "layer": request.layer, **request.options}
        for once_more in (True, False):
            trace = self._trace_for(request)
            yield trace
            try:
                yield from attribute.stream(trace, **question)
                return self._warm_up(trace)
            except StaleTraceError:  # the network is being trained: look again
                if not once_more:
                    raise
            self._traced = None
            del trace

    def _warm_up(self, trace: Trace) -> None:
        """Run a network that is new a few times: a process's first passes are many times slower than the others."""
        if trace.network in self._warm:
            return
        for _ in range(_WARM_UP):
            if self._runner.given_up():
                return
            with suppress(Exception):  # nobody asked for this gradient
                trace.gradient()
        self._warm.add(trace.network)

    def _trace_for(self, request: _Request) -> Trace:
        """The trace of the request's picture; the last one, if it is that and the weights are still the same."""
        network, image = request.network, request.image
        last = self._traced
        if last is not None and last.network is network and last.image is image and last.weights == _weights(network):
            return last.trace
        # The last trace's memory is free before the next takes as much.
        last = self._traced = self._shown_trace = self.result = None
        trace = network.trace(image)
        self._traced = _Traced(network, image, _weights(network), trace)
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
        yield None

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
            if self._at_work is token and not self._explain.widget.running:
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

    def _finish(self, status: str) -> None:
        """Say that the answer is there, or that none will come."""
        with self._publishing, self._explain.widget.hold_sync():
            self._at_work = None
            self._explain.widget.running = False
            self._explain.widget.step = self._explain.widget.steps = 1
            self._explain.widget.status = status

    def _shown(self, frame: Any) -> None:
        with self._publishing:
            trace = frame.trace if isinstance(frame, Attribution) else frame
            if isinstance(trace, Trace) and trace is not self._shown_trace:
                self._shown_trace, self.result = trace, None
                self._explain.show_trace(trace)
                self._predictions.show(trace)
            if isinstance(frame, Attribution):
                self.result = frame
                with self._explain.widget.hold_sync():
                    self._explain.show(frame)
                    if frame.step == frame.steps:
                        took = (time.perf_counter() - self._began) * 1000
                        self._finish(f"{took:.0f} ms on {frame.trace.network.device}")
                classes = frame.target.indices(trace) if isinstance(frame.target, ClassScore) else (None,)
                self._predictions.mark(classes[0])

    def _tell(self, status: str, step: int = 0, steps: int = 0) -> None:
        with self._publishing, self._explain.widget.hold_sync():
            self._explain.widget.status = status
            self._explain.widget.step, self._explain.widget.steps = step, steps
            self._explain.widget.running = True

    def _fail(self, error: BaseException) -> None:
        self.error = error
        with self._publishing:
            self._explain.widget.error = _sentence(error)
        self._controls.follow()  # a control may show what could not be had


class _LoadStoppedError(NbcnnvizError):
    """A download was given up for something newer."""


def _column(*widgets: w.Widget, flex: str) -> w.VBox:
    return w.VBox(widgets, layout=w.Layout(flex=flex, min_width="0", grid_gap="8px"))


def _weights(network: Network) -> list[tuple[int, int]]:
    """What tells one state of the weights from another: training writes to them, or puts others in their place."""
    return [(id(p), 0 if p.is_inference() else p._version) for p in network.module.parameters()]


def _sentence(error: BaseException) -> str:
    """What went wrong, in words for someone who did not write the code."""
    if isinstance(error, NbcnnvizError):
        return str(error)
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return (
            "There is not enough memory for this: choose a smaller network, or close other explorers with ex.close()."
        )
    text = str(error).strip().partition("\n")[0]
    return f"Something unexpected happened ({type(error).__name__}){': ' if text else ''}{text}"


def _parts(*widgets: w.Widget) -> set[w.Widget]:
    """Widgets and all that they are made of."""
    parts: set[w.Widget] = set()
    waiting: list[Any] = [*widgets]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, (list, tuple)):
            waiting.extend(part)
        elif (
            isinstance(part, w.Widget) and part is not MANAGER and part not in parts
        ):  # one manager serves every canvas
            parts.add(part)
            waiting.extend(getattr(part, name) for name in part.keys)
    return parts


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
