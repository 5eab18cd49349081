"""Scale a picture and cut a part out of the result, without ever holding the whole of the result.

A strip of 1 x 4000 pixels that is scaled until its shorter side is 224 pixels long has 200 million pixels; all but a square
of them are cut away after that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from PIL import Image
from PIL.Image import Resampling

Box = tuple[int, int, int, int]

# How many pixels of the result a filter reaches to either side, or of the source where it makes it smaller.
_SUPPORT: dict[int, float] = {
    Resampling.NEAREST: 0.0,
    Resampling.BILINEAR: 1.0,
    Resampling.HAMMING: 1.0,
    Resampling.BICUBIC: 2.0,
    Resampling.LANCZOS: 3.0,
}
_WIDEST = 6.0  # of filters that newer versions of Pillow have


def part_of_resized(
    picture: Image.Image, size: tuple[int, int], box: Box, resample: int = Resampling.BILINEAR
) -> Image.Image:
    """``picture.resize(size, resample).crop(box)``, to within rounding, where ``box`` lies within ``size``.

    ``size`` is (width, height), ``box`` (left, top, right, bottom) in pixels of that size.
    """
    window, reach = [], []
    for axis in (0, 1):
        scale = picture.size[axis] / size[axis]
        start, stop = box[axis] * scale, box[axis + 2] * scale
        margin = _SUPPORT.get(resample, _WIDEST) * max(scale, 1) + 1
        low, high = max(0, math.floor(start - margin)), min(picture.size[axis], math.ceil(stop + margin))
        window.append((low, high))
        reach.append((start - low, stop - low))
    part = picture.crop((window[0][0], window[1][0], window[0][1], window[1][1]))
    return part.resize(
        (box[2] - box[0], box[3] - box[1]), resample, (reach[0][0], reach[1][0], reach[0][1], reach[1][1])
    )


def covering(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The centre of a picture, scaled to cover ``size`` (height, width)."""
    height, width = size
    scale = max(height / picture.height, width / picture.width)
    full = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    left, top = round((full[0] - width) / 2), round((full[1] - height) / 2)
    return part_of_resized(picture, full, (left, top, left + width, top + height))


class Strip(Image.Image):
    """A picture that is scaled only when its pixels are asked for: only those of a part where one is cut out.

    For preprocessings that scale first and cut then, as torchvision's and timm's do.
    """

    @classmethod
    def of(cls, picture: Image.Image) -> Strip:
        """The same picture, sharing its pixels."""
        strip = cls()
        picture.load()
        strip._mode, strip._size, strip.info = picture.mode, picture.size, picture.info.copy()
        strip._im = picture.im
        return strip

    def resize(  # type: ignore[override]
        self,
        size: Sequence[int],
        resample: int | None = None,
        box: tuple[float, float, float, float] | None = None,
        reducing_gap: float | None = None,
    ) -> Image.Image:
        """As Pillow's, later."""
        # A box filter is a step: which pixels it takes in is up to rounding, and would differ.
        if box is not None or reducing_gap is not None or min(size) < 1 or resample == Resampling.BOX:
            return super().resize(tuple(size), resample, box, reducing_gap)  # type: ignore[arg-type]
        return _Scaled(self, (int(size[0]), int(size[1])), Resampling.BICUBIC if resample is None else resample)


class _Scaled(Image.Image):
    """A picture to be scaled."""

    def __init__(self, source: Image.Image, size: tuple[int, int], resample: int) -> None:
        super().__init__()
        self._source, self._resample = source, resample
        self._mode, self._size, self.info = source.mode, size, source.info.copy()

    def crop(self, box: tuple[float, float, float, float] | None = None) -> Image.Image:
        """The part, scaled alone."""
        if box is None or self._im is not None:
            return super().crop(box)
        left, top, right, bottom = (round(edge) for edge in box)
        if not (0 <= left < right <= self.width and 0 <= top < bottom <= self.height):
            return super().crop(box)
        return part_of_resized(self._source, self.size, (left, top, right, bottom), self._resample)

    def load(self) -> Any:
        """The pixels, all of them."""
        if self._im is None:
            self._im = Image.Image.resize(self._source, self.size, self._resample).im
        return super().load()
