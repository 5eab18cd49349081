"""The panel of a watch: curves of what was recorded, the first filters, one feature map, while the loop runs.

The loop has the kernel's main thread to itself. A thread of the panel's draws what is newest, at most four times a second
and with at most a hundredth of a core, and only while the watch is on; it ends with the last state on screen.
"""

from __future__ import annotations

import colorsys
import contextvars
import html
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import anywidget
import bqplot
import ipywidgets as w
import numpy as np
import torch
import traitlets as t

from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.explorer.front import CanvasHost, parts_of, receive_while_busy
from nbcnnviz.render import DIVERGING, Scale, coloured, lookup_table
from nbcnnviz.session.messages import sentence
from nbcnnviz.training import Watch

DRAWINGS_A_SECOND = 4
_SHARE_OF_A_CORE = 0.01
_LINES = 32
_POINTS = 256
_SMOOTHED_OVER = 10
_TILE, _GAP = 24, 2

_LOSS, _WRONG, _REFERENCE, _CHOSEN = "#5b8fc7", "#e0323c", "#8c959f", (224, 138, 30, 255)
_NOT_FINITE = (255, 0, 255, 255)


class WatchPanel(w.VBox):
    """What a `Watch` shows of itself; made by it."""

    def __init__(self, watch: Watch) -> None:
        self._watch = weakref.ref(watch, lambda _: self._stop_drawing())
        self._news, self._over = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._drawing = threading.RLock()
        self._following = threading.local()
        self._smoothed: list[float] = []
        self._filters_drawn: Any = None
        self._map_drawn: Any = None

        names = watch.layers
        self._shown = np.arange(len(names))
        if len(names) > _LINES:  # then without what has no filters, such as batch-norms, unless nothing has
            with_filters = np.flatnonzero([layer.filters is not None for layer in watch._layers])
            candidates = with_filters if len(with_filters) else self._shown
            self._shown = candidates[_some(len(candidates), _LINES)]
        colours = _by_depth(len(self._shown))
        self._loss = _Plot("Loss", [_LOSS])
        self._gradient = _Plot("Gradient norm of each layer", colours, log=True)
        self._ratio = _Plot("Update / weight of each layer", colours, log=True, reference=1e-3)
        self._dead = _Plot("Dead filters of each layer", colours, share=True)
        plots = w.GridBox(
            [plot.widget for plot in (self._loss, self._gradient, self._ratio, self._dead)],
            layout=w.Layout(
                grid_template_columns="repeat(auto-fit, minmax(270px, 1fr))", grid_gap="4px 16px", width="100%"
            ),
        )

        self._status = w.HTML(layout=w.Layout(flex="1 1 300px", min_width="0"))
        self._button = w.Button(layout=w.Layout(width="120px", flex="0 0 auto"))
        self._button.on_click(lambda _: self._attempt(self._toggle))
        self._wrong = w.HTML(layout=w.Layout(display="none"))
        self._filters, self._map = CanvasHost(1, 1), CanvasHost(1, 1)
        for host, width in ((self._filters, "340px"), (self._map, "300px")):
            layout = host.canvas.layout
            layout.width, layout.max_width, layout.height, layout.flex = "100%", width, "auto", "0 0 auto"
            host.canvas.add_class("nbv-pixelated")
        self._filters_caption, self._map_caption = w.HTML(), w.HTML()
        self._layer = w.Dropdown(
            options=list(watch._modules) or [""],
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
        self._layer.observe(self._layer_chosen, "value")
        self._channel.observe(self._channel_chosen, "value")
        pictures = w.HBox(
            [
                _column("First filters", self._filters_caption, self._filters.canvas),
                _column("Feature map", self._map_caption, self._map.canvas, self._layer, self._channel),
            ],
            layout=w.Layout(flex_flow="row wrap", grid_gap="8px 32px", width="100%"),
        )
        line = w.HBox(
            [self._status, self._button],
            layout=w.Layout(width="100%", align_items="center", flex_flow="row wrap", grid_gap="4px 16px"),
        )
        super().__init__([_Style(), line, self._wrong, plots, w.HTML(_legend(watch, self._shown, colours)), pictures])
        self.add_class("nbcnnviz")
        self.add_class("nbv-watch")
        receive_while_busy(self)
        self._draw_what_is_there()

    # What the watch tells.

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
        with watch._lock:
            watch._settle()
            history = watch._history
            steps, loss = history.column("step").copy(), history.column("loss").copy()
            rows = _some(len(steps), _POINTS)
            layers = history.by_layer(rows) if len(rows) else None
            filters, map_ = watch._filters, watch._map
        self._tell_status(watch, steps, loss)
        if layers is not None:
            self._draw_loss(steps, loss)
            at, shown = steps[rows], self._shown
            lost = layers["has_gradient"] & ~np.isfinite(layers["gradient_norm"])
            self._gradient.draw(at, layers["gradient_norm"][:, shown], at[lost.any(1)])
            self._ratio.draw(at, layers["update_ratio"][:, shown], at[lost.any(1)])
            self._dead.draw(at, layers["dead_share"][:, shown])
        self._say(*_complaints(watch, steps, loss, rows, layers))
        self._draw_filters(watch, filters)
        self._draw_map(watch, map_)

    def _tell_status(self, watch: Watch, steps: np.ndarray, loss: np.ndarray) -> None:
        told = [f"<b>{watch.steps:,}</b> step{'s' if watch.steps != 1 else ''}"]
        if watch.elapsed > 0 and watch.steps > 1:
            told.append(f"{_short(watch.steps / watch.elapsed)} a second")
        known = np.flatnonzero(~np.isnan(loss))
        if len(known):
            told.append(f"loss {_short(loss[known[-1]])}")
        rate = watch._history.column("learning_rate")[-1:]
        if np.isfinite(rate).any():
            told.append(f"learning rate {_short(rate[-1])}")
        if len(steps):
            told.append(f"watching takes {watch.cost:.1%}")
        if not watch.watching:
            told.append("stopped")
        elif not len(steps):
            told = ["Waiting for the first step of an optimiser"]
        _set(self._status, value="<span class='nbv-status'>" + " · ".join(told) + "</span>")
        label, icon = ("Stop watching", "stop") if watch.watching else ("Go on", "play")
        _set(self._button, description=label, icon=icon)

    def _draw_loss(self, steps: np.ndarray, loss: np.ndarray) -> None:
        del self._smoothed[max(len(loss) - 2, 0) :]  # the last may have been told since
        for value in loss[len(self._smoothed) :]:
            last = self._smoothed[-1] if self._smoothed else np.nan
            keep = 1 - 1 / min(len(self._smoothed) + 1, _SMOOTHED_OVER)
            self._smoothed.append(
                last if not np.isfinite(value) else value if np.isnan(last) else last * keep + value * (1 - keep)
            )
        rows = _some(len(steps), 2 * _POINTS)
        lost = np.isinf(loss) | (np.isnan(loss) & np.isfinite(loss).any())
        self._loss.draw(steps[rows], loss[rows, None], steps[lost], smooth=np.array(self._smoothed)[rows])

    def _draw_filters(self, watch: Watch, filters: tuple[int, np.ndarray] | None) -> None:
        if filters is None:
            if watch._first is None:
                _set(self._filters_caption, value=_hint("There is no convolution in this network."))
            return
        step, kernels = filters
        chosen = watch.channel if watch._modules.get(watch.layer) is watch._first else -1
        if self._filters_drawn != (step, chosen):
            self._filters_drawn = step, chosen
            _paint(self._filters, kernel_grid(kernels, chosen))
            shown = {1: "", 3: ""}.get(kernels.shape[1], f", each the mean over its {kernels.shape[1]} inputs")
            _set(self._filters_caption, value=_hint(f"{len(kernels)} kernels after step {step}{shown}"))

    def _draw_map(self, watch: Watch, found: tuple[int, np.ndarray] | None) -> None:
        self._follow(watch)
        if watch._trouble or found is None:
            wait = "It comes with the next record." if watch.watching else "None was recorded."
            _set(self._map_caption, value=_hint(watch._trouble or wait))
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
        _paint(self._map, _marked(coloured(values, scale), ~np.isfinite(maps[channel])))
        if not watch._trouble:
            lost = int((~np.isfinite(maps[channel])).sum())
            ends = f"{_short(scale.low)} to {_short(scale.high)}" + (f", {lost} NaN or infinite" if lost else "")
            _set(
                self._map_caption,
                value=_hint(f"In step {step}: {maps[channel].shape[0]} x {maps[channel].shape[1]}, {ends}"),
            )

    def _say(self, *complaints: str) -> None:
        _set(self._wrong, value="".join(f"<div class='nbv-error'>{html.escape(c)}</div>" for c in complaints))
        _set(self._wrong.layout, display=None if complaints else "none")

    # From the controls to the watch. Runs on whatever thread the message comes on.

    def _toggle(self) -> None:
        watch = self._watch()
        if watch is None:
            raise NbcnnvizError("This watch is gone: make another with nv.watch.")
        if watch.watching:
            watch.stop()
        else:
            watch.start()

    def _layer_chosen(self, change: t.Bunch) -> None:
        self._choose("layer", change.new)

    def _channel_chosen(self, change: t.Bunch) -> None:
        self._choose("channel", change.new)

    def _choose(self, name: str, value: Any) -> None:
        watch = self._watch()
        if watch is not None and not getattr(self._following, "here", False):
            self._attempt(lambda: setattr(watch, name, value))
            if self._thread is not None and self._thread.is_alive():
                self.tell()
            else:
                self._draw_what_is_there()

    def _follow(self, watch: Watch) -> None:
        """Let the controls show what is chosen, whoever chose it."""
        self._following.here = True
        try:
            _set(self._layer, value=watch.layer)
            most = max((watch.channels or 1) - 1, watch.channel)
            if self._channel.max != most:
                self._channel.max = most
            _set(self._channel, value=watch.channel, disabled=most == 0)
        finally:
            self._following.here = False

    def _attempt(self, act: Any) -> None:
        """Do what the reader asked for; what is wrong with it is shown, never raised."""
        try:
            act()
        except Exception as error:
            self._say(sentence(error))


class _Plot:
    """Curves over the steps: their colours by line, gaps where a number is not known, a mark where it is NaN or infinite."""

    def __init__(
        self, title: str, colours: list[str], *, log: bool = False, share: bool = False, reference: float | None = None
    ) -> None:
        self._log, self._share, self._reference = log, share, reference
        self._x, self._y = (
            bqplot.LinearScale(min=0, max=1),
            (bqplot.LogScale if log else bqplot.LinearScale)(min=0.1, max=1),
        )
        scales = {"x": self._x, "y": self._y}
        one = len(colours) == 1
        self._lines = bqplot.Lines(
            x=[0.0],
            y=[1.0],
            scales=scales,
            colors=colours,
            stroke_width=1.0 if one else 1.3,
            opacities=[0.45 if one else 0.9],
        )
        self._marks = bqplot.Scatter(x=[], y=[], scales=scales, colors=[_WRONG], marker="cross", default_size=36)
        self._smooth = self._line = None
        marks = [self._lines, self._marks]
        if one:
            self._smooth = bqplot.Lines(x=[0.0], y=[1.0], scales=scales, colors=colours, stroke_width=2.5)
            marks.insert(1, self._smooth)
        if reference is not None:
            self._line = bqplot.Lines(
                x=[0.0, 1.0], y=[1.0] * 2, scales=scales, colors=[_REFERENCE], stroke_width=1, line_style="dashed"
            )
            marks.insert(0, self._line)
        self._x_axis = bqplot.Axis(scale=self._x, num_ticks=5, grid_lines="none", tick_format="~s")
        tick_format = ".0e" if log else ".0%" if share else "~g"
        self._y_axis = bqplot.Axis(
            scale=self._y, orientation="vertical", num_ticks=5, grid_lines="solid", tick_format=tick_format
        )
        figure = bqplot.Figure(
            marks=marks,
            axes=[self._x_axis, self._y_axis],
            fig_margin={"top": 8, "bottom": 26, "left": 52, "right": 14},
            background_style={"fill": "transparent"},
            padding_x=0.0,
            padding_y=0.0,
            animation_duration=0,
        )
        figure.layout.width, figure.layout.height, figure.layout.min_width = "100%", "200px", "0"
        hint = " <span class='nbv-hint'>dashed: 1e-3</span>" if reference is not None else ""
        self.widget = w.VBox(
            [w.HTML(f"<b>{title}</b>{hint}"), figure], layout=w.Layout(min_width="0", overflow="hidden")
        )

    def draw(
        self, steps: np.ndarray, values: np.ndarray, lost: np.ndarray | None = None, smooth: np.ndarray | None = None
    ) -> None:
        """Show values (steps, lines), and marks at the steps where something was lost."""
        values = np.where(np.isfinite(values) & ((values > 0) | (not self._log)), values, np.nan)
        low, high = self._ends(values)
        last = float(max(steps[-1], 1))
        _set(self._x, max=last)
        with self._y.hold_sync():
            _set(self._y, min=low, max=high)
        _set(self._x_axis, tick_values=_ticks(0, last))
        _set(self._y_axis, tick_values=_decades(low, high) if self._log else _ticks(low, high))
        x = np.append(steps, [last, last])
        with self._lines.hold_sync():
            self._lines.x, self._lines.y = x, _closed(values.T, low)
        if smooth is not None and self._smooth is not None:
            with self._smooth.hold_sync():
                self._smooth.x, self._smooth.y = x, _closed(smooth[None], low)
        if self._line is not None:
            with self._line.hold_sync():
                self._line.x, self._line.y = np.array([0.0, last]), np.full(2, self._reference)
        if lost is not None and len(lost) + len(self._marks.x):
            with self._marks.hold_sync():
                self._marks.x, self._marks.y = lost.astype(float), np.full(len(lost), high)

    def _ends(self, values: np.ndarray) -> tuple[float, float]:
        if self._share:
            return 0.0, 1.0
        known = values[~np.isnan(values)]
        if self._reference is not None:
            known = np.append(known, self._reference)
        if not len(known):
            return (0.1, 1.0) if self._log else (0.0, 1.0)
        low, high = float(known.min()), float(known.max())
        if self._log:
            low, high = np.floor(np.log10(max(low, 1e-30))), np.ceil(np.log10(high))
            return 10.0**low, 10.0 ** (high if high > low else low + 1)
        room = 0.05 * (high - low) or 0.5 * abs(high) or 1.0
        return (0.0 if 0 <= low < 0.5 * high else low - room), high + room


def _closed(lines: np.ndarray, low: float) -> np.ndarray:
    """Lines with a point by itself at the end, which is not drawn: bqplot wants the last one to be a number."""
    end = np.full((len(lines), 2), low)
    end[:, 0] = np.nan
    return np.hstack([lines, end])


def _ticks(low: float, high: float) -> np.ndarray:
    """About five round numbers."""
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * 0.999)
    return np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step


def _decades(low: float, high: float) -> np.ndarray:
    powers = np.arange(round(np.log10(low)), round(np.log10(high)) + 1)
    return 10.0 ** powers[:: -(-len(powers) // 6)]


def kernel_grid(kernels: np.ndarray, chosen: int = -1) -> np.ndarray:
    """Kernels (n, channels, h, w) side by side, RGBA: of three channels in colour, grey where zero; else on a signed scale.

    One scale for all, up to the largest weight; ``chosen`` has a frame.
    """
    finite = np.isfinite(kernels).all(1)
    kernels = np.nan_to_num(kernels, posinf=0, neginf=0)
    flat = kernels if kernels.shape[1] == 3 else kernels.mean(1, keepdims=True)
    places = np.round(flat / (np.abs(flat).max() or 1) * 127.5 + 127.5).astype(np.uint8)
    pictures = places.transpose(0, 2, 3, 1) if flat.shape[1] == 3 else lookup_table(DIVERGING)[places[:, 0]]
    n, height, width = pictures.shape[:3]
    columns = int(np.ceil(np.sqrt(n * height / width)))
    lines = -(-n // columns)
    larger = max(1, round(_TILE / max(height, width)))
    down, right = height * larger + _GAP, width * larger + _GAP
    grid = np.zeros((lines * down + _GAP, columns * right + _GAP, 4), np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * down, i % columns * right
        if i == chosen:
            grid[top : top + down + _GAP, left : left + right + _GAP] = _CHOSEN
        tile = _marked(picture, ~finite[i]).repeat(larger, 0).repeat(larger, 1)
        grid[top + _GAP : top + down, left + _GAP : left + right] = tile
    return grid


def _marked(picture: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) as RGBA, with the places marked that are NaN or infinite."""
    whole = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    whole[lost] = _NOT_FINITE
    return whole


def _paint(host: CanvasHost, picture: np.ndarray) -> None:
    """Draw a picture pixel by pixel: its squares are made larger in the browser."""
    host.resize(picture.shape[1], picture.shape[0])
    host.draw(lambda canvas: canvas.put_image_data(picture, 0, 0))


def _complaints(
    watch: Watch, steps: np.ndarray, loss: np.ndarray, rows: np.ndarray, layers: dict[str, np.ndarray] | None
) -> list[str]:
    """What is wrong, a sentence each."""
    said = []
    if watch.error is not None:
        said.append(f"Watching stopped, the training went on. {sentence(watch.error)}")
    if layers is None:
        if not watch.watching and not watch.steps and watch.error is None:
            said.append("No step of an optimiser over this network's parameters was seen; without one, call w.step().")
        return said
    if len(steps) > 2 and np.isnan(loss).all():
        said.append("No loss was found: give it with w.loss(loss).")
    lost = np.isinf(loss) | (np.isnan(loss) & np.isfinite(loss).any())
    if lost.any():
        said.append(
            f"The loss is NaN or infinite in {lost.sum()} of {len(loss)} records, first in step {steps[lost][0]}."
        )
    broken = layers["has_gradient"] & ~np.isfinite(layers["gradient_norm"])
    if broken.any():
        first, names = steps[rows][broken.any(1)][0], [watch.layers[i] for i in np.flatnonzero(broken.any(0))]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        said.append(f"Gradients are NaN or infinite in {', '.join(names[:3])}{more}, first in step {first}.")
    if not layers["has_gradient"].any():
        said.append("No parameter has a gradient: is everything frozen, or cleared before the optimiser's step?")
    return said


def _some(count: int, most: int) -> np.ndarray:
    """Rows to be drawn, the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _by_depth(count: int) -> list[str]:
    """Colours from the first layer to the last, blue to orange, as bright as can be seen on white and on black."""
    hues = [(0.6 + 0.48 * i / max(count - 1, 1)) % 1 for i in range(count)]
    return ["#" + "".join(f"{round(255 * c):02x}" for c in colorsys.hls_to_rgb(h, 0.55, 0.65)) for h in hues]


def _legend(watch: Watch, shown: np.ndarray, colours: list[str]) -> str:
    """The layers and their colours; with what they are, where there is room."""
    keys = []
    for i, colour in zip(shown, colours, strict=True):
        name = watch.layers[i]
        module = watch._modules.get(name)
        kind = (
            f" <span class='nbv-hint'>{type(module).__name__}</span>" if module is not None and len(shown) <= 12 else ""
        )
        keys.append(f"<span class='nbv-key'><i style='background:{colour}'></i>{html.escape(name)}{kind}</span>")
    if len(shown) < len(watch.layers):
        keys.append(f"<span class='nbv-hint'>{len(shown)} of {len(watch.layers)} layers, evenly over the depth</span>")
    return f"<div class='nbv-keys'>{''.join(keys)}</div>"


def _column(title: str, *widgets: w.Widget) -> w.VBox:
    return w.VBox(
        [w.HTML(f"<b>{title}</b>"), *widgets], layout=w.Layout(flex="1 1 260px", min_width="0", max_width="480px")
    )


def _hint(text: str) -> str:
    return f"<span class='nbv-hint'>{html.escape(text)}</span>"


def _short(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}" if abs(number) < 1e6 else f"{number:.2e}"


def _set(widget: t.HasTraits, **traits: Any) -> None:
    """Set traits, with no message where nothing changes."""
    for name, value in traits.items():
        if not np.array_equal(getattr(widget, name), value):
            setattr(widget, name, value)


class _Style(anywidget.AnyWidget):
    """Brings the house's style into the page, and what only this panel needs."""

    _esm = "export default { render() {} }"
    _css = (
        (Path(__file__).parents[1] / "static" / "frame.css").read_text(encoding="utf-8")
        + """
.nbv-watch canvas.nbv-pixelated, .nbv-watch .nbv-pixelated canvas { image-rendering: pixelated; }
.nbv-watch .widget-html-content { line-height: 1.4; }
.nbv-watch .nbv-status { font-variant-numeric: tabular-nums; }
.nbv-watch .bqplot .axis .grid_lines line, .nbv-watch .bqplot .axis .tick line { stroke-opacity: 0.35; }
.nbv-watch .nbv-keys { display: flex; flex-wrap: wrap; gap: 0 12px; max-height: 88px; overflow-y: auto; }
.nbv-watch .nbv-key { display: inline-flex; align-items: center; gap: 5px; white-space: nowrap; }
.nbv-watch .nbv-key i { width: 14px; height: 3px; border-radius: 2px; }
.nbv-watch .nbv-error {
  padding: 6px 10px;
  border-left: 3px solid var(--jp-error-color1, #c62828);
  background: var(--jp-layout-color2, #f3f4f6);
}
"""
    )

    def __init__(self) -> None:
        super().__init__(layout=w.Layout(display="none"))
