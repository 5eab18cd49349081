"""From a network's input back to what a person can look at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.bands import shown
from nbcnnviz.core.cropping import Strip
from nbcnnviz.core.errors import ImageError, NbcnnvizError

_STRIP = 8  # how many times as long as wide a picture is that is scaled only where it is looked at
_PRIMARIES = ("#000000", "#ff0000", "#00ff00", "#0000ff")
_OTHERS = ("#ffffff", "#405080", "#c0a030", "#808080")


def applied(preprocess: Callable[[Image.Image], Tensor], picture: Image.Image) -> Tensor:
    """``preprocess(picture)`` as a (C, H, W) tensor, with a clear error where it is none."""
    if max(picture.size) > _STRIP * min(picture.size):
        picture = Strip.of(picture)
    try:
        x = preprocess(picture)
    except NbcnnvizError:
        raise
    except Exception as error:  # the user's code may raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ImageError(
            f"The network's preprocess failed on a picture of {picture.width} x {picture.height}: {reason}"
        ) from error
    if not isinstance(x, Tensor):
        raise ImageError(f"The network's preprocess returned a {type(x).__name__}; it must return a (C, H, W) tensor.")
    if x.ndim == 4 and x.shape[0] == 1:
        x = x[0]
    if x.ndim != 3:
        raise ImageError(f"The network's preprocess returned shape {tuple(x.shape)}; it must return (C, H, W).")
    return x.as_subclass(Tensor)


def trial(preprocess: Callable[[Image.Image], Tensor]) -> Tensor:
    """The input (C, H, W) for a grey picture; for one of four colours, where grey gives no numbers (a z-score's 0 / 0)."""
    grey = applied(preprocess, Image.new("RGB", (256, 256), (124, 116, 104)))
    if bool(grey.isfinite().all()):
        return grey
    several = applied(preprocess, _quarters().resize((256, 256), Image.Resampling.NEAREST))
    if not bool(several.isfinite().all()):
        raise ImageError("The network's preprocess makes NaN or infinite values of a picture: mend it first.")
    return several


class Unprocess:
    """The inverse of a preprocess in colour: from a network's input back to pixels in [0, 1].

    A normalisation is affine in a pixel's colour, so its values for a few plain pictures tell all about it, whoever
    wrote it and whichever channel it puts first. Whether it is affine is checked with other pictures. One that is not
    (that standardizes each picture by itself, say) is shown stretched from black to white; one that has a method
    ``unprocess``, from (N, C, H, W) to pixels (N, 3, H, W), by that.

    Attributes
    ----------
    black : Tensor
        The input (C,) for black, float64; empty where the preprocess is not affine.
    inverse : Tensor
        What takes an input less that of black to red, green and blue, (3, C).
    bands : tuple[int, ...] or None
        The input's channels that are shown, three or one, whatever the preprocess does; None for none in particular.
    order : list[int] or None
        The input's channels that are red, green and blue. None where no channel is one of them alone.
    """

    def __init__(self, preprocess: Callable[[Image.Image], Tensor], bands: tuple[int, ...] | None = None) -> None:
        self.bands = bands
        self.black, self.inverse = torch.zeros(0), torch.zeros(3, 0)
        self.order: list[int] | None = None
        own = getattr(preprocess, "unprocess", None)
        self._own: Callable[[Tensor], Tensor] | None = own if callable(own) else None
        try:
            self._find(preprocess)
        except ImageError:  # a network that takes no pictures, only tensors
            return

    def _find(self, preprocess: Callable[[Image.Image], Tensor]) -> None:
        def seen(colour: str) -> Tensor:
            return applied(preprocess, Image.new("RGB", (64, 64), colour)).double().cpu()

        self.order = _order(applied(preprocess, _quarters()).double().cpu())
        black, *primaries = (seen(colour) for colour in _PRIMARIES)
        average = black.mean((1, 2))
        from_rgb = torch.stack([x.mean((1, 2)) for x in primaries], 1) - average[:, None]
        if not bool(from_rgb.isfinite().all()):
            return
        scale = float(from_rgb.abs().max())
        for colour in _OTHERS:
            found, expected = seen(colour), average + from_rgb @ _rgb(colour)
            # A mean image, which its own inverse knows of, makes places differ.
            found = found.mean((1, 2)) if self._own else found.flatten(1)
            if not bool(((found - (expected if self._own else expected[:, None])).abs() <= 0.02 * scale).all()):
                return
        if not self._is_pointwise(preprocess, average, from_rgb, 0.02 * scale):
            return
        if len(average) == 3 and torch.linalg.matrix_rank(from_rgb) == 3:
            self.black, self.inverse = average, torch.linalg.inv(from_rgb)
        elif len(average) == 1 and scale > 0:
            self.black, self.inverse = average, (1 / from_rgb.sum()).expand(3, 1)

    def _is_pointwise(
        self, preprocess: Callable[[Image.Image], Tensor], black: Tensor, from_rgb: Tensor, tolerance: float
    ) -> bool:
        """Whether a place's input depends on what colour is there, and not on those elsewhere in the picture."""
        x = applied(preprocess, _quarters()).double().cpu()
        height, width = x.shape[1:]
        for index, colour in enumerate(_PRIMARIES):
            row, column = divmod(index, 2)
            y, z = (height * (1 + 4 * row)) // 6, (width * (1 + 4 * column)) // 6
            if self._own is None and bool((x[:, y, z] - black - from_rgb @ _rgb(colour)).abs().max() > tolerance):
                return False
        return True

    def __call__(self, x: Tensor) -> Tensor:
        """Pixels (N, 3, H, W) in [0, 1], float32, of an input (N, C, H, W).

        Where the preprocess is not affine, each picture is stretched from black to white: in colour if three channels
        are red, green and blue in some order, else as the mean of its channels, in grey.
        """
        x = x.detach().float()
        if self.bands is not None:
            pixels = shown(x, self.bands)
        elif self._own is not None:
            pixels = self._own(x)
        elif x.shape[1] == len(self.black):
            pixels = torch.einsum("pc,nchw->nphw", self.inverse.to(x), x - self.black.to(x).view(-1, 1, 1))
        else:
            low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
            pixels = (x - low) / (high - low).clamp_min(1e-12)
            in_colour = self.order is not None and x.shape[1] == 3
            pixels = pixels[:, self.order] if in_colour else pixels.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        return pixels.clamp(0, 1)


def _rgb(colour: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(colour[1:])), dtype=torch.float64) / 255


def _quarters() -> Image.Image:
    """A picture with a black, a red, a green and a blue quarter."""
    colours = np.array([list(bytes.fromhex(c[1:])) for c in _PRIMARIES], np.uint8).reshape(2, 2, 3)
    return Image.fromarray(colours.repeat(48, 0).repeat(48, 1))


def _order(quarters: Tensor) -> list[int] | None:
    """The channels that are red, green and blue, in an input (C, H, W) of `_quarters`."""
    if len(quarters) != 3 or not bool(quarters.isfinite().all()):
        return None
    height, width = quarters.shape[1:]
    places = [(height // 6, width * 5 // 6), (height * 5 // 6, width // 6), (height * 5 // 6, width * 5 // 6)]
    answers = (
        torch.stack([quarters[:, y, x] for y, x in places]) - quarters[:, height // 6, width // 6]
    )  # colour, channel
    order = [int(answer.abs().argmax()) for answer in answers]
    alone = answers.abs().sort(1).values
    clear = bool((alone[:, 1] <= 0.05 * alone[:, 2]).all())
    return order if clear and sorted(order) == [0, 1, 2] else None


def to_pictures(pixels: Tensor) -> list[Image.Image]:
    """PIL pictures of pixels (N, 3, H, W) in [0, 1]."""
    values = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in values]


def blurred(x: Tensor) -> Tensor:
    """Pictures (N, C, H, W) blurred until little can be told: by a Gaussian of a twentieth of the shorter side."""
    sigma = max(1.0, min(x.shape[2:]) / 20)
    radius = min(int(3 * sigma + 0.5), min(x.shape[2:]) - 1)
    at = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-at.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(x)
    padded = torch.nn.functional.pad(x.flatten(0, 1)[:, None], (radius, radius, radius, radius), mode="reflect")
    rows = torch.nn.functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return torch.nn.functional.conv2d(rows, kernel.view(1, 1, -1, 1)).view_as(x)
