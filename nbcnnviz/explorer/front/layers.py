"""The layers: a strip with a bar for each, and the modules as a tree, the current one marked. See js/src/depth.ts, layers.ts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import traitlets as t

from nbcnnviz.core.network import Network
from nbcnnviz.core.outline import outline
from nbcnnviz.explorer.front.base import Front


class LayerMap(Front):
    """A strip and a tree of layers.

    Events ``"choose"``: the reader chose one, ``{"layer": name}``; and ``"filter"``, with the ``{"filter": ...}`` of it to be
    explained, None for none.
    """

    kind = t.Unicode("layers").tag(sync=True)
    names = t.List(t.Unicode()).tag(sync=True)
    depths = t.List(t.Int()).tag(sync=True)
    sizes = t.List(t.Int()).tag(sync=True)  # how many of the rows that follow are within each
    kinds = t.List(t.Unicode()).tag(sync=True)  # "" for a module that is no layer itself
    shapes = t.List(t.List(t.Int())).tag(sync=True)
    sides = t.List(t.Int()).tag(sync=True)  # the larger side of its maps, 0 where it has none
    order = t.List(t.Int()).tag(sync=True)  # the rows of layers, in the order of the forward pass
    current = t.Unicode("").tag(sync=True)
    filter = t.Int(-1).tag(sync=True)  # the channel of it that is explained, -1 for none
    filters = t.Int(0).tag(sync=True)  # how many it has
    note = t.Unicode("").tag(sync=True)  # why it does not matter now
    heat = t.Bytes().tag(sync=True)  # float32, one a row; NaN where nothing is known; empty where nothing is at all
    heat_title = t.Unicode("").tag(sync=True)

    def show(self, network: Network) -> None:
        """Show a network's layers, leaving out those that return what they are given."""
        layers = {name: layer for name, layer in network.layers.items() if layer.kind != "Identity"}
        branches = outline(layers)
        row = {branch.name: at for at, branch in enumerate(branches)}
        with self.hold_sync():
            self.names = [b.name for b in branches]
            self.depths, self.sizes = [b.depth for b in branches], [b.size for b in branches]
            self.kinds = [b.layer.kind if b.layer else "" for b in branches]
            self.shapes = [list(b.layer.shape) if b.layer else [] for b in branches]
            self.sides = [max(b.layer.places or (0,)) if b.layer and b.layer.spatial else 0 for b in branches]
            self.order = [row[name] for name in layers]
            self.heat, self.heat_title = b"", ""

    def warm(self, values: Mapping[str, float], title: str) -> None:
        """Colour the layers by a number each."""
        heat = np.array([values.get(name, np.nan) for name in self.names], np.float32)
        with self.hold_sync():
            self.heat, self.heat_title = heat.tobytes(), title
