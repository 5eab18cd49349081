"""Whether a map points at the object: the pointing game, and the same on mosaics of several pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.attribution import Attribution
from nbcnnviz.attribution.result import SIGNED_GRADIENTS
from nbcnnviz.core.errors import ImageError, MethodNotApplicableError
from nbcnnviz.core.images import load_image
from nbcnnviz.core.network import Network
from nbcnnviz.core.samples import ObjectBox
from nbcnnviz.metrics.score import Score, map_of, typed


@typed
def pointing(result: Attribution, where: Any, *, tolerance: float = 15, smooth: float = 0.0, picture: int = 0) -> Score:
    """The pointing game: 1 where the map's maximum lies on the object, 0 where it does not (Zhang et al. 2018).

    Parameters
    ----------
    result
        The map; it is scaled up to the input's size. Of a gradient with its sign the largest magnitude over the channels
        counts, as in the published game (TorchRay), of others the sum.
    where
        The object: a box ``(left, top, right, bottom)`` in pixels of the picture as the network saw it, right and bottom
        excluded; several boxes; or a mask (H, W), true where it is.
    tolerance
        How far outside, in pixels of the network's input, still counts. Default: 15. The published numbers are for 15
        pixels of the picture itself, before it is scaled: for these give `object_mask` the tolerance, and 0 here.
    smooth
        The standard deviation of a Gaussian that the map is blurred by first, as a share of the picture's longer side,
        what is outside taken for what is at the edge. Default: 0. The published numbers of gradients and guided backprop
        are for 0.02 (Fong et al. 2019).
    picture
        Which of the batch.

    Returns
    -------
    Score
        ``value`` is 0 or 1; ``chance`` the share of the picture that counts as a hit; ``details`` holds ``place``, the
        maximum's row and column, and ``inside``, the share of the positive values that lies on the object.

    Raises
    ------
    MethodNotApplicableError
        If the map holds NaN.
    ImageError
        If the object is empty, or outside the picture.
    """
    if result.method in SIGNED_GRADIENTS:
        result = replace(result, values=result.values.abs().amax(1, keepdim=True))
    values = map_of(result, picture).cpu()
    if smooth:
        from scipy.ndimage import gaussian_filter

        values = torch.from_numpy(gaussian_filter(values.numpy(), smooth * max(values.shape), mode="nearest"))
    mask = mask_of(where, (values.shape[0], values.shape[1]))
    near = _widened(mask, tolerance)
    # A map that is the same everywhere points at nothing.
    at = int(values.argmax())
    flat_map = bool(values.max() == values.min())
    place = divmod(at, values.shape[1])
    positive = values.clamp_min(0)
    total = float(positive.sum())
    return Score(
        "pointing",
        0.0 if flat_map else float(near[place]),
        float(near.float().mean()),
        "1 if the map is strongest on the object, or within the tolerance of it.",
        {"place": None if flat_map else place, "inside": float(positive[mask].sum()) / total if total else 0.0},
    )


def object_mask(network: Network, picture: Any, where: ObjectBox | Sequence[Any], *, tolerance: float = 0.0) -> Tensor:
    """Where an object of a picture is in the network's input: a mask (H, W), for `pointing`.

    A picture of the object alone, white on black, goes through the network's own preprocessing: whatever that scales
    and crops.

    Parameters
    ----------
    network
        The network.
    picture
        The picture, as `nbcnnviz.load_image` takes it.
    where
        The object as `nbcnnviz.sample_boxes` gives it, or its box ``(left, top, right, bottom)``, or several, in pixels
        of the picture.
    tolerance
        How far outside, in pixels of the picture, is counted as the object: 15 in the published pointing game. Default: 0.

    Raises
    ------
    ImageError
        If no pixel of the object is in the network's input.
    """
    size = load_image(picture).size
    box = where.box if isinstance(where, ObjectBox) else where
    alone = _widened(mask_of(box, (size[1], size[0])), tolerance)
    pixels = network.unprocess(network.batch(Image.fromarray(alone.numpy())))
    mask = pixels[0].mean(0).cpu() > 0.5
    if not bool(mask.any()):
        raise ImageError("The network's preprocessing crops the object away: none of its pixels is in the input.")
    return mask


def mask_of(where: Any, size: tuple[int, int]) -> Tensor:
    """A mask (H, W) of a box, several boxes or a mask; ImageError where it is empty or of another size."""
    height, width = size
    given = torch.as_tensor(where)
    if given.ndim == 2 and tuple(given.shape) == size and given.shape != (1, 4):
        mask = given.bool()
    else:
        if given.shape[-1:] != (4,) or given.ndim not in (1, 2):
            raise ImageError(
                f"An object is a box (left, top, right, bottom), a list of boxes, or a mask of {height} x {width}: not "
                f"of shape {tuple(given.shape)}."
            )
        mask = torch.zeros(size, dtype=torch.bool)
        for left, top, right, bottom in given.reshape(-1, 4).tolist():
            mask[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))] = True
    if not bool(mask.any()):
        raise ImageError(f"The object lies outside the picture of {height} x {width} pixels, or has no pixels.")
    return mask


def _widened(mask: Tensor, by: float) -> Tensor:
    """Every place within ``by`` pixels of a mask (H, W), by Euclidean distance."""
    if by <= 0:
        return mask
    from scipy.ndimage import distance_transform_edt

    return torch.from_numpy(distance_transform_edt(~mask.numpy()) <= by)


@dataclass(frozen=True)
class Mosaic:
    """Pictures side by side in one input.

    Attributes
    ----------
    input : Tensor
        (1, C, H, W), preprocessed.
    boxes : tuple[tuple[int, int, int, int], ...]
        Where each picture is: left, top, right, bottom.
    classes : tuple[int, ...]
        What the network says of each picture alone, at the size it has here.
    """

    input: Tensor
    boxes: tuple[tuple[int, int, int, int], ...]
    classes: tuple[int, ...]


def mosaic(network: Network, pictures: Sequence[Any], columns: int = 2) -> Mosaic:
    """Pictures as the network takes them, in rows of ``columns``, as one input (Boehle et al. 2021; Rao et al. 2022).

    Raises
    ------
    ImageError
        If there are not as many pictures as fill whole rows.
    """
    if not pictures or len(pictures) % columns:
        raise ImageError(f"{len(pictures)} pictures do not fill rows of {columns}.")
    batch = torch.cat([network.batch(picture) for picture in pictures])
    classes = tuple(network.scores(batch).argmax(1).tolist())
    height, width = batch.shape[2:]
    rows = [torch.cat(list(batch[i : i + columns]), dim=2) for i in range(0, len(batch), columns)]
    boxes = tuple(
        (c * width, r * height, (c + 1) * width, (r + 1) * height) for r in range(len(rows)) for c in range(columns)
    )
    return Mosaic(torch.cat(rows, dim=1)[None], boxes, classes)


@typed
def grid_pointing(result: Attribution, tiles: Mosaic, which: int) -> Score:
    """The share of a map's positive values that lies in the cell of the picture whose class is explained.

    The localisation score of Boehle et al. 2021 (equation 6). A map without positive values gets 0.

    Parameters
    ----------
    result
        A map of the mosaic's input, ``network.trace(tiles.input)``, for the class of picture ``which``.
    tiles
        The mosaic.
    which
        The picture in question, by its place in the mosaic.
    """
    if tuple(result.trace.input.shape[2:]) != tuple(tiles.input.shape[2:]):
        raise MethodNotApplicableError("The map is not one of this mosaic: trace its input, and explain that.")
    positive = map_of(result).clamp_min(0)
    left, top, right, bottom = tiles.boxes[which]
    total = float(positive.sum())
    return Score(
        "grid pointing",
        float(positive[top:bottom, left:right].sum()) / total if total else 0.0,
        1 / len(tiles.boxes),
        "The share of the map's positive values in the cell whose class is explained.",
    )
