"""A layer's output, or what has its shape, as maps: channels first, then places, whatever the layer's own layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from nbcnnviz.core.errors import NetworkError, NoMapsError

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network
    from nbcnnviz.core.trace import Trace

Reshape = Callable[[Tensor], Tensor]
"""From a layer's output to maps (N, C, h, w): a choice of its values in another order, the same for its gradient."""


@dataclass(frozen=True)
class Layout:
    """Where a layer's output has its channels and its places.

    Attributes
    ----------
    kind
        ``"first"``: (N, C, h, w). ``"last"``: (N, h, w, C). ``"tokens"``: (N, T, C), the rows of the grid one after the
        other. ``"tokens last"``: (N, C, T). ``"reshaped"``: by a function of the user's.
    grid
        Of tokens: rows and columns, at the input size that they were found at.
    apart
        Of tokens: how many are none of the grid's, before and after it: of the class, registers, distillation.
    reshape
        The user's function.
    """

    kind: Literal["first", "last", "tokens", "tokens last", "reshaped"]
    grid: tuple[int, int] = (0, 0)
    apart: tuple[int, int] = (0, 0)
    reshape: Reshape | None = None

    @property
    def of_tokens(self) -> bool:
        """Whether the output is a sequence, whose length alone does not tell its rows and columns."""
        return self.kind.startswith("tokens")

    def maps(self, values: Tensor) -> Tensor:
        """What has the shape of the layer's output, (N, ...), as (N, C, h, w); differentiable."""
        if self.kind == "first":
            return values
        if self.kind == "last":
            return values.permute(0, 3, 1, 2)
        if self.reshape is not None:
            return self.reshape(values)
        sequence = values.transpose(1, 2) if self.kind == "tokens" else values
        count = self.grid[0] * self.grid[1]
        maps: Tensor = sequence[:, :, self.apart[0] : self.apart[0] + count].unflatten(2, self.grid)
        return maps

    def returned(self, maps: Tensor, own: Tensor) -> Tensor:
        """An output of the layer, (1, ...), with these maps (B, C, h, w) in the place of its own: (B, ...)."""
        if self.kind == "first":
            return maps
        if self.kind == "last":
            return maps.permute(0, 2, 3, 1)
        output = own.expand(len(maps), *own.shape[1:]).clone()
        if self.reshape is None:
            # A view, so that what lies apart from the grid stays.
            self.maps(output).copy_(maps)
            return output
        at = self.reshape(torch.arange(own.numel(), dtype=torch.float64, device=own.device).view_as(own)).long()
        output.flatten(1)[:, at.flatten()] = maps.flatten(1)
        return output

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an output of this shape, for one picture, can be laid out so."""
        if self.of_tokens:
            count = sum(self.apart) + self.grid[0] * self.grid[1]
            return len(shape) == 2 and shape[0 if self.kind == "tokens" else 1] == count
        return self.reshape is not None or len(shape) == 3

    def places(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of an output of this shape, for one picture, at the input size of ``grid``."""
        if self.kind in ("first", "last"):
            rows, columns = shape[1:] if self.kind == "first" else shape[:2]
            return rows, columns
        return self.grid

    def channels(self, shape: tuple[int, ...]) -> int:
        """How many channels an output of this shape, for one picture, has."""
        if self.reshape is not None:
            count = 1
            for size in shape:
                count *= size
            return count // (self.grid[0] * self.grid[1])
        return shape[0 if self.kind in ("first", "tokens last") else -1]

    @property
    def channel_axis(self) -> int | None:
        """Which axis of the output (N, ...) the channels are; None where a function lays it out."""
        return {"first": 1, "last": 3, "tokens": 2, "tokens last": 1}.get(self.kind)


def maps_of(trace: Trace, layer: str) -> Tensor:
    """A layer's output as (N, C, h, w), or (N, C) where it has no places; part of the graph.

    Raises
    ------
    MethodNotApplicableError
        If the layer has neither.
    UnknownLayerError
        If no such layer was kept.
    """
    height, width = trace.input.shape[2:]
    return arranged(trace.network, layer, trace[layer], (height, width))


def arranged(network: Network, layer: str, values: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """What has the shape of a layer's output, its gradient say, as `maps_of` has the output.

    ``size`` is the height and width of the input that the output is for. Default: the network's own.
    """
    if values.ndim == 2:
        return values
    layout = network.layout(layer, size)
    if layout is None or not layout.fits(tuple(values.shape[1:])):
        raise no_maps(network, layer, tuple(values.shape))
    return layout.maps(values)


def no_maps(network: Network, layer: str, shape: tuple[int, ...] | None = None) -> NoMapsError:
    """The error for a layer that has no maps; it says why, and names the nearest that has."""
    shape = (1, *network.layers[layer].shape) if shape is None else shape
    reason = network.layers[layer].reason if layer in network.layers else ""
    near = network.nearest_maps(layer)
    advice = f": choose a layer such as {near!r}." if near else ", and no layer of this network has any."
    return NoMapsError(
        f"Layer {layer!r} returns shape {shape}, not maps (N, C, h, w)" + (f": {reason}" if reason else "") + advice
    )


def checked(reshape: Reshape, layer: str, values: Tensor) -> Tensor:
    """``reshape(values)``; NetworkError if it is no choice of the values in another order, as maps (N, C, h, w)."""
    places = torch.arange(values.numel(), dtype=torch.float64, device=values.device).view_as(values)
    try:
        maps, order = reshape(values), reshape(places)
    except Exception as error:  # the user's code may raise anything
        raise NetworkError(
            f"reshape failed on layer {layer!r}, which returns shape {tuple(values.shape)}: {error}"
        ) from error
    if not isinstance(maps, Tensor) or maps.ndim != 4:
        what = f"shape {tuple(maps.shape)}" if isinstance(maps, Tensor) else f"a {type(maps).__name__}"
        raise NetworkError(f"reshape made {what} of layer {layer!r}: it must return maps, (N, C, h, w).")
    inside = bool(((order >= 0) & (order < values.numel()) & (order == order.round())).all())
    if not inside or order.unique().numel() != order.numel():
        raise NetworkError(
            f"reshape changes the values of layer {layer!r}, or takes one twice: it may only leave some out and put the "
            "others in another order, since the gradient is laid out by it too."
        )
    return maps
