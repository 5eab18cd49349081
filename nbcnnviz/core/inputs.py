"""From pictures, arrays and tensors to one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.core.bands import as_input
from nbcnnviz.core.errors import ImageError
from nbcnnviz.core.images import load_image
from nbcnnviz.core.preprocess import Preprocess, applied


def input_of(source: Any, preprocess: Callable[[Any], Tensor], channels: int) -> Tensor | None:
    """What is an input of a network already, (N, C, H, W), or made one by a preprocess for arrays; None for a picture."""
    if isinstance(source, Tensor) and source.ndim == 5:
        raise ImageError(
            f"A tensor of shape {tuple(source.shape)} is no picture and no batch (N, C, H, W): five axes are a volume or a "
            "clip, which are not supported."
        )
    return as_input(source, channels, None if isinstance(preprocess, Preprocess) else preprocess)


def batch_of(images: Any, preprocess: Callable[[Any], Tensor], channels: int) -> Tensor:
    """A picture, a list of pictures or an input as (N, C, H, W), preprocessed; ImageError for what is none."""
    x = input_of(images, preprocess, channels)
    if x is None:
        pictures = list(images) if isinstance(images, (list, tuple)) else [images]
        if not pictures:
            raise ImageError("There is no picture in an empty list: give one or more.")
        inputs = [_one(picture, preprocess, channels) for picture in pictures]
        if len({tuple(i.shape) for i in inputs}) > 1:
            shapes = ", ".join(str(tuple(i.shape)) for i in inputs)
            raise ImageError(
                f"The pictures come out of the preprocess in different shapes ({shapes}): trace one by one."
            )
        x = torch.stack(inputs)
    if x.is_complex() or x.shape[0] == 0:
        raise ImageError(f"A batch is one or more pictures of real numbers, not {tuple(x.shape)} of {x.dtype}.")
    return x


def _one(source: Any, preprocess: Callable[[Any], Tensor], channels: int) -> Tensor:
    x = input_of(source, preprocess, channels)
    if x is None:
        return applied(preprocess, load_image(source))
    if len(x) != 1:
        raise ImageError(f"An entry of a list is one picture, not a batch of {len(x)}.")
    return x[0]
