"""A picture in the making, as the network gets it once it has been saved to a file and loaded again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nbcnnviz.core.errors import ImageError, MethodNotApplicableError
from nbcnnviz.core.geometry import Geometry, find_geometry
from nbcnnviz.core.images import load_image
from nbcnnviz.core.network import Network
from nbcnnviz.core.preprocess import to_pictures
from nbcnnviz.synthesis.parameterization import Colours


class Loading:
    """From a picture (1, C, H, W), in the units of the network's input, to the input: rounded to 8 bits and preprocessed.

    The preprocess is the network's own, whatever it is. The gradient comes back by the transpose of its geometry, and
    through the rounding as if there were none.
    """

    def __init__(self, net: Network, colours: Colours, geometry: Geometry) -> None:
        self._net, self._colours, self._geometry = net, colours, geometry

    def __call__(self, picture: Tensor) -> Tensor:
        """The input (1, C, h, w), float32."""
        return _Loaded.apply(picture, self)  # type: ignore[no-any-return]

    def load(self, picture: Tensor) -> Tensor:
        """The input, apart from the graph."""
        return loaded(self._net, self._colours.eight_bits(picture))

    def back(self, gradient: Tensor) -> Tensor:
        """The gradient at the picture, for one at the input."""
        return self._geometry.adjoint(gradient)


class _Loaded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, picture: Tensor, loading: Loading) -> Tensor:
        ctx.loading = loading
        return loading.load(picture)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.loading.back(gradient), None


def loaded(net: Network, eight_bits: Tensor) -> Tensor:
    """What the network takes, (N, C, h, w) float32, of pictures (N, C, H, W) of 8 bits, when they are loaded from files."""
    return net.batch(to_pictures(coloured(eight_bits / 255))).float()


def coloured(pixels: Tensor) -> Tensor:
    """Pixels as (N, 3, H, W); channels that are no colours are shown as their mean."""
    return pixels if pixels.shape[1] == 3 else pixels.mean(1, keepdim=True).expand(-1, 3, -1, -1)


@dataclass(frozen=True)
class Medium:
    """A picture to be changed, (1, C, H, W) in the units of the input, and how the network gets it.

    ``loading`` is None where the picture is the input itself.
    """

    picture: Tensor
    loading: Loading | None


def medium_of(net: Network, colours: Colours, source: Any, own_size: bool) -> Medium:
    """What is changed of a picture, so that its file shows the network what was changed.

    A picture is changed at its own size, or as the preprocess scales it, not cropped: then pixels of the file are pixels
    of the input. A preprocessed (1, C, h, w) tensor gets the margin that the preprocess crops off. Where no file gives
    that input (another size, channels that are no colours), it is changed itself.

    Raises
    ------
    MethodNotApplicableError
        If no gradient leads through the preprocess to a picture.
    """
    if isinstance(source, Tensor) and source.ndim == 4:
        return _of_tensor(net, colours, net.batch(source).float())
    if net.input_shape[0] not in (1, 3):
        return Medium(net.batch(source).float(), None)
    picture = load_image(source)
    geometry = find_geometry(net.preprocess, net.unprocess, (picture.height, picture.width))
    if own_size or geometry.scaled == geometry.size:
        return Medium(colours.of_picture(picture), Loading(net, colours, geometry))
    scaled = colours.of_picture(picture.resize(geometry.scaled[::-1], geometry.resampling))
    geometry = find_geometry(net.preprocess, net.unprocess, geometry.scaled)
    if geometry.scaled == geometry.size:
        _lay_in(scaled, colours.to_input(colours.eight_bits(net.batch(picture)) / 255), geometry.corner)
    return Medium(scaled, Loading(net, colours, geometry))


def _lay_in(picture: Tensor, x: Tensor, corner: tuple[int, int]) -> None:
    """Put an input where the network will see it: in another order of scaling, cropping and rounding it is off a little."""
    axes = zip(corner, x.shape[2:], picture.shape[2:], strict=True)
    (top, left), (rows, columns) = corner, (slice(max(0, -at), min(n, size - at)) for at, n, size in axes)
    there = picture[:, :, top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    there.copy_(x[:, :, rows, columns])


def _of_tensor(net: Network, colours: Colours, x: Tensor) -> Medium:
    size = (x.shape[2], x.shape[3])
    if tuple(x.shape[1:]) != net.input_shape or not colours.invertible:
        return Medium(x, None)
    try:
        geometry = find_geometry(net.preprocess, net.unprocess, size)
        (top, left), (height, width) = geometry.corner, geometry.scaled
        margin = (left, width - left - size[1], top, height - top - size[0])
        if any(margin):
            framed = F.pad(x, margin, mode="replicate")
            geometry = find_geometry(net.preprocess, net.unprocess, geometry.scaled)
        else:
            framed = x
        loading = Loading(net, colours, geometry)
        off = colours.to_pixels(loading.load(framed)) - colours.to_pixels(x).clamp(0, 1)
    except (MethodNotApplicableError, ImageError):
        return Medium(x, None)
    return Medium(framed, loading) if off.abs().max() < 1.5 / 255 else Medium(x, None)
