"""The panel of a watch: curves of what was recorded, the first filters, one feature map, while the loop runs.

The loop has the kernel's main thread to itself. A thread of the panel's draws what is newest, at most four times a second
and with at most a hundredth of a core, and only while the watch is on; it ends with the last state on screen.
"""

from __future__ import annotations

import contextvars
import html
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import anywidget
import ipywidgets as w
import numpy as np
import torch

from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.explorer.front import CanvasHost, parts_of, receive_while_busy
from nbcnnviz.explorer.front.base import Front
from nbcnnviz.explorer.widgets.charts import LineChart
from nbcnnviz.explorer.widgets.layout import Updating, button, column, grid, hint, reveal, row, set_traits
from nbcnnviz.inside.statistics import HEALTHY
from nbcnnviz.render import Scale, coloured
from nbcnnviz.render.colours import depth_colours
from nbcnnviz.render.kernels import kernel_grid, with_faults
from nbcnnviz.session.messages import sentence
from nbcnnviz.training import Watch
from nbcnnviz.training.record import Curves, evenly

DRAWINGS_A_SECOND = 4
_SHARE_OF_A_CORE = 0.01
_LINES = 32
_POINTS = 256
_SMOOTHED_OVER = 10


class WatchPanel(w.VBox):
    """What a `Watch` shows of itself; made by it."""

    def __init__(self, watch: Watch) -> None:
        self._watch = weakref.ref(watch, lambda _: self._stop_drawing())
        self._news, self._over = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._drawing = threading.RLock()
        self._updating = Updating()
        self._smoothed: list[float] = []
        self._filters_drawn: Any = None
        self._map_drawn: Any = None

        names = watch.layers
        self._shown = np.arange(len(names))
        if len(names) > _LINES:  # then without what has no filters, such as batch-norms, unless nothing has
            with_filters = np.flatnonzero([layer.filters is not None for layer in watch._layers])
            candidates = with_filters if len(with_filters) else self._shown
            self._shown = candidates[evenly(len(candidates), _LINES)]
        self._colours = depth_colours(len(self._shown))
        self._loss = LineChart(200, smoothed=True)
        self._gradient = LineChart(200, log=True)
        self._ratio = LineChart(200, log=True, reference=HEALTHY)
        self._dead = LineChart(200, share=True)
        charts = grid(
            _titled("Loss", self._loss),
            _titled("Gradient norm of each layer", self._gradient),
            _titled("Update / weight of each layer", self._ratio, f"dashed: {HEALTHY:g}"),
            _titled("Dead filters of each layer", self._dead),
            width=270,
            gap="4px 16px",
        )

        self._status = w.HTML(layout=w.Layout(flex="1 1 300px", min_width="0"))
        self._button = button("Stop watching", "stop", "", lambda: self._attempt(self._toggle))
        self._button.layout.width = "120px"
        self._wrong = w.HTML(layout=w.Layout(display="none"))
        self._filters, self._map = CanvasHost(1, 1), CanvasHost(1, 1)
        for host, width in ((self._filters, "340px"), (self._map, "300px")):
            layout = host.canvas.layout
            layout.width, layout.max_width, layout.height, layout.flex = "100%", width, "auto", "0 0 auto"
            host.canvas.add_class("nbv-pixelated")
        self._filters_caption, self._map_caption = w.HTML(), w.HTML()
        self._layer = w.Dropdown(
            options=list(watch.modules) or [""],
            value=watch.layer,
            description="Layer",
            tooltip="The layer whose feature map is shown, from the next record on",
            layout=w.Layout(width="auto", max_width="340px"),
        )
        self._channel = w.IntSlider(
            max=max((watch.channels or 1) - 1, watch.channel),
            value=watch.channel,
            description="Channel",
            layout=w.Layout(width="auto", max_width="340px"),
        )
        for name, control in (("layer", self._layer), ("channel", self._channel)):
            control.observe(lambda change, name=name: self._choose(name, change.new), "value")
        pictures = row(
            _view("First filters", self._filters_caption, self._filters.canvas),
            _view("Feature map", self._map_caption, self._map.canvas, self._layer, self._channel),
            gap="8px 32px",
        )
        pictures.layout.align_items = "flex-start"
        line = row(self._status, self._button, gap="4px 16px")
        legend = w.HTML(_legend(watch, self._shown, self._colours))
        super().__init__([_Style(), line, self._wrong, charts, legend, pictures])
        self.add_class("nbcnnviz")
        self.add_class("nbv-watch")
        receive_while_busy(self)
        self._draw_what_is_there()

    # What the watch calls, in the thread that trains.

    def tell(self) -> None:
        """There is something new to be drawn."""
        self._news.set()

    def began(self) -> None:
        """Draw from now on."""
        if self._thread is None or not self._thread.is_alive():
            self._over.clear()
            # In the caller's context, or messages of the thread are lost to other cells.
            context = contextvars.copy_context()
            self._thread = threading.Thread(target=context.run, args=(self._work,), name="nbcnnviz watch", daemon=True)
            self._thread.start()
        self._news.set()

    def ended(self) -> None:
        """Draw how it ended, and nothing more."""
        thread = self._thread
        self._stop_drawing()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=10)

    def close(self) -> None:
        """Draw nothing more, and remove the widget."""
        self._stop_drawing()
        if self.comm is not None:
            # ipywidgets keeps every widget that is not closed, and with it all that its callbacks know.
            for part in parts_of(self) - {self}:
                part.close()
        super().close()

    # From the watch to the screen.

    def _stop_drawing(self) -> None:
        self._over.set()
        self._news.set()

    def _work(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            over = self._over.is_set()
            began = time.thread_time()
            self._draw_what_is_there()
            took = time.thread_time() - began
            watch = self._watch()
            if watch is None or over:
                return
            watch.drawing += took
            del watch  # it may be dropped while this thread waits
            self._over.wait(max(1 / DRAWINGS_A_SECOND, took / _SHARE_OF_A_CORE))

    def _draw_what_is_there(self) -> None:
        watch = self._watch()
        if watch is None:
            return
        with self._drawing:
            try:
                self._draw(watch)
            except Exception as error:  # nobody else would tell
                self._say(sentence(error))

    def _draw(self, watch: Watch) -> None:
        curves = watch.curves(_POINTS)
        self._show_status(watch, curves)
        if curves.layers is not None:
            self._draw_loss(curves)
            steps, layers = curves.steps[curves.rows], curves.layers
            lost = steps[curves.broken.any(1)]
            for chart, name in ((self._gradient, "gradient_norm"), (self._ratio, "update_ratio")):
                chart.draw(steps, layers[name][:, self._shown].T, self._colours, lost)
            self._dead.draw(steps, layers["dead_share"][:, self._shown].T, self._colours)
        self._say(*_problems(watch, curves))
        self._draw_filters(watch, curves.filters)
        self._draw_map(watch, curves.maps)

    def _show_status(self, watch: Watch, curves: Curves) -> None:
        parts = [f"<b>{watch.steps:,}</b> step{'s' if watch.steps != 1 else ''}"]
        if watch.elapsed > 0 and watch.steps > 1:
            parts.append(f"{_short(watch.steps / watch.elapsed)} a second")
        known = curves.loss[~np.isnan(curves.loss)]
        if len(known):
            parts.append(f"loss {_short(known[-1])}")
        if np.isfinite(curves.learning_rate):
            parts.append(f"learning rate {_short(curves.learning_rate)}")
        if len(curves.steps):
            parts.append(f"watching takes {watch.cost:.1%}")
        if not watch.watching:
            parts.append("stopped")
        elif not len(curves.steps):
            parts = ["Waiting for the first step of an optimiser"]
        set_traits(self._status, value="<span class='nbv-status'>" + " · ".join(parts) + "</span>")
        label, icon = ("Stop watching", "stop") if watch.watching else ("Go on", "play")
        set_traits(self._button, description=label, icon=icon)

    def _draw_loss(self, curves: Curves) -> None:
        steps, loss = curves.steps, curves.loss
        del self._smoothed[max(len(loss) - 2, 0) :]  # the last may have been given since
        for value in loss[len(self._smoothed) :]:
            last = self._smoothed[-1] if self._smoothed else np.nan
            keep = 1 - 1 / min(len(self._smoothed) + 1, _SMOOTHED_OVER)
            self._smoothed.append(
                last if not np.isfinite(value) else value if np.isnan(last) else last * keep + value * (1 - keep)
            )
        rows = evenly(len(steps), 2 * _POINTS)
        self._loss.draw(steps[rows], loss[rows], lost=steps[curves.lost], smooth=np.array(self._smoothed)[rows])

    def _draw_filters(self, watch: Watch, filters: tuple[int, np.ndarray] | None) -> None:
        if filters is None:
            if watch.first is None:
                set_traits(self._filters_caption, value=hint("There is no convolution in this network."))
            return
        step, kernels = filters
        chosen = watch.channel if watch.modules.get(watch.layer) is watch.first else -1
        if self._filters_drawn != (step, chosen):
            self._filters_drawn = step, chosen
            _paint(self._filters, kernel_grid(kernels, chosen))
            shown = {1: "", 3: ""}.get(kernels.shape[1], f", each the mean over its {kernels.shape[1]} inputs")
            set_traits(self._filters_caption, value=hint(f"{len(kernels)} kernels after step {step}{shown}"))

    def _draw_map(self, watch: Watch, found: tuple[int, np.ndarray] | None) -> None:
        self._follow(watch)
        if watch.trouble or found is None:
            missed = "It was not recorded: train on with it chosen, or give nv.watch a picture."
            wait = "It comes with the next record." if watch.watching else missed
            set_traits(self._map_caption, value=hint(watch.trouble or wait))
        if found is None:
            if self._map_drawn is not None:
                self._map_drawn = None
                self._map.clear()
            return
        step, maps = found
        channel = min(watch.channel, len(maps) - 1)
        if self._map_drawn == (step, watch.layer, channel):
            return
        self._map_drawn = step, watch.layer, channel
        values = torch.from_numpy(maps[channel])
        scale = Scale.of(values)
        _paint(self._map, with_faults(coloured(values, scale), ~np.isfinite(maps[channel])))
        if not watch.trouble:
            lost = int((~np.isfinite(maps[channel])).sum())
            ends = f"{_short(scale.low)} to {_short(scale.high)}" + (f", {lost} NaN or infinite" if lost else "")
            set_traits(
                self._map_caption,
                value=hint(f"In step {step}: {maps[channel].shape[0]} x {maps[channel].shape[1]}, {ends}"),
            )

    def _say(self, *problems: str) -> None:
        set_traits(self._wrong, value="".join(f"<div class='nbv-error'>{html.escape(p)}</div>" for p in problems))
        reveal(self._wrong, bool(problems))

    # From the controls to the watch. Runs on whatever thread the message comes on.

    def _toggle(self) -> None:
        watch = self._watch()
        if watch is None:
            raise NbcnnvizError("This watch is gone: make another with nv.watch.")
        if watch.watching:
            watch.stop()
        else:
            watch.start()

    def _choose(self, name: str, value: Any) -> None:
        watch = self._watch()
        if watch is not None and not self._updating:
            self._attempt(lambda: setattr(watch, name, value))
            if self._thread is not None and self._thread.is_alive():
                self.tell()
            else:
                self._draw_what_is_there()

    def _follow(self, watch: Watch) -> None:
        """Let the controls show what is chosen, whoever chose it."""
        with self._updating:
            set_traits(self._layer, value=watch.layer)
            most = max((watch.channels or 1) - 1, watch.channel)
            set_traits(self._channel, max=most)
            set_traits(self._channel, value=watch.channel, disabled=most == 0)

    def _attempt(self, act: Callable[[], None]) -> None:
        """Do what the reader asked for; what is wrong with it is shown, never raised."""
        try:
            act()
        except Exception as error:
            self._say(sentence(error))


def _paint(host: CanvasHost, picture: np.ndarray) -> None:
    """Draw a picture pixel by pixel: its squares are made larger in the browser."""
    host.resize(picture.shape[1], picture.shape[0])
    host.draw(lambda canvas: canvas.put_image_data(picture, 0, 0))


def _problems(watch: Watch, curves: Curves) -> list[str]:
    """What is wrong with watching, and with the run, a sentence each."""
    if watch.error is not None:
        found = [f"Watching stopped, the training went on. {sentence(watch.error)}"]
    elif curves.layers is None and not watch.watching and not watch.steps:
        found = ["No step of an optimiser over this network's parameters was seen; without one, call w.step()."]
    else:
        found = []
    return found + curves.problems(watch.layers)


def _titled(title: str, chart: LineChart, more: str = "") -> w.VBox:
    heading = w.HTML(f"<b>{title}</b> {hint(more) if more else ''}")
    return w.VBox([heading, chart.figure], layout=w.Layout(min_width="0", overflow="hidden"))


def _view(title: str, *parts: w.Widget) -> w.VBox:
    return column(w.HTML(f"<b>{title}</b>"), *parts, flex="1 1 260px", max_width="480px")


def _legend(watch: Watch, shown: np.ndarray, colours: list[str]) -> str:
    """The layers and their colours; with what they are, where there is room."""
    keys = []
    for i, colour in zip(shown, colours, strict=True):
        name = watch.layers[i]
        module = watch.modules.get(name)
        kind = (
            f" <span class='nbv-hint'>{type(module).__name__}</span>" if module is not None and len(shown) <= 12 else ""
        )
        keys.append(f"<span class='nbv-key'><i style='background:{colour}'></i>{html.escape(name)}{kind}</span>")
    if len(shown) < len(watch.layers):
        keys.append(f"<span class='nbv-hint'>{len(shown)} of {len(watch.layers)} layers, evenly over the depth</span>")
    return f"<div class='nbv-keys'>{''.join(keys)}</div>"


def _short(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}" if abs(number) < 1e6 else f"{number:.2e}"


class _Style(anywidget.AnyWidget):
    """Brings the house's style into the page."""

    _esm = "export default { render() {} }"
    _css = Front._css

    def __init__(self) -> None:
        super().__init__(layout=w.Layout(display="none"))
