"""A patch to be looked at: what the unit saw of its picture, beside the projection of its activation down to there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nbcnnviz.core.network import Network
from nbcnnviz.core.preprocess import to_pictures
from nbcnnviz.dataset.patches import Patch
from nbcnnviz.dataset.sources import Source
from nbcnnviz.inside import project

_GREY = 127.5


@dataclass(frozen=True, eq=False)
class SeenPatch:
    """One of a channel's patches with its pixels.

    Attributes
    ----------
    patch : Patch
        The activation, and where it was.
    label : str or None
        The picture's.
    pixels : numpy.ndarray
        (h, w, 3) uint8: what the unit sees, of the picture as the network does; all of it where that is not known.
    projection : Tensor or None
        (C, h, w), signed: the activation carried down to the same window (Zeiler & Fergus 2014); None if not asked for.
    """

    patch: Patch
    label: str | None
    pixels: np.ndarray
    projection: Tensor | None = None

    @property
    def projected_pixels(self) -> np.ndarray | None:
        """The projection as a picture, (h, w, 3) uint8, its largest magnitude at the ends of the scale and zero grey.

        A projection of other than three channels is summed over them.
        """
        return None if self.projection is None else signed_pixels(self.projection)


def seen_patch(
    net: Network, source: Source, layer: str, channel: int, patch: Patch, *, projected: bool = True
) -> SeenPatch:
    """A patch of a scan with its pixels, and with its projection, which costs a forward and a backward pass.

    Raises
    ------
    ImageError
        If the picture can no longer be read.
    """
    picture, label = source[patch.picture]
    x = net.batch(picture)
    pixels = np.asarray(to_pictures(net.unprocess(x))[0])
    top, left, bottom, right = patch.box or (0, 0, *x.shape[2:])
    window = np.s_[top:bottom, left:right]
    projection = None
    if projected:
        values = project(net.trace(x, layers=[layer]), layer, channel, place=(patch.row, patch.column)).values
        projection = values[:, window[0], window[1]].float().cpu()
    return SeenPatch(patch, label, np.ascontiguousarray(pixels[window]), projection)


def signed_pixels(values: Tensor) -> np.ndarray:
    """Signed values (C, h, w) as a picture (h, w, 3) uint8: zero is grey, the largest magnitude black or white."""
    values = values.detach().float().nan_to_num(0, 0, 0).cpu()
    values = values if len(values) == 3 else values.sum(0, keepdim=True).expand(3, -1, -1)
    scale = values.abs().max().clamp_min(1e-30)
    pixels: np.ndarray = (_GREY + _GREY * (values / scale)).round().numpy().astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(pixels)
