"""From saliency to segmentation: a map says where an object surely is and is not, and the picture's colours do the rest."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from nbcnnviz.attribution.result import Attribution
from nbcnnviz.core.errors import (
    ArgumentTypeError,
    ImageError,
    MethodNotApplicableError,
    OptionValueError,
    PackageMissingError,
)
from nbcnnviz.render import upscaled

Box = tuple[int, int, int, int]

_BETA = 1000.0  # how much a step in colour holds a random walker back; of skimage's 130 little is left of an edge
_ROUNDS = 5
_LONGEST = 640  # pixels: a mask of so many takes 5 s of one core, of 1,536 it takes 40, and nothing interrupts it
_UNKNOWN, _OBJECT, _GROUND = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Mask:
    """Where an object is, pixel by pixel.

    Attributes
    ----------
    mask : numpy.ndarray
        True on the object, (H, W) bool, at the size of the network's input.
    picture : PIL.Image.Image
        The picture as the network saw it.
    result : Attribution
        The map that it was made from.
    """

    mask: np.ndarray
    picture: Image.Image
    result: Attribution

    def __repr__(self) -> str:
        return f"<Mask of {self.result.caption}: {self.area:.0%} of {self.mask.shape[0]} x {self.mask.shape[1]}, box {self.box}>"

    @property
    def area(self) -> float:
        """The share of the picture that it covers."""
        return float(self.mask.mean())

    @cached_property
    def box(self) -> Box:
        """The smallest box around it: left, top, right and bottom in pixels, right and bottom excluded."""
        rows, columns = (np.flatnonzero(self.mask.any(axis)) for axis in (1, 0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    @cached_property
    def outline(self) -> list[np.ndarray]:
        """Its closed outlines, the longest first, each (n, 2): x and y in pixels, a pixel's centre at whole numbers."""
        from skimage.measure import find_contours

        lines = find_contours(np.pad(self.mask, 1).astype(float), 0.5)
        return [line[:, ::-1] - 1 for line in sorted(lines, key=len, reverse=True)]

    def overlay(self, *, box: bool = True) -> Image.Image:
        """Its outline over the picture, white on black, and its box as a thin yellow line."""
        from skimage.segmentation import find_boundaries

        pixels = np.asarray(self.picture).copy()
        if box:
            left, top, right, bottom = self.box
            edge = np.zeros_like(self.mask)
            edge[top:bottom, [left, right - 1]] = True
            edge[[top, bottom - 1], left:right] = True
            pixels[edge] = (255, 220, 0)
        pixels[find_boundaries(self.mask, mode="thick")] = 0
        pixels[find_boundaries(self.mask, mode="inner")] = 255
        return Image.fromarray(pixels)

    def iou(self, where: Any) -> float:
        """Intersection over union: with a mask (H, W) of the pixels; with a box of this mask's own box.

        Raises
        ------
        ImageError
            If it is neither.
        """
        given = np.asarray(where)
        if given.shape == self.mask.shape:
            other = given.astype(bool)
            return float((self.mask & other).sum() / (self.mask | other).sum())
        if given.shape != (4,):
            raise ImageError(
                f"An overlap is with a box (left, top, right, bottom) or a mask of {self.mask.shape[0]} x "
                f"{self.mask.shape[1]}, not with shape {given.shape}."
            )
        own = np.array(self.box, float)
        shared = np.clip(np.minimum(own[2:], given[2:]) - np.maximum(own[:2], given[:2]), 0, None).prod()
        whole = (own[2:] - own[:2]).prod() + np.clip(given[2:] - given[:2], 0, None).prod() - shared
        return float(shared / whole)

    def save(self, path: str | PathLike[str], *, view: Literal["mask", "overlay"] = "mask") -> None:
        """Write it as a picture, white on black, or as an array, by the ending: ``.png`` ..., or ``.npy``.

        ``view="overlay"`` writes its outline over the picture.
        """
        if str(path).endswith(".npy"):
            np.save(path, self.mask)
            return
        (self.overlay() if view == "overlay" else Image.fromarray(self.mask.astype(np.uint8) * 255)).save(path)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.overlay().save(file, "PNG")
        return file.getvalue()


def segment(
    result: Attribution,
    *,
    picture: int = 0,
    foreground: float = 0.95,
    background: float = 0.30,
    smooth: float = 0.0,
    how: Literal["random_walker", "grabcut"] = "random_walker",
    largest: bool = True,
) -> Mask:
    """The object that a map points at, cut out of the picture (Simonyan et al. 2013, section 3.2).

    Places where the map is strongest are taken for the object, those where it is weakest for the background, and the
    colours of the picture decide about the rest. Of maps of single pixels those that average over noise serve best,
    ``attribute(..., method="smooth_grad")`` with ``smooth=3``; Grad-CAM serves as it is.

    A picture whose longer side has more than 640 pixels, as the network sees it, is segmented at 640, and the mask scaled
    up to it: its edge is then as fine as a pixel of those. It takes a few seconds at most, and cannot be interrupted.

    Parameters
    ----------
    result
        The map. Of a gradient with its sign the largest magnitude over the channels counts, of others the sum.
    picture
        Which of the batch.
    foreground
        The quantile of the map's values from which on a place is the object's. Default: 0.95, the paper's.
    background
        The quantile up to which it is the background's. Default: 0.30, the paper's.
    smooth
        The standard deviation in pixels of a Gaussian that the map is blurred by first. Default: 0, not at all.
    how
        ``"random_walker"``, by scikit-image (Grady 2006): each pixel goes to whom a walker that avoids edges of colour
        meets first. ``"grabcut"``, by OpenCV, where that is installed (Rother et al. 2004): a graph cut between mixtures
        of Gaussians over the colours, as in the paper.
    largest
        Whether only the largest connected part is kept, as in the paper. Default: True.

    Returns
    -------
    Mask
        With its box, its outline, and a picture of both.

    Raises
    ------
    MethodNotApplicableError
        If the map holds NaN or is the same everywhere, there is no such picture or it has one colour, or nothing is
        left of the object.
    OptionValueError
        If an option has no such value.
    PackageMissingError
        If GrabCut is asked for without OpenCV.
    """
    if not isinstance(result, Attribution):
        raise ArgumentTypeError(f"segment takes a map, what nbcnnviz.attribute returns, not a {type(result).__name__}.")
    if not 0 < background < foreground < 1:
        raise OptionValueError(
            f"background and foreground are quantiles, 0 < background < foreground < 1, not {background} and {foreground}."
        )
    if smooth < 0:
        raise OptionValueError(f"smooth is a number of pixels, zero or more, not {smooth}.", "smooth")
    if how not in _WAYS:
        raise OptionValueError(f"how is one of {', '.join(_WAYS)}, not {how!r}.", "how")
    size = _bounded(result.trace.size)
    seeds = _seeds(_strengths(result, picture, size, smooth), foreground, background)
    seen = result.trace.pictures[picture]
    pixels = np.asarray(seen if size == result.trace.size else seen.resize(size[::-1], Image.Resampling.BOX))
    if (pixels == pixels[:1, :1]).all():
        raise MethodNotApplicableError(
            "The picture has one colour everywhere: no edge parts an object from its background."
        )
    mask = _WAYS[how](pixels, seeds) if (seeds == _UNKNOWN).any() else seeds == _OBJECT
    if largest:
        mask = _largest(mask)
    if not mask.any():
        raise MethodNotApplicableError(
            "Nothing of the picture goes with the places where the map is strongest: try a lower foreground, or another map."
        )
    return Mask(_scaled(mask, result.trace.size), seen, result)


def _bounded(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture to be segmented: its own, or less."""
    shrink = min(1.0, _LONGEST / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _scaled(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask at another size, each pixel as most of what is around it."""
    if mask.shape == size:
        return mask
    picture = Image.fromarray(mask.astype(np.uint8) * 255).resize(size[::-1], Image.Resampling.BILINEAR)
    scaled: np.ndarray = np.asarray(picture) >= 128
    return scaled


def _strengths(result: Attribution, picture: int, size: tuple[int, int], smooth: float) -> np.ndarray:
    """How strongly a map speaks for each place of a picture of this size, (H, W) float32."""
    count = len(result.values)
    if not -count <= picture < count:
        raise MethodNotApplicableError(f"The map is of {count} pictures: there is no picture {picture}.")
    values = result.values[picture : picture + 1 or None].detach().float()
    if not bool(values.isfinite().all()):
        raise MethodNotApplicableError(
            "The map holds NaN or infinite values, which tell no object from its background."
        )
    by_sign = result.view == "picture" and result.signed
    one = values.abs().amax(1, keepdim=True) if by_sign else values.sum(1, keepdim=True)
    if bool(one.min() == one.max()):
        raise MethodNotApplicableError(
            f"The map is {float(one.min()):g} everywhere, and tells no object from its background: explain another class, "
            "or use another method."
        )
    finer = one.shape[2] > size[0] or one.shape[3] > size[1]
    at_size = torch.nn.functional.adaptive_avg_pool2d(one, size) if finer else upscaled(one, size)
    strengths: np.ndarray = at_size[0, 0].cpu().numpy()
    if smooth:
        from scipy.ndimage import gaussian_filter

        strengths = gaussian_filter(strengths, smooth * max(size) / max(result.trace.size))
    return strengths


def _seeds(strengths: np.ndarray, foreground: float, background: float) -> np.ndarray:
    """What is known of each place, (H, W). A map that is zero almost everywhere has its two quantiles in one value."""
    low, high = np.quantile(strengths, [background, foreground])
    seeds = np.full(strengths.shape, _UNKNOWN)
    seeds[strengths <= low] = _GROUND
    seeds[(strengths >= high) & (strengths > low)] = _OBJECT
    return seeds


def _random_walker(pixels: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    from skimage.segmentation import random_walker

    found = random_walker(pixels / 255, seeds, beta=_BETA, mode="cg_j", tol=1e-4, prob_tol=1, channel_axis=-1)
    mask: np.ndarray = found == _OBJECT
    return mask


def _grabcut(pixels: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    try:
        import cv2
    except ImportError as error:
        raise PackageMissingError("opencv-python-headless", "masks by GrabCut", "grabcut") from error
    given = np.select([seeds == _OBJECT, seeds == _GROUND], [cv2.GC_FGD, cv2.GC_BGD], cv2.GC_PR_BGD).astype(np.uint8)
    cv2.setRNGSeed(0)  # its mixtures start at random
    cv2.grabCut(
        np.ascontiguousarray(pixels[..., ::-1]), given, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS,
        cv2.GC_INIT_WITH_MASK,
    )  # fmt: skip
    mask: np.ndarray = (given == cv2.GC_FGD) | (given == cv2.GC_PR_FGD)
    return mask


_WAYS = {"random_walker": _random_walker, "grabcut": _grabcut}


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part."""
    from skimage.measure import label

    parts = label(mask)
    if parts.max() <= 1:
        return mask
    largest: np.ndarray = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    return largest
