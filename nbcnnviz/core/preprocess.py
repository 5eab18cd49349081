"""From a picture to what a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.caffe import Caffe, Standardized, caffe, pixels_of
from nbcnnviz.core.cropping import covering
from nbcnnviz.core.errors import ImageError
from nbcnnviz.core.unprocess import Unprocess, applied, blurred, to_pictures, trial

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """Scale a picture to cover ``size``, crop its centre, and normalise each channel: ``(pixel - mean) / std``.

    Pixels are in [0, 1] before the normalisation. With one channel the picture is turned to grey first. A picture may
    have any proportions: no more of it is scaled than is kept.
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @classmethod
    def of(cls, size: tuple[int, int], channels: int) -> Preprocess:
        """The usual preprocessing for this many channels: ImageNet's for three, [-1, 1] otherwise."""
        return cls(size) if channels == 3 else cls(size, (0.5,) * channels, (0.5,) * channels)

    @staticmethod
    def caffe(
        size: int | tuple[int, int],
        mean: Any = 0.0,
        *,
        raw_scale: float = 255.0,
        input_scale: float = 1.0,
        channel_swap: Sequence[int] = (2, 1, 0),
        squash: bool = False,
    ) -> Caffe:
        """A preprocessing as Caffe's ``io.Transformer`` describes it: blue first, from 0 to 255, less a mean.

        ``(raw_scale * pixels[channel_swap] - mean) * input_scale``, for pixels in [0, 1].

        Parameters
        ----------
        size
            Height and width of the input, or one number for both.
        mean
            One number, three (blue, green and red, as the input has them), or an image (3, H, W) of at least ``size``,
            whose centre is used: what ``ilsvrc_2012_mean.npy`` holds, for one.
        raw_scale
            What white is before the mean is subtracted.
        input_scale
            What is multiplied with at the end.
        channel_swap
            Which of red (0), green (1) and blue (2) each channel of the input is; (0, 1, 2) for red first.
        squash
            Whether the whole picture is scaled to ``size``, out of its proportions, as pycaffe's ``Classifier`` does.

        Raises
        ------
        ImageError
            If the mean has another shape, or the channel swap or a scale makes no sense.

        Examples
        --------
        >>> preprocess = Preprocess.caffe(227, mean=(104.007, 116.669, 122.679))  # CaffeNet
        """
        return caffe(size, mean, raw_scale=raw_scale, input_scale=input_scale, channel_swap=channel_swap, squash=squash)

    @staticmethod
    def standardized(size: int | tuple[int, int], channels: int = 3, *, each_channel: bool = False) -> Standardized:
        """A preprocessing that takes each picture's own mean away and divides by its own standard deviation (z-score).

        Parameters
        ----------
        size
            Height and width of the input, or one number for both.
        channels
            3, or 1 for a picture turned to grey first.
        each_channel
            Whether each channel has its own mean and deviation.
        """
        return Standardized((size, size) if isinstance(size, int) else size, channels, each_channel)

    def __call__(self, picture: Image.Image) -> Tensor:
        """The input (C, H, W) for a picture."""
        if len(self.mean) not in (1, 3):
            raise ImageError(
                f"A picture has 1 or 3 channels and this network takes {len(self.mean)}: give a preprocessed "
                f"(N, {len(self.mean)}, H, W) tensor, or the network a preprocess of its own."
            )
        fitted = covering(picture, self.size)
        pixels = pixels_of(fitted) if len(self.mean) == 3 else pixels_of(fitted.convert("L").convert("RGB"))[:1]
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (self.mean, self.std))
        return (pixels - mean) / std


__all__ = ["Preprocess", "Unprocess", "applied", "blurred", "to_pictures", "trial"]
