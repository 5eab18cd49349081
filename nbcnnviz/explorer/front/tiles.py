"""A grid of small maps or colour pictures, all of one size: feature maps, kernels. See js/src/tiles.ts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import traitlets as t
from torch import Tensor

from nbcnnviz.explorer.front.base import Coloured, Front
from nbcnnviz.explorer.front.canvas import Drawn
from nbcnnviz.render import Scale, to_bytes
from nbcnnviz.render.tiles import Tile


class TileFrame(Drawn, Front, Coloured):
    """Small maps side by side in one canvas, as many a row as the screen is wide.

    Event ``"choose"``: the reader chose a tile, by mouse or keys, ``{"index": ...}`` what it stands for.
    """

    kind = t.Unicode("tiles").tag(sync=True)
    values = t.Bytes().tag(sync=True)  # n x h x w (x 3) bytes, one tile after the other
    shape = t.List([0, 0, 0, 1]).tag(sync=True)  # n, h, w, and 1 or 3
    lows = t.List(t.Float()).tag(sync=True)  # the ends of each tile's scale; one for all, or n
    highs = t.List(t.Float()).tag(sync=True)
    cut = t.Bool(False).tag(sync=True)  # whether a scale ends below the largest value
    indices = t.List(t.Int()).tag(sync=True)
    labels = t.List(t.Unicode()).tag(sync=True)
    hints = t.List(t.Unicode()).tag(sync=True)
    broken = t.List(t.Int()).tag(sync=True)
    notes = t.List(t.Unicode()).tag(sync=True)
    badges = t.List(t.Unicode()).tag(sync=True)
    chosen = t.Int(-1).tag(sync=True)  # the index of the chosen tile, -1 for none
    side = t.Int(64).tag(sync=True)  # of a tile on the screen, in pixels, about
    smooth = t.Bool(False).tag(sync=True)  # scaled up bilinearly, or as squares

    def show(
        self, maps: Tensor, scales: Sequence[Scale], tiles: Sequence[Tile], colours: str, caption: str = ""
    ) -> None:
        """Show maps (n, h, w) coloured on one scale for all, or on one each."""
        if len(scales) == 1:
            places = to_bytes(maps.flatten(0, 1), scales[0]).reshape(maps.shape)
        else:
            places = np.stack([to_bytes(m, s) for m, s in zip(maps, scales, strict=True)])
        self._put(places[..., None], scales, tiles, colours, caption)

    def show_colour(self, pixels: np.ndarray, scale: Scale, tiles: Sequence[Tile], caption: str = "") -> None:
        """Show colour pictures (n, h, w, 3) of bytes; ``scale`` says what value a byte stands for."""
        self._put(pixels, [scale], tiles, self.colours, caption)

    def _put(
        self, places: np.ndarray, scales: Sequence[Scale], tiles: Sequence[Tile], colours: str, caption: str
    ) -> None:
        with self.hold_sync():
            self.values, self.shape = np.ascontiguousarray(places).tobytes(), list(places.shape)
            self.lows, self.highs = [s.low for s in scales], [s.high for s in scales]
            self.cut = any(s.cut for s in scales)
            self.indices, self.labels = [tile.index for tile in tiles], [tile.label for tile in tiles]
            self.hints, self.broken = [tile.title for tile in tiles], [tile.broken for tile in tiles]
            self.notes, self.badges = [tile.note for tile in tiles], [tile.badge for tile in tiles]
            self.colours, self.caption = colours, caption
