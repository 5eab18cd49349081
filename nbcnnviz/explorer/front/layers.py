"""The layer map: a network's modules as a tree, the current one marked. See js/src/layers.ts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import traitlets as t

from nbcnnviz.core.network import Network
from nbcnnviz.core.outline import outline
from nbcnnviz.explorer.front.base import Front


class LayerMap(Front):
    """A tree of layers. Event ``"choose"``: the reader chose one, ``{"layer": name}``."""

    kind = t.Unicode("layers").tag(sync=True)
    names = t.List(t.Unicode()).tag(sync=True)
    depths = t.List(t.Int()).tag(sync=True)
    sizes = t.List(t.Int()).tag(sync=True)  # how many of the rows that follow are within each
    kinds = t.List(t.Unicode()).tag(sync=True)  # "" for a module that is no layer itself
    shapes = t.List(t.List(t.Int())).tag(sync=True)
    current = t.Unicode("").tag(sync=True)
    heat = t.Bytes().tag(sync=True)  # float32, one a row; NaN where nothing is known; empty where nothing is at all
    heat_title = t.Unicode("").tag(sync=True)

    def show(self, network: Network) -> None:
        """Show a network's layers, leaving out those that return what they are given."""
        branches = outline({name: layer for name, layer in network.layers.items() if layer.kind != "Identity"})
        with self.hold_sync():
            self.names = [b.name for b in branches]
            self.depths, self.sizes = [b.depth for b in branches], [b.size for b in branches]
            self.kinds = [b.layer.kind if b.layer else "" for b in branches]
            self.shapes = [list(b.layer.shape) if b.layer else [] for b in branches]
            self.heat, self.heat_title = b"", ""

    def warm(self, values: Mapping[str, float], title: str) -> None:
        """Colour the layers by a number each."""
        heat = np.array([values.get(name, np.nan) for name in self.names], np.float32)
        with self.hold_sync():
            self.heat, self.heat_title = heat.tobytes(), title
