"""What made a unit fire: its activation carried back down to the picture.

Zeiler & Fergus 2014, section 2.1: of the chosen filter's map only the strongest activation is kept; its value, not 1, goes
down through the transposed filters, the unpooling switches and the rectifiers. See `nbcnnviz.core.rules` for what the
rectifiers do. Batch-norm, padding and average pooling pass on their true Jacobian, and biases play no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from nbcnnviz.core.grids import Layout
from nbcnnviz.core.rules import Rule
from nbcnnviz.core.targets import channel_of
from nbcnnviz.core.trace import Trace
from nbcnnviz.inside.axes import shape_of
from nbcnnviz.inside.features import Place, filters_first, strongest
from nbcnnviz.inside.footprint import in_order
from nbcnnviz.inside.receptive import Box, fields_at, receptive_field


@dataclass(frozen=True, eq=False)
class Switches:
    """The switches of one max-pool that a projection went through: where each maximum came from.

    Only those that passed something on are here, the strongest first; all lie within the unit's receptive field.

    Attributes
    ----------
    layer : str or None
        The name of the pool, None if it is no module.
    size : tuple[int, int]
        Height and width of the maps that it pools.
    channels, rows, columns : Tensor
        (K,) int64: the place of each maximum in those maps.
    strengths : Tensor
        (K,) what went through each, signed: rectifiers below have not seen it yet.
    pixels : Tensor
        (K, 2) the row and column of the input at the middle of what the place sees, float32, within the picture.
    """

    layer: str | None
    size: tuple[int, int]
    channels: Tensor
    rows: Tensor
    columns: Tensor
    strengths: Tensor
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Projection:
    """One unit's activation, carried down to the input.

    Attributes
    ----------
    values : Tensor
        (C, H, W), signed, in the input's channels and size. All zero if the unit did not fire.
    layer, channel, picture
        Whose filter, and which picture of the batch.
    unit : Place
        The unit's row and column in the layer's maps and its activation: the value that was sent down.
    box : Box
        The unit's receptive field on the input; outside it the values are zero.
    rule : str
        What the rectifiers did.
    rectifiers : int
        How many of them were met. None lie below the first convolution, whose projection is its kernel.
    switches : tuple[Switches, ...]
        Of every max-pool on the path, the nearest to the input first.
    """

    values: Tensor
    layer: str
    channel: int
    picture: int
    unit: Place
    box: Box
    rule: Rule
    rectifiers: int
    switches: tuple[Switches, ...]


def project(
    trace: Trace,
    layer: str,
    channel: int,
    *,
    picture: int = 0,
    place: tuple[int, int] | None = None,
    rule: Rule = "deconvnet",
) -> Projection:
    """Carry a filter's strongest activation for one picture down to the input.

    Parameters
    ----------
    trace, layer, channel, picture
        Of which forward pass, layer, filter and picture of the batch.
    place
        Row and column of another unit of the filter; default: its strongest.
    rule
        ``"deconvnet"`` as in the paper, or ``"guided"`` or ``"gradient"``.

    Raises
    ------
    UnknownLayerError, FilterRangeError, UnknownOptionError
        If there is no such layer, filter, unit, picture or rule.
    MethodNotApplicableError
        If the layer returns neither maps nor a vector.
    GradientError
        If the layer does not depend on the input.
    """
    maps = filters_first(trace, layer, trace[layer].detach(), picture)
    best = strongest(trace, layer, channel, picture)
    row, column = (best.row, best.column) if place is None else place
    box = receptive_field(trace, layer, row, column)
    row, column = row % maps.shape[1], column % maps.shape[2]

    def seeded(trace: Trace) -> Tensor:
        values = channel_of(trace, layer, channel)[picture]
        value = values[row, column] if values.ndim else values
        return value * value.detach()

    edge = trace._activation(layer).edge
    assert edge is not None  # it has a receptive field, so the input is within reach
    pools = [node for node in in_order(edge.node) if _is_max_pool(node)][::-1]
    sources = [trace.input, *(GradientEdge(pool, 0) for pool in pools)]
    (values, *arrived), rectifiers = trace.backward(seeded, sources, rule)
    assert values is not None
    return Projection(
        values[picture],
        layer,
        channel,
        picture,
        Place(row, column, float(maps[channel, row, column])),
        box,
        rule,
        rectifiers,
        tuple(
            _switches(trace, pool, gradient[picture], picture)
            for pool, gradient in zip(pools, arrived, strict=True)
            if gradient is not None and gradient.ndim == 4
        ),
    )


def _is_max_pool(node: Node) -> bool:
    return node.name().rstrip("0123456789") in ("MaxPool2DWithIndicesBackward", "AdaptiveMaxPool2DBackward")


def _switches(trace: Trace, pool: Any, arrived: Tensor, picture: int) -> Switches:
    """The switches of a pool, where ``arrived`` (C, h, w) is the gradient at its output for the picture."""
    below, number = pool.next_functions[0]
    shape = shape_of((below, number))
    height, width = shape[2:]
    channels, *out = arrived.nonzero(as_tuple=True)
    strengths = arrived[channels, *out]
    order = strengths.abs().argsort(descending=True, stable=True)
    channels, strengths = channels[order], strengths[order]
    flat = pool._saved_result1[picture][channels, *(place[order] for place in out)]
    rows, columns = flat // width, flat % width
    fields = fields_at(trace, (below, number), shape, Layout("first"))
    ends = (fields.unclipped_rows[:, ::2], fields.unclipped_columns[:, 1::2])
    middles = [
        torch.from_numpy(((first_and_last.sum(1) - 1) / 2).clip(0, size - 1)).to(flat.device, torch.float32)
        for first_and_last, size in zip(ends, trace.size, strict=True)
    ]
    pixels = torch.stack([middles[0][rows], middles[1][columns]], 1)
    name = next((n for n, a in trace._activations.items() if a.edge is not None and a.edge.node == pool), None)
    return Switches(name, (height, width), channels, rows, columns, strengths, pixels)
