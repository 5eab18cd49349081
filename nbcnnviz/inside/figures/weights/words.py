"""What the Weights panel says."""

from __future__ import annotations

import html

from torch import Tensor

from nbcnnviz.inside.figures.weights.frame import WeightsFrame, matrix_strides, symmetric
from nbcnnviz.inside.kernels import Weights
from nbcnnviz.render.plots import short


def about(frame: WeightsFrame) -> str:
    """What the layer is, what stands beside the weights, and what is amiss with them."""
    remarks = [_layout_said(frame)]
    if frame.without:
        remarks.append(f"No gradient is shown. {frame.without}")
        if frame.by == "gradient":
            remarks.append("Sorted by norm instead.")
    else:
        slopes = [slope for slope in (frame.weights.gradient, frame.weights.shift_gradient) if slope is not None]
        zero = not any(bool(slope.any()) for slope in slopes)
        effect = "it is zero everywhere" if zero else "a step in its direction raises it"
        remarks.append(f"Beside the weights is the gradient of {frame.words}: {effect}.")
    remarks += [_amiss(frame.broken, "weights"), _amiss(frame.broken_gradient, "values of the gradient")]
    told = "".join(f"<div>{html.escape(remark)}</div>" for remark in remarks if remark)
    kind = html.escape(_shape_said(frame))
    return (
        f"<div style='line-height: 1.45'><b>{html.escape(frame.layer)}</b> <span class='nbv-hint'>{kind}</span>"
        f"<div class='nbv-hint'>{told}</div></div>"
    )


def _layout_said(frame: WeightsFrame) -> str:
    found = frame.weights
    if found.kind == "matrix":
        below, beside = matrix_strides(found)
        reduced = f"; each square is the strongest of {below} x {beside}" if max(below, beside) > 1 else ""
        return f"Click a bar to select a filter{reduced}."
    if found.kind == "scales":
        return "Click a bar to select a filter."
    if found.kind == "kernels" and found.values.shape[1] > 1:
        return "Each tile has the kernels of all inputs side by side; click one to select the filter."
    if found.kind == "rgb":
        ends = [
            f"±{short(symmetric(v[frame.filters.to(v.device)]).high)}"
            for v in (found.values, found.gradient)
            if v is not None
        ]
        return f"In colour: grey is zero, full colour {' and '.join(ends)}. Click a tile to select the filter."
    return "Click a tile to select the filter."


def _shape_said(frame: WeightsFrame) -> str:
    found = frame.weights
    layer = frame.network.layers.get(frame.layer)
    kind = f"{layer.kind}: " if layer is not None else ""
    count, shape = len(found), found.values.shape
    if found.kind == "scales":
        return f"{kind}{count:,} {'scales and shifts' if found.shifts is not None else 'scales'}, one a channel"
    if found.kind == "matrix":
        return f"{kind}{count:,} filters of {shape[1]:,} inputs"
    assert found.inputs is not None
    reached = int(found.inputs.max()) + 1
    own = f", in groups: each sees {shape[1]:,} of {reached:,} inputs" if reached > shape[1] else ""
    return f"{kind}{count:,} filters of {' x '.join(map(str, shape[1:]))}{own}"


def _amiss(broken: Tensor | None, what: str) -> str:
    count = 0 if broken is None else int(broken.sum())
    if broken is None or not count:
        return ""
    return f"{count:,} {what} are NaN or infinite, in {int((broken > 0).sum()):,} of {len(broken):,} filters."


def close_up(frame: WeightsFrame) -> str:
    """The filter looked at closely."""
    found, i = frame.weights, frame.filter
    slope = "" if found.gradient_norms is None else f", of its gradient {short(float(found.gradient_norms[i]))}"
    said = f"norm {short(float(found.norms[i]))}{slope}"
    return f"<b>{html.escape(called(found, i))}</b> <span class='nbv-hint'>{said}</span>"


def called(found: Weights, filter_: int) -> str:
    """A filter's name, with its index where that is another."""
    name = found.filters[filter_]
    return f"filter {filter_}" if name == str(filter_) else f"{name} ({filter_})"


def rise(frame: WeightsFrame) -> str:
    """What the gradient is of, short enough for a heading."""
    words = frame.words if len(frame.words) <= 30 else f"{frame.words[:29]}…"
    return f"Gradient of {words}"


def summary(frame: WeightsFrame) -> str:
    """The caption of what is saved."""
    beside = "" if frame.without else f", and the gradient of {frame.words}"
    return f"Weights of {frame.layer} of {frame.network.name}{beside}"
