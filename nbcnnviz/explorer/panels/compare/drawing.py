"""From a comparison to tiles on one colour scale, and to one picture for a file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nbcnnviz.explorer.panels.compare.frames import shown
from nbcnnviz.metrics import Comparison, Entry
from nbcnnviz.render import Scale, coloured, default_for, flat
from nbcnnviz.render.tiles import Tile, tiles_image

TILE = 128
_OPACITY = 0.75
_COLUMNS = 6


@dataclass(frozen=True, eq=False)
class Drawn:
    """Tiles.

    Attributes
    ----------
    maps : Tensor
        (n, h, w), on one scale.
    scale : Scale
        Of all of them.
    tiles : list[Tile]
        What each stands for.
    over : numpy.ndarray or None
        The maps over their pictures, (n, h, w, 3) uint8, if they are shown so.
    """

    maps: Tensor
    scale: Scale
    tiles: list[Tile]
    over: np.ndarray | None


def drawn(comparison: Comparison, relative: bool, over: bool, colours: str | None = None) -> Drawn:
    """The tiles of a comparison.

    Parameters
    ----------
    relative
        Whether each map is divided by the end of the scale that shows it best, so that maps of unlike units share one.
    over
        Whether the maps lie over their pictures.
    colours
        The colour map over the pictures.
    """
    entries = list(shown(comparison))
    size = _size([entry for _, entry in entries])
    maps = torch.stack([_map(entry, size, relative) for _, entry in entries]) if entries else torch.zeros(0, *size)
    signed = bool((maps < 0).any())
    if relative:
        scale = Scale(-1.0 if signed else 0.0, 1.0)
    else:
        scales = [Scale.to_show(m) for m in maps] or [Scale(0.0, 1.0)]
        high = max(s.high for s in scales)
        scale = Scale(-high if signed else 0.0, high, any(s.cut for s in scales))
    tiles = [_tile(comparison, at, entry) for at, entry in entries]
    laid = np.stack([_over(m, e, scale, colours) for m, (_, e) in zip(maps, entries, strict=True)]) if entries else None
    return Drawn(maps, scale, tiles, laid if over else None)


def _size(entries: list[Entry]) -> tuple[int, int]:
    """Height and width of the tiles: those of a picture, the longer side as long as a tile is wide."""
    known = next((entry.result.trace.size for entry in entries if entry.result is not None), (1, 1))
    longer = max(known)
    return max(1, round(TILE * known[0] / longer)), max(1, round(TILE * known[1] / longer))


def _map(entry: Entry, size: tuple[int, int], relative: bool) -> Tensor:
    if entry.result is None:
        return torch.zeros(size)
    map_ = flat(entry.result.values[:1].detach()).nan_to_num(0, 0, 0).cpu()[None]
    if map_.shape[2] > size[0] or map_.shape[3] > size[1]:
        map_ = F.interpolate(map_, size=size, mode="area")  # of single pixels, their mean
    else:
        map_ = F.interpolate(map_, size=size, mode="bilinear", align_corners=False)
    end = Scale.to_show(map_[0, 0]).high if relative else 1.0
    laid: Tensor = map_[0, 0] / end if end > 0 else map_[0, 0]
    return laid.clamp(-1, 1) if relative else laid


def _over(map_: Tensor, entry: Entry, scale: Scale, colours: str | None) -> np.ndarray:
    """A map over the picture that it explains."""
    height, width = map_.shape
    if entry.result is None:
        return np.full((height, width, 3), 128, np.uint8)
    picture = entry.result.trace.pictures[0].resize((width, height), Image.Resampling.BILINEAR)
    strength = (map_.abs() / scale.high).clamp(0, 1).numpy()[..., None] if scale.high > 0 else 0.0
    bare = np.asarray(picture, np.float64)
    alpha = _OPACITY * strength
    mixed: np.ndarray = bare * (1 - alpha) + coloured(map_, scale, colours or default_for(scale.signed)) * alpha
    return mixed.round().astype(np.uint8)


def _tile(comparison: Comparison, at: int, entry: Entry) -> Tile:
    correlation, broken = with_chosen(comparison, at), 0
    said = [entry.name]
    if entry.result is not None:
        broken = entry.result.not_finite
        if not entry.done:
            said.append(f"step {entry.result.step} of {entry.result.steps}")
    if not math.isnan(correlation) and not entry.chosen:
        said.append(f"rank correlation {correlation:z.2f} with the one selected")
    note = entry.error or ("" if entry.result is not None else "waiting")
    badge = "" if math.isnan(correlation) or entry.chosen else f"{correlation:z.2f}"
    return Tile(at, entry.name, ", ".join([*said, *([note] if note else [])]), broken, note, badge)


def with_chosen(comparison: Comparison, at: int) -> float:
    """The rank correlation of a map with the one selected; NaN where there is none."""
    return float("nan") if comparison.chosen is None else float(comparison.correlations[at, comparison.chosen])


def poster(made: Drawn, colours: str | None = None) -> Image.Image:
    """The tiles with their names and correlations, as one picture."""
    pixels = made.over
    if pixels is None:
        pixels = np.stack([coloured(map_, made.scale, colours) for map_ in made.maps])
    tiles = [replace(tile, label=tile.label[:18]) for tile in made.tiles]
    return tiles_image(pixels, tiles, width=made.maps.shape[2], columns=_COLUMNS, text=11)
