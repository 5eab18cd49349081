"""From a picture to what a network takes, and back to what a person can look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import ImageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """Scale a picture to cover ``size``, crop its centre, and normalise each channel: ``(pixel - mean) / std``.

    Pixels are in [0, 1] before the normalisation. With one channel the picture is turned to grey first.
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @classmethod
    def of(cls, size: tuple[int, int], channels: int) -> Preprocess:
        """The usual preprocessing for this many channels: ImageNet's for three, [-1, 1] otherwise."""
        return cls(size) if channels == 3 else cls(size, (0.5,) * channels, (0.5,) * channels)

    def __call__(self, picture: Image.Image) -> Tensor:
        """The input (C, H, W) for a picture."""
        if len(self.mean) not in (1, 3):
            raise ImageError(
                f"A picture has 1 or 3 channels and this network takes {len(self.mean)}: give a preprocessed "
                f"(N, {len(self.mean)}, H, W) tensor, or the network a preprocess of its own."
            )
        from torchvision.transforms.v2 import functional as F  # loads all of torchvision, for seconds

        height, width = self.size
        scale = max(height / picture.height, width / picture.width)
        covering = [max(height, round(picture.height * scale)), max(width, round(picture.width * scale))]
        picture = F.center_crop(F.resize(picture, covering, antialias=True), [height, width])
        if len(self.mean) == 1:
            picture = F.rgb_to_grayscale(picture)
        pixels = F.to_dtype(F.to_image(picture), torch.float32, scale=True)
        x: Tensor = F.normalize(pixels, list(self.mean), list(self.std))
        return x


def applied(preprocess: Callable[[Image.Image], Tensor], picture: Image.Image) -> Tensor:
    """``preprocess(picture)`` as a (C, H, W) tensor, with a clear error where it is none."""
    x = preprocess(picture)
    if not isinstance(x, Tensor):
        raise ImageError(f"The network's preprocess returned a {type(x).__name__}; it must return a (C, H, W) tensor.")
    if x.ndim == 4 and x.shape[0] == 1:
        x = x[0]
    if x.ndim != 3:
        raise ImageError(f"The network's preprocess returned shape {tuple(x.shape)}; it must return (C, H, W).")
    return x.as_subclass(Tensor)


class Unprocess:
    """The inverse of a preprocess in colour: from a network's input back to pixels in [0, 1].

    A normalisation is affine in a pixel's colour, so its values for a few plain pictures tell all about it, whoever
    wrote it and whichever channel it puts first.

    Attributes
    ----------
    black : Tensor
        The input (C,) for black, float64; empty where the preprocess is not invertible.
    inverse : Tensor
        What takes an input less that of black to red, green and blue, (3, C).
    """

    def __init__(self, preprocess: Callable[[Image.Image], Tensor]) -> None:
        self.black, self.inverse = torch.zeros(0), torch.zeros(3, 0)
        try:
            black, white, *primaries = (
                applied(preprocess, Image.new("RGB", (64, 64), colour)).double().mean((1, 2)).cpu()
                for colour in ("#000000", "#ffffff", "#ff0000", "#00ff00", "#0000ff")
            )
        except ImageError:  # a network that takes no pictures, only tensors
            return
        from_rgb = torch.stack(primaries, 1) - black[:, None]
        if len(black) == 3 and torch.linalg.matrix_rank(from_rgb) == 3:
            self.black, self.inverse = black, torch.linalg.inv(from_rgb)
        elif len(black) == 1 and white != black:
            self.black, self.inverse = black, (1 / (white - black)).expand(3, 1)

    def __call__(self, x: Tensor) -> Tensor:
        """Pixels (N, 3, H, W) in [0, 1], float32, of an input (N, C, H, W).

        Channels that are neither one (grey) nor three (RGB) are shown as their mean, scaled to [0, 1].
        """
        x = x.detach().float()
        if x.shape[1] == len(self.black):
            pixels = torch.einsum("pc,nchw->nphw", self.inverse.to(x), x - self.black.to(x).view(-1, 1, 1))
        else:
            low, high = x.aminmax()
            pixels = ((x - low) / (high - low).clamp_min(1e-12)).mean(1, keepdim=True).expand(-1, 3, -1, -1)
        return pixels.clamp(0, 1)


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
