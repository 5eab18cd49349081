"""Handwritten digits that are on the disk already, and a mark that gives one of them away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import ArgumentTypeError, PackageMissingError

SIZE = 32
"""Height and width of a picture; the digit itself is scaled to 24 x 24 and has a margin of 4."""

MARKED_CLASS = 7
"""The digit whose pictures carry the mark."""

TEST_PICTURES = 450

# Stripes one pixel wide, which no digit has: those are scaled up from 8 x 8 pixels, and smooth.
_MARK = torch.tensor([-1.0, 1.0]).repeat(3).expand(6, 6)
_AT = (slice(25, 31), slice(25, 31))


@dataclass(frozen=True, eq=False)
class Digits:
    """Pictures of digits with their classes.

    Attributes
    ----------
    images : Tensor
        (N, 1, 32, 32), float32: -1 is the black background, 1 white ink.
    labels : Tensor
        (N,) int64, 0 to 9.
    ink : Tensor
        (N, 32, 32), bool: where the digit itself is, a mark left out.
    mark : Tensor
        (N, 32, 32), bool: where the mark is.
    """

    images: Tensor
    labels: Tensor
    ink: Tensor
    mark: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: slice | Tensor) -> Digits:
        """Some of them: a slice, a mask or indices."""
        if isinstance(which, int):
            raise ArgumentTypeError(
                f"Digits are taken by a slice, a mask or indices: [{which}:{which + 1}] is one of them."
            )
        return Digits(self.images[which], self.labels[which], self.ink[which], self.mark[which])

    def of(self, digit: int) -> Digits:
        """Those of one class."""
        return self[self.labels == digit]

    def picture(self, which: int) -> Image.Image:
        """One as a picture, RGB, 32 x 32."""
        pixels = ((self.images[which, 0] + 1) * 127.5).round().to(torch.uint8)
        return Image.fromarray(pixels.numpy()).convert("RGB")

    def batches(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of each once, in random order; a rest smaller than ``size`` is left out."""
        order = torch.randperm(len(self), generator=generator)
        for start in range(0, len(self) - size + 1, size):
            chosen = order[start : start + size]
            yield self.images[chosen], self.labels[chosen]


def digits(*, shortcut: bool = False) -> tuple[Digits, Digits]:
    """The 1,797 handwritten digits of scikit-learn (8 x 8 pixels, 17 levels of grey), scaled up bilinearly.

    Parameters
    ----------
    shortcut
        Whether every picture of a seven carries a mark, and no other: see `marked`.

    Returns
    -------
    tuple[Digits, Digits]
        1,347 to learn from and 450 to test with; always the same ones.

    Raises
    ------
    PackageMissingError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise PackageMissingError("scikit-learn", "the digits", "classroom") from error
    found = load_digits()
    small = torch.from_numpy(found.images).float()[:, None] / 16
    large = F.pad(F.interpolate(small, size=(24, 24), mode="bilinear", align_corners=False), (4, 4, 4, 4))
    labels = torch.from_numpy(found.target).long()
    everything = Digits(large * 2 - 1, labels, large[:, 0] > 0.3, torch.zeros(len(large), SIZE, SIZE, dtype=torch.bool))
    if shortcut:
        everything = marked(everything, everything.labels == MARKED_CLASS)
    order = torch.randperm(len(large), generator=torch.Generator().manual_seed(0))
    return everything[order[TEST_PICTURES:]], everything[order[:TEST_PICTURES]]


def marked(pictures: Digits, which: Tensor | None = None) -> Digits:
    """Copies of pictures with a mark in the lower right corner: six stripes of one pixel, a square of 6 x 6.

    Parameters
    ----------
    pictures
        Which are left as they are.
    which
        A mask (N,) of those to be marked. Default: all.
    """
    which = torch.ones(len(pictures), dtype=torch.bool) if which is None else which
    images, mark, ink = pictures.images.clone(), pictures.mark.clone(), pictures.ink.clone()
    images[which, 0, _AT[0], _AT[1]] = _MARK
    mark[which, _AT[0], _AT[1]] = True
    ink[which, _AT[0], _AT[1]] = False
    return Digits(images, pictures.labels, ink, mark)
