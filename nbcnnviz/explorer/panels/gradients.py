"""The Gradients panel: how large everything is from the first layer to the last, how it is spread, and what is dead."""

from __future__ import annotations

import html
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Literal

import ipywidgets as w
import numpy as np
from PIL import Image

from nbcnnviz.core.errors import GradientError, MethodNotApplicableError, NbcnnvizError, StaleTraceError
from nbcnnviz.core.images import samples
from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import Target, in_python
from nbcnnviz.core.trace import EVERYTHING, Trace
from nbcnnviz.explorer.panels.asking import Quiet, resolved, same
from nbcnnviz.explorer.panels.charts import BLUE, GREEN, PURPLE, Chart, Plot, Ruler, drawn, labelled, short
from nbcnnviz.explorer.panels.panel import Panel, Request
from nbcnnviz.explorer.panels.saving import FORMATS, write
from nbcnnviz.inside.dead import DeadFilters
from nbcnnviz.inside.statistics import Depth, Histogram, depth, histograms
from nbcnnviz.session.tracing import weights_state

HEALTHY = 1e-3
"""A ratio of update to weight near which training is held to go well (Karpathy, CS231n)."""

Size = Literal["per value", "norm"]
_SIZES: tuple[Size, ...] = ("per value", "norm")
_SPREADS = {"activations": GREEN, "gradients": PURPLE, "weights": BLUE, "weight gradients": PURPLE}
_MOST_LISTED = 2000


@dataclass(frozen=True)
class Dead:
    """Which filters were zero at every place of every picture; ``layers``: how many are dead and how many there are."""

    pictures: int
    filters: Mapping[str, tuple[int, ...]]
    layers: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, eq=False)
class GradientsFrame:
    """What the panel shows.

    Attributes
    ----------
    network : Network
        Whose layers they are.
    depth : Depth
        The norms of every layer, with the learning rate asked for.
    target, words : Target, str
        Whose gradients they are, and what it is called.
    layer : str or None
        The layer selected; ``at``: its column in the charts, where it has one.
    histograms : dict[str, Histogram]
        Of that layer; see `nbcnnviz.inside.histograms`.
    size : str
        Norms ``"per value"``, over the root of the number of values, or as they are.
    log_counts : bool
        Whether histograms count on a logarithmic axis.
    dead : Dead
        The dead filters over the pictures seen so far.
    of_filter : bool or None
        Whether the gradient is the selected filter's; None if no filter is selected.
    step, steps : int
        How far the count over all samples is.
    """

    network: Network
    depth: Depth
    target: Target
    words: str
    layer: str | None
    at: int | None
    histograms: Mapping[str, Histogram]
    size: Size
    log_counts: bool
    dead: Dead
    of_filter: bool | None
    step: int = 1
    steps: int = 1


@dataclass(eq=False)
class _Known:
    """What need not be computed again for a trace and a target."""

    trace: Trace
    target: Target
    depth: Depth
    histograms: dict[str, Mapping[str, Histogram]]


class GradientsPanel(Panel):
    """Shows norms over depth, histograms and dead filters; a click on a column selects the layer.

    Attributes
    ----------
    result : GradientsFrame or None
        What is on screen.
    """

    name = "gradients"
    title = "Gradients"
    formats = FORMATS
    widget: w.VBox

    def __init__(self, *links: Any) -> None:
        super().__init__(*links)
        self.result: GradientsFrame | None = None
        self._known: _Known | None = None
        self._learning_rate = 1e-2
        self._size: Size = "per value"
        self._log_counts = True
        self._of_filter = False
        self._over_samples = False
        self._begun = False
        self._dead = DeadFilters()
        self._counted: tuple[Any, set[int]] | None = None  # of which network and weights, and which pictures
        self._quiet = Quiet()
        self._build()

    def _build(self) -> None:
        initial = {"description_width": "initial"}
        self._of = w.ToggleButtons(
            options=["class", "filter"],
            tooltips=["What raises the score of the class", "What raises the filter that is selected"],
            style=w.ToggleButtonsStyle(button_width="auto", description_width="initial"),
            layout=w.Layout(flex="0 0 auto", width="auto"),
        )
        self._norms = w.ToggleButtons(
            options=list(_SIZES),
            tooltips=[
                "Over the root of the number of values, the root mean square: layers of all sizes compare",
                "The L2 norm of all values together",
            ],
            style=w.ToggleButtonsStyle(button_width="auto", description_width="initial"),
            layout=w.Layout(flex="0 0 auto", width="auto"),
        )
        self._rate = w.FloatText(
            self._learning_rate,
            description="Learning rate",
            tooltip="Of the step of plain gradient descent whose size is compared with the weights",
            continuous_update=False,
            style=initial,
            layout=w.Layout(width="180px"),
        )
        self._counts = w.ToggleButtons(
            options=["log", "linear"],
            tooltips=["On a logarithmic axis", "On a linear axis"],
            style=w.ToggleButtonsStyle(button_width="auto", description_width="initial"),
            layout=w.Layout(flex="0 0 auto", width="auto"),
        )
        for control, set_ in (
            (self._of, lambda value: setattr(self, "_of_filter", value == "filter")),
            (self._norms, lambda value: setattr(self, "_size", value)),
            (self._rate, self._set_learning_rate),
            (self._counts, lambda value: setattr(self, "_log_counts", value == "log")),
        ):
            control.observe(self._setter(set_), "value")
        self._of_box = labelled("Gradient of the", self._of)
        self._counts_box = labelled("Counts", self._counts)
        self._about, self._says, self._points = w.HTML(), w.HTML(), w.HTML()
        self._depths = [Chart(112, choose=self._column_chosen, point=self._pointed) for _ in range(3)]
        self._spread = w.HTML()
        self._spreads = [Chart(140) for _ in _SPREADS]
        self._spread_box = w.GridBox(
            [],
            layout=w.Layout(
                grid_template_columns="repeat(auto-fit, minmax(min(100%, 300px), 1fr))",
                grid_gap="6px 24px",
                min_width="0",
                width="100%",
            ),
        )
        self._dead_says = w.HTML()
        self._all_samples = w.Button(
            description="Count over all samples",
            tooltip="Run every sample picture through the network, and see which filters stay dead",
            layout=w.Layout(width="auto"),
        )
        self._all_samples.on_click(lambda _: self._count_samples())
        self._dead_layers = w.Select(
            rows=7,
            tooltip="Layers with dead filters: choose one to select it",
            layout=w.Layout(width="auto", min_width="0"),
        )
        self._dead_filters = w.Select(
            rows=7,
            tooltip="Dead filters of the layer: choose one to select it",
            layout=w.Layout(width="auto", min_width="0"),
        )
        self._dead_layers.observe(self._dead_layer_chosen, "value")
        self._dead_filters.observe(self._dead_filter_chosen, "value")
        self._lists = w.HBox(
            [
                _titled("Layers with dead filters", self._dead_layers, "2 1 260px"),
                _titled("Its dead filters", self._dead_filters, "1 1 140px"),
            ],
            layout=w.Layout(flex_flow="row wrap", grid_gap="6px 24px"),
        )
        wrap = w.Layout(flex_flow="row wrap", grid_gap="4px 20px", align_items="center")
        self.widget = w.VBox(
            [
                w.HBox([self._of_box, labelled("Norms", self._norms), self._rate], layout=wrap),
                self._about,
                *(chart.widget for chart in self._depths),
                self._says,
                self._points,
                w.HBox([self._spread, self._counts_box], layout=wrap),
                self._spread_box,
                w.HBox([self._dead_says, self._all_samples], layout=wrap),
                self._lists,
            ],
            layout=w.Layout(min_width="0", grid_gap="6px", padding="8px 2px"),
        )

    # What the reader does.

    def _setter(self, set_: Any) -> Any:
        def changed(change: Any) -> None:
            if not self._quiet:
                self.attempt(lambda: set_(change.new))
                self.ask()

        return changed

    def _set_learning_rate(self, rate: float) -> None:
        if not (np.isfinite(rate) and rate > 0):
            with self._quiet:
                self._rate.value = self._learning_rate
            raise MethodNotApplicableError(f"A learning rate is a number above zero, such as 0.01, not {rate:g}.")
        self._learning_rate = float(rate)

    def _column_chosen(self, column: int) -> None:
        frame = self.result
        if frame is not None and column < len(frame.depth.layers):
            self._go_to(frame.depth.layers[column])

    def _go_to(self, layer: str, filter_: int | None = None) -> None:
        def go() -> None:
            self.selection.layer = layer
            if filter_ is not None:
                self.selection.filter = filter_

        self.attempt(go)

    def _pointed(self, column: int) -> None:
        frame = self.result
        if frame is not None and column < len(frame.depth.layers):
            self._points.value = _line("Pointed at", described(frame, column), "nbv-hint")

    def _count_samples(self) -> None:
        self._over_samples = True
        self.ask()

    def _dead_layer_chosen(self, change: Any) -> None:
        if not self._quiet and change.new is not None:
            self._go_to(change.new)

    def _dead_filter_chosen(self, change: Any) -> None:
        frame = self.result
        if not self._quiet and change.new is not None and frame is not None and frame.layer is not None:
            self._go_to(frame.layer, change.new)

    # From the selection to frames.

    def answer(self, request: Request, trace: Trace) -> Generator[GradientsFrame, None, None]:
        """The norms, one backward pass for all; the histograms of the layer; and the dead filters, over samples if asked."""
        self._begun = True
        self._count(trace)
        of_filter = None if request.filter is None else self._of_filter
        target = resolved(request.target if of_filter else request.class_, trace)
        known = self._learn(trace, target, request.layer)
        frame = GradientsFrame(
            request.network,
            _at_rate(known.depth, self._learning_rate),
            target,
            target.describe(trace.network),
            request.layer,
            _column(known.depth, trace, request.layer),
            known.histograms.get(request.layer or "", {}),
            self._size,
            self._log_counts,
            self._counted_so_far(),
            of_filter,
        )
        del known
        over_samples, self._over_samples = self._over_samples, False
        yield frame
        names = samples() if over_samples else ()
        for step, name in enumerate(names, 1):
            self._count(request.network.trace(name))
            yield replace(frame, dead=self._counted_so_far(), step=step, steps=len(names))

    def _learn(self, trace: Trace, target: Target, layer: str | None) -> _Known:
        """What there is to know of a trace and a target, and of a layer; by one backward pass, if any."""
        known = self._known
        if known is None or known.trace is not trace or not same(known.target, target):
            self._known = known = None
            gradients = trace.gradient(target, EVERYTHING)
            known = _Known(trace, target, depth(trace, target, gradients=gradients), {})
            if layer is not None:
                known.histograms[layer] = histograms(trace, layer, target, gradients=gradients)
            self._known = known
        elif layer is not None and layer not in known.histograms:
            try:
                known.histograms[layer] = histograms(trace, layer, target)
            except StaleTraceError:
                raise
            except GradientError:  # the target does not depend on the layer
                known.histograms[layer] = histograms(trace, layer, target, gradients={})
        return known

    # Which filters are dead, over every picture that the explorer has shown since the panel was turned up.

    def show_trace(self, trace: Trace) -> None:
        """Count the dead filters of one more picture."""
        if self._begun:  # until then it may be the notebook's own thread that tells
            self._count(trace)

    def _count(self, trace: Trace) -> None:
        state = trace.network, weights_state(trace.network)
        if self._counted is None or self._counted[0] != state:
            self._dead, self._counted = DeadFilters(), (state, set())
        pictures = self._counted[1]
        key = hash(trace.input.detach().float().cpu().numpy().tobytes())
        if key not in pictures:
            self._dead.add(trace)
            pictures.add(key)

    def _counted_so_far(self) -> Dead:
        filters, sizes = self._dead.filters, self._dead.counts
        return Dead(self._dead.pictures, filters, sizes)

    def forget(self) -> None:
        """Let the trace go; the count of dead filters goes on."""
        self._known = self.result = None

    def close(self) -> None:
        """Put back what is not shown, that it is closed with the rest."""
        self._spread_box.children = [chart.widget for chart in self._spreads]

    # From a frame to the screen.

    def show(self, frame: GradientsFrame) -> None:
        """Draw the charts, of which those that are the same already are left alone."""
        last, self.result = self.result, frame
        with self._quiet:
            if not _same_drawing(last, frame):
                self._draw(frame)
            self._list_dead(frame)

    def _draw(self, frame: GradientsFrame) -> None:
        self._of_box.layout.display = "none" if frame.of_filter is None else None
        self._of.value = "filter" if frame.of_filter else "class"
        self._about.value = _about(frame)
        for chart, plot in zip(self._depths, depth_plots(frame), strict=True):
            chart.show(plot)
        chosen = "The layer selected has no column." if frame.at is None else described(frame, frame.at)
        self._says.value = _line("Selected", chosen)
        plots = spread_plots(frame)
        charts = self._spreads[: len(plots)]
        shown = tuple(chart.widget for chart in charts)
        if self._spread_box.children != shown:
            self._spread_box.children = shown
        for chart, plot in zip(charts, plots, strict=True):
            chart.show(plot)
        layer = "" if frame.layer is None else html.escape(frame.layer)
        self._spread.value = f"<b>How the values of {layer} are spread</b>" if plots else ""
        self._counts_box.layout.display = None if plots else "none"

    def _list_dead(self, frame: GradientsFrame) -> None:
        dead = frame.dead
        self._dead_says.value = (
            f"<div style='line-height: 1.45'><b>Dead filters</b> {html.escape(_dead_said(frame))}</div>"
        )
        self._all_samples.layout.display = None if dead.layers else "none"
        listed = {layer: filters for layer, filters in dead.filters.items() if filters}
        self._lists.layout.display = None if listed else "none"
        options = [(f"{layer}: {len(found):,} of {dead.layers[layer][1]:,}", layer) for layer, found in listed.items()]
        filters = listed.get(frame.layer or "", ())[:_MOST_LISTED]
        chosen = self.selection.filter
        _offer(self._dead_layers, options, frame.layer if frame.layer in listed else None)
        _offer(self._dead_filters, [(f"filter {i}", i) for i in filters], chosen if chosen in filters else None)

    # As a file, as code.

    def preview(self) -> Image.Image | None:
        """The charts."""
        return None if self.result is None else picture(self.result)

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write the charts, or their numbers (``.npz``)."""
        frame = self.result
        if frame is None:
            raise NbcnnvizError("There are no gradients to save yet: wait for the explorer, with ex.wait().")
        write(path, picture(frame), numbers(frame), _said(frame), code)

    def code(self, image: str) -> list[str]:
        """The calls of `nbcnnviz.inside` that make the numbers again."""
        frame = self.result
        lines = ["from nbcnnviz.inside import DeadFilters, depth, histograms", f"trace = net.trace({image})"]
        if frame is None:
            return lines
        more, target = in_python(frame.target)
        lines += [*more, f"norms = depth(trace, {target}, learning_rate={frame.depth.learning_rate!r})"]
        if "gradients" in frame.histograms:
            lines.append(f"spread = histograms(trace, {frame.layer!r}, {target})")
        elif frame.histograms:
            lines.append(f"spread = histograms(trace, {frame.layer!r}, gradients={{}})  # there are none")
        return [*lines, "dead = DeadFilters()", "dead.add(trace)  # and the other pictures' traces"]


def _same_drawing(one: GradientsFrame | None, other: GradientsFrame) -> bool:
    """Whether two frames differ in the dead filters alone."""
    return one is not None and all(
        getattr(one, name) is getattr(other, name) or getattr(one, name) == getattr(other, name)
        for name in ("depth", "words", "layer", "at", "histograms", "size", "log_counts", "of_filter")
    )


def _at_rate(found: Depth, rate: float) -> Depth:
    """The norms with the ratio for another learning rate, which it is proportional to."""
    if rate == found.learning_rate:
        return found
    return replace(found, ratio=found.ratio * (rate / found.learning_rate), learning_rate=rate)


def _column(found: Depth, trace: Trace, layer: str | None) -> int | None:
    """The place of a layer in the charts; of a container, that of the layer within it whose output it returns."""
    if layer is None:
        return None
    if layer in found.layers:
        return found.layers.index(layer)
    output = trace[layer]
    return next((i for i, name in enumerate(found.layers) if trace[name] is output), None)


# What is in the charts.


def depth_plots(frame: GradientsFrame) -> list[Plot]:
    """Gradients, activations, and the ratio of update to weight; a column a layer."""
    found = frame.depth
    root = np.sqrt(found.sizes) if frame.size == "per value" else np.ones(len(found.sizes))
    what = "root mean square" if frame.size == "per value" else "L2 norm"
    gradient, activation = found.gradient / root, found.activation / root
    hints = [described(frame, column) for column in range(len(found.layers))]
    broken = [*zip(*(_broken(frame, layer) for layer in found.layers), strict=True)] or [(), (), ()]
    last = len(found.layers) - 1
    ticks = {float(i): str(i + 1) for i in sorted({round(last * k / 8) for k in range(9)})} if last >= 0 else {}
    plots = [
        (f"Gradient of {frame.words} at each layer's output, {what}", gradient, PURPLE, None),
        (f"Activation, {what}", activation, GREEN, None),
        (f"Update / weight at learning rate {found.learning_rate:g}; dashed: 0.001", found.ratio, BLUE, HEALTHY),
    ]
    return [
        Plot(
            title,
            values,
            Ruler.decades(values if reference is None else np.append(values, [reference / 3, reference * 3])),
            bars=False,
            colour=colour,
            ticks=ticks,
            broken=np.array(marks, bool) | np.isinf(values),
            reference=reference,
            chosen=frame.at,
            hints=hints,
        )
        for (title, values, colour, reference), marks in zip(plots, broken, strict=True)
    ]


def _broken(frame: GradientsFrame, layer: str) -> tuple[bool, bool, bool]:
    """Whether a layer's gradient, activation and ratio have NaN or infinite values in them."""
    bad, known = frame.depth.not_finite, frame.network.layers.get(layer)
    names = [] if known is None else [n for p in known.parameters for n in (p, f"gradient of {p}")]
    return f"gradient of {layer}" in bad, layer in bad, any(name in bad for name in names)


def spread_plots(frame: GradientsFrame) -> list[Plot]:
    """A histogram of each kind of value that the layer has."""
    plots = []
    for what, found in frame.histograms.items():
        counts = found.counts.astype(np.float64)
        counts[counts == 0] = np.nan  # no bar, and no mark either
        plots.append(
            Plot(
                _spread_said(what, found),
                counts,
                Ruler.decades(counts, low=0.5) if frame.log_counts else Ruler.even(counts),
                colour=_SPREADS[what],
                ticks=_edges(found),
                hints=[
                    f"{short(low)} to {short(high)}: {count:,}"
                    for low, high, count in zip(found.edges, found.edges[1:], found.counts.tolist(), strict=False)
                ],
            )
        )
    return plots


def _edges(found: Histogram) -> dict[float, str]:
    """The ends, and zero or the middle, written where they are."""
    low, high, bins = float(found.edges[0]), float(found.edges[-1]), len(found.counts)
    middle = 0.0 if low < 0 < high else (low + high) / 2
    share = (middle - low) / (high - low)
    ticks = {-0.5: short(low), bins - 0.5: short(high)}
    if 0.2 < share < 0.8:
        ticks[round(share * bins - 0.5, 3)] = short(middle)
    return ticks


def _spread_said(what: str, found: Histogram) -> str:
    amiss = [f"{count:,} {name}" for count, name in ((found.nan, "NaN"), (found.infinite, "infinite")) if count]
    shown = found.counts[found.counts > 0]
    same_ = ", all the same" if len(shown) == 1 and float(found.edges[-1] - found.edges[0]) == 1.0 else ""
    return f"{what.capitalize()}: {found.total:,} values{same_}{', of which ' if amiss else ''}{' and '.join(amiss)}"


# Words.


def described(frame: GradientsFrame, column: int) -> str:
    """A layer and its numbers."""
    found, layer = frame.depth, frame.depth.layers[column]
    known = frame.network.layers.get(layer)
    root = float(np.sqrt(found.sizes[column])) if frame.size == "per value" else 1.0
    told = [f"activation {short(found.activation[column] / root)}"]
    gradient, ratio = found.gradient[column], found.ratio[column]
    bad_gradient, bad_activation, bad_weight = _broken(frame, layer)
    if not np.isnan(gradient) or bad_gradient:
        told.append(f"gradient {short(gradient / root)}")
    else:
        told.append("no gradient")
    if not np.isnan(ratio) or bad_weight:
        told.append(f"update / weight {short(ratio)}")
    if bad_gradient or bad_activation or bad_weight:
        told.append("has NaN or infinite values")
    kind = "" if known is None else f" ({known.kind})"
    return f"{column + 1} of {len(found.layers)}, {layer}{kind}: {', '.join(told)}"


def _about(frame: GradientsFrame) -> str:
    lines = [
        f"Every layer in the order of the forward pass, for the gradient of {frame.words}. Click a column to select it."
    ]
    found = frame.depth
    known = found.gradient[~np.isnan(found.gradient)]
    if not len(known):
        lines.append("The target depends on no layer.")
    elif not known.any():
        lines.append("The gradient is zero at every layer.")
    if any(bool(plot.at_zero.any()) for plot in depth_plots(frame)):
        lines.append("A ring at the bottom: exactly zero, which has no place on a logarithmic axis.")
    if found.not_finite:
        worst = list(found.not_finite.items())
        named = ", ".join(f"{count:,} in {name}" for name, count in worst[:3])
        more = f", and in {len(worst) - 3} more" if len(worst) > 3 else ""
        lines.append(f"NaN or infinite, a red cross: {named}{more}.")
    told = "".join(f"<div>{html.escape(line)}</div>" for line in lines)
    return f"<div class='nbv-hint' style='line-height: 1.45'>{told}</div>"


def _dead_said(frame: GradientsFrame) -> str:
    dead = frame.dead
    if not dead.layers:
        return (
            f"No layer of {frame.network.name} ends in a rectifier that cuts at zero (ReLU, ReLU6, clamp): SiLU, GELU and "
            "their like are hardly ever exactly zero, so that no filter is dead."
        )
    count, of = (sum(numbers[i] for numbers in dead.layers.values()) for i in range(2))
    over = "the one picture" if dead.pictures == 1 else f"all {dead.pictures} pictures"
    if not count:
        return f"None: each of {of:,} filters is above zero somewhere in {over} seen here."
    share = f"{count:,} of {of:,} filters are zero at every place of {over} seen here."
    return share + (" More pictures may wake them." if dead.pictures < len(samples()) else "")


def _line(what: str, said: str, style: str = "") -> str:
    return f"<div class='{style}' style='line-height: 1.45'><b>{what}:</b> {html.escape(said)}</div>"


def _said(frame: GradientsFrame) -> str:
    layer = "" if frame.layer is None else f"; histograms of {frame.layer}"
    return f"Gradient of {frame.words} through {frame.network.name}{layer}"


# Files.


def picture(frame: GradientsFrame) -> Image.Image:
    """The charts, as they are on screen."""
    sheets = [drawn(depth_plots(frame), width=960, height=130)]
    if frame.histograms:
        sheets.append(drawn(spread_plots(frame), columns=2, width=960, height=150))
    sheet = Image.new("RGB", (sheets[0].width, sum(part.height for part in sheets)), "white")
    top = 0
    for part in sheets:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def numbers(frame: GradientsFrame) -> dict[str, np.ndarray]:
    """All that the charts are made of, by name."""
    found = frame.depth
    arrays: dict[str, np.ndarray] = {
        "layers": np.array(found.layers, dtype=str),
        "activation": found.activation,
        "gradient": found.gradient,
        "sizes": found.sizes,
        "weight": found.weight,
        "weight_gradient": found.weight_gradient,
        "ratio": found.ratio,
        "learning_rate": np.array(found.learning_rate),
    }
    for what, spread in frame.histograms.items():
        name = what.replace(" ", "_")
        arrays |= {f"{name}_counts": spread.counts, f"{name}_edges": spread.edges}
    listed = [(layer, i) for layer, filters in frame.dead.filters.items() for i in filters]
    arrays["dead_layers"] = np.array([layer for layer, _ in listed], dtype=str)
    arrays["dead_filters"] = np.array([i for _, i in listed], dtype=np.int64)
    arrays["dead_pictures"] = np.array(frame.dead.pictures)
    return arrays


# Widgets.


def _titled(title: str, list_: w.Select, flex: str) -> w.VBox:
    heading = w.HTML(f"<span class='nbv-hint'>{title}</span>")
    return w.VBox([heading, list_], layout=w.Layout(flex=flex, min_width="0"))


def _offer(list_: w.Select, options: Sequence[tuple[str, Any]], value: Any) -> None:
    if tuple(options) != tuple(list_.options):
        list_.options = options
    if list_.value != value:
        list_.value = value
