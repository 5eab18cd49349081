"""Which part of a picture a network's preprocess takes, and how it scales it, found out by numbers.

A preprocess scales a picture, crops it and normalises its colours, whoever wrote it. The first two are linear: what the
network gets of a channel ``p`` is ``R p Q^T``, with one matrix for rows and one for columns. Two ramps tell where in the
picture the input's rows and columns lie; noise tells by which filter they were resampled, and whether all that is right.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.preprocess import Unprocess, applied

Size = tuple[int, int]

TOLERANCE = 0.3
"""By how much a geometry may miss what the preprocess makes of noise, over the norm of that."""

_FILTERS = [Image.Resampling[name] for name in ("BICUBIC", "BILINEAR", "LANCZOS", "BOX", "HAMMING", "NEAREST")]


@dataclass(frozen=True, eq=False)
class Geometry:
    """How pictures of one size become a network's input.

    Attributes
    ----------
    size : tuple[int, int]
        Height and width of the pictures.
    scaled : tuple[int, int]
        Height and width to which the whole picture is scaled.
    corner : tuple[int, int]
        The row and the column of the scaled picture that are the input's first; negative where it is padded.
    resampling : PIL.Image.Resampling
        The filter.
    rows, columns : Tensor
        The matrices R (h, H) and Q (w, W).
    """

    size: Size
    scaled: Size
    corner: Size
    resampling: Image.Resampling
    rows: Tensor
    columns: Tensor

    def __call__(self, picture: Tensor) -> Tensor:
        """What the network gets, (..., h, w), of the channels of a picture, (..., H, W)."""
        return self.rows.to(picture) @ picture @ self.columns.to(picture).T

    def adjoint(self, gradient: Tensor) -> Tensor:
        """The gradient at the picture, (..., H, W), for one at the input, (..., h, w)."""
        return self.rows.to(gradient).T @ gradient @ self.columns.to(gradient)


def find_geometry(preprocess: Callable[[Image.Image], Tensor], unprocess: Unprocess, size: Size) -> Geometry:
    """The geometry of a preprocess for pictures of a size (height, width).

    Raises
    ------
    MethodNotApplicableError
        If the preprocess does something else than scaling, cropping and normalising, by its own numbers.
    """

    def seen(pixels: np.ndarray) -> np.ndarray:
        """The pixels (h, w), in [0, 1], that the network gets of grey ones, (H, W) in 8 bits."""
        x = applied(preprocess, Image.fromarray(pixels).convert("RGB"))
        return unprocess(x[None])[0].mean(0).double().cpu().numpy()

    if not len(unprocess.black):
        raise MethodNotApplicableError(
            "The colours of this network's preprocess cannot be put back: give a preprocessed (N, C, H, W) tensor "
            "instead of a picture."
        )
    axes = [_fits(seen, size, axis) for axis in (0, 1)]
    common = [resampling for resampling in _FILTERS if all(resampling in fits for fits in axes)]
    if common:
        resampling = min(common, key=lambda r: sum(fits[r].error for fits in axes))
        rows, columns = (fits[resampling] for fits in axes)
        matrices = (_matrix(n, fit, resampling) for n, fit in zip(size, (rows, columns), strict=True))
        scaled, corner = (rows.scaled, columns.scaled), (rows.first, columns.first)
        found = Geometry(size, scaled, corner, resampling, *matrices)
        one, other = (_noise(size, scaled, seed) for seed in (0, 1))
        wanted = seen(one) - seen(other)
        given = torch.from_numpy((one.astype(np.float32) - other) / 255)
        if np.linalg.norm(found(given).numpy() - wanted) <= TOLERANCE * np.linalg.norm(wanted):
            return found
    raise MethodNotApplicableError(
        f"This network's preprocess does something else with a picture of {size[0]} x {size[1]} than scaling, cropping "
        "and normalising it, so that nothing leads back to the picture: give a preprocessed (N, C, H, W) tensor."
    )


@dataclass(frozen=True)
class _Fit:
    """One axis: the length to which it is scaled, where the input's ``count`` places begin in it, what noise says."""

    scaled: int
    first: int
    count: int
    error: float

    def __call__(self, signals: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
        """Signals (length, k) as the network gets them, (count, k); zero where they are padded."""
        step, width = len(signals) / self.scaled, signals.shape[1]
        first, end = max(0, self.first), min(self.scaled, self.first + self.count)
        found = np.zeros((self.count, width), np.float32)
        if first < end:
            image, box = Image.fromarray(signals.astype(np.float32)), (0, first * step, width, end * step)
            found[first - self.first : end - self.first] = np.asarray(
                image.resize((width, end - first), resampling, box)
            )
        return found


def _fits(seen: Callable[[np.ndarray], np.ndarray], size: Size, axis: int) -> dict[Image.Resampling, _Fit]:
    """The best fit of one axis for each filter; none where the axis is not simply scaled and cut."""
    length = size[axis]

    def profile(values: np.ndarray) -> np.ndarray:
        pixels = np.broadcast_to(values[:, None] if axis == 0 else values, size)
        return _profile(np.moveaxis(seen(np.ascontiguousarray(pixels)), axis, 0))

    ramp = profile(np.round(255 * (np.arange(length) + 0.5) / length).astype(np.uint8))
    places, count = np.arange(len(ramp)) + 0.5, len(ramp)
    # Beyond the middle of the outermost pixels a picture is not interpolated; what is padded is of one colour.
    edge = max(0.03, 1 / length)
    inside = (ramp > edge) & (ramp < 1 - edge) & ~_flat_ends(ramp)
    if inside.sum() < 3:
        return {}
    step, start = np.polyfit(places[inside], ramp[inside], 1)
    if step <= 0 or np.abs(start + step * places[inside] - ramp[inside]).max() > max(step, 4 / 255):
        return {}
    one, other = (_noise((length, 1), (max(1, round(1 / step)), 1), seed)[:, 0] for seed in (2, 3))
    wanted = profile(one) - profile(other)
    given = (one.astype(np.float32) - other)[:, None] / 255
    found: dict[Image.Resampling, _Fit] = {}
    for resampling in _FILTERS:
        for scaled in range(max(1, round(1 / step) - 1), round(1 / step) + 2):
            about = start * scaled
            for first in {round(about), round(about - 0.5), round(about + 0.5), round((scaled - count) / 2)}:
                fit = _Fit(scaled, first, count, 0.0)
                error = float(np.linalg.norm(fit(given, resampling)[:, 0] - wanted))
                if resampling not in found or error < found[resampling].error:
                    found[resampling] = replace(fit, error=error)
    return found


def _profile(pixels: np.ndarray) -> np.ndarray:
    """How a ramp down the first axis looks where it shows, and not what a picture is padded with."""
    spread = pixels.std(axis=0)
    profile: np.ndarray = np.median(pixels[:, spread >= spread.max() / 2], axis=1)
    return profile


def _flat_ends(profile: np.ndarray) -> np.ndarray:
    """Which values at either end are all the same."""
    first, last = (np.abs(profile - end) < 1e-3 for end in (profile[0], profile[-1]))
    ends: np.ndarray = np.logical_and.accumulate(first) | np.logical_and.accumulate(last[::-1])[::-1]
    return ends


def _noise(size: Size, scaled: Size, seed: int) -> np.ndarray:
    """Grey noise as fine as what is left of a picture when it is scaled, (H, W) in 8 bits."""
    height, width = (max(1, min(pair)) for pair in zip(size, scaled, strict=True))
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((size[1], size[0]), Image.Resampling.NEAREST))


def _matrix(length: int, fit: _Fit, resampling: Image.Resampling) -> Tensor:
    """What an axis of this length is multiplied with, (count, length): how the unit matrix is resampled."""
    return torch.from_numpy(fit(np.eye(length, dtype=np.float32), resampling))


def taken_part(preprocess: Callable[[Image.Image], Tensor], unprocess: Unprocess, size: Size) -> list[float]:
    """The part that a preprocess takes of pictures of a size (height, width): left, top, right and bottom as shares.

    Empty where that is not known.
    """
    with suppress(Exception):  # a preprocess of the user's own may raise whatever it likes of grey pictures
        found = find_geometry(preprocess, unprocess, size)
        lengths = len(found.rows), len(found.columns)
        (top, left), (bottom, right) = (
            [at / whole for at, whole in zip(places, found.scaled, strict=True)]
            for places in (found.corner, [c + n for c, n in zip(found.corner, lengths, strict=True)])
        )
        return [max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)]
    return []
