"""What a picture in the making is made of: its pixels, or the waves that add up to it.

A parameterization has parameters that gradient ascent moves, and a picture that follows from them. The picture is always in the
units of the network's input (N, C, H, W), where zero is the mean colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.network import Network

# How the colours of photographs vary together: a square root of their covariance (Olah et al. 2017).
_COLOURS = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
DECORRELATION = _COLOURS / _COLOURS.norm(dim=0).max()
"""From decorrelated colours to RGB, (3, 3)."""


class Colours:
    """From pixels in [0, 1] to the units of a network's input and back.

    Pixels have three channels, red, green and blue, for a network that takes colours, in whatever order; else as many
    as the input, each from -1 to 1 there if nothing else is known.

    Attributes
    ----------
    low, high : Tensor
        The input for black and for white, (C, 1, 1).
    invertible : bool
        Whether that is known of the preprocess, so that a picture can be made of an input.
    """

    def __init__(self, net: Network) -> None:
        channels, black, inverse = net.input_shape[0], net.unprocess.black, net.unprocess.inverse
        self.invertible = channels == len(black) in (1, 3)
        if channels == len(black) == 3:
            matrix = torch.linalg.inv(inverse)
        elif channels == len(black) == 1:
            matrix = 1 / inverse[:1]
        else:
            black, matrix = -torch.ones(channels), 2 * torch.eye(channels)
        self._matrix = matrix.float().to(net.device)
        self._each_alone = bool((matrix == matrix.diag().diag()).all())
        self.low: Tensor = black.float().view(-1, 1, 1).to(net.device)
        self.high: Tensor = self.low + self._matrix.sum(1).view(-1, 1, 1)

    @property
    def grey(self) -> Tensor:
        """Half-way between black and white, (C, 1, 1)."""
        grey: Tensor = (self.low + self.high) / 2
        return grey

    def to_input(self, pixels: Tensor) -> Tensor:
        """The input for pixels in [0, 1]."""
        return self._times(self._matrix, pixels) + self.low

    def to_pixels(self, x: Tensor) -> Tensor:
        """Pixels of an input: in [0, 1] where it is within the range of pictures."""
        return self._times(torch.linalg.inv(self._matrix), x - self.low)

    def eight_bits(self, x: Tensor) -> Tensor:
        """Pixels of an input as a file keeps them, 8 bits each, (N, C, H, W) uint8."""
        return (self.to_pixels(x.float()).clamp(0, 1) * 255).round().to(torch.uint8)

    def of_picture(self, picture: Image.Image) -> Tensor:
        """The input for the very pixels of a picture, neither scaled nor cropped, (1, C, H, W)."""
        array = np.array(picture.convert("L" if len(self.low) == 1 else "RGB"))
        pixels = torch.from_numpy(array).to(self.low.device).reshape(*array.shape[:2], -1)
        return self.to_input(pixels.permute(2, 0, 1)[None] / 255)

    def _times(self, matrix: Tensor, x: Tensor) -> Tensor:
        if self._each_alone:
            return x * matrix.diag().view(-1, 1, 1)
        return torch.einsum("ij,njhw->nihw", matrix, x)


class Parameterization(Protocol):
    """A picture in the making."""

    parameters: list[Tensor]

    def picture(self) -> Tensor:
        """The picture (N, C, H, W), part of the graph that starts at the parameters."""
        ...

    def randomize(self, generator: torch.Generator, alike: bool) -> None:
        """Start from noise, the same for every picture of the batch if they are to be ``alike``."""
        ...

    def set(self, picture: Tensor) -> None:
        """Set the parameters to those of a picture, as nearly as they can show it."""
        ...


class Pixels:
    """The picture itself. It starts as it is given."""

    parameters: list[Tensor]

    def __init__(self, picture: Tensor, colours: Colours) -> None:
        self.set(picture)

    def randomize(self, generator: torch.Generator, alike: bool, sd: float = 0.1) -> None:
        """Add noise of standard deviation ``sd``; see `noise`."""
        x = self.parameters[0]
        self.parameters = [x + sd * noise(x.shape, generator, alike).to(x)]

    def picture(self) -> Tensor:
        """The picture (N, C, H, W)."""
        return self.parameters[0]

    def set(self, picture: Tensor) -> None:
        """Become the picture."""
        self.parameters = [picture.detach().float().clone()]


class Fourier:
    """Waves of every frequency, each as easy to change as its like is common in photographs.

    The picture is ``sigmoid(M irfft2(spectrum / f) / 4)`` between black and white: an orthonormal inverse transform,
    ``f`` the frequency in cycles a pixel and at least ``1 / max(H, W)``, ``M`` the colours' correlation
    (`DECORRELATION`) where there are three. Gradient ascent then favours no high frequency and no odd colour
    (Olah et al. 2017; Mordvintsev et al. 2018).
    """

    def __init__(self, picture: Tensor, colours: Colours) -> None:
        self._colours, self._size = colours, (picture.shape[2], picture.shape[3])
        height, width = self._size
        f = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :])
        self._scale = (1 / f.clamp_min(1 / max(height, width)) / 4).to(picture.device)
        self._mix = DECORRELATION.to(picture.device) if picture.shape[1] == 3 else None
        self.set(picture)

    def picture(self) -> Tensor:
        """The picture (N, C, H, W), its pixels between black and white."""
        spectrum = torch.view_as_complex(self.parameters[0]) * self._scale
        waves = torch.fft.irfft2(spectrum, s=self._size, norm="ortho")
        if self._mix is not None:
            waves = torch.einsum("rc,nchw->nrhw", self._mix, waves)
        return self._colours.to_input(waves.sigmoid())

    def set(self, picture: Tensor) -> None:
        """Take the spectrum of a picture, whose pixels are kept off pure black and white by 1/255."""
        pixels = self._colours.to_pixels(picture.detach().float()).clamp(1 / 255, 254 / 255)
        waves = pixels.logit()
        if self._mix is not None:
            waves = torch.einsum("cr,nrhw->nchw", self._mix.inverse(), waves)
        spectrum = torch.fft.rfft2(waves, norm="ortho") / self._scale
        self.parameters = [torch.view_as_real(spectrum).contiguous()]

    def randomize(self, generator: torch.Generator, alike: bool, sd: float = 0.01) -> None:
        """Start from noise instead: every number of the spectrum drawn with standard deviation ``sd``; see `noise`."""
        x = self.parameters[0]
        self.parameters = [sd * noise(x.shape, generator, alike).to(x)]


PARAMETERIZATIONS: dict[str, Callable[[Tensor, Colours], Parameterization]] = {"pixels": Pixels, "fourier": Fourier}


def noise(shape: Sequence[int], generator: torch.Generator, alike: bool) -> Tensor:
    """Normal noise; each picture's own, or the first's for all, so that each is made as it would be alone."""
    if alike:
        return torch.randn(shape[1:], generator=generator).expand(*shape).contiguous()
    return torch.stack([torch.randn(shape[1:], generator=generator) for _ in range(shape[0])])
