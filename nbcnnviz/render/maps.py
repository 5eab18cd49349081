"""From raw maps to what is drawn: summed over channels, scaled up, scaled to a colour scale, coloured, laid over."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nbcnnviz.render.colours import default_for, lookup_table
from nbcnnviz.render.contours import inked

_PIXELWISE = 64
_QUANTILE = 0.99


@dataclass(frozen=True)
class Scale:
    """The values at the two ends of a colour scale; ``low`` is zero, or ``-high`` for a signed map.

    ``cut`` says that the scale ends below the largest value, and larger ones are shown as its end.
    """

    low: float
    high: float
    cut: bool = False

    @property
    def signed(self) -> bool:
        """Whether zero is in the middle."""
        return self.low < 0

    @classmethod
    def of(cls, values: Tensor, quantile: float = 1.0) -> Scale:
        """The scale of a map: up to its largest finite magnitude, or to a lower quantile of the magnitudes."""
        magnitudes = values.detach().float().nan_to_num(0, 0, 0).abs().flatten()
        high = float(magnitudes.quantile(quantile) if quantile < 1 else magnitudes.max())
        # A map that is zero but for a few places has no quantile to speak of.
        high = high if high > 0 else float(magnitudes.max())
        return cls(-high if bool((values < 0).any()) else 0.0, high, cut=high < float(magnitudes.max()))

    @classmethod
    def to_show(cls, values: Tensor) -> Scale:
        """The scale that shows a map (h, w) best.

        Up to its largest magnitude for the coarse map of a layer. In a map of single pixels a few are many times as
        strong as all others, which would look like nothing: up to the magnitude that one in a hundred exceeds.
        """
        return cls.of(values, quantile=_QUANTILE if min(values.shape) >= _PIXELWISE else 1.0)


def flat(values: Tensor) -> Tensor:
    """One map a picture, (N, h, w) float32: the sum over the channels of (N, C, h, w)."""
    return values.detach().float().sum(1)


def upscaled(values: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, h, w) at another size (H, W): bilinear, pixel centres aligned (``align_corners=False``)."""
    if tuple(values.shape[2:]) == tuple(size):
        return values
    return F.interpolate(values, size=tuple(size), mode="bilinear", align_corners=False)


def heatmap(values: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, H, W) float32 in [0, 1], or in [-1, 1] where signed: each picture's map over its largest finite magnitude.

    What is NaN or infinite is NaN.
    """
    native = flat(values).unsqueeze(1)
    maps = upscaled(native.nan_to_num(0, 0, 0), size).squeeze(1)
    highest = maps.abs().amax((1, 2), keepdim=True)
    scaled = torch.where(highest > 0, maps / highest, torch.zeros_like(maps))
    return scaled.masked_fill(~F.interpolate(native.isfinite().float(), size=size)[:, 0].bool(), torch.nan)


def to_bytes(values: Tensor, scale: Scale) -> np.ndarray:
    """Places on a colour scale, uint8, of a map (h, w): 0 to 255; where signed, zero is at 127.5."""
    span = scale.high - scale.low
    if not span > 0:
        return np.zeros(tuple(values.shape), np.uint8)
    place = (values.detach().float().nan_to_num(0, scale.high, scale.low) - scale.low) * (255 / span)
    places: np.ndarray = place.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return places


def coloured(values: Tensor, scale: Scale, colours: str | None = None) -> np.ndarray:
    """A map (h, w) in colour, (h, w, 3) uint8."""
    table: np.ndarray = lookup_table(colours or default_for(scale.signed))
    return table.take(to_bytes(values, scale), axis=0)


def overlay(
    picture: Image.Image,
    values: Tensor,
    *,
    opacity: float = 0.6,
    threshold: float = 0.0,
    colours: str | None = None,
    contours: bool = False,
    split: float = 0.0,
) -> Image.Image:
    """A map (C, h, w) over a picture.

    ``opacity`` is that of the map at its strongest; it falls with the magnitude, so that where the map is zero the
    picture shows unchanged; places weaker than ``threshold``, a share of the strongest, are left out. ``contours`` are
    lines where the map is a quarter, half and three quarters of its scale's end; left of ``split``, a share of the
    width, the picture shows alone. Where values are NaN or infinite there is a hatching.
    """
    native = flat(values[None])[0]
    scale = Scale.to_show(native)
    broken = _broken(native, (picture.height, picture.width))
    if scale.high == 0 and not broken.any():
        return picture.copy()
    bare = np.asarray(picture, np.float64)
    # Of the bytes that travel to a browser, so that it shows these very pixels.
    travelling = torch.from_numpy(to_bytes(native, scale)).double()
    places = upscaled(travelling[None, None], (picture.height, picture.width))[0, 0].float().numpy().astype(np.float64)
    strength = _strength(places, scale.signed)
    alpha = np.where(strength < threshold, 0, strength * opacity)[..., None]
    table = lookup_table(colours or default_for(scale.signed))
    pixels = bare * (1 - alpha) + table[(places + 0.5).astype(np.uint8)] * alpha
    if contours:
        pixels = inked(pixels, places, scale.signed)
    pixels = hatched(pixels, broken)
    edge = math.floor(split * picture.width + 0.5)
    pixels[:, :edge] = bare[:, :edge]
    return Image.fromarray(pixels.round().astype(np.uint8))


def _strength(places: np.ndarray, signed: bool) -> np.ndarray:
    """How strong places on a scale are, 0 to 1; on a signed one, zero is either of the two in the middle."""
    if not signed:
        return places / 255
    off = np.abs(places - 127.5)
    return np.where(off <= 0.5, 0, off / 127.5)


def colour_picture(values: Tensor) -> Image.Image:
    """A map (3, h, w) or (1, h, w) as a picture of its own: each channel scaled symmetrically about grey, which is zero.

    The scale of a channel is that which shows it best, see `Scale.to_show`. Where values are NaN or infinite there is a
    hatching.
    """
    channels = values.detach().float().cpu()
    shades = []
    for channel in channels:
        end = Scale.to_show(channel).high or 1.0
        shades.append((channel.nan_to_num(0, 0, 0) / end).clamp(-1, 1) * 127.5 + 127.5)
    pixels = torch.stack(shades, -1).expand(-1, -1, 3).numpy().astype(np.float64)
    pixels = hatched(pixels, ~channels.isfinite().all(0).numpy())
    return Image.fromarray(pixels.round().astype(np.uint8))


def hatched(pixels: np.ndarray, where: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) with black and white diagonal stripes at places (H, W): nothing that a colour map has."""
    if not where.any():
        return pixels
    stripes = np.add.outer(*(np.arange(n) for n in where.shape)) // 3 % 2 * 255
    return np.where(where[..., None], stripes[..., None], pixels)


def _broken(values: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Where a map (h, w), drawn at a size (H, W), is NaN or infinite."""
    return F.interpolate((~values.isfinite()).float()[None, None], size=size)[0, 0].bool().cpu().numpy()
