"""A layer's output, or what has its shape, as maps: channels first, then places, whatever the layer's own layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from nbcnnviz.core.errors import MethodNotApplicableError

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network
    from nbcnnviz.core.trace import Trace


def maps_of(trace: Trace, layer: str) -> Tensor:
    """A layer's output as (N, C, h, w), or (N, C) where it has no places; part of the graph.

    Raises
    ------
    MethodNotApplicableError
        If the layer has neither.
    UnknownLayerError
        If no such layer was kept.
    """
    return arranged(trace.network, layer, trace[layer])


def arranged(network: Network, layer: str, values: Tensor) -> Tensor:
    """What has the shape of a layer's output, its gradient say, as `maps_of` has the output."""
    if values.ndim not in (2, 4):
        raise MethodNotApplicableError(
            f"Layer {layer!r} returns shape {tuple(values.shape)}: it has no channels, which need (N, C) or (N, C, h, w)."
        )
    return values.permute(0, 3, 1, 2) if values.ndim == 4 and network.is_channels_last(layer) else values
