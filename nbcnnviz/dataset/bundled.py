"""Data sets that come along: on disk, without a download, and with labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from nbcnnviz.core.errors import PackageMissingError, UnknownNameError
from nbcnnviz.core.images import load_image
from nbcnnviz.core.samples import samples
from nbcnnviz.dataset.sources import Listed, Source

_WINDOWS = ((128, 128), (192, 96))
"""Side and stride, in pixels, of the windows that are cut from each photograph."""


class UnknownDatasetError(UnknownNameError):
    """No bundled data set goes by this name."""

    kind = "data set"


class SamplePatches(Source):
    """Square windows of the sample photographs, of 128 and of 192 pixels; the photograph's name is the label."""

    def __init__(self) -> None:
        self.name = "patches of the sample photographs"
        self._photographs: dict[str, Image.Image] = {}
        self._windows: list[tuple[str, int, int, int]] = []
        for photograph in _photographs():
            width, height = self._open(photograph).size
            self._windows += [
                (photograph, side, left, top)
                for side, stride in _WINDOWS
                for top in range(0, height - side + 1, stride)
                for left in range(0, width - side + 1, stride)
            ]

    def __len__(self) -> int:
        return len(self._windows)

    def key(self, index: int) -> str:
        """The photograph, the side of the window and where its upper left corner is, in pixels."""
        photograph, side, left, top = self._windows[index]
        return f"{photograph} {side} px at {left}, {top}"

    def __getitem__(self, index: int) -> tuple[Image.Image, str]:
        photograph, side, left, top = self._windows[index]
        return self._open(photograph).crop((left, top, left + side, top + side)), photograph

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_photographs": {}}  # a worker opens its own

    def _open(self, photograph: str) -> Image.Image:
        if photograph not in self._photographs:
            self._photographs[photograph] = load_image(photograph)
        return self._photographs[photograph]


def _photographs() -> list[str]:
    return [*samples("photographs"), *samples("textures")]


def _digits() -> Source:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise PackageMissingError("scikit-learn", "the digits", "dataset") from error
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return Listed(pixels, [str(digit) for digit in digits.target], "digits")


_DATASETS: dict[str, tuple[str, Callable[[], Source]]] = {
    "patches": ("Windows of the sample photographs, 128 and 192 pixels a side, labelled by photograph", SamplePatches),
    "digits": ("1797 handwritten digits of 8 x 8 pixels, labelled, from scikit-learn", _digits),
    "samples": (
        "The sample photographs and textures, whole",
        lambda: Listed(_photographs(), _photographs(), "the sample photographs"),
    ),
}


def datasets() -> dict[str, str]:
    """The data sets that come along, by the names that `nbcnnviz.scan` takes, each with what is in it."""
    return {name: words for name, (words, _) in _DATASETS.items()}


def bundled(name: str) -> Source:
    """A data set that comes along.

    Raises
    ------
    UnknownDatasetError
        If there is none of this name.
    PackageMissingError
        If it is the digits, and scikit-learn is not installed.
    """
    if name not in _DATASETS:
        raise UnknownDatasetError(name, _DATASETS, f"They are {', '.join(_DATASETS)}.")
    return _DATASETS[name][1]()
