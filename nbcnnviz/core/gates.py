"""Whether an elementwise function is a rectifier, told by what went in, what came out, and the slope.

A rectifier is a number times a gate that opens as the number rises through zero: ``f(x) = x t(x)``, with ``t`` near 0
below and near 1 above. That holds for ReLU, leaky and parametric ones, ELU, SiLU, GELU, Mish and Hardswish. Softplus is one
whose slope is the gate.
"""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

_SAMPLES = 20_000
_FEWEST = 4  # numbers on either side of zero, for a verdict
_GROUPS = 8  # channels looked at, where a parameter makes each its own function


class Kind(Enum):
    """What a function is, as far as its numbers tell."""

    RECTIFIER = "a rectifier"
    OTHER = "another function of one number"
    LINEAR = "a multiple"
    NONE = "no function of one number"
    UNSETTLED = "the numbers do not tell"


def kind_of(x: Tensor, y: Tensor, slope: Tensor, axes: tuple[int, ...] = ()) -> Kind:
    """What kind of function takes ``x`` to ``y``, all of one shape, with the derivative ``slope``.

    Along ``axes``, each place may have a function of its own.
    """
    precision = torch.finfo(y.dtype).eps
    columns = torch.Size(x.shape[a] for a in axes).numel()
    xs, ys, slopes = (_sampled(t.movedim(axes, tuple(range(len(axes)))).reshape(columns, -1)) for t in (x, y, slope))
    chosen = range(columns)[:: max(1, columns // _GROUPS)]
    kinds = {_kind_of(xs[i], ys[i], slopes[i], precision) for i in chosen}
    for verdict in (Kind.NONE, Kind.OTHER, Kind.RECTIFIER, Kind.UNSETTLED):
        if verdict in kinds:
            return verdict
    return Kind.LINEAR


def _sampled(values: Tensor) -> Tensor:
    """At most some of the numbers along the last axis, spread over it, in double precision."""
    step = max(1, values.shape[-1] // _SAMPLES)
    return values.detach()[..., ::step].double().cpu()


def opening(x: Tensor, slope: Tensor) -> float:
    """How far a rectifier's gate opens, by its slope on either side of zero: 1 for ReLU, SiLU and GELU."""
    x, slope = _sampled(x.flatten()), _sampled(slope.flatten())
    sides = [slope[side][x[side].abs().argsort()[:_FEWEST]].mean() for side in (x < 0, x > 0) if bool(side.any())]
    return max(float(sum(sides)), 1e-6)


def _kind_of(x: Tensor, y: Tensor, slope: Tensor, precision: float) -> Kind:
    x, order = x.sort()
    y, slope = y[order], slope[order]
    if not bool(torch.stack([x, y, slope]).isfinite().all()):
        return Kind.NONE
    reach = float(x.abs().quantile(0.9)) if len(x) else 0.0
    below, above = x < -1e-3 * reach, x > 1e-3 * reach
    if _jumps(x, y, slope, precision):
        return Kind.NONE
    if min(int(below.sum()), int(above.sum())) < _FEWEST:
        return Kind.UNSETTLED
    nearest = int(x.abs().argmin())
    at_zero = abs(float(y[nearest] - slope[nearest] * x[nearest]))
    if at_zero > 0.01 * float(y.abs().max()):
        return Kind.RECTIFIER if _slope_is_a_gate(x, slope) else Kind.OTHER
    gate = y / torch.where(x == 0, 1, x)
    return _kind_of_gate(x, gate, below, above, reach, precision)


def _jumps(x: Tensor, y: Tensor, slope: Tensor, precision: float) -> bool:
    """Whether numbers next to each other are taken further apart than the slope allows, so that something else decides."""
    rise, run = y.diff().abs(), x.diff()
    allowed = 1.1 * float(slope.abs().max()) * run + 64 * precision * float(y.abs().max())
    return bool((rise > allowed).any())


def _kind_of_gate(x: Tensor, gate: Tensor, below: Tensor, above: Tensor, reach: float, precision: float) -> Kind:
    low, high = gate[below], gate[above]
    open_ = float(high.median())
    slack = 16 * precision * abs(open_)  # of a gate at numbers near zero, the change is as small as they are
    near = 0.2 * reach
    shut, opened = gate[below & (x > -near)], gate[above & (x < near)]
    if min(len(shut), len(opened)) < 2:
        shut, opened = low[-_FEWEST:], high[:_FEWEST]
    rises_at_zero = float(opened.mean() - shut.mean()) > slack
    if float(gate[below | above].max() - gate[below | above].min()) <= slack:
        return Kind.LINEAR
    half_way = high[: len(high) // 2 + 1]
    opens = open_ > 0 and float(low.max()) <= float(half_way.min()) + slack and float(low.median()) >= -0.3 * open_
    # At most as open above as a gate is that has opened half at zero.
    bounded = float(high.max()) <= 2.5 * max(float(opened.max()), 0.0)
    return Kind.RECTIFIER if opens and rises_at_zero and bounded else Kind.OTHER


def _slope_is_a_gate(x: Tensor, slope: Tensor) -> bool:
    """Whether the slope rises from 0 to a value at which it stays, as softplus's does."""
    top = float(slope.max())
    late = slope[x >= 0.75 * x[-1]]
    rises = bool((slope.diff() >= -1e-3 * top).all())
    return top > 0 and rises and float(slope[0]) <= 0.1 * top and float(late.min()) >= 0.8 * top
